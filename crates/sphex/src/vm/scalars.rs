//! Untyped calls whose values are all numbers in registers, which most are.
//!
//! *Needs* a signature, once. *Gives* a register of the image for each of its values, so that a call is a store a value,
//! the call, and a load a value: nothing is placed, converted or counted anew.

use sphex_artifact::convention::{Class, Place, Placement};
use sphex_artifact::types::{FuncType, ValType};
use sphex_artifact::vmctx::{Image, VmFuncRef};

use super::activation::{Entered, enter};
use super::image;
use super::store::StorePtr;
use crate::error::Result;
use crate::value::Val;

/// Where the values of a signature are, if all are numbers in registers.
#[derive(Debug)]
pub(crate) struct Scalars {
    params: Box<[(ValType, Register)]>,
    results: Box<[(ValType, Register)]>,
}

impl Scalars {
    /// Of a signature; `None` if it has other values, or more.
    pub(crate) fn of(ty: &FuncType, placement: &Placement) -> Option<Scalars> {
        let of = |types: &[ValType], places: &[Place]| -> Option<Box<[_]>> {
            types.iter().zip(places).map(|(ty, place)| Some((*ty, Register::of(*ty, *place)?))).collect()
        };
        Some(Scalars {
            params: of(&ty.params, &placement.params)?,
            results: of(&ty.results, &placement.results)?,
        })
    }

    /// Calls a function of this signature; `None`, and nothing was done, if the values are not of its types.
    ///
    /// # Safety
    ///
    /// As for `enter`.
    #[inline(always)]
    pub(super) unsafe fn call(
        &self,
        store: StorePtr,
        callee: VmFuncRef,
        params: &[Val],
        results: &mut [Val],
    ) -> Option<Result<()>> {
        if params.len() != self.params.len() || results.len() != self.results.len() {
            return None;
        }
        let mut image = image::EMPTY;
        for (param, (ty, register)) in params.iter().zip(&self.params) {
            let bits = match (param, ty) {
                (Val::I32(value), ValType::I32) => u64::from(*value as u32),
                (Val::I64(value), ValType::I64) => *value as u64,
                (Val::F32(bits), ValType::F32) => u64::from(*bits),
                (Val::F64(bits), ValType::F64) => *bits,
                _ => return None,
            };
            *register.word(&mut image) = bits;
        }
        // SAFETY: the caller's promise.
        if let Err(error) = unsafe { enter(store, Entered::Wasm, callee.code, callee.vmctx, &mut image) } {
            return Some(Err(error));
        }
        for (result, (ty, register)) in results.iter_mut().zip(&self.results) {
            let bits = *register.word(&mut image);
            *result = match ty {
                ValType::I32 => Val::I32(bits as u32 as i32),
                ValType::I64 => Val::I64(bits as i64),
                ValType::F32 => Val::F32(bits as u32),
                _ => Val::F64(bits),
            };
        }
        Some(Ok(()))
    }
}

/// A register of the image, by its number in its class.
#[derive(Clone, Copy, Debug)]
struct Register {
    is_vector: bool,
    number: u8,
}

impl Register {
    /// The one that is this place, if a number is there.
    fn of(ty: ValType, place: Place) -> Option<Register> {
        match (ty, place) {
            (
                ValType::I32 | ValType::I64 | ValType::F32 | ValType::F64,
                Place::Register { register, position },
            ) => Some(Register { is_vector: register.class == Class::Vector, number: position }),
            _ => None,
        }
    }

    /// Its word in an image; an image has eight of either class.
    #[inline(always)]
    fn word(self, image: &mut Image) -> &mut u64 {
        let number = usize::from(self.number % 8);
        if self.is_vector { &mut image.vector[number][0] } else { &mut image.int[number] }
    }
}

//! Values without their types, and host functions of them: for callers that know the types already, as a C API does.
//!
//! - **R1.** All sixteen bytes of a `RawVal` are initialised: it is only ever made from, and written through, `bits`.

use std::fmt;

use smallvec::SmallVec;
use sphex_artifact::types::{FuncType, ValType};
use sphex_artifact::vmctx::{Image, VmHeader};

use super::call::{HostFunc, host_frame};
use super::image;
use super::stubs::exit_code;
use crate::engine::Engine;
use crate::error::{Error, ErrorKind, Result};
use crate::func::Func;
use crate::linker::Linker;
use crate::store::{AsContext, AsContextMut, Caller};
use crate::value::Val;

/// A value without its type: 16 bytes, the value's own first. Which field counts is known from a function's type.
///
/// Made from a number by `From`, from a [`Val`] by [`Val::to_raw`], from a [`Func`] by [`Func::to_raw`]; the bytes behind the
/// value are zeros then.
#[derive(Clone, Copy)]
#[repr(C, align(16))]
pub union RawVal {
    /// All of it; a vector.
    pub(super) bits: u128,
    i32: i32,
    i64: i64,
    f32: f32,
    f64: f64,
    /// The store's index of a host value; 0 is null.
    externref: u32,
    /// The address of a function reference.
    funcref: usize,
}

impl RawVal {
    /// All the bits; of a vector, the value.
    pub const fn new(bits: u128) -> RawVal {
        RawVal { bits }
    }

    /// All the bits; of a vector, the value.
    pub const fn bits(self) -> u128 {
        // SAFETY: R1; every pattern is a number.
        unsafe { self.bits }
    }

    /// As an `i32`.
    pub const fn i32(self) -> i32 {
        // SAFETY: R1; every pattern is a number.
        unsafe { self.i32 }
    }

    /// As an `i64`.
    pub const fn i64(self) -> i64 {
        // SAFETY: R1; every pattern is a number.
        unsafe { self.i64 }
    }

    /// As an `f32`.
    pub const fn f32(self) -> f32 {
        // SAFETY: R1; every pattern is a float.
        unsafe { self.f32 }
    }

    /// As an `f64`.
    pub const fn f64(self) -> f64 {
        // SAFETY: R1; every pattern is a float.
        unsafe { self.f64 }
    }

    /// As an `externref`: the store's index of a host value, 0 for null. [`RawVal::to_val`] finds the value.
    pub const fn externref(self) -> u32 {
        // SAFETY: R1; every pattern is a number.
        unsafe { self.externref }
    }

    /// As a `funcref`: an address. [`Func::from_raw`] finds the function.
    pub const fn funcref(self) -> usize {
        // SAFETY: R1; every pattern is a number.
        unsafe { self.funcref }
    }

    /// The value of this type that this is in this store. Not for function references, which are addresses: see
    /// [`Func::from_raw`].
    pub fn to_val(self, mut store: impl AsContextMut, ty: ValType) -> Result<Val> {
        let mut store = store.as_context_mut();
        if ty == ValType::FuncRef {
            // An address that we did not make must not be followed.
            let message = "a raw function reference cannot be checked, Func::from_raw takes it unchecked";
            return Err(Error::new(ErrorKind::Type, message));
        }
        Ok(Val::from_bits(store.inner_mut(), ty, self.bits()))
    }

    /// Is it, as an `externref`, a host value of this store?
    pub fn is_extern(self, store: impl AsContext) -> bool {
        store.as_context().inner().heap.get(self.externref()).is_some()
    }
}

impl Default for RawVal {
    /// Zero; not a null function reference, which is an address: see [`Val::to_raw`].
    fn default() -> RawVal {
        RawVal::new(0)
    }
}

impl PartialEq for RawVal {
    fn eq(&self, other: &RawVal) -> bool {
        self.bits() == other.bits()
    }
}

impl Eq for RawVal {}

impl fmt::Debug for RawVal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "RawVal({:#x})", self.bits())
    }
}

impl From<i32> for RawVal {
    fn from(value: i32) -> RawVal {
        RawVal::new(u128::from(value as u32))
    }
}

impl From<i64> for RawVal {
    fn from(value: i64) -> RawVal {
        RawVal::new(u128::from(value as u64))
    }
}

impl From<f32> for RawVal {
    fn from(value: f32) -> RawVal {
        RawVal::new(u128::from(value.to_bits()))
    }
}

impl From<f64> for RawVal {
    fn from(value: f64) -> RawVal {
        RawVal::new(u128::from(value.to_bits()))
    }
}

impl From<u128> for RawVal {
    fn from(value: u128) -> RawVal {
        RawVal::new(value)
    }
}

impl HostFunc {
    /// A function of raw values.
    fn unchecked<T, F>(engine: &Engine, ty: &FuncType, f: F) -> Result<HostFunc>
    where
        T: 'static,
        F: Fn(Caller<'_, T>, &mut [RawVal]) -> Result<()> + Send + Sync + 'static,
    {
        Ok(HostFunc {
            signature: engine.intern(ty)?,
            call: call_unchecked::<T, F>,
            code: exit_code(),
            body: Box::new(f),
        })
    }
}

unsafe extern "C" fn call_unchecked<T, F>(env: *mut u8, caller: *mut VmHeader, image: *mut Image)
where
    T: 'static,
    F: Fn(Caller<'_, T>, &mut [RawVal]) -> Result<()> + Send + Sync + 'static,
{
    // SAFETY: the exit stub calls us with the image of a call of our signature; `HostFunc` pairs this with an `F`, whose
    // maker promised that it leaves values of the results' types.
    unsafe {
        host_frame::<T>(env, caller, |func, store, number| {
            let image = &mut *image;
            let signature = &func.signature;
            let f = func.body::<F>();
            let area = image::return_area(image, &signature.placement);
            let count = signature.ty.params.len().max(signature.ty.results.len());
            let mut values: SmallVec<[RawVal; 8]> = SmallVec::from_elem(RawVal::default(), count);
            for (bits, value) in image::params(image, signature).zip(&mut values) {
                *value = RawVal::new(bits);
            }
            f(Caller::new(store, number), &mut values)?;
            for ((place, shape), value) in signature.results().zip(&values) {
                image::write_at(image, area, place, shape, value.bits());
            }
            Ok(())
        })
    }
}

impl Func {
    /// A host function of raw values, as [`Func::new`] without its checks. It gets as many values as the larger of
    /// parameters and results: the arguments first, in whose places it leaves the results.
    ///
    /// # Safety
    ///
    /// Whenever it gives `Ok`, the values are of the results' types: a function reference is one of this store's, null
    /// included (see [`Val::to_raw`]), and a host reference is one that the store still holds.
    pub unsafe fn new_unchecked<T: 'static>(
        mut store: impl AsContextMut<Data = T>,
        ty: FuncType,
        f: impl Fn(Caller<'_, T>, &mut [RawVal]) -> Result<()> + Send + Sync + 'static,
    ) -> Result<Func> {
        let mut store = store.as_context_mut();
        let func = HostFunc::unchecked(store.engine(), &ty, f)?;
        Ok(Func::from_host(store.inner_mut(), &func.into()))
    }
}

impl<T> Linker<T> {
    /// Defines a host function of raw values, see [`Func::new_unchecked`].
    ///
    /// # Safety
    ///
    /// As [`Func::new_unchecked`], for every store that the function is called in.
    pub unsafe fn func_new_unchecked(
        &mut self,
        module: &str,
        name: &str,
        ty: FuncType,
        f: impl Fn(Caller<'_, T>, &mut [RawVal]) -> Result<()> + Send + Sync + 'static,
    ) -> Result<&mut Self> {
        let func = HostFunc::unchecked(self.engine(), &ty, f)?;
        self.insert_host(module, name, func)
    }
}

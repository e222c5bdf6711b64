//! Where calls put values: a signature and a convention give a [`Placement`].
//!
//! Needs: signatures, and the conventions as data ([`conventions`]). Gives: [`place`], for both sides of a call, and
//! [`entry`], which receives a function's parameters.
//!
//! The rules that the data does not say:
//!
//! - A value takes the next register of its class; if there is none, the next stack slot: 8 bytes, 16 (aligned) for
//!   values of 128 bits.
//! - Results that find no register go to a *return area* that the caller allocates, by the same slot rule, in order; its
//!   address is passed as an extra last integer argument. (In the `winch` convention the last result is the one that
//!   finds a register.)
//! - A parameter with purpose `vmctx` is in the convention's pinned register, if it has one, and takes no argument
//!   register.
//! - A parameter with purpose `sret` is an ordinary argument; under `system_v` and `windows_fastcall` a function that
//!   returns nothing else returns it in the first result register.
//! - Upper bits of small integers are undefined, unless the signature says how they are extended: then the caller does
//!   (and for results the callee).

pub mod aarch64;
pub mod conventions;
pub mod entry;

use crate::error::CodegenError;
use crate::settings::Arch;
pub use conventions::{Convention, convention};
use sphex_asm::register::{Reg, RegClass, RegSet};
use sphex_ir::{Purpose, Signature, Type};

/// Where a value is at a call.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Place {
    /// In this register.
    Reg(Reg),
    /// In the convention's pinned register. A function whose own convention pins it too has it there always; others
    /// treat it as [`Place::Reg`].
    Pinned(Reg),
    /// At this byte of the stack arguments; of a result: of the return area.
    Memory(u32),
}

/// Where the values of a signature are.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Placement {
    /// The convention.
    pub convention: &'static Convention,
    /// Each parameter.
    pub params: Vec<Place>,
    /// Each result.
    pub returns: Vec<Place>,
    /// The address of the return area, an extra last parameter, if some result is there.
    pub return_pointer: Option<Place>,
    /// The `sret` parameter that is also returned, and where.
    pub returned_sret: Option<(usize, Reg)>,
    /// Bytes of stack arguments, a multiple of 16 (shadow space included).
    pub stack_bytes: u32,
    /// Bytes of the return area, a multiple of 16; its alignment is 16.
    pub return_bytes: u32,
}

impl Placement {
    /// Registers that a call clobbers, result registers included.
    pub fn clobbers(&self) -> RegSet {
        self.convention.registers.difference(self.convention.callee_saved)
    }

    /// Whether the callee pops the stack arguments.
    pub fn callee_pops(&self) -> bool {
        self.convention.callee_pops
    }
}

/// Most bytes of stack arguments (or results) that the callee pops: what one `ret` can.
pub const POP_LIMIT: u32 = 65_520;

/// Most bytes of stack arguments (or results) otherwise.
pub const AREA_LIMIT: u32 = 128 << 20;

/// Places a signature.
pub fn place(arch: Arch, sig: &Signature) -> Result<Placement, CodegenError> {
    let convention = convention(arch, sig.call_conv)?;
    let limit = if convention.callee_pops { POP_LIMIT } else { AREA_LIMIT };
    let mut results = Cursor::new(convention, convention.int_returns, convention.vector_returns, 0, limit);
    let mut returns = vec![Place::Memory(0); sig.returns.len()];
    if convention.last_result_in_register {
        // Only the last result may find a register; the others are laid out in order.
        results.ints = &results.ints[..results.ints.len().min(1)];
        results.vectors = &results.vectors[..results.vectors.len().min(1)];
        if let Some((last, rest)) = sig.returns.split_last() {
            returns[rest.len()] = results.next(last.ty, "results")?;
            (results.ints, results.vectors) = (&[], &[]);
            for (k, result) in rest.iter().enumerate() {
                returns[k] = results.next(result.ty, "results")?;
            }
        }
    } else {
        for (k, result) in sig.returns.iter().enumerate() {
            returns[k] = results.next(result.ty, "results")?;
        }
    }
    let return_bytes = results.bytes.next_multiple_of(16);
    let mut args =
        Cursor::new(convention, convention.int_args, convention.vector_args, convention.shadow_bytes, limit);
    let mut params = Vec::with_capacity(sig.params.len());
    for param in &sig.params {
        params.push(match (param.purpose, convention.vmctx) {
            (Purpose::VmContext, Some(reg)) => Place::Pinned(reg),
            _ => args.next(param.ty, "stack arguments")?,
        });
    }
    let return_pointer = match results.bytes {
        0 => None,
        _ => Some(args.next(sphex_ir::types::I64, "stack arguments")?),
    };
    let returned_sret = sig
        .special_param(Purpose::StructReturn)
        .filter(|_| sig.returns.is_empty() && convention.returns_sret)
        .and_then(|k| Some((k, *convention.int_returns.first()?)));
    Ok(Placement {
        convention,
        params,
        returns,
        return_pointer,
        returned_sret,
        stack_bytes: args.bytes.next_multiple_of(16),
        return_bytes,
    })
}

/// Hands out registers, then slots.
struct Cursor {
    ints: &'static [Reg],
    vectors: &'static [Reg],
    by_position: bool,
    used: [usize; 2],
    bytes: u32,
    limit: u32,
}

impl Cursor {
    fn new(
        convention: &Convention,
        ints: &'static [Reg],
        vectors: &'static [Reg],
        bytes: u32,
        limit: u32,
    ) -> Self {
        Cursor { ints, vectors, by_position: convention.by_position, used: [0; 2], bytes, limit }
    }

    fn next(&mut self, ty: Type, what: &'static str) -> Result<Place, CodegenError> {
        let class = class_of(ty)?;
        let (list, at) = match class {
            RegClass::Int => (self.ints, self.used[0]),
            RegClass::Vector => (self.vectors, self.used[1]),
        };
        if let Some(&reg) = list.get(at) {
            self.used[class as usize] += 1;
            if self.by_position {
                self.used[1 - class as usize] += 1;
            }
            return Ok(Place::Reg(reg));
        }
        let size = ty.bytes().max(8);
        let offset = self.bytes.next_multiple_of(size);
        self.bytes = offset + size;
        match self.bytes > self.limit {
            true => Err(CodegenError::SignatureTooLarge { what, limit: self.limit }),
            false => Ok(Place::Memory(offset)),
        }
    }
}

/// The class of register that holds values of a type.
pub fn class_of(ty: Type) -> Result<RegClass, CodegenError> {
    match ty {
        _ if ty.is_int() && ty.bits() <= 64 => Ok(RegClass::Int),
        _ if (ty.is_float() || ty.is_vector()) && ty.bits() <= 128 => Ok(RegClass::Vector),
        _ => Err(CodegenError::UnsupportedType(ty)),
    }
}

#[cfg(test)]
mod tests;

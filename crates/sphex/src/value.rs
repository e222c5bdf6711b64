//! Wasm values with their types; `vm/raw.rs` has those without.

use crate::error::{Error, ErrorKind, Result};
use crate::externref::ExternRef;
use crate::func::Func;
use crate::store::AsContextMut;
use crate::types::{RefType, ValType};
use crate::vm::instance::null_bits;
use crate::vm::raw::RawVal;
use crate::vm::store::StoreInner;

/// A value with its type.
#[derive(Clone, Debug)]
pub enum Val {
    /// 32-bit integer.
    I32(i32),
    /// 64-bit integer.
    I64(i64),
    /// 32-bit float, as bits.
    F32(u32),
    /// 64-bit float, as bits.
    F64(u64),
    /// 128-bit vector, as a little-endian number.
    V128(u128),
    /// A function, or null.
    FuncRef(Option<Func>),
    /// A host value, or null.
    ExternRef(Option<ExternRef>),
}

impl Val {
    /// Its type.
    pub fn ty(&self) -> ValType {
        match self {
            Val::I32(_) => ValType::I32,
            Val::I64(_) => ValType::I64,
            Val::F32(_) => ValType::F32,
            Val::F64(_) => ValType::F64,
            Val::V128(_) => ValType::V128,
            Val::FuncRef(_) => ValType::FuncRef,
            Val::ExternRef(_) => ValType::ExternRef,
        }
    }

    /// Zero, or null.
    pub fn default_for(ty: ValType) -> Val {
        match ty {
            ValType::I32 => Val::I32(0),
            ValType::I64 => Val::I64(0),
            ValType::F32 => Val::F32(0),
            ValType::F64 => Val::F64(0),
            ValType::V128 => Val::V128(0),
            ValType::FuncRef => Val::FuncRef(None),
            ValType::ExternRef => Val::ExternRef(None),
        }
    }

    /// A null reference.
    pub fn null(ty: RefType) -> Val {
        Val::default_for(ty.val_type())
    }

    /// The integer, if it is an `i32`.
    pub fn i32(&self) -> Option<i32> {
        if let Val::I32(value) = self { Some(*value) } else { None }
    }

    /// The integer, if it is an `i64`.
    pub fn i64(&self) -> Option<i64> {
        if let Val::I64(value) = self { Some(*value) } else { None }
    }

    /// The float, if it is an `f32`.
    pub fn f32(&self) -> Option<f32> {
        if let Val::F32(bits) = self { Some(f32::from_bits(*bits)) } else { None }
    }

    /// The float, if it is an `f64`.
    pub fn f64(&self) -> Option<f64> {
        if let Val::F64(bits) = self { Some(f64::from_bits(*bits)) } else { None }
    }

    /// The vector, if it is a `v128`.
    pub fn v128(&self) -> Option<u128> {
        if let Val::V128(bits) = self { Some(*bits) } else { None }
    }

    /// The function (`None` inside for null), if it is a `funcref`.
    pub fn func_ref(&self) -> Option<Option<Func>> {
        if let Val::FuncRef(func) = self { Some(*func) } else { None }
    }

    /// The host value (`None` inside for null), if it is an `externref`.
    pub fn extern_ref(&self) -> Option<Option<&ExternRef>> {
        if let Val::ExternRef(value) = self { Some(value.as_ref()) } else { None }
    }

    /// Is it a null reference?
    pub fn is_null(&self) -> bool {
        matches!(self, Val::FuncRef(None) | Val::ExternRef(None))
    }

    /// Its bits for wasm of this store, for [`Func::call_unchecked`]. A host reference gets a slot of the store, which a
    /// collection ([`Store::gc`](crate::Store::gc), or the making of further references) may free while no wasm holds it.
    pub fn to_raw(&self, mut store: impl AsContextMut) -> Result<RawVal> {
        let mut store = store.as_context_mut();
        let inner = store.inner_mut();
        inner.reserve_refs(Val::count_refs(std::slice::from_ref(self)));
        Ok(RawVal::new(self.to_bits(inner)?))
    }

    /// As raw bits for wasm of this store. Room for references must have been made.
    pub(crate) fn to_bits(&self, inner: &mut StoreInner) -> Result<u128> {
        Ok(match self {
            Val::I32(value) => u128::from(*value as u32),
            Val::I64(value) => u128::from(*value as u64),
            Val::F32(bits) => u128::from(*bits),
            Val::F64(bits) => u128::from(*bits),
            Val::V128(bits) => *bits,
            Val::FuncRef(None) => null_bits(ValType::FuncRef),
            Val::FuncRef(Some(func)) => func.funcref(inner)? as u128,
            Val::ExternRef(value) => u128::from(inner.ref_bits(value.clone())?),
        })
    }

    /// From raw bits of wasm of this store.
    pub(crate) fn from_bits(inner: &mut StoreInner, ty: ValType, bits: u128) -> Val {
        match ty {
            ValType::I32 => Val::I32(bits as u32 as i32),
            ValType::I64 => Val::I64(bits as u64 as i64),
            ValType::F32 => Val::F32(bits as u32),
            ValType::F64 => Val::F64(bits as u64),
            ValType::V128 => Val::V128(bits),
            ValType::FuncRef => Val::FuncRef(Func::from_bits(inner, bits as u64)),
            ValType::ExternRef => Val::ExternRef(inner.heap.get(bits as u32)),
        }
    }

    /// Checks its type.
    pub(crate) fn expect(&self, ty: ValType) -> Result<()> {
        if self.ty() == ty {
            return Ok(());
        }
        Err(Error::new(ErrorKind::Type, format!("type mismatch: expected {ty}, found {}", self.ty())))
    }

    /// How many of these are host references?
    pub(crate) fn count_refs(values: &[Val]) -> usize {
        values.iter().filter(|value| matches!(value, Val::ExternRef(Some(_)))).count()
    }
}

impl From<i32> for Val {
    fn from(value: i32) -> Val {
        Val::I32(value)
    }
}

impl From<i64> for Val {
    fn from(value: i64) -> Val {
        Val::I64(value)
    }
}

impl From<f32> for Val {
    fn from(value: f32) -> Val {
        Val::F32(value.to_bits())
    }
}

impl From<f64> for Val {
    fn from(value: f64) -> Val {
        Val::F64(value.to_bits())
    }
}

impl From<u128> for Val {
    fn from(value: u128) -> Val {
        Val::V128(value)
    }
}

impl From<Option<Func>> for Val {
    fn from(value: Option<Func>) -> Val {
        Val::FuncRef(value)
    }
}

impl From<Option<ExternRef>> for Val {
    fn from(value: Option<ExternRef>) -> Val {
        Val::ExternRef(value)
    }
}

impl From<Func> for Val {
    fn from(value: Func) -> Val {
        Val::FuncRef(Some(value))
    }
}

impl From<ExternRef> for Val {
    fn from(value: ExternRef) -> Val {
        Val::ExternRef(Some(value))
    }
}

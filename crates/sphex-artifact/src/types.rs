//! Types of wasm values and of the things a module imports, defines and exports.
//!
//! Needs nothing; gives small plain enums that the compiler fills from its parser and the runtime compares when it
//! links. Reference types with a type index of their own become further variants of [`RefType`].

use serde::{Deserialize, Serialize};
use std::fmt;

use crate::convention::Shape;

/// The type of a reference.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum RefType {
    /// `funcref`: nullable reference to any function; a pointer to a `VmFuncRef`.
    Func,
    /// `externref`: nullable reference to a host value; a 32-bit index into the store's heap.
    Extern,
}

/// The type of a wasm value.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum ValType {
    /// 32-bit integer.
    I32,
    /// 64-bit integer.
    I64,
    /// 32-bit float.
    F32,
    /// 64-bit float.
    F64,
    /// 128-bit vector.
    V128,
    /// Nullable reference to any function.
    FuncRef,
    /// Nullable reference to a host value.
    ExternRef,
}

impl ValType {
    /// What the calling convention needs to know of a value of this type.
    pub const fn shape(self) -> Shape {
        match self {
            ValType::I32 | ValType::I64 | ValType::FuncRef | ValType::ExternRef => Shape::Int,
            ValType::F32 | ValType::F64 => Shape::Float,
            ValType::V128 => Shape::Vector,
        }
    }

    /// Bytes of a value of this type where compiled code stores it.
    pub const fn bytes(self) -> u32 {
        match self {
            ValType::I32 | ValType::F32 | ValType::ExternRef => 4,
            ValType::I64 | ValType::F64 | ValType::FuncRef => 8,
            ValType::V128 => 16,
        }
    }

    /// The reference type, if this is one.
    pub const fn as_ref(self) -> Option<RefType> {
        match self {
            ValType::FuncRef => Some(RefType::Func),
            ValType::ExternRef => Some(RefType::Extern),
            _ => None,
        }
    }

    /// Is this a reference type?
    pub const fn is_ref(self) -> bool {
        self.as_ref().is_some()
    }

    /// The name in the text format.
    pub const fn name(self) -> &'static str {
        match self {
            ValType::I32 => "i32",
            ValType::I64 => "i64",
            ValType::F32 => "f32",
            ValType::F64 => "f64",
            ValType::V128 => "v128",
            ValType::FuncRef => "funcref",
            ValType::ExternRef => "externref",
        }
    }
}

impl RefType {
    /// The type of a value that is such a reference.
    pub const fn val_type(self) -> ValType {
        match self {
            RefType::Func => ValType::FuncRef,
            RefType::Extern => ValType::ExternRef,
        }
    }
}

impl From<RefType> for ValType {
    fn from(ty: RefType) -> ValType {
        ty.val_type()
    }
}

impl fmt::Display for ValType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl fmt::Display for RefType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.val_type().name())
    }
}

/// The type of a function.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct FuncType {
    /// Types of the parameters.
    pub params: Box<[ValType]>,
    /// Types of the results.
    pub results: Box<[ValType]>,
}

impl FuncType {
    /// A function type of these parameters and results.
    pub fn new(
        params: impl IntoIterator<Item = ValType>,
        results: impl IntoIterator<Item = ValType>,
    ) -> FuncType {
        FuncType { params: params.into_iter().collect(), results: results.into_iter().collect() }
    }
}

impl fmt::Display for FuncType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let list = |f: &mut fmt::Formatter<'_>, types: &[ValType]| {
            f.write_str("(")?;
            for (i, ty) in types.iter().enumerate() {
                write!(f, "{}{ty}", if i == 0 { "" } else { ", " })?;
            }
            f.write_str(")")
        };
        list(f, &self.params)?;
        f.write_str(" -> ")?;
        list(f, &self.results)
    }
}

/// The type of a table.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct TableType {
    /// What its elements are.
    pub element: RefType,
    /// Elements it starts with.
    pub minimum: u64,
    /// Elements it may grow to, if bounded.
    pub maximum: Option<u64>,
    /// Are its indices 64-bit?
    pub table64: bool,
}

impl TableType {
    /// A table of such references, of `minimum` elements at first.
    pub const fn new(element: RefType, minimum: u64, maximum: Option<u64>) -> TableType {
        TableType { element, minimum, maximum, table64: false }
    }
}

/// The type of a memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct MemoryType {
    /// Pages it starts with.
    pub minimum: u64,
    /// Pages it may grow to, if bounded.
    pub maximum: Option<u64>,
    /// May several threads use it?
    pub shared: bool,
    /// Are its addresses 64-bit?
    pub memory64: bool,
    /// Log2 of the bytes of a page: 16, or 0 with custom page sizes.
    pub page_size_log2: u8,
}

impl MemoryType {
    /// A memory of `minimum` pages of 64 KiB at first, with 32-bit addresses and for one thread.
    pub const fn new(minimum: u64, maximum: Option<u64>) -> MemoryType {
        MemoryType { minimum, maximum, shared: false, memory64: false, page_size_log2: 16 }
    }

    /// Bytes it starts with; `None` if they do not fit 64 bits.
    pub const fn minimum_bytes(&self) -> Option<u64> {
        bytes(self.minimum, self.page_size_log2)
    }

    /// Pages it may never exceed: its maximum, or what its address type can reach. One with 32-bit addresses does not grow
    /// into the last 64 KiB ([`Self::leaves_gap`]).
    pub const fn limit_pages(&self) -> u64 {
        let reach = match (self.memory64, self.page_size_log2) {
            (false, log2) => {
                let whole = matches!(self.minimum_bytes(), Some(bytes) if bytes > (1 << 32) - GAP);
                (if whole { 1 << 32 } else { (1 << 32) - GAP }) >> if log2 > 32 { 32 } else { log2 }
            }
            (true, 0) => u64::MAX,
            (true, log2) => u64::MAX >> if log2 > 63 { 63 } else { log2 },
        };
        match self.maximum {
            Some(maximum) if maximum < reach => maximum,
            _ => reach,
        }
    }

    /// Whether no memory of this type that an instance defines is ever larger than 4 GiB less [`GAP`]. Then an address that
    /// was accessed is so far from 2^32 that adding a little to it does not wrap, which compiled code relies on.
    pub const fn leaves_gap(&self) -> bool {
        !self.memory64 && self.limit_pages() <= (((1 << 32) - GAP) >> self.page_size_log2)
    }
}

/// Bytes at the end of 32-bit addresses that memories do not grow into, unless they begin so large.
pub const GAP: u64 = 1 << 16;

const fn bytes(pages: u64, log2: u8) -> Option<u64> {
    if log2 >= 64 {
        return None;
    }
    pages.checked_mul(1 << log2)
}

/// The type of a global.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct GlobalType {
    /// What it holds.
    pub value: ValType,
    /// May it be set?
    pub mutable: bool,
}

impl GlobalType {
    /// A global of such a value.
    pub const fn new(value: ValType, mutable: bool) -> GlobalType {
        GlobalType { value, mutable }
    }
}

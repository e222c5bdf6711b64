//! Types of what modules import and export.

use std::fmt;

pub use sphex_artifact::types::{FuncType, GlobalType, MemoryType, RefType, TableType, ValType};

/// The type of an import or export.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ExternType {
    /// A function.
    Func(FuncType),
    /// A table.
    Table(TableType),
    /// A memory.
    Memory(MemoryType),
    /// A global.
    Global(GlobalType),
}

impl ExternType {
    /// `function`, `table`, `memory` or `global`.
    pub fn kind_name(&self) -> &'static str {
        match self {
            ExternType::Func(_) => "function",
            ExternType::Table(_) => "table",
            ExternType::Memory(_) => "memory",
            ExternType::Global(_) => "global",
        }
    }

    /// The function's type, if it is one.
    pub fn func(&self) -> Option<&FuncType> {
        match self {
            ExternType::Func(ty) => Some(ty),
            _ => None,
        }
    }

    /// The table's type, if it is one.
    pub fn table(&self) -> Option<&TableType> {
        if let ExternType::Table(ty) = self { Some(ty) } else { None }
    }

    /// The memory's type, if it is one.
    pub fn memory(&self) -> Option<&MemoryType> {
        if let ExternType::Memory(ty) = self { Some(ty) } else { None }
    }

    /// The global's type, if it is one.
    pub fn global(&self) -> Option<&GlobalType> {
        if let ExternType::Global(ty) = self { Some(ty) } else { None }
    }
}

macro_rules! from {
    ($($ty:ident $variant:ident)+) => {
        $(impl From<$ty> for ExternType {
            fn from(ty: $ty) -> ExternType {
                ExternType::$variant(ty)
            }
        })+
    };
}

from! { FuncType Func TableType Table MemoryType Memory GlobalType Global }

impl fmt::Display for ExternType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ExternType::Func(ty) => write!(f, "function {ty}"),
            ExternType::Table(ty) => {
                let index = if ty.table64 { "i64 " } else { "" };
                write!(f, "table {index}{} {}", Limits(ty.minimum, ty.maximum), ty.element)
            }
            ExternType::Memory(ty) => {
                let index = if ty.memory64 { "i64 " } else { "" };
                write!(f, "memory {index}{}", Limits(ty.minimum, ty.maximum))?;
                if ty.shared {
                    f.write_str(" shared")?;
                }
                if ty.page_size_log2 != 16 {
                    write!(f, " (pages of 2^{} bytes)", ty.page_size_log2)?;
                }
                Ok(())
            }
            ExternType::Global(ty) if ty.mutable => write!(f, "global mut {}", ty.value),
            ExternType::Global(ty) => write!(f, "global {}", ty.value),
        }
    }
}

struct Limits(u64, Option<u64>);

impl fmt::Display for Limits {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.1 {
            Some(maximum) => write!(f, "{}..{maximum}", self.0),
            None => write!(f, "{}..", self.0),
        }
    }
}

/// An import of a module.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ImportType<'a> {
    /// Name of the module it is wanted from.
    pub module: &'a str,
    /// Its name there.
    pub name: &'a str,
    /// What it must be.
    pub ty: ExternType,
}

/// An export of a module.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ExportType<'a> {
    /// Its name.
    pub name: &'a str,
    /// What it is.
    pub ty: ExternType,
}

//! The description of a core module: everything the runtime needs to instantiate it and nothing of its code bytes.
//!
//! Needs the types; gives plain data that the compiler fills and the runtime reads. It is the cold part of an
//! artifact, serialised with postcard; what comes from a file has passed the checks of `validate.rs`. Each index space is one vector, imports first, exactly as wasm
//! numbers it.

use serde::{Deserialize, Serialize};

use crate::types::{FuncType, GlobalType, MemoryType, RefType, TableType, ValType};
use crate::vmctx::Counts;

/// A core module without its code.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Module {
    /// The module's name, from its name section.
    pub name: Option<String>,
    /// Function types, by type index. Equal types may stand at several indices.
    pub types: Vec<FuncType>,
    /// Imports, in order.
    pub imports: Vec<Import>,
    /// How many entries of each index space are imported.
    pub imported: Imported,
    /// Functions, imported ones first.
    pub functions: Vec<Function>,
    /// Tables, imported ones first.
    pub tables: Vec<Table>,
    /// Memories, imported ones first.
    pub memories: Vec<Memory>,
    /// Globals, imported ones first.
    pub globals: Vec<Global>,
    /// Exports, in order; names are unique.
    pub exports: Vec<Export>,
    /// The start function.
    pub start: Option<u32>,
    /// Element segments.
    pub elements: Vec<Element>,
    /// Data segments.
    pub data: Vec<Data>,
    /// Memory images: what replaces `Placed` data segments. At most one a memory.
    pub images: Vec<MemoryImage>,
    /// How many functions escape: the number of `VmFuncRef`s in a vmctx.
    pub funcrefs: u32,
    /// Byte offset of the code section's contents in the wasm, from which addresses in debug sections count.
    pub code_offset: u64,
}

/// What an artifact describes: the contents of `.sphex.info`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Description {
    /// The core modules; a core module's artifact has one.
    pub modules: Vec<Module>,
    /// Where each module's wasm is in `.sphex.bodies`: start and length. Empty if the artifact has none.
    pub bodies: Vec<(u64, u64)>,
}

/// The first contents of a defined memory, ready to be mapped copy-on-write.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct MemoryImage {
    /// The memory's index.
    pub memory: u32,
    /// Byte address in the memory where it begins, a multiple of the target's page.
    pub at: u64,
    /// Where its bytes begin in `.sphex.data`, a multiple of the target's page.
    pub start: u64,
    /// Number of bytes, a multiple of the target's page; it may pass the end of a memory that is not whole pages.
    pub len: u64,
}

/// How many entries of each index space are imported.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Imported {
    /// Functions.
    pub functions: u32,
    /// Tables.
    pub tables: u32,
    /// Memories.
    pub memories: u32,
    /// Globals.
    pub globals: u32,
}

/// An import.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Import {
    /// Name of the module it is wanted from.
    pub module: String,
    /// Its name there.
    pub name: String,
    /// What it must be.
    pub kind: ImportKind,
}

/// What an import must be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum ImportKind {
    /// A function of the type at this type index.
    Function(u32),
    /// A table.
    Table(TableType),
    /// A memory.
    Memory(MemoryType),
    /// A global.
    Global(GlobalType),
}

/// A function.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Function {
    /// Its type index.
    pub ty: u32,
    /// The number of its `VmFuncRef` in the vmctx, if it escapes (export, element, `ref.func`).
    pub funcref: Option<u32>,
    /// May it return with another vmctx in the register, because it tail-calls out of the instance?
    pub leaves: bool,
}

/// A table.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Table {
    /// Its type.
    pub ty: TableType,
    /// What its elements are at first; `None` is null.
    pub init: Option<ConstExpr>,
}

/// A memory, with what the compiled code relies on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Memory {
    /// Its type.
    pub ty: MemoryType,
    /// How its code checks bounds.
    pub plan: MemoryPlan,
}

/// What compiled code relies on in a memory. For an imported one, what it must satisfy.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct MemoryPlan {
    /// Bytes of address space reserved from the base; accesses below it that are out of bounds fault.
    pub reservation: u64,
    /// Bytes after the reservation (or, in a memory that may move, after its end) that always fault.
    pub guard: u64,
    /// May the base change when the memory grows?
    pub may_move: bool,
    /// Do accesses compare with the length, instead of relying on faults?
    pub explicit_checks: bool,
}

impl MemoryPlan {
    /// The same for a shared memory, whose base never changes: where nothing is reserved for every memory, address space is
    /// reserved for as many bytes as this one may have.
    pub const fn shared(self) -> MemoryPlan {
        MemoryPlan { may_move: false, ..self }
    }

    /// Is a memory that was made by plan `actual` good for code that was compiled for this one?
    pub const fn accepts(&self, actual: &MemoryPlan) -> bool {
        (self.may_move || !actual.may_move)
            && actual.reservation >= self.reservation
            && actual.reservation.saturating_add(actual.guard) >= self.reservation.saturating_add(self.guard)
    }
}

/// A global.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Global {
    /// Its type.
    pub ty: GlobalType,
    /// Its first value; `None` for an imported one.
    pub init: Option<ConstExpr>,
}

/// An export.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Export {
    /// Its name.
    pub name: String,
    /// What it is.
    pub kind: ExternKind,
    /// Its index in the index space of its kind.
    pub index: u32,
}

/// Kinds of imports and exports.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum ExternKind {
    /// A function.
    Function,
    /// A table.
    Table,
    /// A memory.
    Memory,
    /// A global.
    Global,
}

/// When a segment is used.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum SegmentMode {
    /// Written to the table or memory of this index, at this offset, when the module is instantiated; then dropped.
    Active {
        /// Table or memory.
        target: u32,
        /// Where.
        offset: ConstExpr,
    },
    /// Used by `table.init` or `memory.init`.
    Passive,
    /// Only declares that its functions escape (elements only); starts dropped.
    Declared,
    /// Active, and already part of the memory image: nothing to write, starts dropped.
    Placed,
}

/// An element segment.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Element {
    /// Type of its elements.
    pub ty: RefType,
    /// When it is used.
    pub mode: SegmentMode,
    /// Its elements.
    pub items: ElementItems,
}

/// The elements of a segment.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum ElementItems {
    /// Functions, by index.
    Functions(Box<[u32]>),
    /// Expressions.
    Expressions(Box<[ConstExpr]>),
}

impl ElementItems {
    /// Number of elements.
    pub fn len(&self) -> usize {
        match self {
            ElementItems::Functions(items) => items.len(),
            ElementItems::Expressions(items) => items.len(),
        }
    }

    /// Are there none?
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// A data segment.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Data {
    /// When it is used.
    pub mode: SegmentMode,
    /// Where its bytes begin in `.sphex.data`.
    pub start: u64,
    /// Number of bytes.
    pub len: u64,
}

/// A constant expression: a program for a stack machine that leaves one value.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ConstExpr(
    /// The operations, in order.
    pub Box<[ConstOp]>,
);

/// An operation of a constant expression.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum ConstOp {
    /// `i32.const`.
    I32(i32),
    /// `i64.const`.
    I64(i64),
    /// `f32.const`, as bits.
    F32(u32),
    /// `f64.const`, as bits.
    F64(u64),
    /// `v128.const`, as little-endian bytes.
    V128([u8; 16]),
    /// `global.get`.
    GlobalGet(u32),
    /// `ref.func`.
    RefFunc(u32),
    /// `ref.null`.
    RefNull(RefType),
    /// `i32.add`.
    I32Add,
    /// `i32.sub`.
    I32Sub,
    /// `i32.mul`.
    I32Mul,
    /// `i64.add`.
    I64Add,
    /// `i64.sub`.
    I64Sub,
    /// `i64.mul`.
    I64Mul,
}

impl ConstExpr {
    /// An expression of these operations.
    pub fn new(ops: impl IntoIterator<Item = ConstOp>) -> ConstExpr {
        ConstExpr(ops.into_iter().collect())
    }

    /// The value, if the expression is one constant integer (zero-extended from 32 bits).
    pub fn as_integer(&self) -> Option<u64> {
        match *self.0 {
            [ConstOp::I32(value)] => Some(u64::from(value as u32)),
            [ConstOp::I64(value)] => Some(value as u64),
            _ => None,
        }
    }
}

impl Module {
    /// The numbers that decide the layout of its vmctx.
    pub fn counts(&self) -> Counts {
        let defined =
            |all: usize, imported: u32| u32::try_from(all).unwrap_or(u32::MAX).saturating_sub(imported);
        Counts {
            imported_functions: self.imported.functions,
            imported_memories: self.imported.memories,
            imported_tables: self.imported.tables,
            imported_globals: self.imported.globals,
            memories: defined(self.memories.len(), self.imported.memories),
            tables: defined(self.tables.len(), self.imported.tables),
            globals: defined(self.globals.len(), self.imported.globals),
            funcrefs: self.funcrefs,
        }
    }

    /// The type of the function at this index.
    pub fn function_type(&self, function: u32) -> Option<&FuncType> {
        let function = self.functions.get(function as usize)?;
        self.types.get(function.ty as usize)
    }

    /// The export of this name. Linear: build a map for repeated use.
    pub fn export(&self, name: &str) -> Option<&Export> {
        self.exports.iter().find(|export| export.name == name)
    }

    /// Is the function at this index imported?
    pub const fn is_imported_function(&self, function: u32) -> bool {
        function < self.imported.functions
    }

    /// Is the table at this index imported?
    pub const fn is_imported_table(&self, table: u32) -> bool {
        table < self.imported.tables
    }

    /// Is the memory at this index imported?
    pub const fn is_imported_memory(&self, memory: u32) -> bool {
        memory < self.imported.memories
    }

    /// Is the global at this index imported?
    pub const fn is_imported_global(&self, global: u32) -> bool {
        global < self.imported.globals
    }

    /// The type a value of this constant operation has, in this module's index spaces; `None` for the arithmetic.
    pub fn const_type(&self, op: ConstOp) -> Option<ValType> {
        Some(match op {
            ConstOp::I32(_) => ValType::I32,
            ConstOp::I64(_) => ValType::I64,
            ConstOp::F32(_) => ValType::F32,
            ConstOp::F64(_) => ValType::F64,
            ConstOp::V128(_) => ValType::V128,
            ConstOp::GlobalGet(global) => self.globals.get(global as usize)?.ty.value,
            ConstOp::RefFunc(_) => ValType::FuncRef,
            ConstOp::RefNull(ty) => ty.val_type(),
            _ => return None,
        })
    }
}

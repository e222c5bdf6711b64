//! The Sphex IR: SSA with block parameters, whose text form is CLIF.
//!
//! Needs: `sphex-entity`. Gives: value types ([`types`]), the instruction table ([`table`]), functions
//! ([`Function`]), the builder ([`Builder`]), text, verifier and interpreter. It knows no machine and no WebAssembly.

pub mod build;
pub mod evaluate;
pub mod flow;
pub mod fold;
pub mod function;
pub mod immediates;
mod inst;
pub mod interpret;
pub mod number;
pub mod parse;
pub mod print;
pub mod rules;
pub mod signature;
pub mod table;
pub mod types;
pub mod verify;

pub use build::Builder;
pub use fold::Folder;
pub use function::{
    Block, BlockCall, Constant, ExceptionTable, ExtFunc, FlagsRef, FuncRef, Function, GlobalValue,
    GlobalValueData, InlineNode, InstData, Region, SigRef, SrcLoc, StackSlot, StackSlotData, Value,
};
pub use immediates::{AtomicRmwOp, Endian, FloatCC, IntCC, MemFlags, TrapCode};
pub use signature::{AbiParam, CallConv, Extension, ExternalName, Purpose, Signature};
pub use table::{Effects, Format, Opcode};
pub use types::Type;

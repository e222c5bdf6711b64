//! AArch64: registers and operands, CPU features, the instruction table, and what the table drives.
//!
//! Needs: the code buffer. Gives: [`op`] (a constant per row), [`encode::encode`], [`print::print`], [`RowId::row`] for
//! the register allocator's view (roles, fixed registers) and [`features`].
//!
//! A machine instruction is a row, a [`Variant`] (operand size or lane size, and condition) and operands in printing
//! order. An instruction is one word: the row's, with each operand's field filled in. Adding an instruction is adding a row
//! to `table.rs`; the test against the disassembler then covers it.
//!
//! Register 31 is the zero register or the stack pointer, as the operand's kind says. What holds for a whole form is in
//! the row and not in operands: a load writes its address back or not, a condition comes from the variant.

pub mod encode;
pub mod features;
pub mod immediate;
pub mod operand;
pub mod print;
pub mod relocate;
pub mod row;
pub mod table;

pub use operand::{Address, Cond, Extend, Mem, Operand, Shift, Size, Variant};
pub use row::{Row, RowId};
pub use table::op;

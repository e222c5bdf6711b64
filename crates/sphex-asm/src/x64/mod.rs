//! x86-64: registers and operands, CPU features, the instruction table, and what the table drives.
//!
//! Needs: the code buffer. Gives: [`op`] (a constant per row), [`encode::encode`], [`print::print`], [`RowId::row`] for
//! the register allocator's view (roles, fixed registers, clobbers) and [`features`].
//!
//! A machine instruction is a row, a [`Variant`] (operand size and condition code in 16 bits, so that one `add` row
//! serves four sizes) and operands in printing order. Adding an instruction is adding a row to a file of `table/`; the
//! fuzz test against the disassembler then covers it.

pub mod encode;
pub mod features;
pub mod operand;
pub mod print;
pub mod row;
pub mod table;

pub use operand::{Address, Cond, Mem, Operand, Size, Variant};
pub use row::{Row, RowId};
pub use table::op;

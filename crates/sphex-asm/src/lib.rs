//! Instruction tables, encoders and the code buffer.
//!
//! Needs: an emitter that knows which row it wants and which physical registers and addresses go in it.
//! Gives: [`buffer::CodeBuffer`] (labels, branches that shrink, constants, relocations, records), and per ISA a table of
//! rows that drives encoding, printing and the register allocator's view of an instruction ([`x64`], [`aarch64`]).
//!
//! An ISA is a folder, `x64/` and `aarch64/`. What all of them share is here: [`register`], [`operand`], [`record`] and
//! [`buffer`]. This crate knows neither the IR nor any calling convention; trap codes, source locations and symbols are
//! opaque numbers to it.

pub mod aarch64;
pub mod buffer;
pub mod operand;
pub mod record;
pub mod register;
pub mod x64;

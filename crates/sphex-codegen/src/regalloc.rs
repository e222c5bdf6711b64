//! Register allocation: the one file that names regalloc2.
//!
//! Needs: a finished machine function whose critical edges are split. Gives: a location for each operand, moves between
//! instructions and the number of spill slots.

pub use regalloc2::{
    Block as RaBlock, Operand, OperandConstraint, OperandKind, OperandPos, PReg, RegClass as RaClass, VReg,
};

use sphex_asm::register::{Reg, RegClass};

/// A register in the allocator's form.
pub const fn to_preg(reg: Reg) -> PReg {
    PReg::new(reg.number() as usize, to_class(reg.class()))
}

/// A register of the allocator in ours.
pub const fn from_preg(preg: PReg) -> Reg {
    match preg.class() {
        RaClass::Int => Reg::int(preg.hw_enc() as u8),
        RaClass::Float | RaClass::Vector => Reg::vector(preg.hw_enc() as u8),
    }
}

/// A register class in the allocator's form.
pub const fn to_class(class: RegClass) -> RaClass {
    match class {
        RegClass::Int => RaClass::Int,
        RegClass::Vector => RaClass::Float,
    }
}

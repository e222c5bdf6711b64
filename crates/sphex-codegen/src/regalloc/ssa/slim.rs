//! Operands as the walks read them.
//!
//! Needs: nothing. Gives: [`Slim`]: what an operand says, decoded once; each is read a dozen times.

use crate::regalloc::{Operand, OperandConstraint, OperandKind, OperandPos, from_preg};
use sphex_asm::register::Reg;

/// Where an operand must be.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Want {
    /// In a register or a slot.
    Any,
    Reg,
    /// Anything else.
    Other,
    /// In this register.
    Fixed,
    /// In the register of another operand.
    Reuse,
    /// In this register, which no value has: it is no operand of ours.
    Kept,
}

/// An operand.
#[derive(Clone, Copy, Debug)]
pub(super) struct Slim {
    /// The value.
    pub value: u32,
    pub is_def: bool,
    pub is_late: bool,
    pub want: Want,
    /// The register, or the number of the other operand.
    index: u8,
}

impl Slim {
    pub fn new(operand: Operand) -> Self {
        let (want, index) = match operand.constraint() {
            OperandConstraint::Any => (Want::Any, 0),
            OperandConstraint::Reg => (Want::Reg, 0),
            OperandConstraint::FixedReg(preg) => match operand.as_fixed_nonallocatable() {
                Some(_) => (Want::Kept, from_preg(preg).index()),
                None => (Want::Fixed, from_preg(preg).index()),
            },
            OperandConstraint::Reuse(k) => (Want::Reuse, k),
            OperandConstraint::Stack | OperandConstraint::Limit(_) => (Want::Other, 0),
        };
        Self {
            value: operand.vreg().vreg() as u32,
            is_def: operand.kind() == OperandKind::Def,
            is_late: operand.pos() == OperandPos::Late,
            want,
            index: index as u8,
        }
    }

    /// Whether it is a use that no register is named for.
    pub fn is_plain_use(self) -> bool {
        !self.is_def && self.want != Want::Fixed && self.want != Want::Kept
    }

    /// The register that it must be in.
    pub fn reg(self) -> Reg {
        Reg::from_index(usize::from(self.index))
    }

    /// The operand whose register it takes.
    pub fn reuses(self) -> Option<usize> {
        (self.want == Want::Reuse).then_some(usize::from(self.index))
    }
}

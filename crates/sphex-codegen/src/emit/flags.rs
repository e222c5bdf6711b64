//! A comparison with zero that the instruction before has made.
//!
//! Needs: rows in the order of emission, within a block. Gives: [`Flags::spares`]: a `test` of a register with itself whose
//! flags are there already. Cost: constant for each instruction.
//!
//! F1. What is known is forgotten with the flags, with the register, and where a block begins. Moves between registers and
//!     slots change no flags.
//! F2. After `and`, `or` and `xor` all flags are those of a `test` of the result. After others that compute a sum or the like
//!     only ZF and SF are: enough for "equal" and "not equal", and only if these are what the next instruction, the last
//!     reader, asks (R2 of selection: no flags live further).

use super::Emitter;
use crate::machine::{MachineInst, Pseudo};
use crate::regalloc::{Location, OperandKind};
use sphex_asm::register::Reg;
use sphex_asm::x64::{Cond, RowId, Size, op};

/// What the flags say, if that is known.
#[derive(Clone, Copy, Default, Debug)]
pub(super) struct Flags {
    known: Option<Known>,
}

#[derive(Clone, Copy, Debug)]
struct Known {
    /// The flags compare this register with zero,
    reg: Reg,
    /// in this size,
    size: Size,
    /// and CF and OF are clear, as after `test`.
    all: bool,
}

impl Flags {
    /// Forgets what is known.
    pub(super) fn forget(&mut self) {
        self.known = None;
    }

    /// A register is written without a change of flags.
    pub(super) fn overwrite(&mut self, location: Location) {
        if let (Some(known), Location::Reg(reg)) = (self.known, location)
            && known.reg == reg
        {
            self.known = None;
        }
    }
}

/// How the flags compare the result of a row with zero: not at all, or with all flags, or only as far as equality goes.
fn compares(row: RowId) -> Option<bool> {
    match row {
        op::AND_RM | op::AND_RI | op::OR_RM | op::OR_RI | op::XOR_RM | op::XOR_RI => Some(true),
        op::ADD_RM | op::ADD_RI | op::SUB_RM | op::SUB_RI | op::NEG_R | op::BLSR => Some(false),
        _ => None,
    }
}

impl Emitter<'_> {
    /// Whether an instruction is a `test` that the flags make needless; else notes what it does to them.
    pub(super) fn is_needless_test(&mut self, index: usize, inst: &MachineInst) -> bool {
        let Some(pseudo) = inst.pseudo() else { return self.note_row(index, inst) };
        match pseudo {
            Pseudo::Copy => {
                if let Some(to) = self.location(index, 0) {
                    self.flags.overwrite(to);
                }
            }
            _ => self.flags.forget(),
        }
        false
    }

    fn note_row(&mut self, index: usize, inst: &MachineInst) -> bool {
        let row = RowId(inst.row);
        if !row.row().writes_flags {
            if self.flags.known.is_some() {
                for k in 0..self.func.operands_of(index).len() {
                    if self.func.operands_of(index)[k].kind() == OperandKind::Def {
                        self.flags.overwrite(self.input.allocation.location(index, k));
                    }
                }
            }
            return false;
        }
        if row == op::TEST_RR && self.spares(index, inst) {
            return true;
        }
        self.flags.forget();
        let size = inst.variant().get_size();
        if let Some(all) = compares(row)
            && matches!(size, Size::S32 | Size::S64)
        {
            let operands = self.func.operands_of(index);
            let made = operands.iter().position(|operand| operand.kind() == OperandKind::Def);
            if let Some(Location::Reg(reg)) = made.and_then(|k| self.location(index, k)) {
                self.flags.known = Some(Known { reg, size, all });
            }
        }
        false
    }

    /// Keeps F2.
    fn spares(&self, index: usize, test: &MachineInst) -> bool {
        let Some(known) = self.flags.known else { return false };
        let both = [0, 1].map(|k| self.location(index, k));
        both == [Some(Location::Reg(known.reg)); 2]
            && test.variant().get_size() == known.size
            && (known.all || self.asks_equality(index + 1))
    }

    /// Whether an instruction reads the flags to see whether something is zero, and nothing behind it reads them.
    fn asks_equality(&self, index: usize) -> bool {
        let Some(inst) = self.func.insts.get(index) else { return false };
        let single = matches!(inst.pseudo(), Some(Pseudo::JumpIf | Pseudo::TrapIf));
        single && matches!(inst.variant().get_cond(), Cond::E | Cond::Ne)
    }
}

//! Division, remainders and high products.
//!
//! Needs: matchers. Gives: the lowering of `udiv`, `sdiv`, `urem`, `srem`, `umulhi`, `smulhi`.
//!
//! The hardware gives zero for a division by zero and wraps the one quotient that does not fit; traps are tested for.

use super::emit::register_test;
use super::{Lower, wide};
use crate::error::CodegenError;
use crate::machine::Pseudo;
use crate::regalloc::VReg;
use sphex_asm::aarch64::op;
use sphex_asm::aarch64::operand::{Cond, Shift, Variant};
use sphex_ir::{Opcode, TrapCode, Value};

impl Lower<'_> {
    pub(super) fn lower_divide(&mut self, inst: Value) -> Result<(), CodegenError> {
        match self.data(inst).opcode {
            Opcode::Udiv | Opcode::Sdiv => {
                let dst = self.dst(inst);
                self.divide(inst, dst);
            }
            Opcode::Urem | Opcode::Srem => {
                let (dst, quotient) = (self.dst(inst), self.gpr());
                let (x, y) = self.divide(inst, quotient);
                let variant = wide(self.ty(inst));
                self.machine().inst(op::MSUB, variant).write(dst).read(quotient).read(y).read(x);
            }
            _ => self.multiply_high(inst),
        }
        Ok(())
    }

    /// The quotient into a register; gives the operands.
    fn divide(&mut self, inst: Value, quotient: VReg) -> (VReg, VReg) {
        let (ty, opcode) = (self.ty(inst), self.data(inst).opcode);
        let (variant, signed) = (wide(ty), matches!(opcode, Opcode::Sdiv | Opcode::Srem));
        let (x, y) = (self.arg(inst, 0), self.arg(inst, 1));
        let divisor = self.constant(y);
        let [xr, yr] = [x, y].map(|value| self.comparable(value, signed));
        if divisor.is_none_or(|y| y == 0) {
            let test = register_test(None, false, variant == Variant::S64);
            self.machine()
                .pseudo(Pseudo::TrapIf, Variant::NONE, test)
                .read(yr)
                .trap(Some(TrapCode::INTEGER_DIVISION_BY_ZERO));
        }
        if opcode == Opcode::Sdiv && divisor.is_none_or(|y| y == -1) {
            // The divisor is -1, and one less than the dividend overflows.
            let top = self.at_top(x);
            self.machine().inst(op::CMN_RI, variant).read(yr).imm(1);
            self.machine().inst(op::CCMP_RI, Cond::Eq.with(variant)).read(top).imm(1 << 4);
            self.machine()
                .pseudo(Pseudo::TrapIf, Cond::Vs.variant(), 0)
                .trap(Some(TrapCode::INTEGER_OVERFLOW));
        }
        let row = if signed { op::SDIV } else { op::UDIV };
        self.op2_into(row, variant, quotient, xr, yr);
        (xr, yr)
    }

    fn multiply_high(&mut self, inst: Value) {
        let (dst, ty) = (self.dst(inst), self.ty(inst));
        let signed = self.data(inst).opcode == Opcode::Smulhi;
        let (x, y) = (self.arg(inst, 0), self.arg(inst, 1));
        if ty.bits() == 64 {
            let (x, y) = (self.value(x), self.value(y));
            return self.op2_into(if signed { op::SMULH } else { op::UMULH }, Variant::NONE, dst, x, y);
        }
        let [x, y] = [x, y].map(|value| self.comparable(value, signed));
        let product = self.op2(if signed { op::SMULL } else { op::UMULL }, Variant::NONE, x, y);
        let how = if signed { Shift::Asr } else { Shift::Lsr };
        let high = self.shift_imm(how, Variant::S64, product, i64::from(ty.bits()));
        self.machine().copy(dst, high);
    }
}

//! Arithmetic that says whether it overflowed, with and without a carry in.
//!
//! Needs: matchers. Gives: the lowering of `*_overflow`, `*_overflow_cin`, `*_overflow_bin`, `uadd_overflow_trap`.
//!
//! Operations are of the type's own size, so that the processor's carry and overflow flags are the answer.

use super::compare::Flags;
use super::integer::{ADD, Rows, SUB};
use super::{Lower, Rm, Rmi, exact};
use crate::error::CodegenError;
use crate::regalloc::VReg;
use sphex_asm::x64::operand::gpr;
use sphex_asm::x64::{Cond, Variant, op};
use sphex_ir::types::I8;
use sphex_ir::{Opcode, Value};

const ADC: Rows = (op::ADC_RM, op::ADC_RI);
const SBB: Rows = (op::SBB_RM, op::SBB_RI);

impl Lower<'_> {
    pub(super) fn lower_overflow(&mut self, inst: Value) -> Result<(), CodegenError> {
        use Opcode::*;
        match self.data(inst).opcode {
            UaddOverflow => self.with_flag(inst, ADD, Cond::B, false),
            SaddOverflow => self.with_flag(inst, ADD, Cond::O, false),
            UsubOverflow => self.with_flag(inst, SUB, Cond::B, false),
            SsubOverflow => self.with_flag(inst, SUB, Cond::O, false),
            UaddOverflowCin => self.with_flag(inst, ADC, Cond::B, true),
            SaddOverflowCin => self.with_flag(inst, ADC, Cond::O, true),
            UsubOverflowBin => self.with_flag(inst, SBB, Cond::B, true),
            SsubOverflowBin => self.with_flag(inst, SBB, Cond::O, true),
            UmulOverflow => self.umul(inst),
            SmulOverflow => self.smul(inst),
            _ => {
                let dst = self.dst(inst);
                let x = self.arg(inst, 0);
                let x = self.value(x);
                let y = self.exact_rmi(self.arg(inst, 1));
                self.alu(ADD, exact(self.ty(inst)), dst, x, y);
                self.trap_if(Flags::One(Cond::B), self.data(inst).trap_code());
            }
        }
        Ok(())
    }

    /// An immediate, memory or a register for an operation of the value's own size.
    fn exact_rmi(&mut self, value: Value) -> Rmi {
        match self.imm32(value) {
            Some(imm) => Rmi::Imm(imm),
            None => self.rm(value).into(),
        }
    }

    fn with_flag(&mut self, inst: Value, rows: Rows, flag: Cond, carry: bool) {
        let sum = self.dst(inst);
        let (x, y) = (self.arg(inst, 0), self.arg(inst, 1));
        let x = self.value(x);
        let y = self.exact_rmi(y);
        if carry {
            // Adding 255 to a byte carries if the byte is not zero.
            let carry = self.arg(inst, 2);
            let carry = self.value(carry);
            let sum = self.gpr();
            self.modify_imm(op::ADD_RI, Variant::S8, sum, carry, -1);
        }
        self.alu(rows, exact(self.ty(inst)), sum, x, y);
        self.set_second(inst, Flags::One(flag));
    }

    /// Reads the flags into the second result, if anyone wants it.
    fn set_second(&mut self, inst: Value, flags: Flags) {
        let second = Value::from_u32(inst.as_u32() + 1);
        if let Some(dst) = self.select.wanted(second) {
            self.set(dst, flags);
        }
    }

    fn umul(&mut self, inst: Value) {
        let (low, ty) = (self.dst(inst), self.ty(inst));
        let (x, y) = (self.arg(inst, 0), self.arg(inst, 1));
        let x = self.value(x);
        let y = self.rm(y);
        if ty == I8 {
            self.multiply_byte(false, low, x, y);
        } else {
            let high = self.gpr();
            self.multiply_wide(exact(ty), (low, high), x, y, false);
        }
        self.set_second(inst, Flags::One(Cond::O));
    }

    fn smul(&mut self, inst: Value) {
        let (low, ty) = (self.dst(inst), self.ty(inst));
        let (x, y) = (self.arg(inst, 0), self.arg(inst, 1));
        let x = self.value(x);
        let y = self.rm(y);
        if ty == I8 {
            self.multiply_byte(true, low, x, y);
        } else {
            self.modify_rm(op::IMUL_RM, exact(ty), low, x, y);
        }
        self.set_second(inst, Flags::One(Cond::O));
    }

    /// The 8-bit multiplication: `ax = al * y`.
    fn multiply_byte(&mut self, signed: bool, product: VReg, x: VReg, y: Rm) {
        let row = if signed { op::IMUL8 } else { op::MUL8 };
        let emitted = self.machine().inst(row, Variant::NONE).modify_fixed(product, x, gpr::RAX);
        match y {
            Rm::Reg(y) => emitted.read(y).end(),
            Rm::Mem(amode, trap) => emitted.mem(amode).trap(trap).end(),
        }
    }
}

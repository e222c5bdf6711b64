//! Division, remainders and the high half of products.
//!
//! Needs: matchers. Gives: the lowering of `udiv`, `sdiv`, `urem`, `srem`, `umulhi`, `smulhi`.
//!
//! Division by zero faults in the `div` instruction, whose record says so. The other fault of `idiv`, an overflow, has
//! the same exception, so `sdiv` looks for it beforehand and `srem`, which has an answer there, avoids it.

use super::compare::Flags;
use super::{Lower, Rm, wide};
use crate::error::CodegenError;
use crate::regalloc::VReg;
use sphex_asm::x64::operand::gpr;
use sphex_asm::x64::{Cond, Variant, op};
use sphex_ir::{Opcode, TrapCode, Type, Value};

impl Lower<'_> {
    pub(super) fn lower_divide(&mut self, inst: Value) -> Result<(), CodegenError> {
        use Opcode::*;
        match self.data(inst).opcode {
            Udiv | Urem => self.divide_unsigned(inst),
            Sdiv | Srem => self.divide_signed(inst),
            Umulhi => self.multiply_high(inst, false),
            _ => self.multiply_high(inst, true),
        }
        Ok(())
    }

    fn divide_unsigned(&mut self, inst: Value) {
        let (x, y, ty) = (self.arg(inst, 0), self.arg(inst, 1), self.ty(inst));
        let remainder = self.data(inst).opcode == Opcode::Urem;
        if let Some(divisor) = self.unsigned_constant(y)
            && divisor.is_power_of_two()
        {
            self.divide_by_power(inst, x, divisor, remainder);
            return;
        }
        let narrow = ty.bits() < 32;
        let divisor = match narrow {
            true => Rm::Reg(self.zext(y)),
            // An instruction has one trap code: a division that faults is one by zero.
            false if self.select.may_fault(self.select.resolve(y)) => Rm::Reg(self.value(y)),
            false => self.rm(y),
        };
        let low = if narrow { self.zext(x) } else { self.value(x) };
        let high = self.zero();
        self.divide(inst, low, high, divisor, false, remainder);
    }

    fn divide_by_power(&mut self, inst: Value, x: Value, divisor: u64, remainder: bool) {
        let (dst, variant) = (self.dst(inst), wide(self.ty(inst)));
        let x = self.zext(x);
        let shift = divisor.trailing_zeros() as i32;
        match i32::try_from(divisor - 1) {
            Ok(mask) if remainder => self.modify_imm(op::AND_RI, variant, dst, x, mask),
            _ if remainder => {
                let mask = self.imm(divisor - 1);
                self.modify_rm(op::AND_RM, variant, dst, x, Rm::Reg(mask));
            }
            _ if shift == 0 => self.write_rm(op::MOV_RM, variant, dst, Rm::Reg(x)),
            _ => self.modify_imm(op::SHR_I, variant, dst, x, shift),
        }
    }

    fn divide_signed(&mut self, inst: Value) {
        let (x, y, ty) = (self.arg(inst, 0), self.arg(inst, 1), self.ty(inst));
        let remainder = self.data(inst).opcode == Opcode::Srem;
        let known = self.constant(y);
        let narrow = ty.bits() < 32;
        let (low, mut divisor) = match narrow {
            true => (self.sext(x, 32), self.sext(y, 32)),
            false => (self.value(x), self.value(y)),
        };
        // Narrow quotients fit in 32 bits: there the overflow is seen afterwards.
        if known.is_none_or(|c| c == -1) {
            if remainder {
                let one = self.imm(1);
                self.machine().inst(op::CMP_RI, wide(ty)).read(divisor).imm(-1);
                let safe = self.gpr();
                self.cmov(wide(ty), Cond::E, safe, divisor, one);
                divisor = safe;
            } else if !narrow {
                self.check_overflow(low, divisor, ty);
            }
        }
        let high = self.gpr();
        let (row, variant) = if ty.bits() == 64 { (op::CQO, Variant::S64) } else { (op::CDQ, Variant::S32) };
        self.machine().inst(row, variant).write_fixed(high, gpr::RDX).read_fixed(low, gpr::RAX);
        let quotient = self.divide(inst, low, high, Rm::Reg(divisor), true, remainder);
        if narrow && !remainder && known.is_none_or(|c| c == -1) {
            self.machine().inst(op::CMP_RI, Variant::S32).read(quotient).imm(1 << (ty.bits() - 1));
            self.trap_if(Flags::One(Cond::E), Some(TrapCode::INTEGER_OVERFLOW));
        }
    }

    /// Traps if `x` is the smallest number and `y` is -1: then the one's other bits and the other's complement are zero.
    fn check_overflow(&mut self, x: VReg, y: VReg, ty: Type) {
        let rest = self.gpr();
        if ty.bits() == 64 {
            self.modify_imm(op::BTC_RI, Variant::S64, rest, x, 63);
        } else {
            self.modify_imm(op::XOR_RI, Variant::S32, rest, x, i32::MIN);
        }
        let complement = self.gpr();
        self.modify(op::NOT_R, wide(ty), complement, y);
        self.op2(op::OR_RM, wide(ty), rest, complement);
        self.trap_if(Flags::One(Cond::E), Some(TrapCode::INTEGER_OVERFLOW));
    }

    /// Emits the division; the result not asked for is dropped. Returns the one asked for.
    fn divide(
        &mut self,
        inst: Value,
        low: VReg,
        high: VReg,
        divisor: Rm,
        signed: bool,
        remainder: bool,
    ) -> VReg {
        let variant = wide(self.ty(inst));
        let (dst, other) = (self.dst(inst), self.gpr());
        let (quotient, rest) = if remainder { (other, dst) } else { (dst, other) };
        let row = if signed { op::IDIV } else { op::DIV };
        let code = Some(TrapCode::INTEGER_DIVISION_BY_ZERO);
        let emitted = self.machine().inst(row, variant).modify_fixed(quotient, low, gpr::RAX).modify_fixed(
            rest,
            high,
            gpr::RDX,
        );
        match divisor {
            Rm::Reg(reg) => emitted.read_any(reg).trap(code).end(),
            Rm::Mem(amode, _) => emitted.mem(amode).trap(code).end(),
        }
        dst
    }

    fn multiply_high(&mut self, inst: Value, signed: bool) {
        let (x, y, ty) = (self.arg(inst, 0), self.arg(inst, 1), self.ty(inst));
        let dst = self.dst(inst);
        if ty.bits() < 32 {
            let extend = |lower: &mut Self, v| if signed { lower.sext(v, 32) } else { lower.zext(v) };
            let (x, y) = (extend(self, x), extend(self, y));
            let product = self.op2(op::IMUL_RM, Variant::S32, x, y);
            self.modify_imm(op::SHR_I, Variant::S32, dst, product, ty.bits() as i32);
            return;
        }
        let x = self.value(x);
        let y = self.rm(y);
        let low = self.gpr();
        self.multiply_wide(wide(ty), (low, dst), x, y, signed);
    }

    /// Emits `low, high = x * y` of full width.
    pub(super) fn multiply_wide(
        &mut self,
        variant: Variant,
        (low, high): (VReg, VReg),
        x: VReg,
        y: Rm,
        signed: bool,
    ) {
        let row = if signed { op::IMUL } else { op::MUL };
        let emitted =
            self.machine().inst(row, variant).modify_fixed(low, x, gpr::RAX).write_fixed(high, gpr::RDX);
        match y {
            Rm::Reg(y) => emitted.read_any(y).end(),
            Rm::Mem(amode, trap) => emitted.mem(amode).trap(trap).end(),
        }
    }
}

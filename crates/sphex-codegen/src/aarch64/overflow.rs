//! Arithmetic that says whether it overflowed, with and without a carry in.
//!
//! Needs: matchers. Gives: the lowering of `*_overflow`, `*_overflow_cin`, `*_overflow_bin`, `uadd_overflow_trap`.
//!
//! At 32 and 64 bits the processor's carry and overflow flags are the answer (its carry is the opposite of a borrow).
//! Narrower operands are extended: what does not fit shows above the type.

use super::compare::Flags;
use super::{Lower, wide};
use crate::error::CodegenError;
use crate::regalloc::VReg;
use sphex_asm::aarch64::op;
use sphex_asm::aarch64::operand::{Cond, Extend, Shift, Variant, ZR};
use sphex_ir::types::{I8, I16, I32};
use sphex_ir::{Opcode, Type, Value};

/// What is computed.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Sum {
    Add,
    Sub,
}

impl Lower<'_> {
    pub(super) fn lower_overflow(&mut self, inst: Value) -> Result<(), CodegenError> {
        use Opcode::*;
        let dst = self.dst(inst);
        let (sum, signed, carry) = match self.data(inst).opcode {
            UaddOverflow => (Sum::Add, false, false),
            SaddOverflow => (Sum::Add, true, false),
            UsubOverflow => (Sum::Sub, false, false),
            SsubOverflow => (Sum::Sub, true, false),
            UaddOverflowCin => (Sum::Add, false, true),
            SaddOverflowCin => (Sum::Add, true, true),
            UsubOverflowBin => (Sum::Sub, false, true),
            SsubOverflowBin => (Sum::Sub, true, true),
            UmulOverflow | SmulOverflow => {
                let flags = self.product(inst, dst);
                self.set_second(inst, flags);
                return Ok(());
            }
            _ => {
                let flags = self.sum(inst, dst, Sum::Add, false, false);
                self.trap_if(flags, self.data(inst).trap_code());
                return Ok(());
            }
        };
        let flags = self.sum(inst, dst, sum, signed, carry);
        self.set_second(inst, flags);
        Ok(())
    }

    /// Reads the flags into the second result, if anyone wants it.
    fn set_second(&mut self, inst: Value, flags: Flags) {
        let second = Value::from_u32(inst.as_u32() + 1);
        if let Some(dst) = self.select.wanted(second) {
            self.set(dst, flags);
        }
    }

    fn sum(&mut self, inst: Value, dst: VReg, sum: Sum, signed: bool, carry: bool) -> Flags {
        let ty = self.ty(inst);
        let (x, y) = (self.arg(inst, 0), self.arg(inst, 1));
        let [x, y] = [x, y].map(|value| self.comparable(value, signed));
        let carry = carry.then(|| {
            let carry = self.arg(inst, 2);
            self.zext(carry)
        });
        if ty.bits() < 32 {
            return self.narrow_sum(ty, dst, sum, signed, [x, y], carry);
        }
        let row = match (sum, carry) {
            (Sum::Add, None) => op::ADDS_RRR,
            (Sum::Sub, None) => op::SUBS_RRR,
            (Sum::Add, Some(carry)) => {
                // There is a carry if the operand is at least one.
                self.machine().inst(op::CMP_RI, Variant::S32).read(carry).imm(1);
                op::ADCS
            }
            (Sum::Sub, Some(borrow)) => {
                // There is no borrow if zero is at least the operand.
                self.machine().inst(op::CMP_RR, Variant::S32).pinned(ZR).read(borrow);
                op::SBCS
            }
        };
        self.op2_into(row, wide(ty), dst, x, y);
        Flags::One(match (signed, sum) {
            (true, _) => Cond::Vs,
            (false, Sum::Add) => Cond::Hs,
            (false, Sum::Sub) => Cond::Lo,
        })
    }

    fn narrow_sum(
        &mut self,
        ty: Type,
        dst: VReg,
        sum: Sum,
        signed: bool,
        [x, y]: [VReg; 2],
        carry: Option<VReg>,
    ) -> Flags {
        let row = if sum == Sum::Add { op::ADD_RRR } else { op::SUB_RRR };
        match carry {
            None => self.op2_into(row, Variant::S32, dst, x, y),
            Some(carry) => {
                // Any value but zero is a carry of one.
                let one = self.gpr();
                self.machine().inst(op::CMP_RI, Variant::S32).read(carry).imm(0);
                self.machine().inst(op::CSET, Cond::Ne.with(Variant::S32)).write(one);
                let partly = self.op2(row, Variant::S32, x, y);
                self.op2_into(row, Variant::S32, dst, partly, one);
            }
        }
        if signed {
            return self.differs_extended(ty, dst);
        }
        self.machine().inst(op::TST_RI, Variant::S32).read(dst).imm(1 << ty.bits());
        Flags::One(Cond::Ne)
    }

    /// Whether a register is other than its low bits, sign-extended.
    fn differs_extended(&mut self, ty: Type, reg: VReg) -> Flags {
        let (extend, variant) = match ty {
            I8 => (Extend::Sxtb, Variant::S32),
            I16 => (Extend::Sxth, Variant::S32),
            _ => (Extend::Sxtw, Variant::S64),
        };
        self.machine().inst(op::CMP_RE, variant).read(reg).read(reg).imm(extend.imm(0) as i32);
        Flags::One(Cond::Ne)
    }

    fn product(&mut self, inst: Value, dst: VReg) -> Flags {
        let ty = self.ty(inst);
        let signed = self.data(inst).opcode == Opcode::SmulOverflow;
        let (x, y) = (self.arg(inst, 0), self.arg(inst, 1));
        let [x, y] = [x, y].map(|value| self.comparable(value, signed));
        match (ty, signed) {
            (I8 | I16, _) => {
                self.op2_into(op::MUL, Variant::S32, dst, x, y);
                if signed {
                    return self.differs_extended(ty, dst);
                }
                let above = -1i32 << ty.bits();
                self.machine().inst(op::TST_RI, Variant::S32).read(dst).imm(above);
            }
            (I32, true) => {
                self.op2_into(op::SMULL, Variant::NONE, dst, x, y);
                return self.differs_extended(ty, dst);
            }
            (I32, false) => {
                self.op2_into(op::UMULL, Variant::NONE, dst, x, y);
                let low = Extend::Uxtw.imm(0) as i32;
                self.machine().inst(op::CMP_RE, Variant::S64).read(dst).read(dst).imm(low);
            }
            (_, true) => {
                let high = self.op2(op::SMULH, Variant::NONE, x, y);
                self.op2_into(op::MUL, Variant::S64, dst, x, y);
                let sign = Shift::Asr.imm(63) as i32;
                self.machine().inst(op::CMP_RS, Variant::S64).read(high).read(dst).imm(sign);
            }
            (_, false) => {
                let high = self.op2(op::UMULH, Variant::NONE, x, y);
                self.op2_into(op::MUL, Variant::S64, dst, x, y);
                self.machine().inst(op::CMP_RI, Variant::S64).read(high).imm(0);
            }
        }
        Flags::One(Cond::Ne)
    }
}

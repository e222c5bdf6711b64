//! Integer arithmetic, logic, shifts and rotates.
//!
//! Needs: matchers. Gives: the lowering of `iadd` to `imul`, the bitwise operations (of floats too), shifts, minima.

use super::{Lower, Rm, Rmi, exact, wide};
use crate::error::CodegenError;
use crate::machine::{Amode, Base};
use crate::regalloc::VReg;
use sphex_asm::x64::features::Feature;
use sphex_asm::x64::operand::gpr;
use sphex_asm::x64::{Cond, RowId, Variant, op};
use sphex_ir::types::{I8, I16, I64};
use sphex_ir::{Opcode, Type, Value};

/// The rows of one arithmetic operation: register with register or memory, register with immediate.
pub(super) type Rows = (RowId, RowId);

pub(super) const ADD: Rows = (op::ADD_RM, op::ADD_RI);
pub(super) const SUB: Rows = (op::SUB_RM, op::SUB_RI);
pub(super) const AND: Rows = (op::AND_RM, op::AND_RI);
pub(super) const OR: Rows = (op::OR_RM, op::OR_RI);
pub(super) const XOR: Rows = (op::XOR_RM, op::XOR_RI);

impl Lower<'_> {
    pub(super) fn lower_integer(&mut self, inst: Value) -> Result<(), CodegenError> {
        let (x, ty) = (self.arg(inst, 0), self.ty(inst));
        use Opcode::*;
        match self.data(inst).opcode {
            Iadd => self.lower_iadd(inst, x, self.arg(inst, 1)),
            Isub => self.lower_isub(inst, x, self.arg(inst, 1)),
            Imul => self.lower_imul(inst, x, self.arg(inst, 1)),
            Ineg => {
                let (dst, x) = (self.dst(inst), self.value(x));
                self.modify(op::NEG_R, wide(ty), dst, x);
            }
            Iabs => {
                // The negated value is the answer unless it is negative itself.
                let x = self.sext(x, ty.bits().max(32));
                let (dst, negated) = (self.dst(inst), self.gpr());
                self.modify(op::NEG_R, wide(ty), negated, x);
                self.cmov(wide(ty), Cond::S, dst, negated, x);
            }
            Smin => self.minmax(inst, Cond::L, true),
            Smax => self.minmax(inst, Cond::G, true),
            Umin => self.minmax(inst, Cond::B, false),
            Umax => self.minmax(inst, Cond::A, false),
            AvgRound => self.average(inst),
            Ishl => self.shift(inst, op::SHL_CL, op::SHL_I, op::SHLX),
            Ushr => self.shift(inst, op::SHR_CL, op::SHR_I, op::SHRX),
            Sshr => self.shift(inst, op::SAR_CL, op::SAR_I, op::SARX),
            Rotl => self.rotate(inst, op::ROL_CL, op::ROL_I, false),
            _ => self.rotate(inst, op::ROR_CL, op::ROR_I, true),
        }
        Ok(())
    }

    /// `dst = if cond { then } else { other }`; the flags are set.
    pub(super) fn cmov(&mut self, variant: Variant, cond: Cond, dst: VReg, other: VReg, then: VReg) {
        self.modify_rm(op::CMOVCC, variant.with_cond(cond), dst, other, Rm::Reg(then));
    }

    /// An operation on two registers, or with an immediate or memory as second operand.
    pub(super) fn alu(&mut self, rows: Rows, variant: Variant, dst: VReg, x: VReg, y: Rmi) {
        match y {
            Rmi::Reg(y) => self.modify_rm(rows.0, variant, dst, x, Rm::Reg(y)),
            Rmi::Mem(amode, trap) => self.modify_rm(rows.0, variant, dst, x, Rm::Mem(amode, trap)),
            Rmi::Imm(imm) => self.modify_imm(rows.1, variant, dst, x, imm),
        }
    }

    /// Operands of a commutative operation: what may be an immediate or memory comes second, and the first is, if
    /// possible, one that nobody else needs.
    pub(super) fn commute(&self, x: Value, y: Value) -> (Value, Value) {
        if self.constant(x).is_some() && self.constant(y).is_none() {
            return (y, x);
        }
        if self.constant(y).is_some() || self.is_load(y) {
            return (x, y);
        }
        // Of two, the one that a loop carries stays in its register; else the older one, which may have been spilled
        // meanwhile, is the one that may be memory.
        let rank = |value: Value| {
            let carried = self.data(value).opcode == Opcode::BlockParam;
            (self.select.facts.used_once(value), carried, value)
        };
        if self.is_load(x) || rank(y) > rank(x) { (y, x) } else { (x, y) }
    }

    /// Whether a load might be taken in here.
    fn is_load(&self, value: Value) -> bool {
        self.unique
            && matches!(self.data(value).opcode, Opcode::Load | Opcode::StackLoad)
            && self.select.can_sink(value)
    }

    fn lower_iadd(&mut self, inst: Value, x: Value, y: Value) {
        let (x, y) = self.commute(x, y);
        let ty = self.ty(inst);
        let dst = self.dst(inst);
        if ty.bits() >= 32 && self.wants_lea(x, y) {
            let amode = self.amode(inst, 0);
            if !matches!(amode, Amode { base: Base::None, .. }) {
                self.lea(wide(ty), dst, amode);
                return;
            }
        }
        let src = self.value(x);
        let y = self.wide_rmi(y);
        self.alu(ADD, wide(ty), dst, src, y);
    }

    /// Whether `lea` computes `x + y` better than `add`: it adds three things at once, or it spares a copy.
    pub(super) fn wants_lea(&self, x: Value, y: Value) -> bool {
        let ty = self.ty(x);
        let (sx, sy) = (self.strip(x), self.strip(y));
        if self.scaled(sx, ty).is_some() || self.scaled(sy, ty).is_some() {
            return true;
        }
        if matches!(self.data(sx).opcode, Opcode::StackAddr) || self.pinned(sx).is_some() {
            return self.imm32(y).is_some();
        }
        let copied = !self.select.facts.used_once(x);
        match self.constant(y) {
            Some(c) => {
                i32::try_from(c).is_ok() && (copied || self.only(sx, Opcode::Iadd) && self.ty(sx) == ty)
            }
            None => copied && !self.is_load(y) && !self.select.facts.used_once(y),
        }
    }

    fn lower_isub(&mut self, inst: Value, x: Value, y: Value) {
        let (dst, variant) = (self.dst(inst), wide(self.ty(inst)));
        if self.constant(x) == Some(0) {
            let y = self.value(y);
            self.modify(op::NEG_R, variant, dst, y);
            return;
        }
        let negated = self.imm32(y).and_then(i32::checked_neg);
        if let Some(imm) = negated
            && self.ty(inst).bits() >= 32
            && !self.select.facts.used_once(x)
        {
            let x = self.value(x);
            self.lea(variant, dst, Amode::reg(x, imm));
            return;
        }
        let x = self.value(x);
        let y = self.wide_rmi(y);
        self.alu(SUB, variant, dst, x, y);
    }

    fn lower_imul(&mut self, inst: Value, x: Value, y: Value) {
        let (x, y) = self.commute(x, y);
        let (dst, variant) = (self.dst(inst), wide(self.ty(inst)));
        let Some(factor) = self.imm32(y) else {
            let x = self.value(x);
            let y = self.wide_rm(y);
            self.modify_rm(op::IMUL_RM, variant, dst, x, y);
            return;
        };
        match factor {
            3 | 5 | 9 if self.ty(inst).bits() >= 32 => {
                let x = self.value(x);
                let shift = (factor - 1).trailing_zeros() as u8;
                self.lea(variant, dst, Amode::indexed(x, x, shift, 0));
            }
            _ if factor > 0 && factor.count_ones() == 1 => {
                let x = self.value(x);
                self.modify_imm(op::SHL_I, variant, dst, x, factor.trailing_zeros() as i32);
            }
            _ => match self.wide_rm(x) {
                Rm::Reg(x) => self.machine().inst(op::IMUL_RMI, variant).write(dst).read(x).imm(factor).end(),
                Rm::Mem(amode, trap) => {
                    let inst = self.machine().inst(op::IMUL_RMI, variant).write(dst).mem(amode);
                    inst.imm(factor).trap(trap);
                }
            },
        }
    }

    fn minmax(&mut self, inst: Value, keep_first: Cond, signed: bool) {
        let (ty, dst) = (self.ty(inst), self.dst(inst));
        let bits = ty.bits().max(32);
        let [x, y] = [0, 1].map(|k| {
            let arg = self.arg(inst, k);
            match (ty.bits() < 32, signed) {
                (false, _) => self.value(arg),
                (true, true) => self.sext(arg, bits),
                (true, false) => self.zext(arg),
            }
        });
        self.machine().inst(op::CMP_RM, wide(ty)).read(x).read(y);
        self.cmov(wide(ty), keep_first, dst, y, x);
    }

    /// `(x + y + 1) >> 1` without overflow: `(x | y) - ((x ^ y) >> 1)`.
    fn average(&mut self, inst: Value) {
        let (ty, dst) = (self.ty(inst), self.dst(inst));
        let (x, y) = (self.arg(inst, 0), self.arg(inst, 1));
        let (x, y) = (self.zext(x), self.zext(y));
        let either = self.op2(op::OR_RM, wide(ty), x, y);
        let differ = self.op2(op::XOR_RM, wide(ty), x, y);
        let half = self.op2i(op::SHR_I, wide(ty), differ, 1);
        self.modify_rm(op::SUB_RM, wide(ty), dst, either, Rm::Reg(half));
    }

    /// The value shifted right is extended as the shift needs; a narrow amount is masked.
    fn shift(&mut self, inst: Value, by_cl: RowId, by_imm: RowId, bmi2: RowId) {
        let (ty, dst) = (self.ty(inst), self.dst(inst));
        let (x, amount) = (self.arg(inst, 0), self.arg(inst, 1));
        let narrow = ty.bits() < 32;
        let src = match self.data(inst).opcode {
            Opcode::Ushr if narrow => self.zext(x),
            Opcode::Sshr if narrow => self.sext(x, 32),
            _ => self.value(x),
        };
        if let Some(amount) = self.constant(amount) {
            let amount = amount as i32 & (ty.bits() as i32 - 1);
            match amount {
                0 => self.write_rm(op::MOV_RM, wide(ty), dst, Rm::Reg(src)),
                1 if by_imm == op::SHL_I && !narrow && !self.select.facts.used_once(x) => {
                    self.lea(wide(ty), dst, Amode::indexed(src, src, 0, 0));
                }
                _ => self.modify_imm(by_imm, wide(ty), dst, src, amount),
            }
            return;
        }
        let mut amount = self.value(amount);
        if narrow {
            amount = self.op2i(op::AND_RI, Variant::S32, amount, ty.bits() as i32 - 1);
        }
        if self.has(Feature::Bmi2) {
            self.machine().inst(bmi2, wide(ty)).write(dst).read(src).read(amount);
        } else {
            self.machine().inst(by_cl, wide(ty)).modify(dst, src).read_fixed(amount, gpr::RCX);
        }
    }

    /// Rotates of 8 and 16 bits are instructions of that size, which take the amount modulo the size.
    fn rotate(&mut self, inst: Value, by_cl: RowId, by_imm: RowId, right: bool) {
        let (ty, dst) = (self.ty(inst), self.dst(inst));
        let bits = ty.bits() as i32;
        let amount = self.arg(inst, 1);
        let src = self.arg(inst, 0);
        let src = self.value(src);
        let Some(amount) = self.constant(amount) else {
            let amount = self.value(amount);
            self.machine().inst(by_cl, exact(ty)).modify(dst, src).read_fixed(amount, gpr::RCX);
            return;
        };
        let amount = amount as i32 & (bits - 1);
        if bits >= 32 && self.has(Feature::Bmi2) {
            let amount = if right { amount } else { -amount & (bits - 1) };
            self.machine().inst(op::RORX, exact(ty)).write(dst).read(src).imm(amount);
        } else {
            self.modify_imm(by_imm, exact(ty), dst, src, amount);
        }
    }

    pub(super) fn lower_logic(&mut self, inst: Value) -> Result<(), CodegenError> {
        let ty = self.ty(inst);
        if ty.is_float() {
            return self.lower_float_logic(inst);
        }
        let x = self.arg(inst, 0);
        use Opcode::*;
        match self.data(inst).opcode {
            Band => self.lower_band(inst, x, self.arg(inst, 1)),
            Bor => self.logic(OR, inst, x, self.arg(inst, 1)),
            Bxor => self.logic(XOR, inst, x, self.arg(inst, 1)),
            Bnot => {
                let (dst, x) = (self.dst(inst), self.value(x));
                self.modify(op::NOT_R, wide(ty), dst, x);
            }
            BandNot => self.and_not(inst, x, self.arg(inst, 1)),
            BorNot => self.logic_not(OR, inst, x, self.arg(inst, 1)),
            BxorNot => self.logic_not(XOR, inst, x, self.arg(inst, 1)),
            _ => self.bitselect(inst, x),
        }
        Ok(())
    }

    fn logic(&mut self, rows: Rows, inst: Value, x: Value, y: Value) {
        let (x, y) = self.commute(x, y);
        let (dst, variant) = (self.dst(inst), wide(self.ty(inst)));
        let x = self.value(x);
        let y = self.wide_rmi(y);
        self.alu(rows, variant, dst, x, y);
    }

    fn lower_band(&mut self, inst: Value, x: Value, y: Value) {
        let (x, y) = self.commute(x, y);
        let ty = self.ty(inst);
        match self.unsigned_constant(y) {
            Some(0xff) if ty != I8 => self.mask(inst, x, I8),
            Some(0xffff) if ty != I16 => self.mask(inst, x, I16),
            Some(0xffff_ffff) if ty == I64 => self.mask(inst, x, sphex_ir::types::I32),
            // The upper half of the mask is zero, and so is what a 32-bit operation leaves there.
            Some(imm) if ty == I64 && imm >> 32 == 0 => {
                let (dst, x) = (self.dst(inst), self.value(x));
                self.modify_imm(op::AND_RI, Variant::S32, dst, x, imm as i32);
            }
            Some(_) => self.logic(AND, inst, x, y),
            None if self.only(y, Opcode::Bnot) && self.andn_at(ty) => {
                let y = self.arg(y, 0);
                self.and_not(inst, x, y);
            }
            None if self.only(x, Opcode::Bnot) && self.andn_at(ty) => {
                let x = self.arg(x, 0);
                self.and_not(inst, y, x);
            }
            None if self.is_one_less(y, x) || self.is_one_less(x, y) => {
                let dst = self.dst(inst);
                let kept = if self.is_one_less(y, x) { x } else { y };
                let kept = self.value(kept);
                self.machine().inst(op::BLSR, wide(ty)).write(dst).read(kept);
            }
            None => self.logic(AND, inst, x, y),
        }
    }

    /// Whether `x` is `y - 1` and nobody else wants it, so that `x & y` clears the lowest bit.
    fn is_one_less(&self, x: Value, y: Value) -> bool {
        let less = self.only(x, Opcode::Iadd) && self.constant(self.arg(x, 1)) == Some(-1);
        less && self.arg(x, 0) == y && self.andn_at(self.ty(x))
    }

    /// Keeps the low bits that a type has.
    fn mask(&mut self, inst: Value, x: Value, to: Type) {
        let (dst, x) = (self.dst(inst), self.value(x));
        self.zext_into(dst, x, to);
    }

    fn andn_at(&self, ty: Type) -> bool {
        ty.bits() >= 32 && self.has(Feature::Bmi1)
    }

    /// `x & !y`.
    fn and_not(&mut self, inst: Value, x: Value, y: Value) {
        let ty = self.ty(inst);
        if !self.andn_at(ty) {
            self.logic_not(AND, inst, x, y);
            return;
        }
        let dst = self.dst(inst);
        let y = self.value(y);
        match self.wide_rm(x) {
            Rm::Reg(x) => self.machine().inst(op::ANDN, wide(ty)).write(dst).read(y).read(x).end(),
            Rm::Mem(amode, trap) => {
                self.machine().inst(op::ANDN, wide(ty)).write(dst).read(y).mem(amode).trap(trap).end();
            }
        }
    }

    /// The operation on `x` and the complement of `y`.
    fn logic_not(&mut self, rows: Rows, inst: Value, x: Value, y: Value) {
        let (dst, variant) = (self.dst(inst), wide(self.ty(inst)));
        let y = self.value(y);
        let complement = self.gpr();
        self.modify(op::NOT_R, variant, complement, y);
        let x = self.wide_rmi(x);
        self.alu(rows, variant, dst, complement, x);
    }

    /// `y ^ ((x ^ y) & c)`.
    fn bitselect(&mut self, inst: Value, c: Value) {
        let (dst, variant) = (self.dst(inst), wide(self.ty(inst)));
        let (x, y) = (self.arg(inst, 1), self.arg(inst, 2));
        let (c, x, y) = (self.value(c), self.value(x), self.value(y));
        let differ = self.op2(op::XOR_RM, variant, x, y);
        let chosen = self.op2(op::AND_RM, variant, differ, c);
        self.modify_rm(op::XOR_RM, variant, dst, chosen, Rm::Reg(y));
    }
}

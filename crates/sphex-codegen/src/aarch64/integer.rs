//! Integer arithmetic, shifts and bitwise operations.
//!
//! Needs: matchers. Gives: the lowering of `iadd` to `rotr` and of the bitwise operations.
//!
//! A sum takes in what its last operand may be: an immediate, a product (`madd`), a shifted or an extended register.

use super::{Lower, wide};
use crate::error::CodegenError;
use crate::regalloc::VReg;
use sphex_asm::aarch64::operand::{Cond, Shift, Variant, field};
use sphex_asm::aarch64::{RowId, op};
use sphex_ir::types::{I8, I16};
use sphex_ir::{IntCC, Opcode, Value};

impl Lower<'_> {
    pub(super) fn lower_integer(&mut self, inst: Value) -> Result<(), CodegenError> {
        use Opcode::*;
        let variant = wide(self.ty(inst));
        match self.data(inst).opcode {
            Iadd => self.add(inst),
            Isub => self.sub(inst),
            Imul => {
                let (dst, x, y) = self.binary(inst);
                self.op2_into(op::MUL, variant, dst, x, y);
            }
            Ineg => {
                let (dst, x) = self.unary(inst);
                self.op1_into(op::NEG_R, variant, dst, x);
            }
            Iabs => {
                let dst = self.dst(inst);
                let x = self.arg(inst, 0);
                let x = if self.ty(inst).bits() < 32 { self.sext(x) } else { self.value(x) };
                self.machine().inst(op::CMP_RI, variant).read(x).imm(0);
                self.machine().inst(op::CSNEG, Cond::Ge.with(variant)).write(dst).read(x).read(x);
            }
            Smin => self.least(inst, IntCC::Slt),
            Smax => self.least(inst, IntCC::Sgt),
            Umin => self.least(inst, IntCC::Ult),
            Umax => self.least(inst, IntCC::Ugt),
            Ishl | Ushr | Sshr => self.shift(inst),
            _ => self.rotate(inst),
        }
        Ok(())
    }

    pub(super) fn unary(&mut self, inst: Value) -> (VReg, VReg) {
        let (dst, x) = (self.dst(inst), self.arg(inst, 0));
        (dst, self.value(x))
    }

    pub(super) fn binary(&mut self, inst: Value) -> (VReg, VReg, VReg) {
        let (dst, x, y) = (self.dst(inst), self.arg(inst, 0), self.arg(inst, 1));
        let x = self.value(x);
        (dst, x, self.value(y))
    }

    fn add(&mut self, inst: Value) {
        let (dst, variant) = (self.dst(inst), wide(self.ty(inst)));
        let (mut x, mut y) = (self.arg(inst, 0), self.arg(inst, 1));
        let taken = |lower: &Self, v: Value| {
            lower.constant(v).is_some()
                || lower.only(v, Opcode::Imul)
                || lower.only(v, Opcode::Ishl)
                || lower.extension(v).is_some()
        };
        if taken(self, x) && !taken(self, y) {
            (x, y) = (y, x);
        }
        if let Some(imm) = self.constant(y) {
            let x = self.value(x);
            return self.add_imm_into(variant, dst, x, imm);
        }
        if self.only(y, Opcode::Imul) {
            return self.multiply_add(op::MADD, variant, dst, x, y);
        }
        if let Some((inner, extend)) = self.extension(y) {
            let (x, y) = (self.value(x), self.value(inner));
            self.machine().inst(op::ADD_RRE, variant).write(dst).read(x).read(y).imm(extend.imm(0) as i32);
            return;
        }
        let x = self.value(x);
        self.shifted_into([op::ADD_RRR, op::ADD_RRS], variant, dst, x, y);
    }

    fn sub(&mut self, inst: Value) {
        let (dst, variant) = (self.dst(inst), wide(self.ty(inst)));
        let (x, y) = (self.arg(inst, 0), self.arg(inst, 1));
        if let Some(imm) = self.constant(y) {
            let x = self.value(x);
            return self.add_imm_into(variant, dst, x, imm.wrapping_neg());
        }
        if self.constant(x) == Some(0) {
            let y = self.value(y);
            return self.op1_into(op::NEG_R, variant, dst, y);
        }
        if self.only(y, Opcode::Imul) {
            return self.multiply_add(op::MSUB, variant, dst, x, y);
        }
        if let Some((inner, extend)) = self.extension(y) {
            let (x, y) = (self.value(x), self.value(inner));
            self.machine().inst(op::SUB_RRE, variant).write(dst).read(x).read(y).imm(extend.imm(0) as i32);
            return;
        }
        let x = self.value(x);
        self.shifted_into([op::SUB_RRR, op::SUB_RRS], variant, dst, x, y);
    }

    /// `dst = x ± product`.
    fn multiply_add(&mut self, row: RowId, variant: Variant, dst: VReg, x: Value, product: Value) {
        let (a, b) = (self.arg(product, 0), self.arg(product, 1));
        let (x, a) = (self.value(x), self.value(a));
        let b = self.value(b);
        self.machine().inst(row, variant).write(dst).read(a).read(b).read(x);
    }

    /// The operand that compares so with the other.
    fn least(&mut self, inst: Value, cc: IntCC) {
        let (dst, variant) = (self.dst(inst), wide(self.ty(inst)));
        let (x, y) = (self.arg(inst, 0), self.arg(inst, 1));
        let [x, y] = [x, y].map(|value| self.comparable(value, matches!(cc, IntCC::Slt | IntCC::Sgt)));
        self.machine().inst(op::CMP_RR, variant).read(x).read(y);
        let cond = super::compare::int_cond(cc).with(variant);
        self.machine().inst(op::CSEL, cond).write(dst).read(x).read(y);
    }

    /// The amount of a shift, if it is constant, below the type's width.
    pub(super) fn amount(&self, inst: Value) -> Option<i64> {
        let amount = self.constant(self.arg(inst, 1))?;
        Some(amount & i64::from(self.ty(inst).bits() - 1))
    }

    /// The register of a shift's amount; of a narrow type's the bits that count.
    fn amount_reg(&mut self, inst: Value) -> VReg {
        let amount = self.arg(inst, 1);
        let amount = self.value(amount);
        match self.ty(inst).bits() {
            bits @ (8 | 16) => self.op2i(op::AND_RRI, Variant::S32, amount, i64::from(bits) - 1),
            _ => amount,
        }
    }

    fn shift(&mut self, inst: Value) {
        let (dst, ty) = (self.dst(inst), self.ty(inst));
        let (variant, opcode, x) = (wide(ty), self.data(inst).opcode, self.arg(inst, 0));
        let narrow = ty.bits() < 32;
        if let Some(amount) = self.amount(inst) {
            let x = self.value(x);
            let width = ty.bits() as i64 - amount;
            let (row, imm) = match opcode {
                Opcode::Ishl => (op::LSL_RRI, amount),
                Opcode::Ushr if narrow => (op::UBFX, field(amount as u8, width as u8)),
                Opcode::Ushr => (op::LSR_RRI, amount),
                _ if narrow => (op::SBFX, field(amount as u8, width as u8)),
                _ => (op::ASR_RRI, amount),
            };
            return self.op2i_into(row, variant, dst, x, imm);
        }
        let x = match opcode {
            Opcode::Ushr if narrow => self.zext(x),
            Opcode::Sshr if narrow => self.sext(x),
            _ => self.value(x),
        };
        let amount = self.amount_reg(inst);
        let row = match opcode {
            Opcode::Ishl => op::LSL_RRR,
            Opcode::Ushr => op::LSR_RRR,
            _ => op::ASR_RRR,
        };
        self.op2_into(row, variant, dst, x, amount);
    }

    fn rotate(&mut self, inst: Value) {
        let (dst, ty) = (self.dst(inst), self.ty(inst));
        let (variant, left, x) = (wide(ty), self.data(inst).opcode == Opcode::Rotl, self.arg(inst, 0));
        let bits = i64::from(ty.bits());
        if matches!(ty, I8 | I16) {
            // Both halves of the result from a value with zeros above.
            let (x, amount) = (self.zext(x), self.amount_reg(inst));
            let negative = self.op1(op::NEG_R, Variant::S32, amount);
            let other = self.op2i(op::AND_RRI, Variant::S32, negative, bits - 1);
            let (up, down) = if left { (amount, other) } else { (other, amount) };
            let high = self.op2(op::LSL_RRR, Variant::S32, x, up);
            let low = self.op2(op::LSR_RRR, Variant::S32, x, down);
            return self.op2_into(op::ORR_RRR, Variant::S32, dst, high, low);
        }
        let x = self.value(x);
        if let Some(amount) = self.amount(inst) {
            let right = if left { (bits - amount) & (bits - 1) } else { amount };
            self.machine().inst(op::EXTR, variant).write(dst).read(x).read(x).imm(right as i32);
            return;
        }
        let mut amount = self.amount_reg(inst);
        if left {
            amount = self.op1(op::NEG_R, Variant::S32, amount);
        }
        self.op2_into(op::ROR_RRR, variant, dst, x, amount);
    }

    pub(super) fn lower_logic(&mut self, inst: Value) -> Result<(), CodegenError> {
        use Opcode::*;
        let (dst, ty, opcode) = (self.dst(inst), self.ty(inst), self.data(inst).opcode);
        if !ty.is_int() {
            return Err(self.error(inst));
        }
        let variant = wide(ty);
        match opcode {
            Bnot => {
                let x = self.arg(inst, 0);
                let x = self.value(x);
                self.op1_into(op::MVN_R, variant, dst, x);
            }
            Bitselect => {
                let [c, x, y] = [0, 1, 2].map(|k| self.arg(inst, k));
                let (c, x) = (self.value(c), self.value(x));
                let y = self.value(y);
                let then = self.op2(op::AND_RRR, variant, x, c);
                let other = self.op2(op::BIC_RRR, variant, y, c);
                self.op2_into(op::ORR_RRR, variant, dst, then, other);
            }
            BandNot | BorNot | BxorNot => {
                let (x, y) = (self.arg(inst, 0), self.arg(inst, 1));
                let rows = match opcode {
                    BandNot => [op::BIC_RRR, op::BIC_RRS],
                    BorNot => [op::ORN_RRR, op::ORN_RRS],
                    _ => [op::EON_RRR, op::EON_RRS],
                };
                let x = self.value(x);
                self.shifted_into(rows, variant, dst, x, y);
            }
            _ => self.logic(inst, dst, variant),
        }
        Ok(())
    }

    fn logic(&mut self, inst: Value, dst: VReg, variant: Variant) {
        let (mut x, mut y) = (self.arg(inst, 0), self.arg(inst, 1));
        let (imm, plain, not) = match self.data(inst).opcode {
            Opcode::Band => (op::AND_RRI, [op::AND_RRR, op::AND_RRS], op::BIC_RRR),
            Opcode::Bor => (op::ORR_RRI, [op::ORR_RRR, op::ORR_RRS], op::ORN_RRR),
            _ => (op::EOR_RRI, [op::EOR_RRR, op::EOR_RRS], op::EON_RRR),
        };
        let taken = |lower: &Self, v: Value| {
            lower.constant(v).is_some() || lower.only(v, Opcode::Ishl) || lower.only(v, Opcode::Bnot)
        };
        if taken(self, x) && !taken(self, y) {
            (x, y) = (y, x);
        }
        if let Some(value) = self.logical(y) {
            let x = self.value(x);
            return self.op2i_into(imm, variant, dst, x, value);
        }
        if self.only(y, Opcode::Bnot) {
            let y = self.arg(y, 0);
            let (x, y) = (self.value(x), self.value(y));
            return self.op2_into(not, variant, dst, x, y);
        }
        let x = self.value(x);
        self.shifted_into(plain, variant, dst, x, y);
    }

    /// `dst = x << amount` or the like, of a whole register.
    pub(super) fn shift_imm(&mut self, how: Shift, variant: Variant, x: VReg, amount: i64) -> VReg {
        let row = match how {
            Shift::Lsl => op::LSL_RRI,
            Shift::Lsr => op::LSR_RRI,
            Shift::Asr | Shift::Ror => op::ASR_RRI,
        };
        self.op2i(row, variant, x, amount)
    }
}

//! Counting and rearranging bits, with and without the instructions for it.
//!
//! Needs: matchers. Gives: the lowering of `clz`, `cls`, `ctz`, `popcnt`, `bitrev`, `bswap`.

use super::{Lower, Rm, Rmi, wide};
use crate::error::CodegenError;
use crate::regalloc::VReg;
use sphex_asm::x64::features::Feature;
use sphex_asm::x64::{Cond, RowId, Variant, op};
use sphex_ir::types::I16;
use sphex_ir::{Opcode, Value};

impl Lower<'_> {
    pub(super) fn lower_bits(&mut self, inst: Value) -> Result<(), CodegenError> {
        let (x, ty) = (self.arg(inst, 0), self.ty(inst));
        match self.data(inst).opcode {
            Opcode::Clz => {
                let x = self.zext(x);
                let dst = self.dst(inst);
                self.leading_zeros(dst, x, wide(ty), ty.bits());
            }
            Opcode::Cls => {
                // Bits equal to the sign: zeros above the first bit that differs from it.
                let x = self.sext(x, ty.bits().max(32));
                let width = ty.bits().max(32) as i32;
                let sign = self.op2i(op::SAR_I, wide(ty), x, width - 1);
                let differ = self.op2(op::XOR_RM, wide(ty), x, sign);
                let (dst, count) = (self.dst(inst), self.gpr());
                self.leading_zeros(count, differ, wide(ty), ty.bits().max(32));
                let extra = width - ty.bits() as i32 + 1;
                self.modify_imm(op::SUB_RI, wide(ty), dst, count, extra);
            }
            Opcode::Ctz => self.trailing_zeros(inst, x),
            Opcode::Popcnt => self.popcnt(inst, x),
            Opcode::Bitrev => self.bitrev(inst, x),
            _ => {
                let (dst, x) = (self.dst(inst), self.value(x));
                if ty == I16 {
                    self.modify_imm(op::ROL_I, Variant::S16, dst, x, 8);
                } else {
                    self.modify(op::BSWAP, wide(ty), dst, x);
                }
            }
        }
        Ok(())
    }

    /// Leading zeros of the low `bits` bits of `x`, whose other bits are zero.
    fn leading_zeros(&mut self, dst: VReg, x: VReg, variant: Variant, bits: u32) {
        let width = if variant == Variant::S64 { 64 } else { 32 };
        if self.has(Feature::Lzcnt) {
            let count = if bits == width { dst } else { self.gpr() };
            self.write_rm(op::LZCNT, variant, count, Rm::Reg(x));
            if bits != width {
                self.modify_imm(op::SUB_RI, variant, dst, count, (width - bits) as i32);
            }
            return;
        }
        // The index of the highest bit, or -1.
        let none = self.imm(if width == 64 { u64::MAX } else { u64::from(u32::MAX) });
        let top = self.imm(u64::from(bits - 1));
        let (found, index) = (self.gpr(), self.gpr());
        self.write_rm(op::BSR, variant, found, Rm::Reg(x));
        self.cmov(variant, Cond::E, index, found, none);
        self.modify_rm(op::SUB_RM, variant, dst, top, Rm::Reg(index));
    }

    fn trailing_zeros(&mut self, inst: Value, x: Value) {
        let ty = self.ty(inst);
        let (dst, variant) = (self.dst(inst), wide(ty));
        let mut x = self.value(x);
        if ty.bits() < 32 {
            // A bit just above the value stops the count.
            x = self.op2i(op::OR_RI, Variant::S32, x, 1 << ty.bits());
        }
        if self.has(Feature::Bmi1) {
            self.write_rm(op::TZCNT, variant, dst, Rm::Reg(x));
            return;
        }
        let none = self.imm(u64::from(ty.bits()));
        let found = self.gpr();
        self.write_rm(op::BSF, variant, found, Rm::Reg(x));
        self.cmov(variant, Cond::E, dst, found, none);
    }

    fn popcnt(&mut self, inst: Value, x: Value) {
        let ty = self.ty(inst);
        let (dst, variant) = (self.dst(inst), wide(ty));
        let x = self.zext(x);
        if self.has(Feature::Popcnt) {
            self.write_rm(op::POPCNT, variant, dst, Rm::Reg(x));
            return;
        }
        // Sums of neighbouring bits, of pairs, of nibbles; then all bytes by a multiplication.
        let m = |byte: u8| u64::from_ne_bytes([byte; 8]);
        let half = self.shifted(op::SHR_I, variant, x, 1);
        let odd = self.masked(variant, half, m(0x55));
        let pairs = self.op2(op::SUB_RM, variant, x, odd);
        let low = self.masked(variant, pairs, m(0x33));
        let high = self.shifted(op::SHR_I, variant, pairs, 2);
        let high = self.masked(variant, high, m(0x33));
        let nibbles = self.op2(op::ADD_RM, variant, low, high);
        let high = self.shifted(op::SHR_I, variant, nibbles, 4);
        let bytes = self.op2(op::ADD_RM, variant, nibbles, high);
        let bytes = self.masked(variant, bytes, m(0x0f));
        let ones = self.pattern(variant, m(0x01));
        let sum = self.op2(op::IMUL_RM, variant, bytes, ones);
        let top = if variant == Variant::S64 { 56 } else { 24 };
        self.modify_imm(op::SHR_I, variant, dst, sum, top);
    }

    fn shifted(&mut self, row: RowId, variant: Variant, x: VReg, amount: i32) -> VReg {
        self.op2i(row, variant, x, amount)
    }

    /// A register with a repeated pattern of the operation's size.
    fn pattern(&mut self, variant: Variant, mask: u64) -> VReg {
        self.imm(if variant == Variant::S64 { mask } else { mask & 0xffff_ffff })
    }

    fn masked(&mut self, variant: Variant, x: VReg, mask: u64) -> VReg {
        let dst = self.gpr();
        let mask = match variant {
            Variant::S64 => Rmi::Reg(self.imm(mask)),
            _ => Rmi::Imm(mask as i32),
        };
        self.alu(super::integer::AND, variant, dst, x, mask);
        dst
    }

    /// Exchanges neighbouring bits, pairs and nibbles; then bytes.
    fn bitrev(&mut self, inst: Value, x: Value) {
        let ty = self.ty(inst);
        let (dst, variant) = (self.dst(inst), wide(ty));
        let mut x = self.value(x);
        for (amount, byte) in [(1, 0x55), (2, 0x33), (4, 0x0f)] {
            let mask = u64::from_ne_bytes([byte; 8]);
            let low = self.masked(variant, x, mask);
            let low = self.shifted(op::SHL_I, variant, low, amount);
            let high = self.shifted(op::SHR_I, variant, x, amount);
            let high = self.masked(variant, high, mask);
            x = self.op2(op::OR_RM, variant, low, high);
        }
        match ty.bits() {
            8 => self.machine().copy(dst, x),
            16 => self.modify_imm(op::ROL_I, Variant::S16, dst, x, 8),
            _ => self.modify(op::BSWAP, variant, dst, x),
        }
    }
}

//! Counting and reversing bits.
//!
//! Needs: matchers. Gives: the lowering of `bitrev`, `clz`, `cls`, `ctz`, `bswap`, `popcnt`.
//!
//! Types narrower than 32 bits are moved to the top of 32 bits, or get a one where the count must end.

use super::{Lower, wide};
use crate::error::CodegenError;
use sphex_asm::aarch64::op;
use sphex_asm::aarch64::operand::{Shift, Variant};
use sphex_ir::types::{I8, I16, I64};
use sphex_ir::{Opcode, Value};

impl Lower<'_> {
    pub(super) fn lower_bits(&mut self, inst: Value) -> Result<(), CodegenError> {
        let (dst, ty, x) = (self.dst(inst), self.ty(inst), self.arg(inst, 0));
        let (variant, above) = (wide(ty), 32 - i64::from(ty.bits().min(32)));
        match self.data(inst).opcode {
            Opcode::Bitrev => {
                let x = self.value(x);
                if above == 0 {
                    self.op1_into(op::RBIT, variant, dst, x);
                } else {
                    let reversed = self.op1(op::RBIT, variant, x);
                    self.op2i_into(op::LSR_RRI, variant, dst, reversed, above);
                }
            }
            Opcode::Clz if above == 0 => {
                let x = self.value(x);
                self.op1_into(op::CLZ, variant, dst, x);
            }
            Opcode::Clz => {
                let x = self.zext(x);
                let count = self.op1(op::CLZ, variant, x);
                self.op2i_into(op::SUB_RRI, variant, dst, count, above);
            }
            Opcode::Cls if above == 0 => {
                let x = self.value(x);
                self.op1_into(op::CLS, variant, dst, x);
            }
            Opcode::Cls => {
                let x = self.sext(x);
                let count = self.op1(op::CLS, variant, x);
                self.op2i_into(op::SUB_RRI, variant, dst, count, above);
            }
            Opcode::Ctz => {
                let mut x = self.value(x);
                if above > 0 {
                    x = self.op2i(op::ORR_RRI, variant, x, 1 << ty.bits());
                }
                let reversed = self.op1(op::RBIT, variant, x);
                self.op1_into(op::CLZ, variant, dst, reversed);
            }
            Opcode::Bswap => {
                let x = self.value(x);
                match ty {
                    I16 => self.op1_into(op::REV16, variant, dst, x),
                    I64 => self.op1_into(op::REV_X, Variant::NONE, dst, x),
                    _ => self.op1_into(op::REV_W, Variant::NONE, dst, x),
                }
            }
            _ => {
                let x = if ty.bits() < 64 { self.zext(x) } else { self.value(x) };
                let [bytes, counts, sum] = [self.vec(), self.vec(), self.vec()];
                self.op1_into(op::FMOV_DX, Variant::NONE, bytes, x);
                self.op1_into(op::VCNT, Variant::NONE, counts, bytes);
                self.op1_into(op::ADDV, Variant::S8, sum, counts);
                self.op1_into(op::FMOV_WS, Variant::NONE, dst, sum);
            }
        }
        Ok(())
    }

    /// A value of a narrow type at the top of 32 bits.
    pub(super) fn at_top(&mut self, value: Value) -> crate::regalloc::VReg {
        let ty = self.ty(value);
        let value = self.value(value);
        match ty {
            I8 => self.shift_imm(Shift::Lsl, Variant::S32, value, 24),
            I16 => self.shift_imm(Shift::Lsl, Variant::S32, value, 16),
            _ => value,
        }
    }
}

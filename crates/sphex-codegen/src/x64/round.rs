//! Rounding floats to integral values.
//!
//! Needs: matchers. Gives: the lowering of `ceil`, `floor`, `trunc`, `nearest`.
//!
//! Without `roundss`, adding and taking away 2^52 (2^23) rounds a smaller magnitude to nearest; from there the other modes
//! are one step away. Greater magnitudes are integral, and NaN compares false and passes with its quiet bit set.

use super::convert::{Floats, floats};
use super::{Lower, Rm};
use crate::error::CodegenError;
use crate::regalloc::VReg;
use sphex_asm::x64::features::Feature;
use sphex_asm::x64::{Variant, op};
use sphex_ir::{Opcode, Value};

/// Predicate of `cmpss`: less than.
const LESS: i32 = 1;

impl Lower<'_> {
    pub(super) fn lower_round(&mut self, inst: Value) -> Result<(), CodegenError> {
        let f = floats(self.ty(inst));
        let x = self.arg(inst, 0);
        let opcode = self.data(inst).opcode;
        if !self.has(Feature::Sse41) {
            self.round_by_sums(inst, x, f);
            return Ok(());
        }
        // Bit 3: no inexact exception.
        let mode = 8 + match opcode {
            Opcode::Nearest => 0,
            Opcode::Floor => 1,
            Opcode::Ceil => 2,
            _ => 3,
        };
        let dst = self.dst(inst);
        match self.float_rm(x) {
            Rm::Reg(x) => self.machine().inst(f.round, Variant::NONE).write(dst).read(x).imm(mode).end(),
            Rm::Mem(amode, trap) => {
                self.machine().inst(f.round, Variant::NONE).write(dst).mem(amode).imm(mode).trap(trap).end();
            }
        }
        Ok(())
    }

    fn round_by_sums(&mut self, inst: Value, x: Value, f: Floats) {
        let x = self.value(x);
        let sign_mask = self.mask_memory(f.double, 1 << 63);
        let magnitude_mask = self.mask_memory(f.double, !(1 << 63));
        let magic = self.float_memory(if f.double { 2f64.powi(52) } else { 2f64.powi(23) }, f.double);
        let sign = self.xmm2(op::ANDPS, x, sign_mask);
        let magnitude = self.xmm2(op::ANDPS, x, magnitude_mask);
        // All ones where the magnitude is small enough to have a fraction; false of NaN.
        let small = self.xmm();
        self.compare_imm(f, small, magnitude, magic, LESS);
        let raised = self.xmm2(f.add, magnitude, magic);
        let nearest = self.xmm2(f.sub, raised, magic);
        let rounded = match self.data(inst).opcode {
            Opcode::Nearest => nearest,
            // Toward zero, the magnitude goes down.
            Opcode::Trunc => self.step(f, magnitude, nearest, nearest, true),
            Opcode::Floor => {
                let signed = self.xmm2(op::ORPS, nearest, Rm::Reg(sign));
                self.step(f, x, signed, signed, true)
            }
            _ => {
                let signed = self.xmm2(op::ORPS, nearest, Rm::Reg(sign));
                self.step(f, signed, x, signed, false)
            }
        };
        // Keep the sign of zeros: what was rounded is a magnitude, or has it already.
        let unsigned = self.xmm2(op::ANDPS, rounded, magnitude_mask);
        let signed = self.xmm2(op::ORPS, unsigned, Rm::Reg(sign));
        let chosen = self.xmm2(op::ANDPS, signed, Rm::Reg(small));
        // Taking zero away quiets a NaN and changes no other value.
        let zero = self.xmm();
        self.xmm_zero_into(zero);
        let other = self.xmm2(f.sub, x, Rm::Reg(zero));
        let rest = self.xmm2(op::ANDNPS, small, Rm::Reg(other));
        let dst = self.dst(inst);
        self.modify_rm(op::ORPS, Variant::NONE, dst, chosen, Rm::Reg(rest));
    }

    fn compare_imm(&mut self, f: Floats, dst: VReg, x: VReg, y: Rm, predicate: i32) {
        let emitted = self.machine().inst(f.cmp, Variant::NONE).modify(dst, x);
        match y {
            Rm::Reg(y) => emitted.read(y).imm(predicate).end(),
            Rm::Mem(amode, trap) => emitted.mem(amode).imm(predicate).trap(trap).end(),
        }
    }

    /// `value`, one less (or more) where `x < y`.
    fn step(&mut self, f: Floats, x: VReg, y: VReg, value: VReg, down: bool) -> VReg {
        let passed = self.xmm();
        self.compare_imm(f, passed, x, Rm::Reg(y), LESS);
        let one = self.float_memory(1.0, f.double);
        let loaded = self.xmm();
        let row = if f.double { op::MOVSD_RM } else { op::MOVSS_RM };
        self.write_rm(row, Variant::NONE, loaded, one);
        let one = self.xmm2(op::ANDPS, passed, Rm::Reg(loaded));
        self.xmm2(if down { f.sub } else { f.add }, value, Rm::Reg(one))
    }
}

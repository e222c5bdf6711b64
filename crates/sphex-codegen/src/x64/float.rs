//! Float arithmetic, and logic on the bits of floats.
//!
//! Needs: matchers, the rows by type ([`super::convert::floats`]). Gives: the lowering of `fadd` to `fmax`, constants,
//! bitwise operations.
//!
//! Minimum and maximum: `minss a, b` is `b` if either is NaN or both are zero. Computed both ways round, the two results
//! differ in exactly these cases, and are joined bit by bit: or for minimum; for maximum the disagreeing bits are taken
//! away again. What is NaN then is made the canonical one.

use super::convert::{Floats, floats};
use super::{Lower, Rm};
use crate::error::CodegenError;
use crate::machine::{Amode, Base, ConstantRef};
use crate::regalloc::VReg;
use sphex_asm::x64::features::Feature;
use sphex_asm::x64::{RowId, Variant, op};
use sphex_ir::types::F64;
use sphex_ir::{Opcode, Value};

impl Lower<'_> {
    /// Emits a float zero.
    pub(super) fn xmm_zero_into(&mut self, dst: VReg) {
        self.machine().inst(op::ZERO_PS, Variant::NONE).write(dst);
    }

    /// Emits a load of a float constant.
    pub(super) fn load_float_into(&mut self, dst: VReg, double: bool, constant: ConstantRef) {
        let row = if double { op::MOVSD_RM } else { op::MOVSS_RM };
        let from = Amode::at(Base::Constant(constant), 0);
        self.machine().inst(row, Variant::NONE).write(dst).mem(from);
    }

    pub(super) fn lower_float(&mut self, inst: Value) -> Result<(), CodegenError> {
        let f = floats(self.ty(inst));
        use Opcode::*;
        match self.data(inst).opcode {
            Fadd => self.commutative(inst, f.add),
            Fmul => self.commutative(inst, f.mul),
            Fsub => self.arithmetic(inst, f.sub),
            Fdiv => self.arithmetic(inst, f.div),
            Sqrt => {
                let dst = self.dst(inst);
                let x = self.arg(inst, 0);
                let x = self.float_rm(x);
                self.write_rm(f.sqrt, Variant::NONE, dst, x);
            }
            Fneg => self.with_mask(inst, op::XORPS, 1 << 63),
            Fabs => self.with_mask(inst, op::ANDPS, !(1 << 63)),
            Fcopysign => self.copysign(inst),
            Fmin => self.fmin(inst, f),
            Fmax => self.fmax(inst, f),
            _ => return self.fma(inst, f.double),
        }
        Ok(())
    }

    fn commutative(&mut self, inst: Value, row: RowId) {
        let (x, y) = (self.arg(inst, 0), self.arg(inst, 1));
        let swap = self.float_constant(x).is_some() && self.float_constant(y).is_none();
        let (x, y) = if swap { (y, x) } else { self.commute(x, y) };
        self.float2(inst, row, x, y);
    }

    fn arithmetic(&mut self, inst: Value, row: RowId) {
        let (x, y) = (self.arg(inst, 0), self.arg(inst, 1));
        self.float2(inst, row, x, y);
    }

    fn float2(&mut self, inst: Value, row: RowId, x: Value, y: Value) {
        let dst = self.dst(inst);
        let x = self.value(x);
        let y = self.float_rm(y);
        self.modify_rm(row, Variant::NONE, dst, x, y);
    }

    /// A 16-byte constant with the pattern in each lane. `high` is the pattern for `f64`; for `f32` its sign half.
    pub(super) fn mask_memory(&mut self, double: bool, high: u64) -> Rm {
        let lane = if double { high } else { high >> 32 | (high >> 32) << 32 };
        let mut bytes = [0; 16];
        bytes[..8].copy_from_slice(&lane.to_le_bytes());
        bytes[8..].copy_from_slice(&lane.to_le_bytes());
        let constant = self.machine().constant(&bytes);
        Rm::Mem(Amode::at(Base::Constant(constant), 0), None)
    }

    fn with_mask(&mut self, inst: Value, row: RowId, high: u64) {
        let dst = self.dst(inst);
        let x = self.arg(inst, 0);
        let x = self.value(x);
        let mask = self.mask_memory(self.ty(inst) == F64, high);
        self.modify_rm(row, Variant::NONE, dst, x, mask);
    }

    fn copysign(&mut self, inst: Value) {
        let dst = self.dst(inst);
        let double = self.ty(inst) == F64;
        let (x, y) = (self.arg(inst, 0), self.arg(inst, 1));
        let (x, y) = (self.value(x), self.value(y));
        let magnitude = self.mask_memory(double, !(1 << 63));
        let sign = self.mask_memory(double, 1 << 63);
        let x = self.xmm2(op::ANDPS, x, magnitude);
        let y = self.xmm2(op::ANDPS, y, sign);
        self.modify_rm(op::ORPS, Variant::NONE, dst, x, Rm::Reg(y));
    }

    /// `row dst(x), y` into a new vector register, which is returned.
    pub(super) fn xmm2(&mut self, row: RowId, x: VReg, y: Rm) -> VReg {
        let dst = self.xmm();
        self.modify_rm(row, Variant::NONE, dst, x, y);
        dst
    }

    /// Bits all ones where either is NaN (predicate 3) or neither is (7).
    pub(super) fn xmm_compare(&mut self, f: Floats, x: VReg, y: VReg, predicate: i32) -> VReg {
        let mask = self.xmm();
        self.machine().inst(f.cmp, Variant::NONE).modify(mask, x).read(y).imm(predicate);
        mask
    }

    fn fmin(&mut self, inst: Value, f: Floats) {
        let (x, y) = (self.arg(inst, 0), self.arg(inst, 1));
        let (x, y) = (self.value(x), self.value(y));
        let one = self.xmm2(f.min, x, Rm::Reg(y));
        let other = self.xmm2(f.min, y, Rm::Reg(x));
        let both = self.xmm2(op::ORPS, one, Rm::Reg(other));
        let unordered = self.xmm_compare(f, other, both, 3);
        let joined = self.xmm2(op::ORPS, both, Rm::Reg(unordered));
        self.canonical(inst, f, unordered, joined);
    }

    fn fmax(&mut self, inst: Value, f: Floats) {
        let (x, y) = (self.arg(inst, 0), self.arg(inst, 1));
        let (x, y) = (self.value(x), self.value(y));
        let one = self.xmm2(f.max, x, Rm::Reg(y));
        let other = self.xmm2(f.max, y, Rm::Reg(x));
        let differ = self.xmm2(op::XORPS, one, Rm::Reg(other));
        let both = self.xmm2(op::ORPS, one, Rm::Reg(differ));
        let number = self.xmm2(f.sub, both, Rm::Reg(differ));
        let unordered = self.xmm_compare(f, differ, number, 3);
        self.canonical(inst, f, unordered, number);
    }

    /// Clears the payload bits below the quiet bit where `unordered` is all ones.
    fn canonical(&mut self, inst: Value, f: Floats, unordered: VReg, x: VReg) {
        let (dst, payload) = (self.dst(inst), self.xmm());
        let (row, shift) = if f.double { (op::PSRLQ_I, 13) } else { (op::PSRLD_I, 10) };
        self.modify_imm(row, Variant::NONE, payload, unordered, shift);
        self.modify_rm(op::ANDNPS, Variant::NONE, dst, payload, Rm::Reg(x));
    }

    fn fma(&mut self, inst: Value, double: bool) -> Result<(), CodegenError> {
        if !self.has(Feature::Fma) {
            return self.fma_call(inst, double);
        }
        let [x, y, z] = [0, 1, 2].map(|k| self.arg(inst, k));
        let dst = self.dst(inst);
        let (x, y) = (self.value(x), self.value(y));
        let row = if double { op::VFMADD213SD } else { op::VFMADD213SS };
        match self.float_rm(z) {
            Rm::Reg(z) => self.machine().inst(row, Variant::NONE).modify(dst, x).read(y).read(z).end(),
            Rm::Mem(amode, trap) => {
                self.machine().inst(row, Variant::NONE).modify(dst, x).read(y).mem(amode).trap(trap).end();
            }
        }
        Ok(())
    }

    /// Bitwise operations on the bits of floats.
    pub(super) fn lower_float_logic(&mut self, inst: Value) -> Result<(), CodegenError> {
        let dst = self.dst(inst);
        let x = self.arg(inst, 0);
        let x = self.value(x);
        use Opcode::*;
        let opcode = self.data(inst).opcode;
        if opcode == Bnot {
            let ones = self.ones();
            self.modify_rm(op::XORPS, Variant::NONE, dst, x, Rm::Reg(ones));
            return Ok(());
        }
        let y = self.arg(inst, 1);
        let y = self.value(y);
        match opcode {
            Band => self.modify_rm(op::ANDPS, Variant::NONE, dst, x, Rm::Reg(y)),
            Bor => self.modify_rm(op::ORPS, Variant::NONE, dst, x, Rm::Reg(y)),
            Bxor => self.modify_rm(op::XORPS, Variant::NONE, dst, x, Rm::Reg(y)),
            BandNot => self.modify_rm(op::ANDNPS, Variant::NONE, dst, y, Rm::Reg(x)),
            BorNot | BxorNot => {
                let ones = self.ones();
                let complement = self.xmm2(op::XORPS, y, Rm::Reg(ones));
                let row = if opcode == BorNot { op::ORPS } else { op::XORPS };
                self.modify_rm(row, Variant::NONE, dst, complement, Rm::Reg(x));
            }
            _ => {
                // bitselect(x, y, z): y where the mask x has ones.
                let z = self.arg(inst, 2);
                let z = self.value(z);
                let chosen = self.xmm2(op::ANDPS, y, Rm::Reg(x));
                let rest = self.xmm2(op::ANDNPS, x, Rm::Reg(z));
                self.modify_rm(op::ORPS, Variant::NONE, dst, chosen, Rm::Reg(rest));
            }
        }
        Ok(())
    }

    fn ones(&mut self) -> VReg {
        let dst = self.xmm();
        self.machine().inst(op::ONES_D, Variant::NONE).write(dst);
        dst
    }
}

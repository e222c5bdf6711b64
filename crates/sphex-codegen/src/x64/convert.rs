//! Conversions among integers and floats.
//!
//! Needs: matchers. Gives: the lowering of extensions, `bitcast`, `bmask`, `fpromote`, `fdemote`, `fcvt_*`.
//!
//! Conversions to integers are straight-line: bounds are compared as floats, for which the processor needs no branch.
//! Unsigned 64-bit values are made of two signed conversions, one of them shifted down by 2^63.

use super::compare::Flags;
use super::matchers::zext_row;
use super::{Lower, Rm, exact};
use crate::error::CodegenError;
use crate::machine::{Amode, Base};
use crate::regalloc::VReg;
use sphex_asm::x64::{Cond, RowId, Variant, op};
use sphex_ir::types::{F64, I64};
use sphex_ir::{Opcode, TrapCode, Type, Value};

/// The rows of scalar operations on one float type.
#[derive(Clone, Copy)]
pub(super) struct Floats {
    pub double: bool,
    pub add: RowId,
    pub sub: RowId,
    pub mul: RowId,
    pub div: RowId,
    pub min: RowId,
    pub max: RowId,
    pub cmp: RowId,
    pub ucomi: RowId,
    pub sqrt: RowId,
    pub round: RowId,
    pub from_int: RowId,
    pub to_int: RowId,
}

/// The rows for `f32` or `f64`.
pub(super) fn floats(ty: Type) -> Floats {
    if ty == F64 {
        Floats {
            double: true,
            add: op::ADDSD,
            sub: op::SUBSD,
            mul: op::MULSD,
            div: op::DIVSD,
            min: op::MINSD,
            max: op::MAXSD,
            cmp: op::CMPSD,
            ucomi: op::UCOMISD,
            sqrt: op::SQRTSD,
            round: op::ROUNDSD,
            from_int: op::CVTSI2SD,
            to_int: op::CVTTSD2SI,
        }
    } else {
        Floats {
            double: false,
            add: op::ADDSS,
            sub: op::SUBSS,
            mul: op::MULSS,
            div: op::DIVSS,
            min: op::MINSS,
            max: op::MAXSS,
            cmp: op::CMPSS,
            ucomi: op::UCOMISS,
            sqrt: op::SQRTSS,
            round: op::ROUNDSS,
            from_int: op::CVTSI2SS,
            to_int: op::CVTTSS2SI,
        }
    }
}

impl Lower<'_> {
    pub(super) fn lower_convert(&mut self, inst: Value) -> Result<(), CodegenError> {
        let (x, to) = (self.arg(inst, 0), self.ty(inst));
        let from = self.ty(x);
        if from.is_vector() || from.bits() > 64 || to.bits() > 64 {
            return Err(self.error(inst));
        }
        use Opcode::*;
        match self.data(inst).opcode {
            Uextend => self.uextend(inst, x),
            Sextend => self.sextend(inst, x),
            Ireduce => {
                let (dst, x) = (self.dst(inst), self.value(x));
                self.machine().copy(dst, x);
            }
            Bitcast => self.bitcast(inst, x),
            Bmask => self.bmask(inst, x),
            Fpromote => self.convert_float(inst, op::CVTSS2SD, x),
            Fdemote => self.convert_float(inst, op::CVTSD2SS, x),
            FcvtFromSint => self.convert_from_signed(inst, x),
            FcvtFromUint => self.convert_from_unsigned(inst, x),
            FcvtToSint => self.convert_to_signed(inst, x),
            FcvtToUint => self.convert_to_unsigned(inst, x),
            FcvtToSintSat => self.saturate_signed(inst, x),
            _ => self.saturate_unsigned(inst, x),
        }
        Ok(())
    }

    fn uextend(&mut self, inst: Value, x: Value) {
        let dst = self.dst(inst);
        let from = self.ty(x);
        let x = self.rm(x);
        self.write_rm(zext_row(from), Variant::S32, dst, x);
    }

    fn sextend(&mut self, inst: Value, x: Value) {
        let dst = self.dst(inst);
        let (from, to) = (self.ty(x), self.ty(inst));
        let x = self.rm(x);
        self.sext_into(dst, x, from, to.bits().max(32));
    }

    fn bitcast(&mut self, inst: Value, x: Value) {
        let dst = self.dst(inst);
        let (from, to) = (self.ty(x), self.ty(inst));
        match (from.is_int(), to.is_int()) {
            (true, false) => {
                let row = if from == I64 { op::MOVQ_RM } else { op::MOVD_RM };
                let x = self.rm(x);
                self.write_rm(row, Variant::NONE, dst, x);
            }
            (false, true) => {
                if let Some((amode, trap)) = self.load_operand(x) {
                    self.machine().inst(op::MOV_RM, exact(to)).write(dst).mem(amode).trap(trap);
                    return;
                }
                let row = if to == I64 { op::MOVQ_MR } else { op::MOVD_MR };
                let x = self.value(x);
                self.machine().inst(row, Variant::NONE).write(dst).read(x);
            }
            _ => {
                let x = self.value(x);
                self.machine().copy(dst, x);
            }
        }
    }

    /// All ones if `x` is not zero: negating sets the carry, which is subtracted from zero.
    fn bmask(&mut self, inst: Value, x: Value) {
        let dst = self.dst(inst);
        let variant = exact(self.ty(x));
        let x = self.value(x);
        let (zero, negated) = (self.imm(0), self.gpr());
        self.modify(op::NEG_R, variant, negated, x);
        self.modify_rm(op::SBB_RM, Variant::S64, dst, zero, Rm::Reg(zero));
    }

    fn convert_float(&mut self, inst: Value, row: RowId, x: Value) {
        let dst = self.dst(inst);
        let x = self.float_rm(x);
        self.write_rm(row, Variant::NONE, dst, x);
    }

    fn convert_from_signed(&mut self, inst: Value, x: Value) {
        let dst = self.dst(inst);
        let from = self.ty(x);
        let row = floats(self.ty(inst)).from_int;
        let variant = if from == I64 { Variant::S64 } else { Variant::S32 };
        let x = if from.bits() < 32 { Rm::Reg(self.sext(x, 32)) } else { self.rm(x) };
        self.write_rm(row, variant, dst, x);
    }

    fn convert_from_unsigned(&mut self, inst: Value, x: Value) {
        let dst = self.dst(inst);
        let from = self.ty(x);
        let f = floats(self.ty(inst));
        let x = self.zext(x);
        if from != I64 {
            self.write_rm(f.from_int, Variant::S64, dst, Rm::Reg(x));
            return;
        }
        // Values with the top bit set are halved (the lost bit kept for rounding), converted, and doubled again by
        // adding one to the exponent.
        let half = self.op2i(op::SHR_I, Variant::S64, x, 1);
        let lost = self.op2i(op::AND_RI, Variant::S32, x, 1);
        let halved = self.op2(op::OR_RM, Variant::S64, half, lost);
        self.machine().inst(op::TEST_RR, Variant::S64).read(x).read(x);
        let small = self.gpr();
        self.cmov(Variant::S64, Cond::Ns, small, halved, x);
        let converted = self.xmm();
        self.write_rm(f.from_int, Variant::S64, converted, Rm::Reg(small));
        let top = self.op2i(op::SHR_I, Variant::S64, x, 63);
        let exponent = self.op2i(op::SHL_I, Variant::S64, top, if f.double { 52 } else { 23 });
        let bits = self.xmm_to_gpr(converted, f.double);
        let sum = self.op2(op::ADD_RM, Variant::S64, bits, exponent);
        let row = if f.double { op::MOVQ_RM } else { op::MOVD_RM };
        self.write_rm(row, Variant::NONE, dst, Rm::Reg(sum));
    }

    fn xmm_to_gpr(&mut self, x: VReg, double: bool) -> VReg {
        let dst = self.gpr();
        let row = if double { op::MOVQ_MR } else { op::MOVD_MR };
        self.machine().inst(row, Variant::NONE).write(dst).read(x);
        dst
    }

    /// A float constant in memory, given as `f64` (and exact in the type asked for).
    pub(super) fn float_memory(&mut self, value: f64, double: bool) -> Rm {
        let constant = match double {
            true => self.machine().constant(&value.to_bits().to_le_bytes()),
            false => self.machine().constant(&(value as f32).to_bits().to_le_bytes()),
        };
        Rm::Mem(Amode::at(Base::Constant(constant), 0), None)
    }

    fn compare_with(&mut self, f: Floats, x: VReg, bound: f64) {
        match self.float_memory(bound, f.double) {
            Rm::Mem(amode, _) => self.machine().inst(f.ucomi, Variant::NONE).read(x).mem(amode).end(),
            Rm::Reg(y) => self.machine().inst(f.ucomi, Variant::NONE).read(x).read(y).end(),
        }
    }

    /// Traps unless `low < x < high` (or `low <= x` if `closed`): NaN with one code, the rest with another.
    fn check_range(&mut self, f: Floats, x: VReg, low: (f64, bool), high: f64) {
        let overflow = Some(TrapCode::INTEGER_OVERFLOW);
        self.compare_with(f, x, high);
        self.trap_if(Flags::One(Cond::P), Some(TrapCode::BAD_CONVERSION_TO_INTEGER));
        self.trap_if(Flags::One(Cond::Ae), overflow);
        self.compare_with(f, x, low.0);
        let below = if low.1 { Cond::B } else { Cond::Be };
        self.trap_if(Flags::One(below), overflow);
    }

    fn convert_to_signed(&mut self, inst: Value, x: Value) {
        let (dst, to) = (self.dst(inst), self.ty(inst));
        let f = floats(self.ty(x));
        let x = self.value(x);
        let limit = 2f64.powi(to.bits() as i32 - 1);
        // The smallest number itself converts, and so does everything above the next smaller one, if the type has it.
        let fraction = if f.double { to.bits() < 53 } else { to.bits() < 24 };
        let low = if fraction { (-limit - 1.0, false) } else { (-limit, true) };
        self.check_range(f, x, low, limit);
        let variant = if to == I64 { Variant::S64 } else { Variant::S32 };
        self.write_rm(f.to_int, variant, dst, Rm::Reg(x));
    }

    fn convert_to_unsigned(&mut self, inst: Value, x: Value) {
        let (dst, to) = (self.dst(inst), self.ty(inst));
        let f = floats(self.ty(x));
        let x = self.value(x);
        self.check_range(f, x, (-1.0, false), 2f64.powi(to.bits() as i32));
        if to == I64 {
            self.convert_u64(f, dst, x);
        } else {
            self.write_rm(f.to_int, Variant::S64, dst, Rm::Reg(x));
        }
    }

    /// Converts `x`, between -1 and 2^64. Below 2^63 the first conversion is right; from there on it gives the smallest
    /// number, whose sign lets the second one through.
    fn convert_u64(&mut self, f: Floats, dst: VReg, x: VReg) {
        let (low, high, shifted) = (self.gpr(), self.gpr(), self.xmm());
        self.write_rm(f.to_int, Variant::S64, low, Rm::Reg(x));
        let bound = self.float_memory(2f64.powi(63), f.double);
        self.modify_rm(f.sub, Variant::NONE, shifted, x, bound);
        self.write_rm(f.to_int, Variant::S64, high, Rm::Reg(shifted));
        let sign = self.op2i(op::SAR_I, Variant::S64, low, 63);
        let chosen = self.op2(op::AND_RM, Variant::S64, sign, high);
        self.modify_rm(op::OR_RM, Variant::S64, dst, chosen, Rm::Reg(low));
    }

    /// `x` as `f64` if the result has less than 64 bits, for there all bounds are exact.
    fn widened(&mut self, x: Value, to: Type) -> (Floats, VReg) {
        let from = self.ty(x);
        let x = self.value(x);
        if to == I64 || from == F64 {
            return (floats(from), x);
        }
        let wide = self.xmm();
        self.write_rm(op::CVTSS2SD, Variant::NONE, wide, Rm::Reg(x));
        (floats(F64), wide)
    }

    fn saturate_signed(&mut self, inst: Value, x: Value) {
        let (dst, to) = (self.dst(inst), self.ty(inst));
        let (f, x) = self.widened(x, to);
        let number = self.nan_to_zero(f, x);
        let limit = 2f64.powi(to.bits() as i32 - 1);
        if to != I64 {
            let clamped = self.clamp(f, number, -limit, limit - 1.0);
            self.write_rm(f.to_int, Variant::S32, dst, Rm::Reg(clamped));
            return;
        }
        // Out of range gives the smallest number, which is right below; above, the greatest is put in its place.
        let (converted, greatest) = (self.gpr(), self.imm(i64::MAX as u64));
        self.write_rm(f.to_int, Variant::S64, converted, Rm::Reg(number));
        self.compare_with(f, number, limit);
        self.cmov(Variant::S64, Cond::Ae, dst, converted, greatest);
    }

    fn saturate_unsigned(&mut self, inst: Value, x: Value) {
        let (dst, to) = (self.dst(inst), self.ty(inst));
        let (f, x) = self.widened(x, to);
        // The maximum of NaN and its second operand is the second.
        let (zero, positive) = (self.xmm(), self.xmm());
        self.xmm_zero_into(zero);
        self.modify_rm(f.max, Variant::NONE, positive, x, Rm::Reg(zero));
        let limit = 2f64.powi(to.bits() as i32);
        if to != I64 {
            let clamped = self.xmm();
            let bound = self.float_memory(limit - 1.0, f.double);
            self.modify_rm(f.min, Variant::NONE, clamped, positive, bound);
            self.write_rm(f.to_int, Variant::S64, dst, Rm::Reg(clamped));
            return;
        }
        let (converted, greatest) = (self.gpr(), self.imm(u64::MAX));
        self.convert_u64(f, converted, positive);
        self.compare_with(f, positive, limit);
        self.cmov(Variant::S64, Cond::Ae, dst, converted, greatest);
    }

    /// Zero in place of NaN: the bits that compare as ordered with themselves are kept.
    fn nan_to_zero(&mut self, f: Floats, x: VReg) -> VReg {
        let (mask, number) = (self.xmm(), self.xmm());
        self.machine().inst(f.cmp, Variant::NONE).modify(mask, x).read(x).imm(7);
        self.modify_rm(op::ANDPS, Variant::NONE, number, x, Rm::Reg(mask));
        number
    }

    fn clamp(&mut self, f: Floats, x: VReg, low: f64, high: f64) -> VReg {
        let (above, inside) = (self.xmm(), self.xmm());
        let low = self.float_memory(low, f.double);
        self.modify_rm(f.max, Variant::NONE, above, x, low);
        let high = self.float_memory(high, f.double);
        self.modify_rm(f.min, Variant::NONE, inside, above, high);
        inside
    }
}

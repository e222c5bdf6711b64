//! Conversions between types.
//!
//! Needs: matchers. Gives: the lowering of extensions, reductions, casts and conversions between integers and floats.
//!
//! The hardware's conversions to integers saturate, and give zero for NaN, which is what the `_sat` forms want; those that
//! trap compare with the bounds first.

use super::compare::Flags;
use super::{Lower, wide};
use crate::error::CodegenError;
use crate::regalloc::VReg;
use sphex_asm::aarch64::op;
use sphex_asm::aarch64::operand::{Cond, Size, Variant};
use sphex_ir::types::F64;
use sphex_ir::{Opcode, TrapCode, Type, Value};

impl Lower<'_> {
    pub(super) fn lower_convert(&mut self, inst: Value) -> Result<(), CodegenError> {
        use Opcode::*;
        let (dst, to, x) = (self.dst(inst), self.ty(inst), self.arg(inst, 0));
        let from = self.ty(x);
        match self.data(inst).opcode {
            Bitcast => self.bitcast(dst, to, x, from),
            Bmask => {
                let x = self.comparable(x, false);
                self.machine().inst(op::CMP_RI, wide(from)).read(x).imm(0);
                self.machine().inst(op::CSETM, Cond::Ne.with(wide(to))).write(dst);
            }
            Ireduce => {
                let x = self.value(x);
                self.machine().copy(dst, x);
            }
            Uextend => {
                let x = self.zext(x);
                self.machine().copy(dst, x);
            }
            Sextend => {
                let x = self.sext(x);
                self.machine().copy(dst, x);
            }
            Fpromote | Fdemote => {
                let x = self.value(x);
                let row = if to == F64 { op::FCVT_DS } else { op::FCVT_SD };
                self.op1_into(row, Variant::NONE, dst, x);
            }
            FcvtToUint | FcvtToSint => self.checked_to_int(inst, dst, x),
            FcvtToUintSat | FcvtToSintSat => {
                let signed = self.data(inst).opcode == FcvtToSintSat;
                let float = self.value(x);
                if to.bits() >= 32 {
                    self.convert_to_int(dst, float, from, to, signed);
                } else {
                    self.saturate(dst, float, from, to, signed);
                }
            }
            _ => {
                let signed = self.data(inst).opcode == FcvtFromSint;
                let x = self.comparable(x, signed);
                let row = match (signed, to == F64) {
                    (true, true) => op::SCVTF_D,
                    (true, false) => op::SCVTF_S,
                    (false, true) => op::UCVTF_D,
                    (false, false) => op::UCVTF_S,
                };
                self.op1_into(row, wide(from), dst, x);
            }
        }
        Ok(())
    }

    fn bitcast(&mut self, dst: VReg, to: Type, x: Value, from: Type) {
        let x = self.value(x);
        let double = to.bits() == 64;
        let row = match (from.is_int(), to.is_int()) {
            (true, false) => {
                if double {
                    op::FMOV_DX
                } else {
                    op::FMOV_SW
                }
            }
            (false, true) => {
                if double {
                    op::FMOV_XD
                } else {
                    op::FMOV_WS
                }
            }
            _ => return self.machine().copy(dst, x),
        };
        self.op1_into(row, Variant::NONE, dst, x);
    }

    fn convert_to_int(&mut self, dst: VReg, float: VReg, from: Type, to: Type, signed: bool) {
        let row = match (signed, from == F64) {
            (true, true) => op::FCVTZS_D,
            (true, false) => op::FCVTZS_S,
            (false, true) => op::FCVTZU_D,
            (false, false) => op::FCVTZU_S,
        };
        self.op1_into(row, wide(to), dst, float);
    }

    /// To an integer narrower than a register: converts to 32 bits, then clamps.
    fn saturate(&mut self, dst: VReg, float: VReg, from: Type, to: Type, signed: bool) {
        let whole = self.gpr();
        self.convert_to_int(whole, float, from, to, signed);
        let bits = to.bits();
        let clamp = |lower: &mut Self, dst: VReg, x: VReg, bound: i64, cond: Cond| {
            let bound = lower.imm(u64::from(bound as u32));
            lower.machine().inst(op::CMP_RR, Variant::S32).read(x).read(bound);
            lower.machine().inst(op::CSEL, cond.with(Variant::S32)).write(dst).read(x).read(bound);
        };
        if signed {
            let below = self.gpr();
            clamp(self, below, whole, (1 << (bits - 1)) - 1, Cond::Lt);
            clamp(self, dst, below, -(1 << (bits - 1)), Cond::Gt);
        } else {
            clamp(self, dst, whole, (1 << bits) - 1, Cond::Lo);
        }
    }

    fn checked_to_int(&mut self, inst: Value, dst: VReg, x: Value) {
        let (from, to) = (self.ty(x), self.ty(inst));
        let signed = self.data(inst).opcode == Opcode::FcvtToSint;
        let size = self.float_size(x);
        let float = self.value(x);
        let bits = to.bits() as i32;
        let power = |k: i32| 2f64.powi(k);
        // The least value above which all is in range, and whether that itself is.
        let exact = if from == F64 { 53 } else { 24 };
        let (low, inclusive) = match signed {
            false => (-1.0, false),
            true if bits > exact => (-power(bits - 1), true),
            true => (-power(bits - 1) - 1.0, false),
        };
        let high = if signed { power(bits - 1) } else { power(bits) };
        let overflow = Some(TrapCode::INTEGER_OVERFLOW);
        let (low, high) = (self.float_bound(low, size), self.float_bound(high, size));
        let variant = Variant::size(size);
        self.machine().inst(op::FCMP, variant).read(float).read(float);
        self.trap_if(Flags::One(Cond::Vs), Some(TrapCode::BAD_CONVERSION_TO_INTEGER));
        self.machine().inst(op::FCMP, variant).read(float).read(low);
        self.trap_if(Flags::One(if inclusive { Cond::Mi } else { Cond::Ls }), overflow);
        self.machine().inst(op::FCMP, variant).read(float).read(high);
        self.trap_if(Flags::One(Cond::Ge), overflow);
        self.convert_to_int(dst, float, from, to, signed);
    }

    fn float_bound(&mut self, bound: f64, size: Size) -> VReg {
        let dst = self.vec();
        let bits = if size == Size::S64 { bound.to_bits() } else { u64::from((bound as f32).to_bits()) };
        self.float_imm_into(dst, bits, size);
        dst
    }
}

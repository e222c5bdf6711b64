//! Comparisons: as values, and taken into branches, selections and traps.
//!
//! Needs: matchers. Gives: [`Lower::condition`], which sets the flags for a condition and says how to read them, and the
//! lowering of `icmp`, `fcmp` and `select`.
//!
//! After `fcmp`: less sets N; equal Z and C; greater C; unordered C and V. Two comparisons of floats need two conditions.

use super::emit::register_test;
use super::{Lower, wide};
use crate::error::CodegenError;
use crate::machine::Pseudo;
use crate::regalloc::VReg;
use sphex_asm::aarch64::operand::{Cond, Size, Variant};
use sphex_asm::aarch64::{immediate, op};
use sphex_ir::types::F64;
use sphex_ir::{FloatCC, IntCC, Opcode, TrapCode, Value};

/// How to read the flags, or what of a register.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Flags {
    /// This condition.
    One(Cond),
    /// Both conditions.
    Both(Cond, Cond),
    /// At least one of the conditions.
    Either(Cond, Cond),
    /// No flags: a register, or a bit of it, is set (or not): see [`register_test`].
    Register { reg: VReg, bit: Option<u8>, set: bool, wide: bool },
}

impl Flags {
    /// The opposite.
    pub(super) fn invert(self) -> Flags {
        match self {
            Flags::One(a) => Flags::One(a.invert()),
            Flags::Both(a, b) => Flags::Either(a.invert(), b.invert()),
            Flags::Either(a, b) => Flags::Both(a.invert(), b.invert()),
            Flags::Register { reg, bit, set, wide } => Flags::Register { reg, bit, set: !set, wide },
        }
    }
}

/// The hardware's condition for an integer comparison.
pub(super) fn int_cond(cc: IntCC) -> Cond {
    match cc {
        IntCC::Eq => Cond::Eq,
        IntCC::Ne => Cond::Ne,
        IntCC::Slt => Cond::Lt,
        IntCC::Sge => Cond::Ge,
        IntCC::Sgt => Cond::Gt,
        IntCC::Sle => Cond::Le,
        IntCC::Ult => Cond::Lo,
        IntCC::Uge => Cond::Hs,
        IntCC::Ugt => Cond::Hi,
        IntCC::Ule => Cond::Ls,
    }
}

/// How to read the flags of a comparison of floats.
fn float_flags(cc: FloatCC) -> Flags {
    use FloatCC::*;
    match cc {
        Ordered => Flags::One(Cond::Vc),
        Unordered => Flags::One(Cond::Vs),
        Equal => Flags::One(Cond::Eq),
        NotEqual => Flags::One(Cond::Ne),
        OrderedNotEqual => Flags::Either(Cond::Mi, Cond::Gt),
        UnorderedOrEqual => Flags::Either(Cond::Eq, Cond::Vs),
        LessThan => Flags::One(Cond::Mi),
        LessThanOrEqual => Flags::One(Cond::Ls),
        GreaterThan => Flags::One(Cond::Gt),
        GreaterThanOrEqual => Flags::One(Cond::Ge),
        UnorderedOrLessThan => Flags::One(Cond::Lt),
        UnorderedOrLessThanOrEqual => Flags::One(Cond::Le),
        UnorderedOrGreaterThan => Flags::One(Cond::Hi),
        UnorderedOrGreaterThanOrEqual => Flags::One(Cond::Pl),
    }
}

impl Lower<'_> {
    /// What says whether `value` is not zero: of a branch or trap also a register. Nothing that changes flags may come
    /// between this and its use (R2).
    pub(super) fn truth_of(&mut self, value: Value) -> Flags {
        let (value, inverted) = self.truth(value);
        let flags = match self.data(value).opcode {
            Opcode::Icmp => self.compare_for_branch(value),
            Opcode::Fcmp => self.compare_floats(value),
            Opcode::Band if self.only(value, Opcode::Band) && self.single_bit(value).is_some() => {
                let bit = self.single_bit(value);
                let x = self.arg(value, 0);
                Flags::Register { reg: self.value(x), bit, set: true, wide: true }
            }
            _ => {
                let ty = self.ty(value);
                let reg = if ty.bits() < 32 { self.zext(value) } else { self.value(value) };
                Flags::Register { reg, bit: None, set: true, wide: ty.bits() == 64 }
            }
        };
        if inverted { flags.invert() } else { flags }
    }

    /// The same in flags.
    pub(super) fn condition(&mut self, value: Value) -> Flags {
        let (value, inverted) = self.truth(value);
        let flags = match self.data(value).opcode {
            Opcode::Icmp => self.compare_ints(value),
            Opcode::Fcmp => self.compare_floats(value),
            _ => {
                let variant = wide(self.ty(value));
                let reg = if self.ty(value).bits() < 32 { self.zext(value) } else { self.value(value) };
                self.machine().inst(op::CMP_RI, variant).read(reg).imm(0);
                Flags::One(Cond::Ne)
            }
        };
        if inverted { flags.invert() } else { flags }
    }

    /// The bit that a mask of a value is.
    fn single_bit(&self, band: Value) -> Option<u8> {
        let mask = self.constant(self.arg(band, 1))? as u64;
        let bits = self.ty(band).bits();
        let mask = if bits < 64 { mask & ((1 << bits) - 1) } else { mask };
        mask.is_power_of_two().then(|| mask.trailing_zeros() as u8)
    }

    /// The value whose being not zero decides about `value`, and whether the other way round.
    fn truth(&self, value: Value) -> (Value, bool) {
        let mut value = self.select.resolve(value);
        let mut inverted = false;
        for _ in 0..8 {
            let data = self.data(value);
            let inner = self.arg(value, 0);
            match data.opcode {
                Opcode::Uextend | Opcode::Sextend | Opcode::Bmask => {}
                Opcode::Ireduce if self.is_boolean(inner) => {}
                Opcode::Icmp
                    if self.constant(self.arg(value, 1)) == Some(0)
                        && self.is_boolean(inner)
                        && matches!(data.int_cc(), IntCC::Eq | IntCC::Ne) =>
                {
                    inverted ^= data.int_cc() == IntCC::Eq;
                }
                _ => break,
            }
            value = inner;
        }
        (value, inverted)
    }

    /// Whether a value is 0 or 1 whose truth this file can take in.
    fn is_boolean(&self, value: Value) -> bool {
        let mut value = value;
        for _ in 0..4 {
            match self.data(value).opcode {
                Opcode::Icmp | Opcode::Fcmp => return true,
                Opcode::Uextend => value = self.arg(value, 0),
                _ => return false,
            }
        }
        false
    }

    /// A value extended, if it is narrow, so that 32 bits compare (or divide) as its own do.
    pub(super) fn comparable(&mut self, value: Value, signed: bool) -> VReg {
        match (self.ty(value).bits(), signed) {
            (32.., _) => self.value(value),
            (_, true) => self.sext(value),
            (_, false) => self.zext(value),
        }
    }

    /// An `icmp` for a branch or trap: against zero, a register's own test.
    fn compare_for_branch(&mut self, icmp: Value) -> Flags {
        let cc = self.data(icmp).int_cc();
        let (x, y) = (self.arg(icmp, 0), self.arg(icmp, 1));
        let bits = self.ty(x).bits();
        if self.constant(y) == Some(0) {
            match cc {
                IntCC::Eq | IntCC::Ne => {
                    let set = cc == IntCC::Ne;
                    if self.only(x, Opcode::Band)
                        && let Some(bit) = self.single_bit(x)
                    {
                        let x = self.arg(x, 0);
                        return Flags::Register { reg: self.value(x), bit: Some(bit), set, wide: true };
                    }
                    let reg = self.comparable(x, false);
                    return Flags::Register { reg, bit: None, set, wide: bits == 64 };
                }
                IntCC::Slt | IntCC::Sge => {
                    let (reg, bit) = (self.value(x), Some(bits as u8 - 1));
                    return Flags::Register { reg, bit, set: cc == IntCC::Slt, wide: true };
                }
                _ => {}
            }
        }
        self.compare_ints(icmp)
    }

    /// Sets the flags by an `icmp`.
    pub(super) fn compare_ints(&mut self, icmp: Value) -> Flags {
        let mut cc = self.data(icmp).int_cc();
        let (mut x, mut y) = (self.arg(icmp, 0), self.arg(icmp, 1));
        if self.constant(x).is_some() && self.constant(y).is_none() {
            (x, y, cc) = (y, x, cc.swapped());
        }
        let (ty, cond) = (self.ty(x), int_cond(cc));
        let (variant, signed) = (wide(ty), matches!(cc, IntCC::Slt | IntCC::Sge | IntCC::Sgt | IntCC::Sle));
        if let Some(constant) = self.constant(y) {
            // A narrow operand is compared extended, and so is the constant.
            let constant = match (ty.bits(), signed) {
                (64, _) | (_, true) => constant,
                (bits, false) => constant & ((1 << bits) - 1),
            };
            let positive = immediate::arithmetic(constant as u64).is_some();
            // As 32 bits only the low ones count.
            let negated = if ty.bits() == 64 {
                constant.wrapping_neg()
            } else {
                i64::from((constant as i32).wrapping_neg() as u32)
            };
            let negative = constant != 0 && immediate::arithmetic(negated as u64).is_some();
            if positive || negative {
                let x = self.comparable(x, signed);
                let (row, imm) = if positive { (op::CMP_RI, constant) } else { (op::CMN_RI, negated) };
                self.machine().inst(row, variant).read(x).imm(imm as i32);
                return Flags::One(cond);
            }
        }
        let (x, y) = (self.comparable(x, signed), self.comparable(y, signed));
        self.machine().inst(op::CMP_RR, variant).read(x).read(y);
        Flags::One(cond)
    }

    /// Sets the flags by an `fcmp`.
    fn compare_floats(&mut self, fcmp: Value) -> Flags {
        let flags = float_flags(self.data(fcmp).float_cc());
        let (x, y) = (self.arg(fcmp, 0), self.arg(fcmp, 1));
        let variant = if self.ty(x) == F64 { Variant::S64 } else { Variant::S32 };
        let x = self.value(x);
        if self.is_positive_zero(y) {
            self.machine().inst(op::FCMP_ZERO, variant).read(x);
        } else {
            let y = self.value(y);
            self.machine().inst(op::FCMP, variant).read(x).read(y);
        }
        flags
    }

    fn is_positive_zero(&self, value: Value) -> bool {
        let data = self.data(value);
        match data.opcode {
            Opcode::F32const => data.a == 0,
            Opcode::F64const => data.imm64() == 0,
            _ => false,
        }
    }

    /// Reads the flags into a register, as 0 or 1.
    pub(super) fn set(&mut self, dst: VReg, flags: Flags) {
        match flags {
            Flags::One(cond) => {
                self.machine().inst(op::CSET, cond.with(Variant::S32)).write(dst);
            }
            Flags::Both(a, b) | Flags::Either(a, b) => {
                let [x, y] = [self.gpr(), self.gpr()];
                self.machine().inst(op::CSET, a.with(Variant::S32)).write(x);
                self.machine().inst(op::CSET, b.with(Variant::S32)).write(y);
                let row = if matches!(flags, Flags::Both(..)) { op::AND_RRR } else { op::ORR_RRR };
                self.op2_into(row, Variant::S32, dst, x, y);
            }
            Flags::Register { reg, set, wide, .. } => {
                // Only [`Self::truth_of`] makes these, for branches and traps.
                let variant = if wide { Variant::S64 } else { Variant::S32 };
                self.machine().inst(op::CMP_RI, variant).read(reg).imm(0);
                let cond = if set { Cond::Ne } else { Cond::Eq };
                self.machine().inst(op::CSET, cond.with(Variant::S32)).write(dst);
            }
        }
    }

    /// Stops with a trap if the flags say so.
    pub(super) fn trap_if(&mut self, flags: Flags, code: Option<TrapCode>) {
        let (pseudo, first, second) = match flags {
            Flags::One(a) => (Pseudo::TrapIf, a, a),
            Flags::Both(a, b) => (Pseudo::TrapIfBoth, a, b),
            Flags::Either(a, b) => (Pseudo::TrapIfEither, a, b),
            Flags::Register { reg, bit, set, wide } => {
                let test = register_test(bit, set, wide);
                self.machine().pseudo(Pseudo::TrapIf, Variant::NONE, test).read(reg).trap(code).end();
                return;
            }
        };
        self.machine().pseudo(pseudo, first.variant(), second as u32).trap(code);
    }

    pub(super) fn lower_compare(&mut self, inst: Value) -> Result<(), CodegenError> {
        match self.data(inst).opcode {
            Opcode::Icmp => {
                let dst = self.dst(inst);
                let flags = self.compare_ints(inst);
                self.set(dst, flags);
            }
            Opcode::Fcmp => {
                let dst = self.dst(inst);
                let flags = self.compare_floats(inst);
                self.set(dst, flags);
            }
            _ => self.select_value(inst),
        }
        Ok(())
    }

    /// The chosen value where the condition holds; registers first (R2).
    fn select_value(&mut self, inst: Value) {
        let (dst, ty) = (self.dst(inst), self.ty(inst));
        let (cond, x, y) = (self.arg(inst, 0), self.arg(inst, 1), self.arg(inst, 2));
        let (x, y) = (self.value(x), self.value(y));
        let (row, variant) = match ty.is_float() {
            true => (op::FCSEL, if ty == F64 { Variant::S64 } else { Variant::S32 }),
            false => (op::CSEL, wide(ty)),
        };
        let choose = |lower: &mut Self, cond: Cond, dst: VReg, then: VReg, other: VReg| {
            lower.machine().inst(row, cond.with(variant)).write(dst).read(then).read(other);
        };
        match self.condition(cond) {
            Flags::One(cond) => choose(self, cond, dst, x, y),
            Flags::Either(a, b) => {
                let partly = self.select.machine.new_vreg_for(ty);
                choose(self, a, partly, x, y);
                choose(self, b, dst, x, partly);
            }
            Flags::Both(a, b) => {
                let partly = self.select.machine.new_vreg_for(ty);
                choose(self, a, partly, x, y);
                choose(self, b, dst, partly, y);
            }
            Flags::Register { .. } => {}
        }
    }

    /// The size of a float.
    pub(super) fn float_size(&self, value: Value) -> Size {
        if self.ty(value) == F64 { Size::S64 } else { Size::S32 }
    }
}

//! Comparisons: as values, and taken into branches, selections and traps.
//!
//! Needs: matchers. Gives: [`Lower::condition`], which sets the flags for a condition and says how to read them, and the
//! lowering of `icmp`, `fcmp` and `select`.
//!
//! After `ucomis a, b`: unordered sets ZF, PF and CF; less sets CF; equal sets ZF; greater none. So `a` and `ae` hold of
//! ordered operands only, `b` and `be` also of unordered ones, and equality needs parity as well.

use super::{Lower, Rm, exact, read_rm, wide};
use crate::error::CodegenError;
use crate::machine::Pseudo;
use crate::regalloc::VReg;
use sphex_asm::x64::{Cond, Variant, op};
use sphex_entity::seeded_bug;
use sphex_ir::types::F32;
use sphex_ir::{FloatCC, IntCC, Opcode, TrapCode, Value};

/// How to read the flags.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Flags {
    /// This condition.
    One(Cond),
    /// Both conditions.
    Both(Cond, Cond),
    /// At least one of the conditions.
    Either(Cond, Cond),
}

impl Flags {
    /// The opposite.
    pub(super) fn invert(self) -> Flags {
        match self {
            Flags::One(a) => Flags::One(a.invert()),
            Flags::Both(a, b) => Flags::Either(a.invert(), b.invert()),
            Flags::Either(a, b) => Flags::Both(a.invert(), b.invert()),
        }
    }
}

/// The hardware's condition for an integer comparison.
pub(super) fn int_cond(cc: IntCC) -> Cond {
    match cc {
        IntCC::Eq => Cond::E,
        IntCC::Ne => Cond::Ne,
        IntCC::Slt => Cond::L,
        IntCC::Sge => Cond::Ge,
        IntCC::Sgt => Cond::G,
        IntCC::Sle => Cond::Le,
        IntCC::Ult => Cond::B,
        IntCC::Uge => Cond::Ae,
        IntCC::Ugt => Cond::A,
        IntCC::Ule => Cond::Be,
    }
}

/// How to compare floats: whether with operands exchanged, and how to read the flags.
fn float_flags(cc: FloatCC) -> (bool, Flags) {
    use FloatCC::*;
    let (swap, flags) = match cc {
        Ordered => (false, Flags::One(Cond::Np)),
        Unordered => (false, Flags::One(Cond::P)),
        Equal if seeded_bug(3) => (false, Flags::One(Cond::E)),
        Equal => (false, Flags::Both(Cond::Np, Cond::E)),
        NotEqual => (false, Flags::Either(Cond::P, Cond::Ne)),
        OrderedNotEqual => (false, Flags::One(Cond::Ne)),
        UnorderedOrEqual => (false, Flags::One(Cond::E)),
        GreaterThan => (false, Flags::One(Cond::A)),
        GreaterThanOrEqual => (false, Flags::One(Cond::Ae)),
        UnorderedOrLessThan => (false, Flags::One(Cond::B)),
        UnorderedOrLessThanOrEqual => (false, Flags::One(Cond::Be)),
        LessThan => (true, Flags::One(Cond::A)),
        LessThanOrEqual => (true, Flags::One(Cond::Ae)),
        UnorderedOrGreaterThan => (true, Flags::One(Cond::B)),
        UnorderedOrGreaterThanOrEqual => (true, Flags::One(Cond::Be)),
    };
    (swap, flags)
}

impl Lower<'_> {
    /// Sets the flags so that they tell whether `value` is not zero. Nothing that changes flags may come between this and
    /// their use (R2).
    pub(super) fn condition(&mut self, value: Value) -> Flags {
        let before = self.unique;
        let (value, inverted) = self.truth(value);
        let flags = match self.data(value).opcode {
            Opcode::Icmp => self.compare_ints(value),
            Opcode::Fcmp => self.compare_floats(value),
            _ => {
                self.test(value);
                Flags::One(Cond::Ne)
            }
        };
        self.unique = before;
        if inverted { flags.invert() } else { flags }
    }

    /// The value whose being not zero decides about `value`, and whether the other way round. What has more than one
    /// user is computed again by each, and then takes no load into itself.
    fn truth(&mut self, value: Value) -> (Value, bool) {
        let mut value = self.select.resolve(value);
        let mut inverted = false;
        for _ in 0..8 {
            let data = self.data(value);
            let inner = self.arg(value, 0);
            match data.opcode {
                Opcode::Uextend | Opcode::Sextend | Opcode::Bmask => {}
                // Of a comparison the low byte says it all.
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
            self.unique &= self.select.facts.used_once(value);
            value = inner;
        }
        let taken = matches!(self.data(value).opcode, Opcode::Icmp | Opcode::Fcmp);
        if taken {
            self.unique &= self.select.facts.used_once(value);
        }
        (value, inverted)
    }

    /// Whether [`Self::condition`] would give two conditions.
    pub(super) fn decides_by_two_flags(&mut self, value: Value) -> bool {
        let before = self.unique;
        let (value, _) = self.truth(value);
        self.unique = before;
        let data = self.data(value);
        data.opcode == Opcode::Fcmp && !matches!(float_flags(data.float_cc()).1, Flags::One(_))
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

    /// Sets the flags by the value and itself: ZF if it is zero, SF its sign.
    fn test(&mut self, value: Value) {
        let value = self.select.resolve(value);
        let ty = self.ty(value);
        if self.unique && self.only(value, Opcode::Band) {
            self.test_band(value);
            return;
        }
        if let Some((amode, trap)) = self.load_operand(value) {
            self.machine().inst(op::CMP_MI, exact(ty)).mem(amode).imm(0).trap(trap);
            return;
        }
        let reg = self.value(value);
        self.machine().inst(op::TEST_RR, exact(ty)).read(reg).read(reg);
    }

    /// Sets the flags by `x & y`.
    fn test_band(&mut self, band: Value) {
        let variant = exact(self.ty(band));
        let (x, y) = (self.arg(band, 0), self.arg(band, 1));
        let (x, y) = self.commute(x, y);
        if let Some(imm) = self.imm32(y) {
            match self.rm(x) {
                Rm::Mem(amode, trap) => {
                    self.machine().inst(op::TEST_MI, variant).mem(amode).imm(imm).trap(trap).end();
                }
                Rm::Reg(x) => {
                    // A mask without the sign's bit of a narrow type is the same in 32 bits and needs no prefix.
                    let variant = if imm >= 0 && variant != Variant::S8 { Variant::S32 } else { variant };
                    self.machine().inst(op::TEST_RI, variant).read(x).imm(imm);
                }
            }
            return;
        }
        let x = self.value(x);
        match self.rm(y) {
            Rm::Mem(amode, trap) => {
                self.machine().inst(op::TEST_MR, variant).mem(amode).read(x).trap(trap).end();
            }
            Rm::Reg(y) => self.machine().inst(op::TEST_RR, variant).read(x).read(y).end(),
        }
    }

    /// Sets the flags by an `icmp`.
    pub(super) fn compare_ints(&mut self, icmp: Value) -> Flags {
        let mut cc = self.data(icmp).int_cc();
        let (mut x, mut y) = (self.arg(icmp, 0), self.arg(icmp, 1));
        if self.constant(x).is_some() && self.constant(y).is_none() {
            (x, y, cc) = (y, x, cc.swapped());
        }
        let variant = exact(self.ty(x));
        if let Some(flags) = self.compare_byte(cc, x, y) {
            return flags;
        }
        match self.constant(y) {
            Some(0) if matches!(cc, IntCC::Eq | IntCC::Ne | IntCC::Slt | IntCC::Sge) => {
                self.test(x);
                // `test` clears OF and CF, so that these read the sign as after a comparison with zero.
                return Flags::One(int_cond(cc));
            }
            Some(1) if matches!(cc, IntCC::Slt | IntCC::Sge) => {
                self.test(x);
                let below = cc == IntCC::Slt;
                return Flags::One(if below { Cond::Le } else { Cond::G });
            }
            Some(1) if matches!(cc, IntCC::Ult | IntCC::Uge) => {
                self.test(x);
                return Flags::One(if cc == IntCC::Ult { Cond::E } else { Cond::Ne });
            }
            _ => {}
        }
        if let Some(imm) = self.imm32(y) {
            match self.rm(x) {
                Rm::Mem(amode, trap) => {
                    self.machine().inst(op::CMP_MI, variant).mem(amode).imm(imm).trap(trap).end();
                }
                Rm::Reg(x) => self.machine().inst(op::CMP_RI, variant).read(x).imm(imm).end(),
            }
            return Flags::One(int_cond(cc));
        }
        if let Some((amode, trap)) = self.load_operand(x) {
            let y = self.value(y);
            self.machine().inst(op::CMP_MR, variant).mem(amode).read(y).trap(trap);
            return Flags::One(int_cond(cc));
        }
        let x = self.value(x);
        let y = self.rm(y);
        read_rm(self.machine().inst(op::CMP_RM, variant).read(x), op::CMP_RM, variant, y);
        Flags::One(int_cond(cc))
    }

    /// Compares a byte in memory, zero-extended and used only here, with a constant that is one too.
    fn compare_byte(&mut self, cc: IntCC, x: Value, y: Value) -> Option<Flags> {
        let imm = u8::try_from(self.constant(y)?).ok()?;
        if !self.unique || self.data(x).opcode != Opcode::Uload8 || !self.select.sink(x) {
            return None;
        }
        let (amode, trap) = self.access(x);
        let imm = i32::from(imm as i8);
        self.machine().inst(op::CMP_MI, Variant::S8).mem(amode).imm(imm).trap(trap);
        Some(Flags::One(int_cond(match cc {
            IntCC::Slt => IntCC::Ult,
            IntCC::Sle => IntCC::Ule,
            IntCC::Sgt => IntCC::Ugt,
            IntCC::Sge => IntCC::Uge,
            same => same,
        })))
    }

    /// Sets the flags by an `fcmp`.
    fn compare_floats(&mut self, fcmp: Value) -> Flags {
        let (swap, flags) = float_flags(self.data(fcmp).float_cc());
        let (x, y) = (self.arg(fcmp, 0), self.arg(fcmp, 1));
        let (x, y) = if swap { (y, x) } else { (x, y) };
        let row = if self.ty(x) == F32 { op::UCOMISS } else { op::UCOMISD };
        let x = self.value(x);
        let y = self.float_rm(y);
        read_rm(self.machine().inst(row, Variant::NONE).read(x), row, Variant::NONE, y);
        flags
    }

    /// Reads the flags into the low byte of a register, as 0 or 1.
    pub(super) fn set(&mut self, dst: VReg, flags: Flags) {
        let one = |lower: &mut Self, dst, cond| {
            lower.machine().inst(op::SETCC_R, Variant::cond(cond)).write(dst);
        };
        match flags {
            Flags::One(cond) => one(self, dst, cond),
            Flags::Both(a, b) | Flags::Either(a, b) => {
                let [x, y] = [self.gpr(), self.gpr()];
                one(self, x, a);
                one(self, y, b);
                let row = if matches!(flags, Flags::Both(..)) { op::AND_RM } else { op::OR_RM };
                self.modify_rm(row, Variant::S32, dst, x, Rm::Reg(y));
            }
        }
    }

    /// Stops with a trap if the flags say so.
    pub(super) fn trap_if(&mut self, flags: Flags, code: Option<TrapCode>) {
        let (pseudo, first, second) = match flags {
            Flags::One(a) => (Pseudo::TrapIf, a, a),
            Flags::Both(a, b) => (Pseudo::TrapIfBoth, a, b),
            Flags::Either(a, b) => (Pseudo::TrapIfEither, a, b),
        };
        self.machine().pseudo(pseudo, Variant::cond(first), second as u32).trap(code);
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
            _ if self.ty(inst).is_float() => self.select_float(inst),
            _ => self.select_int(inst),
        }
        Ok(())
    }

    /// The chosen value where the condition holds; registers first, for constants may change the flags (R2).
    fn select_int(&mut self, inst: Value) {
        let (dst, variant) = (self.dst(inst), wide(self.ty(inst)));
        let (cond, x, y) = (self.arg(inst, 0), self.arg(inst, 1), self.arg(inst, 2));
        let (x, y) = (self.value(x), self.value(y));
        match self.condition(cond) {
            Flags::One(cond) => self.cmov(variant, cond, dst, y, x),
            Flags::Either(a, b) => {
                let partly = self.gpr();
                self.cmov(variant, a, partly, y, x);
                self.cmov(variant, b, dst, partly, x);
            }
            Flags::Both(a, b) => {
                let partly = self.gpr();
                self.cmov(variant, a.invert(), partly, x, y);
                self.cmov(variant, b.invert(), dst, partly, y);
            }
        }
    }

    /// There is no conditional move of vector registers: a short jump over a move.
    fn select_float(&mut self, inst: Value) {
        let dst = self.dst(inst);
        let (cond, x, y) = (self.arg(inst, 0), self.arg(inst, 1), self.arg(inst, 2));
        let (x, y) = (self.value(x), self.value(y));
        match self.condition(cond) {
            Flags::One(cond) => self.choose(cond, dst, y, x),
            Flags::Either(a, b) => {
                let partly = self.xmm();
                self.choose(a, partly, y, x);
                self.choose(b, dst, partly, x);
            }
            Flags::Both(a, b) => {
                let partly = self.xmm();
                self.choose(a.invert(), partly, x, y);
                self.choose(b.invert(), dst, partly, y);
            }
        }
    }

    /// `dst = if cond { then } else { other }` of vector registers; the flags are kept.
    pub(super) fn choose(&mut self, cond: Cond, dst: VReg, other: VReg, then: VReg) {
        let number = super::sequence::Sequence::Choose as u32;
        self.machine().pseudo(Pseudo::Sequence, Variant::cond(cond), number).modify(dst, other).read(then);
    }
}

//! Rules for comparisons.

use super::short::*;
use crate::evaluate::{int_compare, mask};
use crate::fold::is_boolean;
use crate::immediates::IntCC;
use Opcode::*;

/// The rows.
pub(super) static RULES: &[Rule] = &[
    rule("icmp-self", Op(Icmp, &[X, X]), |r, m| {
        let holds = matches!(m.root.int_cc(), IntCC::Eq | IntCC::Sge | IntCC::Sle | IntCC::Uge | IntCC::Ule);
        m.arg.is_int().then(|| r.iconst(m.ty, holds as u64))
    }),
    rule("icmp-limits", Op(Icmp, &[X, K]), limits),
    rule("icmp-icmp-zero", Op(Icmp, &[Op(Icmp, &[X, Y]), ZERO]), boolean),
    rule("icmp-fcmp-zero", Op(Icmp, &[Op(Fcmp, &[X, Y]), ZERO]), boolean),
    rule("icmp-extended-icmp-zero", Op(Icmp, &[Op(Uextend, &[Op(Icmp, &[X, Y])]), ZERO]), boolean),
    rule("icmp-extended-fcmp-zero", Op(Icmp, &[Op(Uextend, &[Op(Fcmp, &[X, Y])]), ZERO]), boolean),
    rule("icmp-icmp-one", Op(Icmp, &[Op(Icmp, &[X, Y]), ONE]), boolean_one),
    rule("icmp-fcmp-one", Op(Icmp, &[Op(Fcmp, &[X, Y]), ONE]), boolean_one),
    rule("icmp-extended-icmp-one", Op(Icmp, &[Op(Uextend, &[Op(Icmp, &[X, Y])]), ONE]), boolean_one),
    rule("icmp-extended-fcmp-one", Op(Icmp, &[Op(Uextend, &[Op(Fcmp, &[X, Y])]), ONE]), boolean_one),
    rule("icmp-difference", Op(Icmp, &[Op(Isub, &[X, Y]), ZERO]), |r, m| {
        equality(r, m, m.vars[0], m.vars[1])
    }),
    rule("icmp-exclusive-or", Op(Icmp, &[Op(Bxor, &[X, Y]), ZERO]), |r, m| {
        equality(r, m, m.vars[0], m.vars[1])
    }),
    rule("icmp-sum-constant", Op(Icmp, &[Op(Iadd, &[X, K]), L]), |r, m| {
        let rest = r.iconst(m.arg, m.consts[1].wrapping_sub(m.consts[0]));
        equality(r, m, m.vars[0], rest)
    }),
    rule("icmp-uextends", Op(Icmp, &[Op(Uextend, &[X]), Op(Uextend, &[Y])]), |r, m| {
        let same = r.func.type_of(m.vars[0]) == r.func.type_of(m.vars[1]);
        let cc = m.root.int_cc();
        let unsigned = match cc {
            IntCC::Slt => IntCC::Ult,
            IntCC::Sge => IntCC::Uge,
            IntCC::Sgt => IntCC::Ugt,
            IntCC::Sle => IntCC::Ule,
            other => other,
        };
        same.then(|| r.icmp(unsigned, m.vars[0], m.vars[1]))
    }),
    rule("icmp-sextends", Op(Icmp, &[Op(Sextend, &[X]), Op(Sextend, &[Y])]), |r, m| {
        let same = r.func.type_of(m.vars[0]) == r.func.type_of(m.vars[1]);
        same.then(|| r.icmp(m.root.int_cc(), m.vars[0], m.vars[1]))
    }),
    rule("icmp-uextend-constant", Op(Icmp, &[Op(Uextend, &[X]), K]), |r, m| {
        let narrow = r.func.type_of(m.vars[0]);
        let fits = m.consts[0] <= mask(narrow) && !m.root.int_cc().is_signed() && narrow.bits() <= 64;
        fits.then(|| {
            let constant = r.iconst(narrow, m.consts[0]);
            r.icmp(m.root.int_cc(), m.vars[0], constant)
        })
    }),
];

/// `eq` and `ne` of two values instead of what they were computed to.
fn equality(r: &mut Rewrite<'_>, m: &Match, x: Value, y: Value) -> Option<Value> {
    match m.root.int_cc() {
        cc @ (IntCC::Eq | IntCC::Ne) if m.arg.is_int() => Some(r.icmp(cc, x, y)),
        _ => None,
    }
}

/// Comparisons with the least and greatest values of the type, and the unsigned ones next to zero.
fn limits(r: &mut Rewrite<'_>, m: &Match) -> Option<Value> {
    let (ty, k) = (m.arg, m.consts[0]);
    if !ty.is_int() || ty.bits() > 64 {
        return None;
    }
    let (unsigned_max, signed_min) = (mask(ty), 1 << (ty.bits() - 1));
    let signed_max = unsigned_max ^ signed_min;
    let cc = m.root.int_cc();
    let extreme = match cc {
        IntCC::Ult | IntCC::Uge => 0,
        IntCC::Ugt | IntCC::Ule => unsigned_max,
        IntCC::Slt | IntCC::Sge => signed_min,
        IntCC::Sgt | IntCC::Sle => signed_max,
        IntCC::Eq | IntCC::Ne => return None,
    };
    if k == extreme {
        return Some(r.iconst(m.ty, int_compare(cc, ty, k, k) as u64));
    }
    let next = match (cc, k) {
        (IntCC::Ult, 1) => IntCC::Eq,
        (IntCC::Uge, 1) => IntCC::Ne,
        (IntCC::Ugt, 0) => IntCC::Ne,
        (IntCC::Ule, 0) => IntCC::Eq,
        _ => return None,
    };
    let zero = r.iconst(ty, 0);
    Some(r.icmp(next, m.vars[0], zero))
}

/// Whether a comparison's result is zero: the comparison, or its inverse.
fn boolean(r: &mut Rewrite<'_>, m: &Match) -> Option<Value> {
    let invert = match m.root.int_cc() {
        IntCC::Eq => true,
        IntCC::Ne => false,
        _ => return None,
    };
    let mut inner = r.func.resolve(Value::from_u32(m.root.a));
    if !is_boolean(r.func, inner) {
        return None;
    }
    while r.func.insts[inner].opcode == Uextend {
        inner = r.func.resolve(Value::from_u32(r.func.insts[inner].a));
    }
    let data = r.func.insts[inner];
    Some(match (invert, data.opcode) {
        (false, _) => inner,
        (true, Icmp) => r.make(data.with_aux(data.int_cc().inverse() as u16)),
        (true, _) => r.make(data.with_aux(data.float_cc().inverse() as u16)),
    })
}

/// A comparison's result compared with one: with zero, the other way round.
fn boolean_one(r: &mut Rewrite<'_>, m: &Match) -> Option<Value> {
    let cc = match m.root.int_cc() {
        IntCC::Eq => IntCC::Ne,
        IntCC::Ne => IntCC::Eq,
        _ => return None,
    };
    let inner = r.func.resolve(Value::from_u32(m.root.a));
    if !is_boolean(r.func, inner) {
        return None;
    }
    let zero = r.iconst(m.arg, 0);
    Some(r.icmp(cc, inner, zero))
}

//! Rules for extensions, truncations, bit casts and signs of floats.

use super::short::*;
use crate::evaluate::mask;
use Opcode::*;

/// The rows.
pub(super) static RULES: &[Rule] = &[
    rule("uextend-uextend", Op(Uextend, &[Op(Uextend, &[X])]), |r, m| {
        Some(r.unary(Uextend, m.ty, m.vars[0]))
    }),
    rule("sextend-sextend", Op(Sextend, &[Op(Sextend, &[X])]), |r, m| {
        Some(r.unary(Sextend, m.ty, m.vars[0]))
    }),
    rule("sextend-uextend", Op(Sextend, &[Op(Uextend, &[X])]), |r, m| {
        Some(r.unary(Uextend, m.ty, m.vars[0]))
    }),
    rule("ireduce-uextend", Op(Ireduce, &[Op(Uextend, &[X])]), |r, m| reduced(r, m, Uextend)),
    rule("ireduce-sextend", Op(Ireduce, &[Op(Sextend, &[X])]), |r, m| reduced(r, m, Sextend)),
    rule("ireduce-ireduce", Op(Ireduce, &[Op(Ireduce, &[X])]), |r, m| {
        Some(r.unary(Ireduce, m.ty, m.vars[0]))
    }),
    rule("ireduce-band", Op(Ireduce, &[Op(Band, &[X, K])]), |r, m| {
        let low = mask(m.ty);
        (m.consts[0] & low == low && m.ty.bits() <= 64).then(|| r.unary(Ireduce, m.ty, m.vars[0]))
    }),
    rule("uextend-ireduce", Op(Uextend, &[Op(Ireduce, &[X])]), |r, m| {
        // A mask of 8 or 16 bits of the same width; a 32-bit one stays, since moving 32 bits is the mask already.
        let same = r.func.type_of(m.vars[0]) == m.ty && m.arg.bits() < 32 && m.ty.bits() <= 64;
        same.then(|| r.binary_imm(Band, m.vars[0], mask(m.arg)))
    }),
    rule("bitcast-bitcast", Op(Bitcast, &[Op(Bitcast, &[X])]), |r, m| {
        let scalars = !m.ty.is_vector() && !m.arg.is_vector();
        (scalars && r.func.type_of(m.vars[0]) == m.ty).then_some(m.vars[0])
    }),
    rule("fneg-fneg", Op(Fneg, &[Op(Fneg, &[X])]), |_, m| Some(m.vars[0])),
    rule("fabs-fneg", Op(Fabs, &[Op(Fneg, &[X])]), |r, m| Some(r.unary(Fabs, m.ty, m.vars[0]))),
    rule("fabs-fabs", Op(Fabs, &[Op(Fabs, &[X])]), |r, m| Some(r.unary(Fabs, m.ty, m.vars[0]))),
];

/// The low bits of an extended value: the value itself, cut shorter or extended less.
fn reduced(r: &mut Rewrite<'_>, m: &Match, extend: Opcode) -> Option<Value> {
    let (x, from) = (m.vars[0], r.func.type_of(m.vars[0]));
    Some(match from.bits().cmp(&m.ty.bits()) {
        core::cmp::Ordering::Equal => x,
        core::cmp::Ordering::Greater => r.unary(Ireduce, m.ty, x),
        core::cmp::Ordering::Less => r.unary(extend, m.ty, x),
    })
}

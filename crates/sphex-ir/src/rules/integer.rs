//! Rules for integer arithmetic and bits.

use super::short::*;
use crate::evaluate::mask;
use Opcode::*;
use sphex_entity::seeded_bug;

/// The rows.
pub(super) static RULES: &[Rule] = &[
    // Addition: constants move outwards and to the right, where addresses and comparisons take them.
    rule("iadd-zero", Op(Iadd, &[X, ZERO]), first),
    rule("iadd-constants", Op(Iadd, &[Op(Iadd, &[X, K]), L]), |r, m| {
        Some(r.binary_imm(Iadd, m.vars[0], m.consts[0].wrapping_add(m.consts[1])))
    }),
    rule("iadd-constant-outwards", Op(Iadd, &[Op(Iadd, &[X, K]), Y]), |r, m| {
        let sum = r.binary(Iadd, m.vars[0], m.vars[1]);
        Some(r.binary_imm(Iadd, sum, m.consts[0]))
    }),
    rule("iadd-negated", Op(Iadd, &[X, Op(Ineg, &[Y])]), |r, m| Some(r.binary(Isub, m.vars[0], m.vars[1]))),
    rule("iadd-of-difference", Op(Iadd, &[Op(Isub, &[X, Y]), Y]), first),
    rule("iadd-constant-minus", Op(Iadd, &[Op(Isub, &[K, X]), L]), |r, m| {
        let sum = r.iconst(m.ty, m.consts[0].wrapping_add(m.consts[1]));
        Some(r.binary(Isub, sum, m.vars[0]))
    }),
    rule("isub-self", Op(Isub, &[X, X]), zero),
    rule("isub-constant", Op(Isub, &[X, K]), |r, m| {
        Some(r.binary_imm(Iadd, m.vars[0], m.consts[0].wrapping_neg()))
    }),
    rule("isub-from-zero", Op(Isub, &[ZERO, X]), |r, m| Some(r.unary(Ineg, m.ty, m.vars[0]))),
    rule("isub-of-sum-left", Op(Isub, &[Op(Iadd, &[X, Y]), X]), |_, m| Some(m.vars[1])),
    rule("isub-of-sum-right", Op(Isub, &[Op(Iadd, &[X, Y]), Y]), first),
    rule("isub-difference", Op(Isub, &[X, Op(Isub, &[X, Y])]), |_, m| Some(m.vars[1])),
    rule("isub-negated", Op(Isub, &[X, Op(Ineg, &[Y])]), |r, m| Some(r.binary(Iadd, m.vars[0], m.vars[1]))),
    rule("ineg-ineg", Op(Ineg, &[Op(Ineg, &[X])]), first),
    rule("ineg-isub", Op(Ineg, &[Op(Isub, &[X, Y])]), |r, m| Some(r.binary(Isub, m.vars[1], m.vars[0]))),
    // Multiplication.
    rule("imul-zero", Op(Imul, &[X, ZERO]), zero),
    rule("imul-one", Op(Imul, &[X, ONE]), first),
    rule("imul-minus-one", Op(Imul, &[X, ONES]), |r, m| Some(r.unary(Ineg, m.ty, m.vars[0]))),
    rule("imul-power-of-two", Op(Imul, &[X, K]), |r, m| {
        let power = m.consts[0].is_power_of_two() && m.ty.bits() <= 64;
        power.then(|| r.binary_imm(Ishl, m.vars[0], m.consts[0].trailing_zeros() as u64))
    }),
    rule("imul-constants", Op(Imul, &[Op(Imul, &[X, K]), L]), |r, m| {
        Some(r.binary_imm(Imul, m.vars[0], m.consts[0].wrapping_mul(m.consts[1])))
    }),
    // And.
    rule("band-zero", Op(Band, &[X, ZERO]), zero),
    rule("band-ones", Op(Band, &[X, ONES]), first),
    rule("band-self", Op(Band, &[X, X]), first),
    rule("band-constants", Op(Band, &[Op(Band, &[X, K]), L]), |r, m| {
        Some(r.binary_imm(Band, m.vars[0], m.consts[0] & m.consts[1]))
    }),
    rule("band-complement", Op(Band, &[X, Op(Bnot, &[X])]), |r, m| m.ty.is_int().then(|| r.iconst(m.ty, 0))),
    rule("band-absorbs", Op(Band, &[X, Op(Bor, &[X, Y])]), first),
    rule("band-of-uextend", Op(Band, &[Op(Uextend, &[X]), K]), |r, m| {
        let from = mask(r.func.type_of(m.vars[0]));
        (m.consts[0] & from == from && m.ty.bits() <= 64).then(|| r.unary(Uextend, m.ty, m.vars[0]))
    }),
    rule("band-of-ushr", Op(Band, &[Op(Ushr, &[X, K]), L]), |r, m| {
        let left = mask(m.ty).checked_shr((m.consts[0] % m.ty.bits() as u64) as u32)?;
        (m.consts[1] & left == left).then(|| r.binary_imm(Ushr, m.vars[0], m.consts[0]))
    }),
    rule("band-of-bnot", Op(Band, &[X, Op(Bnot, &[Y])]), |r, m| {
        (m.ty.is_int() && m.ty.bits() <= 64).then(|| r.binary(BandNot, m.vars[0], m.vars[1]))
    }),
    // Or.
    rule("bor-zero", Op(Bor, &[X, ZERO]), first),
    rule("bor-ones", Op(Bor, &[X, ONES]), |_, m| Some(Value::from_u32(m.root.b))),
    rule("bor-self", Op(Bor, &[X, X]), first),
    rule("bor-constants", Op(Bor, &[Op(Bor, &[X, K]), L]), |r, m| {
        Some(r.binary_imm(Bor, m.vars[0], m.consts[0] | m.consts[1]))
    }),
    rule("bor-absorbs", Op(Bor, &[X, Op(Band, &[X, Y])]), first),
    rule("bor-rotates", Op(Bor, &[Op(Ishl, &[X, K]), Op(Ushr, &[X, L])]), |r, m| {
        let (width, left, right) = (m.ty.bits() as u64, m.consts[0], m.consts[1]);
        (left < width && right < width && left + right == width).then(|| r.binary_imm(Rotl, m.vars[0], left))
    }),
    // Exclusive or.
    rule("bxor-zero", Op(Bxor, &[X, ZERO]), first),
    rule("bxor-self", Op(Bxor, &[X, X]), |r, m| m.ty.is_int().then(|| r.iconst(m.ty, 0))),
    rule("bxor-ones", Op(Bxor, &[X, ONES]), |r, m| Some(r.unary(Bnot, m.ty, m.vars[0]))),
    rule("bxor-constants", Op(Bxor, &[Op(Bxor, &[X, K]), L]), |r, m| {
        Some(r.binary_imm(Bxor, m.vars[0], m.consts[0] ^ m.consts[1]))
    }),
    rule("bxor-twice", Op(Bxor, &[Op(Bxor, &[X, Y]), Y]), first),
    rule("bnot-bnot", Op(Bnot, &[Op(Bnot, &[X])]), first),
    // Shifts. The amount counts modulo the width.
    rule("ishl-zero", Op(Ishl, &[X, ZERO]), first),
    rule("ushr-zero", Op(Ushr, &[X, ZERO]), first),
    rule("sshr-zero", Op(Sshr, &[X, ZERO]), first),
    rule("rotl-zero", Op(Rotl, &[X, ZERO]), first),
    rule("rotr-zero", Op(Rotr, &[X, ZERO]), first),
    rule("ishl-amount", Op(Ishl, &[X, K]), |r, m| reduced_amount(r, m, Ishl)),
    rule("ushr-amount", Op(Ushr, &[X, K]), |r, m| reduced_amount(r, m, Ushr)),
    rule("sshr-amount", Op(Sshr, &[X, K]), |r, m| reduced_amount(r, m, Sshr)),
    rule("rotl-amount", Op(Rotl, &[X, K]), |r, m| reduced_amount(r, m, Rotl)),
    rule("rotr-amount", Op(Rotr, &[X, K]), |r, m| {
        let width = m.ty.bits() as u64;
        (m.ty.is_int() && m.ty.bits() <= 64)
            .then(|| r.binary_imm(Rotl, m.vars[0], (width - m.consts[0] % width) % width))
    }),
    rule("ishl-masked-amount", Op(Ishl, &[X, Op(Band, &[Y, K])]), |r, m| unmasked(r, m, Ishl)),
    rule("ushr-masked-amount", Op(Ushr, &[X, Op(Band, &[Y, K])]), |r, m| unmasked(r, m, Ushr)),
    rule("sshr-masked-amount", Op(Sshr, &[X, Op(Band, &[Y, K])]), |r, m| unmasked(r, m, Sshr)),
    rule("rotl-masked-amount", Op(Rotl, &[X, Op(Band, &[Y, K])]), |r, m| unmasked(r, m, Rotl)),
    rule("rotr-masked-amount", Op(Rotr, &[X, Op(Band, &[Y, K])]), |r, m| unmasked(r, m, Rotr)),
    rule("ishl-ishl", Op(Ishl, &[Op(Ishl, &[X, K]), L]), |r, m| {
        let sum = total_amount(m)?;
        let whole = sum < m.ty.bits() as u64 || seeded_bug(1);
        Some(if whole { r.binary_imm(Ishl, m.vars[0], sum) } else { r.iconst(m.ty, 0) })
    }),
    rule("ushr-ushr", Op(Ushr, &[Op(Ushr, &[X, K]), L]), |r, m| {
        let sum = total_amount(m)?;
        Some(if sum < m.ty.bits() as u64 { r.binary_imm(Ushr, m.vars[0], sum) } else { r.iconst(m.ty, 0) })
    }),
    rule("sshr-sshr", Op(Sshr, &[Op(Sshr, &[X, K]), L]), |r, m| {
        let sum = total_amount(m)?.min(m.ty.bits() as u64 - 1);
        Some(r.binary_imm(Sshr, m.vars[0], sum))
    }),
    rule("ushr-ishl", Op(Ushr, &[Op(Ishl, &[X, K]), L]), |r, m| {
        total_amount(m).filter(|_| m.consts[0] == m.consts[1])?;
        Some(r.binary_imm(Band, m.vars[0], mask(m.ty) >> m.consts[0]))
    }),
    rule("ishl-ushr", Op(Ishl, &[Op(Ushr, &[X, K]), L]), |r, m| {
        total_amount(m).filter(|_| m.consts[0] == m.consts[1])?;
        Some(r.binary_imm(Band, m.vars[0], mask(m.ty) & (u64::MAX << m.consts[0])))
    }),
    rule("sshr-ishl-is-sextend", Op(Sshr, &[Op(Ishl, &[X, K]), L]), |r, m| {
        total_amount(m).filter(|_| m.consts[0] == m.consts[1])?;
        let narrow =
            crate::types::Type::int(m.ty.bits() - m.consts[0] as u32).filter(|n| n.bits() < m.ty.bits())?;
        let low = r.unary(Ireduce, narrow, m.vars[0]);
        Some(r.unary(Sextend, m.ty, low))
    }),
    // Choice.
    rule("select-same", Op(Select, &[X, Y, Y]), |_, m| Some(m.vars[1])),
    rule("select-constant", Op(Select, &[K, X, Y]), |_, m| {
        Some(m.vars[if m.consts[0] != 0 { 0 } else { 1 }])
    }),
    rule("select-uextended", Op(Select, &[Op(Uextend, &[X]), Y, Z]), select_truth),
    rule("select-sextended", Op(Select, &[Op(Sextend, &[X]), Y, Z]), select_truth),
    rule("select-not-zero", Op(Select, &[Op(Icmp, &[X, ZERO]), Y, Z]), select_truth),
    rule("select-icmp-one-zero", Op(Select, &[Op(Icmp, &[X, Y]), ONE, ZERO]), select_boolean),
    rule("select-fcmp-one-zero", Op(Select, &[Op(Fcmp, &[X, Y]), ONE, ZERO]), select_boolean),
];

/// The first variable.
fn first(_: &mut Rewrite<'_>, m: &Match) -> Option<Value> {
    Some(m.vars[0])
}

/// Zero, of a scalar integer type of at most 64 bits.
fn zero(r: &mut Rewrite<'_>, m: &Match) -> Option<Value> {
    (m.ty.is_int() && m.ty.bits() <= 64).then(|| r.iconst(m.ty, 0))
}

/// A choice by the condition without what does not change whether it is zero.
fn select_truth(r: &mut Rewrite<'_>, m: &Match) -> Option<Value> {
    let given = r.func.resolve(Value::from_u32(m.root.a));
    let (cond, inverted) = crate::fold::truth(r.func, given);
    if cond == given {
        return None;
    }
    let (then, other) = (Value::from_u32(m.root.b), Value::from_u32(m.root.c));
    let (then, other) = if inverted { (other, then) } else { (then, other) };
    Some(r.make(crate::function::InstData::ternary(Select, m.ty, cond, then, other)))
}

/// One or zero by a comparison: the comparison's own result.
fn select_boolean(r: &mut Rewrite<'_>, m: &Match) -> Option<Value> {
    let cond = r.func.resolve(Value::from_u32(m.root.a));
    match m.ty {
        ty if m.arg.bits() != 8 || !ty.is_int() || ty.bits() > 64 => None,
        ty if ty == m.arg => Some(cond),
        ty => Some(r.unary(Uextend, ty, cond)),
    }
}

/// The amount modulo the width, where that is another number.
fn reduced_amount(r: &mut Rewrite<'_>, m: &Match, opcode: Opcode) -> Option<Value> {
    let width = m.ty.lane_bits() as u64;
    if m.consts[0] < width || m.ty.bits() > 64 {
        return None;
    }
    Some(r.binary_imm(opcode, m.vars[0], m.consts[0] % width))
}

/// A shift by an amount whose mask keeps what counts.
fn unmasked(r: &mut Rewrite<'_>, m: &Match, opcode: Opcode) -> Option<Value> {
    let counts = m.ty.lane_bits() as u64 - 1;
    (m.consts[0] & counts == counts).then(|| r.binary(opcode, m.vars[0], m.vars[1]))
}

/// The sum of two shift amounts, both below the width.
fn total_amount(m: &Match) -> Option<u64> {
    let width = m.ty.bits() as u64;
    let fits = m.ty.is_int() && width <= 64 && m.consts.iter().all(|&c| c < width);
    fits.then(|| m.consts[0] + m.consts[1])
}

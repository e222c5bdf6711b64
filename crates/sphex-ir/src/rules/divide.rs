//! Rules for division by constants: shifts, masks, and multiplication by a reciprocal.
//!
//! The reciprocals are those of Granlund and Montgomery, "Division by invariant integers using multiplication" (PLDI
//! 1994). Only divisors that cannot trap get here (`fold::is_foldable`).

use super::short::*;
use crate::evaluate::{mask, signed};
use Opcode::*;

/// The rows.
pub(super) static RULES: &[Rule] = &[
    rule("udiv-constant", Op(Udiv, &[X, K]), |r, m| udiv(r, m.vars[0], m.consts[0])),
    rule("urem-constant", Op(Urem, &[X, K]), |r, m| {
        if m.consts[0].is_power_of_two() {
            return Some(r.binary_imm(Band, m.vars[0], m.consts[0] - 1));
        }
        let quotient = udiv(r, m.vars[0], m.consts[0])?;
        Some(remainder(r, m, quotient))
    }),
    rule("sdiv-constant", Op(Sdiv, &[X, K]), |r, m| sdiv(r, m.vars[0], m.consts[0])),
    rule("srem-constant", Op(Srem, &[X, K]), |r, m| {
        let quotient = sdiv(r, m.vars[0], m.consts[0])?;
        Some(remainder(r, m, quotient))
    }),
];

fn remainder(r: &mut Rewrite<'_>, m: &Match, quotient: Value) -> Value {
    let product = r.binary_imm(Imul, quotient, m.consts[0]);
    r.binary(Isub, m.vars[0], product)
}

/// Unsigned division by a constant of 32 or 64 bits.
fn udiv(r: &mut Rewrite<'_>, x: Value, d: u64) -> Option<Value> {
    let ty = r.func.type_of(x);
    if d == 0 {
        return None;
    }
    if d.is_power_of_two() {
        return Some(r.binary_imm(Ushr, x, d.trailing_zeros() as u64));
    }
    if ty.bits() != 32 && ty.bits() != 64 {
        return None;
    }
    let width = ty.bits();
    // The least shift with 2^(width + shift) / d rounded up being exact enough: ceil(log2 d).
    let shift = 64 - (d - 1).leading_zeros();
    let power = 1u128 << shift;
    // floor(2^width * (2^shift - d) / d) + 1, below 2^width; the true multiplier is that plus 2^width.
    let multiplier = (((power - d as u128) << width) / d as u128 + 1) as u64 & mask(ty);
    // An even divisor may get by with a multiplier that fits: divide out the twos first.
    let twos = d.trailing_zeros();
    if twos > 0 {
        let half = r.binary_imm(Ushr, x, twos as u64);
        if let Some(value) = udiv_short(r, half, d >> twos, width - twos) {
            return Some(value);
        }
    } else if let Some(value) = udiv_short(r, x, d, width) {
        return Some(value);
    }
    let high = r.binary_imm(Umulhi, x, multiplier);
    let rest = r.binary(Isub, x, high);
    let half = r.binary_imm(Ushr, rest, 1);
    let sum = r.binary(Iadd, half, high);
    Some(r.binary_imm(Ushr, sum, shift as u64 - 1))
}

/// Division of a number below 2^`bits` by an odd constant, where a multiplier of the type's width suffices.
fn udiv_short(r: &mut Rewrite<'_>, x: Value, d: u64, bits: u32) -> Option<Value> {
    if d == 1 {
        return Some(x);
    }
    let ty = r.func.type_of(x);
    let width = ty.bits();
    for shift in 0..width {
        let power = 1u128.checked_shl(width + shift)?;
        let (quotient, error) = (power / d as u128 + 1, d as u128 - power % d as u128);
        if quotient > mask(ty) as u128 {
            return None;
        }
        // Exact where x * error < 2^(width + shift) for every x below 2^bits.
        if error << bits <= power {
            let high = r.binary_imm(Umulhi, x, quotient as u64);
            return Some(r.binary_imm(Ushr, high, shift as u64));
        }
    }
    None
}

/// Signed division by a constant of 32 or 64 bits that is neither 0 nor -1.
fn sdiv(r: &mut Rewrite<'_>, x: Value, raw: u64) -> Option<Value> {
    let ty = r.func.type_of(x);
    let width = ty.bits();
    let d = signed(ty, raw);
    if width != 32 && width != 64 || d == 0 || d == -1 {
        return None;
    }
    if d == 1 {
        return Some(x);
    }
    let magnitude = d.unsigned_abs();
    if magnitude.is_power_of_two() {
        let k = magnitude.trailing_zeros() as u64;
        // Towards zero: add 2^k - 1 to negative numbers first.
        let sign = r.binary_imm(Sshr, x, width as u64 - 1);
        let bias = r.binary_imm(Ushr, sign, width as u64 - k);
        let biased = r.binary(Iadd, x, bias);
        let quotient = r.binary_imm(Sshr, biased, k);
        return Some(if d < 0 { r.unary(Ineg, ty, quotient) } else { quotient });
    }
    let shift = (64 - (magnitude - 1).leading_zeros()).max(1) - 1;
    let wide = (1u128 << (width + shift)) / magnitude as u128 + 1;
    let multiplier = wide as u64 & mask(ty);
    let high = r.binary_imm(Smulhi, x, multiplier);
    // The multiplier is below 2^width but, read as signed, may be negative: then x is missing once.
    let high = if signed(ty, multiplier) < 0 { r.binary(Iadd, high, x) } else { high };
    let shifted = r.binary_imm(Sshr, high, shift as u64);
    let sign = r.binary_imm(Sshr, x, width as u64 - 1);
    Some(if d < 0 { r.binary(Isub, sign, shifted) } else { r.binary(Isub, shifted, sign) })
}

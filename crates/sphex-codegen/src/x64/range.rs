//! The largest value that something can be, and what follows for addresses: sums and shifts of 32 bits that cannot wrap
//! are parts of an addressing mode.
//!
//! Needs: the operands of values. Gives: [`Lower::largest`], [`Lower::unwrapped`]. Each looks a bounded number of
//! definitions deep.

use super::Lower;
use sphex_ir::types::I32;
use sphex_ir::{Opcode, Value};

/// How many definitions deep bounds are looked for.
const DEPTH: usize = 4;

impl Lower<'_> {
    /// The largest that an integer of at most 64 bits, zero-extended, can be.
    pub(super) fn largest(&self, value: Value) -> u64 {
        self.largest_within(value, DEPTH)
    }

    fn largest_within(&self, value: Value, depth: usize) -> u64 {
        let value = self.select.resolve(value);
        let data = self.data(value);
        let all = u64::MAX >> (64 - self.ty(value).bits().clamp(1, 64));
        if depth == 0 {
            return all;
        }
        let of = |k: usize| self.largest_within(self.arg(value, k), depth - 1);
        let amount =
            || self.constant(self.arg(value, 1)).map(|c| c as u64 & u64::from(self.ty(value).bits() - 1));
        use Opcode::*;
        let found = match data.opcode {
            Iconst => return self.unsigned_constant(value).unwrap_or(all),
            Uload8 => 0xff,
            Uload16 => 0xffff,
            Uload32 => 0xffff_ffff,
            Icmp | Fcmp => 1,
            Clz | Ctz | Popcnt => u64::from(self.ty(value).bits()),
            Uextend => of(0),
            Select => of(1).max(of(2)),
            Band => of(0).min(of(1)),
            Bor | Bxor => ones(of(0) | of(1)),
            Ushr => amount().map_or(all, |amount| of(0) >> amount),
            Ishl => amount().and_then(|amount| of(0).checked_mul(1 << amount)).unwrap_or(all),
            Iadd => of(0).checked_add(of(1)).unwrap_or(all),
            Imul => of(0).checked_mul(of(1)).unwrap_or(all),
            Urem => of(1).saturating_sub(1),
            _ => all,
        };
        // What may be larger than the type wraps.
        if found > all { all } else { found }
    }

    /// A value of 32 bits as another one, whose register has zeros above, times a power of two plus a constant: the same
    /// number in 64 bits, if nothing wraps.
    pub(super) fn unwrapped(&self, value: Value) -> Option<(Value, u8, i32)> {
        let (mut value, mut shift, mut disp) = (self.select.resolve(value), 0u8, 0u64);
        let limit = u64::from(u32::MAX);
        for _ in 0..3 {
            let data = self.data(value);
            if self.ty(value) != I32 || !matches!(data.opcode, Opcode::Iadd | Opcode::Ishl) {
                break;
            }
            let (mut x, mut y) = (self.arg(value, 0), self.arg(value, 1));
            if data.opcode == Opcode::Iadd && self.constant(x).is_some() {
                (x, y) = (y, x);
            }
            let Some(constant) = self.unsigned_constant(y).filter(|_| self.constant(x).is_none()) else {
                break;
            };
            let (more, times) = match data.opcode {
                Opcode::Iadd => (constant, 0),
                _ if constant + u64::from(shift) <= 3 => (0, constant as u8),
                _ => break,
            };
            let exact = self.largest(x).checked_mul(1 << times).and_then(|most| most.checked_add(more));
            let fits = exact.is_some_and(|most| most <= limit);
            if !fits || !self.is_zero_extended(self.select.resolve(x)) {
                break;
            }
            disp += more << shift;
            shift += times;
            value = self.select.resolve(x);
        }
        let disp = i32::try_from(disp).ok()?;
        (shift != 0 || disp != 0).then_some((value, shift, disp))
    }
}

/// The largest value with as many bits as this one.
fn ones(value: u64) -> u64 {
    u64::MAX.checked_shr(value.leading_zeros()).unwrap_or(0)
}

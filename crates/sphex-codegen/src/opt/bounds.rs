//! What is known under the branches and checks passed: truth of conditions, order of two values, ranges.
//!
//! Needs: conditions folded (`fold::truth`), a walk in dominance order that opens and closes a scope a block.   Gives: whether
//! a condition is decided.   Breaks: nothing.   Cost: constant a question (expressions are followed four deep).
//!
//! I1. Two values compare in one of five ways: equal, or less or greater, unsigned and signed. `orders[(x, y)]` has a bit
//!     for each way that is still possible; a comparison is decided where it accepts all or none of them.
//! I2. A range is of unsigned numbers, both ends included, of scalars up to 64 bits. Ranges that follow from an
//!     expression hold everywhere; what was assumed is intersected with them.

use core::hash::BuildHasherDefault;
use rustc_hash::FxHasher;
use smallvec::SmallVec;
use sphex_entity::{EntityRef, ScopedMap};
use sphex_ir::evaluate::{int_compare, mask};
use sphex_ir::{Function, IntCC, Opcode, Type, Value};

type Map<K, V> = ScopedMap<K, V, BuildHasherDefault<FxHasher>>;

/// Facts in scope.
#[derive(Debug, Default)]
pub struct Facts {
    truths: Map<Value, bool>,
    orders: Map<(Value, Value), u8>,
    ranges: Map<Value, Range>,
}

/// An unsigned range, both ends included.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Range {
    low: u64,
    high: u64,
}

/// How far expressions are followed for a range.
const DEPTH: u32 = 4;
/// How many parts of a conjunction are taken.
const PARTS: usize = 8;

impl Range {
    fn full(ty: Type) -> Self {
        Range { low: 0, high: mask(ty) }
    }

    /// Both; where they contradict each other the code is never reached, and either will do.
    fn and(self, other: Range) -> Range {
        let both = Range { low: self.low.max(other.low), high: self.high.min(other.high) };
        if both.low <= both.high { both } else { self }
    }
}

/// The ways to compare (I1) that a condition accepts.
fn accepted(cc: IntCC) -> u8 {
    const EQUAL: u8 = 1;
    // Below or above unsigned, less or greater signed.
    const BL: u8 = 2;
    const BG: u8 = 4;
    const AL: u8 = 8;
    const AG: u8 = 16;
    match cc {
        IntCC::Eq => EQUAL,
        IntCC::Ne => BL | BG | AL | AG,
        IntCC::Ult => BL | BG,
        IntCC::Ule => BL | BG | EQUAL,
        IntCC::Ugt => AL | AG,
        IntCC::Uge => AL | AG | EQUAL,
        IntCC::Slt => BL | AL,
        IntCC::Sle => BL | AL | EQUAL,
        IntCC::Sgt => BG | AG,
        IntCC::Sge => BG | AG | EQUAL,
    }
}

const ANY: u8 = 31;

/// A comparison of two scalar integers of at most 64 bits: condition and operands.
fn comparison(func: &Function, cond: Value) -> Option<(IntCC, Value, Value)> {
    let data = func.insts[cond];
    if data.opcode != Opcode::Icmp {
        return None;
    }
    let (x, y) = (func.resolve(Value::from_u32(data.a)), func.resolve(Value::from_u32(data.b)));
    let ty = func.type_of(x);
    (ty.is_int() && ty.bits() <= 64).then(|| (data.int_cc(), x, y))
}

impl Facts {
    /// Forgets everything.
    pub fn clear(&mut self) {
        self.truths.clear();
        self.orders.clear();
        self.ranges.clear();
    }

    /// Opens a scope.
    pub fn open(&mut self) {
        self.truths.open();
        self.orders.open();
        self.ranges.open();
    }

    /// Forgets what was learnt since the scope was opened.
    pub fn close(&mut self) {
        self.truths.close();
        self.orders.close();
        self.ranges.close();
    }

    /// From here on `cond` is other than zero, or zero.
    pub fn assume(&mut self, func: &Function, cond: Value, holds: bool) {
        let mut parts = SmallVec::<[(Value, bool); 8]>::from_slice(&[(cond, holds)]);
        let mut taken = 0;
        while let Some((part, holds)) = parts.pop() {
            let (cond, inverted) = sphex_ir::fold::truth(func, part);
            let holds = holds != inverted;
            self.truths.insert(cond, holds);
            let data = func.insts[cond];
            // Both sides of an `and` of comparisons hold; neither side of an `or` that does not.
            let splits = match data.opcode {
                Opcode::Band => holds && [data.a, data.b].iter().all(|&v| is_bit(func, Value::from_u32(v))),
                Opcode::Bor => !holds,
                _ => false,
            };
            if splits && taken < PARTS {
                taken += 1;
                parts.extend([data.a, data.b].map(|v| (func.resolve(Value::from_u32(v)), holds)));
            }
            match comparison(func, cond) {
                Some((cc, x, y)) => self.compare(func, if holds { cc } else { cc.inverse() }, x, y),
                None => {
                    let ty = func.type_of(cond);
                    if ty.is_int() && ty.bits() <= 64 {
                        let ends = if holds { (1, mask(ty)) } else { (0, 0) };
                        self.narrow(func, cond, Range { low: ends.0, high: ends.1 });
                    }
                }
            }
        }
    }

    fn compare(&mut self, func: &Function, cc: IntCC, x: Value, y: Value) {
        let (key, ways) = ordered(cc, x, y);
        let before = self.orders.get(&key).copied().unwrap_or(ANY);
        if before & ways != 0 {
            self.orders.insert(key, before & ways);
        }
        let (of_x, of_y) = (self.range(func, x, DEPTH), self.range(func, y, DEPTH));
        self.narrow_by(func, cc, x, of_x, of_y);
        self.narrow_by(func, cc.swapped(), y, of_y, of_x);
    }

    /// Narrows x by `x cc y`.
    fn narrow_by(&mut self, func: &Function, cc: IntCC, x: Value, of_x: Range, of_y: Range) {
        let half = mask(func.type_of(x)) >> 1;
        let both_positive = of_x.high <= half && of_y.high <= half;
        let all = mask(func.type_of(x));
        let range = match cc {
            IntCC::Eq => of_y,
            IntCC::Ult => Range { low: 0, high: of_y.high.saturating_sub(1) },
            IntCC::Ule => Range { low: 0, high: of_y.high },
            IntCC::Ugt => Range { low: of_y.low.saturating_add(1).min(all), high: all },
            IntCC::Uge => Range { low: of_y.low, high: all },
            IntCC::Slt if both_positive => Range { low: 0, high: of_y.high.saturating_sub(1) },
            IntCC::Sle if both_positive => Range { low: 0, high: of_y.high },
            // At least a number that is not negative: not negative itself.
            IntCC::Sgt if of_y.high <= half => {
                Range { low: of_y.low.saturating_add(1).min(half), high: half }
            }
            IntCC::Sge if of_y.high <= half => Range { low: of_y.low, high: half },
            IntCC::Ne if of_y.low == of_y.high && of_x.low == of_y.low => {
                Range { low: of_x.low.saturating_add(1), high: of_x.high }
            }
            IntCC::Ne if of_y.low == of_y.high && of_x.high == of_y.high => {
                Range { low: of_x.low, high: of_x.high.saturating_sub(1) }
            }
            _ => return,
        };
        self.narrow(func, x, range);
    }

    fn narrow(&mut self, func: &Function, x: Value, range: Range) {
        if func.insts[x].opcode == Opcode::Iconst {
            return;
        }
        let known = self.range(func, x, DEPTH);
        let both = known.and(range);
        if both != known {
            self.ranges.insert(x, both);
            if func.insts[x].opcode == Opcode::Uextend {
                self.narrow(func, func.resolve(Value::from_u32(func.insts[x].a)), both);
            }
        }
    }

    /// Whether a condition, in its simplest form, is known to be other than zero.
    pub fn known(&self, func: &Function, cond: Value) -> Option<bool> {
        if let Some(constant) = func.as_iconst(cond) {
            let ty = func.type_of(cond);
            return (ty.bits() <= 64).then_some(constant != 0);
        }
        if let Some(&known) = self.truths.get(&cond) {
            return Some(known);
        }
        if let Some((cc, x, y)) = comparison(func, cond) {
            let (key, ways) = ordered(cc, x, y);
            let possible = self.orders.get(&key).copied().unwrap_or(ANY);
            if possible & !ways == 0 {
                return Some(true);
            }
            if possible & ways == 0 {
                return Some(false);
            }
            return self.by_range(func, cc, x, y);
        }
        let ty = func.type_of(cond);
        if !ty.is_int() || ty.bits() > 64 {
            return None;
        }
        let range = self.range(func, cond, DEPTH);
        match (range.low, range.high) {
            (0, 0) => Some(false),
            (low, _) if low > 0 => Some(true),
            _ => None,
        }
    }

    fn by_range(&self, func: &Function, cc: IntCC, x: Value, y: Value) -> Option<bool> {
        let (x, y, ty) = (self.range(func, x, DEPTH), self.range(func, y, DEPTH), func.type_of(x));
        let half = mask(ty) >> 1;
        // Signed order is the unsigned one where both are on the same side of zero.
        let same_side = x.high <= half && y.high <= half || x.low > half && y.low > half;
        if cc.is_signed() && !same_side {
            return None;
        }
        if x.high < y.low || x.low > y.high {
            // Every pair compares alike, so that any pair will do.
            return Some(int_compare(cc, ty, x.low, y.low));
        }
        match cc {
            IntCC::Ule | IntCC::Sle if x.high == y.low => Some(true),
            IntCC::Ugt | IntCC::Sgt if x.high == y.low => Some(false),
            IntCC::Uge | IntCC::Sge if x.low == y.high => Some(true),
            IntCC::Ult | IntCC::Slt if x.low == y.high => Some(false),
            _ if x.low == x.high && x == y => Some(int_compare(cc, ty, x.low, y.low)),
            _ => None,
        }
    }

    /// The numbers that a scalar integer of at most 64 bits may be.
    fn range(&self, func: &Function, value: Value, depth: u32) -> Range {
        let value = func.resolve(value);
        let ty = func.type_of(value);
        if !ty.is_int() || ty.bits() > 64 {
            return Range { low: 0, high: u64::MAX };
        }
        let by_shape = self.by_shape(func, value, ty, depth).unwrap_or(Range::full(ty));
        match self.ranges.get(&value) {
            Some(&assumed) => by_shape.and(assumed),
            None => by_shape,
        }
    }

    /// The range that follows from how a value is computed.
    fn by_shape(&self, func: &Function, value: Value, ty: Type, depth: u32) -> Option<Range> {
        let data = func.insts[value];
        let below = depth.checked_sub(1)?;
        let of = |word| self.range(func, Value::from_u32(word), below);
        let up_to = |high| Some(Range { low: 0, high });
        let constant = |word| func.as_iconst(Value::from_u32(word));
        let width = ty.bits() as u64;
        match data.opcode {
            Opcode::Iconst => Some(Range { low: data.imm64(), high: data.imm64() }),
            Opcode::Uextend => Some(of(data.a)),
            Opcode::Icmp | Opcode::Fcmp => up_to(1),
            Opcode::Band => up_to(of(data.a).high.min(of(data.b).high)),
            Opcode::Bor | Opcode::Bxor => {
                let widest = of(data.a).high | of(data.b).high;
                up_to(u64::MAX.checked_shr(widest.leading_zeros()).unwrap_or(0))
            }
            Opcode::Umin => up_to(of(data.a).high.min(of(data.b).high)),
            Opcode::Ushr => {
                let (x, amount) = (of(data.a), constant(data.b)? % width);
                Some(Range { low: x.low >> amount, high: x.high >> amount })
            }
            Opcode::Urem => up_to(constant(data.b)?.checked_sub(1)?.min(of(data.a).high)),
            Opcode::Iadd => {
                let (x, y) = (of(data.a), of(data.b));
                let high = x.high.checked_add(y.high).filter(|h| *h <= mask(ty))?;
                Some(Range { low: x.low + y.low, high })
            }
            Opcode::Imul => {
                let (x, y) = (of(data.a), of(data.b));
                let high = x.high.checked_mul(y.high).filter(|h| *h <= mask(ty))?;
                Some(Range { low: x.low * y.low, high })
            }
            Opcode::Ishl => {
                let (x, amount) = (of(data.a), constant(data.b)? % width);
                (x.high <= mask(ty) >> amount).then(|| Range { low: x.low << amount, high: x.high << amount })
            }
            Opcode::Clz | Opcode::Ctz | Opcode::Popcnt => up_to(width.min(mask(ty))),
            Opcode::Select => {
                let (x, y) = (of(data.b), of(data.c));
                Some(Range { low: x.low.min(y.low), high: x.high.max(y.high) })
            }
            Opcode::Uload8 => up_to(0xff),
            Opcode::Uload16 => up_to(0xffff),
            Opcode::Uload32 => up_to(0xffff_ffff),
            _ => None,
        }
    }
}

/// Whether a value is an `i8` that is 0 or 1.
fn is_bit(func: &Function, value: Value) -> bool {
    sphex_ir::fold::is_boolean(func, value)
}

/// The pair in the order of the table, and the ways that the condition accepts of it.
fn ordered(cc: IntCC, x: Value, y: Value) -> ((Value, Value), u8) {
    if x.index() <= y.index() { ((x, y), accepted(cc)) } else { ((y, x), accepted(cc.swapped())) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn conditions_accept_what_their_names_say() {
        for &cc in IntCC::ALL {
            assert_eq!(accepted(cc) ^ accepted(cc.inverse()), ANY, "{cc}");
            // Swapping exchanges below with above and less with greater.
            let ways = accepted(cc);
            let swapped = ways & 1 | (ways & 2) << 3 | (ways & 16) >> 3 | (ways & 4) << 1 | (ways & 8) >> 1;
            assert_eq!(swapped, accepted(cc.swapped()), "{cc}");
        }
        // By example: -1 is above 1 and less than it.
        for &cc in IntCC::ALL {
            assert_eq!(accepted(cc) & 8 != 0, int_compare(cc, sphex_ir::types::I8, 0xff, 1), "{cc}");
            assert_eq!(accepted(cc) & 2 != 0, int_compare(cc, sphex_ir::types::I8, 1, 2), "{cc}");
        }
    }
}

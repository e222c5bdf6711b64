//! Integer operations on bits: operands zero-extended to `u128`, results cut to the type by the caller.

use super::Fault;
use crate::immediates::{AtomicRmwOp, IntCC, TrapCode};
use crate::number::{mask, sign_extend};
use crate::table::Opcode;

/// One operand.
pub(super) fn unary(op: Opcode, width: u32, x: u128) -> Result<u128, Fault> {
    let unused = 128 - width;
    Ok(match op {
        Opcode::Ineg => x.wrapping_neg(),
        Opcode::Iabs => sign_extend(x, width).unsigned_abs(),
        Opcode::Bnot => !x,
        Opcode::Bitrev => x.reverse_bits() >> unused,
        Opcode::Bswap => x.swap_bytes() >> unused,
        Opcode::Popcnt => x.count_ones() as u128,
        Opcode::Clz => (x.leading_zeros() - unused) as u128,
        Opcode::Ctz => x.trailing_zeros().min(width) as u128,
        Opcode::Cls => {
            let folded = if x >> (width - 1) != 0 { !x & mask(width) } else { x };
            (folded.leading_zeros() - unused - 1) as u128
        }
        _ => return Err(Fault::Unsupported),
    })
}

/// Two operands of the same type; for shifts `y` is the amount, of any type.
pub(super) fn binary(op: Opcode, width: u32, x: u128, y: u128) -> Result<u128, Fault> {
    let (sx, sy) = (sign_extend(x, width), sign_extend(y, width));
    let amount = (y % width as u128) as u32;
    Ok(match op {
        Opcode::Iadd => x.wrapping_add(y),
        Opcode::Isub => x.wrapping_sub(y),
        Opcode::Imul => x.wrapping_mul(y),
        Opcode::Umulhi if width <= 64 => (x * y) >> width,
        Opcode::Umulhi => multiply_high(x, y),
        Opcode::Smulhi if width <= 64 => ((sx * sy) >> width) as u128,
        Opcode::Smulhi => {
            let minus_y = if sx < 0 { y } else { 0 };
            let minus_x = if sy < 0 { x } else { 0 };
            multiply_high(x, y).wrapping_sub(minus_x).wrapping_sub(minus_y)
        }
        Opcode::Udiv | Opcode::Urem | Opcode::Sdiv | Opcode::Srem if y == 0 => {
            return Err(Fault::Trap(TrapCode::INTEGER_DIVISION_BY_ZERO));
        }
        Opcode::Udiv => x / y,
        Opcode::Urem => x % y,
        Opcode::Sdiv if sy == -1 && x == 1 << (width - 1) => {
            return Err(Fault::Trap(TrapCode::INTEGER_OVERFLOW));
        }
        Opcode::Sdiv => sx.wrapping_div(sy) as u128,
        Opcode::Srem => sx.wrapping_rem(sy) as u128,
        Opcode::Smin => sx.min(sy) as u128,
        Opcode::Smax => sx.max(sy) as u128,
        Opcode::Umin => x.min(y),
        Opcode::Umax => x.max(y),
        Opcode::AvgRound => (x >> 1) + (y >> 1) + ((x | y) & 1),
        Opcode::Band => x & y,
        Opcode::Bor => x | y,
        Opcode::Bxor => x ^ y,
        Opcode::BandNot => x & !y,
        Opcode::BorNot => x | !y,
        Opcode::BxorNot => x ^ !y,
        Opcode::Ishl => x << amount,
        Opcode::Ushr => x >> amount,
        Opcode::Sshr => (sx >> amount) as u128,
        Opcode::Rotl => rotate_left(x, width, amount),
        Opcode::Rotr => rotate_left(x, width, (width - amount) % width),
        _ => return Err(Fault::Unsupported),
    })
}

fn rotate_left(x: u128, width: u32, amount: u32) -> u128 {
    if amount == 0 { x } else { x << amount | x >> (width - amount) }
}

/// The high half of a 256-bit product, by halves of 64 bits.
fn multiply_high(x: u128, y: u128) -> u128 {
    let low = mask(64);
    let (x0, x1, y0, y1) = (x & low, x >> 64, y & low, y >> 64);
    let middle = x1 * y0 + ((x0 * y0) >> 64);
    let other = x0 * y1 + (middle & low);
    x1 * y1 + (middle >> 64) + (other >> 64)
}

/// The operations with an overflow flag: the result and the flag. `carry` is the third operand's lowest bit.
pub(super) fn overflowing(
    op: Opcode,
    width: u32,
    x: u128,
    y: u128,
    carry: bool,
) -> Result<(u128, bool), Fault> {
    let (sx, sy, c) = (sign_extend(x, width), sign_extend(y, width), carry as u128);
    let wide = width == 128;
    let fits_unsigned = |(result, over): (u128, bool)| (result, over || result & !mask(width) != 0);
    let fits_signed = |(result, over): (i128, bool)| {
        (result as u128, over || sign_extend(result as u128 & mask(width), width) != result)
    };
    // Adding the carry overflows in the direction that the sum did not, or not at all: the flags never both count.
    Ok(match op {
        Opcode::UaddOverflow | Opcode::UaddOverflowCin => {
            let ((sum, a), (all, b)) = two(x.overflowing_add(y), |s| s.overflowing_add(c));
            let _ = sum;
            fits_unsigned((all, a || b))
        }
        Opcode::SaddOverflow | Opcode::SaddOverflowCin => {
            let ((_, a), (all, b)) = two(sx.overflowing_add(sy), |s| s.overflowing_add(c as i128));
            fits_signed((all, a != b))
        }
        Opcode::UsubOverflow | Opcode::UsubOverflowBin => {
            let ((_, a), (all, b)) = two(x.overflowing_sub(y), |d| d.overflowing_sub(c));
            (all, a || b)
        }
        Opcode::SsubOverflow | Opcode::SsubOverflowBin => {
            let ((_, a), (all, b)) = two(sx.overflowing_sub(sy), |d| d.overflowing_sub(c as i128));
            fits_signed((all, a != b))
        }
        Opcode::UmulOverflow if wide => x.overflowing_mul(y),
        Opcode::UmulOverflow => fits_unsigned((x * y, false)),
        Opcode::SmulOverflow => fits_signed(sx.overflowing_mul(sy)),
        _ => return Err(Fault::Unsupported),
    })
}

/// A pair of steps, the second on the first's result.
fn two<T: Copy>(first: (T, bool), then: impl Fn(T) -> (T, bool)) -> ((T, bool), (T, bool)) {
    (first, then(first.0))
}

/// Whether two integers compare so.
pub(super) fn compare(cc: IntCC, width: u32, x: u128, y: u128) -> bool {
    let (sx, sy) = (sign_extend(x, width), sign_extend(y, width));
    match cc {
        IntCC::Eq => x == y,
        IntCC::Ne => x != y,
        IntCC::Slt => sx < sy,
        IntCC::Sge => sx >= sy,
        IntCC::Sgt => sx > sy,
        IntCC::Sle => sx <= sy,
        IntCC::Ult => x < y,
        IntCC::Uge => x >= y,
        IntCC::Ugt => x > y,
        IntCC::Ule => x <= y,
    }
}

/// What an atomic operation stores, from what memory holds and the operand.
pub(super) fn atomic(op: AtomicRmwOp, width: u32, old: u128, x: u128) -> u128 {
    let (sold, sx) = (sign_extend(old, width), sign_extend(x, width));
    match op {
        AtomicRmwOp::Add => old.wrapping_add(x),
        AtomicRmwOp::Sub => old.wrapping_sub(x),
        AtomicRmwOp::And => old & x,
        AtomicRmwOp::Nand => !(old & x),
        AtomicRmwOp::Or => old | x,
        AtomicRmwOp::Xor => old ^ x,
        AtomicRmwOp::Xchg => x,
        AtomicRmwOp::Umin => old.min(x),
        AtomicRmwOp::Umax => old.max(x),
        AtomicRmwOp::Smin => sold.min(sx) as u128,
        AtomicRmwOp::Smax => sold.max(sx) as u128,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wide_products() {
        let all = u128::MAX;
        assert_eq!(multiply_high(all, all), all - 1);
        assert_eq!(binary(Opcode::Smulhi, 128, all, all).unwrap(), 0);
        assert_eq!(binary(Opcode::Smulhi, 128, all, 2).unwrap(), all);
        assert_eq!(binary(Opcode::Umulhi, 64, u64::MAX as u128, 2).unwrap(), 1);
    }

    /// Every 8-bit addition and subtraction with carry, against plain arithmetic.
    #[test]
    fn overflow_flags_at_eight_bits() {
        for (x, y, c) in (0..=u16::MAX).flat_map(|n| [(n & 255, n >> 8, false), (n & 255, n >> 8, true)]) {
            let (sx, sy, carry) = (x as u8 as i8 as i32, y as u8 as i8 as i32, c as i32);
            let flag = |op| {
                let (bits, flag) = overflowing(op, 8, x as u128, y as u128, c).unwrap();
                (bits as u8, flag)
            };
            let signed = |n: i32| (n as u8, !(-128..128).contains(&n));
            let unsigned = |n: i32| (n as u8, !(0..256).contains(&n));
            let (ux, uy) = (x as i32, y as i32);
            assert_eq!(flag(Opcode::SaddOverflowCin), signed(sx + sy + carry));
            assert_eq!(flag(Opcode::UaddOverflowCin), unsigned(ux + uy + carry));
            assert_eq!(flag(Opcode::SsubOverflowBin), signed(sx - sy - carry));
            assert_eq!(flag(Opcode::UsubOverflowBin), unsigned(ux - uy - carry));
            if !c {
                assert_eq!(flag(Opcode::SmulOverflow), signed(sx * sy));
                assert_eq!(flag(Opcode::UmulOverflow), unsigned(ux * uy));
            }
        }
    }
}

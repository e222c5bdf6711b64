//! Constant evaluation: what a pure scalar instruction computes from constants.
//!
//! Needs: nothing. Gives: the constant instruction, or `None` where an operand is not constant, the type is wider than 64
//! bits, or the result is a NaN (payloads differ between machines, so NaNs are left to them).

use crate::function::{Function, InstData, Value};
use crate::immediates::{FloatCC, IntCC};
use crate::table::{Format, Opcode};
use crate::types::{self, Type};

/// The low bits of a type's width, all ones.
pub fn mask(ty: Type) -> u64 {
    if ty.bits() >= 64 { u64::MAX } else { (1 << ty.bits()) - 1 }
}

/// The constant `x` of this type, sign-extended.
pub fn signed(ty: Type, x: u64) -> i64 {
    let shift = 64 - ty.bits().min(64);
    (x << shift) as i64 >> shift
}

/// Evaluates an instruction whose operands are constants.
pub fn instruction(func: &Function, data: &InstData) -> Option<InstData> {
    let scalar = |v: u32| -> Option<u64> {
        let data = &func.insts[func.resolve(Value::from_u32(v))];
        match data.opcode {
            Opcode::Iconst if data.ty.bits() <= 64 => Some(data.imm64()),
            Opcode::F32const => Some(data.a as u64),
            Opcode::F64const => Some(data.imm64()),
            _ => None,
        }
    };
    match data.format() {
        Format::Unary => unary(func, data, scalar(data.a)?),
        Format::Binary => {
            let (x, y) = (scalar(data.a)?, scalar(data.b)?);
            match data.ty {
                types::F32 | types::F64 => float_binary(data, x, y),
                ty if ty.is_int() && ty.bits() <= 64 => {
                    Some(InstData::iconst(ty, integer_binary(data.opcode, ty, x, y)? as i64))
                }
                _ => None,
            }
        }
        Format::IntCompare => {
            let ty = func.type_of(Value::from_u32(data.a));
            let holds = int_compare(data.int_cc(), ty, scalar(data.a)?, scalar(data.b)?);
            Some(InstData::iconst(data.ty, holds as i64))
        }
        Format::FloatCompare => {
            let (x, y) = (scalar(data.a)?, scalar(data.b)?);
            let holds = match func.type_of(Value::from_u32(data.a)) {
                types::F32 => float_compare(
                    data.float_cc(),
                    f32::from_bits(x as u32) as f64,
                    f32::from_bits(y as u32) as f64,
                ),
                types::F64 => float_compare(data.float_cc(), f64::from_bits(x), f64::from_bits(y)),
                _ => return None,
            };
            Some(InstData::iconst(data.ty, holds as i64))
        }
        Format::LoadNoOffset if data.opcode == Opcode::Bitcast => {
            let bits = scalar(data.a)?;
            constant(data.ty, bits).filter(|_| !data.ty.is_vector())
        }
        _ => None,
    }
}

/// The constant instruction with these bits, for scalars of at most 64 bits; no NaN.
fn constant(ty: Type, bits: u64) -> Option<InstData> {
    match ty {
        types::F32 => Some(InstData::new(Opcode::F32const, ty, bits as u32, 0, 0)),
        types::F64 => Some(InstData::new(Opcode::F64const, ty, bits as u32, (bits >> 32) as u32, 0)),
        ty if ty.is_int() && ty.bits() <= 64 => Some(InstData::iconst(ty, bits as i64)),
        _ => None,
    }
}

/// Integer operations of two constants. Both are zero-extended; the result may have bits above the type's width.
pub fn integer_binary(opcode: Opcode, ty: Type, x: u64, y: u64) -> Option<u64> {
    let (width, sx, sy) = (ty.bits(), signed(ty, x), signed(ty, y));
    let amount = (y % width as u64) as u32;
    Some(match opcode {
        Opcode::Iadd => x.wrapping_add(y),
        Opcode::Isub => x.wrapping_sub(y),
        Opcode::Imul => x.wrapping_mul(y),
        Opcode::Umulhi => ((x as u128 * y as u128) >> width) as u64,
        Opcode::Smulhi => ((sx as i128 * sy as i128) >> width) as u64,
        Opcode::Udiv => x.checked_div(y)?,
        Opcode::Urem => x.checked_rem(y)?,
        Opcode::Sdiv if y != 0 && !(sy == -1 && x == 1 << (width - 1)) => (sx / sy) as u64,
        Opcode::Srem if y != 0 => sx.wrapping_rem(sy) as u64,
        Opcode::Smin => sx.min(sy) as u64,
        Opcode::Smax => sx.max(sy) as u64,
        Opcode::Umin => x.min(y),
        Opcode::Umax => x.max(y),
        Opcode::Band => x & y,
        Opcode::Bor => x | y,
        Opcode::Bxor => x ^ y,
        Opcode::BandNot => x & !y,
        Opcode::BorNot => x | !y,
        Opcode::BxorNot => x ^ !y,
        Opcode::Ishl => x << amount,
        Opcode::Ushr => x >> amount,
        Opcode::Sshr => (sx >> amount) as u64,
        Opcode::Rotl | Opcode::Rotr => {
            let left = if opcode == Opcode::Rotl { amount } else { (width - amount) % width };
            if left == 0 { x } else { x << left | x >> (width - left) }
        }
        _ => return None,
    })
}

/// Whether two zero-extended integers of a type compare so.
pub fn int_compare(cc: IntCC, ty: Type, x: u64, y: u64) -> bool {
    let (sx, sy) = (signed(ty, x), signed(ty, y));
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

/// Whether two floats compare so.
pub fn float_compare(cc: FloatCC, x: f64, y: f64) -> bool {
    use std::cmp::Ordering::{Equal, Greater, Less};
    let order = x.partial_cmp(&y);
    match cc {
        FloatCC::Ordered => order.is_some(),
        FloatCC::Unordered => order.is_none(),
        FloatCC::Equal => order == Some(Equal),
        FloatCC::NotEqual => order != Some(Equal),
        FloatCC::OrderedNotEqual => matches!(order, Some(Less | Greater)),
        FloatCC::UnorderedOrEqual => matches!(order, None | Some(Equal)),
        FloatCC::LessThan => order == Some(Less),
        FloatCC::LessThanOrEqual => matches!(order, Some(Less | Equal)),
        FloatCC::GreaterThan => order == Some(Greater),
        FloatCC::GreaterThanOrEqual => matches!(order, Some(Greater | Equal)),
        FloatCC::UnorderedOrLessThan => matches!(order, None | Some(Less)),
        FloatCC::UnorderedOrLessThanOrEqual => matches!(order, None | Some(Less | Equal)),
        FloatCC::UnorderedOrGreaterThan => matches!(order, None | Some(Greater)),
        FloatCC::UnorderedOrGreaterThanOrEqual => matches!(order, None | Some(Greater | Equal)),
    }
}

/// Integer operations of one zero-extended constant of type `from`, where the result may have bits above
/// its type's width.
pub fn integer_unary(opcode: Opcode, from: Type, x: u64) -> Option<u64> {
    let width = from.bits();
    Some(match opcode {
        Opcode::Ineg => x.wrapping_neg(),
        Opcode::Iabs => signed(from, x).wrapping_abs() as u64,
        Opcode::Bnot if from.is_int() => !x,
        Opcode::Clz => x.leading_zeros() as u64 - (64 - width as u64),
        Opcode::Ctz => (x.trailing_zeros()).min(width) as u64,
        Opcode::Popcnt => x.count_ones() as u64,
        Opcode::Bitrev => x.reverse_bits() >> (64 - width),
        Opcode::Bswap => x.swap_bytes() >> (64 - width),
        Opcode::Uextend | Opcode::Ireduce => x,
        Opcode::Sextend => signed(from, x) as u64,
        Opcode::Bmask if x == 0 => 0,
        Opcode::Bmask => u64::MAX,
        _ => return None,
    })
}

fn unary(func: &Function, data: &InstData, x: u64) -> Option<InstData> {
    let from = func.type_of(Value::from_u32(data.a));
    if from.bits() > 64 || data.ty.bits() > 64 || data.ty.is_vector() {
        return None;
    }
    match integer_unary(data.opcode, from, x) {
        Some(bits) => constant(data.ty, bits),
        None => float_unary(data, from, x),
    }
}

fn from_f32(x: f32) -> Option<InstData> {
    if x.is_nan() { None } else { constant(types::F32, x.to_bits() as u64) }
}

fn from_f64(x: f64) -> Option<InstData> {
    if x.is_nan() { None } else { constant(types::F64, x.to_bits()) }
}

fn float_unary(data: &InstData, from: Type, x: u64) -> Option<InstData> {
    let (single, double) = (f32::from_bits(x as u32), f64::from_bits(x));
    match (data.opcode, from, data.ty) {
        (Opcode::FcvtFromSint, _, types::F32) => from_f32(signed(from, x) as f32),
        (Opcode::FcvtFromSint, _, types::F64) => from_f64(signed(from, x) as f64),
        (Opcode::FcvtFromUint, _, types::F32) => from_f32(x as f32),
        (Opcode::FcvtFromUint, _, types::F64) => from_f64(x as f64),
        (Opcode::Fpromote, types::F32, types::F64) => from_f64(single as f64),
        (Opcode::Fdemote, types::F64, types::F32) => from_f32(double as f32),
        // Sign operations keep payloads: exact on every machine.
        (Opcode::Fneg, types::F32, _) => constant(types::F32, x ^ 1 << 31),
        (Opcode::Fneg, types::F64, _) => constant(types::F64, x ^ 1 << 63),
        (Opcode::Fabs, types::F32, _) => constant(types::F32, x & !(1 << 31)),
        (Opcode::Fabs, types::F64, _) => constant(types::F64, x & !(1 << 63)),
        (Opcode::Sqrt, types::F32, _) => from_f32(single.sqrt()),
        (Opcode::Sqrt, types::F64, _) => from_f64(double.sqrt()),
        (Opcode::Ceil, types::F32, _) => from_f32(single.ceil()),
        (Opcode::Ceil, types::F64, _) => from_f64(double.ceil()),
        (Opcode::Floor, types::F32, _) => from_f32(single.floor()),
        (Opcode::Floor, types::F64, _) => from_f64(double.floor()),
        (Opcode::Trunc, types::F32, _) => from_f32(single.trunc()),
        (Opcode::Trunc, types::F64, _) => from_f64(double.trunc()),
        (Opcode::Nearest, types::F32, _) => from_f32(single.round_ties_even()),
        (Opcode::Nearest, types::F64, _) => from_f64(double.round_ties_even()),
        _ => None,
    }
}

fn float_binary(data: &InstData, x: u64, y: u64) -> Option<InstData> {
    if data.ty == types::F32 {
        let (x, y) = (f32::from_bits(x as u32), f32::from_bits(y as u32));
        from_f32(match data.opcode {
            Opcode::Fadd => x + y,
            Opcode::Fsub => x - y,
            Opcode::Fmul => x * y,
            Opcode::Fdiv => x / y,
            _ => return None,
        })
    } else {
        let (x, y) = (f64::from_bits(x), f64::from_bits(y));
        from_f64(match data.opcode {
            Opcode::Fadd => x + y,
            Opcode::Fsub => x - y,
            Opcode::Fmul => x * y,
            Opcode::Fdiv => x / y,
            _ => return None,
        })
    }
}

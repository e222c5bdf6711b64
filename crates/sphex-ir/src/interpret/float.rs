//! Float operations on bits. Results that are NaNs are quiet; which one is not said.

use super::Fault;
use crate::immediates::{FloatCC, TrapCode};
use crate::number::{mask, sign_extend};
use crate::table::Opcode;
use crate::types::{self, Type};
use core::cmp::Ordering;

/// Operations for one of the two float types that this machine has itself.
macro_rules! native {
    ($name:ident, $float:ty, $bits:ty) => {
        mod $name {
            use super::*;

            const QUIET: $bits = 1 << (<$float>::MANTISSA_DIGITS - 2);

            fn get(bits: u128) -> $float {
                <$float>::from_bits(bits as $bits)
            }

            fn put(x: $float) -> u128 {
                (if x.is_nan() { x.to_bits() | QUIET } else { x.to_bits() }) as u128
            }

            pub(super) fn unary(op: Opcode, x: u128) -> Result<u128, Fault> {
                let x = get(x);
                Ok(put(match op {
                    Opcode::Sqrt => x.sqrt(),
                    Opcode::Ceil => x.ceil(),
                    Opcode::Floor => x.floor(),
                    Opcode::Trunc => x.trunc(),
                    Opcode::Nearest => x.round_ties_even(),
                    _ => return Err(Fault::Unsupported),
                }))
            }

            pub(super) fn binary(op: Opcode, x: u128, y: u128) -> Result<u128, Fault> {
                let (x, y) = (get(x), get(y));
                Ok(put(match op {
                    Opcode::Fadd => x + y,
                    Opcode::Fsub => x - y,
                    Opcode::Fmul => x * y,
                    Opcode::Fdiv => x / y,
                    Opcode::Fmin | Opcode::Fmax if x.is_nan() || y.is_nan() => x + y,
                    // Zeros compare equal: the sign decides.
                    Opcode::Fmin if x == y => {
                        if x.is_sign_negative() {
                            x
                        } else {
                            y
                        }
                    }
                    Opcode::Fmax if x == y => {
                        if x.is_sign_negative() {
                            y
                        } else {
                            x
                        }
                    }
                    Opcode::Fmin => {
                        if x < y {
                            x
                        } else {
                            y
                        }
                    }
                    Opcode::Fmax => {
                        if x > y {
                            x
                        } else {
                            y
                        }
                    }
                    _ => return Err(Fault::Unsupported),
                }))
            }

            pub(super) fn fma(x: u128, y: u128, z: u128) -> u128 {
                put(get(x).mul_add(get(y), get(z)))
            }

            pub(super) fn order(x: u128, y: u128) -> Option<Ordering> {
                get(x).partial_cmp(&get(y))
            }

            pub(super) fn from_int(signed: bool, width: u32, x: u128) -> u128 {
                put(if signed { sign_extend(x, width) as $float } else { x as $float })
            }

            /// The integer part, saturated to 128 bits; `None` of a NaN.
            pub(super) fn to_int(x: u128) -> Option<(i128, u128, bool)> {
                let x = get(x).trunc();
                (!x.is_nan()).then_some((x as i128, x as u128, x < 0.0))
            }
        }
    };
}

native!(single, f32, u32);
native!(double, f64, u64);

/// Calls the module of a type's operations.
macro_rules! by_type {
    ($ty:expr, $call:ident($($arg:expr),*)) => {
        match $ty {
            types::F32 => Ok(single::$call($($arg),*)),
            types::F64 => Ok(double::$call($($arg),*)),
            _ => Err(Fault::Unsupported),
        }
    };
}

/// One operand.
pub(super) fn unary(op: Opcode, ty: Type, x: u128) -> Result<u128, Fault> {
    let sign = 1u128 << (ty.bits() - 1);
    match op {
        Opcode::Fneg => Ok(x ^ sign),
        Opcode::Fabs => Ok(x & !sign),
        Opcode::Bnot => Ok(!x),
        _ => by_type!(ty, unary(op, x))?,
    }
}

/// Two operands.
pub(super) fn binary(op: Opcode, ty: Type, x: u128, y: u128) -> Result<u128, Fault> {
    let sign = 1u128 << (ty.bits() - 1);
    match op {
        Opcode::Fcopysign => Ok(x & !sign | y & sign),
        Opcode::Band | Opcode::Bor | Opcode::Bxor | Opcode::BandNot | Opcode::BorNot | Opcode::BxorNot => {
            super::integer::binary(op, ty.bits(), x, y)
        }
        _ => by_type!(ty, binary(op, x, y))?,
    }
}

/// `x * y + z`, rounded once.
pub(super) fn fma(ty: Type, x: u128, y: u128, z: u128) -> Result<u128, Fault> {
    by_type!(ty, fma(x, y, z))
}

/// Whether two floats compare so.
pub(super) fn compare(cc: FloatCC, ty: Type, x: u128, y: u128) -> Result<bool, Fault> {
    use Ordering::{Equal, Greater, Less};
    let order = by_type!(ty, order(x, y))?;
    Ok(match cc {
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
    })
}

/// A conversion from `from` to `to`.
pub(super) fn convert(op: Opcode, from: Type, to: Type, x: u128) -> Result<u128, Fault> {
    match op {
        _ if to.bits().max(from.bits()) > 64 => Err(Fault::Unsupported),
        Opcode::FcvtFromUint => by_type!(to, from_int(false, from.bits(), x)),
        Opcode::FcvtFromSint => by_type!(to, from_int(true, from.bits(), x)),
        Opcode::Fpromote if from == types::F32 && to == types::F64 => {
            let wide = f32::from_bits(x as u32) as f64;
            Ok((if wide.is_nan() { wide.to_bits() | 1 << 51 } else { wide.to_bits() }) as u128)
        }
        Opcode::Fdemote if from == types::F64 && to == types::F32 => {
            let narrow = f64::from_bits(x as u64) as f32;
            Ok((if narrow.is_nan() { narrow.to_bits() | 1 << 22 } else { narrow.to_bits() }) as u128)
        }
        Opcode::FcvtToUint | Opcode::FcvtToSint => {
            let (signed, unsigned, negative) =
                by_type!(from, to_int(x))?.ok_or(Fault::Trap(TrapCode::BAD_CONVERSION_TO_INTEGER))?;
            let width = to.bits();
            let fits = match op {
                Opcode::FcvtToUint => !negative && unsigned <= mask(width),
                _ => sign_extend(signed as u128 & mask(width), width) == signed,
            };
            match (fits, op) {
                (false, _) => Err(Fault::Trap(TrapCode::INTEGER_OVERFLOW)),
                (true, Opcode::FcvtToUint) => Ok(unsigned),
                (true, _) => Ok(signed as u128),
            }
        }
        Opcode::FcvtToUintSat => {
            Ok(by_type!(from, to_int(x))?.map_or(0, |(_, unsigned, _)| unsigned.min(mask(to.bits()))))
        }
        Opcode::FcvtToSintSat => {
            let high = (mask(to.bits()) >> 1) as i128;
            Ok(by_type!(from, to_int(x))?.map_or(0, |(signed, _, _)| signed.clamp(-high - 1, high)) as u128)
        }
        _ => Err(Fault::Unsupported),
    }
}

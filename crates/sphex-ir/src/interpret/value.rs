//! Values outside a function: a type and its bits.

use crate::number::{format_float, format_int, mask, parse_float, parse_int};
use crate::types::{self, Type};
use core::fmt;

/// A value of any type up to 128 bits. Vector lanes stand one after the other, lane 0 in the lowest bits.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct DataValue {
    /// Its type.
    pub ty: Type,
    /// Its bits, zero above the type's width.
    pub bits: u128,
}

impl DataValue {
    /// A value of these bits; what is above the type's width is cut off.
    pub const fn new(ty: Type, bits: u128) -> Self {
        Self { ty, bits: bits & mask(ty.bits()) }
    }

    /// An `i8`.
    pub const fn i8(value: i8) -> Self {
        Self::new(types::I8, value as u128)
    }

    /// An `i32`.
    pub const fn i32(value: i32) -> Self {
        Self::new(types::I32, value as u128)
    }

    /// An `i64`.
    pub const fn i64(value: i64) -> Self {
        Self::new(types::I64, value as u128)
    }

    /// An `f32`.
    pub const fn f32(value: f32) -> Self {
        Self::new(types::F32, value.to_bits() as u128)
    }

    /// An `f64`.
    pub const fn f64(value: f64) -> Self {
        Self::new(types::F64, value.to_bits() as u128)
    }

    /// A lane.
    pub const fn lane(self, index: u32) -> DataValue {
        let lane = self.ty.lane_type();
        let shift = index * lane.bits();
        DataValue::new(lane, if shift < 128 { self.bits >> shift } else { 0 })
    }

    /// Parses a value of type `ty`: an integer, a float, lanes in brackets, or a vector's bytes in hexadecimal. An integer
    /// may have any width up to 64 bits more than the type where the bits cut off say nothing.
    pub fn parse(text: &str, ty: Type) -> Option<DataValue> {
        let text = text.trim();
        if ty.bits() > 128 {
            return None;
        }
        if ty.is_float() {
            return parse_float(text, ty).map(|bits| DataValue::new(ty, bits));
        }
        if ty.is_int() {
            return parse_int(text, ty.bits()).map(|bits| DataValue::new(ty, bits));
        }
        let Some(lanes) = text.strip_prefix('[').and_then(|t| t.strip_suffix(']')) else {
            return parse_int(text, 128).filter(|b| b & !mask(ty.bits()) == 0).map(|b| DataValue::new(ty, b));
        };
        let lane = ty.lane_type();
        let mut bits = 0;
        let mut count = 0;
        for (k, word) in lanes.split([' ', ',']).filter(|w| !w.is_empty()).enumerate() {
            count += 1;
            if count > ty.lane_count() {
                return None;
            }
            bits |= DataValue::parse(word, lane)?.bits << (k as u32 * lane.bits());
        }
        (count == ty.lane_count()).then(|| DataValue::new(ty, bits))
    }

    /// Whether this is a quiet NaN.
    pub fn is_quiet_nan(self) -> bool {
        let (exponent, fraction) = match self.ty {
            types::F16 => (5, 10),
            types::F32 => (8, 23),
            types::F64 => (11, 52),
            types::F128 => (15, 112),
            _ => return false,
        };
        let top = mask(exponent + 1) << (fraction - 1);
        self.bits & top == top
    }

    /// Whether this is what was expected. Which quiet NaN an operation gives is not said: where one is expected, lane by
    /// lane, any will do.
    pub fn matches(self, expected: DataValue) -> bool {
        if self.ty != expected.ty {
            return false;
        }
        (0..self.ty.lane_count()).all(|k| {
            let (found, expected) = (self.lane(k), expected.lane(k));
            found == expected || found.is_quiet_nan() && expected.is_quiet_nan()
        })
    }
}

impl fmt::Display for DataValue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.ty.is_vector() {
            f.write_str("[")?;
            for k in 0..self.ty.lane_count() {
                write!(f, "{}{}", if k == 0 { "" } else { " " }, self.lane(k))?;
            }
            return f.write_str("]");
        }
        if self.ty.is_float() {
            return f.write_str(&format_float(self.bits, self.ty));
        }
        f.write_str(&format_int(self.bits, self.ty.bits()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_round_trip_through_text() {
        let vector = DataValue::new(types::I16X8, 0x8000_0001_0002_0003_0004_0005_7fff_ffff);
        assert_eq!(DataValue::parse(&vector.to_string(), types::I16X8), Some(vector));
        let half = DataValue::f32(0.5);
        assert_eq!(DataValue::parse(&half.to_string(), types::F32), Some(half));
        assert_eq!(DataValue::parse("[1 2]", types::I32X4), None);
    }

    #[test]
    fn nans_match_nans_and_nothing_else_does() {
        let nan = |bits| DataValue::new(types::F32, bits);
        assert!(nan(0xffc0_0001).matches(nan(0x7fc0_0000)));
        assert!(!nan(0x7f80_0001).matches(nan(0x7fc0_0000)));
        assert!(!DataValue::f32(0.0).matches(DataValue::f32(-0.0)));
    }
}

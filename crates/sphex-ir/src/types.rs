//! Value types: scalars and fixed vectors, one byte each.

use core::fmt;

/// A value type: lane kind in the low four bits, log2 of the lane count in the high four.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
#[repr(transparent)]
pub struct Type(u8);

const LANE_NAMES: [&str; 10] = ["invalid", "i8", "i16", "i32", "i64", "i128", "f16", "f32", "f64", "f128"];
const LANE_BITS: [u32; 10] = [0, 8, 16, 32, 64, 128, 16, 32, 64, 128];

/// No type: the type of an instruction without a result.
pub const INVALID: Type = Type(0);
/// An 8-bit integer; also the type of a comparison's result.
pub const I8: Type = Type(1);
/// A 16-bit integer.
pub const I16: Type = Type(2);
/// A 32-bit integer.
pub const I32: Type = Type(3);
/// A 64-bit integer; the type of addresses.
pub const I64: Type = Type(4);
/// A 128-bit integer.
pub const I128: Type = Type(5);
/// An IEEE 754 binary16 number.
pub const F16: Type = Type(6);
/// An IEEE 754 binary32 number.
pub const F32: Type = Type(7);
/// An IEEE 754 binary64 number.
pub const F64: Type = Type(8);
/// An IEEE 754 binary128 number.
pub const F128: Type = Type(9);
/// Sixteen lanes of `i8`.
pub const I8X16: Type = Type(1 | 4 << 4);
/// Eight lanes of `i16`.
pub const I16X8: Type = Type(2 | 3 << 4);
/// Four lanes of `i32`.
pub const I32X4: Type = Type(3 | 2 << 4);
/// Two lanes of `i64`.
pub const I64X2: Type = Type(4 | 1 << 4);
/// Four lanes of `f32`.
pub const F32X4: Type = Type(7 | 2 << 4);
/// Two lanes of `f64`.
pub const F64X2: Type = Type(8 | 1 << 4);

impl Type {
    /// The byte that [`Type::from_u8`] takes.
    pub const fn as_u8(self) -> u8 {
        self.0
    }

    /// The type of a byte, if it names one.
    pub const fn from_u8(raw: u8) -> Option<Type> {
        let (lane, lanes) = (raw & 15, raw >> 4);
        if lane == 0 || lane > 9 || LANE_BITS[lane as usize] << lanes > 512 { None } else { Some(Type(raw)) }
    }

    /// The integer type of this width, if there is one.
    pub const fn int(bits: u32) -> Option<Type> {
        match bits {
            8 => Some(I8),
            16 => Some(I16),
            32 => Some(I32),
            64 => Some(I64),
            128 => Some(I128),
            _ => None,
        }
    }

    /// Whether this is [`INVALID`].
    pub const fn is_invalid(self) -> bool {
        self.0 == 0
    }

    /// The type of one lane (a scalar's is itself).
    pub const fn lane_type(self) -> Type {
        Type(self.0 & 15)
    }

    const fn lane_kind(self) -> usize {
        (self.0 & 15) as usize
    }

    /// How many lanes; 1 for scalars.
    pub const fn lane_count(self) -> u32 {
        1 << (self.0 >> 4)
    }

    /// Bits of one lane.
    pub const fn lane_bits(self) -> u32 {
        LANE_BITS[self.lane_kind()]
    }

    /// Bits of the whole value.
    pub const fn bits(self) -> u32 {
        self.lane_bits() << (self.0 >> 4)
    }

    /// Bytes of the whole value in memory.
    pub const fn bytes(self) -> u32 {
        self.bits() / 8
    }

    /// Whether this has several lanes.
    pub const fn is_vector(self) -> bool {
        self.0 >> 4 != 0
    }

    /// Whether this is a scalar integer.
    pub const fn is_int(self) -> bool {
        self.0 >= 1 && self.0 <= 5
    }

    /// Whether this is a scalar float.
    pub const fn is_float(self) -> bool {
        self.0 >= 6 && self.0 <= 9
    }

    /// Whether lanes are integers (true for scalar integers).
    pub const fn has_int_lanes(self) -> bool {
        self.lane_type().is_int()
    }

    /// Whether lanes are floats (true for scalar floats).
    pub const fn has_float_lanes(self) -> bool {
        self.lane_type().is_float()
    }

    /// The vector with `lanes` lanes of this scalar (a power of two, 512 bits at most in all).
    pub const fn by(self, lanes: u32) -> Option<Type> {
        if self.is_vector() || !lanes.is_power_of_two() || lanes > 64 {
            return None;
        }
        Type::from_u8(self.0 | (lanes.trailing_zeros() as u8) << 4)
    }

    /// Same lane count, integer lanes of the same width: what a vector comparison yields.
    pub const fn as_int(self) -> Option<Type> {
        match Type::int(self.lane_bits()) {
            Some(lane) => Some(Type(lane.0 | self.0 & 0xf0)),
            None => None,
        }
    }

    /// What a comparison of two such values yields: `i8` for scalars, an integer mask for vectors.
    pub const fn truthy(self) -> Option<Type> {
        if self.is_vector() { self.as_int() } else { Some(I8) }
    }

    /// Same lane count, lanes of half the width.
    pub const fn half_width(self) -> Option<Type> {
        match self.0 & 15 {
            2..=5 | 7..=9 => Some(Type(self.0 - 1)),
            _ => None,
        }
    }

    /// Same lane count, lanes of twice the width.
    pub const fn double_width(self) -> Option<Type> {
        match self.0 & 15 {
            1..=4 | 6..=8 => Type::from_u8(self.0 + 1),
            _ => None,
        }
    }

    /// Half the lanes of twice the width: what widening one half of a vector yields.
    pub const fn merge_lanes(self) -> Option<Type> {
        match self.double_width_raw() {
            Some(raw) if self.is_vector() => Type::from_u8(raw - 16),
            _ => None,
        }
    }

    const fn double_width_raw(self) -> Option<u8> {
        match self.0 & 15 {
            1..=4 | 6..=8 => Some(self.0 + 1),
            _ => None,
        }
    }

    /// Twice the lanes of half the width: what narrowing two vectors into one yields.
    pub const fn split_lanes(self) -> Option<Type> {
        match self.half_width() {
            Some(half) if self.is_vector() => Type::from_u8(half.0 + 16),
            _ => None,
        }
    }

    /// Parses a type's name.
    pub fn parse(text: &str) -> Option<Type> {
        let digits = text.get(1..)?.find(|c: char| !c.is_ascii_digit()).map_or(text.len(), |at| at + 1);
        let lane = LANE_NAMES.iter().skip(1).position(|name| *name == &text[..digits])? as u8 + 1;
        match &text[digits..] {
            "" => Some(Type(lane)),
            rest => Type(lane).by(rest.strip_prefix('x')?.parse().ok()?).filter(|t| t.is_vector()),
        }
    }
}

impl fmt::Display for Type {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(LANE_NAMES[self.lane_kind()])?;
        if self.is_vector() { write!(f, "x{}", self.lane_count()) } else { Ok(()) }
    }
}

impl fmt::Debug for Type {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_type_round_trips_through_its_name() {
        for ty in (0..=255).filter_map(Type::from_u8) {
            assert_eq!(Type::parse(&ty.to_string()), Some(ty));
        }
        assert_eq!(["", "i", "i7", "i32x", "i32x3", "i32x1", "i64x16", "x4"].map(Type::parse), [None; 8]);
    }

    #[test]
    fn widths() {
        assert_eq!((I8X16.merge_lanes(), I16X8.split_lanes()), (Some(I16X8), Some(I8X16)));
        assert_eq!((I64.double_width(), F32.half_width(), I8.half_width()), (Some(I128), Some(F16), None));
        assert_eq!((F32X4.truthy(), F64.truthy(), F32X4.bytes()), (Some(I32X4), Some(I8), 16));
    }
}

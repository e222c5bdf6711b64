//! Which constants fit into instructions, and how.
//!
//! Needs: nothing. Gives: for each kind of immediate field a function from the value to the field's bits, `None` where
//! the value does not fit: [`logical`], [`arithmetic`], [`float`], [`move_wide`], and back again ([`logical_value`],
//! [`float_value`]).

use super::operand::Size;

/// `N:immr:imms` (13 bits) of an `and`, `orr` or `eor` with this value; for 32 bits, of its low half.
///
/// What can be said: an element of 2, 4, .. 64 bits, repeated over the register, that is a run of ones (neither empty nor
/// the whole element) rotated right. Hence: find the shortest period, rotate until the run stands at the bottom.
pub fn logical(value: u64, size: Size) -> Option<u32> {
    let value = match size {
        Size::S64 => value,
        _ => u64::from(value as u32) | value << 32,
    };
    if value == 0 || value == u64::MAX {
        return None;
    }
    let mut width = 64;
    while width > 2 && value == value.rotate_right(width / 2) {
        width /= 2;
    }
    let mask = u64::MAX >> (64 - width);
    let element = value & mask;
    // How far the element must be rotated left so that a one at bit 0 follows a zero at the top.
    let (ones, inverted) = (element.trailing_ones(), element.trailing_zeros());
    let rotation = if ones > 0 { width - (element << (64 - width)).leading_ones() } else { inverted };
    let run = if rotation % width == 0 {
        element
    } else {
        (element >> (rotation % width) | element << (width - rotation % width)) & mask
    };
    let length = run.trailing_ones();
    if length >= width || run != u64::MAX >> (64 - length) {
        return None;
    }
    let immr = (width - rotation % width) % width;
    // The element's width stands above the length, as ones that end in a zero (none for 64 bits, where N is set).
    let imms = (!(width * 2 - 1) & 0x3f) | (length - 1);
    Some(u32::from(width == 64) << 12 | immr << 6 | imms)
}

/// The value that these 13 bits stand for, if they stand for one.
pub fn logical_value(field: u32, size: Size) -> Option<u64> {
    let (n, immr, imms) = (field >> 12 & 1, field >> 6 & 63, field & 63);
    let width_bits = n << 6 | !imms & 63;
    if width_bits < 2 || (n == 1 && size != Size::S64) {
        return None;
    }
    let width = 1 << width_bits.ilog2();
    let length = (imms & (width - 1)) + 1;
    if length == width {
        return None;
    }
    let mask = u64::MAX >> (64 - width);
    let run = u64::MAX >> (64 - length);
    let immr = immr & (width - 1);
    let element = if immr == 0 { run } else { (run >> immr | run << (width - immr)) & mask };
    let mut value = element;
    let mut have = width;
    while have < 64 {
        value |= value << have;
        have *= 2;
    }
    Some(if size == Size::S64 { value } else { value & 0xffff_ffff })
}

/// `sh:imm12` (13 bits) of an `add` or `sub`.
pub const fn arithmetic(value: u64) -> Option<u32> {
    if value < 0x1000 {
        Some(value as u32)
    } else if value < 0x100_0000 && value & 0xfff == 0 {
        Some(0x1000 | (value >> 12) as u32)
    } else {
        None
    }
}

/// `hw:imm16` (18 bits) of a `movz` of this value.
pub const fn move_wide(value: u64) -> Option<u32> {
    let mut part = 0;
    while part < 4 {
        if value & !(0xffff << (16 * part)) == 0 {
            return Some(part << 16 | (value >> (16 * part)) as u32);
        }
        part += 1;
    }
    None
}

/// The eight bits of an `fmov` of the float with these bits, at this size.
pub const fn float(bits: u64, size: Size) -> Option<u32> {
    let mut imm = 0;
    while imm < 256 {
        if float_value(imm, size) == bits {
            return Some(imm);
        }
        imm += 1;
    }
    None
}

/// The bits of the float, at this size, that eight bits stand for: sign, three bits of exponent, four of fraction.
pub const fn float_value(imm: u32, size: Size) -> u64 {
    let imm = imm as u64;
    let (sign, high, low, fraction) = (imm >> 7 & 1, imm >> 6 & 1, imm >> 4 & 3, imm & 15);
    let (exponent_bits, fraction_bits) = match size {
        Size::S16 => (5, 10),
        Size::S32 => (8, 23),
        _ => (11, 52),
    };
    let repeated = if high == 1 { (1 << (exponent_bits - 3)) - 1 } else { 0 };
    let exponent = (high ^ 1) << (exponent_bits - 1) | repeated << 2 | low;
    sign << (exponent_bits + fraction_bits) | exponent << fraction_bits | fraction << (fraction_bits - 4)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashMap;

    /// Every field that stands for a value, and the values themselves, at both sizes.
    #[test]
    fn logical_immediates_are_exactly_the_representable_values() {
        for (size, expected) in [(Size::S64, 5334), (Size::S32, 1302)] {
            let mut known = HashMap::new();
            for field in 0..1 << 13 {
                if let Some(value) = logical_value(field, size) {
                    known.entry(value).or_insert(field);
                }
            }
            assert_eq!(known.len(), expected);
            for &value in known.keys() {
                let field = logical(value, size).unwrap_or_else(|| panic!("{value:#x} at {size:?}"));
                assert_eq!(logical_value(field, size), Some(value), "{field:#x}");
                // Its neighbours fit only if they are among the known ones.
                for bit in 0..size.bits() {
                    let near = value ^ 1 << bit;
                    assert_eq!(
                        logical(near, size).is_some(),
                        known.contains_key(&near),
                        "{near:#x} {size:?}"
                    );
                }
            }
            let mut state = 1u64;
            for _ in 0..200_000 {
                state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
                let value = (state ^ state >> 29) & (u64::MAX >> (64 - size.bits()));
                assert_eq!(logical(value, size).is_some(), known.contains_key(&value), "{value:#x} {size:?}");
            }
        }
    }

    /// Every 16-bit pattern, repeated, at both sizes.
    #[test]
    fn repeated_patterns_fit_or_not_as_their_value_says() {
        let all: std::collections::HashSet<u64> =
            (0..1 << 13).filter_map(|field| logical_value(field, Size::S64)).collect();
        for pattern in 0..=u64::from(u16::MAX) {
            let value = pattern * 0x0001_0001_0001_0001;
            assert_eq!(logical(value, Size::S64).is_some(), all.contains(&value), "{value:#x}");
            assert_eq!(logical(value, Size::S32).is_some(), all.contains(&value), "{value:#x} at 32 bits");
        }
    }

    #[test]
    fn other_fields() {
        assert_eq!((arithmetic(4095), arithmetic(4096)), (Some(0xfff), Some(0x1001)));
        assert_eq!(
            (arithmetic(0xfff_000), arithmetic(4097), arithmetic(1 << 24)),
            (Some(0x1fff), None, None)
        );
        assert_eq!((move_wide(0), move_wide(0xab_0000)), (Some(0), Some(0x1_00ab)));
        assert_eq!((move_wide(0x1_0001), move_wide(0xffff << 48)), (None, Some(0x3_ffff)));
        assert_eq!(float(1.0f64.to_bits(), Size::S64), Some(0x70));
        assert_eq!(float(u64::from((-31.0f32).to_bits()), Size::S32), Some(0xbf));
        assert_eq!((float(0, Size::S64), float(0.1f64.to_bits(), Size::S64)), (None, None));
        for imm in 0..256 {
            assert_eq!(float(float_value(imm, Size::S32), Size::S32), Some(imm));
            let double = f64::from(f32::from_bits(float_value(imm, Size::S32) as u32));
            assert_eq!(float_value(imm, Size::S64), double.to_bits());
        }
    }
}

//! Numbers as text: integers of any width, and floats in CLIF's exact hexadecimal form.
//!
//! Bits stand in a `u128`, low end first, zero above the type's width. A float's text names exactly one value: digits that
//! the format cannot hold are an error, never rounded.

use crate::types::{self, Type};

/// Exponent and fraction widths of a float type, in bits.
const fn layout(ty: Type) -> Option<(u32, u32)> {
    match ty {
        types::F16 => Some((5, 10)),
        types::F32 => Some((8, 23)),
        types::F64 => Some((11, 52)),
        types::F128 => Some((15, 112)),
        _ => None,
    }
}

/// The lowest `bits` bits set.
pub const fn mask(bits: u32) -> u128 {
    if bits >= 128 { u128::MAX } else { (1 << bits) - 1 }
}

/// The value of the low `bits` bits as a signed number.
pub const fn sign_extend(value: u128, bits: u32) -> i128 {
    let shift = 128 - bits;
    ((value << shift) as i128) >> shift
}

/// Parses an integer (decimal or `0x`, with `_` between digits, signed or not) that fits `bits` bits as a signed or as an
/// unsigned number.
pub fn parse_int(text: &str, bits: u32) -> Option<u128> {
    let (negative, digits) = sign(text);
    let magnitude = match digits.strip_prefix("0x").or_else(|| digits.strip_prefix("0X")) {
        Some(hex) => parse_digits(hex, 16)?,
        None => parse_digits(digits, 10)?,
    };
    if negative {
        let limit = 1u128 << (bits - 1);
        (magnitude <= limit).then(|| magnitude.wrapping_neg() & mask(bits))
    } else {
        (magnitude <= mask(bits)).then_some(magnitude)
    }
}

fn sign(text: &str) -> (bool, &str) {
    match text.as_bytes().first() {
        Some(b'-') => (true, &text[1..]),
        Some(b'+') => (false, &text[1..]),
        _ => (false, text),
    }
}

fn parse_digits(digits: &str, radix: u32) -> Option<u128> {
    let mut value = 0u128;
    let mut any = false;
    for c in digits.chars().filter(|c| *c != '_') {
        any = true;
        value = value.checked_mul(radix as u128)?.checked_add(c.to_digit(radix)? as u128)?;
    }
    any.then_some(value)
}

/// Prints an integer as CLIF does: small ones in decimal, others in hexadecimal with `_` between groups of four.
pub fn format_int(value: u128, bits: u32) -> String {
    let signed = sign_extend(value, bits);
    if (-9999..=9999).contains(&signed) {
        return signed.to_string();
    }
    let digits = format!("{:x}", value & mask(bits));
    let mut text = String::from("0x");
    for (k, digit) in digits.chars().enumerate() {
        if k > 0 && (digits.len() - k).is_multiple_of(4) {
            text.push('_');
        }
        text.push(digit);
    }
    text
}

/// Parses a float: `0x1.8p3`, `0.0`, `-2.5e3`, `+Inf`, `-NaN`, `+NaN:0x42`, `-sNaN:0x1`. `None` where the text is no float or
/// no value of the type.
pub fn parse_float(text: &str, ty: Type) -> Option<u128> {
    let (exponent_bits, fraction_bits) = layout(ty)?;
    let (negative, rest) = sign(text);
    let top = (negative as u128) << (exponent_bits + fraction_bits);
    let infinity = mask(exponent_bits) << fraction_bits;
    let quiet = 1u128 << (fraction_bits - 1);
    if rest == "Inf" {
        return Some(top | infinity);
    }
    if rest == "NaN" {
        return Some(top | infinity | quiet);
    }
    if let Some(payload) = rest.strip_prefix("NaN:0x") {
        return parse_digits(payload, 16).filter(|p| *p < quiet).map(|p| top | infinity | quiet | p);
    }
    if let Some(payload) = rest.strip_prefix("sNaN:0x") {
        return parse_digits(payload, 16).filter(|p| *p < quiet && *p != 0).map(|p| top | infinity | p);
    }
    let (mantissa, exponent) = match rest.strip_prefix("0x") {
        Some(hex) => parse_hex_float(hex)?,
        None => return parse_decimal(rest, ty).map(|bits| top | bits),
    };
    encode(mantissa, exponent, ty).map(|bits| top | bits)
}

/// Digits of a hexadecimal float as `mantissa * 2^exponent`.
fn parse_hex_float(text: &str) -> Option<(u128, i64)> {
    let (digits, exponent) = match text.find(['p', 'P']) {
        Some(at) => (&text[..at], text[at + 1..].parse::<i32>().ok()? as i64),
        None => (text, 0),
    };
    let (mut mantissa, mut exponent, mut in_fraction, mut any) = (0u128, exponent, false, false);
    for c in digits.chars() {
        match c {
            '_' => continue,
            '.' if !in_fraction => in_fraction = true,
            _ => {
                let digit = c.to_digit(16)? as u128;
                any = true;
                if mantissa >> 124 == 0 {
                    mantissa = mantissa << 4 | digit;
                    exponent -= if in_fraction { 4 } else { 0 };
                } else if digit == 0 {
                    exponent += if in_fraction { 0 } else { 4 };
                } else {
                    return None;
                }
            }
        }
    }
    any.then_some((mantissa, exponent))
}

/// A decimal number: correctly rounded for the two common formats, exact or refused for the others.
fn parse_decimal(text: &str, ty: Type) -> Option<u128> {
    if !text.starts_with(|c: char| c.is_ascii_digit()) || !text.contains('.') && !text.contains('e') {
        return None;
    }
    match ty {
        types::F32 => text.parse::<f32>().ok().filter(|x| x.is_finite()).map(|x| x.to_bits() as u128),
        types::F64 => text.parse::<f64>().ok().filter(|x| x.is_finite()).map(|x| x.to_bits() as u128),
        _ => {
            let bits = text.parse::<f64>().ok().filter(|x| x.is_finite())?.to_bits();
            let (fraction, exponent) = (bits & mask(52) as u64, (bits >> 52) as i64);
            let (mantissa, exponent) =
                if exponent == 0 { (fraction, -1074) } else { (fraction | 1 << 52, exponent - 1075) };
            encode(mantissa as u128, exponent, ty)
        }
    }
}

/// The bits of `mantissa * 2^exponent`, if the type has exactly this value.
fn encode(mantissa: u128, exponent: i64, ty: Type) -> Option<u128> {
    let (exponent_bits, fraction_bits) = layout(ty)?;
    if mantissa == 0 {
        return Some(0);
    }
    let bias = (1i64 << (exponent_bits - 1)) - 1;
    let top = 127 - mantissa.leading_zeros() as i64;
    let magnitude = top + exponent;
    if magnitude > bias {
        return None;
    }
    // The exponent of the last fraction bit: fixed for subnormal numbers.
    let unit = magnitude.max(1 - bias) - fraction_bits as i64;
    let shift = exponent - unit;
    let scaled = if shift >= 0 {
        mantissa.checked_shl(u32::try_from(shift).ok()?).filter(|s| s >> shift == mantissa)?
    } else {
        let down = u32::try_from(-shift).ok().filter(|d| *d < 128)?;
        Some(mantissa >> down).filter(|s| s << down == mantissa)?
    };
    let biased = if magnitude < 1 - bias { 0 } else { (magnitude + bias) as u128 };
    Some(biased << fraction_bits | scaled & mask(fraction_bits))
}

/// Prints a float's bits so that [`parse_float`] gives them back.
pub fn format_float(bits: u128, ty: Type) -> String {
    let Some((exponent_bits, fraction_bits)) = layout(ty) else { return String::new() };
    let negative = bits >> (exponent_bits + fraction_bits) & 1 != 0;
    let biased = (bits >> fraction_bits & mask(exponent_bits)) as i64;
    let fraction = bits & mask(fraction_bits);
    let bias = (1i64 << (exponent_bits - 1)) - 1;
    let minus = if negative { "-" } else { "" };
    if biased == mask(exponent_bits) as i64 {
        let sign = if negative { '-' } else { '+' };
        let quiet = 1u128 << (fraction_bits - 1);
        return match (fraction, fraction & quiet != 0) {
            (0, _) => format!("{sign}Inf"),
            (f, true) if f == quiet => format!("{sign}NaN"),
            (f, true) => format!("{sign}NaN:{:#x}", f & !quiet),
            (f, false) => format!("{sign}sNaN:{f:#x}"),
        };
    }
    if biased == 0 && fraction == 0 {
        return format!("{minus}0.0");
    }
    let digits = fraction_bits.div_ceil(4);
    let hex = fraction << (digits * 4 - fraction_bits);
    let (lead, exponent) = if biased == 0 { (0, 1 - bias) } else { (1, biased - bias) };
    format!("{minus}0x{lead}.{hex:0width$x}p{exponent}", width = digits as usize)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn floats_round_trip() {
        for bits in (0..=u16::MAX).map(u128::from) {
            assert_eq!(parse_float(&format_float(bits, types::F16), types::F16), Some(bits));
        }
        for x in [0.1f32, 1.0, -0.0, f32::MIN_POSITIVE / 4.0, f32::MAX, f32::INFINITY, f32::NAN] {
            let bits = x.to_bits() as u128;
            assert_eq!(parse_float(&format_float(bits, types::F32), types::F32), Some(bits));
        }
        let third = 0x3ffd_5555_5555_5555_5555_5555_5555_5555u128;
        assert_eq!(parse_float(&format_float(third, types::F128), types::F128), Some(third));
    }

    #[test]
    fn floats_are_read_exactly_or_not_at_all() {
        let f32 = |text| parse_float(text, types::F32);
        assert_eq!(f32("0x1.8p3"), Some(12f32.to_bits() as u128));
        assert_eq!(f32("0x0.5"), Some(0.3125f32.to_bits() as u128));
        assert_eq!(f32("-2.5e3"), Some((-2500f32).to_bits() as u128));
        assert_eq!(f32("0x1.0p-149"), Some(1));
        assert_eq!(f32("-sNaN:0x1"), Some(0xff80_0001));
        for bad in [
            "0x1.0p-150",
            "0x1.0p128",
            "0x1.0000001",
            "1",
            "",
            "0x",
            "0x.",
            "NaN:0x400000",
            "sNaN:0x0",
            "inf",
        ] {
            assert_eq!(f32(bad), None, "{bad}");
        }
    }

    #[test]
    fn integers() {
        assert_eq!(parse_int("-128", 8), Some(0x80));
        assert_eq!(parse_int("255", 8), Some(0xff));
        assert_eq!((parse_int("256", 8), parse_int("-129", 8), parse_int("0x", 8)), (None, None, None));
        assert_eq!(parse_int("0xffff_ffff_ffff_ffff_ffff_ffff_ffff_ffff", 128), Some(u128::MAX));
        assert_eq!(format_int(0x1_2345, 32), "0x1_2345");
        assert_eq!((format_int(0xff, 8), format_int(9999, 16)), ("-1".into(), "9999".into()));
    }
}

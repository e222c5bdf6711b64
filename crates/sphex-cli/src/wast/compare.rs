//! Values and traps as scripts write them, and whether those found are as expected.

use sphex::{ExternRef, Trap, Val};
use wast::WastArg;
use wast::WastRet;
use wast::core::{AbstractHeapType, HeapType, NanPattern, V128Pattern, WastArgCore, WastRetCore};

/// An argument of a call.
pub fn argument(argument: &WastArg<'_>) -> Result<Val, String> {
    let WastArg::Core(argument) = argument else {
        return Err("not supported yet: values of components".to_owned());
    };
    Ok(match argument {
        WastArgCore::I32(n) => Val::I32(*n),
        WastArgCore::I64(n) => Val::I64(*n),
        WastArgCore::F32(n) => Val::F32(n.bits),
        WastArgCore::F64(n) => Val::F64(n.bits),
        WastArgCore::V128(n) => Val::V128(u128::from_le_bytes(n.to_le_bytes())),
        WastArgCore::RefExtern(n) => Val::ExternRef(Some(ExternRef::new(*n))),
        WastArgCore::RefNull(HeapType::Abstract { shared: false, ty: AbstractHeapType::Func }) => {
            Val::FuncRef(None)
        }
        WastArgCore::RefNull(HeapType::Abstract { shared: false, ty: AbstractHeapType::Extern }) => {
            Val::ExternRef(None)
        }
        WastArgCore::RefNull(_) | WastArgCore::RefHost(_) => {
            return Err("not supported yet: the gc proposal (a reference argument)".to_owned());
        }
    })
}

/// Whether results are those expected, each in its place.
pub fn results(found: &[Val], expected: &[WastRet<'_>]) -> Result<(), String> {
    if found.len() != expected.len() {
        return Err(format!("expected {} results, found {}", expected.len(), show_all(found)));
    }
    for (position, (found, expected)) in found.iter().zip(expected).enumerate() {
        let WastRet::Core(core) = expected else {
            return Err("not supported yet: values of components".to_owned());
        };
        if !matches(found, core) {
            return Err(format!(
                "result {position}: expected {}, found {}",
                show_expected(core),
                show(found)
            ));
        }
    }
    Ok(())
}

/// Values, one after the other.
pub fn show_all(values: &[Val]) -> String {
    match values {
        [] => "none".to_owned(),
        _ => values.iter().map(show).collect::<Vec<_>>().join(", "),
    }
}

fn show(value: &Val) -> String {
    match value {
        Val::I32(n) => format!("i32 {n}"),
        Val::I64(n) => format!("i64 {n}"),
        Val::F32(bits) => show_f32(*bits),
        Val::F64(bits) => show_f64(*bits),
        Val::V128(bits) => format!("v128 {bits:#034x}"),
        Val::FuncRef(None) => "a null funcref".to_owned(),
        Val::FuncRef(Some(_)) => "a function".to_owned(),
        Val::ExternRef(None) => "a null externref".to_owned(),
        Val::ExternRef(Some(reference)) => match reference.downcast_ref::<u32>() {
            Some(n) => format!("externref {n}"),
            None => "an externref".to_owned(),
        },
    }
}

fn show_f32(bits: u32) -> String {
    format!("f32 {} ({bits:#010x})", f32::from_bits(bits))
}

fn show_f64(bits: u64) -> String {
    format!("f64 {} ({bits:#018x})", f64::from_bits(bits))
}

fn show_expected(expected: &WastRetCore<'_>) -> String {
    match expected {
        WastRetCore::I32(n) => format!("i32 {n}"),
        WastRetCore::I64(n) => format!("i64 {n}"),
        WastRetCore::F32(pattern) => show_pattern("f32", nan(pattern, |f| f.bits), show_f32),
        WastRetCore::F64(pattern) => show_pattern("f64", nan(pattern, |f| f.bits), show_f64),
        WastRetCore::RefNull(Some(HeapType::Abstract { ty: AbstractHeapType::Func, .. })) => {
            "a null funcref".to_owned()
        }
        WastRetCore::RefNull(Some(HeapType::Abstract { ty: AbstractHeapType::Extern, .. })) => {
            "a null externref".to_owned()
        }
        WastRetCore::RefExtern(Some(n)) => format!("externref {n}"),
        WastRetCore::RefExtern(None) => "an externref".to_owned(),
        WastRetCore::RefFunc(None) => "a function".to_owned(),
        WastRetCore::Either(cases) => cases.iter().map(show_expected).collect::<Vec<_>>().join(" or "),
        other => format!("{other:?}"),
    }
}

fn show_pattern<B>(ty: &str, pattern: NanPattern<B>, show: impl Fn(B) -> String) -> String {
    match pattern {
        NanPattern::CanonicalNan => format!("{ty} nan:canonical"),
        NanPattern::ArithmeticNan => format!("{ty} nan:arithmetic"),
        NanPattern::Value(bits) => show(bits),
    }
}

fn matches(found: &Val, expected: &WastRetCore<'_>) -> bool {
    match (found, expected) {
        (_, WastRetCore::Either(cases)) => cases.iter().any(|case| matches(found, case)),
        (Val::I32(a), WastRetCore::I32(b)) => a == b,
        (Val::I64(a), WastRetCore::I64(b)) => a == b,
        (Val::F32(a), WastRetCore::F32(b)) => is_f32(*a, nan(b, |f| f.bits)),
        (Val::F64(a), WastRetCore::F64(b)) => is_f64(*a, nan(b, |f| f.bits)),
        (Val::V128(a), WastRetCore::V128(b)) => is_v128(&a.to_le_bytes(), b),
        (Val::FuncRef(None) | Val::ExternRef(None), WastRetCore::RefNull(None)) => true,
        (Val::FuncRef(None), WastRetCore::RefNull(Some(HeapType::Abstract { ty, .. }))) => {
            matches!(ty, AbstractHeapType::Func | AbstractHeapType::NoFunc)
        }
        (Val::ExternRef(None), WastRetCore::RefNull(Some(HeapType::Abstract { ty, .. }))) => {
            matches!(ty, AbstractHeapType::Extern | AbstractHeapType::NoExtern)
        }
        (Val::FuncRef(Some(_)), WastRetCore::RefFunc(None))
        | (Val::ExternRef(Some(_)), WastRetCore::RefExtern(None)) => true,
        (Val::ExternRef(Some(a)), WastRetCore::RefExtern(Some(b))) => a.downcast_ref::<u32>() == Some(b),
        _ => false,
    }
}

/// The bits of a pattern, apart from its type.
fn nan<F, B>(pattern: &NanPattern<F>, bits: impl Fn(&F) -> B) -> NanPattern<B> {
    match pattern {
        NanPattern::CanonicalNan => NanPattern::CanonicalNan,
        NanPattern::ArithmeticNan => NanPattern::ArithmeticNan,
        NanPattern::Value(value) => NanPattern::Value(bits(value)),
    }
}

fn is_f32(found: u32, expected: NanPattern<u32>) -> bool {
    match expected {
        NanPattern::CanonicalNan => found & 0x7fff_ffff == 0x7fc0_0000,
        NanPattern::ArithmeticNan => found & 0x7fc0_0000 == 0x7fc0_0000,
        NanPattern::Value(bits) => found == bits,
    }
}

fn is_f64(found: u64, expected: NanPattern<u64>) -> bool {
    const QUIET: u64 = 0x7ff8_0000_0000_0000;
    match expected {
        NanPattern::CanonicalNan => found & (u64::MAX >> 1) == QUIET,
        NanPattern::ArithmeticNan => found & QUIET == QUIET,
        NanPattern::Value(bits) => found == bits,
    }
}

fn is_v128(found: &[u8; 16], expected: &V128Pattern) -> bool {
    fn lanes<const N: usize, L>(found: &[u8; 16], expected: &[L], is: impl Fn([u8; N], &L) -> bool) -> bool {
        found.as_chunks::<N>().0.iter().zip(expected).all(|(found, expected)| is(*found, expected))
    }
    match expected {
        V128Pattern::I8x16(e) => lanes(found, e, |f, e| i8::from_le_bytes(f) == *e),
        V128Pattern::I16x8(e) => lanes(found, e, |f, e| i16::from_le_bytes(f) == *e),
        V128Pattern::I32x4(e) => lanes(found, e, |f, e| i32::from_le_bytes(f) == *e),
        V128Pattern::I64x2(e) => lanes(found, e, |f, e| i64::from_le_bytes(f) == *e),
        V128Pattern::F32x4(e) => lanes(found, e, |f, e| is_f32(u32::from_le_bytes(f), nan(e, |f| f.bits))),
        V128Pattern::F64x2(e) => lanes(found, e, |f, e| is_f64(u64::from_le_bytes(f), nan(e, |f| f.bits))),
    }
}

/// Messages of scripts that are not a trap's own words, or its beginning.
const OTHER_WORDS: &[(&str, Trap)] = &[
    ("undefined", Trap::TableOutOfBounds),
    ("undefined", Trap::UndefinedElement),
    ("out of bounds", Trap::UndefinedElement),
    ("uninitialized", Trap::IndirectCallToNull),
    ("indirect call", Trap::BadSignature),
    ("null function reference", Trap::NullReference),
    ("null ", Trap::NullReference),
    ("stack", Trap::StackOverflow),
];

/// Is this trap of the kind that a message of a script means?
pub fn is_trap(found: Trap, expected: &str) -> bool {
    let own = found.message();
    own.starts_with(expected)
        || expected.starts_with(own)
        || OTHER_WORDS.iter().any(|(words, trap)| *trap == found && expected.contains(words))
}

/// Messages of scripts about what does not link, and how the engine's own begin.
const LINK_WORDS: &[(&str, &str)] =
    &[("unknown import", "unknown import"), ("incompatible import type", "incompatible import type")];

/// Is this the engine's message for what a script calls `expected`? What a script says in other words is any of them.
pub fn is_link_error(found: &str, expected: &str) -> bool {
    match LINK_WORDS.iter().find(|(words, _)| expected.starts_with(words)) {
        Some((_, own)) => found.starts_with(own),
        None => true,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nan_patterns() {
        use NanPattern::{ArithmeticNan, CanonicalNan, Value};
        for (bits, canonical, arithmetic) in [
            (0x7fc0_0000, true, true),
            (0xffc0_0000, true, true),
            (0x7fc0_0001, false, true),
            (0x7f80_0001, false, false),
            (0x7f80_0000, false, false),
        ] {
            assert_eq!(is_f32(bits, CanonicalNan), canonical, "{bits:x}");
            assert_eq!(is_f32(bits, ArithmeticNan), arithmetic, "{bits:x}");
            assert!(is_f32(bits, Value(bits)) && !is_f32(bits, Value(bits ^ 1)));
        }
        assert!(is_f64(0xfff8 << 48, CanonicalNan) && !is_f64(0xfff8 << 48 | 1, CanonicalNan));
        assert!(is_f64(0xfff8 << 48 | 1, ArithmeticNan) && !is_f64(0x7ff4 << 48, ArithmeticNan));
    }

    #[test]
    fn traps_are_compared_by_kind() {
        assert!(is_trap(Trap::IndirectCallToNull, "uninitialized element 2"));
        assert!(is_trap(Trap::MemoryOutOfBounds, "out of bounds memory access"));
        assert!(is_trap(Trap::IntegerOverflow, "integer overflow"));
        assert!(!is_trap(Trap::IntegerOverflow, "integer divide by zero"));
        assert!(!is_trap(Trap::MemoryOutOfBounds, "out of bounds table access"));
        assert!(!is_trap(Trap::TableOutOfBounds, "out of bounds memory access"));
    }
}

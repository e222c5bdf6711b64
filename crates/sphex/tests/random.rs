//! Compiled code computes what the interpreter does: random functions, at both levels of optimization, traps included.
#![cfg(feature = "compiler")]
#![allow(unsafe_code)]

#[path = "../../sphex-ir/tests/generate/mod.rs"]
mod generate;

use sphex::jit::{DataValue, Function, Jit, Settings};
use sphex_ir::ExternalName;
use sphex_ir::interpret::{Interpreter, Outcome};

/// Functions in one artifact.
const BATCH: u64 = 100;

/// A seeded stream of bytes (SplitMix64).
fn seeded(seed: u64, len: usize) -> Vec<u8> {
    let mut state = seed;
    let mut next = || {
        state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (state ^ state >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        (mixed >> 56) as u8
    };
    (0..len).map(|_| next()).collect()
}

fn arguments(func: &Function, seed: u64) -> Vec<DataValue> {
    let bytes = seeded(seed ^ 0x5a5a, 8 * func.signature.params.len());
    let words = bytes.chunks(8).map(|c| c.iter().fold(0u64, |w, b| w << 8 | *b as u64));
    let value = |(ty, word): (sphex_ir::Type, u64)| match ty {
        t if t.is_float() && t.bits() == 32 => DataValue::f32((word >> 40) as f32 - 1000.0),
        t if t.is_float() => DataValue::f64((word >> 30) as f64 / 64.0),
        t => DataValue::new(t, (word >> (word % 60)) as u128),
    };
    func.signature.params.iter().map(|p| p.ty).zip(words).map(value).collect()
}

#[test]
fn compiled_is_interpreted() {
    let levels = ["none", "speed"].map(|level| {
        let mut settings = Settings::host();
        settings.set("opt_level", Some(level)).unwrap();
        settings
    });
    let mut trapped = 0;
    for batch in 0..20 {
        let mut functions = Vec::new();
        for seed in batch * BATCH..(batch + 1) * BATCH {
            let mut func = generate::function(&seeded(seed, 600));
            func.name = ExternalName::symbol(&format!("f{seed}"));
            functions.push(func);
        }
        let mut jits = levels.map(|settings| Jit::new(functions.clone(), &settings).unwrap());
        for (k, func) in functions.iter().enumerate() {
            let seed = batch * BATCH + k as u64;
            for trial in 0..4 {
                let args = arguments(func, seed * 4 + trial);
                let mut interpreter = Interpreter::new([func]);
                interpreter.set_fuel(1_000_000);
                let expected = interpreter.call(&format!("%f{seed}"), &args).unwrap();
                for (jit, level) in jits.iter_mut().zip(["none", "speed"]) {
                    // SAFETY: generated functions touch no memory but their own stack.
                    let found = unsafe { jit.call(&format!("f{seed}"), &args) };
                    let same = match (&expected, &found) {
                        (Outcome::Returned(a), Ok(b)) => b.iter().zip(a).all(|(b, a)| b.matches(*a)),
                        (Outcome::Trapped(code), Err(error)) => error.trap_code() == Some(code.as_u8()),
                        _ => false,
                    };
                    assert!(same, "{level}, {args:?}: {expected:?} then {found:?}\n{func}");
                }
                trapped += matches!(expected, Outcome::Trapped(_)) as u32;
            }
        }
    }
    assert!(trapped > 50, "the generator lost its balance: {trapped} runs trapped");
}

//! Random functions: they verify, their text is a fixed point, interpreting the reparsed one gives the same.

mod generate;

use sphex_ir::interpret::{DataValue, Interpreter, Outcome};
use sphex_ir::{Function, parse, verify};

/// A seeded stream of bytes (xorshift64*).
fn seeded(seed: u64, len: usize) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut next = || {
        state ^= state >> 12;
        state ^= state << 25;
        state ^= state >> 27;
        (state.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 56) as u8
    };
    (0..len).map(|_| next()).collect()
}

fn arguments(func: &Function, seed: u64) -> Vec<DataValue> {
    let bytes = seeded(seed ^ 0xa5a5, 8 * func.signature.params.len());
    let words = bytes.chunks(8).map(|c| c.iter().fold(0u64, |w, b| w << 8 | *b as u64));
    func.signature
        .params
        .iter()
        .zip(words)
        .map(|(p, word)| match p.ty {
            t if t.is_float() && t.bits() == 32 => DataValue::f32((word >> 40) as f32 - 1000.0),
            t if t.is_float() => DataValue::f64((word >> 30) as f64 / 64.0),
            t => DataValue::new(t, (word >> (word % 48)) as u128),
        })
        .collect()
}

fn run(func: &Function, args: &[DataValue]) -> Outcome {
    let mut interpreter = Interpreter::new([func]);
    interpreter.set_fuel(1_000_000);
    interpreter.call("%f", args).expect("the function is supported and ends")
}

fn same(a: &Outcome, b: &Outcome) -> bool {
    match (a, b) {
        (Outcome::Returned(a), Outcome::Returned(b)) => a.iter().zip(b).all(|(a, b)| a.matches(*b)),
        _ => a == b,
    }
}

#[test]
fn text_is_a_fixed_point_and_means_the_same() {
    let (mut returned, mut trapped) = (0, 0);
    for seed in 0..2000 {
        let func = generate::function(&seeded(seed, 600));
        if let Err(errors) = verify::verify(&func) {
            panic!("seed {seed}: {errors}\n{func}");
        }
        let text = func.to_string();
        let again =
            parse::parse_functions(&text).unwrap_or_else(|e| panic!("seed {seed}: {e}\n{text}")).remove(0);
        assert_eq!(again.to_string(), text, "seed {seed}");
        let args = arguments(&func, seed);
        let (first, second) = (run(&func, &args), run(&again, &args));
        assert!(same(&first, &second), "seed {seed}: {first:?} then {second:?}\n{text}");
        match first {
            Outcome::Returned(_) => returned += 1,
            Outcome::Trapped(_) => trapped += 1,
        }
    }
    assert!(
        returned > 500 && trapped > 20,
        "{returned} returned, {trapped} trapped: the generator lost its balance"
    );
}

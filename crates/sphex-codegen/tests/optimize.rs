//! Optimized functions compute what they did: random functions, interpreted before and after every pass.

#[path = "../../sphex-ir/tests/generate/mod.rs"]
mod generate;

use sphex_codegen::opt::{self, Scratch};
use sphex_ir::interpret::{DataValue, Interpreter, Outcome};
use sphex_ir::{Function, verify};

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
    let bytes = seeded(seed ^ 0xa5a5, 8 * func.signature.params.len());
    let words = bytes.chunks(8).map(|c| c.iter().fold(0u64, |w, b| w << 8 | *b as u64));
    let value = |(ty, word): (sphex_ir::Type, u64)| match ty {
        t if t.is_float() && t.bits() == 32 => DataValue::f32((word >> 40) as f32 - 1000.0),
        t if t.is_float() => DataValue::f64((word >> 30) as f64 / 64.0),
        t => DataValue::new(t, (word >> (word % 60)) as u128),
    };
    func.signature.params.iter().map(|p| p.ty).zip(words).map(value).collect()
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

fn size(func: &Function) -> usize {
    func.layout.iter().map(|b| func.blocks[*b].insts.len()).sum()
}

#[test]
fn random_functions_mean_the_same() {
    let mut scratch = Scratch::default();
    let (mut before_size, mut after_size, mut trapped) = (0, 0, 0);
    for seed in 0..3000 {
        let before = generate::function(&seeded(seed, 600));
        let mut after = before.clone();
        let done = opt::optimize(&mut after, &mut scratch, |func, pass| {
            verify::verify(func).map_err(|errors| format!("after {pass}: {errors}"))
        });
        if let Err(error) = done {
            panic!("seed {seed}: {error}\n{before}");
        }
        before_size += size(&before);
        after_size += size(&after);
        for trial in 0..4 {
            let args = arguments(&before, seed * 4 + trial);
            let (first, second) = (run(&before, &args), run(&after, &args));
            assert!(
                same(&first, &second),
                "seed {seed}, {args:?}: {first:?} then {second:?}\n{before}\n{after}"
            );
            trapped += matches!(first, Outcome::Trapped(_)) as u32;
        }
    }
    println!("{before_size} instructions became {after_size}; {trapped} runs trapped");
    assert!(after_size < before_size && trapped > 50);
}

/// What was optimized is left alone: the second run makes nothing larger, and seldom finds anything.
#[test]
fn optimizing_twice_changes_little() {
    let mut scratch = Scratch::default();
    let (mut functions, mut smaller) = (0, 0);
    for seed in 0..500 {
        let mut func = generate::function(&seeded(seed, 600));
        let mut sizes = [0; 3];
        for size_now in &mut sizes {
            let done: Result<(), ()> = opt::optimize(&mut func, &mut scratch, |_, _| Ok(()));
            assert!(done.is_ok());
            *size_now = size(&func);
        }
        assert!(sizes[1] <= sizes[0] && sizes[2] <= sizes[1], "seed {seed}: {sizes:?}\n{func}");
        functions += 1;
        smaller += (sizes[1] < sizes[0]) as u32;
    }
    println!("{smaller} of {functions} functions were smaller after a second run");
    assert!(smaller * 20 < functions);
}

/// The same input gives the same output, whatever the scratch memory was used for before.
#[test]
fn used_memory_changes_nothing() {
    let mut used = Scratch::default();
    for seed in 0..300 {
        let before = generate::function(&seeded(seed, 600));
        let texts = [&mut Scratch::default(), &mut used].map(|scratch| {
            let mut func = before.clone();
            let done: Result<(), ()> = opt::optimize(&mut func, scratch, |_, _| Ok(()));
            assert!(done.is_ok());
            func.to_string()
        });
        assert_eq!(texts[0], texts[1], "seed {seed}");
    }
}

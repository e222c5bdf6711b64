//! Seeded runs of a target: what a test does where a fuzzer would choose the bytes.

use std::panic::{AssertUnwindSafe, catch_unwind};

use crate::random::Random;

/// Failures after which a run stops.
const ENOUGH: u64 = 10;

/// How much was run.
#[derive(Debug, Default)]
pub struct Run {
    /// Inputs of which the target made something.
    pub cases: u64,
    /// What the target counts, over all of them.
    pub total: usize,
}

/// Gives `check` seeded bytes, `len` each, `cases` times; it answers with a count (0 where the bytes made nothing) or with
/// what is wrong. Panics with all that was wrong, panics of `check` included. The environment makes the same test longer:
/// `SPHEX_SEED` is the first seed, `SPHEX_CASES` how many, `SPHEX_SECONDS` the time and
/// `SPHEX_ENOUGH` the number of failures after which to stop.
pub fn run(cases: u64, len: usize, check: impl Fn(&[u8]) -> Result<usize, String>) -> Run {
    let first = number("SPHEX_SEED").unwrap_or(0);
    let cases = number("SPHEX_CASES").unwrap_or(cases);
    let seconds = number("SPHEX_SECONDS").unwrap_or(u64::MAX);
    let enough = number("SPHEX_ENOUGH").unwrap_or(ENOUGH);
    let begin = std::time::Instant::now();
    let mut run = Run::default();
    let mut wrong = Vec::new();
    for seed in first..first.saturating_add(cases) {
        if begin.elapsed().as_secs() >= seconds || wrong.len() as u64 >= enough {
            break;
        }
        let bytes = Random::new(seed).bytes(len);
        match catch_unwind(AssertUnwindSafe(|| check(&bytes))) {
            Ok(Ok(0)) => {}
            Ok(Ok(count)) => {
                run.cases += 1;
                run.total += count;
            }
            Ok(Err(what)) => wrong.push(format!("seed {seed}: {what}")),
            Err(_) => wrong.push(format!("seed {seed}: a panic")),
        }
    }
    println!("{} cases, {} in all, {} s", run.cases, run.total, begin.elapsed().as_secs());
    assert!(wrong.is_empty(), "{} seeds fail\n{}", wrong.len(), wrong.join("\n"));
    run
}

/// Does the environment say how much to run? Then how much was run proves nothing about the target.
pub fn is_changed() -> bool {
    number("SPHEX_CASES").is_some() || number("SPHEX_SECONDS").is_some()
}

fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok()?.parse().ok()
}

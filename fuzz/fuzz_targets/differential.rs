//! Modules under Sphex and a second engine.
#![no_main]

use std::sync::LazyLock;

use libfuzzer_sys::fuzz_target;
use sphex_fuzz::differential::Engines;

fn checked(answer: Result<usize, String>) {
    if let Err(what) = answer {
        panic!("{what}");
    }
}

fuzz_target!(|bytes: &[u8]| {
    static ENGINES: LazyLock<Engines> = LazyLock::new(Engines::default);
    checked(ENGINES.run(bytes));
    checked(ENGINES.run_program(bytes));
});

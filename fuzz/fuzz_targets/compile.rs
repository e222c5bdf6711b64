//! Any bytes as a module and as CLIF text.
#![no_main]

use std::sync::LazyLock;

use libfuzzer_sys::fuzz_target;

fn checked(answer: Result<usize, String>) {
    if let Err(what) = answer {
        panic!("{what}");
    }
}

fuzz_target!(|bytes: &[u8]| {
    static ENGINE: LazyLock<sphex::Engine> = LazyLock::new(sphex::Engine::default);
    checked(sphex_fuzz::compile::check(&ENGINE, bytes));
    checked(sphex_fuzz::compile::check_text(bytes));
});

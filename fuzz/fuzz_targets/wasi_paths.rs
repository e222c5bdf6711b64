//! Paths of a guest, with and without `openat2`.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    sphex_fuzz::wasi_paths::serve_if_twin();
    if let Err(what) = sphex_fuzz::wasi_paths::check(bytes, &["-runs=0"]) {
        panic!("{what}");
    }
});

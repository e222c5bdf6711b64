//! Damaged artifacts under hashes that fit.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    if let Err(what) = sphex_fuzz::artifact::check(bytes) {
        panic!("{what}");
    }
});

//! Sequences of calls of the embedding API.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    if let Err(what) = sphex_fuzz::api::check(bytes) {
        panic!("{what}");
    }
});

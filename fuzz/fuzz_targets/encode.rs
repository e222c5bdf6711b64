//! Encoders against disassemblers.
#![no_main]

use libfuzzer_sys::fuzz_target;

fn checked(answer: Result<usize, String>) {
    if let Err(what) = answer {
        panic!("{what}");
    }
}

fuzz_target!(|bytes: &[u8]| {
    checked(sphex_fuzz::encode::check_bytes(bytes));
    checked(sphex_fuzz::encode_aarch64::check_bytes(bytes));
});

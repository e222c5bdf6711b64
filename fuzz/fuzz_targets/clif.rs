//! CLIF interpreter against compiled code.
#![no_main]

use libfuzzer_sys::fuzz_target;

fn checked(answer: Result<usize, String>) {
    if let Err(what) = answer {
        panic!("{what}");
    }
}

fuzz_target!(|bytes: &[u8]| {
    checked(sphex_fuzz::clif::check(bytes));
});

//! Fuzz targets of Sphex. Each is a function here, a libfuzzer binary in `fuzz_targets/`, and a seeded test in `tests/`.
//! Files that `crates/sphex/tests` includes as well name each other by `crate::`.

#[allow(missing_docs, reason = "a model's fields are what they are called")]
pub mod api;
pub mod artifact;
pub mod clif;
pub mod compile;
pub mod differential;
/// Random rows of the x86-64 table, encoded, against an independent disassembler.
#[allow(dead_code, reason = "a seeded test of its crate, of which one function is the target")]
#[path = "../../crates/sphex-asm/tests/x64_against_iced.rs"]
pub mod encode;
/// The same of the AArch64 table.
#[allow(dead_code, reason = "a seeded test of its crate, of which one function is the target")]
#[path = "../../crates/sphex-asm/tests/aarch64_against_yaxpeax.rs"]
pub mod encode_aarch64;
pub mod generate;
/// A guest of preview 1 without an engine: the one of the tests of its crate.
#[allow(dead_code, missing_docs, reason = "tests of its crate use the rest")]
#[path = "../../crates/sphex-wasi/tests/guest/mod.rs"]
pub mod guest;
pub mod interpreted;
pub mod modules;
pub mod observe;
pub mod peer;
pub mod programs;
pub mod random;
pub mod seeded;
pub mod wasi_paths;
pub mod world;

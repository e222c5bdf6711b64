//! What must not compile does not, and the compiler says why: `cases/*.rs`, each beside the expected message.
//!
//! Messages differ between compilers, so that only the workspace's `rust-version` is asked. `TRYBUILD=overwrite` rewrites
//! them.

use std::process::Command;

#[test]
fn misuse_that_the_compiler_sees() {
    let wanted = env!("CARGO_PKG_RUST_VERSION");
    let version = Command::new("rustc").arg("--version").output().map(|output| output.stdout);
    let version = String::from_utf8(version.unwrap_or_default()).unwrap_or_default();
    if !version.starts_with(&format!("rustc {wanted}.")) {
        let required = std::env::var("SPHEX_REQUIRE").unwrap_or_default();
        assert!(!required.split(',').any(|word| word == "rustc"), "expected rustc {wanted}, found {version}");
        println!("skipped: compile_fail needs rustc {wanted}");
        return;
    }
    trybuild::TestCases::new().compile_fail("cases/*.rs");
}

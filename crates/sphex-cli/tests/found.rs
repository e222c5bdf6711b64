//! What fuzzing found, run by the `sphex` binary with each plan for memories.

mod support;

use std::process::Command;

use support::{SPHEX, root, run};

#[test]
fn what_was_found_stays_found() {
    for plan in ["memory-reservation=4294967296", "memory-reservation=0"] {
        let ended =
            run(Command::new(SPHEX).args(["wast", "-O", plan]).arg(root().join("tests/wasm/found.wast")));
        assert!(ended.code == 0, "{plan}\n{}{}", ended.stdout, ended.stderr);
    }
}

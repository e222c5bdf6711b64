//! What fuzzing found, and bulk operations of every small length, run by the `sphex` binary with each plan for memories.

mod support;

use std::process::Command;

use support::{SPHEX, root, run};

#[test]
fn what_was_found_stays_found() {
    for plan in ["memory-reservation=4294967296", "memory-reservation=0", "pooling-allocator=y"] {
        let files =
            ["found", "bulk", "dispatch", "near"].map(|name| root().join(format!("tests/wasm/{name}.wast")));
        let ended = run(Command::new(SPHEX).args(["wast", "-O", plan]).args(files));
        assert!(ended.code == 0, "{plan}\n{}{}", ended.stdout, ended.stderr);
    }
}

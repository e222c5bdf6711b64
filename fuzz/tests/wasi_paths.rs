//! Seeded trees and calls: nothing outside is learned or changed, and both ways to resolve a path answer the same.

use sphex_fuzz::{seeded, wasi_paths};

#[test]
fn nothing_outside_is_seen_or_changed() {
    let arguments = ["second_process", "--exact", "--nocapture", "--test-threads=1"];
    let run = seeded::run(300, 600, |bytes| wasi_paths::check(bytes, &arguments));
    assert!(seeded::is_changed() || run.cases == 300 && run.total > 10 * 300);
}

/// What the other test starts again as its second process; nothing by itself.
#[test]
fn second_process() {
    wasi_paths::serve_if_twin();
}

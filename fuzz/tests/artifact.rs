//! Seeded damage of artifacts: refused, or loaded to something that can be read.

use sphex_fuzz::{artifact, seeded};

#[test]
fn damage_is_refused_or_harmless() {
    let run = seeded::run(3000, 120, artifact::check);
    // Some of it is harmless.
    assert!(seeded::is_changed() || run.cases == 3000 && run.total > 3100);
}

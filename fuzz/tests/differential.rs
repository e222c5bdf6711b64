//! Seeded modules under Sphex and under a second engine.

use sphex_fuzz::differential::Engines;
use sphex_fuzz::seeded;

#[test]
fn sphex_agrees_with_a_second_engine() {
    let engines = Engines::default();
    let run = seeded::run(2400, 4096, |bytes| engines.run(bytes));
    assert!(seeded::is_changed() || run.cases >= 2000 && run.total > 5 * 2000);
}

#[test]
fn programs_do_the_same_under_both() {
    let engines = Engines::default();
    let run = seeded::run(200, 6000, |bytes| engines.run_program(bytes));
    assert!(seeded::is_changed() || run.cases == 200 && run.total > 20 * 200);
}

//! Random CLIF functions mean the same interpreted and compiled: the seeded form of the fuzz target `clif`.
#![cfg(feature = "compiler")]

#[path = "../../../fuzz/src/clif.rs"]
mod clif;
#[path = "../../../fuzz/src/generate.rs"]
mod generate;
#[path = "../../../fuzz/src/interpreted.rs"]
mod interpreted;
#[allow(dead_code, reason = "the fuzz targets use all of it")]
#[path = "../../../fuzz/src/random.rs"]
mod random;
#[path = "../../../fuzz/src/seeded.rs"]
mod seeded;

#[test]
fn compiled_code_means_what_the_interpreter_says() {
    let run = seeded::run(5000, 1200, clif::check);
    assert!(seeded::is_changed() || run.cases >= 4900 && run.total >= 3 * 4900);
}

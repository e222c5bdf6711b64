//! Seeded CLIF functions, interpreted and compiled.

use sphex_fuzz::{clif, seeded};

#[test]
fn compiled_code_means_what_the_interpreter_says() {
    seeded::run(2000, 1200, clif::check);
}

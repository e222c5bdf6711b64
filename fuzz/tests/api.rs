//! Seeded sequences of calls of the embedding API, beside a model.

use sphex_fuzz::{api, seeded};

#[test]
fn calls_do_what_the_model_says() {
    let run = seeded::run(2000, 900, api::check);
    assert!(seeded::is_changed() || run.cases == 2000 && run.total > 50 * 2000);
}

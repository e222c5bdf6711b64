//! Random functions: they verify, their text is a fixed point, interpreting the reparsed ones gives the same.

#[path = "../../../fuzz/src/generate.rs"]
mod generate;
#[path = "../../../fuzz/src/interpreted.rs"]
mod interpreted;
#[allow(dead_code, reason = "the fuzz targets use all of it")]
#[path = "../../../fuzz/src/random.rs"]
mod random;
#[allow(dead_code, reason = "the fuzz targets use all of it")]
#[path = "../../../fuzz/src/seeded.rs"]
mod seeded;

use std::cell::Cell;

use sphex_ir::interpret::Outcome;
use sphex_ir::{parse, verify};

#[test]
fn text_is_a_fixed_point_and_means_the_same() {
    let trapped = Cell::new(0);
    let run = seeded::run(2000, 1200, |bytes| {
        let made = generate::functions(bytes);
        let text = interpreted::text(&made);
        for func in &made {
            verify::verify(func).map_err(|errors| format!("{errors}\n{text}"))?;
        }
        let again = parse::parse_functions(&text).map_err(|error| format!("{error}\n{text}"))?;
        let second = interpreted::text(&again);
        if second != text {
            return Err(format!("{text}\nbecame\n{second}"));
        }
        let seed = interpreted::seed(bytes);
        let runs = (interpreted::interpret(&made, seed)?, interpreted::interpret(&again, seed)?);
        let (Some(first), Some(second)) = runs else { return Ok(0) };
        if !interpreted::same(&first, &second) {
            return Err(format!("{first:?} then {second:?}\n{text}"));
        }
        trapped.set(trapped.get() + u64::from(matches!(first.0, Outcome::Trapped(_))));
        Ok(made.len())
    });
    let (cases, trapped) = (run.cases, trapped.get());
    println!("{trapped} of {cases} runs trapped");
    assert!(
        cases > trapped + cases / 4 && trapped > cases / 40 && run.total as u64 > 2 * cases,
        "{cases} cases, {trapped} trapped, {} functions: the generator lost its balance",
        run.total
    );
}

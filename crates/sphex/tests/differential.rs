//! Random modules do the same however they are compiled: optimized or not, with fixed and with moving memories, for this CPU
//! and for the baseline. The fuzz target `differential` asks a second engine too, which the workspace must not have.
#![cfg(feature = "compiler")]

#[path = "../../../fuzz/src/modules.rs"]
mod modules;
#[path = "../../../fuzz/src/observe.rs"]
mod observe;
#[allow(dead_code, reason = "the fuzz targets use all of it")]
#[path = "../../../fuzz/src/random.rs"]
mod random;
#[path = "../../../fuzz/src/seeded.rs"]
mod seeded;
#[path = "../../../fuzz/src/world.rs"]
mod world;

use observe::{difference, observe};
use sphex::Engine;

#[test]
fn modules_do_the_same_however_they_are_compiled() {
    let configurations = world::configurations().into_iter();
    let engines: Vec<(&str, Engine)> =
        configurations.map(|(name, config)| (name, Engine::new(&config).unwrap())).collect();
    let run = seeded::run(2400, 4096, |bytes| {
        let Some(wasm) = modules::module(bytes) else { return Ok(0) };
        let mut logs = engines.iter().map(|(name, engine)| (name, observe(|| world::make(engine, &wasm), 1)));
        let (first, expected) = logs.next().expect("a configuration");
        for (name, found) in logs {
            if let Some(difference) = difference(&expected, &found) {
                return Err(format!("{first} and {name}, {difference}"));
            }
        }
        match expected.iter().find(|line| line.contains("Refused")) {
            Some(line) => Err(line.clone()),
            None => Ok(expected.len()),
        }
    });
    assert!(seeded::is_changed() || run.cases >= 2000 && run.total > 10_000);
}

//! Runs the modules named on the command line under all engines and says where they differ; prints what the second one saw.

use sphex_fuzz::differential::Engines;
use sphex_fuzz::observe::observe;
use sphex_fuzz::peer;

fn main() {
    let engines = Engines::default();
    for path in std::env::args().skip(1) {
        let wasm = match path.strip_prefix("program:").and_then(|seed| seed.parse().ok()) {
            Some(seed) => sphex_fuzz::programs::program(&sphex_fuzz::random::Random::new(seed).bytes(6000)),
            None => wat::parse_file(&path).expect("a module"),
        };
        for line in observe(|| peer::make(&peer::engine(), &wasm), 1) {
            println!("{line}");
        }
        println!("{path}: {:?}", engines.compare(&wasm));
    }
}

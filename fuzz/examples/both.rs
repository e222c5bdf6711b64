//! Runs the modules named on the command line under all engines and says where they differ.

use sphex_fuzz::differential::Engines;

fn main() {
    let engines = Engines::default();
    for path in std::env::args().skip(1) {
        let wasm = wat::parse_file(&path).expect("a module");
        println!("{path}: {:?}", engines.compare(&wasm));
    }
}

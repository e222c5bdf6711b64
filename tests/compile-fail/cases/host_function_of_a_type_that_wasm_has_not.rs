//! Parameters and results are wasm values.
use sphex::{Engine, Linker};

fn main() {
    let mut linker: Linker<()> = Linker::new(&Engine::default());
    let _ = linker.func_wrap("host", "greet", |name: String| name.len() as u32);
}

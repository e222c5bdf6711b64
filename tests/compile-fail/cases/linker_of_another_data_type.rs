//! A linker's host functions see the data of the stores it was made for.
use sphex::{Engine, Linker, Module, Store};

fn start(linker: &Linker<String>, store: &mut Store<u32>, module: &Module) -> sphex::Result<()> {
    linker.instantiate(store, module).map(drop)
}

fn main() {
    let _ = (start, Engine::default());
}

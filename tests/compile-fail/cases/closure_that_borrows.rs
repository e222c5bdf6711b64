//! Host functions outlive the scope that defines them.
use sphex::{Engine, Linker};

fn main() {
    let mut calls = 0;
    let count = &mut calls;
    let mut linker: Linker<()> = Linker::new(&Engine::default());
    let _ = linker.func_wrap("host", "count", move || -> u32 { *count });
}

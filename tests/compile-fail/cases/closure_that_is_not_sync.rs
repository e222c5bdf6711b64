//! A linker's host functions may be called by stores of several threads at once.
use std::cell::Cell;

use sphex::{Engine, Linker};

fn main() {
    let calls = Cell::new(0);
    let mut linker: Linker<()> = Linker::new(&Engine::default());
    let _ = linker.func_wrap("host", "count", move || calls.set(calls.get() + 1));
}

//! Compile on one machine or at one time, load at another: `cargo run -p sphex --example precompile`.
//!
//! Loading takes no compiler: a program with `sphex = { default-features = false }` has none in it, and does the second
//! half of this.
#![allow(unsafe_code)]

use std::path::Path;

use sphex::{Engine, Instance, Module, Result, Store};

/// Compiles a module to a file.
pub fn compile(path: &Path) -> Result<()> {
    let engine = Engine::default();
    let artifact = engine.precompile(
        br#"(module (func (export "fib") (param $n i32) (result i32)
            (if (result i32) (i32.lt_u (local.get $n) (i32.const 2))
                (then (local.get $n))
                (else (i32.add
                    (call 0 (i32.sub (local.get $n) (i32.const 1)))
                    (call 0 (i32.sub (local.get $n) (i32.const 2))))))))"#,
    )?;
    // Whoever maps the file sees all of it or none.
    let temporary = path.with_extension("tmp");
    std::fs::write(&temporary, artifact)?;
    std::fs::rename(&temporary, path)?;
    Ok(())
}

/// Loads the file and runs it.
pub fn load(path: &Path, n: u32) -> Result<u32> {
    let engine = Engine::default();
    // Of another build, for another CPU, or without what this engine relies on? The error would say which.
    engine.is_compatible(&std::fs::read(path)?)?;
    // SAFETY: `compile` wrote the file, and no one changes it while we run.
    let module = unsafe { Module::deserialize_file(&engine, path)? };
    let mut store = Store::new(&engine, ());
    let instance = Instance::new(&mut store, &module, &[])?;
    instance.get_typed_func::<u32, u32>(&mut store, "fib")?.call(&mut store, n)
}

/// Both halves, in a folder.
pub fn run(folder: &Path) -> Result<u32> {
    let path = folder.join("fib.cwasm");
    compile(&path)?;
    load(&path, 20)
}

fn main() -> Result<()> {
    println!("fib(20) = {}", run(&std::env::temp_dir())?);
    Ok(())
}

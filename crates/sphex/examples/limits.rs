//! Guests that nobody wrote with care, each stopped in its own way: `cargo run -p sphex --example limits`.

use std::time::Duration;

use sphex::{Config, Engine, Instance, Module, Result, Store, StoreLimits, StoreLimitsBuilder};

/// What the host allows each guest.
struct Allowance {
    limits: StoreLimits,
}

fn guest(engine: &Engine, body: &str) -> Result<()> {
    let limits = StoreLimitsBuilder::new().memory_size(1 << 20).table_elements(1000).build();
    let mut store = Store::new(engine, Allowance { limits });
    store.limiter(|allowance| &mut allowance.limits);
    store.set_fuel(50_000_000)?;
    store.set_timeout(Duration::from_millis(if body.contains("slow") { 20 } else { 60_000 }))?;
    let module = Module::new(engine, format!("(module {body})"))?;
    let instance = Instance::new(&mut store, &module, &[])?;
    instance.get_typed_func::<(), ()>(&mut store, "run")?.call(&mut store, ())
}

/// What became of each guest.
pub fn run() -> Result<Vec<String>> {
    let mut config = Config::new();
    config.compile.fuel = true;
    config.host.max_wasm_stack = 256 << 10;
    let engine = Engine::new(&config)?;
    let mut lines = Vec::new();
    for (name, body) in [
        ("modest", r#"(memory 1) (func (export "run") (i32.store (i32.const 0) (i32.const 1)))"#),
        ("endless loop", r#"(func (export "run") (loop (br 0)))"#),
        ("endless recursion", r#"(func $f (export "run") (call $f) (call $f))"#),
        ("too large from the start", r#"(memory 17) (func (export "run"))"#),
        (
            // Doubles what it has until it gets -1, and then gives up.
            "greedy",
            r#"(memory 1) (func (export "run")
                (loop (br_if 0 (i32.ne (memory.grow (memory.size)) (i32.const -1)))) (unreachable))"#,
        ),
        (
            // A single instruction, over and over, on much memory: fuel for work, and a clock.
            "slow",
            r#"(memory 16) (func $slow (export "run") (loop
                (memory.fill (i32.const 0) (i32.const 1) (i32.const 0x100000)) (br 0)))"#,
        ),
    ] {
        lines.push(match guest(&engine, body) {
            Ok(()) => format!("{name}: done"),
            Err(error) => format!("{name}: {error}"),
        });
    }
    Ok(lines)
}

fn main() -> Result<()> {
    for line in run()? {
        println!("{line}");
    }
    Ok(())
}

//! A module that calls a Rust function, called from Rust: `cargo run -p sphex --example embed`.

use sphex::{Caller, Engine, Linker, Module, Result, Store};

/// Greets through wasm; the result is what the guest wrote.
pub fn run() -> Result<String> {
    // An engine compiles modules; a module can be instantiated in any number of stores.
    let engine = Engine::default();
    let module = Module::new(
        &engine,
        r#"(module
            (import "host" "print" (func $print (param i32 i32)))
            (memory (export "memory") 1)
            (data (i32.const 16) "Hello from wasm")
            (func (export "greet") (param $times i32) (result i32)
                (local $done i32)
                (loop $again
                    (call $print (i32.const 16) (i32.const 15))
                    (local.set $done (i32.add (local.get $done) (i32.const 1)))
                    (br_if $again (i32.lt_u (local.get $done) (local.get $times))))
                (local.get $done)))"#,
    )?;

    // A linker names what modules import. Host functions see the store's data and the caller's memory.
    let mut linker = Linker::new(&engine);
    linker.func_wrap("host", "print", |mut caller: Caller<'_, String>, at: u32, len: u32| -> Result<()> {
        let memory = caller.get_memory("memory").ok_or_else(|| sphex::Error::msg("no memory"))?;
        let (text, memories) = caller.split();
        let bytes = memories.get(memory)?.get(at as usize..).and_then(|rest| rest.get(..len as usize));
        let bytes = bytes.ok_or_else(|| sphex::Error::msg("a string outside the memory"))?;
        text.push_str(&String::from_utf8_lossy(bytes));
        text.push('\n');
        Ok(())
    })?;

    // A store holds all state, and data of the embedder's: here, a string.
    let mut store = Store::new(&engine, String::new());
    let instance = linker.instantiate(&mut store, &module)?;
    let greet = instance.get_typed_func::<u32, u32>(&mut store, "greet")?;
    assert_eq!(greet.call(&mut store, 2)?, 2);
    Ok(store.into_data())
}

fn main() -> Result<()> {
    print!("{}", run()?);
    Ok(())
}

//! A host of plugins that it does not trust: each is compiled once, checked, and gets a store of its own for each call,
//! a small API, and no more memory than it needs. `cargo run -p sphex --example plugin_host`.

use std::collections::BTreeMap;

use sphex::{
    Caller, Engine, Error, ErrorKind, ExternType, InstancePre, Linker, Memory, Module, Result, Store, ValType,
};

/// What the host keeps for one call of a plugin.
#[derive(Default)]
struct Call {
    log: Vec<String>,
}

/// Plugins by name, ready to be instantiated.
struct Host {
    linker: Linker<Call>,
    plugins: BTreeMap<String, InstancePre<Call>>,
}

impl Host {
    fn new(engine: &Engine) -> Result<Host> {
        let mut linker = Linker::new(engine);
        linker.func_wrap("host", "log", |mut caller: Caller<'_, Call>, at: u32, len: u32| -> Result<()> {
            let memory =
                caller.get_memory("memory").ok_or_else(|| Error::msg("a plugin without a memory"))?;
            let text = text(memory.data(&caller)?, at, len)?;
            caller.data_mut().log.push(text);
            Ok(())
        })?;
        Ok(Host { linker, plugins: BTreeMap::new() })
    }

    /// Takes a plugin that exports `memory`, `alloc: i32 -> i32` and `transform: i32, i32 -> i64`. What is missing is said
    /// now, not when it is called.
    fn add(&mut self, name: &str, wasm: &[u8]) -> Result<()> {
        let module = Module::new(self.linker.engine(), wasm)?;
        for (export, params, results) in [
            ("alloc", &[ValType::I32][..], ValType::I32),
            ("transform", &[ValType::I32, ValType::I32], ValType::I64),
        ] {
            let found = module.get_export(export);
            let fits = |ty: &sphex::FuncType| *ty.params == *params && *ty.results == [results];
            if !found.as_ref().and_then(ExternType::func).is_some_and(fits) {
                let message = format!("plugin {name}: no function `{export}` of the right type");
                return Err(Error::new(ErrorKind::Link, message));
            }
        }
        let plugin = self.linker.instantiate_pre(&module).map_err(|error| error.context(name))?;
        self.plugins.insert(name.to_string(), plugin);
        Ok(())
    }

    /// Hands text to a plugin, and takes text and log back. Nothing of the plugin stays behind.
    fn transform(&self, name: &str, input: &str) -> Result<(String, Vec<String>)> {
        let plugin = self.plugins.get(name).ok_or_else(|| Error::new(ErrorKind::NotFound, name))?;
        let mut store = Store::new(self.linker.engine(), Call::default());
        let instance = plugin.instantiate(&mut store)?;
        let memory: Memory = instance.get_memory(&mut store, "memory")?;
        let alloc = instance.get_typed_func::<u32, u32>(&mut store, "alloc")?;
        let transform = instance.get_typed_func::<(u32, u32), u64>(&mut store, "transform")?;
        let len = input.len() as u32;
        let at = alloc.call(&mut store, len)?;
        memory.write(&mut store, at as usize, input.as_bytes())?;
        // The result is an address and a length in one number.
        let result = transform.call(&mut store, (at, len))?;
        let output = text(memory.data(&store)?, (result >> 32) as u32, result as u32)?;
        Ok((output, store.into_data().log))
    }
}

/// Text in a plugin's memory, wherever the plugin says that it is.
fn text(memory: &[u8], at: u32, len: u32) -> Result<String> {
    let bytes = memory.get(at as usize..).and_then(|rest| rest.get(..len as usize));
    let bytes =
        bytes.ok_or_else(|| Error::new(ErrorKind::OutOfBounds, "text outside the plugin's memory"))?;
    Ok(std::str::from_utf8(bytes)?.to_string())
}

const SHOUT: &str = r#"(module
    (import "host" "log" (func $log (param i32 i32)))
    (memory (export "memory") 1)
    (data (i32.const 8) "shouting")
    (func (export "alloc") (param i32) (result i32) (i32.const 1024))
    (func (export "transform") (param $at i32) (param $len i32) (result i64)
        (local $i i32) (local $c i32)
        (call $log (i32.const 8) (i32.const 8))
        (block $done
            (loop $next
                (br_if $done (i32.ge_u (local.get $i) (local.get $len)))
                (local.set $c (i32.load8_u (i32.add (local.get $at) (local.get $i))))
                (if (i32.lt_u (i32.sub (local.get $c) (i32.const 97)) (i32.const 26))
                    (then (i32.store8 (i32.add (local.get $at) (local.get $i))
                        (i32.sub (local.get $c) (i32.const 32)))))
                (local.set $i (i32.add (local.get $i) (i32.const 1)))
                (br $next)))
        (i64.or (i64.shl (i64.extend_i32_u (local.get $at)) (i64.const 32))
            (i64.extend_i32_u (local.get $len)))))"#;

/// Says that its result is where nothing is.
const LIAR: &str = r#"(module (memory (export "memory") 1)
    (func (export "alloc") (param i32) (result i32) (i32.const 0))
    (func (export "transform") (param i32 i32) (result i64) (i64.const -1)))"#;

/// Runs good and bad plugins; each line says what came of one.
pub fn run() -> Result<Vec<String>> {
    let engine = Engine::default();
    let mut host = Host::new(&engine)?;
    host.add("shout", SHOUT.as_bytes())?;
    host.add("liar", LIAR.as_bytes())?;
    let mut lines = Vec::new();
    let (output, log) = host.transform("shout", "hello, plugins")?;
    lines.push(format!("shout: {output} {log:?}"));
    lines.push(format!("liar: {}", host.transform("liar", "x").unwrap_err()));
    lines.push(format!("bad: {}", host.add("bad", b"(module)").unwrap_err()));
    Ok(lines)
}

fn main() -> Result<()> {
    for line in run()? {
        println!("{line}");
    }
    Ok(())
}

//! Rows of misuse that need no second store: wrong types, wrong numbers, out of range, undefined, damaged, too large.

use std::path::PathBuf;

use sphex::jit::{DataValue, Jit};
use sphex::{
    AsContextMut, Caller, Config, Engine, Error, Extern, Func, FuncType, Global, GlobalType, Instance,
    Linker, Memory, MemoryType, Module, RawVal, RefType, Result, RootScope, Rooted, SharedMemory, Store,
    StoreLimitsBuilder, Table, TableType, Val, ValType,
};

use crate::handles::now;

/// What the rows work on.
pub struct World {
    engine: Engine,
    other: Engine,
    store: Store<()>,
    module: Module,
    /// Imports a function.
    needy: Module,
    instance: Instance,
    /// `(i32) -> (i32)`.
    func: Func,
    /// One page, at most two.
    memory: Memory,
    /// Two functions, at most four.
    table: Table,
    externs: Table,
    /// A constant `i32`.
    constant: Global,
    variable: Global,
    linker: Linker<()>,
    /// One page, at most two.
    shared: SharedMemory,
    jit: Jit,
}

impl World {
    pub fn new(engine: &Engine) -> Result<World> {
        let mut store = Store::new(engine, ());
        let module = Module::new(
            engine,
            r#"(module (func (export "func") (param i32) (result i32) (local.get 0)) (memory (export "memory") 1 2))"#,
        )?;
        let instance = Instance::new(&mut store, &module, &[])?;
        let memory = instance.get_memory(&mut store, "memory")?;
        let mut linker = Linker::new(engine);
        linker.func_wrap("h", "f", || ())?.define(&store, "h", "memory", memory)?;
        Ok(World {
            needy: Module::new(engine, r#"(module (import "h" "g" (func (param i32))))"#)?,
            other: Engine::new(&Config::new())?,
            func: instance.get_func(&mut store, "func")?,
            table: Table::new(&mut store, TableType::new(RefType::Func, 2, Some(4)), Val::FuncRef(None))?,
            externs: Table::new(&mut store, TableType::new(RefType::Extern, 2, None), Val::ExternRef(None))?,
            constant: Global::new(&mut store, GlobalType::new(ValType::I32, false), 1.into())?,
            variable: Global::new(&mut store, GlobalType::new(ValType::I64, true), 1i64.into())?,
            shared: SharedMemory::new(engine, MemoryType { shared: true, ..MemoryType::new(1, Some(2)) })?,
            jit: Jit::new(sphex::jit::parse(CLIF)?, &sphex::jit::Settings::host())?,
            engine: engine.clone(),
            module,
            instance,
            memory,
            linker,
            store,
        })
    }

    /// A store with these limits.
    fn limited(&self, limits: impl FnOnce(StoreLimitsBuilder) -> StoreLimitsBuilder) -> Store<()> {
        let mut store = Store::new(&self.engine, ());
        store.set_limits(limits(StoreLimitsBuilder::new()).build());
        store
    }
}

const CLIF: &str = "function %f(i32) -> i32 system_v {\nblock0(v0: i32):\n    return v0\n}";
const INVALID: &[u8] = b"\0asm\x01\0\0\0\x01\x01";
const UNTRUE: &str = "(module (func (result i32)))";

/// A file in the temporary folder that holds these bytes, while it lives.
struct Scratch(PathBuf);

impl Scratch {
    fn new(name: &str, bytes: &[u8]) -> Result<Scratch> {
        let path = std::env::temp_dir().join(format!("sphex-misuse-{}-{name}", std::process::id()));
        std::fs::write(&path, bytes)?;
        Ok(Scratch(path))
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}

/// The message without the folder, which depends on the machine.
fn bare<V>(result: Result<V>) -> Result<()> {
    let Err(error) = result else { return Ok(()) };
    let text = error.to_string().replace(&format!("{}/", std::env::temp_dir().display()), "");
    Err(Error::new(error.kind(), text))
}

/// What a host function says of its caller.
fn in_host(
    w: &mut World,
    f: impl Fn(&mut Caller<'_, ()>) -> Result<u64> + Send + Sync + 'static,
) -> Result<()> {
    let func = Func::wrap(&mut w.store, move |mut caller: Caller<'_, ()>| f(&mut caller).map(drop))?;
    func.call(&mut w.store, &[], &mut [])
}

type Row = (&'static str, &'static str, fn(&mut World) -> Result<()>);

pub const ROWS: &[Row] = &[
    ("Caller::fuel", "not counted", |w| in_host(w, |caller| caller.fuel())),
    ("Caller::consume_fuel", "not counted", |w| in_host(w, |caller| caller.consume_fuel(1))),
    ("Store::fuel", "not counted", |w| w.store.fuel().map(drop)),
    ("Store::set_fuel", "not counted", |w| w.store.set_fuel(1)),
    ("Store::fuel_async_yield_interval", "not counted", |w| w.store.fuel_async_yield_interval(None)),
    ("Store::fuel_async_yield_interval", "no interval", |_| {
        let mut config = Config::new();
        config.compile.fuel = true;
        Store::new(&Engine::new(&config)?, ()).fuel_async_yield_interval(Some(0))
    }),
    ("Store::consume_fuel", "not counted", |w| w.store.consume_fuel(1).map(drop)),
    ("Store::consume_fuel", "more than there is", |_| {
        let mut config = Config::new();
        config.compile.fuel = true;
        Store::new(&Engine::new(&config)?, ()).consume_fuel(u64::MAX).map(drop)
    }),
    ("StoreContextMut::fuel", "not counted", |w| w.store.as_context_mut().fuel().map(drop)),
    ("StoreContextMut::consume_fuel", "not counted", |w| w.store.as_context_mut().consume_fuel(1).map(drop)),
    ("Engine::new", "no stack", |_| {
        let mut config = Config::new();
        config.host.max_wasm_stack = 0;
        Engine::new(&config).map(drop)
    }),
    ("Engine::new", "too large a reservation", |_| {
        let mut config = Config::new();
        config.compile.memory_reservation = u64::MAX;
        Engine::new(&config).map(drop)
    }),
    ("Engine::new", "no such target", |_| {
        let mut config = Config::new();
        config.compile.target = Some("pdp11".into());
        Engine::new(&config).map(drop)
    }),
    ("Engine::new", "no such option", |_| {
        let mut config = Config::new();
        config.compile.options.push(("no_such_flag".into(), None));
        Engine::new(&config).map(drop)
    }),
    ("Engine::is_compatible", "not an artifact", |w| w.engine.is_compatible(INVALID)),
    ("Engine::is_compatible", "cut", |w| {
        let artifact = w.module.serialize()?;
        w.engine.is_compatible(&artifact[..40])
    }),
    ("Engine::validate", "cut", |w| w.engine.validate(INVALID)),
    ("Engine::precompile", "cut", |w| w.engine.precompile(INVALID).map(drop)),
    ("Engine::precompile_watched", "cut", |w| w.engine.precompile_watched(INVALID, &()).map(drop)),
    ("Engine::inspect", "no such function", |w| {
        w.engine.inspect(b"(module)", sphex::inspect::Which::Index(3), &())
    }),
    ("Engine::to_binary", "not text", |w| w.engine.to_binary(b"(modul)").map(drop)),
    ("Func::call", "too few arguments", |w| w.func.call(&mut w.store, &[], &mut [0.into()])),
    ("Func::call", "too many arguments", |w| {
        w.func.call(&mut w.store, &[1.into(), 2.into()], &mut [0.into()])
    }),
    ("Func::call", "argument of a wrong type", |w| {
        w.func.call(&mut w.store, &[1i64.into()], &mut [0.into()])
    }),
    ("Func::call", "too few places", |w| w.func.call(&mut w.store, &[1.into()], &mut [])),
    ("Func::call", "reaches an async function", |w| {
        let later = Func::wrap_async(&mut w.store, |_, ()| Box::new(async {}))?;
        later.call(&mut w.store, &[], &mut [])
    }),
    ("Func::call_async", "too few arguments", |w| now(w.func.call_async(&mut w.store, &[], &mut [0.into()]))),
    ("Func::call_async", "argument of a wrong type", |w| {
        now(w.func.call_async(&mut w.store, &[0i64.into()], &mut [0.into()]))
    }),
    ("Func::call_values", "too few arguments", |w| w.func.call_values(&mut w.store, &[]).map(drop)),
    ("Func::call_values", "argument of a wrong type", |w| {
        w.func.call_values(&mut w.store, &[Val::FuncRef(None)]).map(drop)
    }),
    ("Func::new", "result of a wrong type", |w| {
        let ty = FuncType::new([], [ValType::I32]);
        let func = Func::new(&mut w.store, ty, |_, _, results| {
            results[0] = Val::I64(1);
            Ok(())
        })?;
        func.call(&mut w.store, &[], &mut [0.into()])
    }),
    ("Func::new_async", "result of a wrong type", |w| {
        let ty = FuncType::new([], [ValType::I32]);
        let func = Func::new_async(&mut w.store, ty, |_, _, results| {
            Box::new(async move {
                results[0] = Val::I64(1);
                Ok(())
            })
        })?;
        now(func.call_async(&mut w.store, &[], &mut [0.into()]))
    }),
    ("Func::new_unchecked", "an error of the host's", |w| {
        let ty = FuncType::new([], [ValType::FuncRef]);
        // SAFETY: it gives no result.
        let func = unsafe { Func::new_unchecked(&mut w.store, ty, |_, _| Err(Error::msg("no such user"))) }?;
        func.call(&mut w.store, &[], &mut [Val::FuncRef(None)])
    }),
    ("Func::wrap", "an error of the host's", |w| {
        let func = Func::wrap(&mut w.store, || -> Result<()> { Err(Error::msg("no such user")) })?;
        func.call(&mut w.store, &[], &mut [])
    }),
    ("Func::wrap", "re-enters without end", |w| {
        let wat = r#"(module (import "h" "f" (func $f)) (func (export "run") (call $f)))"#;
        let module = Module::new(&w.engine, wat)?;
        let again = Func::wrap(&mut w.store, |mut caller: Caller<'_, ()>| -> Result<()> {
            let run = caller.get_export("run").and_then(Extern::into_func);
            run.ok_or_else(|| Error::msg("no export"))?.call(&mut caller, &[], &mut [])
        })?;
        let instance = Instance::new(&mut w.store, &module, &[again.into()])?;
        instance.get_func(&mut w.store, "run")?.call(&mut w.store, &[], &mut [])
    }),
    ("Func::wrap_async", "called without async", |w| {
        let later = Func::wrap_async(&mut w.store, |_, (n,): (i32,)| Box::new(async move { n }))?;
        later.call(&mut w.store, &[1.into()], &mut [0.into()])
    }),
    ("Func::typed", "wrong parameters", |w| w.func.typed::<i64, i32>(&w.store).map(drop)),
    ("Func::typed", "wrong results", |w| w.func.typed::<i32, ()>(&w.store).map(drop)),
    ("Func::typed", "wrong number", |w| w.func.typed::<(i32, i32), i32>(&w.store).map(drop)),
    ("Global::new", "value of a wrong type", |w| {
        Global::new(&mut w.store, GlobalType::new(ValType::F32, true), 1.into()).map(drop)
    }),
    ("Global::set", "constant", |w| w.constant.set(&mut w.store, 2.into())),
    ("Global::set", "value of a wrong type", |w| w.variable.set(&mut w.store, 2.into())),
    ("Instance::get_export", "undefined", |w| w.instance.get_export(&mut w.store, "x").map(drop)),
    ("Instance::get_func", "undefined", |w| w.instance.get_func(&mut w.store, "x").map(drop)),
    ("Instance::get_func", "of another kind", |w| w.instance.get_func(&mut w.store, "memory").map(drop)),
    ("Instance::get_global", "undefined", |w| w.instance.get_global(&mut w.store, "x").map(drop)),
    ("Instance::get_global", "of another kind", |w| w.instance.get_global(&mut w.store, "memory").map(drop)),
    ("Instance::get_memory", "undefined", |w| w.instance.get_memory(&mut w.store, "").map(drop)),
    ("Instance::get_memory", "of another kind", |w| w.instance.get_memory(&mut w.store, "func").map(drop)),
    ("Instance::get_module_export", "of another module", |w| {
        let copy = Module::new(&w.engine, r#"(module (func (export "func")))"#)?;
        let export = copy.get_export_index("func").expect("an export");
        w.instance.get_module_export(&mut w.store, &export).map(drop)
    }),
    ("Instance::get_table", "undefined", |w| w.instance.get_table(&mut w.store, "x").map(drop)),
    ("Instance::get_table", "of another kind", |w| w.instance.get_table(&mut w.store, "func").map(drop)),
    ("Instance::get_typed_func", "undefined", |w| {
        w.instance.get_typed_func::<(), ()>(&mut w.store, "x").map(drop)
    }),
    ("Instance::get_typed_func", "of another type", |w| {
        w.instance.get_typed_func::<(), f64>(&mut w.store, "func").map(drop)
    }),
    ("Instance::new", "no imports", |w| Instance::new(&mut w.store, &w.needy, &[]).map(drop)),
    ("Instance::new", "import of another kind", |w| {
        Instance::new(&mut w.store, &w.needy, &[w.memory.into()]).map(drop)
    }),
    ("Instance::new", "import of another type", |w| {
        Instance::new(&mut w.store, &w.needy, &[w.func.into()]).map(drop)
    }),
    ("Instance::new", "module of another engine", |w| {
        Instance::new(&mut Store::new(&w.other, ()), &w.module, &[]).map(drop)
    }),
    ("Instance::new", "too many", |w| {
        let mut store = w.limited(|limits| limits.instances(0));
        Instance::new(&mut store, &w.module, &[]).map(drop)
    }),
    ("Instance::new", "too large a memory", |w| {
        let mut store = w.limited(|limits| limits.memory_size(65535));
        Instance::new(&mut store, &w.module, &[]).map(drop)
    }),
    ("Instance::new_async", "no imports", |w| {
        now(Instance::new_async(&mut w.store, &w.needy, &[])).map(drop)
    }),
    ("Jit::call", "undefined", |w| {
        // SAFETY: nothing is called.
        unsafe { w.jit.call("g", &[]) }.map(drop)
    }),
    ("Jit::call", "too few arguments", |w| {
        // SAFETY: nothing is called.
        unsafe { w.jit.call("f", &[]) }.map(drop)
    }),
    ("Jit::call", "argument of a wrong type", |w| {
        // SAFETY: nothing is called.
        unsafe { w.jit.call("f", &[DataValue::i64(1)]) }.map(drop)
    }),
    ("Jit::new", "two of one name", |_| {
        let both = sphex::jit::parse(&format!("{CLIF}\n{CLIF}"))?;
        Jit::new(both, &sphex::jit::Settings::host()).map(drop)
    }),
    ("Jit::with_engine", "two of one name", |w| {
        let both = sphex::jit::parse(&format!("{CLIF}\n{CLIF}"))?;
        Jit::with_engine(&w.engine, both, &sphex::jit::Settings::host()).map(drop)
    }),
    ("jit::parse", "not CLIF", |_| sphex::jit::parse("function %f( {").map(drop)),
    ("Linker::alias", "undefined", |w| w.linker.alias("h", "x", "a", "b").map(drop)),
    ("Linker::alias", "defined twice", |w| w.linker.alias("h", "f", "h", "memory").map(drop)),
    ("Linker::alias_module", "undefined", |w| w.linker.alias_module("x", "y").map(drop)),
    ("Linker::alias_module", "defined twice", |w| w.linker.alias_module("h", "h").map(drop).map_err(either)),
    ("Linker::define", "defined twice", |w| w.linker.define(&w.store, "h", "f", w.memory).map(drop)),
    ("Linker::define_unknown_imports_as_traps", "called", |w| {
        let mut linker: Linker<()> = Linker::new(&w.engine);
        linker.define_unknown_imports_as_traps(&w.needy)?;
        let g = linker.get(&mut w.store, "h", "g")?.into_func().expect("a function");
        g.call(&mut w.store, &[1.into()], &mut [])
    }),
    ("Linker::define_unknown_imports_as_defaults", "result of a module that is not of its type", |w| {
        let mut linker: Linker<()> = Linker::new(&w.engine);
        linker.define_unknown_imports_as_defaults(&mut w.store, &w.needy)?;
        let module = Module::new(&w.engine, r#"(module (import "h" "g" (func (result i32))))"#)?;
        linker.instantiate(&mut w.store, &module).map(drop)
    }),
    ("Linker::define_unknown_imports_as_defaults", "store of another engine", |w| {
        let mut store = Store::new(&w.other, ());
        w.linker.define_unknown_imports_as_defaults(&mut store, &w.needy).map(drop)
    }),
    ("Linker::define_unknown_imports_as_defaults", "larger than the store's limit", |w| {
        let module = Module::new(&w.engine, r#"(module (import "h" "large" (memory 2)))"#)?;
        let mut store = w.limited(|limits| limits.memory_size(1 << 16));
        w.linker.define_unknown_imports_as_defaults(&mut store, &module).map(drop)
    }),
    ("Linker::func_new", "defined twice", |w| {
        w.linker.func_new("h", "f", FuncType::default(), |_, _, _| Ok(())).map(drop)
    }),
    ("Linker::func_new_async", "defined twice", |w| {
        w.linker.func_new_async("h", "f", FuncType::default(), |_, _, _| Box::new(async { Ok(()) })).map(drop)
    }),
    ("Linker::func_new_unchecked", "defined twice", |w| {
        // SAFETY: it has no results.
        unsafe { w.linker.func_new_unchecked("h", "f", FuncType::default(), |_, _| Ok(())) }.map(drop)
    }),
    ("Linker::func_wrap", "defined twice", |w| w.linker.func_wrap("h", "f", || ()).map(drop)),
    ("Linker::func_wrap_async", "defined twice", |w| {
        w.linker.func_wrap_async("h", "f", |_, ()| Box::new(async {})).map(drop)
    }),
    ("Linker::func_wrap_either", "defined twice", |w| {
        w.linker.func_wrap_either("h", "f", |_, ()| {}, |_, ()| Box::new(async {})).map(drop)
    }),
    ("Linker::get", "undefined", |w| w.linker.get(&mut w.store, "h", "x").map(drop)),
    ("Linker::get", "store of another engine", |w| {
        w.linker.get(Store::new(&w.other, ()), "h", "f").map(drop)
    }),
    ("Linker::get_default", "undefined", |w| w.linker.get_default(&mut w.store, "h").map(drop)),
    ("Linker::get_default", "of another kind", |w| {
        let mut linker = Linker::new(&w.engine);
        linker.define(&w.store, "m", "", w.memory)?;
        linker.get_default(&mut w.store, "m").map(drop)
    }),
    ("Linker::instantiate", "undefined import", |w| w.linker.instantiate(&mut w.store, &w.needy).map(drop)),
    ("Linker::instantiate", "store of another engine", |w| {
        w.linker.instantiate(&mut Store::new(&w.other, ()), &w.module).map(drop)
    }),
    ("Linker::instantiate_async", "undefined import", |w| {
        now(w.linker.instantiate_async(&mut w.store, &w.needy)).map(drop)
    }),
    ("Linker::instantiate_pre", "undefined import", |w| w.linker.instantiate_pre(&w.needy).map(drop)),
    ("Linker::instantiate_pre", "import of another type", |w| {
        let module = Module::new(&w.engine, r#"(module (import "h" "f" (func (param i64))))"#)?;
        w.linker.instantiate_pre(&module).map(drop)
    }),
    ("Linker::instantiate_pre", "module of another engine", |w| {
        w.linker.instantiate_pre(&Module::new(&w.other, "(module)")?).map(drop)
    }),
    ("Memory::data", "shared", |w| w.shared.attach(&mut w.store)?.data(&w.store).map(drop)),
    ("Memory::data_mut", "shared", |w| w.shared.attach(&mut w.store)?.data_mut(&mut w.store).map(drop)),
    ("Memory::data_and_store_mut", "shared", |w| {
        w.shared.attach(&mut w.store)?.data_and_store_mut(&mut w.store).map(drop)
    }),
    ("Memories::get", "shared", |w| {
        let memory = w.shared.attach(&mut w.store)?;
        w.store.as_context_mut().split().1.get(memory).map(drop)
    }),
    ("Memory::read", "shared, across the end", |w| {
        w.shared.attach(&mut w.store)?.read(&w.store, 65535, &mut [0, 0])
    }),
    ("Memory::write", "shared, across the end", |w| {
        w.shared.attach(&mut w.store)?.write(&mut w.store, 65535, &[0, 0])
    }),
    ("SharedMemory::new", "not shared", |w| {
        SharedMemory::new(&w.engine, MemoryType::new(1, Some(1))).map(drop)
    }),
    ("SharedMemory::new", "minimum above maximum", |w| {
        SharedMemory::new(&w.engine, MemoryType { shared: true, ..MemoryType::new(2, Some(1)) }).map(drop)
    }),
    ("SharedMemory::attach", "store of another engine", |w| {
        w.shared.attach(Store::new(&w.other, ())).map(drop)
    }),
    ("SharedMemory::attach", "larger than the store's limit", |w| {
        w.shared.attach(w.limited(|limits| limits.memory_size(1000))).map(drop)
    }),
    ("SharedMemory::attach", "too many", |w| {
        w.shared.attach(w.limited(|limits| limits.memories(0))).map(drop)
    }),
    ("SharedMemory::read", "across the end", |w| w.shared.read(65535, &mut [0, 0])),
    ("SharedMemory::read", "offset beyond any number", |w| w.shared.read(usize::MAX, &mut [0, 0])),
    ("SharedMemory::write", "across the end", |w| w.shared.write(65535, &[0, 0])),
    ("SharedMemory::fill", "across the end", |w| w.shared.fill(65535, 1, 2)),
    ("SharedMemory::fill", "length beyond any number", |w| w.shared.fill(1, 1, usize::MAX)),
    ("SharedMemory::grow", "beyond its maximum", |w| w.shared.grow(2).map(drop)),
    ("SharedMemory::grow", "beyond any number", |w| w.shared.grow(u64::MAX).map(drop)),
    ("SharedMemory::atomic_notify", "not aligned", |w| w.shared.atomic_notify(2, 1).map(drop)),
    ("SharedMemory::atomic_notify", "outside", |w| w.shared.atomic_notify(1 << 16, 1).map(drop)),
    ("SharedMemory::atomic_wait32", "not aligned", |w| w.shared.atomic_wait32(2, 0, None).map(drop)),
    ("SharedMemory::atomic_wait64", "outside", |w| w.shared.atomic_wait64(u64::MAX - 7, 0, None).map(drop)),
    ("Linker::shared_memory", "of another engine", |w| {
        Linker::<()>::new(&w.other).shared_memory("m", "m", &w.shared).map(drop)
    }),
    ("Linker::shared_memory", "defined twice", |w| {
        let memory = w.shared.clone();
        w.linker.shared_memory("h", "f", &memory).map(drop)
    }),
    ("Memory::grow", "beyond its maximum", |w| w.memory.grow(&mut w.store, 2).map(drop)),
    ("Memory::grow", "beyond any number", |w| w.memory.grow(&mut w.store, u64::MAX).map(drop)),
    ("Memory::grow", "beyond the store's limit", |w| {
        let mut store = w.limited(|limits| limits.memory_size(1 << 16));
        Memory::new(&mut store, MemoryType::new(1, None))?.grow(&mut store, 1).map(drop)
    }),
    ("Memory::new", "minimum above maximum", |w| {
        Memory::new(&mut w.store, MemoryType::new(2, Some(1))).map(drop)
    }),
    ("Memory::new", "more than 4 GiB", |w| Memory::new(&mut w.store, MemoryType::new(65537, None)).map(drop)),
    ("Memory::new", "a page size that is none", |w| {
        let ty = MemoryType { page_size_log2: 70, ..MemoryType::new(1, None) };
        Memory::new(&mut w.store, ty).map(drop)
    }),
    ("Memory::new", "shared without a maximum", |w| {
        Memory::new(&mut w.store, MemoryType { shared: true, ..MemoryType::new(1, None) }).map(drop)
    }),
    ("Memory::new", "too many", |w| {
        let mut store = w.limited(|limits| limits.memories(0));
        Memory::new(&mut store, MemoryType::new(1, None)).map(drop)
    }),
    ("Memory::read", "across the end", |w| w.memory.read(&w.store, 65535, &mut [0, 0])),
    ("Memory::read", "offset beyond any number", |w| w.memory.read(&w.store, usize::MAX, &mut [0, 0])),
    ("Memory::write", "across the end", |w| w.memory.write(&mut w.store, 65533, &[0; 4])),
    ("Memory::write", "offset beyond any number", |w| w.memory.write(&mut w.store, usize::MAX, &[0; 4])),
    ("Module::deserialize", "empty", |w| {
        // SAFETY: refused before anything is run.
        unsafe { Module::deserialize(&w.engine, b"") }.map(drop)
    }),
    ("Module::deserialize", "wasm", |w| {
        // SAFETY: as above.
        unsafe { Module::deserialize(&w.engine, INVALID) }.map(drop)
    }),
    ("Module::deserialize", "cut", |w| {
        let bytes = w.module.serialize()?;
        // SAFETY: as above.
        unsafe { Module::deserialize(&w.engine, &bytes[..40]) }.map(drop)
    }),
    ("Module::deserialize", "a flipped bit of code", |w| {
        let mut bytes = w.module.serialize()?;
        bytes[4096 + 3] ^= 4;
        // SAFETY: as above.
        unsafe { Module::deserialize(&w.engine, &bytes) }.map(drop)
    }),
    ("Module::deserialize_file", "no such file", |w| {
        // SAFETY: as above.
        unsafe { Module::deserialize_file(&w.engine, "/nowhere/x.cwasm") }.map(drop)
    }),
    ("Module::deserialize_file", "another file", |w| {
        let file = Scratch::new("text", b"hello, this is text")?;
        // SAFETY: as above.
        bare(unsafe { Module::deserialize_file(&w.engine, &file.0) })
    }),
    ("Module::deserialize_open_file", "empty", |w| {
        let file = Scratch::new("empty", b"")?;
        // SAFETY: as above.
        unsafe { Module::deserialize_open_file(&w.engine, std::fs::File::open(&file.0)?) }.map(drop)
    }),
    ("Module::deserialize_open_file_start", "more than there is", |w| {
        let file = Scratch::new("short", b"short")?;
        // SAFETY: as above.
        unsafe { Module::deserialize_open_file_start(&w.engine, std::fs::File::open(&file.0)?, 6) }.map(drop)
    }),
    ("Module::deserialize_open_file_start", "only a part of it", |w| {
        let bytes = w.module.serialize()?;
        let file = Scratch::new("part", &bytes)?;
        let len = bytes.len() as u64 - 4096;
        // SAFETY: as above.
        unsafe { Module::deserialize_open_file_start(&w.engine, std::fs::File::open(&file.0)?, len) }
            .map(drop)
            .map_err(|error| {
                Error::new(error.kind(), error.to_string().split(": ").next().unwrap_or_default())
            })
    }),
    ("Module::from_binary", "text", |w| Module::from_binary(&w.engine, b"(module)").map(drop)),
    ("Module::from_file", "no such file", |w| Module::from_file(&w.engine, "/nowhere/x.wasm").map(drop)),
    ("Module::from_file", "not a module", |w| {
        let file = Scratch::new("wasm", INVALID)?;
        bare(Module::from_file(&w.engine, &file.0))
    }),
    ("Module::new", "cut", |w| Module::new(&w.engine, INVALID).map(drop)),
    ("Module::new", "not valid", |w| Module::new(&w.engine, UNTRUE).map(drop)),
    ("Module::new", "needs what is not there", |w| {
        Module::new(&w.engine, "(module (memory i64 1))").map(drop)
    }),
    ("Module::new_watched", "cut", |w| Module::new_watched(&w.engine, INVALID, &()).map(drop)),
    ("Module::validate", "not valid", |w| Module::validate(&w.engine, UNTRUE)),
    ("RawVal::to_val", "a function", |w| RawVal::new(4096).to_val(&mut w.store, ValType::FuncRef).map(drop)),
    ("Rooted::data", "after its scope", |w| stale(w)?.data(&w.store).map(drop)),
    ("Rooted::to_owned", "after its scope", |w| stale(w)?.to_owned(&w.store).map(drop)),
    ("Rooted::new", "kept by a host function", |w| {
        let (send, receive) = std::sync::mpsc::sync_channel(1);
        let func = Func::wrap(&mut w.store, move |mut caller: Caller<'_, ()>| -> Result<()> {
            Ok(send.send(Rooted::new(&mut caller, 1u8)?)?)
        })?;
        func.call(&mut w.store, &[], &mut [])?;
        receive.recv()?.data(&w.store).map(drop)
    }),
    ("Table::copy", "across the end", |w| Table::copy(&mut w.store, w.table, 1, w.table, 0, 2)),
    ("Table::copy", "beyond any number", |w| {
        Table::copy(&mut w.store, w.table, u64::MAX, w.table, u64::MAX, u64::MAX)
    }),
    ("Table::copy", "of another type", |w| Table::copy(&mut w.store, w.table, 0, w.externs, 0, 1)),
    ("Table::fill", "across the end", |w| w.table.fill(&mut w.store, 1, Val::FuncRef(None), 2)),
    ("Table::fill", "beyond any number", |w| {
        w.table.fill(&mut w.store, u64::MAX, Val::FuncRef(None), u64::MAX)
    }),
    ("Table::fill", "value of a wrong type", |w| w.table.fill(&mut w.store, 0, 1.into(), 1)),
    ("Table::get", "outside", |w| w.table.get(&mut w.store, 2).map(drop)),
    ("Table::get", "beyond any number", |w| w.table.get(&mut w.store, u64::MAX).map(drop)),
    ("Table::grow", "beyond its maximum", |w| w.table.grow(&mut w.store, 3, Val::FuncRef(None)).map(drop)),
    ("Table::grow", "beyond any number", |w| {
        w.table.grow(&mut w.store, u64::MAX, Val::FuncRef(None)).map(drop)
    }),
    ("Table::grow", "value of a wrong type", |w| {
        w.table.grow(&mut w.store, 1, Val::ExternRef(None)).map(drop)
    }),
    ("Table::new", "minimum above maximum", |w| {
        Table::new(&mut w.store, TableType::new(RefType::Func, 2, Some(1)), Val::FuncRef(None)).map(drop)
    }),
    ("Table::new", "more than there is room for", |w| {
        Table::new(&mut w.store, TableType::new(RefType::Func, u64::MAX, None), Val::FuncRef(None)).map(drop)
    }),
    ("Table::new", "value of a wrong type", |w| {
        Table::new(&mut w.store, TableType::new(RefType::Func, 1, None), Val::ExternRef(None)).map(drop)
    }),
    ("Table::new", "too many", |w| {
        let mut store = w.limited(|limits| limits.tables(0));
        Table::new(&mut store, TableType::new(RefType::Func, 1, None), Val::FuncRef(None)).map(drop)
    }),
    ("Table::set", "outside", |w| w.table.set(&mut w.store, 2, Val::FuncRef(None))),
    ("Table::set", "value of a wrong type", |w| w.table.set(&mut w.store, 0, Val::ExternRef(None))),
];

/// Which of the names comes first is the hash map's business.
fn either(error: Error) -> Error {
    let text = error.to_string().replace("`h::memory`", "`h::f`");
    Error::new(error.kind(), text)
}

/// A root whose scope has ended.
fn stale(w: &mut World) -> Result<Rooted> {
    Rooted::new(&mut RootScope::new(&mut w.store), 1u8)
}

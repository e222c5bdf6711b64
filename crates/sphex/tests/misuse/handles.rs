//! One row for each method that takes a store and a handle.

use std::pin::pin;
use std::task::{Context, Poll, Waker};

use sphex::{
    Engine, Extern, ExternRef, Func, Global, GlobalType, Instance, InstancePre, Linker, Memory, Module,
    RefType, Result, Rooted, Store, StoreContextMut, Table, TableType, TypedFunc, Val, ValType,
};

/// One handle of each kind, all of one store, and what refers to them.
pub struct Things {
    engine: Engine,
    instance: Instance,
    func: Func,
    typed: TypedFunc<Option<Func>, Option<Func>>,
    memory: Memory,
    table: Table,
    global: Global,
    rooted: Rooted,
    module: Module,
    /// Imports `func memory table global`.
    importer: Module,
    linker: Linker<()>,
    pre: InstancePre<()>,
}

impl Things {
    pub fn new(store: &mut Store<()>) -> Result<Things> {
        let engine = store.engine().clone();
        let module = Module::new(
            &engine,
            r#"(module (memory (export "memory") 1 9) (table (export "table") 4 90 funcref)
                (global (export "global") (mut funcref) (ref.null func))
                (func (export "func") (param funcref) (result funcref) (local.get 0)))"#,
        )?;
        let importer = Module::new(
            &engine,
            r#"(module (import "h" "memory" (memory 1 9)) (import "h" "table" (table 1 90 funcref))
                (import "h" "global" (global (mut funcref)))
                (import "h" "func" (func (param funcref) (result funcref))))"#,
        )?;
        let instance = Instance::new(&mut *store, &module, &[])?;
        let func = instance.get_func(&mut *store, "func")?;
        let mut linker = Linker::new(&engine);
        linker.instance(&mut *store, "h", instance)?;
        linker.define(&*store, "start", "", func)?;
        Ok(Things {
            instance,
            func,
            typed: func.typed(&*store)?,
            memory: instance.get_memory(&mut *store, "memory")?,
            table: instance.get_table(&mut *store, "table")?,
            global: instance.get_global(&mut *store, "global")?,
            rooted: Rooted::new(store, 5u32)?,
            pre: linker.instantiate_pre(&importer)?,
            engine,
            module,
            importer,
            linker,
        })
    }

    fn imports(&self) -> [Extern; 4] {
        [self.memory.into(), self.table.into(), self.global.into(), self.func.into()]
    }
}

type Run = fn(&Things, StoreContextMut<'_, ()>) -> Result<()>;

const NULL: Val = Val::FuncRef(None);

/// Each is right with the things' own store, and an error with any other.
pub const METHODS: &[(&str, Run)] = &[
    ("Extern::ty", |t, s| Extern::from(t.memory).ty(s).map(drop)),
    ("Extern::host_info", |t, s| Extern::from(t.func).host_info(&s).map(drop)),
    ("Extern::set_host_info", |t, s| Extern::from(t.table).set_host_info(s, None).map(drop)),
    ("ExternRef::root", |t, mut s| ExternRef::new(1).root(&mut s).and(t.rooted.data(&s).map(drop))),
    ("Func::call", |t, s| t.func.call(s, &[NULL], &mut [NULL])),
    ("Func::call (argument)", |t, mut s| id(&mut s)?.call(s, &[t.func.into()], &mut [NULL])),
    ("Func::call_async", |t, s| now(t.func.call_async(s, &[NULL], &mut [NULL]))),
    ("Func::call_values", |t, s| t.func.call_values(s, &[NULL]).map(drop)),
    ("Func::call_values (argument)", |t, mut s| id(&mut s)?.call_values(s, &[t.func.into()]).map(drop)),
    ("Func::call_unchecked", |t, mut s| {
        let null = NULL.to_raw(&mut s)?;
        // SAFETY: one null of the parameter's type.
        unsafe { t.func.call_unchecked(s, &mut [null]) }
    }),
    ("Func::new (result)", |t, mut s| {
        let (ty, func) = (t.func.ty(&s).or_else(|_| id(&mut s)?.ty(&s))?, t.func);
        let host = Func::new(&mut s, ty, move |_, _, results| {
            results[0] = func.into();
            Ok(())
        })?;
        host.call(s, &[NULL], &mut [NULL])
    }),
    ("Func::wrap (result)", |t, mut s| {
        let func = t.func;
        Func::wrap(&mut s, move || Some(func))?.call(s, &[], &mut [NULL])
    }),
    ("Func::to_raw", |t, s| t.func.to_raw(s).map(drop)),
    ("Func::ty", |t, s| t.func.ty(s).map(drop)),
    ("Func::typed", |t, s| t.func.typed::<Option<Func>, Option<Func>>(s).map(drop)),
    ("Global::get", |t, s| t.global.get(s).map(drop)),
    ("Global::new (value)", |t, s| {
        Global::new(s, GlobalType::new(ValType::FuncRef, false), t.func.into()).map(drop)
    }),
    ("Global::set", |t, s| t.global.set(s, NULL)),
    ("Global::set (value)", |t, mut s| {
        let global = Global::new(&mut s, GlobalType::new(ValType::FuncRef, true), NULL)?;
        global.set(s, t.func.into())
    }),
    ("Global::ty", |t, s| t.global.ty(s).map(drop)),
    ("Instance::exports", |t, s| t.instance.exports(s).map(drop)),
    ("Instance::get_export", |t, s| t.instance.get_export(s, "func").map(drop)),
    ("Instance::get_func", |t, s| t.instance.get_func(s, "func").map(drop)),
    ("Instance::get_global", |t, s| t.instance.get_global(s, "global").map(drop)),
    ("Instance::get_memory", |t, s| t.instance.get_memory(s, "memory").map(drop)),
    ("Instance::get_module_export", |t, s| {
        let export = t.module.get_export_index("memory").expect("an export");
        t.instance.get_module_export(s, &export).map(drop)
    }),
    ("Instance::get_table", |t, s| t.instance.get_table(s, "table").map(drop)),
    ("Instance::get_typed_func", |t, s| {
        t.instance.get_typed_func::<Option<Func>, Option<Func>>(s, "func").map(drop)
    }),
    ("Instance::host_info", |t, s| t.instance.host_info(&s).map(drop)),
    ("Instance::module", |t, s| t.instance.module(s).map(drop)),
    ("Instance::new", |t, s| Instance::new(s, &t.importer, &t.imports()).map(drop)),
    ("Instance::new_async", |t, s| now(Instance::new_async(s, &t.importer, &t.imports())).map(drop)),
    ("Instance::set_host_info", |t, s| t.instance.set_host_info(s, None).map(drop)),
    ("InstancePre::instantiate", |t, s| t.pre.instantiate(s).map(drop)),
    ("InstancePre::instantiate_async", |t, s| now(t.pre.instantiate_async(s)).map(drop)),
    ("Linker::instantiate_async", |t, s| now(t.linker.instantiate_async(s, &t.importer)).map(drop)),
    ("Linker::define", |t, s| Linker::new(&t.engine).define(s, "a", "b", t.memory).map(drop)),
    ("Linker::define_unknown_imports_as_defaults", |t, mut s| {
        let mut linker = t.linker.clone();
        linker.define_unknown_imports_as_defaults(&mut s, &t.importer)?.instantiate(s, &t.importer).map(drop)
    }),
    ("Linker::definitions", |t, s| t.linker.definitions(s).map(drop)),
    ("Linker::get", |t, s| t.linker.get(s, "h", "memory").map(drop)),
    ("Linker::get_default", |t, s| t.linker.get_default(s, "start").map(drop)),
    ("Linker::instance", |t, s| Linker::new(&t.engine).instance(s, "a", t.instance).map(drop)),
    ("Linker::instantiate", |t, s| t.linker.instantiate(s, &t.importer).map(drop)),
    ("Linker::module", |t, s| t.linker.clone().module(s, "a", &t.importer).map(drop)),
    ("Memories::get", |t, mut s| s.split().1.get(t.memory).map(drop)),
    ("Memories::get_mut", |t, mut s| s.split().1.get_mut(t.memory).map(drop)),
    ("Memory::data", |t, s| t.memory.data(&s).map(drop)),
    ("Memory::data_and_store_mut", |t, mut s| t.memory.data_and_store_mut(&mut s).map(drop)),
    ("Memory::data_mut", |t, mut s| t.memory.data_mut(&mut s).map(drop)),
    ("Memory::data_ptr", |t, s| t.memory.data_ptr(s).map(drop)),
    ("Memory::data_size", |t, s| t.memory.data_size(s).map(drop)),
    ("Memory::grow", |t, s| t.memory.grow(s, 1).map(drop)),
    ("Memory::page_size", |t, s| t.memory.page_size(s).map(drop)),
    ("Memory::read", |t, s| t.memory.read(s, 0, &mut [0])),
    ("Memory::shared", |t, s| t.memory.shared(s).map(drop)),
    ("Memory::size", |t, s| t.memory.size(s).map(drop)),
    ("Memory::ty", |t, s| t.memory.ty(s).map(drop)),
    ("Memory::write", |t, s| t.memory.write(s, 0, &[0])),
    ("Rooted::data", |t, s| t.rooted.data(&s).map(drop)),
    ("Rooted::ref_eq", |t, s| Rooted::ref_eq(s, &t.rooted, &t.rooted).map(drop)),
    ("Rooted::to_owned", |t, s| t.rooted.to_owned(s).map(drop)),
    ("Rooted (argument)", |t, mut s| {
        let host = Func::wrap(&mut s, |_: Option<Rooted>| ())?;
        host.typed::<Option<Rooted>, ()>(&s)?.call(s, Some(t.rooted))
    }),
    ("Table::copy", |t, s| Table::copy(s, t.table, 0, t.table, 1, 1)),
    ("Table::copy (from)", |t, mut s| {
        let mine = table(&mut s)?;
        Table::copy(s, mine, 0, t.table, 0, 1)
    }),
    ("Table::copy (to)", |t, mut s| {
        let mine = table(&mut s)?;
        Table::copy(s, t.table, 0, mine, 0, 1)
    }),
    ("Table::fill", |t, s| t.table.fill(s, 0, NULL, 1)),
    ("Table::fill (value)", |t, mut s| table(&mut s)?.fill(s, 0, t.func.into(), 1)),
    ("Table::get", |t, s| t.table.get(s, 0).map(drop)),
    ("Table::grow", |t, s| t.table.grow(s, 1, NULL).map(drop)),
    ("Table::grow (value)", |t, mut s| table(&mut s)?.grow(s, 1, t.func.into()).map(drop)),
    ("Table::new (value)", |t, s| {
        Table::new(s, TableType::new(RefType::Func, 1, None), t.func.into()).map(drop)
    }),
    ("Table::set", |t, s| t.table.set(s, 0, NULL)),
    ("Table::set (value)", |t, mut s| table(&mut s)?.set(s, 0, t.func.into())),
    ("Table::size", |t, s| t.table.size(s).map(drop)),
    ("Table::ty", |t, s| t.table.ty(s).map(drop)),
    ("TypedFunc::call", |t, s| t.typed.call(s, None).map(drop)),
    ("TypedFunc::call_async", |t, s| now(t.typed.call_async(s, None)).map(drop)),
    ("TypedFunc::call (argument)", |t, mut s| {
        id(&mut s)?.typed::<Option<Func>, Option<Func>>(&s)?.call(s, Some(t.func)).map(drop)
    }),
    ("Val::to_raw", |t, s| Val::from(t.func).to_raw(s).map(drop)),
];

/// The output of a future that need not wait.
pub fn now<F: Future>(future: F) -> F::Output {
    let mut context = Context::from_waker(Waker::noop());
    match pin!(future).poll(&mut context) {
        Poll::Ready(output) => output,
        Poll::Pending => panic!("a future that waits"),
    }
}

/// A function of this store that gives back what it gets.
fn id(s: &mut StoreContextMut<'_, ()>) -> Result<Func> {
    Func::wrap(s, |func: Option<Func>| func)
}

fn table(s: &mut StoreContextMut<'_, ()>) -> Result<Table> {
    Table::new(s, TableType::new(RefType::Func, 2, Some(4)), NULL)
}

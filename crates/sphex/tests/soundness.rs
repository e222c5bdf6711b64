//! Safe code cannot break the runtime: other stores, other engines, other threads, drops, re-entrancy.
#![cfg(feature = "compiler")]

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use sphex::{
    AsContextMut, Caller, Config, Engine, Error, ErrorKind, ExternRef, Func, FuncType, Instance, Linker,
    Memory, MemoryType, Module, RefType, Result, Store, Table, TableType, Trap, Val, ValType,
};

fn engines() -> [Engine; 2] {
    let mut checked = Config::new();
    checked.compile.memory_reservation = 0;
    [Engine::default(), Engine::new(&checked).unwrap()]
}

/// References that wasm holds survive a collection that a host function causes from another thread's stack.
#[test]
fn a_host_function_lends_its_store_to_another_thread() {
    for engine in engines() {
        let module = Module::new(
            &engine,
            r#"(module (import "h" "make" (func $make (param i32) (result externref)))
                (import "h" "value" (func $value (param externref) (result i32)))
                (import "h" "elsewhere" (func $elsewhere (param externref)))
                (func (export "churn") (param i32)
                    (loop $l (drop (call $make (local.get 0)))
                        (br_if $l (local.tee 0 (i32.sub (local.get 0) (i32.const 1))))))
                (func (export "f") (param i32) (result i32) (local $kept externref)
                    (local.set $kept (call $make (local.get 0)))
                    (call $elsewhere (local.get $kept))
                    (call $value (local.get $kept))))"#,
        )
        .unwrap();
        let mut linker: Linker<u32> = Linker::new(&engine);
        linker.func_wrap("h", "make", |n: i32| Some(ExternRef::new(n))).unwrap();
        let value = |r: Option<ExternRef>| r.and_then(|r| r.downcast_ref::<i32>().copied()).unwrap_or(-1);
        linker.func_wrap("h", "value", value).unwrap();
        let elsewhere = |mut caller: Caller<'_, u32>, _: Option<ExternRef>| -> Result<()> {
            let instance = caller.instance().ok_or_else(|| Error::msg("no instance"))?;
            std::thread::scope(|scope| {
                let thread = scope.spawn(|| -> Result<()> {
                    *caller.data_mut() += 1;
                    if *caller.data() < 4 {
                        let f = instance.get_typed_func::<i32, i32>(&mut caller, "f")?;
                        assert_eq!(f.call(&mut caller, 77)?, 77);
                    }
                    let churn = instance.get_typed_func::<i32, ()>(&mut caller, "churn")?;
                    churn.call(&mut caller, 40_000)
                });
                thread.join().unwrap()
            })
        };
        linker.func_wrap("h", "elsewhere", elsewhere).unwrap();
        let mut store = Store::new(&engine, 0);
        let instance = linker.instantiate(&mut store, &module).unwrap();
        let f = instance.get_typed_func::<i32, i32>(&mut store, "f").unwrap();
        assert_eq!(f.call(&mut store, 1234).unwrap(), 1234);
        assert_eq!(*store.data(), 4);
        assert!(store.externref_count() < 40_000);
    }
}

#[test]
fn a_linker_gives_nothing_to_another_engine() {
    let [a, b] = engines();
    // The same number of a function type means different types in the two engines.
    Module::new(&b, "(module (type (func (param externref) (result i64))))").unwrap();
    let mut linker: Linker<()> = Linker::new(&a);
    linker.func_wrap("h", "f", |x: i32| x).unwrap();
    let mut here = Store::new(&a, ());
    let mut there = Store::new(&b, ());
    assert!(linker.get(&mut here, "h", "f").is_ok());
    assert_eq!(linker.get(&mut there, "h", "f").unwrap_err().kind(), ErrorKind::WrongStore);
    let module = Module::new(&a, r#"(module (import "h" "f" (func (param i32) (result i32))))"#).unwrap();
    assert_eq!(linker.instantiate(&mut there, &module).unwrap_err().kind(), ErrorKind::WrongStore);
    let elsewhere = Module::new(&b, r#"(module (import "h" "f" (func (param i32) (result i32))))"#).unwrap();
    assert_eq!(linker.instantiate(&mut there, &elsewhere).unwrap_err().kind(), ErrorKind::WrongStore);
    assert_eq!(linker.instantiate(&mut here, &elsewhere).unwrap_err().kind(), ErrorKind::WrongStore);
}

#[test]
fn handles_of_another_store_are_refused() {
    for engine in engines() {
        let mut a = Store::new(&engine, ());
        let mut b = Store::new(&engine, ());
        let wat = r#"(module (memory (export "m") 1) (table (export "t") 1 funcref)
        (func (export "f") (param funcref) (result funcref) (local.get 0)))"#;
        let module = Module::new(&engine, wat).unwrap();
        let mine = Instance::new(&mut a, &module, &[]).unwrap();
        let other = Instance::new(&mut b, &module, &[]).unwrap();
        let wrong = |result: Result<()>| assert_eq!(result.unwrap_err().kind(), ErrorKind::WrongStore);
        let f = mine.get_func(&mut a, "f").unwrap();
        let typed = f.typed::<Option<Func>, Option<Func>>(&a).unwrap();
        let theirs = other.get_func(&mut b, "f").unwrap();
        let typed_theirs = theirs.typed::<Option<Func>, Option<Func>>(&b).unwrap();
        // The handle, and a handle among the arguments, of every kind of call.
        wrong(f.call(&mut b, &[Val::FuncRef(None)], &mut [Val::FuncRef(None)]));
        wrong(f.call(&mut a, &[Val::FuncRef(Some(theirs))], &mut [Val::FuncRef(None)]));
        wrong(typed.call(&mut b, None).map(drop));
        wrong(typed_theirs.call(&mut b, Some(f)).map(drop));
        let table = mine.get_table(&mut a, "t").unwrap();
        wrong(table.set(&mut a, 0, theirs.into()));
        wrong(table.set(&mut b, 0, theirs.into()));
        let ty = TableType { element: RefType::Func, minimum: 1, maximum: None, table64: false };
        wrong(Table::new(&mut a, ty, theirs.into()).map(drop));
        // A host function that returns a function of another store.
        let leak = Func::wrap(&mut a, move || Some(theirs)).unwrap();
        wrong(leak.call(&mut a, &[], &mut [Val::FuncRef(None)]));
        let ty = FuncType::new([], [ValType::FuncRef]);
        let leak = Func::new(&mut a, ty, move |_, _, results| {
            results[0] = theirs.into();
            Ok(())
        });
        wrong(leak.unwrap().call(&mut a, &[], &mut [Val::FuncRef(None)]));
        assert_eq!(typed.call(&mut a, Some(f)).unwrap(), Some(f));
    }
}

/// Everything may be dropped but the store.
#[test]
fn a_store_needs_nothing_else() {
    struct Counted(Arc<AtomicUsize>);
    impl Drop for Counted {
        fn drop(&mut self) {
            self.0.fetch_add(1, Ordering::SeqCst);
        }
    }
    let dropped = Arc::new(AtomicUsize::new(0));
    for (round, engine) in engines().into_iter().enumerate() {
        let mut store = Store::new(&engine, ());
        let f = {
            let mut linker: Linker<()> = Linker::new(&engine);
            let counted = Counted(dropped.clone());
            linker.func_wrap("h", "f", move |x: i32| x + counted.0.load(Ordering::SeqCst) as i32).unwrap();
            let wat = r#"(module (import "h" "f" (func $f (param i32) (result i32))) (memory 1)
                (func (export "g") (param i32) (result i32) (i32.add (call $f (local.get 0))
                    (i32.load (local.get 0)))))"#;
            let module = Module::new(&engine, wat).unwrap();
            let instance = linker.instantiate(&mut store, &module).unwrap();
            instance.get_typed_func::<i32, i32>(&mut store, "g").unwrap()
        };
        drop(engine);
        assert_eq!(f.call(&mut store, 5).unwrap(), 5 + round as i32);
        let error = f.call(&mut store, -1).unwrap_err();
        assert_eq!(error.trap(), Some(Trap::MemoryOutOfBounds));
        drop(store);
        assert_eq!(dropped.load(Ordering::SeqCst), round + 1);
        // A backtrace keeps its code.
        assert!(format!("{error:#}").contains("!g"), "{error:#}");
    }
}

/// A host function grows the memory that its caller runs on, and the memory moves.
#[test]
fn memories_grow_and_move_under_running_wasm() {
    for engine in engines() {
        let mut store = Store::new(&engine, ());
        let ty = MemoryType { minimum: 1, maximum: None, shared: false, memory64: false, page_size_log2: 16 };
        let memory = Memory::new(&mut store, ty).unwrap();
        let grow = Func::wrap(&mut store, move |mut caller: Caller<'_, ()>, pages: u32| -> Result<u32> {
            let old = memory.grow(&mut caller, u64::from(pages))?;
            memory.data_mut(&mut caller)?[70_000] = 9;
            Ok(old as u32)
        });
        let wat = r#"(module (import "h" "m" (memory 1)) (import "h" "grow" (func $grow (param i32) (result i32)))
            (func (export "f") (result i32)
                (i32.store (i32.const 100) (i32.const 5))
                (drop (call $grow (i32.const 200)))
                (i32.store (i32.const 8000000) (i32.const 1))
                (i32.add (i32.load (i32.const 100)) (i32.load8_u (i32.const 70000)))))"#;
        let module = Module::new(&engine, wat).unwrap();
        let instance = Instance::new(&mut store, &module, &[memory.into(), grow.unwrap().into()]).unwrap();
        let f = instance.get_typed_func::<(), i32>(&mut store, "f").unwrap();
        assert_eq!(f.call(&mut store, ()).unwrap(), 14);
        assert_eq!(memory.data(&store).unwrap()[8_000_000], 1);
        assert_eq!(memory.size(store.as_context_mut()).unwrap(), 201);
    }
}

/// A panic passes through nested wasm, and leaves a store that works.
#[test]
fn panics_unwind_nested_entries() {
    for engine in engines() {
        let module = Module::new(
        &engine,
        r#"(module (import "h" "f" (func $f (param i32))) (func (export "g") (param i32) (call $f (local.get 0))))"#,
    )
    .unwrap();
        let mut linker: Linker<u32> = Linker::new(&engine);
        linker
            .func_wrap("h", "f", |mut caller: Caller<'_, u32>, n: i32| -> Result<()> {
                *caller.data_mut() += 1;
                match n {
                    0 => panic!("at the bottom"),
                    100 => Ok(()),
                    n => {
                        let instance = caller.instance().ok_or_else(|| Error::msg("no instance"))?;
                        instance.get_typed_func::<i32, ()>(&mut caller, "g")?.call(&mut caller, n - 1)
                    }
                }
            })
            .unwrap();
        let mut store = Store::new(&engine, 0);
        let instance = linker.instantiate(&mut store, &module).unwrap();
        let g = instance.get_typed_func::<i32, ()>(&mut store, "g").unwrap();
        for round in 1..4 {
            let call = std::panic::AssertUnwindSafe(|| g.call(&mut store, 5));
            assert!(std::panic::catch_unwind(call).is_err());
            g.call(&mut store, 100).unwrap();
            assert_eq!(*store.data(), round * 7);
        }
    }
}

/// A host function of one store runs another store, whose wasm traps; then its own wasm goes on, and traps too.
#[test]
fn stores_run_inside_each_other() {
    for engine in engines() {
        let wat = r#"(module (import "h" "f" (func $f (param i32) (result i32))) (memory 1)
            (func $inside (export "g") (param i32) (result i32)
                (i32.add (call $f (local.get 0)) (i32.load (local.get 0)))))"#;
        let module = Module::new(&engine, wat).unwrap();
        let mut linker: Linker<Option<Box<Store<()>>>> = Linker::new(&engine);
        let mut inner: Linker<()> = Linker::new(&engine);
        inner.func_wrap("h", "f", |x: i32| x).unwrap();
        let again = module.clone();
        let nested = move |mut caller: Caller<'_, Option<Box<Store<()>>>>, n: i32| -> Result<i32> {
            let mut store = caller.data_mut().take().ok_or_else(|| Error::msg("no store"))?;
            let instance = inner.instantiate(&mut *store, &again)?;
            let g = instance.get_typed_func::<i32, i32>(&mut *store, "g")?;
            let error = g.call(&mut *store, -1).unwrap_err();
            assert_eq!(error.trap(), Some(Trap::MemoryOutOfBounds));
            assert_eq!(error.backtrace().unwrap().frames().len(), 1);
            let value = g.call(&mut *store, n.max(0))?;
            *caller.data_mut() = Some(store);
            Ok(value)
        };
        linker.func_wrap("h", "f", nested).unwrap();
        let mut store = Store::new(&engine, Some(Box::new(Store::new(&engine, ()))));
        let instance = linker.instantiate(&mut store, &module).unwrap();
        let g = instance.get_typed_func::<i32, i32>(&mut store, "g").unwrap();
        assert_eq!(g.call(&mut store, 40).unwrap(), 40);
        let error = g.call(&mut store, -1).unwrap_err();
        assert_eq!(error.trap(), Some(Trap::MemoryOutOfBounds));
        assert_eq!(error.backtrace().unwrap().frames().len(), 1);
        assert_eq!(g.call(&mut store, 7).unwrap(), 7);
    }
}

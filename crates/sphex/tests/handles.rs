//! Handles, references, names: equality, host information, scopes of roots, places of exports, weak engines.
#![cfg(feature = "compiler")]
#![allow(unsafe_code)]

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::task::{Context, Poll, Waker};

use sphex::{
    AsContextMut, Caller, Config, Engine, ErrorKind, Extern, ExternRef, Func, Global, GlobalType, Instance,
    Linker, Memory, MemoryType, Module, RawVal, RefType, Result, RootScope, Rooted, Store, Table, TableType,
    Val, ValType,
};

/// Counts its drops.
struct Counted(Arc<AtomicU32>);

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.fetch_add(1, Ordering::SeqCst);
    }
}

#[test]
fn equal_handles_are_one_thing() {
    let engine = Engine::default();
    let mut store = Store::new(&engine, ());
    let wat = r#"(module (import "h" "f" (func $f)) (import "h" "m" (memory 1)) (import "h" "t" (table 1 funcref))
        (import "h" "g" (global $g (mut i32))) (global $own (export "own") i32 (i32.const 1))
        (export "f" (func $f)) (export "m" (memory 0)) (export "t" (table 0)) (export "g" (global $g))
        (func $h (export "h")) (func $other (export "other")) (elem (offset (i32.const 0)) $h))"#;
    let module = Module::new(&engine, wat).unwrap();
    let things: [Extern; 4] = [
        Func::wrap(&mut store, || ()).unwrap().into(),
        Memory::new(&mut store, MemoryType::new(1, None)).unwrap().into(),
        Table::new(&mut store, TableType::new(RefType::Func, 1, None), Val::FuncRef(None)).unwrap().into(),
        Global::new(&mut store, GlobalType::new(ValType::I32, true), 1.into()).unwrap().into(),
    ];
    let instance = Instance::new(&mut store, &module, &things).unwrap();
    for (name, thing) in ["f", "m", "t", "g"].into_iter().zip(things) {
        assert_eq!(instance.get_export(&mut store, name).unwrap(), thing, "{name}");
        let place = module.get_export_index(name).unwrap();
        assert_eq!(instance.get_module_export(&mut store, &place).unwrap(), thing);
    }
    let h = instance.get_func(&mut store, "h").unwrap();
    let table = instance.get_table(&mut store, "t").unwrap();
    assert_eq!(table.get(&mut store, 0).unwrap().func_ref(), Some(Some(h)));
    assert_ne!(instance.get_func(&mut store, "other").unwrap(), h);
    let own = instance.get_global(&mut store, "own").unwrap();
    assert_eq!(instance.get_global(&mut store, "own").unwrap(), own);
    let second = Instance::new(&mut store, &module, &things).unwrap();
    assert_ne!(second.get_func(&mut store, "h").unwrap(), h);
    assert_ne!(second, instance);
    // A raw reference is the same function again.
    let raw = h.to_raw(&store).unwrap();
    // SAFETY: made by `to_raw` of this store.
    assert_eq!(unsafe { Func::from_raw(&mut store, raw) }, Some(h));
    let null = Val::FuncRef(None).to_raw(&mut store).unwrap();
    // SAFETY: as above.
    assert_eq!(unsafe { Func::from_raw(&mut store, null) }, None);
}

#[test]
fn host_information_goes_with_the_thing() {
    let drops = Arc::new(AtomicU32::new(0));
    let engine = Engine::default();
    let mut store = Store::new(&engine, ());
    let module = Module::new(&engine, r#"(module (func (export "f")) (memory (export "m") 1))"#).unwrap();
    let instance = Instance::new(&mut store, &module, &[]).unwrap();
    let (f, m) = (instance.get_export(&mut store, "f"), instance.get_export(&mut store, "m"));
    let (f, m) = (f.unwrap(), m.unwrap());
    assert!(f.host_info(&store).unwrap().is_none());
    assert!(f.set_host_info(&mut store, Some(Box::new(7u32))).unwrap().is_none());
    assert!(instance.set_host_info(&mut store, Some(Box::new(Counted(drops.clone())))).unwrap().is_none());
    let again = instance.get_export(&mut store, "f").unwrap();
    assert_eq!(again.host_info(&store).unwrap().unwrap().downcast_ref::<u32>(), Some(&7));
    assert!(m.host_info(&store).unwrap().is_none());
    assert!(instance.host_info(&store).unwrap().unwrap().is::<Counted>());
    let old = f.set_host_info(&mut store, None).unwrap().unwrap();
    assert_eq!(old.downcast_ref::<u32>(), Some(&7));
    assert_eq!(drops.load(Ordering::SeqCst), 0);
    drop(store);
    assert_eq!(drops.load(Ordering::SeqCst), 1);
}

#[test]
fn roots_last_as_long_as_their_scope() -> Result<()> {
    let drops = Arc::new(AtomicU32::new(0));
    let engine = Engine::default();
    let mut store: Store<Option<Rooted>> = Store::new(&engine, None);
    let module = Module::new(
        &engine,
        r#"(module (import "h" "keep" (func $keep (param externref) (result externref)))
            (func (export "f") (param externref) (result externref) (call $keep (local.get 0))))"#,
    )?;
    let mut linker = Linker::new(&engine);
    linker.func_wrap("h", "keep", |mut caller: Caller<'_, Option<Rooted>>, r: Option<Rooted>| {
        // It works here, whatever is collected, and is gone when we have returned.
        *caller.data_mut() = r;
        caller.as_context_mut().gc();
        assert!(r.unwrap().data(&caller).unwrap().is::<Counted>());
        r
    })?;
    let instance = linker.instantiate(&mut store, &module)?;
    let f = instance.get_typed_func::<Option<Rooted>, Option<Rooted>>(&mut store, "f")?;
    let kept = {
        let mut scope = RootScope::new(&mut store);
        let root = Rooted::new(&mut scope, Counted(drops.clone()))?;
        let again = f.call(&mut scope, Some(root))?.unwrap();
        assert_ne!(again, root);
        assert!(Rooted::ref_eq(&scope, &again, &root)?);
        // Wasm's slot was used again, and nothing else was made.
        assert_eq!(scope.as_context_mut().externref_count(), 1);
        scope.as_context_mut().gc();
        assert!(root.data(&scope)?.is::<Counted>());
        root
    };
    let inside = store.data().unwrap();
    for stale in [kept, inside] {
        assert_eq!(stale.data(&store).unwrap_err().kind(), ErrorKind::Unrooted);
        assert_eq!(f.call(&mut store, Some(stale)).unwrap_err().kind(), ErrorKind::Unrooted);
    }
    store.gc();
    assert_eq!((store.externref_count(), drops.load(Ordering::SeqCst)), (0, 1));
    // An entry of the same place does not bring the old one back.
    let fresh = ExternRef::new(Counted(drops.clone())).root(&mut store)?;
    assert_eq!(kept.to_owned(&store).unwrap_err().kind(), ErrorKind::Unrooted);
    let owned = fresh.to_owned(&store)?;
    drop(store);
    assert_eq!(drops.load(Ordering::SeqCst), 1);
    drop(owned);
    assert_eq!(drops.load(Ordering::SeqCst), 2);
    Ok(())
}

#[test]
fn raw_values_cross_and_come_back() {
    let engine = Engine::default();
    let mut store = Store::new(&engine, ());
    let wat = r#"(module (func (export "f") (param i32 i64 f32 f64 externref) (result externref f64)
        (local.get 4) (f64.add (local.get 3) (f64.promote_f32 (local.get 2)))))"#;
    let module = Module::new(&engine, wat).unwrap();
    let instance = Instance::new(&mut store, &module, &[]).unwrap();
    let f = instance.get_func(&mut store, "f").unwrap();
    let held = Val::from(ExternRef::new("held"));
    let mut values = [1.into(), 2i64.into(), 1.5f32.into(), 2.25f64.into(), held.to_raw(&mut store).unwrap()];
    // SAFETY: of the function's types; the reference is of this store and was just made.
    unsafe { f.call_unchecked(&mut store, &mut values).unwrap() };
    assert_eq!(values[1].f64(), 3.75);
    let back = values[0].to_val(&mut store, ValType::ExternRef).unwrap();
    assert_eq!(back.extern_ref().unwrap().unwrap().downcast_ref::<&str>(), Some(&"held"));
    assert!(values[0].is_extern(&store) && !RawVal::from(3).is_extern(&store));
    assert_eq!(values[0].to_val(&mut store, ValType::FuncRef).unwrap_err().kind(), ErrorKind::Type);
}

/// More parameters and results than there are registers, of every type, in and out of a host function of raw values.
#[test]
fn host_functions_of_raw_values() {
    let engine = Engine::default();
    let mut store = Store::new(&engine, 0u32);
    let wat = r#"(module
        (type $t (func (param i32 i64 f32 f64 externref funcref i32 i32 i32 i32)
            (result funcref i32 f32 f64 i64 externref i32 i32 i32 i32 i32)))
        (import "h" "f" (func $f (type $t))) (func (export "run") (type $t)
            (call $f (local.get 0) (local.get 1) (local.get 2) (local.get 3) (local.get 4) (local.get 5) (local.get 6)
                (local.get 7) (local.get 8) (local.get 9))))"#;
    let module = Module::new(&engine, wat).unwrap();
    let ty = module.imports().next().unwrap().ty.func().unwrap().clone();
    let host = |mut caller: Caller<'_, u32>, values: &mut [RawVal]| -> Result<()> {
        *caller.data_mut() += 1;
        assert_eq!(values.len(), 11);
        let given: Vec<RawVal> = values.to_vec();
        assert!((6..10).all(|i| given[i].i32() == i as i32 * 10) && given[10] == RawVal::default());
        assert!(given[4].is_extern(&caller));
        (values[0], values[1], values[2], values[3]) = (given[5], given[0], given[2], given[3]);
        (values[4], values[5]) = (given[1], given[4]);
        (6..11).for_each(|i| values[i] = RawVal::from(given[i.max(7) - 1].i32() + 1));
        if given[0].i32() == 0 { Err(sphex::Error::msg("zero")) } else { Ok(()) }
    };
    let mut linker = Linker::new(&engine);
    // SAFETY: references go back where they came from, in places of their types; the rest are numbers.
    unsafe { linker.func_new_unchecked("h", "f", ty.clone(), host).unwrap() };
    // SAFETY: as above.
    let own = unsafe { Func::new_unchecked(&mut store, ty, host).unwrap() };
    let instance = linker.instantiate(&mut store, &module).unwrap();
    let run = instance.get_func(&mut store, "run").unwrap();
    let held = ExternRef::new("held");
    for func in [run, own] {
        let mut values: Vec<Val> = vec![(-7).into(), (1i64 << 40).into(), 1.5f32.into(), (-2.25f64).into()];
        values.extend([held.clone().into(), run.into(), 60.into(), 70.into(), 80.into(), 90.into()]);
        let results = func.call_values(&mut store, &values).unwrap();
        assert_eq!(results[0].func_ref(), Some(Some(run)));
        assert_eq!((results[1].i32(), results[2].f32()), (Some(-7), Some(1.5)));
        assert_eq!((results[3].f64(), results[4].i64()), (Some(-2.25), Some(1 << 40)));
        assert!(ExternRef::ptr_eq(results[5].extern_ref().unwrap().unwrap(), &held));
        let rest: Vec<_> = results[6..].iter().map(|value| value.i32().unwrap()).collect();
        assert_eq!(rest, [61, 61, 71, 81, 91]);
        values[0] = 0.into();
        assert_eq!(func.call_values(&mut store, &values).unwrap_err().to_string(), "zero");
    }
    assert_eq!(*store.data(), 4);
}

#[test]
fn what_a_linker_lacks_is_made_by_its_type() {
    let engine = Engine::default();
    let mut store = Store::new(&engine, ());
    let wat = r#"(module
        (import "h" "f" (func $f (param i32) (result i64 externref))) (import "h" "g" (global $g (mut f64)))
        (import "h" "r" (global $r funcref)) (import "h" "m" (memory $m 2 3)) (import "h" "t" (table $t 5 externref))
        (import "h" "own" (func $own (result i32)))
        (func (export "run") (result i64 f64 i32 i32 i32 i32)
            (drop (call $f (i32.const 1))) (global.get $g) (ref.is_null (global.get $r)) (memory.size)
            (table.size $t) (call $own)))"#;
    let module = Module::new(&engine, wat).unwrap();
    let mut linker = Linker::new(&engine);
    linker.func_wrap("h", "own", || 42).unwrap();
    linker.define_unknown_imports_as_defaults(&mut store, &module).unwrap();
    let instance = linker.instantiate(&mut store, &module).unwrap();
    let run = instance.get_typed_func::<(), (i64, f64, i32, i32, i32, i32)>(&mut store, "run").unwrap();
    assert_eq!(run.call(&mut store, ()).unwrap(), (0, 0.0, 1, 2, 5, 42));
    // They are things like any other, of this store.
    let memory = linker.get(&mut store, "h", "m").unwrap().into_memory().unwrap();
    assert_eq!(memory.grow(&mut store, 1).unwrap(), 2);
    let global = linker.get(&mut store, "h", "g").unwrap().into_global().unwrap();
    global.set(&mut store, 1.5f64.into()).unwrap();
    assert_eq!(run.call(&mut store, ()).unwrap(), (0, 1.5, 1, 3, 5, 42));
    let error = linker.instantiate(&mut Store::new(&engine, ()), &module).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::WrongStore);
}

#[test]
fn linkers_list_and_rename() {
    let engine = Engine::default();
    let mut store = Store::new(&engine, ());
    let mut linker = Linker::new(&engine);
    linker.func_wrap("b", "f", || 1i32).unwrap();
    let memory = Memory::new(&mut store, MemoryType::new(1, Some(2))).unwrap();
    linker.define(&store, "a", "m", memory).unwrap();
    linker.alias("b", "f", "a", "g").unwrap();
    linker.alias_module("a", "c").unwrap();
    let names: Vec<(&str, &str)> =
        linker.definitions(&mut store).unwrap().into_iter().map(|(module, name, _)| (module, name)).collect();
    assert_eq!(names, [("a", "g"), ("a", "m"), ("b", "f"), ("c", "g"), ("c", "m")]);
    let f = linker.get(&mut store, "b", "f").unwrap();
    assert_eq!(linker.get(&mut store, "c", "g").unwrap(), f);
    assert_eq!(linker.get(&mut store, "c", "m").unwrap(), memory.into());
    linker.func_wrap("cmd", "_start", || ()).unwrap();
    let start = linker.get_default(&mut store, "cmd").unwrap();
    assert_eq!(Some(start), linker.get(&mut store, "cmd", "_start").unwrap().into_func());
    linker.func_wrap("cmd", "", || ()).unwrap();
    assert_ne!(linker.get_default(&mut store, "cmd").unwrap(), start);
}

#[test]
fn modules_say_what_they_need() {
    let engine = Engine::default();
    let wat = r#"(module $m (import "h" "m" (memory 9)) (table 5 funcref) (table 7 externref)
        (func (export "f") (param i32)))"#;
    assert!(Module::validate(&engine, wat).is_ok());
    assert_eq!(Module::from_binary(&engine, wat.as_bytes()).unwrap_err().kind(), ErrorKind::Invalid);
    let module = Module::new(&engine, wat).unwrap();
    let needs = module.resources_required();
    assert_eq!((needs.memories, needs.largest_memory_bytes), (0, None));
    assert_eq!((needs.tables, needs.largest_table_elements), (2, Some(7)));
    let copy = module.clone();
    assert!(Module::same(&copy, &module));
    assert!(!Module::same(&copy, &Module::new(&engine, wat).unwrap()));
    assert!(module.get_export("f").unwrap().func().is_some() && module.get_export("g").is_none());
    let weak = engine.weak();
    drop(engine);
    assert!(weak.upgrade().is_some(), "the module keeps it");
    drop((module, copy));
    assert!(weak.upgrade().is_none());
}

#[test]
fn artifacts_say_what_differs() {
    let engine = Engine::default();
    let artifact = engine.precompile(b"(module (func (export \"f\")))").unwrap();
    assert!(Engine::is_precompiled(&artifact) && !Engine::is_precompiled(b"\0asm\x01\0\0\0"));
    engine.is_compatible(&artifact).unwrap();
    let mut shifted = vec![0];
    shifted.extend(&artifact);
    engine.is_compatible(&shifted[1..]).unwrap();
    // An engine that meters its guests does not take code that does not count.
    let mut config = Config::new();
    config.compile.fuel = true;
    let metered = Engine::new(&config).unwrap();
    let error = metered.is_compatible(&artifact).unwrap_err();
    assert_eq!(error.to_string(), "incompatible artifact: fuel: expected true, found false");
    // SAFETY: made by `precompile` just now.
    let error = unsafe { Module::deserialize(&metered, &artifact) }.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Artifact);
    // The other way round does no harm.
    let counted = metered.precompile(b"(module)").unwrap();
    engine.is_compatible(&counted).unwrap();
    assert_eq!(engine.is_compatible(b"\0asm").unwrap_err().kind(), ErrorKind::Artifact);
}

/// A root of an async host function lasts through its waits, whatever is collected meanwhile, and ends with it; wasm's own
/// references on the stack that waits stay too.
#[test]
fn roots_last_while_a_call_waits() {
    let engine = Engine::default();
    let module = Module::new(
        &engine,
        r#"(module (import "h" "make" (func $make (result externref)))
            (import "h" "wait" (func $wait (param externref) (result i32)))
            (import "h" "value" (func $value (param externref) (result i32)))
            (func (export "f") (result i32) (local $held externref)
                (local.set $held (call $make))
                (i32.add (call $wait (call $make)) (call $value (local.get $held)))))"#,
    )
    .unwrap();
    let mut linker: Linker<Option<Rooted>> = Linker::new(&engine);
    linker.func_wrap("h", "make", || Some(ExternRef::new(20i32))).unwrap();
    let value = |r: Option<ExternRef>| r.and_then(|r| r.downcast_ref::<i32>().copied()).unwrap_or(-1);
    linker.func_wrap("h", "value", value).unwrap();
    linker
        .func_wrap_async("h", "wait", |mut caller: Caller<'_, Option<Rooted>>, (r,): (Option<Rooted>,)| {
            Box::new(async move {
                for _ in 0..3 {
                    caller.as_context_mut().gc();
                    turn().await;
                }
                *caller.data_mut() = r;
                r.unwrap().data(&caller).unwrap().downcast_ref::<i32>().unwrap() + 2
            })
        })
        .unwrap();
    let mut store = Store::new(&engine, None);
    let result = block_on(async {
        let instance = linker.instantiate_async(&mut store, &module).await?;
        let f = instance.get_typed_func::<(), i32>(&mut store, "f")?;
        f.call_async(&mut store, ()).await
    });
    assert_eq!(result.unwrap(), 42);
    let stale = store.data().unwrap();
    assert_eq!(stale.data(&store).unwrap_err().kind(), ErrorKind::Unrooted);
    store.gc();
    assert_eq!(store.externref_count(), 0);
}

async fn turn() {
    let mut waited = false;
    std::future::poll_fn(|context| {
        if std::mem::replace(&mut waited, true) {
            return Poll::Ready(());
        }
        context.waker().wake_by_ref();
        Poll::Pending
    })
    .await;
}

fn block_on<F: Future>(future: F) -> F::Output {
    let mut future = std::pin::pin!(future);
    loop {
        if let Poll::Ready(output) = future.as_mut().poll(&mut Context::from_waker(Waker::noop())) {
            return output;
        }
    }
}

/// What refers to a store, an engine or a module and outlives it does no harm.
#[test]
fn what_outlives_its_owner_is_harmless() {
    let engine = Engine::default();
    let mut store = Store::new(&engine, ());
    let handle = store.interrupt_handle();
    let module = Module::new(&engine, r#"(module (func (export "f") (unreachable)))"#).unwrap();
    let export = module.get_export_index("f").unwrap();
    let instance = Instance::new(&mut store, &module, &[]).unwrap();
    drop(module);
    let f = instance.get_module_export(&mut store, &export).unwrap().into_func().unwrap();
    let error = f.call(&mut store, &[], &mut []).unwrap_err();
    drop((store, engine, export));
    handle.interrupt();
    // The backtrace keeps its code.
    assert!(format!("{error:#}").contains("!f"), "{error:#}");
}

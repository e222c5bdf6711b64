//! The embedding API: modules, instances, functions, memories, tables, globals, and every misuse an error.
#![cfg(feature = "compiler")]

use sphex::{
    AsContextMut, Caller, Config, Engine, Error, ErrorKind, Extern, ExternRef, Func, FuncType, Global,
    GlobalType, Instance, Linker, Memory, MemoryType, Module, RefType, Result, Store, StoreLimitsBuilder,
    Table, TableType, Trap, Val, ValType,
};

/// Every test runs with guard pages, with checked, moving memories, and out of a pool.
fn engines() -> [Engine; 3] {
    let mut checked = Config::new();
    checked.compile.memory_reservation = 0;
    let mut pooled = Config::new();
    pooled.host.allocation = sphex::Allocation::Pooling(sphex::Pooling::default());
    [Engine::default(), Engine::new(&checked).unwrap(), Engine::new(&pooled).unwrap()]
}

fn instantiate<T: 'static>(store: &mut Store<T>, wat: &str) -> Instance {
    let module = Module::new(&store.engine().clone(), wat).unwrap();
    Instance::new(store, &module, &[]).unwrap()
}

const PAGE: MemoryType =
    MemoryType { minimum: 1, maximum: Some(3), shared: false, memory64: false, page_size_log2: 16 };

#[test]
fn typed_and_untyped_calls_agree() {
    for engine in engines() {
        let mut store = Store::new(&engine, ());
        let instance = instantiate(
            &mut store,
            r#"(module (func (export "f") (param i32 i64 f32 f64) (result f64 f32 i64 i32)
                (f64.neg (local.get 3)) (f32.neg (local.get 2))
                (i64.add (local.get 1) (i64.const 1)) (i32.add (local.get 0) (i32.const 1))))"#,
        );
        type Results = (f64, f32, i64, i32);
        let typed = instance.get_typed_func::<(i32, i64, f32, f64), Results>(&mut store, "f").unwrap();
        assert_eq!(typed.call(&mut store, (7, 8, 1.5, 2.5)).unwrap(), (-2.5, -1.5, 9, 8));
        let func = instance.get_func(&mut store, "f").unwrap();
        let values =
            func.call_values(&mut store, &[7i32.into(), 8i64.into(), 1.5f32.into(), 2.5f64.into()]).unwrap();
        let values = (values[0].f64(), values[1].f32(), values[2].i64(), values[3].i32());
        assert_eq!(values, (Some(-2.5), Some(-1.5), Some(9), Some(8)));
    }
}

#[test]
fn sixteen_parameters_and_results_cross_both_ways() {
    for engine in engines() {
        let mut store = Store::new(&engine, ());
        let list = "i64 i32 f64 i64 i64 i64 f32 i64 i64 i64 f64 i32 i64 i64 i64 f32";
        let wat = format!(
            r#"(module (type $t (func (param {list}) (result {list})))
                (import "h" "f" (func $f (type $t)))
                (func (export "g") (type $t) {} (call $f)))"#,
            (0..16).map(|i| format!("(local.get {i})")).collect::<String>()
        );
        let module = Module::new(&engine, wat).unwrap();
        let mut linker = Linker::new(&engine);
        type All = (i64, i32, f64, i64, i64, i64, f32, i64, i64, i64, f64, i32, i64, i64, i64, f32);
        linker
            .func_wrap(
                "h",
                "f",
                |a: i64,
                 b: i32,
                 c: f64,
                 d: i64,
                 e: i64,
                 f: i64,
                 g: f32,
                 h: i64,
                 i: i64,
                 j: i64,
                 k: f64,
                 l: i32,
                 m: i64,
                 n: i64,
                 o: i64,
                 p: f32|
                 -> All {
                    assert_eq!((p, o, n, m, l, k, j, i), (16.5, 15, 14, 13, 12, 11.5, 10, 9));
                    assert_eq!((h, g, f, e, d, c, b, a), (8, 7.5, 6, 5, 4, 3.5, 2, 1));
                    (
                        a * 2,
                        b * 2,
                        c * 2.0,
                        d * 2,
                        e * 2,
                        f * 2,
                        g * 2.0,
                        h * 2,
                        i * 2,
                        j * 2,
                        k * 2.0,
                        l * 2,
                        m * 2,
                        n * 2,
                        o * 2,
                        p * 2.0,
                    )
                },
            )
            .unwrap();
        let instance = linker.instantiate(&mut store, &module).unwrap();
        let call = instance.get_typed_func::<All, All>(&mut store, "g").unwrap();
        let all = (1, 2, 3.5, 4, 5, 6, 7.5, 8, 9, 10, 11.5, 12, 13, 14, 15, 16.5);
        for _ in 0..3 {
            let (a, b, c, d, e, f, g, h, i, j, k, l, m, n, o, p) = call.call(&mut store, all).unwrap();
            assert_eq!((a, b, c, d, e, f, g, h), (2, 4, 7.0, 8, 10, 12, 15.0, 16));
            assert_eq!((i, j, k, l, m, n, o, p), (18, 20, 23.0, 24, 26, 28, 30, 33.0));
        }
    }
}

#[test]
fn untyped_host_functions_have_any_signature() {
    for engine in engines() {
        let count = 40;
        let types: Vec<ValType> =
            (0..count).map(|i| [ValType::I32, ValType::F64, ValType::I64, ValType::F32][i % 4]).collect();
        let list: String = types.iter().map(|ty| format!(" {ty}")).collect();
        let gets: String = (0..count).map(|i| format!("(local.get {i})")).collect();
        let wat = format!(
            r#"(module (type $t (func (param{list}) (result{list}))) (import "h" "f" (func $f (type $t)))
            (func (export "g") (type $t) {gets} (call $f)))"#
        );
        let module = Module::new(&engine, wat).unwrap();
        let mut linker = Linker::new(&engine);
        let ty = FuncType::new(types.clone(), types.clone());
        linker
            .func_new("h", "f", ty, |_: Caller<'_, ()>, params, results| {
                results.clone_from_slice(params);
                Ok(())
            })
            .unwrap();
        let mut store = Store::new(&engine, ());
        let instance = linker.instantiate(&mut store, &module).unwrap();
        let params: Vec<Val> = (0..count)
            .map(|i| match types[i] {
                ValType::I32 => Val::I32(i as i32 - 9),
                ValType::I64 => Val::I64(i as i64 - 9),
                ValType::F32 => Val::F32((i as f32).to_bits()),
                _ => Val::F64((i as f64).to_bits()),
            })
            .collect();
        let results = instance.get_func(&mut store, "g").unwrap().call_values(&mut store, &params).unwrap();
        assert_eq!(format!("{results:?}"), format!("{params:?}"));
    }
}

#[test]
fn host_functions_see_data_and_memory_together() {
    for engine in engines() {
        let module = Module::new(
            &engine,
            r#"(module (import "h" "log" (func $log (param i32 i32))) (memory (export "memory") 1)
                (data (i32.const 8) "hello") (func (export "run") (call $log (i32.const 8) (i32.const 5))))"#,
        )
        .unwrap();
        let mut linker: Linker<Vec<String>> = Linker::new(&engine);
        linker
            .func_wrap("h", "log", |mut caller: Caller<'_, Vec<String>>, at: u32, len: u32| -> Result<()> {
                let memory = caller.get_memory("memory").ok_or_else(|| Error::msg("no memory"))?;
                let (log, mut memories) = caller.split();
                let bytes = memories.get_mut(memory)?;
                log.push(String::from_utf8_lossy(&bytes[at as usize..(at + len) as usize]).into_owned());
                bytes[at as usize] = b'j';
                Ok(())
            })
            .unwrap();
        let mut store = Store::new(&engine, Vec::new());
        let instance = linker.instantiate(&mut store, &module).unwrap();
        let run = instance.get_typed_func::<(), ()>(&mut store, "run").unwrap();
        run.call(&mut store, ()).unwrap();
        run.call(&mut store, ()).unwrap();
        assert_eq!(store.data(), &["hello", "jello"]);
        let memory = instance.get_memory(&mut store, "memory").unwrap();
        assert_eq!(&memory.data(&store).unwrap()[8..13], b"jello");
    }
}

#[test]
fn memories_grow_and_stay_in_bounds() {
    for engine in engines() {
        let mut store = Store::new(&engine, ());
        let memory = Memory::new(&mut store, PAGE).unwrap();
        let module = Module::new(
            &engine,
            r#"(module (import "h" "m" (memory 1 3))
                (func (export "grow") (param i32) (result i32) (memory.grow (local.get 0)))
                (func (export "load") (param i32) (result i32) (i32.load (local.get 0)))
                (func (export "store") (param i32 i32) (i32.store (local.get 0) (local.get 1))))"#,
        )
        .unwrap();
        let instance = Instance::new(&mut store, &module, &[memory.into()]).unwrap();
        let grow = instance.get_typed_func::<u32, i32>(&mut store, "grow").unwrap();
        let load = instance.get_typed_func::<u32, i32>(&mut store, "load").unwrap();
        let put = instance.get_typed_func::<(u32, i32), ()>(&mut store, "store").unwrap();
        put.call(&mut store, (65532, 77)).unwrap();
        for at in [65533, 65536, 131072, u32::MAX - 3, u32::MAX] {
            let error = load.call(&mut store, at).unwrap_err();
            assert_eq!(error.trap(), Some(Trap::MemoryOutOfBounds), "{at}");
        }
        assert_eq!(grow.call(&mut store, 1).unwrap(), 1);
        assert_eq!(load.call(&mut store, 65532).unwrap(), 77);
        put.call(&mut store, (131068, 78)).unwrap();
        assert_eq!(memory.grow(&mut store, 1).unwrap(), 2);
        assert_eq!(load.call(&mut store, 131068).unwrap(), 78);
        assert_eq!(load.call(&mut store, 196604).unwrap(), 0);
        assert_eq!(grow.call(&mut store, 1).unwrap(), -1);
        assert_eq!(memory.grow(&mut store, 1).unwrap_err().kind(), ErrorKind::Limit);
        assert_eq!((memory.size(&store).unwrap(), memory.data_size(&store).unwrap()), (3, 196608));
        let mut word = [0; 4];
        memory.read(&store, 131068, &mut word).unwrap();
        assert_eq!(word, [78, 0, 0, 0]);
        memory.write(&mut store, 196604, &[1, 2, 3, 4]).unwrap();
        assert_eq!(load.call(&mut store, 196604).unwrap(), 0x04030201);
        assert_eq!(memory.write(&mut store, 196605, &[0; 4]).unwrap_err().kind(), ErrorKind::OutOfBounds);
        assert_eq!(memory.read(&store, usize::MAX, &mut word).unwrap_err().kind(), ErrorKind::OutOfBounds);
    }
}

#[test]
fn limits_are_kept() {
    for engine in engines() {
        let mut store = Store::new(&engine, ());
        let limits = StoreLimitsBuilder::new().memory_size(2 << 16);
        store.set_limits(limits.clone().table_elements(10).instances(2).build());
        let instance = instantiate(
            &mut store,
            r#"(module (memory 1) (table $t 5 funcref)
            (func (export "m") (param i32) (result i32) (memory.grow (local.get 0)))
            (func (export "t") (param i32) (result i32) (table.grow $t (ref.null func) (local.get 0))))"#,
        );
        let m = instance.get_typed_func::<i32, i32>(&mut store, "m").unwrap();
        let t = instance.get_typed_func::<i32, i32>(&mut store, "t").unwrap();
        assert_eq!((m.call(&mut store, 1).unwrap(), m.call(&mut store, 1).unwrap()), (1, -1));
        assert_eq!((t.call(&mut store, 6).unwrap(), t.call(&mut store, 5).unwrap()), (-1, 5));
        let big = Module::new(&engine, "(module (memory 3))").unwrap();
        let error = Instance::new(&mut store, &big, &[]).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Limit);
        let small = Module::new(&engine, "(module)").unwrap();
        let error = Instance::new(&mut store, &small, &[]).unwrap_err();
        assert_eq!(error.to_string(), "3 instances: more than the limit of 2 instances");
        store.set_limits(limits.trap_on_grow_failure(true).build());
        assert_eq!(m.call(&mut store, 1).unwrap_err().trap(), Some(Trap::AllocationTooLarge));
    }
}

#[test]
fn tables_and_references() {
    for engine in engines() {
        let mut store = Store::new(&engine, ());
        let instance = instantiate(
            &mut store,
            r#"(module (table (export "t") 4 10 funcref) (table (export "e") 2 externref)
                (type $i (func (result i32))) (func $seven (result i32) (i32.const 7))
                (func $eight (export "eight") (result i32) (i32.const 8))
                (func $add (param i32) (result i32) (local.get 0))
                (elem (table 0) (i32.const 1) func $seven $add)
                (func (export "call") (param i32) (result i32) (call_indirect 0 (type $i) (local.get 0)))
                (func (export "get") (param i32) (result externref) (table.get 1 (local.get 0)))
                (func (export "id") (param funcref externref) (result externref funcref)
                    (local.get 1) (local.get 0)))"#,
        );
        let call = instance.get_typed_func::<i32, i32>(&mut store, "call").unwrap();
        assert_eq!(call.call(&mut store, 1).unwrap(), 7);
        let traps = [(0, Trap::IndirectCallToNull), (2, Trap::BadSignature), (4, Trap::UndefinedElement)];
        for (index, trap) in traps {
            assert_eq!(call.call(&mut store, index).unwrap_err().trap(), Some(trap));
        }
        let table = instance.get_table(&mut store, "t").unwrap();
        let eight = instance.get_func(&mut store, "eight").unwrap();
        table.set(&mut store, 0, eight.into()).unwrap();
        assert_eq!(call.call(&mut store, 0).unwrap(), 8);
        let host = Func::wrap(&mut store, || 9i32).unwrap();
        assert_eq!(table.grow(&mut store, 2, host.into()).unwrap(), 4);
        assert_eq!(call.call(&mut store, 5).unwrap(), 9);
        match table.get(&mut store, 0).unwrap() {
            Val::FuncRef(found) => assert_eq!(found, Some(eight)),
            other => panic!("{other:?}"),
        }
        assert_eq!(table.grow(&mut store, 100, Val::FuncRef(None)).unwrap_err().kind(), ErrorKind::Limit);
        assert_eq!(table.set(&mut store, 6, Val::FuncRef(None)).unwrap_err().kind(), ErrorKind::OutOfBounds);
        assert_eq!(table.set(&mut store, 0, Val::I32(0)).unwrap_err().kind(), ErrorKind::Type);

        let externs = instance.get_table(&mut store, "e").unwrap();
        externs.set(&mut store, 1, ExternRef::new("text".to_string()).into()).unwrap();
        let get = instance.get_typed_func::<i32, Option<ExternRef>>(&mut store, "get").unwrap();
        assert!(get.call(&mut store, 0).unwrap().is_none());
        let found = get.call(&mut store, 1).unwrap().unwrap();
        assert_eq!(found.downcast_ref::<String>().unwrap(), "text");

        type Refs = (Option<Func>, Option<ExternRef>);
        let id =
            instance.get_typed_func::<Refs, (Option<ExternRef>, Option<Func>)>(&mut store, "id").unwrap();
        let value = ExternRef::new(5u8);
        let (e, f) = id.call(&mut store, (Some(host), Some(value.clone()))).unwrap();
        assert!(ExternRef::ptr_eq(&e.unwrap(), &value) && f == Some(host));
        let (e, f) = id.call(&mut store, (None, None)).unwrap();
        assert!(e.is_none() && f.is_none());
    }
}

#[test]
fn globals_are_shared_between_instances_and_host() {
    for engine in engines() {
        let mut store = Store::new(&engine, ());
        let ty = GlobalType { value: ValType::I64, mutable: true };
        let global = Global::new(&mut store, ty, Val::I64(40)).unwrap();
        let module = Module::new(
            &engine,
            r#"(module (import "h" "g" (global $g (mut i64))) (global (export "c") i32 (i32.const 3))
            (func (export "add") (global.set $g (i64.add (global.get $g) (i64.const 1)))))"#,
        )
        .unwrap();
        let a = Instance::new(&mut store, &module, &[global.into()]).unwrap();
        let b = Instance::new(&mut store, &module, &[global.into()]).unwrap();
        for instance in [a, b] {
            instance.get_typed_func::<(), ()>(&mut store, "add").unwrap().call(&mut store, ()).unwrap();
        }
        assert_eq!(global.get(&mut store).unwrap().i64(), Some(42));
        let c = a.get_global(&mut store, "c").unwrap();
        assert_eq!(c, a.get_global(&mut store, "c").unwrap());
        assert_eq!(c.set(&mut store, Val::I32(4)).unwrap_err().to_string(), "the global is immutable");
        assert_eq!(global.set(&mut store, Val::I32(4)).unwrap_err().kind(), ErrorKind::Type);
        assert_eq!(c.get(&mut store).unwrap().i32(), Some(3));
    }
}

#[test]
fn link_errors_say_what_was_expected_and_found() {
    for engine in engines() {
        let mut store = Store::new(&engine, ());
        let mut linker = Linker::new(&engine);
        linker.func_wrap("env", "Print", |_: i32| ()).unwrap();
        let memory = Memory::new(&mut store, PAGE).unwrap();
        linker.define(&mut store, "env", "memory", memory).unwrap();
        let text = |linker: &Linker<()>, store: &mut Store<()>, wat: &str| {
            let module = Module::new(&engine, wat).unwrap();
            let error = linker.instantiate(store, &module).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Link);
            error.to_string()
        };
        assert_eq!(
            text(&linker, &mut store, r#"(module (import "env" "print" (func (param i32))))"#),
            "unknown import: `env::print` (function (i32) -> ()) is not defined; did you mean `Print`?"
        );
        assert_eq!(
            text(&linker, &mut store, r#"(module (import "wasi" "x" (global i32)))"#),
            "unknown import: `wasi::x` (global i32) is not defined; there is no `wasi`, only: env"
        );
        assert_eq!(
            text(&linker, &mut store, r#"(module (import "env" "Print" (func (param i64))))"#),
            "incompatible import type for `env::Print`: expected function (i64) -> (), found function (i32) -> ()"
        );
        assert_eq!(
            text(&linker, &mut store, r#"(module (import "env" "memory" (memory 2)))"#),
            "incompatible import type for `env::memory`: expected memory 2.., found memory 1..3"
        );
        assert_eq!(
            text(&linker, &mut store, r#"(module (import "env" "memory" (memory 1 2)))"#),
            "incompatible import type for `env::memory`: expected memory 1..2, found memory 1..3"
        );
        assert_eq!(
            linker.func_wrap("env", "Print", || ()).unwrap_err().to_string(),
            "`env::Print` is defined twice"
        );
        linker.allow_shadowing(true).func_wrap("env", "Print", |_: i64| ()).unwrap();
        let module = Module::new(
            &engine,
            r#"(module (import "env" "Print" (func (param i64))) (import "x" "y" (func $y (result i32)))
            (func (export "run") (result i32) (call $y)))"#,
        )
        .unwrap();
        linker.define_unknown_imports_as_traps(&module).unwrap();
        let instance = linker.instantiate(&mut store, &module).unwrap();
        let run = instance.get_typed_func::<(), i32>(&mut store, "run").unwrap();
        assert_eq!(run.call(&mut store, ()).unwrap_err().to_string(), "unknown import: `x::y` was called");
    }
}

#[test]
fn instances_link_to_instances() {
    for engine in engines() {
        let mut store = Store::new(&engine, ());
        let mut linker = Linker::new(&engine);
        let a = Module::new(
            &engine,
            r#"(module (memory (export "m") 1) (table (export "t") 2 funcref) (global (export "g") i32 (i32.const 5))
                (func (export "f") (result i32) (i32.load (i32.const 0))))"#,
        )
        .unwrap();
        linker.module(&mut store, "a", &a).unwrap();
        let b = Module::new(
            &engine,
            r#"(module (import "a" "m" (memory 1)) (import "a" "t" (table 2 funcref)) (import "a" "g" (global i32))
                (import "a" "f" (func $f (result i32))) (func $g (result i32) (call $f))
                (elem (offset (i32.const 1)) $g) (data (offset (i32.const 0)) "\2a")
                (start $s) (func $s (i32.store offset=4 (i32.const 0) (global.get 0)))
                (func (export "run") (result i32)
                    (i32.add (call_indirect (result i32) (i32.const 1)) (i32.load (i32.const 4)))))"#,
        )
        .unwrap();
        let pre = linker.instantiate_pre(&b).unwrap();
        let instance = pre.instantiate(&mut store).unwrap();
        let run = instance.get_typed_func::<(), i32>(&mut store, "run").unwrap();
        assert_eq!(run.call(&mut store, ()).unwrap(), 47);
    }
}

#[test]
fn a_segment_that_traps_leaves_earlier_ones() {
    for engine in engines() {
        let mut store = Store::new(&engine, ());
        let memory = Memory::new(&mut store, PAGE).unwrap();
        let ty = TableType { element: RefType::Func, minimum: 2, maximum: None, table64: false };
        let table = Table::new(&mut store, ty, Val::FuncRef(None)).unwrap();
        let module = Module::new(
            &engine,
            r#"(module (import "h" "m" (memory 1)) (import "h" "t" (table 2 funcref)) (func $f (result i32) (i32.const 4))
                (elem (offset (i32.const 0)) $f) (data (offset (i32.const 0)) "abc") (data (offset (i32.const 65535)) "xy"))"#,
        )
        .unwrap();
        let imports = [Extern::from(memory), table.into()];
        let error = Instance::new(&mut store, &module, &imports).unwrap_err();
        assert_eq!(error.trap(), Some(Trap::MemoryOutOfBounds));
        assert_eq!(&memory.data(&store).unwrap()[..4], b"abc\0");
        assert_eq!(memory.data(&store).unwrap()[65535], 0);
        let Val::FuncRef(Some(f)) = table.get(&mut store, 0).unwrap() else { panic!("no function") };
        assert_eq!(f.typed::<(), i32>(&store).unwrap().call(&mut store, ()).unwrap(), 4);
    }
}

#[test]
fn misuse_is_an_error() {
    for engine in engines() {
        let (mut a, mut b) = (Store::new(&engine, ()), Store::new(&engine, ()));
        let instance = instantiate(
            &mut a,
            r#"(module (memory (export "m") 1) (table (export "t") 1 funcref) (global (export "g") (mut funcref) (ref.null func))
            (func (export "f") (param funcref) (result i32) (i32.const 1)))"#,
        );
        let f = instance.get_func(&mut a, "f").unwrap();
        let typed = f.typed::<Option<Func>, i32>(&a).unwrap();
        let memory = instance.get_memory(&mut a, "m").unwrap();
        let table = instance.get_table(&mut a, "t").unwrap();
        let global = instance.get_global(&mut a, "g").unwrap();
        let wrong = |error: Error| assert_eq!(error.kind(), ErrorKind::WrongStore, "{error}");
        wrong(f.ty(&b).unwrap_err());
        wrong(f.call_values(&mut b, &[Val::FuncRef(None)]).unwrap_err());
        wrong(typed.call(&mut b, None).unwrap_err());
        wrong(memory.size(&b).unwrap_err());
        wrong(memory.data(&b).unwrap_err());
        wrong(memory.data_mut(&mut b).unwrap_err());
        wrong(memory.grow(&mut b, 1).unwrap_err());
        wrong(table.get(&mut b, 0).unwrap_err());
        wrong(table.set(&mut b, 0, Val::FuncRef(None)).unwrap_err());
        wrong(global.get(&mut b).unwrap_err());
        wrong(global.set(&mut b, Val::FuncRef(None)).unwrap_err());
        wrong(instance.get_func(&mut b, "f").unwrap_err());
        wrong(instance.exports(&mut b).unwrap_err());
        wrong(instance.module(&b).unwrap_err());
        wrong(instance.get_export(&mut b, "f").unwrap_err());
        let foreign = Func::wrap(&mut b, || ()).unwrap();
        wrong(typed.call(&mut a, Some(foreign)).unwrap_err());
        wrong(table.set(&mut a, 0, foreign.into()).unwrap_err());
        wrong(global.set(&mut a, foreign.into()).unwrap_err());
        let module = Module::new(&engine, r#"(module (import "" "" (func)))"#).unwrap();
        wrong(Instance::new(&mut a, &module, &[foreign.into()]).unwrap_err());
        assert_eq!(
            Instance::new(&mut a, &module, &[]).unwrap_err().to_string(),
            "expected 1 imports, found 0"
        );
        let other = Engine::default();
        wrong(Instance::new(&mut Store::new(&other, ()), &module, &[]).unwrap_err());
        let mut linker = Linker::new(&engine);
        wrong(linker.define(&a, "x", "y", foreign).map(|_| ()).unwrap_err());

        let text = |error: Error| error.to_string();
        assert_eq!(
            text(f.typed::<i32, i32>(&a).unwrap_err()),
            "type mismatch: expected function (i32) -> (i32), found function (funcref) -> (i32)"
        );
        assert_eq!(text(f.call_values(&mut a, &[]).unwrap_err()), "expected 1 arguments, found 0");
        assert_eq!(
            text(f.call(&mut a, &[Val::FuncRef(None)], &mut []).unwrap_err()),
            "expected 1 places for results, found 0"
        );
        assert_eq!(
            text(f.call_values(&mut a, &[Val::I32(1)]).unwrap_err()),
            "argument 0: type mismatch: expected funcref, found i32"
        );
        assert_eq!(text(instance.get_func(&mut a, "x").unwrap_err()), "no export `x` (a function)");
        assert_eq!(
            text(instance.get_memory(&mut a, "f").unwrap_err()),
            "export `f`: expected a memory, found function (funcref) -> (i32)"
        );
        let bad = Func::new(&mut a, FuncType::new([], [ValType::I32]), |_, _, results| {
            results[0] = Val::I64(1);
            Ok(())
        })
        .unwrap();
        assert_eq!(
            text(bad.call_values(&mut a, &[]).unwrap_err()),
            "a host function's result: type mismatch: expected i32, found i64"
        );
        assert_eq!(
            Module::new(&engine, "(module (func (result i32)))").unwrap_err().kind(),
            ErrorKind::Invalid
        );
        assert_eq!(Module::new(&engine, b"\0asm\x01\0\0").unwrap_err().kind(), ErrorKind::Invalid);
        let mut config = Config::new();
        config.host.max_wasm_stack = 0;
        assert_eq!(Engine::new(&config).unwrap_err().kind(), ErrorKind::Argument);
        config = Config::new();
        config.compile.options.push(("no_such_flag".into(), None));
        assert_eq!(Engine::new(&config).unwrap_err().kind(), ErrorKind::Argument);
    }
}

#[test]
fn artifacts_round_trip_through_bytes_and_files() {
    for engine in engines() {
        let module = Module::new(
            &engine,
            r#"(module $named (memory (export "m") 2) (data (i32.const 4096) "image") (data $p "passive")
                (func (export "init") (memory.init $p (i32.const 0) (i32.const 0) (i32.const 7)))
                (func (export "f") (param i32) (result i32) (i32.load8_u (local.get 0))))"#,
        )
        .unwrap();
        let bytes = module.serialize().unwrap();
        let dir = std::env::temp_dir().join(format!("sphex-{}-{:p}", std::process::id(), &bytes));
        std::fs::write(&dir, &bytes).unwrap();
        // SAFETY: made by `serialize` just now.
        #[allow(unsafe_code)]
        let again = unsafe {
            [Module::deserialize(&engine, &bytes).unwrap(), Module::deserialize_file(&engine, &dir).unwrap()]
        };
        std::fs::remove_file(&dir).unwrap();
        for module in again {
            assert_eq!(module.name(), Some("named"));
            let mut store = Store::new(&engine, ());
            for _ in 0..2 {
                // A second instance has a fresh copy of the image.
                let instance = Instance::new(&mut store, &module, &[]).unwrap();
                let memory = instance.get_memory(&mut store, "m").unwrap();
                assert_eq!(&memory.data(&store).unwrap()[4096..4102], b"image\0");
                memory.data_mut(&mut store).unwrap()[4096] = b'I';
                let f = instance.get_typed_func::<i32, i32>(&mut store, "f").unwrap();
                assert_eq!(f.call(&mut store, 4096).unwrap(), i32::from(b'I'));
                instance.get_typed_func::<(), ()>(&mut store, "init").unwrap().call(&mut store, ()).unwrap();
                assert_eq!(&memory.data(&store).unwrap()[..8], b"passive\0");
            }
        }
        let mut flipped = bytes.clone();
        // The text follows the file's header, on a page border.
        flipped[4096 + 3] ^= 4;
        for broken in [&bytes[..bytes.len() / 2], b"", b"\x7fELF", &flipped] {
            // SAFETY: refused before anything is run.
            #[allow(unsafe_code)]
            let error = unsafe { Module::deserialize(&engine, broken) }.unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Artifact);
        }
    }
}

#[test]
fn nested_entries_share_the_store() {
    for engine in engines() {
        let module = Module::new(
            &engine,
            r#"(module (import "h" "again" (func $again (param i32) (result i32)))
            (func (export "f") (param i32) (result i32)
                (if (result i32) (i32.eqz (local.get 0)) (then (i32.const 1))
                    (else (i32.add (call $again (i32.sub (local.get 0) (i32.const 1))) (i32.const 1))))))"#,
        )
        .unwrap();
        let mut linker: Linker<u32> = Linker::new(&engine);
        linker
            .func_wrap("h", "again", |mut caller: Caller<'_, u32>, n: i32| -> Result<i32> {
                *caller.data_mut() += 1;
                let instance = caller.instance().ok_or_else(|| Error::msg("no instance"))?;
                let f = instance.get_typed_func::<i32, i32>(&mut caller, "f")?;
                let mut context = caller.as_context_mut();
                f.call(&mut context, n)
            })
            .unwrap();
        let mut store = Store::new(&engine, 0);
        let instance = linker.instantiate(&mut store, &module).unwrap();
        let f = instance.get_typed_func::<i32, i32>(&mut store, "f").unwrap();
        assert_eq!(f.call(&mut store, 100).unwrap(), 101);
        assert_eq!(*store.data(), 100);
    }
}

//! Traps, backtraces, stacks, interruption, panics, threads, and the host references' collector.
#![cfg(feature = "compiler")]

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use sphex::{
    AsContextMut, Caller, Config, Engine, Error, ErrorKind, ExternRef, Instance, Linker, Module, Result,
    Store, Trap, TypedFunc, Val, WasmValues,
};

fn engines() -> [Engine; 3] {
    let mut checked = Config::new();
    checked.compile.memory_reservation = 0;
    let mut lazy = Config::new();
    lazy.host.lazy_compilation = true;
    [Engine::default(), Engine::new(&checked).unwrap(), Engine::new(&lazy).unwrap()]
}

/// An instance of a module without imports, and a function of it.
fn function<P: WasmValues, R: WasmValues>(
    engine: &Engine,
    wat: &str,
    name: &str,
) -> (Store<()>, TypedFunc<P, R>) {
    let module = Module::new(engine, wat).unwrap();
    let mut store = Store::new(engine, ());
    let instance = Instance::new(&mut store, &module, &[]).unwrap();
    let func = instance.get_typed_func(&mut store, name).unwrap();
    (store, func)
}

/// The names in an error's backtrace.
fn names(error: &Error) -> String {
    let frames = error.backtrace().map(|backtrace| backtrace.frames()).unwrap_or_default();
    let names = frames.iter().map(|frame| {
        assert!(frame.module_offset().is_some_and(|offset| offset > 8), "{frame}");
        frame.function_name().unwrap_or_else(|| format!("#{}", frame.function_index()))
    });
    names.collect::<Vec<_>>().join(" ")
}

#[test]
fn every_trap_of_the_mvp_is_told() {
    for engine in engines() {
        let wat = r#"(module (memory 1) (table 1 funcref)
            (func (export "f") (param i32)
                (block $7 (block $6 (block $5 (block $4 (block $3 (block $2 (block $1 (block $0
                    (br_table $0 $1 $2 $3 $4 $5 $6 $7 (local.get 0)))
                    unreachable)
                    (drop (i32.div_s (i32.const 1) (i32.sub (local.get 0) (i32.const 1)))) )
                    (drop (i32.div_s (i32.const -2147483648) (i32.sub (local.get 0) (i32.const 3)))))
                    (drop (i32.trunc_f64_s (f64.const nan))))
                    (drop (i64.rem_u (i64.const 1) (i64.extend_i32_u (i32.sub (local.get 0) (i32.const 4))))))
                    (drop (i32.load8_u (i32.const 65536))))
                    (call_indirect (i32.const 0)))
                    (drop (i32.trunc_f32_u (f32.const 1e30)))))"#;
        let (mut store, f) = function::<i32, ()>(&engine, wat, "f");
        let expected = [
            Trap::Unreachable,
            Trap::IntegerDivisionByZero,
            Trap::IntegerOverflow,
            Trap::BadConversionToInteger,
            Trap::IntegerDivisionByZero,
            Trap::MemoryOutOfBounds,
            Trap::IndirectCallToNull,
            Trap::IntegerOverflow,
        ];
        for round in 0..2 {
            for (i, trap) in expected.iter().enumerate() {
                let error = f.call(&mut store, i as i32).unwrap_err();
                assert_eq!((error.kind(), error.trap()), (ErrorKind::Trap, Some(*trap)), "{i} {round}");
                assert_eq!(error.to_string(), trap.message());
                assert_eq!(names(&error), "f");
            }
        }
    }
}

#[test]
fn backtraces_name_the_frames() {
    let mut config = Config::new();
    config.compile.inlining = false;
    let engine = Engine::new(&config).unwrap();
    let wat = r#"(module $m (memory 1)
        (func $leaf (param i32) (result i32) (i32.load (local.get 0)))
        (func $middle (param i32) (result i32) (i32.add (call $leaf (local.get 0)) (i32.const 1)))
        (func $tail (param i32) (result i32) (return_call $middle (local.get 0)))
        (func $_ZN4core3fmt5write17h0123456789abcdefE (export "f") (param i32) (result i32)
            (i32.add (call $tail (local.get 0)) (i32.const 1))))"#;
    let (mut store, f) = function::<i32, i32>(&engine, wat, "f");
    assert_eq!(f.call(&mut store, 0).unwrap(), 2);
    let error = f.call(&mut store, -1).unwrap_err();
    assert_eq!(names(&error), "leaf middle core::fmt::write");
    let text = format!("{error:#}");
    assert!(text.contains("m!leaf") && text.contains("\n    2: "), "{text}");
}

#[test]
fn backtraces_cross_the_host() {
    let mut config = Config::new();
    config.compile.inlining = false;
    let engine = Engine::new(&config).unwrap();
    let module = Module::new(
        &engine,
        r#"(module (import "h" "back" (func $back (param i32)))
            (func $outer (export "outer") (param i32) (call $call_host (local.get 0)))
            (func $call_host (param i32) (call $back (local.get 0)))
            (func $inner (export "inner") (param i32) (call $deep (local.get 0)))
            (func $deep (param i32) (if (local.get 0) (then unreachable))))"#,
    )
    .unwrap();
    let mut linker: Linker<String> = Linker::new(&engine);
    linker
        .func_wrap("h", "back", |mut caller: Caller<'_, String>, n: i32| -> Result<()> {
            if n == 7 {
                return Err(Error::msg("seven"));
            }
            let instance = caller.instance().ok_or_else(|| Error::msg("no instance"))?;
            let inner = instance.get_typed_func::<i32, ()>(&mut caller, "inner")?;
            let result = inner.call(&mut caller, n);
            if let Err(error) = &result {
                *caller.data_mut() = names(error);
            }
            result
        })
        .unwrap();
    let mut store = Store::new(&engine, String::new());
    let instance = linker.instantiate(&mut store, &module).unwrap();
    let outer = instance.get_typed_func::<i32, ()>(&mut store, "outer").unwrap();
    outer.call(&mut store, 0).unwrap();
    let error = outer.call(&mut store, 1).unwrap_err();
    assert_eq!(names(&error), "deep inner call_host outer");
    assert_eq!(store.data(), "deep inner call_host outer");
    let error = outer.call(&mut store, 7).unwrap_err();
    assert_eq!((names(&error).as_str(), error.to_string().as_str()), ("call_host outer", "seven"));
    // The store is as good as before.
    outer.call(&mut store, 0).unwrap();
}

#[test]
fn host_errors_keep_what_they_are() {
    for engine in engines() {
        let module = Module::new(
        &engine,
        r#"(module (import "h" "f" (func $f (param i32) (result i32))) (func (export "g") (param i32) (result i32)
            (call $f (local.get 0))))"#,
    )
    .unwrap();
        let mut linker: Linker<()> = Linker::new(&engine);
        linker
            .func_wrap("h", "f", |n: i32| -> Result<i32> {
                match n {
                    0 => Err(Error::exit(42)),
                    1 => Err("x".parse::<i32>().unwrap_err().into()),
                    2 => Err(Trap::HeapMisaligned.into()),
                    3 => panic!("the host panics"),
                    n => Ok(n),
                }
            })
            .unwrap();
        let mut store = Store::new(&engine, ());
        let instance = linker.instantiate(&mut store, &module).unwrap();
        let g = instance.get_typed_func::<i32, i32>(&mut store, "g").unwrap();
        let exit = g.call(&mut store, 0).unwrap_err();
        assert_eq!((exit.kind(), exit.exit_code()), (ErrorKind::Exit, Some(42)));
        let parse = g.call(&mut store, 1).unwrap_err();
        assert!(parse.downcast_ref::<std::num::ParseIntError>().is_some());
        assert!(parse.downcast::<std::num::ParseIntError>().is_ok());
        assert_eq!(g.call(&mut store, 2).unwrap_err().trap(), Some(Trap::HeapMisaligned));
        let payload = catch_unwind(AssertUnwindSafe(|| g.call(&mut store, 3))).unwrap_err();
        assert_eq!(payload.downcast_ref::<&str>(), Some(&"the host panics"));
        assert_eq!(g.call(&mut store, 4).unwrap(), 4);
    }
}

const RECURSE: &str = r#"(module (import "h" "host" (func $host (param i32) (result i32)))
    (func $recurse (export "f") (param i32) (result i32)
        (if (result i32) (i32.eqz (local.get 0)) (then (i32.const 0))
            (else (i32.add (i32.const 1) (call $recurse (i32.sub (local.get 0) (i32.const 1)))))))
    (func (export "g") (param i32) (result i32)
        (if (result i32) (call $host (local.get 0)) (then (i32.const 1))
            (else (i32.add (i32.const 1) (call 2 (i32.sub (local.get 0) (i32.const 1))))))))"#;

fn recursing(engine: &Engine) -> (Store<()>, Instance) {
    let module = Module::new(engine, RECURSE).unwrap();
    let mut linker: Linker<()> = Linker::new(engine);
    linker
        .func_wrap("h", "host", |mut caller: Caller<'_, ()>, n: i32| -> Result<i32> {
            // Uses some of the stack that is left to the host, also at wasm's limit.
            let bytes = std::hint::black_box([n as u8; 32 << 10]);
            let instance = caller.instance().ok_or_else(|| Error::msg("no instance"))?;
            let f = instance.get_typed_func::<i32, i32>(&mut caller, "f")?;
            match f.call(&mut caller, i32::from(bytes[77]) & 1) {
                Ok(_) => Ok(0),
                Err(error) if error.trap() == Some(Trap::StackOverflow) => Ok(1),
                Err(error) => Err(error),
            }
        })
        .unwrap();
    let mut store = Store::new(engine, ());
    let instance = linker.instantiate(&mut store, &module).unwrap();
    (store, instance)
}

#[test]
fn stack_overflow_is_a_trap_on_every_stack() {
    let mut large = Config::new();
    large.host.max_wasm_stack = 64 << 20;
    for engine in [Engine::default(), Engine::new(&large).unwrap()] {
        for stack in [128 << 10, 256 << 10, 2 << 20, 8 << 20] {
            let engine = engine.clone();
            let thread = std::thread::Builder::new().stack_size(stack);
            let join = thread.spawn(move || {
                let (mut store, instance) = recursing(&engine);
                let f = instance.get_typed_func::<i32, i32>(&mut store, "f").unwrap();
                for _ in 0..3 {
                    let error = f.call(&mut store, i32::MAX).unwrap_err();
                    assert_eq!(error.trap(), Some(Trap::StackOverflow));
                    if let Some(backtrace) = error.backtrace() {
                        assert!(backtrace.is_truncated());
                        assert_eq!(backtrace.frames()[0].function_name().as_deref(), Some("recurse"));
                    }
                    if stack > 128 << 10 {
                        assert_eq!(f.call(&mut store, 100).unwrap(), 100);
                    }
                }
            });
            join.unwrap().join().unwrap();
        }
    }
}

#[test]
fn a_host_function_at_the_limit_still_works() {
    for engine in engines() {
        let (mut store, instance) = recursing(&engine);
        let g = instance.get_typed_func::<i32, i32>(&mut store, "g").unwrap();
        // Deeper and deeper until the host's nested call finds no stack, which it says by returning.
        assert!(g.call(&mut store, i32::MAX).unwrap() > 1000);
    }
}

#[test]
fn interruption_stops_loops_and_recursion() {
    for engine in engines() {
        let wat = r#"(module (func (export "f") (param i32)
        (if (local.get 0) (then (loop $outer (loop $l (br $l)) (br $outer))))))"#;
        let (mut store, f) = function::<i32, ()>(&engine, wat, "f");
        let handle = store.interrupt_handle();
        let done = Arc::new(AtomicBool::new(false));
        let thread = {
            let (handle, done) = (handle.clone(), done.clone());
            std::thread::spawn(move || {
                while !done.load(Ordering::Relaxed) {
                    std::thread::sleep(Duration::from_millis(5));
                    handle.interrupt();
                }
            })
        };
        let error = f.call(&mut store, 1).unwrap_err();
        done.store(true, Ordering::Relaxed);
        thread.join().unwrap();
        assert_eq!(error.trap(), Some(Trap::Interrupt));
        // One that comes while nothing runs stops the next call, once.
        handle.interrupt();
        assert_eq!(f.call(&mut store, 1).unwrap_err().trap(), Some(Trap::Interrupt));
        f.call(&mut store, 0).unwrap();
        drop(store);
        handle.interrupt();
    }
}

#[test]
fn stores_run_on_many_threads() {
    for engine in engines() {
        let module = Module::new(
            &engine,
            r#"(module (memory 1) (func (export "f") (param i32) (result i32)
            (i32.store (i32.const 0) (i32.add (i32.load (i32.const 0)) (local.get 0)))
            (i32.load (i32.mul (i32.load (i32.const 0)) (i32.const 4)))))"#,
        )
        .unwrap();
        let threads: Vec<_> = (0..4)
            .map(|_| {
                let (engine, module) = (engine.clone(), module.clone());
                std::thread::spawn(move || {
                    for _ in 0..20 {
                        let mut store = Store::new(&engine, ());
                        let instance = Instance::new(&mut store, &module, &[]).unwrap();
                        let f = instance.get_typed_func::<i32, i32>(&mut store, "f").unwrap();
                        for _ in 0..50 {
                            f.call(&mut store, 1).unwrap();
                        }
                        assert_eq!(
                            f.call(&mut store, 1 << 20).unwrap_err().trap(),
                            Some(Trap::MemoryOutOfBounds)
                        );
                        // Modules come and go while others trap.
                        let (mut other, g) =
                            function::<(), ()>(&engine, "(module (func (export \"g\") unreachable))", "g");
                        assert_eq!(g.call(&mut other, ()).unwrap_err().trap(), Some(Trap::Unreachable));
                    }
                })
            })
            .collect();
        for thread in threads {
            thread.join().unwrap();
        }
    }
}

#[test]
fn a_store_moves_between_threads() {
    for engine in engines() {
        let (mut store, f) = function::<i32, i32>(
            &engine,
            "(module (func (export \"f\") (param i32) (result i32) (i32.div_u (i32.const 6) (local.get 0))))",
            "f",
        );
        for _ in 0..3 {
            store = std::thread::spawn(move || {
                assert_eq!(f.call(&mut store, 2).unwrap(), 3);
                assert_eq!(f.call(&mut store, 0).unwrap_err().trap(), Some(Trap::IntegerDivisionByZero));
                store
            })
            .join()
            .unwrap();
        }
    }
}

#[test]
fn tail_calls_between_instances_come_home() {
    for engine in engines() {
        let mut store = Store::new(&engine, ());
        let wat = |other: &str, name: &str, global: i64| {
            format!(
                r#"(module (import "" "t" (table 2 funcref)) (type $t (func (param i64) (result i64)))
                (global $g i64 (i64.const {global}))
                (func $f (export "f") (param i64) (result i64)
                    (if (result i64) (i64.eqz (local.get 0)) (then (global.get $g))
                        (else (return_call_indirect (type $t) (i64.sub (local.get 0) (i64.const 1)) (i32.const {other})))))
                (elem (offset (i32.const {name})) $f)
                (func (export "run") (param i64) (result i64)
                    (i64.add (i64.mul (call $f (local.get 0)) (i64.const 1000)) (global.get $g))))"#
            )
        };
        let ty =
            sphex::TableType { element: sphex::RefType::Func, minimum: 2, maximum: None, table64: false };
        let table = sphex::Table::new(&mut store, ty, Val::FuncRef(None)).unwrap();
        let a = Module::new(&engine, wat("1", "0", 3)).unwrap();
        let b = Module::new(&engine, wat("0", "1", 5)).unwrap();
        let a = Instance::new(&mut store, &a, &[table.into()]).unwrap();
        let b = Instance::new(&mut store, &b, &[table.into()]).unwrap();
        for (instance, own, other) in [(a, 3, 5), (b, 5, 3)] {
            let run = instance.get_typed_func::<i64, i64>(&mut store, "run").unwrap();
            assert_eq!(run.call(&mut store, 10_000_001).unwrap(), other * 1000 + own);
            assert_eq!(run.call(&mut store, 10_000_000).unwrap(), own * 1000 + own);
        }
    }
}

#[test]
fn ten_million_references_pass_in_bounded_memory() {
    for engine in engines() {
        let module = Module::new(
            &engine,
            r#"(module (import "h" "make" (func $make (param i32) (result externref)))
            (import "h" "use" (func $use (param externref externref) (result i32)))
            (table $t 1 externref) (global $g (mut externref) (ref.null extern))
            (func (export "run") (param i32) (result i32)
                (local $kept externref) (local $new externref) (local $sum i32)
                (local.set $kept (call $make (i32.const 1000)))
                (table.set $t (i32.const 0) (call $make (i32.const 2000)))
                (global.set $g (call $make (i32.const 3000)))
                (loop $l
                    (local.set $new (call $make (local.get 0)))
                    (local.set $sum (i32.add (local.get $sum) (call $use (local.get $kept) (local.get $new))))
                    (local.set 0 (i32.sub (local.get 0) (i32.const 1)))
                    (br_if $l (local.get 0)))
                (i32.add (local.get $sum)
                    (call $use (table.get $t (i32.const 0)) (global.get $g)))))"#,
        )
        .unwrap();
        let mut linker: Linker<i64> = Linker::new(&engine);
        let value = |reference: &Option<ExternRef>| {
            reference.as_ref().and_then(|r| r.downcast_ref::<i32>().copied()).unwrap_or(i32::MIN)
        };
        linker.func_wrap("h", "make", |n: i32| Some(ExternRef::new(n))).unwrap();
        linker
            .func_wrap(
                "h",
                "use",
                move |mut caller: Caller<'_, i64>, a: Option<ExternRef>, b: Option<ExternRef>| {
                    let live = caller.as_context_mut().externref_count() as i64;
                    *caller.data_mut() = (*caller.data()).max(live);
                    value(&a).wrapping_mul(3).wrapping_add(value(&b))
                },
            )
            .unwrap();
        let mut store = Store::new(&engine, 0);
        let instance = linker.instantiate(&mut store, &module).unwrap();
        let run = instance.get_typed_func::<i32, i32>(&mut store, "run").unwrap();
        let n: i32 = 10_000_000;
        let mut expected = 2000i32.wrapping_mul(3).wrapping_add(3000);
        for i in 1..=n {
            expected = expected.wrapping_add(3000i32.wrapping_add(i));
        }
        assert_eq!(run.call(&mut store, n).unwrap(), expected);
        assert!(*store.data() < 100_000, "{} references at once", store.data());
        assert!(store.externref_count() < 100_000);
    }
}

/// A host function that overflows the stack is the host's own fault: the process dies with Rust's message.
#[test]
fn an_overflow_of_the_host_is_told_by_rust() {
    use std::os::unix::process::ExitStatusExt;
    #[allow(unconditional_recursion)]
    fn deep(n: u64) -> u64 {
        let bytes = std::hint::black_box([n; 64]);
        deep(n + 1) + bytes[7]
    }
    if std::env::var_os("SPHEX_OVERFLOW").is_some() {
        let engine = Engine::default();
        let mut linker: Linker<()> = Linker::new(&engine);
        linker.func_wrap("h", "deep", || deep(0) as i64).unwrap();
        let wat = r#"(module (import "h" "deep" (func $deep (result i64)))
            (func (export "f") (result i64) (i64.add (call $deep) (i64.const 1))))"#;
        let mut store = Store::new(&engine, ());
        let instance = linker.instantiate(&mut store, &Module::new(&engine, wat).unwrap()).unwrap();
        let f = instance.get_typed_func::<(), i64>(&mut store, "f").unwrap();
        let _ = f.call(&mut store, ());
        return;
    }
    let this = std::env::current_exe().unwrap();
    let mut command = std::process::Command::new(this);
    command
        .args(["an_overflow_of_the_host_is_told_by_rust", "--exact", "--nocapture"])
        .env("SPHEX_OVERFLOW", "1");
    let ended = command.output().unwrap();
    let told = String::from_utf8_lossy(&ended.stderr);
    assert!(told.contains("has overflowed its stack"), "{told}");
    assert_eq!(ended.status.signal(), Some(6), "{told}");
}

/// On a fiber: recursion, and a host function at the limit that enters again.
#[test]
fn stack_overflow_on_a_fiber_is_a_trap() {
    use std::future::Future;
    for engine in engines() {
        let (mut store, instance) = recursing(&engine);
        let f = instance.get_typed_func::<i32, i32>(&mut store, "f").unwrap();
        let g = instance.get_typed_func::<i32, i32>(&mut store, "g").unwrap();
        let mut context = std::task::Context::from_waker(std::task::Waker::noop());
        for _ in 0..3 {
            let ended = std::pin::pin!(f.call_async(&mut store, i32::MAX)).poll(&mut context);
            let std::task::Poll::Ready(Err(error)) = ended else { panic!("expected a trap") };
            assert_eq!(error.trap(), Some(Trap::StackOverflow), "{error:?}");
            let ended = std::pin::pin!(g.call_async(&mut store, i32::MAX)).poll(&mut context);
            let std::task::Poll::Ready(Ok(depth)) = ended else { panic!("expected a depth") };
            assert!(depth > 100, "{depth}");
        }
        assert_eq!(f.call(&mut store, 100).unwrap(), 100);
    }
}

//! Async calls: to and fro, nested, with traps, panics and exits.
#![cfg(feature = "compiler")]

mod tasks;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::task::Poll;

use sphex::{
    Caller, Config, Engine, Error, ErrorKind, ExternRef, ExternType, Func, FuncType, Instance, Linker,
    Module, Store, Trap, Val, ValType,
};
use tasks::{Turns, block_on, count_turns, poll};

/// Engines that keep memories in place and that move them, and one that compiles lazily.
fn engines() -> Vec<Engine> {
    let mut moving = Config::new();
    moving.compile.memory_reservation = 0;
    let mut lazy = Config::new();
    lazy.host.lazy_compilation = true;
    vec![Engine::default(), Engine::new(&moving).unwrap(), Engine::new(&lazy).unwrap()]
}

const TO_AND_FRO: &str = r#"(module
    (import "h" "wait" (func $wait (param i32) (result i32)))
    (import "h" "again" (func $again (param i32) (result i32)))
    (memory (export "memory") 1)
    (func $fill (param i32) (result i32)
        (i32.store (i32.const 8) (i32.add (i32.load (i32.const 8)) (i32.const 1)))
        (local.get 0))
    (func (export "wait") (param i32) (result i32)
        (i32.add (call $wait (call $fill (local.get 0))) (i32.const 1)))
    (func (export "loop") (param $n i32) (result i32) (local $sum i32)
        (loop $l
            (local.set $sum (i32.add (local.get $sum) (call $wait (local.get $n))))
            (local.set $n (i32.sub (local.get $n) (i32.const 1)))
            (br_if $l (local.get $n)))
        (local.get $sum))
    (func (export "nest") (param i32) (result i32)
        (i32.add (call $again (local.get 0)) (call $wait (i32.const 1)))))"#;

/// `wait(n)` is pending n times; `again(n)` calls `nest(n - 1)`, itself async, down to 0.
fn to_and_fro(engine: &Engine) -> (Store<u32>, Instance) {
    let module = Module::new(engine, TO_AND_FRO).unwrap();
    let mut linker: Linker<u32> = Linker::new(engine);
    linker
        .func_wrap_async("h", "wait", |mut caller: Caller<'_, u32>, (n,): (i32,)| {
            Box::new(async move {
                Turns(n as u32).await;
                *caller.data_mut() += 1;
                n
            })
        })
        .unwrap();
    linker
        .func_wrap_async("h", "again", |mut caller: Caller<'_, u32>, (n,): (i32,)| {
            Box::new(async move {
                if n == 0 {
                    return Ok(100);
                }
                let instance = caller.instance().ok_or_else(|| Error::msg("no instance"))?;
                let nest = instance.get_typed_func::<i32, i32>(&mut caller, "nest")?;
                let result = nest.call_async(&mut caller, n - 1).await?;
                Turns(1).await;
                Ok::<i32, Error>(result)
            })
        })
        .unwrap();
    let mut store = Store::new(engine, 0);
    let instance = linker.instantiate(&mut store, &module).unwrap();
    (store, instance)
}

#[test]
fn calls_wait_and_go_on() {
    for engine in engines() {
        let (mut store, instance) = to_and_fro(&engine);
        let wait = instance.get_typed_func::<i32, i32>(&mut store, "wait").unwrap();
        for n in 0..5 {
            let (result, turns) = count_turns(wait.call_async(&mut store, n));
            assert_eq!((result.unwrap(), turns), (n + 1, n as usize));
        }
        assert_eq!(*store.data(), 5);
        let memory = instance.get_memory(&mut store, "memory").unwrap();
        assert_eq!(memory.data(&store).unwrap()[8], 5);
        let sum = instance.get_typed_func::<i32, i32>(&mut store, "loop").unwrap();
        let (result, turns) = count_turns(sum.call_async(&mut store, 100));
        assert_eq!((result.unwrap(), turns), (5050, 5050));
    }
}

#[test]
fn calls_nest() {
    for engine in engines() {
        let (mut store, instance) = to_and_fro(&engine);
        let nest = instance.get_typed_func::<i32, i32>(&mut store, "nest").unwrap();
        for depth in [0, 1, 2, 10] {
            let (result, turns) = count_turns(nest.call_async(&mut store, depth));
            assert_eq!((result.unwrap(), turns), (101 + depth, 1 + 2 * depth as usize));
        }
    }
}

/// Polls each time on a thread of its own.
fn on_other_threads<F: Future + Send>(future: F) -> F::Output
where
    F::Output: Send,
{
    let mut future = Box::pin(future);
    loop {
        let future = &mut future;
        let polled = std::thread::scope(|scope| {
            let join = scope.spawn(move || poll(future.as_mut())).join();
            join.unwrap_or_else(|payload| std::panic::resume_unwind(payload))
        });
        if let Poll::Ready(output) = polled {
            return output;
        }
    }
}

#[test]
fn calls_move_between_threads() {
    for engine in engines() {
        let (mut store, instance) = to_and_fro(&engine);
        let nest = instance.get_typed_func::<i32, i32>(&mut store, "nest").unwrap();
        assert_eq!(on_other_threads(nest.call_async(&mut store, 6)).unwrap(), 107);
        let wait = instance.get_typed_func::<i32, i32>(&mut store, "wait").unwrap();
        assert_eq!(on_other_threads(wait.call_async(&mut store, 20)).unwrap(), 21);
        assert_eq!(block_on(wait.call_async(&mut store, 2)).unwrap(), 3);
    }
}

const ENDS: &str = r#"(module $ends
    (import "h" "end" (func $end (param i32)))
    (memory 1)
    (func $deep (param i32) (call $end (local.get 0)) (call $trap (local.get 0)))
    (func $trap (param i32)
        (if (i32.eq (local.get 0) (i32.const 10)) (then unreachable))
        (if (i32.eq (local.get 0) (i32.const 11)) (then (drop (i32.load (i32.const 0x7fffffff)))))
        (if (i32.eq (local.get 0) (i32.const 12)) (then (drop (i32.div_u (i32.const 1) (i32.const 0))))))
    (func (export "f") (param i32) (call $deep (local.get 0)))
    (func $recurse (export "recurse") (param i32) (result i32)
        (call $end (i32.mul (i32.const 20) (i32.eqz (i32.and (local.get 0) (i32.const 1023)))))
        (if (result i32) (i32.eqz (local.get 0)) (then (i32.const 0))
            (else (i32.add (i32.const 1) (call $recurse (i32.sub (local.get 0) (i32.const 1))))))))"#;

/// `end(n)` waits twice if n is positive; then ends the program, fails, or panics, as n says.
fn ends(engine: &Engine) -> (Store<()>, Instance) {
    let module = Module::new(engine, ENDS).unwrap();
    let mut linker: Linker<()> = Linker::new(engine);
    linker
        .func_wrap_async("h", "end", |_: Caller<'_, ()>, (n,): (i32,)| {
            Box::new(async move {
                if n > 0 {
                    Turns(2).await;
                }
                match n {
                    1 => Err(Error::exit(7)),
                    2 => Err("x".parse::<i32>().unwrap_err().into()),
                    3 => panic!("the host panics"),
                    _ => Ok(()),
                }
            })
        })
        .unwrap();
    let mut store = Store::new(engine, ());
    let instance = linker.instantiate(&mut store, &module).unwrap();
    (store, instance)
}

fn names(error: &Error) -> String {
    let frames = error.backtrace().map_or(&[][..], |backtrace| backtrace.frames());
    let names: Vec<String> = frames.iter().filter_map(|frame| frame.function_name()).collect();
    names.join(" ")
}

#[test]
fn traps_errors_exits_and_panics_leave_a_fiber() {
    let mut config = Config::new();
    config.compile.inlining = false;
    let engine = Engine::new(&config).unwrap();
    for away in [false, true] {
        let (mut store, instance) = ends(&engine);
        let f = instance.get_typed_func::<i32, ()>(&mut store, "f").unwrap();
        let mut run = |n: i32| match away {
            true => on_other_threads(f.call_async(&mut store, n)),
            false => block_on(f.call_async(&mut store, n)),
        };
        let exit = run(1).unwrap_err();
        assert_eq!((exit.kind(), exit.exit_code()), (ErrorKind::Exit, Some(7)));
        assert_eq!(names(&exit), "deep f");
        assert!(run(2).unwrap_err().downcast_ref::<std::num::ParseIntError>().is_some());
        let payload = catch_unwind(AssertUnwindSafe(|| run(3))).unwrap_err();
        assert_eq!(payload.downcast_ref::<&str>(), Some(&"the host panics"));
        let traps =
            [(10, Trap::Unreachable), (11, Trap::MemoryOutOfBounds), (12, Trap::IntegerDivisionByZero)];
        for (n, trap) in traps {
            let error = run(n).unwrap_err();
            assert_eq!(error.trap(), Some(trap));
            assert_eq!(names(&error), "trap deep f");
        }
        run(4).unwrap();
        run(0).unwrap();
    }
}

#[test]
fn recursion_overflows_a_fiber() {
    for size in [256 << 10, 2 << 20, 16 << 20] {
        let mut config = Config::new();
        config.host.async_stack_size = size;
        config.host.max_wasm_stack = 64 << 20;
        let engine = Engine::new(&config).unwrap();
        let (mut store, instance) = ends(&engine);
        let recurse = instance.get_typed_func::<i32, i32>(&mut store, "recurse").unwrap();
        for _ in 0..3 {
            let error = block_on(recurse.call_async(&mut store, (i32::MAX >> 10) << 10)).unwrap_err();
            assert_eq!(error.trap(), Some(Trap::StackOverflow));
            let backtrace = error.backtrace().unwrap();
            assert!(backtrace.is_truncated());
            assert_eq!(backtrace.frames()[0].function_name().as_deref(), Some("recurse"));
            assert_eq!(block_on(recurse.call_async(&mut store, 0)).unwrap(), 0);
        }
    }
    let mut config = Config::new();
    config.host.async_stack_size = 4096;
    assert_eq!(Engine::new(&config).unwrap_err().kind(), ErrorKind::Argument);
}

#[test]
fn endless_nesting_overflows() {
    let engine = Engine::default();
    let (mut store, instance) = to_and_fro(&engine);
    let nest = instance.get_typed_func::<i32, i32>(&mut store, "nest").unwrap();
    for _ in 0..2 {
        let error = block_on(nest.call_async(&mut store, i32::MAX)).unwrap_err();
        assert_eq!(error.trap(), Some(Trap::StackOverflow));
        assert!(names(&error).starts_with("nest nest"), "{}", names(&error));
    }
    assert_eq!(block_on(nest.call_async(&mut store, 3)).unwrap(), 104);
}

#[test]
fn start_functions_wait() {
    let engine = Engine::default();
    let module = Module::new(
        &engine,
        r#"(module (import "h" "wait" (func $wait)) (global $g (export "g") (mut i32) (i32.const 0))
            (func $start (call $wait) (global.set $g (i32.const 5))) (start $start))"#,
    )
    .unwrap();
    let mut linker: Linker<()> = Linker::new(&engine);
    linker.func_wrap_async("h", "wait", |_: Caller<'_, ()>, (): ()| Box::new(Turns(3))).unwrap();
    let mut store = Store::new(&engine, ());
    assert_eq!(linker.instantiate(&mut store, &module).unwrap_err().kind(), ErrorKind::WouldSuspend);
    let (instance, turns) = count_turns(linker.instantiate_async(&mut store, &module));
    assert_eq!(turns, 3);
    let global = instance.unwrap().get_global(&mut store, "g").unwrap();
    assert_eq!(global.get(&mut store).unwrap().i32(), Some(5));
    let pre = linker.instantiate_pre(&module).unwrap();
    assert_eq!(count_turns(pre.instantiate_async(&mut store)).1, 3);
    let wait = linker.get(&mut store, "h", "wait").unwrap();
    assert_eq!(count_turns(Instance::new_async(&mut store, &module, &[wait])).1, 3);
    let none = block_on(Instance::new_async(&mut store, &module, &[])).unwrap_err();
    assert_eq!(none.kind(), ErrorKind::Link);
}

#[test]
fn values_of_every_type_pass_while_waiting() {
    let engine = Engine::default();
    let module = Module::new(
        &engine,
        r#"(module
            (type $t (func (param i32 i64 f32 f64 funcref externref i32 i32 i32 i64)
                (result externref i64 f32 f64 funcref i32 i32 i32 i64 i32)))
            (import "h" "typed" (func $typed (type $t)))
            (import "h" "untyped" (func $untyped (type $t)))
            (func (export "typed") (type $t)
                (call $typed (local.get 0) (local.get 1) (local.get 2) (local.get 3) (local.get 4) (local.get 5)
                    (local.get 6) (local.get 7) (local.get 8) (local.get 9)))
            (func (export "untyped") (type $t)
                (call $untyped (local.get 0) (local.get 1) (local.get 2) (local.get 3) (local.get 4) (local.get 5)
                    (local.get 6) (local.get 7) (local.get 8) (local.get 9))))"#,
    )
    .unwrap();
    type In = (i32, i64, f32, f64, Option<Func>, Option<ExternRef>, i32, i32, i32, i64);
    type Out = (Option<ExternRef>, i64, f32, f64, Option<Func>, i32, i32, i32, i64, i32);
    let mut linker: Linker<()> = Linker::new(&engine);
    linker
        .func_wrap_async("h", "typed", |_: Caller<'_, ()>, v: In| {
            Box::new(async move {
                Turns(2).await;
                (v.5, v.1 + 1, v.2, v.3, v.4, v.0, v.6, v.7, v.9, v.8)
            })
        })
        .unwrap();
    let ExternType::Func(ty) = module.imports().next().unwrap().ty else {
        panic!("an import that is a function")
    };
    linker
        .func_new_async("h", "untyped", ty, |_: Caller<'_, ()>, v: &[Val], results: &mut [Val]| {
            Box::new(async move {
                Turns(2).await;
                let order = [5, 1, 2, 3, 4, 0, 6, 7, 9, 8];
                for (result, from) in results.iter_mut().zip(order) {
                    *result = v[from].clone();
                }
                results[1] = Val::I64(v[1].i64().unwrap_or(0) + 1);
                Ok(())
            })
        })
        .unwrap();
    let mut store = Store::new(&engine, ());
    let instance = linker.instantiate(&mut store, &module).unwrap();
    let some = Func::wrap(&mut store, || 3).unwrap();
    for name in ["typed", "untyped"] {
        let f = instance.get_typed_func::<In, Out>(&mut store, name).unwrap();
        for round in 0..100 {
            let params: In =
                (1, i64::MIN, 1.5, -0.5, Some(some), Some(ExternRef::new(round)), 4, 5, 6, i64::MAX);
            let (result, turns) = count_turns(f.call_async(&mut store, params));
            let r = result.unwrap();
            assert_eq!(turns, 2);
            let (seen, rest) = (r.0.unwrap(), (r.1, r.2, r.3, r.4, r.5, r.6, r.7, r.8, r.9));
            assert_eq!(seen.data().downcast_ref::<i32>(), Some(&round));
            assert_eq!(rest, (i64::MIN + 1, 1.5, -0.5, Some(some), 1, 4, 5, i64::MAX, 6));
        }
    }
    // By values, the host's own function, without wasm in between.
    let double = Func::wrap_async(&mut store, |_: Caller<'_, ()>, (n,): (i64,)| {
        Box::new(async move {
            Turns(1).await;
            n * 2
        })
    })
    .unwrap();
    let mut results = [Val::I64(0)];
    let (outcome, turns) = count_turns(double.call_async(&mut store, &[Val::I64(21)], &mut results));
    outcome.unwrap();
    assert_eq!((results[0].i64(), turns), (Some(42), 1));
    let wrong = block_on(double.call_async(&mut store, &[Val::I32(21)], &mut results)).unwrap_err();
    assert_eq!(wrong.kind(), ErrorKind::Type);
    let mut other = Store::new(&engine, ());
    let wrong = block_on(double.call_async(&mut other, &[Val::I64(21)], &mut results)).unwrap_err();
    assert_eq!(wrong.kind(), ErrorKind::WrongStore);
    let bad = Func::new_async(&mut store, FuncType::new([], [ValType::I32]), |_, _, results: &mut [Val]| {
        Box::new(async move {
            results[0] = Val::I64(1);
            Ok(())
        })
    })
    .unwrap();
    let wrong = block_on(bad.call_async(&mut store, &[], &mut [Val::I32(0)])).unwrap_err();
    assert_eq!(wrong.kind(), ErrorKind::Type);
}

#[test]
fn references_survive_while_waiting() {
    // Nested calls make so many host references that the heap is collected while outer frames, on other stacks, hold one.
    let engine = Engine::default();
    let module = Module::new(
        &engine,
        r#"(module
            (import "h" "fresh" (func $fresh (param i32) (result externref)))
            (import "h" "same" (func $same (param externref i32) (result i32)))
            (import "h" "again" (func $again (param i32)))
            (func (export "f") (param $n i32) (result i32) (local $mine externref) (local $i i32)
                (local.set $mine (call $fresh (local.get $n)))
                (if (local.get $n) (then (call $again (i32.sub (local.get $n) (i32.const 1)))))
                (local.set $i (i32.const 3000))
                (loop $l
                    (drop (call $fresh (i32.const -1)))
                    (br_if $l (local.tee $i (i32.sub (local.get $i) (i32.const 1)))))
                (call $same (local.get $mine) (local.get $n))))"#,
    )
    .unwrap();
    let mut linker: Linker<()> = Linker::new(&engine);
    linker
        .func_wrap_async("h", "fresh", |_: Caller<'_, ()>, (n,): (i32,)| {
            Box::new(async move {
                Turns(u32::from(n % 2 == 1)).await;
                Some(ExternRef::new(n))
            })
        })
        .unwrap();
    linker
        .func_wrap_async("h", "same", |_: Caller<'_, ()>, (r, n): (Option<ExternRef>, i32)| {
            Box::new(async move {
                Turns(1).await;
                i32::from(r.is_some_and(|r| r.data().downcast_ref() == Some(&n)))
            })
        })
        .unwrap();
    linker
        .func_wrap_async("h", "again", |mut caller: Caller<'_, ()>, (n,): (i32,)| {
            Box::new(async move {
                let instance = caller.instance().ok_or_else(|| Error::msg("no instance"))?;
                let f = instance.get_typed_func::<i32, i32>(&mut caller, "f")?;
                match f.call_async(&mut caller, n).await? {
                    1 => Ok(()),
                    _ => Err(Error::msg("another reference")),
                }
            })
        })
        .unwrap();
    let mut store = Store::new(&engine, ());
    let instance = linker.instantiate(&mut store, &module).unwrap();
    let f = instance.get_typed_func::<i32, i32>(&mut store, "f").unwrap();
    assert_eq!(block_on(f.call_async(&mut store, 5)).unwrap(), 1);
    assert!(store.externref_count() < 15_000, "{}", store.externref_count());
}

#[test]
fn a_call_that_is_forgotten_leaves_the_store_usable() {
    let engine = Engine::default();
    let (mut store, instance) = to_and_fro(&engine);
    let wait = instance.get_typed_func::<i32, i32>(&mut store, "wait").unwrap();
    let nest = instance.get_typed_func::<i32, i32>(&mut store, "nest").unwrap();
    for _ in 0..3 {
        let mut call = Box::pin(wait.call_async(&mut store, 3));
        assert!(poll(call.as_mut()).is_pending());
        std::mem::forget(call);
        assert_eq!(block_on(nest.call_async(&mut store, 2)).unwrap(), 103);
        assert_eq!(wait.call(&mut store, 3).unwrap_err().kind(), ErrorKind::WouldSuspend);
        // A future that was never polled has run nothing.
        drop(wait.call_async(&mut store, 3));
    }
}

#[test]
fn futures_are_sent_with_their_stores() {
    fn sent<F: Send>(future: F) -> F {
        future
    }
    let engine = Engine::default();
    let (mut store, instance) = to_and_fro(&engine);
    let wait = instance.get_typed_func::<i32, i32>(&mut store, "wait").unwrap();
    assert_eq!(block_on(sent(wait.call_async(&mut store, 1))).unwrap(), 2);
    let mut results = [Val::I32(0)];
    let params = [Val::I32(1)];
    block_on(sent(wait.func().call_async(&mut store, &params, &mut results))).unwrap();
    let module = instance.module(&store).unwrap();
    let linker: Linker<u32> = Linker::new(&engine);
    drop(sent(linker.instantiate_async(&mut store, &module)));
}

#[test]
fn many_polls() {
    let engine = Engine::default();
    let (mut store, instance) = to_and_fro(&engine);
    let wait = instance.get_typed_func::<i32, i32>(&mut store, "wait").unwrap();
    let (result, turns) = count_turns(wait.call_async(&mut store, 300_000));
    assert_eq!((result.unwrap(), turns), (300_001, 300_000));
    for n in 0..20_000 {
        assert_eq!(block_on(wait.call_async(&mut store, n & 1)).unwrap(), (n & 1) + 1);
    }
}

/// A host function that uses more than its stack ends the process, with a message. (Runs itself again, to die.)
#[test]
fn a_host_function_that_overflows_a_fiber_says_so() {
    const CHILD: &str = "SPHEX_TEST_OVERFLOW";
    fn recurse(n: u64) -> u64 {
        let bytes = std::hint::black_box([n as u8; 4000]);
        if n == 0 { 0 } else { recurse(n - 1) + u64::from(bytes[17]) }
    }
    if std::env::var_os(CHILD).is_some() {
        let engine = Engine::default();
        let mut store = Store::new(&engine, ());
        let f = Func::wrap_async(&mut store, |_: Caller<'_, ()>, (n,): (u64,)| {
            Box::new(async move {
                Turns(1).await;
                recurse(n)
            })
        })
        .unwrap();
        let f = f.typed::<u64, u64>(&store).unwrap();
        println!("{}", on_other_threads(f.call_async(&mut store, u64::MAX)).unwrap());
        return;
    }
    let output = std::process::Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "a_host_function_that_overflows_a_fiber_says_so", "--nocapture"])
        .env(CHILD, "1")
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stderr);
    assert!(text.contains("has overflowed the stack of an async call"), "{text}");
    assert!(!output.status.success());
}

/// What walks the stack from a host function on a fiber passes wasm (whose unwind records are registered) and ends at the
/// fiber's base: it does not go on into the poller, nor into nowhere.
#[test]
fn native_backtraces_end_at_the_base() {
    let mut config = Config::new();
    config.host.native_unwind = true;
    config.compile.inlining = false;
    let engine = Engine::new(&config).unwrap();
    let module = Module::new(
        &engine,
        r#"(module (import "h" "trace" (func $trace)) (func $f (call $trace)) (func (export "f") (call $f)))"#,
    )
    .unwrap();
    let mut linker: Linker<Vec<String>> = Linker::new(&engine);
    linker
        .func_wrap_async("h", "trace", |mut caller: Caller<'_, Vec<String>>, (): ()| {
            Box::new(async move {
                Turns(1).await;
                let text = std::backtrace::Backtrace::force_capture().to_string();
                let names = text
                    .lines()
                    .filter_map(|line| line.trim().split_once(": ").map(|name| name.1.to_string()));
                caller.data_mut().extend(names);
            })
        })
        .unwrap();
    let mut store = Store::new(&engine, Vec::new());
    let instance = linker.instantiate(&mut store, &module).unwrap();
    let f = instance.get_typed_func::<(), ()>(&mut store, "f").unwrap();
    on_other_threads(f.call_async(&mut store, ())).unwrap();
    let names = store.data();
    let place = |part: &str| names.iter().position(|name| name.contains(part));
    let (drive, enter) = (place("drive"), place("stubs::x64::enter"));
    assert!(drive.is_some() && place("on_other_threads").is_none(), "{names:#?}");
    if cfg!(target_arch = "x86_64") {
        assert!(enter.is_some_and(|enter| drive < Some(enter)), "{names:#?}");
        assert!(names.last().is_some_and(|name| name.contains("fiber::x64::base")), "{names:#?}");
    }
}

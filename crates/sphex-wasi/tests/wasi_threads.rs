//! `wasi-threads` by its API: numbers, limits, what ends a program, and what a module must have.

use sphex::{Engine, ErrorKind, Linker, Module, Result, Store, Trap};
use sphex_wasi::threads::WasiThreads;
use sphex_wasi::{SharedWasi, WasiCtx, preview1};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};

struct Guest {
    wasi: SharedWasi,
    threads: WasiThreads<Guest>,
    numbers: Arc<Mutex<Vec<i32>>>,
}

/// A program of this `wasi_thread_start` and `_start`, after imports that both may use.
fn program(thread: &str, start: &str) -> String {
    format!(
        r#"(module
            (import "env" "memory" (memory 1 1 shared))
            (import "wasi" "thread-spawn" (func $spawn (param i32) (result i32)))
            (import "wasi_snapshot_preview1" "proc_exit" (func $exit (param i32)))
            (import "wasi_snapshot_preview1" "sched_yield" (func $yield (result i32)))
            (import "test" "number" (func $number (param i32)))
            (import "test" "panic" (func $panic))
            (export "memory" (memory 0))
            (func $wait (drop (memory.atomic.wait32 (i32.const 8) (i32.const 0) (i64.const -1))))
            (func $done (drop (i32.atomic.rmw.add (i32.const 0) (i32.const 1)))
                (drop (memory.atomic.notify (i32.const 0) (i32.const -1))))
            (func $join (param i32) (loop $again
                (if (i32.lt_u (i32.atomic.load (i32.const 0)) (local.get 0))
                    (then (drop (call $yield)) (br $again)))))
            (func (export "wasi_thread_start") (param $number i32) (param $argument i32) {thread})
            (func (export "_start") (local $i i32) {start}))"#
    )
}

/// Runs it with so many threads at most; also the numbers that were told, and why a thread was refused.
fn run(text: &str, most: usize) -> (Result<()>, Vec<i32>, Option<String>) {
    let engine = Engine::default();
    let module = Module::new(&engine, text).unwrap();
    let mut linker: Linker<Guest> = Linker::new(&engine);
    preview1::add_to_linker_shared(&mut linker, &module, |guest| &guest.wasi).unwrap();
    WasiThreads::add_to_linker(&mut linker, |guest: &Guest| &guest.threads).unwrap();
    WasiThreads::define_memories(&mut linker, &module).unwrap();
    linker
        .func_wrap("test", "number", |caller: sphex::Caller<'_, Guest>, number: i32| {
            caller.data().numbers.lock().unwrap().push(number);
        })
        .unwrap();
    linker.func_wrap("test", "panic", || -> () { panic!("of the host") }).unwrap();
    let wasi = SharedWasi::new(WasiCtx::builder().build());
    let numbers = Arc::<Mutex<Vec<i32>>>::default();
    let stores = Arc::new(AtomicU32::new(0));
    let make = {
        let (engine, numbers, stores) = (engine.clone(), numbers.clone(), stores.clone());
        move |threads: &WasiThreads<Guest>| {
            stores.fetch_add(1, Ordering::SeqCst);
            let guest = Guest { wasi: wasi.clone(), threads: threads.clone(), numbers: numbers.clone() };
            Ok(Store::new(&engine, guest))
        }
    };
    let threads = WasiThreads::new(most, make.clone());
    threads.set_program(linker.instantiate_pre(&module).unwrap()).unwrap();
    let twice = threads.set_program(linker.instantiate_pre(&module).unwrap());
    assert_eq!(twice.unwrap_err().kind(), ErrorKind::Argument);
    let mut store = make(&threads).unwrap();
    let ended = threads.run(&mut store, |store| {
        let instance = linker.instantiate(&mut *store, &module)?;
        instance.get_typed_func::<(), ()>(&mut *store, "_start")?.call(store, ())
    });
    let numbers = numbers.lock().unwrap().clone();
    (ended, numbers, threads.refused())
}

const TEN: &str = "(loop $again
    (if (i32.lt_s (call $spawn (i32.const 0)) (i32.const 1)) (then unreachable))
    (call $join (local.tee $i (i32.add (local.get $i) (i32.const 1))))
    (br_if $again (i32.lt_u (local.get $i) (i32.const 10))))";

#[test]
fn numbers_are_positive_and_of_one_thread() {
    let text = program("(call $number (local.get $number)) (call $done)", TEN);
    let (ended, mut numbers, refused) = run(&text, 100);
    ended.unwrap();
    assert_eq!(refused, None);
    numbers.sort_unstable();
    numbers.dedup();
    assert_eq!(numbers.len(), 10);
    assert!(numbers.iter().all(|number| (1..=0x1fff_ffff).contains(number)));
}

#[test]
fn a_limit_is_an_error_code_and_a_reason() {
    let start = "(call $number (call $spawn (i32.const 0))) (call $number (call $spawn (i32.const 0)))
        (call $number (call $spawn (i32.const 0)))";
    let (ended, numbers, refused) = run(&program("(call $wait)", start), 2);
    ended.unwrap();
    assert_eq!(numbers, [1, 2, -6]);
    assert_eq!(refused.as_deref(), Some("3 threads: more than the limit of 2 threads"));
    let (ended, numbers, _) = run(&program("(call $wait)", "(call $number (call $spawn (i32.const 0)))"), 0);
    ended.unwrap();
    assert_eq!(numbers, [-6]);
}

#[test]
fn the_first_end_is_the_programs() {
    let spawn = "(drop (call $spawn (i32.const 1))) (drop (call $spawn (i32.const 2)))";
    let by_second = |what: &str| {
        program(
            &format!("(if (i32.eq (local.get $argument) (i32.const 2)) (then {what})) (call $wait)"),
            &format!("{spawn} (call $wait)"),
        )
    };
    assert_eq!(run(&by_second("(call $exit (i32.const 300))"), 8).0.unwrap_err().exit_code(), Some(300));
    let error = run(&by_second("unreachable"), 8).0.unwrap_err();
    assert_eq!(error.trap(), Some(Trap::Unreachable));
    assert!(error.backtrace().is_some() && format!("{error:#}").contains("thread "), "{error:#}");
    let error = run(&by_second("(call $panic)"), 8).0.unwrap_err();
    assert!(error.to_string().contains("the host panicked"), "{error}");
    // The first one's own end, while others wait, loop and call.
    let others = "(if (i32.eq (local.get $argument) (i32.const 2)) (then (loop $for_ever (br $for_ever)))) (call $wait)";
    run(&program(others, spawn), 8).0.unwrap();
    let error = run(&program(others, &format!("{spawn} unreachable")), 8).0.unwrap_err();
    assert_eq!(error.trap(), Some(Trap::Unreachable));
}

#[test]
fn a_module_must_say_how_a_thread_begins() {
    let engine = Engine::default();
    let threads: WasiThreads<()> = WasiThreads::new(1, |_| unreachable!("no thread begins"));
    let linker: Linker<()> = Linker::new(&engine);
    for text in ["(module)", r#"(module (func (export "wasi_thread_start") (param i32)))"#] {
        let module = Module::new(&engine, text).unwrap();
        let error = threads.set_program(linker.instantiate_pre(&module).unwrap()).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Link);
        assert!(error.message().contains("`wasi_thread_start`"), "{error}");
    }
}

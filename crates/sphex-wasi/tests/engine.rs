//! The functions in an engine: what a module imports, calls and gets.

use sphex::{Engine, ErrorKind, Linker, Module, Store, Trap};
use sphex_wasi::WasiCtx;
use sphex_wasi::preview1::{MODULE, Stop, add_to_linker};
use sphex_wasi::streams::OutputPipe;
use std::sync::Arc;
use std::time::Duration;

/// Every import of preview 1, a line each: parameters (`i` 32 bits, `l` 64); and `i` as the result of all but `proc_exit`.
const SIGNATURES: &str = include_str!("signatures.txt");

/// Runs `_start` of a module with these imports, and gives its outcome and what it wrote.
fn run(imports: &[&str], body: &str, prepare: impl FnOnce(&mut WasiCtx)) -> (sphex::Result<()>, String) {
    let out = OutputPipe::new(1 << 16);
    let mut builder = WasiCtx::builder();
    builder.arg("prog").unwrap().stdout(Arc::new(out.clone()));
    let mut ctx = builder.build();
    prepare(&mut ctx);
    let mut text = String::from("(module\n");
    for entry in SIGNATURES.lines() {
        let (name, params) = entry.split_once(' ').unwrap_or((entry, ""));
        if imports.is_empty() || imports.contains(&name) {
            let params: String =
                params.chars().map(|letter| if letter == 'i' { " i32" } else { " i64" }).collect();
            let result = if name == "proc_exit" { "" } else { "(result i32)" };
            text += &format!("(import \"{MODULE}\" \"{name}\" (func ${name} (param{params}) {result}))\n");
        }
    }
    text += body;
    text += ")";
    let outcome = (|| {
        let engine = Engine::default();
        let module = Module::new(&engine, text.as_bytes())?;
        let mut linker = Linker::new(&engine);
        add_to_linker(&mut linker, |ctx: &mut WasiCtx| ctx)?;
        let mut store = Store::new(&engine, ctx);
        let instance = linker.instantiate(&mut store, &module)?;
        instance.get_typed_func::<(), ()>(&mut store, "_start")?.call(&mut store, ())
    })();
    (outcome, String::from_utf8(out.contents()).unwrap())
}

#[test]
fn all_functions_link_with_the_types_of_the_witx() {
    assert_eq!(SIGNATURES.lines().count(), 46);
    let (outcome, _) = run(&[], "(memory (export \"memory\") 1) (func (export \"_start\"))", |_| {});
    outcome.unwrap();
}

#[test]
fn hello_and_an_exit_code() {
    let body = r#"
        (memory (export "memory") 1)
        (data (i32.const 8) "\10\00\00\00\06\00\00\00hello\n")
        (func (export "_start")
            (if (call $fd_write (i32.const 1) (i32.const 8) (i32.const 1) (i32.const 0)) (then unreachable))
            (if (i32.ne (i32.load (i32.const 0)) (i32.const 6)) (then unreachable))
            (if (i32.ne (call $fd_write (i32.const 9) (i32.const 8) (i32.const 1) (i32.const 0)) (i32.const 8))
                (then unreachable))
            (call $proc_exit (i32.const 42))
            unreachable)"#;
    let (outcome, out) = run(&["fd_write", "proc_exit"], body, |_| {});
    let error = outcome.unwrap_err();
    assert_eq!((error.kind(), error.exit_code()), (ErrorKind::Exit, Some(42)), "{error}");
    assert_eq!(out, "hello\n");
}

#[test]
fn an_interrupted_sleep_is_a_trap() {
    // A subscription to the monotonic clock, a long time from now.
    let body = r#"
        (memory (export "memory") 1)
        (func (export "_start")
            (i32.store (i32.const 16) (i32.const 1))
            (i64.store (i32.const 24) (i64.const 3600000000000))
            (drop (call $poll_oneoff (i32.const 0) (i32.const 64) (i32.const 1) (i32.const 128))))"#;
    let (outcome, _) = run(&["poll_oneoff"], body, |ctx| {
        let interrupt = ctx.interrupt().unwrap();
        std::thread::spawn(move || {
            std::thread::sleep(Duration::from_millis(20));
            interrupt.fire();
        });
    });
    assert_eq!(outcome.unwrap_err().trap(), Some(Trap::Interrupt));
}

#[test]
fn a_signal_ends_the_guest_and_a_module_needs_its_memory() {
    let body = r#"
        (memory (export "memory") 1)
        (func (export "_start")
            (if (call $proc_raise (i32.const 13)) (then unreachable))
            (drop (call $proc_raise (i32.const 6))))"#;
    let error = run(&["proc_raise"], body, |_| {}).0.unwrap_err();
    assert_eq!(error.downcast_ref::<Stop>(), Some(&Stop::Signal((6, "ABRT"))), "{error}");
    let body = r#"(memory 1) (func (export "_start") (drop (call $sched_yield)))"#;
    let error = run(&["sched_yield"], body, |_| {}).0.unwrap_err();
    assert!(error.to_string().contains("must export its memory"), "{error}");
}

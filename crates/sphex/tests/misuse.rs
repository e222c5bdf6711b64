//! Misuse of every public method is an `Err` that says what was wrong; none panics, and none is forgotten.
//!
//! `misuse/handles.rs` has one row for each method that takes a store and a handle; each is tried with another store,
//! with a handle whose store was dropped, and both again inside a host function while wasm runs. `misuse/single.rs` has
//! rows for all else: wrong types, wrong numbers, out of range, undefined, damaged. Kinds and messages are pinned in
//! `misuse/expected.txt` (`BLESS=1` rewrites it). `misuse/scan.rs` reads the crate's source for public methods, and fails
//! for one that could be misused and has no row.
#![cfg(feature = "compiler")]
#![allow(unsafe_code)]

#[path = "misuse/handles.rs"]
mod handles;
#[path = "misuse/scan.rs"]
mod scan;
#[path = "misuse/single.rs"]
mod single;

use std::fmt::Write;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::sync::{Arc, Mutex};

use sphex::{AsContextMut, Caller, Config, Engine, Func, Instance, Linker, Module, Result, Store};

use handles::{METHODS, Things};

/// Runs one misuse; a panic is a failure of the test with the row's name.
fn tried(method: &str, misuse: &str, f: impl FnOnce() -> Result<()>) -> Result<()> {
    catch_unwind(AssertUnwindSafe(f)).unwrap_or_else(|_| panic!("{method}, {misuse}: panicked"))
}

/// What went wrong, with the numbers of stores taken out, which depend on what ran before.
fn told(method: &str, misuse: &str, result: Result<()>) -> String {
    let error = result.err().unwrap_or_else(|| panic!("{method}, {misuse}: expected an error"));
    let mut text = error.to_string();
    for word in ["store ", "sphex-misuse-"] {
        let mut parts = text.split(word).map(str::to_string);
        let mut clean = parts.next().unwrap_or_default();
        for part in parts {
            let rest = part.trim_start_matches(|c: char| c.is_ascii_digit());
            clean += &format!("{word}{}{rest}", if rest.len() < part.len() { "N" } else { "" });
        }
        text = clean;
    }
    format!("{method} | {misuse} | {:?} | {text}\n", error.kind())
}

/// All misuses under one engine, as text.
fn all(engine: &Engine) -> String {
    let mut found = String::new();
    for (method, run) in METHODS {
        let mut here = Store::new(engine, ());
        let mut there = Store::new(engine, ());
        let things = Things::new(&mut here).unwrap();
        let lost = Things::new(&mut Store::new(engine, ())).unwrap();
        tried(method, "none", || run(&things, here.as_context_mut()))
            .unwrap_or_else(|error| panic!("{method}, well used: {error:?}"));
        let misuses = [("another store", &things), ("dropped store", &lost)];
        for (misuse, things) in misuses {
            let result = tried(method, misuse, || run(things, there.as_context_mut()));
            found += &told(method, misuse, result);
        }
    }
    let mut world = single::World::new(engine).unwrap();
    for (method, misuse, run) in single::ROWS {
        let result = tried(method, misuse, || run(&mut world));
        found += &told(method, misuse, result);
    }
    found
}

#[test]
fn every_misuse_is_an_error() {
    let found = all(&Engine::default());
    let mut checked = Config::new();
    checked.compile.memory_reservation = 0;
    assert_eq!(all(&Engine::new(&checked).unwrap()), found, "memories that move");
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/misuse/expected.txt");
    if std::env::var_os("BLESS").is_some() {
        std::fs::write(&path, &found).unwrap();
    }
    let expected = std::fs::read_to_string(&path).unwrap_or_default();
    let mut differences = String::new();
    for (expected, found) in expected.lines().zip(found.lines()).filter(|(a, b)| a != b) {
        let _ = writeln!(differences, "-{expected}\n+{found}");
    }
    assert!(expected == found, "BLESS=1 rewrites expected.txt\n{differences}");
}

/// The same inside a host function, while wasm of the store runs: the host function sees the same error, what is right
/// works, and the call goes on.
#[test]
fn misuse_inside_a_host_function_leaves_the_call_whole() {
    let engine = Engine::default();
    let wat = r#"(module (import "h" "f" (func $f (result i32)))
        (func (export "run") (result i32) (i32.add (call $f) (i32.const 1))))"#;
    let module = Module::new(&engine, wat).unwrap();
    for (method, run) in METHODS {
        let mut store = Store::new(&engine, ());
        let mine = Things::new(&mut store).unwrap();
        let mut other = Store::new(&engine, ());
        let theirs = Things::new(&mut other).unwrap();
        let lost = Things::new(&mut Store::new(&engine, ())).unwrap();
        let mut outside = String::new();
        for things in [&theirs, &lost] {
            outside += &told(method, "", run(things, store.as_context_mut()));
        }
        let inside = Arc::new(Mutex::new(String::new()));
        let log = inside.clone();
        let mut linker: Linker<()> = Linker::new(&engine);
        let host = move |mut caller: Caller<'_, ()>| -> i32 {
            for things in [&theirs, &lost] {
                let result = run(things, caller.as_context_mut());
                *log.lock().unwrap() += &told(method, "", result);
            }
            run(&mine, caller.as_context_mut()).unwrap_or_else(|error| panic!("{method}: {error:?}"));
            41
        };
        linker.func_wrap("h", "f", host).unwrap();
        let instance = linker.instantiate(&mut store, &module).unwrap();
        let run = instance.get_typed_func::<(), i32>(&mut store, "run").unwrap();
        assert_eq!(run.call(&mut store, ()).unwrap(), 42, "{method}");
        assert_eq!(*inside.lock().unwrap(), outside, "{method}");
    }
}

/// What a host function got from its caller is as good after it has returned; the caller itself cannot be kept.
#[test]
fn handles_from_a_caller_outlive_the_call() {
    let engine = Engine::default();
    let wat = r#"(module (import "h" "f" (func $f)) (memory (export "memory") 1) (export "f" (func $f))
        (func (export "seven") (result i32) (i32.const 7)) (func (export "run") (call $f)))"#;
    let module = Module::new(&engine, wat).unwrap();
    type Kept = Option<(Instance, Func)>;
    let mut linker: Linker<Kept> = Linker::new(&engine);
    linker
        .func_wrap("h", "f", |mut caller: Caller<'_, Kept>| {
            let seven = caller.get_export("seven").and_then(|found| found.into_func());
            *caller.data_mut() = caller.instance().zip(seven);
        })
        .unwrap();
    let mut store = Store::new(&engine, None);
    let instance = linker.instantiate(&mut store, &module).unwrap();
    instance.get_typed_func::<(), ()>(&mut store, "run").unwrap().call(&mut store, ()).unwrap();
    let (caller, seven) = store.data().unwrap();
    assert_eq!(caller, instance);
    assert_eq!(seven.call_values(&mut store, &[]).unwrap()[0].i32(), Some(7));
    // A host function that the host itself calls has no caller, and does not find one of an earlier call.
    let f = instance.get_func(&mut store, "f").unwrap();
    f.call(&mut store, &[], &mut []).unwrap();
    assert!(store.data().is_none());
}

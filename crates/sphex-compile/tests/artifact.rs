//! Artifacts: the same bytes whatever the number of threads, and what stands in them.

use sphex_artifact::Index;
use sphex_compile::{CompileError, Settings, compile_module};
use std::fmt::Write;

/// A module of many functions that call each other.
fn many_functions(count: usize) -> Vec<u8> {
    let mut text = String::from("(module (memory 1) (data (i32.const 8) \"hello\")\n");
    for i in 0..count {
        writeln!(
            text,
            "(func $f{i} (param i32) (result i32)
               (if (i32.eqz (local.get 0)) (then (return (i32.const {i}))))
               (i32.add (f64.gt (f64.const {i}.5) (f64.const 2.5))
                 (call $f{} (i32.load8_u offset={i} (i32.sub (local.get 0) (i32.const 1))))))",
            (i * 7 + 3) % count
        )
        .unwrap();
    }
    text.push_str("(export \"run\" (func $f0)))");
    wat::parse_str(text).unwrap()
}

#[test]
fn the_number_of_threads_changes_nothing() {
    let wasm = many_functions(1500);
    let compile = |threads| compile_module(&wasm, &Settings { threads, ..Settings::default() }).unwrap();
    let one = compile(Some(1));
    for threads in [Some(1), Some(2), Some(3), Some(8), Some(8), None] {
        assert!(one == compile(threads), "{threads:?} threads");
    }
}

#[test]
fn an_artifact_describes_the_module() {
    let wasm = many_functions(10);
    let bytes = compile_module(&wasm, &Settings::default()).unwrap();
    let index = Index::parse(&bytes).unwrap();
    let view = index.view(&bytes).unwrap();
    let description = view.description().unwrap();
    let module = &description.modules[0];
    assert_eq!((module.functions.len(), view.function_count()), (10, 10));
    assert_eq!(module.functions.iter().filter(|f| f.funcref.is_some()).count(), 1);
    assert_eq!((module.images.len(), module.data.len()), (1, 1));
    assert_eq!(view.function_name(0, 3), Some("f3"));
    let mut end = 0;
    for position in 0..10 {
        let row = view.function_row(position).unwrap();
        assert!(row.start >= end && row.len > 0 && row.start.is_multiple_of(16));
        assert_eq!((row.module, row.function), (0, position as u32));
        end = row.start + row.len;
    }
}

#[test]
fn of_several_errors_the_lowest_function_counts() {
    let text = "(module (func) (func (result i32)) (func (i32.const 1)) (func (result f32)))";
    for threads in [Some(1), Some(2)] {
        let wasm = wat::parse_str(text).unwrap();
        let error = compile_module(&wasm, &Settings { threads, ..Settings::default() }).unwrap_err();
        assert_eq!(error.function().map(|f| f.index), Some(1), "{error}");
        assert!(error.to_string().contains("type mismatch"), "{error}");
    }
}

#[test]
fn what_is_invalid_is_said_before_what_is_missing() {
    let wasm = wat::parse_str("(module (func (drop (v128.const i64x2 0 0))) (func (result i32)))").unwrap();
    assert!(matches!(compile_module(&wasm, &Settings::default()), Err(CompileError::Invalid { .. })));
    let wasm = wat::parse_str("(module (func $v (drop (v128.const i64x2 0 0))))").unwrap();
    let error = compile_module(&wasm, &Settings::default()).unwrap_err();
    assert_eq!((error.missing_proposal(), error.offset()), (Some("SIMD"), Some(23)));
    assert_eq!(error.function().and_then(|f| f.name.as_deref()), Some("v"));
}

#[test]
fn components_and_other_files_are_told_apart() {
    let error = |bytes: &[u8]| compile_module(bytes, &Settings::default()).unwrap_err().to_string();
    assert_eq!(error(b"\0asm\x0d\0\x01\0"), "expected a core module, found a component");
    assert_eq!(error(b"\x7fELF"), "expected a core module, found a file of another kind");
    assert_eq!(error(b""), "expected a core module, found an empty file");
    assert_eq!(error(b"\0asm"), "unexpected end-of-file (at offset 0x4)");
}

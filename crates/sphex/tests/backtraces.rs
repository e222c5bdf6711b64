//! Backtraces of traps: the frames, their names, offsets, files and lines.
#![cfg(feature = "compiler")]

use sphex::{
    Caller, Config, Engine, Error, Instance, Linker, Module, Result, SourceLocation, Store, Trap, TypedFunc,
};

/// Each test runs with functions inlined and not, with guard pages and with checks, compiled at once and lazily.
fn engines() -> Vec<(Engine, bool)> {
    let mut engines = Vec::new();
    for inlining in [false, true] {
        for reservation in [1 << 32, 0] {
            let mut config = Config::new();
            config.compile.inlining = inlining;
            config.compile.memory_reservation = reservation;
            for lazy in [false, true] {
                config.host.lazy_compilation = lazy;
                engines.push((Engine::new(&config).unwrap(), inlining));
            }
        }
    }
    engines
}

fn function(engine: &Engine, wasm: &[u8], name: &str) -> (Store<()>, TypedFunc<i32, i32>) {
    let module = Module::new(engine, wasm).unwrap();
    let mut store = Store::new(engine, ());
    let instance = Instance::new(&mut store, &module, &[]).unwrap();
    let func = instance.get_typed_func(&mut store, name).unwrap();
    (store, func)
}

/// `name@what`, innermost first, where `what` is the text of the instruction at the frame's module offset.
fn frames(error: &Error, wasm: &[u8]) -> Vec<String> {
    let frames = error.backtrace().map(|backtrace| backtrace.frames()).unwrap_or_default();
    let frame = |frame: &sphex::Frame| {
        let offset = frame.module_offset().map(|offset| offset as usize);
        let what = match offset.and_then(|offset| wasm.get(offset)) {
            Some(0x00) => "unreachable",
            Some(0x0c..=0x0e) => "br",
            Some(0x10) => "call",
            Some(0x11) => "call_indirect",
            Some(0x28) => "i32.load",
            Some(0x36) => "i32.store",
            Some(0x6d) => "i32.div_s",
            Some(0x6e) => "i32.div_u",
            Some(0xfc) => "bulk",
            Some(0x04) => "if",
            _ => "other",
        };
        format!("{}@{what}", frame.function_name().unwrap_or_else(|| frame.function_index().to_string()))
    };
    frames.iter().map(frame).collect()
}

fn check(wat: &str, argument: i32, trap: Trap, expected: &[&str]) {
    let wasm = wat::parse_str(wat).unwrap();
    for (engine, _) in engines() {
        let (mut store, f) = function(&engine, &wasm, "f");
        let error = f.call(&mut store, argument).unwrap_err();
        assert_eq!(error.trap(), Some(trap));
        assert_eq!(frames(&error, &wasm), expected, "{error:#}");
    }
}

#[test]
fn a_leaf_that_faults() {
    let wat = |body: &str| {
        format!(
            r#"(module (memory 1) (global $g (mut i32) (i32.const 0))
                (func $leaf (param i32) (result i32) {body})
                (func $top (export "f") (param i32) (result i32)
                    (global.set $g (local.get 0)) (i32.add (call $leaf (local.get 0)) (i32.const 1))))"#
        )
    };
    let at = |what: &str| [format!("leaf@{what}"), "top@call".to_string()];
    for (body, argument, trap, what) in [
        ("(i32.load (local.get 0))", 65536, Trap::MemoryOutOfBounds, "i32.load"),
        // A load that an addition folds.
        ("(i32.add (local.get 0) (i32.load (local.get 0)))", -4, Trap::MemoryOutOfBounds, "i32.load"),
        (
            "(i32.store (local.get 0) (i32.const 7)) (i32.const 1)",
            65533,
            Trap::MemoryOutOfBounds,
            "i32.store",
        ),
        ("(i32.div_u (i32.const 7) (local.get 0))", 0, Trap::IntegerDivisionByZero, "i32.div_u"),
        ("(i32.div_s (i32.const 0x80000000) (local.get 0))", -1, Trap::IntegerOverflow, "i32.div_s"),
        ("(i32.div_u (local.get 0) (i32.load (local.get 0)))", -4, Trap::MemoryOutOfBounds, "i32.load"),
        ("(i32.div_u (local.get 0) (i32.load (local.get 0)))", 4, Trap::IntegerDivisionByZero, "i32.div_u"),
        // A comparison that takes a load in, and a trap behind it.
        (
            "(if (i32.eqz (i32.load (local.get 0))) (then unreachable)) (i32.const 1)",
            -4,
            Trap::MemoryOutOfBounds,
            "i32.load",
        ),
        (
            "(if (i32.eqz (i32.load (local.get 0))) (then unreachable)) (i32.const 1)",
            4,
            Trap::Unreachable,
            "unreachable",
        ),
        // A store that updates in place.
        (
            "(i32.store (local.get 0) (i32.add (i32.load (local.get 0)) (i32.const 1))) (i32.const 1)",
            -4,
            Trap::MemoryOutOfBounds,
            "i32.load",
        ),
        ("unreachable", 0, Trap::Unreachable, "unreachable"),
        // In a builtin.
        (
            "(memory.fill (i32.const 65530) (i32.const 1) (local.get 0)) (i32.const 0)",
            7,
            Trap::MemoryOutOfBounds,
            "bulk",
        ),
    ] {
        let at = at(what);
        check(&wat(body), argument, trap, &[&at[0], &at[1]]);
    }
}

#[test]
fn a_prologue_that_finds_no_stack() {
    // The second function's frame is larger than what is left when the first one's still fits.
    let locals: String = (0..4000).map(|i| format!("(local $l{i} i64)")).collect();
    let sets: String = (0..4000).map(|i| format!("(local.set $l{i} (call $x (i64.const {i})))")).collect();
    let gets: String = (0..4000).map(|i| format!("(i64.xor (local.get $l{i}))")).collect();
    let wat = format!(
        r#"(module
            (func $x (param i64) (result i64) (if (i64.eqz (local.get 0)) (then (drop (call $f (i32.const 0)))))
                (local.get 0))
            (func $big (param i32) (result i32) {locals} {sets} (i64.const 0) {gets} i32.wrap_i64)
            (func $f (export "f") (param i32) (result i32)
                (if (result i32) (i32.eqz (local.get 0)) (then (i32.const 5))
                    (else (i32.add (call $f (i32.sub (local.get 0) (i32.const 1))) (call $big (local.get 0)))))))"#
    );
    let wasm = wat::parse_str(wat).unwrap();
    for (engine, _) in engines() {
        let (mut store, f) = function(&engine, &wasm, "f");
        assert!(f.call(&mut store, 3).is_ok());
        for depth in [i32::MAX, 1_000_000] {
            let error = f.call(&mut store, depth).unwrap_err();
            assert_eq!(error.trap(), Some(Trap::StackOverflow));
            let backtrace = error.backtrace().unwrap();
            assert!(backtrace.is_truncated() && backtrace.frames().len() == 64);
            let frames = frames(&error, &wasm);
            assert!(frames[0].starts_with("f@"), "{frames:?}");
            assert!(frames[1..].iter().all(|frame| frame == "f@call"), "{frames:?}");
        }
    }
}

#[test]
fn a_large_frame_is_checked_whole() {
    let mut config = Config::new();
    config.host.max_wasm_stack = 256 << 10;
    config.compile.optimize = false;
    let engine = Engine::new(&config).unwrap();
    // About 40,000 bytes a frame, entered again and again: each prologue looks before it takes.
    let locals: String = (0..5000).map(|i| format!("(local $l{i} i64)")).collect();
    let sets: String =
        (0..5000).map(|i| format!("(local.set $l{i} (i64.load (i32.const {})))", 8 * i)).collect();
    let gets: String = (0..5000).map(|i| format!("(i64.xor (local.get $l{i}))")).collect();
    let wasm = wat::parse_str(format!(
        r#"(module (memory 1) (func $f (export "f") (param i32) (result i32) {locals} {sets}
            (drop (call $f (local.get 0))) (i64.const 0) {gets} i32.wrap_i64))"#
    ))
    .unwrap();
    let thread = std::thread::Builder::new().stack_size(512 << 10);
    let join = thread.spawn(move || {
        let (mut store, f) = function(&engine, &wasm, "f");
        let error = f.call(&mut store, 1).unwrap_err();
        assert_eq!(error.trap(), Some(Trap::StackOverflow));
        let frames = frames(&error, &wasm);
        assert!(frames[1..].iter().all(|frame| frame == "f@call"), "{frames:?}");
        frames.len()
    });
    let frames = join.unwrap().join().unwrap();
    assert!((4..64).contains(&frames), "{frames}");
}

#[test]
fn after_a_tail_call() {
    let wat = |call: &str| {
        format!(
            r#"(module (type $t (func (param i32) (result i32))) (table 1 funcref) (elem (i32.const 0) $loses)
                (memory 1)
                (func $loses (type $t) (if (i32.eqz (local.get 0)) (then unreachable))
                    (i32.add (i32.const 1) (call $loses (i32.const 0))))
                (func $goes (type $t) (i32.store (i32.const 0) (local.get 0)) {call})
                (func $top (export "f") (type $t) (i32.add (call $goes (local.get 0)) (i32.const 1))))"#
        )
    };
    // `goes` has gone: it is in no frame.
    for call in
        ["(return_call $loses (local.get 0))", "(return_call_indirect (type $t) (local.get 0) (i32.const 0))"]
    {
        check(&wat(call), 0, Trap::Unreachable, &["loses@unreachable", "top@call"]);
        let expected = ["loses@unreachable", "loses@call", "top@call"];
        check(&wat(call), 1, Trap::Unreachable, &expected);
    }
}

/// Made by hand with clang from `tests/cli/inlined.c`, which says how.
const INLINED: &[u8] = include_bytes!("../../../tests/cli/inlined.wasm");

#[test]
fn two_inlines_deep_with_files_and_lines() {
    for (engine, inlining) in engines() {
        let (mut store, run) = function(&engine, INLINED, "run");
        assert_eq!(run.call(&mut store, 2).unwrap(), 4);
        let error = run.call(&mut store, 0x2000_0000 - 1).unwrap_err();
        assert_eq!(error.trap(), Some(Trap::MemoryOutOfBounds));
        // The same two frames, whether `deep` is a function of its own or was inlined into `run`.
        assert_eq!(frames(&error, INLINED), ["deep@i32.load", "run@call"], "inlining {inlining}");
        let frames = error.backtrace().unwrap().frames();
        let place = |location: &SourceLocation| {
            let SourceLocation { function, file, line, .. } = location;
            let file = file.as_deref().and_then(|file| file.rsplit('/').next()).unwrap_or_default();
            format!("{} {file}:{}", function.as_deref().unwrap_or_default(), line.unwrap_or(0))
        };
        let places: Vec<Vec<String>> =
            frames.iter().map(|frame| frame.source_locations().iter().map(place).collect()).collect();
        assert_eq!(places[0], ["read inlined.c:8", "pick inlined.c:12", "deep inlined.c:17"]);
        assert_eq!(places[1], ["run inlined.c:22"]);
        let text = format!("{error:#}");
        assert!(text.contains("inlined.c:12:10 (pick, inlined)\n"), "{text}");
    }
}

#[test]
fn no_debug_information_no_lines() {
    let mut config = Config::new();
    config.compile.debug_info = false;
    let engine = Engine::new(&config).unwrap();
    let (mut store, run) = function(&engine, INLINED, "run");
    let error = run.call(&mut store, -1).unwrap_err();
    assert!(error.backtrace().unwrap().frames().iter().all(|frame| frame.source_locations().is_empty()));
    assert_eq!(frames(&error, INLINED), ["deep@i32.load", "run@call"]);
}

#[test]
fn across_wasm_host_wasm() {
    let host = r#"(module (import "h" "back" (func $back (param i32) (result i32)))
        (memory 1)
        (func $outer (export "f") (param i32) (result i32) (i32.add (call $calls_host (local.get 0)) (i32.const 1)))
        (func $calls_host (param i32) (result i32) (i32.add (call $back (local.get 0)) (i32.const 1)))
        (func $inner (export "inner") (param i32) (result i32) (i32.add (call $deep (local.get 0)) (i32.const 1)))
        (func $deep (param i32) (result i32) (i32.load (local.get 0))))"#;
    let wasm = wat::parse_str(host).unwrap();
    for (engine, _) in engines() {
        let module = Module::new(&engine, &wasm).unwrap();
        let mut linker: Linker<i32> = Linker::new(&engine);
        let back = |mut caller: Caller<'_, i32>, n: i32| -> Result<i32> {
            let instance = caller.instance().ok_or_else(|| Error::msg("no instance"))?;
            *caller.data_mut() -= 1;
            let name = if *caller.data() > 0 { "f" } else { "inner" };
            let inner = instance.get_typed_func::<i32, i32>(&mut caller, name)?;
            inner.call(&mut caller, n)
        };
        linker.func_wrap("h", "back", back).unwrap();
        let mut store = Store::new(&engine, 3);
        let instance = linker.instantiate(&mut store, &module).unwrap();
        let f = instance.get_typed_func::<i32, i32>(&mut store, "f").unwrap();
        let error = f.call(&mut store, -1).unwrap_err();
        let mut expected = vec!["deep@i32.load", "inner@call"];
        for _ in 0..3 {
            expected.extend(["calls_host@call", "outer@call"]);
        }
        assert_eq!(frames(&error, &wasm), expected);
    }
}

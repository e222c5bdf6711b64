//! Functions that are compiled when they are first called: who is compiled when, and what can happen meanwhile.
//! (What compiled code does is tested under lazy engines elsewhere: `traps`, `backtraces`, `async_calls`, `epochs`.)
#![cfg(all(feature = "compiler", target_os = "linux", target_arch = "x86_64"))]
#![allow(unsafe_code)]

mod tasks;

use std::fmt::Write;
use std::sync::Barrier;
use std::thread;
use std::time::Duration;

use sphex::{
    Caller, Config, Engine, Error, ErrorKind, Instance, Linker, Module, Store, Trap, TypedFunc, Val,
};
use tasks::{Turns, block_on};

fn config() -> Config {
    let mut config = Config::new();
    config.host.lazy_compilation = true;
    // Calls stay calls.
    config.compile.inlining = false;
    config
}

fn engine() -> Engine {
    Engine::new(&config()).unwrap()
}

fn instance(module: &Module) -> (Store<()>, Instance) {
    let mut store = Store::new(module.engine(), ());
    let instance = Instance::new(&mut store, module, &[]).unwrap();
    (store, instance)
}

fn call(store: &mut Store<()>, instance: Instance, name: &str, argument: i32) -> Result<i32, Error> {
    instance.get_typed_func::<i32, i32>(&mut *store, name)?.call(store, argument)
}

const CHAIN: &str = r#"(module
    (func $never (param i32) (result i32) (call $b (local.get 0)))
    (func $a (export "a") (param i32) (result i32) (i32.add (call $b (local.get 0)) (i32.const 1)))
    (func $b (export "b") (param i32) (result i32) (i32.mul (call $c (local.get 0)) (i32.const 2)))
    (func $c (param i32) (result i32) (i32.div_s (i32.const 84) (local.get 0))))"#;

#[test]
fn only_what_is_called_is_compiled() {
    let module = Module::new(&engine(), CHAIN).unwrap();
    assert_eq!(module.compiled_functions(), 0);
    let (mut store, i) = instance(&module);
    assert_eq!(module.compiled_functions(), 0);
    assert_eq!(call(&mut store, i, "b", 2).unwrap(), 84);
    assert_eq!(module.compiled_functions(), 2);
    assert_eq!(call(&mut store, i, "a", 4).unwrap(), 43);
    assert_eq!(call(&mut store, i, "a", 4).unwrap(), 43);
    assert_eq!(module.compiled_functions(), 3);
    // Another instance, in another store, has them too.
    let (mut other, j) = instance(&module);
    assert_eq!(call(&mut other, j, "a", 84).unwrap(), 3);
    assert_eq!(module.compiled_functions(), 3);
    let error = call(&mut other, j, "a", 0).unwrap_err();
    assert_eq!(error.trap(), Some(Trap::IntegerDivisionByZero));
    let names = error.backtrace().unwrap().frames().iter().map(|frame| frame.function_name().unwrap());
    assert_eq!(names.collect::<Vec<_>>(), ["c", "b", "a"]);
    drop((store, other));
    // An error keeps the code that its backtrace is of.
    drop(module);
    assert!(error.backtrace().unwrap().to_string().contains("!c"));
    let eager = Module::new(&Engine::default(), CHAIN).unwrap();
    assert_eq!(eager.compiled_functions(), 4);
}

#[test]
fn the_artifact_is_that_of_the_eager_module() {
    let (lazy, eager) = (engine(), config());
    let eager = Engine::new(&Config { host: Default::default(), ..eager }).unwrap();
    let text = r#"(module (memory 1) (data (i32.const 8) "data") (table 2 funcref) (elem (i32.const 0) $f)
        (func $f (export "f") (result f64) (f64.add (f64.const 1.5) (f64.load (i32.const 8)))))"#;
    for text in [CHAIN, text] {
        let module = Module::new(&lazy, text).unwrap();
        let before = module.serialize().unwrap();
        assert!(before == Module::new(&eager, text).unwrap().serialize().unwrap());
        let (mut store, i) = instance(&module);
        let _ = call(&mut store, i, "a", 1);
        assert!(before == module.serialize().unwrap());
        // SAFETY: made by `serialize` just now.
        let loaded = unsafe { Module::deserialize(&lazy, &before) }.unwrap();
        assert!(loaded.compiled_functions() > 0, "artifacts are compiled already");
    }
}

#[test]
fn what_is_refused_is_refused_when_the_module_is_made() {
    let (lazy, eager) = (engine(), Engine::default());
    for text in [
        "(module (func (result i32)))",
        "(module (func) (func (drop (v128.const i64x2 1 2))))",
        "(module (func (param i32)) (func (call 0)) (func (drop (i32.const 1) (i32.const 2))))",
    ] {
        let [a, b] = [&lazy, &eager].map(|engine| Module::new(engine, text).unwrap_err());
        assert_eq!((a.kind(), a.to_string()), (b.kind(), b.to_string()), "{text}");
    }
}

/// What only code generation finds is an error of the call, which says what the module's would; others still work.
#[test]
fn a_function_that_cannot_be_compiled_is_an_error_of_its_call() {
    let mut text =
        String::from("(module (func $ok (export \"ok\") (param i32) (result i32) (local.get 0))\n");
    let values = "i32 ".repeat(1000);
    let consts = "(i32.const 1) ".repeat(1000);
    write!(text, "(func $large (param i32) (block $b (result {values}) {consts}").unwrap();
    // Branches each of which carries all values: more than are carried for anyone.
    text.push_str(&"(br_if $b (local.get 0))".repeat(25_000));
    write!(text, ") {})", "drop ".repeat(1000)).unwrap();
    text.push_str(
        "(func $f (export \"f\") (param i32) (result i32) (call $large (local.get 0)) (i32.const 1)))",
    );
    let wasm = wat::parse_str(&text).unwrap();
    let expected = Module::new(&Engine::default(), &wasm).unwrap_err();
    assert_eq!(expected.kind(), ErrorKind::Limit);
    let module = Module::new(&engine(), &wasm).unwrap();
    let (mut store, i) = instance(&module);
    for _ in 0..2 {
        let error = call(&mut store, i, "f", 1).unwrap_err();
        assert_eq!((error.kind(), error.to_string()), (expected.kind(), expected.to_string()));
        assert_eq!(error.backtrace().unwrap().frames()[0].function_name().as_deref(), Some("f"));
        assert_eq!(call(&mut store, i, "ok", 7).unwrap(), 7);
    }
    assert_eq!(module.serialize().unwrap_err().to_string(), expected.to_string());
    assert_eq!(module.compiled_functions(), 2);
}

/// Functions of many arguments, results and tail calls: all of their values pass through the stub untouched.
#[test]
fn arguments_pass_through_the_stub() {
    let text = r#"(module
        (type $many (func (param i32 i64 f32 f64 i64 i64 i64 i64 i64 f64 f64 f64 f64 f64 f64 f64 f64 f64) (result i64 f64 i64 f64)))
        (table funcref (elem $sum $twice))
        (func $sum (type $many)
            (i64.add (i64.extend_i32_s (local.get 0)) (i64.add (local.get 1) (i64.add (local.get 4) (i64.add
              (local.get 5) (i64.add (local.get 6) (i64.add (local.get 7) (local.get 8)))))))
            (f64.add (f64.promote_f32 (local.get 2)) (f64.add (local.get 3) (f64.add (local.get 9) (f64.add (local.get 10)
              (f64.add (local.get 11) (f64.add (local.get 12) (f64.add (local.get 13) (f64.add (local.get 14)
              (f64.add (local.get 15) (f64.add (local.get 16) (local.get 17)))))))))))
            (local.get 8) (local.get 17))
        (func $twice (type $many)
            (return_call $sum (i32.mul (local.get 0) (i32.const 2)) (local.get 1) (local.get 2) (local.get 3) (local.get 4)
              (local.get 5) (local.get 6) (local.get 7) (local.get 8) (local.get 9) (local.get 10) (local.get 11)
              (local.get 12) (local.get 13) (local.get 14) (local.get 15) (local.get 16) (local.get 17)))
        (func $few (param i32) (result i64 f64 i64 f64)
            (return_call_indirect (type $many) (i32.const 1) (i64.const 2) (f32.const 3) (f64.const 4) (i64.const 5)
              (i64.const 6) (i64.const 7) (i64.const 8) (i64.const 9) (f64.const 10) (f64.const 11) (f64.const 12)
              (f64.const 13) (f64.const 14) (f64.const 15) (f64.const 16) (f64.const 17) (f64.const 18) (local.get 0)))
        (func (export "f") (param i32) (result i64 f64 i64 f64) (call $few (local.get 0)))
        (func (export "count") (param i64) (result i64)
            (if (result i64) (i64.eqz (local.get 0)) (then (i64.const 0))
                (else (return_call $back (i64.sub (local.get 0) (i64.const 1))))))
        (func $back (param i64) (result i64) (return_call 3 (local.get 0))))"#;
    let text = text
        .replace("(return_call 3 ", "(return_call $count ")
        .replace("(func (export \"count\")", "(func $count (export \"count\")");
    let mut results = Vec::new();
    for engine in [engine(), Engine::default()] {
        let (mut store, i) = instance(&Module::new(&engine, &text).unwrap());
        let f = i.get_func(&mut store, "f").unwrap();
        for argument in [1, 0] {
            let mut found = [0i64.into(), 0f64.into(), 0i64.into(), 0f64.into()];
            f.call(&mut store, &[Val::I32(argument)], &mut found).unwrap();
            results.push(format!("{found:?}"));
        }
        let count = i.get_typed_func::<i64, i64>(&mut store, "count").unwrap();
        assert_eq!(count.call(&mut store, 1_000_001).unwrap(), 0);
    }
    assert_eq!(results[..2], results[2..]);
    assert!(results[0].contains("39"), "{results:?}");
}

/// Several threads call the same functions first at the same time, round after round.
#[test]
fn threads_that_call_the_same_function_first() {
    const THREADS: usize = 4;
    const FUNCTIONS: i32 = 12;
    let mut text = String::from("(module\n");
    for f in 0..FUNCTIONS {
        let next = (f + 1) % FUNCTIONS;
        writeln!(
            text,
            "(func $f{f} (export \"f{f}\") (param i32) (result i32) (local i32)
                (if (i32.eqz (local.get 0)) (then (return (i32.const {f}))))
                (loop $l (local.set 1 (i32.add (local.get 1) (i32.const 1)))
                    (br_if $l (i32.lt_u (local.get 1) (i32.const {f}))))
                (i32.add (i32.const 1) (call $f{next} (i32.sub (local.get 0) (i32.const 1)))))"
        )
        .unwrap();
    }
    text.push(')');
    let engine = engine();
    for round in 0..if cfg!(debug_assertions) { 30 } else { 300 } {
        let module = Module::new(&engine, &text).unwrap();
        let barrier = Barrier::new(THREADS);
        thread::scope(|scope| {
            for t in 0..THREADS as i32 {
                let (module, barrier) = (&module, &barrier);
                scope.spawn(move || {
                    let (mut store, i) = instance(module);
                    // Half of them begin at the same function, half at others.
                    let first = if (t + round) % 2 == 0 { 0 } else { t * 5 % FUNCTIONS };
                    barrier.wait();
                    for depth in [3, 20] {
                        let found = call(&mut store, i, &format!("f{first}"), depth).unwrap();
                        assert_eq!(found, depth + (first + depth) % FUNCTIONS);
                    }
                });
            }
        });
        assert_eq!(module.compiled_functions(), FUNCTIONS as usize, "each once");
    }
}

/// Instances of lazy and of eager modules call each other, through imports and tables.
#[test]
fn modules_call_each_other() {
    let lib = r#"(module (table (export "t") 2 funcref) (elem (i32.const 0) $inc $dec)
        (func $inc (export "inc") (param i32) (result i32) (i32.add (local.get 0) (i32.const 1)))
        (func $dec (param i32) (result i32) (i32.sub (local.get 0) (i32.const 1))))"#;
    let app = r#"(module (import "lib" "inc" (func $inc (param i32) (result i32)))
        (import "lib" "t" (table 2 funcref)) (type $t (func (param i32) (result i32)))
        (global $g (mut i32) (i32.const 100))
        (func (export "f") (param i32) (result i32)
            (global.set $g (i32.add (global.get $g) (call $inc (local.get 0))))
            (global.set $g (call_indirect (type $t) (global.get $g) (i32.const 1)))
            (call $own))
        (func $own (result i32) (i32.mul (global.get $g) (i32.const 2)))
        (func (export "tail") (param i32) (result i32) (return_call $inc (local.get 0))))"#;
    let engine = engine();
    let bytes = engine.precompile(wat::parse_str(lib).unwrap().as_slice()).unwrap();
    // SAFETY: made by the compiler just now.
    let eager = unsafe { Module::deserialize(&engine, &bytes) }.unwrap();
    for lib in [Module::new(&engine, lib).unwrap(), eager] {
        let mut store = Store::new(&engine, ());
        let mut linker: Linker<()> = Linker::new(&engine);
        let first = linker.instantiate(&mut store, &lib).unwrap();
        linker.instance(&mut store, "lib", first).unwrap();
        let app = Module::new(&engine, app).unwrap();
        let second = linker.instantiate(&mut store, &app).unwrap();
        assert_eq!(call(&mut store, second, "f", 5).unwrap(), 210);
        assert_eq!(call(&mut store, second, "f", 5).unwrap(), 220);
        assert_eq!(call(&mut store, second, "tail", 5).unwrap(), 6);
        assert_eq!(app.compiled_functions(), 3);
        assert_eq!(lib.compiled_functions(), 2);
    }
}

#[test]
fn start_functions_and_function_references() {
    let text = r#"(module (import "h" "f" (func $host (param funcref)))
        (global $g (mut i32) (i32.const 0)) (export "g" (global $g))
        (elem declare func $own)
        (func $own (param i32) (result i32) (i32.add (local.get 0) (global.get $g)))
        (func $start (global.set $g (i32.const 7)) (call $host (ref.func $own)))
        (start $start))"#;
    let engine = engine();
    let module = Module::new(&engine, text).unwrap();
    let mut linker: Linker<Option<sphex::Func>> = Linker::new(&engine);
    linker
        .func_wrap("h", "f", |mut caller: Caller<'_, Option<sphex::Func>>, f: Option<sphex::Func>| {
            *caller.data_mut() = f;
        })
        .unwrap();
    let mut store = Store::new(&engine, None);
    linker.instantiate(&mut store, &module).unwrap();
    assert_eq!(module.compiled_functions(), 1);
    let own: TypedFunc<i32, i32> = store.data().unwrap().typed(&store).unwrap();
    assert_eq!(own.call(&mut store, 5).unwrap(), 12);
    assert_eq!(module.compiled_functions(), 2);
}

const SPIN: &str = r#"(module (func $spin (loop $l (br $l))) (func (export "f") (param i32) (result i32)
    (call $spin) (local.get 0))
    (func (export "g") (param i32) (result i32) (local.get 0)))"#;

/// What passes while a function is compiled is seen when it is entered, and costs no fuel.
#[test]
fn deadlines_and_fuel() {
    let module = Module::new(&engine(), SPIN).unwrap();
    let (mut store, i) = instance(&module);
    store.set_timeout(Duration::from_millis(20)).unwrap();
    let error = call(&mut store, i, "f", 1).unwrap_err();
    assert_eq!(error.trap(), Some(Trap::Timeout));
    assert_eq!(error.backtrace().unwrap().frames()[0].function_name().as_deref(), Some("spin"));
    let mut fueled = config();
    fueled.compile.fuel = true;
    let module = Module::new(&Engine::new(&fueled).unwrap(), SPIN).unwrap();
    let (mut store, i) = instance(&module);
    store.set_fuel(10).unwrap();
    call(&mut store, i, "g", 1).unwrap();
    let first = store.fuel().unwrap();
    call(&mut store, i, "g", 1).unwrap();
    assert_eq!(10 - first, first - store.fuel().unwrap(), "the first call costs what the second does");
    assert_eq!(call(&mut store, i, "f", 1).unwrap_err().trap(), Some(Trap::OutOfFuel));
}

/// A function of many operators, for whose compilation the stack of a fiber or a small thread would not do.
fn large(name: &str) -> String {
    let mut text = format!("(func ${name} (param i32) (result i32) (local i32 i32)\n");
    for k in 1..300 {
        write!(
            text,
            "(if (i32.gt_u (local.get 0) (i32.const {k})) (then (local.set 1 (i32.mul (local.get 1)
            (i32.const {k})))) (else (local.set 2 (i32.xor (local.get 1) (i32.const {k})))))\n"
        )
        .unwrap();
    }
    text + "(i32.add (local.get 1) (local.get 2)))\n"
}

/// Compilations do not run on the small stacks of async calls and threads: deep in wasm's recursion, neither.
#[test]
fn stacks_that_are_small() {
    let text = format!(
        r#"(module (import "h" "wait" (func $wait (param i32) (result i32)))
        (func (export "f") (param i32) (result i32)
            (i32.add (call $a (local.get 0)) (i32.add (call $wait (local.get 0)) (call $b (local.get 0)))))
        (func $deep (export "deep") (param i32) (result i32)
            (if (result i32) (i32.eqz (local.get 0)) (then (call $c (i32.const 9)))
                (else (i32.add (i32.const 1) (call $deep (i32.sub (local.get 0) (i32.const 1)))))))
        {} {} {})"#,
        large("a"),
        large("b"),
        large("c")
    );
    let mut config = config();
    config.host.async_stack_size = 256 << 10;
    let engine = Engine::new(&config).unwrap();
    let mut linker: Linker<()> = Linker::new(&engine);
    linker
        .func_wrap_async("h", "wait", |_: Caller<'_, ()>, (n,): (i32,)| {
            Box::new(async move {
                Turns(n as u32).await;
                n
            })
        })
        .unwrap();
    let run = |module: &Module| {
        let mut store = Store::new(&engine, ());
        let i = block_on(linker.instantiate_async(&mut store, module)).unwrap();
        let f = i.get_typed_func::<i32, i32>(&mut store, "f").unwrap();
        let deep = i.get_typed_func::<i32, i32>(&mut store, "deep").unwrap();
        let found = block_on(f.call_async(&mut store, 3)).unwrap();
        (found, block_on(deep.call_async(&mut store, 1000)).unwrap(), deep.call(&mut store, 1000).unwrap())
    };
    let module = Module::new(&engine, &text).unwrap();
    let expected = run(&module);
    assert_eq!(module.compiled_functions(), 5);
    let small = || thread::Builder::new().stack_size(256 << 10);
    thread::scope(|scope| {
        let module = Module::new(&engine, &text).unwrap();
        let found = small().spawn_scoped(scope, move || run(&module)).unwrap().join().unwrap();
        assert_eq!(found, expected);
    });
}

/// A store that ends, and a module that is dropped while an instance lives.
#[test]
fn code_lives_as_long_as_anything_needs_it() {
    let engine = engine();
    for _ in 0..50 {
        let module = Module::new(&engine, CHAIN).unwrap();
        let range = module.text_range();
        assert!(!range.is_empty());
        let (mut store, i) = instance(&module);
        drop(module);
        assert_eq!(call(&mut store, i, "a", 42).unwrap(), 5);
    }
}

//! Calls of Rust types in both directions: whatever the signature, each value arrives where it belongs.

use sphex::{
    Caller, Engine, Error, ErrorKind, ExternRef, Func, Instance, Linker, Module, Store, Trap, TypedFunc,
};

fn engine() -> Engine {
    Engine::default()
}

/// A module that exports `f` of this type, which passes its arguments on to the import and gives its result back.
fn relay(engine: &Engine, params: &str, result: &str) -> Module {
    let gets: String = (0..params.split_whitespace().count()).map(|i| format!("(local.get {i})")).collect();
    let text = format!(
        "(module (import \"host\" \"f\" (func $f (param {params}) (result {result})))
            (func (export \"f\") (param {params}) (result {result}) (call $f {gets})))"
    );
    Module::new(engine, text).unwrap()
}

/// Calls through a relay: the host function sees all arguments, and its result comes back.
macro_rules! passes {
    ($($wasm:literal ($($name:ident: $ty:ident = $value:expr),*) -> $result:literal [$out:ty] = $given:expr;)+) => {
        $({
            let engine = engine();
            let mut linker = Linker::<u32>::new(&engine);
            linker.func_wrap("host", "f", |mut caller: Caller<'_, u32>, $($name: $ty),*| -> $out {
                *caller.data_mut() += 1;
                assert!(caller.instance().is_some());
                $(assert_eq!($name, $value, "{} of {}", stringify!($name), $wasm);)*
                $given
            }).unwrap();
            let mut store = Store::new(&engine, 0);
            let instance = linker.instantiate(&mut store, &relay(&engine, $wasm, $result)).unwrap();
            let f: TypedFunc<($($ty,)*), $out> = instance.get_typed_func(&mut store, "f").unwrap();
            for turn in 1..4 {
                let given: $out = f.call(&mut store, ($($value,)*)).unwrap();
                assert_eq!(given, $given, "result of {}", $wasm);
                assert_eq!(*store.data(), turn);
            }
            // The host function itself, called by the host: there is no caller.
            let alone = Func::wrap(&mut store, |$($name: $ty),*| -> $out {
                $(assert_eq!($name, $value);)*
                $given
            }).unwrap();
            let alone: TypedFunc<($($ty,)*), $out> = alone.typed(&store).unwrap();
            let given: $out = alone.call(&mut store, ($($value,)*)).unwrap();
            assert_eq!(given, $given);
        })+
    };
}

#[test]
fn every_value_arrives() {
    passes! {
        "" () -> "i32" [i32] = -7;
        "" () -> "f32" [f32] = 0.5;
        "i32" (a: i32 = i32::MIN) -> "i64" [i64] = i64::MIN + 1;
        "i32 i32" (a: u32 = u32::MAX, b: i32 = -1) -> "i32" [u32] = 1 << 31;
        "f64" (a: f64 = 1.5) -> "f64" [f64] = -2.25;
        "f32 i32 f64 i64" (a: f32 = 1.25, b: i32 = 7, c: f64 = -0.0, d: i64 = -9) -> "f32" [f32] = 3.5;
        "i64 i64 i64 i64 i64 i64" (a: i64 = 1, b: i64 = 2, c: i64 = 3, d: i64 = 4, e: i64 = 5, f: u64 = 1 << 63)
            -> "i64" [u64] = u64::MAX;
        "i64 f64 i64 f64 i64 f64 i64 f64 i64 f64 i64 f64"
            (a: i64 = 1, b: f64 = 2.0, c: i64 = 3, d: f64 = 4.0, e: i64 = 5, f: f64 = 6.0, g: i64 = 7, h: f64 = 8.0,
             i: i64 = 9, j: f64 = 10.0, k: i64 = 11, l: f64 = 12.0)
            -> "f64" [f64] = 13.0;
        "f64 f64 f64 f64 f64 f64 f64 f32"
            (a: f64 = 1.0, b: f64 = 2.0, c: f64 = 3.0, d: f64 = 4.0, e: f64 = 5.0, f: f64 = 6.0, g: f64 = 7.0, h: f32 = 8.0)
            -> "i32" [i32] = 9;
        // One more than there are registers.
        "i32 i32 i32 i32 i32 i32 i32"
            (a: i32 = 1, b: i32 = 2, c: i32 = 3, d: i32 = 4, e: i32 = 5, f: i32 = 6, g: i32 = 7) -> "i32" [i32] = 8;
        "f32 f32 f32 f32 f32 f32 f32 f32 f32"
            (a: f32 = 1.0, b: f32 = 2.0, c: f32 = 3.0, d: f32 = 4.0, e: f32 = 5.0, f: f32 = 6.0, g: f32 = 7.0, h: f32 = 8.0,
             i: f32 = 9.0) -> "f32" [f32] = 10.0;
        "i32" (a: i32 = 1) -> "i32 f64" [(i32, f64)] = (2, 3.0);
        "i64" (a: i64 = 1) -> "i32 i32 i32 i32 i32 i32 i32 i32" [(i32, i32, i32, i32, i32, i32, i32, i32)] = (1, 2, 3, 4, 5, 6, 7, 8);
    }
}

/// A closure that owns something is found, and dropped with the linker's last user.
#[test]
fn closures_keep_what_they_own() {
    let engine = engine();
    let word = std::sync::Arc::new(String::from("kept"));
    let weak = std::sync::Arc::downgrade(&word);
    let mut linker = Linker::<()>::new(&engine);
    linker.func_wrap("host", "f", move |n: i32| n + word.len() as i32).unwrap();
    let mut store = Store::new(&engine, ());
    let instance = linker.instantiate(&mut store, &relay(&engine, "i32", "i32")).unwrap();
    drop(linker);
    let f = instance.get_typed_func::<i32, i32>(&mut store, "f").unwrap();
    assert_eq!(f.call(&mut store, 38).unwrap(), 42);
    assert!(weak.upgrade().is_some());
    drop(store);
    assert!(weak.upgrade().is_none());
}

/// Errors, panics and traps leave through the same stubs, and the store stays usable.
#[test]
fn what_fails_comes_out() {
    let engine = engine();
    let mut linker = Linker::<()>::new(&engine);
    linker
        .func_wrap("host", "f", |n: i32| match n {
            0 => Err(Error::new(ErrorKind::Argument, "zero")),
            1 => panic!("one"),
            n => Ok(f64::from(n)),
        })
        .unwrap();
    let text = r#"(module (import "host" "f" (func $f (param i32) (result f64)))
        (func (export "f") (param i32) (result f64)
            (if (i32.eq (local.get 0) (i32.const 2)) (then unreachable))
            (f64.add (call $f (local.get 0)) (f64.const 0.5))))"#;
    let mut store = Store::new(&engine, ());
    let instance = linker.instantiate(&mut store, &Module::new(&engine, text).unwrap()).unwrap();
    let f = instance.get_typed_func::<i32, f64>(&mut store, "f").unwrap();
    for _ in 0..3 {
        let error = f.call(&mut store, 0).unwrap_err();
        assert_eq!(
            (error.kind(), error.backtrace().map_or(0, |trace| trace.frames().len())),
            (ErrorKind::Argument, 1)
        );
        let call = std::panic::AssertUnwindSafe(|| f.call(&mut store, 1));
        let payload = std::panic::catch_unwind(call).unwrap_err();
        assert_eq!(payload.downcast_ref::<&str>(), Some(&"one"));
        assert_eq!(f.call(&mut store, 2).unwrap_err().trap(), Some(Trap::Unreachable));
        assert_eq!(f.call(&mut store, 3).unwrap(), 3.5);
    }
}

/// References pass in registers, too; wasm keeps its own while the host collects.
#[test]
fn references_survive_a_collection_in_the_host() {
    let engine = engine();
    let mut linker = Linker::<()>::new(&engine);
    linker
        .func_wrap("host", "f", |mut caller: Caller<'_, ()>, given: Option<ExternRef>| {
            for n in 0..100u32 {
                ExternRef::new(n).root(&mut caller).unwrap();
            }
            sphex::AsContextMut::as_context_mut(&mut caller).gc();
            given
        })
        .unwrap();
    let text = r#"(module (import "host" "f" (func $f (param externref) (result externref)))
        (func (export "f") (param externref externref) (result externref)
            (drop (call $f (local.get 0)))
            (drop (call $f (local.get 0)))
            (call $f (local.get 1))))"#;
    let mut store = Store::new(&engine, ());
    let instance = linker.instantiate(&mut store, &Module::new(&engine, text).unwrap()).unwrap();
    type Refs = (Option<ExternRef>, Option<ExternRef>);
    let f: TypedFunc<Refs, Option<ExternRef>> = instance.get_typed_func(&mut store, "f").unwrap();
    for n in 0..20u32 {
        let given = f.call(&mut store, (Some(ExternRef::new("first")), Some(ExternRef::new(n)))).unwrap();
        assert_eq!(given.unwrap().data().downcast_ref::<u32>(), Some(&n));
    }
}

/// An entry looks at an interruption that came before it, also where the one before was plain, and calls from different
/// depths of the host's stack each have their own limit.
#[test]
fn entries_that_are_not_plain() {
    fn deep(depth: usize, store: &mut Store<()>, f: &TypedFunc<i32, i32>) -> i32 {
        let ballast = std::hint::black_box([depth as u8; 3000]);
        let here = f.call(&mut *store, 1).unwrap();
        let below = if depth == 0 { 0 } else { deep(depth - 1, store, f) };
        here + below + f.call(store, 1).unwrap() + i32::from(ballast[7] == 255)
    }
    let engine = engine();
    let text = r#"(module
        (func (export "id") (param i32) (result i32) (local.get 0))
        (func $down (export "down") (param i32) (result i32) (i32.add (i32.const 1) (call $down (local.get 0)))))"#;
    let mut store = Store::new(&engine, ());
    let instance = Instance::new(&mut store, &Module::new(&engine, text).unwrap(), &[]).unwrap();
    let id = instance.get_typed_func::<i32, i32>(&mut store, "id").unwrap();
    let down = instance.get_typed_func::<i32, i32>(&mut store, "down").unwrap();
    assert_eq!(deep(50, &mut store, &id), 102);
    assert_eq!(down.call(&mut store, 0).unwrap_err().trap(), Some(Trap::StackOverflow));
    assert_eq!(deep(10, &mut store, &id), 22);
    // On a thread of its own the bounds are others.
    std::thread::Builder::new()
        .stack_size(256 << 10)
        .spawn(move || {
            assert_eq!(deep(3, &mut store, &id), 8);
            assert_eq!(down.call(&mut store, 0).unwrap_err().trap(), Some(Trap::StackOverflow));
            assert_eq!(id.call(&mut store, 5).unwrap(), 5);
        })
        .unwrap()
        .join()
        .unwrap();
}

//! Calls that are dropped while they wait: at every point where they may, everything that lives on their stacks is dropped.
#![cfg(feature = "compiler")]

mod tasks;

use std::future::Future;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::pin;
use std::task::Poll;

use sphex::{Caller, Engine, Error, ErrorKind, Global, Instance, Linker, Module, Store, TypedFunc};
use tasks::{Count, Turns, block_on, poll};

struct Data {
    /// What is held across waits.
    held: Count,
    /// How often an inner call was cut short.
    cut: u32,
}

const WAT: &str = r#"(module
    (import "h" "wait" (func $wait (param i32)))
    (import "h" "again" (func $again (param i32)))
    (import "h" "sync" (func $sync (param i32)))
    (global $done (export "done") (mut i32) (i32.const 0))
    (func $count (export "count") (global.set $done (i32.add (global.get $done) (i32.const 1))))
    (func (export "f") (param i32)
        (call $wait (i32.const 1))
        (call $sync (local.get 0))
        (if (local.get 0) (then (call $again (i32.sub (local.get 0) (i32.const 1)))))
        (call $wait (i32.const 2))
        (call $count)))"#;

fn make(engine: &Engine) -> (Store<Data>, Instance) {
    let module = Module::new(engine, WAT).unwrap();
    let mut linker: Linker<Data> = Linker::new(engine);
    linker
        .func_wrap_async("h", "wait", |caller: Caller<'_, Data>, (n,): (i32,)| {
            let early = caller.data().held.one();
            Box::new(async move {
                let _early = early;
                let _held = caller.data().held.one();
                for _ in 0..n {
                    let _inner = caller.data().held.one();
                    Turns(1).await;
                }
            })
        })
        .unwrap();
    linker
        .func_wrap_async("h", "again", |mut caller: Caller<'_, Data>, (n,): (i32,)| {
            Box::new(async move {
                let _held = caller.data().held.one();
                Turns(1).await;
                let f = function(&mut caller)?;
                // One that is cut short after as many polls as it takes to be inside it, then one to the end.
                {
                    let mut cut = pin!(f.call_async(&mut caller, n));
                    std::future::poll_fn(|context| {
                        assert!(cut.as_mut().poll(context).is_pending());
                        Poll::Ready(())
                    })
                    .await;
                }
                caller.data_mut().cut += 1;
                let _more = caller.data().held.one();
                f.call_async(&mut caller, n).await
            })
        })
        .unwrap();
    linker
        .func_wrap("h", "sync", |mut caller: Caller<'_, Data>, n: i32| {
            let _held = caller.data().held.one();
            let f = function(&mut caller)?;
            // A sync call of what waits is refused and leaves nothing behind.
            match f.call(&mut caller, n) {
                Err(error) if error.kind() == ErrorKind::WouldSuspend => Ok(()),
                _ => Err(Error::msg("a sync call waited")),
            }
        })
        .unwrap();
    let mut store = Store::new(engine, Data { held: Count::default(), cut: 0 });
    let instance = linker.instantiate(&mut store, &module).unwrap();
    (store, instance)
}

fn function(caller: &mut Caller<'_, Data>) -> sphex::Result<TypedFunc<i32, ()>> {
    let instance = caller.instance().ok_or_else(|| Error::msg("no instance"))?;
    instance.get_typed_func(caller, "f")
}

fn done(store: &mut Store<Data>, global: Global) -> i32 {
    global.get(store).unwrap().i32().unwrap()
}

#[test]
fn a_call_is_cancelled_at_every_point() {
    let engine = Engine::default();
    let mut points = 0;
    for depth in 0..4 {
        for away in [false, true] {
            let (mut store, instance) = make(&engine);
            let f = instance.get_typed_func::<i32, ()>(&mut store, "f").unwrap();
            let global = instance.get_global(&mut store, "done").unwrap();
            let held = store.data().held.clone();
            let mut turns = 0;
            loop {
                let before = done(&mut store, global);
                let mut call = Box::pin(f.call_async(&mut store, depth));
                let ended = (0..turns).any(|_| poll(call.as_mut()).is_ready());
                if ended {
                    break;
                }
                assert_eq!(held.live() > 0, turns > 0);
                match away {
                    true => std::thread::scope(|scope| {
                        scope.spawn(|| drop(call));
                    }),
                    false => drop(call),
                }
                assert_eq!(held.live(), 0, "depth {depth}, after {turns} polls");
                // What had been done by then stays; nothing more is done.
                assert!(done(&mut store, global) <= before + depth);
                turns += 1;
                points += 1;
            }
            assert_eq!(held.live(), 0);
            let (before, cut) = (done(&mut store, global), store.data().cut);
            block_on(f.call_async(&mut store, depth)).unwrap();
            assert_eq!(done(&mut store, global), before + depth + 1);
            assert_eq!(store.data().cut, cut + depth as u32);
        }
    }
    println!("cancelled at {points} points");
    assert!(points > 60, "{points}");
}

/// Calls wasm when it is dropped.
struct CallsBack<'a>(Caller<'a, u32>, TypedFunc<(), ()>);

impl Drop for CallsBack<'_> {
    fn drop(&mut self) {
        let first = self.1.call(&mut self.0, ()).is_ok();
        let second = block_on(self.1.call_async(&mut self.0, ())).is_ok();
        *self.0.data_mut() += u32::from(first) + u32::from(second);
    }
}

/// Panics when it is dropped.
struct Panics;

impl Drop for Panics {
    fn drop(&mut self) {
        panic!("a destructor panics");
    }
}

#[test]
fn destructors_may_call_wasm_and_may_panic() {
    let engine = Engine::default();
    let module = Module::new(
        &engine,
        r#"(module (import "h" "calls_back" (func $calls_back)) (import "h" "panics" (func $panics))
            (global $g (export "g") (mut i32) (i32.const 0))
            (func (export "count") (global.set $g (i32.add (global.get $g) (i32.const 1))))
            (func (export "calls_back") (call $calls_back) (global.set $g (i32.const 1000)))
            (func (export "panics") (call $panics) (global.set $g (i32.const 1000))))"#,
    )
    .unwrap();
    let mut linker: Linker<u32> = Linker::new(&engine);
    linker
        .func_wrap_async("h", "calls_back", |mut caller: Caller<'_, u32>, (): ()| {
            Box::new(async move {
                let instance = caller.instance().ok_or_else(|| Error::msg("no instance"))?;
                let count = instance.get_typed_func(&mut caller, "count")?;
                let _guard = CallsBack(caller, count);
                std::future::pending::<sphex::Result<()>>().await
            })
        })
        .unwrap();
    linker
        .func_wrap_async("h", "panics", |_: Caller<'_, u32>, (): ()| {
            Box::new(async move {
                let _guard = Panics;
                std::future::pending::<()>().await
            })
        })
        .unwrap();
    let mut store = Store::new(&engine, 0);
    let instance = linker.instantiate(&mut store, &module).unwrap();
    let calls_back = instance.get_typed_func::<(), ()>(&mut store, "calls_back").unwrap();
    let panics = instance.get_typed_func::<(), ()>(&mut store, "panics").unwrap();
    let global = instance.get_global(&mut store, "g").unwrap();
    for round in 1..4 {
        let mut call = Box::pin(calls_back.call_async(&mut store, ()));
        assert!(poll(call.as_mut()).is_pending());
        assert!(poll(call.as_mut()).is_pending());
        drop(call);
        assert_eq!(
            (*store.data(), global.get(&mut store).unwrap().i32()),
            (2 * round, Some(2 * round as i32))
        );
        let mut call = Box::pin(panics.call_async(&mut store, ()));
        assert!(poll(call.as_mut()).is_pending());
        let payload = catch_unwind(AssertUnwindSafe(|| drop(call))).unwrap_err();
        assert_eq!(payload.downcast_ref::<&str>(), Some(&"a destructor panics"));
    }
}

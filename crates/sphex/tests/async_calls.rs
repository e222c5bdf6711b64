//! Async calls: to and fro, nested, with traps, panics and exits.
#![cfg(feature = "compiler")]

mod tasks;

use sphex::{Caller, Config, Engine, Error, Instance, Linker, Module, Store};
use tasks::{Turns, count_turns};

/// Engines that keep memories in place and that move them.
fn engines() -> Vec<Engine> {
    let mut moving = Config::new();
    moving.compile.memory_reservation = 0;
    vec![Engine::default(), Engine::new(&moving).unwrap()]
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

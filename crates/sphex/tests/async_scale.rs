//! 20,000 calls that wait at the same time, each in a store of its own, in one process.
#![cfg(all(feature = "compiler", target_os = "linux"))]

mod tasks;

use std::fs;
use std::future::Future;
use std::pin::Pin;
use std::time::Instant;

use sphex::{Caller, Engine, Linker, Module, Store};
use tasks::{Turns, poll};

fn mappings() -> usize {
    fs::read_to_string("/proc/self/maps").unwrap().lines().count()
}

fn resident_bytes() -> u64 {
    let statm = fs::read_to_string("/proc/self/statm").unwrap();
    statm.split(' ').nth(1).unwrap().parse::<u64>().unwrap() * 4096
}

const STORES: usize = 20_000;

#[test]
fn twenty_thousand_stores_wait_at_once() {
    let engine = Engine::default();
    let module = Module::new(
        &engine,
        r#"(module (import "h" "wait" (func $wait (param i32) (result i32)))
            (global $g (mut i32) (i32.const 0))
            (func (export "f") (param i32) (result i32)
                (global.set $g (call $wait (local.get 0)))
                (i32.add (call $wait (global.get $g)) (global.get $g))))"#,
    )
    .unwrap();
    let mut linker: Linker<()> = Linker::new(&engine);
    linker
        .func_wrap_async("h", "wait", |_: Caller<'_, ()>, (n,): (i32,)| {
            Box::new(async move {
                Turns(1).await;
                n + 1
            })
        })
        .unwrap();
    let pre = linker.instantiate_pre(&module).unwrap();
    let (maps, bytes, start) = (mappings(), resident_bytes(), Instant::now());
    type Call = Pin<Box<dyn Future<Output = i32> + Send>>;
    let mut calls: Vec<Call> = (0..STORES as i32)
        .map(|n| -> Call {
            let (engine, pre) = (engine.clone(), pre.clone());
            Box::pin(async move {
                let mut store = Store::new(&engine, ());
                let instance = pre.instantiate_async(&mut store).await.unwrap();
                let f = instance.get_typed_func::<i32, i32>(&mut store, "f").unwrap();
                f.call_async(&mut store, n).await.unwrap()
            })
        })
        .collect();
    assert!(calls.iter_mut().all(|call| poll(call.as_mut()).is_pending()));
    let (held, resident) = (mappings() - maps, resident_bytes() - bytes);
    println!(
        "{STORES} stores wait: {held} mappings, {} KiB resident each, {:?}",
        resident / STORES as u64 / 1024,
        start.elapsed()
    );
    // At most 2 a stack, far from the default of `vm.max_map_count`: 65,530.
    assert!(held <= 2 * STORES, "{held}");
    assert!(resident / STORES as u64 <= 32 << 10, "{resident}");
    // Once more in another order, each on a thread of eight: 7919 is prime to 20,000.
    let start = Instant::now();
    for i in 0..STORES {
        assert!(poll(calls[i * 7919 % STORES].as_mut()).is_pending());
    }
    let slots: Vec<std::sync::Mutex<Call>> = calls.into_iter().map(std::sync::Mutex::new).collect();
    std::thread::scope(|scope| {
        for thread in 0..8 {
            let slots = &slots;
            scope.spawn(move || {
                for i in (0..STORES).rev().filter(|i| i % 8 == thread) {
                    let n = i * 7919 % STORES;
                    let result = poll(slots[n].lock().unwrap().as_mut());
                    assert_eq!(result, std::task::Poll::Ready(2 * n as i32 + 3));
                }
            });
        }
    });
    println!("resumed twice in {:?}", start.elapsed());
    drop(slots);
    let kept = resident_bytes().saturating_sub(bytes);
    println!("afterwards: {} mappings, {} MiB resident", mappings() - maps, kept >> 20);
    assert!(kept < resident / 2, "{kept} of {resident}");
}

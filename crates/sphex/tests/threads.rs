//! Shared memories and atomics: several stores on several threads, waiting and notifying, what stops a wait, limits.

#![cfg(feature = "compiler")]

use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Barrier};
use std::thread;
use std::time::{Duration, Instant};

use sphex::{
    Allocation, Config, Engine, ErrorKind, Extern, Instance, Linker, Memory, MemoryType, Module, OnDemand,
    Pooling, SharedMemory, Store, StoreLimitsBuilder, Trap, TypedFunc, Val, WaitResult,
};

fn shared_type(minimum: u64, maximum: u64) -> MemoryType {
    MemoryType { shared: true, ..MemoryType::new(minimum, Some(maximum)) }
}

/// Engines of every memory plan: guard pages, checks, a pool.
fn engines() -> Vec<(&'static str, Engine)> {
    let mut checked = Config::new();
    checked.compile.memory_reservation = 0;
    let mut explicit = Config::new();
    explicit.compile.explicit_checks = true;
    let mut pooled = Config::new();
    pooled.host.allocation = Allocation::Pooling(Pooling { instances: 8, memories: 4, ..Pooling::default() });
    let mut plain = Config::new();
    plain.compile.optimize = false;
    [
        ("guarded", Config::new()),
        ("checked", checked),
        ("explicit", explicit),
        ("pooled", pooled),
        ("plain", plain),
    ]
    .map(|(name, config)| (name, Engine::new(&config).unwrap()))
    .into()
}

/// What a thread does with an instance in a store of its own; the barrier is for all to begin together.
type Side<'a, R> = &'a (dyn Fn(&mut Store<()>, Instance, &Barrier) -> R + Sync);

/// Runs these, each on a thread with an instance of the module around one memory.
fn together<R: Send>(
    engine: &Engine,
    memory: &SharedMemory,
    module: &Module,
    calls: &[Side<'_, R>],
) -> Vec<R> {
    let mut linker = Linker::new(engine);
    linker.shared_memory("m", "memory", memory).unwrap();
    let barrier = Barrier::new(calls.len());
    thread::scope(|scope| {
        let threads: Vec<_> = calls
            .iter()
            .map(|call| {
                scope.spawn(|| {
                    let mut store = Store::new(engine, ());
                    let instance = linker.instantiate(&mut store, module).unwrap();
                    call(&mut store, instance, &barrier)
                })
            })
            .collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).collect()
    })
}

fn func<P: sphex::WasmValues, R: sphex::WasmValues>(
    store: &mut Store<()>,
    instance: Instance,
    name: &str,
) -> TypedFunc<P, R> {
    instance.get_typed_func(store, name).unwrap()
}

const COUNT: &str = r#"(module
    (import "m" "memory" (memory 1 4 shared))
    (func (export "add") (param $n i32)
        (loop $again
            (drop (i32.atomic.rmw.add (i32.const 64) (i32.const 1)))
            (i64.atomic.rmw.add (i32.const 72) (i64.const 0x100000001))
            drop
            (drop (i32.atomic.rmw8.add_u (i32.const 81) (i32.const 1)))
            (drop (i32.atomic.rmw16.sub_u (i32.const 84) (i32.const 1)))
            (br_if $again (local.tee $n (i32.sub (local.get $n) (i32.const 1))))))
    (func (export "cas") (param $n i32) (local $old i32)
        (loop $again
            (loop $retry
                (local.set $old (i32.atomic.load (i32.const 64)))
                (br_if $retry (i32.ne (local.get $old)
                    (i32.atomic.rmw.cmpxchg (i32.const 64) (local.get $old) (i32.add (local.get $old) (i32.const 1))))))
            (br_if $again (local.tee $n (i32.sub (local.get $n) (i32.const 1))))))
    ;; A lock made of an exchange, around plain accesses.
    (func (export "locked") (param $n i32)
        (loop $again
            (loop $spin (br_if $spin (i32.atomic.rmw.xchg (i32.const 128) (i32.const 1))))
            (i32.store (i32.const 64) (i32.add (i32.load (i32.const 64)) (i32.const 1)))
            (i32.atomic.store (i32.const 128) (i32.const 0))
            (br_if $again (local.tee $n (i32.sub (local.get $n) (i32.const 1)))))))"#;

#[test]
fn contended_counters_lose_nothing() {
    const ROUNDS: i32 = 200_000;
    for (name, engine) in engines() {
        let module = Module::new(&engine, COUNT).unwrap();
        for (export, rounds) in [("add", ROUNDS), ("cas", ROUNDS / 4), ("locked", ROUNDS / 20)] {
            let memory = SharedMemory::new(&engine, shared_type(1, 4)).unwrap();
            let call = |store: &mut Store<()>, instance: Instance, barrier: &Barrier| {
                let run = func::<i32, ()>(store, instance, export);
                barrier.wait();
                run.call(store, rounds).unwrap();
            };
            together(&engine, &memory, &module, &[&call, &call, &call, &call]);
            let mut words = [0; 32];
            memory.read(64, &mut words).unwrap();
            let word = |at: usize| u32::from_le_bytes(words[at..at + 4].try_into().unwrap());
            assert_eq!(word(0), rounds as u32 * 4, "{name}, {export}");
            if export == "add" {
                assert_eq!((word(8), word(12)), (rounds as u32 * 4, rounds as u32 * 4), "{name}");
                // Neighbours of narrow ones stay.
                assert_eq!(word(16), ((rounds as u32 * 4) & 0xff) << 8, "{name}");
                assert_eq!(word(20), u32::from((rounds as u32 * 4).wrapping_neg() as u16), "{name}");
            }
        }
    }
}

/// Two functions of a round number, each of which gives what it saw.
fn litmus(first: &str, second: &str) -> String {
    format!(
        r#"(module (import "m" "memory" (memory 1 4 shared))
            (func (export "0") (param $at i32) (result i32) {first})
            (func (export "1") (param $at i32) (result i32) {second}))"#
    )
}

/// How often each pair of results was seen, each round on words of its own.
fn outcomes(engine: &Engine, text: &str, rounds: u32) -> [[u32; 2]; 2] {
    let module = Module::new(engine, text).unwrap();
    let memory = SharedMemory::new(engine, shared_type(2, 4)).unwrap();
    let seen = [(); 2].map(|()| (0..rounds).map(|_| AtomicU32::new(0)).collect::<Vec<_>>());
    let turn = [AtomicU32::new(0), AtomicU32::new(0)];
    let side = |me: usize| {
        let (seen, turn, memory) = (&seen, &turn, &memory);
        move |store: &mut Store<()>, instance: Instance, _: &Barrier| {
            let run = func::<i32, i32>(store, instance, ["0", "1"][me]);
            for round in 0..rounds {
                let at = (round % 512) * 128;
                if me == 0 {
                    memory.fill(at as usize, 0, 128).unwrap();
                }
                turn[me].store(round + 1, Ordering::SeqCst);
                let mut spins = 0;
                while turn[1 - me].load(Ordering::SeqCst) <= round {
                    spins += 1;
                    if spins % 512 == 0 { thread::yield_now() } else { std::hint::spin_loop() }
                }
                let value = run.call(&mut *store, at as i32).unwrap();
                seen[me][round as usize].store(value as u32, Ordering::Relaxed);
            }
        }
    };
    let (first, second) = (side(0), side(1));
    together(engine, &memory, &module, &[&first, &second]);
    let mut counts = [[0; 2]; 2];
    for (a, b) in seen[0].iter().zip(&seen[1]) {
        counts[a.load(Ordering::Relaxed) as usize][b.load(Ordering::Relaxed) as usize] += 1;
    }
    counts
}

#[test]
fn sequential_consistency_forbids_what_it_forbids() {
    const ROUNDS: u32 = 100_000;
    let engine = Engine::default();
    let x = "(local.get $at)";
    let y = "(i32.add (local.get $at) (i32.const 64))";
    let one = "(i32.const 1)";
    // Store buffering: somebody sees the other's store.
    let side = |mine: &str, other: &str| format!("(i32.atomic.store {mine} {one}) (i32.atomic.load {other})");
    let counts = outcomes(&engine, &litmus(&side(x, y), &side(y, x)), ROUNDS);
    assert_eq!(counts[0][0], 0, "SB {counts:?}");
    // The same with plain accesses and a fence between them.
    let side =
        |mine: &str, other: &str| format!("(i32.store {mine} {one}) (atomic.fence) (i32.load {other})");
    let counts = outcomes(&engine, &litmus(&side(x, y), &side(y, x)), ROUNDS);
    assert_eq!(counts[0][0], 0, "SB with fences {counts:?}");
    // Message passing: who sees the flag sees the data, which is a plain store.
    let write = format!("(i32.store {x} {one}) (i32.atomic.store {y} {one}) (i32.const 0)");
    let read = format!(
        "(local $flag i32) (drop (i32.load {x})) (local.set $flag (i32.atomic.load {y})) \
         (i32.and (local.get $flag) (i32.eqz (i32.load {x})))"
    );
    let counts = outcomes(&engine, &litmus(&write, &read), ROUNDS);
    assert_eq!(counts[0][1] + counts[1][1], 0, "MP {counts:?}");
    // Load buffering: nobody sees what was written because of what they wrote.
    let side = |mine: &str, other: &str| {
        format!(
            "(local $seen i32) (local.set $seen (i32.atomic.load {other})) (i32.atomic.store {mine} {one}) (local.get $seen)"
        )
    };
    let counts = outcomes(&engine, &litmus(&side(x, y), &side(y, x)), ROUNDS);
    assert_eq!(counts[1][1], 0, "LB {counts:?}");
}

const WAIT: &str = r#"(module
    (import "m" "memory" (memory 1 4 shared))
    (func (export "wait32") (param i32 i32 i64) (result i32)
        (memory.atomic.wait32 (local.get 0) (local.get 1) (local.get 2)))
    (func (export "wait64") (param i32 i64 i64) (result i32)
        (memory.atomic.wait64 (local.get 0) (local.get 1) (local.get 2)))
    (func (export "wait32 far") (param i32 i32 i64) (result i32)
        (memory.atomic.wait32 offset=4294967292 (local.get 0) (local.get 1) (local.get 2)))
    (func (export "notify") (param i32 i32) (result i32)
        (memory.atomic.notify (local.get 0) (local.get 1)))
    (func (export "store") (param i32 i32) (i32.atomic.store (local.get 0) (local.get 1))))"#;

/// A store with the module of waits and this memory.
fn waiting(engine: &Engine, memory: &SharedMemory) -> (Store<()>, Instance) {
    let module = Module::new(engine, WAIT).unwrap();
    let mut linker = Linker::new(engine);
    linker.shared_memory("m", "memory", memory).unwrap();
    let mut store = Store::new(engine, ());
    let instance = linker.instantiate(&mut store, &module).unwrap();
    (store, instance)
}

#[test]
fn waits_without_a_partner() {
    for (name, engine) in engines() {
        let memory = SharedMemory::new(&engine, shared_type(1, 4)).unwrap();
        let (mut store, instance) = waiting(&engine, &memory);
        let wait32 = func::<(i32, i32, i64), i32>(&mut store, instance, "wait32");
        let wait64 = func::<(i32, i64, i64), i32>(&mut store, instance, "wait64");
        let far = func::<(i32, i32, i64), i32>(&mut store, instance, "wait32 far");
        let notify = func::<(i32, i32), i32>(&mut store, instance, "notify");
        // The last words of the memory.
        assert_eq!(notify.call(&mut store, (65532, 1)).unwrap(), 0, "{name}");
        assert_eq!(wait32.call(&mut store, (65532, 0, 0)).unwrap(), 2, "{name}");
        assert_eq!(wait64.call(&mut store, (65528, 0, 0)).unwrap(), 2, "{name}");
        assert_eq!(wait32.call(&mut store, (65532, 1, -1)).unwrap(), 1, "{name}");
        assert_eq!(wait64.call(&mut store, (65528, 1 << 32, -1)).unwrap(), 1, "{name}");
        let began = Instant::now();
        assert_eq!(wait32.call(&mut store, (0, 0, 20_000_000)).unwrap(), 2);
        assert!(began.elapsed() >= Duration::from_millis(20));
        let trap =
            |result: sphex::Result<i32>, trap| assert_eq!(result.unwrap_err().trap(), Some(trap), "{name}");
        // Alignment before bounds, with the whole of the address.
        trap(wait32.call(&mut store, (65534, 0, 0)), Trap::HeapMisaligned);
        trap(wait32.call(&mut store, (65538, 0, 0)), Trap::HeapMisaligned);
        trap(wait32.call(&mut store, (65536, 0, 0)), Trap::MemoryOutOfBounds);
        trap(wait64.call(&mut store, (65532, 0, 0)), Trap::HeapMisaligned);
        trap(notify.call(&mut store, (65537, 0)), Trap::HeapMisaligned);
        trap(notify.call(&mut store, (-4, 0)), Trap::MemoryOutOfBounds);
        // 4294967292 + 4 does not wrap to 0.
        trap(far.call(&mut store, (4, 0, 0)), Trap::MemoryOutOfBounds);
        trap(far.call(&mut store, (2, 0, 0)), Trap::HeapMisaligned);
    }
}

#[test]
fn an_unshared_memory_is_not_waited_on() {
    let engine = Engine::default();
    let text = WAIT.replace(r#"(import "m" "memory" (memory 1 4 shared))"#, "(memory 1 4)");
    let mut store = Store::new(&engine, ());
    let instance = Instance::new(&mut store, &Module::new(&engine, text).unwrap(), &[]).unwrap();
    let wait32 = func::<(i32, i32, i64), i32>(&mut store, instance, "wait32");
    let notify = func::<(i32, i32), i32>(&mut store, instance, "notify");
    let error = wait32.call(&mut store, (0, 1, 0)).unwrap_err();
    assert_eq!((error.trap(), error.message()), (Some(Trap::ExpectedSharedMemory), "expected shared memory"));
    let trap = |result: sphex::Result<i32>| result.unwrap_err().trap().unwrap();
    assert_eq!(trap(wait32.call(&mut store, (2, 1, 0))), Trap::HeapMisaligned);
    assert_eq!(trap(wait32.call(&mut store, (65536, 1, 0))), Trap::MemoryOutOfBounds);
    assert_eq!(notify.call(&mut store, (65532, -1)).unwrap(), 0);
    assert_eq!(trap(notify.call(&mut store, (2, 1))), Trap::HeapMisaligned);
    assert_eq!(trap(notify.call(&mut store, (65536, 1))), Trap::MemoryOutOfBounds);
}

/// Notifies until so many were woken.
fn notify_until(memory: &SharedMemory, address: u64, count: u32) {
    let mut woken = 0;
    while woken < count {
        woken += memory.atomic_notify(address, count - woken).unwrap();
        thread::yield_now();
    }
}

#[test]
fn notifications_wake_as_many_as_they_say_in_order() {
    let engine = Engine::default();
    let memory = SharedMemory::new(&engine, shared_type(1, 4)).unwrap();
    thread::scope(|scope| {
        // Of every kind: for ever, and for as long as can be said.
        let wait = |address: i32, timeout: i64| {
            let (engine, memory) = (&engine, &memory);
            scope.spawn(move || {
                let (mut store, instance) = waiting(engine, memory);
                func::<(i32, i32, i64), i32>(&mut store, instance, "wait32")
                    .call(&mut store, (address, 0, timeout))
            })
        };
        let waits = [wait(0, -1), wait(0, i64::MAX), wait(0, i64::MIN), wait(8, -1)];
        let host = scope.spawn(|| memory.atomic_wait32(0, 0, Some(Duration::MAX)));
        notify_until(&memory, 8, 1);
        assert_eq!(memory.atomic_notify(0, 0).unwrap(), 0);
        notify_until(&memory, 0, 4);
        assert_eq!(host.join().unwrap().unwrap(), WaitResult::Ok);
        for wait in waits {
            assert_eq!(wait.join().unwrap().unwrap(), 0);
        }
        assert_eq!(memory.atomic_notify(0, u32::MAX).unwrap(), 0);
    });
}

#[test]
fn a_waiter_never_misses_a_change() {
    // Each waits for the other's turn and then gives it the next: a notification that were lost would hang.
    const ROUNDS: i32 = 2_000;
    let engine = Engine::default();
    let text = r#"(module (import "m" "memory" (memory 1 4 shared))
        (func (export "turns") (param $me i32) (param $rounds i32)
            (loop $again
                (block $mine (loop $wait
                    (br_if $mine (i32.eq (i32.atomic.load (i32.const 0)) (local.get $me)))
                    (drop (memory.atomic.wait32 (i32.const 0) (i32.sub (i32.const 1) (local.get $me)) (i64.const -1)))
                    (br $wait)))
                (i32.atomic.store (i32.const 0) (i32.sub (i32.const 1) (local.get $me)))
                (drop (memory.atomic.notify (i32.const 0) (i32.const 1)))
                (br_if $again (local.tee $rounds (i32.sub (local.get $rounds) (i32.const 1)))))))"#;
    let module = Module::new(&engine, text).unwrap();
    let memory = SharedMemory::new(&engine, shared_type(1, 4)).unwrap();
    let side = |me: i32| {
        move |store: &mut Store<()>, instance: Instance, _: &Barrier| {
            let turns = func::<(i32, i32), ()>(store, instance, "turns");
            turns.call(store, (me, ROUNDS)).unwrap();
        }
    };
    let (first, second) = (side(0), side(1));
    together(&engine, &memory, &module, &[&first, &second]);
}

#[test]
fn what_stops_a_store_ends_its_wait() {
    let engine = Engine::default();
    let memory = SharedMemory::new(&engine, shared_type(1, 4)).unwrap();
    let wait = |prepare: &(dyn Fn(&mut Store<()>) + Sync), act: &(dyn Fn() + Sync)| {
        thread::scope(|scope| {
            let waiter = scope.spawn(|| {
                let (mut store, instance) = waiting(&engine, &memory);
                prepare(&mut store);
                let wait = func::<(i32, i64, i64), i32>(&mut store, instance, "wait64");
                wait.call(&mut store, (16, 0, -1)).unwrap_err().trap()
            });
            thread::sleep(Duration::from_millis(30));
            act();
            waiter.join().unwrap()
        })
    };
    let handle = std::sync::OnceLock::new();
    let interrupted = wait(&|store| drop(handle.set(store.interrupt_handle())), &|| loop {
        if let Some(handle) = handle.get() {
            return handle.interrupt();
        }
    });
    assert_eq!(interrupted, Some(Trap::Interrupt));
    assert_eq!(
        wait(&|store| store.set_epoch_deadline(1), &|| engine.increment_epoch()),
        Some(Trap::EpochDeadline)
    );
    assert_eq!(
        wait(&|store| store.set_timeout(Duration::from_millis(5)).unwrap(), &|| {}),
        Some(Trap::Timeout)
    );
    // Nobody is left behind in the table.
    assert_eq!(memory.atomic_notify(16, u32::MAX).unwrap(), 0);
    // A callback may let the wait go on.
    let ticks = Arc::new(AtomicU32::new(0));
    let counted = ticks.clone();
    let ended = wait(
        &move |store| {
            let counted = counted.clone();
            store.set_epoch_deadline(1);
            store.epoch_deadline_callback(move |_| match counted.fetch_add(1, Ordering::SeqCst) {
                0 => Ok(sphex::UpdateDeadline::Continue(1)),
                _ => Err(sphex::Error::from(sphex_error("enough"))),
            });
        },
        &|| {
            while ticks.load(Ordering::SeqCst) < 2 {
                engine.increment_epoch();
                thread::sleep(Duration::from_millis(1));
            }
        },
    );
    assert_eq!(ended, None);
}

fn sphex_error(text: &'static str) -> std::io::Error {
    std::io::Error::other(text)
}

/// Calls an export with values.
fn call(store: &mut Store<()>, instance: Instance, name: &str, arguments: &[Val]) -> sphex::Result<Vec<Val>> {
    instance.get_func(&mut *store, name).unwrap().call_values(store, arguments)
}

#[test]
fn narrow_operations_wrap_and_extend() {
    let text = r#"(module (memory 1 1 shared)
        (data (i32.const 0) "\88\77\66\55\44\33\22\11")
        (func (export "cas") (result i64 i64)
            (i64.atomic.rmw32.cmpxchg_u (i32.const 0) (i64.const 0xdeadbeef55667788) (i64.const 0x1234))
            (i64.load (i32.const 0)))
        (func (export "cas8") (result i32 i64)
            (i32.atomic.rmw8.cmpxchg_u (i32.const 7) (i32.const 0xabcdef11) (i32.const 0x1ff))
            (i64.atomic.load (i32.const 0)))
        (func (export "load") (result i32 i64)
            (i32.atomic.load8_u (i32.const 7)) (i64.atomic.load16_u (i32.const 6)))
        (func (export "store then trap")
            (i32.atomic.store (i32.const 16) (i32.const 7)) (i32.atomic.store (i32.const 17) (i32.const 8)))
        (func (export "after") (result i32) (i32.load (i32.const 16)))
        (func (export "far") (param i32) (result i64) (i64.atomic.load offset=4294967288 (local.get 0)))
        (func (export "odd") (param i32) (result i32) (i32.atomic.load16_u offset=1 (local.get 0)))
        (func (export "rmw") (param i32) (result i32) (i32.atomic.rmw.and (local.get 0) (i32.const 3)))
        (func (export "const") (result i32) (i32.atomic.load (i32.const 2))))"#;
    for (name, engine) in engines() {
        let module = Module::new(&engine, text).unwrap();
        let mut store = Store::new(&engine, ());
        let instance = Instance::new(&mut store, &module, &[]).unwrap();
        let results = |store: &mut Store<()>, name: &str, argument: Option<i32>| {
            let argument = argument.map(Val::I32);
            call(store, instance, name, argument.as_slice())
        };
        let fine = |store: &mut Store<()>, name| format!("{:?}", results(store, name, None).unwrap());
        let expected = format!("{:?}", [Val::I64(0x55667788), Val::I64(0x1122334400001234)]);
        assert_eq!(fine(&mut store, "cas"), expected, "{name}");
        let expected = format!("{:?}", [Val::I32(0x11), Val::I64(0xff22334400001234u64 as i64)]);
        assert_eq!(fine(&mut store, "cas8"), expected, "{name}");
        assert_eq!(fine(&mut store, "load"), format!("{:?}", [Val::I32(0xff), Val::I64(0xff22)]), "{name}");
        let trap = |store: &mut Store<()>, name: &str, argument| {
            results(store, name, argument).unwrap_err().trap().unwrap()
        };
        assert_eq!(trap(&mut store, "store then trap", None), Trap::HeapMisaligned, "{name}");
        assert_eq!(fine(&mut store, "after"), format!("{:?}", [Val::I32(7)]), "{name}");
        // Alignment is of the sum, and before bounds.
        assert_eq!(trap(&mut store, "far", Some(8)), Trap::MemoryOutOfBounds, "{name}");
        assert_eq!(trap(&mut store, "far", Some(-4)), Trap::HeapMisaligned, "{name}");
        assert_eq!(trap(&mut store, "odd", Some(0)), Trap::HeapMisaligned, "{name}");
        assert!(results(&mut store, "odd", Some(3)).is_ok(), "{name}");
        assert_eq!(trap(&mut store, "odd", Some(65535)), Trap::MemoryOutOfBounds, "{name}");
        assert_eq!(trap(&mut store, "rmw", Some(-2)), Trap::HeapMisaligned, "{name}");
        assert_eq!(trap(&mut store, "rmw", Some(65536)), Trap::MemoryOutOfBounds, "{name}");
        assert_eq!(trap(&mut store, "const", None), Trap::HeapMisaligned, "{name}");
    }
}

#[test]
fn growing_is_seen_by_every_store_and_never_moves() {
    let text = r#"(module (import "m" "memory" (memory 1 64 shared))
        (func (export "grow") (result i32) (memory.grow (i32.const 1)))
        (func (export "size") (result i32) (memory.size))
        (func (export "wait for") (param $size i32) (result i32)
            ;; The flag says that it has grown: what is there now must be in bounds.
            (loop $again (br_if $again (i32.eqz (i32.atomic.load (i32.const 0)))))
            (i32.load (i32.sub (i32.mul (local.get $size) (i32.const 65536)) (i32.const 4)))))"#;
    for (name, engine) in engines() {
        let module = Module::new(&engine, text).unwrap();
        let memory = SharedMemory::new(&engine, shared_type(1, 64)).unwrap();
        let base = memory.data_ptr();
        let grow = |store: &mut Store<()>, instance: Instance, barrier: &Barrier| {
            let grow = func::<(), i32>(store, instance, "grow");
            barrier.wait();
            let old: Vec<i32> = (0..10).map(|_| grow.call(&mut *store, ()).unwrap()).collect();
            old
        };
        let mut old = together(&engine, &memory, &module, &[&grow, &grow, &grow]).concat();
        old.sort_unstable();
        assert_eq!(old, (1..31).collect::<Vec<_>>(), "{name}: each size is given once");
        assert_eq!((memory.size(), memory.data_ptr()), (31, base), "{name}");
        let read = |store: &mut Store<()>, instance: Instance, _: &Barrier| {
            func::<i32, i32>(store, instance, "wait for").call(store, 40).unwrap()
        };
        let act = |store: &mut Store<()>, instance: Instance, _: &Barrier| {
            thread::sleep(Duration::from_millis(5));
            memory.grow(9).unwrap();
            memory.write(40 * 65536 - 4, &[7, 0, 0, 0]).unwrap();
            memory.write(0, &[1, 0, 0, 0]).unwrap();
            func::<(), i32>(store, instance, "size").call(store, ()).unwrap()
        };
        assert_eq!(together(&engine, &memory, &module, &[&read, &act]), [7, 40], "{name}");
        assert_eq!(memory.grow(25).unwrap_err().kind(), ErrorKind::Limit, "{name}");
        assert_eq!(memory.grow(24).unwrap(), 40, "{name}");
        assert_eq!(memory.data_ptr(), base, "{name}");
    }
}

#[test]
fn bulk_operations_and_segments_reach_shared_memories() {
    let text = r#"(module
        (import "m" "memory" (memory 1 4 shared))
        (memory $own 1)
        (data $passive "passive")
        (data (memory 0) (i32.const 100) "active")
        (func (export "run") (param $len i32)
            (memory.init $passive (i32.const 200) (i32.const 0) (i32.const 7))
            (memory.fill (i32.const 300) (i32.const 0x41) (local.get $len))
            (memory.copy (i32.const 303) (i32.const 200) (i32.const 7))
            (memory.copy $own 0 (i32.const 0) (i32.const 0) (i32.const 1024))
            (memory.copy 0 $own (i32.const 1024) (i32.const 0) (local.get $len)))
        (func (export "outside") (memory.copy (i32.const 65530) (i32.const 0) (i32.const 7))))"#;
    let fuelled = || {
        let mut config = Config::new();
        config.compile.fuel = true;
        ("fuel", Engine::new(&config).unwrap())
    };
    for (name, engine) in engines().into_iter().chain([fuelled()]) {
        let module = Module::new(&engine, text).unwrap();
        let memory = SharedMemory::new(&engine, shared_type(1, 4)).unwrap();
        let mut store = Store::new(&engine, ());
        if name == "fuel" {
            store.set_fuel(1_000_000).unwrap();
        }
        let handle = memory.attach(&mut store).unwrap();
        let instance = Instance::new(&mut store, &module, &[handle.into()]).unwrap();
        func::<i32, ()>(&mut store, instance, "run").call(&mut store, 1000).unwrap();
        let mut bytes = vec![0; 2048];
        memory.read(0, &mut bytes).unwrap();
        assert_eq!(&bytes[100..106], b"active", "{name}");
        assert_eq!(&bytes[200..207], b"passive", "{name}");
        assert_eq!(&bytes[300..312], b"AAApassiveAA", "{name}");
        assert_eq!(bytes[1024..1324], bytes[0..300], "{name}");
        let error = func::<(), ()>(&mut store, instance, "outside").call(&mut store, ()).unwrap_err();
        assert_eq!(error.trap(), Some(Trap::MemoryOutOfBounds), "{name}");
    }
}

#[test]
fn handles_share_and_slices_do_not() {
    let engine = Engine::default();
    let module =
        Module::new(&engine, r#"(module (memory (export "m") 1 2 shared) (data (i32.const 8) "text"))"#)
            .unwrap();
    let mut store = Store::new(&engine, ());
    let instance = Instance::new(&mut store, &module, &[]).unwrap();
    let memory = instance.get_memory(&mut store, "m").unwrap();
    let shared = memory.shared(&store).unwrap().unwrap();
    assert_eq!(shared.attach(&mut store).unwrap(), memory);
    assert_eq!(memory.data(&store).unwrap_err().kind(), ErrorKind::Type);
    assert_eq!(memory.data_mut(&mut store).unwrap_err().kind(), ErrorKind::Type);
    assert!(memory.ty(&store).unwrap().shared);
    let mut other = Store::new(&engine, ());
    let there = shared.attach(&mut other).unwrap();
    there.write(&mut other, 0, b"here").unwrap();
    let mut bytes = [0; 12];
    memory.read(&store, 0, &mut bytes).unwrap();
    assert_eq!(&bytes, b"here\0\0\0\0text");
    assert_eq!(there.grow(&mut other, 1).unwrap(), 1);
    assert_eq!((memory.size(&store).unwrap(), memory.data_size(&store).unwrap()), (2, 131072));
    assert_eq!(memory.write(&mut store, 131070, &[0; 3]).unwrap_err().kind(), ErrorKind::OutOfBounds);
    // It lives as long as anybody has it.
    drop(store);
    drop(other);
    shared.read(8, &mut bytes[..4]).unwrap();
    assert_eq!(&bytes[..4], b"text");
    assert!(SharedMemory::same(&shared, &shared.clone()));
    let unshared = Memory::new(Store::new(&engine, ()), MemoryType::new(1, None)).unwrap();
    let mut store = Store::new(&engine, ());
    assert_eq!(unshared.shared(&store).unwrap_err().kind(), ErrorKind::WrongStore);
    let unshared = Memory::new(&mut store, MemoryType::new(1, None)).unwrap();
    assert!(unshared.shared(&store).unwrap().is_none());
    let made = Memory::new(&mut store, shared_type(1, 1)).unwrap();
    assert!(made.shared(&store).unwrap().is_some());
}

#[test]
fn limits_and_pools_count_shared_memories() {
    let engine = Engine::default();
    let module = Module::new(
        &engine,
        r#"(module (memory (export "m") 1 4 shared)
        (func (export "grow") (result i32) (memory.grow (i32.const 1))))"#,
    )
    .unwrap();
    let memory = SharedMemory::new(&engine, shared_type(2, 4)).unwrap();
    let mut store = Store::new(&engine, ());
    store.set_limits(StoreLimitsBuilder::new().memory_size(1 << 16).memories(1).build());
    assert_eq!(memory.attach(&mut store).unwrap_err().kind(), ErrorKind::Limit);
    let instance = Instance::new(&mut store, &module, &[]).unwrap();
    assert_eq!(func::<(), i32>(&mut store, instance, "grow").call(&mut store, ()).unwrap(), -1);
    assert_eq!(Instance::new(&mut store, &module, &[]).unwrap_err().kind(), ErrorKind::Limit);
    // Of another store, it may be grown for both.
    let own = instance.get_memory(&mut store, "m").unwrap().shared(&store).unwrap().unwrap();
    own.grow(1).unwrap();
    assert_eq!(func::<(), i32>(&mut store, instance, "grow").call(&mut store, ()).unwrap(), -1);

    let mut config = Config::new();
    let pooling = Pooling { instances: 4, memories: 2, memory_bytes: 2 << 16, ..Pooling::default() };
    config.host.allocation = Allocation::Pooling(pooling);
    let engine = Engine::new(&config).unwrap();
    for _ in 0..3 {
        let first = SharedMemory::new(&engine, shared_type(1, 4)).unwrap();
        let _second = SharedMemory::new(&engine, shared_type(1, 4)).unwrap();
        let error = SharedMemory::new(&engine, shared_type(1, 4)).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Limit, "{error}");
        let mut byte = [1];
        first.read(70_000 - 65_536, &mut byte).unwrap();
        assert_eq!(byte, [0], "a slot is clean");
        first.write(70_000 - 65_536, &[7]).unwrap();
        assert_eq!(first.grow(1).unwrap(), 1);
        assert_eq!(first.grow(1).unwrap_err().kind(), ErrorKind::Limit);
    }
    // On demand they come from the cache, clean.
    let mut config = Config::new();
    config.host.allocation = Allocation::OnDemand(OnDemand { cached_memories: 1, ..OnDemand::default() });
    let engine = Engine::new(&config).unwrap();
    for _ in 0..3 {
        let memory = SharedMemory::new(&engine, shared_type(1, 4)).unwrap();
        let mut byte = [1];
        memory.read(1000, &mut byte).unwrap();
        assert_eq!(byte, [0]);
        memory.write(1000, &[9]).unwrap();
        memory.grow(3).unwrap();
    }
}

#[test]
fn types_and_plans_are_checked() {
    let engine = Engine::default();
    let argument = |ty| SharedMemory::new(&engine, ty).unwrap_err().kind();
    assert_eq!(argument(MemoryType::new(1, Some(1))), ErrorKind::Argument);
    assert_eq!(argument(MemoryType { shared: true, ..MemoryType::new(1, None) }), ErrorKind::Argument);
    assert_eq!(argument(shared_type(2, 1)), ErrorKind::Argument);
    let memory = SharedMemory::new(&engine, shared_type(1, 2)).unwrap();
    let mut store = Store::new(&engine, ());
    let handle = memory.attach(&mut store).unwrap();
    for (wanted, fine) in [
        ("1 2 shared", true),
        ("1 3 shared", true),
        ("1 1 shared", false),
        ("2 2 shared", false),
        ("1 2", false),
    ] {
        let module = Module::new(&engine, format!(r#"(module (import "" "" (memory {wanted})))"#)).unwrap();
        let made = Instance::new(&mut store, &module, &[Extern::Memory(handle)]);
        assert_eq!(made.is_ok(), fine, "{wanted}");
        if let Err(error) = made {
            assert_eq!(error.kind(), ErrorKind::Link);
        }
    }
    // Another engine's, whatever it was made like.
    let other = Engine::default();
    assert_eq!(memory.attach(Store::new(&other, ())).unwrap_err().kind(), ErrorKind::WrongStore);
    let mut linker = Linker::<()>::new(&other);
    assert_eq!(linker.shared_memory("m", "m", &memory).unwrap_err().kind(), ErrorKind::WrongStore);
    // The proposal can be switched off.
    let mut config = Config::new();
    config.wasm_threads(true).wasm_threads(false);
    let engine = Engine::new(&config).unwrap();
    for text in ["(module (memory 1 1 shared))", "(module (func (atomic.fence)))"] {
        assert_eq!(Module::new(&engine, text).unwrap_err().kind(), ErrorKind::Invalid);
    }
}

#[test]
fn artifacts_say_that_a_memory_is_shared() {
    let engine = Engine::default();
    let bytes =
        engine.precompile(&wat::parse_str(r#"(module (memory (export "m") 1 2 shared))"#).unwrap()).unwrap();
    // SAFETY: just compiled.
    #[allow(unsafe_code)]
    let module = unsafe { Module::deserialize(&engine, &bytes) }.unwrap();
    let ty = module.exports().next().unwrap().ty;
    assert_eq!(ty.to_string(), "memory 1..2 shared");
}

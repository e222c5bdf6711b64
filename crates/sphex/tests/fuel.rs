//! Fuel: one for each entry of a function and each turn of a loop, whatever the compiler makes of them.
#![cfg(feature = "compiler")]

mod tasks;

use sphex::{Caller, Config, Engine, Instance, Linker, Module, Store, Trap};

const WAT: &str = r#"(module
    (func $leaf (param i32) (result i32) (i32.add (local.get 0) (i32.const 1)))
    (func (export "straight") (result i32) (i32.const 7))
    (func (export "loop") (param i32) (result i32) (local i32)
        (loop $l
            (local.set 1 (call $leaf (local.get 1)))
            (br_if $l (i32.lt_s (local.get 1) (local.get 0))))
        (local.get 1))
    (func (export "forever") (loop $l (br $l)))
    (func $deep (export "deep") (param i32)
        (if (local.get 0) (then (call $deep (i32.sub (local.get 0) (i32.const 1)))))))"#;

fn engines() -> Vec<Engine> {
    let mut engines = Vec::new();
    for (optimize, inlining, interruption) in [(true, true, true), (true, false, false), (false, false, true)]
    {
        let mut config = Config::new();
        config.compile.fuel = true;
        config.compile.optimize = optimize;
        config.compile.inlining = inlining;
        config.compile.interruption = interruption;
        engines.push(Engine::new(&config).unwrap());
        if inlining && interruption {
            config.host.lazy_compilation = true;
            engines.push(Engine::new(&config).unwrap());
        }
    }
    engines
}

#[test]
fn what_is_taken_does_not_depend_on_the_compiler() {
    for engine in engines() {
        let mut store = Store::new(&engine, ());
        let instance = Instance::new(&mut store, &Module::new(&engine, WAT).unwrap(), &[]).unwrap();
        let straight = instance.get_typed_func::<(), i32>(&mut store, "straight").unwrap();
        let turns = instance.get_typed_func::<i32, i32>(&mut store, "loop").unwrap();
        let deep = instance.get_typed_func::<i32, ()>(&mut store, "deep").unwrap();
        store.set_fuel(10_000).unwrap();
        assert_eq!(straight.call(&mut store, ()).unwrap(), 7);
        assert_eq!(store.fuel().unwrap(), 9_999);
        assert_eq!(turns.call(&mut store, 100).unwrap(), 100);
        assert_eq!(store.fuel().unwrap(), 9_999 - 1 - 2 * 100);
        deep.call(&mut store, 50).unwrap();
        assert_eq!(store.fuel().unwrap(), 9_798 - 51);
    }
}

#[test]
fn where_none_is_left_it_is_a_trap() {
    for engine in engines() {
        let mut store = Store::new(&engine, ());
        let instance = Instance::new(&mut store, &Module::new(&engine, WAT).unwrap(), &[]).unwrap();
        let forever = instance.get_typed_func::<(), ()>(&mut store, "forever").unwrap();
        let straight = instance.get_typed_func::<(), i32>(&mut store, "straight").unwrap();
        store.set_fuel(1_000_000).unwrap();
        let error = forever.call(&mut store, ()).unwrap_err();
        assert_eq!(error.trap(), Some(Trap::OutOfFuel), "{error}");
        assert_eq!(store.fuel().unwrap(), 0);
        assert_eq!(straight.call(&mut store, ()).unwrap_err().trap(), Some(Trap::OutOfFuel));
        store.set_fuel(1).unwrap();
        assert_eq!(straight.call(&mut store, ()).unwrap(), 7);
    }
}

/// Calls to and fro, tail calls, tables, branches, traps in the middle of loops: after each, and at each call of the host,
/// every compiler has left the same.
const WINDING: &str = r#"(module
    (import "h" "look" (func $look))
    (memory 4) (data $d "0123456789")
    (table $t 600 funcref) (elem (table $t) (i32.const 0) func $even $odd $look)
    (type $n (func (param i32) (result i32)))
    (func $even (type $n)
        (if (result i32) (local.get 0)
            (then (return_call $odd (i32.sub (local.get 0) (i32.const 1))))
            (else (i32.const 1))))
    (func $odd (type $n)
        (if (result i32) (local.get 0)
            (then (return_call_indirect $t (type $n) (i32.sub (local.get 0) (i32.const 1)) (i32.const 0)))
            (else (i32.const 0))))
    (func $small (param i32) (result i32) (call $look) (i32.mul (local.get 0) (i32.const 3)))
    (func (export "wind") (param $n i32) (result i32) (local $i i32) (local $sum i32)
        (loop $outer
            (block $a (block $b (block $c
                (br_table $a $b $c (i32.rem_u (local.get $i) (i32.const 3))))
                (local.set $sum (i32.add (local.get $sum) (call $even (local.get $i)))))
                (local.set $sum (i32.add (local.get $sum) (call $small (local.get $i)))))
            (loop $inner
                (local.set $sum (i32.add (local.get $sum) (i32.const 1)))
                (br_if $inner (i32.and (local.get $sum) (i32.const 3))))
            ;; Traps when 90 is reached.
            (local.set $sum (i32.add (local.get $sum) (i32.div_s (i32.const 1000) (i32.sub (i32.const 90) (local.get $i)))))
            (local.set $i (i32.add (local.get $i) (i32.const 1)))
            (br_if $outer (i32.lt_u (local.get $i) (local.get $n))))
        (local.get $sum))
    (func (export "bulk") (param $n i32) (result i32)
        (memory.fill (i32.const 0) (i32.const 7) (local.get $n))
        (memory.copy (i32.const 1) (i32.const 0) (local.get $n))
        (memory.init $d (i32.const 0) (i32.const 0) (i32.const 10))
        (table.fill $t (i32.const 0) (ref.null func) (i32.const 600))
        (table.copy $t $t (i32.const 0) (i32.const 100) (i32.const 500))
        (table.grow $t (ref.null func) (i32.const 256))))"#;

#[test]
fn every_compiler_leaves_the_same_at_every_look() {
    let mut all = Vec::new();
    for engine in engines() {
        let mut linker: Linker<Vec<u64>> = Linker::new(&engine);
        linker
            .func_wrap("h", "look", |mut caller: Caller<'_, Vec<u64>>| -> sphex::Result<()> {
                let left = caller.consume_fuel(5)?;
                caller.data_mut().push(left);
                Ok(())
            })
            .unwrap();
        let mut store = Store::new(&engine, Vec::new());
        let instance = linker.instantiate(&mut store, &Module::new(&engine, WINDING).unwrap()).unwrap();
        let wind = instance.get_typed_func::<i32, i32>(&mut store, "wind").unwrap();
        let bulk = instance.get_typed_func::<i32, i32>(&mut store, "bulk").unwrap();
        let mut seen = Vec::new();
        for (fuel, n) in
            [(100_000, 10), (100_000, 80), (100_000, 100), (777, 80), (778, 80), (779, 80), (1, 1)]
        {
            store.set_fuel(fuel).unwrap();
            let ended = wind.call(&mut store, n).map_err(|error| error.trap());
            seen.push((ended, store.fuel().unwrap(), std::mem::take(store.data_mut())));
        }
        assert!(matches!(seen[2], (Err(Some(Trap::IntegerDivisionByZero)), 1.., _)), "{:?}", seen[2]);
        assert!(matches!(seen[3], (Err(Some(Trap::OutOfFuel)), ..)), "{:?}", seen[3]);
        // An entry; 100 KiB twice; nothing for 10 bytes; 600, 500 and 256 elements.
        store.set_fuel(1000).unwrap();
        assert_eq!(bulk.call(&mut store, 100 << 10).unwrap(), 600);
        assert_eq!(store.fuel().unwrap(), 1000 - 1 - 100 - 100 - 4 - 3 - 2);
        store.set_fuel(150).unwrap();
        assert_eq!(bulk.call(&mut store, 100 << 10).unwrap_err().trap(), Some(Trap::OutOfFuel));
        assert_eq!(store.fuel().unwrap(), 0);
        all.push(seen);
    }
    assert!(all.windows(2).all(|pair| pair[0] == pair[1]), "{all:?}");
}

/// Under `call_async` with an interval, others get a turn after each so many units: as many turns as intervals were used
/// up before the call ended, and nothing else is different.
#[test]
fn yields_are_counted_and_change_nothing() {
    for engine in engines() {
        let module = Module::new(&engine, WINDING).unwrap();
        let mut linker: Linker<Vec<u64>> = Linker::new(&engine);
        linker
            .func_wrap("h", "look", |mut caller: Caller<'_, Vec<u64>>| -> sphex::Result<()> {
                let left = caller.consume_fuel(5)?;
                caller.data_mut().push(left);
                Ok(())
            })
            .unwrap();
        let run = |interval: Option<u64>, fuel: u64, n: i32, sync: bool| {
            let mut store = Store::new(&engine, Vec::new());
            let instance = linker.instantiate(&mut store, &module).unwrap();
            let wind = instance.get_typed_func::<i32, i32>(&mut store, "wind").unwrap();
            store.set_fuel(fuel).unwrap();
            store.fuel_async_yield_interval(interval).unwrap();
            let (ended, turns) = match sync {
                true => (wind.call(&mut store, n), 0),
                false => tasks::count_turns(wind.call_async(&mut store, n)),
            };
            let ended = ended.map_err(|error| error.trap());
            ((ended, store.fuel().unwrap(), std::mem::take(store.data_mut())), turns)
        };
        for (fuel, n) in [(100_000, 10), (100_000, 80), (100_000, 100), (777, 80), (778, 80), (1, 1), (0, 1)]
        {
            let (expected, _) = run(None, fuel, n, true);
            assert_eq!(run(None, fuel, n, false), (expected.clone(), 0));
            for interval in [1, 7, 100, 10_000, u64::MAX] {
                let (found, turns) = run(Some(interval), fuel, n, false);
                assert_eq!(found, expected, "{interval} {fuel} {n}");
                // Where the host takes more than is left of an interval, that one ends early.
                let used = (fuel - found.1) as usize;
                let most = used / usize::try_from(interval).unwrap_or(usize::MAX) + found.2.len();
                assert!(turns <= most, "{interval} {fuel} {n}: {turns} of {most}");
                assert_eq!(run(Some(interval), fuel, n, true), (expected.clone(), 0));
            }
        }
        // Nothing but wasm takes fuel here: the number is exact.
        let module = Module::new(&engine, WAT).unwrap();
        for interval in [1, 2, 3, 10, 99, 100, 101, 1000] {
            let mut store = Store::new(&engine, ());
            let instance = Instance::new(&mut store, &module, &[]).unwrap();
            let turns = instance.get_typed_func::<i32, i32>(&mut store, "loop").unwrap();
            store.set_fuel(10_000).unwrap();
            store.fuel_async_yield_interval(Some(interval)).unwrap();
            let (ended, pending) = tasks::count_turns(turns.call_async(&mut store, 100));
            assert_eq!((ended.unwrap(), store.fuel().unwrap()), (100, 10_000 - 201));
            assert_eq!(pending as u64, 200 / interval, "{interval}");
        }
    }
}

#[test]
fn an_interval_may_change_and_a_yield_may_be_dropped() {
    let engine = engines().remove(0);
    let mut store = Store::new(&engine, ());
    let instance = Instance::new(&mut store, &Module::new(&engine, WAT).unwrap(), &[]).unwrap();
    let forever = instance.get_typed_func::<(), ()>(&mut store, "forever").unwrap();
    let straight = instance.get_typed_func::<(), i32>(&mut store, "straight").unwrap();
    assert_eq!(store.fuel().unwrap(), i64::MAX as u64);
    store.fuel_async_yield_interval(Some(10)).unwrap();
    assert_eq!(store.fuel().unwrap(), i64::MAX as u64);
    store.set_fuel(1000).unwrap();
    let mut call = Box::pin(forever.call_async(&mut store, ()));
    for _ in 0..3 {
        assert!(tasks::poll(call.as_mut()).is_pending());
    }
    drop(call);
    // Three intervals, and the unit that was being taken.
    assert_eq!(store.fuel().unwrap(), 969);
    assert_eq!(store.consume_fuel(900).unwrap(), 69);
    assert_eq!(store.consume_fuel(70).unwrap_err().trap(), Some(Trap::OutOfFuel));
    store.fuel_async_yield_interval(None).unwrap();
    assert_eq!(store.fuel().unwrap(), 69);
    let (ended, turns) = tasks::count_turns(forever.call_async(&mut store, ()));
    assert_eq!((ended.unwrap_err().trap(), turns, store.fuel().unwrap()), (Some(Trap::OutOfFuel), 0, 0));
    store.set_fuel(1).unwrap();
    assert_eq!(straight.call(&mut store, ()).unwrap(), 7);
}

//! Fuel: one for each entry of a function and each turn of a loop, whatever the compiler makes of them.
#![cfg(feature = "compiler")]

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

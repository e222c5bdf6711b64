//! Fuel: one for each entry of a function and each turn of a loop, whatever the compiler makes of them.
#![cfg(feature = "compiler")]

use sphex::{Config, Engine, Instance, Module, Store, Trap};

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

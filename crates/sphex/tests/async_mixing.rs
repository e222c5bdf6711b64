//! Sync and async, mixed in every way: each way in, through each kind of host function, to each kind of end. None panics,
//! each has the outcome that the rule says.
#![cfg(feature = "compiler")]

mod tasks;

use sphex::{Caller, Engine, Error, ErrorKind, Instance, Linker, Module, Result, Store, Trap};
use tasks::{Turns, block_on};

/// How wasm is entered.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Entry {
    Call,
    CallAsync,
}

/// What a host function in between is, and how it enters wasm again.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Through {
    SyncCalls,
    SyncBlocks,
    AsyncCalls,
    AsyncAwaits,
}

/// What is called in the end.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Leaf {
    Sync,
    Ready,
    Waits,
    Fails,
    Traps,
}

const ENTRIES: [Entry; 2] = [Entry::Call, Entry::CallAsync];
const THROUGH: [Through; 4] =
    [Through::SyncCalls, Through::SyncBlocks, Through::AsyncCalls, Through::AsyncAwaits];
const LEAVES: [Leaf; 5] = [Leaf::Sync, Leaf::Ready, Leaf::Waits, Leaf::Fails, Leaf::Traps];

/// The rule: what may wait needs an async call right above it.
fn expected(mut entry: Entry, way: &[Through], leaf: Leaf) -> Result<i32, ErrorKind> {
    for through in way {
        let is_async = matches!(through, Through::AsyncCalls | Through::AsyncAwaits);
        if is_async && entry == Entry::Call {
            return Err(ErrorKind::WouldSuspend);
        }
        entry = match through {
            Through::SyncCalls | Through::AsyncCalls => Entry::Call,
            Through::SyncBlocks | Through::AsyncAwaits => Entry::CallAsync,
        };
    }
    match leaf {
        Leaf::Traps => Err(ErrorKind::Trap),
        Leaf::Sync => Ok(1),
        _ if entry == Entry::Call => Err(ErrorKind::WouldSuspend),
        Leaf::Ready => Ok(2),
        Leaf::Waits => Ok(3),
        Leaf::Fails => Err(ErrorKind::Exit),
    }
}

/// The store's data: what the host functions in between still do, and the end.
struct Plan {
    way: Vec<Through>,
    leaf: Leaf,
}

const WAT: &str = r#"(module
    (import "h" "sync" (func $sync (result i32)))
    (import "h" "ready" (func $ready (result i32)))
    (import "h" "waits" (func $waits (result i32)))
    (import "h" "fails" (func $fails (result i32)))
    (import "h" "through_sync" (func $through_sync (result i32)))
    (import "h" "through_async" (func $through_async (result i32)))
    (func (export "0") (result i32) (call $sync))
    (func (export "1") (result i32) (call $ready))
    (func (export "2") (result i32) (call $waits))
    (func (export "3") (result i32) (call $fails))
    (func (export "4") (result i32) (unreachable))
    (func (export "through_sync") (result i32) (call $through_sync))
    (func (export "through_async") (result i32) (call $through_async)))"#;

/// The export to enter next, and how the host function there goes on.
fn next(store: &mut Caller<'_, Plan>) -> Result<(sphex::TypedFunc<(), i32>, Option<Through>)> {
    let way = &mut store.data_mut().way;
    let mine = if way.is_empty() { None } else { Some(way.remove(0)) };
    let name = export_name(store.data());
    let instance = store.instance().ok_or_else(|| Error::msg("no instance"))?;
    Ok((instance.get_typed_func(store, &name)?, mine))
}

fn export_name(plan: &Plan) -> String {
    match plan.way.first() {
        None => (LEAVES.iter().position(|leaf| *leaf == plan.leaf).unwrap_or(0)).to_string(),
        Some(Through::SyncCalls | Through::SyncBlocks) => "through_sync".to_string(),
        Some(Through::AsyncCalls | Through::AsyncAwaits) => "through_async".to_string(),
    }
}

fn linker(engine: &Engine) -> Linker<Plan> {
    let mut linker: Linker<Plan> = Linker::new(engine);
    linker.func_wrap("h", "sync", || 1).unwrap();
    linker.func_wrap_async("h", "ready", |_: Caller<'_, Plan>, (): ()| Box::new(async { 2 })).unwrap();
    linker
        .func_wrap_async("h", "waits", |_: Caller<'_, Plan>, (): ()| {
            Box::new(async {
                Turns(2).await;
                3
            })
        })
        .unwrap();
    linker
        .func_wrap_async("h", "fails", |_: Caller<'_, Plan>, (): ()| {
            Box::new(async {
                Turns(1).await;
                Err::<i32, Error>(Error::exit(5))
            })
        })
        .unwrap();
    linker
        .func_wrap("h", "through_sync", |mut caller: Caller<'_, Plan>| -> Result<i32> {
            match next(&mut caller)? {
                (f, Some(Through::SyncBlocks)) => block_on(f.call_async(&mut caller, ())),
                (f, _) => f.call(&mut caller, ()),
            }
        })
        .unwrap();
    linker
        .func_wrap_async("h", "through_async", |mut caller: Caller<'_, Plan>, (): ()| {
            Box::new(async move {
                Turns(1).await;
                let result = match next(&mut caller)? {
                    (f, Some(Through::AsyncAwaits)) => f.call_async(&mut caller, ()).await,
                    (f, _) => f.call(&mut caller, ()),
                };
                Turns(1).await;
                result
            })
        })
        .unwrap();
    linker
}

/// All ways through at most `depth` host functions.
fn ways(depth: usize) -> Vec<Vec<Through>> {
    let mut all = vec![Vec::new()];
    let mut from = 0;
    for _ in 0..depth {
        let to = all.len();
        for i in from..to {
            for through in THROUGH {
                let mut way = all[i].clone();
                way.push(through);
                all.push(way);
            }
        }
        from = to;
    }
    all
}

#[test]
fn every_mix_has_its_outcome() {
    let engine = Engine::default();
    let module = Module::new(&engine, WAT).unwrap();
    let pre = linker(&engine).instantiate_pre(&module).unwrap();
    let mut tried = 0;
    for way in ways(4) {
        let mut store = Store::new(&engine, Plan { way: Vec::new(), leaf: Leaf::Sync });
        let instance: Instance = pre.instantiate(&mut store).unwrap();
        for leaf in LEAVES {
            for entry in ENTRIES {
                *store.data_mut() = Plan { way: way.clone(), leaf };
                let name = export_name(store.data());
                let f = instance.get_typed_func::<(), i32>(&mut store, &name).unwrap();
                let outcome = match entry {
                    Entry::Call => f.call(&mut store, ()),
                    Entry::CallAsync => block_on(f.call_async(&mut store, ())),
                };
                if leaf == Leaf::Traps
                    && let Err(error) = &outcome
                    && error.kind() == ErrorKind::Trap
                {
                    assert_eq!(error.trap(), Some(Trap::Unreachable));
                }
                let kind = outcome.map_err(|error| error.kind());
                assert_eq!(kind, expected(entry, &way, leaf), "{entry:?} {way:?} {leaf:?}");
                tried += 1;
            }
        }
    }
    println!("{tried} mixes");
    assert_eq!(tried, (1 + 4 + 16 + 64 + 256) * 10);
}

#[test]
fn stores_of_two_engines_wait_inside_each_other() {
    // An async host function of one store awaits a call of another store, to and fro.
    let engines = [Engine::default(), Engine::default()];
    let (a, b) = (&engines[0], &engines[1]);
    let wat = r#"(module (import "h" "f" (func $f (param i32) (result i32)))
        (func (export "g") (param i32) (result i32) (i32.add (call $f (local.get 0)) (i32.const 1))))"#;
    let (inner_module, outer_module) = (Module::new(b, wat).unwrap(), Module::new(a, wat).unwrap());
    let mut inner: Linker<()> = Linker::new(b);
    inner
        .func_wrap_async("h", "f", |_: Caller<'_, ()>, (n,): (i32,)| {
            Box::new(async move {
                Turns(n as u32).await;
                n * 10
            })
        })
        .unwrap();
    let pre = inner.instantiate_pre(&inner_module).unwrap();
    let other = b.clone();
    let mut outer: Linker<()> = Linker::new(a);
    outer
        .func_wrap_async("h", "f", move |_: Caller<'_, ()>, (n,): (i32,)| {
            let (pre, engine) = (pre.clone(), other.clone());
            Box::new(async move {
                let mut store = Store::new(&engine, ());
                let instance = pre.instantiate_async(&mut store).await?;
                let g = instance.get_typed_func::<i32, i32>(&mut store, "g")?;
                assert_eq!(g.call(&mut store, n).unwrap_err().kind(), ErrorKind::WouldSuspend);
                g.call_async(&mut store, n).await
            })
        })
        .unwrap();
    let mut store = Store::new(a, ());
    let instance = outer.instantiate(&mut store, &outer_module).unwrap();
    let g = instance.get_typed_func::<i32, i32>(&mut store, "g").unwrap();
    for n in 0..5 {
        assert_eq!(block_on(g.call_async(&mut store, n)).unwrap(), n * 10 + 2);
    }
}

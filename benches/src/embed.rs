//! What embedding costs: loading, instantiating, and crossing the border between host and guest, beside peers.
//!
//! Engines take turns within a round; a figure is the median of the rounds. `embed [ROUNDS [ENGINE]]` prints a
//! Markdown table of nanoseconds of CPU time. Loading is from precompiled code where an engine has such, else from the module's bytes.
//! `embed repeat WHAT COUNT` does one thing so often and measures nothing: `count.py` runs it under callgrind.

use std::hint::black_box;

/// Imports one function, exports one that does nothing and one that calls the import `n` times; a page of memory with data.
const MODULE: &str = r#"(module
    (import "host" "next" (func $next (param i32) (result i32)))
    (memory (export "memory") 2)
    (table 8 funcref)
    (elem (i32.const 0) $next $nop)
    (data (i32.const 1024) "some data for the first page")
    (func $nop (export "nop") (param i32) (result i32) (local.get 0))
    (func (export "loop") (param $n i32) (result i32) (local $x i32)
        (loop $again
            (local.set $x (call $next (local.get $x)))
            (br_if $again (local.tee $n (i32.sub (local.get $n) (i32.const 1)))))
        (local.get $x)))"#;

/// What is measured of each engine, with how often it is done for one figure.
const COLUMNS: [(&str, u32); 8] = [
    ("load", 20),
    ("instantiate", 200),
    ("instantiate, no cache", 200),
    ("instantiate pooled", 2000),
    ("pooled, two threads", 2000),
    ("host calls guest", 100_000),
    ("untyped", 100_000),
    ("guest calls host", 1_000_000),
];

type Times = [f64; COLUMNS.len()];

/// Nanoseconds of this thread's CPU time, so that what else the system runs does not count.
fn now() -> f64 {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime);
    time.tv_sec as f64 * 1e9 + time.tv_nsec as f64
}

/// Nanoseconds for one of `count` calls: the median of twenty parts.
fn time(count: u32, mut act: impl FnMut()) -> f64 {
    let calls = count.div_ceil(20);
    let mut part = || {
        let begin = now();
        (0..calls).for_each(|_| act());
        (now() - begin) / f64::from(calls)
    };
    let mut parts: Vec<f64> = (0..count.min(20)).map(|_| part()).collect();
    parts.sort_by(f64::total_cmp);
    parts[parts.len() / 2]
}

/// Nanoseconds for one of `count` calls on each of two threads at the same time, as if they were one thread's.
fn time_two(count: u32, act: impl Fn() + Sync) -> f64 {
    let start = std::sync::Barrier::new(2);
    let run = || {
        (0..count / 10).for_each(|_| act());
        start.wait();
        time(count, &act)
    };
    std::thread::scope(|scope| {
        let other = scope.spawn(run);
        let here = run();
        here.max(other.join().expect("the other thread measures, too")) / 2.0
    })
}

/// Store, instance and drop under an allocation of Sphex's: one thread and two.
fn sphex_instances(wasm: &[u8], allocation: sphex::Allocation) -> [f64; 2] {
    use sphex::{Config, Engine, Linker, Module, Store};
    let mut config = Config::new();
    config.host.allocation = allocation;
    let engine = Engine::new(&config).unwrap();
    let module = Module::new(&engine, wasm).unwrap();
    let mut linker = Linker::new(&engine);
    linker.func_wrap("host", "next", |x: i32| x.wrapping_add(3)).unwrap();
    let pre = linker.instantiate_pre(&module).unwrap();
    let act = || {
        let mut store = Store::new(&engine, ());
        black_box(pre.instantiate(&mut store).unwrap());
    };
    (0..200).for_each(|_| act());
    [time(COLUMNS[3].1, act), time_two(COLUMNS[4].1, act)]
}

/// As `sphex_instances`, for the peer.
#[cfg(feature = "peers")]
fn wasmtime_instances(wasm: &[u8], strategy: wasmtime::InstanceAllocationStrategy) -> [f64; 2] {
    use wasmtime::{Config, Engine, Linker, Module, Store};
    let mut config = Config::new();
    config.allocation_strategy(strategy);
    let engine = Engine::new(&config).unwrap();
    let module = Module::new(&engine, wasm).unwrap();
    let mut linker = Linker::new(&engine);
    linker.func_wrap("host", "next", |x: i32| x.wrapping_add(3)).unwrap();
    let pre = linker.instantiate_pre(&module).unwrap();
    let act = || {
        let mut store = Store::new(&engine, ());
        black_box(pre.instantiate(&mut store).unwrap());
    };
    (0..200).for_each(|_| act());
    [time(COLUMNS[3].1, act), time_two(COLUMNS[4].1, act)]
}

fn sphex(wasm: &[u8]) -> Times {
    use sphex::{Engine, Linker, Module, Store, Val};
    let engine = Engine::default();
    let artifact = engine.precompile(wasm).unwrap();
    let file = std::env::temp_dir().join(format!("sphex-embed-{}", std::process::id()));
    std::fs::write(&file, artifact).unwrap();
    // SAFETY: the artifact is the one that this process has just made.
    let load = || unsafe { Module::deserialize_file(&engine, &file) }.unwrap();
    let loading = time(COLUMNS[0].1, || drop(black_box(load())));
    let module = load();
    let mut linker = Linker::new(&engine);
    linker.func_wrap("host", "next", |x: i32| x.wrapping_add(3)).unwrap();
    let pre = linker.instantiate_pre(&module).unwrap();
    let instantiating = time(COLUMNS[1].1, || {
        let mut store = Store::new(&engine, ());
        black_box(pre.instantiate(&mut store).unwrap());
    });
    let mut store = Store::new(&engine, ());
    let instance = pre.instantiate(&mut store).unwrap();
    let nop = instance.get_typed_func::<i32, i32>(&mut store, "nop").unwrap();
    let entering = time(COLUMNS[5].1, || {
        black_box(nop.call(&mut store, 1).unwrap());
    });
    let func = instance.get_func(&mut store, "nop").unwrap();
    let mut results = [Val::I32(0)];
    let untyped = time(COLUMNS[6].1, || func.call(&mut store, &[Val::I32(1)], &mut results).unwrap());
    let repeat = instance.get_typed_func::<i32, i32>(&mut store, "loop").unwrap();
    let calls = COLUMNS[7].1;
    let leaving = time(1, || {
        black_box(repeat.call(&mut store, calls as i32).unwrap());
    }) / f64::from(calls);
    let _ = std::fs::remove_file(&file);
    let uncached = sphex::OnDemand { cached_memories: 0, ..Default::default() };
    let [uncached, _] = sphex_instances(wasm, sphex::Allocation::OnDemand(uncached));
    let pooling = sphex::Allocation::Pooling(sphex::Pooling::default());
    let [pooled, two] = sphex_instances(wasm, pooling);
    [loading, instantiating, uncached, pooled, two, entering, untyped, leaving]
}

#[cfg(feature = "peers")]
fn wasmtime(wasm: &[u8]) -> Times {
    use wasmtime::{Engine, Linker, Module, Store, Val};
    let engine = Engine::default();
    let file = std::env::temp_dir().join(format!("wasmtime-embed-{}", std::process::id()));
    std::fs::write(&file, engine.precompile_module(wasm).unwrap()).unwrap();
    // SAFETY: the artifact is the one that this process has just made.
    let load = || unsafe { Module::deserialize_file(&engine, &file) }.unwrap();
    let loading = time(COLUMNS[0].1, || drop(black_box(load())));
    let module = load();
    let mut linker = Linker::new(&engine);
    linker.func_wrap("host", "next", |x: i32| x.wrapping_add(3)).unwrap();
    let pre = linker.instantiate_pre(&module).unwrap();
    let instantiating = time(COLUMNS[1].1, || {
        let mut store = Store::new(&engine, ());
        black_box(pre.instantiate(&mut store).unwrap());
    });
    let mut store = Store::new(&engine, ());
    let instance = pre.instantiate(&mut store).unwrap();
    let nop = instance.get_typed_func::<i32, i32>(&mut store, "nop").unwrap();
    let entering = time(COLUMNS[5].1, || {
        black_box(nop.call(&mut store, 1).unwrap());
    });
    let func = instance.get_func(&mut store, "nop").unwrap();
    let mut results = [Val::I32(0)];
    let untyped = time(COLUMNS[6].1, || func.call(&mut store, &[Val::I32(1)], &mut results).unwrap());
    let repeat = instance.get_typed_func::<i32, i32>(&mut store, "loop").unwrap();
    let calls = COLUMNS[7].1;
    let leaving = time(1, || {
        black_box(repeat.call(&mut store, calls as i32).unwrap());
    }) / f64::from(calls);
    let _ = std::fs::remove_file(&file);
    let mut pooling = wasmtime::PoolingAllocationConfig::new();
    pooling.linear_memory_keep_resident(256 << 10).table_keep_resident(64 << 10);
    let [pooled, two] = wasmtime_instances(wasm, wasmtime::InstanceAllocationStrategy::Pooling(pooling));
    [loading, instantiating, instantiating, pooled, two, entering, untyped, leaving]
}

#[cfg(feature = "peers")]
fn wasmi(wasm: &[u8]) -> Times {
    use wasmi::{Engine, Linker, Module, Store, Val};
    let engine = Engine::default();
    let load = || Module::new(&engine, wasm).unwrap();
    let loading = time(COLUMNS[0].1, || drop(black_box(load())));
    let module = load();
    let mut linker = Linker::new(&engine);
    linker.func_wrap("host", "next", |x: i32| x.wrapping_add(3)).unwrap();
    let instantiating = time(COLUMNS[1].1, || {
        let mut store = Store::new(&engine, ());
        black_box(linker.instantiate_and_start(&mut store, &module).unwrap());
    });
    let mut store = Store::new(&engine, ());
    let instance = linker.instantiate_and_start(&mut store, &module).unwrap();
    let nop = instance.get_typed_func::<i32, i32>(&store, "nop").unwrap();
    let entering = time(COLUMNS[5].1, || {
        black_box(nop.call(&mut store, 1).unwrap());
    });
    let func = instance.get_func(&store, "nop").unwrap();
    let mut results = [Val::I32(0)];
    let untyped = time(COLUMNS[6].1, || func.call(&mut store, &[Val::I32(1)], &mut results).unwrap());
    let repeat = instance.get_typed_func::<i32, i32>(&store, "loop").unwrap();
    let calls = COLUMNS[7].1;
    let leaving = time(1, || {
        black_box(repeat.call(&mut store, calls as i32).unwrap());
    }) / f64::from(calls);
    [loading, instantiating, instantiating, f64::NAN, f64::NAN, entering, untyped, leaving]
}

/// What `repeat` can do.
const REPEATED: [&str; 5] = ["instantiate", "instantiate-pooled", "typed", "untyped", "host"];

/// Does one thing of Sphex's `count` times.
fn repeat(wasm: &[u8], what: &str, count: u32) {
    use sphex::{Allocation, Config, Engine, Linker, Module, Pooling, Store, Val};
    let mut config = Config::new();
    // Valgrind's processor has not all that this one has.
    config.compile.target = Some("x86_64-linux".to_owned());
    if what == "instantiate-pooled" {
        config.host.allocation = Allocation::Pooling(Pooling { instances: 8, memories: 8, ..Pooling::default() });
    }
    let engine = Engine::new(&config).unwrap();
    let module = Module::new(&engine, wasm).unwrap();
    let mut linker = Linker::new(&engine);
    linker.func_wrap("host", "next", |x: i32| x.wrapping_add(3)).unwrap();
    let pre = linker.instantiate_pre(&module).unwrap();
    if what.starts_with("instantiate") {
        for _ in 0..count {
            let mut store = Store::new(&engine, ());
            black_box(pre.instantiate(&mut store).unwrap());
        }
        return;
    }
    let mut store = Store::new(&engine, ());
    let instance = pre.instantiate(&mut store).unwrap();
    let name = if what == "host" { "loop" } else { "nop" };
    let func = instance.get_func(&mut store, name).unwrap();
    let typed = func.typed::<i32, i32>(&store).unwrap();
    let mut results = [Val::I32(0)];
    match what {
        "typed" => (0..count).for_each(|_| drop(black_box(typed.call(&mut store, 1).unwrap()))),
        "untyped" => {
            (0..count).for_each(|_| func.call(&mut store, &[Val::I32(1)], &mut results).unwrap());
        }
        "host" => drop(black_box(typed.call(&mut store, count as i32).unwrap())),
        _ => panic!("expected one of {REPEATED:?}, found {what}"),
    }
}

type Engine = (&'static str, fn(&[u8]) -> Times);

fn main() {
    let wasm = wat::parse_str(MODULE).expect("the module is valid");
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    if let [how, what, count] = &arguments[..]
        && how == "repeat"
    {
        return repeat(&wasm, what, count.parse().expect("COUNT is a number"));
    }
    let rounds: usize = arguments.first().map_or(9, |n| n.parse().expect("ROUNDS is a number"));
    let only = std::env::args().nth(2);
    let mut engines: Vec<Engine> = vec![("sphex", sphex)];
    #[cfg(feature = "peers")]
    engines.extend::<[Engine; 2]>([("wasmtime", wasmtime), ("wasmi", wasmi)]);
    engines.retain(|(name, _)| only.as_deref().is_none_or(|only| only == *name));
    let mut times: Vec<[Vec<f64>; COLUMNS.len()]> = engines.iter().map(|_| Default::default()).collect();
    for _ in 0..rounds {
        for ((_, run), times) in engines.iter().zip(&mut times) {
            for (column, figure) in times.iter_mut().zip(run(&wasm)) {
                column.push(figure);
            }
        }
    }
    println!("| ns | {} |", COLUMNS.map(|c| c.0).join(" | "));
    println!("|---|{}", "---:|".repeat(COLUMNS.len()));
    for ((name, _), columns) in engines.iter().zip(&mut times) {
        let medians = columns.iter_mut().map(|column| {
            column.sort_by(f64::total_cmp);
            format!("{:.1}", column[column.len() / 2])
        });
        println!("| {name} | {} |", medians.collect::<Vec<_>>().join(" | "));
    }
}

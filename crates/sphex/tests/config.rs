//! Every field of `Compile` is part of the artifact, no field of `Host` is.
#![cfg(feature = "compiler")]

use sphex::{Allocation, Compile, Config, Engine, Host, Pooling};

const WAT: &[u8] = br#"(module (memory 1) (table 4 funcref) (type $t (func (result i32)))
    (func $leaf (result i32) (i32.load (i32.const 4)))
    (func (export "f") (param i32) (result i32) (local $x i32)
        (loop $l (local.set $x (i32.add (local.get $x) (call $leaf)))
            (br_if $l (i32.lt_u (local.get $x) (local.get 0))))
        (call_indirect (type $t) (local.get 0))))"#;

fn artifact(change: impl FnOnce(&mut Config)) -> Vec<u8> {
    let mut config = Config::new();
    change(&mut config);
    Engine::new(&config).unwrap().precompile(WAT).unwrap()
}

type Flip<P> = (&'static str, fn(&mut P));

/// A new field does not compile here, and then wants a row below.
fn names_all(config: Config) {
    let Config { compile, host } = config;
    let Compile {
        memory_reservation: _,
        memory_guard: _,
        explicit_checks: _,
        interruption: _,
        fuel: _,
        spectre: _,
        optimize: _,
        inlining: _,
        debug_info: _,
        target: _,
        options: _,
    } = compile;
    let Host {
        max_wasm_stack: _,
        async_stack_size: _,
        native_unwind: _,
        native_debug: _,
        profiler: _,
        verify_artifacts: _,
        compile_threads: _,
        lazy_compilation: _,
        allocation: _,
    } = host;
}

const COMPILE: &[Flip<Compile>] = &[
    ("memory_reservation", |c| c.memory_reservation = 0),
    ("memory_guard", |c| c.memory_guard = 1 << 20),
    ("explicit_checks", |c| c.explicit_checks = true),
    ("interruption", |c| c.interruption = false),
    ("fuel", |c| c.fuel = true),
    ("spectre", |c| c.spectre = false),
    ("optimize", |c| c.optimize = false),
    ("inlining", |c| c.inlining = false),
    ("debug_info", |c| c.debug_info = false),
    ("target", |c| c.target = Some("x86_64-linux".into())),
    ("options", |c| c.options.push(("opt_level".into(), Some("none".into())))),
];

const HOST: &[Flip<Host>] = &[
    ("max_wasm_stack", |h| h.max_wasm_stack = 64 << 10),
    ("async_stack_size", |h| h.async_stack_size *= 2),
    ("native_unwind", |h| h.native_unwind = true),
    ("native_debug", |h| h.native_debug = true),
    ("profiler", |h| h.profiler = Some(sphex::Profiler::PerfMap)),
    ("verify_artifacts", |h| h.verify_artifacts = false),
    ("compile_threads", |h| h.compile_threads = Some(1)),
    ("lazy_compilation", |h| h.lazy_compilation = true),
    ("allocation", |h| {
        h.allocation = Allocation::Pooling(Pooling { instances: 1, memories: 1, ..Pooling::default() });
    }),
];

#[test]
fn what_decides_the_code_is_in_the_artifact() {
    names_all(Config::new());
    let usual = artifact(|_| {});
    assert_eq!(artifact(|_| {}), usual);
    for (name, flip) in COMPILE {
        assert!(artifact(|config| flip(&mut config.compile)) != usual, "{name} leaves no trace");
    }
}

#[test]
fn what_decides_how_it_runs_is_not() {
    let usual = artifact(|_| {});
    for (name, flip) in HOST {
        let mut host = Host::default();
        flip(&mut host);
        assert_ne!(host, Host::default(), "{name} was not flipped");
        assert!(artifact(|config| flip(&mut config.host)) == usual, "{name} is in the artifact");
    }
}

//! Ten thousand live instances under the kernel's default settings, and what is said when there can be no more.
#![cfg(feature = "compiler")]

mod alone;

use std::path::{Path, PathBuf};

use alone::{alone, alone_with, mappings, status};
use sphex::{Allocation, Config, Engine, InstancePre, Linker, Module, Pooling, Store};

const MANY: u32 = 10_000;
/// What an instance may cost before the guest touches anything: bytes resident, page tables included, and mappings.
const MOST_BYTES: usize = 32 << 10;
const MOST_MAPPINGS: usize = 5;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").canonicalize().unwrap()
}

fn hello() -> Option<Vec<u8>> {
    Some(std::fs::read(root().join("tests/cli/hello.wat")).unwrap())
}

fn sqlite() -> Option<Vec<u8>> {
    let beside = |folder: &Path| Some(folder.join("shared")).filter(|shared| shared.is_dir());
    let shared = std::env::var_os("SPHEX_SHARED")
        .map(PathBuf::from)
        .or_else(|| root().ancestors().skip(1).find_map(beside))
        .unwrap_or_default();
    let file = shared.join("bench/open/sqlite/sqlite.wasm");
    let found = std::fs::read(&file).ok();
    if found.is_none() {
        let required = std::env::var("SPHEX_REQUIRE").unwrap_or_default();
        assert!(!required.split(',').any(|item| item.trim() == "shared"), "{} is absent", file.display());
        println!("skipped: scale of sqlite needs shared");
    }
    found
}

fn pre(engine: &Engine, wasm: &[u8]) -> InstancePre<()> {
    let module = Module::new(engine, wasm).unwrap();
    let mut linker = Linker::new(engine);
    linker.define_unknown_imports_as_traps(&module).unwrap();
    linker.instantiate_pre(&module).unwrap()
}

fn make(engine: &Engine, pre: &InstancePre<()>) -> sphex::Result<Store<()>> {
    let mut store = Store::new(engine, ());
    pre.instantiate(&mut store)?;
    Ok(store)
}

fn check(what: &str, allocation: Allocation, wasm: &[u8]) {
    let mut config = Config::new();
    config.host.allocation = allocation;
    let engine = Engine::new(&config).unwrap();
    let pre = pre(&engine, wasm);
    let mut stores = Vec::with_capacity(MANY as usize);
    stores.push(make(&engine, &pre).unwrap());
    let used = || status("VmRSS") + status("VmPTE");
    let (bytes, maps) = (used(), mappings());
    let begin = std::time::Instant::now();
    while stores.len() < MANY as usize {
        stores.push(make(&engine, &pre).unwrap());
    }
    let seconds = begin.elapsed().as_secs_f64();
    let many = stores.len() - 1;
    let bytes = used().saturating_sub(bytes) / many;
    let maps = mappings().saturating_sub(maps);
    println!(
        "{what}: {bytes} bytes and {:.2} mappings each, {:.1} us to make",
        maps as f64 / many as f64,
        seconds * 1e6 / many as f64
    );
    assert!(bytes <= MOST_BYTES, "{what}: {bytes} bytes each");
    assert!(maps <= MOST_MAPPINGS * many, "{what}: {maps} mappings");
}

fn pooling() -> Allocation {
    let pooling = Pooling { instances: MANY, memories: MANY, instance_bytes: 64 << 10, ..Pooling::default() };
    Allocation::Pooling(pooling)
}

#[test]
fn ten_thousand_hellos_live() {
    alone("ten_thousand_hellos_live", || {
        let wasm = hello().unwrap();
        check("hello on demand", Allocation::default(), &wasm);
        check("hello pooled", pooling(), &wasm);
    });
}

#[test]
fn ten_thousand_sqlites_live() {
    let Some(wasm) = sqlite() else { return };
    alone("ten_thousand_sqlites_live", || {
        check("sqlite on demand", Allocation::default(), &wasm);
        check("sqlite pooled", pooling(), &wasm);
    });
}

/// The allocator has one heap, and keeps what it has.
const ONE_HEAP: &str = "glibc.malloc.arena_max=1:glibc.malloc.mmap_threshold=0x40000000:\
    glibc.malloc.trim_threshold=0x7fffffff";

#[test]
fn beyond_the_mappings_the_error_names_the_setting() {
    let text = std::fs::read_to_string("/proc/sys/vm/max_map_count").unwrap();
    let most: usize = text.trim().parse().unwrap();
    if most > 100_000 {
        println!(
            "skipped: beyond_the_mappings_the_error_names_the_setting needs the default vm.max_map_count"
        );
        return;
    }
    let variables = [("GLIBC_TUNABLES", ONE_HEAP)];
    alone_with("beyond_the_mappings_the_error_names_the_setting", &variables, || {
        let engine = Engine::default();
        let pre = pre(&engine, &hello().unwrap());
        // At the limit the kernel refuses the heap too, and Rust ends a process whose heap cannot grow: have enough.
        drop((0..20_000).map(|_| Vec::with_capacity(8 << 10)).collect::<Vec<Vec<u8>>>());
        let mut stores = Vec::with_capacity(most);
        let error = loop {
            match make(&engine, &pre) {
                Ok(store) => stores.push(store),
                Err(error) => break error.to_string(),
            }
        };
        assert!(stores.len() > MANY as usize, "only {}", stores.len());
        for part in ["mappings of", text.trim(), "(vm.max_map_count): raise it"] {
            assert!(error.contains(part), "{error}");
        }
        // Nothing is broken: when some are gone there is room again.
        stores.truncate(stores.len() - 10);
        stores.push(make(&engine, &pre).unwrap());
    });
}

//! What profilers are told: perf's map and perf's jitdump, read back as perf reads them.
#![cfg(all(feature = "compiler", target_os = "linux"))]

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::sync::{Mutex, PoisonError};

use object::read::{Object, ObjectSymbol};
use sphex::jit::{Jit, Settings, parse};
use sphex::{Config, Engine, Linker, Module, Profiler, Store};

/// One test at a time: they look at what the process has.
static TURN: Mutex<()> = Mutex::new(());

const WAT: &str = r#"(module
    (func $add (export "add") (param i32 i32) (result i32) (i32.add (local.get 0) (local.get 1)))
    (func (result i32) (i32.const 7)))"#;

fn load(profiler: Profiler, module: &[u8]) -> Module {
    let mut config = Config::new();
    config.host.profiler = Some(profiler);
    Module::new(&Engine::new(&config).unwrap(), module).unwrap()
}

/// A module whose function `add` is compiled because it is called.
fn load_lazily(profiler: Profiler) -> (Module, Store<()>) {
    let mut config = Config::new();
    config.host.profiler = Some(profiler);
    config.host.lazy_compilation = true;
    let engine = Engine::new(&config).unwrap();
    let module = Module::new(&engine, WAT).unwrap();
    let mut store = Store::new(&engine, ());
    let instance = Linker::new(&engine).instantiate(&mut store, &module).unwrap();
    let add = instance.get_typed_func::<(i32, i32), i32>(&mut store, "add").unwrap();
    assert_eq!(add.call(&mut store, (3, 4)).unwrap(), 7);
    (module, store)
}

/// Compiled CLIF is made known as modules are.
fn jit(profiler: Profiler) -> Jit {
    let mut config = Config::new();
    config.host.profiler = Some(profiler);
    let text = "function %three() -> i32 system_v {\nblock0:\n    v0 = iconst.i32 3\n    return v0\n}";
    Jit::with_engine(&Engine::new(&config).unwrap(), parse(text).unwrap(), &Settings::host()).unwrap()
}

#[test]
fn the_map_names_functions() {
    let _turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
    let first = load(Profiler::PerfMap, WAT.as_bytes());
    let second = load(Profiler::PerfMap, b"(module (func $_ZN3foo3barEv))");
    let jit = jit(Profiler::PerfMap);
    let (lazy, _store) = load_lazily(Profiler::PerfMap);
    let path = format!("/tmp/perf-{}.map", std::process::id());
    let text = fs::read_to_string(&path).unwrap();
    fs::remove_file(&path).unwrap();
    let mut found = Vec::new();
    for line in text.lines() {
        let mut words = line.splitn(3, ' ');
        let mut number = || usize::from_str_radix(words.next().unwrap(), 16).unwrap();
        let (start, len) = (number(), number());
        let name = words.next().unwrap();
        let text = match found.len() {
            0 | 1 => first.text_range(),
            2 => second.text_range(),
            5 => lazy.text_range(),
            _ => start..start + jit.address(name).map_or(len, |(at, len)| at.addr() - start + len),
        };
        assert!(len > 0 && text.start <= start && start + len <= text.end, "{line}");
        found.push(name);
    }
    assert_eq!(found, ["add", "wasm[1]", "foo::bar()", "three", "trampoline of 0", "add"]);
    // perf reads the map only for memory without a file behind it.
    let maps = fs::read_to_string("/proc/self/maps").unwrap();
    let start = format!("{:x}-", first.text_range().start);
    let line = maps.lines().find(|line| line.starts_with(&start)).unwrap();
    assert!(line.contains("r-xp") && line.ends_with(" 0 "), "{line:?}");
    // Or what looks like it to perf.
    let start = format!("{:x}-", lazy.text_range().start);
    let line = maps.lines().find(|line| line.starts_with(&start)).unwrap();
    assert!(line.contains("r-xs") && line.ends_with("/dev/zero (deleted)"), "{line:?}");
}

/// What lies between wasm and the host is no generated code, which would want lines in the map: it is functions of this
/// program, whose symbols perf reads, and nothing executable is made but modules.
#[test]
fn stubs_are_symbols_of_the_program() {
    let _turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
    let file = fs::read("/proc/self/exe").unwrap();
    let file = object::File::parse(&*file).unwrap();
    let symbols: Vec<(String, object::SymbolKind, u64)> = file
        .symbols()
        .filter_map(|symbol| Some((symbol.name().ok()?, symbol.kind(), symbol.size())))
        .map(|(name, kind, size)| (format!("{:#}", rustc_demangle::demangle(name)), kind, size))
        .collect();
    let machine = if cfg!(target_arch = "x86_64") { "x64" } else { "aarch64" };
    let direct = ["enter_registers", "exit_registers", "resolve"].map(|name| format!("stubs::x64::{name}"));
    let both = ["enter", "exit", "unwind", "fault", "pause", "builtin::memory_grow", "builtin::limit_hit"];
    let both = both.iter().map(|name| format!("stubs::{machine}::{name}"));
    let fiber = [format!("fiber::{machine}::base")];
    for name in both.chain(fiber).chain(direct.into_iter().filter(|_| cfg!(target_arch = "x86_64"))) {
        let known = symbols.iter().any(|(symbol, kind, size)| {
            symbol.ends_with(&format!("sphex::vm::{name}")) && *kind == object::SymbolKind::Text && *size > 0
        });
        assert!(known, "perf would not know {name}");
    }

    let engine = Engine::default();
    let module = Module::new(
        &engine,
        r#"(module (import "h" "f" (func)) (import "h" "g" (func (param f32 i64 i64 i64 i64 i64 i64 i64)))
            (memory 0) (func (export "f") call 0 (drop (memory.grow (i32.const 1)))
                f32.const 0 i64.const 1 i64.const 2 i64.const 3 i64.const 4 i64.const 5 i64.const 6 i64.const 7 call 1))"#,
    )
    .unwrap();
    let mut linker = Linker::new(&engine);
    linker.func_wrap("h", "f", || ()).unwrap();
    linker.func_wrap("h", "g", |_: f32, _: i64, _: i64, _: i64, _: i64, _: i64, _: i64, _: i64| ()).unwrap();
    let mut store = Store::new(&engine, ());
    let instance = linker.instantiate(&mut store, &module).unwrap();
    let f = instance.get_typed_func::<(), ()>(&mut store, "f").unwrap();
    f.call(&mut store, ()).unwrap();
    let mut call = std::pin::pin!(f.call_async(&mut store, ()));
    let mut context = std::task::Context::from_waker(std::task::Waker::noop());
    assert!(call.as_mut().poll(&mut context).is_ready());
    // What is executable: files (the program, libraries, the other test's dump), the kernel's page, this module's text.
    let maps = fs::read_to_string("/proc/self/maps").unwrap();
    let mut texts = 0;
    for line in maps.lines().filter(|line| line.split(' ').nth(1).is_some_and(|modes| modes.contains('x'))) {
        let (range, path) = (line.split(' ').next().unwrap(), line.split(' ').next_back().unwrap());
        let line_is_file = line.contains(" /") && !line.contains("/memfd:");
        if line_is_file || matches!(path, "[vdso]" | "[vsyscall]") {
            continue;
        }
        let (start, end) = range.split_once('-').unwrap();
        let [start, end] = [start, end].map(|text| usize::from_str_radix(text, 16).unwrap());
        let text = module.text_range();
        assert!(start <= text.start && text.end <= end && text.start - start < 4096, "{line}\n{maps}");
        texts += 1;
    }
    assert_eq!(texts, 1, "{maps}");
}

/// Takes fields off the front of bytes.
struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    fn take(&mut self, len: usize) -> &'a [u8] {
        let (taken, rest) = self.0.split_at(len);
        self.0 = rest;
        taken
    }

    fn u32(&mut self) -> u32 {
        u32::from_ne_bytes(self.take(4).try_into().unwrap())
    }

    fn u64(&mut self) -> u64 {
        u64::from_ne_bytes(self.take(8).try_into().unwrap())
    }

    fn text(&mut self) -> String {
        let len = self.0.iter().position(|&byte| byte == 0).unwrap();
        let text = String::from_utf8(self.take(len).to_vec()).unwrap();
        self.take(1);
        text
    }
}

#[test]
fn the_dump_holds_code_and_lines() {
    let _turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
    let folder = std::env::temp_dir().join(format!("sphex-profile-{}", std::process::id()));
    fs::create_dir_all(&folder).unwrap();
    let examples = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/cli");
    let wasm = fs::read(examples.join("inlined.wasm")).unwrap();
    std::env::set_current_dir(&folder).unwrap();
    let (lazy, _store) = load_lazily(Profiler::Jitdump);
    let modules = [load(Profiler::Jitdump, WAT.as_bytes()), load(Profiler::Jitdump, &wasm), lazy];
    let path = folder.join(format!("jit-{}.dump", std::process::id()));
    let dump = fs::read(&path).unwrap();
    let maps = fs::read_to_string("/proc/self/maps").unwrap();
    let marker = maps.lines().find(|line| line.ends_with(&path.display().to_string())).unwrap();
    assert!(marker.contains(" r-xp "), "{marker}");
    fs::remove_dir_all(&folder).unwrap();

    let mut reader = Reader(&dump);
    assert_eq!((reader.u32(), reader.u32(), reader.u32()), (0x4a69_5444, 1, 40));
    let _machine_and_padding = (reader.u32(), reader.u32());
    assert_eq!(reader.u32(), std::process::id());
    let mut last = reader.u64();
    assert_eq!(reader.u64(), 0);
    let (mut names, mut lines, mut waiting) = (Vec::new(), BTreeMap::new(), None);
    while !reader.0.is_empty() {
        let (id, len) = (reader.u32(), reader.u32() as usize);
        let time = reader.u64();
        assert!(time >= last && len >= 16);
        last = time;
        let mut record = Reader(reader.take(len - 16));
        match id {
            0 => {
                assert_eq!(record.u32(), std::process::id());
                let _thread = record.u32();
                let (address, again, len) = (record.u64(), record.u64(), record.u64());
                assert_eq!((address, record.u64()), (again, names.len() as u64));
                let name = record.text();
                assert_eq!(record.0.len() as u64, len);
                let text = modules.iter().find(|m| m.text_range().contains(&(address as usize)));
                assert!(text.is_some_and(|m| (address + len) as usize <= m.text_range().end));
                // Debug entries come before the code that they describe, and lie inside it.
                if let Some((start, entries)) = waiting.take() {
                    let entries: Vec<(u64, u32, String)> = entries;
                    assert_eq!(start, address);
                    assert!(entries.iter().all(|(at, ..)| (address..address + len).contains(at)));
                    assert!(entries.windows(2).all(|pair| pair[0].0 < pair[1].0));
                    lines.insert(name.clone(), entries);
                }
                names.push(name);
            }
            2 => {
                let (start, count) = (record.u64(), record.u64());
                let entry = |_| {
                    let (address, line) = (record.u64(), record.u32());
                    assert_eq!(record.u32(), 0);
                    (address, line, record.text())
                };
                let entries: Vec<_> = (0..count).map(entry).collect();
                assert!(record.0.is_empty() && waiting.replace((start, entries)).is_none());
            }
            other => panic!("record {other}"),
        }
    }
    assert_eq!(names[..3], ["add", "add", "wasm[1]"]);
    let source = fs::read_to_string(examples.join("inlined.c")).unwrap().lines().count() as u32;
    let of_source = lines.values().flatten().filter(|(_, _, file)| file.ends_with("inlined.c"));
    let known: Vec<u32> = of_source.map(|(_, line, _)| *line).collect();
    assert!(known.len() > 3 && known.iter().all(|line| (1..=source).contains(line)), "{lines:?}");
}

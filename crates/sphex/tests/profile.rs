//! What profilers are told: perf's map and perf's jitdump, read back as perf reads them.
#![cfg(all(feature = "compiler", target_os = "linux"))]

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use sphex::jit::{Jit, Settings, parse};
use sphex::{Config, Engine, Module, Profiler};

const WAT: &str = r#"(module
    (func $add (export "add") (param i32 i32) (result i32) (i32.add (local.get 0) (local.get 1)))
    (func (result i32) (i32.const 7)))"#;

fn load(profiler: Profiler, module: &[u8]) -> Module {
    let mut config = Config::new();
    config.host.profiler = Some(profiler);
    Module::new(&Engine::new(&config).unwrap(), module).unwrap()
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
    let first = load(Profiler::PerfMap, WAT.as_bytes());
    let second = load(Profiler::PerfMap, b"(module (func $_ZN3foo3barEv))");
    let jit = jit(Profiler::PerfMap);
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
            _ => start..start + jit.address(name).map_or(len, |(at, len)| at.addr() - start + len),
        };
        assert!(len > 0 && text.start <= start && start + len <= text.end, "{line}");
        found.push(name);
    }
    assert_eq!(found, ["add", "wasm[1]", "foo::bar()", "three", "trampoline of 0"]);
    // perf reads the map only for memory without a file behind it.
    let maps = fs::read_to_string("/proc/self/maps").unwrap();
    let start = format!("{:x}-", first.text_range().start);
    let line = maps.lines().find(|line| line.starts_with(&start)).unwrap();
    assert!(line.contains("r-xp") && line.ends_with(" 0 "), "{line:?}");
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
    let folder = std::env::temp_dir().join(format!("sphex-profile-{}", std::process::id()));
    fs::create_dir_all(&folder).unwrap();
    let examples = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/cli");
    let wasm = fs::read(examples.join("inlined.wasm")).unwrap();
    std::env::set_current_dir(&folder).unwrap();
    let modules = [load(Profiler::Jitdump, WAT.as_bytes()), load(Profiler::Jitdump, &wasm)];
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
    assert_eq!(names[..2], ["add", "wasm[1]"]);
    let source = fs::read_to_string(examples.join("inlined.c")).unwrap().lines().count() as u32;
    let of_source = lines.values().flatten().filter(|(_, _, file)| file.ends_with("inlined.c"));
    let known: Vec<u32> = of_source.map(|(_, line, _)| *line).collect();
    assert!(known.len() > 3 && known.iter().all(|line| (1..=source).contains(line)), "{lines:?}");
}

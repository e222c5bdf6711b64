//! What reading and writing through WASI costs beside the system calls themselves: files and pipes, small and large blocks.
//!
//! The guest is a loop around `fd_read` or `fd_write`; natively the same calls are made in a loop. Both take turns; a figure
//! is the median of the rounds, in nanoseconds of this thread's CPU time for one call. `io [ROUNDS]` prints Markdown.

use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::OwnedFd;
use std::sync::Arc;

use sphex::{Engine, Linker, Module, Store};
use sphex_wasi::files::HostFile;
use sphex_wasi::{Errno, WasiCtx, preview1};

/// Reads descriptor 0, or writes 1, in blocks; gives the bytes that were passed.
const GUEST: &str = r#"(module
    (import "wasi_snapshot_preview1" "fd_read" (func $read (param i32 i32 i32 i32) (result i32)))
    (import "wasi_snapshot_preview1" "fd_write" (func $write (param i32 i32 i32 i32) (result i32)))
    (memory (export "memory") 4)
    (func (export "pass") (param $write i32) (param $block i32) (param $count i32) (result i64) (local $sum i64)
        (i32.store (i32.const 0) (i32.const 65536))
        (i32.store (i32.const 4) (local.get $block))
        (loop $again
            (if (local.get $write)
                (then (if (call $write (i32.const 1) (i32.const 0) (i32.const 1) (i32.const 8)) (then unreachable)))
                (else (if (call $read (i32.const 0) (i32.const 0) (i32.const 1) (i32.const 8)) (then unreachable))))
            (local.set $sum (i64.add (local.get $sum) (i64.load32_u (i32.const 8))))
            (br_if $again (local.tee $count (i32.sub (local.get $count) (i32.const 1)))))
        (local.get $sum)))"#;

/// What is measured: name, whether it writes, through a pipe, block, calls.
const ROWS: [(&str, bool, bool, usize, usize); 8] = [
    ("write file", true, false, 64, 20_000),
    ("write file", true, false, 64 << 10, 1_000),
    ("read file", false, false, 64, 20_000),
    ("read file", false, false, 64 << 10, 1_000),
    ("write pipe", true, true, 64, 20_000),
    ("write pipe", true, true, 64 << 10, 1_000),
    ("read pipe", false, true, 64, 20_000),
    ("read pipe", false, true, 64 << 10, 1_000),
];

/// Nanoseconds of this thread's CPU time.
fn now() -> f64 {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime);
    time.tv_sec as f64 * 1e9 + time.tv_nsec as f64
}

/// The end that is measured, and who serves the other.
fn end(writes: bool, pipe: bool, bytes: usize) -> (File, Option<std::thread::JoinHandle<()>>) {
    if !pipe {
        let mut file = tempfile::tempfile().unwrap();
        if !writes {
            file.write_all(&vec![7; bytes]).unwrap();
            std::io::Seek::rewind(&mut file).unwrap();
        }
        return (file, None);
    }
    let (reader, writer) = std::io::pipe().unwrap();
    if writes {
        let mut reader = File::from(OwnedFd::from(reader));
        let drain = move || while reader.read(&mut vec![0; 1 << 20]).unwrap() > 0 {};
        (File::from(OwnedFd::from(writer)), Some(std::thread::spawn(drain)))
    } else {
        let mut writer = File::from(OwnedFd::from(writer));
        // The other end may have been closed before all was read.
        let fill = move || drop(writer.write_all(&vec![7; bytes]));
        (File::from(OwnedFd::from(reader)), Some(std::thread::spawn(fill)))
    }
}

fn native(mut file: File, writes: bool, block: usize, count: usize) -> f64 {
    let mut buffer = vec![7; block];
    let begin = now();
    for _ in 0..count {
        let passed = if writes { file.write(&buffer) } else { file.read(&mut buffer) };
        assert!(passed.unwrap() > 0);
    }
    now() - begin
}

fn guest(engine: &Engine, module: &Module, file: File, writes: bool, block: usize, count: usize) -> f64 {
    let mut builder = WasiCtx::builder();
    let file = Arc::new(HostFile::new(file.into()).unwrap());
    if writes { builder.stdout(file) } else { builder.stdin(file) };
    let mut linker = Linker::<WasiCtx>::new(engine);
    preview1::add_to_linker(&mut linker, |ctx| ctx).unwrap();
    let mut store = Store::new(engine, builder.build());
    let instance = linker.instantiate(&mut store, module).unwrap();
    let pass = instance.get_typed_func::<(i32, i32, i32), i64>(&mut store, "pass").unwrap();
    let begin = now();
    let passed = pass.call(&mut store, (writes.into(), block as i32, count as i32)).unwrap();
    let time = now() - begin;
    assert!(passed >= count as i64, "{:?}", Errno::Io);
    time
}

fn median(figures: &mut [f64]) -> f64 {
    figures.sort_by(f64::total_cmp);
    figures[figures.len() / 2]
}

fn main() {
    let rounds: usize = std::env::args().nth(1).map_or(9, |n| n.parse().expect("ROUNDS is a number"));
    let engine = Engine::default();
    let module = Module::new(&engine, GUEST).expect("the module is valid");
    println!("| ns a call | block | native | sphex | more | native throughput |");
    println!("|---|---:|---:|---:|---:|---:|");
    for (name, writes, pipe, block, count) in ROWS {
        let (mut natives, mut guests) = (Vec::new(), Vec::new());
        for _ in 0..rounds {
            for turn in 0..2 {
                let (file, other) = end(writes, pipe, block * count);
                let figures = if turn == 0 { &mut natives } else { &mut guests };
                figures.push(match turn {
                    0 => native(file, writes, block, count),
                    _ => guest(&engine, &module, file, writes, block, count),
                });
                other.map(std::thread::JoinHandle::join).transpose().expect("the other end works");
            }
        }
        let [native, guest] = [natives, guests].map(|mut figures| median(&mut figures) / count as f64);
        let share = 100.0 * native / guest;
        println!("| {name} | {block} | {native:.0} | {guest:.0} | {:.0} | {share:.0} % |", guest - native);
    }
}

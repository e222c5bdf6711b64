//! Where the compiler's time goes: `cargo run --profile ci -p sphex-compile --example phases FILE...`
//!
//! Compiles each module on one thread and prints, for classes of body size and for the whole, the CPU nanoseconds a byte
//! of the code section that each phase takes, then the bodies that cost most. CPU time of the thread, so that a busy
//! machine disturbs little; the module is walked twice, and the second walk counts. `FILE@INDEX` compiles only that
//! function, fifty times, for a profiler to look at; `FILE%THREADS` compiles to an artifact, with that many threads.

use sphex_codegen::frame;
use sphex_codegen::opt;
use sphex_codegen::pipeline;
use sphex_compile::{Settings, Translation, WASM_NAMESPACE, translate_module};
use std::collections::HashMap;
use std::time::Duration;

const PHASES: [&str; 5] = ["translate", "optimize", "select", "allocate+emit", "all"];
const CLASSES: [(&str, usize); 5] = [
    ("< 1 KB", 1 << 10),
    ("1-10 KB", 10 << 10),
    ("10-100 KB", 100 << 10),
    ("> 100 KB", usize::MAX),
    ("whole", 0),
];

#[derive(Clone, Copy, Default)]
struct Cost {
    bodies: usize,
    bytes: usize,
    machine: usize,
    time: [f64; 5],
}

fn cpu() -> f64 {
    let now = rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime);
    Duration::new(now.tv_sec as u64, now.tv_nsec as u32).as_secs_f64()
}

fn main() {
    for arg in std::env::args().skip(1) {
        if let Some((path, threads)) = arg.rsplit_once('%') {
            whole(path, threads.parse().ok());
            continue;
        }
        let (path, only) = match arg.rsplit_once('@') {
            Some((path, index)) => (path, index.parse().ok()),
            None => (&*arg, None),
        };
        match (std::fs::read(path), only) {
            (Ok(wasm), None) => report(path, &wasm),
            (Ok(wasm), Some(index)) => repeat(&wasm, index),
            (Err(error), _) => eprintln!("{path}: {error}"),
        }
    }
}

/// Compiles to an artifact; prints wall and CPU seconds and the most memory taken.
fn whole(path: &str, threads: Option<usize>) {
    let Ok(wasm) = std::fs::read(path) else { return eprintln!("{path}: cannot be read") };
    let process = || {
        let now = rustix::time::clock_gettime(rustix::time::ClockId::ProcessCPUTime);
        Duration::new(now.tv_sec as u64, now.tv_nsec as u32).as_secs_f64()
    };
    let mut settings = Settings { threads, ..Settings::default() };
    settings.codegen.verify = false;
    let (start, cpu) = (std::time::Instant::now(), process());
    let bytes = sphex_compile::compile_module(&wasm, &settings).map(|artifact| artifact.len());
    let (wall, cpu) = (start.elapsed().as_secs_f64(), process() - cpu);
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let peak = status.lines().find(|line| line.starts_with("VmHWM")).unwrap_or("");
    println!("{path}: {bytes:?} bytes, {wall:.2} s, {cpu:.2} s of CPU, {peak}");
}

/// Compiles one function fifty times.
fn repeat(wasm: &[u8], index: u32) {
    let mut settings = Settings::default();
    settings.codegen.verify = false;
    settings.codegen.opt_level = sphex_codegen::settings::OptLevel::None; // it is called here
    let translation = match sphex_compile::translate_function(wasm, index, &settings) {
        Ok(translation) => translation,
        Err(error) => return eprintln!("{error}"),
    };
    let (mut scratch, mut ctx) = (opt::Scratch::default(), pipeline::Context::new());
    let mut best = f64::MAX;
    for round in 0..50 {
        let mut func = translation.func.clone();
        let start = cpu();
        let _ = opt::optimize(&mut func, &mut scratch, |_, _| Ok::<(), ()>(()));
        match pipeline::compile(&mut func, &settings.codegen, &mut ctx) {
            Ok(code) if round == 0 => println!(
                "{} blocks, {} values, {} machine instructions, {} virtual registers, {} bytes, {:?}",
                func.layout.len(),
                func.insts.len(),
                ctx.machine.insts.len(),
                ctx.machine.vreg_count(),
                code.code.len(),
                code.steps,
            ),
            Ok(_) => {}
            Err(error) => return eprintln!("{error}"),
        }
        best = best.min(cpu() - start);
    }
    println!("function {index}: {:.2} ms from the optimizer on", best * 1e3);
}

fn report(path: &str, wasm: &[u8]) {
    let sizes = body_sizes(wasm);
    let total: usize = sizes.values().sum();
    let (before, mut costs) = measure(wasm, &sizes);
    let whole = costs.iter().fold(Cost::default(), |mut sum, (_, cost)| {
        sum.add(cost);
        sum
    });
    println!("{path}: {:.2} MB of code in {} bodies", total as f64 / 1e6, sizes.len());
    println!(
        "{:<12} {:>7} {:>8} {:>7} | ns a byte: {}",
        "class",
        "bodies",
        "MB",
        "insts/B",
        PHASES.join("  ")
    );
    let mut lower = 0;
    for (name, upper) in CLASSES {
        let mut class = Cost::default();
        for (_, cost) in costs.iter().filter(|(_, c)| upper == 0 || (lower..upper).contains(&c.bytes)) {
            class.add(cost);
        }
        lower = upper;
        let bytes = class.bytes.max(1) as f64;
        print!("{name:<12} {:>7} {:>8.2} {:>7.2} |", class.bodies, bytes / 1e6, class.machine as f64 / bytes);
        class.time.iter().for_each(|time| print!(" {:>10.1}", time * 1e9 / bytes));
        println!();
    }
    let all = whole.time[4] + before;
    println!("before the bodies {before:.3} s; in all {all:.3} s, {:.3} s a MB", all / (total as f64 / 1e6));
    costs.sort_by(|a, b| b.1.time[4].total_cmp(&a.1.time[4]));
    for (index, cost) in costs.iter().take(12) {
        let ns = cost.time.map(|time| (time * 1e9 / cost.bytes as f64).round());
        println!("  function {index}: {} bytes, {:.1} ms, ns a byte {ns:?}", cost.bytes, cost.time[4] * 1e3);
    }
}

impl Cost {
    fn add(&mut self, other: &Cost) {
        self.bodies += 1;
        self.bytes += other.bytes;
        self.machine += other.machine;
        self.time.iter_mut().zip(other.time).for_each(|(sum, time)| *sum += time);
    }
}

/// Bytes of each defined function's body, by its index.
fn body_sizes(wasm: &[u8]) -> HashMap<u32, usize> {
    let mut sizes = HashMap::new();
    let mut index = 0;
    for payload in wasmparser::Parser::new(0).parse_all(wasm) {
        match payload {
            Ok(wasmparser::Payload::ImportSection(section)) => {
                let imports = section.into_imports().map_while(Result::ok);
                index += imports.filter(|i| matches!(i.ty, wasmparser::TypeRef::Func(_))).count() as u32;
            }
            Ok(wasmparser::Payload::CodeSectionEntry(body)) => {
                sizes.insert(index, body.as_bytes().len());
                index += 1;
            }
            _ => {}
        }
    }
    sizes
}

fn measure(wasm: &[u8], sizes: &HashMap<u32, usize>) -> (f64, Vec<(u32, Cost)>) {
    let mut settings = Settings { threads: Some(1), ..Settings::default() };
    settings.codegen.verify = false;
    settings.codegen.opt_level = sphex_codegen::settings::OptLevel::None; // it is called here
    let (mut before, mut costs) = (0.0, Vec::new());
    let (mut scratch, mut ctx) = (opt::Scratch::default(), pipeline::Context::new());
    for _ in 0..2 {
        costs.clear();
        let mut last = cpu();
        let mut first = true;
        let result = translate_module(wasm, &settings, |index, Translation { mut func, .. }| {
            let translated = cpu();
            if std::mem::take(&mut first) {
                // The module's other sections, the look ahead, and one body.
                before = translated - last;
                last = translated;
            }
            debug_assert_eq!(func.name, sphex_ir::ExternalName::user(WASM_NAMESPACE, index));
            let _ = opt::optimize(&mut func, &mut scratch, |_, _| Ok::<(), ()>(()));
            let placed = cpu();
            let compiled = pipeline::select(&mut func, &settings.codegen, &mut ctx).and_then(|placement| {
                let selected = cpu();
                let limit = frame::stack_limit(&func, &placement)?;
                pipeline::compile_machine(
                    &mut ctx,
                    &placement,
                    limit.as_ref(),
                    &settings.codegen,
                    sphex_codegen::x64::sequence::emit,
                )?;
                Ok(selected)
            });
            let machine = ctx.machine.insts.len();
            drop(func);
            let end = cpu();
            match compiled {
                Ok(selected) => {
                    let time = [
                        translated - last,
                        placed - translated,
                        selected - placed,
                        end - selected,
                        end - last,
                    ];
                    costs.push((index, Cost { bodies: 1, bytes: sizes[&index], machine, time }));
                }
                Err(error) => eprintln!("function {index}: {error}"),
            }
            last = cpu();
        });
        if let Err(error) = result {
            eprintln!("{error}");
        }
    }
    (before, costs)
}

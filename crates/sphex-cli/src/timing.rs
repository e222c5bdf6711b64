//! `sphex compile --time`: where a compilation's time goes, a row a phase or pass, and the functions that took most.
//!
//! Times are CPU time, of the process for phases of the whole module and of the thread for passes, so that a busy machine
//! disturbs little and threads add up. What the counting itself takes is left out of the rows.

use std::collections::BinaryHeap;
use std::fmt::Write as _;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use rustix::time::{ClockId, clock_gettime};
use sphex::inspect::{Defined, Observer, State, Watch};
use sphex_ir::{Function, Opcode, Value};

use crate::progress::Progress;

/// How many functions are named.
const SLOWEST: usize = 10;

/// Watches a compilation and adds up.
pub struct Timing {
    progress: Progress,
    start: Instant,
    totals: Mutex<Totals>,
}

struct Totals {
    /// When the process's last phase ended.
    last: Duration,
    bytes: u64,
    functions: usize,
    /// In the order in which they first ended.
    rows: Vec<Row>,
    /// The slowest functions; the one that took least comes first out.
    slowest: BinaryHeap<std::cmp::Reverse<Slow>>,
}

/// A phase or a pass.
struct Row {
    name: &'static str,
    of_functions: bool,
    time: Duration,
    input: Amount,
    output: Amount,
}

/// How much there was of what.
#[derive(Clone, Copy, Default)]
struct Amount {
    count: u64,
    unit: &'static str,
}

#[derive(PartialEq, Eq, PartialOrd, Ord)]
struct Slow {
    time: Duration,
    index: u32,
    name: String,
    wasm_bytes: u64,
    code_bytes: u64,
}

fn clock(id: ClockId) -> Duration {
    let now = clock_gettime(id);
    Duration::new(now.tv_sec as u64, now.tv_nsec as u32)
}

impl Timing {
    /// Begins now.
    pub fn new() -> Timing {
        let totals = Totals {
            last: clock(ClockId::ProcessCPUTime),
            bytes: 0,
            functions: 0,
            rows: Vec::new(),
            slowest: BinaryHeap::new(),
        };
        Timing { progress: Progress::new(), start: Instant::now(), totals: Mutex::new(totals) }
    }

    /// The table.
    pub fn report(self) -> String {
        let wall = self.start.elapsed();
        drop(self.progress);
        let Totals { functions, mut rows, slowest, .. } =
            self.totals.into_inner().unwrap_or_else(PoisonError::into_inner);
        // Passes stand between what comes before and after them.
        let rank = |row: &Row| match (row.of_functions, row.name) {
            (true, _) => 1,
            (false, "parse" | "look ahead") => 0,
            (false, _) => 2,
        };
        rows.sort_by_key(rank);
        let total: Duration = rows.iter().map(|row| row.time).sum();
        let mut text = format!("{:<12} {:>10} {:>7}  {:>24}    out\n", "pass", "CPU", "share", "in");
        for row in &rows {
            let share = 100.0 * row.time.as_secs_f64() / total.as_secs_f64().max(1e-9);
            let line = format!(
                "{:<12} {:>7.2} ms {share:>5.1} %  {:>24} -> {:<24}",
                row.name,
                row.time.as_secs_f64() * 1e3,
                row.input.to_string(),
                row.output.to_string()
            );
            let _ = writeln!(text, "{}", line.trim_end());
        }
        let peak = peak_mib();
        let (total, wall) = (total.as_secs_f64() * 1e3, wall.as_secs_f64() * 1e3);
        let _ = writeln!(
            text,
            "{:<12} {total:>7.2} ms, {wall:.2} ms of wall time, {functions} functions, {peak} MiB of memory at most",
            "in all"
        );
        let mut slowest: Vec<Slow> = slowest.into_iter().map(|slow| slow.0).collect();
        slowest.sort_by(|a, b| b.cmp(a));
        let _ =
            writeln!(text, "\n{:>10}  {:>10}  {:>10}  slowest functions", "CPU", "wasm bytes", "code bytes");
        for slow in slowest {
            let time = slow.time.as_secs_f64() * 1e3;
            let _ = writeln!(
                text,
                "{time:>7.2} ms  {:>10}  {:>10}  {}",
                slow.wasm_bytes, slow.code_bytes, slow.name
            );
        }
        text
    }

    fn totals(&self) -> std::sync::MutexGuard<'_, Totals> {
        self.totals.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl std::fmt::Display for Amount {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.pad(&format!("{} {}", self.count, self.unit))
    }
}

impl Totals {
    fn add(&mut self, name: &'static str, of_functions: bool, time: Duration, from: Amount, to: Amount) {
        let known = self.rows.iter().position(|row| row.name == name && row.of_functions == of_functions);
        let at = known.unwrap_or_else(|| {
            let (input, output) = (Amount { count: 0, ..from }, Amount { count: 0, ..to });
            self.rows.push(Row { name, of_functions, time: Duration::ZERO, input, output });
            self.rows.len() - 1
        });
        let row = &mut self.rows[at];
        row.time += time;
        row.input.count += from.count;
        row.output.count += to.count;
    }
}

impl Watch for Timing {
    fn begin(&self, functions: usize, bytes: usize) {
        self.totals().functions = functions;
        self.progress.begin(functions, bytes);
    }

    fn function(&self, function: Defined<'_>) -> Option<Box<dyn Observer + '_>> {
        let name = function.name.map_or_else(|| format!("function[{}]", function.index), str::to_owned);
        let size = Amount { count: function.bytes.len() as u64, unit: "bytes" };
        Some(Box::new(Stopwatch {
            timing: self,
            slow: Slow {
                time: Duration::ZERO,
                index: function.index,
                name,
                wasm_bytes: size.count,
                code_bytes: 0,
            },
            steps: Vec::new(),
            size,
            last: clock(ClockId::ThreadCPUTime),
        }))
    }

    fn done(&self, bytes: usize) {
        self.progress.done(bytes);
    }

    fn phase(&self, name: &'static str, bytes: usize) {
        let now = clock(ClockId::ProcessCPUTime);
        let mut totals = self.totals();
        let time = now.saturating_sub(totals.last);
        let before = Amount { count: totals.bytes, unit: "bytes" };
        let after = Amount { count: bytes as u64, unit: "bytes" };
        totals.bytes = after.count;
        // Functions have rows of their own, a pass each.
        if name != "functions" {
            let before = if before.count == 0 { after } else { before };
            totals.add(name, false, time, before, after);
        }
        totals.last = clock(ClockId::ProcessCPUTime);
    }
}

/// Times the steps of one function.
struct Stopwatch<'a> {
    timing: &'a Timing,
    slow: Slow,
    /// What each step took, needed and gave.
    steps: Vec<(&'static str, Duration, Amount, Amount)>,
    size: Amount,
    last: Duration,
}

impl Observer for Stopwatch<'_> {
    fn step(&mut self, name: &'static str, state: State<'_>) {
        let time = clock(ClockId::ThreadCPUTime).saturating_sub(self.last);
        let (count, unit) = match state {
            State::Ir(func) => (live(func), "IR"),
            State::Machine(machine) => (machine.insts.len(), "machine"),
            State::Allocated(machine, moves) => (machine.insts.len() + moves.move_count(), "machine"),
            State::Code(code) => (code.code.len(), "bytes"),
        };
        let after = Amount { count: count as u64, unit };
        self.steps.push((name, time, self.size, after));
        self.size = after;
        self.slow.time += time;
        self.last = clock(ClockId::ThreadCPUTime);
    }
}

impl Drop for Stopwatch<'_> {
    fn drop(&mut self) {
        let mut totals = self.timing.totals();
        for (name, time, from, to) in self.steps.drain(..) {
            totals.add(name, true, time, from, to);
        }
        self.slow.code_bytes = self.size.count;
        let empty =
            Slow { time: Duration::ZERO, index: 0, name: String::new(), wasm_bytes: 0, code_bytes: 0 };
        totals.slowest.push(std::cmp::Reverse(std::mem::replace(&mut self.slow, empty)));
        if totals.slowest.len() > SLOWEST {
            totals.slowest.pop();
        }
    }
}

/// The most memory that this process had so far, in MiB; 0 where the system does not say.
fn peak_mib() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let kib = status.lines().find_map(|line| line.strip_prefix("VmHWM:")?.trim().strip_suffix(" kB"));
    kib.and_then(|kib| kib.parse::<u64>().ok()).unwrap_or(0) >> 10
}

/// How many instructions the blocks list, and how many floating ones those need.
fn live(func: &Function) -> usize {
    let mut seen = vec![false; func.insts.len()];
    let mut work: Vec<Value> =
        func.layout.iter().flat_map(|&block| func.blocks[block].insts.iter().copied()).collect();
    work.iter().for_each(|value| seen[value.as_u32() as usize] = true);
    let mut count = 0;
    while let Some(value) = work.pop() {
        if !matches!(func.insts[value].opcode, Opcode::BlockParam | Opcode::Projection) {
            count += 1;
        }
        func.visit_uses(value, |used| {
            let used = func.resolve(used);
            let used = func.definition(used).map_or(used, |(inst, _)| inst);
            if !std::mem::replace(&mut seen[used.as_u32() as usize], true) {
                work.push(used);
            }
        });
    }
    count
}

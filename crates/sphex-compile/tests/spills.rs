//! How often code goes to its spill slots: our allocator beside regalloc2, each access weighted by ten to the depth of its
//! loop. `SPHEX_SPILLS=FILE[,FILE]` compares other programs (`cargo test -p sphex-compile --test spills -- --nocapture`).

use std::sync::atomic::{AtomicU64, Ordering};

use sphex_codegen::machine::{MachineBlock, MachineFunction};
use sphex_codegen::regalloc::{Allocation, Location};
use sphex_compile::watch::{Defined, Observer, State, Watch};
use sphex_compile::{Settings, compile_watched};
use sphex_entity::EntityRef;

/// Accesses to spill slots in all functions.
#[derive(Default)]
struct Spills {
    weighted: AtomicU64,
    plain: AtomicU64,
}

impl Watch for Spills {
    fn function(&self, _: Defined<'_>) -> Option<Box<dyn Observer + '_>> {
        Some(Box::new(Counter(self)))
    }
}

struct Counter<'a>(&'a Spills);

impl Observer for Counter<'_> {
    fn step(&mut self, _: &'static str, state: State<'_>) {
        let State::Allocated(func, allocation) = state else { return };
        let weights = weights(func);
        let spilled = |location: Location| u64::from(matches!(location, Location::Spill(_)));
        let add = |inst: usize, accesses: u64| {
            self.0.plain.fetch_add(accesses, Ordering::Relaxed);
            self.0.weighted.fetch_add(accesses * weights[inst], Ordering::Relaxed);
        };
        for inst in 0..func.insts.len() {
            let operands = func.operands_of(inst).len();
            add(inst, (0..operands).map(|k| spilled(allocation.location(inst, k))).sum());
        }
        for n in 0..Allocation::move_count(allocation) {
            let moved = allocation.nth_move(n).expect("there is one");
            add(moved.inst as usize, spilled(moved.from) + spilled(moved.to));
        }
    }
}

/// Ten to the depth of the loop that each instruction is in.
fn weights(func: &MachineFunction) -> Vec<u64> {
    let count = func.blocks.len();
    let successors: Vec<Vec<usize>> = (0..count)
        .map(|block| func.successors_of(MachineBlock::new(block)).map(|to| to.index()).collect())
        .collect();
    let mut predecessors = vec![Vec::new(); count];
    for (block, to) in successors.iter().enumerate() {
        to.iter().for_each(|&to| predecessors[to].push(block));
    }
    // Edges back, by a walk in depth: to a block that is still open.
    let (mut state, mut back) = (vec![0_u8; count], vec![Vec::new(); count]);
    let mut stack = vec![(0, 0)];
    state[0] = 1;
    while let Some((block, next)) = stack.pop() {
        let Some(&to) = successors[block].get(next) else {
            state[block] = 2;
            continue;
        };
        stack.push((block, next + 1));
        match state[to] {
            0 => {
                state[to] = 1;
                stack.push((to, 0));
            }
            1 => back[to].push(block),
            _ => {}
        }
    }
    let mut depth = vec![0_u32; count];
    for (header, latches) in back.into_iter().enumerate().filter(|(_, latches)| !latches.is_empty()) {
        let mut inside = vec![false; count];
        inside[header] = true;
        let mut work = latches;
        while let Some(block) = work.pop() {
            if !std::mem::replace(&mut inside[block], true) {
                work.extend(&predecessors[block]);
            }
        }
        depth.iter_mut().zip(inside).for_each(|(depth, inside)| *depth += u32::from(inside));
    }
    let mut weights = vec![0; func.insts.len()];
    for (block, data) in func.blocks.iter() {
        weights[data.insts.range()].fill(10_u64.pow(depth[block.index()].min(6)));
    }
    weights
}

/// Weighted and plain accesses of a module compiled with one allocator.
fn spills(wasm: &[u8], allocator: &str) -> (u64, u64) {
    let mut settings = Settings::default();
    settings.set("regalloc_algorithm", Some(allocator)).unwrap();
    settings.codegen.verify = false; // the checkers run in other tests
    let found = Spills::default();
    compile_watched(wasm, &settings, &found).unwrap();
    (found.weighted.into_inner(), found.plain.into_inner())
}

#[test]
fn fewer_accesses_to_spill_slots_than_with_regalloc2() {
    let root = concat!(env!("CARGO_MANIFEST_DIR"), "/../../");
    let own = format!("{root}examples/wordcount.wasm,{root}benches/hello.wasm");
    let others = std::env::var("SPHEX_SPILLS").unwrap_or_default();
    let files = own.split(',').map(|file| (file, true)).chain(others.split(',').map(|file| (file, false)));
    for (file, ours) in files.filter(|(file, _)| !file.is_empty()) {
        let wasm = std::fs::read(file).unwrap();
        let (walk, search) = (spills(&wasm, "walk"), spills(&wasm, "backtracking"));
        let ratio = walk.0 as f64 / search.0 as f64;
        println!("{file}: {walk:?} (weighted, plain), regalloc2 {search:?}, weighted ratio {ratio:.3}");
        assert!(
            !ours || walk.0 <= search.0,
            "{file}: {} accesses by weight, {} with regalloc2",
            walk.0,
            search.0
        );
    }
}

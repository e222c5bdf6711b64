//! Parameters and arguments that share a slot, so that nothing is moved between them.
//!
//! Needs: which values are wanted from memory. Gives: [`Joined`]: classes of values of which no two are live at once, each
//! with its stretches of the function, in the order of blocks. Cost: that of the stretches; joining stops when it has
//! looked at more than a multiple of the function's size.
//!
//! A parameter in a slot is written where the blocks before end, so it lives there too: at that one point it may share the
//! slot with its own argument.

use super::flow::entity;
use super::live::Live;
use super::scan::State;
use super::{AWAY, NONE};
use crate::machine::MachineFunction;
use sphex_entity::EntityRef;

/// Where a value is live: from a point to a point. The start of instruction `n` is `2 n`, its end `2 n + 1`.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
struct Stretch {
    start: u32,
    end: u32,
    value: u32,
}

/// The classes, and memory kept from function to function.
#[derive(Debug, Default)]
pub(super) struct Joined {
    parent: Vec<u32>,
    stretches: Vec<Vec<Stretch>>,
    /// The place of each wanted value among them.
    index: Vec<u32>,
    merged: Vec<Stretch>,
}

impl Joined {
    /// Finds the classes.
    pub fn compute(&mut self, func: &MachineFunction, live: &Live, state: &State) {
        self.find_stretches(func, live, state);
        let mut budget = 1_000_000 + 256 * func.insts.len() as u64;
        for data in func.blocks.values() {
            let params = &func.vregs[data.params.range()];
            let in_slot = |value: usize| state.made_at[value] == AWAY && self.index[value] != NONE;
            if !params.iter().any(|param| in_slot(param.vreg())) {
                continue;
            }
            for pred in &func.predecessors[data.predecessors.range()] {
                let from = func.blocks[entity(pred.index())];
                let targets = func.successors[from.successors.range()].iter();
                for (k, target) in targets.enumerate() {
                    let insts = func.blocks[entity(target.index())].insts;
                    if insts != data.insts {
                        continue;
                    }
                    for (param, arg) in params.iter().zip(func.arguments_of(entity(pred.index()), k)) {
                        let (param, arg) = (param.vreg(), arg.vreg());
                        let wanted = state.made_at[param] == AWAY && self.index[arg] != NONE;
                        if wanted && self.index[param] != NONE {
                            self.join(param as u32, arg as u32, func, &mut budget);
                        }
                    }
                }
            }
        }
    }

    /// The value that stands for a value's class.
    pub fn root(&mut self, mut value: u32) -> u32 {
        while self.parent[value as usize] != value {
            let above = self.parent[value as usize];
            self.parent[value as usize] = self.parent[above as usize];
            value = self.parent[value as usize];
        }
        value
    }

    /// From where to where a class of this root is live.
    pub fn extent(&self, root: u32) -> (u32, u32) {
        let stretches = &self.stretches[self.index[root as usize] as usize];
        let end = stretches.iter().map(|stretch| stretch.end).max();
        (stretches.first().map_or(0, |first| first.start), end.unwrap_or(0))
    }

    fn find_stretches(&mut self, func: &MachineFunction, live: &Live, state: &State) {
        self.parent.clear();
        self.parent.extend(0..func.vreg_count() as u32);
        self.index.clear();
        self.index.resize(func.vreg_count(), NONE);
        for (at, &value) in state.wanted.iter().enumerate() {
            self.index[value as usize] = at as u32;
            match self.stretches.get_mut(at) {
                Some(list) => list.clear(),
                None => self.stretches.push(Vec::new()),
            }
        }
        for (block, data) in func.blocks.iter() {
            let (start, end) = (2 * data.insts.start, 2 * data.insts.end - 1);
            for &(value, _) in live.into(block.index()) {
                if let Some(list) = self.list(value) {
                    list.push(Stretch { start, end, value });
                }
            }
            for param in &func.vregs[data.params.range()] {
                let value = param.vreg() as u32;
                if state.made_at[value as usize] == AWAY
                    && let Some(list) = self.list(value)
                {
                    for pred in &func.predecessors[data.predecessors.range()] {
                        let at = 2 * func.blocks[entity(pred.index())].insts.end - 1;
                        list.push(Stretch { start: at, end: at, value });
                    }
                }
            }
        }
        for &value in &state.wanted {
            let insts = func.blocks[entity(live.made_in[value as usize] as usize)].insts;
            let last = state.wanted_last[value as usize];
            let start = match state.made_by[value as usize] {
                NONE => 2 * insts.start,
                inst => 2 * inst + 1,
            };
            if let Some(list) = self.list(value) {
                let local = list.iter().all(|stretch| stretch.start == stretch.end);
                let end =
                    if local { (2 * last + 1).clamp(start, 2 * insts.end - 1) } else { 2 * insts.end - 1 };
                list.push(Stretch { start, end, value });
                list.sort_unstable();
            }
        }
    }

    fn list(&mut self, value: u32) -> Option<&mut Vec<Stretch>> {
        let at = self.index[value as usize];
        if at == NONE { None } else { self.stretches.get_mut(at as usize) }
    }

    /// Joins the classes of a parameter and an argument, unless they are live at once.
    fn join(&mut self, param: u32, arg: u32, func: &MachineFunction, budget: &mut u64) {
        let (a, b) = (self.root(param), self.root(arg));
        if a == b {
            return;
        }
        let (mut large, mut small) = (self.index[a as usize] as usize, self.index[b as usize] as usize);
        if self.stretches[large].len() < self.stretches[small].len() {
            core::mem::swap(&mut large, &mut small);
        }
        let (one, other) = (&self.stretches[large], &self.stretches[small]);
        // Each of the few is looked for among the many; to merge the lists is to copy memory.
        let work = (other.len() * (1 + one.len().ilog2() as usize) + one.len() / 8) as u64;
        if work > *budget {
            return;
        }
        *budget -= work;
        if other.iter().any(|&stretch| overlaps(func, stretch, one)) {
            return;
        }
        self.merged.clear();
        let mut rest = one.as_slice();
        for &stretch in other {
            let before = rest.partition_point(|known| known < &stretch);
            self.merged.extend_from_slice(&rest[..before]);
            self.merged.push(stretch);
            rest = &rest[before..];
        }
        self.merged.extend_from_slice(rest);
        core::mem::swap(&mut self.merged, &mut self.stretches[large]);
        let (root, below) = if large == self.index[a as usize] as usize { (a, b) } else { (b, a) };
        self.parent[below as usize] = root;
    }
}

/// Whether a stretch overlaps one of a class but where one value becomes the other. Within a class two stretches meet at
/// most at the end of a block, so only the next ones on either side can.
fn overlaps(func: &MachineFunction, stretch: Stretch, class: &[Stretch]) -> bool {
    let at = class.partition_point(|known| known < &stretch);
    let behind = class[at..].iter().take_while(|known| known.start <= stretch.end);
    let before = class[..at].iter().rev().take(2).filter(|known| known.end >= stretch.start);
    behind.chain(before).any(|&known| !hands_over(func, known, stretch))
}

/// Whether two stretches that overlap do so only where one value, at the end of a block, becomes the other.
fn hands_over(func: &MachineFunction, x: Stretch, y: Stretch) -> bool {
    let (from, to) = if y.start == y.end { (x, y) } else { (y, x) };
    if to.start != to.end || from.end != to.start || from.start == from.end {
        return false;
    }
    // The block that ends there: blocks are numbered in the order of their instructions.
    let inst = to.start / 2;
    let blocks = &func.blocks;
    let (mut low, mut high) = (0, blocks.len());
    while high - low > 1 {
        let middle = low.midpoint(high);
        if blocks[entity(middle)].insts.start <= inst { low = middle } else { high = middle }
    }
    let data = blocks[entity(low)];
    data.successors.range().enumerate().any(|(k, at)| {
        let params = &func.vregs[blocks[entity(func.successors[at].index())].params.range()];
        let args = func.arguments_of(entity(low), k);
        params
            .iter()
            .zip(args)
            .any(|(param, arg)| param.vreg() as u32 == to.value && arg.vreg() as u32 == from.value)
    })
}

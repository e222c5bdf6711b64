//! Reloads go down to where they are used.
//!
//! Needs: what is in registers where blocks begin and end, and which of it no block has read. Gives: the same, less what
//! would be reloaded on the way into a block only to be lost before its use, or to be used on few of the ways from there.
//! Cost: linear in what is in registers where blocks join, and in what is moved times the blocks beside each.
//!
//! A loop that begins with many values in registers needs them there again where it goes back. What the walk had to take
//! the register from in between, before it was read, was loaded for nothing. A register that holds a value which a block
//! neither reads nor moves is the value's own throughout, so the value may as well be loaded behind that block: it is
//! struck out at the block's start and end, and `edges` reloads it on those ways out on which it is still expected.

use super::flow::{Flow, entity};
use super::scan::State;
use crate::machine::{MachineFunction, Span};
use sphex_asm::register::{Reg, RegSet};
use std::collections::VecDeque;

/// What of the values that a block began with, in registers, it has not read.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Unread {
    /// Registers that hold theirs to the block's end.
    pub passed: RegSet,
    /// Registers that were given to other values.
    pub lost: RegSet,
}

/// A value at a block's start: the block, and the place of the pair.
type Node = (u32, u32);

/// Memory kept from function to function.
#[derive(Debug, Default)]
pub(super) struct Scratch {
    /// How often each block runs, by guess; what leaves a block is what enters it.
    count: Vec<f32>,
    /// The sum of the frequencies behind each block.
    behind: Vec<f32>,
    /// For each pair at a block's start, how often the value would be loaded further down if it were struck out; not a
    /// number where nobody has asked.
    further: Vec<f32>,
    /// Registers struck out at the start and at the end of each block.
    struck: Vec<[RegSet; 2]>,
    /// What may be struck out.
    queue: VecDeque<Node>,
}

/// A loop runs its body as often, by guess: as in [`Flow`].
const TURNS: f32 = 8.0;
/// How many blocks further a use is looked for.
const REACH: u32 = 24;

/// Strikes out what is reloaded too early.
pub(super) fn sink(func: &MachineFunction, flow: &Flow, state: &mut State, scratch: &mut Scratch) {
    state.moved_down.clear();
    let mut sinker = Sinker { func, flow, state, scratch };
    sinker.find_reloads();
    if sinker.scratch.queue.is_empty() {
        return;
    }
    sinker.count_blocks();
    sinker.decide();
    sinker.strike_out();
}

struct Sinker<'a> {
    func: &'a MachineFunction,
    flow: &'a Flow,
    state: &'a mut State,
    scratch: &'a mut Scratch,
}

impl Sinker<'_> {
    fn predecessors(&self, block: usize) -> impl Iterator<Item = usize> + use<'_> {
        let preds = self.func.blocks[entity(block)].predecessors.range();
        self.func.predecessors[preds].iter().map(|pred| pred.index())
    }

    fn successors(&self, block: usize) -> impl Iterator<Item = usize> + use<'_> {
        let succs = self.func.blocks[entity(block)].successors.range();
        self.func.successors[succs].iter().map(|succ| succ.index())
    }

    /// The block whose end decides what is in registers at the end of `block`: the one before, if it is only an edge.
    fn leaving(&self, mut block: usize) -> usize {
        while self.flow.edge(block).is_some() {
            block =
                self.func.predecessors[self.func.blocks[entity(block)].predecessors.start as usize].index();
        }
        block
    }

    /// The place of a value's pair, if a span has it in a register that is not struck out.
    fn find(&self, span: Span, value: u32, struck: RegSet) -> Option<usize> {
        span.range().find(|&at| self.state.pairs[at].1 == value && !struck.contains(self.state.pairs[at].0))
    }

    /// Queues what is reloaded on the way to a block that does not read it.
    fn find_reloads(&mut self) {
        self.scratch.queue.clear();
        for block in 0..self.func.blocks.len() {
            let unread = self.state.unread[block];
            let either = unread.passed.union(unread.lost);
            if either.is_empty() || self.func.blocks[entity(block)].predecessors.range().len() < 2 {
                continue;
            }
            for at in self.state.entry[block].range() {
                let (reg, value) = self.state.pairs[at];
                let gone = |pred: usize| self.find(self.state.exit[pred], value, RegSet::EMPTY).is_none();
                if either.contains(reg) && self.predecessors(block).any(gone) {
                    self.scratch.queue.push_back((block as u32, at as u32));
                }
            }
        }
    }

    /// How often control goes from a block to the next, of the times that it leaves the block.
    fn share(&self, from: usize, to: usize) -> f32 {
        self.flow.frequency[to] / self.scratch.behind[from]
    }

    fn count_blocks(&mut self) {
        let mut behind = core::mem::take(&mut self.scratch.behind);
        behind.clear();
        let sum = |block| self.successors(block).map(|succ| self.flow.frequency[succ]).sum::<f32>();
        behind.extend((0..self.func.blocks.len()).map(sum));
        self.scratch.behind = behind;
        self.scratch.count.clear();
        for block in 0..self.func.blocks.len() {
            let walked = self.predecessors(block).filter(|&pred| pred < block);
            let mut count: f32 = walked.map(|pred| self.scratch.count[pred] * self.share(pred, block)).sum();
            if block == 0 {
                count = 1.0;
            }
            let turns = if self.flow.is_header(block) { TURNS } else { 1.0 };
            self.scratch.count.push((count * turns).clamp(f32::MIN_POSITIVE, 1e30));
        }
    }

    /// How often a value would be loaded behind a block if it were struck out at its end.
    fn loads_behind(&mut self, block: usize, value: u32, reach: u32) -> f32 {
        let mut loads = 0.0;
        for k in self.func.blocks[entity(block)].successors.range() {
            let succ = self.func.successors[k].index();
            let target = self.flow.edge(succ).unwrap_or(succ);
            if let Some(at) = self.find(self.state.entry[target], value, self.scratch.struck[target][0]) {
                let ways = self.scratch.count[block] * self.share(block, succ);
                loads += ways.min(self.further(target, at, reach) * ways / self.scratch.count[target]);
            }
        }
        loads
    }

    /// How often a value would be loaded in and behind a block if it were struck out at its start. Around a loop nothing
    /// is added: what is loaded in it is counted there.
    fn further(&mut self, block: usize, at: usize, reach: u32) -> f32 {
        let (reg, value) = self.state.pairs[at];
        let unread = self.state.unread[block];
        if unread.lost.contains(reg) {
            return 0.0;
        }
        if !unread.passed.contains(reg) || reach == 0 {
            return self.scratch.count[block];
        }
        if self.scratch.further[at].is_nan() {
            self.scratch.further[at] = 0.0;
            self.scratch.further[at] = self.loads_behind(block, value, reach - 1);
        }
        self.scratch.further[at]
    }

    /// Strikes out what is loaded more often on the ways into a block than it would be behind it; then the same of the
    /// blocks behind, where it is loaded now.
    fn decide(&mut self) {
        self.scratch.further.clear();
        self.scratch.further.resize(self.state.pairs.len(), f32::NAN);
        self.scratch.struck.clear();
        self.scratch.struck.resize(self.func.blocks.len(), [RegSet::EMPTY; 2]);
        while let Some((block, at)) = self.scratch.queue.pop_front() {
            let (block, (reg, value)) = (block as usize, self.state.pairs[at as usize]);
            let unread = self.state.unread[block];
            let passed = unread.passed.contains(reg);
            if !passed && !unread.lost.contains(reg) || self.scratch.struck[block][0].contains(reg) {
                continue;
            }
            let mut loads = 0.0;
            for pred in self.predecessors(block) {
                let from = self.leaving(pred);
                if self.find(self.state.exit[from], value, self.scratch.struck[from][1]).is_none() {
                    loads += self.scratch.count[pred] * self.share(pred, block);
                }
            }
            if loads == 0.0 || passed && self.loads_behind(block, value, REACH) >= loads * 0.9 {
                continue;
            }
            self.scratch.struck[block][0].insert(reg);
            if !passed {
                continue;
            }
            self.scratch.struck[block][1].insert(reg);
            for k in self.func.blocks[entity(block)].successors.range() {
                let succ = self.func.successors[k].index();
                let target = self.flow.edge(succ).unwrap_or(succ);
                if let Some(at) = self.find(self.state.entry[target], value, RegSet::EMPTY) {
                    self.scratch.queue.push_back((target as u32, at as u32));
                }
            }
        }
    }

    /// Takes what is struck out from the lists.
    fn strike_out(&mut self) {
        let Sinker { func, flow, state, scratch, .. } = self;
        for block in 0..func.blocks.len() {
            if flow.edge(block).is_some() {
                let before =
                    func.predecessors[func.blocks[entity(block)].predecessors.start as usize].index();
                (state.entry[block], state.exit[block]) = (state.exit[before], state.exit[before]);
                continue;
            }
            let [entry, exit] = scratch.struck[block];
            shorten(&mut state.pairs, &mut state.entry[block], entry);
            if !exit.is_empty() {
                shorten(&mut state.pairs, &mut state.exit[block], exit);
                let data = func.blocks[entity(block)];
                for succ in &func.successors[data.successors.range()] {
                    let behind = flow.edge(succ.index()).unwrap_or(succ.index());
                    state.moved_down.extend([succ.index() as u32, behind as u32]);
                }
            }
        }
        state.moved_down.sort_unstable();
    }
}

/// Takes registers from the list in a span.
fn shorten(pairs: &mut [(Reg, u32)], span: &mut Span, struck: RegSet) {
    if struck.is_empty() {
        return;
    }
    let mut end = span.start;
    for at in span.range() {
        if !struck.contains(pairs[at].0) {
            pairs[end as usize] = pairs[at];
            end += 1;
        }
    }
    span.end = end;
}

//! Parameters and arguments that share a slot, so that nothing is moved between them.
//!
//! Needs: which values are wanted from memory. Gives: [`Joined`]: classes of values of which no two are live at once, each
//! with its stretches of the function, in the order of blocks. Of what can join nothing, which is most, only the first and
//! the last point are kept. Cost: that of the stretches; joining stops when it has looked at more than a multiple of the
//! function's size.
//!
//! A parameter in a slot is written where the blocks before end, so it lives there too: at that one point it may share the
//! slot with its own argument.

use super::flow::{Flow, entity};
use super::live::Live;
use super::scan::State;
use super::{AWAY, NONE};
use crate::machine::{MachineBlock, MachineFunction, Span};
use sphex_entity::EntityRef;
use std::cmp::Ordering;

/// Where a value is live: from a point to a point. The start of instruction `n` is `2 n`, its end `2 n + 1`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Stretch {
    start: u32,
    end: u32,
    value: u32,
    /// Of a point at which a parameter is written: the argument.
    from: u32,
}

impl Stretch {
    /// The fields in order as one number: stretches are compared more than anything else is done with them.
    fn key(&self) -> u128 {
        let [start, end, value, from] = [self.start, self.end, self.value, self.from].map(u128::from);
        start << 96 | end << 64 | value << 32 | from
    }
}

impl Ord for Stretch {
    fn cmp(&self, other: &Self) -> Ordering {
        self.key().cmp(&other.key())
    }
}

impl PartialOrd for Stretch {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }

    fn lt(&self, other: &Self) -> bool {
        self.key() < other.key()
    }
}

const NOWHERE: Stretch = Stretch { start: 0, end: 0, value: NONE, from: NONE };

/// What is known of a wanted value.
#[derive(Clone, Copy, Debug)]
struct Reach {
    /// It is a parameter in a slot that is handed something from one, or such an argument.
    may_join: bool,
    /// Of one that may not: the first point at which it is live outside the block that makes it, and the last.
    start: u32,
    end: u32,
    /// It is live at more than points.
    wide: bool,
    /// Of a parameter, what it was last found to overlap: classes only grow.
    apart: u32,
}

impl Reach {
    const NONE: Reach = Reach { may_join: false, start: u32::MAX, end: 0, wide: false, apart: NONE };

    fn add(&mut self, stretch: Stretch) {
        self.start = self.start.min(stretch.start);
        self.end = self.end.max(stretch.end);
        self.wide |= stretch.start != stretch.end;
    }
}

/// The classes, and memory kept from function to function.
#[derive(Debug, Default)]
pub(super) struct Joined {
    parent: Vec<u32>,
    /// The place of each wanted value among the spans.
    index: Vec<u32>,
    /// Where each wanted value is live, from where to where.
    reach: Vec<Reach>,
    /// For each wanted value that may join another its stretches, of `stretches`.
    spans: Vec<Span>,
    stretches: Vec<Stretch>,
    /// For one that stands for a class of several, those of the class.
    grown: Vec<Vec<Stretch>>,
    spare: Vec<Vec<Stretch>>,
    found: Vec<Stretch>,
    /// The last of each wanted value in `found`.
    latest: Vec<u32>,
}

impl Joined {
    /// Finds the classes.
    pub fn compute(&mut self, func: &MachineFunction, flow: &Flow, live: &Live, state: &State) {
        self.number(func, state);
        self.for_each_pair(func, state, |this, param, arg, _| {
            for value in [param, arg] {
                this.reach[this.index[value as usize] as usize].may_join = true;
            }
        });
        self.find_stretches(func, flow, live, state);
        let mut budget = 1_000_000 + 256 * func.insts.len() as u64;
        self.for_each_pair(func, state, |this, param, arg, at| this.join(param, arg, at, &mut budget));
    }

    /// Visits each parameter in a slot with each of its arguments that is wanted from memory, and where its block begins.
    fn for_each_pair(
        &mut self,
        func: &MachineFunction,
        state: &State,
        mut visit: impl FnMut(&mut Self, u32, u32, u32),
    ) {
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
                            visit(self, param as u32, arg as u32, 2 * data.insts.start);
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
        let Reach { may_join, start, end, .. } = self.reach[self.index[root as usize] as usize];
        if !may_join {
            return (start, end);
        }
        let stretches = self.of(root);
        let end = stretches.iter().map(|stretch| stretch.end).max();
        (stretches.first().map_or(0, |first| first.start), end.unwrap_or(0))
    }

    fn of(&self, root: u32) -> &[Stretch] {
        let at = self.index[root as usize] as usize;
        match self.grown[at].as_slice() {
            [] => &self.stretches[self.spans[at].range()],
            grown => grown,
        }
    }

    /// Numbers the wanted values.
    fn number(&mut self, func: &MachineFunction, state: &State) {
        self.parent.clear();
        self.parent.extend(0..func.vreg_count() as u32);
        self.index.clear();
        self.index.resize(func.vreg_count(), NONE);
        for (at, &value) in state.wanted.iter().enumerate() {
            self.index[value as usize] = at as u32;
        }
        self.reach.clear();
        self.reach.resize(state.wanted.len(), Reach::NONE);
    }

    /// Stretches of all wanted values that may join others: found block by block, then sorted by value.
    fn find_stretches(&mut self, func: &MachineFunction, flow: &Flow, live: &Live, state: &State) {
        for mut list in self.grown.drain(..).filter(|list| list.capacity() != 0) {
            list.clear();
            self.spare.push(list);
        }
        self.grown.resize_with(state.wanted.len(), Vec::new);
        self.find_in_blocks(func, flow, live, state);
        self.spans.clear();
        self.spans.resize(state.wanted.len(), Span::default());
        for stretch in &self.found {
            self.spans[self.index[stretch.value as usize] as usize].end += 1;
        }
        let mut start = 0;
        for (span, reach) in self.spans.iter_mut().zip(&self.reach) {
            // The first is that in the block that makes the value, before which no other begins but points.
            let count = if reach.may_join { span.end + 1 } else { 0 };
            *span = Span { start, end: start + 1 };
            start += count;
        }
        self.stretches.clear();
        self.stretches.resize(start as usize, NOWHERE);
        for &stretch in &self.found {
            let span = &mut self.spans[self.index[stretch.value as usize] as usize];
            self.stretches[span.end as usize] = stretch;
            span.end += 1;
        }
        let wanted = state.wanted.iter().zip(&mut self.reach);
        for (span, (&value, reach)) in self.spans.iter_mut().zip(wanted) {
            if !reach.may_join {
                reach.add(where_made(func, live, state, value, !reach.wide));
                continue;
            }
            let list = &mut self.stretches[span.range()];
            let local = list[1..].iter().all(|stretch| stretch.start == stretch.end);
            list[0] = where_made(func, live, state, value, local);
            if !list.is_sorted() {
                list.sort_unstable();
            }
            // An argument that is handed over twice is there once.
            let mut kept = 1;
            for at in 1..list.len() {
                if list[at] != list[kept - 1] {
                    list[kept] = list[at];
                    kept += 1;
                }
            }
            span.end = span.start + kept as u32;
        }
    }

    /// Stretches in blocks that do not make the value. What goes on in the next block is one stretch, unless something is
    /// handed over between: parameters are written there.
    fn find_in_blocks(&mut self, func: &MachineFunction, flow: &Flow, live: &Live, state: &State) {
        self.found.clear();
        self.latest.clear();
        self.latest.resize(state.wanted.len(), NONE);
        let Joined { index, found, latest, reach, .. } = self;
        let wanted: &[u32] = index;
        let mut add = |stretch: Stretch, bridge: u32| {
            let at = wanted[stretch.value as usize];
            if at == NONE {
                return;
            }
            if !reach[at as usize].may_join {
                reach[at as usize].add(stretch);
                return;
            }
            let known = latest[at as usize];
            if known != NONE && found[known as usize].end == bridge {
                found[known as usize].end = stretch.end;
                return;
            }
            latest[at as usize] = found.len() as u32;
            found.push(stretch);
        };
        let in_slot = |param: usize| state.made_at[param] == AWAY && wanted[param] != NONE;
        // Where a stretch ends that the block goes on with.
        let mut bridge = NONE;
        for (block, data) in func.blocks.iter() {
            let (start, end) = (2 * data.insts.start, 2 * data.insts.end - 1);
            let hands = data.successors.range().any(|k| {
                let params = func.blocks[entity(func.successors[k].index())].params;
                !func.successor_args[k].range().is_empty()
                    && func.vregs[params.range()].iter().any(|param| in_slot(param.vreg()))
            });
            if flow.edge(block.index()).is_some() {
                // What is live into the block behind it meets the same values there, or at the end of the block before.
                for arg in func.arguments_of(block, 0) {
                    add(Stretch { start, end, value: arg.vreg() as u32, from: NONE }, NONE);
                }
                bridge = if hands { NONE } else { bridge };
                continue;
            }
            for &(value, _) in live.into(block.index()) {
                add(Stretch { start, end, value, from: NONE }, bridge);
            }
            for (k, param) in func.vregs[data.params.range()].iter().enumerate() {
                let value = param.vreg() as u32;
                if !in_slot(param.vreg()) {
                    continue;
                }
                for pred in &func.predecessors[data.predecessors.range()] {
                    let (end, from) = handed_over(func, pred.index(), block, k);
                    add(Stretch { start: end, end, value, from }, NONE);
                }
            }
            bridge = if hands { NONE } else { end };
        }
    }

    /// Joins the classes of a parameter, of the block that begins at `block`, and an argument, unless they are live at once.
    fn join(&mut self, param: u32, arg: u32, block: u32, budget: &mut u64) {
        let (a, b) = (self.root(param), self.root(arg));
        if a == b || lives_at(self.of(b), block) {
            return;
        }
        let (mut root, mut below) = (a, b);
        if self.of(root).len() < self.of(below).len() {
            core::mem::swap(&mut root, &mut below);
        }
        let (one, other) = (self.of(root), self.of(below));
        // Each of the few is looked for among the many; to merge the lists is to copy memory.
        let ratio = one.len() / other.len().max(1);
        let work = (other.len() * (1 + ratio.max(1).ilog2() as usize) + one.len() / 8) as u64;
        if work > *budget {
            return;
        }
        *budget -= work;
        let known = self.index[param as usize] as usize;
        if core::mem::replace(&mut self.reach[known].apart, b) == b {
            return;
        }
        let (one, other) = (self.of(root), self.of(below));
        let mut at = 0;
        for &stretch in other {
            at += position(&one[at..], stretch);
            if overlaps(stretch, one, at) {
                return;
            }
        }
        self.merge(root, below);
    }

    /// Makes two classes one, whose stretches have a list of their own then.
    fn merge(&mut self, root: u32, below: u32) {
        let [root_at, below_at] = [root, below].map(|value| self.index[value as usize] as usize);
        let mut list = core::mem::take(&mut self.grown[root_at]);
        if list.is_empty() {
            list = self.spare.pop().unwrap_or_default();
            list.extend_from_slice(&self.stretches[self.spans[root_at].range()]);
        }
        let mut other = core::mem::take(&mut self.grown[below_at]);
        if other.is_empty() {
            insert_all(&mut list, &self.stretches[self.spans[below_at].range()]);
        } else {
            insert_all(&mut list, &other);
            other.clear();
            self.spare.push(other);
        }
        self.grown[root_at] = list;
        self.parent[below as usize] = root;
    }
}

/// Puts the stretches of one list at their places in another, the last ones first.
fn insert_all(list: &mut Vec<Stretch>, other: &[Stretch]) {
    let (mut end, mut to) = (list.len(), list.len() + other.len());
    list.resize(to, NOWHERE);
    for &stretch in other.iter().rev() {
        let at = list[..end].partition_point(|known| *known < stretch);
        to -= end - at;
        list.copy_within(at..end, to);
        end = at;
        to -= 1;
        list[to] = stretch;
    }
}

/// The stretch in the block that makes a value, which is to its last use there if it is `local`.
fn where_made(func: &MachineFunction, live: &Live, state: &State, value: u32, local: bool) -> Stretch {
    let insts = func.blocks[entity(live.made_in[value as usize] as usize)].insts;
    let start = match state.made_by[value as usize] {
        NONE => 2 * insts.start,
        inst => 2 * inst + 1,
    };
    let last = 2 * insts.end - 1;
    let end = if local { (2 * state.wanted_last[value as usize] + 1).clamp(start, last) } else { last };
    Stretch { start, end, value, from: NONE }
}

/// Whether something of a class is live at a point.
fn lives_at(class: &[Stretch], point: u32) -> bool {
    let behind = class.partition_point(|known| known.start <= point);
    class[..behind].iter().rev().take(2).any(|known| known.end >= point)
}

/// How many stretches of a list stand before another: looked for in steps that double.
fn position(list: &[Stretch], stretch: Stretch) -> usize {
    let (mut known, mut step) = (0, 1);
    while known + step <= list.len() && list[known + step - 1] < stretch {
        known += step;
        step *= 2;
    }
    let end = (known + step).min(list.len());
    known + list[known..end].partition_point(|other| *other < stretch)
}

/// Whether a stretch overlaps one of a class, in which it would be at `at`, but where one value becomes the other. Within a class two stretches meet at
/// most at the end of a block, so only the next ones on either side can.
fn overlaps(stretch: Stretch, class: &[Stretch], at: usize) -> bool {
    let behind = class[at..].iter().take_while(|known| known.start <= stretch.end);
    let before = class[..at].iter().rev().take(2).filter(|known| known.end >= stretch.start);
    behind.chain(before).any(|&known| !hands_over(known, stretch))
}

/// Whether two stretches that overlap do so only where one value, at the end of a block, becomes the other.
fn hands_over(x: Stretch, y: Stretch) -> bool {
    let (from, to) = if y.start == y.end { (x, y) } else { (y, x) };
    to.start == to.end && from.end == to.start && from.start != from.end && to.from == from.value
}

/// Where a block ends, and what it hands over to the `k`th parameter of the next.
fn handed_over(func: &MachineFunction, from: usize, to: MachineBlock, k: usize) -> (u32, u32) {
    let data = func.blocks[entity(from)];
    let edge = func.successors[data.successors.range()].iter().position(|succ| succ.index() == to.index());
    let arg = edge.and_then(|edge| func.arguments_of(entity(from), edge).get(k));
    (2 * data.insts.end - 1, arg.map_or(NONE, |arg| arg.vreg() as u32))
}

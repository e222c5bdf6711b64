//! What register allocation would have to do across blocks, and how much of it is too much.
//!
//! Needs: a finished machine function. Gives: counts and the edges to cut. Cost: linear; the walk stops once too much is
//! live. A budget is a constant times the number of instructions.
//!
//! Three things are counted, those in which the allocator is not linear:
//!
//! - *Live*: for each value the blocks it is live into and their edges.
//! - *Search*: for each value and each block that it is live into, the allocator looks through the edges' arguments for
//!   parameters of lower number, from where the last value with a gap between its blocks left off. Numbers are ours to
//!   choose: [`renumber`] puts parameters last, and of these the long-lived first.
//! - *Joins*: an argument and a parameter that are never needed at once are joined, and each join looks at all that was
//!   joined before.

use super::NONE;
use crate::machine::{MachineFunction, Span};
use crate::regalloc::{Operand, OperandKind, RaBlock, VReg};
use sphex_entity::EntityRef;

/// Functions with fewer blocks, times arguments, are within any budget.
const FEW: usize = 100_000;

/// Joins of less than this are no matter.
const SMALL_JOIN: u32 = 64;

/// In how many blocks the values of a function may be live, taken together.
pub(super) fn live(func: &MachineFunction) -> u64 {
    100_000 + 256 * func.insts.len() as u64
}

/// How many steps the search for parameters may take: each is a comparison or two, a thousand cost what an instruction
/// costs.
pub(super) fn search(func: &MachineFunction) -> u64 {
    1_000_000 + 4096 * func.insts.len() as u64
}

/// How many steps the search for parameters may take before values are renumbered.
pub(super) fn easy_search(func: &MachineFunction) -> u64 {
    50_000 + 96 * func.insts.len() as u64
}

/// How much joining may look at.
fn joins(func: &MachineFunction) -> u64 {
    1_000_000 + 64 * func.insts.len() as u64
}

/// The counts. Once one value too many is live, nothing is counted any more.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Crossing {
    pub live: u64,
    pub search: u64,
    pub joins: u64,
}

pub(super) fn real(operand: &Operand) -> bool {
    operand.as_fixed_nonallocatable().is_none()
}

/// Calls `visit` with every block and value that the block reads or is passed on by it.
pub(super) fn for_each_use(func: &MachineFunction, mut visit: impl FnMut(u32, VReg)) {
    for (block, data) in func.blocks.iter() {
        for inst in data.insts.range() {
            let uses = func.operands_of(inst).iter().filter(|o| real(o) && o.kind() == OperandKind::Use);
            uses.for_each(|operand| visit(block.as_u32(), operand.vreg()));
        }
        for k in data.successors.range() {
            func.vregs[func.successor_args[k].range()].iter().for_each(|&arg| visit(block.as_u32(), arg));
        }
    }
}

/// The block that makes each value.
pub(super) fn definitions(func: &MachineFunction) -> Vec<u32> {
    let mut made_in = vec![NONE; func.vreg_count()];
    for (block, data) in func.blocks.iter() {
        for param in &func.vregs[data.params.range()] {
            made_in[param.vreg()] = block.as_u32();
        }
        for inst in data.insts.range() {
            for operand in func.operands_of(inst).iter().filter(|o| o.kind() == OperandKind::Def) {
                made_in[operand.vreg().vreg()] = block.as_u32();
            }
        }
    }
    made_in
}

/// For each value that is a parameter, over how many edges it gets an argument.
fn arguments(func: &MachineFunction) -> Vec<u32> {
    let mut arguments = vec![0; func.vreg_count()];
    for data in func.blocks.values() {
        for param in &func.vregs[data.params.range()] {
            arguments[param.vreg()] = data.predecessors.range().len() as u32;
        }
    }
    arguments
}

/// What of each value the search depends on.
#[derive(Debug, Default)]
pub(super) struct Searched {
    /// Over how many edges it gets an argument: none if it is no parameter.
    arguments: Vec<u32>,
    /// At how many blocks' starts it is live.
    starts: Vec<u32>,
    /// Whether the blocks that it is live in have a gap.
    gap: Vec<bool>,
}

impl Searched {
    /// The steps of the search if values are numbered in this order.
    fn steps(&self, order: impl Iterator<Item = usize>) -> u64 {
        // Arguments of parameters up to this value, and up to where the search last left off.
        let (mut steps, mut passed, mut left_off) = (0, 0, 0);
        for vreg in order {
            passed += u64::from(self.arguments[vreg]);
            steps += u64::from(self.starts[vreg]) * (passed - left_off);
            if self.gap[vreg] && self.arguments[vreg] != 0 {
                left_off = passed;
            }
        }
        steps
    }

    /// Values in an order in which little is searched: others before parameters, and of these the long-lived first.
    fn order(&self) -> Vec<u32> {
        let mut order: Vec<u32> = (0..self.arguments.len() as u32).collect();
        order.sort_by_key(|&vreg| {
            let (arguments, starts) = (self.arguments[vreg as usize], self.starts[vreg as usize]);
            let rank = u64::from(arguments << 3) / u64::from(starts.max(1));
            if arguments == 0 { 0 } else { 1 + rank.min(16) }
        });
        order
    }
}

/// Numbers values anew so that the search has less to do.
pub(super) fn renumber(func: &mut MachineFunction, searched: &Searched, count: &mut Crossing) {
    let order = searched.order();
    let search = searched.steps(order.iter().map(|&vreg| vreg as usize));
    if search >= count.search {
        return;
    }
    count.search = search;
    let mut number = vec![0u32; order.len()];
    for (new, &old) in order.iter().enumerate() {
        number[old as usize] = new as u32;
    }
    let renamed = |vreg: VReg| VReg::new(number[vreg.vreg()] as usize, vreg.class());
    for operand in func.operands.iter_mut().filter(|operand| real(operand)) {
        let vreg = renamed(operand.vreg());
        *operand = Operand::new(vreg, operand.constraint(), operand.kind(), operand.pos());
    }
    func.vregs.iter_mut().for_each(|vreg| *vreg = renamed(*vreg));
}

/// Counts what is live and what is searched, walking each value from its uses to its definition.
pub(super) fn crossing(func: &MachineFunction) -> (Crossing, Searched) {
    let mut count = Crossing::default();
    let mut searched = Searched::default();
    if func.blocks.len().saturating_mul(100 + func.vregs.len()) < FEW {
        return (count, searched);
    }
    let made_in = definitions(func);
    searched.arguments = arguments(func);
    // Uses outside the defining block, by value.
    let mut first = vec![0u32; func.vreg_count() + 1];
    for_each_use(func, |block, vreg| {
        first[vreg.vreg() + 1] += u32::from(made_in[vreg.vreg()] != block);
    });
    for k in 1..first.len() {
        first[k] += first[k - 1];
    }
    let (mut next, mut blocks) = (first.clone(), vec![0u32; first[first.len() - 1] as usize]);
    for_each_use(func, |block, vreg| {
        if made_in[vreg.vreg()] != block {
            blocks[next[vreg.vreg()] as usize] = block;
            next[vreg.vreg()] += 1;
        }
    });
    let most_live = live(func);
    let mut seen = vec![NONE; func.blocks.len()];
    let mut work = Vec::new();
    for vreg in 0..func.vreg_count() {
        let made = made_in[vreg];
        let is_param = searched.arguments[vreg] != 0;
        let mut stretch = Stretch { low: made, high: made, blocks: 1, starts: u32::from(is_param) };
        work.extend_from_slice(&blocks[first[vreg] as usize..first[vreg + 1] as usize]);
        while let Some(block) = work.pop() {
            if block == made || core::mem::replace(&mut seen[block as usize], vreg as u32) == vreg as u32 {
                continue;
            }
            stretch.add(block);
            let edges = func.blocks[EntityRef::new(block as usize)].predecessors.range();
            count.live += edges.len() as u64 + 1;
            if count.live > most_live {
                return (count, searched);
            }
            work.extend(func.predecessors[edges].iter().map(|b: &RaBlock| b.index() as u32));
        }
        searched.starts.push(stretch.starts);
        searched.gap.push(stretch.has_gap());
    }
    count.search = searched.steps(0..func.vreg_count());
    (count, searched)
}

/// The blocks that a value is live in.
struct Stretch {
    low: u32,
    high: u32,
    blocks: u32,
    /// At how many blocks' starts it is live.
    starts: u32,
}

impl Stretch {
    fn add(&mut self, block: u32) {
        (self.low, self.high) = (self.low.min(block), self.high.max(block));
        self.blocks += 1;
        self.starts += 1;
    }

    fn has_gap(&self) -> bool {
        self.high - self.low >= self.blocks
    }
}

/// The arguments, by their place in the function's list, that are to be copies so that joining stays in its budget.
pub(super) fn cuts(func: &MachineFunction, through: &[Option<Span>], count: &mut Crossing) -> Vec<u32> {
    let mut cuts = Vec::new();
    if func.blocks.len().saturating_mul(func.vregs.len()) < FEW {
        return cuts;
    }
    let most = joins(func);
    let mut webs = Webs { up: (0..func.vreg_count() as u32).collect(), size: vec![1; func.vreg_count()] };
    for_each_use(func, |_, vreg| webs.size[vreg.vreg()] += 1);
    for data in func.blocks.values() {
        for edge in data.successors.range() {
            let target = func.successors[edge].index();
            if through[target].is_some() {
                continue;
            }
            let params = func.blocks[EntityRef::new(target)].params;
            let args = func.successor_args[edge].range();
            for (at, param) in args.zip(&func.vregs[params.range()]) {
                let (from, to) = (webs.find(func.vregs[at]), webs.find(*param));
                let size = webs.size[from].saturating_add(webs.size[to]);
                if from == to {
                    continue;
                }
                if size > SMALL_JOIN && count.joins + u64::from(size) > most {
                    cuts.push(at as u32);
                } else {
                    count.joins += u64::from(size);
                    webs.up[from] = to as u32;
                    webs.size[to] = size;
                }
            }
        }
    }
    cuts.sort_unstable();
    cuts
}

/// Values that have been joined: union-find.
struct Webs {
    up: Vec<u32>,
    /// How much there is to look at in the web that a value stands for.
    size: Vec<u32>,
}

impl Webs {
    fn find(&mut self, vreg: VReg) -> usize {
        let mut at = vreg.vreg();
        while self.up[at] as usize != at {
            self.up[at] = self.up[self.up[at] as usize];
            at = self.up[at] as usize;
        }
        at
    }
}

//! What is live where, and how far each use is from the next.
//!
//! Needs: a machine function in SSA form and its graph. Gives: [`Live`]: for each block the values that are live into it
//! with the distance of their next use, for each operand the position of the next use of its value.
//!
//! A position counts from the start of a block: one for each instruction, [`CALL`] for each call (of a thousand; further
//! ones count as others do). Sets grow until nothing changes; a block is looked at again only when what follows it has changed, the last
//! blocks first. A block that is only an edge has no set of its own: what is live into it are the arguments that it hands
//! over and what is live into the block behind it.

use super::flow::{Flow, entity};
use super::slim::{Slim, Want};
use super::{CALL, COLD, EXIT, FAR, NONE, class_of};
use crate::machine::{CallRef, MachineFunction, Pseudo, Span};
use sphex_asm::register::{Reg, RegClass, RegSet};
use std::collections::BinaryHeap;
use std::ops::Range;

/// Where a register is taken by an operand that must be there.
#[derive(Clone, Copy, Debug)]
pub(super) struct Fixed {
    /// The position in the block.
    pub position: u32,
    /// The register.
    pub reg: Reg,
    /// The next place in the block for that register.
    pub next: u32,
}

/// The result, and memory kept from function to function.
#[derive(Debug, Default)]
pub(super) struct Live {
    /// For each block, a span of `entries`.
    into: Vec<Span>,
    entries: Vec<(u32, u32)>,
    /// The function's operands.
    pub operands: Vec<Slim>,
    /// For each operand that reads or writes a value, the position of its next use in the block or behind it; `NONE` if
    /// there is none.
    pub next: Vec<u32>,
    /// The block that makes each value.
    pub made_in: Vec<u32>,
    /// The class of each value.
    pub class: Vec<RegClass>,
    /// A register that a value is wanted in later, by its index, or `AWAY`.
    pub hint: Vec<u8>,
    /// A parameter that a value is handed over to.
    pub partner: Vec<u32>,
    /// The first use of each parameter, as a position in its block.
    pub first_use: Vec<u32>,
    /// The length of each block in positions.
    pub length: Vec<u32>,
    /// Where fixed registers are, for each block the first place of each from its end of the list on.
    pub fixed: Vec<Fixed>,
    /// For each block, its span of `fixed`; later places stand first.
    pub fixed_of: Vec<Span>,
    /// For each loop's header, the most values that are live at once in the loop, by class.
    pub pressure: Vec<[u32; 2]>,
    /// For each loop's header, whether there is a call in the loop.
    pub calls: Vec<bool>,
    /// What was looked at.
    pub steps: u64,
    exposed: Vec<(u32, u32)>,
    exposed_of: Vec<Span>,
    /// How many calls are in each block.
    wiping: Vec<u32>,
    queued: Vec<bool>,
    seen: Vec<u32>,
    queue: BinaryHeap<u32>,
    members: Members,
}

/// A set of values, each with a distance.
#[derive(Debug, Default)]
struct Members {
    stamp: Vec<u32>,
    now: u32,
    distance: Vec<u32>,
    list: Vec<u32>,
}

impl Members {
    fn reset(&mut self, values: usize) {
        self.stamp.clear();
        self.stamp.resize(values, 0);
        self.distance.clear();
        self.distance.resize(values, 0);
        self.list.clear();
        self.now = 0;
    }

    fn start(&mut self) {
        self.now += 1;
        self.list.clear();
    }

    fn has(&self, value: u32) -> bool {
        self.stamp[value as usize] == self.now
    }

    /// Adds a value. If it is known, its distance is the mean of both, but where one of them is only on a way out of the
    /// loop or to a cold block: what is used behind a call on one of two ways is half a call away.
    fn add(&mut self, value: u32, distance: u32) {
        let at = value as usize;
        if self.stamp[at] == self.now {
            let known = self.distance[at];
            let both = known < COLD && distance < COLD;
            self.distance[at] = if both { known.midpoint(distance) } else { known.min(distance) };
        } else {
            self.stamp[at] = self.now;
            self.distance[at] = distance;
            self.list.push(value);
        }
    }
}

impl Live {
    /// Computes it all. Gives up, and `false`, once sets of live values have taken more steps than `most`.
    pub fn compute(&mut self, func: &MachineFunction, flow: &Flow, most: u64) -> bool {
        let own = (func.operands.len() + func.insts.len()) as u64;
        self.steps = own;
        self.find_exposed(func);
        let fits = self.find_entries(func, flow, own.saturating_add(most));
        if fits {
            self.find_next(func, flow);
        }
        fits
    }

    /// The values that are live into a block, with the distance to their next use.
    pub fn into(&self, block: usize) -> &[(u32, u32)] {
        &self.entries[self.into[block].range()]
    }

    fn fill(&mut self, func: &MachineFunction) {
        fn set<T: Clone>(vec: &mut Vec<T>, count: usize, value: T) {
            vec.clear();
            vec.resize(count, value);
        }
        let (values, blocks) = (func.vreg_count(), func.blocks.len());
        set(&mut self.made_in, values, NONE);
        set(&mut self.class, values, RegClass::Int);
        set(&mut self.hint, values, super::AWAY);
        set(&mut self.partner, values, NONE);
        set(&mut self.first_use, values, NONE);
        set(&mut self.next, func.operands.len(), NONE);
        set(&mut self.into, blocks, Span::default());
        set(&mut self.pressure, blocks, [0; 2]);
        set(&mut self.calls, blocks, false);
        set(&mut self.queued, blocks, true);
        self.length.clear();
        self.wiping.clear();
        self.exposed.clear();
        self.exposed_of.clear();
        self.queue.clear();
        self.entries.clear();
        self.fixed.clear();
        self.fixed_of.clear();
        self.members.reset(values);
    }

    /// What each block uses and does not make, with the position of the first use.
    fn find_exposed(&mut self, func: &MachineFunction) {
        self.fill(func);
        self.operands.clear();
        self.operands.extend(func.operands.iter().map(|&operand| Slim::new(operand)));
        let mut seen = core::mem::take(&mut self.seen);
        seen.clear();
        seen.resize(func.vreg_count(), NONE);
        for (block, data) in func.blocks.iter() {
            let number = block.as_u32();
            let start = self.exposed.len() as u32;
            let mut position = 0;
            for param in &func.vregs[data.params.range()] {
                self.make(param.vreg(), class_of(param.class()), number);
                seen[param.vreg()] = number;
            }
            let mut wiping = 0;
            for inst in data.insts.range() {
                let first = func.insts[inst].operands as usize;
                for at in first..first + func.operands_of(inst).len() {
                    let Slim { value, is_def, want, .. } = self.operands[at];
                    if want == Want::Kept {
                        continue;
                    }
                    if is_def {
                        self.make(value as usize, class_of(func.operands[at].class()), number);
                        seen[value as usize] = number;
                    } else if seen[value as usize] != number {
                        seen[value as usize] = number;
                        self.exposed.push((value, position));
                    }
                }
                let call = wipes(func, inst);
                position += weight(call, wiping);
                wiping += u32::from(call);
            }
            for k in data.successors.range() {
                for arg in &func.vregs[func.successor_args[k].range()] {
                    if seen[arg.vreg()] != number {
                        seen[arg.vreg()] = number;
                        self.exposed.push((arg.vreg() as u32, position));
                    }
                }
            }
            self.length.push(position);
            self.wiping.push(wiping);
            self.exposed_of.push(Span { start, end: self.exposed.len() as u32 });
        }
        self.seen = seen;
    }

    fn make(&mut self, value: usize, class: RegClass, block: u32) {
        self.made_in[value] = block;
        self.class[value] = class;
    }

    fn find_entries(&mut self, func: &MachineFunction, flow: &Flow, most: u64) -> bool {
        for block in (0..func.blocks.len()).rev().filter(|&block| flow.edge(block).is_none()) {
            self.update(func, flow, block);
            if self.steps > most {
                return false;
            }
        }
        while let Some(block) = self.queue.pop() {
            self.update(func, flow, block as usize);
            if self.steps > most {
                return false;
            }
        }
        true
    }

    /// Finds what is live into a block from what is live into those behind it.
    fn update(&mut self, func: &MachineFunction, flow: &Flow, block: usize) {
        self.queued[block] = false;
        self.gather(func, flow, block);
        let length = self.length[block];
        let exposed = self.exposed_of[block].range();
        let members = &mut self.members;
        let before = self.into[block].range().len();
        let start = self.entries.len();
        for &value in &members.list {
            if self.made_in[value as usize] != block as u32 {
                let distance = (members.distance[value as usize] + length).min(FAR);
                self.entries.push((value, distance));
                // Used here already: the first use counts, below.
                members.distance[value as usize] = self.entries.len() as u32 - 1;
            }
        }
        for &(value, position) in &self.exposed[exposed] {
            if members.has(value) {
                self.entries[members.distance[value as usize] as usize].1 = position;
            } else {
                self.entries.push((value, position));
            }
        }
        self.steps += (self.entries.len() - start) as u64;
        if self.entries.len() - start == before && before != 0 {
            // Sets only grow: it is the same set, with distances that are no worse known.
            let known = self.into[block].range();
            self.entries.copy_within(start.., known.start);
            self.entries.truncate(start);
            return;
        }
        if self.entries.len() == start {
            return;
        }
        self.into[block] = Span { start: start as u32, end: self.entries.len() as u32 };
        for pred in &func.predecessors[func.blocks[entity(block)].predecessors.range()] {
            let pred = match flow.edge(pred.index()) {
                Some(_) => before_edge(func, pred.index()),
                None => pred.index(),
            };
            if !self.queued[pred] {
                self.queued[pred] = true;
                self.queue.push(pred as u32);
            }
        }
    }

    /// Puts into `members` what is live out of a block, with distances from its end.
    fn gather(&mut self, func: &MachineFunction, flow: &Flow, block: usize) {
        self.members.start();
        for succ in &func.successors[func.blocks[entity(block)].successors.range()] {
            let succ = succ.index();
            let mut added = penalty(func, flow, block, succ);
            let mut behind = succ;
            if let Some(target) = flow.edge(succ) {
                for arg in func.arguments_of(entity(succ), 0) {
                    self.members.add(arg.vreg() as u32, added + 1);
                }
                added += 1 + penalty(func, flow, succ, target);
                behind = target;
            }
            for &(value, distance) in &self.entries[self.into[behind].range()] {
                self.members.add(value, (distance + added).min(FAR));
            }
        }
    }

    /// Walks each block backwards: next uses, hints, fixed registers, pressure.
    fn find_next(&mut self, func: &MachineFunction, flow: &Flow) {
        for block in 0..func.blocks.len() {
            if flow.edge(block).is_some() {
                let at = self.fixed.len() as u32;
                self.fixed_of.push(Span { start: at, end: at });
                continue;
            }
            self.gather(func, flow, block);
            let length = self.length[block];
            let wiping = self.wiping[block];
            let mut walk = Backward { position: length, wiping, alive: [0; 2], most: [0; 2] };
            for at in 0..self.members.list.len() {
                let value = self.members.list[at];
                self.members.distance[value as usize] =
                    (self.members.distance[value as usize] + length).min(FAR);
                walk.alive[self.class[value as usize] as usize] += 1;
            }
            self.walk_arguments(func, block, &mut walk);
            walk.most = walk.alive;
            let start = self.fixed.len() as u32;
            let mut heads = [NONE; 64];
            let mut seen = RegSet::EMPTY;
            for inst in func.blocks[entity(block)].insts.range().rev() {
                let call = wipes(func, inst);
                walk.wiping -= u32::from(call);
                walk.position -= weight(call, walk.wiping);
                self.walk_inst(func, inst, &mut walk, (&mut heads, &mut seen));
            }
            self.fixed_of.push(Span { start, end: self.fixed.len() as u32 });
            for param in &func.vregs[func.blocks[entity(block)].params.range()] {
                let value = param.vreg();
                if self.members.has(value as u32) {
                    self.first_use[value] = self.members.distance[value];
                }
            }
            self.walk_edges(func, flow, block);
            let header = flow.header[block];
            if header != NONE {
                let known = &mut self.pressure[header as usize];
                *known = [known[0].max(walk.most[0]), known[1].max(walk.most[1])];
                self.calls[header as usize] |= self.wiping[block] != 0 && !func.blocks[entity(block)].cold;
            }
        }
        for header in flow.headers_inside_out() {
            let outer = flow.outer(header);
            if outer != NONE {
                let inner = self.pressure[header as usize];
                let known = &mut self.pressure[outer as usize];
                *known = [known[0].max(inner[0]), known[1].max(inner[1])];
                self.calls[outer as usize] |= self.calls[header as usize];
            }
        }
    }

    fn walk_arguments(&mut self, func: &MachineFunction, block: usize, walk: &mut Backward) {
        for k in func.blocks[entity(block)].successors.range() {
            let params = func.blocks[entity(func.successors[k].index())].params.range();
            let args = &func.vregs[func.successor_args[k].range()];
            for (arg, param) in args.iter().zip(&func.vregs[params]) {
                let value = arg.vreg() as u32;
                if !self.members.has(value) {
                    walk.alive[class_of(arg.class()) as usize] += 1;
                    self.partner[arg.vreg()] = param.vreg() as u32;
                    self.members.add(value, walk.position);
                }
                self.members.distance[arg.vreg()] = walk.position;
            }
        }
    }

    /// Partners of what is handed over on edges into a block, at whose start the walk is.
    fn walk_edges(&mut self, func: &MachineFunction, flow: &Flow, block: usize) {
        let data = func.blocks[entity(block)];
        let params = &func.vregs[data.params.range()];
        if params.is_empty() {
            return;
        }
        for pred in &func.predecessors[data.predecessors.range()] {
            if flow.edge(pred.index()).is_none() {
                continue;
            }
            for (arg, param) in func.arguments_of(entity(pred.index()), 0).iter().zip(params) {
                if !self.members.has(arg.vreg() as u32) {
                    self.partner[arg.vreg()] = param.vreg() as u32;
                }
            }
        }
    }

    fn walk_inst(
        &mut self,
        func: &MachineFunction,
        inst: usize,
        walk: &mut Backward,
        (heads, seen): (&mut [u32; 64], &mut RegSet),
    ) {
        let first = func.insts[inst].operands as usize;
        let all = first..first + func.operands_of(inst).len();
        let mut results = false;
        for at in all.clone() {
            let operand = self.operands[at];
            if operand.want == Want::Kept {
                continue;
            }
            results |= operand.is_def;
            if self.members.has(operand.value) {
                self.next[at] = self.members.distance[operand.value as usize];
            }
            if operand.want == Want::Fixed {
                let reg = operand.reg();
                let next = if seen.contains(reg) { heads[reg.index()] } else { NONE };
                heads[reg.index()] = self.fixed.len() as u32;
                seen.insert(reg);
                self.fixed.push(Fixed { position: walk.position, reg, next });
            }
        }
        if results {
            self.walk_results(func, inst, all.clone(), walk);
        }
        self.walk_uses(all, walk);
    }

    fn walk_results(&mut self, func: &MachineFunction, inst: usize, all: Range<usize>, walk: &mut Backward) {
        let copies = func.insts[inst].pseudo() == Some(Pseudo::Copy);
        for at in all.clone() {
            let operand = self.operands[at];
            if !operand.is_def || operand.want == Want::Kept {
                continue;
            }
            let value = operand.value as usize;
            if self.members.has(operand.value) {
                self.members.stamp[value] = 0;
                walk.alive[self.class[value] as usize] -= 1;
            }
            let input = operand.reuses().or(copies.then_some(1)).map(|k| self.operands[all.start + k]);
            if let Some(Slim { value: input, .. }) = input.filter(|input| input.want != Want::Kept)
                && !self.members.has(input)
            {
                self.hint[input as usize] = self.hint[value];
                self.partner[input as usize] = self.partner[value];
            }
        }
    }

    fn walk_uses(&mut self, all: Range<usize>, walk: &mut Backward) {
        for at in all {
            let operand = self.operands[at];
            if operand.is_def || operand.want == Want::Kept {
                continue;
            }
            let value = operand.value as usize;
            if !self.members.has(operand.value) {
                walk.alive[self.class[value] as usize] += 1;
                self.members.stamp[value] = self.members.now;
            }
            self.members.distance[value] = walk.position;
            if operand.want == Want::Fixed {
                self.hint[value] = operand.reg().index() as u8;
            }
        }
        walk.most = [walk.most[0].max(walk.alive[0]), walk.most[1].max(walk.alive[1])];
    }
}

/// The block before one that is only an edge.
fn before_edge(func: &MachineFunction, edge: usize) -> usize {
    func.predecessors[func.blocks[entity(edge)].predecessors.start as usize].index()
}

/// What a way from block to block adds to distances.
fn penalty(func: &MachineFunction, flow: &Flow, from: usize, to: usize) -> u32 {
    let cold = func.blocks[entity(to)].cold && !func.blocks[entity(from)].cold;
    EXIT * flow.exits(from, to).min(4) + if cold { COLD } else { 0 }
}

/// Where a walk backwards is.
struct Backward {
    position: u32,
    /// Calls before here.
    wiping: u32,
    alive: [u32; 2],
    most: [u32; 2],
}

/// The registers that an instruction leaves without their value, its results aside.
pub(super) fn clobbers(func: &MachineFunction, inst: usize) -> RegSet {
    let data = &func.insts[inst];
    match data.pseudo() {
        Some(Pseudo::Call) => func.calls[CallRef::from_u32(data.payload)].clobbers,
        Some(_) => RegSet::EMPTY,
        None => func.arch.row_clobbers(data.row),
    }
}

/// Whether an instruction is a call, behind which little is in registers.
pub(super) fn wipes(func: &MachineFunction, inst: usize) -> bool {
    func.insts[inst].pseudo() == Some(Pseudo::Call)
}

/// How many positions an instruction takes, before which there are this many calls in its block.
pub(super) const fn weight(wipes: bool, before: u32) -> u32 {
    if wipes && before < 1000 { CALL } else { 1 }
}

//! What is in registers where a block begins.
//!
//! Needs: what the blocks before it left, as far as they have been walked, and what is live into it. Gives: the homes of
//! values and parameters at its start.
//!
//! - Behind one block everything stays where it is; a parameter takes the register of its argument if that is free.
//! - A join keeps what is in a register on at least half of the ways to it, by frequency, if it is used before a call.
//! - A loop keeps, and has loaded, what is used in it before a call; and what is only used behind it if nothing in the
//!   loop would take its register.

use super::flow::entity;
use super::scan::Scan;
use super::sink::Unread;
use super::{CALL, COLD, EXIT, NONE};
use crate::machine::{MachineFunction, Span};
use crate::regalloc::{RaBlock, VReg};
use sphex_asm::register::{Reg, RegSet};

/// What is nearer than this is worth a load on some ways to a join: no call is on half of the ways from there.
const NEAR: u32 = CALL / 2;

/// A value that may begin a block in a register.
#[derive(Clone, Copy, Debug)]
struct Candidate {
    value: u32,
    next_use: u32,
    /// Where it would best be.
    reg: Option<Reg>,
}

/// Memory kept from block to block.
#[derive(Debug, Default)]
pub(super) struct Scratch {
    stamp: Vec<u32>,
    now: u32,
    /// The distance of the next use of what is live into the block.
    distance: Vec<u32>,
    /// How often the block is entered with the value in a register.
    weight: Vec<f32>,
    /// The first register that it was found in.
    found_in: Vec<Option<Reg>>,
    found: Vec<u32>,
    candidates: Vec<Candidate>,
}

impl Scratch {
    pub fn reset(&mut self, values: usize) {
        self.now = 0;
        self.stamp.clear();
        self.stamp.resize(values, 0);
        self.distance.resize(values.max(self.distance.len()), 0);
        self.weight.resize(values.max(self.weight.len()), 0.0);
        self.found_in.resize(values.max(self.found_in.len()), None);
    }

    fn is_live(&self, value: u32) -> bool {
        self.stamp[value as usize] == self.now
    }
}

impl Scan<'_> {
    /// Sets up the homes of values at the start of the current block.
    pub fn enter(&mut self) {
        self.clear();
        let data = self.func.blocks[entity(self.block)];
        let scratch = &mut self.state.entry_scratch;
        scratch.now += 1;
        for &(value, distance) in self.live.into(self.block) {
            scratch.stamp[value as usize] = scratch.now;
            scratch.distance[value as usize] = distance;
            scratch.weight[value as usize] = 0.0;
        }
        match self.func.predecessors[data.predecessors.range()] {
            [] => {}
            [pred] if pred.index() < self.block => self.enter_from(pred.index()),
            _ => self.enter_join(),
        }
        let start = self.state.pairs.len() as u32;
        for reg in self.occupied.iter() {
            self.state.pairs.push((reg, self.reg[reg.index()]));
        }
        self.state.entry[self.block] = Span { start, end: self.state.pairs.len() as u32 };
        self.began = self.reg;
        self.unread = Unread { passed: self.occupied, lost: RegSet::EMPTY };
        for param in &self.func.vregs[data.params.range()] {
            if let Some(reg) = self.home(param.vreg() as u32) {
                self.unread.passed.remove(reg);
                self.state.made_at[param.vreg()] = reg.index() as u8;
            }
        }
    }

    fn enter_from(&mut self, pred: usize) {
        let state = &mut *self.state;
        let mut left: [u32; 64] = [NONE; 64];
        for at in state.exit[pred].range() {
            let (reg, value) = state.pairs[at];
            left[reg.index()] = value;
            let scratch = &state.entry_scratch;
            if scratch.is_live(value) {
                let next = scratch.distance[value as usize];
                state.settle_at(&mut self.reg, value, reg, next);
                self.occupied.insert(reg);
            }
        }
        self.candidates_of_params(pred, &left);
        self.admit();
    }

    fn enter_join(&mut self) {
        let is_header = self.flow.is_header(self.block);
        let (total, best) = self.find_in_registers();
        let mut left: [u32; 64] = [NONE; 64];
        for &(reg, value) in &self.state.pairs[self.state.exit[best].range()] {
            left[reg.index()] = value;
        }
        self.state.entry_scratch.candidates.clear();
        for at in 0..self.state.entry_scratch.found.len() {
            let scratch = &self.state.entry_scratch;
            let value = scratch.found[at];
            let next_use = scratch.distance[value as usize];
            let weight = scratch.weight[value as usize];
            let reg = scratch.found_in[value as usize];
            let keep = if is_header {
                next_use < CALL || next_use >= EXIT && self.is_quiet(value)
            } else {
                let kept = reg.is_some_and(|reg| self.file.other.contains(reg));
                weight >= total * 0.999 || (next_use < NEAR || kept) && weight * 2.0 >= total
            };
            if keep {
                self.state.entry_scratch.candidates.push(Candidate { value, next_use, reg });
            }
        }
        if is_header {
            self.candidates_to_load();
            self.admit_to_kept();
        }
        self.candidates_of_params(best, &left);
        self.admit();
    }

    /// Finds what the blocks before a join, as far as they have been walked, left in registers. Gives how often the join is
    /// entered from these, and that from which it is most often.
    fn find_in_registers(&mut self) -> (f32, usize) {
        let preds = self.func.blocks[entity(self.block)].predecessors.range();
        let preds = self.func.predecessors[preds].iter().map(|pred| pred.index());
        let walked = preds.filter(|&pred| pred < self.block);
        let (mut total, mut best) = (0.0, (-1.0, 0));
        for pred in walked.clone() {
            let frequency = self.flow.frequency[pred];
            total += frequency;
            if frequency > best.0 {
                best = (frequency, pred);
            }
        }
        let state = &mut *self.state;
        state.entry_scratch.found.clear();
        for pred in walked {
            for &(reg, value) in &state.pairs[state.exit[pred].range()] {
                let scratch = &mut state.entry_scratch;
                if !scratch.is_live(value) {
                    continue;
                }
                let v = value as usize;
                if scratch.weight[v] == 0.0 {
                    scratch.found.push(value);
                    scratch.found_in[v] = Some(reg);
                } else if pred == best.1 {
                    scratch.found_in[v] = Some(reg);
                }
                scratch.weight[v] += self.flow.frequency[pred];
            }
        }
        (total, best.1)
    }

    /// Whether nothing in the loop that the block begins would take the register of a value.
    fn is_quiet(&self, value: u32) -> bool {
        let class = self.live.class[value as usize] as usize;
        let room = self.classes[class].len() as u32;
        !self.live.calls[self.block] && self.live.pressure[self.block][class] <= room
    }

    /// What is used soon in the loop and is in no register before it; what is used behind calls.
    fn candidates_to_load(&mut self) {
        let scratch = &mut self.state.entry_scratch;
        for &(value, next_use) in self.live.into(self.block) {
            let found = scratch.weight[value as usize] != 0.0;
            if next_use < CALL && !found || (CALL..COLD).contains(&next_use) {
                scratch.candidates.push(Candidate { value, next_use, reg: None });
            }
        }
    }

    /// In a loop with calls, values from outside live across all of them: those used first get registers that callees keep,
    /// and those used only behind calls no others.
    fn admit_to_kept(&mut self) {
        let mut candidates = core::mem::take(&mut self.state.entry_scratch.candidates);
        if self.live.calls[self.block] {
            candidates.sort_by_key(|candidate| candidate.next_use);
            candidates.retain(|candidate| {
                let kept = self.registers(candidate.value).intersection(self.file.other);
                let free = kept.difference(self.occupied);
                let there = candidate.reg.filter(|&reg| free.contains(reg));
                let reg = there.or_else(|| free.iter().next());
                if let Some(reg) = reg {
                    self.settle(candidate.value, reg, candidate.next_use);
                }
                reg.is_none()
            });
        }
        candidates.retain(|candidate| candidate.next_use < CALL || candidate.next_use >= EXIT);
        self.state.entry_scratch.candidates = candidates;
    }

    /// The block's parameters, each where its argument is in what `pred` left if nothing else stays there. One begins in
    /// its slot if too many of its arguments are there.
    fn candidates_of_params(&mut self, pred: usize, left: &[u32; 64]) {
        let func = self.func;
        let data = func.blocks[entity(self.block)];
        let preds = &func.predecessors[data.predecessors.range()];
        if preds.len() == 1 {
            self.state.entry_scratch.candidates.clear();
        }
        let params = &func.vregs[data.params.range()];
        if params.is_empty() {
            return;
        }
        let args = arguments(func, pred, self.block);
        let is_header = self.flow.is_header(self.block);
        for (k, (param, arg)) in params.iter().zip(args).enumerate() {
            let (value, arg) = (param.vreg() as u32, arg.vreg() as u32);
            let next_use = self.live.first_use[value as usize];
            if next_use == NONE {
                continue;
            }
            let at = left.iter().position(|&known| known == arg);
            let wanted = match is_header {
                true => next_use < CALL || at.is_some() && self.is_quiet(value),
                false if next_use < NEAR => self.share_in_registers(preds, k) >= 0.5,
                false => self.share_in_registers(preds, k) >= 0.999,
            };
            if !wanted {
                continue;
            }
            let reg = at.map(Reg::from_index);
            self.state.entry_scratch.candidates.push(Candidate { value, next_use, reg });
        }
    }

    /// On which share of the ways from walked blocks the argument for the `k`th parameter is in a register.
    fn share_in_registers(&self, preds: &[RaBlock], k: usize) -> f32 {
        let (mut total, mut share) = (0.0, 0.0);
        for pred in preds.iter().map(|pred| pred.index()).filter(|&pred| pred < self.block) {
            let frequency = self.flow.frequency[pred];
            total += frequency;
            let pairs = &self.state.pairs[self.state.exit[pred].range()];
            let arg = arguments(self.func, pred, self.block).get(k).map(|arg| arg.vreg() as u32);
            if pairs.iter().any(|pair| Some(pair.1) == arg) {
                share += frequency;
            }
        }
        share / total
    }

    /// Gives candidates registers, those used first before the others.
    fn admit(&mut self) {
        let mut candidates = core::mem::take(&mut self.state.entry_scratch.candidates);
        candidates.sort_by_key(|candidate| candidate.next_use);
        let mut room = [0usize; 2];
        for (room, class) in room.iter_mut().zip(self.classes) {
            *room = class.difference(self.occupied).len();
        }
        candidates.retain(|candidate| {
            let room = &mut room[self.live.class[candidate.value as usize] as usize];
            let fits = *room > 0;
            *room -= usize::from(fits);
            fits
        });
        let made_here = |value: u32| self.live.made_in[value as usize] == self.block as u32;
        // Values that are there stay; then parameters where their arguments are; then the rest.
        for params in [false, true] {
            candidates.retain(|candidate| {
                let wanted = candidate
                    .reg
                    .filter(|&reg| made_here(candidate.value) == params && !self.occupied.contains(reg));
                if let Some(reg) = wanted {
                    self.state.settle_at(&mut self.reg, candidate.value, reg, candidate.next_use);
                    self.occupied.insert(reg);
                }
                wanted.is_none()
            });
        }
        for candidate in &candidates {
            let free: RegSet = self.registers(candidate.value).difference(self.occupied);
            if let Some(reg) = self.choose(candidate.value, free, candidate.next_use) {
                self.settle(candidate.value, reg, candidate.next_use);
            }
        }
        self.state.entry_scratch.candidates = candidates;
    }
}

/// What a block gives the parameters of another.
fn arguments(func: &MachineFunction, from: usize, to: usize) -> &[VReg] {
    let succs = func.blocks[entity(from)].successors.range();
    let k = func.successors[succs].iter().position(|succ| succ.index() == to);
    k.map_or(&[], |k| func.arguments_of(entity(from), k))
}

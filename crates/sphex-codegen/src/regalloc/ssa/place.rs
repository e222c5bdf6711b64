//! Where values that are wanted from memory are stored, and in which slots.
//!
//! Needs: which values are wanted from memory, and where. Gives: the outcome, all moves in program order.
//!
//! A value is stored once, at a place that dominates all where it is wanted: of the blocks between the one that makes it
//! and the lowest that dominates its reloads, in which it is in a register, the one that runs least often. Two classes of
//! values share a slot if the stretches of the function in which they are live, holes included, do not overlap.

use super::coalesce::Joined;
use super::flow::{Flow, entity};
use super::live::Live;
use super::scan::State;
use super::{AWAY, Edit, NONE, Outcome, Phase, Place};
use crate::machine::MachineFunction;
use crate::regalloc::{Location, Move};
use sphex_asm::register::{Reg, RegClass};
use std::cmp::Reverse;
use std::collections::BinaryHeap;

/// Memory kept from function to function.
#[derive(Debug, Default)]
pub(super) struct Scratch {
    /// The word of each value's slot.
    word: Vec<u32>,
    /// Classes of values that share a slot: where they begin and end, and what stands for them.
    order: Vec<(u32, u32, u32)>,
    active: BinaryHeap<Reverse<(u32, u32)>>,
    free: [Vec<u32>; 2],
}

/// Places stores and slots, and makes the outcome.
#[expect(clippy::too_many_arguments, reason = "the last step, which brings together what the others left")]
pub(super) fn place(
    func: &MachineFunction,
    flow: &Flow,
    live: &Live,
    state: &State,
    joined: &mut Joined,
    edits: &mut Vec<Edit>,
    scratch: &mut Scratch,
    outcome: &mut Outcome,
) {
    for at in 0..state.wanted.len() {
        let value = state.wanted[at];
        if let Some(edit) = store(func, flow, live, state, value) {
            edits.push(edit);
        }
    }
    let words = scratch.color(func, live, state, joined);
    let wide = 1 + u32::from(func.wide_vectors);
    outcome.spill_words = words + state.temps * wide;
    edits.sort_by_key(|edit| (edit.inst, edit.phase));
    let location = |place: Place| match place {
        Place::Reg(reg) => Location::Reg(reg),
        Place::Slot(value) => Location::Spill(scratch.word[value as usize]),
        Place::Temp(number) => Location::Spill(words + number * wide),
    };
    outcome.moves.clear();
    outcome.moves.extend(edits.iter().map(|edit| Move {
        after: edit.phase == Phase::After,
        inst: edit.inst,
        from: location(edit.from),
        to: location(edit.to),
    }));
    outcome.locations.clear();
    // An operand without a place is one that the walk has failed at, and reported.
    outcome.locations.extend(state.places.iter().map(|place| place.map_or(Location::Spill(0), location)));
}

/// The one store of a value. A parameter that begins in its slot needs none.
fn store(func: &MachineFunction, flow: &Flow, live: &Live, state: &State, value: u32) -> Option<Edit> {
    let made_in = live.made_in[value as usize];
    let register = match state.made_at[value as usize] {
        AWAY => return None,
        index => Reg::from_index(usize::from(index)),
    };
    let mut best = (flow.frequency[made_in as usize], None);
    let mut block = state.wanted_in[value as usize];
    let mut lowest = f32::INFINITY;
    while block != made_in {
        let frequency = flow.frequency[block as usize];
        if frequency < lowest && frequency <= best.0 {
            let pairs = &state.pairs[state.entry[block as usize].range()];
            if let Some(pair) = pairs.iter().find(|pair| pair.1 == value) {
                lowest = frequency;
                best.1 = Some((block, pair.0));
            }
        }
        match flow.above(block) {
            Some(above) => block = above,
            None => break,
        }
    }
    let to = Place::Slot(value);
    Some(match (best.1, state.made_by[value as usize]) {
        (Some((block, reg)), _) => {
            let inst = func.blocks[entity(block as usize)].insts.start;
            Edit { inst, phase: Phase::Store, from: Place::Reg(reg), to }
        }
        (None, NONE) => {
            let inst = func.blocks[entity(made_in as usize)].insts.start;
            Edit { inst, phase: Phase::Store, from: Place::Reg(register), to }
        }
        (None, inst) => Edit { inst, phase: Phase::After, from: Place::Reg(register), to },
    })
}

impl Scratch {
    /// Gives each class of values that are wanted from memory a slot; gives the number of words.
    fn color(&mut self, func: &MachineFunction, live: &Live, state: &State, joined: &mut Joined) -> u32 {
        self.word.clear();
        self.word.resize(func.vreg_count(), 0);
        self.order.clear();
        for &value in &state.wanted {
            if joined.root(value) == value {
                let (begin, end) = joined.extent(value);
                self.order.push((begin, end, value));
            }
        }
        self.order.sort_unstable();
        self.active.clear();
        self.free.iter_mut().for_each(Vec::clear);
        let mut words = 0;
        let wide = |value: u32| func.wide_vectors && live.class[value as usize] == RegClass::Vector;
        for &(begin, end, value) in &self.order {
            while let Some(&Reverse((_, done))) = self.active.peek().filter(|first| first.0.0 < begin) {
                self.active.pop();
                self.free[usize::from(wide(done))].push(self.word[done as usize]);
            }
            let is_wide = wide(value);
            self.word[value as usize] = self.free[usize::from(is_wide)].pop().unwrap_or_else(|| {
                words += 1 + u32::from(is_wide);
                words - 1 - u32::from(is_wide)
            });
            self.active.push(Reverse((end, value)));
        }
        for &value in &state.wanted {
            self.word[value as usize] = self.word[joined.root(value) as usize];
        }
        words
    }
}

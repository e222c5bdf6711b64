//! A register allocator for functions in SSA form: one walk forward over the blocks, no search.
//!
//! Needs: a finished machine function without critical edges, each block numbered behind one of its predecessors. Gives:
//! [`Outcome`]: a location for each operand, moves, spill slots. Cost: linear in instructions and in the blocks that
//! values are live in, but for a logarithm.
//!
//! | step | file | gives |
//! |---|---|---|
//! | graph | `flow` | loops, frequencies, dominators |
//! | liveness | `live` | what is live into each block, and how far each use is from the next |
//! | walk | `scan`, `entry` | where each operand is, what is in registers where blocks begin and end |
//! | reloads | `sink` | fewer of them where blocks begin: later, where they are used |
//! | edges | `edges`, `coalesce`, `parallel` | moves from what one block leaves to what the next expects |
//! | stores | `place` | where each value that is ever wanted from memory is stored, and its slot |
//!
//! What makes it simple: a value has one slot and is stored there once, where it is made or somewhere on all ways to its
//! reloads that is run less often. So its slot is right wherever it is wanted, and to take a register from a value costs
//! nothing at that place: it is decided by which value is needed last (Belady), where a call in between, the end of a
//! loop, or a cold block counts as far away. A loop begins with the registers holding what is used in it before a call.
//!
//! Sources: S. Hack, "Register Allocation for Programs in SSA Form" (2007); M. Braun and S. Hack, "Register Spilling and
//! Live-Range Splitting for SSA-Form Programs" (2009).

mod coalesce;
mod edges;
mod entry;
mod flow;
mod live;
mod parallel;
mod place;
mod scan;
mod sink;
mod slim;

use super::{Location, Move, RaClass, RegisterFile};
use crate::error::CodegenError;
use crate::machine::MachineFunction;
use sphex_asm::register::{Reg, RegClass, RegSet};

/// No value, no block, no use.
const NONE: u32 = u32::MAX;

/// A value that is in no register.
const AWAY: u8 = u8::MAX;

/// The distance that a call adds: what is used only behind it is wanted before in a register that callees keep, or none.
const CALL: u32 = 1 << 14;
/// The distance that a way into a cold block adds.
const COLD: u32 = 1 << 24;
/// The distance that leaving a loop adds.
const EXIT: u32 = 1 << 26;
/// No distance is longer, but for [`NONE`]: not used any more.
const FAR: u32 = 1 << 30;

/// Where a value is, before slots are numbered.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
enum Place {
    Reg(Reg),
    /// In the slot of this value.
    Slot(u32),
    /// In the slot of this number that moves use among themselves.
    Temp(u32),
}

/// At which end of an instruction, and when among the moves there.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
enum Phase {
    /// At a block's start, from the one block before it.
    Enter = 0,
    /// At a block's start: values are stored that are wanted from memory.
    Store = 1,
    /// Before an instruction.
    Before = 2,
    /// At a block's end, to what the next block expects.
    Leave = 3,
    /// After an instruction: what it made is stored.
    After = 4,
}

/// A move before slots are numbered. Those of one place are in the order in which they were made.
#[derive(Clone, Copy, Debug)]
struct Edit {
    inst: u32,
    phase: Phase,
    from: Place,
    to: Place,
}

/// The result.
#[derive(Debug, Default)]
pub(super) struct Outcome {
    /// A location for each operand of the function.
    pub locations: Vec<Location>,
    /// In program order.
    pub moves: Vec<Move>,
    /// Words of spill slots.
    pub spill_words: u32,
    /// What was done, in steps.
    pub steps: u64,
}

/// Memory kept from function to function.
#[derive(Debug, Default)]
pub(super) struct Scratch {
    flow: flow::Flow,
    live: live::Live,
    state: scan::State,
    sinking: sink::Scratch,
    edges: edges::Edges,
    joined: coalesce::Joined,
    edits: Vec<Edit>,
    place: place::Scratch,
    outcome: Outcome,
}

impl Scratch {
    /// What [`analyze`] has looked at.
    pub fn analysis_steps(&self) -> u64 {
        self.live.steps
    }
}

/// Finds what is live where, the first half of the work. Gives `false` if that is too much: more values live into more
/// blocks than `most`.
pub(super) fn analyze(func: &MachineFunction, scratch: &mut Scratch, most: u64) -> bool {
    scratch.flow.compute(func);
    scratch.live.compute(func, &scratch.flow, most)
}

/// Allocates registers and spill slots of a function that has been analyzed.
pub(super) fn allocate<'s>(
    func: &MachineFunction,
    file: &RegisterFile,
    scratch: &'s mut Scratch,
) -> Result<&'s Outcome, CodegenError> {
    let Scratch { flow, live, state, sinking, edges, joined, edits, place, outcome } = scratch;
    edits.clear();
    scan::Scan::new(func, file, flow, live, state, edits).run()?;
    sink::sink(func, flow, state, sinking);
    edges::collect(func, flow, live, state, edges);
    joined.compute(func, flow, live, state);
    let classes = [of_class(file, RegClass::Int), of_class(file, RegClass::Vector)];
    edges::emit(edges, joined, classes, state, edits);
    place::place(func, flow, live, state, joined, edits, place, outcome);
    outcome.steps = live.steps + edits.len() as u64;
    Ok(outcome)
}

/// The class in our own terms.
fn class_of(class: RaClass) -> RegClass {
    match class {
        RaClass::Int => RegClass::Int,
        RaClass::Float | RaClass::Vector => RegClass::Vector,
    }
}

/// The registers of a class that a function may use.
fn of_class(file: &RegisterFile, class: RegClass) -> RegSet {
    let all = file.preferred.union(file.other);
    all.intersection(match class {
        RegClass::Int => INTS,
        RegClass::Vector => VECTORS,
    })
}

const INTS: RegSet = all_of(RegClass::Int);
const VECTORS: RegSet = all_of(RegClass::Vector);

const fn all_of(class: RegClass) -> RegSet {
    let mut set = RegSet::EMPTY;
    let mut number = 0;
    while number < 32 {
        set = set.with(Reg::new(class, number));
        number += 1;
    }
    set
}

//! Moves on the edges: from what a block leaves to what the next one expects, and arguments to parameters.
//!
//! Needs: what is in registers where blocks end and begin. Gives: transfers at the end of the block before, or at the start
//! of the block behind if it has no other before it ([`collect`]); once slots are joined, moves ([`emit`]).

use super::coalesce::Joined;
use super::flow::{Flow, entity};
use super::live::Live;
use super::parallel::Transfer;
use super::scan::State;
use super::{AWAY, Edit, NONE, Phase, Place};
use crate::machine::{MachineFunction, Span};
use sphex_asm::register::{Reg, RegSet};
use sphex_entity::EntityRef;

/// The transfers of an edge.
#[derive(Clone, Copy, Debug)]
struct Edge {
    inst: u32,
    phase: Phase,
    /// Registers that hold something on either side.
    taken: RegSet,
    transfers: Span,
}

/// What happens on edges, and memory kept from function to function.
#[derive(Debug, Default)]
pub(super) struct Edges {
    edges: Vec<Edge>,
    transfers: Vec<Transfer>,
    /// The register that each value is in at the end of the block, by index.
    left: Vec<u8>,
    now: Vec<Transfer>,
}

/// Finds the transfers of all edges, and what they want from memory.
pub(super) fn collect(
    func: &MachineFunction,
    flow: &Flow,
    live: &Live,
    state: &mut State,
    edges: &mut Edges,
) {
    edges.edges.clear();
    edges.transfers.clear();
    edges.left.clear();
    edges.left.resize(func.vreg_count(), AWAY);
    let mut collector = Collector { func, flow, live, state, edges };
    for block in func.blocks.keys() {
        collector.leave(block.index());
    }
}

/// Emits the transfers as moves.
pub(super) fn emit(
    edges: &mut Edges,
    joined: &mut Joined,
    classes: [RegSet; 2],
    state: &mut State,
    edits: &mut Vec<Edit>,
) {
    for edge in &edges.edges {
        for transfer in &edges.transfers[edge.transfers.range()] {
            let mut root = |place| match place {
                Place::Slot(value) => Place::Slot(joined.root(value)),
                other => other,
            };
            let (from, to) = (root(transfer.from), root(transfer.to));
            if from != to {
                edges.now.push(Transfer { from, to, class: transfer.class });
            }
        }
        let State { sequencer, temps, .. } = &mut *state;
        sequencer.sequence(&mut edges.now, classes, edge.taken, temps, |from, to| {
            edits.push(Edit { inst: edge.inst, phase: edge.phase, from, to });
        });
    }
}

struct Collector<'a> {
    func: &'a MachineFunction,
    flow: &'a Flow,
    live: &'a Live,
    state: &'a mut State,
    edges: &'a mut Edges,
}

impl Collector<'_> {
    fn leave(&mut self, block: usize) {
        let exit = self.state.exit[block];
        for &(reg, value) in &self.state.pairs[exit.range()] {
            self.edges.left[value as usize] = reg.index() as u8;
        }
        for k in 0..self.func.blocks[entity(block)].successors.range().len() {
            self.edge(block, k);
        }
        for &(_, value) in &self.state.pairs[exit.range()] {
            self.edges.left[value as usize] = AWAY;
        }
    }

    fn place(&self, value: u32) -> Place {
        match self.edges.left[value as usize] {
            AWAY => Place::Slot(value),
            reg => Place::Reg(Reg::from_index(usize::from(reg))),
        }
    }

    fn edge(&mut self, block: usize, k: usize) {
        let func = self.func;
        let data = func.blocks[entity(block)];
        let succ = func.successors[data.successors.range()][k].index();
        let target = func.blocks[entity(succ)];
        let params = &func.vregs[target.params.range()];
        let alone = target.predecessors.range().len() == 1;
        if alone && params.is_empty() && self.state.moved_down.binary_search(&(succ as u32)).is_err() {
            return;
        }
        let start = self.edges.transfers.len();
        for at in self.state.entry[succ].range() {
            let (reg, value) = self.state.pairs[at];
            if self.live.made_in[value as usize] != succ as u32 {
                self.transfer(value, Place::Reg(reg), value);
            }
        }
        let last = data.insts.end - 1;
        for (param, arg) in params.iter().zip(func.arguments_of(entity(block), k)) {
            let (param, arg) = (param.vreg() as u32, arg.vreg() as u32);
            if self.live.first_use[param as usize] == NONE {
                continue; // nobody reads it
            }
            let to = match self.state.made_at[param as usize] {
                AWAY => Place::Slot(param),
                reg => Place::Reg(Reg::from_index(usize::from(reg))),
            };
            if to == Place::Slot(param) {
                self.state.want(param, succ as u32, last, self.flow);
            }
            self.transfer(arg, to, param);
        }
        for at in start..self.edges.transfers.len() {
            if let Place::Slot(value) = self.edges.transfers[at].from {
                self.state.want(value, block as u32, last, self.flow);
            }
        }
        let transfers = Span { start: start as u32, end: self.edges.transfers.len() as u32 };
        if !transfers.range().is_empty() {
            // What else the block before leaves in registers is not expected behind.
            let kept = self.registers(self.state.entry[succ]);
            let taken =
                self.edges.transfers[start..].iter().fold(kept, |set, transfer| match transfer.from {
                    Place::Reg(reg) => set.with(reg),
                    _ => set,
                });
            let (inst, phase) = if alone { (target.insts.start, Phase::Enter) } else { (last, Phase::Leave) };
            self.edges.edges.push(Edge { inst, phase, taken, transfers });
        }
    }

    /// A value goes somewhere, unless it is there.
    fn transfer(&mut self, value: u32, to: Place, like: u32) {
        let from = self.place(value);
        if from != to {
            let class = self.live.class[like as usize];
            self.edges.transfers.push(Transfer { from, to, class });
        }
    }

    fn registers(&self, span: Span) -> RegSet {
        self.state.pairs[span.range()].iter().fold(RegSet::EMPTY, |set, pair| set.with(pair.0))
    }
}

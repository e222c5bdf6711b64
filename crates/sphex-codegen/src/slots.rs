//! Slots mode: values that would give register allocation too much to do across blocks go through the frame.
//!
//! Needs: a finished machine function. Gives: the same function in which register allocation has little to do across
//! blocks, if it would have had too much. Cost: linear, whatever the function.
//!
//! What an allocator does across blocks is small in code that people write; a function with ten thousand nested loops or
//! a join of a hundred thousand edges makes it large ([`budget`] says what is counted, and when it is too much). So:
//!
//! - where the search for parameters is long, values are numbered anew first, which mostly is enough;
//! - a join of more than [`MANY_PREDECESSORS`] edges takes its parameters through slots: predecessors store, it loads;
//! - so does every block if parameters are too many to be looked for;
//! - if values are live in too many blocks, every value that is used outside the block that makes it has a slot: stored
//!   once where it is made, loaded once in each block that uses it;
//! - where arguments and parameters make a web that is too large to be joined, copies cut it.
//!
//! Arguments are all read before any is stored: a block that jumps to itself with its parameters swapped stays right.
//! What is inserted are moves, which leave the flags alone.

mod budget;
#[cfg(test)]
mod budget_tests;

use crate::isa::SlotRows;
use crate::machine::{Amode, BlockData, MachineFunction, MachineInst, Pseudo, Slot, Span, VARIANT_MEMORY};
use crate::regalloc::{Allocator, Operand, OperandConstraint, OperandKind, OperandPos, RaClass, VReg};
use crate::settings::Slots;
use budget::{definitions, for_each_use, real};
use smallvec::SmallVec;
use sphex_entity::EntityRef;

/// A join with more edges takes its parameters through slots.
pub const MANY_PREDECESSORS: usize = 2048;

const NONE: u32 = u32::MAX;

/// In how many blocks, taken together, values may be live before all that cross blocks go through the frame.
pub fn most_live(func: &MachineFunction) -> u64 {
    budget::live(func)
}

/// Takes values through the frame where that is called for. Gives the steps taken, and those that it found would be the
/// allocator's and that the allocator does not count itself. The walk finds itself what is live where, searches for
/// nothing, and joins within a budget of its own: for it only wide joins are looked for, and what is `wanted`.
pub fn relieve(func: &mut MachineFunction, wanted: Slots, allocator: Allocator) -> u64 {
    let wide_join = |b: &BlockData| b.predecessors.range().len() > MANY_PREDECESSORS;
    let searches = allocator == Allocator::Search;
    let (mut crossing, searched) = if searches { budget::crossing(func) } else { Default::default() };
    if crossing.search > budget::easy_search(func) {
        budget::renumber(func, &searched, &mut crossing);
    }
    let full = crossing.live > budget::live(func) || wanted == Slots::All;
    let all = full || crossing.search > budget::search(func) || wanted == Slots::Params;
    let through: Vec<Option<Span>> = (func.blocks.values())
        .map(|b| ((all || wide_join(b)) && !b.params.range().is_empty()).then_some(b.params))
        .collect();
    let cuts = match wanted {
        _ if all => Vec::new(),
        Slots::Copies => (0..func.vregs.len() as u32).collect(),
        _ if !searches => Vec::new(),
        _ => budget::cuts(func, &through, &mut crossing),
    };
    let steps = crossing.live + crossing.search / 8 * u64::from(!all) + crossing.joins + func.size();
    if full || !cuts.is_empty() || through.iter().any(Option::is_some) {
        Rewrite::new(func, full, through, cuts).run();
    }
    steps
}

struct Rewrite<'f> {
    func: &'f mut MachineFunction,
    full: bool,
    /// For each block that takes its parameters through slots, what they were.
    through: Vec<Option<Span>>,
    /// The slot of each value that has one.
    slots: Vec<Option<Slot>>,
    /// The block in which `local` holds each value.
    local_in: Vec<u32>,
    local: Vec<VReg>,
    /// Arguments, by their place in the function's list, that are to be copies; ascending.
    cuts: Vec<u32>,
    /// The location of what is being rewritten.
    location: u32,
    insts: Vec<MachineInst>,
    operands: Vec<Operand>,
}

impl<'f> Rewrite<'f> {
    fn new(func: &'f mut MachineFunction, full: bool, through: Vec<Option<Span>>, cuts: Vec<u32>) -> Self {
        let count = func.vreg_count();
        let mut wanted: Vec<Option<RaClass>> = vec![None; count];
        if full {
            let made_in = definitions(func);
            for_each_use(func, |block, vreg| {
                if made_in[vreg.vreg()] != block {
                    wanted[vreg.vreg()] = Some(vreg.class());
                }
            });
        }
        for params in through.iter().flatten() {
            func.vregs[params.range()].iter().for_each(|p| wanted[p.vreg()] = Some(p.class()));
        }
        let vector = if func.wide_vectors { (16, 4) } else { (8, 3) };
        let mut slot = |class| {
            let (bytes, shift) = if class == RaClass::Int { (8, 3) } else { vector };
            func.add_slot(bytes, shift)
        };
        let slots = wanted.into_iter().map(|class| class.map(&mut slot)).collect();
        let (local_in, local) = (vec![NONE; count], vec![VReg::invalid(); count]);
        let (insts, operands) =
            (Vec::with_capacity(func.insts.len()), Vec::with_capacity(func.operands.len()));
        Self { func, full, through, slots, local_in, local, cuts, location: 0, insts, operands }
    }

    fn run(mut self) {
        for block in self.func.blocks.keys() {
            let (start, data) = (self.insts.len() as u32, self.func.blocks[block]);
            self.location = self.func.insts[data.insts.start as usize].location();
            if let Some(params) = self.through[block.index()] {
                let loads = if self.full { 0..0 } else { params.range() };
                for k in loads {
                    let param = self.func.vregs[k];
                    self.load(param, param);
                }
                self.func.blocks[block].params = Span::default();
            }
            for inst in data.insts.range() {
                self.location = self.func.insts[inst].location();
                if inst + 1 == data.insts.end as usize {
                    self.pass_arguments(block.as_u32(), data.successors);
                }
                self.instruction(block.as_u32(), inst);
            }
            self.func.blocks[block].insts = Span { start, end: self.insts.len() as u32 };
        }
        self.func.insts = self.insts;
        self.func.operands = self.operands;
    }

    /// The value in a register of this block; loads it if it is elsewhere.
    fn here(&mut self, block: u32, vreg: VReg) -> VReg {
        let index = vreg.vreg();
        if !self.full || self.slots[index].is_none() {
            return vreg;
        }
        if self.local_in[index] != block {
            let local = self.func.new_vreg_like(vreg);
            self.load(local, vreg);
            (self.local_in[index], self.local[index]) = (block, local);
        }
        self.local[index]
    }

    fn instruction(&mut self, block: u32, index: usize) {
        let mut operands = SmallVec::<[Operand; 8]>::from_slice(self.func.operands_of(index));
        for operand in operands.iter_mut().filter(|o| real(o) && o.kind() == OperandKind::Use) {
            let vreg = self.here(block, operand.vreg());
            *operand = Operand::new(vreg, operand.constraint(), operand.kind(), operand.pos());
        }
        self.push(self.func.insts[index], &operands);
        if !self.full {
            return;
        }
        for operand in operands.iter().filter(|o| o.kind() == OperandKind::Def) {
            let vreg = operand.vreg();
            if self.slots[vreg.vreg()].is_some() {
                (self.local_in[vreg.vreg()], self.local[vreg.vreg()]) = (block, vreg);
                self.store(vreg, vreg);
            }
        }
    }

    /// Stores the arguments for a successor that takes them through slots, before the jump.
    fn pass_arguments(&mut self, block: u32, successors: Span) {
        for k in successors.range() {
            let Some(params) = self.through[self.func.successors[k].index()] else {
                self.cut(self.func.successor_args[k]);
                continue;
            };
            let args = core::mem::take(&mut self.func.successor_args[k]);
            let mut values = Vec::with_capacity(args.range().len());
            for (at, param) in args.range().zip(params.range()) {
                let (arg, param) = (self.func.vregs[at], self.func.vregs[param]);
                // A parameter that a loop passes on is in its slot.
                if arg != param {
                    values.push((param, self.here(block, arg)));
                }
            }
            for (param, value) in values {
                self.store(value, param);
            }
        }
    }

    /// Makes copies of those arguments that are to be copies.
    fn cut(&mut self, args: Span) {
        let first = self.cuts.partition_point(|&at| at < args.start);
        for k in first..self.cuts.len() {
            let at = self.cuts[k];
            if at >= args.end {
                break;
            }
            let from = self.func.vregs[at as usize];
            let to = self.func.new_vreg_like(from);
            self.func.vregs[at as usize] = to;
            let inst = MachineInst {
                row: Pseudo::Copy.row(),
                variant: 0,
                operands: 0,
                payload: 0,
                location: self.location,
            };
            let reg = |vreg, kind, pos| Operand::new(vreg, OperandConstraint::Reg, kind, pos);
            let to = reg(to, OperandKind::Def, OperandPos::Late);
            self.push(inst, &[to, reg(from, OperandKind::Use, OperandPos::Early)]);
        }
    }

    fn push(&mut self, inst: MachineInst, operands: &[Operand]) {
        self.insts.push(MachineInst { operands: self.operands.len() as u32, ..inst });
        self.operands.extend_from_slice(operands);
    }

    /// Emits a load of the value's slot into `to`.
    fn load(&mut self, to: VReg, value: VReg) {
        self.access(self.func.arch.slot_rows().load, value, Operand::reg_def(to));
    }

    /// Emits a store of `from` to the value's slot.
    fn store(&mut self, from: VReg, value: VReg) {
        self.access(self.func.arch.slot_rows().store, value, Operand::reg_use(from));
    }

    fn access(&mut self, rows: [u16; 3], value: VReg, operand: Operand) {
        let Some(slot) = self.slots[value.vreg()] else { return };
        let is_int = value.class() == RaClass::Int;
        let row = rows[SlotRows::kind(is_int, self.func.wide_vectors)];
        let payload = self.func.amode(Amode::slot(slot, 0)).as_u32();
        let variant = SlotRows::variant(is_int).0 | VARIANT_MEMORY;
        let inst = MachineInst { row, variant, operands: 0, payload, location: self.location };
        self.push(inst, &[operand]);
    }
}

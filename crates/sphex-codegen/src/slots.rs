//! Slots mode: values that would be live across too many blocks go through the frame.
//!
//! Needs: a finished machine function. Gives: the same function in which register allocation has little to do across
//! blocks, if it would have had too much. Cost: linear, whatever the function.
//!
//! What the allocator does for a value costs a step for each block it is live in, and what it does for a block's
//! parameter a step for each pair of predecessors. Both are small in code that people write; a function with ten thousand
//! nested loops or a join of a hundred thousand edges makes them large. So:
//!
//! - a join of more than [`MANY_PREDECESSORS`] edges takes its parameters through slots: predecessors store, it loads;
//! - if the values of the function are live in more than [`budget`] blocks taken together, every value that is used
//!   outside the block that makes it has a slot: stored once where it is made, loaded once in each block that uses it.
//!
//! Arguments are all read before any is stored: a block that jumps to itself with its parameters swapped stays right.
//! What is inserted are moves, which leave the flags alone.

use crate::machine::{Amode, BlockData, MachineFunction, MachineInst, Slot, Span, VARIANT_MEMORY};
use crate::regalloc::{Operand, OperandKind, RaBlock, RaClass, VReg};
use smallvec::SmallVec;
use sphex_asm::x64::{RowId, Variant, op};
use sphex_entity::EntityRef;

/// A join with more edges takes its parameters through slots.
pub const MANY_PREDECESSORS: usize = 1024;

/// Functions with fewer blocks are within any budget.
const FEW_BLOCKS: usize = 1000;

/// In how many blocks the values of a function may be live, taken together.
fn budget(func: &MachineFunction) -> usize {
    100_000 + 64 * func.insts.len()
}

const NONE: u32 = u32::MAX;

/// Takes values through the frame where that is called for. Gives the steps taken, and what liveness will cost.
pub fn relieve(func: &mut MachineFunction) -> u64 {
    let wide_join =
        |b: &BlockData| b.predecessors.range().len() > MANY_PREDECESSORS && !b.params.range().is_empty();
    let budget = budget(func);
    let live = if func.blocks.len() > FEW_BLOCKS { live_blocks(func, budget) } else { 0 };
    let full = live > budget;
    if full || func.blocks.values().any(wide_join) {
        let through = func.blocks.values().map(|b| (full || wide_join(b)).then_some(b.params)).collect();
        Rewrite::new(func, full, through).run();
    }
    live as u64 + func.size()
}

fn real(operand: &Operand) -> bool {
    operand.as_fixed_nonallocatable().is_none()
}

/// Calls `visit` with every block and value that the block reads or is passed on by it.
fn for_each_use(func: &MachineFunction, mut visit: impl FnMut(u32, VReg)) {
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
fn definitions(func: &MachineFunction) -> Vec<u32> {
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

/// Counts the edges over which each value is live, walking from its uses to its definition, until they are more than
/// `most`.
fn live_blocks(func: &MachineFunction, most: usize) -> usize {
    let made_in = definitions(func);
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
    let mut count = 0;
    let mut seen = vec![NONE; func.blocks.len()];
    let mut work = Vec::new();
    for vreg in 0..func.vreg_count() {
        work.extend_from_slice(&blocks[first[vreg] as usize..first[vreg + 1] as usize]);
        while let Some(block) = work.pop() {
            if block == made_in[vreg]
                || core::mem::replace(&mut seen[block as usize], vreg as u32) == vreg as u32
            {
                continue;
            }
            let edges = func.blocks[EntityRef::new(block as usize)].predecessors.range();
            count += edges.len() + 1;
            if count > most {
                return count;
            }
            work.extend(func.predecessors[edges].iter().map(|b: &RaBlock| b.index() as u32));
        }
    }
    count
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
    /// The location of what is being rewritten.
    location: u32,
    insts: Vec<MachineInst>,
    operands: Vec<Operand>,
}

impl<'f> Rewrite<'f> {
    fn new(func: &'f mut MachineFunction, full: bool, through: Vec<Option<Span>>) -> Self {
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
        Self { func, full, through, slots, local_in, local, location: 0, insts, operands }
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
            let Some(params) = self.through[self.func.successors[k].index()] else { continue };
            let args = core::mem::take(&mut self.func.successor_args[k]);
            let mut values = Vec::with_capacity(args.range().len());
            for at in args.range() {
                values.push(self.here(block, self.func.vregs[at]));
            }
            for (at, value) in params.range().zip(values) {
                self.store(value, self.func.vregs[at]);
            }
        }
    }

    fn push(&mut self, inst: MachineInst, operands: &[Operand]) {
        self.insts.push(MachineInst { operands: self.operands.len() as u32, ..inst });
        self.operands.extend_from_slice(operands);
    }

    /// Emits a load of the value's slot into `to`.
    fn load(&mut self, to: VReg, value: VReg) {
        self.access([op::MOV_RM, op::MOVUPS_RM, op::MOVSD_RM], value, Operand::reg_def(to));
    }

    /// Emits a store of `from` to the value's slot.
    fn store(&mut self, from: VReg, value: VReg) {
        self.access([op::MOV_MR, op::MOVUPS_MR, op::MOVSD_MR], value, Operand::reg_use(from));
    }

    fn access(&mut self, rows: [RowId; 3], value: VReg, operand: Operand) {
        let Some(slot) = self.slots[value.vreg()] else { return };
        let (row, variant) = match (value.class(), self.func.wide_vectors) {
            (RaClass::Int, _) => (rows[0], Variant::S64),
            (_, true) => (rows[1], Variant::NONE),
            (_, false) => (rows[2], Variant::NONE),
        };
        let payload = self.func.amode(Amode::slot(slot, 0)).as_u32();
        let variant = variant.0 | VARIANT_MEMORY;
        let inst = MachineInst { row: row.0, variant, operands: 0, payload, location: self.location };
        self.push(inst, &[operand]);
    }
}

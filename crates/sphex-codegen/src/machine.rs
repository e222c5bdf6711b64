//! The machine function: what instruction selection makes and register allocation, frames and emission read.
//!
//! Needs: an ISA's instruction table (rows and variants of `sphex-asm`). Gives: [`MachineFunction`], filled through
//! [`MachineFunction::inst`] and its kin, completed by [`MachineFunction::finish`].
//!
//! An instruction is sixteen bytes. Its operands stand in one flat vector, in the allocator's own form, in the order of
//! its row's operands (hidden ones included):
//!
//! - a read register is one use, a written one is one def, a register both read and written is a use and then a def tied
//!   to it ([`Inst::modify`]);
//! - memory is its address's registers, base then index; the rest of the address is in [`MachineFunction::amodes`];
//! - immediates, labels and symbols have no operand.
//!
//! Calls, branches, returns and the like are rows of [`Pseudo`]; each says which operands it takes.
//!
//! How selection emits. Blocks are made in their final order with [`MachineFunction::add_block`] and may be *filled* in
//! any order. Between [`MachineFunction::start_block`] and the next one, instructions come in *groups*
//! ([`MachineFunction::start_group`]): within a group in program order, the groups of a block from the last to the
//! first. A bottom-up walk thus starts a group for each IR instruction it comes to and emits that in reading order.
//!
//! Who does what at the borders:
//!
//! - Entry: the last group of the entry block is made by `abi::entry::receive`, which defines the parameters' registers
//!   ([`Pseudo::Entry`]) and loads those on the stack ([`Base::Incoming`]).
//! - Calls: selection asks `abi::place`, moves stack arguments to [`Base::Outgoing`] (for tail calls
//!   [`Base::TailOutgoing`]), and emits a [`Pseudo::Call`] with fixed uses and defs. Emission adds what the convention
//!   needs around it (switching and reloading vmctx, popping).
//! - Returns: [`Pseudo::Return`] with fixed uses; values in the return area are stored by selection beforehand.
//! - Pinned registers (vmctx in r15, the frame pointer) are [`Inst::pinned`] or [`Base::Pinned`]: never allocated.

use crate::regalloc::{Operand, RaBlock, VReg, to_class};
use crate::settings::Arch;
use sphex_asm::operand::Variant;
use sphex_asm::record::Symbol;
use sphex_asm::register::{Reg, RegClass, RegSet};
use sphex_asm::x64::Cond;
use sphex_entity::{EntityRef, PrimaryMap, entity};
use sphex_ir::{ExternalName, SrcLoc, Type};
use std::collections::HashMap;

mod dump;
mod operands;
mod row;

pub use dump::Listing;
pub use operands::Inst;
pub use row::{FIRST_PSEUDO, MachineInst, Pseudo, VARIANT_MEMORY, VARIANT_SYMBOL, VARIANT_WIDE};
use row::{LOCATION_MASK, SECOND_COND};

entity! {
    /// A block of a machine function. Block 0 is the entry; emission lays blocks out in order (see
    /// [`MachineFunction::order`]), cold ones last.
    pub struct MachineBlock("mb");
}
entity! {
    /// An address in [`MachineFunction::amodes`].
    pub struct AmodeRef("am");
}
entity! {
    /// A constant in [`MachineFunction::constants`].
    pub struct ConstantRef("mc");
}
entity! {
    /// A stack slot of a machine function; the first are the IR function's, in order.
    pub struct Slot("slot");
}
entity! {
    /// A call in [`MachineFunction::calls`].
    pub struct CallRef("call");
}

/// Where an address begins.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Base {
    /// Nowhere: index and displacement only.
    None,
    /// In a virtual register.
    Reg(VReg),
    /// In a pinned register.
    Pinned(Reg),
    /// At a stack slot.
    Slot(Slot),
    /// At the function's incoming stack arguments.
    Incoming,
    /// At the stack arguments of the call under preparation.
    Outgoing,
    /// At the stack arguments of a tail call of this many bytes of them.
    TailOutgoing(u32),
    /// At a constant. No index.
    Constant(ConstantRef),
    /// At a symbol, pc-relative. No index.
    Symbol(Symbol),
    /// At the slot of the global offset table that holds the symbol's address. No index, no displacement.
    Got(Symbol),
}

/// An address, as selection says it.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Amode {
    /// Where it begins.
    pub base: Base,
    /// A virtual register, shifted left by 0 to 3, that is added.
    pub index: Option<(VReg, u8)>,
    /// Added.
    pub disp: i32,
}

impl Amode {
    /// `[reg + disp]`.
    pub const fn reg(reg: VReg, disp: i32) -> Amode {
        Amode { base: Base::Reg(reg), index: None, disp }
    }

    /// `[reg + disp]` of a pinned register.
    pub const fn pinned(reg: Reg, disp: i32) -> Amode {
        Amode { base: Base::Pinned(reg), index: None, disp }
    }

    /// `[base + (index << shift) + disp]`.
    pub const fn indexed(base: VReg, index: VReg, shift: u8, disp: i32) -> Amode {
        Amode { base: Base::Reg(base), index: Some((index, shift)), disp }
    }

    /// A stack slot plus bytes.
    pub const fn slot(slot: Slot, disp: i32) -> Amode {
        Amode { base: Base::Slot(slot), index: None, disp }
    }

    /// Anything else without index.
    pub const fn at(base: Base, disp: i32) -> Amode {
        Amode { base, index: None, disp }
    }
}

/// A memory operand of an instruction: the address and the immediate that the instruction may have beside it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct AmodeData {
    /// The address. Its virtual registers are operands of the instruction.
    pub amode: Amode,
    /// The instruction's immediate.
    pub imm: i32,
}

/// What a call calls.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Target {
    /// A function by name.
    Symbol(Symbol),
    /// The address in the call's first operand.
    Register,
    /// The address in memory; its registers are the first operands.
    Memory(AmodeRef),
}

/// What a call does to the vmctx register. Only conventions that pin it know others than `Keep`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Vmctx {
    /// It is the callee's too and comes back unchanged.
    Keep,
    /// It is the callee's too but must be loaded from the frame afterwards.
    Reload,
    /// The caller's is handed over, the callee's is in the operand after the target's (not in the register that hands
    /// over), and the caller's is loaded from the frame afterwards.
    Switch,
}

/// A call. Operands in order: the target's registers, the callee's vmctx under [`Vmctx::Switch`], arguments (fixed
/// uses), results (fixed defs), then `live` late uses that may be anywhere (the safepoint).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Call {
    /// What is called.
    pub target: Target,
    /// Registers that do not keep their value; results are taken out by [`MachineFunction::call`].
    pub clobbers: RegSet,
    /// Bytes of stack arguments, a multiple of 16.
    pub stack_bytes: u32,
    /// Whether the callee pops them.
    pub callee_pops: bool,
    /// What happens to vmctx.
    pub vmctx: Vmctx,
    /// How many of the operands, at the end, are the safepoint.
    pub live: u32,
}

/// A stack slot's shape.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct SlotData {
    /// Bytes.
    pub size: u32,
    /// Log2 of the alignment.
    pub align_shift: u8,
}

/// A range of a pool.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Span {
    /// First.
    pub start: u32,
    /// Past the last.
    pub end: u32,
}

impl Span {
    /// As indices.
    pub const fn range(self) -> core::ops::Range<usize> {
        self.start as usize..self.end as usize
    }
}

/// A block of a machine function.
#[derive(Clone, Copy, Debug, Default)]
pub struct BlockData {
    /// Its instructions.
    pub insts: Span,
    /// Parameters, in [`MachineFunction::vregs`].
    pub params: Span,
    /// Successors, in [`MachineFunction::successors`]; for each a span of arguments stands beside it.
    pub successors: Span,
    /// Predecessors, in [`MachineFunction::predecessors`], one an edge.
    pub predecessors: Span,
    /// Rarely executed.
    pub cold: bool,
}

/// A constant: 4, 8, 16 or 32 bytes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ConstantData {
    bytes: [u8; 32],
    length: u8,
}

impl ConstantData {
    /// The bytes.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes[..usize::from(self.length)]
    }
}

/// A function of machine instructions over virtual registers. Everything is cleared and filled again for each function,
/// so that its memory is reused.
#[derive(Debug, Default)]
pub struct MachineFunction {
    /// The instruction set whose rows its instructions are.
    pub arch: Arch,
    /// Instructions, block by block once finished.
    pub insts: Vec<MachineInst>,
    /// Operands of all instructions, in the same order.
    pub operands: Vec<Operand>,
    /// Blocks.
    pub blocks: PrimaryMap<MachineBlock, BlockData>,
    /// The order in which blocks are emitted, all of them, the entry first; where it is empty, that of their numbers. Blocks
    /// are numbered so that each stands behind one of its predecessors, as the allocator likes it.
    pub order: Vec<MachineBlock>,
    /// Memory operands.
    pub amodes: PrimaryMap<AmodeRef, AmodeData>,
    /// Immediates of 64 bits.
    pub wide_immediates: Vec<u64>,
    /// Constants.
    pub constants: PrimaryMap<ConstantRef, ConstantData>,
    /// Calls.
    pub calls: PrimaryMap<CallRef, Call>,
    /// Jump tables: for each index the position among the block's successors; the last is for indices out of range.
    pub jump_tables: Vec<Vec<u32>>,
    /// Stack slots.
    pub slots: PrimaryMap<Slot, SlotData>,
    /// Names of symbols.
    pub symbols: Vec<ExternalName>,
    /// Source locations.
    pub locations: Vec<SrcLoc>,
    /// Lists of virtual registers: block parameters and arguments.
    pub vregs: Vec<VReg>,
    /// Successors of blocks, in the allocator's form.
    pub successors: Vec<RaBlock>,
    /// Arguments of each successor, in [`MachineFunction::vregs`].
    pub successor_args: Vec<Span>,
    /// Predecessors of blocks.
    pub predecessors: Vec<RaBlock>,
    /// Most bytes of stack arguments of any call but tail calls.
    pub outgoing_bytes: u32,
    /// Most bytes of stack arguments of any tail call.
    pub tail_bytes: u32,
    /// Whether some value needs all 16 bytes of a vector register.
    pub wide_vectors: bool,
    /// Whether there is a call other than a tail call.
    pub has_calls: bool,
    /// Whether vmctx is reloaded from the frame somewhere.
    pub reloads_vmctx: bool,
    vreg_count: u32,
    location: u32,
    /// Where the load comes from that the next instruction with a trap code takes in; 0 if it takes in none.
    taken_location: u32,
    symbol_index: HashMap<ExternalName, Symbol>,
    current: Option<MachineBlock>,
    groups: Vec<Group>,
    spare_insts: Vec<MachineInst>,
    spare_operands: Vec<Operand>,
    spare_lists: [Vec<u32>; 3],
}

/// A stretch of instructions in the order of emission.
#[derive(Clone, Copy, Debug)]
struct Group {
    block: MachineBlock,
    first: u32,
}

impl MachineFunction {
    /// An empty machine function.
    pub fn new() -> Self {
        Self::default()
    }

    /// Forgets everything, keeps the memory.
    pub fn clear(&mut self) {
        self.insts.clear();
        self.operands.clear();
        self.blocks.clear();
        self.order.clear();
        self.amodes.clear();
        self.wide_immediates.clear();
        self.constants.clear();
        self.calls.clear();
        self.jump_tables.clear();
        self.slots.clear();
        self.symbols.clear();
        self.locations.clear();
        self.vregs.clear();
        self.successors.clear();
        self.successor_args.clear();
        self.predecessors.clear();
        self.symbol_index.clear();
        self.groups.clear();
        (self.outgoing_bytes, self.tail_bytes, self.vreg_count) = (0, 0, 0);
        (self.location, self.taken_location) = (0, 0);
        (self.wide_vectors, self.has_calls, self.reloads_vmctx) = (false, false, false);
        self.current = None;
    }

    /// A new virtual register of a class. Vectors of more than 64 bits must come from [`Self::new_vreg_for`].
    pub fn new_vreg(&mut self, class: RegClass) -> VReg {
        let vreg = VReg::new(self.vreg_count as usize, to_class(class));
        self.vreg_count += 1;
        vreg
    }

    /// A new virtual register for values of a type.
    pub fn new_vreg_for(&mut self, ty: Type) -> VReg {
        self.wide_vectors |= ty.bits() > 64 && !ty.is_int();
        self.new_vreg(if ty.is_int() { RegClass::Int } else { RegClass::Vector })
    }

    /// A new virtual register of another's class.
    pub fn new_vreg_like(&mut self, vreg: VReg) -> VReg {
        let vreg = VReg::new(self.vreg_count as usize, vreg.class());
        self.vreg_count += 1;
        vreg
    }

    /// How many virtual registers there are.
    pub fn vreg_count(&self) -> usize {
        self.vreg_count as usize
    }

    /// Makes a block after the others. The first is the entry, which has no parameters and no predecessors.
    pub fn add_block(&mut self, cold: bool) -> MachineBlock {
        self.blocks.push(BlockData { cold, ..BlockData::default() })
    }

    fn span(&mut self, vregs: &[VReg]) -> Span {
        let start = self.vregs.len() as u32;
        self.vregs.extend_from_slice(vregs);
        Span { start, end: self.vregs.len() as u32 }
    }

    /// Says a block's parameters.
    pub fn set_params(&mut self, block: MachineBlock, params: &[VReg]) {
        self.blocks[block].params = self.span(params);
    }

    /// What follows is in this block (each block is started once), beginning with its last group.
    pub fn start_block(&mut self, block: MachineBlock) {
        let at = self.successors.len() as u32;
        self.blocks[block].successors = Span { start: at, end: at };
        self.current = Some(block);
        self.start_group();
    }

    /// What follows comes before everything that was emitted for the current block so far.
    pub fn start_group(&mut self) {
        if let Some(block) = self.current {
            self.groups.push(Group { block, first: self.insts.len() as u32 });
        }
    }

    /// Adds a successor, with arguments for its parameters, to the current block. Successors are distinct edges: where a
    /// block has several, each successor has this one predecessor only.
    pub fn successor(&mut self, target: MachineBlock, args: &[VReg]) {
        let span = self.span(args);
        self.successors.push(RaBlock::new(target.index()));
        self.successor_args.push(span);
        if let Some(block) = self.current {
            self.blocks[block].successors.end = self.successors.len() as u32;
        }
    }

    /// Says where the instructions that follow come from.
    pub fn set_location(&mut self, location: SrcLoc) {
        if self.locations.is_empty() {
            self.locations.push(SrcLoc::NONE);
        }
        self.taken_location = 0;
        if self.locations[self.location as usize] != location {
            self.location = self.new_location(location);
        }
    }

    /// Says where a load comes from that an instruction takes in as an operand: if that one faults, the load did.
    pub fn take_load(&mut self, location: SrcLoc) {
        self.taken_location = self.new_location(location);
    }

    fn new_location(&mut self, location: SrcLoc) -> u32 {
        if location.is_none() || self.locations.len() > LOCATION_MASK as usize {
            return 0;
        }
        self.locations.push(location);
        self.locations.len() as u32 - 1
    }

    /// Emits an instruction of the ISA's table; its operands follow through [`Inst`].
    pub fn inst(&mut self, row: impl Into<u16>, variant: Variant) -> Inst<'_> {
        self.raw(row.into(), variant.0, 0)
    }

    /// Emits a pseudo row.
    pub fn pseudo(&mut self, pseudo: Pseudo, variant: Variant, payload: u32) -> Inst<'_> {
        self.raw(pseudo.row(), variant.0, payload)
    }

    fn raw(&mut self, row: u16, variant: u16, payload: u32) -> Inst<'_> {
        let operands = self.operands.len() as u32;
        self.insts.push(MachineInst { row, variant, operands, payload, location: self.location });
        Inst { func: self, first: operands }
    }

    /// Emits a copy from `from` to `to`.
    pub fn copy(&mut self, to: VReg, from: VReg) {
        self.pseudo(Pseudo::Copy, Variant::NONE, 0).write(to).read(from);
    }

    /// Emits a jump to `target`.
    pub fn jump(&mut self, target: MachineBlock, args: &[VReg]) {
        self.successor(target, args);
        self.pseudo(Pseudo::Jump, Variant::NONE, 0);
    }

    /// Emits a conditional jump; the flags must have been set by what comes before. Both targets must take no arguments
    /// through this edge or have it as their only one.
    pub fn jump_if(&mut self, cond: Cond, then: MachineBlock, other: MachineBlock) {
        self.successor(then, &[]);
        self.successor(other, &[]);
        self.pseudo(Pseudo::JumpIf, Variant::cond(cond), 0);
    }

    /// Emits a branch on the flags and on a comparison of its own, whose operands follow; its size is the variant's.
    pub fn compare_if(
        &mut self,
        pseudo: Pseudo,
        variant: Variant,
        second: Cond,
        [then, other]: [MachineBlock; 2],
    ) -> Inst<'_> {
        self.successor(then, &[]);
        self.successor(other, &[]);
        self.raw(pseudo.row(), variant.0 | (second as u16) << SECOND_COND, 0)
    }

    /// Emits a call (or tail call). Its operands follow through [`Inst`], in the order that [`Call`] says; results are
    /// the fixed defs among them.
    pub fn call(&mut self, call: Call, tail: bool) -> Inst<'_> {
        if tail {
            self.tail_bytes = self.tail_bytes.max(call.stack_bytes);
        } else {
            self.outgoing_bytes = self.outgoing_bytes.max(call.stack_bytes);
            self.has_calls = true;
        }
        self.reloads_vmctx |= call.vmctx != Vmctx::Keep && !tail;
        let reference = self.calls.push(call);
        let pseudo = if tail { Pseudo::TailCall } else { Pseudo::Call };
        self.raw(pseudo.row(), 0, reference.as_u32())
    }

    /// Puts a memory operand in the table, for [`Target::Memory`].
    pub fn amode(&mut self, amode: Amode) -> AmodeRef {
        self.amodes.push(AmodeData { amode, imm: 0 })
    }

    /// A constant of 4, 8, 16 or 32 bytes in the function's pool, aligned to its length.
    pub fn constant(&mut self, bytes: &[u8]) -> ConstantRef {
        debug_assert!(matches!(bytes.len(), 4 | 8 | 16 | 32), "a constant of {} bytes", bytes.len());
        let mut data = ConstantData { bytes: [0; 32], length: bytes.len() as u8 };
        data.bytes[..bytes.len()].copy_from_slice(bytes);
        self.constants.push(data)
    }

    /// The symbol of a name.
    pub fn symbol(&mut self, name: &ExternalName) -> Symbol {
        if let Some(&symbol) = self.symbol_index.get(name) {
            return symbol;
        }
        let symbol = Symbol(self.symbols.len() as u32);
        self.symbols.push(name.clone());
        self.symbol_index.insert(name.clone(), symbol);
        symbol
    }

    /// A new stack slot.
    pub fn add_slot(&mut self, size: u32, align_shift: u8) -> Slot {
        self.slots.push(SlotData { size, align_shift })
    }

    /// Puts instructions in their final order and finds predecessors. Linear.
    pub fn finish(&mut self) {
        self.order();
        self.find_predecessors();
        if self.locations.is_empty() {
            self.locations.push(SrcLoc::NONE);
        }
    }

    /// How much there is to look at: instructions, operands, blocks, edges and their arguments.
    pub fn size(&self) -> u64 {
        let lists = self.successors.len() + self.vregs.len();
        (self.insts.len() + self.operands.len() + self.blocks.len() + lists) as u64
    }

    /// The operands of an instruction of a finished function.
    #[inline]
    pub fn operands_of(&self, inst: usize) -> &[Operand] {
        let end = self.insts.get(inst + 1).map_or(self.operands.len(), |next| next.operands as usize);
        &self.operands[self.insts[inst].operands as usize..end]
    }

    /// The successors of a block.
    pub fn successors_of(&self, block: MachineBlock) -> impl ExactSizeIterator<Item = MachineBlock> + '_ {
        self.successors[self.blocks[block].successors.range()].iter().map(|b| MachineBlock::new(b.index()))
    }

    /// The arguments that a block gives its `k`th successor.
    #[inline]
    pub fn arguments_of(&self, block: MachineBlock, k: usize) -> &[VReg] {
        &self.vregs[self.successor_args[self.blocks[block].successors.range()][k].range()]
    }

    fn order(&mut self) {
        // Groups of each block, last emitted first: a counting sort by block, walked backwards.
        let [mut first, mut sorted, mut next] = core::mem::take(&mut self.spare_lists);
        first.clear();
        first.resize(self.blocks.len() + 1, 0);
        for group in &self.groups {
            first[group.block.index() + 1] += 1;
        }
        for k in 1..first.len() {
            first[k] += first[k - 1];
        }
        sorted.clear();
        sorted.resize(self.groups.len(), 0);
        next.clone_from(&first);
        for (number, group) in self.groups.iter().enumerate().rev() {
            let at = &mut next[group.block.index()];
            sorted[*at as usize] = number as u32;
            *at += 1;
        }
        let (mut insts, mut operands) =
            (core::mem::take(&mut self.spare_insts), core::mem::take(&mut self.spare_operands));
        insts.clear();
        operands.clear();
        insts.reserve(self.insts.len());
        operands.reserve(self.operands.len());
        for block in self.blocks.keys() {
            let start = insts.len() as u32;
            for &number in &sorted[first[block.index()] as usize..first[block.index() + 1] as usize] {
                let number = number as usize;
                let end = self.groups.get(number + 1).map_or(self.insts.len(), |g| g.first as usize);
                let group = &self.insts[self.groups[number].first as usize..end];
                let Some(first) = group.first().map(|inst| inst.operands) else { continue };
                let last = self.insts.get(end).map_or(self.operands.len(), |next| next.operands as usize);
                let moved = (operands.len() as u32).wrapping_sub(first);
                operands.extend_from_slice(&self.operands[first as usize..last]);
                insts.extend(group.iter().map(|inst| {
                    let operands = inst.operands.wrapping_add(moved);
                    MachineInst { operands, ..*inst }
                }));
            }
            self.blocks[block].insts = Span { start, end: insts.len() as u32 };
        }
        self.spare_insts = core::mem::replace(&mut self.insts, insts);
        self.spare_operands = core::mem::replace(&mut self.operands, operands);
        self.groups.clear();
        self.current = None;
        self.spare_lists = [first, sorted, next];
    }

    fn find_predecessors(&mut self) {
        let mut next = core::mem::take(&mut self.spare_lists[0]);
        next.clear();
        next.resize(self.blocks.len() + 1, 0);
        for target in &self.successors {
            next[target.index() + 1] += 1;
        }
        for k in 1..next.len() {
            next[k] += next[k - 1];
        }
        for block in self.blocks.keys() {
            self.blocks[block].predecessors =
                Span { start: next[block.index()], end: next[block.index() + 1] };
        }
        self.predecessors.clear();
        self.predecessors.resize(self.successors.len(), RaBlock::new(0));
        // The last come first: the allocator's dominators then follow a chain of blocks that all leave to one place once.
        for block in (0..self.blocks.len()).rev().map(MachineBlock::new) {
            for target in &self.successors[self.blocks[block].successors.range()] {
                let at = &mut next[target.index()];
                self.predecessors[*at as usize] = RaBlock::new(block.index());
                *at += 1;
            }
        }
        self.spare_lists[0] = next;
    }
}

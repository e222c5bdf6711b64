//! From an allocated machine function to bytes and records.
//!
//! Needs: the machine function, its allocation and its frame. Gives: [`CompiledFunction`]. Cost: linear.
//!
//! Blocks are laid out in order, cold ones last; a block that only jumps is left out and its target takes its place; a
//! jump to what comes next is not emitted. Behind the blocks stand the traps of `trap_if`, the slow paths and the jump
//! tables.
//!
//! E1. Moves of the allocation come before or after their instruction in the order given, which is safe for parallel
//!     moves.
//! E2. Every instruction with a trap code has a trap record at its first byte.
//! E3. Every call has a call record at its return address, and a [`CallSite`] with the places of what is live there.

mod flags;
mod prologue;
mod turns;

use crate::abi::Placement;
use crate::error::CodegenError;
use crate::frame::{Frame, StackLimit};
use crate::machine::{
    AmodeData, AmodeRef, Base, Call, CallRef, MachineBlock, MachineFunction, MachineInst, Pseudo, Target,
    VARIANT_MEMORY, VARIANT_SYMBOL, VARIANT_WIDE, Vmctx,
};
use crate::regalloc::{Allocation, Location, Move};
use crate::settings::Settings;
use smallvec::SmallVec;
use sphex_artifact::Trap;
use sphex_asm::buffer::{Branch, Code, CodeBuffer, Label, Pool};
pub use sphex_asm::record::RelocationTarget;
use sphex_asm::record::{Relocation, Symbol, TrapRecord, UnwindRecord};
use sphex_asm::register::{Reg, RegClass};
use sphex_asm::x64::encode::{branch_if, encode};
use sphex_asm::x64::operand::gpr;
use sphex_asm::x64::row::{Kind, Role, Spec};
use sphex_asm::x64::{Address, Cond, Mem, Operand, RowId, Variant, op};
use sphex_entity::{EntityRef, seeded_bug};
use sphex_ir::{ExternalName, SrcLoc};
use std::collections::HashMap;
use turns::Place;

/// A function's machine code and everything known about it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CompiledFunction {
    /// The code. Jump tables stand behind it.
    pub code: Vec<u8>,
    /// The alignment that the code needs (at least 16).
    pub alignment: u32,
    /// Constants, placed apart; relocations with a constant's offset refer to them.
    pub constants: Vec<u8>,
    /// The alignment that the constants need (at least 1).
    pub constants_alignment: u32,
    /// Fields for the linker; symbols are indices into `symbols`.
    pub relocations: Vec<Relocation>,
    /// Names of symbols.
    pub symbols: Vec<ExternalName>,
    /// Instructions that can fault, by offset.
    pub traps: Vec<TrapRecord>,
    /// From which offset on code comes from which source location, by offset.
    pub address_map: Vec<(u32, SrcLoc)>,
    /// Calls and other safepoints, by return address.
    pub calls: Vec<CallSite>,
    /// The frame's life, by offset.
    pub unwind: Vec<UnwindRecord>,
    /// Bytes of the frame below the saved frame pointer.
    pub frame_size: u32,
    /// Bytes of stack arguments that the function pops.
    pub pops: u32,
    /// The steps that making it took.
    pub steps: Steps,
}

/// Steps of a compilation, by phase: deterministic, for tests of how they grow.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Steps {
    /// Passes over the IR (counted in builds with debug assertions).
    pub passes: u64,
    /// Selection.
    pub select: u64,
    /// Budgets and slots mode.
    pub slots: u64,
    /// Register allocation.
    pub regalloc: u64,
    /// Emission.
    pub emit: u64,
}

impl Steps {
    /// Their sum.
    pub const fn total(&self) -> u64 {
        self.passes + self.select + self.slots + self.regalloc + self.emit
    }
}

/// A call or another safepoint.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CallSite {
    /// The return address: the offset behind the instruction.
    pub offset: u32,
    /// Where what is live here is kept, in the order in which selection gave it.
    pub live: SmallVec<[Live; 2]>,
}

/// Where a value is at a safepoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Live {
    /// In the frame: bytes from the frame pointer.
    Frame(i32),
    /// In a register that the callee preserves.
    Register(Reg),
}

/// A `Pseudo::Sequence` for its emitter.
#[derive(Clone, Debug)]
pub struct SequenceInst {
    /// Which sequence: the payload that selection gave.
    pub number: u32,
    /// Size and condition.
    pub variant: Variant,
    /// Registers of its operands in order, those of its address left out.
    pub regs: SmallVec<[Reg; 8]>,
    /// Its memory operand.
    pub mem: Option<Mem>,
    /// The trap code of a fault in it (0: none).
    pub trap: u8,
}

/// Emits the instructions of a sequence.
pub type SequenceEmitter = fn(&SequenceInst, &mut CodeBuffer);

/// What emission reads.
#[derive(Clone, Copy, Debug)]
pub struct Input<'a> {
    /// The function.
    pub func: &'a MachineFunction,
    /// Where its operands are.
    pub allocation: &'a Allocation<'a>,
    /// Its frame.
    pub frame: &'a Frame,
    /// Where its parameters and results are.
    pub placement: &'a Placement,
    /// Its stack limit.
    pub limit: Option<&'a StackLimit>,
    /// Settings.
    pub settings: &'a Settings,
    /// Who emits sequences.
    pub sequences: SequenceEmitter,
}

/// Emits a function. The buffer is cleared first; its memory is reused.
pub fn emit(input: Input<'_>, buffer: &mut CodeBuffer) -> Result<CompiledFunction, CodegenError> {
    buffer.clear();
    let mut emitter = Emitter::new(input, buffer);
    emitter.function();
    let Emitter { sites, error, steps, .. } = emitter;
    if let Some(error) = error {
        return Err(error);
    }
    let code: Code = buffer.finish(Pool::Apart).map_err(CodegenError::from)?;
    let (func, frame) = (input.func, input.frame);
    let calls = code.calls.iter().zip(sites).map(|(record, live)| CallSite { offset: record.offset, live });
    let address_map = code.locations.iter().map(|record| {
        (record.offset, func.locations.get(record.location as usize).copied().unwrap_or_default())
    });
    Ok(CompiledFunction {
        calls: calls.collect(),
        address_map: address_map.collect(),
        code: code.bytes,
        alignment: code.alignment.max(16),
        constants: code.constants,
        constants_alignment: code.constants_alignment.max(1),
        relocations: code.relocations,
        symbols: func.symbols.clone(),
        traps: code.traps,
        unwind: code.unwind,
        frame_size: frame.size,
        pops: frame.pops,
        steps: Steps { emit: steps + code.steps, ..Steps::default() },
    })
}

struct Emitter<'a> {
    input: Input<'a>,
    func: &'a MachineFunction,
    frame: &'a Frame,
    buffer: &'a mut CodeBuffer,
    labels: Vec<Label>,
    /// The block that stands for each: itself, or where a block that only jumps leads.
    stand_in: Vec<u32>,
    /// Loops that stand there several times, and the turn being emitted.
    loops: turns::Loops,
    turn: u8,
    next_move: usize,
    /// What the flags are known to say.
    flags: flags::Flags,
    /// Traps behind the code, shared by those with one code and location, and where those go on that may.
    traps: HashMap<(u8, u32), Label>,
    trap_order: Vec<(u8, u32, Label, Option<Label>)>,
    tables: Vec<(Label, Place, u32)>,
    sites: Vec<SmallVec<[Live; 2]>>,
    error: Option<CodegenError>,
    steps: u64,
}

/// A scratch register in prologues and epilogues: no argument, result or call target is there.
const SCRATCH: Reg = gpr::R11;
/// Another one, in prologues only.
const SCRATCH2: Reg = gpr::R10;

impl<'a> Emitter<'a> {
    fn new(input: Input<'a>, buffer: &'a mut CodeBuffer) -> Self {
        let labels = input.func.blocks.keys().map(|_| buffer.label()).collect();
        Emitter {
            input,
            func: input.func,
            frame: input.frame,
            buffer,
            labels,
            stand_in: Vec::new(),
            loops: turns::Loops::default(),
            turn: 0,
            next_move: 0,
            flags: flags::Flags::default(),
            traps: HashMap::new(),
            trap_order: Vec::new(),
            tables: Vec::new(),
            sites: Vec::new(),
            error: None,
            steps: 0,
        }
    }

    fn fail(&mut self, message: String) {
        self.error.get_or_insert(CodegenError::Internal { pass: "emission", message });
    }

    /// Appends a row.
    fn row(&mut self, row: RowId, variant: Variant, operands: &[Operand]) {
        self.steps += 1;
        encode(row, variant, operands, self.buffer);
    }

    fn function(&mut self) {
        self.find_stand_ins();
        let slow = self.prologue();
        let blocks = &self.func.blocks;
        let emitted = |block: &MachineBlock| self.stand_in[block.index()] == block.as_u32();
        let all = if self.func.order.is_empty() { blocks.keys().collect() } else { self.func.order.clone() };
        let (hot, cold): (Vec<MachineBlock>, Vec<MachineBlock>) =
            all.into_iter().filter(emitted).partition(|&b| !blocks[b].cold || b.index() == 0);
        let mut order = self.places(hot);
        order.extend(cold.into_iter().map(|block| Place { block, turn: 0 }));
        let starts = self.move_starts();
        for (k, &place) in order.iter().enumerate() {
            self.next_move = starts[place.block.index()] as usize;
            self.turn = place.turn;
            let next = order.get(k + 1).map(|&next| self.label_at(next));
            self.block(place, next);
        }
        self.turn = 0;
        if let Some(slow) = slow {
            self.slow_path(slow);
        }
        for (code, location, label, back) in core::mem::take(&mut self.trap_order) {
            self.buffer.bind(label);
            self.buffer.location(location);
            self.trap_here(code);
            if let Some(back) = back {
                self.buffer.branch(Branch::X64Jump, back);
            }
        }
        for (label, place, table) in core::mem::take(&mut self.tables) {
            self.turn = place.turn;
            self.table(label, place.block, table);
        }
    }

    /// The first move of each block.
    fn move_starts(&self) -> Vec<u32> {
        let allocation = self.input.allocation;
        let mut starts = vec![0; self.func.blocks.len()];
        let mut at = 0;
        for (block, data) in self.func.blocks.iter() {
            starts[block.index()] = at as u32;
            while allocation.nth_move(at).is_some_and(|m| m.inst < data.insts.end) {
                at += 1;
            }
        }
        starts
    }

    /// Finds blocks that only jump. A cycle of them stays as it is.
    fn find_stand_ins(&mut self) {
        let func = self.func;
        let mut next: Vec<u32> = (0..func.blocks.len() as u32).collect();
        let starts = self.move_starts();
        for (block, data) in func.blocks.iter().skip(1) {
            let only_jump = data.insts.end - data.insts.start == 1
                && func.insts[data.insts.start as usize].pseudo() == Some(Pseudo::Jump);
            let first = self.input.allocation.nth_move(starts[block.index()] as usize);
            if only_jump && first.is_none_or(|m| m.inst != data.insts.start) {
                next[block.index()] = func.successors[data.successors.start as usize].index() as u32;
            }
        }
        // Follow chains; each block is finished once. 0: not begun, 1: on the chain, 2: done.
        let mut state = vec![0u8; next.len()];
        let mut chain = Vec::new();
        for first in 0..next.len() {
            let mut at = first;
            while state[at] == 0 {
                state[at] = 1;
                chain.push(at);
                self.steps += 1;
                if next[at] as usize == at {
                    break;
                }
                at = next[at] as usize;
            }
            // On a cycle of jumps, `at` is the one that stays.
            let end = if state[at] == 1 { at as u32 } else { next[at] };
            for block in chain.drain(..) {
                next[block] = end;
                state[block] = 2;
            }
        }
        self.stand_in = next;
    }

    fn block(&mut self, place: Place, next: Option<Label>) {
        let block = place.block;
        self.buffer.bind(self.label_at(place));
        self.flags.forget();
        self.steps += 1;
        for index in self.func.blocks[block].insts.range() {
            self.steps += 1;
            self.moves(index as u32, false);
            let inst = self.func.insts[index];
            self.buffer.location(inst.location());
            match inst.pseudo() {
                _ if self.is_left_out(place, index) => {}
                _ if self.is_needless_test(index, &inst) => {}
                None => self.table_row(index, &inst),
                Some(pseudo) => self.pseudo(pseudo, index, &inst, block, next),
            }
            self.moves(index as u32, true);
        }
    }

    fn moves(&mut self, inst: u32, after: bool) {
        while let Some(edit) = self.input.allocation.nth_move(self.next_move)
            && edit.inst == inst
            && edit.after == after
        {
            self.next_move += 1;
            self.flags.overwrite(edit.to);
            self.one_move(edit); // keeps E1
        }
    }

    fn one_move(&mut self, edit: Move) {
        match (edit.from, edit.to) {
            (Location::Reg(from), Location::Reg(to)) => self.copy(to, from),
            (Location::Spill(slot), Location::Reg(to)) => self.load(to, self.spill(slot)),
            (Location::Reg(from), Location::Spill(slot)) => self.store(self.spill(slot), from),
            (Location::Spill(_), Location::Spill(_)) => self.fail("a move between spill slots".into()),
        }
    }

    fn spill(&self, word: u32) -> Mem {
        Mem::base(gpr::RBP, self.spill_offset(word))
    }

    fn spill_offset(&self, word: u32) -> i32 {
        self.frame.spills + 8 * word as i32
    }

    fn copy(&mut self, to: Reg, from: Reg) {
        if to == from {
            return;
        }
        match (to.class(), from.class()) {
            (RegClass::Int, RegClass::Int) => self.row(op::MOV_RM, Variant::S64, &[to.into(), from.into()]),
            (RegClass::Vector, RegClass::Vector) => {
                self.row(op::MOVAPS_RM, Variant::NONE, &[to.into(), from.into()]);
            }
            _ => self.fail("a copy between register classes".into()),
        }
    }

    fn load(&mut self, to: Reg, from: Mem) {
        match (to.class(), self.func.wide_vectors) {
            (RegClass::Vector, false) if seeded_bug(4) => {
                self.row(op::MOVSS_RM, Variant::NONE, &[to.into(), from.into()]);
            }
            (RegClass::Int, _) => self.row(op::MOV_RM, Variant::S64, &[to.into(), from.into()]),
            (RegClass::Vector, true) => self.row(op::MOVUPS_RM, Variant::NONE, &[to.into(), from.into()]),
            (RegClass::Vector, false) => self.row(op::MOVSD_RM, Variant::NONE, &[to.into(), from.into()]),
        }
    }

    fn store(&mut self, to: Mem, from: Reg) {
        match (from.class(), self.func.wide_vectors) {
            (RegClass::Int, _) => self.row(op::MOV_MR, Variant::S64, &[to.into(), from.into()]),
            (RegClass::Vector, true) => self.row(op::MOVUPS_MR, Variant::NONE, &[to.into(), from.into()]),
            (RegClass::Vector, false) => self.row(op::MOVSD_MR, Variant::NONE, &[to.into(), from.into()]),
        }
    }

    fn reg(&mut self, inst: usize, k: usize) -> Reg {
        match self.location(inst, k) {
            Some(Location::Reg(reg)) => reg,
            _ => {
                self.fail(format!("operand {k} of instruction {inst} is in no register"));
                gpr::RAX
            }
        }
    }

    fn location(&self, inst: usize, k: usize) -> Option<Location> {
        (k < self.func.operands_of(inst).len()).then(|| self.input.allocation.location(inst, k))
    }

    /// The address of a memory operand whose registers are operands from `k` on; gives the number of them too.
    fn mem(&mut self, inst: usize, mut k: usize, data: &AmodeData) -> (Mem, usize) {
        let first = k;
        let amode = &data.amode;
        let rbp = |base: i32| (Some(gpr::RBP), i64::from(base));
        let (base, start) = match amode.base {
            Base::Reg(_) | Base::Pinned(_) => {
                k += 1;
                (Some(self.reg(inst, k - 1)), 0)
            }
            Base::None => (None, 0),
            Base::Slot(slot) if self.frame.realign != 0 => {
                (Some(gpr::RSP), i64::from(self.frame.slots[slot]))
            }
            Base::Slot(slot) => rbp(self.frame.slots[slot]),
            Base::Incoming => rbp(self.frame.incoming_base()),
            Base::TailOutgoing(bytes) => rbp(self.frame.tail_base(bytes)),
            Base::Outgoing => (Some(gpr::RSP), 0),
            Base::Constant(constant) => {
                let pool = self.buffer.constant(self.func.constants[constant].bytes());
                return (Mem::Constant(pool), 0);
            }
            Base::Symbol(symbol) => return (Mem::Symbol(symbol, amode.disp), 0),
            Base::Got(symbol) => return (Mem::Got(symbol), 0),
        };
        let index = amode.index.map(|(_, shift)| {
            k += 1;
            (self.reg(inst, k - 1), shift)
        });
        let disp = i32::try_from(start + i64::from(amode.disp)).unwrap_or_else(|_| {
            self.fail("an offset in the frame is larger than 2 GiB".into());
            0
        });
        let shift = index.map_or(0, |i| i.1);
        (Mem::Address(Address { base, index: index.map(|i| i.0), shift, disp }), k - first)
    }

    /// An instruction of the ISA's table.
    fn table_row(&mut self, index: usize, inst: &MachineInst) {
        let row = RowId(inst.row);
        let memory =
            (inst.variant & VARIANT_MEMORY != 0).then(|| self.func.amodes[AmodeRef::from_u32(inst.payload)]);
        let imm = memory.map_or(inst.payload as i32, |data| data.imm);
        let mut operands = SmallVec::<[Operand; 6]>::new();
        let mut k = 0;
        for spec in row.row().operands {
            let operand = match spec.kind {
                Kind::Imm if inst.variant & VARIANT_WIDE != 0 => {
                    Operand::Imm(self.func.wide_immediates[inst.payload as usize] as i64)
                }
                Kind::Imm if inst.variant & VARIANT_SYMBOL != 0 => Operand::Symbol(Symbol(inst.payload), 0),
                Kind::Imm => Operand::Imm(i64::from(imm)),
                Kind::Target => Operand::Symbol(Symbol(inst.payload), 0),
                _ => match memory {
                    Some(data) if spec.kind.takes_memory() => {
                        let (mem, used) = self.mem(index, k, &data);
                        k += used;
                        Operand::Mem(mem)
                    }
                    _ => {
                        // A register both read and written is a use and a tied def: the def names it.
                        k += usize::from(spec.role == Role::Modify);
                        k += 1;
                        self.register_operand(index, k - 1, spec)
                    }
                },
            };
            operands.push(operand);
        }
        // A result that keeps upper lanes would wait for whatever was in the register before.
        if row.row().merges && operands[0] != operands[1] {
            self.row(op::ZERO_PS, Variant::NONE, &operands[..1]);
        }
        let forgotten = seeded_bug(5) && row.row().operands.iter().any(|spec| spec.kind == Kind::Imm);
        if inst.trap() != 0 && !forgotten {
            self.buffer.trap(inst.trap()); // keeps E2
        }
        self.row(row, inst.variant(), &operands);
    }

    fn register_operand(&mut self, inst: usize, k: usize, spec: &Spec) -> Operand {
        match self.location(inst, k) {
            Some(Location::Reg(reg)) => Operand::Reg(reg),
            Some(Location::Spill(word)) if spec.kind.takes_memory() && spec.role == Role::Use => {
                Operand::Mem(self.spill(word))
            }
            _ => Operand::Reg(self.reg(inst, k)),
        }
    }

    fn pseudo(
        &mut self,
        pseudo: Pseudo,
        index: usize,
        inst: &MachineInst,
        block: MachineBlock,
        next: Option<Label>,
    ) {
        let cond = inst.variant().get_cond();
        let second = Cond::ALL[(inst.payload & 15) as usize];
        match pseudo {
            Pseudo::Entry => {}
            Pseudo::Copy => {
                let (to, from) = (self.reg(index, 0), self.reg(index, 1));
                self.copy(to, from);
            }
            Pseudo::Jump => {
                let target = self.target(block, 0);
                if Some(target) != next {
                    self.buffer.branch(Branch::X64Jump, target);
                }
            }
            Pseudo::JumpIf => self.jump_if(cond, block, next),
            Pseudo::JumpIfBoth => {
                let other = self.target(block, 1);
                self.buffer.branch(Branch::X64JumpIf(cond.invert() as u8), other);
                self.jump_if(second, block, next);
            }
            Pseudo::JumpIfEither => {
                let then = self.target(block, 0);
                self.buffer.branch(Branch::X64JumpIf(cond as u8), then);
                self.jump_if(second, block, next);
            }
            Pseudo::CompareIfBoth => {
                let other = self.target(block, 1);
                self.buffer.branch(Branch::X64JumpIf(cond.invert() as u8), other);
                self.compare_here(index, inst);
                self.jump_if(inst.second_cond(), block, next);
            }
            Pseudo::CompareIfEither => {
                let then = self.target(block, 0);
                self.buffer.branch(Branch::X64JumpIf(cond as u8), then);
                self.compare_here(index, inst);
                self.jump_if(inst.second_cond(), block, next);
            }
            Pseudo::JumpTable => self.jump_table(index, inst, block),
            Pseudo::Call => self.call(index, inst),
            Pseudo::TailCall => self.tail_call(index, inst),
            Pseudo::Return => self.epilogue_return(),
            Pseudo::Trap => self.trap_here(inst.trap()),
            Pseudo::TrapIf => {
                let (label, back) = self.trap_label(inst);
                self.buffer.branch(Branch::X64JumpIf(cond as u8), label);
                self.bind_back(back);
            }
            Pseudo::TrapIfEither => {
                let (label, back) = self.trap_label(inst);
                self.buffer.branch(Branch::X64JumpIf(cond as u8), label);
                self.buffer.branch(Branch::X64JumpIf(second as u8), label);
                self.bind_back(back);
            }
            Pseudo::TrapIfBoth => {
                let (label, back) = self.trap_label(inst);
                let past = self.buffer.label();
                self.buffer.branch(Branch::X64JumpIf(cond.invert() as u8), past);
                self.buffer.branch(Branch::X64JumpIf(second as u8), label);
                self.buffer.bind(past);
                self.bind_back(back);
            }
            Pseudo::Safepoint => self.site(index, 0),
            Pseudo::Sequence => self.sequence(index, inst),
        }
    }

    fn target(&self, block: MachineBlock, k: usize) -> Label {
        let at = self.func.blocks[block].successors.start as usize + k;
        self.label_for(block, MachineBlock::new(self.func.successors[at].index()))
    }

    fn jump_if(&mut self, cond: Cond, block: MachineBlock, next: Option<Label>) {
        let (then, other) = (self.target(block, 0), self.target(block, 1));
        if then == other {
            if next != Some(then) {
                self.buffer.branch(Branch::X64Jump, then);
            }
            return;
        }
        branch_if(cond, then, other, next, self.buffer);
    }

    /// The comparison that a branch makes itself: of two operands, or of one with the payload.
    fn compare_here(&mut self, index: usize, inst: &MachineInst) {
        let size = Variant::size(inst.variant().get_size());
        let place = |emitter: &mut Self, k| match emitter.location(index, k) {
            Some(Location::Spill(word)) => Operand::Mem(emitter.spill(word)),
            _ => Operand::Reg(emitter.reg(index, k)),
        };
        let (first, imm) = (place(self, 0), inst.payload as i32);
        if self.func.operands_of(index).len() == 2 {
            let second = place(self, 1);
            self.row(op::CMP_RM, size, &[first, second]);
        } else if let (Operand::Reg(reg), 0) = (first, imm) {
            self.row(op::TEST_RR, size, &[reg.into(), reg.into()]);
        } else {
            let row = if matches!(first, Operand::Mem(_)) { op::CMP_MI } else { op::CMP_RI };
            self.row(row, size, &[first, Operand::Imm(i64::from(imm))]);
        }
    }

    /// Clamps the index without a branch, so that no speculation goes past the table, and jumps through it.
    fn jump_table(&mut self, index: usize, inst: &MachineInst, block: MachineBlock) {
        let (value, base, entry) = (self.reg(index, 0), self.reg(index, 1), self.reg(index, 2));
        let default = self.func.jump_tables[inst.payload as usize].len() as i64 - 1;
        let label = self.buffer.label();
        // Where no index is beyond the table, its register is as wide as an address.
        let index = if inst.variant() == Variant::S64 { value } else { entry };
        if index == entry {
            self.row(op::MOV_RI, Variant::S32, &[entry.into(), Operand::Imm(default)]);
            self.row(op::CMP_RM, Variant::S32, &[value.into(), entry.into()]);
            self.row(op::CMOVCC, Variant::S32.with_cond(Cond::B), &[entry.into(), value.into()]);
        }
        self.row(op::LEA, Variant::S64, &[base.into(), Mem::Label(label, 0).into()]);
        self.row(op::MOVSXD, Variant::NONE, &[entry.into(), Mem::indexed(base, index, 2, 0).into()]);
        self.row(op::ADD_RM, Variant::S64, &[base.into(), entry.into()]);
        self.row(op::JMP_RM, Variant::NONE, &[base.into()]);
        self.tables.push((label, Place { block, turn: self.turn }, inst.payload));
    }

    fn table(&mut self, label: Label, block: MachineBlock, table: u32) {
        let targets: Vec<Label> = self.func.jump_tables[table as usize]
            .iter()
            .map(|&successor| self.target(block, successor as usize))
            .collect();
        self.steps += targets.len() as u64;
        self.buffer.align(4);
        self.buffer.bind(label);
        self.buffer.jump_table(label, &targets);
    }

    fn trap_here(&mut self, code: u8) {
        self.buffer.trap(code);
        self.row(op::UD2, Variant::NONE, &[]);
    }

    /// Where the trap of a conditional one stands, and, if the runtime may let code go on, where it comes back to.
    fn trap_label(&mut self, inst: &MachineInst) -> (Label, Option<Label>) {
        let (code, location) = (inst.trap(), inst.location());
        if !Trap::is_resumable(code) {
            return (self.trap_at(code, location), None);
        }
        let (label, back) = (self.buffer.label(), self.buffer.label());
        self.trap_order.push((code, location, label, Some(back)));
        (label, Some(back))
    }

    fn bind_back(&mut self, back: Option<Label>) {
        if let Some(back) = back {
            self.buffer.bind(back);
        }
    }

    fn trap_at(&mut self, code: u8, location: u32) -> Label {
        let (buffer, order) = (&mut *self.buffer, &mut self.trap_order);
        *self.traps.entry((code, location)).or_insert_with(|| {
            let label = buffer.label();
            order.push((code, location, label, None));
            label
        })
    }

    /// Records a safepoint whose live values are the operands from `first` on.
    fn site(&mut self, inst: usize, first: usize) {
        let mut live = SmallVec::new();
        for k in first..self.func.operands_of(inst).len() {
            match self.location(inst, k) {
                Some(Location::Spill(word)) => live.push(Live::Frame(self.spill_offset(word))),
                Some(Location::Reg(reg)) => live.push(Live::Register(reg)),
                None => {}
            }
        }
        self.buffer.call(self.sites.len() as u32);
        self.sites.push(live);
    }

    /// What a call's target is, as an operand, and the number of operands it takes.
    fn call_target(&mut self, index: usize, call: &Call) -> (Operand, usize) {
        match call.target {
            Target::Symbol(symbol) => (Operand::Symbol(symbol, 0), 0),
            Target::Register => (Operand::Reg(self.reg(index, 0)), 1),
            Target::Memory(amode) => {
                let (mem, used) = self.mem(index, 0, &self.func.amodes[amode]);
                (Operand::Mem(mem), used)
            }
        }
    }

    fn switch_vmctx(&mut self, index: usize, call: &Call, at: usize) {
        let convention = self.input.placement.convention;
        let (Vmctx::Switch, Some(vmctx)) = (call.vmctx, convention.vmctx) else { return };
        let callee = self.reg(index, at);
        let kept = (0..at).all(|k| self.location(index, k) != Some(Location::Reg(convention.caller_vmctx)));
        if callee == convention.caller_vmctx || !kept {
            self.fail("a call's target or vmctx is in the register that hands over the caller's".into());
        }
        self.copy(convention.caller_vmctx, vmctx);
        self.copy(vmctx, callee);
    }

    fn call(&mut self, index: usize, inst: &MachineInst) {
        let call = self.func.calls[CallRef::from_u32(inst.payload)];
        let (target, used) = self.call_target(index, &call);
        self.switch_vmctx(index, &call, used);
        if inst.trap() != 0 {
            self.buffer.trap(inst.trap());
        }
        match target {
            Operand::Symbol(..) => self.row(op::CALL, Variant::NONE, &[target]),
            _ => self.row(op::CALL_RM, Variant::NONE, &[target]),
        }
        let operands = self.func.operands_of(index).len();
        self.site(index, operands - call.live as usize); // keeps E3
        if call.callee_pops && call.stack_bytes > 0 {
            let bytes = Operand::Imm(i64::from(call.stack_bytes));
            self.row(op::SUB_RI, Variant::S64, &[gpr::RSP.into(), bytes]);
        }
        let lost = self.input.placement.convention.vmctx.is_some_and(|vmctx| call.clobbers.contains(vmctx));
        if call.vmctx != Vmctx::Keep || lost {
            match (self.input.placement.convention.vmctx, self.frame.vmctx) {
                (Some(vmctx), Some(at)) => self.load(vmctx, Mem::base(gpr::RBP, at)),
                _ => self.fail("a reload of vmctx in a function without it".into()),
            }
        }
    }

    fn sequence(&mut self, index: usize, inst: &MachineInst) {
        let memory =
            (inst.variant & VARIANT_MEMORY != 0).then(|| self.func.amodes[AmodeRef::from_u32(inst.payload)]);
        let mut skip = usize::MAX..usize::MAX;
        let mut mem = None;
        if let Some(data) = memory {
            // Its registers come last.
            let registers = usize::from(matches!(data.amode.base, Base::Reg(_) | Base::Pinned(_)))
                + usize::from(data.amode.index.is_some());
            let first = self.func.operands_of(index).len() - registers;
            mem = Some(self.mem(index, first, &data).0);
            skip = first..first + registers;
        }
        let operands = 0..self.func.operands_of(index).len();
        let regs = operands.filter(|k| !skip.contains(k)).map(|k| self.reg(index, k)).collect();
        let sequence = SequenceInst {
            number: memory.map_or(inst.payload, |data| data.imm as u32),
            variant: inst.variant(),
            regs,
            mem,
            trap: inst.trap(),
        };
        (self.input.sequences)(&sequence, self.buffer);
    }
}

#[cfg(test)]
mod tests;

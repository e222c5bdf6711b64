//! AArch64's half of emission: rows, branches, calls, moves.
//!
//! Needs: the shared emitter. Gives: [`Aarch64`]. Prologues and epilogues are in [`super::prologue`].
//!
//! - A1. x16 and x17 hold nothing between instructions: addresses that no instruction can say are computed there, before
//!   the trap record of the access is made.
//! - A2. Slots below the frame pointer are addressed upwards from the stack pointer, whose scaled form reaches far, unless
//!   the stack pointer was rounded down (`Frame::realign`).
//! - A3. A constant of any width is one instruction of the machine function and up to four words.

use crate::emit::{EmitTarget, Emitter, SequenceInst, SlowPath};
use crate::machine::{
    AmodeData, AmodeRef, Base, Call, CallRef, MachineBlock, MachineInst, Pseudo, Target, VARIANT_MEMORY,
    VARIANT_WIDE, Vmctx,
};
use crate::regalloc::Location;
use smallvec::SmallVec;
use sphex_asm::aarch64::encode::{
    branch_if, constant, encode, if_clear, if_zero, invert, on, symbol_address, symbol_slot,
};
use sphex_asm::aarch64::operand::{FP, SP, ZR, x};
use sphex_asm::aarch64::row::{Imm, Kind, Role, memory_fits};
use sphex_asm::aarch64::{Address, Cond, Extend, Mem, Operand, RowId, Size, Variant, op};
use sphex_asm::buffer::{Branch, Isa, Label};
use sphex_asm::register::{Reg, RegClass};

/// AArch64.
pub(crate) struct Aarch64;

/// A register for addresses and constants of one instruction (A1).
pub(super) const SCRATCH: Reg = x(16);
/// Another one.
pub(super) const SCRATCH2: Reg = x(17);

impl EmitTarget for Aarch64 {
    const ISA: Isa = Isa::Aarch64;
    const JUMP: Branch = Branch::A64Jump;
    const LOOK: u16 = op::CMN_RI.0;

    fn prologue(emitter: &mut Emitter<'_, Self>) -> Option<SlowPath> {
        emitter.prologue()
    }

    fn slow_path(emitter: &mut Emitter<'_, Self>, slow: SlowPath) {
        emitter.slow_path(slow);
    }

    fn copy(emitter: &mut Emitter<'_, Self>, to: Reg, from: Reg) {
        emitter.copy(to, from);
    }

    fn reload(emitter: &mut Emitter<'_, Self>, to: Reg, word: u32) {
        emitter.load_below(to, emitter.spill_offset(word), emitter.func.wide_vectors);
    }

    fn spill(emitter: &mut Emitter<'_, Self>, word: u32, from: Reg) {
        emitter.store_below(emitter.spill_offset(word), from, emitter.func.wide_vectors);
    }

    fn row(emitter: &mut Emitter<'_, Self>, index: usize, inst: &MachineInst) {
        emitter.table_row(index, inst);
    }

    fn pseudo(
        emitter: &mut Emitter<'_, Self>,
        pseudo: Pseudo,
        index: usize,
        inst: &MachineInst,
        block: MachineBlock,
        next: Option<Label>,
    ) {
        emitter.pseudo(pseudo, index, inst, block, next);
    }

    fn trap_here(emitter: &mut Emitter<'_, Self>, code: u8) {
        emitter.buffer.trap(code);
        emitter.put(op::UDF, Variant::NONE, &[Operand::Imm(i64::from(code))]);
    }
}

/// The payload of a `jump_if` or `trap_if` that tests a register instead of flags: bits 0 to 5 the bit asked for, bit 6
/// that it is one bit (else the whole register), bit 7 that it is to be set (or not zero), bit 8 that 64 bits count.
pub(super) const fn register_test(bit: Option<u8>, set: bool, wide: bool) -> u32 {
    let (bit, one) = match bit {
        Some(bit) => (bit as u32, 1),
        None => (0, 0),
    };
    bit | one << 6 | (set as u32) << 7 | (wide as u32) << 8
}

impl Emitter<'_, Aarch64> {
    /// Appends a row.
    pub(super) fn put(&mut self, row: RowId, variant: Variant, operands: &[Operand]) {
        self.steps += 1;
        encode(row, variant, operands, self.buffer);
    }

    pub(super) fn copy(&mut self, to: Reg, from: Reg) {
        if to == from {
            return;
        }
        match (to.class(), from.class()) {
            (RegClass::Int, RegClass::Int) => self.put(op::MOV_RR, Variant::S64, &[to.into(), from.into()]),
            (RegClass::Vector, RegClass::Vector) => {
                let (row, variant) = match self.func.wide_vectors {
                    true => (op::VMOV, Variant::NONE),
                    false => (op::FMOV_RR, Variant::S64),
                };
                self.put(row, variant, &[to.into(), from.into()]);
            }
            _ => self.fail("a copy between register classes".into()),
        }
    }

    /// `to = from + value`, either of them the stack pointer, neither [`SCRATCH`] where the value is large.
    pub(super) fn add(&mut self, to: Reg, from: Reg, value: i64) {
        if value == 0 {
            if to != from {
                self.put(op::MOV_SP, Variant::NONE, &[to.into(), from.into()]);
            }
            return;
        }
        let (row, size) = (if value > 0 { op::ADD_RRI } else { op::SUB_RRI }, value.unsigned_abs());
        let (high, low) = (size & 0xff_f000, size & 0xfff);
        if size < 1 << 24 {
            let mut from = from;
            for part in [high, low].into_iter().filter(|&part| part != 0) {
                self.put(row, Variant::S64, &[to.into(), from.into(), Operand::Imm(part as i64)]);
                from = to;
            }
            return;
        }
        constant(SCRATCH, value as u64, self.buffer);
        let whole = Operand::Imm(Extend::Uxtx.imm(0));
        self.put(op::ADD_RRE, Variant::S64, &[to.into(), from.into(), SCRATCH.into(), whole]);
    }

    /// Base and offset of what lies at so many bytes from the frame pointer, below it (A2).
    pub(super) fn below(&self, offset: i32) -> (Reg, i64) {
        match self.frame.realign {
            0 => (SP, i64::from(self.frame.size) + i64::from(offset)),
            _ => (FP, i64::from(offset)),
        }
    }

    /// The address as this row can say it, computed in [`SCRATCH`] where it cannot.
    fn reach(&mut self, row: RowId, base: Reg, offset: i64) -> Mem {
        let near = i32::try_from(offset).map(|offset| Mem::base(base, offset));
        if let Ok(mem) = near
            && memory_fits(row.row(), mem)
        {
            return mem;
        }
        self.add(SCRATCH, base, offset);
        Mem::base(SCRATCH, 0)
    }

    /// Loads a whole register from below the frame pointer.
    pub(super) fn load_below(&mut self, to: Reg, offset: i32, wide: bool) {
        let row = match (to.class(), wide) {
            (RegClass::Int, _) => op::LDR_X,
            (RegClass::Vector, false) => op::LDR_D,
            (RegClass::Vector, true) => op::LDR_Q,
        };
        let (base, offset) = self.below(offset);
        let from = self.reach(row, base, offset);
        self.put(row, Variant::NONE, &[to.into(), from.into()]);
    }

    /// Stores a whole register below the frame pointer.
    pub(super) fn store_below(&mut self, offset: i32, from: Reg, wide: bool) {
        let row = match (from.class(), wide) {
            (RegClass::Int, _) => op::STR_X,
            (RegClass::Vector, false) => op::STR_D,
            (RegClass::Vector, true) => op::STR_Q,
        };
        let (base, offset) = self.below(offset);
        let to = self.reach(row, base, offset);
        self.put(row, Variant::NONE, &[from.into(), to.into()]);
    }

    /// Base, index and offset of a memory operand whose registers are operands from `k` on; gives the number of them too.
    fn parts(&mut self, inst: usize, k: usize, data: &AmodeData) -> (Reg, Option<(Reg, u8)>, i64, usize) {
        let (amode, mut at) = (&data.amode, k);
        let (base, start) = match amode.base {
            Base::Reg(_) | Base::Pinned(_) => {
                at += 1;
                (self.reg(inst, at - 1), 0)
            }
            Base::Slot(slot) if self.frame.realign != 0 => (SP, i64::from(self.frame.slots[slot])),
            Base::Slot(slot) => self.below(self.frame.slots[slot]),
            Base::Incoming => (FP, i64::from(self.frame.incoming_base())),
            Base::TailOutgoing(bytes) => (FP, i64::from(self.frame.tail_base(bytes))),
            Base::Outgoing => (SP, 0),
            Base::None | Base::Constant(_) | Base::Symbol(_) | Base::Got(_) => {
                self.fail(format!("an address of this kind: {amode:?}"));
                (ZR, 0)
            }
        };
        let index = amode.index.map(|(_, shift)| {
            at += 1;
            (self.reg(inst, at - 1), shift)
        });
        (base, index, start + i64::from(amode.disp), at - k)
    }

    /// A memory operand as this row can say it.
    fn mem(&mut self, row: RowId, inst: usize, k: usize, data: &AmodeData) -> (Mem, usize) {
        let (base, index, offset, used) = self.parts(inst, k, data);
        let Some((index, shift)) = index else { return (self.reach(row, base, offset), used) };
        if offset == 0 {
            let mem = Mem::Address(Address { base: Some(base), index: Some(index), shift, disp: 0 });
            if memory_fits(row.row(), mem) {
                return (mem, used);
            }
        }
        self.index(SCRATCH2, base, index, shift);
        (self.reach(row, SCRATCH2, offset), used)
    }

    /// `to = base + index`, extended and shifted.
    fn index(&mut self, to: Reg, base: Reg, index: Reg, shift: u8) {
        let (extend, shift) = Extend::of_index(shift);
        let how = Operand::Imm(extend.imm(shift));
        self.put(op::ADD_RRE, Variant::S64, &[to.into(), base.into(), index.into(), how]);
    }

    /// The address of a memory operand, in a register.
    fn address(&mut self, inst: usize, to: Reg, data: &AmodeData) {
        match data.amode.base {
            Base::Symbol(symbol) => return symbol_address(to, symbol, data.amode.disp, self.buffer),
            Base::Got(symbol) => return symbol_slot(to, symbol, self.buffer),
            _ => {}
        }
        let (base, index, offset, _) = self.parts(inst, 1, data);
        match index {
            Some((index, shift)) if offset == 0 => self.index(to, base, index, shift),
            Some((index, shift)) => {
                self.index(SCRATCH2, base, index, shift);
                self.add(to, SCRATCH2, offset);
            }
            None => self.add(to, base, offset),
        }
    }

    /// An instruction of the table.
    fn table_row(&mut self, index: usize, inst: &MachineInst) {
        let row = RowId(inst.row);
        let memory =
            (inst.variant & VARIANT_MEMORY != 0).then(|| self.func.amodes[AmodeRef::from_u32(inst.payload)]);
        let wide =
            (inst.variant & VARIANT_WIDE != 0).then(|| self.func.wide_immediates[inst.payload as usize]);
        match (row, memory, wide) {
            (op::ADRP | op::ADD_RRI, Some(data), _) => {
                let to = self.reg(index, 0);
                return self.address(index, to, &data);
            }
            (op::MOVZ, _, Some(value)) => {
                let to = self.reg(index, 0);
                return constant(to, value, self.buffer); // keeps A3
            }
            _ => {}
        }
        let imm = match wide {
            Some(value) => value as i64,
            None => i64::from(memory.map_or(inst.payload as i32, |data| data.imm)),
        };
        let mut operands = SmallVec::<[Operand; 6]>::new();
        let mut k = 0;
        for spec in row.row().operands {
            let operand = match (spec.kind, memory) {
                (Kind::Imm(Imm::Logical), _) if inst.variant().get_size() != Size::S64 => {
                    Operand::Imm(imm & 0xffff_ffff)
                }
                (Kind::Imm(_), _) => Operand::Imm(imm),
                (Kind::Mem, Some(data)) => {
                    let (mem, used) = self.mem(row, index, k, &data);
                    k += used;
                    Operand::Mem(mem)
                }
                _ => {
                    // A register both read and written is a use and a tied def: the def names it.
                    k += usize::from(spec.role == Role::Modify);
                    k += 1;
                    Operand::Reg(self.reg(index, k - 1))
                }
            };
            operands.push(operand);
        }
        if inst.trap() != 0 {
            self.buffer.trap(inst.trap());
        }
        self.put(row, inst.variant(), &operands);
    }

    fn pseudo(
        &mut self,
        pseudo: Pseudo,
        index: usize,
        inst: &MachineInst,
        block: MachineBlock,
        next: Option<Label>,
    ) {
        let cond = Cond::of(inst.variant());
        let second = Cond::from_bits(inst.payload as u8);
        match pseudo {
            Pseudo::Entry => {}
            Pseudo::Copy => {
                let (to, from) = (self.reg(index, 0), self.reg(index, 1));
                self.copy(to, from);
            }
            Pseudo::Jump => {
                let target = self.target(block, 0);
                if Some(target) != next {
                    self.buffer.branch(Branch::A64Jump, target);
                }
            }
            Pseudo::JumpIf => {
                let test = self.test(index, inst);
                self.jump_if(test, block, next);
            }
            Pseudo::JumpIfBoth => {
                let other = self.target(block, 1);
                self.buffer.branch(on(cond.invert()), other);
                self.jump_if(on(second), block, next);
            }
            Pseudo::JumpIfEither => {
                let then = self.target(block, 0);
                self.buffer.branch(on(cond), then);
                self.jump_if(on(second), block, next);
            }
            Pseudo::CompareIfBoth | Pseudo::CompareIfEither => {
                self.fail("a comparing branch of another instruction set".into());
            }
            Pseudo::JumpTable => self.jump_table(index, inst, block),
            Pseudo::Call => self.call(index, inst),
            Pseudo::TailCall => self.tail_call(index, inst),
            Pseudo::Return => self.epilogue_return(),
            Pseudo::Trap => Aarch64::trap_here(self, inst.trap()),
            Pseudo::TrapIf => {
                let test = self.test(index, inst);
                let (label, back) = self.trap_label(inst);
                self.buffer.branch(test, label);
                self.bind_back(back);
            }
            Pseudo::TrapIfEither => {
                let (label, back) = self.trap_label(inst);
                self.buffer.branch(on(cond), label);
                self.buffer.branch(on(second), label);
                self.bind_back(back);
            }
            Pseudo::TrapIfBoth => {
                let (label, back) = self.trap_label(inst);
                let past = self.buffer.label();
                self.buffer.branch(on(cond.invert()), past);
                self.buffer.branch(on(second), label);
                self.buffer.bind(past);
                self.bind_back(back);
            }
            Pseudo::Safepoint => self.site(index, 0),
            Pseudo::Sequence => self.sequence(index, inst),
        }
    }

    /// What a `jump_if` or `trap_if` tests: flags, or its operand.
    fn test(&mut self, index: usize, inst: &MachineInst) -> Branch {
        if self.func.operands_of(index).is_empty() {
            return on(Cond::of(inst.variant()));
        }
        let (reg, how) = (self.reg(index, 0), inst.payload);
        let test = match how >> 6 & 1 {
            1 => if_clear(reg, (how & 63) as u8),
            _ => if_zero(reg, if how >> 8 & 1 == 1 { Size::S64 } else { Size::S32 }),
        };
        if how >> 7 & 1 == 1 { invert(test) } else { test }
    }

    fn jump_if(&mut self, test: Branch, block: MachineBlock, next: Option<Label>) {
        let (then, other) = (self.target(block, 0), self.target(block, 1));
        if then == other {
            if next != Some(then) {
                self.buffer.branch(Branch::A64Jump, then);
            }
            return;
        }
        branch_if(test, then, other, next, self.buffer);
    }

    /// Clamps the index without a branch, so that no speculation goes past the table, and jumps through it. The table
    /// stands right behind, always in reach.
    fn jump_table(&mut self, index: usize, inst: &MachineInst, block: MachineBlock) {
        let (value, base, entry) = (self.reg(index, 0), self.reg(index, 1), self.reg(index, 2));
        let default = self.func.jump_tables[inst.payload as usize].len() as u64 - 1;
        let label = self.buffer.label();
        constant(entry, default, self.buffer);
        self.put(op::CMP_RR, Variant::S32, &[value.into(), entry.into()]);
        let below = Cond::Lo.with(Variant::S32);
        self.put(op::CSEL, below, &[entry.into(), value.into(), entry.into()]);
        self.put(op::ADR, Variant::NONE, &[base.into(), label.into()]);
        let at = Address { base: Some(base), index: Some(entry), shift: Extend::Uxtw.index(2), disp: 0 };
        self.put(op::LDRSW, Variant::NONE, &[entry.into(), Mem::Address(at).into()]);
        self.put(op::ADD_RRR, Variant::S64, &[base.into(), base.into(), entry.into()]);
        self.put(op::BR, Variant::NONE, &[base.into()]);
        self.table(label, block, inst.payload);
    }

    /// Where a call goes: a symbol, or a register (a target in memory is loaded first).
    pub(super) fn call_target(&mut self, index: usize, call: &Call) -> (Operand, usize) {
        match call.target {
            Target::Symbol(symbol) => (Operand::Symbol(symbol, 0), 0),
            Target::Register => (Operand::Reg(self.reg(index, 0)), 1),
            Target::Memory(amode) => {
                let (mem, used) = self.mem(op::LDR_X, index, 0, &self.func.amodes[amode]);
                self.put(op::LDR_X, Variant::NONE, &[SCRATCH.into(), mem.into()]);
                (SCRATCH.into(), used)
            }
        }
    }

    pub(super) fn switch_vmctx(&mut self, index: usize, call: &Call, at: usize) {
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
            Operand::Symbol(..) => self.put(op::BL, Variant::NONE, &[target]),
            _ => self.put(op::BLR, Variant::NONE, &[target]),
        }
        let operands = self.func.operands_of(index).len();
        self.site(index, operands - call.live as usize);
        if call.callee_pops && call.stack_bytes > 0 {
            self.add(SP, SP, -i64::from(call.stack_bytes));
        }
        let lost = self.input.placement.convention.vmctx.is_some_and(|vmctx| call.clobbers.contains(vmctx));
        if call.vmctx != Vmctx::Keep || lost {
            match (self.input.placement.convention.vmctx, self.frame.vmctx) {
                (Some(vmctx), Some(at)) => self.load_below(vmctx, at, false),
                _ => self.fail("a reload of vmctx in a function without it".into()),
            }
        }
    }

    fn sequence(&mut self, index: usize, inst: &MachineInst) {
        let memory =
            (inst.variant & VARIANT_MEMORY != 0).then(|| self.func.amodes[AmodeRef::from_u32(inst.payload)]);
        let operands = 0..self.func.operands_of(index).len();
        let regs = operands.map(|k| self.reg(index, k)).collect();
        let sequence = SequenceInst {
            number: memory.map_or(inst.payload, |data| data.imm as u32),
            variant: inst.variant(),
            regs,
            mem: None,
            trap: inst.trap(),
        };
        (self.input.sequences)(&sequence, self.buffer);
    }
}

//! Prologues and epilogues: the frame's life in instructions and unwind records.
//!
//! Needs: the frame. Gives: the code at entry (making room for tail calls' arguments, frame pointer, stack limit, probes,
//! saved registers), at returns and at tail calls, and the slow path of the stack limit.
//!
//! P1. From [`UnwindOp::SetFramePointer`] to an epilogue the frame is found through `rbp` alone: nothing that moves `rsp`
//!     in between needs a record.
//! P2. An epilogue begins, for the unwinder, when every saved register has its value back; at its end the state before
//!     it holds again, for the code behind.
//! P3. At entry `r10` and `r11` hold nothing: no convention passes arguments there, nor does any call target live there.

use super::{Emitter, SCRATCH, SCRATCH2};
use crate::abi::Place;
use crate::frame::{LimitAction, StackLimit};
use crate::machine::{CallRef, MachineInst};
use smallvec::SmallVec;
use sphex_asm::buffer::{Branch, Label};
use sphex_asm::record::UnwindOp;
use sphex_asm::register::{Reg, RegClass};
use sphex_asm::x64::operand::gpr::{RAX, RBP, RDI, RSP};
use sphex_asm::x64::{Cond, Mem, Operand, Variant, op};
use sphex_ir::TrapCode;

/// Frames up to this size pass the runtime's stack limit by comparing `rsp` alone: the limit leaves room for them.
const PLAIN_COMPARE: u32 = 4096;

/// Frames up to so many probes have them in a row.
const UNROLLED_PROBES: u32 = 5;

/// The way out of line where the stack limit was reached, and back.
pub(crate) struct SlowPath {
    pub(crate) label: Label,
    pub(crate) back: Label,
    pub(crate) call: (i32, i32),
}

fn imm(value: impl Into<i64>) -> Operand {
    Operand::Imm(value.into())
}

impl Emitter<'_> {
    /// Emits the code at entry.
    pub(super) fn prologue(&mut self) -> Option<SlowPath> {
        self.buffer.require_alignment(16);
        self.buffer.location(self.first_location());
        let frame = self.frame;
        if frame.growth > 0 {
            let growth = imm(frame.growth);
            self.row(op::MOV_RM, Variant::S64, &[SCRATCH.into(), Mem::base(RSP, 0).into()]);
            self.row(op::SUB_RI, Variant::S64, &[RSP.into(), growth]);
            self.buffer.unwind(UnwindOp::ReturnAddressAt(frame.growth));
            self.row(op::MOV_MR, Variant::S64, &[Mem::base(RSP, 0).into(), SCRATCH.into()]);
            self.buffer.unwind(UnwindOp::ReturnAddressAt(0));
        }
        self.row(op::PUSH_R, Variant::NONE, &[RBP.into()]);
        self.buffer.unwind(UnwindOp::PushFramePointer);
        self.row(op::MOV_RM, Variant::S64, &[RBP.into(), RSP.into()]);
        self.buffer.unwind(UnwindOp::SetFramePointer);
        let leaf = frame.size == 0 && self.func.calls.is_empty();
        let slow = self.input.limit.filter(|_| !leaf).and_then(|limit| self.check_limit(limit));
        self.reserve();
        if frame.realign > 0 {
            let mask = imm(-i64::from(frame.realign));
            self.row(op::AND_RI, Variant::S64, &[RSP.into(), mask]);
        }
        if let (Some(at), Some(vmctx)) = (frame.vmctx, self.input.placement.convention.vmctx) {
            self.row(op::MOV_MR, Variant::S64, &[Mem::base(RBP, at).into(), vmctx.into()]);
        }
        for &(register, offset) in &frame.saved {
            self.store_whole(Mem::base(RBP, offset), register);
            self.buffer.unwind(UnwindOp::SaveRegister { register, offset });
        }
        slow
    }

    fn store_whole(&mut self, to: Mem, from: Reg) {
        match from.class() {
            RegClass::Int => self.row(op::MOV_MR, Variant::S64, &[to.into(), from.into()]),
            RegClass::Vector => self.row(op::MOVUPS_MR, Variant::NONE, &[to.into(), from.into()]),
        }
    }

    fn load_whole(&mut self, to: Reg, from: Mem) {
        match to.class() {
            RegClass::Int => self.row(op::MOV_RM, Variant::S64, &[to.into(), from.into()]),
            RegClass::Vector => self.row(op::MOVUPS_RM, Variant::NONE, &[to.into(), from.into()]),
        }
    }

    /// Compares what `rsp` will be with the limit. Where the frame is large the difference is made first, and a borrow
    /// means that it would wrap.
    fn check_limit(&mut self, limit: &StackLimit) -> Option<SlowPath> {
        let code = TrapCode::STACK_OVERFLOW.as_u8();
        let (label, slow, plain) = match limit.action {
            LimitAction::Trap => (self.trap_at(code, self.first_location()), None, 0),
            LimitAction::Builtin(table, entry) => {
                let (label, back) = (self.buffer.label(), self.buffer.label());
                (label, Some(SlowPath { label, back, call: (table, entry) }), PLAIN_COMPARE)
            }
        };
        if let Some(slow) = &slow {
            // Back to here: the runtime may have put another limit in place.
            self.buffer.bind(slow.back);
        }
        let mut base = limit.base;
        let against: Operand = match limit.loads.split_last() {
            None => base.into(),
            Some((last, chain)) => {
                for &offset in chain {
                    self.load_whole(SCRATCH, Mem::base(base, offset));
                    base = SCRATCH;
                }
                Mem::base(base, *last).into()
            }
        };
        let mut lowest = RSP;
        if self.frame.size > plain {
            lowest = SCRATCH2;
            self.row(op::MOV_RM, Variant::S64, &[lowest.into(), RSP.into()]);
            self.row(op::SUB_RI, Variant::S64, &[lowest.into(), imm(self.frame.size)]);
            self.buffer.branch(Branch::X64JumpIf(Cond::B as u8), label);
        }
        self.row(op::CMP_RM, Variant::S64, &[lowest.into(), against]);
        self.buffer.branch(Branch::X64JumpIf(Cond::Be as u8), label);
        slow
    }

    /// Reserves the frame; where it spans pages, touches each in order.
    fn reserve(&mut self) {
        let size = self.frame.size;
        if size == 0 {
            return;
        }
        let page = 1u32 << self.input.settings.probestack_size_log2;
        let pages = if self.input.settings.probestack { size / page } else { 0 };
        if pages <= UNROLLED_PROBES {
            for _ in 0..pages {
                self.probe(page);
            }
        } else {
            let (end, again) = (Mem::base(RSP, -((pages * page) as i32)), self.buffer.label());
            self.row(op::LEA, Variant::S64, &[SCRATCH.into(), end.into()]);
            self.buffer.bind(again);
            self.probe(page);
            self.row(op::CMP_RM, Variant::S64, &[RSP.into(), SCRATCH.into()]);
            self.buffer.branch(Branch::X64JumpIf(Cond::Ne as u8), again);
        }
        let rest = size - pages * page;
        if rest > 0 {
            self.row(op::SUB_RI, Variant::S64, &[RSP.into(), imm(rest)]);
        }
        self.buffer.unwind(UnwindOp::AllocateStack(size));
    }

    fn probe(&mut self, page: u32) {
        self.row(op::SUB_RI, Variant::S64, &[RSP.into(), imm(page)]);
        self.buffer.trap(TrapCode::STACK_OVERFLOW.as_u8());
        self.row(op::MOV_MI, Variant::S32, &[Mem::base(RSP, 0).into(), imm(0)]);
    }

    /// The stack limit was reached: calls the runtime with every argument register kept, and goes back if it returns.
    pub(super) fn slow_path(&mut self, slow: SlowPath) {
        let placement = self.input.placement;
        let Some(vmctx) = placement.convention.vmctx else { return };
        let mut kept = SmallVec::<[(Reg, i32); 16]>::new();
        let mut bytes = 0i32;
        for place in placement.params.iter().chain(&placement.return_pointer) {
            if let Place::Reg(reg) = *place {
                kept.push((reg, bytes));
                bytes += if reg.class() == RegClass::Int { 8 } else { 16 };
            }
        }
        let bytes = imm((bytes + 15) & !15);
        self.buffer.bind(slow.label);
        self.buffer.location(self.first_location());
        if !kept.is_empty() {
            self.row(op::SUB_RI, Variant::S64, &[RSP.into(), bytes]);
        }
        for &(reg, at) in &kept {
            self.store_whole(Mem::base(RSP, at), reg);
        }
        self.copy(RDI, vmctx);
        self.load_whole(RAX, Mem::base(vmctx, slow.call.0));
        self.row(op::CALL_RM, Variant::NONE, &[Mem::base(RAX, slow.call.1).into()]);
        self.buffer.call(self.sites.len() as u32);
        self.sites.push(SmallVec::new());
        for &(reg, at) in &kept {
            self.load_whole(reg, Mem::base(RSP, at));
        }
        if !kept.is_empty() {
            self.row(op::ADD_RI, Variant::S64, &[RSP.into(), bytes]);
        }
        self.buffer.branch(Branch::X64Jump, slow.back);
    }

    /// Gives saved registers their values back; an epilogue begins behind.
    fn restore_saved(&mut self) {
        let frame = self.frame;
        for &(reg, offset) in &frame.saved {
            self.load_whole(reg, Mem::base(RBP, offset));
        }
        self.buffer.unwind(UnwindOp::BeginEpilogue); // keeps P2
    }

    fn drop_frame(&mut self) {
        if self.frame.size > 0 {
            self.row(op::MOV_RM, Variant::S64, &[RSP.into(), RBP.into()]);
        }
        self.row(op::POP_R, Variant::NONE, &[RBP.into()]);
        self.buffer.unwind(UnwindOp::PopFramePointer);
    }

    /// Emits a return.
    pub(super) fn epilogue_return(&mut self) {
        self.restore_saved();
        self.drop_frame();
        match self.frame.pops {
            0 => self.row(op::RET, Variant::NONE, &[]),
            bytes => self.row(op::RET_I, Variant::NONE, &[imm(bytes)]),
        }
        self.buffer.unwind(UnwindOp::EndEpilogue);
    }

    /// Emits a tail call: the return address moves to just below the callee's stack arguments, which selection has
    /// put at the end of the incoming area.
    pub(super) fn tail_call(&mut self, index: usize, inst: &MachineInst) {
        let call = self.func.calls[CallRef::from_u32(inst.payload)];
        let (target, used) = self.call_target(index, &call);
        self.switch_vmctx(index, &call, used);
        let frame = self.frame;
        let lost = |reg: Reg| [SCRATCH, RSP, RBP].contains(&reg) || frame.saved.iter().any(|s| s.0 == reg);
        let through_frame = match target {
            Operand::Reg(reg) => lost(reg),
            Operand::Mem(Mem::Address(address)) => {
                [address.base, address.index].into_iter().flatten().any(lost)
            }
            _ => false,
        };
        if through_frame || call.stack_bytes > frame.incoming + frame.growth {
            self.fail("a tail call whose target or arguments go with the frame".into());
            return;
        }
        let down = (frame.incoming + frame.growth - call.stack_bytes) as i32;
        if down == 0 {
            self.restore_saved();
            self.drop_frame();
        } else {
            self.load_whole(SCRATCH, Mem::base(RBP, 8));
            self.store_whole(Mem::base(RBP, 8 + down), SCRATCH);
            self.restore_saved();
            self.row(op::LEA, Variant::S64, &[RSP.into(), Mem::base(RBP, 8 + down).into()]);
            self.row(op::MOV_RM, Variant::S64, &[RBP.into(), Mem::base(RBP, 0).into()]);
            self.buffer.unwind(UnwindOp::PopFramePointer);
        }
        if inst.trap() != 0 {
            self.buffer.trap(inst.trap());
        }
        match target {
            Operand::Symbol(..) => self.row(op::JMP, Variant::NONE, &[target]),
            _ => self.row(op::JMP_RM, Variant::NONE, &[target]),
        }
        self.buffer.unwind(UnwindOp::EndEpilogue);
    }
}

//! AArch64's prologues and epilogues: the frame's life in instructions and unwind records.
//!
//! Needs: the frame. Gives: the code at entry, at returns and at tail calls, and the slow path of the stack limit.
//!
//! The frame record (caller's frame pointer, return address) is pushed first, and the frame pointer points at it; the rest
//! is reserved at once. A return adds what the callee pops to the stack pointer; room that tail calls need beyond the
//! incoming area (`Frame::growth`) is taken before the record is pushed.
//!
//! P1. From [`UnwindOp::SetFramePointer`] to an epilogue the frame is found through the frame pointer alone.
//! P2. An epilogue begins, for the unwinder, when every saved register has its value back; at its end the state before
//!     it holds again, for the code behind.
//! P3. x16 and x17 hold no argument, and no call target but one of emission's own.

use super::emit::{Aarch64, SCRATCH, SCRATCH2};
use crate::abi::Place;
use crate::emit::{Emitter, SlowPath};
use crate::frame::{LimitAction, StackLimit};
use crate::machine::{CallRef, MachineInst};
use smallvec::SmallVec;
use sphex_asm::aarch64::encode::{constant, on};
use sphex_asm::aarch64::operand::{FP, LR, SP, ZR, x};
use sphex_asm::aarch64::{Cond, Extend, Mem, Operand, Variant, op};
use sphex_asm::buffer::Branch;
use sphex_asm::record::UnwindOp;
use sphex_asm::register::{Reg, RegClass};
use sphex_ir::TrapCode;

/// Frames up to this size pass the runtime's stack limit by comparing the stack pointer alone: the limit leaves room.
const PLAIN_COMPARE: u32 = 4096;

/// Frames up to so many probes have them in a row.
const UNROLLED_PROBES: u32 = 5;

impl Emitter<'_, Aarch64> {
    /// Emits the code at entry.
    pub(super) fn prologue(&mut self) -> Option<SlowPath> {
        self.buffer.require_alignment(16);
        self.buffer.location(self.first_location());
        let frame = self.frame;
        if frame.growth > 0 {
            self.add(SP, SP, -i64::from(frame.growth));
            self.buffer.unwind(UnwindOp::ReturnAddressAt(frame.growth));
        }
        self.put(op::STP_X_PRE, Variant::NONE, &[FP.into(), LR.into(), Mem::base(SP, -16).into()]);
        self.buffer.unwind(UnwindOp::PushFramePointer);
        self.put(op::MOV_SP, Variant::NONE, &[FP.into(), SP.into()]);
        self.buffer.unwind(UnwindOp::SetFramePointer);
        let leaf = frame.size == 0 && self.func.calls.is_empty();
        let slow = self.input.limit.filter(|_| !leaf).and_then(|limit| self.check_limit(limit));
        self.reserve();
        if frame.realign > 0 {
            self.put(op::MOV_SP, Variant::NONE, &[SCRATCH.into(), SP.into()]);
            let mask = Operand::Imm(-i64::from(frame.realign));
            self.put(op::AND_RRI, Variant::S64, &[SP.into(), SCRATCH.into(), mask]);
        }
        if let (Some(at), Some(vmctx)) = (frame.vmctx, self.input.placement.convention.vmctx) {
            self.store_below(at, vmctx, false);
        }
        for &(register, offset) in &frame.saved {
            self.store_below(offset, register, true);
            self.buffer.unwind(UnwindOp::SaveRegister { register, offset });
        }
        slow
    }

    /// Compares what the stack pointer will be with the limit. Where the frame is large the difference is made first, and
    /// a borrow means that it would wrap.
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
        let whole = Operand::Imm(Extend::Uxtx.imm(0));
        let large = self.frame.size > plain;
        if large {
            constant(SCRATCH2, u64::from(self.frame.size), self.buffer);
            self.put(op::SUBS_RRE, Variant::S64, &[SCRATCH2.into(), SP.into(), SCRATCH2.into(), whole]);
            self.buffer.branch(on(Cond::Lo), label);
        }
        let mut against = limit.base;
        for &offset in &limit.loads {
            self.load_far(SCRATCH, against, offset);
            against = SCRATCH;
        }
        let lowest = if large { SCRATCH2 } else { SP };
        self.put(op::CMP_RE, Variant::S64, &[lowest.into(), against.into(), whole]);
        self.buffer.branch(on(Cond::Ls), label);
        slow
    }

    /// Loads eight bytes at any offset from a register, by way of the register written.
    fn load_far(&mut self, to: Reg, base: Reg, offset: i32) {
        if (0..32760).contains(&offset) && offset % 8 == 0 {
            self.put(op::LDR_X, Variant::NONE, &[to.into(), Mem::base(base, offset).into()]);
            return;
        }
        self.add(to, base, i64::from(offset));
        self.put(op::LDR_X, Variant::NONE, &[to.into(), Mem::base(to, 0).into()]);
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
            let again = self.buffer.label();
            constant(SCRATCH2, u64::from(pages) * u64::from(page), self.buffer);
            let whole = Operand::Imm(Extend::Uxtx.imm(0));
            self.put(op::SUB_RRE, Variant::S64, &[SCRATCH2.into(), SP.into(), SCRATCH2.into(), whole]);
            self.buffer.bind(again);
            self.probe(page);
            self.put(op::CMP_RE, Variant::S64, &[SP.into(), SCRATCH2.into(), whole]);
            self.buffer.branch(on(Cond::Ne), again);
        }
        self.add(SP, SP, -i64::from(size - pages * page));
        self.buffer.unwind(UnwindOp::AllocateStack(size));
    }

    fn probe(&mut self, page: u32) {
        self.add(SP, SP, -i64::from(page));
        self.buffer.trap(TrapCode::STACK_OVERFLOW.as_u8());
        self.put(op::STR_W, Variant::NONE, &[ZR.into(), Mem::base(SP, 0).into()]);
    }

    /// The stack limit was reached: calls the runtime with every argument register kept, and goes back if it returns.
    pub(super) fn slow_path(&mut self, slow: SlowPath) {
        let placement = self.input.placement;
        let Some(vmctx) = placement.convention.vmctx else { return };
        let mut kept = SmallVec::<[(Reg, i32); 16]>::new();
        let mut bytes = 0i32;
        for place in placement.params.iter().chain(&placement.return_pointer) {
            if let Place::Reg(reg) = *place {
                let size = if reg.class() == RegClass::Int { 8 } else { 16 };
                bytes = (bytes + size - 1) & -size;
                kept.push((reg, bytes));
                bytes += size;
            }
        }
        let bytes = i64::from((bytes + 15) & !15);
        self.buffer.bind(slow.label);
        self.buffer.location(self.first_location());
        self.add(SP, SP, -bytes);
        let rows = |reg: Reg| match reg.class() {
            RegClass::Int => (op::STR_X, op::LDR_X),
            RegClass::Vector => (op::STR_Q, op::LDR_Q),
        };
        for &(reg, at) in &kept {
            self.put(rows(reg).0, Variant::NONE, &[reg.into(), Mem::base(SP, at).into()]);
        }
        self.copy(x(0), vmctx);
        self.load_far(SCRATCH, vmctx, slow.call.0);
        self.load_far(SCRATCH, SCRATCH, slow.call.1);
        self.put(op::BLR, Variant::NONE, &[SCRATCH.into()]);
        self.buffer.call(self.sites.len() as u32);
        self.sites.push(SmallVec::new());
        for &(reg, at) in &kept {
            self.put(rows(reg).1, Variant::NONE, &[reg.into(), Mem::base(SP, at).into()]);
        }
        self.add(SP, SP, bytes);
        self.buffer.branch(Branch::A64Jump, slow.back);
    }

    /// Gives saved registers their values back, then takes the frame down to where its record was; an epilogue begins.
    fn drop_frame(&mut self) {
        let frame = self.frame;
        for &(reg, offset) in &frame.saved {
            self.load_below(reg, offset, true);
        }
        self.buffer.unwind(UnwindOp::BeginEpilogue); // keeps P2
        if frame.size > 0 {
            self.put(op::MOV_SP, Variant::NONE, &[SP.into(), FP.into()]);
        }
        self.put(op::LDP_X_POST, Variant::NONE, &[FP.into(), LR.into(), Mem::base(SP, 16).into()]);
        self.buffer.unwind(UnwindOp::PopFramePointer);
    }

    /// Takes so many bytes of the incoming area and the growth down too.
    fn pop(&mut self, bytes: u32) {
        if bytes > 0 {
            self.add(SP, SP, i64::from(bytes));
            // Where the caller's frame ended: now below the stack pointer, if more than the growth is gone.
            self.buffer.unwind(UnwindOp::ReturnAddressAt(self.frame.growth.wrapping_sub(bytes)));
        }
    }

    /// Emits a return.
    pub(super) fn epilogue_return(&mut self) {
        self.drop_frame();
        self.pop(self.frame.pops);
        self.put(op::RET, Variant::NONE, &[]);
        self.buffer.unwind(UnwindOp::EndEpilogue);
    }

    /// Emits a tail call; selection has put the callee's stack arguments at the end of the incoming area.
    pub(super) fn tail_call(&mut self, index: usize, inst: &MachineInst) {
        let call = self.func.calls[CallRef::from_u32(inst.payload)];
        let (target, used) = self.call_target(index, &call);
        self.switch_vmctx(index, &call, used);
        let frame = self.frame;
        // A target that was loaded waits in a scratch register, which a large frame's end would take.
        let lost = |reg: Reg| [SP, FP, LR].contains(&reg) || frame.saved.iter().any(|saved| saved.0 == reg);
        let through_frame = matches!(target, Operand::Reg(reg) if lost(reg));
        if through_frame || call.stack_bytes > frame.incoming + frame.growth {
            self.fail("a tail call whose target or arguments go with the frame".into());
            return;
        }
        self.drop_frame();
        self.pop(frame.incoming + frame.growth - call.stack_bytes);
        if inst.trap() != 0 {
            self.buffer.trap(inst.trap());
        }
        match target {
            Operand::Symbol(..) => self.put(op::B, Variant::NONE, &[target]),
            _ => self.put(op::BR, Variant::NONE, &[target]),
        }
        self.buffer.unwind(UnwindOp::EndEpilogue);
    }
}

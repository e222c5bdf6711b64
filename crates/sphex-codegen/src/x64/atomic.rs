//! Atomic accesses, all sequentially consistent.
//!
//! Needs: addresses. Gives: the lowering of `atomic_rmw`, `atomic_cas`, `atomic_load`, `atomic_store`, `fence`.
//!
//! Ordinary loads are strong enough here; stores are exchanges, which are fences too. Where nobody wants the old value, an
//! update is one locked instruction; operations that have none are a loop, one row to the allocator.

use super::sequence::Sequence;
use super::{Lower, exact};
use crate::error::CodegenError;
use crate::machine::{Amode, Pseudo};
use crate::regalloc::VReg;
use sphex_asm::x64::operand::gpr;
use sphex_asm::x64::{RowId, Variant, op};
use sphex_ir::{AtomicRmwOp, Opcode, TrapCode, Type, Value};

impl Lower<'_> {
    pub(super) fn lower_atomic(&mut self, inst: Value) -> Result<(), CodegenError> {
        let data = self.data(inst);
        if data.opcode == Opcode::Fence {
            self.machine().inst(op::MFENCE, Variant::NONE);
            return Ok(());
        }
        if self.is_big_endian(inst) && self.select.func.ctrl_type(inst).bits() > 8 {
            return Err(self.error(inst));
        }
        let trap = self.select.func.flags(inst).trap;
        match data.opcode {
            Opcode::AtomicLoad => {
                let dst = self.dst(inst);
                let address = self.arg(inst, 0);
                let from = self.amode(address, 0);
                self.load_into(dst, self.ty(inst), from, trap);
            }
            Opcode::AtomicStore => {
                let value = self.arg(inst, 0);
                let ty = self.ty(value);
                let value = self.value(value);
                let address = self.arg(inst, 1);
                let to = self.amode(address, 0);
                let old = self.gpr();
                self.machine().inst(op::XCHG_MR, exact(ty)).mem(to).modify(old, value).trap(trap);
            }
            Opcode::AtomicCas => {
                let dst = self.dst(inst);
                let (expected, new) = (self.arg(inst, 1), self.arg(inst, 2));
                let ty = self.ty(new);
                let (expected, new) = (self.value(expected), self.value(new));
                let address = self.arg(inst, 0);
                let at = self.amode(address, 0);
                self.machine()
                    .inst(op::CMPXCHG, exact(ty))
                    .mem(at)
                    .read(new)
                    .modify_fixed(dst, expected, gpr::RAX)
                    .trap(trap);
            }
            _ => self.update_atomic(inst, trap),
        }
        Ok(())
    }

    fn update_atomic(&mut self, inst: Value, trap: Option<TrapCode>) {
        let (address, x, ty) = (self.arg(inst, 0), self.arg(inst, 1), self.ty(inst));
        let operation = AtomicRmwOp::from_u16(self.data(inst).c as u16).unwrap_or(AtomicRmwOp::Xchg);
        if self.select.wanted(inst).is_none() && self.update_without_result(operation, address, x, ty, trap) {
            return;
        }
        let dst = self.dst(inst);
        match operation {
            AtomicRmwOp::Add | AtomicRmwOp::Xchg => {
                let x = self.value(x);
                let at = self.amode(address, 0);
                let row = if operation == AtomicRmwOp::Add { op::LOCK_XADD } else { op::XCHG_MR };
                self.machine().inst(row, exact(ty)).mem(at).modify(dst, x).trap(trap);
            }
            AtomicRmwOp::Sub => {
                let x = self.value(x);
                let negated = self.gpr();
                self.modify(op::NEG_R, super::wide(ty), negated, x);
                let at = self.amode(address, 0);
                self.machine().inst(op::LOCK_XADD, exact(ty)).mem(at).modify(dst, negated).trap(trap);
            }
            _ => {
                let number = match operation {
                    AtomicRmwOp::And => Sequence::AtomicAnd,
                    AtomicRmwOp::Nand => Sequence::AtomicNand,
                    AtomicRmwOp::Or => Sequence::AtomicOr,
                    AtomicRmwOp::Xor => Sequence::AtomicXor,
                    AtomicRmwOp::Umin => Sequence::AtomicUmin,
                    AtomicRmwOp::Umax => Sequence::AtomicUmax,
                    AtomicRmwOp::Smin => Sequence::AtomicSmin,
                    _ => Sequence::AtomicSmax,
                };
                let x = match number {
                    Sequence::AtomicSmin | Sequence::AtomicSmax => self.sext(x, ty.bits().max(32)),
                    _ => self.zext(x),
                };
                let at = self.amode(address, 0);
                self.atomic_loop(number, dst, at, x, ty, trap);
            }
        }
    }

    /// The loop begins with a guess at the old value, which a compare-and-exchange confirms or replaces.
    fn atomic_loop(
        &mut self,
        number: Sequence,
        dst: VReg,
        at: Amode,
        x: VReg,
        ty: Type,
        trap: Option<TrapCode>,
    ) {
        let (guess, scratch) = (self.gpr(), self.gpr());
        self.load_into(guess, ty, at, trap);
        self.machine()
            .pseudo(Pseudo::Sequence, exact(ty), number as u32)
            .modify_fixed(dst, guess, gpr::RAX)
            .read(x)
            .write_early(scratch)
            .mem(at)
            .trap(trap);
    }

    fn update_without_result(
        &mut self,
        operation: AtomicRmwOp,
        address: Value,
        x: Value,
        ty: Type,
        trap: Option<TrapCode>,
    ) -> bool {
        let (reg_row, imm_row): (RowId, RowId) = match operation {
            AtomicRmwOp::Add => (op::LOCK_ADD_MR, op::LOCK_ADD_MI),
            AtomicRmwOp::Sub => (op::LOCK_SUB_MR, op::LOCK_SUB_MI),
            AtomicRmwOp::And => (op::LOCK_AND_MR, op::LOCK_AND_MI),
            AtomicRmwOp::Or => (op::LOCK_OR_MR, op::LOCK_OR_MI),
            AtomicRmwOp::Xor => (op::LOCK_XOR_MR, op::LOCK_XOR_MI),
            _ => return false,
        };
        if let Some(imm) = self.imm32(x) {
            let at = self.amode(address, 0);
            self.machine().inst(imm_row, exact(ty)).mem(at).imm(imm).trap(trap);
        } else {
            let x = self.value(x);
            let at = self.amode(address, 0);
            self.machine().inst(reg_row, exact(ty)).mem(at).read(x).trap(trap);
        }
        true
    }
}

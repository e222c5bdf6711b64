//! Atomic accesses, sequentially consistent.
//!
//! Needs: matchers, [`super::sequence`]. Gives: the lowering of `atomic_load`, `atomic_store`, `atomic_rmw`, `atomic_cas`
//! and `fence`.
//!
//! Loads acquire and stores release. Updates are one instruction where the CPU has them (LSE), else a loop of exclusives
//! that the allocator sees as one instruction: nothing touches memory between the two accesses.

use super::sequence::Sequence;
use super::{Lower, wide};
use crate::error::CodegenError;
use crate::machine::Pseudo;
use crate::regalloc::VReg;
use sphex_asm::aarch64::features::Feature;
use sphex_asm::aarch64::operand::{Size, Variant};
use sphex_asm::aarch64::{RowId, op};
use sphex_ir::{AtomicRmwOp, Opcode, TrapCode, Type, Value};

fn exact(ty: Type) -> Variant {
    Variant::size(Size::from_bits(ty.bits()).unwrap_or(Size::S64))
}

impl Lower<'_> {
    pub(super) fn lower_atomic(&mut self, inst: Value) -> Result<(), CodegenError> {
        let data = self.data(inst);
        if data.opcode == Opcode::Fence {
            self.machine().inst(op::DMB_ISH, Variant::NONE);
            return Ok(());
        }
        if self.is_big_endian(inst) && self.select.func.ctrl_type(inst).bits() > 8 {
            return Err(self.error(inst));
        }
        let trap = self.select.func.flags(inst).trap;
        match data.opcode {
            Opcode::AtomicLoad => {
                let (dst, address, ty) = (self.dst(inst), self.arg(inst, 0), self.ty(inst));
                let address = self.value(address);
                let at = crate::machine::Amode::reg(address, 0);
                self.machine().inst(op::LDAR, exact(ty)).write(dst).mem(at).trap(trap);
            }
            Opcode::AtomicStore => {
                let (value, address) = (self.arg(inst, 0), self.arg(inst, 1));
                let ty = self.ty(value);
                let (value, address) = (self.value(value), self.value(address));
                let at = crate::machine::Amode::reg(address, 0);
                self.machine().inst(op::STLR, exact(ty)).read(value).mem(at).trap(trap);
            }
            Opcode::AtomicCas => {
                let dst = self.dst(inst);
                let [address, expected, new] = [0, 1, 2].map(|k| self.arg(inst, k));
                let ty = self.ty(new);
                let (address, expected) = (self.value(address), self.zext(expected));
                let new = self.value(new);
                if self.has(Feature::Lse) {
                    let at = crate::machine::Amode::reg(address, 0);
                    let cas = self.machine().inst(op::CASAL, exact(ty)).modify(dst, expected);
                    cas.read(new).mem(at).trap(trap);
                } else {
                    self.exclusive(
                        Sequence::CompareExchange,
                        exact(ty),
                        dst,
                        &[address, expected, new],
                        trap,
                    );
                }
            }
            _ => self.update_atomic(inst, trap),
        }
        Ok(())
    }

    fn update_atomic(&mut self, inst: Value, trap: Option<TrapCode>) {
        let (dst, address, x, ty) = (self.dst(inst), self.arg(inst, 0), self.arg(inst, 1), self.ty(inst));
        let operation = AtomicRmwOp::from_u16(self.data(inst).c as u16).unwrap_or(AtomicRmwOp::Xchg);
        let address = self.value(address);
        let signed = matches!(operation, AtomicRmwOp::Smin | AtomicRmwOp::Smax);
        let x = self.comparable(x, signed);
        let lse: Option<(RowId, Option<RowId>)> = match operation {
            _ if !self.has(Feature::Lse) => None,
            AtomicRmwOp::Nand => None,
            AtomicRmwOp::Add => Some((op::LDADDAL, None)),
            AtomicRmwOp::Sub => Some((op::LDADDAL, Some(op::NEG_R))),
            AtomicRmwOp::And => Some((op::LDCLRAL, Some(op::MVN_R))),
            AtomicRmwOp::Or => Some((op::LDSETAL, None)),
            AtomicRmwOp::Xor => Some((op::LDEORAL, None)),
            AtomicRmwOp::Xchg => Some((op::SWPAL, None)),
            AtomicRmwOp::Umin => Some((op::LDUMINAL, None)),
            AtomicRmwOp::Umax => Some((op::LDUMAXAL, None)),
            AtomicRmwOp::Smin => Some((op::LDSMINAL, None)),
            AtomicRmwOp::Smax => Some((op::LDSMAXAL, None)),
        };
        if let Some((row, prepare)) = lse {
            let x = match prepare {
                Some(row) => self.op1(row, wide(ty), x),
                None => x,
            };
            let at = crate::machine::Amode::reg(address, 0);
            self.machine().inst(row, exact(ty)).read(x).write(dst).mem(at).trap(trap);
            return;
        }
        self.exclusive(Sequence::of(operation), exact(ty), dst, &[address, x], trap);
    }

    /// A loop of exclusives: the old value, a status, a new value (all distinct from what is read), then the address and
    /// the operands.
    fn exclusive(
        &mut self,
        sequence: Sequence,
        variant: Variant,
        dst: VReg,
        operands: &[VReg],
        trap: Option<TrapCode>,
    ) {
        let (status, new) = (self.gpr(), self.gpr());
        let mut inst = self.machine().pseudo(Pseudo::Sequence, variant, sequence as u32);
        inst = inst.write_early(dst).write_early(status).write_early(new);
        for &operand in operands {
            inst = inst.read(operand);
        }
        inst.trap(trap).end();
    }
}

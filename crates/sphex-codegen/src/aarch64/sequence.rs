//! Loops of several instructions that the allocator sees as one: atomic updates by exclusives.
//!
//! Needs: the operands that `Lower::exclusive` gives. Gives: [`emit`], which is also [`crate::emit::SequenceEmitter`].
//!
//! Every access in the loop has a trap record. The status register is none of the others, and no memory is touched between
//! the two exclusives.

use crate::emit::SequenceInst;
use sphex_asm::aarch64::encode::{encode, if_zero, invert, on};
use sphex_asm::aarch64::operand::{Cond, Mem, Operand, Size, Variant};
use sphex_asm::aarch64::{RowId, op};
use sphex_asm::buffer::CodeBuffer;
use sphex_asm::register::Reg;
use sphex_ir::AtomicRmwOp;

/// Which loop.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u32)]
pub enum Sequence {
    /// Stores the sum.
    Add = 0,
    /// Stores the difference.
    Sub = 1,
    /// Stores the bits that both have.
    And = 2,
    /// Stores the bits that not both have.
    Nand = 3,
    /// Stores the bits that either has.
    Or = 4,
    /// Stores the bits that one has.
    Xor = 5,
    /// Stores the operand.
    Exchange = 6,
    /// Stores the lesser, unsigned.
    Umin = 7,
    /// Stores the greater, unsigned.
    Umax = 8,
    /// Stores the lesser, signed.
    Smin = 9,
    /// Stores the greater, signed.
    Smax = 10,
    /// Stores the second operand if the first is there.
    CompareExchange = 11,
}

impl Sequence {
    const ALL: [Sequence; 12] = [
        Sequence::Add,
        Sequence::Sub,
        Sequence::And,
        Sequence::Nand,
        Sequence::Or,
        Sequence::Xor,
        Sequence::Exchange,
        Sequence::Umin,
        Sequence::Umax,
        Sequence::Smin,
        Sequence::Smax,
        Sequence::CompareExchange,
    ];

    /// The loop of an operation.
    pub fn of(operation: AtomicRmwOp) -> Sequence {
        match operation {
            AtomicRmwOp::Add => Sequence::Add,
            AtomicRmwOp::Sub => Sequence::Sub,
            AtomicRmwOp::And => Sequence::And,
            AtomicRmwOp::Nand => Sequence::Nand,
            AtomicRmwOp::Or => Sequence::Or,
            AtomicRmwOp::Xor => Sequence::Xor,
            AtomicRmwOp::Xchg => Sequence::Exchange,
            AtomicRmwOp::Umin => Sequence::Umin,
            AtomicRmwOp::Umax => Sequence::Umax,
            AtomicRmwOp::Smin => Sequence::Smin,
            AtomicRmwOp::Smax => Sequence::Smax,
        }
    }
}

/// Emits a loop.
pub fn emit(inst: &SequenceInst, buffer: &mut CodeBuffer) {
    let sequence = Sequence::ALL[(inst.number as usize).min(Sequence::ALL.len() - 1)];
    let [old, status, new, address, x] = [0, 1, 2, 3, 4].map(|k| inst.regs[k]);
    let (access, at) = (inst.variant, Operand::Mem(Mem::base(address, 0)));
    let wide = if access.get_size() == Size::S64 { Variant::S64 } else { Variant::S32 };
    let put = |buffer: &mut CodeBuffer, row: RowId, variant: Variant, regs: &[Reg]| {
        let operands: Vec<Operand> = regs.iter().map(|&reg| reg.into()).collect();
        encode(row, variant, &operands, buffer);
    };
    let trap = |buffer: &mut CodeBuffer| {
        if inst.trap != 0 {
            buffer.trap(inst.trap);
        }
    };
    let (again, done) = (buffer.label(), buffer.label());
    buffer.bind(again);
    trap(buffer);
    encode(op::LDAXR, access, &[old.into(), at], buffer);
    let mut store = new;
    match sequence {
        Sequence::Add => put(buffer, op::ADD_RRR, wide, &[new, old, x]),
        Sequence::Sub => put(buffer, op::SUB_RRR, wide, &[new, old, x]),
        Sequence::And => put(buffer, op::AND_RRR, wide, &[new, old, x]),
        Sequence::Nand => {
            put(buffer, op::AND_RRR, wide, &[new, old, x]);
            put(buffer, op::MVN_R, wide, &[new, new]);
        }
        Sequence::Or => put(buffer, op::ORR_RRR, wide, &[new, old, x]),
        Sequence::Xor => put(buffer, op::EOR_RRR, wide, &[new, old, x]),
        Sequence::Exchange => store = x,
        Sequence::CompareExchange => {
            put(buffer, op::CMP_RR, wide, &[old, x]);
            buffer.branch(on(Cond::Ne), done);
            store = inst.regs[5];
        }
        Sequence::Umin | Sequence::Umax | Sequence::Smin | Sequence::Smax => {
            let (cond, signed) = match sequence {
                Sequence::Umin => (Cond::Lo, false),
                Sequence::Umax => (Cond::Hi, false),
                Sequence::Smin => (Cond::Lt, true),
                _ => (Cond::Gt, true),
            };
            let mut compared = old;
            match access.get_size() {
                Size::S8 if signed => put(buffer, op::SXTB, wide, &[new, old]),
                Size::S16 if signed => put(buffer, op::SXTH, wide, &[new, old]),
                _ => {}
            }
            if signed && access.get_size() < Size::S32 {
                compared = new;
            }
            put(buffer, op::CMP_RR, wide, &[compared, x]);
            put(buffer, op::CSEL, cond.with(wide), &[new, compared, x]);
        }
    }
    trap(buffer);
    encode(op::STLXR, access, &[status.into(), store.into(), at], buffer);
    buffer.branch(invert(if_zero(status, Size::S32)), again);
    buffer.bind(done);
}

//! Rows of several instructions with branches inside: what they are, and their bytes.
//!
//! Needs: registers chosen by the allocator. Gives: [`Sequence`], which selection puts in the payload of a
//! `Pseudo::Sequence`, and [`emit`].

use crate::emit::SequenceInst;
use sphex_asm::buffer::{Branch, CodeBuffer};
use sphex_asm::register::Reg;
use sphex_asm::x64::encode::encode;
use sphex_asm::x64::operand::gpr;
use sphex_asm::x64::{Cond, Mem, Operand, RowId, Size, Variant, op};

/// Which sequence. Operands are in the order in which they are named.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u32)]
pub enum Sequence {
    /// A vector register modified: takes the value of another if the variant's condition holds.
    Choose,
    /// Atomically, at the memory operand: old and guess in `rax`, an operand (extended), a scratch register.
    AtomicAnd,
    /// The complement of the conjunction.
    AtomicNand,
    /// Disjunction.
    AtomicOr,
    /// Exclusive disjunction.
    AtomicXor,
    /// Unsigned minimum.
    AtomicUmin,
    /// Unsigned maximum.
    AtomicUmax,
    /// Signed minimum.
    AtomicSmin,
    /// Signed maximum.
    AtomicSmax,
}

impl Sequence {
    const ALL: [Sequence; 9] = [
        Sequence::Choose,
        Sequence::AtomicAnd,
        Sequence::AtomicNand,
        Sequence::AtomicOr,
        Sequence::AtomicXor,
        Sequence::AtomicUmin,
        Sequence::AtomicUmax,
        Sequence::AtomicSmin,
        Sequence::AtomicSmax,
    ];
}

/// Emits a sequence.
pub fn emit(inst: &SequenceInst, buffer: &mut CodeBuffer) {
    let Some(&sequence) = Sequence::ALL.get(inst.number as usize) else { return };
    match (sequence, inst.regs.as_slice(), inst.mem) {
        (Sequence::Choose, &[_, dst, then], _) => choose(inst.variant.get_cond(), dst, then, buffer),
        (_, &[_, _, x, scratch], Some(mem)) => atomic_loop(sequence, inst, x, scratch, mem, buffer),
        _ => {}
    }
}

fn choose(cond: Cond, dst: Reg, then: Reg, buffer: &mut CodeBuffer) {
    if dst == then {
        return;
    }
    let past = buffer.label();
    buffer.branch(Branch::X64JumpIf(cond.invert() as u8), past);
    encode(op::MOVAPS_RM, Variant::NONE, &[dst.into(), then.into()], buffer);
    buffer.bind(past);
}

fn atomic_loop(
    sequence: Sequence,
    inst: &SequenceInst,
    x: Reg,
    scratch: Reg,
    mem: Mem,
    buffer: &mut CodeBuffer,
) {
    let size = inst.variant.get_size();
    let wide = if size == Size::S64 { Variant::S64 } else { Variant::S32 };
    let again = buffer.label();
    buffer.bind(again);
    match sequence {
        Sequence::AtomicAnd | Sequence::AtomicNand => combine(op::AND_RM, wide, scratch, x, buffer),
        Sequence::AtomicOr => combine(op::OR_RM, wide, scratch, x, buffer),
        Sequence::AtomicXor => combine(op::XOR_RM, wide, scratch, x, buffer),
        Sequence::AtomicUmin => bound(false, Cond::A, size, scratch, x, buffer),
        Sequence::AtomicUmax => bound(false, Cond::B, size, scratch, x, buffer),
        Sequence::AtomicSmin => bound(true, Cond::G, size, scratch, x, buffer),
        _ => bound(true, Cond::L, size, scratch, x, buffer),
    }
    if sequence == Sequence::AtomicNand {
        encode(op::NOT_R, wide, &[scratch.into()], buffer);
    }
    if inst.trap != 0 {
        buffer.trap(inst.trap);
    }
    let operands = [Operand::Mem(mem), scratch.into(), gpr::RAX.into()];
    encode(op::CMPXCHG, Variant::size(size), &operands, buffer);
    buffer.branch(Branch::X64JumpIf(Cond::Ne as u8), again);
}

/// `scratch = rax op x`.
fn combine(row: RowId, wide: Variant, scratch: Reg, x: Reg, buffer: &mut CodeBuffer) {
    encode(op::MOV_RM, wide, &[scratch.into(), gpr::RAX.into()], buffer);
    encode(row, wide, &[scratch.into(), x.into()], buffer);
}

/// `scratch = if rax cond x { x } else { rax }`, compared at the access's size.
fn bound(signed: bool, cond: Cond, size: Size, scratch: Reg, x: Reg, buffer: &mut CodeBuffer) {
    let wide = if size == Size::S64 { Variant::S64 } else { Variant::S32 };
    let (row, variant) = match (size, signed) {
        (Size::S8, true) => (op::MOVSX8, wide),
        (Size::S8, false) => (op::MOVZX8, wide),
        (Size::S16, true) => (op::MOVSX16, wide),
        (Size::S16, false) => (op::MOVZX16, wide),
        _ => (op::MOV_RM, wide),
    };
    encode(row, variant, &[scratch.into(), gpr::RAX.into()], buffer);
    encode(op::CMP_RM, wide, &[scratch.into(), x.into()], buffer);
    encode(op::CMOVCC, wide.with_cond(cond), &[scratch.into(), x.into()], buffer);
}

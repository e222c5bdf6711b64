//! From a row and operands to a word.
//!
//! Needs: operands that fit the row ([`super::row::check`], asserted in debug builds). Gives: one instruction appended to
//! the buffer, with fixups, relocations and branches registered there. Nothing is allocated.
//!
//! What is not the table's: a scaled offset, an unscaled one and an index are three encodings of one row
//! ([`address`]); a branch's displacement is the buffer's affair ([`write_branch`]).

use super::immediate;
use super::operand::{Cond, Extend, Mem, Operand, SP, Size, Variant};
use super::row::{Form, Imm, Jump, Kind, Row, RowId, Sizing, check, scaled};
use super::table::op;
use crate::buffer::{Branch, CodeBuffer, FixupForm, Label};
use crate::record::{RelocationKind, Symbol};
use crate::register::Reg;

/// Appends one instruction. Operands stand in the row's order.
pub fn encode(row: RowId, variant: Variant, operands: &[Operand], buffer: &mut CodeBuffer) {
    debug_assert_eq!(check(row, variant, operands), Ok(()), "{row:?} {variant:?} {operands:?}");
    let row = row.row();
    let word = word(row, variant, operands);
    if row.jump == Jump::No {
        buffer.put(&word.to_le_bytes());
        return;
    }
    match operands.last() {
        Some(&Operand::Label(label)) => to_label(row.jump, word, label, buffer),
        Some(&Operand::Symbol(symbol, addend)) => {
            let kind = if row.jump == Jump::Page { RelocationKind::A64Page } else { RelocationKind::A64Call };
            buffer.relocate(buffer.offset(), kind, symbol, i64::from(addend));
            buffer.put(&word.to_le_bytes());
        }
        _ => buffer.put(&word.to_le_bytes()),
    }
}

/// Appends the end of a block that goes to `taken` under a test and else to `other`, where `next` is what comes right
/// after: at most one branch is emitted if either is next.
pub fn branch_if(test: Branch, taken: Label, other: Label, next: Option<Label>, buffer: &mut CodeBuffer) {
    if next == Some(taken) {
        buffer.branch(invert(test), other);
        return;
    }
    buffer.branch(test, taken);
    if next != Some(other) {
        buffer.branch(Branch::A64Jump, other);
    }
}

/// The branch that is taken exactly when this one is not (an unconditional one stays).
pub const fn invert(branch: Branch) -> Branch {
    match branch {
        Branch::A64If(cond) => Branch::A64If(cond ^ 1),
        Branch::A64Zero(test) => Branch::A64Zero(test ^ NONZERO as u8),
        Branch::A64Bit(test) => Branch::A64Bit(test ^ SET),
        other => other,
    }
}

/// A branch on a condition.
pub const fn on(cond: Cond) -> Branch {
    Branch::A64If(cond as u8)
}

/// A branch if a register is zero.
pub const fn if_zero(reg: Reg, size: Size) -> Branch {
    Branch::A64Zero(reg.number() | ((size as u8 == Size::S64 as u8) as u8) << 6)
}

/// A branch if a bit of a register is clear.
pub const fn if_clear(reg: Reg, bit: u8) -> Branch {
    Branch::A64Bit(reg.number() as u16 | (bit as u16 & 63) << 5)
}

/// Bit of [`Branch::A64Zero`]: taken if the register is not zero.
const NONZERO: u16 = 1 << 5;
/// Bit of [`Branch::A64Bit`]: taken if the bit is set.
const SET: u16 = 1 << 11;

/// A branch's word, displacement empty.
fn template(branch: Branch) -> u32 {
    match branch {
        Branch::A64If(cond) => 0x5400_0000 | u32::from(cond & 15),
        Branch::A64Zero(test) => {
            let test = u32::from(test);
            0x3400_0000 | (test >> 6 & 1) << 31 | (test >> 5 & 1) << 24 | test & 31
        }
        Branch::A64Bit(test) => {
            let (test, bit) = (u32::from(test), u32::from(test >> 5 & 63));
            0x3600_0000 | bit >> 5 << 31 | (test >> 11 & 1) << 24 | (bit & 31) << 19 | test & 31
        }
        _ => 0x1400_0000,
    }
}

/// Writes a branch in the form that fills `bytes` (none, one word, or a test for the opposite over a jump), with a
/// displacement from its end.
pub(crate) fn write_branch(branch: Branch, bytes: &mut [u8], displacement: i32) {
    let jump = |from: i32| 0x1400_0000 | (from >> 2) as u32 & 0x03ff_ffff;
    match bytes.len() {
        0 => {}
        4 => {
            let from = displacement + 4;
            let word = match branch {
                Branch::A64Bit(_) => template(branch) | ((from >> 2) as u32 & 0x3fff) << 5,
                Branch::A64If(_) | Branch::A64Zero(_) => {
                    template(branch) | ((from >> 2) as u32 & 0x7_ffff) << 5
                }
                _ => jump(from),
            };
            bytes.copy_from_slice(&word.to_le_bytes());
        }
        _ => {
            // Two words ahead, past the jump.
            bytes[..4].copy_from_slice(&(template(invert(branch)) | 2 << 5).to_le_bytes());
            bytes[4..8].copy_from_slice(&jump(displacement + 4).to_le_bytes());
        }
    }
}

/// Appends the address of a symbol plus bytes: its page, then the place in it.
pub fn symbol_address(to: Reg, symbol: Symbol, addend: i32, buffer: &mut CodeBuffer) {
    encode(op::ADRP, Variant::NONE, &[to.into(), Operand::Symbol(symbol, addend)], buffer);
    buffer.relocate(buffer.offset(), RelocationKind::A64Low12, symbol, i64::from(addend));
    encode(op::ADD_RRI, Variant::S64, &[to.into(), to.into(), Operand::Imm(0)], buffer);
}

/// Appends a load of the slot of the global offset table that holds a symbol's address.
pub fn symbol_slot(to: Reg, symbol: Symbol, buffer: &mut CodeBuffer) {
    buffer.relocate(buffer.offset(), RelocationKind::A64GotPage, symbol, 0);
    buffer.put(&(0x9000_0000 | u32::from(to.number())).to_le_bytes());
    buffer.relocate(buffer.offset(), RelocationKind::A64GotLow12, symbol, 0);
    encode(op::LDR_X, Variant::NONE, &[to.into(), Mem::base(to, 0).into()], buffer);
}

/// Appends this many bytes, a multiple of four, that do nothing.
pub fn nops(count: usize, out: &mut Vec<u8>) {
    debug_assert!(count.is_multiple_of(4), "{count} bytes of padding");
    for _ in 0..count / 4 {
        out.extend_from_slice(&0xd503_201f_u32.to_le_bytes());
    }
}

/// Appends what puts a constant in an integer register, at 32 or 64 bits: one instruction where there is one, at most four.
pub fn constant(to: Reg, value: u64, buffer: &mut CodeBuffer) {
    let mut put = |row: RowId, size: Size, imm: i64| {
        encode(row, Variant::size(size), &[to.into(), Operand::Imm(imm)], buffer);
    };
    if let Some(field) = immediate::move_wide(value) {
        return put(op::MOVZ, Size::S64, i64::from(field));
    }
    if let Some(field) = immediate::move_wide(!value) {
        return put(op::MOVN, Size::S64, i64::from(field));
    }
    if value >> 32 == 0
        && let Some(field) = immediate::move_wide(u64::from(!(value as u32)))
    {
        return put(op::MOVN, Size::S32, i64::from(field));
    }
    // Not into register 31, which would be the stack pointer here.
    if to != SP {
        if immediate::logical(value, Size::S64).is_some() {
            return put(op::MOV_RI, Size::S64, value as i64);
        }
        if value >> 32 == 0 && immediate::logical(value, Size::S32).is_some() {
            return put(op::MOV_RI, Size::S32, value as i64);
        }
    }
    // From zeros or from ones, whichever leaves fewer parts.
    let part = |k: u32| value >> (16 * k) & 0xffff;
    let count = |of: u64| (0..4).filter(|&k| part(k) == of).count();
    let ones = count(0xffff) > count(0);
    let skipped = if ones { 0xffff } else { 0 };
    let mut first = true;
    for k in (0..4).filter(|&k| part(k) != skipped) {
        let hw = i64::from(k) << 16;
        match (first, ones) {
            (true, false) => put(op::MOVZ, Size::S64, hw | part(k) as i64),
            (true, true) => put(op::MOVN, Size::S64, hw | (part(k) ^ 0xffff) as i64),
            (false, _) => put(op::MOVK, Size::S64, hw | part(k) as i64),
        }
        first = false;
    }
}

fn to_label(jump: Jump, word: u32, label: Label, buffer: &mut CodeBuffer) {
    let form = match jump {
        Jump::Far => return buffer.branch(Branch::A64Jump, label),
        Jump::If if word >> 24 == 0x54 => return buffer.branch(Branch::A64If(word as u8 & 15), label),
        Jump::If => {
            let (reg, nonzero, sf) = (word as u8 & 31, (word >> 24 & 1) as u8, (word >> 31) as u8);
            return buffer.branch(Branch::A64Zero(reg | nonzero << 5 | sf << 6), label);
        }
        Jump::Bit => {
            let (reg, set) = (word as u16 & 31, (word >> 24 & 1) as u16);
            let bit = (word >> 31 << 5 | word >> 19 & 31) as u16;
            return buffer.branch(Branch::A64Bit(reg | bit << 5 | set << 11), label);
        }
        Jump::Address => FixupForm::A64Address,
        Jump::Literal => FixupForm::A64Field19,
        Jump::Call | Jump::Page | Jump::No => FixupForm::A64Field26,
    };
    let offset = buffer.offset();
    buffer.put(&word.to_le_bytes());
    buffer.fix_label_in(offset, form, label, 0);
}

/// The word, but for a displacement.
pub fn word(row: &Row, variant: Variant, operands: &[Operand]) -> u32 {
    let mut word = row.base | size_bits(row.sizing, variant.get_size());
    if let Some(at) = row.condition {
        let flip = u32::from(row.inverted);
        word |= (u32::from(variant.get_cond_bits()) ^ flip) << at;
    }
    for (spec, operand) in row.operands.iter().zip(operands) {
        word |= match (spec.kind, *operand) {
            (Kind::Imm(kind), Operand::Imm(value)) => immediate_bits(kind, variant.get_size(), value),
            (Kind::Mem, Operand::Mem(mem)) => {
                let (set, clear) = address(row, mem);
                word &= !clear;
                set
            }
            (Kind::Both, Operand::Reg(reg)) => u32::from(reg.number()) * (1 << 5 | 1 << 16),
            (_, Operand::Reg(reg)) => u32::from(reg.number()) << spec.at,
            _ => 0,
        };
    }
    word
}

fn size_bits(sizing: Sizing, size: Size) -> u32 {
    let (log2, wide) = (size as u32, u32::from(size == Size::S64));
    match sizing {
        Sizing::None => 0,
        Sizing::Sf => wide << 31,
        Sizing::SfN => wide << 31 | wide << 22,
        Sizing::Bit30 => wide << 30,
        Sizing::Float | Sizing::FloatLane => wide << 22,
        Sizing::Lane => log2 << 22,
        Sizing::Memory => log2 << 30,
        Sizing::Index => 1 << (16 + log2),
        Sizing::Shift => 1 << (19 + log2),
        Sizing::MemoryLane => match size {
            Size::S8 => 0,
            Size::S16 => 0x4000,
            Size::S32 => 0x8000,
            _ => 0x8400,
        },
        Sizing::Load => log2 << 10,
    }
}

/// The bits of an immediate's fields. A shift of lanes is added to the size's bit, which stands above it.
fn immediate_bits(kind: Imm, size: Size, value: i64) -> u32 {
    let (bits, value32) = (size.bits(), value as u32);
    let log2 = size as u32;
    match kind {
        Imm::Arithmetic => immediate::arithmetic(value as u64).unwrap_or(0) << 10,
        Imm::Logical => immediate::logical(value as u64, size).unwrap_or(0) << 10,
        Imm::MoveWide | Imm::Code => value32 << 5,
        Imm::Shift => value32 >> 6 << 22 | (value32 & 63) << 10,
        Imm::Extend | Imm::Extract => value32 << 10,
        Imm::ShiftLeft => ((bits - value32) % bits) << 16 | (bits - 1 - value32) << 10,
        Imm::ShiftRight => value32 << 16 | (bits - 1) << 10,
        Imm::Field => (value32 & 0xff) << 16 | ((value32 & 0xff) + (value32 >> 8) - 1) << 10,
        Imm::Insert => ((bits - (value32 & 0xff)) % bits) << 16 | ((value32 >> 8) - 1) << 10,
        Imm::Flags | Imm::LowCode => value32,
        Imm::CompareFlags => value32 >> 4 << 16 | value32 & 15,
        Imm::Float => value32 << 13,
        Imm::Bit => value32 >> 5 << 31 | (value32 & 31) << 19,
        Imm::LaneLeft => value32 << 16,
        // What is counted is the distance from twice the lane's width, whose bit is there already.
        Imm::LaneRight => (bits - value32) << 16,
        Imm::LaneNumber => value32 << (17 + log2),
        Imm::TwoLanes => (value32 >> 4) << (17 + log2) | (value32 & 15) << (11 + log2),
        Imm::MemoryLane => {
            let lane = value32 << log2;
            lane >> 3 << 30 | (lane >> 2 & 1) << 12 | (lane & 3) << 10
        }
        Imm::Start => value32 << 11,
        Imm::Byte | Imm::ByteMask | Imm::LaneFloat => byte_bits(value32),
        Imm::Shifted => byte_bits(value32 & 0xff) | (value32 >> 8) << 13,
        Imm::Barrier => value32 << 8,
        Imm::Zero | Imm::LaneZero => 0,
    }
}

/// The eight bits that vector immediates have in two places.
const fn byte_bits(byte: u32) -> u32 {
    byte >> 5 << 16 | (byte & 31) << 5
}

/// Bits to set and bits to clear for an address. The rows of [`Form::Any`] are written with a scaled offset, whose bit 24
/// the other two encodings lack.
fn address(row: &Row, mem: Mem) -> (u32, u32) {
    let Mem::Address(address) = mem else { return (0, 0) };
    let base = u32::from(address.base.unwrap_or(SP).number()) << 5;
    if let Some(index) = address.index {
        let (extend, shift) = Extend::of_index(address.shift);
        let bits = u32::from(index.number()) << 16 | (extend as u32) << 13 | u32::from(shift > 0) << 12;
        return (base | bits | 1 << 21 | 2 << 10, 1 << 24);
    }
    let offset = address.disp;
    match row.form {
        Form::Base => (base, 0),
        Form::Any => match scaled(offset, row.access, 0, 0xfff) {
            Some(units) => (base | (units as u32) << 10, 0),
            None => (base | (offset as u32 & 0x1ff) << 12, 1 << 24),
        },
        Form::Writeback { .. } => (base | (offset as u32 & 0x1ff) << 12, 0),
        Form::Pair | Form::PairWriteback { .. } => (base | ((offset >> row.access) as u32 & 0x7f) << 15, 0),
    }
}

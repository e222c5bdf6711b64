//! From a row and operands to bytes.
//!
//! Needs: operands that fit the row ([`super::row::check`], asserted in debug builds). Gives: one instruction appended to
//! the buffer, with fixups, relocations and branches registered there. Nothing is allocated: an instruction is built in
//! sixteen bytes on the stack. Where each operand goes was computed with the table, at compile time.
//!
//! The special cases of the architecture are all in [`Bytes::modrm`] (rsp and r12 as base need a SIB byte, rbp and r13
//! need a displacement, no base at all needs SIB with base 5) and in [`legacy`] (spl, bpl, sil, dil need a REX prefix).

use super::operand::{Cond, Mem, Operand, Size, Variant};
use super::row::{Row, RowId, Slot, Space, check};
use crate::buffer::{Branch, CodeBuffer, Constant, Label};
use crate::record::{RelocationKind, Symbol};
use crate::register::{Reg, RegClass};
use sphex_entity::seeded_bug;

/// Appends one instruction. Operands stand in the row's order, hidden ones included.
pub fn encode(row: RowId, variant: Variant, operands: &[Operand], buffer: &mut CodeBuffer) {
    debug_assert_eq!(check(row, variant, operands), Ok(()), "{row:?} {variant:?} {operands:?}");
    let row = row.row();
    match row.space {
        Space::Legacy => legacy(row, variant, operands, buffer),
        Space::Vex => vex(row, variant, operands, buffer),
        Space::Evex => evex(row, variant, operands, buffer),
        Space::Jump | Space::JumpIf | Space::Call => branch_row(row, variant, operands, buffer),
    }
}

/// Appends the end of a block that goes to `taken` under the condition and else to `other`, where `next` is what comes
/// right after: at most one branch is emitted if either is next.
pub fn branch_if(cond: Cond, taken: Label, other: Label, next: Option<Label>, buffer: &mut CodeBuffer) {
    if next == Some(taken) {
        buffer.branch(Branch::X64JumpIf(cond.invert() as u8), other);
        return;
    }
    buffer.branch(Branch::X64JumpIf(cond as u8), taken);
    if next != Some(other) {
        buffer.branch(Branch::X64Jump, other);
    }
}

/// Appends this many bytes that do nothing, in as few instructions as there can be.
pub fn nops(mut count: usize, out: &mut Vec<u8>) {
    const NOPS: [&[u8]; 10] = [
        &[],
        &[0x90],
        &[0x66, 0x90],
        &[0x0f, 0x1f, 0x00],
        &[0x0f, 0x1f, 0x40, 0x00],
        &[0x0f, 0x1f, 0x44, 0x00, 0x00],
        &[0x66, 0x0f, 0x1f, 0x44, 0x00, 0x00],
        &[0x0f, 0x1f, 0x80, 0x00, 0x00, 0x00, 0x00],
        &[0x0f, 0x1f, 0x84, 0x00, 0x00, 0x00, 0x00, 0x00],
        &[0x66, 0x0f, 0x1f, 0x84, 0x00, 0x00, 0x00, 0x00, 0x00],
    ];
    while count > 0 {
        let step = count.min(9);
        out.extend_from_slice(NOPS[step]);
        count -= step;
    }
}

/// One instruction under construction, and the field in it that is not known yet.
struct Bytes {
    bytes: [u8; 16],
    length: usize,
    open: Option<Open>,
}

/// A four-byte pc-relative field at `at`, whose instruction ends `after` bytes past the field.
#[derive(Clone, Copy)]
struct Open {
    at: usize,
    after: i32,
    target: Target,
}

#[derive(Clone, Copy)]
enum Target {
    Label(Label, i32),
    Constant(Constant),
    Symbol(Symbol, i32),
    Got(Symbol),
}

impl Bytes {
    fn new() -> Bytes {
        Bytes { bytes: [0; 16], length: 0, open: None }
    }

    fn push(&mut self, byte: u8) {
        self.bytes[self.length] = byte;
        self.length += 1;
    }

    fn push_if(&mut self, condition: bool, byte: u8) {
        if condition {
            self.push(byte);
        }
    }

    fn push4(&mut self, value: i32) {
        self.bytes[self.length..self.length + 4].copy_from_slice(&value.to_le_bytes());
        self.length += 4;
    }

    /// The low `size` of `value` (at most eight bytes).
    fn push_size(&mut self, value: i64, size: Size) {
        let count = size.bytes().min(8) as usize;
        self.bytes[self.length..self.length + count].copy_from_slice(&value.to_le_bytes()[..count]);
        self.length += count;
    }

    /// ModRM, SIB and displacement. `after` bytes of immediate follow. A one-byte displacement counts in units of
    /// `1 << unit` bytes (EVEX; else `unit` is 0).
    fn modrm(&mut self, reg: u8, rm: &Operand, after: usize, unit: u32) {
        let reg = (reg & 7) << 3;
        let address = match rm {
            Operand::Reg(rm) => return self.push(0xc0 | reg | rm.number() & 7),
            Operand::Mem(Mem::Address(address)) => address,
            Operand::Mem(mem) => {
                self.push(reg | 5);
                let target = match *mem {
                    Mem::Label(label, addend) => Target::Label(label, addend),
                    Mem::Constant(constant) => Target::Constant(constant),
                    Mem::Symbol(symbol, addend) => Target::Symbol(symbol, addend),
                    Mem::Got(symbol) => Target::Got(symbol),
                    Mem::Address(_) => return,
                };
                self.open = Some(Open { at: self.length, after: after as i32, target });
                return self.push4(0);
            }
            _ => return,
        };
        let index = address.index.map_or(4, |index| index.number() & 7);
        let Some(base) = address.base else {
            self.push(reg | 4);
            self.push(address.shift << 6 | index << 3 | 5);
            return self.push4(address.disp);
        };
        let needs_disp = base.number() & 7 == 5 && !(seeded_bug(7) && base.number() == 13);
        let base = base.number() & 7;
        let scaled = address.disp >> unit;
        let whole = scaled << unit == address.disp;
        let mode = match address.disp {
            0 if !needs_disp => 0x00,
            _ if whole && i8::try_from(scaled).is_ok() => 0x40,
            _ => 0x80,
        };
        if address.index.is_some() || base == 4 {
            self.push(mode | reg | 4);
            self.push(address.shift << 6 | index << 3 | base);
        } else {
            self.push(mode | reg | base);
        }
        match mode {
            0x00 => {}
            0x40 => self.push(scaled as u8),
            _ => self.push4(address.disp),
        }
    }

    /// Appends the instruction to the buffer and registers its open field.
    fn put(&self, buffer: &mut CodeBuffer) {
        let start = buffer.offset();
        buffer.put_instruction(&self.bytes, self.length);
        let Some(Open { at, after, target }) = self.open else { return };
        let field = start + at as u32;
        let end = -4 - after;
        match target {
            Target::Label(label, addend) => buffer.fix_label(field, label, addend.wrapping_add(end)),
            Target::Constant(constant) => buffer.fix_constant(field, constant, end),
            Target::Symbol(symbol, addend) => {
                buffer.relocate(field, RelocationKind::PcRel4, symbol, i64::from(addend) + i64::from(end));
            }
            Target::Got(symbol) => buffer.relocate(field, RelocationKind::GotPcRel4, symbol, i64::from(end)),
        }
    }
}

const NONE: &Operand = &Operand::Imm(0);

/// The operand at a position that [`Row`] computed; a harmless one for "none".
fn at(operands: &[Operand], position: u8) -> &Operand {
    operands.get(position as usize).unwrap_or(NONE)
}

/// A register operand's hardware number.
fn number(operand: &Operand) -> u8 {
    if let Operand::Reg(reg) = operand { reg.number() } else { 0 }
}

/// What stands in the `reg` field.
fn reg_field(row: &Row, operands: &[Operand]) -> u8 {
    match operands.get(row.reg_at as usize) {
        Some(operand) => number(operand),
        None => row.digit,
    }
}

/// Bit 3 of the `r/m` register or base, and of the index.
fn high_bits(rm: &Operand) -> (u8, u8) {
    let bit = |reg: Option<Reg>| reg.map_or(0, |reg| reg.number() >> 3 & 1);
    match rm {
        Operand::Reg(reg) => (reg.number() >> 3 & 1, 0),
        Operand::Mem(Mem::Address(address)) => (bit(address.base), bit(address.index)),
        _ => (0, 0),
    }
}

/// The size of a row's immediate and its value.
fn immediate(row: &Row, variant: Variant, operands: &[Operand]) -> Option<(Operand, Size)> {
    let operand = *operands.get(row.imm_at as usize)?;
    let spec = &row.operands[row.imm_at as usize];
    let size = spec.width(variant);
    if spec.width.is_some() {
        return Some((operand, size));
    }
    // A variable-size immediate: at most four bytes, one if the row has a short form.
    let size = size.min(Size::S32);
    match operand {
        Operand::Imm(value) if row.short_imm && size != Size::S8 && sign_extends(value, size) => {
            Some((operand, Size::S8))
        }
        _ => Some((operand, size)),
    }
}

/// Whether the low bits of `value` at `size` are a sign-extended byte.
fn sign_extends(value: i64, size: Size) -> bool {
    let value = if size == Size::S16 { value as i16 as i32 } else { value as i32 };
    i8::try_from(value).is_ok()
}

fn legacy(row: &Row, variant: Variant, operands: &[Operand], buffer: &mut CodeBuffer) {
    let mut out = Bytes::new();
    let size = if row.sized { variant.get_size() } else { Size::S32 };
    let rm = if row.opcode_at < 8 { at(operands, row.opcode_at) } else { at(operands, row.rm_at) };
    let reg = reg_field(row, operands);
    out.push_if(row.locked, 0xf0);
    out.push_if(size == Size::S16, 0x66);
    match row.prefix {
        1 => out.push(0x66),
        2 => out.push(0xf3),
        3 => out.push(0xf2),
        _ => {}
    }
    let (b, x) = high_bits(rm);
    let w = u8::from(row.w || size == Size::S64);
    let rex = w << 3 | (reg >> 3 & 1) << 2 | x << 1 | b;
    out.push_if(rex != 0 || needs_rex(row, size, operands), 0x40 | rex);
    match row.map {
        0 => {}
        1 => out.push(0x0f),
        2 => {
            out.push(0x0f);
            out.push(0x38);
        }
        _ => {
            out.push(0x0f);
            out.push(0x3a);
        }
    }
    let mut imm = immediate(row, variant, operands);
    let mut opcode = if size == Size::S8 { row.byte_opcode } else { row.opcode };
    if row.conditional {
        opcode |= variant.get_cond() as u8;
    }
    if let (true, Some((_, Size::S8)), false) = (row.short_imm, imm, size == Size::S8) {
        opcode |= 2;
    }
    if let (true, Some((Operand::Imm(1), _))) = (row.short_one, imm) {
        opcode |= 0x10;
        imm = None;
    }
    let imm_length = imm.map_or(0, |(_, size)| size.bytes() as usize);
    if row.opcode_at < 8 {
        out.push(opcode | number(rm) & 7);
    } else {
        out.push(opcode);
        if row.rm_at < 8 {
            out.modrm(reg, rm, imm_length, 0);
        }
        out.push_if(row.literal != 0, row.literal);
    }
    match imm {
        Some((Operand::Imm(value), size)) => out.push_size(value, size),
        Some((Operand::Symbol(symbol, addend), size)) => {
            let field = buffer.offset() + out.length as u32;
            buffer.relocate(field, RelocationKind::Abs8, symbol, i64::from(addend));
            out.push_size(0, size);
        }
        _ => {}
    }
    out.put(buffer);
}

/// Whether a one-byte operand is spl, bpl, sil or dil.
fn needs_rex(row: &Row, size: Size, operands: &[Operand]) -> bool {
    let mut mask = row.bytes_always;
    if size == Size::S8 {
        mask |= row.bytes_sized;
    }
    mask != 0
        && operands.iter().enumerate().any(|(i, operand)| {
            mask >> i & 1 != 0 && matches!(operand, Operand::Reg(reg) if (4..8).contains(&reg.number()))
        })
}

/// The trailing byte of VEX and EVEX rows: an immediate or a register.
fn trailing(row: &Row, operands: &[Operand], out: &mut Bytes) {
    if row.is4_at < 8 {
        out.push(number(at(operands, row.is4_at)) << 4);
    } else if let Operand::Imm(value) = at(operands, row.imm_at)
        && row.imm_at < 8
    {
        out.push(*value as u8);
    }
}

fn trailing_length(row: &Row) -> usize {
    usize::from(row.is4_at < 8 || row.imm_at < 8)
}

/// W and the vector length of a VEX or EVEX row.
fn width_bits(row: &Row, variant: Variant) -> (u8, u8) {
    let size = if row.sized { Some(variant.get_size()) } else { None };
    (u8::from(row.w || size == Some(Size::S64)), u8::from(size == Some(Size::S256)))
}

fn vex(row: &Row, variant: Variant, operands: &[Operand], buffer: &mut CodeBuffer) {
    let mut out = Bytes::new();
    let rm = at(operands, row.rm_at);
    let reg = reg_field(row, operands);
    let v = number(at(operands, row.vvvv_at)) & 15;
    let (b, x) = high_bits(rm);
    let (w, l) = width_bits(row, variant);
    let r = reg >> 3 & 1;
    let last = (v ^ 15) << 3 | l << 2 | row.prefix;
    if row.map == 1 && w == 0 && b == 0 && x == 0 {
        out.push(0xc5);
        out.push((r ^ 1) << 7 | last);
    } else {
        out.push(0xc4);
        out.push((r ^ 1) << 7 | (x ^ 1) << 6 | (b ^ 1) << 5 | row.map);
        out.push(w << 7 | last);
    }
    out.push(row.opcode);
    out.modrm(reg, rm, trailing_length(row), 0);
    trailing(row, operands, &mut out);
    out.put(buffer);
}

fn evex(row: &Row, variant: Variant, operands: &[Operand], buffer: &mut CodeBuffer) {
    let mut out = Bytes::new();
    let rm = at(operands, row.rm_at);
    let reg = reg_field(row, operands);
    let v = number(at(operands, row.vvvv_at));
    let (b, mut x) = high_bits(rm);
    if let Operand::Reg(rm) = rm
        && rm.class() == RegClass::Vector
    {
        x = rm.number() >> 4 & 1; // the fifth bit of a register stands where an index's fourth would
    }
    let (w, l) = width_bits(row, variant);
    let (r, r2) = (reg >> 3 & 1, reg >> 4 & 1);
    out.push(0x62);
    out.push((r ^ 1) << 7 | (x ^ 1) << 6 | (b ^ 1) << 5 | (r2 ^ 1) << 4 | row.map);
    out.push(w << 7 | (v & 15 ^ 15) << 3 | 4 | row.prefix);
    out.push(l << 5 | (v >> 4 & 1 ^ 1) << 3);
    out.push(row.opcode);
    let unit = row.operands.get(row.rm_at as usize).map_or(0, |spec| spec.width(variant) as u32);
    out.modrm(reg, rm, trailing_length(row), unit);
    trailing(row, operands, &mut out);
    out.put(buffer);
}

fn branch_row(row: &Row, variant: Variant, operands: &[Operand], buffer: &mut CodeBuffer) {
    debug_assert!(row.operands.first().is_some_and(|spec| spec.slot == Slot::Imm));
    let cond = variant.get_cond() as u8;
    match *at(operands, 0) {
        Operand::Label(label) => match row.space {
            Space::Jump => buffer.branch(Branch::X64Jump, label),
            Space::JumpIf => buffer.branch(Branch::X64JumpIf(cond), label),
            _ => {
                buffer.put(&[0xe8]);
                let field = buffer.offset();
                buffer.put(&[0; 4]);
                buffer.fix_label(field, label, -4);
            }
        },
        Operand::Symbol(symbol, addend) => {
            match row.space {
                Space::JumpIf => buffer.put(&[0x0f, 0x80 | cond]),
                _ => buffer.put(&[row.opcode]),
            }
            let field = buffer.offset();
            buffer.put(&[0; 4]);
            buffer.relocate(field, RelocationKind::Call4, symbol, i64::from(addend) - 4);
        }
        _ => {}
    }
}

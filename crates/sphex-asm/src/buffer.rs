//! The buffer that machine code is emitted into: bytes, labels, branches, constants and records.
//!
//! Needs: an encoder that appends whole instructions. Gives: [`CodeBuffer::finish`]: final bytes in which every branch to
//! a label has the short form where that is sure to fit, jumps to the next instruction are gone, every label is resolved,
//! and every record stands at its final offset. Cost: linear in bytes and records (a constant number of passes).
//!
//! Branches cannot be sized when they are emitted, for forward labels are not yet bound; and sizing backward ones at once
//! would leave two mechanisms. So all of them are emitted in their longest form, and `finish` shortens. (AArch64's longest
//! form of a conditional branch is its opposite over a jump: a veneer that stands where it is used, so that no islands are
//! needed; only code of more than 128 MiB a function is out of reach.) The argument:
//!
//! - I1. Emission only appends. Hence each list (edits, fixups, every kind of record, labels in order of binding) is
//!   sorted by offset, and walking two of them together is a merge.
//! - I2. An *edit* is a stretch of bytes whose length may change: a branch (emitted longest) or alignment padding. Bytes
//!   outside edits never change length. A label knows how many edits came before it, so that one bound after padding of
//!   no bytes is told apart from one bound before it.
//! - I3. *The model* is a layout in which each branch has its currently chosen length and each alignment its largest
//!   possible padding. Chosen lengths never grow. Every stretch of the final layout is therefore at most as long as in
//!   the model at any time, so a distance that fits the short form in the model fits in the end.
//! - I4. A branch is dropped only if, in the model, its target is its own end: then no byte lies between in the end
//!   either.
//! - I5. A label that is an alias resolves to one that is bound: [`CodeBuffer::alias`] refuses cycles.
//! - I6. A record about an instruction's start moves with the instruction, one about its end with that end: the two
//!   differ only where padding of no bytes lies between, and padding may grow when code before it shrinks.

#[cfg(test)]
mod aarch64_tests;
mod relax;
#[cfg(test)]
mod tests;

use crate::record::{
    CallRecord, LocationRecord, Relocation, RelocationKind, RelocationTarget, Symbol, TrapRecord, UnwindOp,
    UnwindRecord,
};
use sphex_entity::{EntityRef, PrimaryMap, entity};
use std::collections::HashMap;

entity! {
    /// A place in the code of one buffer.
    pub struct Label("label");
}

entity! {
    /// A constant in the pool of one buffer.
    pub struct Constant("const");
}

/// A branch to a label, in the encodings that [`CodeBuffer::finish`] chooses among.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Branch {
    /// x86-64 `jmp`: `e9 rel32` or `eb rel8`.
    X64Jump,
    /// x86-64 `jcc` with this condition number: `0f 8c rel32` or `7c rel8`.
    X64JumpIf(u8),
    /// AArch64 `b`.
    A64Jump,
    /// AArch64 `b.cond` with this condition number; far away the opposite over a `b`, like the two that follow.
    A64If(u8),
    /// AArch64 `cbz` and `cbnz`: the register, then whether it is not zero that is asked for, then whether 64 bits are.
    A64Zero(u8),
    /// AArch64 `tbz` and `tbnz`: the register, then the bit's number, then whether it is a one that is asked for.
    A64Bit(u16),
}

/// What the buffer itself writes, padding and branches, in which instruction set.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Isa {
    /// x86-64.
    #[default]
    X64,
    /// AArch64.
    Aarch64,
}

/// Which field a fixup fills.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum FixupForm {
    /// Four bytes.
    Word,
    /// The 21 bits of an AArch64 `adr`.
    A64Address,
    /// 19 bits of words, from bit 5 on.
    A64Field19,
    /// 26 bits of words.
    A64Field26,
}

/// Where the constant pool goes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Pool {
    /// After the code, in the same bytes; references are resolved.
    AfterCode,
    /// In [`Code::constants`]; each reference is a relocation.
    Apart,
}

/// The code is larger than a branch can span.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error("code size: expected at most {limit} bytes, found {found}")]
pub struct TooLarge {
    /// Bytes there are, or that a field would have to span.
    pub found: usize,
    /// Most bytes.
    pub limit: usize,
}

/// Finished code and what is known about it.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Code {
    /// The code, followed by the pool under [`Pool::AfterCode`].
    pub bytes: Vec<u8>,
    /// How many of the bytes are code.
    pub code_size: u32,
    /// The alignment that the bytes need (at least 1).
    pub alignment: u32,
    /// The pool under [`Pool::Apart`].
    pub constants: Vec<u8>,
    /// The alignment that the pool needs (at least 1).
    pub constants_alignment: u32,
    /// Fields for the linker.
    pub relocations: Vec<Relocation>,
    /// Instructions that can fault.
    pub traps: Vec<TrapRecord>,
    /// Where code came from.
    pub locations: Vec<LocationRecord>,
    /// Calls and other safepoints.
    pub calls: Vec<CallRecord>,
    /// The frame's life.
    pub unwind: Vec<UnwindRecord>,
    /// Each label's offset, by index (`u32::MAX` for one that was never bound nor used).
    pub labels: Vec<u32>,
    /// Elementary steps that finishing took (edits, labels, fixups and records visited).
    pub steps: u64,
}

impl Code {
    /// The offset of a bound label.
    pub fn offset_of(&self, label: Label) -> u32 {
        self.labels[label.index()]
    }
}

#[derive(Clone, Copy, Debug)]
enum LabelState {
    Unbound,
    /// Bound at an offset, after this many edits.
    Bound {
        offset: u32,
        edits: u32,
    },
    Alias(Label),
}

/// A stretch whose length may change (I2).
#[derive(Clone, Copy, Debug)]
struct Edit {
    offset: u32,
    /// Length as emitted.
    emitted: u8,
    /// Length in the model, then in the final layout.
    length: u8,
    kind: EditKind,
}

#[derive(Clone, Copy, Debug)]
enum EditKind {
    Branch(Branch, Label),
    /// Padding to a multiple of `1 << n` bytes.
    Align(u8),
}

#[derive(Clone, Copy, Debug)]
struct Fixup {
    /// The four bytes that hold the field.
    offset: u32,
    form: FixupForm,
    /// Added to the target's address.
    addend: i32,
    target: FixupTarget,
}

#[derive(Clone, Copy, Debug)]
enum FixupTarget {
    /// The distance from the field to a label.
    Label(Label),
    /// The distance from the field to a constant.
    Constant(Constant),
    /// The distance from one label to another.
    Between { base: Label, label: Label },
}

/// Code under construction. See the module's page for how it is finished.
#[derive(Debug, Default)]
pub struct CodeBuffer {
    isa: Isa,
    bytes: Vec<u8>,
    labels: PrimaryMap<Label, LabelState>,
    /// Bound labels in order of binding.
    bound: Vec<Label>,
    edits: Vec<Edit>,
    /// Aliases followed so far.
    alias_steps: u64,
    fixups: Vec<Fixup>,
    alignment: u32,
    pool: PrimaryMap<Constant, PoolBytes>,
    pool_index: HashMap<PoolBytes, Constant>,
    relocations: Vec<Relocation>,
    traps: Vec<TrapRecord>,
    locations: Vec<LocationRecord>,
    calls: Vec<CallRecord>,
    unwind: Vec<UnwindRecord>,
}

/// A constant's bytes: 4, 8, 16 or 32 of them.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
struct PoolBytes {
    length: u8,
    bytes: [u8; 32],
}

impl CodeBuffer {
    /// An empty buffer.
    pub fn new() -> CodeBuffer {
        CodeBuffer::default()
    }

    /// An empty buffer for an instruction set.
    pub fn for_isa(isa: Isa) -> CodeBuffer {
        CodeBuffer { isa, ..CodeBuffer::default() }
    }

    /// Says which instruction set the code is in; [`Self::clear`] leaves it.
    pub fn set_isa(&mut self, isa: Isa) {
        self.isa = isa;
    }

    /// Forgets everything but the instruction set, and keeps the memory.
    pub fn clear(&mut self) {
        self.bytes.clear();
        self.labels.clear();
        self.bound.clear();
        self.edits.clear();
        self.alias_steps = 0;
        self.fixups.clear();
        self.alignment = 1;
        self.pool.clear();
        self.pool_index.clear();
        self.relocations.clear();
        self.traps.clear();
        self.locations.clear();
        self.calls.clear();
        self.unwind.clear();
    }

    /// The offset of the next byte, before any branch is shortened: good for asking whether anything was emitted.
    pub fn offset(&self) -> u32 {
        self.bytes.len() as u32
    }

    /// Appends bytes that are no branch to a label.
    pub fn put(&mut self, bytes: &[u8]) {
        self.bytes.extend_from_slice(bytes); // keeps I1
    }

    /// Appends the first `length` of these bytes: one instruction. A copy of constant size is quicker than an exact one.
    pub(crate) fn put_instruction(&mut self, bytes: &[u8; 16], length: usize) {
        let end = self.bytes.len() + length.min(16);
        self.bytes.extend_from_slice(bytes);
        self.bytes.truncate(end); // keeps I1
    }

    /// A new label, not yet bound.
    pub fn label(&mut self) -> Label {
        self.labels.push(LabelState::Unbound)
    }

    /// Binds a label to the next byte. A label is bound or made an alias once.
    pub fn bind(&mut self, label: Label) {
        debug_assert!(matches!(self.labels[label], LabelState::Unbound), "{label} is bound twice");
        self.labels[label] = LabelState::Bound { offset: self.offset(), edits: self.edits.len() as u32 };
        self.bound.push(label);
    }

    /// Makes a label another name of `target` (an empty block that only jumps there). Refused, with `false`, if that
    /// would be a cycle; then the label is still unbound.
    pub fn alias(&mut self, label: Label, target: Label) -> bool {
        debug_assert!(matches!(self.labels[label], LabelState::Unbound), "{label} is bound twice");
        let target = self.resolve(target);
        if target == label {
            return false; // keeps I5
        }
        self.labels[label] = LabelState::Alias(target);
        true
    }

    /// The label at the end of the chain of aliases; all of the chain points there afterwards.
    fn resolve(&mut self, mut label: Label) -> Label {
        let mut end = label;
        while let LabelState::Alias(next) = self.labels[end] {
            end = next;
            self.alias_steps += 1;
        }
        while let LabelState::Alias(next) = self.labels[label] {
            self.labels[label] = LabelState::Alias(end);
            label = next;
        }
        end
    }

    /// Appends a branch to a label.
    pub fn branch(&mut self, branch: Branch, label: Label) {
        let offset = self.offset();
        match branch {
            Branch::X64Jump => self.put(&[0xe9, 0, 0, 0, 0]),
            Branch::X64JumpIf(cond) => self.put(&[0x0f, 0x80 | cond & 15, 0, 0, 0, 0]),
            Branch::A64Jump => self.put(&[0; 4]),
            Branch::A64If(_) | Branch::A64Zero(_) | Branch::A64Bit(_) => self.put(&[0; 8]),
        }
        let length = branch.long();
        self.edits.push(Edit { offset, emitted: length, length, kind: EditKind::Branch(branch, label) });
    }

    /// Pads with nops to a multiple of `alignment` bytes, a power of two up to 64.
    pub fn align(&mut self, alignment: u32) {
        debug_assert!(alignment.is_power_of_two() && alignment <= 64);
        self.alignment = self.alignment.max(alignment);
        let offset = self.offset();
        let padding = offset.next_multiple_of(alignment) - offset;
        self.isa.pad(padding as usize, &mut self.bytes);
        let length = alignment as u8 - 1; // the model's: I3
        let kind = EditKind::Align(alignment.trailing_zeros() as u8);
        self.edits.push(Edit { offset, emitted: padding as u8, length, kind });
    }

    /// Says that the code must start at a multiple of `alignment` bytes.
    pub fn require_alignment(&mut self, alignment: u32) {
        self.alignment = self.alignment.max(alignment);
    }

    /// The four bytes at `offset` are to hold the distance from themselves to the label, plus `addend`.
    pub fn fix_label(&mut self, offset: u32, label: Label, addend: i32) {
        self.fix_label_in(offset, FixupForm::Word, label, addend);
    }

    /// The field of this form at `offset` is to hold the distance from there to the label, plus `addend`.
    pub fn fix_label_in(&mut self, offset: u32, form: FixupForm, label: Label, addend: i32) {
        self.fixups.push(Fixup { offset, form, addend, target: FixupTarget::Label(label) });
    }

    /// The four bytes at `offset` are to hold the distance from themselves to the constant, plus `addend`.
    pub fn fix_constant(&mut self, offset: u32, constant: Constant, addend: i32) {
        let target = FixupTarget::Constant(constant);
        self.fixups.push(Fixup { offset, form: FixupForm::Word, addend, target });
    }

    /// The field at `offset` is for the linker.
    pub fn relocate(&mut self, offset: u32, kind: RelocationKind, symbol: Symbol, addend: i64) {
        self.relocations.push(Relocation { offset, kind, target: RelocationTarget::Symbol(symbol), addend });
    }

    /// Appends a table of four-byte distances from `base` to each target.
    pub fn jump_table(&mut self, base: Label, targets: &[Label]) {
        self.bytes.reserve(targets.len() * 4);
        for &label in targets {
            let offset = self.offset();
            self.put(&[0; 4]);
            let target = FixupTarget::Between { base, label };
            self.fixups.push(Fixup { offset, form: FixupForm::Word, addend: 0, target });
        }
    }

    /// Puts 4, 8, 16 or 32 bytes in the pool, aligned to their length; equal ones are put in once.
    pub fn constant(&mut self, bytes: &[u8]) -> Constant {
        debug_assert!(matches!(bytes.len(), 4 | 8 | 16 | 32), "a constant of {} bytes", bytes.len());
        let mut key = PoolBytes { length: bytes.len() as u8, bytes: [0; 32] };
        key.bytes[..bytes.len()].copy_from_slice(bytes);
        let pool = &mut self.pool;
        *self.pool_index.entry(key).or_insert_with(|| pool.push(key))
    }

    /// The instruction that comes next can fault; its fault means `code`.
    pub fn trap(&mut self, code: u8) {
        let offset = self.offset();
        self.traps.push(TrapRecord { offset, code });
    }

    /// What comes next is from this location.
    pub fn location(&mut self, location: u32) {
        let offset = self.offset();
        match self.locations.last_mut() {
            Some(last) if last.location == location => {}
            Some(last) if last.offset == offset => last.location = location,
            _ => self.locations.push(LocationRecord { offset, location }),
        }
    }

    /// The instruction that came last is a call or another safepoint.
    pub fn call(&mut self, safepoint: u32) {
        let offset = self.offset();
        self.calls.push(CallRecord { offset, safepoint });
    }

    /// The instruction that came last changed the frame so.
    pub fn unwind(&mut self, op: UnwindOp) {
        let offset = self.offset();
        self.unwind.push(UnwindRecord { offset, op });
    }
}

impl Isa {
    /// Appends so many bytes of instructions that do nothing.
    fn pad(self, count: usize, out: &mut Vec<u8>) {
        match self {
            Isa::X64 => crate::x64::encode::nops(count, out),
            Isa::Aarch64 => crate::aarch64::encode::nops(count, out),
        }
    }

    /// What stands between code and constants: a trap.
    const fn filler(self) -> u8 {
        match self {
            Isa::X64 => 0xcc,
            Isa::Aarch64 => 0,
        }
    }

    /// Most bytes that a function's branches span in their longest form.
    const fn limit(self) -> usize {
        match self {
            Isa::X64 => i32::MAX as usize,
            Isa::Aarch64 => (1 << 27) - 1,
        }
    }
}

impl Branch {
    /// Length of the longest form.
    const fn long(self) -> u8 {
        match self {
            Branch::X64Jump => 5,
            Branch::X64JumpIf(_) => 6,
            Branch::A64Jump => 4,
            Branch::A64If(_) | Branch::A64Zero(_) | Branch::A64Bit(_) => 8,
        }
    }

    /// Length of the short form.
    const fn short(self) -> u8 {
        match self {
            Branch::X64Jump | Branch::X64JumpIf(_) => 2,
            _ => 4,
        }
    }

    /// Whether the short form reaches so far from its end.
    fn reaches(self, distance: i64) -> bool {
        match self {
            Branch::X64Jump | Branch::X64JumpIf(_) => i8::try_from(distance).is_ok(),
            Branch::A64Jump => true,
            Branch::A64If(_) | Branch::A64Zero(_) => (-1 << 20..1 << 20).contains(&(distance + 4)),
            Branch::A64Bit(_) => (-1 << 15..1 << 15).contains(&(distance + 4)),
        }
    }

    /// Writes the form of this length with a displacement from the branch's end.
    fn write(self, bytes: &mut [u8], displacement: i32) {
        match (self, bytes.len()) {
            (_, 0) => {}
            (Branch::X64Jump, 2) => bytes.copy_from_slice(&[0xeb, displacement as u8]),
            (Branch::X64JumpIf(cond), 2) => bytes.copy_from_slice(&[0x70 | cond & 15, displacement as u8]),
            (Branch::X64Jump, _) => {
                bytes[0] = 0xe9;
                bytes[1..].copy_from_slice(&displacement.to_le_bytes());
            }
            (Branch::X64JumpIf(cond), _) => {
                bytes[..2].copy_from_slice(&[0x0f, 0x80 | cond & 15]);
                bytes[2..].copy_from_slice(&displacement.to_le_bytes());
            }
            _ => crate::aarch64::encode::write_branch(self, bytes, displacement),
        }
    }
}

impl FixupForm {
    /// Writes a distance into the field in these four bytes. Refuses, with the span of the field, what does not fit.
    fn write(self, bytes: &mut [u8], value: i64) -> Result<(), usize> {
        let bits = match self {
            FixupForm::Word => {
                bytes.copy_from_slice(&(value as i32).to_le_bytes());
                return Ok(());
            }
            FixupForm::A64Address | FixupForm::A64Field19 => 20,
            FixupForm::A64Field26 => 27,
        };
        if !(-1 << bits..1 << bits).contains(&value) {
            return Err((1 << bits) - 1);
        }
        let (value, mut word) = (value as u32, [0; 4]);
        word.copy_from_slice(bytes);
        let field = match self {
            FixupForm::A64Address => (value & 3) << 29 | (value >> 2 & 0x7_ffff) << 5,
            FixupForm::A64Field19 => (value >> 2 & 0x7_ffff) << 5,
            _ => value >> 2 & 0x03ff_ffff,
        };
        bytes.copy_from_slice(&(u32::from_le_bytes(word) | field).to_le_bytes());
        Ok(())
    }
}

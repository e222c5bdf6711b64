//! The buffer that machine code is emitted into: bytes, labels, branches, constants and records.
//!
//! Needs: an encoder that appends whole instructions. Gives: [`CodeBuffer::finish`]: final bytes in which every branch to
//! a label has the short form where that is sure to fit, jumps to the next instruction are gone, every label is resolved,
//! and every record stands at its final offset. Cost: linear in bytes and records (a constant number of passes).
//!
//! Branches cannot be sized when they are emitted, for forward labels are not yet bound; and sizing backward ones at once
//! would leave two mechanisms. So all of them are emitted in their longest form, and `finish` shortens. The argument:
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
#[error("code size: expected at most 2147483647 bytes, found {0}")]
pub struct TooLarge(pub usize);

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
    /// The four-byte field.
    offset: u32,
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

    /// Forgets everything but keeps the memory.
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
        crate::x64::encode::nops(padding as usize, &mut self.bytes);
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
        self.fixups.push(Fixup { offset, addend, target: FixupTarget::Label(label) });
    }

    /// The four bytes at `offset` are to hold the distance from themselves to the constant, plus `addend`.
    pub fn fix_constant(&mut self, offset: u32, constant: Constant, addend: i32) {
        self.fixups.push(Fixup { offset, addend, target: FixupTarget::Constant(constant) });
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
            self.fixups.push(Fixup { offset, addend: 0, target: FixupTarget::Between { base, label } });
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

impl Branch {
    /// Length of the longest form.
    const fn long(self) -> u8 {
        match self {
            Branch::X64Jump => 5,
            Branch::X64JumpIf(_) => 6,
        }
    }

    /// Length of the short form.
    const fn short(self) -> u8 {
        2
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
        }
    }
}

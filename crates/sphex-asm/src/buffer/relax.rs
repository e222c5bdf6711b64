//! Finishing a buffer: branches shrink, labels resolve, records move. The argument is on the parent module's page.

use super::{Code, CodeBuffer, Edit, EditKind, FixupTarget, Label, LabelState, Pool, PoolBytes, TooLarge};
use crate::record::{Relocation, RelocationKind, RelocationTarget};
use sphex_entity::EntityRef;

/// Rounds of shortening at most. A round lets further branches fit only where earlier ones shrank between; what a fourth
/// would find is not worth a walk.
const ROUNDS: u32 = 3;

impl CodeBuffer {
    /// Finishes the code and leaves the buffer empty. Every label that is used must be bound.
    pub fn finish(&mut self, pool: Pool) -> Result<Code, TooLarge> {
        let pool_size: usize = self.pool.values().map(|constant| constant.length as usize).sum();
        let total = self.bytes.len() + self.edits.len() * 64 + pool_size;
        if total > self.isa.limit() {
            return Err(TooLarge { found: total, limit: self.isa.limit() });
        }
        let mut code = Code { alignment: self.alignment.max(1), constants_alignment: 1, ..Code::default() };
        self.flatten_aliases();
        code.steps += self.alias_steps + self.labels.len() as u64;
        let mut starts = vec![0; self.edits.len()];
        let mut labels = vec![u32::MAX; self.labels.len()];
        for _ in 0..ROUNDS {
            self.place(false, &mut starts, &mut labels, &mut code.steps);
            if !self.shorten(&starts, &labels, &mut code.steps) {
                break;
            }
        }
        self.place(true, &mut starts, &mut labels, &mut code.steps);
        code.bytes = self.compact(&starts, &labels);
        self.take_records(&mut code);
        code.code_size = code.bytes.len() as u32;
        self.put_pool(pool, &labels, &mut code)?;
        for (label, state) in self.labels.iter() {
            if let LabelState::Alias(target) = *state {
                labels[label.index()] = labels[target.index()];
            }
        }
        code.labels = labels;
        self.clear();
        Ok(code)
    }

    /// Takes the memory back of records that have been read.
    pub fn take_back(&mut self, code: &mut Code) {
        self.locations = std::mem::take(&mut code.locations);
        self.calls = std::mem::take(&mut code.calls);
        self.locations.clear();
        self.calls.clear();
    }

    /// Points every alias, and every branch and fixup, at the bound label itself (I5).
    fn flatten_aliases(&mut self) {
        for index in 0..self.labels.len() {
            let label = Label::new(index);
            if let LabelState::Alias(_) = self.labels[label] {
                let target = self.resolve(label);
                self.labels[label] = LabelState::Alias(target);
            }
        }
        let labels = &self.labels;
        let flat = |label: &mut Label| {
            if let LabelState::Alias(target) = labels[*label] {
                *label = target;
            }
        };
        for edit in &mut self.edits {
            if let EditKind::Branch(_, label) = &mut edit.kind {
                flat(label);
            }
        }
        for fixup in &mut self.fixups {
            match &mut fixup.target {
                FixupTarget::Label(label) => flat(label),
                FixupTarget::Between { base, label } => {
                    flat(base);
                    flat(label);
                }
                FixupTarget::Constant(_) => {}
            }
        }
    }

    /// Lays the code out with the edits' lengths: the start of each edit and the offset of each label. In the final
    /// layout (not in the model, I3) padding gets its true length first.
    fn place(&mut self, last: bool, starts: &mut [u32], labels: &mut [u32], steps: &mut u64) {
        *steps += (self.edits.len() + self.bound.len()) as u64;
        // How far code has moved; wrapping, for padding may grow in the model.
        let mut moved = 0_u32;
        let mut next = 0;
        let bound = self.bound.iter().filter_map(|&label| match self.labels[label] {
            LabelState::Bound { offset, edits } => Some((label.index(), offset, edits as usize)),
            _ => None,
        });
        let end = [(usize::MAX, 0, self.edits.len())];
        for (label, offset, before) in bound.chain(end) {
            while next < before {
                let edit = &mut self.edits[next];
                let start = edit.offset.wrapping_add(moved);
                if let (true, EditKind::Align(log2)) = (last, edit.kind) {
                    edit.length = (start.next_multiple_of(1 << log2) - start) as u8;
                }
                starts[next] = start;
                moved = moved.wrapping_add(u32::from(edit.length)).wrapping_sub(u32::from(edit.emitted));
                next += 1;
            }
            if label != usize::MAX {
                labels[label] = offset.wrapping_add(moved);
            }
        }
    }

    /// Shortens what fits in the model. Whether anything changed.
    fn shorten(&mut self, starts: &[u32], labels: &[u32], steps: &mut u64) -> bool {
        *steps += self.edits.len() as u64;
        let mut changed = false;
        for (edit, &start) in self.edits.iter_mut().zip(starts) {
            let EditKind::Branch(branch, label) = edit.kind else { continue };
            let target = labels[label.index()];
            assert!(target != u32::MAX, "{label} is used and never bound");
            let length = if target == start + u32::from(edit.length) {
                0 // keeps I4
            } else if edit.length == 0 {
                continue;
            } else {
                // Forwards the distance counts from the branch's end wherever that is; backwards it includes the
                // branch in the form asked about.
                let distance = if target > start {
                    i64::from(target) - i64::from(start + u32::from(edit.length))
                } else {
                    i64::from(target) - i64::from(start + u32::from(branch.short()))
                };
                if branch.reaches(distance) { branch.short() } else { edit.length }
            };
            changed |= length != edit.length;
            edit.length = length; // never grows: I3
        }
        changed
    }

    /// The bytes of the final layout, branches and padding written, fixups still open.
    fn compact(&mut self, starts: &[u32], labels: &[u32]) -> Vec<u8> {
        let mut out = Vec::with_capacity(self.bytes.len() + 64);
        let mut copied = 0;
        for (edit, &start) in self.edits.iter().zip(starts) {
            out.extend_from_slice(&self.bytes[copied..edit.offset as usize]);
            debug_assert_eq!(out.len(), start as usize);
            copied = edit.offset as usize + edit.emitted as usize;
            match edit.kind {
                EditKind::Align(_) => self.isa.pad(edit.length as usize, &mut out),
                EditKind::Branch(branch, label) => {
                    let end = start as usize + edit.length as usize;
                    out.resize(end, 0);
                    let displacement = i64::from(labels[label.index()]) - end as i64;
                    branch.write(&mut out[start as usize..], displacement as i32);
                }
            }
        }
        out.extend_from_slice(&self.bytes[copied..]);
        out
    }

    /// Moves fixups' and records' offsets and hands the records over (I6).
    fn take_records(&mut self, code: &mut Code) {
        let edits = &self.edits;
        code.steps += move_offsets(edits, true, self.fixups.iter_mut().map(|fixup| &mut fixup.offset))
            + move_offsets(edits, true, self.relocations.iter_mut().map(|record| &mut record.offset))
            + move_offsets(edits, true, self.traps.iter_mut().map(|record| &mut record.offset))
            + move_offsets(edits, true, self.locations.iter_mut().map(|record| &mut record.offset))
            + move_offsets(edits, false, self.calls.iter_mut().map(|record| &mut record.offset))
            + move_offsets(edits, false, self.unwind.iter_mut().map(|record| &mut record.offset));
        // Copies are as long as they must be; the buffer keeps its room for the next function.
        code.relocations = self.relocations.clone();
        code.traps = self.traps.clone();
        code.locations = std::mem::take(&mut self.locations);
        code.calls = std::mem::take(&mut self.calls);
        code.unwind = self.unwind.clone();
    }

    /// Places the pool and writes every fixup.
    fn put_pool(&mut self, place: Pool, labels: &[u32], code: &mut Code) -> Result<(), TooLarge> {
        let (pool, offsets, alignment) = self.lay_out_pool();
        let mut base = 0;
        if place == Pool::AfterCode && !pool.is_empty() {
            // Nothing runs into the padding; a trap if it does.
            base = code.bytes.len().next_multiple_of(alignment as usize) as u32;
            code.bytes.resize(base as usize, self.isa.filler());
            code.bytes.extend_from_slice(&pool);
            code.alignment = code.alignment.max(alignment);
        } else {
            code.constants = pool;
            code.constants_alignment = alignment;
        }
        let mut apart = Vec::new();
        for fixup in &self.fixups {
            let field = i64::from(fixup.offset);
            let addend = i64::from(fixup.addend);
            let at = |label: Label| {
                let offset = labels[label.index()];
                assert!(offset != u32::MAX, "{label} is used and never bound");
                i64::from(offset)
            };
            let value = match fixup.target {
                FixupTarget::Label(label) => at(label) - field + addend,
                FixupTarget::Between { base, label } => at(label) - at(base) + addend,
                FixupTarget::Constant(constant) => {
                    let offset = offsets[constant.index()];
                    if place == Pool::Apart {
                        let target = RelocationTarget::Constant(offset);
                        let offset = fixup.offset;
                        apart.push(Relocation { offset, kind: RelocationKind::PcRel4, target, addend });
                        continue;
                    }
                    i64::from(base + offset) - field + addend
                }
            };
            let at = fixup.offset as usize;
            if let Err(limit) = fixup.form.write(&mut code.bytes[at..at + 4], value) {
                return Err(TooLarge { found: value.unsigned_abs() as usize, limit });
            }
        }
        if !apart.is_empty() {
            code.relocations.append(&mut apart);
            code.relocations.sort_by_key(|relocation| relocation.offset); // two sorted runs: linear
        }
        code.steps += self.fixups.len() as u64;
        Ok(())
    }

    /// The pool's bytes, each constant's offset, and the alignment: the largest first, so that no padding is needed.
    fn lay_out_pool(&self) -> (Vec<u8>, Vec<u32>, u32) {
        let mut bytes = Vec::new();
        let mut offsets = vec![0; self.pool.len()];
        let mut alignment = 1;
        for length in [32_u8, 16, 8, 4] {
            for (constant, PoolBytes { bytes: value, .. }) in
                self.pool.iter().filter(|(_, constant)| constant.length == length)
            {
                alignment = alignment.max(u32::from(length));
                offsets[constant.index()] = bytes.len() as u32;
                bytes.extend_from_slice(&value[..length as usize]);
            }
        }
        (bytes, offsets, alignment)
    }
}

/// Moves sorted offsets to the final layout. `start` says that they are starts of instructions or fields inside them,
/// which padding of no bytes right before them pushes along (I6); ends are not. Gives the steps taken.
fn move_offsets<'a>(edits: &[Edit], start: bool, offsets: impl Iterator<Item = &'a mut u32>) -> u64 {
    let mut moved = 0_u32;
    let mut next = 0;
    let mut steps = 0;
    for offset in offsets {
        while let Some(edit) = edits.get(next) {
            let before = edit.offset < *offset || (start && edit.offset == *offset && edit.emitted == 0);
            if !before {
                break;
            }
            moved = moved.wrapping_add(u32::from(edit.length)).wrapping_sub(u32::from(edit.emitted));
            next += 1;
        }
        *offset = offset.wrapping_add(moved);
        steps += 1;
    }
    steps + next as u64
}

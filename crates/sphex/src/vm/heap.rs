//! Host references that wasm holds: 32-bit indices into a table of slots, freed by mark and sweep.
//!
//! A slot owns one `ExternRef` (a counted pointer of the host), so that host code needs no roots: what it holds, it
//! owns. Only wasm's indices must be found again: in the frames of running wasm (every aligned 32-bit word of the stack
//! between the newest frame and the oldest entry is taken for an index if it could be one), in globals, in tables.
//!
//! - **H1.** A slot is freed only by `sweep`, after a marking that has seen every index that wasm may hold.
//! - **H2.** Marking runs only in `reserve`, before indices are made: what the host is about to hand to wasm is
//!   converted after one `reserve` for all of it, without a sweep in between.
//!
//! Cost: a sweep is linear in slots and scanned words, and happens when the live slots of the last one have doubled (at
//! least [`MINIMUM`] slots), so that a reference costs a constant amount of work.

use crate::externref::ExternRef;

/// Slots that are handed out before the first sweep.
const MINIMUM: usize = 1 << 14;

/// Indices have this tag, so that a small integer on the stack is seldom taken for one.
const TAG: u32 = 0xa000_0000;
const TAG_MASK: u32 = 0xf000_0000;
/// Most slots there can be.
const MAXIMUM: usize = 1 << 28;

/// The slots.
#[derive(Debug, Default)]
pub(crate) struct Heap {
    slots: Vec<Option<ExternRef>>,
    free: Vec<u32>,
    marks: Vec<u64>,
    /// Slots in use after the last sweep.
    live: usize,
    /// Stack words that the last marking read.
    scanned: usize,
}

/// The heap is full.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Full;

impl Heap {
    /// Can `count` slots be handed out without a sweep?
    pub(crate) fn has_room(&self, count: usize) -> bool {
        let used = self.slots.len() - self.free.len();
        // A deep stack is scanned more seldom.
        used + count <= (self.live * 2).max(MINIMUM).max(self.scanned / 4)
    }

    /// Begins a marking.
    pub(crate) fn clear_marks(&mut self) {
        self.marks.clear();
        self.marks.resize(self.slots.len().div_ceil(64), 0);
        self.scanned = 0;
    }

    /// Keeps what `word` refers to, if it is an index.
    pub(crate) fn mark(&mut self, word: u32) {
        if word & TAG_MASK == TAG {
            let slot = (word & !TAG_MASK) as usize;
            if let Some(bits) = self.marks.get_mut(slot / 64) {
                *bits |= 1 << (slot % 64);
            }
        }
    }

    /// Counts words of the stack that were read.
    pub(crate) fn count_scanned(&mut self, words: usize) {
        self.scanned += words;
    }

    /// Frees every slot without a mark.
    pub(crate) fn sweep(&mut self) -> Vec<ExternRef> {
        let mut dead = Vec::new();
        self.free.clear();
        for (slot, value) in self.slots.iter_mut().enumerate().rev() {
            if self.marks[slot / 64] >> (slot % 64) & 1 == 0 {
                dead.extend(value.take());
                self.free.push(slot as u32);
            }
        }
        self.live = self.slots.len() - self.free.len();
        dead
    }

    /// The index of a new slot that owns `value`.
    pub(crate) fn insert(&mut self, value: ExternRef) -> Result<u32, Full> {
        let slot = match self.free.pop() {
            Some(slot) => slot,
            None if self.slots.len() < MAXIMUM => {
                self.slots.push(None);
                self.slots.len() as u32 - 1
            }
            None => return Err(Full),
        };
        self.slots[slot as usize] = Some(value);
        Ok(TAG | slot)
    }

    /// What an index refers to; `None` for null (and for what is no index).
    pub(crate) fn get(&self, index: u32) -> Option<ExternRef> {
        self.borrow(index).cloned()
    }

    /// As [`Heap::get`], without another count.
    pub(crate) fn borrow(&self, index: u32) -> Option<&ExternRef> {
        if index & TAG_MASK != TAG {
            return None;
        }
        self.slots.get((index & !TAG_MASK) as usize)?.as_ref()
    }

    /// Slots in use.
    pub(crate) fn used(&self) -> usize {
        self.slots.len() - self.free.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sweeps_what_is_not_marked() {
        let mut heap = Heap::default();
        let a = heap.insert(ExternRef::new(1u32)).unwrap();
        let b = heap.insert(ExternRef::new(2u32)).unwrap();
        heap.clear_marks();
        heap.mark(b);
        heap.mark(7);
        heap.mark(TAG | 99);
        assert_eq!(heap.sweep().len(), 1);
        assert!(heap.get(a).is_none() && heap.get(0).is_none());
        assert_eq!(heap.get(b).unwrap().downcast_ref::<u32>(), Some(&2));
        assert_eq!(heap.used(), 1);
        assert_eq!(heap.insert(ExternRef::new(3u32)).unwrap(), a);
    }
}

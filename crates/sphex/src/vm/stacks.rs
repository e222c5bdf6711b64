//! The stacks of fibers: cut from slabs, each with a guard below, kept for the next call.
//!
//! - **K1.** A `Stack` is the only owner of its range of addresses, from when it is cut until it is dropped. It lies
//!   either on the shelf or with the one call that runs on it.
//! - **K2.** A slab is unmapped when its last stack is dropped. A call that is forgotten (`mem::forget`) keeps its stack
//!   for ever, and with it the slab: what was pinned on it stays at its address, as pinning asks.
//!
//! A fresh mapping costs a thousand switches, so that stacks are kept. One slab is one mapping (two a stack where the
//! kernel knows no guard markers), so that 20,000 suspended calls are far from `vm.max_map_count`. What a deep call made
//! resident is given back: a stack on the shelf holds at most `KEPT` bytes, and none when `WARM` others lie there
//! already. Whether there is anything to give back is not known without asking the kernel, which costs ten switches; a
//! glance at the page below `KEPT` tells nearly always, and every `THOROUGH`th use gives back without looking.

use std::sync::{Arc, PoisonError};

use super::lock::Mutex;
use super::shelf::Shelf;
use super::sys::{self, Mapping};
use crate::error::{Error, Result};

/// Bytes below each stack that fault.
pub(super) const GUARD: usize = 64 << 10;
/// Bytes of a slab, unless one stack is larger.
const SLAB: usize = 32 << 20;
/// Bytes that a stack on the shelf keeps resident.
const KEPT: usize = 32 << 10;
/// Stacks on the shelf that keep anything.
const WARM: usize = 256;
/// A stack is given back whole each time that it was used so often.
const THOROUGH: u32 = 64;

/// The stacks of an engine.
#[derive(Debug)]
pub(crate) struct Stacks {
    /// Bytes of a stack with its guard.
    bytes: usize,
    shelf: Shelf<Stack>,
    /// The slab that stacks are cut from, and how many were.
    slab: Mutex<Option<(Arc<Mapping>, usize)>>,
}

/// A stack that no one else uses (K1).
#[derive(Debug)]
pub(crate) struct Stack {
    slab: Arc<Mapping>,
    offset: usize,
    bytes: usize,
    uses: u32,
}

impl Stack {
    /// The first byte that faults: where the guard begins.
    pub(crate) fn guard(&self) -> usize {
        self.slab.base().addr() + self.offset
    }

    /// The lowest address that may be used.
    pub(crate) fn low(&self) -> usize {
        self.guard() + GUARD
    }

    /// Where the stack begins, growing down; a page border.
    pub(crate) fn high(&self) -> *mut u8 {
        self.slab.base().wrapping_add(self.offset + self.bytes)
    }

    /// Was the page below the `KEPT` bytes written? Looks at one cache line in eight: frames leave something in most.
    fn is_deep(&self) -> bool {
        let page = sys::page_size();
        let at = self.high().wrapping_sub(KEPT + page).cast::<[u64; 8]>();
        // SAFETY: K1; a stack is much larger than `KEPT`. Volatile, as what is there was written by other code.
        let line = |i: usize| unsafe { at.add(i).read_volatile() };
        (0..page / 64).rev().step_by(8).any(|i| line(i) != [0; 8])
    }

    /// Gives back what is resident below the first `kept` bytes.
    fn release(&mut self, kept: usize) {
        let low = self.high().wrapping_sub(self.bytes - GUARD);
        // SAFETY: K1: no one is on this stack.
        unsafe { sys::stacks::release(low, self.high().wrapping_sub(kept)) }
    }
}

impl Stacks {
    /// No stacks yet; each will have this many usable bytes.
    pub(crate) fn new(usable: usize) -> Stacks {
        let bytes = (usable + GUARD).next_multiple_of(GUARD.max(sys::page_size()));
        Stacks { bytes, shelf: Shelf::new(), slab: Mutex::new(None) }
    }

    /// A stack, with whatever an earlier call left on it.
    pub(crate) fn take(&self) -> Result<Stack> {
        match self.shelf.take() {
            Some(stack) => Ok(stack),
            None => self.cut().map_err(|error| {
                let what = format!(
                    "cannot map a stack of {} bytes for an async call (a limit may be vm.max_map_count)",
                    self.bytes
                );
                Error::system(&what, error)
            }),
        }
    }

    /// Puts a stack back that nothing is on any more.
    pub(crate) fn give(&self, mut stack: Stack) {
        stack.uses = stack.uses.wrapping_add(1);
        if self.shelf.len() >= WARM {
            stack.release(0);
        } else if stack.uses.is_multiple_of(THOROUGH) || stack.is_deep() {
            stack.release(KEPT);
        }
        self.shelf.put(stack);
    }

    /// A stack that is new.
    fn cut(&self) -> std::io::Result<Stack> {
        let mut slab = self.slab.lock().unwrap_or_else(PoisonError::into_inner);
        let count = (SLAB / self.bytes).max(1);
        let (mapping, next) = match slab.take() {
            Some((mapping, next)) if next < count => (mapping, next),
            _ => (Arc::new(sys::stacks::map(count * self.bytes)?), 0),
        };
        let offset = next * self.bytes;
        let guarded = sys::stacks::guard(&mapping, offset..offset + GUARD);
        // A place whose guard failed is tried again by the next call.
        *slab = Some((mapping.clone(), next + usize::from(guarded.is_ok())));
        guarded?;
        Ok(Stack { slab: mapping, offset, bytes: self.bytes, uses: 0 })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stacks_are_used_again_and_give_memory_back() {
        let stacks = Stacks::new(1 << 20);
        let stack = stacks.take().unwrap();
        let other = stacks.take().unwrap();
        assert!(stack.high().addr() <= other.guard() || other.high().addr() <= stack.guard());
        let low = stack.low();
        let deep = std::ptr::with_exposed_provenance_mut::<u8>(low);
        // SAFETY: the stack is ours.
        unsafe { stack.high().sub(1).write(1) };
        // SAFETY: as above.
        unsafe { stack.high().sub(KEPT + 40).write(2) };
        // SAFETY: as above.
        unsafe { deep.write(3) };
        stacks.give(stack);
        let stack = stacks.take().unwrap();
        assert_eq!(stack.low(), low);
        // SAFETY: as above.
        let read = unsafe { [stack.high().sub(1).read(), stack.high().sub(KEPT + 40).read(), deep.read()] };
        assert_eq!(read, [1, 0, 0]);
        drop(stacks);
        // SAFETY: K2: the slab lives as long as its stacks.
        assert_eq!(unsafe { other.high().sub(1).read() }, 0);
    }
}

//! Memories that were given back on demand, kept for the next instance: address space that is reserved already, and a few
//! pages of RAM.
//!
//! Bounded in number and in resident bytes. The one that was given back last is taken first.

use std::io;
use std::sync::{Mutex, PoisonError};

use super::slot::{Slot, SlotKey};
use super::sys::Mapping;
use crate::allocation::OnDemand;

/// The kept memories of an engine.
#[derive(Debug)]
pub(crate) struct Cache {
    settings: OnDemand,
    kept: Mutex<Kept>,
}

#[derive(Debug, Default)]
struct Kept {
    /// Idle and clean slots (S1), with the bytes that each may hold in RAM.
    slots: Vec<(Slot, usize)>,
    resident: usize,
}

impl Kept {
    fn remove(&mut self, at: usize) -> Slot {
        let (slot, resident) = self.slots.remove(at);
        self.resident -= resident;
        slot
    }
}

impl Cache {
    /// A cache that is empty.
    pub(crate) fn new(settings: OnDemand) -> Cache {
        Cache { settings, kept: Mutex::default() }
    }

    fn kept(&self) -> std::sync::MutexGuard<'_, Kept> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// An idle slot of `len` bytes of address space, warm for `key` if there is one.
    pub(crate) fn take(&self, len: usize, key: SlotKey) -> io::Result<Slot> {
        let found = {
            let mut kept = self.kept();
            let fits = |(slot, _): &(Slot, usize)| slot.len() == len;
            let warm = kept.slots.iter().rposition(|kept| fits(kept) && kept.0.key() == key);
            // One that is warm for another module stays for that, as long as there is room.
            let full = kept.slots.len() >= self.settings.cached_memories;
            let at = warm.or_else(|| kept.slots.iter().position(fits).filter(|_| full));
            at.map(|at| kept.remove(at))
        };
        match found {
            Some(slot) => Ok(slot),
            None => Ok(Slot::vacant(Mapping::reserve(len)?)),
        }
    }

    /// Takes a slot back; cleans and keeps it if there is room.
    ///
    /// # Safety
    ///
    /// As [`Slot::clean`].
    pub(crate) unsafe fn give(&self, mut slot: Slot) {
        let keep = self.settings.keep_resident.min(self.settings.cached_bytes);
        if self.settings.cached_memories == 0 {
            return;
        }
        // SAFETY: the caller's promise.
        let Ok(resident) = (unsafe { slot.clean(keep) }) else { return };
        let mut gone = Vec::new();
        let mut kept = self.kept();
        while !kept.slots.is_empty()
            && (kept.slots.len() >= self.settings.cached_memories
                || kept.resident + resident > self.settings.cached_bytes)
        {
            gone.push(kept.remove(0));
        }
        kept.slots.push((slot, resident));
        kept.resident += resident;
        drop(kept);
        // Unmapped outside of the lock.
        drop(gone);
    }

    /// Unmaps what is kept for images of a module that is gone.
    pub(crate) fn forget(&self, module: u64) {
        let mut gone = Vec::new();
        let mut kept = self.kept();
        while let Some(at) =
            kept.slots.iter().position(|(slot, _)| slot.key().image.is_some_and(|(of, _)| of == module))
        {
            gone.push(kept.remove(at));
        }
        drop(kept);
        drop(gone);
    }
}

//! A pool: slots for memories and for instances, reserved when the engine is made, used again and again.
//!
//! *Needs* the settings and the engine's memory plan. *Gives* slots, and takes them back clean. The memory slots stand in
//! one reservation; the part of each that faults is the guard of the one before it, too. A slot in use has up to four
//! mappings (before its image, the image, behind it, and what faults), an idle cold one none of its own. Taking and giving
//! back a warm slot costs no system call: one lock that other threads seldom want, and the bytes to be cleaned.
//!
//! - **P1.** A part of a reservation belongs to one [`Slot`] or [`Block`] at a time: whoever took its number (F1).

use std::io;
use std::ptr::NonNull;

use super::free::FreeList;
use super::slot::{InitialImage, Slot, SlotKey};
use super::sys::{Mapping, Protection, page_size, room};
use super::touched::Touched;
use crate::allocation::{PoolMetrics, Pooling};
use crate::error::{Error, ErrorKind, Result};
use sphex_artifact::module::MemoryPlan;

/// The slots.
#[derive(Debug)]
pub(crate) struct Pool {
    settings: Pooling,
    memories: Mapping,
    /// What is known of each memory's slot; none if they are too many to be watched.
    touched: Box<[Touched]>,
    /// Bytes from one memory slot to the next.
    stride: usize,
    free_memories: FreeList<SlotKey>,
    instances: Mapping,
    instance_stride: usize,
    /// By the number of the module whose own function references stand in the block.
    free_instances: FreeList<u64>,
}

/// Memory for a vmctx and what is allocated with it.
#[derive(Debug)]
pub(crate) struct Block {
    /// 16-aligned.
    pub(crate) at: NonNull<u8>,
    /// Its number in the pool.
    pub(crate) index: u32,
    /// Does it hold the function references of the module that it was taken for?
    pub(crate) warm: bool,
}

/// More slots are not watched: opening pages here and there makes mappings, of which a process may have 65,530 by default.
const MOST_WATCHED: u32 = 2000;

fn exhausted(what: &str, setting: &str, total: u32) -> Error {
    let message =
        format!("the pool has no free slot for {what}: all {total} (Pooling::{setting}) are in use");
    Error::new(ErrorKind::Limit, message)
}

impl Pool {
    /// A pool by these settings; slots suit memories of this plan.
    pub(crate) fn new(settings: &Pooling, plan: &MemoryPlan) -> Result<Pool> {
        let reserved = |what: &str, bytes: Option<usize>, protection| {
            let none = || io::Error::from(io::ErrorKind::OutOfMemory);
            let mapping = bytes.ok_or_else(none).and_then(|bytes| Mapping::anonymous(bytes, protection));
            mapping.map_err(|error| {
                let wanted = bytes.unwrap_or(usize::MAX);
                let why =
                    room::explain(&error, wanted as u64).map(|why| format!(": {why}")).unwrap_or_default();
                Error::system(&format!("cannot reserve {wanted} bytes for {what}{why}"), error)
            })
        };
        let room =
            if plan.may_move { settings.memory_bytes } else { settings.memory_bytes.max(plan.reservation) };
        let stride = room.saturating_add(plan.guard).checked_next_multiple_of(page_size() as u64);
        let stride = stride.and_then(|stride| usize::try_from(stride).ok()).unwrap_or(usize::MAX);
        let memories = reserved(
            &format!("{} memories (Pooling::memories, Pooling::memory_bytes)", settings.memories),
            stride.checked_mul(settings.memories as usize),
            Protection::None,
        )?;
        let instance_stride = settings.instance_bytes.next_multiple_of(page_size());
        let instances = reserved(
            &format!("{} instances (Pooling::instances, Pooling::instance_bytes)", settings.instances),
            instance_stride.checked_mul(settings.instances as usize),
            Protection::ReadWrite,
        )?;
        let watched = if settings.memories <= MOST_WATCHED { settings.memories as usize } else { 0 };
        let first = |index: usize| memories.base().wrapping_add(index * stride);
        let touched = (0..watched).map(|index| Touched::new(first(index), settings.keep_resident)).collect();
        Ok(Pool {
            touched,
            free_memories: FreeList::new(settings.memories, settings.warm_memories),
            free_instances: FreeList::new(settings.instances, settings.instances),
            settings: settings.clone(),
            memories,
            stride,
            instances,
            instance_stride,
        })
    }

    /// The settings.
    pub(crate) fn settings(&self) -> &Pooling {
        &self.settings
    }

    /// Bytes that a memory of this plan may grow to.
    pub(crate) fn memory_room(&self, plan: &MemoryPlan) -> usize {
        let guard = usize::try_from(plan.guard).unwrap_or(usize::MAX);
        let most = usize::try_from(self.settings.memory_bytes).unwrap_or(usize::MAX);
        self.stride.saturating_sub(guard).min(most)
    }

    /// A slot for a memory of this plan, which holds `key.usable` bytes with the image, and its number.
    pub(crate) fn take_memory(
        &self,
        plan: &MemoryPlan,
        key: SlotKey,
        image: Option<InitialImage<'_>>,
    ) -> Result<(Slot, u32)> {
        let wanted = plan.reservation.saturating_add(plan.guard);
        if wanted > self.stride as u64 {
            return Err(Error::new(
                ErrorKind::Limit,
                format!(
                    "a memory does not fit a slot of the pool: expected at most {} bytes reserved, found {wanted}; \
                     compile it and configure the engine with the same -O memory-reservation and memory-guard",
                    self.stride
                ),
            ));
        }
        let room = self.memory_room(plan);
        if key.usable > room {
            return Err(Error::new(
                ErrorKind::Limit,
                format!(
                    "a memory does not fit a slot of the pool: expected at most {room} bytes (Pooling::memory_bytes), \
                     found {}",
                    key.usable
                ),
            ));
        }
        let taken = self
            .free_memories
            .take(&key)
            .ok_or_else(|| exhausted("a memory", "memories", self.free_memories.total()))?;
        let slot = self.slot(taken.index, taken.was);
        let prepared = slot.and_then(|mut slot| match slot.prepare(key, image) {
            Ok(()) => Ok(slot),
            Err(error) => {
                // What cannot even be vacated is lost: no one gets a slot in a state that is not known.
                if slot.vacate().is_ok() {
                    self.free_memories.give(taken.index, None);
                }
                Err(error)
            }
        });
        match prepared {
            Ok(slot) => Ok((slot, taken.index)),
            Err(error) => {
                let why = room::explain(&error, 0).map(|why| format!(": {why}")).unwrap_or_default();
                Err(Error::system(&format!("cannot prepare a slot of the pool{why}"), error))
            }
        }
    }

    fn slot(&self, index: u32, was: Option<SlotKey>) -> io::Result<Slot> {
        let start = index as usize * self.stride;
        // SAFETY: P1; the pool outlives its slots, which the stores of its engine hold.
        let part = unsafe { self.memories.part(start..start + self.stride)? };
        let slot = match was {
            Some(key) => Slot::idle(part, key),
            None => Slot::vacant(part),
        };
        // SAFETY: P1; as above.
        Ok(unsafe { slot.watched_by(self.touched.get(index as usize)) })
    }

    /// Opens the page of a watched memory to which wasm on this thread wrote; `false` if the address is of no such page.
    ///
    /// # Safety
    ///
    /// The memory is of the store whose wasm runs on this thread.
    pub(crate) unsafe fn open_written(&self, address: usize) -> bool {
        let at = address.checked_sub(self.memories.base() as usize);
        let slot = at.and_then(|at| self.touched.get(at / self.stride));
        // SAFETY: the caller's promise.
        slot.is_some_and(|touched| unsafe { touched.open_written(address) })
    }

    /// Takes a memory's slot back, and cleans it.
    ///
    /// # Safety
    ///
    /// The slot is the pool's, of this number; and as [`Slot::clean`].
    pub(crate) unsafe fn give_memory(&self, mut slot: Slot, index: u32) {
        // SAFETY: the caller's promise.
        let clean =
            self.free_memories.wants_warm() && unsafe { slot.clean(self.settings.keep_resident) }.is_ok();
        if clean {
            self.free_memories.give(index, Some(slot.key()));
        } else if slot.vacate().is_ok() {
            self.free_memories.give(index, None);
        }
    }

    /// A block for an instance of a module, of at least `bytes`.
    pub(crate) fn take_instance(&self, module: u64, bytes: usize) -> Result<Block> {
        let most = self.settings.instance_bytes;
        if bytes > most {
            return Err(Error::new(
                ErrorKind::Limit,
                format!(
                    "an instance does not fit a slot of the pool: expected at most {most} bytes \
                     (Pooling::instance_bytes), found {bytes}"
                ),
            ));
        }
        let taken = self
            .free_instances
            .take(&module)
            .ok_or_else(|| exhausted("an instance", "instances", self.free_instances.total()))?;
        let start = taken.index as usize * self.instance_stride;
        // SAFETY: the number is below the count, so that the block is in the mapping.
        let at = unsafe { NonNull::new_unchecked(self.instances.base().add(start)) };
        let warm = taken.was == Some(module);
        if !warm {
            // SAFETY: P1: the block is ours, and `bytes` are no more than it has.
            unsafe { at.write_bytes(0, bytes) }
        }
        Ok(Block { at, index: taken.index, warm })
    }

    /// Takes a block back; it holds the function references of `module`, if that is said.
    pub(crate) fn give_instance(&self, index: u32, module: Option<u64>) {
        self.free_instances.give(index, module);
    }

    /// Gives back what is kept for a module that is gone.
    pub(crate) fn forget(&self, module: u64) {
        for (index, key) in self.free_memories.take_dead(|key| key.image.is_some_and(|(of, _)| of == module))
        {
            if self.slot(index, Some(key)).is_ok_and(|mut slot| slot.vacate().is_ok()) {
                self.free_memories.give_cold(index);
            }
        }
        for (index, _) in self.free_instances.take_dead(|of| *of == module) {
            self.free_instances.give_cold(index);
        }
    }

    /// What it is doing.
    pub(crate) fn metrics(&self) -> PoolMetrics {
        let (memories, instances) = (self.free_memories.counts(), self.free_instances.counts());
        PoolMetrics {
            instances: instances.live,
            memories: memories.live,
            warm_memories: memories.warm,
            instances_reused: instances.reused,
            memories_reused: memories.reused,
            memories_mapped: memories.taken - memories.reused,
        }
    }
}

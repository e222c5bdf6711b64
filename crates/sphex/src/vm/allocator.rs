//! Where an engine's instances and memories come from: the pool, or the system and the engine's cache.

use std::alloc::{Layout, alloc_zeroed, dealloc};
use std::io;
use std::ptr::NonNull;

use sphex_artifact::module::MemoryPlan;

use super::cache::Cache;
use super::pool::{Block, Pool};
use super::slot::{InitialImage, Slot};
use super::sys::{page_size, room};
use crate::allocation::{Allocation, PoolMetrics};
use crate::config::Config;
use crate::error::{Error, ErrorKind, Result};

/// The way of an engine.
#[derive(Debug)]
pub(crate) enum Allocator {
    OnDemand(Cache),
    Pooling(Pool),
}

/// A slot that a memory uses.
#[derive(Debug)]
pub(crate) struct MemorySlot {
    pub(crate) slot: Slot,
    /// Its number in the pool, if it is one of a pool.
    pub(crate) index: Option<u32>,
    /// Bytes it may grow to in place.
    pub(crate) room: usize,
}

/// Memory for a vmctx and what is allocated with it, zeros at first but for what `warm` says.
#[derive(Debug)]
pub(crate) struct VmctxBlock {
    at: NonNull<u8>,
    layout: Layout,
    index: Option<u32>,
    /// Does it hold the function references of the module's own functions?
    pub(crate) warm: bool,
}

impl VmctxBlock {
    /// The first byte.
    pub(crate) fn as_ptr(&self) -> *mut u8 {
        self.at.as_ptr()
    }
}

impl Allocator {
    /// What the configuration asks for.
    pub(crate) fn new(config: &Config) -> Result<Allocator> {
        Ok(match &config.host.allocation {
            Allocation::OnDemand(settings) => Allocator::OnDemand(Cache::new(settings.clone())),
            Allocation::Pooling(settings) => Allocator::Pooling(Pool::new(settings, &config.memory_plan())?),
        })
    }

    /// What the pool is doing, if there is one.
    pub(crate) fn metrics(&self) -> Option<PoolMetrics> {
        match self {
            Allocator::OnDemand(_) => None,
            Allocator::Pooling(pool) => Some(pool.metrics()),
        }
    }

    /// Elements that a table may have.
    pub(crate) fn table_elements(&self) -> u64 {
        match self {
            Allocator::OnDemand(_) => u64::MAX,
            Allocator::Pooling(pool) => pool.settings().table_elements,
        }
    }

    /// A slot for a memory of `len` bytes, with its image.
    pub(crate) fn memory(
        &self,
        plan: &MemoryPlan,
        len: u64,
        image: Option<InitialImage<'_>>,
    ) -> Result<MemorySlot> {
        let too_large = || io::Error::from(io::ErrorKind::OutOfMemory);
        let key = usize::try_from(len).ok().and_then(|len| Slot::key_for(len, image.as_ref()));
        let key = key.ok_or_else(|| refused(len, plan, too_large()))?;
        match self {
            Allocator::Pooling(pool) => {
                let (slot, index) = pool.take_memory(plan, key, image)?;
                Ok(MemorySlot { slot, index: Some(index), room: pool.memory_room(plan) })
            }
            Allocator::OnDemand(cache) => {
                let room =
                    if plan.may_move { key.usable as u64 } else { plan.reservation.max(key.usable as u64) };
                let whole = room
                    .checked_add(plan.guard)
                    .and_then(|whole| whole.max(1).checked_next_multiple_of(page_size() as u64))
                    .and_then(|whole| usize::try_from(whole).ok());
                let taken = whole.ok_or_else(too_large).and_then(|whole| {
                    let mut slot = cache.take(whole, key)?;
                    slot.prepare(key, image)?;
                    Ok(slot)
                });
                let slot = taken.map_err(|error| refused(len, plan, error))?;
                // No more than `whole`, which is a `usize`.
                Ok(MemorySlot { slot, index: None, room: room as usize })
            }
        }
    }

    /// Takes a memory's slot back.
    ///
    /// # Safety
    ///
    /// It is of this allocator, and no one uses its bytes any more; its image's bytes are alive and unchanged.
    pub(crate) unsafe fn release_memory(&self, memory: MemorySlot) {
        // SAFETY: the caller's promise.
        unsafe {
            match (self, memory.index) {
                (Allocator::Pooling(pool), Some(index)) => pool.give_memory(memory.slot, index),
                (Allocator::OnDemand(cache), _) => cache.give(memory.slot),
                (Allocator::Pooling(_), None) => {}
            }
        }
    }

    /// Memory for an instance of the module of this number.
    pub(crate) fn instance(&self, module: u64, bytes: usize) -> Result<VmctxBlock> {
        let layout = Layout::from_size_align(bytes.max(16), 16)
            .map_err(|_| Error::new(ErrorKind::Limit, "an instance that is too large"))?;
        match self {
            Allocator::Pooling(pool) => {
                let Block { at, index, warm } = pool.take_instance(module, layout.size())?;
                Ok(VmctxBlock { at, layout, index: Some(index), warm })
            }
            Allocator::OnDemand(_) => {
                // SAFETY: the size is not zero.
                let at = NonNull::new(unsafe { alloc_zeroed(layout) })
                    .ok_or_else(|| Error::new(ErrorKind::Limit, "no memory for an instance"))?;
                Ok(VmctxBlock { at, layout, index: None, warm: false })
            }
        }
    }

    /// Takes an instance's memory back. `module` is the module whose function references are in place, if they are.
    ///
    /// # Safety
    ///
    /// The block is of this allocator, and no one uses it any more.
    pub(crate) unsafe fn release_instance(&self, block: &mut VmctxBlock, module: Option<u64>) {
        match (self, block.index) {
            (Allocator::Pooling(pool), Some(index)) => pool.give_instance(index, module),
            // SAFETY: allocated by `instance` with this layout.
            _ => unsafe { dealloc(block.as_ptr(), block.layout) },
        }
    }

    /// Opens the page to which wasm wrote, see [`Pool::open_written`].
    ///
    /// # Safety
    ///
    /// As [`Pool::open_written`].
    pub(crate) unsafe fn open_written(&self, address: usize) -> bool {
        match self {
            Allocator::OnDemand(_) => false,
            // SAFETY: the caller's promise.
            Allocator::Pooling(pool) => unsafe { pool.open_written(address) },
        }
    }

    /// Gives back what is kept for a module that is gone.
    pub(crate) fn forget(&self, module: u64) {
        match self {
            Allocator::OnDemand(cache) => cache.forget(module),
            Allocator::Pooling(pool) => pool.forget(module),
        }
    }
}

/// Why there is no memory, and what helps.
fn refused(len: u64, plan: &MemoryPlan, error: io::Error) -> Error {
    let reserved = plan.reservation.saturating_add(plan.guard).max(len);
    let hint = match room::explain(&error, reserved) {
        Some(why) => format!(": {why}"),
        None if plan.reservation > 0 => "; -O memory-reservation=0 needs no address space".to_string(),
        None => String::new(),
    };
    Error::system(&format!("cannot make a memory of {len} bytes{hint}"), error)
}

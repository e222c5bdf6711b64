//! Shared memories: one object that several stores use on several threads.
//!
//! *Needs* address space for as many bytes as the memory may ever have, since its base never moves. *Gives*
//! [`SharedData`], of which each store that uses the memory keeps an `Arc`. Compiled code reads base and length where it
//! reads those of other memories, at a [`VmMemory`], which here is one for all stores; the length is written atomically,
//! under a lock, and only ever grows, so that what was once in bounds stays so.

use std::cell::UnsafeCell;
use std::io;
use std::ops::Range;
use std::sync::PoisonError;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

use sphex_artifact::module::MemoryPlan;
use sphex_artifact::types::MemoryType;
use sphex_artifact::vmctx::VmMemory;

use super::allocator::MemorySlot;
use super::lock::Mutex;
use super::racy;
use super::sys::page_size;
use super::wait::Waiters;
use crate::engine::Engine;
use crate::error::{Error, ErrorKind, Result};

/// A shared memory.
#[derive(Debug)]
pub(crate) struct SharedData {
    engine: Engine,
    ty: MemoryType,
    plan: MemoryPlan,
    /// `None` only while it is dropped. Its lock is held while the memory grows.
    slot: Mutex<Option<MemorySlot>>,
    vm: UnsafeCell<VmMemory>,
    waiters: Waiters,
}

// SAFETY: `base` is never written again, `len` is atomic after `new`; the bytes are V6's.
unsafe impl Send for SharedData {}
// SAFETY: as above.
unsafe impl Sync for SharedData {}

impl SharedData {
    /// A memory of this type, of zeros, that behaves as this plan says.
    pub(crate) fn new(engine: &Engine, ty: MemoryType, plan: MemoryPlan) -> Result<SharedData> {
        let too_large = || Error::new(ErrorKind::Limit, "a shared memory larger than any address space");
        let most = ty.limit_pages().checked_mul(1 << ty.page_size_log2).ok_or_else(too_large)?;
        let len = ty.minimum_bytes().ok_or_else(too_large)?;
        let plan = plan.shared();
        let wanted = match engine.allocator().metrics() {
            // A pool's slots are as large as they are; growing beyond fails.
            Some(_) => plan,
            None => MemoryPlan { reservation: plan.reservation.max(most), ..plan },
        };
        let slot = engine.allocator().memory(&wanted, len, None)?;
        slot.slot.open_all().map_err(|error| Error::system("cannot make a shared memory writable", error))?;
        Ok(SharedData {
            engine: engine.clone(),
            ty,
            plan,
            vm: UnsafeCell::new(VmMemory { base: slot.slot.base(), len }),
            slot: Mutex::new(Some(slot)),
            waiters: Waiters::default(),
        })
    }

    /// The engine.
    pub(crate) fn engine(&self) -> &Engine {
        &self.engine
    }

    /// The type that it was made with.
    pub(crate) fn declared(&self) -> &MemoryType {
        &self.ty
    }

    /// Its type; the minimum is its present size in pages.
    pub(crate) fn ty(&self) -> MemoryType {
        MemoryType { minimum: (self.len() as u64) >> self.ty.page_size_log2, ..self.ty }
    }

    /// What it promises to compiled code.
    pub(crate) fn plan(&self) -> &MemoryPlan {
        &self.plan
    }

    /// Where compiled code looks.
    pub(crate) fn vm(&self) -> *mut VmMemory {
        self.vm.get()
    }

    /// Its first byte.
    pub(crate) fn base(&self) -> *mut u8 {
        // SAFETY: never written after `new`.
        unsafe { (*self.vm()).base }
    }

    fn len_word(&self) -> &AtomicU64 {
        // SAFETY: aligned, alive like `self`, and accessed by atomics only.
        unsafe { AtomicU64::from_ptr(&raw mut (*self.vm()).len) }
    }

    /// Its bytes, at least: another thread may be growing it.
    pub(crate) fn len(&self) -> usize {
        // Never more than fits: it is mapped.
        self.len_word().load(Ordering::SeqCst) as usize
    }

    /// Threads that wait for a change of its bytes.
    pub(crate) fn waiters(&self) -> &Waiters {
        &self.waiters
    }

    /// Grows it from `old` bytes to `new`, which its type allows; `false` if it has another length by now.
    pub(crate) fn grow(&self, old: u64, new: u64) -> io::Result<bool> {
        let mut slot = self.slot.lock().unwrap_or_else(PoisonError::into_inner);
        if self.len() as u64 != old {
            return Ok(false);
        }
        let Some(slot) = &mut *slot else { return Err(io::ErrorKind::NotFound.into()) };
        let len = usize::try_from(new).ok().filter(|len| *len <= slot.room);
        let len = len.ok_or_else(|| io::Error::from(io::ErrorKind::OutOfMemory))?;
        let usable = len.next_multiple_of(page_size());
        if usable > slot.slot.usable() {
            slot.slot.extend(usable)?;
        }
        // Who sees the length may use the pages.
        self.len_word().store(new, Ordering::SeqCst);
        Ok(true)
    }

    /// Where so many bytes are, if all are within.
    pub(crate) fn range(&self, start: usize, len: usize) -> Option<*mut u8> {
        let end = start.checked_add(len)?;
        (end <= self.len()).then(|| self.base().wrapping_add(start))
    }

    /// Copies bytes out of it; `false` if some are outside, and none is copied.
    pub(crate) fn read(&self, start: usize, to: &mut [u8]) -> bool {
        let Some(from) = self.range(start, to.len()) else { return false };
        // SAFETY: in bounds, and V6.
        unsafe { racy::read(from, to) };
        true
    }

    /// Copies bytes into it; `false` if some would be outside, and none is copied.
    pub(crate) fn write(&self, start: usize, from: &[u8]) -> bool {
        let Some(to) = self.range(start, from.len()) else { return false };
        // SAFETY: in bounds, and V6.
        unsafe { racy::write(from, to) };
        true
    }

    /// Sets bytes of it; `false` if some would be outside, and none is set.
    pub(crate) fn fill(&self, range: Range<usize>, byte: u8) -> bool {
        let Some(to) = self.range(range.start, range.len()) else { return false };
        // SAFETY: in bounds, and V6.
        unsafe { racy::fill(to, byte, range.len()) };
        true
    }

    /// The word at an aligned address that is within: 4 bytes, or 8.
    pub(crate) fn word(&self, address: usize, wide: bool) -> u64 {
        let at = self.base().wrapping_add(address);
        debug_assert!(address.is_multiple_of(if wide { 8 } else { 4 }) && address < self.len());
        // SAFETY: within, aligned since the base is on a page, and V6.
        unsafe {
            match wide {
                true => AtomicU64::from_ptr(at.cast()).load(Ordering::SeqCst),
                false => u64::from(AtomicU32::from_ptr(at.cast()).load(Ordering::SeqCst)),
            }
        }
    }
}

impl Drop for SharedData {
    fn drop(&mut self) {
        let slot = self.slot.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(slot) = slot {
            // SAFETY: it came from this allocator, without an image; no store has the memory any more.
            unsafe { self.engine.allocator().release_memory(slot) }
        }
    }
}

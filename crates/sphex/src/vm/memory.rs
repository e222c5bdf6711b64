//! Linear memories: reserved address space that grows in place, or memory that moves.
//!
//! A memory made by a plan with a reservation owns `reservation + guard` bytes of address space, of which the first
//! `len` (rounded up to pages) can be used and the rest faults. A memory without one is mapped with some room to grow
//! and is copied when that is used up; its code compares every access with the length. The address space is a slot
//! (`slot.rs`) of the engine's allocator, which takes it back when the store ends.

use std::io;
use std::ops::Range;
use std::sync::Arc;

use sphex_artifact::module::MemoryPlan;
use sphex_artifact::vmctx::VmMemory;

use super::allocator::{Allocator, MemorySlot};
use super::shared::SharedData;
use super::slot::{InitialImage, Slot};
use super::sys::{Mapping, page_size};
use crate::error::{Error, ErrorKind, Result};

/// A linear memory. `vm`, which compiled code reads, always describes its bytes.
#[derive(Debug)]
pub(crate) struct LinearMemory {
    memory: MemorySlot,
    plan: MemoryPlan,
    len: usize,
    vm: *mut VmMemory,
}

/// A memory that a store uses: one of its own, or its part in one that others may use at the same time.
#[derive(Debug)]
pub(crate) enum Storage {
    Own(LinearMemory),
    Shared(Arc<SharedData>),
}

impl Storage {
    /// What it promises to compiled code.
    pub(crate) fn plan(&self) -> &MemoryPlan {
        match self {
            Storage::Own(memory) => memory.plan(),
            Storage::Shared(memory) => memory.plan(),
        }
    }

    /// Its bytes.
    pub(crate) fn len(&self) -> usize {
        match self {
            Storage::Own(memory) => memory.len(),
            Storage::Shared(memory) => memory.len(),
        }
    }

    /// Where compiled code looks.
    pub(crate) fn vm(&self) -> *mut VmMemory {
        match self {
            Storage::Own(memory) => memory.vm(),
            Storage::Shared(memory) => memory.vm(),
        }
    }

    /// Its first byte.
    pub(crate) fn base(&self) -> *mut u8 {
        match self {
            Storage::Own(memory) => memory.base(),
            Storage::Shared(memory) => memory.base(),
        }
    }

    /// The shared memory, if it is one.
    pub(crate) fn shared(&self) -> Option<&Arc<SharedData>> {
        if let Storage::Shared(memory) = self { Some(memory) } else { None }
    }

    /// The bytes of a memory that is the store's own.
    pub(crate) fn bytes(&self) -> Result<&[u8]> {
        match self {
            Storage::Own(memory) => Ok(memory.bytes()),
            Storage::Shared(_) => Err(is_shared()),
        }
    }

    /// The bytes of a memory that is the store's own, to be changed by anyone, the kernel too.
    pub(crate) fn bytes_mut(&mut self) -> Result<&mut [u8]> {
        match self {
            Storage::Own(memory) => memory.bytes_mut().map_err(unwritable),
            Storage::Shared(_) => Err(is_shared()),
        }
    }

    /// The first byte, for who may write behind it.
    pub(crate) fn writable_base(&self) -> Result<*mut u8> {
        match self {
            Storage::Own(memory) => memory.writable_base().map_err(unwritable),
            Storage::Shared(memory) => Ok(memory.base()),
        }
    }

    /// Copies bytes out of it; `false` if some are outside, and none is copied.
    pub(crate) fn read(&self, start: usize, to: &mut [u8]) -> bool {
        match self {
            Storage::Own(memory) => {
                let end = start.checked_add(to.len());
                let from = end.and_then(|end| memory.bytes().get(start..end));
                from.map(|from| to.copy_from_slice(from)).is_some()
            }
            Storage::Shared(memory) => memory.read(start, to),
        }
    }

    /// Copies bytes into it; `false` if some would be outside, and none is copied.
    pub(crate) fn write(&mut self, start: usize, from: &[u8]) -> io::Result<bool> {
        match self {
            Storage::Own(memory) => {
                let end = start.checked_add(from.len());
                let Some(to) = end.and_then(|end| memory.range_mut(start..end)) else { return Ok(false) };
                to?.copy_from_slice(from);
                Ok(true)
            }
            Storage::Shared(memory) => Ok(memory.write(start, from)),
        }
    }

    /// The first of so many bytes that are about to be written, if all are within.
    pub(crate) fn target(&mut self, start: usize, len: usize) -> Option<io::Result<*mut u8>> {
        match self {
            Storage::Own(memory) => {
                let bytes = memory.range_mut(start..start.checked_add(len)?)?;
                Some(bytes.map(|bytes| bytes.as_mut_ptr()))
            }
            Storage::Shared(memory) => memory.range(start, len).map(Ok),
        }
    }

    /// Grows it from `old` bytes to `new`; `false` if someone else has grown it meanwhile.
    pub(crate) fn grow(&mut self, old: u64, new: u64) -> io::Result<bool> {
        match self {
            Storage::Own(memory) => memory.grow(new).map(|()| true),
            Storage::Shared(memory) => memory.grow(old, new),
        }
    }
}

fn unwritable(error: io::Error) -> Error {
    Error::system("cannot make a memory of the pool writable", error)
}

fn is_shared() -> Error {
    let message = "a shared memory has no slice of bytes, since others write them: use read and write";
    Error::new(ErrorKind::Type, message)
}

impl LinearMemory {
    /// A memory of `len` bytes, zeros but for the image, described at `vm`.
    ///
    /// # Safety
    ///
    /// `vm` is valid for as long as the memory, and nothing else writes it. The image's bytes live until the memory was
    /// released.
    pub(crate) unsafe fn new(
        allocator: &Allocator,
        vm: *mut VmMemory,
        plan: MemoryPlan,
        len: u64,
        image: Option<InitialImage<'_>>,
    ) -> Result<LinearMemory> {
        let memory = allocator.memory(&plan, len, image)?;
        // As many bytes are usable.
        let mut memory = LinearMemory { memory, plan, len: len as usize, vm };
        memory.describe();
        Ok(memory)
    }

    /// Gives its address space back. Must be called, or a pool loses the slot.
    ///
    /// # Safety
    ///
    /// `allocator` is the one it came from; no one uses its bytes any more.
    pub(crate) unsafe fn release(self, allocator: &Allocator) {
        // SAFETY: the caller's promise, and that of `new`.
        unsafe { allocator.release_memory(self.memory) }
    }

    /// What it promises to compiled code.
    pub(crate) fn plan(&self) -> &MemoryPlan {
        &self.plan
    }

    /// Its bytes.
    pub(crate) fn len(&self) -> usize {
        self.len
    }

    /// Its first byte.
    pub(crate) fn base(&self) -> *mut u8 {
        self.memory.slot.base()
    }

    /// Where compiled code looks.
    pub(crate) fn vm(&self) -> *mut VmMemory {
        self.vm
    }

    /// The bytes.
    pub(crate) fn bytes(&self) -> &[u8] {
        // SAFETY: the first `len` bytes are mapped and readable; V2 keeps others from writing them meanwhile.
        unsafe { std::slice::from_raw_parts(self.base(), self.len) }
    }

    /// The bytes, to be changed by anyone, the kernel too.
    pub(crate) fn bytes_mut(&mut self) -> io::Result<&mut [u8]> {
        self.memory.slot.open_all()?;
        // SAFETY: the first `len` bytes are mapped and writable, and V2 makes us their only user.
        Ok(unsafe { std::slice::from_raw_parts_mut(self.base(), self.len) })
    }

    /// Some of the bytes, to be changed; `None` if they are not all within.
    pub(crate) fn range_mut(&mut self, range: Range<usize>) -> Option<io::Result<&mut [u8]>> {
        if range.start > range.end || range.end > self.len {
            return None;
        }
        // SAFETY: as above, of these bytes.
        let bytes = || unsafe { std::slice::from_raw_parts_mut(self.base().add(range.start), range.len()) };
        Some(self.memory.slot.open(range.clone()).map(|()| bytes()))
    }

    /// Must bytes be asked for by [`LinearMemory::range_mut`] before any code but wasm's own writes them?
    pub(crate) fn is_watched(&self) -> bool {
        self.memory.slot.is_watched()
    }

    /// The first byte, for who may write behind it.
    pub(crate) fn writable_base(&self) -> io::Result<*mut u8> {
        self.memory.slot.open_all()?;
        Ok(self.base())
    }

    /// Makes it `len` bytes long, which is no less than it is.
    pub(crate) fn grow(&mut self, len: u64) -> io::Result<()> {
        let len = usize::try_from(len).map_err(|_| io::Error::from(io::ErrorKind::OutOfMemory))?;
        if len < self.len {
            return Err(io::ErrorKind::InvalidInput.into());
        }
        if len > self.memory.room {
            if !self.plan.may_move || self.memory.index.is_some() {
                return Err(io::ErrorKind::OutOfMemory.into());
            }
            self.relocate(len)?;
        }
        let usable = len.next_multiple_of(page_size());
        if usable > self.memory.slot.usable() {
            self.memory.slot.extend(usable)?;
        }
        self.len = len;
        self.describe();
        Ok(())
    }

    /// Moves it to where there is room for `len` bytes and more.
    fn relocate(&mut self, len: usize) -> io::Result<()> {
        // Twice as much as there was, so that growing page by page copies each byte a constant number of times.
        let room = len.max(self.len.saturating_mul(2)).max(1 << 20);
        let guard = usize::try_from(self.plan.guard).unwrap_or(usize::MAX);
        let mut moved = Slot::vacant(Mapping::reserve(room.saturating_add(guard))?);
        moved.extend(self.len.next_multiple_of(page_size()))?;
        // SAFETY: both have `len` usable bytes and do not overlap.
        unsafe { std::ptr::copy_nonoverlapping(self.base(), moved.base(), self.len) };
        self.memory = MemorySlot { slot: moved, index: None, room };
        Ok(())
    }

    fn describe(&mut self) {
        // SAFETY: `new` was promised that `vm` is valid.
        unsafe { *self.vm = VmMemory { base: self.base(), len: self.len as u64 } };
    }
}

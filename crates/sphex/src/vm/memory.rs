//! Linear memories: reserved address space that grows in place, or memory that moves.
//!
//! A memory made by a plan with a reservation owns `reservation + guard` bytes of address space, of which the first
//! `len` (rounded up to pages) can be used and the rest faults. A memory without one is mapped with some room to grow
//! and is copied when that is used up; its code compares every access with the length.

use std::io;
use std::os::fd::BorrowedFd;

use sphex_artifact::module::MemoryPlan;
use sphex_artifact::vmctx::VmMemory;

use super::sys::{Mapping, Protection, page_size};

/// A linear memory. `vm`, which compiled code reads, always describes its bytes.
#[derive(Debug)]
pub(crate) struct LinearMemory {
    mapping: Mapping,
    plan: MemoryPlan,
    /// Bytes of the mapping that can be used, a multiple of the page size.
    usable: usize,
    len: usize,
    vm: *mut VmMemory,
}

/// Bytes of a file that a memory starts with.
#[derive(Clone, Copy, Debug)]
pub(crate) struct InitialImage<'a> {
    /// The file.
    pub(crate) fd: BorrowedFd<'a>,
    /// Where in the file the image begins, on a page border.
    pub(crate) offset: u64,
    /// Where in the memory it goes, on a page border.
    pub(crate) start: usize,
    /// Its bytes, a multiple of the page size.
    pub(crate) len: usize,
}

impl LinearMemory {
    /// A memory of `len` zero bytes, described at `vm`.
    ///
    /// # Safety
    ///
    /// `vm` is valid for as long as the memory, and nothing else writes it.
    pub(crate) unsafe fn new(vm: *mut VmMemory, plan: MemoryPlan, len: u64) -> io::Result<LinearMemory> {
        let too_large = || io::Error::from(io::ErrorKind::OutOfMemory);
        let len = usize::try_from(len).map_err(|_| too_large())?;
        let room = if plan.may_move { len as u64 } else { plan.reservation.max(len as u64) };
        let whole = room.checked_next_multiple_of(page_size() as u64).ok_or_else(too_large)?;
        let whole = whole.checked_add(plan.guard).ok_or_else(too_large)?;
        let mapping = Mapping::reserve(usize::try_from(whole).map_err(|_| too_large())?)?;
        let mut memory = LinearMemory { mapping, plan, usable: 0, len: 0, vm };
        memory.extend(len)?;
        Ok(memory)
    }

    /// Lets the first bytes come from a file, copy-on-write. Only before anything was written.
    pub(crate) fn map_image(&mut self, image: InitialImage<'_>) -> io::Result<()> {
        if image.start > self.usable {
            return Err(io::Error::new(io::ErrorKind::InvalidData, "a memory image outside its memory"));
        }
        // The image is in pages of the target, which may be larger than the memory's last one here.
        let end = image.start.saturating_add(image.len).min(self.usable);
        self.mapping.map_file(image.start..end, image.fd, image.offset)
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
        self.mapping.base()
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

    /// The bytes, to be changed.
    pub(crate) fn bytes_mut(&mut self) -> &mut [u8] {
        // SAFETY: the first `len` bytes are mapped and writable, and V2 makes us their only user.
        unsafe { std::slice::from_raw_parts_mut(self.base(), self.len) }
    }

    /// Makes it `len` bytes long, which is no less than it is.
    pub(crate) fn grow(&mut self, len: u64) -> io::Result<()> {
        let len = usize::try_from(len).map_err(|_| io::Error::from(io::ErrorKind::OutOfMemory))?;
        if len < self.len {
            return Err(io::ErrorKind::InvalidInput.into());
        }
        let guard = usize::try_from(self.plan.guard).unwrap_or(0);
        if len > self.mapping.len() - guard.min(self.mapping.len()) {
            if !self.plan.may_move {
                return Err(io::ErrorKind::OutOfMemory.into());
            }
            // Twice as much as there was, so that growing page by page copies each byte a constant number of times.
            let room = len.max(self.len.saturating_mul(2)).max(1 << 20);
            let mut moved = Mapping::reserve(room.saturating_add(guard))?;
            let usable = self.len.next_multiple_of(page_size());
            moved.protect(0..usable, Protection::ReadWrite)?;
            // SAFETY: both mappings have `len` usable bytes and do not overlap.
            unsafe { std::ptr::copy_nonoverlapping(self.base(), moved.base(), self.len) };
            self.mapping = moved;
            self.usable = usable;
        }
        self.extend(len)
    }

    fn extend(&mut self, len: usize) -> io::Result<()> {
        let usable = len.next_multiple_of(page_size());
        if usable > self.usable {
            self.mapping.protect(self.usable..usable, Protection::ReadWrite)?;
            self.usable = usable;
        }
        self.len = len;
        // SAFETY: `new` was promised that `vm` is valid.
        unsafe { *self.vm = VmMemory { base: self.base(), len: len as u64 } };
        Ok(())
    }
}

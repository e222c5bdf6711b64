//! Address space for the stacks of fibers.

use std::io;
use std::ops::Range;

use rustix::mm::Advice;

use super::{Mapping, Protection};

/// Marks pages as a guard inside a mapping, without splitting it. Linux 6.13.
#[cfg(target_os = "linux")]
const MADV_GUARD_INSTALL: libc::c_int = 102;

/// Maps room for stacks: zeros, nothing of it resident, never in huge pages (which a first touch would make resident).
pub(crate) fn map(len: usize) -> io::Result<Mapping> {
    let mapping = Mapping::anonymous(len, Protection::ReadWrite)?;
    #[cfg(target_os = "linux")]
    {
        // A kernel without huge pages refuses, and needs no telling.
        // SAFETY: advice on how to back our own mapping.
        let _ = unsafe { rustix::mm::madvise(mapping.base().cast(), mapping.len(), Advice::LinuxNoHugepage) };
    }
    Ok(mapping)
}

/// Makes the pages of `range` fault, by guard markers where the kernel has them, else by a mapping of their own.
pub(crate) fn guard(mapping: &Mapping, range: Range<usize>) -> io::Result<()> {
    assert!(range.end <= mapping.len());
    // SAFETY: the range is inside our mapping; the caller has not lent these pages to anyone yet.
    unsafe {
        let start = mapping.base().add(range.start);
        #[cfg(target_os = "linux")]
        if libc::madvise(start.cast(), range.len(), MADV_GUARD_INSTALL) == 0 {
            return Ok(());
        }
        rustix::mm::mprotect(start.cast(), range.len(), rustix::mm::MprotectFlags::empty())?;
    }
    Ok(())
}

/// Gives the memory of the pages from `start` up to `end` back. They read as zeros again.
///
/// # Safety
///
/// The pages are of a mapping of `map`'s, and no one needs what is in them.
pub(crate) unsafe fn release(start: *mut u8, end: *mut u8) {
    let len = end.addr().saturating_sub(start.addr());
    if len > 0 {
        // If it fails, the memory stays: nothing but room is lost.
        // SAFETY: the caller's promise.
        let _ = unsafe { rustix::mm::madvise(start.cast(), len, Advice::LinuxDontNeed) };
    }
}

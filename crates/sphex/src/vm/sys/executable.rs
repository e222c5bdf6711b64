//! Pages that are written through one mapping and run through another, so that neither is both.

use std::io;
use std::ops::Range;
use std::os::fd::AsFd;

use rustix::fs::MemfdFlags;
use rustix::mm::{MapFlags, MprotectFlags, MremapFlags, ProtFlags};

use super::Mapping;

const WRITE: ProtFlags = ProtFlags::READ.union(ProtFlags::WRITE);

/// Puts pages of zeros in the place of those of `range` (whose ends are on page borders), to be read and run. Gives the
/// mapping through which they are written.
///
/// No file is behind them, so that perf finds their functions by its map; where the system cannot map such pages twice
/// (valgrind's cannot), there is one in memory.
///
/// # Safety
///
/// Nobody uses the pages of `range`.
pub(crate) unsafe fn map_twice(place: &Mapping, range: Range<usize>) -> io::Result<Mapping> {
    // SAFETY: the caller's promise.
    unsafe { without_file(place, range.clone()).or_else(|_| with_file(place, range)) }
}

/// # Safety
///
/// As for [`map_twice`].
unsafe fn without_file(place: &Mapping, range: Range<usize>) -> io::Result<Mapping> {
    place.check(&range)?;
    let (len, flags) = (range.len(), MapFlags::SHARED | MapFlags::NORESERVE);
    // SAFETY: no address is asked for, so that nothing mapped is replaced. Then the same pages are mapped once more, in the
    // place of those that the caller gives us: a mapping that is shared is copied, not moved, when its old size is 0.
    unsafe {
        let base = rustix::mm::mmap_anonymous(std::ptr::null_mut(), len, WRITE, flags)?;
        let writable = Mapping::from_raw(base, len)?;
        let at = place.base().add(range.start).cast();
        rustix::mm::mremap_fixed(base, 0, len, MremapFlags::MAYMOVE, at)?;
        rustix::mm::mprotect(at, len, MprotectFlags::READ | MprotectFlags::EXEC)?;
        Ok(writable)
    }
}

/// # Safety
///
/// As for [`map_twice`].
unsafe fn with_file(place: &Mapping, range: Range<usize>) -> io::Result<Mapping> {
    place.check(&range)?;
    let len = range.len();
    let file = rustix::fs::memfd_create("sphex-lazy-code", MemfdFlags::CLOEXEC)?;
    rustix::fs::ftruncate(&file, len as u64)?;
    // SAFETY: no address is asked for; then the pages that the caller gives us are replaced.
    unsafe {
        let base = rustix::mm::mmap(std::ptr::null_mut(), len, WRITE, MapFlags::SHARED, file.as_fd(), 0)?;
        let writable = Mapping::from_raw(base, len)?;
        let at = place.base().add(range.start).cast();
        let (execute, flags) = (ProtFlags::READ | ProtFlags::EXEC, MapFlags::SHARED | MapFlags::FIXED);
        rustix::mm::mmap(at, len, execute, flags, file.as_fd(), 0)?;
        Ok(writable)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::vm::sys::page_size;

    #[test]
    fn what_is_written_here_is_run_there() {
        let page = page_size();
        for map in [map_twice, without_file, with_file] {
            let place = Mapping::reserve(4 * page).unwrap();
            // SAFETY: the pages were just reserved.
            let writable = unsafe { map(&place, page..3 * page) }.unwrap();
            assert_eq!(writable.len(), 2 * page);
            // mov eax, 42; ret
            let code = [0xb8, 42, 0, 0, 0, 0xc3];
            // SAFETY: both mappings are ours, and `f` is a function without arguments in one of them.
            unsafe {
                std::ptr::copy_nonoverlapping(code.as_ptr(), writable.base().add(page), code.len());
                let at = place.base().add(2 * page);
                assert_eq!(std::slice::from_raw_parts(at, code.len()), code);
                let f: extern "C" fn() -> u32 = std::mem::transmute(at);
                assert_eq!(f(), 42);
            }
            // SAFETY: as above.
            assert!(unsafe { map(&place, page..5 * page) }.is_err(), "beyond its end");
        }
    }
}

//! Pages that are written through one mapping and run through another, so that neither is both.

use std::io;
use std::ops::Range;

use rustix::mm::{MapFlags, MprotectFlags, MremapFlags, ProtFlags};

use super::Mapping;

/// Puts pages of zeros in the place of those of `range` (whose ends are on page borders), to be read and run. Gives the
/// mapping through which they are written. No file is behind them: perf finds their functions by its map.
///
/// # Safety
///
/// Nobody uses the pages of `range`.
pub(crate) unsafe fn map_twice(place: &Mapping, range: Range<usize>) -> io::Result<Mapping> {
    place.check(&range)?;
    let len = range.len();
    // SAFETY: no address is asked for, so that nothing mapped is replaced. Then the same pages are mapped once more, in the
    // place of those that the caller gives us: a mapping that is shared is copied, not moved, when its old size is 0.
    unsafe {
        let flags = MapFlags::SHARED | MapFlags::NORESERVE;
        let base =
            rustix::mm::mmap_anonymous(std::ptr::null_mut(), len, ProtFlags::READ | ProtFlags::WRITE, flags)?;
        let writable = Mapping::from_raw(base, len)?;
        let at = place.base().add(range.start).cast();
        rustix::mm::mremap_fixed(base, 0, len, MremapFlags::MAYMOVE, at)?;
        rustix::mm::mprotect(at, len, MprotectFlags::READ | MprotectFlags::EXEC)?;
        Ok(writable)
    }
}

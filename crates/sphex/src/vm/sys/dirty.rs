//! Which pages of a private mapping were written: the kernel knows, and tells in one call since Linux 6.7.

use std::ops::Range;

/// Most ranges that one question brings back. More than these, and asking was not worth it.
const MOST: usize = 64;

/// The ranges of pages, as addresses, that are private copies now; all others hold what they were mapped with.
#[derive(Debug)]
pub(crate) struct Dirty {
    ranges: [Region; MOST],
    len: usize,
}

/// The kernel's `struct page_region`.
#[derive(Clone, Copy, Debug, Default)]
#[repr(C)]
struct Region {
    start: u64,
    end: u64,
    categories: u64,
}

impl Dirty {
    /// The ranges, in order.
    pub(crate) fn ranges(&self) -> impl Iterator<Item = Range<usize>> + '_ {
        self.ranges[..self.len].iter().map(|region| region.start as usize..region.end as usize)
    }
}

/// Asks for the dirty pages among these addresses, whose ends are on page borders. `None` if the kernel does not say, or
/// there are too many ranges to list.
pub(crate) fn pages(within: Range<usize>) -> Option<Dirty> {
    #[cfg(target_os = "linux")]
    return linux::pages(within);
    #[cfg(not(target_os = "linux"))]
    {
        let _ = (within, MOST, Region::default());
        None
    }
}

#[cfg(target_os = "linux")]
mod linux {
    use super::{Dirty, MOST, Region};
    use std::fs::File;
    use std::ops::Range;
    use std::os::fd::AsRawFd;
    use std::sync::OnceLock;

    /// The kernel's `struct pm_scan_arg`.
    #[repr(C)]
    struct Scan {
        size: u64,
        flags: u64,
        start: u64,
        end: u64,
        walk_end: u64,
        vec: u64,
        vec_len: u64,
        max_pages: u64,
        category_inverted: u64,
        category_mask: u64,
        category_anyof_mask: u64,
        return_mask: u64,
    }

    /// `_IOWR('f', 16, struct pm_scan_arg)`.
    const PAGEMAP_SCAN: libc::c_ulong = 0xc060_6610;
    const FILE: u64 = 1 << 2;
    const PRESENT: u64 = 1 << 3;
    const SWAPPED: u64 = 1 << 4;
    const ZERO: u64 = 1 << 5;

    /// The file speaks of the process that opened it, also in a forked child: so the process is kept with it.
    fn pagemap() -> Option<&'static File> {
        static PAGEMAP: OnceLock<Option<(u32, File)>> = OnceLock::new();
        let opened = PAGEMAP.get_or_init(|| {
            let file = File::open("/proc/self/pagemap").ok()?;
            Some((std::process::id(), file))
        });
        opened.as_ref().filter(|(process, _)| *process == std::process::id()).map(|(_, file)| file)
    }

    pub(super) fn pages(within: Range<usize>) -> Option<Dirty> {
        let file = pagemap()?;
        let mut dirty = Dirty { ranges: [Region::default(); MOST], len: 0 };
        let mut scan = Scan {
            size: size_of::<Scan>() as u64,
            flags: 0,
            start: within.start as u64,
            end: within.end as u64,
            walk_end: 0,
            vec: dirty.ranges.as_mut_ptr().expose_provenance() as u64,
            vec_len: MOST as u64,
            max_pages: 0,
            // A private copy is neither the file's page nor the page of zeros.
            category_inverted: FILE | ZERO,
            category_mask: FILE | ZERO,
            category_anyof_mask: PRESENT | SWAPPED,
            return_mask: PRESENT,
        };
        // SAFETY: the kernel reads `scan` and writes it and at most `vec_len` regions of `ranges`.
        let found = unsafe { libc::ioctl(file.as_raw_fd(), PAGEMAP_SCAN, &raw mut scan) };
        dirty.len = usize::try_from(found).ok().filter(|found| *found <= MOST)?;
        (scan.walk_end == within.end as u64).then_some(dirty)
    }
}

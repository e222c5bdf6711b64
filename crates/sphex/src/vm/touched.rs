//! Which pages of a pool's slot may have been written, known without asking the kernel and without reading them.
//!
//! *Needs* a slot whose pages can only be read at first. The first write to a page faults; the handler *opens* it and a few
//! neighbours: makes them writable, notes them, and lets the write happen again. What is open stays so for the slot's next
//! guests, which mostly write where the last one did. *Gives* the open ranges: all that cleaning has to look at. A guest of
//! two megabytes that writes to three pages costs three pages, no fault and no system call.
//!
//! A slot of which much is written, or much here and there, is opened as a whole, for good; and so is one whose bytes the
//! host borrows to be changed, because the kernel, told to read a file into a page that cannot be written, refuses.
//!
//! - **T1.** A page below `watched` that is not in a range cannot be written, and has not been since the slot was prepared.
//! - **T2.** A slot is used by one thread at a time (V2; the pool's lists hand it over), which alone changes what is here.
//!   The words are atomic so that the handler may read and write them by a shared reference.

use std::io;
use std::ops::Range;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use super::sys::{self, page_size};

/// Most ranges of a slot. Each is a mapping of its own to the kernel, of which a process may have 65,530.
const MOST: usize = 8;

/// Pages that are opened at least, on a border of so many.
const FIRST: usize = 4;

/// What is known of a slot.
#[derive(Debug)]
pub(crate) struct Touched {
    /// The slot's first byte.
    base: usize,
    /// So many bytes of the slot are watched, from the first on; 0: none, all can be written.
    watched: AtomicUsize,
    /// More open bytes than these, and watching is given up.
    most: usize,
    /// The open ranges, in pages, `start << 32 | end`, the used ones first; none touches another.
    ranges: [AtomicU64; MOST],
}

impl Touched {
    /// Of a slot at `base` that is not watched yet; at most `most` bytes of it will be open.
    pub(crate) fn new(base: *mut u8, most: usize) -> Touched {
        let ranges = [const { AtomicU64::new(0) }; MOST];
        Touched { base: base as usize, watched: AtomicUsize::new(0), most, ranges }
    }

    /// From now on the first `len` bytes, none of which can be written, are watched; 0 to stop.
    pub(crate) fn watch(&self, len: usize) {
        self.ranges.iter().for_each(|range| range.store(0, Ordering::Relaxed));
        self.watched.store(len, Ordering::Relaxed);
    }

    /// So many bytes are watched.
    pub(crate) fn watched(&self) -> usize {
        self.watched.load(Ordering::Relaxed)
    }

    fn pages(&self) -> impl Iterator<Item = Range<usize>> + '_ {
        let words = self.ranges.iter().map(|range| range.load(Ordering::Relaxed));
        words.take_while(|word| *word != 0).map(|word| (word >> 32) as usize..word as u32 as usize)
    }

    /// The open ranges, in bytes.
    pub(crate) fn ranges(&self) -> impl Iterator<Item = Range<usize>> + '_ {
        let page = page_size();
        self.pages().map(move |range| range.start * page..range.end * page)
    }

    /// Sees to it that these bytes of the slot can be written.
    ///
    /// # Safety
    ///
    /// The slot is the caller's (T2), and mapped as far as it is watched.
    #[inline]
    pub(crate) unsafe fn open(&self, bytes: Range<usize>) -> io::Result<()> {
        let end = bytes.end.min(self.watched());
        if bytes.start >= end {
            return Ok(());
        }
        let page = page_size();
        let wanted = bytes.start / page..end.div_ceil(page);
        if self.pages().any(|open| open.start <= wanted.start && wanted.end <= open.end) {
            return Ok(());
        }
        // SAFETY: the caller's promise.
        unsafe { self.widen(wanted) }
    }

    /// As `open`, of the whole slot, which is not watched any more.
    ///
    /// # Safety
    ///
    /// As for [`Touched::open`].
    pub(crate) unsafe fn open_all(&self) -> io::Result<()> {
        if self.watched() > 0 {
            // SAFETY: the caller's promise.
            unsafe { sys::make_writable(self.base, 0..self.watched())? };
            self.watch(0);
        }
        Ok(())
    }

    /// Opens the page of an address that was written to; `false` if that is not why the write faulted.
    ///
    /// # Safety
    ///
    /// The write was one of wasm that runs on this thread, whose store has the slot.
    pub(crate) unsafe fn open_written(&self, address: usize) -> bool {
        let Some(at) = address.checked_sub(self.base).filter(|at| *at < self.watched()) else { return false };
        let page = at / page_size();
        if self.pages().any(|open| open.contains(&page)) {
            return false;
        }
        // SAFETY: the caller's promise.
        unsafe { self.widen(page..page + 1).or_else(|_| self.open_all()).is_ok() }
    }

    /// Opens these pages and some more: as many as are open beside them, so that who writes on and on faults ever less often.
    #[cold]
    unsafe fn widen(&self, wanted: Range<usize>) -> io::Result<()> {
        let page = page_size();
        let last = self.watched().div_ceil(page);
        let mut open = wanted.start & !(FIRST - 1)..wanted.end.next_multiple_of(FIRST).min(last);
        for beside in self.pages() {
            if beside.end == open.start {
                open.end = (open.end + beside.len()).min(last);
            } else if open.end == beside.start {
                open.start = open.start.saturating_sub(beside.len());
            }
        }
        let apart = |other: &Range<usize>| other.end < open.start || open.end < other.start;
        let (mut all, mut kept, mut count, mut total) = (open.clone(), [0; MOST], 0, 0);
        for other in self.pages() {
            if apart(&other) {
                kept[count] = (other.start as u64) << 32 | other.end as u64;
                count += 1;
                total += other.len();
            } else {
                all = all.start.min(other.start)..all.end.max(other.end);
            }
        }
        if count == MOST || (total + all.len()) * page > self.most {
            // SAFETY: the caller's promise.
            return unsafe { self.open_all() };
        }
        // SAFETY: as above.
        unsafe { sys::make_writable(self.base, all.start * page..(all.end * page).min(self.watched()))? };
        kept[count] = (all.start as u64) << 32 | all.end as u64;
        for (range, word) in self.ranges.iter().zip(kept) {
            range.store(word, Ordering::Relaxed);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::super::sys::{Mapping, Protection};
    use super::*;

    fn watched(pages: usize, most: usize) -> (Mapping, Touched) {
        let mapping = Mapping::anonymous(pages * page_size(), Protection::Read).unwrap();
        let touched = Touched::new(mapping.base(), most * page_size());
        touched.watch(pages * page_size());
        (mapping, touched)
    }

    fn open(touched: &Touched, pages: Range<usize>) -> Vec<(usize, usize)> {
        // SAFETY: the slot is the test's.
        unsafe { touched.open(pages.start * page_size()..pages.end * page_size()).unwrap() };
        touched.pages().map(|range| (range.start, range.end)).collect()
    }

    #[test]
    fn ranges_merge_and_double() {
        let (mapping, touched) = watched(100, 64);
        assert_eq!(open(&touched, 9..10), [(8, 12)]);
        assert_eq!(open(&touched, 9..12), [(8, 12)]);
        // As much again as is open beside it.
        assert_eq!(open(&touched, 12..13), [(8, 20)]);
        assert_eq!(open(&touched, 20..21), [(8, 36)]);
        assert_eq!(open(&touched, 60..61), [(8, 36), (60, 64)]);
        assert_eq!(open(&touched, 99..100), [(8, 36), (60, 64), (96, 100)]);
        assert_eq!(open(&touched, 59..60), [(8, 36), (96, 100), (52, 64)]);
        // SAFETY: all of these are open.
        touched
            .ranges()
            .for_each(|range| unsafe { mapping.base().add(range.start).write_bytes(1, range.len()) });
        // Too much: the whole slot.
        assert_eq!(open(&touched, 36..60), []);
        assert_eq!(touched.watched(), 0);
        // SAFETY: as above.
        unsafe { mapping.base().write_bytes(1, mapping.len()) };
    }

    #[test]
    fn many_places_open_all() {
        let (_mapping, touched) = watched(1000, 900);
        for k in 0..MOST {
            assert_eq!(open(&touched, 50 * k..50 * k + 1).len(), k + 1);
        }
        assert_eq!(open(&touched, 999..1000), []);
        assert_eq!(touched.watched(), 0);
    }

    #[test]
    fn what_is_open_or_outside_is_not_why_it_faulted() {
        let (mapping, touched) = watched(10, 10);
        let fault = |page: usize| {
            // SAFETY: the slot is the test's.
            unsafe { touched.open_written(mapping.base() as usize + page * page_size() + 5) }
        };
        assert!(fault(9) && !fault(9) && !fault(8) && fault(7) && !fault(10));
        // SAFETY: as above.
        unsafe {
            assert!(!touched.open_written(mapping.base() as usize - 1));
            mapping.base().add(4 * page_size()).write_bytes(1, 6 * page_size());
        }
    }
}

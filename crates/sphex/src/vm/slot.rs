//! A range of address space that one memory after another uses, and how it is made as good as new in between.
//!
//! A slot is `usable` bytes that can be read and written, the rest faults. Pages within may come from a module's image,
//! copy-on-write; the others began as zeros. After a memory is dropped its slot is *cleaned*: every byte is again what it
//! was when the memory was made. What is small is cleaned by comparing and writing, without the kernel: a page that the
//! guest has touched once stays, and the next guest's access to it does not fault. What is large asks the kernel which
//! pages are private copies (`sys::dirty`), writes so many of them, and gives the rest back. Of a slot that is watched
//! (`touched`) only the pages that were ever open are looked at.
//!
//! - **S1.** A slot that is not in use is clean for its key: `key.usable` bytes, the image of `key.image` or zeros, and
//!   every page beyond faults and has no contents.
//! - **S2.** Nothing is skipped when cleaning that the guest may have written: pages outside of what is compared or listed
//!   by the kernel as dirty are given back, never trusted.

use std::io;
use std::ops::Range;
use std::os::fd::BorrowedFd;
use std::ptr::NonNull;

use super::sys::{Mapping, Protection, dirty, page_size};
use super::touched::Touched;

/// What an idle slot is ready for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct SlotKey {
    /// The image, by the number of its module and the index of its memory; `None` is all zeros.
    pub(crate) image: Option<(u64, u32)>,
    /// Bytes that can be used, a multiple of the page size.
    pub(crate) usable: usize,
}

/// Bytes of a file that a memory starts with.
#[derive(Clone, Copy, Debug)]
pub(crate) struct InitialImage<'a> {
    /// The number of the module and the index of the memory in it: a name that no other image ever has.
    pub(crate) name: (u64, u32),
    /// The file.
    pub(crate) fd: BorrowedFd<'a>,
    /// Where in the file the image begins, on a page border.
    pub(crate) offset: u64,
    /// Where in the memory it goes, on a page border.
    pub(crate) start: usize,
    /// The same bytes, in memory: a multiple of the page size.
    pub(crate) bytes: &'a [u8],
}

/// Where the image of a memory is: a range of the memory, and the bytes that belong there.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Placed {
    start: usize,
    /// Never past the usable bytes.
    len: usize,
    bytes: *const u8,
}

/// A range of address space for a memory.
#[derive(Debug)]
pub(crate) struct Slot {
    mapping: Mapping,
    usable: usize,
    /// What it was made for; the memory may have grown since.
    key: SlotKey,
    image: Option<Placed>,
    /// The pool's, which outlives its slots (P1).
    touched: Option<NonNull<Touched>>,
}

// SAFETY: a slot is a range of addresses with what is known of it; `touched` is `Sync`.
unsafe impl Send for Slot {}
// SAFETY: as above.
unsafe impl Sync for Slot {}

// SAFETY: the pointer is only followed by `clean`, whose caller promises that the bytes are there.
unsafe impl Send for Placed {}
// SAFETY: as above.
unsafe impl Sync for Placed {}

impl Slot {
    /// A slot of pages that all fault.
    pub(crate) fn vacant(mapping: Mapping) -> Slot {
        Slot { mapping, usable: 0, key: SlotKey { image: None, usable: 0 }, image: None, touched: None }
    }

    /// A slot that is idle, clean for `key` (S1).
    pub(crate) fn idle(mapping: Mapping, key: SlotKey) -> Slot {
        Slot { mapping, usable: key.usable, key, image: None, touched: None }
    }

    /// The same, watched.
    ///
    /// # Safety
    ///
    /// `touched` is what is known of this slot, and lives longer.
    pub(crate) unsafe fn watched_by(self, touched: Option<&Touched>) -> Slot {
        Slot { touched: touched.map(NonNull::from), ..self }
    }

    fn touched(&self) -> Option<&Touched> {
        // SAFETY: it lives longer, `watched_by` was promised.
        self.touched.map(|touched| unsafe { touched.as_ref() })
    }

    /// Are there pages that cannot be written yet?
    pub(crate) fn is_watched(&self) -> bool {
        self.touched().is_some()
    }

    /// Sees to it that these bytes can be written.
    #[inline]
    pub(crate) fn open(&self, bytes: Range<usize>) -> io::Result<()> {
        match self.touched() {
            // SAFETY: ours, and mapped as far as `prepare` said.
            Some(touched) => unsafe { touched.open(bytes) },
            None => Ok(()),
        }
    }

    /// Sees to it that all bytes can be written, by the kernel too.
    #[inline]
    pub(crate) fn open_all(&self) -> io::Result<()> {
        match self.touched() {
            // SAFETY: as above.
            Some(touched) => unsafe { touched.open_all() },
            None => Ok(()),
        }
    }

    /// Bytes of address space.
    pub(crate) fn len(&self) -> usize {
        self.mapping.len()
    }

    /// Bytes that can be used.
    pub(crate) fn usable(&self) -> usize {
        self.usable
    }

    /// The first byte.
    pub(crate) fn base(&self) -> *mut u8 {
        self.mapping.base()
    }

    /// What it was prepared for, and is ready for again after cleaning.
    pub(crate) fn key(&self) -> SlotKey {
        self.key
    }

    /// The key for a memory of `len` bytes with this image.
    pub(crate) fn key_for(len: usize, image: Option<&InitialImage<'_>>) -> Option<SlotKey> {
        let usable = len.checked_next_multiple_of(page_size())?;
        Some(SlotKey { image: image.map(|image| image.name), usable })
    }

    /// Makes an idle slot hold `key.usable` bytes with the image. Costs no system call if it is warm for that.
    ///
    /// After an error the slot must be vacated before it is used again.
    pub(crate) fn prepare(&mut self, key: SlotKey, image: Option<InitialImage<'_>>) -> io::Result<()> {
        let placed = image.as_ref().map(|image| self.place(image, key.usable)).transpose()?;
        if self.key != key {
            if self.key.image.is_some() || key.image.is_some() || self.touched.is_some() {
                self.vacate()?;
            }
            let protection = if self.touched.is_some() { Protection::Read } else { Protection::ReadWrite };
            self.resize(key.usable, protection)?;
            if let (Some(image), Some(placed)) = (image, placed) {
                let range = placed.start..placed.start + placed.len;
                self.mapping.map_file(range, image.fd, image.offset, protection)?;
            }
            if let Some(touched) = self.touched() {
                touched.watch(key.usable);
            }
            self.key = key;
        }
        self.image = placed;
        Ok(())
    }

    fn place(&self, image: &InitialImage<'_>, usable: usize) -> io::Result<Placed> {
        if image.start > usable || usable > self.mapping.len() {
            return Err(io::Error::new(io::ErrorKind::InvalidData, "a memory image outside its memory"));
        }
        // The image is in pages of the target, which may be larger than the memory's last one here.
        let len = image.bytes.len().min(usable - image.start);
        Ok(Placed { start: image.start, len, bytes: image.bytes.as_ptr() })
    }

    fn resize(&mut self, usable: usize, protection: Protection) -> io::Result<()> {
        if usable > self.usable {
            self.mapping.protect(self.usable..usable, protection)?;
            self.usable = usable;
        } else if usable < self.usable {
            // Clean (S1), but what was written and zeroed still takes room.
            self.mapping.vacate(usable..self.usable)?;
            self.usable = usable;
        }
        Ok(())
    }

    /// Makes pages up to `usable`, which is no less than there are, readable and writable.
    pub(crate) fn extend(&mut self, usable: usize) -> io::Result<()> {
        self.mapping.protect(self.usable..usable, Protection::ReadWrite)?;
        self.usable = usable;
        Ok(())
    }

    /// Gives all contents back: every page faults.
    pub(crate) fn vacate(&mut self) -> io::Result<()> {
        if let Some(touched) = self.touched() {
            touched.watch(0);
        }
        self.mapping.vacate(0..self.usable)?;
        self.usable = 0;
        self.key = SlotKey { image: None, usable: 0 };
        self.image = None;
        Ok(())
    }

    /// Makes every byte what it was after `prepare`, so that the slot is idle and clean for its key.
    ///
    /// Returns the bytes that may still be resident, at most `keep` and a page.
    ///
    /// # Safety
    ///
    /// No one else uses the slot's bytes, and the bytes of the image given to `prepare` are alive and unchanged.
    pub(crate) unsafe fn clean(&mut self, keep: usize) -> io::Result<usize> {
        let usable = self.key.usable;
        if self.usable > usable {
            self.mapping.vacate(usable..self.usable)?;
            self.usable = usable;
        }
        let keep = keep.next_multiple_of(page_size()).min(usable);
        let watched = self.touched().filter(|touched| touched.watched() > 0);
        // SAFETY: the caller's promises; all ranges are within the usable bytes.
        let resident = unsafe {
            if let Some(touched) = watched {
                // T1: nothing else was written.
                let ranges = touched.ranges().map(|range| range.start..range.end.min(usable));
                ranges
                    .inspect(|range| self.restore(range.clone(), Restore::WhatDiffers))
                    .map(|r| r.len())
                    .sum()
            } else if usable <= keep {
                self.restore(0..usable, Restore::WhatDiffers);
                usable
            } else {
                self.clean_large(usable, keep)?
            }
        };
        self.image = None;
        Ok(resident)
    }

    /// As `clean`, for more bytes than are kept.
    unsafe fn clean_large(&mut self, usable: usize, keep: usize) -> io::Result<usize> {
        let base = self.base() as usize;
        let Some(dirty) = dirty::pages(base..base + usable) else {
            // SAFETY: the caller's promise.
            unsafe { self.restore(0..keep, Restore::WhatDiffers) };
            self.mapping.discard(keep..usable)?;
            return Ok(keep);
        };
        let mut kept = 0;
        for range in dirty.ranges() {
            let range = range.start - base..range.end - base;
            let middle = range.start + range.len().min(keep - kept);
            // SAFETY: the caller's promise; the kernel lists only what was asked for.
            unsafe { self.restore(range.start..middle, Restore::All) };
            kept += middle - range.start;
            if kept == keep {
                // One call for all that is left, whether dirty or not.
                self.mapping.discard(middle..usable)?;
                break;
            }
        }
        Ok(kept)
    }

    /// Writes what the image says, or zeros, to a range of usable bytes.
    unsafe fn restore(&self, range: Range<usize>, how: Restore) {
        let image = self.image.unwrap_or(Placed { start: range.end, len: 0, bytes: std::ptr::null() });
        let clamp = |at: usize| at.clamp(range.start, range.end);
        let (start, end) = (clamp(image.start), clamp(image.start + image.len));
        // SAFETY: the parts are within `range`, which is usable and ours alone; the image's bytes are alive and as many
        // as `len`, the caller promises.
        unsafe {
            self.zero(range.start..start, how);
            if start < end {
                let from = image.bytes.add(start - image.start);
                self.copy(start..end, from, how);
            }
            self.zero(end.max(start)..range.end, how);
        }
    }

    unsafe fn zero(&self, range: Range<usize>, how: Restore) {
        // SAFETY: the caller's promise: usable bytes that are ours alone.
        let bytes = unsafe { std::slice::from_raw_parts_mut(self.base().add(range.start), range.len()) };
        match how {
            Restore::All => bytes.fill(0),
            Restore::WhatDiffers => {
                bytes.chunks_mut(BLOCK).filter(|block| !is_zero(block)).for_each(|b| b.fill(0))
            }
        }
    }

    unsafe fn copy(&self, range: Range<usize>, from: *const u8, how: Restore) {
        // SAFETY: the caller's promise: usable bytes that are ours alone, and as many of the image.
        let (bytes, from) = unsafe {
            let bytes = std::slice::from_raw_parts_mut(self.base().add(range.start), range.len());
            (bytes, std::slice::from_raw_parts(from, range.len()))
        };
        match how {
            Restore::All => bytes.copy_from_slice(from),
            Restore::WhatDiffers => bytes
                .chunks_mut(BLOCK)
                .zip(from.chunks(BLOCK))
                .filter(|(block, from)| block != from)
                .for_each(|(block, from)| block.copy_from_slice(from)),
        }
    }
}

/// How bytes are restored: a page that is as it was is not written, so that it stays shared.
#[derive(Clone, Copy, Debug)]
enum Restore {
    All,
    WhatDiffers,
}

/// Words that are tested at a time: as many as four of the wider registers hold.
const LANES: usize = 16;

/// Bytes that are compared at a time: no page is smaller.
const BLOCK: usize = 4096;

fn is_zero(block: &[u8]) -> bool {
    #[cfg(target_arch = "x86_64")]
    if std::arch::is_x86_feature_detected!("avx2") {
        // SAFETY: the processor has AVX2.
        return unsafe { is_zero_avx2(block) };
    }
    is_zero_anywhere(block)
}

/// The same loop, made of wider instructions.
#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2")]
fn is_zero_avx2(block: &[u8]) -> bool {
    is_zero_anywhere(block)
}

#[inline(always)]
fn is_zero_anywhere(block: &[u8]) -> bool {
    // SAFETY: any bytes are words.
    let (head, lines, tail) = unsafe { block.align_to::<[u64; LANES]>() };
    // All of the block, without a branch on what was found: what the loop costs is the loads.
    let mut seen = [0u64; LANES];
    for line in lines {
        for (seen, word) in seen.iter_mut().zip(line) {
            *seen |= word;
        }
    }
    seen.iter().fold(0, |all, word| all | word) == 0 && head.iter().chain(tail).all(|byte| *byte == 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bytes(slot: &Slot) -> &'static mut [u8] {
        // SAFETY: the tests use one slot at a time, and no bytes past its end.
        unsafe { std::slice::from_raw_parts_mut(slot.base(), slot.usable()) }
    }

    fn image_file(contents: &[u8]) -> std::fs::File {
        use std::io::Write;
        let fd = rustix::fs::memfd_create("image", rustix::fs::MemfdFlags::CLOEXEC).unwrap();
        let mut file = std::fs::File::from(fd);
        file.write_all(contents).unwrap();
        file
    }

    /// Whatever is written where, and however much is kept, cleaning leaves the image and zeros.
    #[test]
    fn cleaning_restores_every_byte() {
        let page = page_size();
        let contents: Vec<u8> = (0..2 * page).map(|i| (i % 251) as u8 + 1).collect();
        let file = image_file(&contents);
        let usable = 40 * page;
        let key = SlotKey { image: Some((1, 0)), usable };
        let mut slot = Slot::vacant(Mapping::reserve(64 * page).unwrap());
        let expected = |i: usize| if (3 * page..5 * page).contains(&i) { contents[i - 3 * page] } else { 0 };
        for keep in [0, page, 4 * page, 10 * page, usable] {
            for step in [1, page, 2 * page + 8, 7 * page] {
                let image = InitialImage {
                    name: (1, 0),
                    fd: std::os::fd::AsFd::as_fd(&file),
                    offset: 0,
                    start: 3 * page,
                    bytes: &contents,
                };
                slot.prepare(key, Some(image)).unwrap();
                for (i, byte) in bytes(&slot).iter().enumerate() {
                    assert_eq!(*byte, expected(i), "byte {i}, keep {keep}, step {step}");
                }
                slot.extend(usable + 3 * page).unwrap();
                bytes(&slot).iter_mut().step_by(step).for_each(|byte| *byte = 0xee);
                // SAFETY: the contents live, and no one else uses the slot.
                let resident = unsafe { slot.clean(keep) }.unwrap();
                assert!(resident <= keep, "{resident} of {keep}");
                assert_eq!(slot.usable(), usable);
            }
        }
        slot.prepare(SlotKey { image: None, usable: 50 * page }, None).unwrap();
        assert!(bytes(&slot).iter().all(|byte| *byte == 0) && slot.usable() == 50 * page);
        bytes(&slot).fill(7);
        // SAFETY: as above.
        unsafe { slot.clean(page) }.unwrap();
        slot.prepare(SlotKey { image: None, usable: 2 * page }, None).unwrap();
        slot.extend(50 * page).unwrap();
        assert!(bytes(&slot).iter().all(|byte| *byte == 0));
    }
}

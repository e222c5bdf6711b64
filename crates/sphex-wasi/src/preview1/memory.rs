//! Guest memory as host functions see it: bytes, and checks.
//!
//! *Needs* the whole of one linear memory, borrowed for one host call. *Gives* reads and writes that are bounds-checked
//! in 64-bit arithmetic (so nothing wraps) and that tolerate any alignment, as other hosts of preview 1 do; what is out of
//! bounds is EFAULT. Buffers are handed to the kernel as they lie: nothing is copied on the way, and nothing is allocated
//! in proportion to a number that the guest names.

use super::types::Errno;
use smallvec::SmallVec;
use std::collections::BTreeMap;
use std::io::{IoSlice, IoSliceMut};

/// The most buffers one call takes, as Linux has it.
pub const MAX_BUFFERS: u32 = 1024;

/// The longest path taken, as Linux has it.
pub const MAX_PATH: u32 = 4096;

/// One call's view of the guest's memory.
pub struct GuestMemory<'a> {
    bytes: &'a mut [u8],
    limit: usize,
}

impl<'a> GuestMemory<'a> {
    /// A view of all of `bytes`.
    pub fn new(bytes: &'a mut [u8]) -> GuestMemory<'a> {
        GuestMemory { bytes, limit: crate::context::HOSTCALL_LIMIT }
    }

    /// Lets the call move no more bytes than this; see [`WasiCtxBuilder::hostcall_limit`](crate::WasiCtxBuilder).
    pub fn limited(mut self, bytes: usize) -> GuestMemory<'a> {
        self.limit = bytes;
        self
    }

    /// The most bytes that the call may move.
    pub(crate) fn limit(&self) -> usize {
        self.limit
    }

    /// Checks that `len` bytes at `at` exist: for results, before the call has an effect.
    pub fn check(&self, at: u32, len: usize) -> Result<(), Errno> {
        self.bytes(at, len).map(|_| ())
    }

    /// `len` bytes at `at`.
    pub fn bytes(&self, at: u32, len: usize) -> Result<&[u8], Errno> {
        let range = range(at, len)?;
        self.bytes.get(range).ok_or(Errno::Fault)
    }

    /// `len` bytes at `at`, to be written.
    pub fn bytes_mut(&mut self, at: u32, len: usize) -> Result<&mut [u8], Errno> {
        let range = range(at, len)?;
        self.bytes.get_mut(range).ok_or(Errno::Fault)
    }

    /// A string of the guest: a path, or what a symbolic link is to hold.
    pub fn path(&self, at: u32, len: u32) -> Result<&str, Errno> {
        if len > MAX_PATH {
            return Err(Errno::NameTooLong);
        }
        let text = std::str::from_utf8(self.bytes(at, len as usize)?).map_err(|_| Errno::Ilseq)?;
        if text.contains('\0') { Err(Errno::Inval) } else { Ok(text) }
    }

    /// A fixed-size record at `at`.
    pub fn read<const N: usize>(&self, at: u32) -> Result<[u8; N], Errno> {
        self.bytes(at, N)?.try_into().map_err(|_| Errno::Fault)
    }

    /// Reads a 32-bit number.
    pub fn read_u32(&self, at: u32) -> Result<u32, Errno> {
        self.read(at).map(u32::from_le_bytes)
    }

    /// Writes bytes.
    pub fn write(&mut self, at: u32, bytes: &[u8]) -> Result<(), Errno> {
        self.bytes_mut(at, bytes.len())?.copy_from_slice(bytes);
        Ok(())
    }

    /// Writes a 32-bit number.
    pub fn write_u32(&mut self, at: u32, value: u32) -> Result<(), Errno> {
        self.write(at, &value.to_le_bytes())
    }

    /// Writes a 64-bit number.
    pub fn write_u64(&mut self, at: u32, value: u64) -> Result<(), Errno> {
        self.write(at, &value.to_le_bytes())
    }

    /// The buffers of a `ciovec` list, in order; they may overlap. Empty ones are left out.
    pub fn sources(&self, list: u32, len: u32) -> Result<SmallVec<[IoSlice<'_>; 8]>, Errno> {
        let mut slices = SmallVec::new();
        let mut total = 0u64;
        for (at, len) in self.vectors(list, len)? {
            let bytes = self.bytes(at, len as usize)?;
            total += u64::from(len);
            if total > u64::from(u32::MAX) {
                return Err(Errno::Inval);
            }
            // What is beyond the limit is left for the next call.
            let rest = self.limit.saturating_sub((total - u64::from(len)) as usize);
            if len != 0 && rest != 0 {
                slices.push(IoSlice::new(&bytes[..bytes.len().min(rest)]));
            }
        }
        Ok(slices)
    }

    /// The buffers of an `iovec` list, in order, to be written by the host. The list is cut before the first buffer
    /// that overlaps an earlier one, since two exclusive slices never do: the guest then sees a short read.
    pub fn targets(&mut self, list: u32, len: u32) -> Result<SmallVec<[IoSliceMut<'_>; 8]>, Errno> {
        let mut spans = SmallVec::<[Span; 8]>::new();
        let mut total = 0u64;
        for (at, len) in self.vectors(list, len)? {
            self.bytes(at, len as usize)?;
            total += u64::from(len);
            if total > u64::from(u32::MAX) {
                return Err(Errno::Inval);
            }
            let rest = self.limit.saturating_sub((total - u64::from(len)) as usize);
            let len = len.min(u32::try_from(rest).unwrap_or(u32::MAX));
            if len != 0 {
                spans.push(Span { at, len, place: spans.len() });
            }
        }
        Ok(split(self.bytes, disjoint(spans)))
    }

    /// The (address, length) pairs of a list, the list itself checked.
    fn vectors(&self, list: u32, len: u32) -> Result<impl Iterator<Item = (u32, u32)>, Errno> {
        if len > MAX_BUFFERS {
            return Err(Errno::Inval);
        }
        let raw = self.bytes(list, len as usize * 8)?;
        Ok(raw.chunks_exact(8).map(|pair| {
            let word = |at: usize| u32::from_le_bytes([pair[at], pair[at + 1], pair[at + 2], pair[at + 3]]);
            (word(0), word(4))
        }))
    }
}

fn range(at: u32, len: usize) -> Result<std::ops::Range<usize>, Errno> {
    let start = at as usize;
    Ok(start..start.checked_add(len).ok_or(Errno::Fault)?)
}

/// A buffer in guest memory and its place in the guest's list.
#[derive(Clone, Copy)]
struct Span {
    at: u32,
    len: u32,
    place: usize,
}

/// The longest prefix of the list that has no overlaps, sorted by address. n log n.
fn disjoint(mut spans: SmallVec<[Span; 8]>) -> SmallVec<[Span; 8]> {
    let end = |span: &Span| u64::from(span.at) + u64::from(span.len);
    if spans.windows(2).all(|pair| end(&pair[0]) <= u64::from(pair[1].at)) {
        return spans;
    }
    let mut seen = BTreeMap::new();
    let overlap = spans.iter().position(|span| {
        // Those seen are disjoint, so only the last that starts before this one's end can reach into it.
        let before = seen.range(..end(span)).next_back();
        let overlaps = before.is_some_and(|(_, &reach)| reach > u64::from(span.at));
        seen.insert(u64::from(span.at), end(span));
        overlaps
    });
    spans.truncate(overlap.unwrap_or(spans.len()));
    spans.sort_unstable_by_key(|span| span.at);
    spans
}

/// Cuts disjoint spans, sorted by address, out of `bytes` and puts them into the order of the list.
fn split(mut bytes: &mut [u8], mut spans: SmallVec<[Span; 8]>) -> SmallVec<[IoSliceMut<'_>; 8]> {
    let mut base = 0;
    let mut slices = SmallVec::<[(usize, IoSliceMut<'_>); 8]>::new();
    for span in spans.drain(..) {
        let skipped = std::mem::take(&mut bytes).split_at_mut(span.at as usize - base).1;
        let (slice, rest) = skipped.split_at_mut(span.len as usize);
        slices.push((span.place, IoSliceMut::new(slice)));
        base = span.at as usize + span.len as usize;
        bytes = rest;
    }
    slices.sort_unstable_by_key(|(place, _)| *place);
    slices.into_iter().map(|(_, slice)| slice).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bounds_are_checked_without_wrapping() {
        let mut bytes = [0; 16];
        let mut memory = GuestMemory::new(&mut bytes);
        let cases = [
            (0, 16, true),
            (16, 0, true),
            (15, 1, true),
            (17, 0, false),
            (16, 1, false),
            (u32::MAX, 1, false),
        ];
        for (at, len, fine) in cases {
            assert_eq!(memory.bytes(at, len).is_ok(), fine, "{at} {len}");
            assert_eq!(memory.bytes_mut(at, len).is_ok(), fine, "{at} {len}");
        }
        assert!(memory.bytes(1, usize::MAX).is_err());
        assert!(memory.write_u32(13, 0).is_err());
        memory.write_u32(9, 0x0403_0201).unwrap();
        assert_eq!(memory.read_u32(9), Ok(0x0403_0201));
    }

    #[test]
    fn paths_are_text_without_nul() {
        let mut bytes = *b"a/b\0\xff\xfe";
        let memory = GuestMemory::new(&mut bytes);
        assert_eq!(memory.path(0, 3), Ok("a/b"));
        assert_eq!(memory.path(0, 4), Err(Errno::Inval));
        assert_eq!(memory.path(4, 1), Err(Errno::Ilseq));
        assert_eq!(memory.path(0, 7), Err(Errno::Fault));
        assert_eq!(memory.path(0, MAX_PATH + 1), Err(Errno::NameTooLong));
    }

    /// The bytes that each target of a list covers, as (address, length).
    fn targets(list: &[(u32, u32)]) -> Result<Vec<(usize, usize)>, Errno> {
        let mut bytes = vec![0; 4096];
        for (at, byte) in bytes.iter_mut().enumerate().take(256) {
            *byte = at as u8;
        }
        for (index, (at, len)) in list.iter().enumerate() {
            bytes[256 + index * 8..][..4].copy_from_slice(&at.to_le_bytes());
            bytes[260 + index * 8..][..4].copy_from_slice(&len.to_le_bytes());
        }
        let mut memory = GuestMemory::new(&mut bytes);
        let targets = memory.targets(256, list.len() as u32)?;
        Ok(targets.iter().map(|slice| (slice[0] as usize, slice.len())).collect())
    }

    #[test]
    fn targets_keep_order_and_never_overlap() {
        assert_eq!(targets(&[(0, 4), (8, 4)]), Ok(vec![(0, 4), (8, 4)]));
        assert_eq!(targets(&[(8, 4), (0, 4), (4, 4)]), Ok(vec![(8, 4), (0, 4), (4, 4)]));
        assert_eq!(targets(&[(8, 0), (0, 4)]), Ok(vec![(0, 4)]));
        assert_eq!(targets(&[(0, 4), (2, 4), (8, 4)]), Ok(vec![(0, 4)]));
        assert_eq!(targets(&[(0, 20), (40, 1), (1, 1), (5, 1)]), Ok(vec![(0, 20), (40, 1)]));
        assert_eq!(targets(&[(5, 1), (0, 20)]), Ok(vec![(5, 1)]));
        assert_eq!(targets(&[(0, 4096)]), Ok(vec![(0, 4096)]));
        assert_eq!(targets(&[(0, 4), (4095, 2)]), Err(Errno::Fault));
        assert_eq!(targets(&[]), Ok(vec![]));
    }

    #[test]
    fn sources_may_overlap_and_lists_are_checked() {
        let mut bytes = vec![0; 64];
        bytes[4] = 64;
        bytes[8] = 1;
        bytes[12] = 2;
        let memory = GuestMemory::new(&mut bytes);
        assert_eq!(memory.sources(0, 2).unwrap().len(), 2);
        assert_eq!(memory.sources(60, 1).unwrap_err(), Errno::Fault);
        assert_eq!(memory.sources(0, MAX_BUFFERS + 1).unwrap_err(), Errno::Inval);
    }
}

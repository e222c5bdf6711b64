//! Guest memory as host functions see it: bytes, and checks.
//!
//! *Needs* the whole of one linear memory, borrowed for one host call. *Gives* reads and writes that are bounds-checked
//! in 64-bit arithmetic (so nothing wraps) and that tolerate any alignment, as other hosts of preview 1 do; what is out of
//! bounds is EFAULT. Buffers are handed to the kernel as they lie: nothing is copied on the way, and nothing is allocated
//! in proportion to a number that the guest names. A shared memory is another matter: other threads write it meanwhile, so
//! there is no slice of it, and every buffer goes through a copy, which lives as long as the call.

use super::Fault;
use super::types::Errno;
use bumpalo::Bump;
use smallvec::SmallVec;
use sphex::SharedMemory;
use std::collections::BTreeMap;
use std::io::{IoSlice, IoSliceMut};

/// The most buffers one call takes, as Linux has it.
pub const MAX_BUFFERS: u32 = 1024;

/// The longest path taken, as Linux has it.
pub const MAX_PATH: u32 = 4096;

/// One call's view of the guest's memory.
pub struct GuestMemory<'a> {
    bytes: Bytes<'a>,
    limit: usize,
}

enum Bytes<'a> {
    Own(&'a mut [u8]),
    /// And the copies that this call has made.
    Shared(&'a SharedMemory, Bump),
}

impl<'a> GuestMemory<'a> {
    /// A view of all of `bytes`.
    pub fn new(bytes: &'a mut [u8]) -> GuestMemory<'a> {
        GuestMemory { bytes: Bytes::Own(bytes), limit: crate::context::HOSTCALL_LIMIT }
    }

    /// A view of a memory that other threads may use at the same time.
    pub fn shared(memory: &'a SharedMemory) -> GuestMemory<'a> {
        GuestMemory { bytes: Bytes::Shared(memory, Bump::new()), limit: crate::context::HOSTCALL_LIMIT }
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
        let end = range(at, len)?.end;
        let whole = match &self.bytes {
            Bytes::Own(bytes) => bytes.len(),
            Bytes::Shared(memory, _) => memory.data_size(),
        };
        if end <= whole { Ok(()) } else { Err(Errno::Fault) }
    }

    /// `len` bytes at `at`; of a shared memory, as they are now.
    pub fn bytes(&self, at: u32, len: usize) -> Result<&[u8], Errno> {
        let range = range(at, len)?;
        match &self.bytes {
            Bytes::Own(bytes) => bytes.get(range).ok_or(Errno::Fault),
            Bytes::Shared(memory, copies) => {
                self.check(at, len)?;
                let copy = copies.alloc_slice_fill_copy(len, 0);
                memory.read(range.start, copy).map_err(|_| Errno::Fault)?;
                Ok(copy)
            }
        }
    }

    /// Lets `fill` write to `len` bytes at `at`; it says how many it wrote, from the first on.
    pub(crate) fn fill(
        &mut self,
        at: u32,
        len: usize,
        fill: impl FnOnce(&mut [u8]) -> Result<usize, Fault>,
    ) -> Result<usize, Fault> {
        let range = range(at, len)?;
        self.check(at, len)?;
        match &mut self.bytes {
            Bytes::Own(bytes) => fill(&mut bytes[range]),
            Bytes::Shared(memory, copies) => {
                let copy = copies.alloc_slice_fill_copy(len, 0);
                let filled = fill(copy)?;
                let filled_bytes = copy.get(..filled).ok_or(Errno::Io)?;
                memory.write(range.start, filled_bytes).map_err(|_| Errno::Fault)?;
                Ok(filled)
            }
        }
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
        match &mut self.bytes {
            Bytes::Own(memory) => {
                memory.get_mut(range(at, bytes.len())?).ok_or(Errno::Fault)?.copy_from_slice(bytes);
                Ok(())
            }
            Bytes::Shared(memory, _) => memory.write(at as usize, bytes).map_err(|_| Errno::Fault),
        }
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

    /// Lets `receive` write to the buffers of an `iovec` list, in order; it says how many bytes it wrote. The list is cut
    /// before the first buffer that overlaps an earlier one, since two exclusive slices never do: the guest then sees a short
    /// read.
    pub(crate) fn receive(
        &mut self,
        list: u32,
        len: u32,
        receive: impl FnOnce(&mut [IoSliceMut<'_>]) -> Result<usize, Fault>,
    ) -> Result<usize, Fault> {
        let spans = disjoint(self.spans(list, len)?);
        match &mut self.bytes {
            Bytes::Own(bytes) => receive(&mut split(bytes, spans)),
            Bytes::Shared(memory, copies) => {
                let whole = spans.iter().map(|span| span.len as usize).sum();
                let copy = copies.alloc_slice_fill_copy(whole, 0);
                let mut spans = spans;
                spans.sort_unstable_by_key(|span| span.place);
                let mut packed = spans.clone();
                let mut at = 0;
                for span in &mut packed {
                    span.at = at;
                    at += span.len;
                }
                let received = receive(&mut split(copy, packed))?;
                let mut rest = copy.get(..received).ok_or(Errno::Io)?;
                for span in spans {
                    let (now, later) = rest.split_at(rest.len().min(span.len as usize));
                    memory.write(span.at as usize, now).map_err(|_| Errno::Fault)?;
                    rest = later;
                }
                Ok(received)
            }
        }
    }

    /// The buffers of an `iovec` list that the host may write, cut at the limit; not the empty ones.
    fn spans(&self, list: u32, len: u32) -> Result<SmallVec<[Span; 8]>, Errno> {
        let mut spans = SmallVec::<[Span; 8]>::new();
        let mut total = 0u64;
        for (at, len) in self.vectors(list, len)? {
            self.check(at, len as usize)?;
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
        Ok(spans)
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
            assert_eq!(memory.fill(at, len, |bytes| Ok(bytes.len())).is_ok(), fine, "{at} {len}");
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
        let mut found = Vec::new();
        let received = memory.receive(256, list.len() as u32, |targets| {
            found.extend(targets.iter().map(|slice| (slice[0] as usize, slice.len())));
            Ok(0)
        });
        match received {
            Ok(_) => Ok(found),
            Err(Fault::Errno(errno)) => Err(errno),
            Err(fault) => panic!("{fault:?}"),
        }
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
    fn a_shared_memory_gets_what_was_received_and_no_more() {
        let engine = sphex::Engine::default();
        let ty = sphex::MemoryType { shared: true, ..sphex::MemoryType::new(1, Some(1)) };
        let shared = SharedMemory::new(&engine, ty).unwrap();
        shared.fill(0, 7, 64).unwrap();
        // Buffers at 16 (4 bytes) and 8 (4 bytes).
        shared.write(32, &[16, 0, 0, 0, 4, 0, 0, 0, 8, 0, 0, 0, 4, 0, 0, 0]).unwrap();
        let mut memory = GuestMemory::shared(&shared);
        let received = memory.receive(32, 2, |targets| {
            assert_eq!(targets.iter().map(|target| target.len()).collect::<Vec<_>>(), [4, 4]);
            targets[0].copy_from_slice(b"abcd");
            targets[1].copy_from_slice(b"efgh");
            Ok(6)
        });
        assert_eq!(received, Ok(6));
        assert_eq!(memory.bytes(8, 12), Ok(&b"ef\x07\x07\x07\x07\x07\x07abcd"[..]));
        assert_eq!(memory.sources(32, 2).unwrap().iter().map(|s| s[0]).collect::<Vec<_>>(), [b'a', b'e']);
        assert_eq!(
            memory.fill(0, 4, |bytes| {
                bytes.fill(1);
                Ok(2)
            }),
            Ok(2)
        );
        assert_eq!(memory.read::<4>(0), Ok([1, 1, 7, 7]));
        assert_eq!(memory.path(16, 4), Ok("abcd"));
        assert_eq!(memory.write(65_535, &[0, 0]), Err(Errno::Fault));
        assert!(memory.check(65_535, 1).is_ok() && memory.check(65_535, 2).is_err());
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

//! Memory images: active data segments become pages that a memory maps when it is made.
//!
//! Needs a module whose data segments have their final modes, and their bytes; gives the contents of `.sphex.data` and
//! rewrites the module's segments to refer to them. Which segments may go into an image without anyone noticing:
//!
//! - Only a prefix of the active segments, up to the first whose offset is not a constant, whose memory is imported, or
//!   that lies outside its memory's first size, or whose memory is shared: that may live longer than the module. The segments before that one cannot trap, so that the order in
//!   which they are written does not matter to anything but each other.
//! - Of a memory, all of them or none: none if the image would pass twice their bytes plus 64 KiB.
//!
//! Cost: linear in the segments' bytes and the images', which the rule above bounds by them.

use std::collections::BTreeMap;

use crate::module::{MemoryImage, Module, SegmentMode};

/// Room that an image may waste beyond twice its segments' bytes.
pub const SLACK: u64 = 64 << 10;

/// Lays out the bytes of a module's data segments and turns those that can into memory images.
///
/// `segments` holds the bytes of each of `module.data`, in order. The result is appended to `out` (the contents of
/// `.sphex.data`, which a first module begins empty); `page` is the target's page. Segments must not have been laid out
/// before: their `start` and `len` are set here.
pub fn lay_out(module: &mut Module, segments: &[&[u8]], page: u64, out: &mut Vec<u8>) {
    let placeable = placeable(module, segments);
    let mut extents: BTreeMap<u32, Extent> = BTreeMap::new();
    for &Placeable { segment, memory, at } in &placeable {
        let len = segments[segment].len() as u64;
        if len > 0 {
            let extent = extents.entry(memory).or_insert(Extent { low: u64::MAX, high: 0, bytes: 0 });
            extent.low = extent.low.min(at);
            extent.high = extent.high.max(at + len);
            extent.bytes += len;
        }
    }
    let mut images: BTreeMap<u32, MemoryImage> = BTreeMap::new();
    for (&memory, extent) in &extents {
        let low = extent.low / page * page;
        let len = extent.high.next_multiple_of(page) - low;
        if len <= 2 * extent.bytes + SLACK {
            let start = out.len().next_multiple_of(page as usize);
            out.resize(start + len as usize, 0);
            images.insert(memory, MemoryImage { memory, at: low, start: start as u64, len });
        }
    }
    for &Placeable { segment, memory, at } in &placeable {
        let bytes = segments[segment];
        // An empty segment may stand anywhere in its memory, outside the image too; it writes nothing.
        if !bytes.is_empty() {
            let Some(image) = images.get(&memory) else { continue };
            let start = (image.start + (at - image.at)) as usize;
            out[start..start + bytes.len()].copy_from_slice(bytes);
        }
        module.data[segment].mode = SegmentMode::Placed;
    }
    module.images = images.into_values().collect();
    for (data, bytes) in module.data.iter_mut().zip(segments) {
        let bytes: &[u8] = if data.mode == SegmentMode::Placed { &[] } else { bytes };
        (data.start, data.len) = (out.len() as u64, bytes.len() as u64);
        out.extend_from_slice(bytes);
    }
}

/// Which bytes of a memory its segments touch, and how many they are.
struct Extent {
    low: u64,
    high: u64,
    bytes: u64,
}

/// A segment that may become part of an image.
struct Placeable {
    segment: usize,
    memory: u32,
    at: u64,
}

/// The longest prefix of the active segments that cannot trap and write to memories of the module.
fn placeable(module: &Module, segments: &[&[u8]]) -> Vec<Placeable> {
    let mut found = Vec::new();
    for (segment, (data, bytes)) in module.data.iter().zip(segments).enumerate() {
        let SegmentMode::Active { target, offset } = &data.mode else { continue };
        let memory = module.memories.get(*target as usize).filter(|_| !module.is_imported_memory(*target));
        let memory = memory.filter(|memory| !memory.ty.shared);
        let size = memory.and_then(|memory| memory.ty.minimum_bytes());
        let (Some(size), Some(at)) = (size, offset.as_integer()) else { break };
        if at.checked_add(bytes.len() as u64).is_none_or(|end| end > size) {
            break;
        }
        found.push(Placeable { segment, memory: *target, at });
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::module::{ConstExpr, ConstOp, Data, Memory, MemoryPlan};
    use crate::types::MemoryType;

    const PLAN: MemoryPlan =
        MemoryPlan { reservation: 1 << 32, guard: 32 << 20, may_move: false, explicit_checks: false };

    fn module(offsets: &[Option<ConstOp>]) -> Module {
        let ty =
            MemoryType { minimum: 16, maximum: None, shared: false, memory64: false, page_size_log2: 16 };
        let data = offsets.iter().map(|offset| Data {
            mode: match offset {
                Some(op) => SegmentMode::Active { target: 0, offset: ConstExpr::new([*op]) },
                None => SegmentMode::Passive,
            },
            start: 0,
            len: 0,
        });
        Module { memories: vec![Memory { ty, plan: PLAN }], data: data.collect(), ..Module::default() }
    }

    fn modes(module: &Module) -> String {
        module
            .data
            .iter()
            .map(|data| match data.mode {
                SegmentMode::Placed => 'p',
                SegmentMode::Active { .. } => 'a',
                _ => '-',
            })
            .collect()
    }

    #[test]
    fn later_segments_win_and_passive_ones_follow() {
        let mut m =
            module(&[Some(ConstOp::I32(0x1ffe)), None, Some(ConstOp::I32(0x1fff)), Some(ConstOp::I32(0))]);
        m.data[3].mode = SegmentMode::Active { target: 0, offset: ConstExpr::new([ConstOp::I32(0x100000)]) };
        let mut out = vec![7; 10];
        lay_out(&mut m, &[b"abcd", b"passive", b"XY", b""], 4096, &mut out);
        assert_eq!(modes(&m), "p-pp");
        assert_eq!(m.images, [MemoryImage { memory: 0, at: 0x1000, start: 4096, len: 0x2000 }]);
        assert_eq!(&out[4096 + 0xffe..][..6], b"aXYd\0\0");
        assert_eq!((m.data[1].start, m.data[1].len), (4096 + 0x2000, 7));
        assert_eq!(&out[4096 + 0x2000..], b"passive");
    }

    #[test]
    fn what_may_trap_or_waste_stays_a_segment() {
        // A dynamic offset ends the prefix.
        let mut m = module(&[Some(ConstOp::I32(0)), Some(ConstOp::GlobalGet(0)), Some(ConstOp::I32(8))]);
        lay_out(&mut m, &[b"a", b"b", b"c"], 4096, &mut Vec::new());
        assert_eq!(modes(&m), "paa");
        // So does one out of bounds, negative ones included.
        for offset in [0x100000, -1] {
            let mut m = module(&[Some(ConstOp::I32(offset)), Some(ConstOp::I32(8))]);
            let mut out = Vec::new();
            lay_out(&mut m, &[b"a", b"c"], 4096, &mut out);
            assert_eq!((modes(&m).as_str(), out.as_slice()), ("aa", &b"ac"[..]));
        }
        // Far apart: the image would be too large.
        let mut m = module(&[Some(ConstOp::I32(0)), Some(ConstOp::I32(0xf_0000))]);
        lay_out(&mut m, &[b"a", b"c"], 4096, &mut Vec::new());
        assert_eq!((modes(&m).as_str(), m.images.len()), ("aa", 0));
        // An imported memory may be in use already.
        let mut m = module(&[Some(ConstOp::I32(0))]);
        m.imported.memories = 1;
        lay_out(&mut m, &[b"a"], 4096, &mut Vec::new());
        assert_eq!(modes(&m), "a");
    }
}

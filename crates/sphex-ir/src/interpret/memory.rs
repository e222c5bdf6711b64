//! The interpreter's memory: allocations with gaps between them, every access checked.

use crate::immediates::Endian;
use crate::number::mask;

/// Memory below which no address is valid, so that small numbers are not addresses.
const BASE: u64 = 0x1_0000;
/// Bytes between two allocations that belong to neither.
const GAP: u64 = 64;

#[derive(Debug)]
struct Allocation {
    base: u64,
    bytes: Vec<u8>,
}

/// Allocations in the order of their addresses, which is the order in which they were made.
#[derive(Debug, Default)]
pub(super) struct Memory {
    allocations: Vec<Allocation>,
    total: u64,
}

impl Memory {
    /// Adds zeroed bytes; `None` where that would pass `limit` bytes in all.
    pub(super) fn allocate(&mut self, size: u32, align: u64, limit: u64) -> Option<u64> {
        self.total += size as u64;
        if self.total > limit {
            self.total -= size as u64;
            return None;
        }
        let end = self.allocations.last().map_or(BASE, |a| a.base + a.bytes.len() as u64 + GAP);
        let base = end.next_multiple_of(align.max(16));
        self.allocations.push(Allocation { base, bytes: vec![0; size as usize] });
        Some(base)
    }

    /// How many allocations there are.
    pub(super) fn mark(&self) -> usize {
        self.allocations.len()
    }

    /// Frees what was allocated since a mark.
    pub(super) fn release(&mut self, mark: usize) {
        for freed in self.allocations.drain(mark..) {
            self.total -= freed.bytes.len() as u64;
        }
    }

    /// The bytes at an address, if all of them are of one allocation.
    pub(super) fn bytes(&mut self, address: u64, size: u32) -> Option<&mut [u8]> {
        let index = self.allocations.partition_point(|a| a.base <= address).checked_sub(1)?;
        let allocation = &mut self.allocations[index];
        let offset = usize::try_from(address - allocation.base).ok()?;
        allocation.bytes.get_mut(offset..offset.checked_add(size as usize)?)
    }

    /// Reads up to sixteen bytes as a number.
    pub(super) fn read(&mut self, address: u64, size: u32, endian: Endian) -> Option<u128> {
        let mut bytes = [0; 16];
        bytes.get_mut(..size as usize)?.copy_from_slice(self.bytes(address, size)?);
        Some(order(u128::from_le_bytes(bytes), size, endian))
    }

    /// Writes a number's lowest bytes.
    pub(super) fn write(&mut self, address: u64, size: u32, endian: Endian, value: u128) -> Option<()> {
        let bytes = order(value & mask(size * 8), size, endian).to_le_bytes();
        self.bytes(address, size)?.copy_from_slice(bytes.get(..size as usize)?);
        Some(())
    }
}

/// A number's bytes in the other order, where the access is big-endian.
fn order(value: u128, size: u32, endian: Endian) -> u128 {
    if endian == Endian::Big { value.swap_bytes() >> (128 - 8 * size) } else { value }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn accesses_are_checked_at_both_ends() {
        let mut memory = Memory::default();
        let a = memory.allocate(8, 1, 100).unwrap();
        let mark = memory.mark();
        let b = memory.allocate(8, 64, 100).unwrap();
        assert!(b % 64 == 0 && memory.allocate(85, 1, 100).is_none());
        assert_eq!(memory.write(a + 4, 4, Endian::Big, 0x0102_0304), Some(()));
        assert_eq!(memory.read(a + 4, 4, Endian::Little), Some(0x0403_0201));
        for bad in [a - 1, a + 5, a + 8, 0, u64::MAX, b - 1] {
            assert_eq!(memory.read(bad, 4, Endian::Native), None);
        }
        memory.release(mark);
        assert_eq!(memory.read(b, 1, Endian::Native), None);
    }
}

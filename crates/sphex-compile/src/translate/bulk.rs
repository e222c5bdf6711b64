//! Bulk operations of linear memory.
//!
//! Needs addresses and lengths on the operand stack. A copy or fill of few bytes, whose number is a constant, is loads and
//! stores in place. Any other compares both ends with the memory's length and gives addresses to a leaf of the runtime,
//! unless fuel is counted: then the runtime does it all, and takes fuel by the bytes.

use super::{Output, Translator};
use smallvec::SmallVec;
use sphex_artifact::builtins::Builtin;
use sphex_ir::{IntCC, Opcode, TrapCode, Type, Value, types};

/// Most bytes that are copied or filled in place: eight registers of them.
const IN_PLACE: u64 = 64;

/// How `bytes` bytes are covered, at most [`IN_PLACE`] and not 0: offset and width of each access, in rising order. The
/// last may overlap the one before it.
fn pieces(bytes: u64) -> impl Iterator<Item = (u64, u32)> {
    let width = 1 << bytes.ilog2().min(3);
    let rest = bytes % width;
    let last = match rest {
        0 => None,
        rest if rest.is_power_of_two() => Some((bytes - rest, rest as u32)),
        _ => Some((bytes - width, width as u32)),
    };
    (0..bytes / width).map(move |i| (i * width, width as u32)).chain(last)
}

/// The opcodes that load and store so many bytes, and the type that they have in a register.
fn access(width: u32) -> (Opcode, Opcode, Type) {
    match width {
        1 => (Opcode::Uload8, Opcode::Istore8, types::I32),
        2 => (Opcode::Uload16, Opcode::Istore16, types::I32),
        4 => (Opcode::Load, Opcode::Store, types::I32),
        _ => (Opcode::Load, Opcode::Store, types::I64),
    }
}

impl Translator<'_, '_, '_> {
    /// The length, if it is a constant and few enough bytes for loads and stores.
    fn in_place(&self, len: Value) -> Option<u64> {
        self.b.func.as_iconst(len).filter(|len| (1..=IN_PLACE).contains(len))
    }

    pub(super) fn memory_copy(&mut self, to: u32, from: u32) -> Output {
        let (destination, source, len) = self.pop_ranges();
        if let Some(bytes) = self.in_place(len) {
            self.copy_in_place((to, destination), (from, source), bytes);
        } else if self.settings.fuel {
            let to = self.b.iconst(types::I32, i64::from(to));
            let from = self.b.iconst(types::I32, i64::from(from));
            self.builtin(Builtin::MemoryCopy, &[to, from, destination, source, len]);
        } else {
            let len = if to == from {
                let farthest = self.b.binary(Opcode::Umax, destination, source);
                self.checked(to, farthest, len)
            } else {
                let len = self.checked(to, destination, len);
                self.checked(from, source, len)
            };
            let destination = self.pointer(to, destination);
            let source = self.pointer(from, source);
            self.builtin(Builtin::MemoryMove, &[destination, source, len]);
        }
        Ok(())
    }

    /// All is loaded before anything is stored, and the last bytes are stored first: one that is out of bounds traps
    /// before the memory has changed.
    fn copy_in_place(&mut self, to: (u32, Value), from: (u32, Value), bytes: u64) {
        let mut values = super::Values::new();
        for (offset, width) in pieces(bytes) {
            let (load, _, ty) = access(width);
            let (address, disp, flags) = self.place(from.0, from.1, offset, width);
            values.push(self.b.load(load, ty, flags, address, disp));
        }
        self.store_in_place(to, bytes, &values);
    }

    /// Stores a value for each piece.
    fn store_in_place(&mut self, (memory, index): (u32, Value), bytes: u64, values: &[Value]) {
        let mut stores: SmallVec<[_; 8]> = pieces(bytes).zip(values).collect();
        stores.rotate_right(1);
        for ((offset, width), &value) in stores {
            let (_, store, _) = access(width);
            let (address, disp, flags) = self.place(memory, index, offset, width);
            self.b.store(store, flags, value, address, disp);
        }
    }

    pub(super) fn memory_fill(&mut self, memory: u32) -> Output {
        let len = self.pop_extended();
        let value = self.pop();
        let destination = self.pop_extended();
        if let Some(bytes) = self.in_place(len) {
            let mask = self.b.iconst(types::I32, 0xff);
            let byte = self.b.binary(Opcode::Band, value, mask);
            let byte = self.b.convert(Opcode::Uextend, types::I64, byte);
            let ones = self.b.iconst(types::I64, 0x0101_0101_0101_0101);
            let wide = self.b.binary(Opcode::Imul, byte, ones);
            let narrow = self.b.convert(Opcode::Ireduce, types::I32, wide);
            let of_type = |(_, width)| if access(width).2 == types::I64 { wide } else { narrow };
            let values: super::Values = pieces(bytes).map(of_type).collect();
            self.store_in_place((memory, destination), bytes, &values);
        } else if self.settings.fuel {
            let memory = self.b.iconst(types::I32, i64::from(memory));
            self.builtin(Builtin::MemoryFill, &[memory, destination, value, len]);
        } else {
            let len = self.checked(memory, destination, len);
            let destination = self.pointer(memory, destination);
            self.builtin(Builtin::MemorySet, &[destination, value, len]);
        }
        Ok(())
    }

    /// Traps if `len` bytes at the index are not all within the memory. Gives the length to go on with, which is 0 where
    /// the processor goes on before it knows that they are not.
    fn checked(&mut self, memory: u32, index: Value, len: Value) -> Value {
        // Neither has more than 32 bits, so the sum does not wrap.
        let end = self.b.binary(Opcode::Iadd, index, len);
        let size = self.memory_len(memory);
        let outside = self.b.icmp(IntCC::Ugt, end, size);
        self.b.trapnz(outside, TrapCode::HEAP_OUT_OF_BOUNDS);
        if !self.settings.spectre {
            return len;
        }
        let none = self.b.iconst(types::I64, 0);
        self.b.ternary(Opcode::SelectSpectreGuard, outside, none, len)
    }

    /// The address of the byte at an index that was checked.
    fn pointer(&mut self, memory: u32, index: Value) -> Value {
        let base = self.memory_base(memory);
        self.b.binary(Opcode::Iadd, base, index)
    }

    pub(super) fn memory_init(&mut self, data: u32, memory: u32) -> Output {
        let (destination, source, len) = self.pop_ranges();
        let memory = self.b.iconst(types::I32, i64::from(memory));
        let data = self.b.iconst(types::I32, i64::from(data));
        self.builtin(Builtin::MemoryInit, &[memory, data, destination, source, len]);
        Ok(())
    }

    pub(super) fn data_drop(&mut self, data: u32) -> Output {
        let data = self.b.iconst(types::I32, i64::from(data));
        self.builtin(Builtin::DataDrop, &[data]);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::{IN_PLACE, pieces};

    #[test]
    fn pieces_cover_every_byte_and_no_other() {
        for bytes in 1..=IN_PLACE {
            let mut covered = vec![false; bytes as usize];
            for (offset, width) in pieces(bytes) {
                assert!(width.is_power_of_two() && width <= 8);
                covered[offset as usize..offset as usize + width as usize].fill(true);
            }
            assert!(covered.iter().all(|&covered| covered), "{bytes}");
            let last = pieces(bytes).last().map(|(offset, width)| offset + u64::from(width));
            assert_eq!(last, Some(bytes), "the last piece is at the end");
        }
    }
}

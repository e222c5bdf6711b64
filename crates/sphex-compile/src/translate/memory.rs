//! Linear memories: addresses, bounds, loads and stores.
//!
//! Needs the memory's plan. An access within the guard's reach relies on a fault: `load region addr+offset`, whose trap
//! record says `heap_oob`. Any other compares its end with the memory's length first.

use super::context::Part;
use super::{Output, Translator};
use sphex_artifact::builtins::Builtin;
use sphex_artifact::module::MemoryPlan;
use sphex_artifact::types::GAP;
use sphex_artifact::vmctx;
use sphex_entity::seeded_bug;
use sphex_ir::{IntCC, MemFlags, Opcode, TrapCode, Type, Value, types};
use wasmparser::{MemArg, MemArgTarget};

/// Log2 of a page's bytes.
const PAGE_LOG2: i64 = 16;

/// How many accesses are remembered.
const ACCESSES: usize = 16;

/// The address `base + more`, of 32 bits, of an access that was made on every way to the current point. As the memory leaves
/// a gap at the end of addresses, adding less than that to the address cannot wrap: `base + more + d` is the address `at`
/// plus `d` in 64 bits, too, and `d` part of an access's offset.
#[derive(Clone, Copy, Debug)]
pub(super) struct Accessed {
    memory: u32,
    base: Value,
    more: u32,
    at: Value,
    /// How many were noted before.
    number: u32,
}

/// Accesses that were made on every way to the current point, the latest last. None comes back once it is forgotten, so that
/// what is here at a join and is older than every edge that leads there was here, and true, at all of them.
#[derive(Debug, Default)]
pub(super) struct Accesses {
    known: Vec<Accessed>,
    /// How many have been noted so far.
    count: u32,
}

impl Accesses {
    /// How many have been noted so far.
    pub(super) fn mark(&self) -> u32 {
        self.count
    }

    /// Forgets those noted since.
    pub(super) fn forget_since(&mut self, mark: u32) {
        self.known.retain(|access| access.number < mark);
    }

    fn note(&mut self, memory: u32, base: Value, more: u32, at: Value) {
        if self.known.len() == ACCESSES {
            self.known.remove(0);
        }
        self.known.push(Accessed { memory, base, more, at, number: self.count });
        self.count += 1;
    }
}

impl Translator<'_, '_, '_> {
    fn memory_plan(&self, memory: u32) -> MemoryPlan {
        self.info.module.memories[memory as usize].plan
    }

    /// Loads a field of a memory; `constant` if it never changes.
    fn memory_field(&mut self, memory: u32, field: u32, constant: bool) -> Value {
        let flags = match constant {
            true => self.constant_field(),
            false => self.trusted(Part::MemoryFields),
        };
        let imported = self.info.module.imported.memories;
        let (base, offset) = if memory < imported {
            (self.vmctx_field(types::I64, self.info.layout.imported_memory(memory)), field)
        } else if self.info.module.memories[memory as usize].ty.shared {
            let slot = self.info.layout.memory(memory - imported) + vmctx::memory::SHARED;
            (self.vmctx_field(types::I64, slot), field)
        } else {
            (self.cx.vmctx, self.info.layout.memory(memory - imported) + field)
        };
        self.b.load(Opcode::Load, types::I64, flags, base, offset as i32)
    }

    pub(super) fn memory_base(&mut self, memory: u32) -> Value {
        let constant = !self.memory_plan(memory).may_move;
        self.memory_field(memory, vmctx::memory::BASE, constant)
    }

    /// The memory's length in bytes.
    pub(super) fn memory_len(&mut self, memory: u32) -> Value {
        let ty = self.info.module.memories[memory as usize].ty;
        if ty.maximum == Some(ty.minimum)
            && let Some(bytes) = ty.minimum_bytes()
        {
            return self.b.iconst(types::I64, bytes as i64);
        }
        self.memory_field(memory, vmctx::memory::LEN, false)
    }

    /// Pops an index; gives address, constant offset and flags of an access of `bytes` bytes.
    fn address(&mut self, arg: &MemArg, bytes: u32) -> (Value, i32, MemFlags) {
        let MemArgTarget::Memory(memory) = arg.target else { return (self.cx.vmctx, 0, MemFlags::DEFAULT) };
        let index = self.pop();
        let (base, more) = self.base_and_constant(index);
        let remembers = self.settings.optimize
            && self.is_direct(memory, arg.offset, bytes)
            && !self.memory_plan(memory).may_move
            && self.leaves_gap(memory);
        if remembers {
            for known in self.accesses.known.iter().rev() {
                let further = u64::from(more.wrapping_sub(known.more));
                let reached = known.memory == memory && known.base == base && further < GAP;
                if let Some(offset) = i32::try_from(arg.offset + further).ok().filter(|_| reached) {
                    return (known.at, offset, self.heap(memory));
                }
            }
        }
        let extended = self.b.convert(Opcode::Uextend, types::I64, index);
        let place = self.place(memory, extended, arg.offset, bytes);
        if remembers {
            self.accesses.note(memory, base, more, place.0);
        }
        place
    }

    /// Whether an access that ends so far behind its index needs no check: what lies beyond the memory faults.
    fn is_direct(&self, memory: u32, offset: u64, bytes: u32) -> bool {
        let plan = self.memory_plan(memory);
        let end = offset.saturating_add(u64::from(bytes));
        let reach = (plan.reservation + plan.guard).saturating_sub(1 << 32);
        !plan.explicit_checks && end <= reach && offset <= i32::MAX as u64
    }

    /// Whether a memory never reaches the last bytes of its addresses. Of an imported one the type alone is known.
    fn leaves_gap(&self, memory: u32) -> bool {
        let ty = &self.info.module.memories[memory as usize].ty;
        let defined = memory >= self.info.module.imported.memories;
        ty.leaves_gap() && (defined || ty.maximum.is_some_and(|maximum| maximum == ty.limit_pages()))
    }

    /// A value of 32 bits as another one plus a constant.
    fn base_and_constant(&self, index: Value) -> (Value, u32) {
        let func = &self.b.func;
        let index = func.resolve(index);
        let data = func.insts[index];
        let of = |word| func.resolve(Value::from_u32(word));
        if data.opcode == Opcode::Iadd
            && let Some(more) = func.as_iconst(of(data.b))
        {
            return (of(data.a), more as u32);
        }
        (index, 0)
    }

    /// Address, constant offset and flags of an access of `bytes` bytes at a zero-extended index and an offset.
    pub(super) fn place(
        &mut self,
        memory: u32,
        index: Value,
        offset: u64,
        bytes: u32,
    ) -> (Value, i32, MemFlags) {
        let flags = self.heap(memory);
        let base = self.memory_base(memory);
        if self.is_direct(memory, offset, bytes) {
            return (self.b.binary(Opcode::Iadd, base, index), offset as i32, flags);
        }
        let len = self.memory_len(memory);
        let end = offset.saturating_add(u64::from(bytes));
        let end = if seeded_bug(6) { i64::from(bytes) } else { end as i64 };
        let end = self.b.iconst(types::I64, end);
        let end = self.b.binary(Opcode::Iadd, index, end);
        let outside = self.b.icmp(IntCC::Ugt, end, len);
        self.b.trapnz(outside, TrapCode::HEAP_OUT_OF_BOUNDS);
        let mut address = self.b.binary(Opcode::Iadd, base, index);
        if offset != 0 {
            let offset = self.b.iconst(types::I64, offset as i64);
            address = self.b.binary(Opcode::Iadd, address, offset);
        }
        if self.settings.spectre {
            let null = self.b.iconst(types::I64, 0);
            address = self.b.ternary(Opcode::SelectSpectreGuard, outside, null, address);
        }
        (address, 0, flags)
    }

    pub(super) fn load(&mut self, opcode: Opcode, ty: Type, bytes: u32, arg: &MemArg) -> Output {
        let (address, offset, flags) = self.address(arg, bytes);
        let value = self.b.load(opcode, ty, flags, address, offset);
        self.push(value);
        Ok(())
    }

    pub(super) fn store(&mut self, opcode: Opcode, bytes: u32, arg: &MemArg) -> Output {
        let value = self.pop();
        let (address, offset, flags) = self.address(arg, bytes);
        self.b.store(opcode, flags, value, address, offset);
        Ok(())
    }

    pub(super) fn memory_size(&mut self, memory: u32) -> Output {
        let len = self.memory_len(memory);
        let log2 = self.b.iconst(types::I64, PAGE_LOG2);
        let pages = self.b.binary(Opcode::Ushr, len, log2);
        let pages = self.b.convert(Opcode::Ireduce, types::I32, pages);
        self.push(pages);
        Ok(())
    }

    pub(super) fn memory_grow(&mut self, memory: u32) -> Output {
        let delta = self.pop_extended();
        let index = self.b.iconst(types::I32, i64::from(memory));
        self.push_builtin_i32(Builtin::MemoryGrow, &[index, delta]);
        Ok(())
    }

    /// Calls a builtin with an `i64` result that wasm sees as `i32`.
    pub(super) fn push_builtin_i32(&mut self, builtin: Builtin, args: &[Value]) {
        if let Some(result) = self.builtin(builtin, args) {
            let result = self.b.convert(Opcode::Ireduce, types::I32, result);
            self.push(result);
        }
    }

    /// Pops an `i32` and zero-extends it, as builtins want indices and lengths.
    pub(super) fn pop_extended(&mut self) -> Value {
        let value = self.pop();
        self.b.convert(Opcode::Uextend, types::I64, value)
    }

    /// Pops destination, source and length, in that order on the stack.
    pub(super) fn pop_ranges(&mut self) -> (Value, Value, Value) {
        let len = self.pop_extended();
        let source = self.pop_extended();
        let destination = self.pop_extended();
        (destination, source, len)
    }
}

//! Atomic accesses to linear memories, of the threads proposal.
//!
//! Needs addresses on the operand stack. The effective address, which has 33 bits, is tested for alignment before it is
//! tested for bounds; a constant one is tested here. Operands narrower than their type are wrapped first, `expected` too,
//! and what was in memory is zero-extended. The accesses belong to no region, so that nothing is forwarded or moved over
//! them: they order what the same thread does to every memory, and lengths of memories that others grow.

use super::tables::trap_code;
use super::{Output, Translator};
use sphex_artifact::Trap;
use sphex_artifact::builtins::Builtin;
use sphex_ir::{AtomicRmwOp, InstData, MemFlags, Opcode, Region, Type, Value, types};
use wasmparser::{MemArg, MemArgTarget};

/// What happens at an atomic operator that is reachable: one row each.
#[rustfmt::skip]
macro_rules! atomics {
    ($t:ident visit_memory_atomic_notify $m:ident) => { $t.atomic_notify(&$m) };
    ($t:ident visit_memory_atomic_wait32 $m:ident) => { $t.atomic_wait(Builtin::MemoryAtomicWait32, &$m) };
    ($t:ident visit_memory_atomic_wait64 $m:ident) => { $t.atomic_wait(Builtin::MemoryAtomicWait64, &$m) };
    ($t:ident visit_atomic_fence $o:ident) => {{ let _ = $o; $t.atomic_fence() }};
    ($t:ident visit_i32_atomic_load $m:ident) => { $t.atomic_load(types::I32, types::I32, &$m) };
    ($t:ident visit_i64_atomic_load $m:ident) => { $t.atomic_load(types::I64, types::I64, &$m) };
    ($t:ident visit_i32_atomic_load8_u $m:ident) => { $t.atomic_load(types::I8, types::I32, &$m) };
    ($t:ident visit_i32_atomic_load16_u $m:ident) => { $t.atomic_load(types::I16, types::I32, &$m) };
    ($t:ident visit_i64_atomic_load8_u $m:ident) => { $t.atomic_load(types::I8, types::I64, &$m) };
    ($t:ident visit_i64_atomic_load16_u $m:ident) => { $t.atomic_load(types::I16, types::I64, &$m) };
    ($t:ident visit_i64_atomic_load32_u $m:ident) => { $t.atomic_load(types::I32, types::I64, &$m) };
    ($t:ident visit_i32_atomic_store $m:ident) => { $t.atomic_store(types::I32, &$m) };
    ($t:ident visit_i64_atomic_store $m:ident) => { $t.atomic_store(types::I64, &$m) };
    ($t:ident visit_i32_atomic_store8 $m:ident) => { $t.atomic_store(types::I8, &$m) };
    ($t:ident visit_i32_atomic_store16 $m:ident) => { $t.atomic_store(types::I16, &$m) };
    ($t:ident visit_i64_atomic_store8 $m:ident) => { $t.atomic_store(types::I8, &$m) };
    ($t:ident visit_i64_atomic_store16 $m:ident) => { $t.atomic_store(types::I16, &$m) };
    ($t:ident visit_i64_atomic_store32 $m:ident) => { $t.atomic_store(types::I32, &$m) };
    ($t:ident visit_i32_atomic_rmw_add $m:ident) => { $t.atomic_rmw(AtomicRmwOp::Add, types::I32, &$m) };
    ($t:ident visit_i64_atomic_rmw_add $m:ident) => { $t.atomic_rmw(AtomicRmwOp::Add, types::I64, &$m) };
    ($t:ident visit_i32_atomic_rmw8_add_u $m:ident) => { $t.atomic_rmw(AtomicRmwOp::Add, types::I8, &$m) };
    ($t:ident visit_i32_atomic_rmw16_add_u $m:ident) => { $t.atomic_rmw(AtomicRmwOp::Add, types::I16, &$m) };
    ($t:ident visit_i64_atomic_rmw8_add_u $m:ident) => { $t.atomic_rmw(AtomicRmwOp::Add, types::I8, &$m) };
    ($t:ident visit_i64_atomic_rmw16_add_u $m:ident) => { $t.atomic_rmw(AtomicRmwOp::Add, types::I16, &$m) };
    ($t:ident visit_i64_atomic_rmw32_add_u $m:ident) => { $t.atomic_rmw(AtomicRmwOp::Add, types::I32, &$m) };
    ($t:ident visit_i32_atomic_rmw_sub $m:ident) => { $t.atomic_rmw(AtomicRmwOp::Sub, types::I32, &$m) };
    ($t:ident visit_i64_atomic_rmw_sub $m:ident) => { $t.atomic_rmw(AtomicRmwOp::Sub, types::I64, &$m) };
    ($t:ident visit_i32_atomic_rmw8_sub_u $m:ident) => { $t.atomic_rmw(AtomicRmwOp::Sub, types::I8, &$m) };
    ($t:ident visit_i32_atomic_rmw16_sub_u $m:ident) => { $t.atomic_rmw(AtomicRmwOp::Sub, types::I16, &$m) };
    ($t:ident visit_i64_atomic_rmw8_sub_u $m:ident) => { $t.atomic_rmw(AtomicRmwOp::Sub, types::I8, &$m) };
    ($t:ident visit_i64_atomic_rmw16_sub_u $m:ident) => { $t.atomic_rmw(AtomicRmwOp::Sub, types::I16, &$m) };
    ($t:ident visit_i64_atomic_rmw32_sub_u $m:ident) => { $t.atomic_rmw(AtomicRmwOp::Sub, types::I32, &$m) };
    ($t:ident visit_i32_atomic_rmw_and $m:ident) => { $t.atomic_rmw(AtomicRmwOp::And, types::I32, &$m) };
    ($t:ident visit_i64_atomic_rmw_and $m:ident) => { $t.atomic_rmw(AtomicRmwOp::And, types::I64, &$m) };
    ($t:ident visit_i32_atomic_rmw8_and_u $m:ident) => { $t.atomic_rmw(AtomicRmwOp::And, types::I8, &$m) };
    ($t:ident visit_i32_atomic_rmw16_and_u $m:ident) => { $t.atomic_rmw(AtomicRmwOp::And, types::I16, &$m) };
    ($t:ident visit_i64_atomic_rmw8_and_u $m:ident) => { $t.atomic_rmw(AtomicRmwOp::And, types::I8, &$m) };
    ($t:ident visit_i64_atomic_rmw16_and_u $m:ident) => { $t.atomic_rmw(AtomicRmwOp::And, types::I16, &$m) };
    ($t:ident visit_i64_atomic_rmw32_and_u $m:ident) => { $t.atomic_rmw(AtomicRmwOp::And, types::I32, &$m) };
    ($t:ident visit_i32_atomic_rmw_or $m:ident) => { $t.atomic_rmw(AtomicRmwOp::Or, types::I32, &$m) };
    ($t:ident visit_i64_atomic_rmw_or $m:ident) => { $t.atomic_rmw(AtomicRmwOp::Or, types::I64, &$m) };
    ($t:ident visit_i32_atomic_rmw8_or_u $m:ident) => { $t.atomic_rmw(AtomicRmwOp::Or, types::I8, &$m) };
    ($t:ident visit_i32_atomic_rmw16_or_u $m:ident) => { $t.atomic_rmw(AtomicRmwOp::Or, types::I16, &$m) };
    ($t:ident visit_i64_atomic_rmw8_or_u $m:ident) => { $t.atomic_rmw(AtomicRmwOp::Or, types::I8, &$m) };
    ($t:ident visit_i64_atomic_rmw16_or_u $m:ident) => { $t.atomic_rmw(AtomicRmwOp::Or, types::I16, &$m) };
    ($t:ident visit_i64_atomic_rmw32_or_u $m:ident) => { $t.atomic_rmw(AtomicRmwOp::Or, types::I32, &$m) };
    ($t:ident visit_i32_atomic_rmw_xor $m:ident) => { $t.atomic_rmw(AtomicRmwOp::Xor, types::I32, &$m) };
    ($t:ident visit_i64_atomic_rmw_xor $m:ident) => { $t.atomic_rmw(AtomicRmwOp::Xor, types::I64, &$m) };
    ($t:ident visit_i32_atomic_rmw8_xor_u $m:ident) => { $t.atomic_rmw(AtomicRmwOp::Xor, types::I8, &$m) };
    ($t:ident visit_i32_atomic_rmw16_xor_u $m:ident) => { $t.atomic_rmw(AtomicRmwOp::Xor, types::I16, &$m) };
    ($t:ident visit_i64_atomic_rmw8_xor_u $m:ident) => { $t.atomic_rmw(AtomicRmwOp::Xor, types::I8, &$m) };
    ($t:ident visit_i64_atomic_rmw16_xor_u $m:ident) => { $t.atomic_rmw(AtomicRmwOp::Xor, types::I16, &$m) };
    ($t:ident visit_i64_atomic_rmw32_xor_u $m:ident) => { $t.atomic_rmw(AtomicRmwOp::Xor, types::I32, &$m) };
    ($t:ident visit_i32_atomic_rmw_xchg $m:ident) => { $t.atomic_rmw(AtomicRmwOp::Xchg, types::I32, &$m) };
    ($t:ident visit_i64_atomic_rmw_xchg $m:ident) => { $t.atomic_rmw(AtomicRmwOp::Xchg, types::I64, &$m) };
    ($t:ident visit_i32_atomic_rmw8_xchg_u $m:ident) => { $t.atomic_rmw(AtomicRmwOp::Xchg, types::I8, &$m) };
    ($t:ident visit_i32_atomic_rmw16_xchg_u $m:ident) => { $t.atomic_rmw(AtomicRmwOp::Xchg, types::I16, &$m) };
    ($t:ident visit_i64_atomic_rmw8_xchg_u $m:ident) => { $t.atomic_rmw(AtomicRmwOp::Xchg, types::I8, &$m) };
    ($t:ident visit_i64_atomic_rmw16_xchg_u $m:ident) => { $t.atomic_rmw(AtomicRmwOp::Xchg, types::I16, &$m) };
    ($t:ident visit_i64_atomic_rmw32_xchg_u $m:ident) => { $t.atomic_rmw(AtomicRmwOp::Xchg, types::I32, &$m) };
    ($t:ident visit_i32_atomic_rmw_cmpxchg $m:ident) => { $t.atomic_cas(types::I32, &$m) };
    ($t:ident visit_i64_atomic_rmw_cmpxchg $m:ident) => { $t.atomic_cas(types::I64, &$m) };
    ($t:ident visit_i32_atomic_rmw8_cmpxchg_u $m:ident) => { $t.atomic_cas(types::I8, &$m) };
    ($t:ident visit_i32_atomic_rmw16_cmpxchg_u $m:ident) => { $t.atomic_cas(types::I16, &$m) };
    ($t:ident visit_i64_atomic_rmw8_cmpxchg_u $m:ident) => { $t.atomic_cas(types::I8, &$m) };
    ($t:ident visit_i64_atomic_rmw16_cmpxchg_u $m:ident) => { $t.atomic_cas(types::I16, &$m) };
    ($t:ident visit_i64_atomic_rmw32_cmpxchg_u $m:ident) => { $t.atomic_cas(types::I32, &$m) };
}
pub(super) use atomics;

/// The memory of an access. There is one: the operator was validated.
fn memory_of(arg: &MemArg) -> u32 {
    match arg.target {
        MemArgTarget::Memory(memory) => memory,
        _ => 0,
    }
}

impl Translator<'_, '_, '_> {
    /// Pops an index; gives the address of an atomic access of this type, and its flags.
    fn atomic_address(&mut self, access: Type, arg: &MemArg) -> (Value, MemFlags) {
        let index = self.pop_extended();
        self.check_alignment(index, arg.offset, access.bytes());
        let (address, offset, flags) = self.place(memory_of(arg), index, arg.offset, access.bytes());
        // Offsets of accesses are not negative.
        let address = self.offset(address, offset as u32);
        (address, flags.with_region(Region::NONE))
    }

    /// Traps if `index + offset`, which does not wrap, is no multiple of `bytes`.
    fn check_alignment(&mut self, index: Value, offset: u64, bytes: u32) {
        if bytes == 1 {
            return;
        }
        let mask = u64::from(bytes) - 1;
        let low = match offset & mask {
            0 => index,
            low => {
                let low = self.b.iconst(types::I64, low as i64);
                self.b.binary(Opcode::Iadd, index, low)
            }
        };
        let mask = self.b.iconst(types::I64, mask as i64);
        let rest = self.b.binary(Opcode::Band, low, mask);
        if self.b.func.as_iconst(rest) == Some(0) {
            return;
        }
        let zero = self.b.iconst(types::I64, 0);
        let misaligned = self.b.icmp(sphex_ir::IntCC::Ne, rest, zero);
        self.b.trapnz(misaligned, trap_code(Trap::HeapMisaligned));
    }

    /// A value of the stack, at the width of the access.
    fn wrap(&mut self, value: Value, access: Type) -> Value {
        if self.b.func.type_of(value) == access {
            return value;
        }
        self.b.convert(Opcode::Ireduce, access, value)
    }

    /// What was in memory, as a value of the stack.
    fn push_widened(&mut self, value: Value, ty: Type) {
        let value = match self.b.func.type_of(value) == ty {
            true => value,
            false => self.b.convert(Opcode::Uextend, ty, value),
        };
        self.push(value);
    }

    pub(super) fn atomic_load(&mut self, access: Type, ty: Type, arg: &MemArg) -> Output {
        let (address, flags) = self.atomic_address(access, arg);
        let value = self.b.atomic_load(access, flags, address);
        self.push_widened(value, ty);
        Ok(())
    }

    pub(super) fn atomic_store(&mut self, access: Type, arg: &MemArg) -> Output {
        let value = self.pop();
        let value = self.wrap(value, access);
        let (address, flags) = self.atomic_address(access, arg);
        let flags = self.b.func.intern_flags(flags);
        let (value, address) = (value.as_u32(), address.as_u32());
        self.b.effect(InstData::new(Opcode::AtomicStore, types::INVALID, value, address, 0).with_aux(flags));
        Ok(())
    }

    pub(super) fn atomic_rmw(&mut self, op: AtomicRmwOp, access: Type, arg: &MemArg) -> Output {
        let x = self.pop();
        let ty = self.b.func.type_of(x);
        let x = self.wrap(x, access);
        let (address, flags) = self.atomic_address(access, arg);
        let flags = self.b.func.intern_flags(flags);
        let (address, x) = (address.as_u32(), x.as_u32());
        let data = InstData::new(Opcode::AtomicRmw, access, address, x, op as u32).with_aux(flags);
        let old = self.b.effect(data);
        self.push_widened(old, ty);
        Ok(())
    }

    pub(super) fn atomic_cas(&mut self, access: Type, arg: &MemArg) -> Output {
        let new = self.pop();
        let ty = self.b.func.type_of(new);
        let new = self.wrap(new, access);
        let expected = self.pop();
        let expected = self.wrap(expected, access);
        let (address, flags) = self.atomic_address(access, arg);
        let flags = self.b.func.intern_flags(flags);
        let (address, expected, new) = (address.as_u32(), expected.as_u32(), new.as_u32());
        let data = InstData::new(Opcode::AtomicCas, access, address, expected, new).with_aux(flags);
        let old = self.b.effect(data);
        self.push_widened(old, ty);
        Ok(())
    }

    pub(super) fn atomic_fence(&mut self) -> Output {
        self.b.effect(InstData::new(Opcode::Fence, types::INVALID, 0, 0, 0));
        Ok(())
    }

    /// Pops an index; gives the memory's number and the effective address, for the runtime to check.
    fn effective_address(&mut self, arg: &MemArg) -> (Value, Value) {
        let index = self.pop_extended();
        // A memory of 32-bit addresses has offsets of 32 bits.
        let address = self.offset(index, arg.offset as u32);
        (self.b.iconst(types::I32, i64::from(memory_of(arg))), address)
    }

    pub(super) fn atomic_notify(&mut self, arg: &MemArg) -> Output {
        let count = self.pop();
        let (memory, address) = self.effective_address(arg);
        self.push_builtin_i32(Builtin::MemoryAtomicNotify, &[memory, address, count]);
        Ok(())
    }

    pub(super) fn atomic_wait(&mut self, builtin: Builtin, arg: &MemArg) -> Output {
        let timeout = self.pop();
        let expected = self.pop();
        let (memory, address) = self.effective_address(arg);
        self.push_builtin_i32(builtin, &[memory, address, expected, timeout]);
        Ok(())
    }
}

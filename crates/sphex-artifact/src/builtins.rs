//! Functions of the runtime that compiled code calls.
//!
//! One table, read by both sides: the compiler takes a row's signature and index, the runtime fills an array of code
//! pointers in the same order and puts its address in every vmctx (`VmHeader.builtins`). All are called with the
//! platform's C convention (`system_v` here), their first argument is always the vmctx, and they return only if they
//! did not trap. Indices, addresses and lengths are passed as 64-bit values whatever the memory's or table's own type
//! is; a 32-bit one is zero-extended by the caller. The order may change between builds: the build id binds both sides.

/// The type of a builtin's argument or result.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// 32-bit integer.
    I32,
    /// 64-bit integer.
    I64,
    /// A pointer of the host: a function reference, or into a memory.
    Pointer,
    /// 32-bit float.
    F32,
    /// 64-bit float.
    F64,
}

/// One row of the table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Row {
    /// The builtin.
    pub builtin: Builtin,
    /// Its name.
    pub name: &'static str,
    /// Types of the arguments after the vmctx.
    pub params: &'static [Kind],
    /// Type of the result.
    pub result: Option<Kind>,
    /// Can it return? `false`: it always traps.
    pub returns: bool,
}

macro_rules! builtins {
    (@returns !) => { false };
    (@returns $kind:ident) => { true };
    (@returns) => { true };
    (@result !) => { None };
    (@result $kind:ident) => { Some(Kind::$kind) };
    (@result) => { None };
    ($($(#[doc = $doc:literal])+ $variant:ident $name:ident ($($arg:ident: $kind:ident),*) $(-> $result:tt)?;)+) => {
        /// A function of the runtime that compiled code calls. Its discriminant is its index in the table.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        #[repr(u32)]
        pub enum Builtin {
            $($(#[doc = $doc])+ $variant,)+
        }

        /// All builtins, in the order of their indices.
        pub const BUILTINS: &[Row] = &[
            $(Row {
                builtin: Builtin::$variant,
                name: stringify!($name),
                params: &[$(Kind::$kind),*],
                result: builtins!(@result $($result)?),
                returns: builtins!(@returns $($result)?),
            },)+
        ];
    };
}

builtins! {
    /// Grows a memory by `delta` pages. Gives the old size in pages, or -1.
    MemoryGrow memory_grow(memory: I32, delta: I64) -> I64;
    /// `memory.copy`; traps out of bounds before it writes.
    MemoryCopy memory_copy(dst_memory: I32, src_memory: I32, dst: I64, src: I64, len: I64);
    /// `memory.fill` with the low byte of `value`.
    MemoryFill memory_fill(memory: I32, dst: I64, value: I32, len: I64);
    /// The bytes of a `memory.copy` whose bounds were checked. A leaf, where the runtime need not see to the pages.
    MemoryMove memory_move(dst: Pointer, src: Pointer, len: I64);
    /// The bytes of a `memory.fill` whose bounds were checked. A leaf as well.
    MemorySet memory_set(dst: Pointer, value: I32, len: I64);
    /// `memory.init` from a data segment.
    MemoryInit memory_init(memory: I32, data: I32, dst: I64, src: I64, len: I64);
    /// `data.drop`.
    DataDrop data_drop(data: I32);
    /// `table.grow` of functions. Gives the old size, or -1.
    TableGrowFunc table_grow_func(table: I32, delta: I64, init: Pointer) -> I64;
    /// `table.grow` of host references. Gives the old size, or -1.
    TableGrowExtern table_grow_extern(table: I32, delta: I64, init: I32) -> I64;
    /// `table.fill` of functions.
    TableFillFunc table_fill_func(table: I32, dst: I64, value: Pointer, len: I64);
    /// `table.fill` of host references.
    TableFillExtern table_fill_extern(table: I32, dst: I64, value: I32, len: I64);
    /// `table.copy`.
    TableCopy table_copy(dst_table: I32, src_table: I32, dst: I64, src: I64, len: I64);
    /// `table.init` from an element segment.
    TableInit table_init(table: I32, element: I32, dst: I64, src: I64, len: I64);
    /// `elem.drop`.
    ElemDrop elem_drop(element: I32);
    /// The stack pointer is at or below `VmStore.limit`: stack overflow, interruption, or nothing (returns).
    LimitHit limit_hit();
    /// `VmStore.fuel` ran out; returns if the store had more.
    OutOfFuel out_of_fuel();
    /// Raises the trap of this code.
    Trap trap(code: I32) -> !;
    /// Rounds up, for a CPU without the instruction.
    CeilF32 ceil_f32(x: F32) -> F32;
    /// Rounds up, for a CPU without the instruction.
    CeilF64 ceil_f64(x: F64) -> F64;
    /// Rounds down, for a CPU without the instruction.
    FloorF32 floor_f32(x: F32) -> F32;
    /// Rounds down, for a CPU without the instruction.
    FloorF64 floor_f64(x: F64) -> F64;
    /// Rounds towards zero, for a CPU without the instruction.
    TruncF32 trunc_f32(x: F32) -> F32;
    /// Rounds towards zero, for a CPU without the instruction.
    TruncF64 trunc_f64(x: F64) -> F64;
    /// Rounds to nearest, ties to even, for a CPU without the instruction.
    NearestF32 nearest_f32(x: F32) -> F32;
    /// Rounds to nearest, ties to even, for a CPU without the instruction.
    NearestF64 nearest_f64(x: F64) -> F64;
    /// `x * y + z` rounded once, for a CPU without the instruction.
    FmaF32 fma_f32(x: F32, y: F32, z: F32) -> F32;
    /// `x * y + z` rounded once, for a CPU without the instruction.
    FmaF64 fma_f64(x: F64, y: F64, z: F64) -> F64;
    /// `memory.atomic.notify` at an effective address. Gives how many it woke.
    MemoryAtomicNotify memory_atomic_notify(memory: I32, address: I64, count: I32) -> I64;
    /// `memory.atomic.wait32` at an effective address, for so many nanoseconds or, if they are negative, for ever.
    MemoryAtomicWait32 memory_atomic_wait32(memory: I32, address: I64, expected: I32, timeout: I64) -> I64;
    /// `memory.atomic.wait64`, likewise.
    MemoryAtomicWait64 memory_atomic_wait64(memory: I32, address: I64, expected: I64, timeout: I64) -> I64;
}

impl Builtin {
    /// Position in the table, and in the runtime's array of code pointers.
    pub const fn index(self) -> u32 {
        self as u32
    }

    /// Byte offset of its code pointer from `VmHeader.builtins`.
    pub const fn offset(self) -> u32 {
        self as u32 * 8
    }

    /// Its row.
    pub const fn row(self) -> &'static Row {
        &BUILTINS[self as usize]
    }

    /// The builtin at this position.
    pub fn from_index(index: u32) -> Option<Builtin> {
        BUILTINS.get(usize::try_from(index).ok()?).map(|row| row.builtin)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_stand_at_their_index_and_fit_registers() {
        for (i, row) in BUILTINS.iter().enumerate() {
            assert_eq!(row.builtin.index() as usize, i);
            assert_eq!(Builtin::from_index(i as u32), Some(row.builtin));
            // vmctx and five more: no stack arguments in the C conventions of our targets.
            assert!(row.params.len() <= 5, "{}", row.name);
        }
        assert!(!Builtin::Trap.row().returns);
        assert!(Builtin::LimitHit.row().returns && Builtin::LimitHit.row().result.is_none());
        assert_eq!(Builtin::MemoryGrow.row().result, Some(Kind::I64));
        assert_eq!(Builtin::from_index(BUILTINS.len() as u32), None);
    }
}

//! What the emitter says about the code beside its bytes.
//!
//! Needs: nothing. Gives: the record types that a [`CodeBuffer`](crate::buffer::CodeBuffer) collects and that the linker,
//! the unwind tables and the runtime read. Offsets are bytes from the start of the buffer's code; each list comes out
//! sorted by offset, because emission only moves forward. Trap codes, locations and symbols are opaque here.

use crate::register::Reg;

/// Something with an address that is not in this buffer: a function or a datum, by the emitter's own numbering.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Symbol(pub u32);

/// How a relocated field is computed. `S` is the target's address, `A` the addend, `P` the field's own address.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum RelocationKind {
    /// Four bytes, `S + A - P`, of a direct call or jump (the linker may go through a stub).
    Call4,
    /// Four bytes, `S + A - P`.
    PcRel4,
    /// Four bytes, the distance to the target's slot in the global offset table, `G + A - P`.
    GotPcRel4,
    /// Eight bytes, `S + A`.
    Abs8,
    /// The 26 bits of an AArch64 `b` or `bl`, in words, `S + A - P` (the linker may go through a stub).
    A64Call,
    /// The 21 bits of an AArch64 `adrp`, in pages of 4 KiB, from `P`'s page to that of `S + A`.
    A64Page,
    /// The 12 bits of an AArch64 `add`: where in its page `S + A` is.
    A64Low12,
    /// As [`RelocationKind::A64Page`], of the target's slot in the global offset table.
    A64GotPage,
    /// The 12 bits of an AArch64 load of eight bytes: where in its page that slot is.
    A64GotLow12,
}

/// What a relocation refers to.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum RelocationTarget {
    /// A symbol of the emitter's.
    Symbol(Symbol),
    /// A byte offset in the buffer's constant pool (only if the pool is not placed after the code).
    Constant(u32),
}

/// A field that only the linker can fill.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Relocation {
    /// Where the field is.
    pub offset: u32,
    /// How it is computed.
    pub kind: RelocationKind,
    /// What it refers to.
    pub target: RelocationTarget,
    /// The addend `A`.
    pub addend: i64,
}

/// An instruction that can fault, at its first byte.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct TrapRecord {
    /// The instruction's first byte.
    pub offset: u32,
    /// What its fault means.
    pub code: u8,
}

/// From here on, code comes from this source location (until the next record).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct LocationRecord {
    /// First byte the location holds for.
    pub offset: u32,
    /// The location; its meaning is the emitter's.
    pub location: u32,
}

/// A call or another safepoint, at the byte after the instruction (the return address).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct CallRecord {
    /// The return address.
    pub offset: u32,
    /// The emitter's number for what is live here.
    pub safepoint: u32,
}

/// One step of a frame's life, true from the byte after the instruction that made it so.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct UnwindRecord {
    /// First byte for which the step is true.
    pub offset: u32,
    /// The step.
    pub op: UnwindOp,
}

/// What happened to the frame.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum UnwindOp {
    /// Before the frame pointer is pushed: the return address is this many bytes above the stack pointer.
    ReturnAddressAt(u32),
    /// The frame pointer was pushed: the stack is one word deeper and the caller's frame pointer is on its top.
    PushFramePointer,
    /// The frame pointer is the stack pointer from here on, and the frame is found through it.
    SetFramePointer,
    /// The caller's value of a register stands at frame pointer plus `offset` bytes (negative: below).
    SaveRegister {
        /// Whose value.
        register: Reg,
        /// Bytes from the frame pointer.
        offset: i32,
    },
    /// The stack pointer went down by this many bytes.
    AllocateStack(u32),
    /// An epilogue begins: remember the state, it holds again after [`UnwindOp::EndEpilogue`].
    BeginEpilogue,
    /// The frame pointer was popped: only the return address is left (and, in `stack_args` bytes above it, arguments).
    PopFramePointer,
    /// The instruction that ends an epilogue is past: what was true at [`UnwindOp::BeginEpilogue`] is true again.
    EndEpilogue,
}

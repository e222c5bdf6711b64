//! The frame: every offset in it, computed once after register allocation.
//!
//! Needs: the machine function and its allocation. Gives: [`Frame`], which emission and unwinding read.
//!
//! From high addresses to low, in x86-64's names; `rbp` points at the caller's, always, so that frames can be walked. On
//! AArch64 the frame pointer and the link register stand in the two words, and a return pops by adding to the stack
//! pointer; what is below is addressed upwards from there.
//!
//! ```text
//!   rbp + 16 + growth   incoming stack arguments
//!   rbp + 16            room that a tail call with more stack arguments than this function's own needs
//!   rbp + 8             return address
//!   rbp                 the caller's rbp
//!   rbp - 8             vmctx, if it is reloaded somewhere
//!                       saved registers
//!                       spill slots
//!                       stack slots
//!   rsp                 stack arguments of calls, reserved once
//! ```
//!
//! F1. `rsp` moves only in the prologue, in epilogues, and by what a callee pops (moved back at once).
//! F2. At a call `rsp` is a multiple of 16: the caller's was, and the frame's size is one.
//! F3. If a stack slot wants more than 16 bytes of alignment, `rsp` is rounded down to it after the frame is reserved,
//!     and stack slots are found from `rsp`, at multiples of their alignment; all else is found from `rbp`.
//! F4. The incoming area and the growth together hold the stack arguments of every tail call, at their end: the caller's
//!     frame above stays where it is, because the callee pops what lies there.

use crate::abi::{Place, Placement};
use crate::error::CodegenError;
use crate::machine::{MachineFunction, Slot};
use smallvec::SmallVec;
use sphex_artifact::builtins::Builtin;
use sphex_asm::register::{Reg, RegClass, RegSet};
use sphex_entity::SecondaryMap;
use sphex_ir::{Function, GlobalValue, GlobalValueData, Purpose};

/// Most bytes of a frame.
pub const FRAME_LIMIT: u32 = 1 << 30;

/// How the stack limit is found at entry: loaded from the base register plus the first offset, from that plus the second,
/// and so on; what is loaded last is the limit.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct StackLimit {
    /// Where the chain begins.
    pub base: Reg,
    /// Offsets of loads. Empty: the base is the limit.
    pub loads: SmallVec<[i32; 4]>,
    /// What happens where it is reached.
    pub action: LimitAction,
}

/// What happens where the stack limit is reached.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum LimitAction {
    /// A trap.
    Trap,
    /// A call of the runtime, which may come back: its address is loaded from the vmctx register plus the first offset,
    /// then from that plus the second.
    Builtin(i32, i32),
}

/// Where everything of a frame is.
#[derive(Debug, Default)]
pub struct Frame {
    /// Bytes below the saved `rbp`, a multiple of 16.
    pub size: u32,
    /// Alignment of `rsp` beyond 16, or 0 (F3).
    pub realign: u32,
    /// Saved registers and where, from `rbp`.
    pub saved: SmallVec<[(Reg, i32); 6]>,
    /// Where vmctx is, from `rbp`.
    pub vmctx: Option<i32>,
    /// Where spill slot 0 is, from `rbp`; slots lie upwards.
    pub spills: i32,
    /// Where stack slots are: from `rsp` under `realign`, else from `rbp`.
    pub slots: SecondaryMap<Slot, i32>,
    /// Bytes of the incoming area.
    pub incoming: u32,
    /// Bytes that the return address moves down at entry (F4).
    pub growth: u32,
    /// Bytes that a return pops.
    pub pops: u32,
}

impl Frame {
    /// Where the incoming area begins, from `rbp`.
    pub const fn incoming_base(&self) -> i32 {
        16 + self.growth as i32
    }

    /// Where the stack arguments of a tail call with so many bytes of them begin, from `rbp` (F4).
    pub const fn tail_base(&self, bytes: u32) -> i32 {
        16 + (self.growth + self.incoming) as i32 - bytes as i32
    }
}

/// Lays out the frame. `written` is every register that the function writes.
pub fn layout(
    func: &MachineFunction,
    placement: &Placement,
    written: RegSet,
    spill_words: u32,
) -> Result<Frame, CodegenError> {
    let convention = placement.convention;
    let mut frame = Frame { incoming: placement.stack_bytes, ..Frame::default() };
    if convention.callee_pops {
        frame.growth = func.tail_bytes.saturating_sub(frame.incoming);
        frame.pops = frame.incoming + frame.growth;
    }
    let mut down = 0u64;
    let lost = |vmctx| func.calls.values().any(|call| call.clobbers.contains(vmctx));
    if func.reloads_vmctx || convention.vmctx.is_some_and(lost) {
        down += 8;
        frame.vmctx = Some(-8);
    }
    let saved = written.intersection(convention.callee_saved).difference(convention.frame);
    let result = |reg: Reg| placement.returns.contains(&Place::Reg(reg));
    let saved = saved.iter().filter(|&reg| Some(reg) != convention.vmctx && !result(reg));
    for reg in saved {
        let bytes = if reg.class() == RegClass::Int { 8 } else { 16 };
        down = (down + bytes).next_multiple_of(bytes);
        frame.saved.push((reg, -(down as i32)));
    }
    let wide = u64::from(func.wide_vectors) + 1;
    down = (down + 8 * u64::from(spill_words)).next_multiple_of(8 * wide);
    check(down)?;
    frame.spills = -(down as i32);
    place_slots(func, &mut frame, down)?;
    Ok(frame)
}

fn check(found: u64) -> Result<(), CodegenError> {
    if found > u64::from(FRAME_LIMIT) {
        return Err(CodegenError::FrameTooLarge { found, limit: FRAME_LIMIT });
    }
    Ok(())
}

/// Stack slots below `down` bytes, then the outgoing area.
fn place_slots(func: &MachineFunction, frame: &mut Frame, mut down: u64) -> Result<(), CodegenError> {
    let outgoing = u64::from(func.outgoing_bytes);
    let widest = func.slots.values().map(|slot| 1u64 << slot.align_shift.min(31)).max().unwrap_or(1);
    if widest > 16 {
        // Upwards from rsp, past the outgoing area.
        let mut up = outgoing;
        for (slot, data) in func.slots.iter() {
            up = up.next_multiple_of(1 << data.align_shift.clamp(3, 31));
            check(up)?;
            frame.slots[slot] = up as i32;
            up += u64::from(data.size);
        }
        let size = (up.next_multiple_of(16) + down).next_multiple_of(16);
        // Rounding rsp down takes at most `widest - 16` bytes more, which belong to the frame's reach.
        check(size + widest)?;
        (frame.size, frame.realign) = (size as u32, widest as u32);
        return Ok(());
    }
    for (slot, data) in func.slots.iter() {
        let align = 1u64 << data.align_shift.clamp(3, 4);
        down = (down + u64::from(data.size)).next_multiple_of(align);
        check(down)?;
        frame.slots[slot] = -(down as i32);
    }
    let size = (down + outgoing).next_multiple_of(16);
    check(size)?;
    frame.size = size as u32;
    Ok(())
}

/// The function's stack limit, as code at entry can compute it.
pub fn stack_limit(func: &Function, placement: &Placement) -> Result<Option<StackLimit>, CodegenError> {
    let Some(mut value) = func.stack_limit else { return Ok(None) };
    let mut loads = SmallVec::<[i32; 4]>::new();
    // A chain longer than the function has global values would be a cycle.
    for _ in 0..=func.global_values.len() {
        match &func.global_values[value] {
            GlobalValueData::Load { base, offset, .. } => {
                loads.push(*offset);
                value = *base;
            }
            GlobalValueData::IaddImm { base, offset, .. } => {
                value = fold_offset(&mut loads, *base, *offset)?;
            }
            GlobalValueData::VmContext => {
                let at = func.signature.special_param(Purpose::VmContext);
                let base = match at.map(|k| placement.params[k]) {
                    Some(Place::Reg(reg) | Place::Pinned(reg)) => reg,
                    Some(Place::Memory(_)) => {
                        return Err(CodegenError::StackLimit("vmctx is not in a register at entry"));
                    }
                    None => return Err(CodegenError::StackLimit("the function has no vmctx parameter")),
                };
                loads.reverse();
                let pinned = placement.convention.vmctx.is_some();
                let action = if pinned { runtime_call() } else { LimitAction::Trap };
                return Ok(Some(StackLimit { base, loads, action }));
            }
            GlobalValueData::Symbol { .. } => {
                return Err(CodegenError::StackLimit("a symbol is not supported as its base"));
            }
        }
    }
    Err(CodegenError::StackLimit("its global values form a cycle"))
}

/// `base + offset` in the chain: the offset joins that of the load made from it.
fn fold_offset(
    loads: &mut SmallVec<[i32; 4]>,
    base: GlobalValue,
    offset: i64,
) -> Result<GlobalValue, CodegenError> {
    let load = loads.last_mut().ok_or(CodegenError::StackLimit("the limit must be loaded from memory"))?;
    *load = i32::try_from(i64::from(*load) + offset)
        .map_err(|_| CodegenError::StackLimit("an offset is larger than 2 GiB"))?;
    Ok(base)
}

fn runtime_call() -> LimitAction {
    let table = sphex_artifact::vmctx::header::BUILTINS;
    LimitAction::Builtin(table as i32, Builtin::LimitHit.offset() as i32)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::abi::place;
    use crate::settings::Arch;
    use sphex_asm::x64::operand::gpr;
    use sphex_ir::types::I64;
    use sphex_ir::{AbiParam, CallConv, Signature};

    fn placed(conv: CallConv, params: usize) -> Placement {
        let params = vec![AbiParam::new(I64); params];
        place(Arch::X64, &Signature { params, returns: Vec::new(), call_conv: conv }).unwrap()
    }

    #[test]
    fn everything_has_its_own_bytes() {
        let mut func = MachineFunction::new();
        let (a, b) = (func.add_slot(12, 2), func.add_slot(16, 4));
        func.outgoing_bytes = 32;
        func.reloads_vmctx = true;
        let written = RegSet::of(&[gpr::RBX, gpr::RAX, gpr::R12]);
        let frame = layout(&func, &placed(CallConv::SystemV, 8), written, 3).unwrap();
        assert_eq!(frame.saved.as_slice(), [(gpr::RBX, -16), (gpr::R12, -24)]);
        assert_eq!((frame.vmctx, frame.spills), (Some(-8), -48));
        assert_eq!((frame.slots[a], frame.slots[b], frame.size), (-64, -80, 112));
        assert_eq!((frame.growth, frame.pops, frame.incoming_base()), (0, 0, 16));
    }

    #[test]
    fn a_large_alignment_is_counted_from_the_stack_pointer() {
        let mut func = MachineFunction::new();
        let (a, b) = (func.add_slot(8, 3), func.add_slot(64, 6));
        func.outgoing_bytes = 16;
        let frame = layout(&func, &placed(CallConv::SystemV, 0), RegSet::EMPTY, 1).unwrap();
        assert_eq!((frame.slots[a], frame.slots[b], frame.realign), (16, 64, 64));
        assert_eq!((frame.spills, frame.size), (-8, 144));
    }

    #[test]
    fn a_tail_call_with_more_arguments_grows_the_area() {
        let mut func = MachineFunction::new();
        func.tail_bytes = 64;
        let frame = layout(&func, &placed(CallConv::Tail, 8), RegSet::EMPTY, 0).unwrap();
        assert_eq!((frame.incoming, frame.growth, frame.pops), (16, 48, 64));
        assert_eq!((frame.incoming_base(), frame.tail_base(64), frame.tail_base(16)), (64, 16, 64));
    }

    #[test]
    fn more_than_a_gibibyte_is_an_error() {
        let mut func = MachineFunction::new();
        func.add_slot(u32::MAX, 0);
        func.add_slot(u32::MAX, 0);
        let found = layout(&func, &placed(CallConv::Tail, 0), RegSet::EMPTY, 0);
        assert!(matches!(found, Err(CodegenError::FrameTooLarge { .. })), "{found:?}");
    }
}

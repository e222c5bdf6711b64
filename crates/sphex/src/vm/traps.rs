//! Faults of compiled code: from the signal to a trap.
//!
//! The handler looks the pc up (no lock, nothing allocated), and sends the thread to the `fault` stub, on the stack of the
//! faulting wasm, below its frames. There, outside the handler, ordinary code notes the trap and its backtrace; the
//! limit at function entries has left room for it.
//!
//! The check of a loop is such a fault, too, so that it takes no register from what lives across it. Wasm may go on from
//! it: the `pause` stub saves every register, asks [`note_pause`], and returns behind the faulting instruction. So is the
//! check of fuel, where a part of a store's fuel is used up and an async call is to give others a turn.

use sphex_artifact::Trap;
use sphex_artifact::sections::{FrameState, Kind};
use sphex_artifact::vmctx::{VmHeader, VmStore};

use super::activation;
use super::async_call::suspend_for_yield;
use super::builtins;
use super::code::with_code_at;
use super::fiber;
use super::store::{Pending, StoreInner, TRAP_PENDING};
use super::stubs;
use super::sys::signals::{self, Context, Resume};
use super::walk::{self, Fault};
use crate::epoch::acknowledge;
use crate::error::{Error, Result};

/// Installs the signal handlers, once.
pub(crate) fn install() -> Result<()> {
    signals::install(decide).map_err(|error| Error::system("cannot install signal handlers", error))
}

/// Bytes below the stack pointer that a leaf may use.
pub(crate) const RED_ZONE: usize = 128;

/// Bytes of the instruction that traps. Behind it, where the trap is one that wasm may go on from, is the way back.
const TRAP_BYTES: usize = if cfg!(target_arch = "x86_64") { 2 } else { 4 };

/// What the `pause` stub finds on the stack, below the red zone of the wasm that was stopped.
#[repr(C)]
pub(crate) struct Pause {
    pub(crate) vm: *mut VmStore,
    pub(crate) pc: usize,
    pub(crate) return_pc: usize,
    /// Where wasm goes on.
    pub(crate) resume: usize,
}

fn decide(context: Context) -> Option<Resume> {
    fiber::die_of_overflow(context.address);
    let (trap, is_wasm) = with_code_at(context.pc, |code| {
        Some((code.trap_at(context.pc)?, code.view()?.header().kind == Kind::Module))
    })?;
    let vm = if is_wasm {
        // SAFETY: wherever wasm can fault, the convention's register holds the vmctx of an instance (V1).
        unsafe { (*std::ptr::with_exposed_provenance::<VmHeader>(context.vmctx)).store }
    } else {
        activation::active()
    };
    if vm.is_null() {
        return None;
    }
    // SAFETY: wasm of this store was running, on this thread, and wrote to a memory of its own.
    if trap.code == Trap::MemoryOutOfBounds.code() && unsafe { open_written(vm, context.address) } {
        // Once more.
        return Some(Resume { pc: context.pc, sp: context.sp, arguments: None });
    }
    let return_pc = match trap.frame {
        FrameState::Frame => 0,
        // SAFETY: the record says that the return address is there.
        FrameState::Stack(offset) => unsafe {
            std::ptr::with_exposed_provenance::<usize>(context.sp + offset as usize).read()
        },
        FrameState::Link => context.link,
    };
    if Trap::is_resumable(trap.code) {
        // SAFETY: wasm of this store was running, on this thread.
        unsafe { (*vm).trap = u32::from(trap.code) };
        let pause = Pause { vm, pc: context.pc, return_pc, resume: context.pc + TRAP_BYTES };
        let sp = context.sp - RED_ZONE - size_of::<Pause>();
        // SAFETY: wasm was running on this stack, which has room below its frames (the limit leaves it).
        unsafe { std::ptr::with_exposed_provenance_mut::<Pause>(sp).write_unaligned(pause) }
        return Some(Resume { pc: stubs::pause as *const () as usize, sp, arguments: None });
    }
    Some(Resume {
        pc: stubs::fault as *const () as usize,
        sp: (context.sp - RED_ZONE) & !15,
        arguments: Some([vm as usize, context.pc, context.fp, return_pc, usize::from(trap.code)]),
    })
}

/// Opens the page of a pool's slot to which wasm wrote; `false` if that is not why it faulted.
///
/// # Safety
///
/// Wasm of this store was running on this thread.
unsafe fn open_written(vm: *mut VmStore, address: usize) -> bool {
    // SAFETY: the entry into wasm noted the store's address; the engine does not change.
    unsafe { (*(*vm).host.cast::<StoreInner>()).engine.allocator().open_written(address) }
}

/// Notes a trap. Called by the `fault` stub.
pub(crate) unsafe extern "C" fn note_fault(
    vm: *mut VmStore,
    pc: usize,
    fp: usize,
    return_pc: usize,
    code: usize,
) {
    // SAFETY: the handler found this store active on this thread, and its wasm was running: no one else uses it (V2).
    let inner = unsafe { &mut *(*vm).host.cast::<StoreInner>() };
    let fault = Fault { pc, fp, return_pc: (return_pc != 0).then_some(return_pc) };
    let mut error = Error::from_trap_code(code as u8);
    error.set_backtrace(walk::backtrace(inner, Some(fault)));
    inner.pending = Some(Pending::Error(error));
    // SAFETY: as above.
    unsafe { (*vm).trap = TRAP_PENDING }
}

/// Looks at an interruption that a loop has seen, or at fuel that is used up; not 0: a trap was noted. Called by the `pause` stub, which has saved
/// every register.
pub(crate) unsafe extern "C" fn note_pause(vm: *mut VmStore, pc: usize, fp: usize, return_pc: usize) -> u64 {
    let here = 0u8;
    // SAFETY: as for `note_fault`; the data is as far behind the inner half as the store says (V5).
    let inner = unsafe { super::store::of_host((*vm).host) };
    // What wasm held in registers is in the stub's frame, above this one.
    // SAFETY: V1.
    unsafe { (*inner.vm.as_ptr()).exit_sp = &raw const here as u64 };
    // SAFETY: as above; `decide` left the trap's code there.
    let code = unsafe { std::mem::take(&mut (*vm).trap) };
    let fault = Fault { pc, fp, return_pc: (return_pc != 0).then_some(return_pc) };
    // SAFETY: the stub unwinds if a trap is left, as those of builtins do.
    let seen = unsafe {
        builtins::guarded(inner, |inner| {
            let result = if code == u32::from(Trap::OutOfFuel.code()) {
                inner.refuel()
            } else if inner.vm.lower() {
                acknowledge(inner, true)
            } else {
                // Not the check of a loop: code that traps so for a reason of its own.
                Err(Error::from_trap(Trap::Interrupt))
            };
            result.map_err(|error| with_backtrace(inner, fault, error))
        })
    };
    // Not in there: what catches panics may touch a thread-local, and we may go on on another thread.
    if seen == Some(true)
        && let Err(error) = suspend_for_yield(inner)
    {
        let error = with_backtrace(inner, fault, error);
        // SAFETY: as above.
        unsafe { activation::raise(inner, error) }
        return 1;
    }
    u64::from(seen.is_none())
}

fn with_backtrace(inner: &StoreInner, fault: Fault, mut error: Error) -> Error {
    error.set_backtrace(walk::backtrace(inner, Some(fault)));
    error
}

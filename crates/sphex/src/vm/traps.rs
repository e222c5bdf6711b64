//! Faults of compiled code: from the signal to a trap.
//!
//! The handler looks the pc up (no lock, nothing allocated), and sends the thread to the `fault` stub, on the stack of the
//! faulting wasm, below its frames. There, outside the handler, ordinary code notes the trap and its backtrace; the
//! limit at function entries has left room for it.

use sphex_artifact::Trap;
use sphex_artifact::sections::FrameState;
use sphex_artifact::vmctx::VmStore;

use super::activation;
use super::code::with_code_at;
use super::fiber;
use super::store::{Pending, StoreInner, TRAP_PENDING};
use super::stubs;
use super::sys::signals::{self, Context, Resume};
use super::walk::{self, Fault};
use crate::error::{Error, Result};

/// Installs the signal handlers, once.
pub(crate) fn install() -> Result<()> {
    signals::install(decide).map_err(|error| Error::system("cannot install signal handlers", error))
}

/// Bytes below the stack pointer that a leaf may use.
const RED_ZONE: usize = 128;

fn decide(context: Context) -> Option<Resume> {
    fiber::die_of_overflow(context.address);
    let vm = activation::active();
    if vm.is_null() {
        return None;
    }
    let trap = with_code_at(context.pc, |code| {
        let offset = u32::try_from(context.pc - code.text().start).ok()?;
        code.view()?.trap_at(offset)
    })?;
    let return_pc = match trap.frame {
        FrameState::Frame => 0,
        // SAFETY: the record says that the return address is there.
        FrameState::Stack(offset) => unsafe {
            std::ptr::with_exposed_provenance::<usize>(context.sp + offset as usize).read()
        },
        FrameState::Link => context.link,
    };
    Some(Resume {
        pc: stubs::fault as *const () as usize,
        sp: (context.sp - RED_ZONE) & !15,
        arguments: [vm as usize, context.pc, context.fp, return_pc, usize::from(trap.code)],
    })
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
    if code == usize::from(Trap::Interrupt.code()) {
        inner.vm.take_interruption();
    }
    error.set_backtrace(walk::backtrace(inner, Some(fault)));
    inner.pending = Some(Pending::Error(error));
    // SAFETY: as above.
    unsafe { (*vm).trap = TRAP_PENDING }
}

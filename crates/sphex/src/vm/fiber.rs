//! Fibers: stacks of their own on which calls run that may be suspended.
//!
//! A fiber is run by a *poller*, whoever polls the future of the call, and is in one of four states:
//!
//! ```text
//! fresh ---resume---> running ---suspend---> suspended ---resume---> running ...
//!                        '------the start function returns or panics-------> finished
//! ```
//!
//! - **F1. Who owns the stack.** Fresh, suspended and finished: whoever has the `Fiber`. Running: the code on it; the
//!   poller waits inside `resume`, on its own stack, and touches neither. `resume` takes `&mut Fiber`, so that two threads
//!   cannot run one fiber. A `Fiber` that is dropped before it finished keeps its stack for ever: there are frames on it.
//! - **F2. Where it may stop.** Only in `suspend`, called by our own frames: under the base entry into wasm, below wasm
//!   or below the poll of an async host function's future *after that has returned*. All frames from the base are then
//!   wasm's, which have no owner, or ours, which hold what is `Send` (see `async_call`). So a suspended fiber may go on on
//!   another thread.
//! - **F3. Thread-locals.** The compiler may keep the address of a thread-local in a register across `suspend`, and the
//!   fiber then continues with the old thread's. So no frame of ours that lives across `suspend` touches one: what does
//!   (`begin`, `end`, the poll of a future, each through a pointer to code) is never inlined into it. The poller's frames
//!   need no such care: `resume` returns on the thread that called it.
//! - **F4. Nothing passes through the base.** Panics are caught in `main` and resumed on the poller's stack. The base
//!   frame has no return address and no frame pointer, so that unwinders and debuggers stop there.
//! - **F5. Cancelling** is a resume that says so: `suspend` returns `Err(Cancelled)`, then and ever after, so that a
//!   cancelled fiber finishes in that one visit.
//!
//! The switch saves what the host's convention wants kept and nothing else, and leaves by `jmp`: no return address is
//! predicted wrongly on the poller's side. Under `--cfg sphex_tsan` each switch is made known to ThreadSanitizer.

use std::cell::Cell;
use std::marker::PhantomData;
use std::mem::ManuallyDrop;
use std::panic::{self, AssertUnwindSafe};
use std::ptr::{self, NonNull};
use std::task::Context;
use std::thread;

use super::stacks::Stack;
use super::sys;
use crate::error::{Error, ErrorKind, Result};

#[cfg(target_arch = "aarch64")]
mod aarch64;
#[cfg(target_arch = "aarch64")]
use aarch64 as isa;
mod tsan;
#[cfg(target_arch = "x86_64")]
mod x64;
#[cfg(target_arch = "x86_64")]
use x64 as isa;

/// What a fiber and its poller know of each other. It lies at the top of the fiber's stack.
#[repr(C)]
pub(crate) struct Control {
    /// What the base calls. First, for the assembly.
    main: unsafe extern "C" fn(*mut Control, *mut u8) -> !,
    /// The poller's stack pointer, while the fiber runs.
    poller: *mut u8,
    /// The start function, until it is called.
    start: *mut u8,
    /// What this visit's poller was polled with; null when it only cancels.
    context: *mut Context<'static>,
    /// Has the base entered wasm?
    pub(crate) entered: bool,
    cancelled: bool,
    tsan: tsan::Side,
}

impl Control {
    /// What the poller was polled with. `None`: the call is being cancelled.
    ///
    /// # Safety
    ///
    /// Called on the fiber; the context is not kept beyond the next `suspend`.
    pub(crate) unsafe fn context(&mut self) -> Option<&mut Context<'static>> {
        // SAFETY: `resume` set it to a context that lives until the fiber is left again.
        unsafe { self.context.as_mut() }
    }
}

/// A fiber whose start function gives an `R`.
pub(crate) struct Fiber<R> {
    stack: ManuallyDrop<Stack>,
    control: NonNull<Control>,
    /// The stack pointer from which it goes on.
    sp: *mut u8,
    finished: bool,
    result: PhantomData<fn() -> R>,
}

impl<R> Fiber<R> {
    /// A fiber that will run `start`.
    pub(crate) fn new<F: FnOnce() -> R>(stack: Stack, start: F) -> Fiber<R> {
        const { assert!(size_of::<F>() <= 4096 && align_of::<F>() <= 64) };
        let below = |at: *mut u8, bytes: usize| at.map_addr(|at| (at - bytes) & !63);
        let control = below(stack.high(), size_of::<Control>()).cast::<Control>();
        let start_at = below(control.cast(), size_of::<F>()).cast::<F>();
        // SAFETY: the top of a stack that no one is on; it is larger than all of this, and aligned.
        let sp = unsafe {
            start_at.write(start);
            control.write(Control {
                main: main::<F, R>,
                poller: ptr::null_mut(),
                start: start_at.cast(),
                context: ptr::null_mut(),
                entered: false,
                cancelled: false,
                tsan: tsan::Side::new(),
            });
            isa::prepare(start_at.cast())
        };
        let control = NonNull::new(control).unwrap_or(NonNull::dangling());
        Fiber { stack: ManuallyDrop::new(stack), control, sp, finished: false, result: PhantomData }
    }

    /// The fiber's side of what both know.
    pub(crate) fn control(&self) -> *mut Control {
        self.control.as_ptr()
    }

    /// Runs it until it is suspended (`None`) or finished. Without a context, it is cancelled.
    ///
    /// # Safety
    ///
    /// It is not finished, and what `start` and the frames on it use may be used by this thread.
    pub(crate) unsafe fn resume(&mut self, context: Option<&mut Context<'_>>) -> Option<thread::Result<R>> {
        debug_assert!(!self.finished);
        let control = self.control();
        let low = sys::swap_stack_low(self.stack.low());
        let guard = swap_guard(self.stack.guard());
        // SAFETY: F1: the fiber is ours, it is not running, and `sp` is where `prepare` or its last switch left it.
        let (sp, result) = unsafe {
            match context {
                Some(context) => (*control).context = (&raw mut *context).cast(),
                None => {
                    (*control).context = ptr::null_mut();
                    (*control).cancelled = true;
                }
            }
            (*control).tsan.enter_fiber();
            isa::switch(self.sp, control.expose_provenance())
        };
        swap_guard(guard);
        sys::swap_stack_low(low);
        self.sp = sp;
        if result == 0 {
            return None;
        }
        self.finished = true;
        // SAFETY: `main` left its result there and never runs again.
        unsafe {
            (*control).tsan.destroy();
            Some(ptr::with_exposed_provenance::<thread::Result<R>>(result).read())
        }
    }

    /// The stack of a fiber that finished, for another. One that did not keeps it for ever.
    pub(crate) fn into_stack(self) -> Option<Stack> {
        self.finished.then(|| ManuallyDrop::into_inner(self.stack))
    }
}

/// The first Rust function on a fiber.
unsafe extern "C" fn main<F: FnOnce() -> R, R>(control: *mut Control, poller: *mut u8) -> ! {
    // SAFETY: the base calls this once, with the control block that `Fiber::new` made and the stack pointer of the poller
    // that came first. The result stays where it is: this frame is never left.
    unsafe {
        (*control).poller = poller;
        let start = (*control).start.cast::<F>().read();
        let mut result = ManuallyDrop::new(panic::catch_unwind(AssertUnwindSafe(start)));
        (*control).tsan.leave_fiber();
        isa::switch((*control).poller, (&raw mut result).expose_provenance());
    }
    // No one resumes a fiber that has finished.
    std::process::abort()
}

/// Leaves the fiber until it is resumed. `Err(Cancelled)`: it is being cancelled, and must finish.
///
/// # Safety
///
/// Called on the fiber that `control` is of, where F2 allows it.
#[inline(never)]
pub(crate) unsafe fn suspend(control: *mut Control) -> Result<()> {
    // SAFETY: we are on the fiber, so that its poller waits in `resume` and `poller` is where.
    unsafe {
        if !(*control).cancelled {
            (*control).tsan.leave_fiber();
            let (poller, _) = isa::switch((*control).poller, 0);
            (*control).poller = poller;
        }
        if (*control).cancelled {
            return Err(Error::new(ErrorKind::Cancelled, "the call was dropped while it was suspended"));
        }
    }
    Ok(())
}

thread_local! {
    /// Where the guard begins of the fiber that this thread runs; 0: none. The signal handler reads it.
    static GUARD_OF: Cell<usize> = const { Cell::new(0) };
}

/// Never inlined, see F3.
#[inline(never)]
fn swap_guard(guard: usize) -> usize {
    GUARD_OF.with(|cell| cell.replace(guard))
}

/// Ends the process with a message, if a fault at this address is that of a host function which ran out of its fiber's
/// stack. (Wasm never does: its entries compare.) Called by the signal handler: it allocates nothing and takes no lock.
pub(crate) fn die_of_overflow(address: usize) {
    let guard = GUARD_OF.try_with(Cell::get).unwrap_or(0);
    if guard == 0 || !(guard..guard + super::stacks::GUARD).contains(&address) {
        return;
    }
    let text = "\nsphex: a host function has overflowed the stack of an async call (Host::async_stack_size)\n\
                fatal runtime error: stack overflow\n";
    // SAFETY: writes text that we own; `abort` may be called in a signal handler.
    unsafe {
        libc::write(2, text.as_ptr().cast(), text.len());
        libc::abort();
    }
}

//! Entering wasm: stack limit, the chain of entries, and what comes back out.

use std::cell::Cell;
use std::panic;
use std::ptr;
use std::sync::atomic::Ordering;

use sphex_artifact::Trap;
use sphex_artifact::vmctx::{Image, VmStore};

use super::fiber::Control;
use super::store::{Pending, StorePtr, TRAP_PENDING};
use super::{stubs, sys, walk};
use crate::epoch::acknowledge;
use crate::error::{Error, Result};

/// Bytes of stack that are left to the host below wasm's limit.
pub(crate) const HOST_STACK: usize = 128 << 10;

/// What a fiber costs its outer entry, beside the stack that wasm used there: bounds how deep fibers nest.
const NESTED_FIBER: usize = 4 << 10;

/// The stack limit of an entry is rounded down to a multiple of this, so that calls from near each other have the same:
/// setting the word that other threads may write costs more than all else of a call.
const LIMIT_STEP: usize = 4 << 10;

/// The words of a `VmStore` that are the innermost entry's.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Words {
    pub(crate) exit_fp: u64,
    pub(crate) exit_pc: u64,
    entry_sp: u64,
    /// 0: no wasm of the store is running.
    pub(crate) entry_fp: u64,
    /// Where the host's own frames begin when it enters again; everything of wasm is above.
    pub(crate) exit_sp: u64,
    stack_limit: u64,
}

impl Words {
    /// What is there.
    ///
    /// # Safety
    ///
    /// `vm` is that of a store that is borrowed.
    unsafe fn of(vm: *const VmStore) -> Words {
        // SAFETY: the caller's promise.
        unsafe {
            Words {
                exit_fp: (*vm).exit_fp,
                exit_pc: (*vm).exit_pc,
                entry_sp: (*vm).entry_sp,
                entry_fp: (*vm).entry_fp,
                exit_sp: (*vm).exit_sp,
                stack_limit: (*vm).stack_limit,
            }
        }
    }

    /// Puts them there; `with_limit`: the stack's limit too.
    ///
    /// # Safety
    ///
    /// As for [`Words::of`].
    unsafe fn put(self, vm: *mut VmStore, with_limit: bool) {
        // SAFETY: the caller's promise.
        unsafe {
            (*vm).exit_fp = self.exit_fp;
            (*vm).exit_pc = self.exit_pc;
            (*vm).entry_sp = self.entry_sp;
            (*vm).entry_fp = self.entry_fp;
            (*vm).exit_sp = self.exit_sp;
            if with_limit {
                (*vm).stack_limit = self.stack_limit;
                set_limit(vm, self.stack_limit);
            }
        }
    }
}

/// What an entry found in `VmStore` and puts back.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Saved {
    pub(crate) words: Words,
    host: *mut u8,
    active: *mut VmStore,
    fiber: *mut Control,
}

/// Bytes of stack for the stub's frame.
const FRAME: usize = 1024;

thread_local! {
    /// The store that this thread entered last, but for plain entries into wasm. The signal handler reads it where the
    /// fault is not of wasm.
    static ACTIVE: Cell<*mut VmStore> = const { Cell::new(ptr::null_mut()) };
}

/// The store whose code, compiled from CLIF, this thread runs, or null. Allocates nothing.
pub(crate) fn active() -> *mut VmStore {
    ACTIVE.try_with(Cell::get).unwrap_or(ptr::null_mut())
}

/// What is entered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Entered {
    /// Wasm, which has its vmctx, and so its store, in a register wherever it may fault.
    Wasm,
    /// Code compiled from CLIF, whose store the signal handler asks the thread for.
    Clif,
}

/// Calls code with an image. Results are in the image if it returns `Ok`.
///
/// # Safety
///
/// `code` is code of this store (V3) that wants this vmctx and the image's values; `store` is borrowed by no one else
/// until this returns.
#[inline]
pub(crate) unsafe fn enter(
    store: StorePtr,
    what: Entered,
    code: *const u8,
    vmctx: *mut u8,
    image: &mut Image,
) -> Result<()> {
    let stack_bytes = image.stack_bytes as usize;
    // SAFETY: the caller's promise.
    unsafe { enter_by(store, what, stack_bytes, |vm| stubs::enter(code, vmctx, image, vm)) }
}

/// Where the next entry would be *plain*: what `begin` computed for one, so that the entries after it only compare.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Plain {
    /// The lowest address of the stack; 0: of none.
    low: usize,
    /// Stack pointers from here on have the same limit, and room above it,
    from: usize,
    /// so many of them.
    span: usize,
    /// The limit.
    limit: usize,
}

impl Plain {
    /// Of entries near `sp`, on a stack that ends at `low`.
    fn near(sp: usize, low: usize, most: usize) -> Plain {
        let limit = limit_at(sp, low, most);
        let page = sp & !(LIMIT_STEP - 1);
        // The limit is the same for stack pointers whose difference with `most` is in the same step.
        let start = (sp.wrapping_sub(most) & !(LIMIT_STEP - 1)).wrapping_add(most);
        let from = if sp >= most { start } else { page }.max(limit + FRAME + 1);
        let end = if sp >= most { start.saturating_add(LIMIT_STEP) } else { sp + 1 };
        Plain { low, from, span: end.saturating_sub(from), limit }
    }
}

/// Runs a stub that enters wasm, with this many bytes of stack arguments.
///
/// A *plain* entry, in a store whose wasm is not running, on the thread's own stack, with the stack limit of the entry
/// before it, costs a few compares and stores. All others go through `begin` and `end`. A plain entry never spans a
/// suspension (see `fiber`): what is suspended is the base entry of a fiber, which is not plain.
///
/// # Safety
///
/// As for [`enter`]; the stub gives what `stubs::enter` gives.
#[inline(always)]
pub(crate) unsafe fn enter_by(
    store: StorePtr,
    what: Entered,
    stack_bytes: usize,
    stub: impl FnOnce(*mut VmStore) -> u64,
) -> Result<()> {
    // SAFETY: the caller lends us the store.
    unsafe {
        let inner = store.0.as_ptr();
        let vm = (*inner).vm.as_ptr();
        let here = 0u8;
        let sp = &raw const here as usize;
        let known = &(*inner).plain;
        let above = sp.wrapping_sub(known.from);
        // `span` is 0 as long as nothing is known.
        let plain = above < known.span
            && above >= stack_bytes
            && sys::entry_low() == known.low
            && (*vm).entry_fp == 0
            && (*inner).fiber.is_null()
            && (*inner).vm.limit().load(Ordering::Relaxed) == known.limit as u64;
        let mut outer = ptr::null_mut();
        if plain {
            if what == Entered::Clif {
                outer = ACTIVE.with(|active| active.replace(vm));
            }
            (*vm).host = inner.cast();
        } else {
            begin(store, sp, stack_bytes)?;
        }
        let status = stub(vm);
        if plain {
            if what == Entered::Clif {
                ACTIVE.with(|active| active.set(outer));
            }
            (*vm).entry_fp = 0;
        } else {
            end(store);
        }
        if status == 0 { Ok(()) } else { Err(take_error(store)) }
    }
}

/// The lowest stack pointer of wasm that is entered at `sp`, on a stack that ends at `low`.
#[inline(always)]
fn limit_at(sp: usize, low: usize, most: usize) -> usize {
    (sp.saturating_sub(most) & !(LIMIT_STEP - 1)).max(low + HOST_STACK)
}

/// Is there room for the stack arguments and the stub's frame?
#[inline(always)]
fn has_room(sp: usize, stack_bytes: usize, limit: usize) -> bool {
    sp.saturating_sub(stack_bytes + FRAME) > limit
}

/// Looks at what was asked for before the entry: not every function would see it.
#[cold]
#[inline(never)]
unsafe fn look(store: StorePtr) -> Result<()> {
    // SAFETY: as for `enter`.
    let inner = unsafe { super::store::of_host(store.0.as_ptr().cast()) };
    acknowledge(inner, false).map(|_| ()).map_err(|mut error| {
        error.set_backtrace(walk::backtrace(inner, None));
        error
    })
}

/// Sets the limit and notes the entry. Never inlined, as `end` is not: between the two a fiber may have moved to another
/// thread, and the address of a thread-local must not be kept from one to the other.
#[inline(never)]
unsafe fn begin(store: StorePtr, sp: usize, stack_bytes: usize) -> Result<()> {
    // SAFETY: as for `enter`.
    unsafe {
        if (*store.0.as_ptr()).vm.limit().load(Ordering::Relaxed) == u64::MAX {
            look(store)?;
        }
        let low = sys::prepare_entries()?;
        let inner = &mut *store.0.as_ptr();
        let vm = inner.vm.as_ptr();
        let mut limit = limit_at(sp, low, inner.engine.max_wasm_stack());
        let fiber = inner.fiber;
        // The first entry on a fiber is its base's: for it suspension is on, for all within it off.
        let base = !fiber.is_null() && !(*fiber).entered;
        if (*vm).entry_fp != 0 {
            // A nested entry has what its outer one has left, on the same stack or on another.
            if base {
                let left = ((*vm).exit_sp as usize).saturating_sub((*vm).stack_limit as usize);
                limit = limit.max(sp.saturating_sub(left.saturating_sub(NESTED_FIBER)));
            } else if (*vm).stack_limit < sp as u64 {
                limit = limit.max((*vm).stack_limit as usize);
            }
        }
        if !has_room(sp, stack_bytes, limit) {
            let mut error = Error::from_trap(Trap::StackOverflow);
            error.set_backtrace(walk::backtrace(inner, None));
            return Err(error);
        }
        if base {
            (*fiber).entered = true;
        }
        if (*vm).entry_fp == 0 && fiber.is_null() {
            inner.plain = Plain::near(sp, low, inner.engine.max_wasm_stack());
        }
        push(store, if base { fiber } else { ptr::null_mut() });
        (*vm).stack_limit = limit as u64;
        set_limit(vm, limit as u64);
        Ok(())
    }
}

/// Makes an entry the innermost one, and notes what it finds.
unsafe fn push(store: StorePtr, fiber: *mut Control) {
    // SAFETY: as for `enter`.
    unsafe {
        let inner = &mut *store.0.as_ptr();
        let vm = inner.vm.as_ptr();
        let saved = Saved {
            words: Words::of(vm),
            host: (*vm).host,
            active: ACTIVE.with(|active| active.replace(vm)),
            fiber: inner.fiber,
        };
        inner.activations.push(saved);
        inner.fiber = fiber;
        (*vm).host = store.0.as_ptr().cast();
    }
}

/// Takes the innermost entry, a suspended fiber's, out of the store, which is then as the fiber found it. Gives what the
/// fiber takes with it.
///
/// # Safety
///
/// The store is borrowed by the caller; its innermost entry is the base entry of a fiber that was just suspended.
#[inline(never)]
pub(crate) unsafe fn detach(store: StorePtr) -> Option<Words> {
    // SAFETY: the caller's promise.
    unsafe {
        let inner = &mut *store.0.as_ptr();
        inner.activations.last()?;
        let detached = Words::of(inner.vm.as_ptr());
        end(store);
        Some(detached)
    }
}

/// Puts the entry of a fiber that goes on back in, on the thread that runs it now.
///
/// # Safety
///
/// The store is borrowed by the caller, and is the one that `detached` came from.
#[inline(never)]
pub(crate) unsafe fn attach(store: StorePtr, detached: Words, fiber: *mut Control) {
    // SAFETY: the caller's promise.
    unsafe {
        push(store, fiber);
        detached.put((*store.0.as_ptr()).vm.as_ptr(), true);
    }
}

/// Sets the limit, unless an interruption waits there to be seen.
unsafe fn set_limit(vm: *mut VmStore, limit: u64) {
    // SAFETY: `vm` is valid.
    let word = unsafe { &(*vm).limit };
    let old = word.load(Ordering::Relaxed);
    if old != u64::MAX {
        // If it fails, an interruption came between.
        let _ = word.compare_exchange(old, limit, Ordering::Relaxed, Ordering::Relaxed);
    }
}

/// Takes the innermost entry back. What it found is read from the list: a fiber that went on elsewhere found other things
/// than it did at first.
#[inline(never)]
unsafe fn end(store: StorePtr) {
    // SAFETY: as for `enter`.
    unsafe {
        let inner = &mut *store.0.as_ptr();
        let vm = inner.vm.as_ptr();
        let Some(saved) = inner.activations.pop() else { return };
        ACTIVE.with(|active| active.set(saved.active));
        inner.fiber = saved.fiber;
        (*vm).host = saved.host;
        // No wasm looks at the limit of a store that is idle; the next entry will probably want the same.
        saved.words.put(vm, saved.words.entry_fp != 0);
    }
}

/// What made wasm unwind.
#[cold]
unsafe fn take_error(store: StorePtr) -> Error {
    // SAFETY: as for `enter`.
    let (code, pending) = unsafe {
        let inner = &mut *store.0.as_ptr();
        let vm = inner.vm.as_ptr();
        (std::mem::take(&mut (*vm).trap), inner.pending.take())
    };
    let error = match pending {
        Some(Pending::Error(error)) => error,
        Some(Pending::Panic(payload)) => panic::resume_unwind(payload),
        None => Error::from_trap_code(code as u8),
    };
    tracing::debug!(%error, "wasm unwound");
    error
}

/// Leaves an error for the stub that will unwind, with the frames that are running.
///
/// # Safety
///
/// Called by a host function or builtin of this store.
#[cold]
pub(crate) unsafe fn raise(inner: &mut super::store::StoreInner, mut error: Error) {
    error.set_backtrace(walk::backtrace(inner, None));
    inner.pending = Some(Pending::Error(error));
    // SAFETY: V1.
    unsafe { (*inner.vm.as_ptr()).trap = TRAP_PENDING }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_plain_entry_has_the_limit_and_the_room_of_its_own() {
        let low = 0x7f00_0000_0000;
        for most in [0, 5000, 1 << 20, 512 << 20] {
            for sp in [low + HOST_STACK, low + HOST_STACK + 1500, low + (4 << 20) + 8, low + (8 << 20) - 100]
            {
                let plain = Plain::near(sp, low, most);
                assert_eq!(plain.limit, limit_at(sp, low, most));
                for other in (sp - 9000..sp + 9000).step_by(4) {
                    let above = other.wrapping_sub(plain.from);
                    if above < plain.span {
                        assert_eq!(limit_at(other, low, most), plain.limit, "{sp:#x} {other:#x} {most}");
                        assert!(has_room(other, above, plain.limit), "{sp:#x} {other:#x} {most}");
                    }
                }
                let itself = sp.wrapping_sub(plain.from) < plain.span;
                assert_eq!(itself, has_room(sp, 0, plain.limit), "{sp:#x} {most}");
            }
        }
    }
}

//! What stops wasm from outside: the word that it looks at, why that word is set, and what wakes host calls that wait.
//!
//! *Needs* a store's words (`VmStore`). *Gives* [`SharedVm`], which interrupt handles, the engine's schedule and waiting
//! host functions share with the store. Whoever wants wasm to stop notes a reason in `asked`, then sets `limit` to all
//! ones, then makes the event readable, then wakes the task of a suspended call: in this order, so that whoever sees the
//! later sees the earlier. A word of all ones without a reason means nothing; wasm goes on.

use std::cell::UnsafeCell;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::ptr;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering, fence};
use std::sync::{OnceLock, PoisonError};
use std::task::Waker;

use rustix::event::EventfdFlags;
use sphex_artifact::vmctx::VmStore;

use super::lock::Mutex;
use super::wait::Parker;

/// A reason to stop: someone used an interrupt handle. Taken back when it is seen.
pub(crate) const INTERRUPT: u32 = 1;
/// A reason to stop: the epoch deadline. It stays until the deadline is set anew.
pub(crate) const EPOCH: u32 = 2;
/// A reason to stop: the deadline in time. It stays until the deadline is set anew.
pub(crate) const TIMEOUT: u32 = 4;
/// A reason to pause: an epoch deadline that came while a host function ran, which cannot be suspended.
pub(crate) const YIELD: u32 = 8;

/// The part of a store that wasm sees, shared with those that may stop it, who touch atomics only.
#[derive(Debug)]
pub(crate) struct SharedVm {
    vm: UnsafeCell<VmStore>,
    /// Reasons to stop that wait to be seen.
    asked: AtomicU32,
    /// May anyone ever ask? As long as nobody can, host functions need not watch the event.
    watched: AtomicBool,
    /// Readable while there is something to see; made when a host function first waits.
    event: OnceLock<OwnedFd>,
    /// Is there a task to be woken? Only then is its lock taken: calls that are not async never have one.
    has_task: AtomicBool,
    /// The task of a call that is suspended in a host function's future, or is about to be.
    task: Mutex<Option<Waker>>,
    /// Where the store's thread sleeps that waits for a change of a shared memory.
    parker: Parker,
}

// SAFETY: other threads touch nothing of `vm` but the atomic `limit` (V2).
unsafe impl Send for SharedVm {}
// SAFETY: as above.
unsafe impl Sync for SharedVm {}

impl SharedVm {
    pub(super) fn new() -> SharedVm {
        let vm = UnsafeCell::new(VmStore {
            limit: AtomicU64::new(0),
            fuel: i64::MAX,
            exit_fp: 0,
            exit_pc: 0,
            entry_sp: 0,
            entry_fp: 0,
            stack_limit: 0,
            trap: 0,
            watched: 0,
            host: ptr::null_mut(),
            exit_sp: 0,
        });
        let (asked, watched) = (AtomicU32::new(0), AtomicBool::new(false));
        let (has_task, task) = (AtomicBool::new(false), Mutex::new(None));
        SharedVm { vm, asked, watched, event: OnceLock::new(), has_task, task, parker: Parker::default() }
    }

    /// The address of the words.
    #[inline(always)]
    pub(crate) fn as_ptr(&self) -> *mut VmStore {
        self.vm.get()
    }

    /// The word that entries and loops compare with.
    pub(crate) fn limit(&self) -> &AtomicU64 {
        // SAFETY: the store's words live as long as `self`; the field is atomic.
        unsafe { &(*self.as_ptr()).limit }
    }

    /// From now on someone may ask.
    pub(crate) fn watch(&self) {
        self.watched.store(true, Ordering::Relaxed);
    }

    /// Where the store's thread sleeps that waits for a change of a shared memory.
    pub(crate) fn parker(&self) -> &Parker {
        &self.parker
    }

    /// May anyone ask?
    pub(crate) fn is_watched(&self) -> bool {
        self.watched.load(Ordering::Relaxed)
    }

    /// Asks wasm to stop for a reason. Any thread and, where no call is async, any signal handler may: a few atomic
    /// operations, and a write to an event.
    pub(crate) fn ask(&self, reason: u32) {
        if let Some(task) = self.note(reason) {
            task.wake();
        }
    }

    /// As `ask`, but leaves it to the caller to wake the task of a suspended call. Who holds a lock must let go of it
    /// before: a waker may run anything, and what it drops may be a store.
    #[must_use]
    pub(crate) fn note(&self, reason: u32) -> Option<Waker> {
        self.asked.fetch_or(reason, Ordering::SeqCst);
        self.limit().store(u64::MAX, Ordering::SeqCst);
        // Pairs with the one in `event`: the event is either here, or finds the reason.
        fence(Ordering::SeqCst);
        if let Some(event) = self.event.get() {
            let _ = rustix::io::write(event, &1u64.to_ne_bytes());
        }
        self.parker.unpark();
        // Either we see the task here, or who put it there sees the reason (`arm`).
        if reason & (INTERRUPT | EPOCH | TIMEOUT) == 0 || !self.has_task.swap(false, Ordering::SeqCst) {
            return None;
        }
        self.task.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    /// From now on this task is woken where someone asks. What was asked for before must be looked at after this.
    pub(crate) fn arm(&self, waker: &Waker) {
        let mut task = self.task.lock().unwrap_or_else(PoisonError::into_inner);
        if !task.as_ref().is_some_and(|task| task.will_wake(waker)) {
            let old = task.replace(waker.clone());
            drop(task);
            drop(old);
        }
        self.has_task.store(true, Ordering::SeqCst);
    }

    /// No task is waiting any more.
    pub(crate) fn disarm(&self) {
        self.has_task.store(false, Ordering::SeqCst);
        let task = self.task.lock().unwrap_or_else(PoisonError::into_inner).take();
        drop(task);
    }

    /// Takes reasons back. The word may stay all ones; wasm then looks, finds nothing and goes on.
    pub(crate) fn withdraw(&self, reasons: u32) {
        self.asked.fetch_and(!reasons, Ordering::SeqCst);
    }

    /// The reasons that wait to be seen.
    pub(crate) fn asked(&self) -> u32 {
        self.asked.load(Ordering::SeqCst)
    }

    /// Puts the true stack limit back into the word if it is all ones; was it? Called by the thread that runs the
    /// store's wasm, before it looks at the reasons. Those that remain must be asked for again.
    pub(crate) fn lower(&self) -> bool {
        // SAFETY: only this thread, which runs the store's wasm, writes `stack_limit`.
        let stack_limit = unsafe { (*self.as_ptr()).stack_limit };
        self.limit().compare_exchange(u64::MAX, stack_limit, Ordering::SeqCst, Ordering::SeqCst).is_ok()
    }

    /// What becomes readable when there is something to see.
    pub(crate) fn event(&self) -> io::Result<BorrowedFd<'_>> {
        if self.event.get().is_none() {
            let event = rustix::event::eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?;
            // Should another thread have been faster, its event is as good.
            let _ = self.event.set(event);
            fence(Ordering::SeqCst);
            if self.asked() != 0
                && let Some(event) = self.event.get()
            {
                let _ = rustix::io::write(event, &1u64.to_ne_bytes());
            }
        }
        match self.event.get() {
            Some(event) => Ok(event.as_fd()),
            None => Err(io::ErrorKind::NotFound.into()),
        }
    }

    /// Makes the event unreadable, before its reasons are looked at.
    pub(crate) fn drain(&self) {
        if let Some(event) = self.event.get() {
            let _ = rustix::io::read(event, &mut [0; 8]);
        }
    }
}

//! Who is to be stopped when: the engine's stores by epoch and by time.
//!
//! *Needs* stores that note a deadline. *Gives* [`Schedule`]: `increment` asks those to stop whose epoch has come; a
//! thread, which exists only while some store has a deadline in time, does the same for those whose time has come. A
//! store without a deadline is not in here and costs nothing; one with a deadline costs a map entry when it sets it.

use std::collections::BTreeMap;
use std::panic::{self, AssertUnwindSafe};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::task::Waker;
use std::time::Instant;

use crate::error::{Error, Result};
use crate::vm::stop::{EPOCH, SharedVm, TIMEOUT};

/// The deadlines of an engine's stores.
#[derive(Debug, Default)]
pub(crate) struct Schedule {
    epoch: AtomicU64,
    waiting: Mutex<Waiting>,
    changed: Condvar,
}

/// Stores by deadline, and by number where deadlines are equal.
#[derive(Debug, Default)]
struct Waiting {
    by_epoch: BTreeMap<(u64, u64), Arc<SharedVm>>,
    by_time: BTreeMap<(Instant, u64), Arc<SharedVm>>,
    has_thread: bool,
}

impl Schedule {
    /// The present epoch.
    pub(crate) fn epoch(&self) -> u64 {
        self.epoch.load(Ordering::SeqCst)
    }

    fn lock(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The next epoch has come.
    pub(crate) fn increment(&self) {
        let epoch = self.epoch.fetch_add(1, Ordering::SeqCst) + 1;
        let mut tasks = Vec::new();
        let mut waiting = self.lock();
        while let Some(first) = waiting.by_epoch.first_entry().filter(|first| first.key().0 <= epoch) {
            tasks.extend(first.remove().note(EPOCH));
        }
        drop(waiting);
        tasks.into_iter().for_each(Waker::wake);
    }

    /// Moves the epoch deadline of store `id`.
    pub(crate) fn move_epoch(&self, id: u64, vm: &Arc<SharedVm>, old: Option<u64>, new: Option<u64>) {
        let mut waiting = self.lock();
        if let Some(old) = old {
            waiting.by_epoch.remove(&(old, id));
        }
        vm.withdraw(EPOCH);
        let task = match new {
            // Under the lock: an increment from now on finds the entry.
            Some(new) if new > self.epoch() => {
                vm.watch();
                waiting.by_epoch.insert((new, id), vm.clone());
                None
            }
            Some(_) => vm.note(EPOCH),
            None => None,
        };
        drop(waiting);
        task.into_iter().for_each(Waker::wake);
    }

    /// Moves the deadline in time of store `id`.
    pub(crate) fn move_time(
        self: &Arc<Schedule>,
        id: u64,
        vm: &Arc<SharedVm>,
        old: Option<Instant>,
        new: Option<Instant>,
    ) -> Result<()> {
        let mut waiting = self.lock();
        if let Some(old) = old {
            waiting.by_time.remove(&(old, id));
        }
        vm.withdraw(TIMEOUT);
        if let Some(new) = new {
            vm.watch();
            if new <= Instant::now() {
                let task = vm.note(TIMEOUT);
                drop(waiting);
                task.into_iter().for_each(Waker::wake);
                return Ok(());
            } else {
                waiting.by_time.insert((new, id), vm.clone());
                if !waiting.has_thread {
                    let schedule = self.clone();
                    std::thread::Builder::new()
                        .name("sphex-timer".to_owned())
                        .spawn(move || schedule.keep_time())
                        .map_err(|error| {
                            waiting.by_time.remove(&(new, id));
                            Error::system("cannot start the timer thread", error)
                        })?;
                    waiting.has_thread = true;
                }
            }
        }
        self.changed.notify_all();
        Ok(())
    }

    /// The timer thread: ends when no store has a deadline any more.
    fn keep_time(&self) {
        crate::vm::sys::block_signals();
        let mut waiting = self.lock();
        while let Some(first) = waiting.by_time.first_entry() {
            let left = first.key().0.saturating_duration_since(Instant::now());
            if left.is_zero() {
                if let Some(task) = first.remove().note(TIMEOUT) {
                    drop(waiting);
                    // An executor's waker that panics must not end the others' deadlines.
                    let _ = panic::catch_unwind(AssertUnwindSafe(|| task.wake()));
                    waiting = self.lock();
                }
                continue;
            }
            let woken = self.changed.wait_timeout(waiting, left);
            waiting = woken.unwrap_or_else(PoisonError::into_inner).0;
        }
        waiting.has_thread = false;
    }
}

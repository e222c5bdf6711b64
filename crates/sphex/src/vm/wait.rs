//! Waiting for a change of a shared memory: `memory.atomic.wait` and `memory.atomic.notify`.
//!
//! Each memory has a table of those who wait, by address, in the order in which they came. The value is compared under the
//! table's lock, which notifying takes too: who changes it and then notifies either finds the waiter or is seen by it. A
//! waiter sleeps on a futex word of its own. A store's is in its [`SharedVm`], so that whoever wants the store's wasm to
//! stop wakes it as well (`SharedVm::note`), with what a signal handler may do.
//!
//! - **W1.** A waiter in the table was not notified. Whoever takes it out either marks it, and it returns 0, or is itself.
//! - **W2.** Who sleeps has read the sequence before it looked for reasons to go on; who gives a reason raises the sequence
//!   afterwards. So the kernel lets nobody sleep who has missed a reason.

use std::collections::{BTreeMap, VecDeque};
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, PoisonError};
use std::time::{Duration, Instant};

use rustix::fs::Timespec;
use rustix::thread::futex;
use sphex_artifact::Trap;

use super::lock::Mutex;
use super::shared::SharedData;
use super::stop::{SharedVm, YIELD};
use super::store::StoreInner;
use crate::epoch::acknowledge;
use crate::error::Result;

/// Where a thread sleeps.
#[derive(Debug, Default)]
pub(crate) struct Parker {
    sequence: AtomicU32,
    /// Does someone sleep, or is about to?
    asleep: AtomicBool,
}

impl Parker {
    /// Wakes who sleeps here. May be called from a signal handler.
    pub(crate) fn unpark(&self) {
        self.sequence.fetch_add(1, Ordering::SeqCst);
        if self.asleep.load(Ordering::SeqCst) {
            let _ = futex::wake(&self.sequence, futex::Flags::PRIVATE, i32::MAX as u32);
        }
    }

    fn sequence(&self) -> u32 {
        self.sequence.load(Ordering::SeqCst)
    }

    /// Sleeps unless the sequence has moved on; wakes early for no reason, at times.
    fn park(&self, sequence: u32, left: Option<Duration>) {
        // The kernel's seconds are signed; who would sleep for longer than they can say asks again.
        let left = left.map(|left| Timespec {
            tv_sec: i64::try_from(left.as_secs()).unwrap_or(i64::MAX).min(1 << 32),
            tv_nsec: i64::from(left.subsec_nanos()),
        });
        self.asleep.store(true, Ordering::SeqCst);
        let _ = futex::wait(&self.sequence, futex::Flags::PRIVATE, sequence, left.as_ref());
        self.asleep.store(false, Ordering::SeqCst);
    }
}

/// Who waits: the thread that runs a store's wasm, or a thread of the host's.
#[derive(Debug)]
enum Sleeper {
    Store(Arc<SharedVm>),
    Host(Parker),
}

#[derive(Debug)]
struct Waiter {
    sleeper: Sleeper,
    notified: AtomicBool,
}

impl Waiter {
    fn parker(&self) -> &Parker {
        match &self.sleeper {
            Sleeper::Store(vm) => vm.parker(),
            Sleeper::Host(parker) => parker,
        }
    }

    fn is_notified(&self) -> bool {
        self.notified.load(Ordering::SeqCst)
    }
}

type Table = BTreeMap<usize, VecDeque<Arc<Waiter>>>;

/// The waiters of a memory, by address.
#[derive(Debug, Default)]
pub(crate) struct Waiters(Mutex<Table>);

/// How a wait ended; the numbers are wasm's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ended {
    Notified = 0,
    Mismatch = 1,
    TimedOut = 2,
}

/// What a wait expects to find: 4 bytes, or 8.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Expected {
    pub(crate) wide: bool,
    pub(crate) value: u64,
}

impl Expected {
    /// The bytes that are compared, which are also the alignment.
    pub(crate) fn bytes(self) -> usize {
        if self.wide { 8 } else { 4 }
    }
}

/// When a wait of so many nanoseconds ends; `None`: never. A time that no clock can tell never comes.
pub(crate) fn deadline(nanoseconds: i64) -> Option<Instant> {
    let timeout = Duration::from_nanos(u64::try_from(nanoseconds).ok()?);
    Instant::now().checked_add(timeout)
}

impl SharedData {
    /// Wakes at most `count` of those who wait at an address; how many.
    pub(crate) fn notify(&self, address: usize, count: u32) -> u32 {
        let woken: Vec<Arc<Waiter>> = {
            let mut table = self.waiters().0.lock().unwrap_or_else(PoisonError::into_inner);
            let Some(queue) = table.get_mut(&address) else { return 0 };
            let count = queue.len().min(count as usize);
            let woken = queue.drain(..count).inspect(|waiter| waiter.notified.store(true, Ordering::SeqCst));
            let woken = woken.collect();
            if queue.is_empty() {
                table.remove(&address);
            }
            woken
        };
        for waiter in &woken {
            waiter.parker().unpark();
        }
        woken.len() as u32
    }

    /// Joins those who wait, if the value is the expected one.
    fn join(&self, address: usize, expected: Expected, sleeper: Sleeper) -> Option<Arc<Waiter>> {
        let waiter = Arc::new(Waiter { sleeper, notified: AtomicBool::new(false) });
        let mut table = self.waiters().0.lock().unwrap_or_else(PoisonError::into_inner);
        if self.word(address, expected.wide) != expected.value {
            return None;
        }
        table.entry(address).or_default().push_back(waiter.clone());
        Some(waiter)
    }

    /// Leaves those who wait; was it notified before?
    fn leave(&self, address: usize, waiter: &Arc<Waiter>) -> bool {
        let mut table = self.waiters().0.lock().unwrap_or_else(PoisonError::into_inner);
        if waiter.is_notified() {
            return true;
        }
        if let Some(queue) = table.get_mut(&address) {
            queue.retain(|other| !Arc::ptr_eq(other, waiter));
            if queue.is_empty() {
                table.remove(&address);
            }
        }
        false
    }

    /// Waits for a notification. `look` says whether something else ends the wait.
    fn wait(
        &self,
        address: usize,
        expected: Expected,
        deadline: Option<Instant>,
        sleeper: Sleeper,
        mut look: impl FnMut() -> Result<()>,
    ) -> Result<Ended> {
        let Some(waiter) = self.join(address, expected, sleeper) else { return Ok(Ended::Mismatch) };
        // However it ends: an epoch callback may panic.
        let place = Place { memory: self, address, waiter };
        let waiter = &place.waiter;
        loop {
            let sequence = waiter.parker().sequence();
            if waiter.is_notified() {
                return Ok(Ended::Notified);
            }
            look()?;
            let left = deadline.map(|deadline| deadline.saturating_duration_since(Instant::now()));
            if left == Some(Duration::ZERO) {
                return Ok(if self.leave(address, waiter) { Ended::Notified } else { Ended::TimedOut });
            }
            waiter.parker().park(sequence, left);
        }
    }

    /// A wait of the host's, which nothing else ends.
    pub(crate) fn wait_host(
        &self,
        address: usize,
        expected: Expected,
        deadline: Option<Instant>,
    ) -> Result<Ended> {
        self.wait(address, expected, deadline, Sleeper::Host(Parker::default()), || Ok(()))
    }
}

/// A waiter's place in the table, which it leaves.
struct Place<'a> {
    memory: &'a SharedData,
    address: usize,
    waiter: Arc<Waiter>,
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        if !self.waiter.is_notified() {
            self.memory.leave(self.address, &self.waiter);
        }
    }
}

/// A wait of wasm's at an address that was checked. What stops the store ends it with an error.
pub(crate) fn wait(
    inner: &mut StoreInner,
    memory: &SharedData,
    address: usize,
    expected: Expected,
    timeout: i64,
) -> Result<Ended> {
    let vm = inner.vm.clone();
    memory.wait(address, expected, deadline(timeout), Sleeper::Store(vm.clone()), || {
        match vm.asked() & !YIELD {
            0 => Ok(()),
            _ => acknowledge(inner, false).map(drop),
        }
    })
}

/// Checks the address of a wait or a notification: its alignment before its bounds.
pub(crate) fn check(address: u64, bytes: usize, len: usize) -> Result<usize, Trap> {
    if !address.is_multiple_of(bytes as u64) {
        return Err(Trap::HeapMisaligned);
    }
    match address.checked_add(bytes as u64) {
        Some(end) if end <= len as u64 => Ok(address as usize),
        _ => Err(Trap::MemoryOutOfBounds),
    }
}

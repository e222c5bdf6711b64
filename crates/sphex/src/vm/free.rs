//! Free slots of a pool, by what they ran last.
//!
//! *Needs* nothing. *Gives* the number of a free slot, preferably one that is *warm* for a key: it holds what the key
//! stands for, ready to be used. Slots that nobody prepared are *cold*. A thread keeps to one shard of the list, so that
//! threads seldom meet at a lock; a slot that is given back stays with the shard of the thread that did so, and others
//! take it from there when they have none.
//!
//! - **F1.** A number is in one shard once, or taken, or not below `unused`: never in two places.

use std::cell::Cell;
use std::hash::Hash;
use std::sync::atomic::{AtomicU32, AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use rustc_hash::FxHashMap;

/// The free slots.
#[derive(Debug)]
pub(crate) struct FreeList<K> {
    shards: Box<[Shard<K>]>,
    /// Slots from here on were never used.
    unused: AtomicU32,
    total: u32,
    /// Most warm slots in a shard.
    most_warm: usize,
}

/// One lock and what it guards, in cache lines of its own.
#[derive(Debug)]
#[repr(align(128))]
struct Shard<K> {
    slots: Mutex<Slots<K>>,
    /// Warm slots, readable without the lock.
    warm: AtomicUsize,
}

#[derive(Debug)]
struct Slots<K> {
    warm: FxHashMap<K, Vec<u32>>,
    cold: Vec<u32>,
    taken: u64,
    returned: u64,
    reused: u64,
}

/// A slot that was free.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Taken<K> {
    /// Its number.
    pub(crate) index: u32,
    /// What it is warm for, if it is.
    pub(crate) was: Option<K>,
}

/// How a list is used.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Counts {
    /// Slots taken and not given back.
    pub(crate) live: u32,
    /// Free slots that are warm.
    pub(crate) warm: u32,
    /// Slots taken so far.
    pub(crate) taken: u64,
    /// Of these, warm for what they were taken for.
    pub(crate) reused: u64,
}

/// Keys with no slot that a shard remembers, at most.
const STALE_KEYS: usize = 64;

thread_local! {
    static THREAD: Cell<usize> = const { Cell::new(usize::MAX) };
}

/// A small number for this thread, different from those of other threads as long as there are few.
fn thread_number() -> usize {
    static NEXT: AtomicUsize = AtomicUsize::new(0);
    THREAD
        .try_with(|number| {
            if number.get() == usize::MAX {
                number.set(NEXT.fetch_add(1, Ordering::Relaxed));
            }
            number.get()
        })
        .unwrap_or(0)
}

impl<K: Copy + Eq + Hash> FreeList<K> {
    /// A list of `total` slots that are cold, which keeps about `most_warm` of them warm.
    pub(crate) fn new(total: u32, most_warm: u32) -> FreeList<K> {
        let shards = std::thread::available_parallelism().map_or(1, usize::from).clamp(1, 64);
        let shard = || Shard {
            slots: Mutex::new(Slots {
                warm: FxHashMap::default(),
                cold: Vec::new(),
                taken: 0,
                returned: 0,
                reused: 0,
            }),
            warm: AtomicUsize::new(0),
        };
        let most_warm = (most_warm as usize).div_ceil(shards);
        let shards = (0..shards).map(|_| shard()).collect();
        FreeList { shards, unused: AtomicU32::new(0), total, most_warm }
    }

    /// Slots in all.
    pub(crate) fn total(&self) -> u32 {
        self.total
    }

    fn home(&self) -> usize {
        thread_number() % self.shards.len()
    }

    fn others(&self, home: usize) -> impl Iterator<Item = &Shard<K>> {
        let count = self.shards.len();
        (1..count).map(move |step| &self.shards[(home + step) % count])
    }

    /// A slot, warm for `key` if there is one. `None` if all are taken.
    pub(crate) fn take(&self, key: &K) -> Option<Taken<K>> {
        let home = self.home();
        let warm = self.shards[home].pop_warm(key);
        if let Some(index) = warm.or_else(|| self.others(home).find_map(|shard| shard.pop_warm(key))) {
            return Some(Taken { index, was: Some(*key) });
        }
        let found = self.take_other(home)?;
        self.shards[home].lock().taken += 1;
        Some(found)
    }

    /// A slot that is not warm for what is wanted: a cold one, if possible.
    fn take_other(&self, home: usize) -> Option<Taken<K>> {
        let cold = |index| Taken { index, was: None };
        if let Some(index) = self.shards[home].lock().cold.pop() {
            return Some(cold(index));
        }
        let fresh = self.unused.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |next| {
            (next < self.total).then_some(next + 1)
        });
        if let Ok(index) = fresh {
            return Some(cold(index));
        }
        self.others(home)
            .find_map(|shard| shard.lock().cold.pop().map(cold))
            .or_else(|| self.shards[home].pop_any())
            .or_else(|| self.others(home).find_map(Shard::pop_any))
    }

    /// Should a slot that this thread is about to give back be made warm?
    pub(crate) fn wants_warm(&self) -> bool {
        self.shards[self.home()].warm.load(Ordering::Relaxed) < self.most_warm
    }

    /// Gives a slot back that was taken; it is warm for `key`, or cold.
    pub(crate) fn give(&self, index: u32, key: Option<K>) {
        debug_assert!(index < self.total);
        let shard = &self.shards[self.home()];
        let mut slots = shard.lock();
        slots.returned += 1;
        let Some(key) = key else { return slots.cold.push(index) };
        if slots.warm.len() > STALE_KEYS && !slots.warm.contains_key(&key) {
            slots.warm.retain(|_, list| !list.is_empty());
        }
        slots.warm.entry(key).or_default().push(index);
        shard.warm.fetch_add(1, Ordering::Relaxed);
    }

    /// Takes every warm slot out whose key is `dead`, to be made cold and given back by [`FreeList::give_cold`].
    pub(crate) fn take_dead(&self, dead: impl Fn(&K) -> bool) -> Vec<(u32, K)> {
        let mut found = Vec::new();
        for shard in &self.shards {
            let mut slots = shard.lock();
            let before = found.len();
            slots.warm.retain(|key, list| {
                let keep = !dead(key);
                if !keep {
                    found.extend(list.drain(..).map(|index| (index, *key)));
                }
                keep
            });
            shard.warm.fetch_sub(found.len() - before, Ordering::Relaxed);
        }
        found
    }

    /// Gives a slot of [`FreeList::take_dead`] back, cold.
    pub(crate) fn give_cold(&self, index: u32) {
        self.shards[self.home()].lock().cold.push(index);
    }

    /// How it is used.
    pub(crate) fn counts(&self) -> Counts {
        let mut counts = Counts::default();
        let mut live = 0u64;
        for shard in &self.shards {
            let slots = shard.lock();
            live = live.wrapping_add(slots.taken).wrapping_sub(slots.returned);
            counts.taken += slots.taken;
            counts.reused += slots.reused;
            counts.warm += shard.warm.load(Ordering::Relaxed) as u32;
        }
        counts.live = u32::try_from(live).unwrap_or(0);
        counts
    }
}

impl<K: Copy + Eq + Hash> Shard<K> {
    fn lock(&self) -> MutexGuard<'_, Slots<K>> {
        self.slots.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn pop_warm(&self, key: &K) -> Option<u32> {
        if self.warm.load(Ordering::Relaxed) == 0 {
            return None;
        }
        let mut slots = self.lock();
        let index = slots.warm.get_mut(key)?.pop()?;
        slots.taken += 1;
        slots.reused += 1;
        self.warm.fetch_sub(1, Ordering::Relaxed);
        Some(index)
    }

    /// A slot that is warm for something else.
    fn pop_any(&self) -> Option<Taken<K>> {
        let mut slots = self.lock();
        let (key, list) = slots.warm.iter_mut().find(|(_, list)| !list.is_empty())?;
        let taken = Taken { index: list.pop()?, was: Some(*key) };
        self.warm.fetch_sub(1, Ordering::Relaxed);
        Some(taken)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    #[test]
    fn prefers_what_is_warm_and_takes_anything_at_last() {
        let list = FreeList::<u8>::new(3, 8);
        let first = list.take(&1).unwrap();
        assert_eq!(first.was, None);
        list.give(first.index, Some(1));
        assert_eq!(list.take(&2).unwrap().was, None);
        assert_eq!(list.take(&1).unwrap(), Taken { index: first.index, was: Some(1) });
        let last = list.take(&3).unwrap();
        assert_eq!(list.take(&3), None);
        list.give(last.index, Some(3));
        assert_eq!(list.take(&4).unwrap().was, Some(3));
        assert_eq!(list.counts(), Counts { live: 3, warm: 0, taken: 5, reused: 1 });
    }

    #[test]
    fn keys_that_die_leave_cold_slots() {
        let list = FreeList::<u8>::new(4, 8);
        let taken: Vec<u32> = (0..4).map(|_| list.take(&0).unwrap().index).collect();
        for (key, index) in taken.into_iter().enumerate() {
            list.give(index, Some(key as u8));
        }
        let dead = list.take_dead(|key| *key > 1);
        assert_eq!(dead.len(), 2);
        dead.into_iter().for_each(|(index, _)| list.give_cold(index));
        assert_eq!(list.counts(), Counts { live: 0, warm: 2, taken: 4, reused: 0 });
        assert_eq!(list.take(&3).unwrap().was, None);
    }

    #[test]
    fn no_slot_is_taken_twice() {
        let list = FreeList::<u64>::new(16, 8);
        let live = Mutex::new(HashSet::new());
        std::thread::scope(|scope| {
            for thread in 0..4u64 {
                let (list, live) = (&list, &live);
                scope.spawn(move || {
                    for turn in 0..2000u64 {
                        let held: Vec<u32> =
                            (0..3).filter_map(|k| list.take(&(thread + k)).map(|t| t.index)).collect();
                        for index in &held {
                            assert!(live.lock().unwrap().insert(*index), "slot {index} was taken twice");
                        }
                        for (k, index) in held.into_iter().enumerate() {
                            assert!(live.lock().unwrap().remove(&index));
                            list.give(index, (turn % 3 != 0).then_some(thread + k as u64));
                        }
                    }
                });
            }
        });
        assert_eq!(list.counts().live, 0);
    }
}

//! A hash map with scopes: leaving a scope undoes what was inserted in it.
//!
//! Entries stand in one vector, in the order of insertion, each in the chain of its hash. One that hides an outer scope's
//! takes its place in the chain, so that a chain has a key once. Leaving a scope takes entries off the vector's end; what
//! is taken off hides another, or is the first of its chain: it was when it was inserted, and all that came later is gone.

use std::hash::{BuildHasher, Hash, RandomState};

const NONE: u32 = u32::MAX;

/// Chains of the smallest table.
const LEAST: usize = 64;

/// A hash map with scopes.
#[derive(Debug)]
pub struct ScopedMap<K, V, S = RandomState> {
    entries: Vec<Entry<K, V>>,
    /// The first entry of each chain. The first `mask + 1` are in use; all others are [`NONE`].
    chains: Vec<u32>,
    mask: usize,
    /// Where each open scope begins among the entries.
    scopes: Vec<u32>,
    hasher: S,
}

#[derive(Debug)]
struct Entry<K, V> {
    key: K,
    value: V,
    hash: u32,
    /// The next entry of the chain.
    next: u32,
    /// The entry of an outer scope that this one hides.
    hidden: u32,
}

impl<K: Eq + Hash, V, S: BuildHasher + Default> ScopedMap<K, V, S> {
    /// An empty map outside every scope.
    pub fn new() -> Self {
        Self::default()
    }

    /// Enters a scope.
    pub fn open(&mut self) {
        self.scopes.push(self.entries.len() as u32);
    }

    /// Leaves the innermost scope; what it inserted is gone, and what that hid is back.
    #[inline]
    pub fn close(&mut self) {
        let Some(start) = self.scopes.pop() else { return };
        while self.entries.len() > start as usize {
            let Some(entry) = self.entries.pop() else { return };
            let chain = entry.hash as usize & self.mask;
            match self.entries.get_mut(entry.hidden as usize) {
                None => self.chains[chain] = entry.next,
                Some(hidden) => {
                    hidden.next = entry.next;
                    self.link(chain, self.entries.len() as u32, entry.hidden);
                }
            }
        }
    }

    /// Puts `to` in the place of `from` in a chain.
    fn link(&mut self, chain: usize, from: u32, to: u32) {
        let mut before = NONE;
        let mut at = self.chains[chain];
        while at != from && at != NONE {
            before = at;
            at = self.entries.get(at as usize).map_or(NONE, |entry| entry.next);
        }
        match self.entries.get_mut(before as usize) {
            None => self.chains[chain] = to,
            Some(entry) => entry.next = to,
        }
    }

    /// How many scopes are open.
    pub fn depth(&self) -> usize {
        self.scopes.len()
    }

    /// The value of a key: the last one inserted.
    #[inline]
    pub fn get(&self, key: &K) -> Option<&V> {
        if self.entries.is_empty() {
            return None;
        }
        self.entries.get(self.find(key, self.hash(key)) as usize).map(|entry| &entry.value)
    }

    /// The entry of a key, or [`NONE`].
    #[inline]
    fn find(&self, key: &K, hash: u32) -> u32 {
        let mut at = self.chains[hash as usize & self.mask];
        while let Some(entry) = self.entries.get(at as usize)
            && entry.key != *key
        {
            at = entry.next;
        }
        at
    }

    /// Inserts into the innermost scope, or for good if none is open.
    pub fn insert(&mut self, key: K, value: V) {
        if self.entries.len() > self.mask || self.chains.is_empty() {
            self.grow();
        }
        let hash = self.hash(&key);
        let (chain, new) = (hash as usize & self.mask, self.entries.len() as u32);
        let hidden = self.find(&key, hash);
        let next = match self.entries.get_mut(hidden as usize) {
            None => core::mem::replace(&mut self.chains[chain], new),
            Some(known) if self.scopes.last().is_none_or(|&start| hidden >= start) => {
                known.value = value;
                return;
            }
            Some(known) => {
                let next = known.next;
                self.link(chain, hidden, new);
                next
            }
        };
        self.entries.push(Entry { key, value, hash, next, hidden });
    }

    /// Forgets everything, open scopes too. Keeps the memory, of which a small map touches little.
    pub fn clear(&mut self) {
        for entry in self.entries.drain(..) {
            self.chains[entry.hash as usize & self.mask] = NONE;
        }
        self.scopes.clear();
        self.mask = LEAST.min(self.chains.len()).saturating_sub(1);
    }

    #[inline]
    fn hash(&self, key: &K) -> u32 {
        let hash = self.hasher.hash_one(key);
        (hash ^ hash >> 32) as u32
    }

    /// Twice as many chains, filled in the order of insertion.
    #[cold]
    fn grow(&mut self) {
        for entry in &self.entries {
            self.chains[entry.hash as usize & self.mask] = NONE;
        }
        let len = if self.chains.is_empty() { LEAST } else { 2 * (self.mask + 1) };
        if self.chains.len() < len {
            self.chains.resize(len, NONE);
        }
        self.mask = len - 1;
        for at in 0..self.entries.len() {
            let Entry { hash, hidden, .. } = self.entries[at];
            let chain = hash as usize & self.mask;
            let next = match self.entries.get(hidden as usize) {
                None => core::mem::replace(&mut self.chains[chain], at as u32),
                Some(known) => {
                    let next = known.next;
                    self.link(chain, hidden, at as u32);
                    next
                }
            };
            self.entries[at].next = next;
        }
    }
}

impl<K, V, S: Default> Default for ScopedMap<K, V, S> {
    fn default() -> Self {
        Self { entries: Vec::new(), chains: Vec::new(), mask: 0, scopes: Vec::new(), hasher: S::default() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn closing_restores_what_was_hidden() {
        let mut map: ScopedMap<u32, &str> = ScopedMap::new();
        map.insert(1, "outer");
        map.open();
        map.insert(1, "inner");
        map.insert(1, "innermost");
        map.insert(2, "two");
        assert_eq!((map.get(&1), map.get(&2)), (Some(&"innermost"), Some(&"two")));
        map.close();
        assert_eq!((map.get(&1), map.get(&2), map.depth()), (Some(&"outer"), None, 0));
    }

    /// A hash of few values, so that chains are long.
    #[derive(Default)]
    struct Coarse(u64);

    impl std::hash::Hasher for Coarse {
        fn finish(&self) -> u64 {
            self.0 % 7
        }
        fn write(&mut self, bytes: &[u8]) {
            self.0 = bytes.iter().fold(self.0, |sum, &byte| sum + u64::from(byte));
        }
    }

    /// Compares with a list of all that was inserted in open scopes.
    #[test]
    fn agrees_with_a_list() {
        let mut map: ScopedMap<u32, u32, core::hash::BuildHasherDefault<Coarse>> = ScopedMap::new();
        let mut state = 1u64;
        let mut random = move |below: u64| {
            state = state.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
            ((state >> 33) % below) as u32
        };
        for round in 0..40 {
            let (mut list, mut scopes) = (Vec::new(), Vec::new());
            for step in 0..400 {
                match random(10) {
                    0 | 1 => {
                        scopes.push(list.len());
                        map.open();
                    }
                    2 => {
                        list.truncate(scopes.pop().unwrap_or(list.len()));
                        map.close();
                    }
                    _ => {
                        let key = random(1 + round * 10);
                        list.push((key, step));
                        map.insert(key, step);
                    }
                }
                let key = random(1 + round * 10);
                let expected = list.iter().rev().find(|entry| entry.0 == key).map(|entry| &entry.1);
                assert_eq!(map.get(&key), expected, "{key} in {list:?} with scopes at {scopes:?}");
            }
            map.clear();
            assert!((0..400).all(|key| map.get(&key).is_none()) && map.depth() == 0);
        }
    }
}

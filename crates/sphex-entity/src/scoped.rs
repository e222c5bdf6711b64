//! A hash map with scopes: leaving a scope undoes what was inserted in it.

use std::collections::HashMap;
use std::hash::{BuildHasher, Hash, RandomState};

/// A map whose insertions belong to the innermost open scope. An insertion over an outer key hides it until the scope
/// closes. Every operation is amortised constant time; closing costs what the scope inserted.
#[derive(Debug)]
pub struct ScopedMap<K, V, S = RandomState> {
    map: HashMap<K, V, S>,
    undo: Vec<(K, Option<V>)>,
    scopes: Vec<usize>,
}

impl<K: Clone + Eq + Hash, V, S: BuildHasher + Default> ScopedMap<K, V, S> {
    /// An empty map with no open scope (insertions then stay for good).
    pub fn new() -> Self {
        Self { map: HashMap::default(), undo: Vec::new(), scopes: Vec::new() }
    }

    /// Opens a scope.
    pub fn open(&mut self) {
        self.scopes.push(self.undo.len());
    }

    /// Closes the innermost scope, undoing its insertions; does nothing where none is open.
    pub fn close(&mut self) {
        let Some(start) = self.scopes.pop() else { return };
        for (key, old) in self.undo.drain(start..).rev() {
            match old {
                Some(value) => self.map.insert(key, value),
                None => self.map.remove(&key),
            };
        }
    }

    /// How many scopes are open.
    pub fn depth(&self) -> usize {
        self.scopes.len()
    }

    /// The visible value of `key`.
    pub fn get(&self, key: &K) -> Option<&V> {
        self.map.get(key)
    }

    /// Inserts into the innermost scope.
    pub fn insert(&mut self, key: K, value: V) {
        if self.scopes.is_empty() {
            self.map.insert(key, value);
        } else {
            let old = self.map.insert(key.clone(), value);
            self.undo.push((key, old));
        }
    }

    /// Forgets everything; keeps the memory.
    pub fn clear(&mut self) {
        self.map.clear();
        self.undo.clear();
        self.scopes.clear();
    }
}

impl<K: Clone + Eq + Hash, V, S: BuildHasher + Default> Default for ScopedMap<K, V, S> {
    fn default() -> Self {
        Self::new()
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
}

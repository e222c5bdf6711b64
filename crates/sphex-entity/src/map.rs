//! Dense maps keyed by an entity.

use crate::EntityRef;
use core::marker::PhantomData;
use core::ops::{Index, IndexMut};

/// A table that allocates its keys: pushing a value returns its new key.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct PrimaryMap<K, V> {
    values: Vec<V>,
    key: PhantomData<K>,
}

impl<K: EntityRef, V> PrimaryMap<K, V> {
    /// An empty table.
    pub const fn new() -> Self {
        Self { values: Vec::new(), key: PhantomData }
    }

    /// An empty table with room for `capacity` values.
    pub fn with_capacity(capacity: usize) -> Self {
        Self { values: Vec::with_capacity(capacity), key: PhantomData }
    }

    /// Adds a value and returns its key.
    #[inline]
    pub fn push(&mut self, value: V) -> K {
        let key = K::new(self.values.len());
        self.values.push(value);
        key
    }

    /// The key that the next `push` returns.
    pub fn next_key(&self) -> K {
        K::new(self.values.len())
    }

    /// How many entities there are.
    #[inline]
    pub fn len(&self) -> usize {
        self.values.len()
    }

    /// Whether there is no entity.
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.values.is_empty()
    }

    /// The value of `key`, or `None` where the key is not of this table.
    #[inline]
    pub fn get(&self, key: K) -> Option<&V> {
        self.values.get(key.index())
    }

    /// The value of `key` for writing, or `None` where the key is not of this table.
    #[inline]
    pub fn get_mut(&mut self, key: K) -> Option<&mut V> {
        self.values.get_mut(key.index())
    }

    /// Whether `key` is of this table.
    #[inline]
    pub fn contains(&self, key: K) -> bool {
        key.index() < self.values.len()
    }

    /// Keys in order.
    #[inline]
    pub fn keys(&self) -> impl DoubleEndedIterator<Item = K> + ExactSizeIterator + use<K, V> {
        (0..self.values.len()).map(K::new)
    }

    /// Values in key order.
    #[inline]
    pub fn values(&self) -> core::slice::Iter<'_, V> {
        self.values.iter()
    }

    /// Values in key order, for writing.
    pub fn values_mut(&mut self) -> core::slice::IterMut<'_, V> {
        self.values.iter_mut()
    }

    /// Pairs in key order.
    #[inline]
    pub fn iter(&self) -> impl DoubleEndedIterator<Item = (K, &V)> + ExactSizeIterator {
        self.values.iter().enumerate().map(|(i, v)| (K::new(i), v))
    }

    /// All values as one slice.
    pub fn as_slice(&self) -> &[V] {
        &self.values
    }

    /// Forgets all entities; keeps the memory.
    pub fn clear(&mut self) {
        self.values.clear();
    }

    /// Makes room for `additional` more values.
    pub fn reserve(&mut self, additional: usize) {
        self.values.reserve(additional);
    }
}

impl<K: EntityRef, V> Default for PrimaryMap<K, V> {
    fn default() -> Self {
        Self::new()
    }
}

impl<K: EntityRef, V> FromIterator<V> for PrimaryMap<K, V> {
    fn from_iter<I: IntoIterator<Item = V>>(iter: I) -> Self {
        Self { values: iter.into_iter().collect(), key: PhantomData }
    }
}

impl<K: EntityRef, V> Index<K> for PrimaryMap<K, V> {
    type Output = V;
    #[inline]
    fn index(&self, key: K) -> &V {
        &self.values[key.index()]
    }
}

impl<K: EntityRef, V> IndexMut<K> for PrimaryMap<K, V> {
    #[inline]
    fn index_mut(&mut self, key: K) -> &mut V {
        &mut self.values[key.index()]
    }
}

impl<K: EntityRef, V: core::fmt::Debug> core::fmt::Debug for PrimaryMap<K, V> {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_map().entries(self.iter()).finish()
    }
}

/// A side table over entities that some [`PrimaryMap`] owns: every key has a value, the default until it is written.
#[derive(Clone)]
pub struct SecondaryMap<K, V> {
    values: Vec<V>,
    default: V,
    key: PhantomData<K>,
}

impl<K: EntityRef, V: Clone> SecondaryMap<K, V> {
    /// An empty table whose default is `V::default()`.
    pub fn new() -> Self
    where
        V: Default,
    {
        Self::with_default(V::default())
    }

    /// An empty table with this default.
    pub fn with_default(default: V) -> Self {
        Self { values: Vec::new(), default, key: PhantomData }
    }

    /// Gives keys below `len` a place of their own, so that writing them does not grow the table.
    #[inline]
    pub fn resize(&mut self, len: usize) {
        self.values.resize(len, self.default.clone());
    }

    /// Every key has the default again; keeps the memory.
    pub fn clear(&mut self) {
        self.values.clear();
    }

    /// Gives every key its default again, and room to the first `len` keys.
    pub fn reset(&mut self, len: usize) {
        self.values.clear();
        self.resize(len);
    }

    /// The keys below this length have places of their own.
    #[inline]
    pub fn len(&self) -> usize {
        self.values.len()
    }

    /// Whether no key was written.
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.values.is_empty()
    }

    /// The value of `key` (the default if it was never written).
    #[inline]
    pub fn get(&self, key: K) -> &V {
        self.values.get(key.index()).unwrap_or(&self.default)
    }

    /// Pairs of the keys that have places of their own.
    #[inline]
    pub fn iter(&self) -> impl Iterator<Item = (K, &V)> {
        self.values.iter().enumerate().map(|(i, v)| (K::new(i), v))
    }
}

impl<K: EntityRef, V: Clone + Default> Default for SecondaryMap<K, V> {
    fn default() -> Self {
        Self::new()
    }
}

impl<K: EntityRef, V: Clone> Index<K> for SecondaryMap<K, V> {
    type Output = V;
    #[inline]
    fn index(&self, key: K) -> &V {
        self.get(key)
    }
}

impl<K: EntityRef, V: Clone> IndexMut<K> for SecondaryMap<K, V> {
    #[inline]
    fn index_mut(&mut self, key: K) -> &mut V {
        let index = key.index();
        if index >= self.values.len() {
            self.values.resize(index + 1, self.default.clone());
        }
        &mut self.values[index]
    }
}

impl<K: EntityRef, V: Clone + core::fmt::Debug> core::fmt::Debug for SecondaryMap<K, V> {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_map().entries(self.iter()).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    crate::entity! {
        /// A test key.
        struct Key("k");
    }

    #[test]
    fn primary_keys_count_up() {
        let mut map = PrimaryMap::<Key, &str>::new();
        let (a, b) = (map.push("a"), map.push("b"));
        assert_eq!((a.index(), b.index(), map[b]), (0, 1, "b"));
        assert_eq!(map.get(Key::NONE), None);
    }

    #[test]
    fn secondary_has_a_default_for_every_key() {
        let mut map = SecondaryMap::<Key, u8>::with_default(7);
        map[Key::new(3)] = 1;
        assert_eq!((map[Key::new(0)], map[Key::new(3)], map[Key::new(100)]), (7, 1, 7));
        map.clear();
        assert_eq!(map[Key::new(3)], 7);
    }
}

//! A bit set of entities.

use crate::EntityRef;
use core::marker::PhantomData;

/// A dense set: one bit for each key.
#[derive(Clone, Debug)]
pub struct EntitySet<K> {
    words: Vec<u64>,
    key: PhantomData<K>,
}

impl<K: EntityRef> EntitySet<K> {
    /// The empty set.
    pub const fn new() -> Self {
        Self { words: Vec::new(), key: PhantomData }
    }

    /// Whether `key` is in the set.
    #[inline]
    pub fn contains(&self, key: K) -> bool {
        let (word, bit) = (key.index() / 64, key.index() % 64);
        self.words.get(word).is_some_and(|w| w >> bit & 1 != 0)
    }

    /// Adds `key`; says whether it was absent.
    #[inline]
    pub fn insert(&mut self, key: K) -> bool {
        let (word, bit) = (key.index() / 64, key.index() % 64);
        if word >= self.words.len() {
            self.words.resize(word + 1, 0);
        }
        let absent = self.words[word] >> bit & 1 == 0;
        self.words[word] |= 1 << bit;
        absent
    }

    /// Removes `key`; says whether it was present.
    #[inline]
    pub fn remove(&mut self, key: K) -> bool {
        let (word, bit) = (key.index() / 64, key.index() % 64);
        let Some(w) = self.words.get_mut(word) else { return false };
        let present = *w >> bit & 1 != 0;
        *w &= !(1 << bit);
        present
    }

    /// Removes every key; keeps the memory.
    pub fn clear(&mut self) {
        self.words.clear();
    }

    /// Removes everything and makes room for the first `count` entities.
    pub fn reset(&mut self, count: usize) {
        self.words.clear();
        self.words.resize(count.div_ceil(64), 0);
    }

    /// Whether no key is in the set.
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.words.iter().all(|&w| w == 0)
    }

    /// Adds every key of `other`; says whether the set grew.
    pub fn union_with(&mut self, other: &Self) -> bool {
        if self.words.len() < other.words.len() {
            self.words.resize(other.words.len(), 0);
        }
        let mut grew = false;
        for (mine, &theirs) in self.words.iter_mut().zip(&other.words) {
            grew |= theirs & !*mine != 0;
            *mine |= theirs;
        }
        grew
    }

    /// Keys in ascending order.
    #[inline]
    pub fn iter(&self) -> impl Iterator<Item = K> + '_ {
        self.words.iter().enumerate().flat_map(|(i, &word)| {
            let mut rest = word;
            core::iter::from_fn(move || {
                (rest != 0).then(|| {
                    let bit = rest.trailing_zeros() as usize;
                    rest &= rest - 1;
                    K::new(i * 64 + bit)
                })
            })
        })
    }
}

impl<K: EntityRef> Default for EntitySet<K> {
    fn default() -> Self {
        Self::new()
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
    fn insert_remove_iterate() {
        let mut set = EntitySet::new();
        assert!(set.insert(Key::new(70)) && set.insert(Key::new(3)) && !set.insert(Key::new(3)));
        assert_eq!(set.iter().map(EntityRef::index).collect::<Vec<_>>(), [3, 70]);
        assert!(set.remove(Key::new(70)) && !set.remove(Key::new(70)) && !set.remove(Key::new(9999)));
        assert!(!set.contains(Key::new(70)) && set.contains(Key::new(3)));
    }

    #[test]
    fn union_says_whether_it_grew() {
        let (mut a, mut b) = (EntitySet::new(), EntitySet::new());
        b.insert(Key::new(200));
        assert!(a.union_with(&b) && !a.union_with(&b) && a.contains(Key::new(200)));
    }
}

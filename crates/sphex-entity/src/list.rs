//! Many small lists in one vector.
//!
//! A list is a handle: where its header word stands in the pool. The header holds length and capacity class; the
//! elements follow it. Freed blocks go to a free list of their class, so that growing lists reuse memory.

use core::marker::PhantomData;

/// Storage for every [`EntityList`] of one owner.
#[derive(Clone, Debug, Default)]
pub struct ListPool {
    words: Vec<u32>,
    free: Vec<Vec<u32>>,
}

/// A list of `T` (a `u32` newtype) inside a [`ListPool`]. The empty list needs no storage. Copies share their storage:
/// a list that is still used elsewhere must not be written.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
#[repr(transparent)]
pub struct EntityList<T> {
    handle: u32,
    item: PhantomData<T>,
}

impl<T> Default for EntityList<T> {
    fn default() -> Self {
        Self::EMPTY
    }
}

/// Words of a block of class `c`: header and elements.
const fn class_words(class: u32) -> usize {
    4 << class
}

/// The smallest class that holds `len` elements.
fn class_for(len: usize) -> u32 {
    ((len + 1).next_power_of_two().trailing_zeros()).saturating_sub(2)
}

impl ListPool {
    /// An empty pool.
    pub const fn new() -> Self {
        Self { words: Vec::new(), free: Vec::new() }
    }

    /// Forgets every list; keeps the memory.
    pub fn clear(&mut self) {
        self.words.clear();
        for list in &mut self.free {
            list.clear();
        }
    }

    #[inline]
    fn allocate(&mut self, class: u32) -> usize {
        if let Some(at) = self.free.get_mut(class as usize).and_then(Vec::pop) {
            return at as usize;
        }
        let at = self.words.len();
        self.words.resize(at + class_words(class), 0);
        at
    }

    fn release(&mut self, at: usize, class: u32) {
        let class = class as usize;
        if self.free.len() <= class {
            self.free.resize(class + 1, Vec::new());
        }
        self.free[class].push(at as u32);
    }
}

impl<T> EntityList<T> {
    /// The list without elements.
    pub const EMPTY: Self = Self { handle: 0, item: PhantomData };

    /// The handle as a raw word, for storing in an instruction.
    pub const fn as_u32(self) -> u32 {
        self.handle
    }

    /// The list of a raw word that [`Self::as_u32`] gave.
    pub const fn from_u32(raw: u32) -> Self {
        Self { handle: raw, item: PhantomData }
    }
}

impl<T: crate::EntityRef> EntityList<T> {
    /// Makes a list of these elements.
    #[inline]
    pub fn from_slice(items: &[T], pool: &mut ListPool) -> Self {
        if items.is_empty() {
            return Self::EMPTY;
        }
        let at = pool.allocate(class_for(items.len()));
        pool.words[at] = items.len() as u32;
        for (word, item) in pool.words[at + 1..].iter_mut().zip(items) {
            *word = item.index() as u32;
        }
        Self { handle: at as u32 + 1, item: PhantomData }
    }

    /// A new list of one item and others behind it.
    #[inline]
    pub fn from_first(first: T, others: &[T], pool: &mut ListPool) -> Self {
        let len = others.len() + 1;
        let at = pool.allocate(class_for(len));
        pool.words[at] = len as u32;
        pool.words[at + 1] = first.index() as u32;
        for (word, item) in pool.words[at + 2..at + 1 + len].iter_mut().zip(others) {
            *word = item.index() as u32;
        }
        Self { handle: at as u32 + 1, item: PhantomData }
    }

    #[inline]
    fn at(self) -> usize {
        self.handle as usize - 1
    }

    /// How many elements.
    #[inline]
    pub fn len(self, pool: &ListPool) -> usize {
        if self.handle == 0 { 0 } else { pool.words[self.at()] as usize }
    }

    /// Whether there is no element.
    #[inline]
    pub fn is_empty(self) -> bool {
        self.handle == 0
    }

    #[inline]
    fn words(self, pool: &ListPool) -> &[u32] {
        if self.handle == 0 {
            return &[];
        }
        let at = self.at();
        &pool.words[at + 1..at + 1 + pool.words[at] as usize]
    }

    /// The elements in order.
    #[inline]
    pub fn iter(self, pool: &ListPool) -> impl DoubleEndedIterator<Item = T> + ExactSizeIterator + '_ {
        self.words(pool).iter().map(|&w| T::new(w as usize))
    }

    /// The element at `index`, if there is one.
    #[inline]
    pub fn get(self, index: usize, pool: &ListPool) -> Option<T> {
        self.words(pool).get(index).map(|&w| T::new(w as usize))
    }

    /// Overwrites the element at `index`, which must exist.
    #[inline]
    pub fn set(self, index: usize, item: T, pool: &mut ListPool) {
        let at = self.at();
        assert!(index < pool.words[at] as usize, "list index {index} out of range");
        pool.words[at + 1 + index] = item.index() as u32;
    }

    /// Appends an element; the list may move inside the pool.
    pub fn push(&mut self, item: T, pool: &mut ListPool) {
        if self.handle == 0 {
            *self = Self::from_slice(&[item], pool);
            return;
        }
        let (at, len) = (self.at(), self.len(pool));
        let class = class_for(len);
        let mut place = at;
        if class_for(len + 1) != class {
            place = pool.allocate(class_for(len + 1));
            pool.words.copy_within(at..at + 1 + len, place);
            pool.release(at, class);
            self.handle = place as u32 + 1;
        }
        pool.words[place] = len as u32 + 1;
        pool.words[place + 1 + len] = item.index() as u32;
    }

    /// Keeps the elements for which `keep` says so (called with position and element), in order.
    pub fn retain(&mut self, pool: &mut ListPool, mut keep: impl FnMut(usize, T) -> bool) {
        let kept: Vec<T> = self.iter(pool).enumerate().filter(|&(i, t)| keep(i, t)).map(|(_, t)| t).collect();
        if kept.len() != self.len(pool) {
            self.clear(pool);
            *self = Self::from_slice(&kept, pool);
        }
    }

    /// Empties the list and gives its storage back.
    pub fn clear(&mut self, pool: &mut ListPool) {
        if self.handle != 0 {
            pool.release(self.at(), class_for(self.len(pool)));
            *self = Self::EMPTY;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::EntityRef;

    crate::entity! {
        /// A test item.
        struct Item("i");
    }

    #[test]
    fn lists_grow_and_reuse_storage() {
        let mut pool = ListPool::new();
        let (mut a, mut b) = (EntityList::EMPTY, EntityList::EMPTY);
        for i in 0..100 {
            a.push(Item::new(i), &mut pool);
            b.push(Item::new(1000 + i), &mut pool);
        }
        assert_eq!(a.iter(&pool).map(EntityRef::index).collect::<Vec<_>>(), (0..100).collect::<Vec<_>>());
        assert_eq!(b.get(99, &pool), Some(Item::new(1099)));
        let words = pool.words.len();
        let b = EntityList::from_first(Item::new(7), &[Item::new(8), Item::new(9)], &mut pool);
        assert_eq!(b.iter(&pool).map(EntityRef::index).collect::<Vec<_>>(), [7, 8, 9]);
        let words = words.max(pool.words.len());
        a.clear(&mut pool);
        let c = EntityList::from_slice(&[Item::new(5); 100], &mut pool);
        assert_eq!((pool.words.len(), c.len(&pool)), (words, 100));
    }

    #[test]
    fn retain_keeps_order() {
        let mut pool = ListPool::new();
        let items: Vec<Item> = (0..10).map(Item::new).collect();
        let mut list = EntityList::from_slice(&items, &mut pool);
        list.retain(&mut pool, |i, _| i % 3 == 0);
        assert_eq!(list.iter(&pool).map(EntityRef::index).collect::<Vec<_>>(), [0, 3, 6, 9]);
    }
}

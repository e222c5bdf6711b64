//! The host functions of a store: what wasm's references to them point to.
//!
//! Entries stand in chunks that never grow, so that they keep their addresses; who knows how many there will be reserves
//! a chunk for all of them. A few are found one by one, many by a map.

use std::mem::ManuallyDrop;
use std::ptr::NonNull;
use std::sync::Arc;

use rustc_hash::FxHashMap;
use smallvec::SmallVec;
use sphex_artifact::vmctx::{VmFuncRef, VmHostFunc};

use super::call::HostFunc;
use super::store::FEW;

/// A host function, made known to this store's wasm.
#[derive(Debug)]
pub(crate) struct HostEntry {
    /// What the exit stubs find in the vmctx register.
    pub(crate) vm: VmHostFunc,
    /// What wasm knows it by.
    pub(crate) funcref: VmFuncRef,
    /// The Rust function, which `func` keeps.
    pub(crate) body: *const u8,
    /// Its place among the store's functions.
    pub(crate) index: u32,
    /// What it does.
    pub(crate) func: Arc<HostFunc>,
}

/// The entries of a store.
#[derive(Debug, Default)]
pub(crate) struct Hosts {
    chunks: SmallVec<[Chunk; 1]>,
    count: usize,
    /// By the address of what they share, once there are more than `FEW`.
    known: FxHashMap<usize, u32>,
}

/// What a vector has, in pieces: it is pointed into, so that nobody may borrow all of it to be changed.
#[derive(Debug)]
struct Chunk {
    at: NonNull<HostEntry>,
    len: usize,
    capacity: usize,
}

impl Chunk {
    fn new(capacity: usize) -> Chunk {
        let mut entries = ManuallyDrop::new(Vec::with_capacity(capacity));
        let at = NonNull::new(entries.as_mut_ptr()).unwrap_or(NonNull::dangling());
        Chunk { at, len: 0, capacity: entries.capacity() }
    }
}

impl Drop for Chunk {
    fn drop(&mut self) {
        // SAFETY: the pieces are those of a vector; whoever has an address in it lives no longer than the store (V1).
        drop(unsafe { Vec::from_raw_parts(self.at.as_ptr(), self.len, self.capacity) });
    }
}

impl Hosts {
    fn entries(&self) -> impl Iterator<Item = &HostEntry> {
        // SAFETY: so many entries are there; nobody writes them after they were made.
        self.chunks
            .iter()
            .flat_map(|chunk| unsafe { std::slice::from_raw_parts(chunk.at.as_ptr(), chunk.len) })
    }

    /// The number of a function that is here already.
    pub(crate) fn find(&self, func: &Arc<HostFunc>) -> Option<u32> {
        if self.count > FEW {
            return self.known.get(&(Arc::as_ptr(func) as usize)).copied();
        }
        self.entries().find(|entry| Arc::ptr_eq(&entry.func, func)).map(|entry| entry.index)
    }

    /// Makes room for so many, if there are none yet.
    pub(crate) fn reserve(&mut self, count: usize) {
        if self.chunks.is_empty() && count > 0 {
            self.chunks.push(Chunk::new(count));
        }
    }

    /// Puts a function at an address that stays.
    pub(crate) fn push(&mut self, entry: HostEntry) -> *mut HostEntry {
        let key = (Arc::as_ptr(&entry.func) as usize, entry.index);
        if self.chunks.last().is_none_or(|chunk| chunk.len == chunk.capacity) {
            self.chunks.push(Chunk::new(self.count.clamp(1, 64)));
        }
        let last = self.chunks.len() - 1;
        let chunk = &mut self.chunks[last];
        // SAFETY: there is room for one more.
        let at = unsafe { chunk.at.add(chunk.len) };
        // SAFETY: as above.
        unsafe { at.write(entry) };
        chunk.len += 1;
        self.count += 1;
        if self.count == FEW + 1 {
            self.known =
                self.entries().map(|entry| (Arc::as_ptr(&entry.func) as usize, entry.index)).collect();
        } else if self.count > FEW {
            self.known.extend([key]);
        }
        at.as_ptr()
    }
}

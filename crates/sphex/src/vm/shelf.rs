//! A shelf: things that are used over and over, by any thread, the one put back last first.
//!
//! Nothing here is unsafe and nothing is known of what is kept. `tests/shuttle.rs` runs this file under a scheduler that
//! tries the orders in which threads may come; that is why the lock comes from the parent module.

use super::lock::Mutex;

/// Things to be taken and put back.
#[derive(Debug)]
pub(crate) struct Shelf<S> {
    free: Mutex<Vec<S>>,
}

impl<S> Shelf<S> {
    /// With nothing on it.
    pub(crate) fn new() -> Shelf<S> {
        Shelf { free: Mutex::new(Vec::new()) }
    }

    /// The thing that was put back last.
    pub(crate) fn take(&self) -> Option<S> {
        self.free.lock().unwrap_or_else(|poisoned| poisoned.into_inner()).pop()
    }

    /// Puts a thing back.
    pub(crate) fn put(&self, thing: S) {
        self.free.lock().unwrap_or_else(|poisoned| poisoned.into_inner()).push(thing);
    }

    /// How many things are there, by now perhaps others?
    pub(crate) fn len(&self) -> usize {
        self.free.lock().unwrap_or_else(|poisoned| poisoned.into_inner()).len()
    }
}

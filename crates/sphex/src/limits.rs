//! What a store allows its wasm to take: memories, tables and instances.
//!
//! *Needs* nothing. *Gives* [`ResourceLimiter`], which is asked before anything is made or grown (initial sizes too), and
//! [`StoreLimits`], which answers from numbers. [`Store::set_limits`] takes the numbers; [`Store::limiter`] finds a limiter
//! of the embedder's in the store's data.

use crate::error::{Error, ErrorKind, Result};
use crate::store::Store;
use crate::vm::limiter::Limiter;

/// What a [`ResourceLimiter`] counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Resource {
    /// Bytes of one memory.
    MemoryBytes,
    /// Elements of one table.
    TableElements,
    /// Instances of the store.
    Instances,
    /// Memories of the store.
    Memories,
    /// Tables of the store.
    Tables,
}

/// Decides what a store's wasm and host may make and grow.
///
/// It is asked for initial sizes (`current` is 0), for `memory.grow` and `table.grow`, and for what the host makes and
/// grows. It cannot reach the store; it must not block.
pub trait ResourceLimiter {
    /// May a memory of `current` bytes have `desired` bytes? `maximum` is what its type allows.
    ///
    /// `Ok(false)`: `memory.grow` gives -1, and making the memory is an error of kind [`ErrorKind::Limit`]. An error is
    /// a trap in wasm, and is handed to the host as it is.
    fn memory_growing(&mut self, current: u64, desired: u64, maximum: Option<u64>) -> Result<bool>;

    /// A memory did not grow: the limiter or the type did not allow it, or there was no memory. An error is a trap.
    fn memory_grow_failed(&mut self, error: Error) -> Result<()> {
        drop(error);
        Ok(())
    }

    /// May a table of `current` elements have `desired` elements? As for memories.
    fn table_growing(&mut self, current: u64, desired: u64, maximum: Option<u64>) -> Result<bool>;

    /// A table did not grow. As for memories.
    fn table_grow_failed(&mut self, error: Error) -> Result<()> {
        drop(error);
        Ok(())
    }

    /// Instances that the store may have.
    fn instances(&self) -> usize {
        usize::MAX
    }

    /// Memories of its own that the store may have.
    fn memories(&self) -> usize {
        usize::MAX
    }

    /// Tables of its own that the store may have.
    fn tables(&self) -> usize {
        usize::MAX
    }

    /// The limit, for messages, if it is a number.
    fn limit(&self, resource: Resource) -> Option<u64> {
        let _ = resource;
        None
    }
}

/// Limits that are numbers. The default has none but those of the address space.
///
/// ```
/// use sphex::StoreLimitsBuilder;
///
/// let limits = StoreLimitsBuilder::new().memory_size(64 << 20).instances(10).build();
/// # let mut store = sphex::Store::new(&sphex::Engine::default(), ());
/// store.set_limits(limits);
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoreLimits {
    memory_bytes: u64,
    table_elements: u64,
    instances: usize,
    memories: usize,
    tables: usize,
    trap_on_grow_failure: bool,
}

impl Default for StoreLimits {
    fn default() -> Self {
        StoreLimits {
            memory_bytes: u64::MAX,
            table_elements: u64::MAX,
            instances: usize::MAX,
            memories: usize::MAX,
            tables: usize::MAX,
            trap_on_grow_failure: false,
        }
    }
}

/// Puts [`StoreLimits`] together.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct StoreLimitsBuilder(StoreLimits);

impl StoreLimitsBuilder {
    /// No limits yet.
    pub fn new() -> StoreLimitsBuilder {
        StoreLimitsBuilder::default()
    }

    /// Most bytes that each memory may have.
    pub fn memory_size(mut self, bytes: u64) -> Self {
        self.0.memory_bytes = bytes;
        self
    }

    /// Most elements that each table may have.
    pub fn table_elements(mut self, elements: u64) -> Self {
        self.0.table_elements = elements;
        self
    }

    /// Most instances that the store may make.
    pub fn instances(mut self, count: usize) -> Self {
        self.0.instances = count;
        self
    }

    /// Most memories of its own that the store may have.
    pub fn memories(mut self, count: usize) -> Self {
        self.0.memories = count;
        self
    }

    /// Most tables of its own that the store may have.
    pub fn tables(mut self, count: usize) -> Self {
        self.0.tables = count;
        self
    }

    /// Is growing that fails a trap, rather than -1?
    pub fn trap_on_grow_failure(mut self, trap: bool) -> Self {
        self.0.trap_on_grow_failure = trap;
        self
    }

    /// The limits.
    pub fn build(self) -> StoreLimits {
        self.0
    }
}

impl StoreLimits {
    fn failed(&self, error: Error) -> Result<()> {
        if !self.trap_on_grow_failure {
            return Ok(());
        }
        Err(Error::from_trap(crate::Trap::AllocationTooLarge).context(error.message()))
    }
}

impl ResourceLimiter for StoreLimits {
    fn memory_growing(&mut self, _: u64, desired: u64, _: Option<u64>) -> Result<bool> {
        Ok(desired <= self.memory_bytes)
    }

    fn memory_grow_failed(&mut self, error: Error) -> Result<()> {
        self.failed(error)
    }

    fn table_growing(&mut self, _: u64, desired: u64, _: Option<u64>) -> Result<bool> {
        Ok(desired <= self.table_elements)
    }

    fn table_grow_failed(&mut self, error: Error) -> Result<()> {
        self.failed(error)
    }

    fn instances(&self) -> usize {
        self.instances
    }

    fn memories(&self) -> usize {
        self.memories
    }

    fn tables(&self) -> usize {
        self.tables
    }

    fn limit(&self, resource: Resource) -> Option<u64> {
        Some(match resource {
            Resource::MemoryBytes => self.memory_bytes,
            Resource::TableElements => self.table_elements,
            Resource::Instances => self.instances as u64,
            Resource::Memories => self.memories as u64,
            Resource::Tables => self.tables as u64,
        })
    }
}

impl<T> Store<T> {
    /// Sets limits for what is made or grown from now on; they replace a [`limiter`](Store::limiter).
    pub fn set_limits(&mut self, limits: StoreLimits) {
        self.inner_mut().limiter = Limiter::Numbers(limits);
    }

    /// Lets a limiter in the store's data decide what is made or grown from now on; it replaces
    /// [`set_limits`](Store::set_limits).
    ///
    /// ```
    /// use sphex::{Engine, Store, StoreLimits, StoreLimitsBuilder};
    ///
    /// struct State { limits: StoreLimits }
    /// let limits = StoreLimitsBuilder::new().memory_size(1 << 20).build();
    /// let mut store = Store::new(&Engine::default(), State { limits });
    /// store.limiter(|state| &mut state.limits);
    /// ```
    pub fn limiter(
        &mut self,
        limiter: impl (Fn(&mut T) -> &mut dyn ResourceLimiter) + Send + Sync + 'static,
    ) {
        self.inner_mut().limiter = Limiter::of_data(limiter);
    }
}

/// The error of a limit that was reached: what was asked for, and the limit if it is a number.
pub(crate) fn refused(asked: &str, limit: Option<u64>, unit: &str) -> Error {
    let text = match limit {
        Some(limit) => format!("{asked}: more than the limit of {limit} {unit}"),
        None => format!("{asked}: more than the store's limiter allows"),
    };
    Error::new(ErrorKind::Limit, text)
}

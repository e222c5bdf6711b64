//! Shared memories: those of the threads proposal, which several stores use at the same time.
//!
//! *Needs* an engine. *Gives* [`SharedMemory`], which belongs to no store. A store that is to use it makes it known, and has
//! an ordinary [`Memory`] then, which gives no slices of bytes: others write them meanwhile.

use std::sync::Arc;
use std::time::{Duration, Instant};

use sphex_artifact::types::MemoryType;

use crate::engine::Engine;
use crate::error::{Error, ErrorKind, Result};
use crate::externs::{Memory, check_type, out_of_bounds};
use crate::store::{AsContextMut, Handle};
use crate::vm::shared::SharedData;
use crate::vm::store::StoreInner;
use crate::vm::wait::{self, Ended, Expected};

/// A shared memory. Cheap to clone; any thread may use it.
///
/// ```
/// # #[cfg(feature = "compiler")] fn main() -> sphex::Result<()> {
/// use sphex::{Engine, Linker, MemoryType, Module, SharedMemory, Store};
///
/// let engine = Engine::default();
/// let module = Module::new(&engine, r#"(module
///     (import "host" "memory" (memory 1 1 shared))
///     (func (export "count") (drop (i32.atomic.rmw.add (i32.const 0) (i32.const 1)))))"#)?;
/// let memory = SharedMemory::new(&engine, MemoryType { shared: true, ..MemoryType::new(1, Some(1)) })?;
/// let mut linker = Linker::new(&engine);
/// linker.shared_memory("host", "memory", &memory)?;
/// std::thread::scope(|scope| {
///     for _ in 0..4 {
///         scope.spawn(|| {
///             let mut store = Store::new(&engine, ());
///             let instance = linker.instantiate(&mut store, &module).unwrap();
///             let count = instance.get_typed_func::<(), ()>(&mut store, "count").unwrap();
///             (0..100).for_each(|_| count.call(&mut store, ()).unwrap());
///         });
///     }
/// });
/// let mut bytes = [0; 4];
/// memory.read(0, &mut bytes)?;
/// assert_eq!(u32::from_le_bytes(bytes), 400);
/// # Ok(()) }
/// # #[cfg(not(feature = "compiler"))] fn main() {}
/// ```
#[derive(Clone, Debug)]
pub struct SharedMemory(pub(crate) Arc<SharedData>);

/// How waiting for a notification ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum WaitResult {
    /// Someone notified.
    Ok,
    /// The value was not the expected one.
    Mismatch,
    /// The time was over.
    TimedOut,
}

impl SharedMemory {
    /// A shared memory of zeros. Sizes of the type are in pages. Its whole maximum is reserved as address space.
    ///
    /// An error of kind `Argument` for a type that is not shared or that no memory can have, `System` or `Limit` where there
    /// is no room for it. It is counted by the limits of each store that it is attached to, not before.
    pub fn new(engine: &Engine, ty: MemoryType) -> Result<SharedMemory> {
        if !ty.shared {
            let message = "expected the type of a shared memory, found one that is not shared";
            return Err(Error::new(ErrorKind::Argument, message));
        }
        check_type(&ty)?;
        let plan = engine.config().memory_plan();
        Ok(SharedMemory(Arc::new(SharedData::new(engine, ty, plan)?)))
    }

    /// Are both the same memory?
    pub fn same(a: &SharedMemory, b: &SharedMemory) -> bool {
        Arc::ptr_eq(&a.0, &b.0)
    }

    /// The engine.
    pub fn engine(&self) -> &Engine {
        self.0.engine()
    }

    /// Makes it known to a store, whose limits are asked as for a memory of its own; the same handle each time. An error of
    /// kind `WrongStore` if the store is of another engine, `Limit` if its limits do not allow it.
    pub fn attach(&self, mut store: impl AsContextMut) -> Result<Memory> {
        let mut store = store.as_context_mut();
        self.attach_inner(store.inner_mut())
    }

    pub(crate) fn attach_inner(&self, inner: &mut StoreInner) -> Result<Memory> {
        let index = inner.add_shared(&self.0)?;
        Ok(Memory(Handle { store: inner.id, index }))
    }

    /// Its type; the minimum is its present size in pages.
    pub fn ty(&self) -> MemoryType {
        self.0.ty()
    }

    /// Its size in pages.
    pub fn size(&self) -> u64 {
        self.ty().minimum
    }

    /// Its size in bytes. It may be more by now: other threads grow it.
    pub fn data_size(&self) -> usize {
        self.0.len()
    }

    /// Its first byte, which never moves. The bytes may be written at any time by any thread.
    pub fn data_ptr(&self) -> *mut u8 {
        self.0.base()
    }

    /// Copies bytes out of it, from `offset` in bytes. What is written meanwhile may be seen in part. An error of kind
    /// `OutOfBounds`, and no byte copied, if some of them are outside.
    pub fn read(&self, offset: usize, buffer: &mut [u8]) -> Result<()> {
        match self.0.read(offset, buffer) {
            true => Ok(()),
            false => Err(out_of_bounds(offset, buffer.len(), self.data_size())),
        }
    }

    /// Copies bytes into it, to `offset` in bytes. Others may see a part of them. An error of kind `OutOfBounds`, and no byte
    /// copied, if some of them would be outside.
    pub fn write(&self, offset: usize, buffer: &[u8]) -> Result<()> {
        match self.0.write(offset, buffer) {
            true => Ok(()),
            false => Err(out_of_bounds(offset, buffer.len(), self.data_size())),
        }
    }

    /// Sets `len` bytes from `offset` on. An error of kind `OutOfBounds`, and nothing set, if some would be outside.
    pub fn fill(&self, offset: usize, byte: u8, len: usize) -> Result<()> {
        let end = offset.checked_add(len);
        match end.is_some_and(|end| self.0.fill(offset..end, byte)) {
            true => Ok(()),
            false => Err(out_of_bounds(offset, len, self.data_size())),
        }
    }

    /// Grows it by this many pages, of zeros; gives the old size in pages. An error of kind `Limit` if its type or the
    /// operating system does not allow it. No store's limits are asked.
    pub fn grow(&self, delta: u64) -> Result<u64> {
        let ty = self.0.declared();
        let (unit, most) = (ty.page_size_log2, ty.limit_pages());
        loop {
            let len = self.data_size() as u64;
            let old = len >> unit;
            if delta == 0 {
                return Ok(old);
            }
            let pages = old.checked_add(delta).filter(|pages| *pages <= most).ok_or_else(|| {
                let message = format!(
                    "growing a memory from {old} by {delta} pages: more than its maximum of {most} pages"
                );
                Error::new(ErrorKind::Limit, message)
            })?;
            let grown = self.0.grow(len, pages << unit).map_err(|error| {
                Error::new(ErrorKind::Limit, format!("growing a memory to {} bytes: {error}", pages << unit))
            });
            if grown? {
                return Ok(old);
            }
        }
    }

    /// `memory.atomic.notify`: wakes at most `count` of those who wait at an address in bytes; gives how many. An error as a
    /// trap of wasm, of kind `Trap`, if the address is no multiple of 4 or outside.
    pub fn atomic_notify(&self, address: u64, count: u32) -> Result<u32> {
        let address = wait::check(address, 4, self.data_size()).map_err(Error::from_trap)?;
        Ok(self.0.notify(address, count))
    }

    /// `memory.atomic.wait32`: blocks this thread until someone notifies, if the 4 bytes at an address are `expected`. An
    /// error as for [`SharedMemory::atomic_notify`].
    pub fn atomic_wait32(
        &self,
        address: u64,
        expected: u32,
        timeout: Option<Duration>,
    ) -> Result<WaitResult> {
        self.wait(address, Expected { wide: false, value: u64::from(expected) }, timeout)
    }

    /// `memory.atomic.wait64`, as [`SharedMemory::atomic_wait32`] with 8 bytes at a multiple of 8.
    pub fn atomic_wait64(
        &self,
        address: u64,
        expected: u64,
        timeout: Option<Duration>,
    ) -> Result<WaitResult> {
        self.wait(address, Expected { wide: true, value: expected }, timeout)
    }

    fn wait(&self, address: u64, expected: Expected, timeout: Option<Duration>) -> Result<WaitResult> {
        let address = wait::check(address, expected.bytes(), self.data_size()).map_err(Error::from_trap)?;
        // A time that no clock can tell never comes.
        let deadline = timeout.and_then(|timeout| Instant::now().checked_add(timeout));
        Ok(match self.0.wait_host(address, expected, deadline)? {
            Ended::Notified => WaitResult::Ok,
            Ended::Mismatch => WaitResult::Mismatch,
            Ended::TimedOut => WaitResult::TimedOut,
        })
    }
}

//! Where instances and memories come from: made on demand, or out of a pool of slots that were reserved beforehand.
//!
//! Both ways give the same instances; they differ in what making and dropping one costs, and in what can run out. On
//! demand there is no limit but the machine's, and the engine keeps a few memories that were given back. A pool has so
//! many slots and no more; a slot that ran a module before is as good as new for the next instance of that module
//! without a system call.

use crate::error::{Error, ErrorKind, Result};

/// Where instances and memories come from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Allocation {
    /// Each on its own, when it is asked for.
    OnDemand(OnDemand),
    /// Out of slots that the engine reserves when it is made.
    Pooling(Pooling),
}

impl Default for Allocation {
    fn default() -> Self {
        Allocation::OnDemand(OnDemand::default())
    }
}

/// Settings of allocation on demand.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OnDemand {
    /// Memories that were given back and are kept for the next instance, at most.
    pub cached_memories: usize,
    /// Bytes that all kept memories may hold in RAM.
    pub cached_bytes: usize,
    /// Bytes of a memory that are cleaned by writing them; what is dirty beyond goes back to the system. A memory that is no
    /// larger is compared with what it began as, without a system call; a larger one, however little of it was written,
    /// costs one call that lists what was, where the kernel can (Linux 6.7), and one more to give back what is beyond.
    pub keep_resident: usize,
}

impl Default for OnDemand {
    fn default() -> Self {
        OnDemand { cached_memories: 32, cached_bytes: 8 << 20, keep_resident: 256 << 10 }
    }
}

/// Settings of a pool. The address space of all slots is reserved when the engine is made; RAM is only used by slots that
/// are, or were, in use.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pooling {
    /// Instances that may live at a time.
    pub instances: u32,
    /// Memories that may live at a time.
    pub memories: u32,
    /// Bytes of an instance with its globals, function references and tables, without its memories.
    pub instance_bytes: usize,
    /// Bytes that a memory may grow to.
    pub memory_bytes: u64,
    /// Elements that a table may grow to.
    pub table_elements: u64,
    /// Bytes of a memory that are cleaned by writing them; what is dirty beyond goes back to the system. In a pool of at most
    /// 2,000 memories, a slot that runs the same module again costs no system call and no fault, however large the memory, as
    /// long as guests write to the same parts of it, up to so many bytes: pages can be written only once one has been
    /// written to (a fault, the first time), and only those are compared with what they began as. Of a slot that is written
    /// more, or whose bytes the host borrows by [`Memory::data_mut`](crate::Memory::data_mut) (not
    /// [`Memory::write`](crate::Memory::write)), all is compared if it is no more than so many bytes; else it costs one call
    /// that lists what was written, where the kernel can (Linux 6.7), and one more to give back what is beyond.
    pub keep_resident: usize,
    /// Memory slots that are kept ready for the module they ran last, with up to `keep_resident` bytes of RAM each; the
    /// RAM of others goes back to the system.
    pub warm_memories: u32,
}

impl Default for Pooling {
    fn default() -> Self {
        Pooling {
            instances: 1000,
            memories: 1000,
            instance_bytes: 1 << 20,
            memory_bytes: 1 << 32,
            table_elements: 1 << 16,
            keep_resident: 256 << 10,
            warm_memories: 256,
        }
    }
}

impl Pooling {
    pub(crate) fn validate(&self) -> Result<()> {
        let wrong = |what: &str| Err(Error::new(ErrorKind::Argument, format!("Pooling::{what}")));
        if self.instances == 0 {
            return wrong("instances: expected more than 0");
        }
        if !(1 << 10..=1 << 30).contains(&self.instance_bytes) {
            return wrong("instance_bytes: expected 1 KiB to 1 GiB");
        }
        if self.memory_bytes > 1 << 46 {
            return wrong("memory_bytes: larger than any address space");
        }
        Ok(())
    }
}

/// What a pool is doing. Numbers are of slightly different moments while other threads use it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PoolMetrics {
    /// Instances that live.
    pub instances: u32,
    /// Memories that live.
    pub memories: u32,
    /// Free memory slots that are ready for the module they ran last.
    pub warm_memories: u32,
    /// Instances of a module that a slot had run before, so far.
    pub instances_reused: u64,
    /// Memories that were ready, so far.
    pub memories_reused: u64,
    /// Memories that had to be set up by system calls, so far.
    pub memories_mapped: u64,
}

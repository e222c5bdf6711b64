//! What a store allows its wasm to take.

/// Limits of a store. The default has none but those of the address space.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Bytes that each memory may have; growing beyond gives -1, making a larger one is an error.
    pub memory_bytes: u64,
    /// Elements that each table may have.
    pub table_elements: u64,
    /// Instances that the store may make.
    pub instances: usize,
    /// Memories of its own that the store may have.
    pub memories: usize,
    /// Tables of its own that the store may have.
    pub tables: usize,
    /// Is growing beyond a limit a trap, rather than -1?
    pub trap_on_grow_failure: bool,
}

impl Default for Limits {
    fn default() -> Self {
        Limits {
            memory_bytes: u64::MAX,
            table_elements: u64::MAX,
            instances: usize::MAX,
            memories: usize::MAX,
            tables: usize::MAX,
            trap_on_grow_failure: false,
        }
    }
}

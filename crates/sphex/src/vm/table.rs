//! The elements of tables: 64-bit words, function references by address and host references by index.

use sphex_artifact::vmctx::VmTable;

/// Most elements a table may have: 2^32 - 1 of 8 bytes are more than any host gives us.
pub(crate) const MAXIMUM: u64 = u32::MAX as u64;

/// The storage of a table. `vm`, which compiled code reads, always describes `elements`.
#[derive(Debug)]
pub(crate) struct TableStorage {
    elements: Vec<u64>,
    /// Where compiled code looks; valid as long as the store (V1).
    vm: *mut VmTable,
}

impl TableStorage {
    /// Storage for the table at `vm`, which it fills in.
    ///
    /// # Safety
    ///
    /// `vm` is valid for as long as the storage, and nothing else writes it.
    pub(crate) unsafe fn new(vm: *mut VmTable, len: u64, init: u64) -> Option<TableStorage> {
        let mut table = TableStorage { elements: Vec::new(), vm };
        table.grow(len, init).then_some(table)
    }

    /// The elements.
    pub(crate) fn elements(&self) -> &[u64] {
        // Compiled code may have written them.
        // SAFETY: `vm` describes `elements`, whose words are all initialised.
        unsafe {
            let vm = *self.vm;
            std::slice::from_raw_parts(vm.base, vm.len as usize)
        }
    }

    /// The elements, to be changed.
    pub(crate) fn elements_mut(&mut self) -> &mut [u64] {
        &mut self.elements
    }

    /// Appends `delta` elements; `false` if there is no memory for them.
    pub(crate) fn grow(&mut self, delta: u64, init: u64) -> bool {
        let Ok(delta) = usize::try_from(delta) else { return false };
        let len = self.elements.len();
        if len.saturating_add(delta) as u64 > MAXIMUM || self.elements.try_reserve(delta).is_err() {
            return false;
        }
        self.elements.resize(len + delta, init);
        // SAFETY: `new` was promised that `vm` is valid.
        unsafe {
            *self.vm = VmTable { base: self.elements.as_mut_ptr(), len: self.elements.len() as u64 };
        }
        true
    }

    /// Where compiled code looks.
    pub(crate) fn vm(&self) -> *mut VmTable {
        self.vm
    }
}

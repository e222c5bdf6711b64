//! The elements of tables: 64-bit words, function references by address and host references by index.

use sphex_artifact::vmctx::VmTable;

/// Most elements a table may have: 2^32 - 1 of 8 bytes are more than any host gives us.
pub(crate) const MAXIMUM: u64 = u32::MAX as u64;

/// Most elements that a table has in its instance's own allocation.
pub(crate) const INLINE: u64 = 4096;

/// The storage of a table. `vm`, which compiled code reads, always describes the elements, which are in an allocation of
/// their own, or, as long as the table did not grow, in their instance's.
#[derive(Debug)]
pub(crate) struct TableStorage {
    /// Empty if the elements are the instance's.
    own: Vec<u64>,
    /// Where compiled code looks; valid as long as the store (V1).
    vm: *mut VmTable,
}

impl TableStorage {
    /// Storage for the table at `vm`, which it fills in.
    ///
    /// # Safety
    ///
    /// `vm` is valid for as long as the storage, and nothing else writes it. If `place` is given, that many words there
    /// are this table's alone for as long.
    pub(crate) unsafe fn new(
        vm: *mut VmTable,
        place: Option<*mut u64>,
        len: u64,
        init: u64,
    ) -> Option<TableStorage> {
        let mut table = TableStorage { own: Vec::new(), vm };
        // SAFETY: the caller's promises.
        unsafe {
            *vm = VmTable { base: std::ptr::dangling_mut(), len: 0 };
            let Some(base) = place else { return table.grow(len, init).then_some(table) };
            *vm = VmTable { base, len };
            std::slice::from_raw_parts_mut(base.cast::<std::mem::MaybeUninit<u64>>(), len as usize)
                .fill(std::mem::MaybeUninit::new(init));
        }
        Some(table)
    }

    /// The elements.
    pub(crate) fn elements(&self) -> &[u64] {
        // Compiled code may have written them.
        // SAFETY: `vm` describes the elements, whose words are all initialised.
        unsafe {
            let vm = *self.vm;
            std::slice::from_raw_parts(vm.base, vm.len as usize)
        }
    }

    /// The elements, to be changed.
    pub(crate) fn elements_mut(&mut self) -> &mut [u64] {
        // SAFETY: as above; V2 makes us their only user.
        unsafe {
            let vm = *self.vm;
            std::slice::from_raw_parts_mut(vm.base, vm.len as usize)
        }
    }

    /// Appends `delta` elements; `false` if there is no memory for them.
    pub(crate) fn grow(&mut self, delta: u64, init: u64) -> bool {
        let Ok(delta) = usize::try_from(delta) else { return false };
        let len = self.elements().len();
        if len.saturating_add(delta) as u64 > MAXIMUM {
            return false;
        }
        if delta == 0 {
            return true;
        }
        let mut own = std::mem::take(&mut self.own);
        let old = if own.is_empty() { self.elements() } else { &[] };
        if own.try_reserve(old.len() + delta).is_err() {
            self.own = own;
            return false;
        }
        own.extend_from_slice(old);
        own.resize(len + delta, init);
        // SAFETY: `new` was promised that `vm` is valid.
        unsafe { *self.vm = VmTable { base: own.as_mut_ptr(), len: own.len() as u64 } };
        self.own = own;
        true
    }

    /// Where compiled code looks.
    pub(crate) fn vm(&self) -> *mut VmTable {
        self.vm
    }
}

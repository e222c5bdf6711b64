//! What compiled code finds behind its vmctx register, byte by byte.
//!
//! The structs here are the single truth: compiled code uses their `offset_of!`, the runtime the fields. A vmctx is
//! one allocation, 16-aligned: a [`VmHeader`], then arrays whose offsets [`VmLayout`] computes from a module's counts:
//! imported functions ([`VmFuncImport`]), imported memories (`*mut VmMemory`), imported tables (`*mut VmTable`),
//! imported globals (`*mut VmGlobal`), then what the instance owns: [`VmMemory`], [`VmTable`], [`VmGlobal`] and
//! [`VmFuncRef`]. Only 64-bit little-endian targets are laid out.

use std::mem::{offset_of, size_of};
use std::sync::atomic::AtomicU64;

/// Magic of an instance's vmctx.
pub const INSTANCE_MAGIC: u32 = u32::from_le_bytes(*b"vmcx");
/// Magic of a host function's vmctx ([`VmHostFunc`]).
pub const HOST_MAGIC: u32 = u32::from_le_bytes(*b"vmho");

/// The beginning of an instance's vmctx.
#[derive(Debug)]
#[repr(C)]
pub struct VmHeader {
    /// [`INSTANCE_MAGIC`].
    pub magic: u32,
    /// Zero for now.
    pub flags: u32,
    /// The store.
    pub store: *mut VmStore,
    /// Code pointers of the builtins, in the order of `builtins::BUILTINS`.
    pub builtins: *const *const u8,
    /// Engine-wide type ids (never 0), by the module's type index.
    pub type_ids: *const u32,
    /// The null function reference: its type id is 0, so that a checked call of it fails.
    pub null_funcref: *const VmFuncRef,
    /// The host's own data of the instance; compiled code never reads it.
    pub instance: *mut u8,
}

/// The part of a store that compiled code and stubs touch.
#[derive(Debug)]
#[repr(C)]
pub struct VmStore {
    /// A function whose entry finds its stack pointer at or below it calls the builtin `limit_hit`. All ones
    /// interrupts; any thread may write it.
    pub limit: AtomicU64,
    /// Fuel left, or the part of it that wasm may use before the runtime looks; negative: one was taken that was not there.
    pub fuel: i64,
    /// Frame pointer of the wasm frame that last left to the host (0: none).
    pub exit_fp: u64,
    /// Return address in that frame.
    pub exit_pc: u64,
    /// Stack pointer in the stub that last entered wasm, to which a trap returns.
    pub entry_sp: u64,
    /// Frame pointer there, where a backtrace of this entry ends.
    pub entry_fp: u64,
    /// The true limit of the stack, when `limit` is all ones.
    pub stack_limit: u64,
    /// Code of the trap on its way to the entry (0: none).
    pub trap: u32,
    /// Not 0: a memory of the store has pages that cannot be written until the runtime opens them.
    pub watched: u32,
    /// The host's own data of the store; compiled code never reads it.
    pub host: *mut u8,
    /// Where the host's own frames begin that wasm called last; what wasm has on the stack is above.
    pub exit_sp: u64,
}

/// A linear memory. Where a vmctx has one of a shared memory that the module defines, `base` is the address of the memory's
/// own, which stores share and of which only the length ever changes.
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub struct VmMemory {
    /// Its first byte.
    pub base: *mut u8,
    /// Its bytes.
    pub len: u64,
}

/// A table. Elements are 8 bytes: a `*const VmFuncRef`, or a zero-extended 32-bit host reference.
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub struct VmTable {
    /// Its first element.
    pub base: *mut u64,
    /// Number of elements.
    pub len: u64,
}

/// Bytes of a table's element.
pub const TABLE_ELEMENT_BYTES: u32 = 8;

/// A global: the value's little-endian bytes first, then zeros. A function reference is a pointer, a host reference
/// is 32 bits.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C, align(16))]
pub struct VmGlobal {
    /// The value.
    pub bytes: [u8; 16],
}

impl VmGlobal {
    /// The low 32 bits.
    pub fn u32(&self) -> u32 {
        self.u128() as u32
    }

    /// The low 64 bits.
    pub fn u64(&self) -> u64 {
        self.u128() as u64
    }

    /// All bits.
    pub fn u128(&self) -> u128 {
        u128::from_le_bytes(self.bytes)
    }

    /// A global with these bits.
    pub const fn new(bits: u128) -> VmGlobal {
        VmGlobal { bytes: bits.to_le_bytes() }
    }
}

/// A reference to a function. Immutable once made.
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub struct VmFuncRef {
    /// Where to call.
    pub code: *const u8,
    /// The vmctx to call with: a `VmHeader`, or a [`VmHostFunc`].
    pub vmctx: *mut u8,
    /// Engine-wide id of its type; 0 in the null reference.
    pub type_id: u32,
    /// [`FUNCREF_HOST`].
    pub flags: u32,
    /// Its index in the module that defines it (host functions: free for the host).
    pub function: u32,
    /// Zero.
    pub reserved: u32,
}

/// Flag of a [`VmFuncRef`]: `vmctx` is a [`VmHostFunc`].
pub const FUNCREF_HOST: u32 = 1;

/// An imported function.
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub struct VmFuncImport {
    /// Where to call.
    pub code: *const u8,
    /// The vmctx to call with.
    pub vmctx: *mut u8,
}

/// What a host function gets: its environment, the caller's vmctx, and the image of registers and stack, which holds
/// the arguments and receives the results.
pub type HostCall = unsafe extern "C" fn(env: *mut u8, caller_vmctx: *mut VmHeader, image: *mut Image);

/// The vmctx of a host function. The exit stub finds it in the vmctx register.
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub struct VmHostFunc {
    /// [`HOST_MAGIC`].
    pub magic: u32,
    /// Bytes of stack arguments, which the stub pops.
    pub stack_bytes: u32,
    /// The store, at the same offset as in [`VmHeader`].
    pub store: *mut VmStore,
    /// What to call.
    pub call: HostCall,
    /// Its first argument.
    pub env: *mut u8,
}

/// Registers and stack arguments at the border between host and wasm; `convention` says which value is where.
#[derive(Clone, Copy, Debug)]
#[repr(C, align(16))]
pub struct Image {
    /// Integer argument and result registers, in the convention's order.
    pub int: [u64; 8],
    /// Vector argument and result registers, in the convention's order.
    pub vector: [[u64; 2]; 8],
    /// Stack arguments: the area to copy (enter), or the caller's area in place (exit).
    pub stack: *mut u8,
    /// Bytes of stack arguments, a multiple of 16.
    pub stack_bytes: u64,
}

/// Byte offsets within [`VmHeader`].
pub mod header {
    use super::*;

    /// Of `store`.
    pub const STORE: u32 = offset_of!(VmHeader, store) as u32;
    /// Of `builtins`.
    pub const BUILTINS: u32 = offset_of!(VmHeader, builtins) as u32;
    /// Of `type_ids`.
    pub const TYPE_IDS: u32 = offset_of!(VmHeader, type_ids) as u32;
    /// Of `null_funcref`.
    pub const NULL_FUNCREF: u32 = offset_of!(VmHeader, null_funcref) as u32;
}

/// Byte offsets within [`VmStore`].
pub mod store {
    use super::*;

    /// Of `limit`.
    pub const LIMIT: u32 = offset_of!(VmStore, limit) as u32;
    /// Of `fuel`.
    pub const FUEL: u32 = offset_of!(VmStore, fuel) as u32;
}

/// Byte offsets within [`VmMemory`].
pub mod memory {
    use super::*;

    /// Of `base`.
    pub const BASE: u32 = offset_of!(VmMemory, base) as u32;
    /// Of the address of a shared memory's own [`VmMemory`], in that of a vmctx.
    pub const SHARED: u32 = BASE;
    /// Of `len`.
    pub const LEN: u32 = offset_of!(VmMemory, len) as u32;
}

/// Byte offsets within [`VmTable`].
pub mod table {
    use super::*;

    /// Of `base`.
    pub const BASE: u32 = offset_of!(VmTable, base) as u32;
    /// Of `len`.
    pub const LEN: u32 = offset_of!(VmTable, len) as u32;
}

/// Byte offsets within [`VmFuncRef`].
pub mod funcref {
    use super::*;

    /// Of `code`.
    pub const CODE: u32 = offset_of!(VmFuncRef, code) as u32;
    /// Of `vmctx`.
    pub const VMCTX: u32 = offset_of!(VmFuncRef, vmctx) as u32;
    /// Of `type_id`.
    pub const TYPE_ID: u32 = offset_of!(VmFuncRef, type_id) as u32;
}

/// Byte offsets within [`VmFuncImport`].
pub mod func_import {
    use super::*;

    /// Of `code`.
    pub const CODE: u32 = offset_of!(VmFuncImport, code) as u32;
    /// Of `vmctx`.
    pub const VMCTX: u32 = offset_of!(VmFuncImport, vmctx) as u32;
}

/// The numbers that decide a vmctx's layout.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Imported functions.
    pub imported_functions: u32,
    /// Imported memories.
    pub imported_memories: u32,
    /// Imported tables.
    pub imported_tables: u32,
    /// Imported globals.
    pub imported_globals: u32,
    /// Memories defined.
    pub memories: u32,
    /// Tables defined.
    pub tables: u32,
    /// Globals defined.
    pub globals: u32,
    /// Functions that escape.
    pub funcrefs: u32,
}

/// A module with so many things that its vmctx would pass 2 GiB.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the instance's context would be larger than 2 GiB")]
pub struct TooLarge;

/// Where everything stands in a vmctx, in bytes from its start. Offsets fit an `i32`.
///
/// The offset functions take the position within their array (for defined things: the index minus the imported
/// ones). They expect a position below the count; one beyond gives an offset of something else, never a panic.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct VmLayout {
    counts: Counts,
    imported_functions: u32,
    imported_memories: u32,
    imported_tables: u32,
    imported_globals: u32,
    memories: u32,
    tables: u32,
    globals: u32,
    funcrefs: u32,
    size: u32,
}

const POINTER: u32 = 8;

impl VmLayout {
    /// The layout for these counts.
    pub fn new(counts: &Counts) -> Result<VmLayout, TooLarge> {
        let mut end = size_of::<VmHeader>() as u64;
        let mut array = |count: u32, stride: u32, align: u64| -> Result<u32, TooLarge> {
            let start = end.next_multiple_of(align);
            end = start + u64::from(count) * u64::from(stride);
            if end > i32::MAX as u64 { Err(TooLarge) } else { Ok(start as u32) }
        };
        let imported_functions = array(counts.imported_functions, size_of::<VmFuncImport>() as u32, 8)?;
        let imported_memories = array(counts.imported_memories, POINTER, 8)?;
        let imported_tables = array(counts.imported_tables, POINTER, 8)?;
        let imported_globals = array(counts.imported_globals, POINTER, 8)?;
        let memories = array(counts.memories, size_of::<VmMemory>() as u32, 8)?;
        let tables = array(counts.tables, size_of::<VmTable>() as u32, 8)?;
        let globals = array(counts.globals, size_of::<VmGlobal>() as u32, 16)?;
        let funcrefs = array(counts.funcrefs, size_of::<VmFuncRef>() as u32, 16)?;
        let size = array(0, 0, 16)?;
        Ok(VmLayout {
            counts: *counts,
            imported_functions,
            imported_memories,
            imported_tables,
            imported_globals,
            memories,
            tables,
            globals,
            funcrefs,
            size,
        })
    }

    /// The counts it was made for.
    pub const fn counts(&self) -> &Counts {
        &self.counts
    }

    /// Bytes of the whole vmctx, a multiple of 16.
    pub const fn size(&self) -> u32 {
        self.size
    }

    /// Of the [`VmFuncImport`] of imported function `i`.
    pub const fn imported_function(&self, i: u32) -> u32 {
        at(self.imported_functions, i, size_of::<VmFuncImport>())
    }

    /// Of the `*mut VmMemory` of imported memory `i`.
    pub const fn imported_memory(&self, i: u32) -> u32 {
        at(self.imported_memories, i, POINTER as usize)
    }

    /// Of the `*mut VmTable` of imported table `i`.
    pub const fn imported_table(&self, i: u32) -> u32 {
        at(self.imported_tables, i, POINTER as usize)
    }

    /// Of the `*mut VmGlobal` of imported global `i`.
    pub const fn imported_global(&self, i: u32) -> u32 {
        at(self.imported_globals, i, POINTER as usize)
    }

    /// Of the [`VmMemory`] of defined memory `i`.
    pub const fn memory(&self, i: u32) -> u32 {
        at(self.memories, i, size_of::<VmMemory>())
    }

    /// Of the [`VmTable`] of defined table `i`.
    pub const fn table(&self, i: u32) -> u32 {
        at(self.tables, i, size_of::<VmTable>())
    }

    /// Of the [`VmGlobal`] of defined global `i`.
    pub const fn global(&self, i: u32) -> u32 {
        at(self.globals, i, size_of::<VmGlobal>())
    }

    /// Of the [`VmFuncRef`] number `i` (`Function::funcref`).
    pub const fn funcref(&self, i: u32) -> u32 {
        at(self.funcrefs, i, size_of::<VmFuncRef>())
    }
}

const fn at(start: u32, i: u32, stride: usize) -> u32 {
    start.wrapping_add(i.wrapping_mul(stride as u32))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::mem::align_of;

    #[test]
    fn sizes_and_offsets_are_pinned() {
        assert_eq!(size_of::<VmHeader>(), 48);
        assert_eq!(
            [header::STORE, header::BUILTINS, header::TYPE_IDS, header::NULL_FUNCREF],
            [8, 16, 24, 32]
        );
        assert_eq!(offset_of!(VmHeader, instance), 40);
        assert_eq!(size_of::<VmStore>(), 80);
        assert_eq!([store::LIMIT, store::FUEL], [0, 8]);
        assert_eq!(
            [
                offset_of!(VmStore, exit_fp),
                offset_of!(VmStore, exit_pc),
                offset_of!(VmStore, entry_sp),
                offset_of!(VmStore, entry_fp),
                offset_of!(VmStore, stack_limit),
                offset_of!(VmStore, trap),
                offset_of!(VmStore, host),
                offset_of!(VmStore, exit_sp),
            ],
            [16, 24, 32, 40, 48, 56, 64, 72]
        );
        assert_eq!((size_of::<VmMemory>(), memory::BASE, memory::LEN), (16, 0, 8));
        assert_eq!((size_of::<VmTable>(), table::BASE, table::LEN), (16, 0, 8));
        assert_eq!((size_of::<VmGlobal>(), align_of::<VmGlobal>()), (16, 16));
        assert_eq!(size_of::<VmFuncRef>(), 32);
        assert_eq!([funcref::CODE, funcref::VMCTX, funcref::TYPE_ID], [0, 8, 16]);
        assert_eq!((size_of::<VmFuncImport>(), func_import::CODE, func_import::VMCTX), (16, 0, 8));
        assert_eq!(size_of::<VmHostFunc>(), 32);
        assert_eq!(offset_of!(VmHostFunc, store), offset_of!(VmHeader, store));
        assert_eq!((offset_of!(VmHostFunc, call), offset_of!(VmHostFunc, env)), (16, 24));
        assert_eq!((size_of::<Image>(), align_of::<Image>()), (208, 16));
        assert_eq!((offset_of!(Image, vector), offset_of!(Image, stack)), (64, 192));
    }

    #[test]
    fn arrays_follow_each_other_without_overlap() {
        let counts = Counts {
            imported_functions: 3,
            imported_memories: 1,
            imported_tables: 2,
            imported_globals: 2,
            memories: 2,
            tables: 1,
            globals: 5,
            funcrefs: 7,
        };
        let l = VmLayout::new(&counts).unwrap();
        assert_eq!(l.imported_function(0), 48);
        assert_eq!(l.imported_memory(0), 96);
        assert_eq!(l.imported_table(0), 104);
        assert_eq!(l.imported_global(0), 120);
        assert_eq!(l.memory(0), 136);
        assert_eq!(l.table(0), 168);
        assert_eq!(l.global(0), 192);
        assert_eq!(l.funcref(0), 272);
        assert_eq!((l.funcref(7), l.size()), (496, 496));
        assert_eq!(VmLayout::new(&Counts::default()).unwrap().size(), 48);
        assert_eq!(VmLayout::new(&Counts { globals: 1 << 27, ..counts }), Err(TooLarge));
        assert_eq!(VmLayout::new(&Counts { funcrefs: u32::MAX, ..counts }), Err(TooLarge));
        assert!(VmLayout::new(&Counts { globals: 100_000_000, ..Counts::default() }).is_ok());
    }
}

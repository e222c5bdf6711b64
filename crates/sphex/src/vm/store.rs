//! The state of a store, without its embedder's data: what handles refer to, and what wasm and stubs reach by pointer.

use std::any::Any;
use std::num::NonZeroU64;
use std::ptr::{self, NonNull};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use rustc_hash::FxHashMap;
use smallvec::SmallVec;
use sphex_artifact::module::MemoryPlan;
use sphex_artifact::types::{GlobalType, MemoryType, TableType, ValType};
use sphex_artifact::vmctx::{FUNCREF_HOST, HOST_MAGIC, VmFuncRef, VmGlobal, VmHeader, VmHostFunc};

use super::activation::{Plain, Saved, Words};
use super::call::HostFunc;
use super::fiber::Control;
use super::heap::Heap;
use super::hosts::{HostEntry, Hosts};
use super::instance::InstanceData;
use super::limiter::Limiter;
use super::memory::{LinearMemory, Storage};
use super::shared::SharedData;
use super::slot::InitialImage;
use super::stop::SharedVm;
use super::table::TableStorage;
use crate::engine::{Engine, Signature};
use crate::epoch::Deadlines;
use crate::error::{Error, ErrorKind, Result};
use crate::externref::ExternRef;
use crate::fuel::Tank;
use crate::hostinfo::HostInfo;
use crate::limits::{Resource, StoreLimits};
use crate::roots::Roots;

/// One value at an address that stays, freed with its owner. Others keep pointers to it.
#[derive(Debug)]
pub(crate) struct Pinned<V>(NonNull<V>);

impl<V> Pinned<V> {
    /// Puts a value at an address of its own.
    pub(crate) fn new(value: V) -> Pinned<V> {
        Pinned(NonNull::from(Box::leak(Box::new(value))))
    }

    /// The address.
    pub(crate) fn as_ptr(&self) -> *mut V {
        self.0.as_ptr()
    }
}

impl<V> Drop for Pinned<V> {
    fn drop(&mut self) {
        // SAFETY: it came from a box, and whoever has the address lives no longer than the store (V1).
        drop(unsafe { Box::from_raw(self.0.as_ptr()) });
    }
}

/// A function that a handle refers to.
#[derive(Debug)]
pub(crate) struct FuncEntry {
    /// What wasm knows it by.
    pub(crate) funcref: *const VmFuncRef,
    /// Its type and where its values are.
    pub(crate) signature: Arc<Signature>,
}

/// So many functions are looked up one by one.
pub(super) const FEW: usize = 16;

/// What makes a function the same as another: the vmctx that it is called with, and its number there.
///
/// # Safety
///
/// The function reference is valid.
unsafe fn key_of(funcref: *const VmFuncRef) -> (usize, u32) {
    // SAFETY: the caller's promise.
    unsafe { ((*funcref).vmctx as usize, (*funcref).function) }
}

/// A memory that a handle refers to.
#[derive(Debug)]
pub(crate) struct MemoryEntry {
    pub(crate) storage: Storage,
    pub(crate) ty: MemoryType,
    _own: Option<Pinned<sphex_artifact::vmctx::VmMemory>>,
}

/// A table that a handle refers to.
#[derive(Debug)]
pub(crate) struct TableEntry {
    pub(crate) storage: TableStorage,
    pub(crate) ty: TableType,
    _own: Option<Pinned<sphex_artifact::vmctx::VmTable>>,
}

/// A global that a handle refers to.
#[derive(Debug)]
pub(crate) struct GlobalEntry {
    pub(crate) vm: *mut VmGlobal,
    pub(crate) ty: GlobalType,
    _own: Option<Pinned<VmGlobal>>,
}

/// What is on its way out of wasm, beside the trap code in `VmStore.trap`.
pub(crate) enum Pending {
    /// An error (a trap is one, too).
    Error(Error),
    /// A panic of the host.
    Panic(Box<dyn Any + Send>),
}

/// `VmStore.trap` when `Pending` says what happened.
pub(crate) const TRAP_PENDING: u32 = 1 << 16;

/// A store without the embedder's data.
pub struct StoreInner {
    pub(crate) id: NonZeroU64,
    pub(crate) engine: Engine,
    pub(crate) vm: Arc<SharedVm>,
    pub(crate) funcs: SmallVec<[FuncEntry; 4]>,
    /// Functions by vmctx and number, once there are more than `FEW`.
    func_of: FxHashMap<(usize, u32), u32>,
    hosts: Hosts,
    pub(crate) memories: SmallVec<[MemoryEntry; 1]>,
    pub(crate) tables: SmallVec<[TableEntry; 1]>,
    pub(crate) globals: Vec<GlobalEntry>,
    pub(crate) instances: Vec<InstanceData>,
    pub(crate) heap: Heap,
    pub(crate) roots: Roots,
    pub(crate) host_info: HostInfo,
    pub(crate) limiter: Limiter,
    pub(crate) deadlines: Deadlines,
    pub(crate) tank: Tank,
    /// Where the embedder's data is (V5).
    pub(crate) data: *mut u8,
    /// How far behind this.
    data_offset: usize,
    /// What entries found that are not plain: those within others, and those on a fiber.
    pub(crate) activations: Vec<Saved>,
    pub(crate) pending: Option<Pending>,
    pub(crate) plain: Plain,
    /// The fiber that the innermost entry may suspend; null where suspension is off.
    pub(crate) fiber: *mut Control,
}

// SAFETY: the raw pointers point to things that the store owns (V1) or that are immutable and live longer; a store is
// used by one thread at a time (V2). What the embedder puts in (host functions, references) is Send and Sync by bounds.
unsafe impl Send for StoreInner {}
// SAFETY: `&StoreInner` only reads, and nothing writes while there is one.
unsafe impl Sync for StoreInner {}

/// The null function reference: one in the process, so that modules and stores agree on it.
struct Null(VmFuncRef);
// SAFETY: it is never written and its pointers are null.
unsafe impl Sync for Null {}
static NULL: Null = Null(VmFuncRef {
    code: ptr::null(),
    vmctx: ptr::null_mut(),
    type_id: 0,
    flags: 0,
    function: 0,
    reserved: 0,
});

/// The address of the null function reference.
pub(crate) fn null_funcref() -> *const VmFuncRef {
    &NULL.0
}

static NEXT_ID: AtomicU64 = AtomicU64::new(1);

impl StoreInner {
    /// An empty store.
    pub(crate) fn new(engine: Engine) -> StoreInner {
        let id = NEXT_ID.fetch_add(1, Ordering::Relaxed);
        StoreInner {
            // 2^64 stores are never made.
            id: NonZeroU64::new(id).unwrap_or(NonZeroU64::MAX),
            engine,
            vm: Arc::new(SharedVm::new()),
            funcs: SmallVec::new(),
            func_of: FxHashMap::default(),
            hosts: Hosts::default(),
            memories: SmallVec::new(),
            tables: SmallVec::new(),
            globals: Vec::new(),
            instances: Vec::new(),
            heap: Heap::default(),
            roots: Roots::default(),
            host_info: HostInfo::default(),
            limiter: Limiter::Numbers(StoreLimits::default()),
            deadlines: Deadlines::default(),
            tank: Tank::default(),
            data: ptr::null_mut(),
            data_offset: 0,
            activations: Vec::new(),
            pending: None,
            plain: Plain::default(),
            fiber: ptr::null_mut(),
        }
    }

    /// The word that wasm takes fuel from.
    pub(crate) fn fuel_word(&self) -> i64 {
        // SAFETY: V1, V2.
        unsafe { (*self.vm.as_ptr()).fuel }
    }

    /// Sets the word that wasm takes fuel from.
    pub(crate) fn set_fuel_word(&mut self, fuel: i64) {
        // SAFETY: V1, V2.
        unsafe { (*self.vm.as_ptr()).fuel = fuel }
    }

    /// The handle's index of a function; `None` for null.
    pub(crate) fn intern_func(&mut self, funcref: *const VmFuncRef) -> Option<u32> {
        if funcref.is_null() || funcref == null_funcref() {
            return None;
        }
        // SAFETY: function references live as long as the store (V1) and are never written.
        let (key, type_id) = unsafe { (key_of(funcref), (*funcref).type_id) };
        if let Some(index) = self.find_func(key) {
            return Some(index);
        }
        let signature = self.engine.signature(type_id)?;
        Some(self.add_func(FuncEntry { funcref, signature }))
    }

    fn find_func(&self, key: (usize, u32)) -> Option<u32> {
        if self.funcs.len() > FEW {
            return self.func_of.get(&key).copied();
        }
        // SAFETY: as in `intern_func`.
        self.funcs.iter().position(|entry| unsafe { key_of(entry.funcref) } == key).map(|at| at as u32)
    }

    fn add_func(&mut self, entry: FuncEntry) -> u32 {
        let index = self.funcs.len();
        self.funcs.push(entry);
        if index >= FEW {
            let first = if index == FEW { 0 } else { index };
            for (at, entry) in self.funcs.iter().enumerate().skip(first) {
                // SAFETY: as in `intern_func`.
                self.func_of.insert(unsafe { key_of(entry.funcref) }, at as u32);
            }
        }
        index as u32
    }

    /// Makes a host function known; its handle's index.
    pub(crate) fn add_host_func(&mut self, func: &Arc<HostFunc>) -> u32 {
        if let Some(index) = self.hosts.find(func) {
            return index;
        }
        let index = self.funcs.len() as u32;
        let at = self.hosts.push(HostEntry {
            vm: VmHostFunc {
                magic: HOST_MAGIC,
                stack_bytes: func.signature.placement.stack_bytes,
                store: self.vm.as_ptr(),
                call: func.call,
                env: ptr::null_mut(),
            },
            funcref: VmFuncRef {
                code: func.code,
                vmctx: ptr::null_mut(),
                type_id: func.signature.id,
                flags: FUNCREF_HOST,
                function: 0,
                reserved: 0,
            },
            body: (&raw const *func.body).cast(),
            index,
            func: func.clone(),
        });
        // SAFETY: the entry was just made and no one else has its address; the fields' addresses stay (V1).
        let funcref = unsafe {
            (*at).vm.env = at.cast();
            (*at).funcref.vmctx = (&raw mut (*at).vm).cast();
            &raw const (*at).funcref
        };
        self.add_func(FuncEntry { funcref, signature: func.signature.clone() })
    }

    /// Makes room for so many host functions, at once.
    pub(crate) fn reserve_host_funcs(&mut self, count: usize) {
        self.hosts.reserve(count);
    }

    /// Adds a memory; compiled code finds it at `vm`, or at a place of its own.
    pub(crate) fn add_memory(
        &mut self,
        vm: Option<*mut sphex_artifact::vmctx::VmMemory>,
        ty: MemoryType,
        plan: MemoryPlan,
        image: Option<InitialImage<'_>>,
    ) -> Result<u32> {
        self.check_count(Resource::Memories, self.memories.len())?;
        let unit = ty.page_size_log2;
        let bytes = ty.minimum_bytes().ok_or_else(|| {
            limit(format!("a memory of {} pages: larger than any address space", ty.minimum))
        })?;
        let maximum = ty.maximum.map(|pages| pages.saturating_mul(1 << unit));
        self.check_growth(true, 0, bytes, maximum)??;
        if ty.shared {
            let memory = Arc::new(SharedData::new(&self.engine, ty, plan)?);
            if let Some(vm) = vm {
                let (base, len) = (memory.vm().cast(), 0);
                // SAFETY: in a vmctx of this store (V1); compiled code finds a shared memory through it (V6).
                unsafe { *vm = sphex_artifact::vmctx::VmMemory { base, len } }
            }
            return Ok(self.push_shared(memory));
        }
        let own = match vm {
            Some(_) => None,
            None => Some(Pinned::new(sphex_artifact::vmctx::VmMemory { base: ptr::null_mut(), len: 0 })),
        };
        let at = vm.or(own.as_ref().map(Pinned::as_ptr)).unwrap_or(ptr::null_mut());
        // SAFETY: `at` is in a vmctx of this store, or our own; both live as long as the store (V1). The image is of a
        // module that an instance of this store keeps, and `drop` releases memories before instances.
        let storage = unsafe { LinearMemory::new(self.engine.allocator(), at, plan, bytes, image)? };
        if storage.is_watched() {
            // SAFETY: V1, and V2: no one else uses it.
            unsafe { (*self.vm.as_ptr()).watched = 1 }
        }
        self.memories.push(MemoryEntry { storage: Storage::Own(storage), ty, _own: own });
        Ok(self.memories.len() as u32 - 1)
    }

    fn push_shared(&mut self, memory: Arc<SharedData>) -> u32 {
        let ty = *memory.declared();
        self.memories.push(MemoryEntry { storage: Storage::Shared(memory), ty, _own: None });
        self.memories.len() as u32 - 1
    }

    /// Makes a shared memory known; its handle's index. The limits are asked as for a memory that is made.
    pub(crate) fn add_shared(&mut self, memory: &Arc<SharedData>) -> Result<u32> {
        let same = |entry: &MemoryEntry| entry.storage.shared().is_some_and(|own| Arc::ptr_eq(own, memory));
        if let Some(known) = self.memories.iter().position(same) {
            return Ok(known as u32);
        }
        if !Engine::same(&self.engine, memory.engine()) {
            let message = "the shared memory and the store are of different engines";
            return Err(Error::new(ErrorKind::WrongStore, message));
        }
        self.check_count(Resource::Memories, self.memories.len())?;
        let ty = memory.declared();
        let maximum = ty.maximum.map(|pages| pages.saturating_mul(1 << ty.page_size_log2));
        self.check_growth(true, 0, memory.len() as u64, maximum)??;
        Ok(self.push_shared(memory.clone()))
    }

    /// Adds a table; compiled code finds it at `vm`, or at a place of its own.
    pub(crate) fn add_table(
        &mut self,
        vm: Option<(*mut sphex_artifact::vmctx::VmTable, Option<*mut u64>)>,
        ty: TableType,
        init: u64,
    ) -> Result<u32> {
        let fits = self.engine.allocator().table_elements();
        if ty.minimum > fits {
            return Err(limit(format!(
                "a table does not fit the pool: expected at most {fits} elements (Pooling::table_elements), found {}",
                ty.minimum
            )));
        }
        self.check_count(Resource::Tables, self.tables.len())?;
        self.check_growth(false, 0, ty.minimum, ty.maximum)??;
        let own = match vm {
            Some(_) => None,
            None => Some(Pinned::new(sphex_artifact::vmctx::VmTable { base: ptr::null_mut(), len: 0 })),
        };
        let (at, place) = match (vm, &own) {
            (Some((vm, place)), _) => (vm, place),
            (None, own) => (own.as_ref().map_or(ptr::null_mut(), Pinned::as_ptr), None),
        };
        // SAFETY: as for memories; an instance's `place` is in the same allocation as `vm`.
        let storage = unsafe { TableStorage::new(at, place, ty.minimum, init) }
            .ok_or_else(|| limit(format!("no memory for a table of {} elements", ty.minimum)))?;
        self.tables.push(TableEntry { storage, ty, _own: own });
        Ok(self.tables.len() as u32 - 1)
    }

    /// Adds a global of an instance.
    pub(crate) fn add_global(&mut self, vm: *mut VmGlobal, ty: GlobalType) -> u32 {
        self.globals.push(GlobalEntry { vm, ty, _own: None });
        self.globals.len() as u32 - 1
    }

    /// Adds a global of the host.
    pub(crate) fn add_host_global(&mut self, ty: GlobalType, bits: u128) -> u32 {
        let own = Pinned::new(VmGlobal::new(bits));
        self.globals.push(GlobalEntry { vm: own.as_ptr(), ty, _own: Some(own) });
        self.globals.len() as u32 - 1
    }

    /// A global's bits.
    pub(crate) fn global_bits(&self, index: usize) -> u128 {
        // SAFETY: V1, V2.
        unsafe { (*self.globals[index].vm).u128() }
    }

    /// Sets a global's bits, which suit its type.
    pub(crate) fn set_global_bits(&mut self, index: usize, bits: u128) {
        // SAFETY: V1, V2.
        unsafe { *self.globals[index].vm = VmGlobal::new(bits) }
    }

    /// Grows a memory; the old size in pages, or why it does not grow.
    pub(crate) fn grow_memory(&mut self, index: usize, delta: u64) -> Result<Result<u64>> {
        let entry = &self.memories[index];
        let (unit, most) = (entry.ty.page_size_log2, entry.ty.limit_pages());
        let bytes = |pages: u64| pages.saturating_mul(1 << unit);
        let refused = loop {
            // Another thread may grow a shared memory between the questions: then they are asked again.
            let len = self.memories[index].storage.len() as u64;
            let old = len >> unit;
            if delta == 0 {
                return Ok(Ok(old));
            }
            let Some(pages) = old.checked_add(delta).filter(|pages| *pages <= most) else {
                break limit(format!(
                    "growing a memory from {old} by {delta} pages: more than its maximum of {most} pages"
                ));
            };
            if let Err(refused) = self.check_growth(true, len, bytes(pages), Some(bytes(most)))? {
                break refused;
            }
            match self.memories[index].storage.grow(len, bytes(pages)) {
                Ok(true) => return Ok(Ok(old)),
                Ok(false) => {}
                Err(error) => break limit(format!("growing a memory to {} bytes: {error}", bytes(pages))),
            }
        };
        let told = limit(refused.message().to_owned());
        self.grow_failed(true, refused)?;
        Ok(Err(told))
    }

    /// Grows a table; the old size, or why it does not grow.
    pub(crate) fn grow_table(&mut self, index: usize, delta: u64, init: u64) -> Result<Result<u64>> {
        let entry = &self.tables[index];
        let (old, maximum) = (entry.storage.elements().len() as u64, entry.ty.maximum);
        if delta == 0 {
            return Ok(Ok(old));
        }
        let most = maximum.unwrap_or(u64::MAX).min(super::table::MAXIMUM);
        let refused = match old.checked_add(delta).filter(|new| *new <= most) {
            None => limit(format!(
                "growing a table from {old} by {delta} elements: more than its maximum of {most} elements"
            )),
            Some(new) if new > self.engine.allocator().table_elements() => {
                limit(format!("growing a table to {new} elements: more than Pooling::table_elements"))
            }
            Some(new) => match self.check_growth(false, old, new, maximum)? {
                Err(refused) => refused,
                Ok(()) if self.tables[index].storage.grow(delta, init) => return Ok(Ok(old)),
                Ok(()) => limit(format!("growing a table to {new} elements: no memory for them")),
            },
        };
        let told = limit(refused.message().to_owned());
        self.grow_failed(false, refused)?;
        Ok(Err(told))
    }

    /// Makes room for `count` host references, before they are converted (H2).
    pub(crate) fn reserve_refs(&mut self, count: usize) {
        if count > 0 && !self.heap.has_room(count) {
            self.collect();
        }
    }

    /// Lets go of host references that nothing holds any more.
    pub(crate) fn collect(&mut self) {
        self.heap.clear_marks();
        for bits in self.roots.bits() {
            self.heap.mark(bits);
        }
        self.mark_stack();
        for table in self.tables.iter().filter(|t| t.ty.element == sphex_artifact::RefType::Extern) {
            for &element in table.storage.elements() {
                self.heap.mark(element as u32);
            }
        }
        for global in self.globals.iter().filter(|g| g.ty.value == ValType::ExternRef) {
            // SAFETY: V1, V2.
            self.heap.mark(unsafe { (*global.vm).u32() });
        }
        for instance in &self.instances {
            for global in instance.externref_globals() {
                // SAFETY: V1, V2.
                self.heap.mark(unsafe { (*global).u32() });
            }
        }
        // The embedder's destructors run when the heap is consistent again.
        drop(self.heap.sweep());
    }

    /// Marks what the frames of running wasm may hold: every aligned word between where wasm called the host and where it
    /// was entered, for each entry. (What host functions hold, they own.) The stack of an outer entry may be another
    /// thread's, which waits for this one.
    fn mark_stack(&mut self) {
        // SAFETY: V1.
        let (low, high) = unsafe { ((*self.vm.as_ptr()).exit_sp, (*self.vm.as_ptr()).entry_fp) };
        if high == 0 {
            return;
        }
        self.mark_words(low as usize, high as usize);
        for i in 0..self.activations.len() {
            let Words { exit_sp, entry_fp, .. } = self.activations[i].words;
            self.mark_words(exit_sp as usize, entry_fp as usize);
        }
    }

    fn mark_words(&mut self, low: usize, high: usize) {
        self.heap.count_scanned(high.saturating_sub(low) / 4);
        for at in (low.next_multiple_of(4)..high).step_by(4) {
            // SAFETY: the words between a frame that is running and its entry's are of one stack, and mapped.
            let word = unsafe { ptr::read_volatile(ptr::with_exposed_provenance::<u32>(at)) };
            self.heap.mark(word);
        }
    }

    /// The bits of a host reference, after `reserve_refs`.
    pub(crate) fn ref_bits(&mut self, value: Option<ExternRef>) -> Result<u32> {
        match value {
            None => Ok(0),
            Some(value) => self.heap.insert(value).map_err(|_| limit("too many host references".to_string())),
        }
    }
}

fn limit(message: String) -> Error {
    Error::new(ErrorKind::Limit, message)
}

impl Drop for StoreInner {
    fn drop(&mut self) {
        self.forget_deadlines();
        // SAFETY: no wasm of this store runs any more; a pointer to it must not stay behind in what handles keep.
        unsafe { (*self.vm.as_ptr()).host = ptr::null_mut() }
        for memory in self.memories.drain(..) {
            if let Storage::Own(memory) = memory.storage {
                // SAFETY: it came from this engine's allocator; the instances, which keep the images, are dropped later.
                unsafe { memory.release(self.engine.allocator()) }
            }
        }
    }
}

/// A store and its embedder's data. `inner` comes first, so that a pointer to one is a pointer to the other.
#[repr(C)]
pub(crate) struct StoreData<T> {
    pub(crate) inner: StoreInner,
    pub(crate) data: T,
}

impl<T> StoreData<T> {
    /// The inner half, which from now on finds the data through this borrow (V5).
    pub(crate) fn inner_mut(&mut self) -> &mut StoreInner {
        self.find_data();
        &mut self.inner
    }

    fn find_data(&mut self) {
        self.inner.data = (&raw mut self.data).cast();
    }

    /// A pointer for the stubs, from which both parts can be reached again.
    pub(crate) fn as_inner_ptr(&mut self) -> StorePtr {
        StorePtr(NonNull::from(self).cast())
    }
}

/// A pointer to a store's `inner` that may be cast back to the whole `StoreData`.
#[derive(Clone, Copy, Debug)]
pub(crate) struct StorePtr(pub(crate) NonNull<StoreInner>);

/// A store at an address that stays.
pub(crate) struct StoreBox<T>(NonNull<StoreData<T>>);

// SAFETY: it owns the store like a box.
unsafe impl<T: Send> Send for StoreBox<T> {}
// SAFETY: as above.
unsafe impl<T: Sync> Sync for StoreBox<T> {}

impl<T> StoreBox<T> {
    /// Puts a store at an address of its own.
    pub(crate) fn new(data: StoreData<T>) -> StoreBox<T> {
        let store = Box::leak(Box::new(data));
        store.inner.data_offset = std::mem::offset_of!(StoreData<T>, data);
        store.find_data();
        StoreBox(NonNull::from(store))
    }

    /// The store.
    pub(crate) fn get(&self) -> &StoreData<T> {
        // SAFETY: ours, and borrowed like `self`.
        unsafe { self.0.as_ref() }
    }

    /// The store, to be changed.
    pub(crate) fn get_mut(&mut self) -> &mut StoreData<T> {
        // SAFETY: ours, and borrowed like `self`.
        unsafe { self.0.as_mut() }
    }

    /// The embedder's data, without the store.
    pub(crate) fn into_data(self) -> T {
        let this = std::mem::ManuallyDrop::new(self);
        // SAFETY: it came from a box, and `drop` will not run.
        let data = unsafe { Box::from_raw(this.0.as_ptr()) };
        data.data
    }
}

impl<T> Drop for StoreBox<T> {
    fn drop(&mut self) {
        // SAFETY: it came from a box.
        drop(unsafe { Box::from_raw(self.0.as_ptr()) });
    }
}

/// The store of a running vmctx.
///
/// # Safety
///
/// Called from a builtin or a host function of this vmctx, whose entry put the store's address in place (V2).
pub(crate) unsafe fn store_of<'a>(vmctx: *mut VmHeader) -> &'a mut StoreInner {
    // SAFETY: the caller's promise.
    unsafe { of_host((*(*vmctx).store).host) }
}

/// The store whose address its entry into wasm noted.
///
/// # Safety
///
/// `host` is `VmStore.host` of a store whose wasm runs on this thread, and nobody else uses the store (V2).
pub(crate) unsafe fn of_host<'a>(host: *mut u8) -> &'a mut StoreInner {
    // SAFETY: the caller's promise; the data is as far behind the inner half as the store's maker noted (V5).
    unsafe {
        let inner = &mut *host.cast::<StoreInner>();
        inner.data = host.wrapping_add(inner.data_offset);
        inner
    }
}

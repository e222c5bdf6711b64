//! What compiled code asks of the runtime. Called by the stubs, which unwind if a trap is left in the store.
//!
//! Each function gets the vmctx of the running instance. Indices of memories, tables and segments are those of its
//! module, which was validated; one that is out of range all the same traps, too.

use std::io;
use std::panic::{self, AssertUnwindSafe};

use sphex_artifact::Trap;
use sphex_artifact::vmctx::VmHeader;

use super::activation::raise;
use super::async_call::suspend_for_yield;
use super::memory::{LinearMemory, Storage};
use super::racy;
use super::store::{Pending, StoreInner, TRAP_PENDING, store_of};
use super::wait::{self, Expected};
use crate::epoch::acknowledge;
use crate::error::Error;

type Vmctx = *mut VmHeader;

/// Runs a builtin on the store and the running instance's number; `otherwise` is returned on a trap.
///
/// # Safety
///
/// Called by a stub with the vmctx of running code.
unsafe fn run<R>(vmctx: Vmctx, otherwise: R, f: impl FnOnce(&mut StoreInner, usize) -> Result<R, Trap>) -> R {
    // SAFETY: the caller's promise.
    let (inner, number) = unsafe { (store_of(vmctx), (*vmctx).instance.addr()) };
    match f(inner, number) {
        Ok(value) => value,
        Err(error) => {
            // SAFETY: called by a builtin.
            unsafe { raise(inner, Error::from_trap(error)) };
            otherwise
        }
    }
}

/// [`run`] for what may call the embedder: a limiter, an epoch callback. They may fail in their own way, and panic.
///
/// # Safety
///
/// As for [`run`].
unsafe fn run_embedder<R>(
    vmctx: Vmctx,
    otherwise: R,
    f: impl FnOnce(&mut StoreInner, usize) -> Result<R, Error>,
) -> R {
    // SAFETY: the caller's promise.
    let (inner, number) = unsafe { (store_of(vmctx), (*vmctx).instance.addr()) };
    // SAFETY: called by a builtin.
    unsafe { guarded(inner, |inner| f(inner, number)) }.unwrap_or(otherwise)
}

/// Leaves what an embedder's code failed with in the store: an error or a panic. `None` if it did.
///
/// # Safety
///
/// Called by a builtin, or by what acts like one.
pub(super) unsafe fn guarded<R>(
    inner: &mut StoreInner,
    f: impl FnOnce(&mut StoreInner) -> Result<R, Error>,
) -> Option<R> {
    match panic::catch_unwind(AssertUnwindSafe(|| f(inner))) {
        Ok(Ok(value)) => return Some(value),
        // SAFETY: the caller's promise.
        Ok(Err(error)) => unsafe { raise(inner, error) },
        Err(payload) => {
            inner.pending = Some(Pending::Panic(payload));
            // SAFETY: V1.
            unsafe { (*inner.vm.as_ptr()).trap = TRAP_PENDING }
        }
    }
    None
}

fn memory_at(inner: &StoreInner, number: usize, memory: u32) -> Result<usize, Trap> {
    let index = inner.instances[number].memories.get(memory as usize);
    index.map(|index| *index as usize).ok_or(Trap::MemoryOutOfBounds)
}

fn table_at(inner: &StoreInner, number: usize, table: u32) -> Result<usize, Trap> {
    let index = inner.instances[number].tables.get(table as usize);
    index.map(|index| *index as usize).ok_or(Trap::TableOutOfBounds)
}

/// `start..start + len`, if that is within `whole`.
fn range(start: u64, len: u64, whole: usize, trap: Trap) -> Result<std::ops::Range<usize>, Trap> {
    match start.checked_add(len) {
        Some(end) if end <= whole as u64 => Ok(start as usize..end as usize),
        _ => Err(trap),
    }
}

pub(super) unsafe extern "C" fn memory_grow(vmctx: Vmctx, memory: u32, delta: u64) -> u64 {
    // SAFETY: called by a stub.
    unsafe {
        run_embedder(vmctx, u64::MAX, |inner, number| {
            let index = memory_at(inner, number, memory)?;
            Ok(inner.grow_memory(index, delta)?.unwrap_or(u64::MAX))
        })
    }
}

pub(super) unsafe extern "C" fn memory_copy(
    vmctx: Vmctx,
    dst_memory: u32,
    src_memory: u32,
    dst: u64,
    src: u64,
    len: u64,
) {
    // SAFETY: called by a stub.
    unsafe {
        run(vmctx, (), |inner, number| {
            let to = memory_at(inner, number, dst_memory)?;
            let from = memory_at(inner, number, src_memory)?;
            let from = &inner.memories[from].storage;
            let source = range(src, len, from.len(), Trap::MemoryOutOfBounds)?;
            // SAFETY: in bounds.
            let source = from.base().add(source.start);
            let target = target(inner, to, dst, len)?;
            // SAFETY: both ranges are in bounds; they may overlap. V2, V6.
            racy::shift(source, target, len as usize);
            inner.pay_for_bytes(len)
        })
    }
}

pub(super) unsafe extern "C" fn memory_fill(vmctx: Vmctx, memory: u32, dst: u64, value: u32, len: u64) {
    // SAFETY: called by a stub.
    unsafe {
        run(vmctx, (), |inner, number| {
            let index = memory_at(inner, number, memory)?;
            racy::fill(target(inner, index, dst, len)?, value as u8, len as usize);
            inner.pay_for_bytes(len)
        })
    }
}

/// Sees to it that these bytes can be written, `len` from `at` on, which are of a memory of the store.
fn open(inner: &mut StoreInner, at: *mut u8, len: usize) -> Result<(), Trap> {
    let within =
        |memory: &LinearMemory| at.addr().checked_sub(memory.base().addr()).filter(|at| *at < memory.len());
    let own = inner.memories.iter_mut().filter_map(|entry| match &mut entry.storage {
        Storage::Own(memory) => Some(memory),
        // All its pages are open.
        Storage::Shared(_) => None,
    });
    let found = own.filter_map(|memory| within(memory).map(|at| (memory, at))).next();
    let Some((memory, at)) = found else { return Ok(()) };
    let opened = memory.range_mut(at..at + len);
    // As for `target`.
    opened.and_then(io::Result::ok).map(drop).ok_or(Trap::MemoryOutOfBounds)
}

/// The part of `memory.copy` that is left once wasm has checked the bounds, where pages may be closed.
pub(super) unsafe extern "C" fn memory_move(vmctx: Vmctx, dst: *mut u8, src: *const u8, len: usize) {
    // SAFETY: called by a stub; both ranges are in bounds, wasm has checked; they may overlap. V2, V6.
    unsafe {
        run(vmctx, (), |inner, _| {
            open(inner, dst, len)?;
            racy::shift(src, dst, len);
            Ok(())
        })
    }
}

/// The part of `memory.fill` that is left once wasm has checked the bounds, where pages may be closed.
pub(super) unsafe extern "C" fn memory_set(vmctx: Vmctx, dst: *mut u8, value: u32, len: usize) {
    // SAFETY: called by a stub; the range is in bounds, wasm has checked. V2, V6.
    unsafe {
        run(vmctx, (), |inner, _| {
            open(inner, dst, len)?;
            racy::fill(dst, value as u8, len);
            Ok(())
        })
    }
}

pub(super) unsafe extern "C" fn memory_init(
    vmctx: Vmctx,
    memory: u32,
    data: u32,
    dst: u64,
    src: u64,
    len: u64,
) {
    // SAFETY: called by a stub.
    unsafe {
        run(vmctx, (), |inner, number| {
            init_memory(inner, number, memory, data, [dst, src, len])?;
            inner.pay_for_bytes(len)
        })
    }
}

/// `memory.init`: `[dst, src, len]`.
pub(crate) fn init_memory(
    inner: &mut StoreInner,
    number: usize,
    memory: u32,
    data: u32,
    [dst, src, len]: [u64; 3],
) -> Result<(), Trap> {
    let index = memory_at(inner, number, memory)?;
    let segment = inner.instances[number].data(data);
    let source = range(src, len, segment.len(), Trap::MemoryOutOfBounds)?;
    let segment: *const [u8] = &raw const segment[source];
    let target = target(inner, index, dst, len)?;
    // SAFETY: the segment is of the module, which the instance keeps, and no part of a memory; the target is in bounds. V2,
    // V6.
    unsafe { racy::shift(segment.cast(), target, segment.len()) };
    Ok(())
}

/// Bytes of a memory of the store that are about to be written.
fn target(inner: &mut StoreInner, memory: usize, at: u64, len: u64) -> Result<*mut u8, Trap> {
    let storage = &mut inner.memories[memory].storage;
    let range = range(at, len, storage.len(), Trap::MemoryOutOfBounds)?;
    // The system refuses only if the process has as many mappings as it may; there is no trap for that.
    storage.target(range.start, range.len()).and_then(io::Result::ok).ok_or(Trap::MemoryOutOfBounds)
}

pub(super) unsafe extern "C" fn memory_atomic_notify(
    vmctx: Vmctx,
    memory: u32,
    address: u64,
    count: u32,
) -> u64 {
    // SAFETY: called by a stub.
    unsafe {
        run(vmctx, 0, |inner, number| {
            let storage = &inner.memories[memory_at(inner, number, memory)?].storage;
            let address = wait::check(address, 4, storage.len())?;
            // Nobody can wait on a memory that is not shared.
            Ok(storage.shared().map_or(0, |memory| u64::from(memory.notify(address, count))))
        })
    }
}

/// `memory.atomic.wait`.
unsafe fn atomic_wait(vmctx: Vmctx, memory: u32, address: u64, expected: Expected, timeout: i64) -> u64 {
    // SAFETY: called by a stub.
    unsafe {
        run_embedder(vmctx, 0, |inner, number| {
            let storage = &inner.memories[memory_at(inner, number, memory)?].storage;
            let address = wait::check(address, expected.bytes(), storage.len())?;
            let memory = storage.shared().ok_or(Trap::ExpectedSharedMemory)?.clone();
            Ok(wait::wait(inner, &memory, address, expected, timeout)? as u64)
        })
    }
}

pub(super) unsafe extern "C" fn memory_atomic_wait32(
    vmctx: Vmctx,
    memory: u32,
    address: u64,
    expected: u32,
    timeout: i64,
) -> u64 {
    let expected = Expected { wide: false, value: u64::from(expected) };
    // SAFETY: called by a stub.
    unsafe { atomic_wait(vmctx, memory, address, expected, timeout) }
}

pub(super) unsafe extern "C" fn memory_atomic_wait64(
    vmctx: Vmctx,
    memory: u32,
    address: u64,
    expected: u64,
    timeout: i64,
) -> u64 {
    // SAFETY: called by a stub.
    unsafe { atomic_wait(vmctx, memory, address, Expected { wide: true, value: expected }, timeout) }
}

pub(super) unsafe extern "C" fn data_drop(vmctx: Vmctx, data: u32) {
    // SAFETY: called by a stub.
    unsafe {
        run(vmctx, (), |inner, number| {
            inner.instances[number].drop_data(data);
            Ok(())
        })
    }
}

/// `table.grow`.
unsafe fn table_grow(vmctx: Vmctx, table: u32, delta: u64, init: u64) -> u64 {
    // SAFETY: called by a stub.
    unsafe {
        run_embedder(vmctx, u64::MAX, |inner, number| {
            let index = table_at(inner, number, table)?;
            let Ok(old) = inner.grow_table(index, delta, init)? else { return Ok(u64::MAX) };
            inner.pay_for_bytes(delta * 8)?;
            Ok(old)
        })
    }
}

pub(super) unsafe extern "C" fn table_grow_func(vmctx: Vmctx, table: u32, delta: u64, init: u64) -> u64 {
    // SAFETY: called by a stub.
    unsafe { table_grow(vmctx, table, delta, init) }
}

pub(super) unsafe extern "C" fn table_grow_extern(vmctx: Vmctx, table: u32, delta: u64, init: u32) -> u64 {
    // SAFETY: called by a stub.
    unsafe { table_grow(vmctx, table, delta, u64::from(init)) }
}

/// `table.fill`.
unsafe fn table_fill(vmctx: Vmctx, table: u32, dst: u64, value: u64, len: u64) {
    // SAFETY: called by a stub.
    unsafe {
        run(vmctx, (), |inner, number| {
            let index = table_at(inner, number, table)?;
            let elements = inner.tables[index].storage.elements_mut();
            let target = range(dst, len, elements.len(), Trap::TableOutOfBounds)?;
            elements[target].fill(value);
            inner.pay_for_bytes(len * 8)
        })
    }
}

pub(super) unsafe extern "C" fn table_fill_func(vmctx: Vmctx, table: u32, dst: u64, value: u64, len: u64) {
    // SAFETY: called by a stub.
    unsafe { table_fill(vmctx, table, dst, value, len) }
}

pub(super) unsafe extern "C" fn table_fill_extern(vmctx: Vmctx, table: u32, dst: u64, value: u32, len: u64) {
    // SAFETY: called by a stub.
    unsafe { table_fill(vmctx, table, dst, u64::from(value), len) }
}

pub(super) unsafe extern "C" fn table_copy(
    vmctx: Vmctx,
    dst_table: u32,
    src_table: u32,
    dst: u64,
    src: u64,
    len: u64,
) {
    // SAFETY: called by a stub.
    unsafe {
        run(vmctx, (), |inner, number| {
            let to = table_at(inner, number, dst_table)?;
            let from = table_at(inner, number, src_table)?;
            copy_table(inner, [to, from], [dst, src, len])?;
            inner.pay_for_bytes(len * 8)
        })
    }
}

/// Copies between tables of the store: `[to, from]`, `[dst, src, len]`.
pub(crate) fn copy_table(
    inner: &mut StoreInner,
    [to, from]: [usize; 2],
    [dst, src, len]: [u64; 3],
) -> Result<(), Trap> {
    let source = inner.tables[from].storage.elements();
    let source_range = range(src, len, source.len(), Trap::TableOutOfBounds)?;
    let target_len = inner.tables[to].storage.elements().len();
    let target_range = range(dst, len, target_len, Trap::TableOutOfBounds)?;
    if to == from {
        inner.tables[to].storage.elements_mut().copy_within(source_range, target_range.start);
    } else {
        let source = &raw const source[source_range];
        let target = &mut inner.tables[to].storage.elements_mut()[target_range];
        // SAFETY: the tables are two: their elements are different allocations.
        target.copy_from_slice(unsafe { &*source });
    }
    Ok(())
}

pub(super) unsafe extern "C" fn table_init(
    vmctx: Vmctx,
    table: u32,
    element: u32,
    dst: u64,
    src: u64,
    len: u64,
) {
    // SAFETY: called by a stub.
    unsafe {
        run(vmctx, (), |inner, number| {
            init_table(inner, number, table, element, [dst, src, len])?;
            inner.pay_for_bytes(len * 8)
        })
    }
}

/// `table.init`: `[dst, src, len]`.
pub(crate) fn init_table(
    inner: &mut StoreInner,
    number: usize,
    table: u32,
    element: u32,
    [dst, src, len]: [u64; 3],
) -> Result<(), Trap> {
    let index = table_at(inner, number, table)?;
    let instance = &inner.instances[number];
    let source = range(src, len, instance.element_len(element) as usize, Trap::TableOutOfBounds)?;
    let elements = inner.tables[index].storage.elements_mut();
    let target = range(dst, len, elements.len(), Trap::TableOutOfBounds)?;
    for (to, item) in target.zip(source) {
        elements[to] = instance.element(element, item).ok_or(Trap::TableOutOfBounds)?;
    }
    Ok(())
}

pub(super) unsafe extern "C" fn elem_drop(vmctx: Vmctx, element: u32) {
    // SAFETY: called by a stub.
    unsafe {
        run(vmctx, (), |inner, number| {
            inner.instances[number].drop_element(element);
            Ok(())
        })
    }
}

pub(super) unsafe extern "C" fn limit_hit(vmctx: Vmctx) {
    // SAFETY: called by a stub.
    unsafe {
        let pause = run_embedder(vmctx, false, |inner, _| match inner.vm.lower() {
            true => acknowledge(inner, true),
            false => Err(Error::from_trap(Trap::StackOverflow)),
        });
        // Not in there: what catches panics may touch a thread-local, and we may go on on another thread.
        if pause && let Err(error) = suspend_for_yield(store_of(vmctx)) {
            raise(store_of(vmctx), error);
        }
    }
}

pub(super) unsafe extern "C" fn out_of_fuel(vmctx: Vmctx) {
    // SAFETY: called by a stub.
    unsafe { run(vmctx, (), |inner, _| if inner.all_fuel() > 0 { Ok(()) } else { Err(Trap::OutOfFuel) }) }
}

pub(super) unsafe extern "C" fn trap(vmctx: Vmctx, code: u32) {
    // SAFETY: called by a stub.
    unsafe {
        let inner = store_of(vmctx);
        raise(inner, Error::from_trap_code(code as u8));
    }
}

macro_rules! float {
    ($($name:ident $ty:ident $method:ident)+) => {
        $(pub(super) extern "C" fn $name(_: Vmctx, x: $ty) -> $ty {
            x.$method()
        })+
    };
}

float! {
    ceil_f32 f32 ceil
    ceil_f64 f64 ceil
    floor_f32 f32 floor
    floor_f64 f64 floor
    trunc_f32 f32 trunc
    trunc_f64 f64 trunc
    nearest_f32 f32 round_ties_even
    nearest_f64 f64 round_ties_even
}

pub(super) extern "C" fn fma_f32(_: Vmctx, x: f32, y: f32, z: f32) -> f32 {
    x.mul_add(y, z)
}

pub(super) extern "C" fn fma_f64(_: Vmctx, x: f64, y: f64, z: f64) -> f64 {
    x.mul_add(y, z)
}

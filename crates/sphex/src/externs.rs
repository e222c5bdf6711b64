//! Memories, tables and globals of a store, and what an export may be.

use sphex_artifact::types::{GlobalType, MemoryType, TableType};

use crate::error::{Error, ErrorKind, Result};
use crate::func::Func;
use crate::shared::SharedMemory;
use crate::store::{AsContext, AsContextMut, Handle};
use crate::types::{ExternType, ValType};
use crate::value::Val;
use crate::vm::builtins::copy_table;
use crate::vm::store::StoreInner;

/// Something that a module may import or export.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Extern {
    /// A function.
    Func(Func),
    /// A table.
    Table(Table),
    /// A memory.
    Memory(Memory),
    /// A global.
    Global(Global),
}

impl Extern {
    /// The function, if it is one.
    pub fn into_func(self) -> Option<Func> {
        if let Extern::Func(func) = self { Some(func) } else { None }
    }

    /// The table, if it is one.
    pub fn into_table(self) -> Option<Table> {
        if let Extern::Table(table) = self { Some(table) } else { None }
    }

    /// The memory, if it is one.
    pub fn into_memory(self) -> Option<Memory> {
        if let Extern::Memory(memory) = self { Some(memory) } else { None }
    }

    /// The global, if it is one.
    pub fn into_global(self) -> Option<Global> {
        if let Extern::Global(global) = self { Some(global) } else { None }
    }

    /// Its type, with the present sizes of memories and tables.
    pub fn ty(&self, store: impl AsContext) -> Result<ExternType> {
        self.ty_in(store.as_context().inner())
    }

    pub(crate) fn handle(&self) -> Handle {
        match self {
            Extern::Func(Func(handle))
            | Extern::Table(Table(handle))
            | Extern::Memory(Memory(handle))
            | Extern::Global(Global(handle)) => *handle,
        }
    }

    pub(crate) fn ty_in(&self, inner: &StoreInner) -> Result<ExternType> {
        let index = self.handle().check(inner)?;
        Ok(match self {
            Extern::Func(_) => ExternType::Func(inner.funcs[index].signature.ty.clone()),
            Extern::Table(table) => ExternType::Table(table.ty_in(inner)?),
            Extern::Memory(memory) => ExternType::Memory(memory.ty_in(inner)?),
            Extern::Global(_) => ExternType::Global(inner.globals[index].ty),
        })
    }
}

macro_rules! from {
    ($($ty:ident)+) => {
        $(impl From<$ty> for Extern {
            fn from(value: $ty) -> Extern {
                Extern::$ty(value)
            }
        })+
    };
}

from! { Func Table Memory Global }

/// A linear memory of a store.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Memory(pub(crate) Handle);

impl Memory {
    /// A memory of the host's, of zeros. Sizes of the type are in pages.
    ///
    /// An error of kind `Argument` for a type that no memory can have, `Limit` where the store's limits forbid it, `System`
    /// where the operating system does. One of a shared type is made as [`SharedMemory::new`] makes it.
    pub fn new(mut store: impl AsContextMut, ty: MemoryType) -> Result<Memory> {
        let mut store = store.as_context_mut();
        check_type(&ty)?;
        let plan = store.engine().config().memory_plan();
        let inner = store.inner_mut();
        let index = inner.add_memory(None, ty, plan, None)?;
        Ok(Memory(Handle { store: inner.id, index }))
    }

    /// Its type; the minimum is its present size in pages.
    pub fn ty(&self, store: impl AsContext) -> Result<MemoryType> {
        self.ty_in(store.as_context().inner())
    }

    pub(crate) fn ty_in(&self, inner: &StoreInner) -> Result<MemoryType> {
        let entry = &inner.memories[self.0.check(inner)?];
        let mut ty = entry.ty;
        ty.minimum = (entry.storage.len() as u64) >> ty.page_size_log2;
        Ok(ty)
    }

    /// Its size in pages, which are of [`Memory::page_size`] bytes.
    pub fn size(&self, store: impl AsContext) -> Result<u64> {
        Ok(self.ty(store)?.minimum)
    }

    /// Its size in bytes.
    pub fn data_size(&self, store: impl AsContext) -> Result<usize> {
        let store = store.as_context();
        Ok(store.inner().memories[self.0.check(store.inner())?].storage.len())
    }

    /// The shared memory that it is, to be used with other stores; `None` if it is the store's own.
    pub fn shared(&self, store: impl AsContext) -> Result<Option<SharedMemory>> {
        let store = store.as_context();
        let storage = &store.inner().memories[self.0.check(store.inner())?].storage;
        Ok(storage.shared().map(|memory| SharedMemory(memory.clone())))
    }

    /// Its bytes, unless it is shared (an error of kind `Type`). They borrow the store, so that nothing can run, grow or free them meanwhile:
    ///
    /// ```compile_fail,E0502
    /// use sphex::{Memory, Store};
    /// fn grow(mut store: Store<()>, memory: Memory) -> sphex::Result<u8> {
    ///     let bytes = memory.data(&store)?;
    ///     memory.grow(&mut store, 1)?;
    ///     Ok(bytes[0])
    /// }
    /// ```
    pub fn data<'a, T: 'static>(
        &self,
        store: impl Into<crate::store::StoreContext<'a, T>>,
    ) -> Result<&'a [u8]> {
        self.bytes(store.into().inner())
    }

    /// Its bytes, to be changed, unless it is shared (an error of kind `Type`).
    pub fn data_mut<'a, T: 'static>(
        &self,
        store: impl Into<crate::store::StoreContextMut<'a, T>>,
    ) -> Result<&'a mut [u8]> {
        self.bytes_mut(store.into().into_inner())
    }

    /// Its bytes, to be changed, unless it is shared (an error of kind `Type`), together with the embedder's data.
    pub fn data_and_store_mut<'a, T: 'static>(
        &self,
        store: impl Into<crate::store::StoreContextMut<'a, T>>,
    ) -> Result<(&'a mut [u8], &'a mut T)> {
        let (inner, data) = store.into().into_parts();
        Ok((self.bytes_mut(inner)?, data))
    }

    /// Its first byte. Growing may move it, unless it was made under a reservation of address space.
    pub fn data_ptr(&self, store: impl AsContext) -> Result<*mut u8> {
        let store = store.as_context();
        store.inner().memories[self.0.check(store.inner())?].storage.writable_base()
    }

    /// Bytes of a page.
    pub fn page_size(&self, store: impl AsContext) -> Result<u64> {
        Ok(1 << self.ty(store)?.page_size_log2)
    }

    pub(crate) fn bytes<'a>(&self, inner: &'a StoreInner) -> Result<&'a [u8]> {
        inner.memories[self.0.check(inner)?].storage.bytes()
    }

    pub(crate) fn bytes_mut<'a>(&self, inner: &'a mut StoreInner) -> Result<&'a mut [u8]> {
        let index = self.0.check(inner)?;
        inner.memories[index].storage.bytes_mut()
    }

    /// Copies bytes out of it, from `offset` in bytes. An error of kind `OutOfBounds`, and no byte copied, if some of them
    /// are outside.
    pub fn read(&self, store: impl AsContext, offset: usize, buffer: &mut [u8]) -> Result<()> {
        let store = store.as_context();
        let storage = &store.inner().memories[self.0.check(store.inner())?].storage;
        match storage.read(offset, buffer) {
            true => Ok(()),
            false => Err(out_of_bounds(offset, buffer.len(), storage.len())),
        }
    }

    /// Copies bytes into it, to `offset` in bytes. An error of kind `OutOfBounds`, and no byte copied, if some of them would
    /// be outside.
    pub fn write(&self, mut store: impl AsContextMut, offset: usize, buffer: &[u8]) -> Result<()> {
        let mut store = store.as_context_mut();
        let inner = store.inner_mut();
        let index = self.0.check(inner)?;
        let storage = &mut inner.memories[index].storage;
        match storage.write(offset, buffer) {
            Ok(true) => Ok(()),
            Ok(false) => Err(out_of_bounds(offset, buffer.len(), storage.len())),
            Err(error) => Err(Error::system("cannot make a memory of the pool writable", error)),
        }
    }

    /// Grows it by this many pages, of zeros; gives the old size in pages. An error of kind `Limit` if its type, the store's
    /// limits or the operating system does not allow it.
    pub fn grow(&self, mut store: impl AsContextMut, delta: u64) -> Result<u64> {
        let mut store = store.as_context_mut();
        let inner = store.inner_mut();
        let index = self.0.check(inner)?;
        inner.grow_memory(index, delta)?
    }
}

/// Can a memory have this type?
pub(crate) fn check_type(ty: &MemoryType) -> Result<()> {
    if ty.maximum.is_some_and(|maximum| maximum < ty.minimum)
        || ty.minimum > ty.limit_pages()
        || (ty.page_size_log2 != 16 && ty.page_size_log2 != 0)
        || (ty.shared && ty.maximum.is_none())
    {
        return Err(Error::new(ErrorKind::Argument, "a memory type that no memory can have"));
    }
    Ok(())
}

pub(crate) fn out_of_bounds(offset: usize, len: usize, whole: usize) -> Error {
    Error::new(
        ErrorKind::OutOfBounds,
        format!("out of bounds memory access: {len} bytes at {offset} of a memory of {whole} bytes"),
    )
}

/// A table of a store.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Table(pub(crate) Handle);

impl Table {
    /// A table of the host's, with all elements the same. An error of kind `Argument` for a type that no table can have,
    /// `Type` for a value that is not of it, `Limit` where the store's limits forbid it or there is no memory.
    pub fn new(mut store: impl AsContextMut, ty: TableType, init: Val) -> Result<Table> {
        let mut store = store.as_context_mut();
        if ty.maximum.is_some_and(|maximum| maximum < ty.minimum) {
            return Err(Error::new(ErrorKind::Argument, "a table type that no table can have"));
        }
        let inner = store.inner_mut();
        let bits = element_bits(inner, &ty, &init)?;
        let index = inner.add_table(None, ty, bits)?;
        Ok(Table(Handle { store: inner.id, index }))
    }

    /// Its type; the minimum is its present size.
    pub fn ty(&self, store: impl AsContext) -> Result<TableType> {
        self.ty_in(store.as_context().inner())
    }

    pub(crate) fn ty_in(&self, inner: &StoreInner) -> Result<TableType> {
        let entry = &inner.tables[self.0.check(inner)?];
        let mut ty = entry.ty;
        ty.minimum = entry.storage.elements().len() as u64;
        Ok(ty)
    }

    /// Number of elements.
    pub fn size(&self, store: impl AsContext) -> Result<u64> {
        Ok(self.ty(store)?.minimum)
    }

    /// An element. An error of kind `OutOfBounds` if there is none of this index.
    pub fn get(&self, mut store: impl AsContextMut, index: u64) -> Result<Val> {
        let mut store = store.as_context_mut();
        let inner = store.inner_mut();
        let entry = &inner.tables[self.0.check(inner)?];
        let elements = entry.storage.elements();
        let found = usize::try_from(index).ok().and_then(|index| elements.get(index));
        let bits = *found.ok_or_else(|| outside(index, elements.len()))?;
        let ty = entry.ty.element.val_type();
        Ok(Val::from_bits(inner, ty, u128::from(bits)))
    }

    /// Sets an element. An error of kind `OutOfBounds` if there is none of this index, `Type` if the value is not one of the
    /// table's.
    pub fn set(&self, mut store: impl AsContextMut, index: u64, value: Val) -> Result<()> {
        let mut store = store.as_context_mut();
        let inner = store.inner_mut();
        let table = self.0.check(inner)?;
        let ty = inner.tables[table].ty;
        let bits = element_bits(inner, &ty, &value)?;
        let elements = inner.tables[table].storage.elements_mut();
        let len = elements.len();
        let found = usize::try_from(index).ok().and_then(|index| elements.get_mut(index));
        *found.ok_or_else(|| outside(index, len))? = bits;
        Ok(())
    }

    /// Grows it by `delta` elements, all `init`; gives the old number. An error of kind `Limit` if its type, the store's
    /// limits or the memory does not allow it, `Type` if the value is not one of the table's.
    pub fn grow(&self, mut store: impl AsContextMut, delta: u64, init: Val) -> Result<u64> {
        let mut store = store.as_context_mut();
        let inner = store.inner_mut();
        let table = self.0.check(inner)?;
        let ty = inner.tables[table].ty;
        let bits = element_bits(inner, &ty, &init)?;
        inner.grow_table(table, delta, bits)?
    }

    /// Sets `len` elements from `start`. An error of kind `OutOfBounds`, and nothing set, if some are outside.
    pub fn fill(&self, mut store: impl AsContextMut, start: u64, value: Val, len: u64) -> Result<()> {
        let mut store = store.as_context_mut();
        let inner = store.inner_mut();
        let table = self.0.check(inner)?;
        let ty = inner.tables[table].ty;
        let bits = element_bits(inner, &ty, &value)?;
        let elements = inner.tables[table].storage.elements_mut();
        let whole = elements.len();
        let end = start.checked_add(len).filter(|end| *end <= whole as u64);
        let end = end.ok_or_else(|| outside(start.saturating_add(len), whole))?;
        elements[start as usize..end as usize].fill(bits);
        Ok(())
    }

    /// Copies `len` elements from one table to another or within one, even if they overlap. An error of kind `OutOfBounds`,
    /// and nothing copied, if some are outside; `Type` if the tables' elements differ.
    pub fn copy(
        mut store: impl AsContextMut,
        to: Table,
        to_index: u64,
        from: Table,
        from_index: u64,
        len: u64,
    ) -> Result<()> {
        let mut store = store.as_context_mut();
        let inner = store.inner_mut();
        let (to, from) = (to.0.check(inner)?, from.0.check(inner)?);
        let (a, b) = (inner.tables[to].ty.element, inner.tables[from].ty.element);
        if a != b {
            return Err(Error::new(ErrorKind::Type, format!("type mismatch: expected {a}, found {b}")));
        }
        copy_table(inner, [to, from], [to_index, from_index, len])
            .map_err(|trap| Error::new(ErrorKind::OutOfBounds, trap.message()))
    }
}

fn outside(index: u64, len: usize) -> Error {
    let message = format!("out of bounds table access: element {index} of a table of {len}");
    Error::new(ErrorKind::OutOfBounds, message)
}

fn element_bits(inner: &mut StoreInner, ty: &TableType, value: &Val) -> Result<u64> {
    value.expect(ty.element.val_type())?;
    inner.reserve_refs(1);
    Ok(value.to_bits(inner)? as u64)
}

/// A global of a store.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Global(pub(crate) Handle);

impl Global {
    /// A global of the host's. An error of kind `Type` if the value is not of its type.
    pub fn new(mut store: impl AsContextMut, ty: GlobalType, value: Val) -> Result<Global> {
        let mut store = store.as_context_mut();
        let inner = store.inner_mut();
        value.expect(ty.value)?;
        inner.reserve_refs(1);
        let bits = value.to_bits(inner)?;
        let index = inner.add_host_global(ty, bits);
        Ok(Global(Handle { store: inner.id, index }))
    }

    /// Its type.
    pub fn ty(&self, store: impl AsContext) -> Result<GlobalType> {
        let store = store.as_context();
        Ok(store.inner().globals[self.0.check(store.inner())?].ty)
    }

    /// Its value.
    pub fn get(&self, mut store: impl AsContextMut) -> Result<Val> {
        let mut store = store.as_context_mut();
        let inner = store.inner_mut();
        let index = self.0.check(inner)?;
        let (ty, bits) = (inner.globals[index].ty.value, inner.global_bits(index));
        Ok(Val::from_bits(inner, ty, bits))
    }

    /// Sets its value. An error of kind `Type` if it is immutable or the value is not of its type.
    pub fn set(&self, mut store: impl AsContextMut, value: Val) -> Result<()> {
        let mut store = store.as_context_mut();
        let inner = store.inner_mut();
        let index = self.0.check(inner)?;
        let ty: GlobalType = inner.globals[index].ty;
        if !ty.mutable {
            return Err(Error::new(ErrorKind::Type, "the global is immutable"));
        }
        value.expect(ty.value)?;
        inner.reserve_refs(usize::from(ty.value == ValType::ExternRef));
        let bits = value.to_bits(inner)?;
        inner.set_global_bits(index, bits);
        Ok(())
    }
}

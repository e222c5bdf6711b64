//! Stores: all state of instances, and the embedder's data beside it.

use std::fmt;
use std::num::NonZeroU64;

use sphex_entity::seeded_bug;

use crate::engine::Engine;
use crate::error::{Error, ErrorKind, Result};
use crate::externs::{Extern, Memory};
use crate::instance::Instance;
use crate::vm::store::{StoreBox, StoreData, StoreInner, StorePtr};

/// All state of instances, functions, memories, tables and globals, and the embedder's `T`. One thread at a time.
pub struct Store<T: 'static>(StoreBox<T>);

impl<T> Store<T> {
    /// An empty store.
    pub fn new(engine: &Engine, data: T) -> Store<T> {
        Store(StoreBox::new(StoreData { inner: StoreInner::new(engine.clone()), data }))
    }

    /// The engine.
    pub fn engine(&self) -> &Engine {
        &self.0.get().inner.engine
    }

    /// The embedder's data.
    pub fn data(&self) -> &T {
        &self.0.get().data
    }

    /// The embedder's data, to be changed.
    pub fn data_mut(&mut self) -> &mut T {
        &mut self.0.get_mut().data
    }

    /// The embedder's data, without the store.
    pub fn into_data(self) -> T {
        self.0.into_data()
    }

    pub(crate) fn inner(&self) -> &StoreInner {
        &self.0.get().inner
    }

    pub(crate) fn inner_mut(&mut self) -> &mut StoreInner {
        self.0.get_mut().inner_mut()
    }

    /// Host references that wasm may hold: those found by the last collection and those made since.
    pub fn externref_count(&self) -> usize {
        self.0.get().inner.heap.used()
    }

    /// Lets go of host references that wasm holds no more. The store does so by itself when many were made; this is for
    /// values whose destructors should run soon.
    pub fn gc(&mut self) {
        self.0.get_mut().inner.collect();
    }
}

impl<T: fmt::Debug> fmt::Debug for Store<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Store")
            .field("id", &self.0.get().inner.id)
            .field("data", self.data())
            .finish_non_exhaustive()
    }
}

/// Something that a store can be read through.
pub trait AsContext {
    /// The embedder's data.
    type Data: 'static;

    /// The store.
    fn as_context(&self) -> StoreContext<'_, Self::Data>;
}

/// Something that a store can be changed through.
pub trait AsContextMut: AsContext {
    /// The store.
    fn as_context_mut(&mut self) -> StoreContextMut<'_, Self::Data>;
}

/// A borrowed store.
pub struct StoreContext<'a, T: 'static>(&'a StoreData<T>);

/// A store, borrowed to be changed.
pub struct StoreContextMut<'a, T: 'static>(pub(crate) &'a mut StoreData<T>);

impl<'a, T> StoreContext<'a, T> {
    /// The embedder's data.
    pub fn data(&self) -> &'a T {
        &self.0.data
    }

    /// The engine.
    pub fn engine(&self) -> &'a Engine {
        &self.0.inner.engine
    }

    pub(crate) fn inner(&self) -> &'a StoreInner {
        &self.0.inner
    }
}

impl<'a, T> StoreContextMut<'a, T> {
    /// The embedder's data.
    pub fn data(&self) -> &T {
        &self.0.data
    }

    /// The embedder's data, to be changed.
    pub fn data_mut(&mut self) -> &mut T {
        &mut self.0.data
    }

    /// The engine.
    pub fn engine(&self) -> &Engine {
        &self.0.inner.engine
    }

    /// Host references that wasm may hold, see [`Store::externref_count`].
    pub fn externref_count(&self) -> usize {
        self.0.inner.heap.used()
    }

    /// Lets go of host references that wasm holds no more, see [`Store::gc`].
    pub fn gc(&mut self) {
        self.0.inner.collect();
    }

    /// The embedder's data and the store's memories, to be used together.
    pub fn split(&mut self) -> (&mut T, Memories<'_>) {
        (&mut self.0.data, Memories(&mut self.0.inner))
    }

    pub(crate) fn inner(&self) -> &StoreInner {
        &self.0.inner
    }

    pub(crate) fn inner_mut(&mut self) -> &mut StoreInner {
        self.0.inner_mut()
    }

    pub(crate) fn into_parts(self) -> (&'a mut StoreInner, &'a mut T) {
        (&mut self.0.inner, &mut self.0.data)
    }

    pub(crate) fn into_inner(self) -> &'a mut StoreInner {
        self.0.inner_mut()
    }

    pub(crate) fn as_ptr(&mut self) -> StorePtr {
        self.0.as_inner_ptr()
    }
}

macro_rules! contexts {
    ($($ty:ty)+) => {
        $(
            impl<'a, T: 'static> From<&'a $ty> for StoreContext<'a, T> {
                fn from(store: &'a $ty) -> StoreContext<'a, T> {
                    store.as_context()
                }
            }

            impl<'a, T: 'static> From<&'a mut $ty> for StoreContext<'a, T> {
                fn from(store: &'a mut $ty) -> StoreContext<'a, T> {
                    (&*store).into()
                }
            }

            impl<'a, T: 'static> From<&'a mut $ty> for StoreContextMut<'a, T> {
                fn from(store: &'a mut $ty) -> StoreContextMut<'a, T> {
                    store.as_context_mut()
                }
            }
        )+
    };
}

contexts! { Store<T> StoreContextMut<'_, T> Caller<'_, T> }

/// The memories of a store, while its data is borrowed too.
#[derive(Debug)]
pub struct Memories<'a>(&'a mut StoreInner);

impl Memories<'_> {
    /// The bytes of a memory.
    pub fn get(&self, memory: Memory) -> Result<&[u8]> {
        memory.bytes(self.0)
    }

    /// The bytes of a memory, to be changed.
    pub fn get_mut(&mut self, memory: Memory) -> Result<&mut [u8]> {
        memory.bytes_mut(self.0)
    }
}

impl fmt::Debug for StoreInner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("StoreInner").field("id", &self.id).finish_non_exhaustive()
    }
}

impl<T> AsContext for Store<T> {
    type Data = T;

    fn as_context(&self) -> StoreContext<'_, T> {
        StoreContext(self.0.get())
    }
}

impl<T> AsContextMut for Store<T> {
    fn as_context_mut(&mut self) -> StoreContextMut<'_, T> {
        StoreContextMut(self.0.get_mut())
    }
}

impl<T> AsContext for StoreContext<'_, T> {
    type Data = T;

    fn as_context(&self) -> StoreContext<'_, T> {
        StoreContext(self.0)
    }
}

impl<T> AsContext for StoreContextMut<'_, T> {
    type Data = T;

    fn as_context(&self) -> StoreContext<'_, T> {
        StoreContext(self.0)
    }
}

impl<T> AsContextMut for StoreContextMut<'_, T> {
    fn as_context_mut(&mut self) -> StoreContextMut<'_, T> {
        StoreContextMut(self.0)
    }
}

impl<C: AsContext> AsContext for &C {
    type Data = C::Data;

    fn as_context(&self) -> StoreContext<'_, C::Data> {
        (**self).as_context()
    }
}

impl<C: AsContext> AsContext for &mut C {
    type Data = C::Data;

    fn as_context(&self) -> StoreContext<'_, C::Data> {
        (**self).as_context()
    }
}

impl<C: AsContextMut> AsContextMut for &mut C {
    fn as_context_mut(&mut self) -> StoreContextMut<'_, C::Data> {
        (**self).as_context_mut()
    }
}

/// What a host function gets: the store, and the instance that called.
pub struct Caller<'a, T: 'static> {
    store: StoreContextMut<'a, T>,
    instance: Option<Instance>,
}

impl<'a, T> Caller<'a, T> {
    pub(crate) fn new(store: &'a mut StoreData<T>, instance: Option<usize>) -> Caller<'a, T> {
        let id = store.inner.id;
        let instance = instance.map(|index| Instance(Handle { store: id, index: index as u32 }));
        Caller { store: StoreContextMut(store), instance }
    }

    /// The embedder's data.
    pub fn data(&self) -> &T {
        self.store.data()
    }

    /// The embedder's data, to be changed.
    pub fn data_mut(&mut self) -> &mut T {
        self.store.data_mut()
    }

    /// The engine.
    pub fn engine(&self) -> &Engine {
        self.store.engine()
    }

    /// The embedder's data and the store's memories, to be used together.
    pub fn split(&mut self) -> (&mut T, Memories<'_>) {
        self.store.split()
    }

    /// The instance that called; `None` if the host did.
    pub fn instance(&self) -> Option<Instance> {
        self.instance
    }

    /// An export of the instance that called.
    pub fn get_export(&mut self, name: &str) -> Option<Extern> {
        let instance = self.instance?;
        instance.get_export(&mut self.store, name).ok()
    }

    /// An exported memory of the instance that called.
    pub fn get_memory(&mut self, name: &str) -> Option<Memory> {
        self.get_export(name)?.into_memory()
    }
}

impl<T> AsContext for Caller<'_, T> {
    type Data = T;

    fn as_context(&self) -> StoreContext<'_, T> {
        StoreContext(self.store.0)
    }
}

impl<T> AsContextMut for Caller<'_, T> {
    fn as_context_mut(&mut self) -> StoreContextMut<'_, T> {
        StoreContextMut(self.store.0)
    }
}

/// What every handle is: a store and a place in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Handle {
    pub(crate) store: NonZeroU64,
    pub(crate) index: u32,
}

impl Handle {
    /// The place, if the handle belongs to this store.
    #[inline]
    pub(crate) fn check(self, inner: &StoreInner) -> Result<usize> {
        if self.store == inner.id || seeded_bug(10) {
            return Ok(self.index as usize);
        }
        Err(self.of_another(inner))
    }

    #[cold]
    #[inline(never)]
    fn of_another(self, inner: &StoreInner) -> Error {
        let message = format!("a handle of store {} was used with store {}", self.store, inner.id);
        Error::new(ErrorKind::WrongStore, message)
    }
}

//! Host references that the host holds for a while: `Copy`, not counted, and gone with their scope.
//!
//! A [`Rooted`] names an entry of the store's stack of roots, which names a slot of the store's heap. Entries carry a
//! number that is never used again, so that a reference that outlives its scope is recognised. The collector keeps the
//! slots of all entries (H1 of the heap).

use std::any::Any;

use crate::error::{Error, ErrorKind, Result};
use crate::externref::ExternRef;
use crate::store::{AsContext, AsContextMut, Handle, StoreContext, StoreContextMut};
use crate::vm::store::StoreInner;

/// A host value that a store holds for wasm, while a scope lasts: `Copy`, and cheaper to hand on than an [`ExternRef`],
/// because wasm's own slot for the value is used again.
///
/// A host function's arguments, and what is rooted while it runs, last until it returns. A [`RootScope`] is such a scope
/// elsewhere; without one a root lasts as long as its store. Using it later is an error. To keep the value longer, take
/// [`Rooted::to_owned`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Rooted {
    handle: Handle,
    id: u64,
}

impl Rooted {
    /// Roots a new host value in the innermost scope.
    pub fn new<V: Any + Send + Sync>(store: impl AsContextMut, value: V) -> Result<Rooted> {
        ExternRef::new(value).root(store)
    }

    /// The value.
    pub fn data<'a, T: 'static>(
        &self,
        store: impl Into<StoreContext<'a, T>>,
    ) -> Result<&'a (dyn Any + Send + Sync)> {
        Ok(self.value(store.into().inner())?.data())
    }

    /// The value as one that lasts.
    pub fn to_owned(&self, store: impl AsContext) -> Result<ExternRef> {
        self.value(store.as_context().inner()).cloned()
    }

    /// Do both refer to the same value (not to equal ones)?
    pub fn ref_eq(store: impl AsContext, a: &Rooted, b: &Rooted) -> Result<bool> {
        let store = store.as_context();
        Ok(ExternRef::ptr_eq(a.value(store.inner())?, b.value(store.inner())?))
    }

    fn value<'a>(&self, inner: &'a StoreInner) -> Result<&'a ExternRef> {
        inner.heap.borrow(self.bits(inner)?).ok_or_else(gone)
    }

    pub(crate) fn bits(&self, inner: &StoreInner) -> Result<u32> {
        let index = self.handle.check(inner)?;
        inner.roots.get(index, self.id).ok_or_else(gone)
    }

    pub(crate) fn from_bits(inner: &mut StoreInner, bits: u32) -> Option<Rooted> {
        inner.heap.borrow(bits)?;
        let (index, id) = inner.roots.push(bits)?;
        Some(Rooted { handle: Handle { store: inner.id, index }, id })
    }
}

fn gone() -> Error {
    Error::new(ErrorKind::Unrooted, "a rooted reference was used after its scope")
}

impl ExternRef {
    /// Roots it in the innermost scope of a store.
    pub fn root(&self, mut store: impl AsContextMut) -> Result<Rooted> {
        let mut store = store.as_context_mut();
        let inner = store.inner_mut();
        inner.reserve_refs(1);
        let bits = inner.ref_bits(Some(self.clone()))?;
        Rooted::from_bits(inner, bits)
            .ok_or_else(|| Error::new(ErrorKind::Limit, "too many rooted references"))
    }
}

/// A scope of roots: what is rooted through it goes when it goes. It is a store like others.
#[derive(Debug)]
pub struct RootScope<C: AsContextMut> {
    store: C,
    mark: usize,
}

impl<C: AsContextMut> RootScope<C> {
    /// Opens a scope.
    pub fn new(mut store: C) -> RootScope<C> {
        let mark = store.as_context_mut().inner().roots.mark();
        RootScope { store, mark }
    }
}

impl<C: AsContextMut> Drop for RootScope<C> {
    fn drop(&mut self) {
        self.store.as_context_mut().inner_mut().roots.release(self.mark);
    }
}

impl<C: AsContextMut> AsContext for RootScope<C> {
    type Data = C::Data;

    fn as_context(&self) -> StoreContext<'_, C::Data> {
        self.store.as_context()
    }
}

impl<C: AsContextMut> AsContextMut for RootScope<C> {
    fn as_context_mut(&mut self) -> StoreContextMut<'_, C::Data> {
        self.store.as_context_mut()
    }
}

impl<'a, C: AsContextMut> From<&'a RootScope<C>> for StoreContext<'a, C::Data> {
    fn from(scope: &'a RootScope<C>) -> StoreContext<'a, C::Data> {
        scope.as_context()
    }
}

impl<'a, C: AsContextMut> From<&'a mut RootScope<C>> for StoreContextMut<'a, C::Data> {
    fn from(scope: &'a mut RootScope<C>) -> StoreContextMut<'a, C::Data> {
        scope.as_context_mut()
    }
}

/// The stack of roots: slots of the heap, each with a number of its own.
#[derive(Debug, Default)]
pub(crate) struct Roots {
    entries: Vec<(u32, u64)>,
    next: u64,
}

impl Roots {
    /// Where a scope begins.
    pub(crate) fn mark(&self) -> usize {
        self.entries.len()
    }

    /// Ends a scope.
    pub(crate) fn release(&mut self, mark: usize) {
        self.entries.truncate(mark);
    }

    fn push(&mut self, bits: u32) -> Option<(u32, u64)> {
        let index = u32::try_from(self.entries.len()).ok()?;
        self.next += 1;
        self.entries.push((bits, self.next));
        Some((index, self.next))
    }

    fn get(&self, index: usize, id: u64) -> Option<u32> {
        self.entries.get(index).filter(|entry| entry.1 == id).map(|entry| entry.0)
    }

    /// The slots that must stay.
    pub(crate) fn bits(&self) -> impl Iterator<Item = u32> + '_ {
        self.entries.iter().map(|entry| entry.0)
    }
}

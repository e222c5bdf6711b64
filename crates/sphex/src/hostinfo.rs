//! A slot for the embedder's own value on each thing of a store, dropped with the store.

use std::any::Any;

use rustc_hash::FxHashMap;

use crate::error::Result;
use crate::externs::Extern;
use crate::instance::Instance;
use crate::store::{AsContextMut, StoreContext};
use crate::vm::store::StoreInner;

/// What an embedder attaches to a function, table, memory, global or instance.
type Info = Box<dyn Any + Send + Sync>;

/// Kind of thing, and index.
type Key = (u8, usize);

/// The slots in use.
#[derive(Debug, Default)]
pub(crate) struct HostInfo(FxHashMap<Key, Info>);

impl HostInfo {
    fn get(&self, key: Key) -> Option<&(dyn Any + Send + Sync)> {
        self.0.get(&key).map(|info| &**info)
    }

    fn set(&mut self, key: Key, info: Option<Info>) -> Option<Info> {
        match info {
            Some(info) => self.0.insert(key, info),
            None => self.0.remove(&key),
        }
    }
}

/// What is attached to a thing, whose slot `key` finds.
fn info<'a, T: 'static>(
    store: impl Into<StoreContext<'a, T>>,
    key: impl FnOnce(&StoreInner) -> Result<Key>,
) -> Result<Option<&'a (dyn Any + Send + Sync)>> {
    let inner = store.into().inner();
    Ok(inner.host_info.get(key(inner)?))
}

/// Attaches a value to a thing, or takes it away.
fn set_info(
    mut store: impl AsContextMut,
    key: impl FnOnce(&StoreInner) -> Result<Key>,
    info: Option<Info>,
) -> Result<Option<Info>> {
    let mut store = store.as_context_mut();
    let key = key(store.inner())?;
    Ok(store.inner_mut().host_info.set(key, info))
}

impl Extern {
    fn info_key(&self, inner: &StoreInner) -> Result<Key> {
        let kind = match self {
            Extern::Func(_) => 0,
            Extern::Table(_) => 1,
            Extern::Memory(_) => 2,
            Extern::Global(_) => 3,
        };
        Ok((kind, self.handle().check(inner)?))
    }

    /// What [`Extern::set_host_info`] attached to this thing, through this handle or an equal one.
    pub fn host_info<'a, T: 'static>(
        &self,
        store: impl Into<StoreContext<'a, T>>,
    ) -> Result<Option<&'a (dyn Any + Send + Sync)>> {
        info(store, |inner| self.info_key(inner))
    }

    /// Attaches a value, or takes it away; gives what was attached before. It is dropped with the store.
    pub fn set_host_info(
        &self,
        store: impl AsContextMut,
        info: Option<Box<dyn Any + Send + Sync>>,
    ) -> Result<Option<Box<dyn Any + Send + Sync>>> {
        set_info(store, |inner| self.info_key(inner), info)
    }
}

impl Instance {
    fn info_key(&self, inner: &StoreInner) -> Result<Key> {
        Ok((4, self.0.check(inner)?))
    }

    /// What [`Instance::set_host_info`] attached to this instance.
    pub fn host_info<'a, T: 'static>(
        &self,
        store: impl Into<StoreContext<'a, T>>,
    ) -> Result<Option<&'a (dyn Any + Send + Sync)>> {
        info(store, |inner| self.info_key(inner))
    }

    /// Attaches a value, or takes it away; gives what was attached before. It is dropped with the store.
    pub fn set_host_info(
        &self,
        store: impl AsContextMut,
        info: Option<Box<dyn Any + Send + Sync>>,
    ) -> Result<Option<Box<dyn Any + Send + Sync>>> {
        set_info(store, |inner| self.info_key(inner), info)
    }
}

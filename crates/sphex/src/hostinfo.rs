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

/// The slots in use, by kind of thing and index.
#[derive(Debug, Default)]
pub(crate) struct HostInfo(FxHashMap<(u8, usize), Info>);

impl HostInfo {
    fn get(&self, key: (u8, usize)) -> Option<&(dyn Any + Send + Sync)> {
        self.0.get(&key).map(|info| &**info)
    }

    fn set(&mut self, key: (u8, usize), info: Option<Info>) -> Option<Info> {
        match info {
            Some(info) => self.0.insert(key, info),
            None => self.0.remove(&key),
        }
    }
}

impl Extern {
    fn info_key(&self, inner: &StoreInner) -> Result<(u8, usize)> {
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
        let inner = store.into().inner();
        Ok(inner.host_info.get(self.info_key(inner)?))
    }

    /// Attaches a value, or takes it away; gives what was attached before. It is dropped with the store.
    pub fn set_host_info(
        &self,
        mut store: impl AsContextMut,
        info: Option<Box<dyn Any + Send + Sync>>,
    ) -> Result<Option<Box<dyn Any + Send + Sync>>> {
        let mut store = store.as_context_mut();
        let key = self.info_key(store.inner())?;
        Ok(store.inner_mut().host_info.set(key, info))
    }
}

impl Instance {
    fn info_key(&self, inner: &StoreInner) -> Result<(u8, usize)> {
        Ok((4, self.0.check(inner)?))
    }

    /// What [`Instance::set_host_info`] attached to this instance.
    pub fn host_info<'a, T: 'static>(
        &self,
        store: impl Into<StoreContext<'a, T>>,
    ) -> Result<Option<&'a (dyn Any + Send + Sync)>> {
        let inner = store.into().inner();
        Ok(inner.host_info.get(self.info_key(inner)?))
    }

    /// Attaches a value, or takes it away; gives what was attached before. It is dropped with the store.
    pub fn set_host_info(
        &self,
        mut store: impl AsContextMut,
        info: Option<Box<dyn Any + Send + Sync>>,
    ) -> Result<Option<Box<dyn Any + Send + Sync>>> {
        let mut store = store.as_context_mut();
        let key = self.info_key(store.inner())?;
        Ok(store.inner_mut().host_info.set(key, info))
    }
}

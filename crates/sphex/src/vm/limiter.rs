//! Asking the embedder's limiter, which lies in data whose type the store's inner half does not know.

use super::store::StoreInner;
use crate::error::{Error, Result};
use crate::limits::{Resource, ResourceLimiter, StoreLimits, refused};

/// Calls its second argument with the limiter that it finds in the data at its first.
type InData = dyn Fn(*mut u8, &mut dyn FnMut(&mut dyn ResourceLimiter)) + Send + Sync;

/// Who decides what is made and grown.
pub(crate) enum Limiter {
    /// Numbers.
    Numbers(StoreLimits),
    /// A limiter in the embedder's data. Call it with [`StoreInner::data`] only.
    Data(Box<InData>),
}

impl Limiter {
    /// A limiter in a store's data.
    pub(crate) fn of_data<T: 'static>(
        find: impl (Fn(&mut T) -> &mut dyn ResourceLimiter) + Send + Sync + 'static,
    ) -> Limiter {
        Limiter::Data(Box::new(move |data, ask| {
            // SAFETY: the limiter was given to a store of `T`, and is called with that store's data (V5).
            ask(find(unsafe { &mut *data.cast::<T>() }));
        }))
    }
}

impl StoreInner {
    /// Asks the limiter.
    pub(crate) fn ask_limiter<R>(&mut self, ask: impl FnOnce(&mut dyn ResourceLimiter) -> R) -> R {
        match &mut self.limiter {
            Limiter::Numbers(limits) => ask(limits),
            Limiter::Data(find) => {
                let (mut ask, mut answer) = (Some(ask), None);
                find(self.data, &mut |limiter| answer = ask.take().map(|ask| ask(limiter)));
                match answer {
                    Some(answer) => answer,
                    // `find` calls once: it was made by `of_data`.
                    None => unreachable!("a limiter that was not asked"),
                }
            }
        }
    }

    /// Is there room for one more?
    pub(crate) fn check_count(&mut self, what: Resource, have: usize) -> Result<()> {
        let (most, unit) = self.ask_limiter(|limiter| match what {
            Resource::Instances => (limiter.instances(), "instances"),
            Resource::Memories => (limiter.memories(), "memories"),
            _ => (limiter.tables(), "tables"),
        });
        if have < most {
            return Ok(());
        }
        Err(refused(&format!("{} {unit}", have + 1), Some(most as u64), unit))
    }

    /// Asks whether a memory (`memory`) or a table may grow so; `Ok(Err(_))` says why it may not.
    pub(crate) fn check_growth(
        &mut self,
        memory: bool,
        current: u64,
        desired: u64,
        maximum: Option<u64>,
    ) -> Result<Result<()>> {
        let (resource, name, unit) = match memory {
            true => (Resource::MemoryBytes, "memory", "bytes"),
            false => (Resource::TableElements, "table", "elements"),
        };
        let (allowed, limit) = self.ask_limiter(|limiter| {
            let allowed = match memory {
                true => limiter.memory_growing(current, desired, maximum)?,
                false => limiter.table_growing(current, desired, maximum)?,
            };
            Ok::<_, Error>((allowed, limiter.limit(resource)))
        })?;
        if allowed {
            return Ok(Ok(()));
        }
        let asked = match current {
            0 => format!("a {name} of {desired} {unit}"),
            _ => format!("growing a {name} from {current} to {desired} {unit}"),
        };
        Ok(Err(refused(&asked, limit, unit)))
    }

    /// Tells the limiter that a memory or a table did not grow; an error is a trap.
    pub(crate) fn grow_failed(&mut self, memory: bool, error: Error) -> Result<()> {
        self.ask_limiter(|limiter| match memory {
            true => limiter.memory_grow_failed(error),
            false => limiter.table_grow_failed(error),
        })
    }
}

//! The embedder's data, reached from where its type is not known: callbacks that find it at `StoreInner::data`.
//!
//! **V5.** `StoreInner::data` is the address of the data that lies beside it in the same `StoreData<T>`, derived from the
//! borrow that gave the `&mut StoreInner`. Callbacks are put into a store by methods that know its `T`.

use crate::engine::Engine;
use crate::epoch::{Callback, EpochContext, UpdateDeadline};
use crate::error::Result;

/// An epoch callback that is called with `StoreInner::data`.
pub(crate) fn epoch_callback<T: 'static>(
    mut callback: impl FnMut(EpochContext<'_, T>) -> Result<UpdateDeadline> + Send + Sync + 'static,
) -> Box<Callback> {
    Box::new(move |data: *mut u8, engine: &Engine| {
        // SAFETY: V5: the store is of `T`, and its data is borrowed by no one else while its inner half is ours.
        callback(EpochContext::new(unsafe { &mut *data.cast::<T>() }, engine))
    })
}

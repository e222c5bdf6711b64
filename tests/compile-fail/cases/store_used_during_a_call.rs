//! A call that waits holds the store.
use sphex::{Store, TypedFunc};

async fn twice(store: &mut Store<u32>, f: TypedFunc<(), ()>) -> sphex::Result<u32> {
    let call = f.call_async(&mut *store, ());
    let data = *store.data();
    call.await?;
    Ok(data)
}

fn main() {
    let _ = twice;
}

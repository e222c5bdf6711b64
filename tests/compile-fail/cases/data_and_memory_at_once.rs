//! Data and bytes are borrowed together only through `split` or `data_and_store_mut`.
use sphex::{Memory, Store};

fn fill(store: &mut Store<u8>, memory: Memory) -> sphex::Result<()> {
    let bytes = memory.data_mut(&mut *store)?;
    bytes.fill(*store.data());
    bytes[0] = 1;
    Ok(())
}

fn main() {
    let _ = fill;
}

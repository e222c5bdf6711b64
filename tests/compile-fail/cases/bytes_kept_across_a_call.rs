//! A memory's bytes borrow the store, so that no call can move or change them meanwhile.
use sphex::{Memory, Store, TypedFunc};

fn sum(store: &mut Store<()>, memory: Memory, f: TypedFunc<(), ()>) -> sphex::Result<u8> {
    let bytes = memory.data(&*store)?;
    f.call(&mut *store, ())?;
    Ok(bytes[0])
}

fn main() {
    let _ = sum;
}

//! A typed function takes the types that it was looked up with.
use sphex::{Store, TypedFunc};

fn call(store: &mut Store<()>, f: TypedFunc<(i32, i64), f32>) -> sphex::Result<f32> {
    f.call(store, (1.5, 2))
}

fn main() {
    let _ = call;
}

//! The examples do what they say.
#![cfg(feature = "compiler")]
#![allow(unsafe_code, dead_code)]

#[path = "../examples/embed.rs"]
mod embed;
#[path = "../examples/jit.rs"]
mod jit;

#[test]
fn embedding() {
    assert_eq!(embed::run().unwrap(), "Hello from wasm\nHello from wasm\n");
}

#[test]
fn running_clif() {
    assert_eq!(jit::run(1071, 462).unwrap(), 21);
    assert_eq!(jit::run(5, 0).unwrap(), 5);
}

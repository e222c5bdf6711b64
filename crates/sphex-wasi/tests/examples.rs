//! The example does what it says.
#![cfg(feature = "tokio")]
#![allow(dead_code)]

#[path = "../examples/async_server.rs"]
mod async_server;

#[test]
fn every_connection_is_a_guest() {
    let expected = [
        "HELLO FROM THE SECOND",
        "HELLO FROM THE FIRST",
        "a guest has ended",
        "a guest has ended",
        "a guest was stopped: interrupted",
    ];
    assert_eq!(async_server::run().unwrap(), expected);
}

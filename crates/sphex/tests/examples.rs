//! The examples do what they say.
#![cfg(feature = "compiler")]
#![allow(unsafe_code, dead_code)]

#[path = "../examples/async_host.rs"]
mod async_host;
#[path = "../examples/embed.rs"]
mod embed;
#[path = "../examples/jit.rs"]
mod jit;
#[path = "../examples/limits.rs"]
mod limits;
#[path = "../examples/plugin_host.rs"]
mod plugin_host;
#[path = "../examples/precompile.rs"]
mod precompile;

#[test]
fn embedding() {
    assert_eq!(embed::run().unwrap(), "Hello from wasm\nHello from wasm\n");
}

#[test]
fn running_clif() {
    assert_eq!(jit::run(1071, 462).unwrap(), 21);
    assert_eq!(jit::run(5, 0).unwrap(), 5);
}

#[test]
fn hosting_plugins() {
    let expected = [
        "shout: HELLO, PLUGINS [\"shouting\"]",
        "liar: text outside the plugin's memory",
        "bad: plugin bad: no function `alloc` of the right type",
    ];
    assert_eq!(plugin_host::run().unwrap(), expected);
}

#[test]
fn compiling_now_and_loading_later() {
    let folder = std::env::temp_dir().join(format!("sphex-precompile-{}", std::process::id()));
    std::fs::create_dir(&folder).unwrap();
    assert_eq!(precompile::run(&folder).unwrap(), 6765);
    assert_eq!(std::fs::read_dir(&folder).unwrap().count(), 1, "no temporary file stays");
    std::fs::remove_dir_all(&folder).unwrap();
}

#[test]
fn guests_that_wait_take_turns() {
    let expected = [
        "a: waits for 2",
        "b: waits for 2",
        "a: has 2",
        "a: waits for 1",
        "b: has 2",
        "b: waits for 1",
        "a: has 1",
        "a: 30",
        "a: WouldSuspend",
        "b: has 1",
        "b: 30",
        "b: WouldSuspend",
    ];
    assert_eq!(async_host::run().unwrap(), expected);
}

#[test]
fn each_guest_is_stopped_in_its_own_way() {
    let expected = [
        "modest: done",
        "endless loop: out of fuel",
        "endless recursion: call stack exhausted",
        "too large from the start: a memory of 1114112 bytes: more than the limit of 1048576 bytes",
        "greedy: unreachable",
        "slow: timed out",
    ];
    assert_eq!(limits::run().unwrap(), expected);
}

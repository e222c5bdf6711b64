//! Nothing: `tests/compile_fail.rs` and `cases/` are what this package is for. It is apart from `sphex` so that the crate
//! graph which trybuild checks again has neither the compiler nor its tests' tools in it.

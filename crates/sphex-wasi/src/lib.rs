//! WASI hosts for Sphex, on its public API only.
//!
//! A [`WasiCtx`] is what one guest may see: arguments, environment, preopened directories, streams, clocks and random
//! numbers. Each of these is a trait object with the host's own as the default, so that an embedder can bring an
//! in-memory file system or a fixed clock. [`preview1`] serves it to core modules as `wasi_snapshot_preview1`.
//!
//! Under `sphex`'s `call_async` these functions block the thread all the same, unless they come from
//! `preview1::add_to_linker_async` (feature `tokio`).
//!
//! Nothing is initialised before a guest uses it: making a context does no system call beyond opening the directories
//! it is given, and no host function starts a thread but `wasi::thread-spawn` ([`threads`]).
//!
//! *The sandbox.* Paths are resolved by cap-primitives, never here: no path of a guest reaches a system call but through
//! it, and what it finds to lead outside is EPERM. See [`files`].
#![forbid(unsafe_code)]

pub mod clocks;
mod context;
pub mod files;
mod later;
pub mod preview1;
pub mod random;
pub mod sockets;
pub mod streams;
pub mod threads;

pub use context::{BuildError, Descriptor, Interrupt, Object, Refused, WasiCtx, WasiCtxBuilder};
pub use preview1::SharedWasi;
pub use preview1::types::{Errno, FdFlags, Filestat, Filetype, OFlags, Rights};

/// The page of the API book (`docs/book`), whose snippet `cargo test --doc` runs.
#[cfg(doctest)]
#[doc = include_str!("../../../docs/book/wasi.md")]
mod book {}

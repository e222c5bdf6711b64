//! The runtime's unsafe half: everything that touches raw memory, machine code, signals and stacks.
//!
//! The rest of the crate is safe Rust on top of what these rooms give. The invariants they share:
//!
//! - **V1.** A `VmStore`, every vmctx, memory, table, global and function reference of a store live until the store is
//!   dropped. Compiled code and the host may keep pointers to them while the store lives.
//! - **V2.** A store is used by one thread at a time: whoever holds `&mut StoreInner` (or is the host function that its
//!   running wasm called) may read and write all of it. Only `VmStore.limit` is touched by other threads.
//! - **V3.** Machine code stays mapped, and registered for the trap handler, as long as an `Arc<Code>` lives; a store
//!   keeps one for each module that it instantiated.
//! - **V4.** A function reference's code follows the `sphex` convention and the signature of its type id.
//! - **V5.** `StoreInner::data` is the address of the embedder's data beside it, see `data`.
//! - **V6.** The bytes of a shared memory belong to no store. Any thread may read and write them at any time, wasm by
//!   instructions of its own, the host by atomics or the C library, never by a reference; they stay mapped where they are
//!   as long as an `Arc<SharedData>` lives, of which every store that uses the memory has one. Its length only grows.
#![allow(unsafe_code)]

pub(crate) mod activation;
pub(crate) mod allocator;
pub(crate) mod async_call;
pub(crate) mod builtins;
pub(crate) mod cache;
pub(crate) mod call;
pub(crate) mod code;
pub(crate) mod data;
pub(crate) mod debugger;
#[cfg_attr(not(target_arch = "x86_64"), path = "direct/absent.rs")]
mod direct;
mod fiber;
pub(crate) mod free;
pub(crate) mod heap;
pub(crate) mod hosts;
pub(crate) mod image;
pub(crate) mod instance;
#[cfg(feature = "compiler")]
pub(crate) mod jit;
#[cfg_attr(
    not(all(feature = "compiler", target_os = "linux", target_arch = "x86_64")),
    path = "lazy/absent.rs"
)]
pub(crate) mod lazy;
pub(crate) mod limiter;
mod lock;
pub(crate) mod memory;
pub(crate) mod pool;
pub(crate) mod profile;
mod racy;
pub(crate) mod raw;
pub(crate) mod scalars;
pub(crate) mod shared;
pub(crate) mod shelf;
pub(crate) mod slot;
pub(crate) mod stacks;
pub(crate) mod stop;
pub(crate) mod store;
pub(crate) mod stubs;
pub(crate) mod sys;
pub(crate) mod table;
pub(crate) mod touched;
pub(crate) mod traps;
pub(crate) mod wait;
pub(crate) mod walk;

//! Sphex: WebAssembly for Rust programs.
//!
//! An [`Engine`] compiles and runs; a [`Module`] is code; a [`Store`] holds all state and the embedder's own data; a
//! [`Linker`] gives names to what modules import; an [`Instance`] is a module come to life. Handles ([`Func`],
//! [`Memory`], [`Table`], [`Global`], [`Instance`]) are `Copy` and belong to one store. Misuse is an [`Error`], never a
//! panic: a method that takes a store and a handle fails with [`ErrorKind::WrongStore`] if the handle is of another store
//! or of one that was dropped; what else may go wrong stands with each method.
//!
//! - Host functions: [`Linker::func_wrap`], [`Func::wrap`], and [`Caller`], which they get; `docs/book/functions.md`.
//! - Bytes, tables and values that wasm sees: [`Memory`], [`Table`], [`Global`], [`Val`]; `docs/book/memory.md`.
//! - Host values in wasm: [`ExternRef`], which is owned, and [`Rooted`], which is scoped; `docs/book/references.md`.
//! - What goes wrong: [`Error`], [`ErrorKind`], [`Trap`], [`Backtrace`]; `docs/book/errors.md`.
//! - Waiting: [`TypedFunc::call_async`], [`Linker::func_wrap_async`]; `docs/book/async.md`.
//! - Compiling ahead of time: [`Engine::precompile`], [`Module::deserialize`]; `docs/book/caching.md`.
//! - Code generation without WebAssembly: `sphex::jit`; `docs/book/clif.md`.
//!
//! Without the feature `compiler` there is no code generator in the crate; it runs artifacts that one with it has made.
//! The book (`docs/book` in the repository) has a page for each of these; `examples/` has whole programs.
//!
//! ```
//! # #[cfg(feature = "compiler")] fn main() -> sphex::Result<()> {
//! use sphex::{Engine, Linker, Module, Store};
//!
//! let engine = Engine::default();
//! let module = Module::new(&engine, r#"(module
//!     (import "host" "add" (func $add (param i32 i32) (result i32)))
//!     (func (export "twice") (param i32) (result i32)
//!         (call $add (local.get 0) (local.get 0))))"#)?;
//! let mut linker = Linker::new(&engine);
//! linker.func_wrap("host", "add", |a: i32, b: i32| a + b)?;
//! let mut store = Store::new(&engine, ());
//! let instance = linker.instantiate(&mut store, &module)?;
//! let twice = instance.get_typed_func::<i32, i32>(&mut store, "twice")?;
//! assert_eq!(twice.call(&mut store, 21)?, 42);
//! # Ok(()) }
//! # #[cfg(not(feature = "compiler"))] fn main() {}
//! ```

mod allocation;
mod asynchronous;
mod backtrace;
#[cfg(all(doctest, feature = "compiler"))]
mod book;
#[cfg(feature = "compiler")]
mod compiler;
mod config;
mod engine;
mod epoch;
mod error;
mod externref;
mod externs;
mod fuel;
mod func;
mod hostinfo;
#[cfg(feature = "compiler")]
pub mod inspect;
mod instance;
mod interruption;
#[cfg(feature = "compiler")]
pub mod jit;
mod limits;
mod linker;
mod matching;
mod module;
mod roots;
mod schedule;
mod shared;
mod store;
mod symbolize;
mod types;
mod value;
mod vm;

pub use allocation::{Allocation, OnDemand, PoolMetrics, Pooling};
pub use asynchronous::HostFuture;
pub use backtrace::{Backtrace, Frame, SourceLocation};
pub use config::{Compile, Config, Host, Profiler};
pub use engine::{Engine, EngineWeak};
pub use epoch::{EpochContext, UpdateDeadline};
pub use error::{Error, ErrorKind, Result};
pub use externref::ExternRef;
pub use externs::{Extern, Global, Memory, Table};
pub use func::{Func, TypedFunc};
pub use instance::Instance;
pub use interruption::{InterruptHandle, Interruption};
pub use limits::{Resource, ResourceLimiter, StoreLimits, StoreLimitsBuilder};
pub use linker::{InstancePre, Linker};
pub use module::{Module, ModuleExport, Resources};
pub use roots::{RootScope, Rooted};
pub use shared::{SharedMemory, WaitResult};
pub use sphex_artifact::Trap;
pub use store::{AsContext, AsContextMut, Caller, Memories, Store, StoreContext, StoreContextMut};
pub use types::{
    ExportType, ExternType, FuncType, GlobalType, ImportType, MemoryType, RefType, TableType, ValType,
};
pub use value::Val;
pub use vm::call::{IntoFunc, WasmRet, WasmTy, WasmValues};
pub use vm::raw::RawVal;

const _: () = {
    const fn shared<X: Send + Sync + Clone>() {}
    const fn plain<X: Send + Sync + Copy>() {}
    const fn both<X: Send + Sync>() {}
    const fn sent<X: Send>() {}
    // Whatever the store's data is.
    shared::<Engine>();
    shared::<EngineWeak>();
    shared::<Config>();
    shared::<Module>();
    shared::<ModuleExport>();
    shared::<Linker<*const ()>>();
    shared::<InstancePre<*const ()>>();
    shared::<InterruptHandle>();
    shared::<Interruption>();
    shared::<ExternRef>();
    shared::<Val>();
    shared::<Backtrace>();
    shared::<ExternType>();
    shared::<SharedMemory>();
    plain::<Func>();
    plain::<Memory>();
    plain::<Table>();
    plain::<Global>();
    plain::<Instance>();
    plain::<Extern>();
    plain::<Rooted>();
    plain::<RawVal>();
    plain::<TypedFunc<Option<Func>, Option<ExternRef>>>();
    both::<Error>();
    // As the store's data is; tests/compile-fail shows that they are no more than that.
    both::<Store<()>>();
    sent::<Store<std::cell::Cell<u32>>>();
    sent::<StoreContextMut<'_, std::cell::Cell<u32>>>();
    sent::<Caller<'_, std::cell::Cell<u32>>>();
    sent::<Memories<'_>>();
    sent::<RootScope<Store<()>>>();
    assert!(size_of::<Error>() == size_of::<usize>());
    assert!(size_of::<Result<()>>() == size_of::<usize>());
    assert!(size_of::<Func>() == 16 && size_of::<RawVal>() == 16);
};

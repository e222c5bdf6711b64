//! What compiled code and the runtime both read: descriptions of modules, the layout of vmctx, the calling
//! convention, builtins, trap codes and the ELF file that holds them.
//!
//! Compiler and runtime meet in this crate only, and only in data. It knows neither IR nor machine code, allocates
//! nothing at run time beyond the cold description, and trusts no byte of a file it reads.

pub mod builtins;
pub mod convention;
pub mod images;
pub mod module;
pub mod read;
pub mod records;
pub mod sections;
pub mod target;
pub mod traps;
pub mod types;
mod validate;
pub mod vmctx;
#[cfg(feature = "write")]
pub mod write;

pub use builtins::Builtin;
pub use module::{Description, Module};
pub use read::{ArtifactError, ArtifactView, Index};
pub use sections::BuildId;
pub use target::{Arch, CpuFeatures, Os, Target};
pub use traps::Trap;
pub use types::{FuncType, GlobalType, MemoryType, RefType, TableType, ValType};

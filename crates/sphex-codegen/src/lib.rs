//! Optimizer, instruction selection, ABIs, register allocation and emission.
//!
//! Needs: a placed IR function and settings. Gives: machine code with its records, and object files.

pub mod aarch64;
pub mod abi;
pub mod emit;
pub mod error;
pub mod frame;
pub mod isa;
pub mod machine;
pub mod object;
pub mod observe;
pub mod opt;
pub mod pipeline;
pub mod regalloc;
pub mod select;
pub mod settings;
pub mod slots;
pub mod unwind;
pub mod x64;

pub use error::CodegenError;
pub use settings::Settings;

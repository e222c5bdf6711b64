//! Looking into a compilation: progress, time, and what each step makes of a function.
//!
//! A [`Watch`] goes along with the engine's own compilation; what it is shown are the compiler's own forms, which change
//! from version to version. For tools; `sphex compile --time` and `sphex explain` are made with it.

use sphex_compile::CompileError;
pub use sphex_compile::watch::{Defined, Observer, State, Watch, Which};

use crate::compiler;
use crate::engine::Engine;
use crate::error::{Error, ErrorKind, Result};
use crate::module::Module;

impl Engine {
    /// As [`Engine::precompile`], with somebody to look on.
    pub fn precompile_watched(&self, wasm: &[u8], watch: &dyn Watch) -> Result<Vec<u8>> {
        compiler::compile(self, &compiler::to_wasm(wasm)?, watch)
    }

    /// Compiles some functions of a module for a watch to see, and keeps nothing.
    pub fn inspect(&self, wasm: &[u8], which: Which<'_>, watch: &dyn Watch) -> Result<()> {
        let settings = compiler::settings(self.config())?;
        sphex_compile::inspect(&compiler::to_wasm(wasm)?, &settings, which, watch).map_err(
            |error| match error {
                CompileError::NoSuchFunction(_) | CompileError::Imported(_) | CompileError::NoSuchName(_) => {
                    Error::with_source(ErrorKind::Argument, error.to_string(), error)
                }
                error => compiler::error(error),
            },
        )
    }

    /// A module as binary: itself, or (with the feature `wat`) what its text means.
    pub fn to_binary<'a>(&self, bytes: &'a [u8]) -> Result<std::borrow::Cow<'a, [u8]>> {
        compiler::to_wasm(bytes)
    }
}

impl Module {
    /// As [`Module::new`], with somebody to look on. Functions that are compiled when they are called are not shown.
    pub fn new_watched(engine: &Engine, bytes: impl AsRef<[u8]>, watch: &dyn Watch) -> Result<Module> {
        let wasm = compiler::to_wasm(bytes.as_ref())?;
        Module::from_code(engine, compiler::load(engine, wasm, watch)?)
    }
}

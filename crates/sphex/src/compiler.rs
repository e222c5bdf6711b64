//! The one place that names the compiler.

use std::borrow::Cow;
use std::sync::Arc;

pub(crate) use sphex_compile::Settings;
#[cfg(all(target_os = "linux", target_arch = "x86_64"))]
pub(crate) use sphex_compile::lazy::{LazyModule, Placed, Unplaced, Worker};
use sphex_compile::watch::Watch;
use sphex_compile::{CompileError, MemorySettings};

use crate::config::Config;
use crate::engine::Engine;
use crate::error::{Error, ErrorKind, Result};
use crate::vm::code::Code;

/// Wasm bytes from bytes that may be text.
pub(crate) fn to_wasm(bytes: &[u8]) -> Result<Cow<'_, [u8]>> {
    #[cfg(feature = "wat")]
    return wat::parse_bytes(bytes)
        .map_err(|error| Error::with_source(ErrorKind::Invalid, error.to_string(), error));
    #[cfg(not(feature = "wat"))]
    return Ok(Cow::Borrowed(bytes));
}

/// The compiler's settings for a configuration.
pub(crate) fn settings(config: &Config) -> Result<Settings> {
    let compile = &config.compile;
    let mut settings = match &compile.target {
        None => Settings::host(),
        Some(name) => {
            // AArch64 is compiled for (`sphex clif compile`), but no runtime loads such artifacts yet.
            let known = sphex_codegen::settings::Target::parse(name);
            let target = known.filter(|target| target.arch == sphex_codegen::settings::Arch::X64);
            let target = target.ok_or_else(|| {
                Error::new(ErrorKind::Argument, format!("no such target: {name}; expected x86_64-linux"))
            })?;
            Settings::for_target(target)
        }
    };
    settings.memory = MemorySettings {
        reservation: compile.memory_reservation,
        guard: compile.memory_guard,
        explicit_checks: compile.explicit_checks,
    };
    settings.interruption = compile.interruption;
    settings.fuel = compile.fuel;
    settings.spectre = compile.spectre;
    settings.optimize = compile.optimize;
    settings.inlining = compile.inlining;
    settings.debug_info = compile.debug_info;
    settings.threads = config.host.compile_threads;
    for (name, value) in &compile.options {
        settings
            .set(name, value.as_deref())
            .map_err(|error| Error::with_source(ErrorKind::Argument, error.to_string(), error))?;
    }
    Ok(settings)
}

/// Compiles wasm to an artifact.
pub(crate) fn compile(engine: &Engine, wasm: &[u8], watch: &dyn Watch) -> Result<Vec<u8>> {
    let settings = settings(engine.config())?;
    sphex_compile::compile_watched(wasm, &settings, watch).map_err(error)
}

/// Compiles wasm and loads it; or loads it to be compiled as it is called, if the configuration says so.
#[cfg(all(target_os = "linux", target_arch = "x86_64"))]
pub(crate) fn load(engine: &Engine, wasm: Cow<'_, [u8]>, watch: &dyn Watch) -> Result<Arc<Code>> {
    if !engine.config().host.lazy_compilation {
        return Code::from_bytes(engine, &compile(engine, &wasm, watch)?, false);
    }
    let (lazy, skeleton) = crate::vm::lazy::Lazy::new(wasm.into_owned(), &settings(engine.config())?)?;
    Code::from_lazy(engine, &skeleton, lazy)
}

/// Compiles wasm and loads it.
#[cfg(not(all(target_os = "linux", target_arch = "x86_64")))]
pub(crate) fn load(engine: &Engine, wasm: Cow<'_, [u8]>, watch: &dyn Watch) -> Result<Arc<Code>> {
    Code::from_bytes(engine, &compile(engine, &wasm, watch)?, false)
}

/// An error of the compiler as one of the engine.
pub(crate) fn error(error: CompileError) -> Error {
    let kind = match &error {
        CompileError::Unsupported { .. } => ErrorKind::Unsupported,
        CompileError::TooLarge { .. } => ErrorKind::Limit,
        _ => ErrorKind::Invalid,
    };
    Error::with_source(kind, error.to_string(), error)
}

impl Engine {
    /// Validates a module, of any proposal that the validator knows, without compiling it.
    pub fn validate(&self, wasm: &[u8]) -> Result<()> {
        let settings = settings(self.config())?;
        sphex_compile::validate(wasm, &settings)
            .map_err(|error| Error::with_source(ErrorKind::Invalid, error.to_string(), error))
    }
}

//! The one place that names the compiler.

use std::borrow::Cow;

use sphex_compile::{CompileError, MemorySettings, Settings};

use crate::config::Config;
use crate::engine::Engine;
use crate::error::{Error, ErrorKind, Result};

/// Wasm bytes from bytes that may be text.
pub(crate) fn to_wasm(bytes: &[u8]) -> Result<Cow<'_, [u8]>> {
    #[cfg(feature = "wat")]
    return wat::parse_bytes(bytes)
        .map_err(|error| Error::with_source(ErrorKind::Invalid, error.to_string(), error));
    #[cfg(not(feature = "wat"))]
    return Ok(Cow::Borrowed(bytes));
}

/// The compiler's settings for a configuration.
pub(crate) fn settings(config: &Config) -> Settings {
    let compile = &config.compile;
    Settings {
        memory: MemorySettings {
            reservation: compile.memory_reservation,
            guard: compile.memory_guard,
            explicit_checks: compile.explicit_checks,
        },
        interruption: compile.interruption,
        spectre: compile.spectre,
        optimize: compile.optimize,
        inlining: compile.inlining,
        threads: config.host.compile_threads,
        ..Settings::default()
    }
}

/// Compiles wasm to an artifact.
pub(crate) fn compile(engine: &Engine, wasm: &[u8]) -> Result<Vec<u8>> {
    sphex_compile::validate(wasm, &settings(engine.config())).map_err(|error| {
        let kind = match &error {
            CompileError::Unsupported { .. } => ErrorKind::Unsupported,
            CompileError::TooLarge { .. } => ErrorKind::Limit,
            _ => ErrorKind::Invalid,
        };
        Error::with_source(kind, error.to_string(), error)
    })?;
    Err(Error::new(ErrorKind::Unsupported, "this build has no code generator yet"))
}

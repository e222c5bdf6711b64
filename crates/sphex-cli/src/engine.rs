//! Engines and limits as the option groups want them.

use std::path::Path;

use sphex::{Allocation, Config, Engine, Pooling, StoreLimits, StoreLimitsBuilder};

use crate::exit::{Failure, Result};
use crate::options::Options;

/// An engine of these options.
pub fn engine(options: &Options) -> Result<Engine> {
    Engine::new(&config(options)).map_err(failure)
}

/// An engine of these options to run a program: what it compiles and nobody keeps is compiled as it is called.
pub fn engine_to_run(options: &Options) -> Result<Engine> {
    let mut config = config(options);
    config.host.lazy_compilation = options.lazy != Some(false);
    Engine::new(&config).map_err(failure)
}

fn config(options: &Options) -> Config {
    let mut config = Config::new();
    let compile = &mut config.compile;
    compile.memory_reservation = options.memory_reservation.unwrap_or(compile.memory_reservation);
    compile.memory_guard = options.memory_guard.unwrap_or(compile.memory_guard);
    compile.explicit_checks = options.explicit_checks;
    compile.interruption = options.interruption;
    compile.fuel = options.fuel.is_some();
    compile.spectre = options.spectre;
    compile.optimize = options.optimize;
    compile.inlining = options.inlining;
    compile.debug_info = options.debug_info;
    compile.target = options.target.map(|target| target.to_string());
    compile.options.clone_from(&options.settings);
    let host = &mut config.host;
    host.max_wasm_stack = options.max_wasm_stack.unwrap_or(host.max_wasm_stack);
    host.native_unwind = options.native_unwind;
    host.native_debug = options.native_debug;
    host.profiler = options.profiler;
    host.compile_threads = options.threads;
    host.lazy_compilation = options.lazy == Some(true);
    if options.pooling {
        host.allocation = Allocation::Pooling(Pooling::default());
    }
    config
}

/// A store's limits of these options.
pub fn limits(options: &Options) -> StoreLimits {
    StoreLimitsBuilder::new()
        .memory_size(options.max_memory.unwrap_or(u64::MAX))
        .table_elements(options.max_elements.unwrap_or(u64::MAX))
        .instances(options.max_instances.unwrap_or(usize::MAX))
        .memories(options.max_memories.unwrap_or(usize::MAX))
        .tables(options.max_tables.unwrap_or(usize::MAX))
        .trap_on_grow_failure(options.trap_on_grow_failure)
        .build()
}

/// An error of the engine as one of the command.
pub fn failure(error: sphex::Error) -> Failure {
    Failure::Error(anyhow::Error::from_boxed(error.into_std()))
}

/// An error of the engine that has to do with this file.
pub fn failure_in(file: &Path, error: sphex::Error) -> Failure {
    failure(error.context(file.display().to_string()))
}

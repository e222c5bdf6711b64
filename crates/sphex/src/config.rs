//! How modules are compiled and run: `Compile` is part of an artifact's key, `Host` is not.

use crate::allocation::Allocation;
use crate::error::{Error, ErrorKind, Result};

/// Configuration of an engine.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Config {
    /// What decides the code that is made.
    pub compile: Compile,
    /// What decides how it is run.
    pub host: Host,
}

/// What decides the code that is made. Without the feature `compiler` only the memory plan of host-made memories uses it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Compile {
    /// Bytes of address space for each memory; 0 (or less than 4 GiB): none, memories move and accesses are checked.
    pub memory_reservation: u64,
    /// Bytes behind the reservation that always fault.
    pub memory_guard: u64,
    /// Compare addresses with the length even where a fault would do.
    pub explicit_checks: bool,
    /// Loops look for an interruption.
    pub interruption: bool,
    /// Each entry of a function and each turn of a loop takes one of the store's fuel, and traps where none is left.
    pub fuel: bool,
    /// Mask indices and addresses where the processor only speculates.
    pub spectre: bool,
    /// Optimize.
    pub optimize: bool,
    /// Copy small leaf functions into their callers.
    pub inlining: bool,
    /// Keep a module's debug information, for files and lines in backtraces.
    pub debug_info: bool,
    /// What to compile for: `x86_64-linux` or a triple, with its baseline CPU. `None` is this machine and its CPU.
    pub target: Option<String>,
    /// Further settings of the compiler, by name: CPU features (`has_avx2`, with the value `false` to leave one out) and
    /// flags of the code generator.
    pub options: Vec<(String, Option<String>)>,
}

/// What decides how code is run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Host {
    /// Bytes of stack that wasm may use, at most; less where the thread's stack is smaller.
    pub max_wasm_stack: usize,
    /// Bytes of the stack that an async call runs on, of which 128 KiB are the host's. Address space; what is touched
    /// counts as memory.
    pub async_stack_size: usize,
    /// Make unwind records known to the platform's unwinder when a module is loaded.
    pub native_unwind: bool,
    /// Make functions and unwind records known to gdb and lldb when a module is loaded. Costs a copy of the artifact.
    pub native_debug: bool,
    /// Make functions known to a profiler when a module is loaded.
    pub profiler: Option<Profiler>,
    /// Compare the hash of an artifact's code and data when it is loaded. (That of its tables is always compared.)
    pub verify_artifacts: bool,
    /// Compile a function when it is called first, not when its module is made. [`Module::new`](crate::Module::new) then only
    /// reads and validates the module, so that a program starts sooner, and never compiles what it never calls. What that
    /// costs: the first call of a function takes as long as its compilation (on the thread that calls; no fuel, and a deadline
    /// that passes meanwhile is seen right after); calls between functions go through a jump in memory; a module keeps its
    /// wasm, and address space for 64 times the bytes of its functions. A function that the code generator refuses
    /// (its frame would be too large) is an error when it is called. On x86-64 Linux; elsewhere, and without the feature
    /// `compiler`, nothing changes. Artifacts are compiled already.
    pub lazy_compilation: bool,
    /// Threads to compile with; `None` takes all there are.
    pub compile_threads: Option<usize>,
    /// Where instances and memories come from.
    pub allocation: Allocation,
}

/// What tells a profiler the names of functions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Profiler {
    /// `/tmp/perf-PID.map`: names, for `perf report` as it is.
    PerfMap,
    /// `jit-PID.dump` in the current folder: names, code and source lines, for `perf record -k mono` and
    /// `perf inject --jit`.
    Jitdump,
}

impl Default for Compile {
    fn default() -> Self {
        Compile {
            memory_reservation: 1 << 32,
            memory_guard: 32 << 20,
            explicit_checks: false,
            interruption: true,
            fuel: false,
            spectre: true,
            optimize: true,
            inlining: true,
            debug_info: true,
            target: None,
            options: Vec::new(),
        }
    }
}

impl Default for Host {
    fn default() -> Self {
        Host {
            max_wasm_stack: 1 << 20,
            async_stack_size: 2 << 20,
            native_unwind: false,
            native_debug: false,
            profiler: None,
            verify_artifacts: true,
            lazy_compilation: false,
            compile_threads: None,
            allocation: Allocation::default(),
        }
    }
}

impl Config {
    /// The default configuration.
    pub fn new() -> Config {
        Config::default()
    }

    /// Does the compiler accept modules of the threads proposal: shared memories, atomic accesses? At first it does. The
    /// other proposals are named in [`Compile::options`] as this is: `wasm-threads`.
    pub fn wasm_threads(&mut self, accept: bool) -> &mut Self {
        self.compile.options.retain(|(name, _)| name != "wasm-threads");
        self.compile.options.push(("wasm-threads".to_owned(), Some(accept.to_string())));
        self
    }

    pub(crate) fn validate(&self) -> Result<()> {
        if self.host.max_wasm_stack == 0 {
            return Err(Error::new(ErrorKind::Argument, "max_wasm_stack: expected more than 0 bytes"));
        }
        if !(256 << 10..=1 << 30).contains(&self.host.async_stack_size) {
            return Err(Error::new(ErrorKind::Argument, "async_stack_size: expected 256 KiB to 1 GiB"));
        }
        if self.compile.memory_guard > 1 << 40 || self.compile.memory_reservation > 1 << 46 {
            return Err(Error::new(
                ErrorKind::Argument,
                "memory_reservation or memory_guard: larger than any address space",
            ));
        }
        if let Allocation::Pooling(pooling) = &self.host.allocation {
            pooling.validate()?;
        }
        #[cfg(feature = "compiler")]
        crate::compiler::settings(self)?;
        Ok(())
    }

    /// How a memory that the host makes promises to behave.
    pub(crate) fn memory_plan(&self) -> sphex_artifact::module::MemoryPlan {
        let whole = self.compile.memory_reservation >= 1 << 32;
        sphex_artifact::module::MemoryPlan {
            reservation: if whole { self.compile.memory_reservation } else { 0 },
            guard: if whole { self.compile.memory_guard } else { 0 },
            may_move: !whole,
            explicit_checks: self.compile.explicit_checks || !whole,
        }
    }
}

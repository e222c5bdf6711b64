//! What decides the code that is made. All of it is part of an artifact's key.

use sphex_artifact::module::MemoryPlan;
pub use wasmparser::WasmFeatures;

/// How a module is compiled.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// The proposals that the validator accepts.
    pub features: WasmFeatures,
    /// How accesses to memories stay in bounds.
    pub memory: MemorySettings,
    /// Loops test the store's `limit`, so that a running program can be interrupted.
    pub interruption: bool,
    /// Indices and addresses are also masked where the processor only speculates.
    pub spectre: bool,
    /// Optimize; else translate as directly as possible.
    pub optimize: bool,
    /// Small leaf functions are copied into their callers.
    pub inlining: bool,
    /// Threads to compile with; `None` takes all there are. Never changes the result.
    pub threads: Option<usize>,
}

/// How accesses to memories stay in bounds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MemorySettings {
    /// Bytes of address space reserved for each memory; 0: none, and the memory moves when it grows.
    pub reservation: u64,
    /// Bytes after the reservation that always fault.
    pub guard: u64,
    /// Compare with the length even where a fault would do.
    pub explicit_checks: bool,
}

impl MemorySettings {
    /// 4 GiB and a guard of 32 MiB: only constant offsets above 32 MiB are checked.
    pub const GUARDED: MemorySettings =
        MemorySettings { reservation: 1 << 32, guard: 32 << 20, explicit_checks: false };

    /// Nothing reserved: every access is checked.
    pub const CHECKED: MemorySettings = MemorySettings { reservation: 0, guard: 0, explicit_checks: true };

    /// The plan of a memory compiled by these settings.
    pub const fn plan(&self) -> MemoryPlan {
        let whole = self.reservation >= 1 << 32;
        MemoryPlan {
            reservation: if whole { self.reservation } else { 0 },
            guard: if whole { self.guard } else { 0 },
            may_move: !whole,
            explicit_checks: self.explicit_checks || !whole,
        }
    }
}

impl Settings {
    /// The proposals known to the validator by default: the standard as published, threads, and what follows it.
    pub fn default_features() -> WasmFeatures {
        WasmFeatures::default() & !WasmFeatures::COMPONENT_MODEL
    }
}

impl Default for Settings {
    fn default() -> Self {
        Settings {
            features: Settings::default_features(),
            memory: MemorySettings::GUARDED,
            interruption: true,
            spectre: true,
            optimize: true,
            inlining: true,
            threads: None,
        }
    }
}

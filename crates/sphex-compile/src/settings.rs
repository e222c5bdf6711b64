//! What decides the code that is made. All of it is part of an artifact's key.

use sphex_artifact::module::MemoryPlan;
use sphex_artifact::target::{Arch, CpuFeatures, Os, Target};
use sphex_codegen::settings::{OptLevel, SettingError};
use std::collections::BTreeMap;
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
    /// Functions and loops take the store's fuel: one for each entry of a function, one for each turn of a loop.
    pub fuel: bool,
    /// Indices and addresses are also masked where the processor only speculates.
    pub spectre: bool,
    /// Optimize; else translate as directly as possible.
    pub optimize: bool,
    /// Small leaf functions are copied into their callers.
    pub inlining: bool,
    /// Sections for debuggers are kept, for files and lines in backtraces.
    pub debug_info: bool,
    /// Target, CPU features and flags of the code generator.
    pub codegen: sphex_codegen::Settings,
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

    /// For the machine this runs on.
    pub fn host() -> Settings {
        let mut settings = Settings::for_target(sphex_codegen::settings::Target {
            arch: sphex_codegen::settings::Arch::X64,
            os: sphex_codegen::settings::Os::Linux,
        });
        // Features that an artifact has no bit for are not used: it could not say that it needs them.
        let arch = settings.artifact_target().arch;
        for feature in sphex_codegen::Settings::host().features.iter() {
            if CpuFeatures::named(arch, feature.setting()).is_some() {
                settings.codegen.features = settings.codegen.features.with(feature);
            }
        }
        settings
    }

    /// For a named target: its baseline CPU.
    pub fn for_target(target: sphex_codegen::settings::Target) -> Settings {
        let mut codegen = sphex_codegen::Settings::new(target);
        codegen.opt_level = OptLevel::Speed;
        Settings {
            features: Settings::default_features(),
            memory: MemorySettings::GUARDED,
            interruption: true,
            fuel: false,
            spectre: true,
            optimize: true,
            inlining: true,
            debug_info: false,
            codegen,
            threads: None,
        }
    }

    /// Sets one by name: those of memories and of this page, proposals (`wasm-tail-call`), else the code generator's
    /// (`opt_level`, `has_avx2`, ...).
    pub fn set(&mut self, name: &str, value: Option<&str>) -> Result<(), SettingError> {
        if let Some(proposal) = name.strip_prefix("wasm-") {
            return self.set_proposal(proposal, value);
        }
        let number = |expected| {
            value.and_then(|text| text.parse().ok()).ok_or_else(|| SettingError::Value {
                name: name.into(),
                expected,
                found: value.unwrap_or("nothing").into(),
            })
        };
        let switch = match name {
            "memory-reservation" => {
                self.memory.reservation = number("a number of bytes")?;
                return Ok(());
            }
            "memory-guard-size" => {
                self.memory.guard = number("a number of bytes")?;
                return Ok(());
            }
            "threads" => {
                self.threads = Some(number("a number of threads")? as usize);
                return Ok(());
            }
            "explicit-checks" => &mut self.memory.explicit_checks,
            "interruption" => &mut self.interruption,
            "fuel" => &mut self.fuel,
            "spectre" => &mut self.spectre,
            "inlining" => &mut self.inlining,
            "debug-info" => &mut self.debug_info,
            _ => {
                self.codegen.set(name, value)?;
                self.optimize = self.codegen.opt_level != OptLevel::None;
                return Ok(());
            }
        };
        *switch = match value {
            None | Some("y" | "yes" | "on" | "true" | "1") => true,
            Some("n" | "no" | "off" | "false" | "0") => false,
            Some(_) => {
                number("y or n")?;
                false
            }
        };
        Ok(())
    }

    /// What code generation is told: translation leaves values floating where it optimizes, and the optimizer places them.
    pub fn for_codegen(&self) -> sphex_codegen::Settings {
        let opt_level = match (self.optimize, self.codegen.opt_level) {
            (false, _) => OptLevel::None,
            (true, OptLevel::None) => OptLevel::Speed,
            (true, level) => level,
        };
        sphex_codegen::Settings { opt_level, ..self.codegen }
    }

    fn set_proposal(&mut self, name: &str, value: Option<&str>) -> Result<(), SettingError> {
        let flag = WasmFeatures::from_name(&name.replace('-', "_").to_uppercase())
            .ok_or_else(|| SettingError::Unknown(name.into()))?;
        let on = match value {
            None | Some("true") => true,
            Some("false") => false,
            Some(other) => {
                return Err(SettingError::Value {
                    name: name.into(),
                    expected: "true or false",
                    found: other.into(),
                });
            }
        };
        self.features.set(flag, on);
        Ok(())
    }

    /// What an artifact records: everything that shapes the code.
    pub fn key(&self) -> BTreeMap<String, String> {
        let codegen = &self.codegen;
        let level = match codegen.opt_level {
            OptLevel::None => "none",
            OptLevel::Speed => "speed",
            OptLevel::SpeedAndSize => "speed_and_size",
        };
        [
            ("wasm-features", self.features.bits().to_string()),
            ("memory-reservation", self.memory.reservation.to_string()),
            ("memory-guard-size", self.memory.guard.to_string()),
            ("explicit-checks", self.memory.explicit_checks.to_string()),
            ("interruption", self.interruption.to_string()),
            ("fuel", self.fuel.to_string()),
            ("spectre", self.spectre.to_string()),
            ("optimize", self.optimize.to_string()),
            ("inlining", self.inlining.to_string()),
            ("debug-info", self.debug_info.to_string()),
            ("opt_level", level.to_owned()),
            ("pinned_reg", codegen.pinned_reg.to_string()),
            ("probestack", codegen.probestack.to_string()),
            ("probestack_size_log2", codegen.probestack_size_log2.to_string()),
            ("nan_canonicalization", codegen.nan_canonicalization.to_string()),
            ("heap_spectre", codegen.heap_spectre.to_string()),
            ("table_spectre", codegen.table_spectre.to_string()),
            ("slots", format!("{:?}", codegen.slots).to_lowercase()),
        ]
        .into_iter()
        .map(|(name, value)| (name.to_owned(), value))
        .collect()
    }

    /// The target as an artifact records it.
    pub fn artifact_target(&self) -> Target {
        let arch = match self.codegen.target.arch {
            sphex_codegen::settings::Arch::X64 => Arch::X64,
            sphex_codegen::settings::Arch::Aarch64 => Arch::Aarch64,
        };
        let os = match self.codegen.target.os {
            sphex_codegen::settings::Os::Linux => Os::Linux,
        };
        Target { arch, os }
    }

    /// The CPU features that code may use, as an artifact records them.
    pub fn artifact_features(&self) -> CpuFeatures {
        let arch = self.artifact_target().arch;
        let named: Vec<&str> = match arch {
            Arch::X64 => self.codegen.features.iter().map(|f| f.setting()).collect(),
            Arch::Aarch64 => self.codegen.arm_features.iter().map(|f| f.setting()).collect(),
        };
        let bits = named.iter().filter_map(|name| CpuFeatures::named(arch, name));
        bits.fold(CpuFeatures::NONE, CpuFeatures::union)
    }
}

impl Default for Settings {
    fn default() -> Self {
        Settings::host()
    }
}

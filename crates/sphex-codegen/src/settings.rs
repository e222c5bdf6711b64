//! What code is generated for and how: target, CPU features, flags.
//!
//! Needs: nothing. Gives: [`Settings`], which a compilation reads, and [`Settings::set`] and [`Settings::enable`], which
//! take the names of CLIF's `set` and `target` lines.

use crate::regalloc::Allocator;
use core::fmt;
use sphex_asm::aarch64;
use sphex_asm::x64::features::{Feature, FeatureSet};

/// An instruction set.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
pub enum Arch {
    /// x86-64.
    #[default]
    X64,
    /// AArch64.
    Aarch64,
}

/// An operating system: what the code may assume of its surroundings.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Os {
    /// Linux.
    Linux,
}

/// What the code is for.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Target {
    /// The instruction set.
    pub arch: Arch,
    /// The system.
    pub os: Os,
}

impl Target {
    /// Parses an architecture or a triple, such as `x86_64` or `x86_64-unknown-linux-gnu`.
    pub fn parse(text: &str) -> Option<Target> {
        let mut parts = text.split('-');
        let arch = match parts.next()? {
            "x86_64" | "x86-64" | "x64" => Arch::X64,
            "aarch64" | "arm64" => Arch::Aarch64,
            _ => return None,
        };
        let mut rest = parts.peekable();
        let linux = rest.peek().is_none() || rest.any(|part| part == "linux");
        linux.then_some(Target { arch, os: Os::Linux })
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.arch {
            Arch::X64 => "x86_64-linux",
            Arch::Aarch64 => "aarch64-linux",
        })
    }
}

/// How much work goes into speed.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum OptLevel {
    /// None: code comes soon.
    None,
    /// For speed.
    Speed,
    /// For speed, unless it costs much size.
    SpeedAndSize,
}

/// What goes through the frame that could be in registers.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Slots {
    /// What register allocation would not be done with in linear time.
    Budget,
    /// That, and every argument of a block is copied first.
    Copies,
    /// That, and parameters of blocks.
    Params,
    /// Every value that is used outside the block that makes it.
    All,
}

/// What code is generated for and how.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Settings {
    /// What it is for.
    pub target: Target,
    /// What its CPU has, if it is an x86-64 one.
    pub features: FeatureSet,
    /// What its CPU has, if it is an AArch64 one.
    pub arm_features: aarch64::features::FeatureSet,
    /// How much work goes into it.
    pub opt_level: OptLevel,
    /// The pinned register (r15) is kept out of allocation in every convention; `get_pinned_reg` reads it.
    pub pinned_reg: bool,
    /// Frames over a page touch every page in order.
    pub probestack: bool,
    /// Log2 of the distance between touches.
    pub probestack_size_log2: u8,
    /// Results of float operations that are NaN are the canonical one.
    pub nan_canonicalization: bool,
    /// Heap accesses behind explicit checks are masked against speculation.
    pub heap_spectre: bool,
    /// Table accesses and `br_table` are masked against speculation.
    pub table_spectre: bool,
    /// The IR verifier and the register allocator's checker run on every function. Debug builds always do.
    pub verify: bool,
    /// How registers are allocated.
    pub allocator: Allocator,
    /// What goes through the frame. Tests set it; the code computes the same.
    pub slots: Slots,
}

impl Settings {
    /// For this architecture on Linux, with the baseline's features and every default.
    pub const fn new(target: Target) -> Self {
        Self {
            target,
            features: FeatureSet::BASELINE,
            arm_features: aarch64::features::FeatureSet::BASELINE,
            opt_level: OptLevel::None,
            pinned_reg: false,
            probestack: true,
            probestack_size_log2: 12,
            nan_canonicalization: false,
            heap_spectre: true,
            table_spectre: true,
            verify: cfg!(debug_assertions),
            allocator: Allocator::Walk,
            slots: Slots::Budget,
        }
    }

    /// For the machine this runs on.
    pub fn host() -> Self {
        let arch = if cfg!(target_arch = "aarch64") { Arch::Aarch64 } else { Arch::X64 };
        let target = Target { arch, os: Os::Linux };
        let arm_features = aarch64::features::FeatureSet::detect();
        Self { features: FeatureSet::detect(), arm_features, ..Self::new(target) }
    }

    /// Sets what a CLIF line `set NAME` or `set NAME=VALUE` says.
    pub fn set(&mut self, name: &str, value: Option<&str>) -> Result<(), SettingError> {
        if IGNORED.contains(&name) {
            return Ok(());
        }
        let switch = match name {
            "opt_level" => {
                self.opt_level = match value {
                    Some("none") => OptLevel::None,
                    Some("speed") => OptLevel::Speed,
                    Some("speed_and_size") => OptLevel::SpeedAndSize,
                    _ => return Err(SettingError::value(name, "none, speed or speed_and_size", value)),
                };
                return Ok(());
            }
            "regalloc_algorithm" => {
                self.allocator = match value {
                    Some("walk") => Allocator::Walk,
                    Some("backtracking") => Allocator::Search,
                    _ => return Err(SettingError::value(name, "walk or backtracking", value)),
                };
                return Ok(());
            }
            "slots" => {
                self.slots = match value {
                    Some("budget") => Slots::Budget,
                    Some("copies") => Slots::Copies,
                    Some("params") => Slots::Params,
                    Some("all") => Slots::All,
                    _ => return Err(SettingError::value(name, "budget, copies, params or all", value)),
                };
                return Ok(());
            }
            "probestack_size_log2" => {
                let log2 = value.and_then(|text| text.parse().ok()).filter(|log2| (4..=30).contains(log2));
                self.probestack_size_log2 =
                    log2.ok_or_else(|| SettingError::value(name, "a number from 4 to 30", value))?;
                return Ok(());
            }
            "enable_pinned_reg" => &mut self.pinned_reg,
            "enable_probestack" => &mut self.probestack,
            "enable_nan_canonicalization" => &mut self.nan_canonicalization,
            "enable_heap_access_spectre_mitigation" => &mut self.heap_spectre,
            "enable_table_access_spectre_mitigation" => &mut self.table_spectre,
            "enable_verifier" | "regalloc_checker" => &mut self.verify,
            _ => return self.enable_one(name, value),
        };
        *switch = boolean(name, value)?;
        Ok(())
    }

    /// Adds (or with `=false` removes) what a word of a CLIF `target` line says: a feature's setting or name, or a
    /// preset such as `sse42` or `skylake`.
    pub fn enable(&mut self, word: &str) -> Result<(), SettingError> {
        match word.split_once('=') {
            Some((name, value)) => self.enable_one(name, Some(value)),
            None => self.enable_one(word, None),
        }
    }

    fn enable_one(&mut self, name: &str, value: Option<&str>) -> Result<(), SettingError> {
        let on = boolean(name, value)?;
        if self.target.arch == Arch::Aarch64 {
            return self.enable_arm(name, on);
        }
        if on && let Some((_, features)) = PRESETS.iter().find(|(preset, _)| *preset == name) {
            self.features = self.features.union(*features);
            return Ok(());
        }
        match Feature::parse(name) {
            Some(feature) if on => self.features = self.features.with(feature),
            Some(feature) => self.features = self.features.without(feature),
            None if WITHOUT_EFFECT.contains(&name) => {}
            None => return Err(SettingError::Unknown(name.into())),
        }
        Ok(())
    }
}

impl Settings {
    fn enable_arm(&mut self, name: &str, on: bool) -> Result<(), SettingError> {
        use aarch64::features::Feature;
        match Feature::parse(name) {
            Some(feature) if on => self.arm_features = self.arm_features.with(feature),
            Some(feature) => self.arm_features = self.arm_features.without(feature),
            None if ARM_WITHOUT_EFFECT.contains(&name) => {}
            None => return Err(SettingError::Unknown(name.into())),
        }
        Ok(())
    }
}

fn boolean(name: &str, value: Option<&str>) -> Result<bool, SettingError> {
    match value {
        None | Some("true" | "on" | "yes" | "1") => Ok(true),
        Some("false" | "off" | "no" | "0") => Ok(false),
        _ => Err(SettingError::value(name, "true or false", value)),
    }
}

/// A setting that could not be set.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum SettingError {
    /// There is no such setting.
    #[error("unknown setting or CPU feature: {0}")]
    Unknown(Box<str>),
    /// There is no such value of it.
    #[error("setting {name}: expected {expected}, found {found}")]
    Value {
        /// The setting.
        name: Box<str>,
        /// Its values.
        expected: &'static str,
        /// What was given.
        found: Box<str>,
    },
}

impl SettingError {
    fn value(name: &str, expected: &'static str, found: Option<&str>) -> Self {
        Self::Value { name: name.into(), expected, found: found.unwrap_or("nothing").into() }
    }
}

/// Settings of CLIF files that change nothing here: what they ask for always holds, or concerns other targets.
const IGNORED: [&str; 12] = [
    "enable_multi_ret_implicit_sret",
    "enable_llvm_abi_extensions",
    "preserve_frame_pointers",
    "probestack_strategy",
    "unwind_info",
    "machine_code_cfg_info",
    "bb_padding_log2_minus_one",
    "is_pic",
    "enable_float",
    "enable_jump_tables",
    "stack_switch_model",
    "tls_model",
];

/// CPU features of CLIF files that no instruction of ours uses.
const WITHOUT_EFFECT: [&str; 2] = ["has_avx_vnni", "has_avx512ifma"];

/// The same of AArch64: words that say how return addresses are signed are not heeded yet.
const ARM_WITHOUT_EFFECT: [&str; 5] = [
    "use_bti",
    "sign_return_address",
    "sign_return_address_all",
    "sign_return_address_with_bkey",
    "has_half",
];

const SSSE3: FeatureSet = FeatureSet::of(&[Feature::Sse3, Feature::Ssse3]);
const SSE41: FeatureSet = SSSE3.with(Feature::Sse41);
const SSE42: FeatureSet = SSE41.with(Feature::Sse42);
const NEHALEM: FeatureSet = SSE42.with(Feature::Popcnt).with(Feature::Cmpxchg16b);
const SANDYBRIDGE: FeatureSet = NEHALEM.with(Feature::Avx);
const HASWELL: FeatureSet = SANDYBRIDGE
    .with(Feature::Avx2)
    .with(Feature::Bmi1)
    .with(Feature::Bmi2)
    .with(Feature::Lzcnt)
    .with(Feature::Fma)
    .with(Feature::F16c)
    .with(Feature::Movbe);

/// Names for sets of features. Where one is also a feature's name, this is meant: a level contains those below.
const PRESETS: [(&str, FeatureSet); 11] = [
    ("sse3", FeatureSet::of(&[Feature::Sse3])),
    ("ssse3", SSSE3),
    ("sse41", SSE41),
    ("sse42", SSE42),
    ("baseline", FeatureSet::BASELINE),
    ("nehalem", NEHALEM),
    ("sandybridge", SANDYBRIDGE),
    ("haswell", HASWELL),
    ("broadwell", HASWELL.with(Feature::Adx)),
    ("skylake", HASWELL.with(Feature::Adx)),
    ("x86-64-v3", HASWELL),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_clif_lines_set_what_they_say() {
        let mut s = Settings::new(Target::parse("x86_64").unwrap());
        s.set("opt_level", Some("speed")).unwrap();
        s.set("enable_probestack", Some("false")).unwrap();
        s.set("enable_pinned_reg", None).unwrap();
        s.enable("sse42").unwrap();
        s.enable("has_avx").unwrap();
        s.enable("has_ssse3=false").unwrap();
        assert_eq!((s.opt_level, s.probestack, s.pinned_reg), (OptLevel::Speed, false, true));
        assert_eq!(s.features.to_string(), "sse3,sse4.1,sse4.2,avx");
        s.enable("skylake").unwrap();
        assert!(s.features.has(Feature::Bmi2) && s.features.has(Feature::Ssse3));
    }

    #[test]
    fn wrong_names_and_values_say_what_was_expected() {
        let mut s = Settings::new(Target::parse("x86_64-unknown-linux-gnu").unwrap());
        let text = |r: Result<(), SettingError>| r.unwrap_err().to_string();
        assert_eq!(text(s.enable("avx9")), "unknown setting or CPU feature: avx9");
        assert_eq!(
            text(s.set("opt_level", Some("max"))),
            "setting opt_level: expected none, speed or speed_and_size, found max"
        );
        assert_eq!(text(s.enable("has_avx=maybe")), "setting has_avx: expected true or false, found maybe");
        assert_eq!((Target::parse("riscv64"), Target::parse("x86_64-apple-darwin")), (None, None));
        let mut arm = Settings::new(Target::parse("aarch64-unknown-linux-gnu").unwrap());
        arm.enable("has_lse").unwrap();
        assert_eq!(
            (arm.target.to_string(), arm.arm_features.to_string()),
            ("aarch64-linux".into(), "lse".into())
        );
        assert_eq!(text(arm.enable("has_avx")), "unknown setting or CPU feature: has_avx");
    }
}

//! Machines: architecture, operating system and CPU features, as an artifact records them.
//!
//! Needs nothing; gives names, numbers and pages of targets, and the bit of each CPU feature that generated code may
//! require. The feature names are the ones of settings and of CLIF text.

use std::fmt;

/// An instruction set.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Arch {
    /// x86-64.
    X64 = 1,
    /// AArch64, little-endian.
    Aarch64 = 2,
}

/// An operating system.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Os {
    /// Linux.
    Linux = 1,
    /// macOS.
    MacOs = 2,
    /// Windows.
    Windows = 3,
}

/// What code is made for, CPU features aside.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Target {
    /// Instruction set.
    pub arch: Arch,
    /// Operating system.
    pub os: Os,
}

impl Target {
    /// The machine this crate was compiled for; `None` where Sphex has no code generator.
    pub const HOST: Option<Target> = {
        let arch = if cfg!(all(target_arch = "x86_64", target_endian = "little")) {
            Some(Arch::X64)
        } else if cfg!(all(target_arch = "aarch64", target_endian = "little")) {
            Some(Arch::Aarch64)
        } else {
            None
        };
        let os = if cfg!(target_os = "linux") {
            Some(Os::Linux)
        } else if cfg!(target_os = "macos") {
            Some(Os::MacOs)
        } else if cfg!(windows) {
            Some(Os::Windows)
        } else {
            None
        };
        match (arch, os) {
            (Some(arch), Some(os)) => Some(Target { arch, os }),
            _ => None,
        }
    };

    /// The target of a name such as `x86_64-linux`, `aarch64-linux` or a full triple such as
    /// `x86_64-unknown-linux-gnu`. The architecture alone means Linux.
    pub fn parse(name: &str) -> Option<Target> {
        let mut parts = name.split('-');
        let arch = match parts.next()? {
            "x86_64" | "amd64" | "x64" => Arch::X64,
            "aarch64" | "arm64" => Arch::Aarch64,
            _ => return None,
        };
        let mut os = None;
        let mut rest = false;
        for part in parts {
            rest = true;
            os = os.or(match part {
                "linux" => Some(Os::Linux),
                "macos" | "darwin" => Some(Os::MacOs),
                "windows" => Some(Os::Windows),
                _ => None,
            });
        }
        match os {
            Some(os) => Some(Target { arch, os }),
            None if !rest => Some(Target { arch, os: Os::Linux }),
            None => None,
        }
    }

    /// Log2 of the largest page such a machine may have, to which text and memory images are aligned.
    pub const fn page_log2(self) -> u8 {
        match (self.arch, self.os) {
            (Arch::X64, _) | (Arch::Aarch64, Os::Windows) => 12,
            (Arch::Aarch64, Os::MacOs) => 14,
            (Arch::Aarch64, Os::Linux) => 16,
        }
    }

    /// Bytes of the largest page such a machine may have.
    pub const fn page(self) -> u64 {
        1 << self.page_log2()
    }

    /// The target of two bytes of a header.
    pub(crate) fn from_bytes(arch: u8, os: u8) -> Option<Target> {
        let arch = match arch {
            1 => Arch::X64,
            2 => Arch::Aarch64,
            _ => return None,
        };
        let os = match os {
            1 => Os::Linux,
            2 => Os::MacOs,
            3 => Os::Windows,
            _ => return None,
        };
        Some(Target { arch, os })
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let arch = match self.arch {
            Arch::X64 => "x86_64",
            Arch::Aarch64 => "aarch64",
        };
        let os = match self.os {
            Os::Linux => "linux",
            Os::MacOs => "macos",
            Os::Windows => "windows",
        };
        write!(f, "{arch}-{os}")
    }
}

/// A set of CPU features of one architecture; bit `i` is the feature at position `i` of [`feature_names`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct CpuFeatures(
    /// The bits.
    pub u64,
);

/// Names of the CPU features of x86-64 beyond its baseline (SSE2), in the order of their bits.
pub const X64_FEATURES: &[&str] = &[
    "has_sse3",
    "has_ssse3",
    "has_cmpxchg16b",
    "has_sse41",
    "has_sse42",
    "has_avx",
    "has_avx2",
    "has_fma",
    "has_popcnt",
    "has_lzcnt",
    "has_bmi1",
    "has_bmi2",
    "has_avx512f",
    "has_avx512dq",
    "has_avx512vl",
    "has_avx512bitalg",
    "has_avx512vbmi",
];

/// Names of the CPU features of AArch64 beyond its baseline (ARMv8.0), in the order of their bits.
pub const AARCH64_FEATURES: &[&str] =
    &["has_lse", "has_pauth", "has_fp16", "has_bti", "has_rcpc", "has_lse2"];

/// Names of an architecture's CPU features, in the order of their bits.
pub const fn feature_names(arch: Arch) -> &'static [&'static str] {
    match arch {
        Arch::X64 => X64_FEATURES,
        Arch::Aarch64 => AARCH64_FEATURES,
    }
}

impl CpuFeatures {
    /// None.
    pub const NONE: CpuFeatures = CpuFeatures(0);

    /// All of an architecture.
    pub const fn all(arch: Arch) -> CpuFeatures {
        CpuFeatures((1 << feature_names(arch).len()) - 1)
    }

    /// The set of one feature, by name.
    pub fn named(arch: Arch, name: &str) -> Option<CpuFeatures> {
        feature_names(arch).iter().position(|n| *n == name).map(|bit| CpuFeatures(1 << bit))
    }

    /// Are all of `other` here?
    pub const fn contains(self, other: CpuFeatures) -> bool {
        other.0 & !self.0 == 0
    }

    /// Those of either.
    pub const fn union(self, other: CpuFeatures) -> CpuFeatures {
        CpuFeatures(self.0 | other.0)
    }

    /// Those of `self` that are not in `other`.
    pub const fn without(self, other: CpuFeatures) -> CpuFeatures {
        CpuFeatures(self.0 & !other.0)
    }

    /// The names, separated by blanks; bits without a name as `bitN`.
    pub fn names(self, arch: Arch) -> String {
        let mut out = Vec::new();
        for bit in (0..64).filter(|bit| self.0 >> bit & 1 == 1) {
            match feature_names(arch).get(bit) {
                Some(name) => out.push(name.to_string()),
                None => out.push(format!("bit{bit}")),
            }
        }
        out.join(" ")
    }

    /// Those of the CPU we run on.
    pub fn detect() -> CpuFeatures {
        detect()
    }
}

#[cfg(target_arch = "x86_64")]
fn detect() -> CpuFeatures {
    let found = [
        is_x86_feature_detected!("sse3"),
        is_x86_feature_detected!("ssse3"),
        is_x86_feature_detected!("cmpxchg16b"),
        is_x86_feature_detected!("sse4.1"),
        is_x86_feature_detected!("sse4.2"),
        is_x86_feature_detected!("avx"),
        is_x86_feature_detected!("avx2"),
        is_x86_feature_detected!("fma"),
        is_x86_feature_detected!("popcnt"),
        is_x86_feature_detected!("lzcnt"),
        is_x86_feature_detected!("bmi1"),
        is_x86_feature_detected!("bmi2"),
        is_x86_feature_detected!("avx512f"),
        is_x86_feature_detected!("avx512dq"),
        is_x86_feature_detected!("avx512vl"),
        is_x86_feature_detected!("avx512bitalg"),
        is_x86_feature_detected!("avx512vbmi"),
    ];
    from_bools(&found)
}

#[cfg(target_arch = "aarch64")]
fn detect() -> CpuFeatures {
    use std::arch::is_aarch64_feature_detected;
    let found = [
        is_aarch64_feature_detected!("lse"),
        is_aarch64_feature_detected!("paca"),
        is_aarch64_feature_detected!("fp16"),
        is_aarch64_feature_detected!("bti"),
        is_aarch64_feature_detected!("rcpc"),
        is_aarch64_feature_detected!("lse2"),
    ];
    from_bools(&found)
}

#[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
fn detect() -> CpuFeatures {
    CpuFeatures::NONE
}

#[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
fn from_bools(found: &[bool]) -> CpuFeatures {
    CpuFeatures(found.iter().enumerate().map(|(bit, &is)| u64::from(is) << bit).sum())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn targets_parse_and_print() {
        let x64 = Target { arch: Arch::X64, os: Os::Linux };
        let arm = Target { arch: Arch::Aarch64, os: Os::Linux };
        for name in ["x86_64-linux", "x86_64-unknown-linux-gnu", "x86_64"] {
            assert_eq!(Target::parse(name), Some(x64), "{name}");
        }
        assert_eq!(Target::parse("aarch64-unknown-linux-musl"), Some(arm));
        assert_eq!(Target::parse("arm64-apple-darwin").unwrap().to_string(), "aarch64-macos");
        for name in ["", "riscv64-linux", "x86_64-plan9", "linux"] {
            assert_eq!(Target::parse(name), None, "{name}");
        }
        assert_eq!((x64.page(), arm.page()), (4096, 65536));
        assert_eq!(Target::from_bytes(x64.arch as u8, x64.os as u8), Some(x64));
    }

    #[test]
    fn features_have_one_bit_each() {
        let a = CpuFeatures::named(Arch::X64, "has_avx2").unwrap();
        let b = CpuFeatures::named(Arch::X64, "has_bmi2").unwrap();
        assert_eq!(a.union(b).names(Arch::X64), "has_avx2 has_bmi2");
        assert!(a.union(b).contains(a) && !a.contains(b));
        assert_eq!(a.union(b).without(a), b);
        assert_eq!(CpuFeatures::named(Arch::Aarch64, "has_avx2"), None);
        if let Some(host) = Target::HOST {
            assert!(CpuFeatures::all(host.arch).contains(CpuFeatures::detect()));
        }
    }
}

//! CPU features by name.
//!
//! Needs: nothing. Gives: [`Feature`], [`FeatureSet`], their names (Sphex's own and CLIF's `has_*` settings) and
//! [`FeatureSet::detect`] for this machine. A row says which features it needs; ARMv8.0 with NEON is the baseline.

use core::fmt;

macro_rules! features {
    ($($feature:ident $name:literal $setting:literal $doc:literal;)*) => {
        /// One CPU feature beyond ARMv8.0.
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
        #[repr(u8)]
        pub enum Feature {
            $(#[doc = $doc] $feature,)*
        }

        impl Feature {
            /// Every feature, in the order of its bits.
            pub const ALL: &[Feature] = &[$(Feature::$feature),*];

            /// The name as a target feature, such as `lse`.
            pub const fn name(self) -> &'static str {
                match self { $(Feature::$feature => $name,)* }
            }

            /// The name as a CLIF setting, such as `has_lse`.
            pub const fn setting(self) -> &'static str {
                match self { $(Feature::$feature => $setting,)* }
            }
        }
    };
}

features! {
    Lse "lse" "has_lse" "Atomic instructions (large system extensions).";
    Pauth "paca" "has_pauth" "Pointer authentication.";
    Fp16 "fp16" "has_fp16" "Half precision arithmetic.";
    Dotprod "dotprod" "has_dotprod" "Dot products of bytes.";
    Lrcpc "rcpc" "has_lrcpc" "Loads that acquire, processor consistent.";
}

impl Feature {
    /// The feature with this name: a target feature's (`lse`) or a CLIF setting's (`has_lse`).
    pub fn parse(name: &str) -> Option<Feature> {
        Feature::ALL.iter().copied().find(|f| f.name() == name || f.setting() == name)
    }
}

/// A set of CPU features.
#[derive(Clone, Copy, PartialEq, Eq, Default, Hash)]
pub struct FeatureSet(u64);

impl FeatureSet {
    /// ARMv8.0: no feature that has a name here.
    pub const BASELINE: FeatureSet = FeatureSet(0);

    /// Every feature that has a name here.
    pub const ALL: FeatureSet = FeatureSet((1 << Feature::ALL.len()) - 1);

    /// This set and one more feature.
    pub const fn with(self, feature: Feature) -> FeatureSet {
        FeatureSet(self.0 | 1 << feature as u8)
    }

    /// This set without one feature.
    pub const fn without(self, feature: Feature) -> FeatureSet {
        FeatureSet(self.0 & !(1 << feature as u8))
    }

    /// Whether the feature is in the set.
    pub const fn has(self, feature: Feature) -> bool {
        self.0 >> feature as u8 & 1 != 0
    }

    /// Whether every feature of `other` is in this set.
    pub const fn contains(self, other: FeatureSet) -> bool {
        other.0 & !self.0 == 0
    }

    /// The features, in the order of [`Feature::ALL`].
    pub fn iter(self) -> impl Iterator<Item = Feature> {
        Feature::ALL.iter().copied().filter(move |f| self.has(*f))
    }

    /// The set as bits, for keys and headers. Bit `i` is `Feature::ALL[i]`.
    pub const fn bits(self) -> u64 {
        self.0
    }

    /// The set with these bits; unknown bits are an error (`None`).
    pub const fn from_bits(bits: u64) -> Option<FeatureSet> {
        if bits & !FeatureSet::ALL.0 == 0 { Some(FeatureSet(bits)) } else { None }
    }

    /// What this machine has; the baseline on another architecture.
    #[cfg(target_arch = "aarch64")]
    pub fn detect() -> FeatureSet {
        let mut set = FeatureSet::BASELINE;
        macro_rules! probe {
            ($($feature:ident $name:tt),* $(,)?) => {
                $(if std::arch::is_aarch64_feature_detected!($name) { set = set.with(Feature::$feature); })*
            };
        }
        probe!(Lse "lse", Pauth "paca", Fp16 "fp16", Dotprod "dotprod", Lrcpc "rcpc");
        set
    }

    /// What this machine has; the baseline on another architecture.
    #[cfg(not(target_arch = "aarch64"))]
    pub fn detect() -> FeatureSet {
        FeatureSet::BASELINE
    }
}

impl fmt::Display for FeatureSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, feature) in self.iter().enumerate() {
            if i > 0 {
                f.write_str(",")?;
            }
            f.write_str(feature.name())?;
        }
        Ok(())
    }
}

impl fmt::Debug for FeatureSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{{{self}}}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_name_and_setting_parses_to_its_feature() {
        for &feature in Feature::ALL {
            assert_eq!(Feature::parse(feature.name()), Some(feature));
            assert_eq!(Feature::parse(feature.setting()), Some(feature));
        }
        assert_eq!((Feature::parse("has_avx"), Feature::parse("")), (None, None));
    }

    #[test]
    fn sets_keep_their_bits() {
        let set = FeatureSet::BASELINE.with(Feature::Lse).with(Feature::Dotprod);
        assert_eq!(FeatureSet::from_bits(set.bits()), Some(set));
        assert_eq!(FeatureSet::from_bits(1 << 63), None);
        assert_eq!(set.to_string(), "lse,dotprod");
        assert!(FeatureSet::ALL.contains(set) && !set.without(Feature::Lse).has(Feature::Lse));
    }
}

//! CPU features by name.
//!
//! Needs: nothing. Gives: [`Feature`], [`FeatureSet`], their names (Sphex's own and CLIF's `has_*` settings) and
//! [`FeatureSet::detect`] for this machine. A row says which features it needs; SSE2 is the baseline and has no name.

use core::fmt;

macro_rules! features {
    ($($feature:ident $name:literal $setting:literal $doc:literal;)*) => {
        /// One CPU feature beyond the x86-64 baseline.
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
        #[repr(u8)]
        pub enum Feature {
            $(#[doc = $doc] $feature,)*
        }

        impl Feature {
            /// Every feature, in the order of its bits.
            pub const ALL: &[Feature] = &[$(Feature::$feature),*];

            /// The name as a target feature, such as `sse4.1`.
            pub const fn name(self) -> &'static str {
                match self { $(Feature::$feature => $name,)* }
            }

            /// The name as a CLIF setting, such as `has_sse41`.
            pub const fn setting(self) -> &'static str {
                match self { $(Feature::$feature => $setting,)* }
            }
        }
    };
}

features! {
    Sse3 "sse3" "has_sse3" "SSE3.";
    Ssse3 "ssse3" "has_ssse3" "Supplemental SSE3.";
    Sse41 "sse4.1" "has_sse41" "SSE4.1.";
    Sse42 "sse4.2" "has_sse42" "SSE4.2.";
    Popcnt "popcnt" "has_popcnt" "`popcnt`.";
    Cmpxchg16b "cmpxchg16b" "has_cmpxchg16b" "`cmpxchg16b`.";
    Movbe "movbe" "has_movbe" "`movbe`.";
    Avx "avx" "has_avx" "AVX.";
    Avx2 "avx2" "has_avx2" "AVX2.";
    Bmi1 "bmi1" "has_bmi1" "Bit manipulation, first set.";
    Bmi2 "bmi2" "has_bmi2" "Bit manipulation, second set.";
    Lzcnt "lzcnt" "has_lzcnt" "`lzcnt`.";
    Adx "adx" "has_adx" "`adcx` and `adox`.";
    Fma "fma" "has_fma" "Fused multiply-add, three operands.";
    F16c "f16c" "has_f16c" "Half precision conversions.";
    Pclmulqdq "pclmulqdq" "has_pclmulqdq" "Carry-less multiplication.";
    Avx512f "avx512f" "has_avx512f" "AVX-512 foundation.";
    Avx512vl "avx512vl" "has_avx512vl" "AVX-512 at 128 and 256 bits.";
    Avx512bw "avx512bw" "has_avx512bw" "AVX-512 bytes and words.";
    Avx512dq "avx512dq" "has_avx512dq" "AVX-512 doublewords and quadwords.";
    Avx512vbmi "avx512vbmi" "has_avx512vbmi" "AVX-512 byte permutations.";
    Avx512bitalg "avx512bitalg" "has_avx512bitalg" "AVX-512 bit algorithms.";
    Avx512vnni "avx512vnni" "has_avx512vnni" "AVX-512 dot products.";
}

impl Feature {
    /// The feature with this name: a target feature's (`sse4.1`, also `sse41`) or a CLIF setting's (`has_sse41`).
    pub fn parse(name: &str) -> Option<Feature> {
        let short = name.strip_prefix("has_").unwrap_or(name);
        Feature::ALL
            .iter()
            .copied()
            .find(|f| f.name() == short || f.setting().strip_prefix("has_") == Some(short))
    }
}

/// A set of CPU features.
#[derive(Clone, Copy, PartialEq, Eq, Default, Hash)]
pub struct FeatureSet(u64);

impl FeatureSet {
    /// The x86-64 baseline: no feature beyond SSE2.
    pub const BASELINE: FeatureSet = FeatureSet(0);

    /// Every feature that has a name here.
    pub const ALL: FeatureSet = FeatureSet((1 << Feature::ALL.len()) - 1);

    /// The set of these features.
    pub const fn of(features: &[Feature]) -> FeatureSet {
        let mut set = FeatureSet::BASELINE;
        let mut i = 0;
        while i < features.len() {
            set = set.with(features[i]);
            i += 1;
        }
        set
    }

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

    /// Features in either set.
    pub const fn union(self, other: FeatureSet) -> FeatureSet {
        FeatureSet(self.0 | other.0)
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

    /// What this machine has (and its system has enabled); the baseline on another architecture.
    #[cfg(target_arch = "x86_64")]
    pub fn detect() -> FeatureSet {
        let mut set = FeatureSet::BASELINE;
        macro_rules! probe {
            ($($feature:ident $name:tt),* $(,)?) => {
                $(if std::is_x86_feature_detected!($name) { set = set.with(Feature::$feature); })*
            };
        }
        probe!(
            Sse3 "sse3", Ssse3 "ssse3", Sse41 "sse4.1", Sse42 "sse4.2", Popcnt "popcnt", Cmpxchg16b "cmpxchg16b",
            Movbe "movbe", Avx "avx", Avx2 "avx2", Bmi1 "bmi1", Bmi2 "bmi2", Lzcnt "lzcnt", Adx "adx", Fma "fma",
            F16c "f16c", Pclmulqdq "pclmulqdq", Avx512f "avx512f", Avx512vl "avx512vl", Avx512bw "avx512bw",
            Avx512dq "avx512dq", Avx512vbmi "avx512vbmi", Avx512bitalg "avx512bitalg", Avx512vnni "avx512vnni",
        );
        set
    }

    /// What this machine has; the baseline on another architecture.
    #[cfg(not(target_arch = "x86_64"))]
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
        assert_eq!(Feature::parse("sse41"), Some(Feature::Sse41));
        assert_eq!(Feature::parse("has_mmx"), None);
        assert_eq!(Feature::parse(""), None);
    }

    #[test]
    fn sets_keep_their_bits() {
        let set = FeatureSet::of(&[Feature::Sse3, Feature::Avx512vnni, Feature::Bmi1]);
        assert_eq!(FeatureSet::from_bits(set.bits()), Some(set));
        assert_eq!(FeatureSet::from_bits(1 << 63), None);
        assert_eq!(set.to_string(), "sse3,bmi1,avx512vnni");
        assert!(FeatureSet::ALL.contains(set) && !set.contains(FeatureSet::ALL));
        assert!(!set.without(Feature::Bmi1).has(Feature::Bmi1));
        assert!(FeatureSet::ALL.contains(FeatureSet::detect()));
    }
}

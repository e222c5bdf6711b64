//! The header: for what and by whom an artifact was made, and its hashes.

use std::collections::BTreeMap;

use super::elf::{Sections, number};
use super::{ArtifactError, malformed};
use crate::sections::{BuildId, FORMAT, Kind, MAGIC, SectionId, hdr};
use crate::target::{Arch, CpuFeatures, Target};

/// For what and by whom an artifact was made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Header {
    /// What it holds.
    pub kind: Kind,
    /// The build that made it.
    pub build: BuildId,
    /// What it runs on.
    pub target: Target,
    /// CPU features that its code uses.
    pub features: CpuFeatures,
    /// Settings that shaped its code.
    pub settings: BTreeMap<String, String>,
    /// Hash of code and data, see [`ArtifactView::verify_bulk`](super::ArtifactView::verify_bulk).
    pub bulk_hash: [u8; 32],
}

/// The machine and the configuration that an artifact is to run under.
#[derive(Clone, Copy, Debug)]
pub struct Host<'a> {
    /// The target.
    pub target: Target,
    /// CPU features there are.
    pub features: CpuFeatures,
    /// Settings that must be equal; `None` accepts any.
    pub settings: Option<&'a BTreeMap<String, String>>,
}

/// A field in which artifact and host differ.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{field}: expected {expected}, found {found}")]
pub struct Mismatch {
    /// Which field: `build`, `format`, `target`, `cpu features`, or the name of a setting.
    pub field: String,
    /// What the host needs.
    pub expected: String,
    /// What the artifact has.
    pub found: String,
}

impl Mismatch {
    fn new(field: &str, expected: impl ToString, found: impl ToString) -> Mismatch {
        Mismatch { field: field.to_string(), expected: expected.to_string(), found: found.to_string() }
    }
}

impl Header {
    /// Can the artifact run on this host? If not, the first field that differs.
    pub fn check_compatible(&self, host: &Host<'_>) -> Result<(), Mismatch> {
        if self.build != BuildId::CURRENT {
            return Err(Mismatch::new("build", BuildId::CURRENT, self.build));
        }
        if self.target != host.target {
            return Err(Mismatch::new("target", host.target, self.target));
        }
        if !host.features.contains(self.features) {
            let missing = self.features.without(host.features).names(host.target.arch);
            let have = host.features.names(host.target.arch);
            return Err(Mismatch::new("cpu features", format!("a subset of [{have}]"), missing));
        }
        let Some(settings) = host.settings else { return Ok(()) };
        const NONE: &str = "nothing";
        let show = |value: Option<&String>| value.map_or(NONE.to_string(), String::clone);
        for name in settings.keys().chain(self.settings.keys()) {
            let (expected, found) = (settings.get(name), self.settings.get(name));
            if expected != found {
                return Err(Mismatch::new(name, show(expected), show(found)));
            }
        }
        Ok(())
    }
}

/// Checks the header, this build and the metadata hash.
pub fn parse(bytes: &[u8], sections: &Sections) -> Result<Header, ArtifactError> {
    let range = sections.range(SectionId::Header);
    let section = bytes.get(range.clone()).unwrap_or(&[]);
    if section.len() < hdr::SIZE || !section.starts_with(&MAGIC) {
        return Err(ArtifactError::NotArtifact("no sphex header"));
    }
    let u32_at = |at| number(section, at).map_or(0, u32::from_le_bytes);
    let hash_at = |at| number::<32>(section, at).unwrap_or([0; 32]);
    let format = u32_at(hdr::FORMAT);
    if format != FORMAT {
        return Err(Mismatch::new("format", FORMAT, format).into());
    }
    if metadata_hash(bytes, sections) != hash_at(hdr::META_HASH) {
        return Err(ArtifactError::Damaged("metadata"));
    }
    let build = BuildId(number(section, hdr::BUILD).map_or(0, u128::from_le_bytes));
    if build != BuildId::CURRENT {
        // The tables of another build may look different: no use in looking at them.
        return Err(Mismatch::new("build", BuildId::CURRENT, build).into());
    }
    let bad = |reason| malformed(".sphex.hdr", reason);
    let kind = Kind::from_u32(u32_at(hdr::KIND)).ok_or_else(|| bad("unknown kind of artifact"))?;
    let target =
        Target::from_bytes(section[hdr::ARCH], section[hdr::OS]).ok_or_else(|| bad("unknown target"))?;
    let machine = match target.arch {
        Arch::X64 => 62,
        Arch::Aarch64 => 183,
    };
    if sections.machine != machine {
        return Err(malformed("ELF header", "another machine than in .sphex.hdr"));
    }
    if section[hdr::PAGE_LOG2] != target.page_log2() {
        return Err(bad("wrong page size"));
    }
    for id in [SectionId::Text, SectionId::Data] {
        let range = sections.range(id);
        if !(range.start as u64).is_multiple_of(target.page())
            || !(range.len() as u64).is_multiple_of(target.page())
        {
            return Err(malformed(super::section_name(id), "not whole pages"));
        }
    }
    let settings = &section[hdr::SIZE..];
    if settings.len() != u32_at(hdr::SETTINGS_LEN) as usize {
        return Err(bad("wrong length of settings"));
    }
    Ok(Header {
        kind,
        build,
        target,
        features: CpuFeatures(number(section, hdr::FEATURES).map_or(0, u64::from_le_bytes)),
        settings: parse_settings(settings).ok_or_else(|| bad("malformed settings"))?,
        bulk_hash: hash_at(hdr::BULK_HASH),
    })
}

/// Lines `name=value`, names ascending.
fn parse_settings(text: &[u8]) -> Option<BTreeMap<String, String>> {
    let mut settings = BTreeMap::new();
    let mut last = "";
    for line in std::str::from_utf8(text).ok()?.split_terminator('\n') {
        let (name, value) = line.split_once('=')?;
        if name <= last {
            return None;
        }
        last = name;
        settings.insert(name.to_string(), value.to_string());
    }
    Some(settings)
}

/// Hash of all bytes that are neither in a bulk section nor this hash itself.
pub fn metadata_hash(bytes: &[u8], sections: &Sections) -> [u8; 32] {
    let own = sections.range(SectionId::Header).start.saturating_add(hdr::META_HASH);
    let mut skip: Vec<_> = sections.bulk.clone();
    skip.push(own..own.saturating_add(32));
    skip.sort_by_key(|range| (range.start, range.end));
    let mut hash = blake3::Hasher::new();
    let mut from = 0;
    for range in skip {
        hash.update(bytes.get(from..range.start).unwrap_or(&[]));
        from = range.end;
    }
    hash.update(bytes.get(from..).unwrap_or(&[]));
    *hash.finalize().as_bytes()
}

/// Hash of the bulk sections, in the order of the file.
pub fn bulk_hash(bytes: &[u8], sections: &Sections) -> [u8; 32] {
    let mut hash = blake3::Hasher::new();
    for range in &sections.bulk {
        hash.update(bytes.get(range.clone()).unwrap_or(&[]));
    }
    *hash.finalize().as_bytes()
}

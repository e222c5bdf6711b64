//! The ELF file: its header, its sections, and that they are exactly those an artifact may have.

use std::ops::Range;

use super::{ArtifactError, malformed};
use crate::sections::{DEBUG_PREFIX, SECTION_COUNT, SECTIONS, SectionId};

/// Where the sections are.
#[derive(Clone, Debug)]
pub struct Sections {
    known: [Range<usize>; SECTION_COUNT],
    /// Sections for debuggers.
    pub debug: Vec<(String, Range<usize>)>,
    /// What the bulk hash covers, ascending.
    pub bulk: Vec<Range<usize>>,
    /// ELF machine number.
    pub machine: u16,
}

impl Sections {
    /// Where a section is; empty if there is none.
    pub fn range(&self, id: SectionId) -> Range<usize> {
        self.known[id as usize].clone()
    }
}

const HEADER: usize = 64;
const ENTRY: usize = 64;
const TYPE_RELA: u32 = 4;
const TYPE_REL: u32 = 9;
const TYPE_RELR: u32 = 19;

/// Reads fixed-size numbers; all reads are checked.
pub fn number<const N: usize>(bytes: &[u8], at: usize) -> Option<[u8; N]> {
    bytes.get(at..)?.first_chunk::<N>().copied()
}

fn u16_at(bytes: &[u8], at: usize) -> u16 {
    number(bytes, at).map_or(0, u16::from_le_bytes)
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    number(bytes, at).map_or(0, u32::from_le_bytes)
}

fn u64_at(bytes: &[u8], at: usize) -> u64 {
    number(bytes, at).map_or(0, u64::from_le_bytes)
}

/// A section header, as read.
struct Entry {
    name: u32,
    kind: u32,
    flags: u64,
    address: u64,
    offset: u64,
    size: u64,
}

impl Entry {
    fn read(bytes: &[u8]) -> Entry {
        Entry {
            name: u32_at(bytes, 0),
            kind: u32_at(bytes, 4),
            flags: u64_at(bytes, 8),
            address: u64_at(bytes, 16),
            offset: u64_at(bytes, 24),
            size: u64_at(bytes, 32),
        }
    }

    fn range(&self, len: usize, what: &str) -> Result<Range<usize>, ArtifactError> {
        let end =
            self.offset.checked_add(self.size).ok_or_else(|| malformed(what, "its end is beyond 2^64"))?;
        if end > len as u64 {
            return Err(ArtifactError::Truncated { what: what.to_string(), end, len: len as u64 });
        }
        Ok(self.offset as usize..end as usize)
    }
}

/// Finds and checks the sections.
pub fn parse(bytes: &[u8]) -> Result<Sections, ArtifactError> {
    let table = section_table(bytes)?;
    let entries: Vec<Entry> = table.as_chunks::<ENTRY>().0.iter().map(|entry| Entry::read(entry)).collect();
    if entries.first().is_some_and(|null| null.kind != 0) {
        return Err(malformed("section headers", "the first one is not null"));
    }
    let names_at = usize::from(u16_at(bytes, 62));
    let names = entries.get(names_at).ok_or_else(|| malformed("ELF header", "no section names"))?;
    let names = bytes.get(names.range(bytes.len(), "section names")?).unwrap_or(&[]);

    let mut sections = Sections {
        known: std::array::from_fn(|_| 0..0),
        debug: Vec::new(),
        bulk: Vec::new(),
        machine: u16_at(bytes, 18),
    };
    let mut seen = [false; SECTION_COUNT];
    let table_start = u64_at(bytes, 40) as usize;
    let mut taken = vec![0..HEADER, table_start..table_start + table.len()];
    for entry in entries.iter().skip(1) {
        let name = section_name(names, entry.name)?;
        let range = entry.range(bytes.len(), name)?;
        taken.push(range.clone());
        place(&mut sections, &mut seen, entry, name, range)?;
    }
    if let Some(row) = SECTIONS.iter().find(|row| row.required && !seen[row.id as usize]) {
        let missing_header = row.id == SectionId::Header;
        return Err(if missing_header || !seen[SectionId::Header as usize] {
            ArtifactError::NotArtifact("an ELF file of another kind")
        } else {
            malformed(row.name, "missing")
        });
    }
    taken.sort_by_key(|range| (range.start, range.end));
    if taken.windows(2).any(|pair| pair[0].end > pair[1].start) {
        return Err(malformed("section headers", "sections overlap"));
    }
    if seen[SectionId::EhFrame as usize]
        && sections.range(SectionId::EhFrame).start != sections.range(SectionId::Text).end
    {
        return Err(malformed(".eh_frame", "not directly after .text"));
    }
    sections.bulk.sort_by_key(|range| (range.start, range.end));
    Ok(sections)
}

/// Checks the ELF header and gives the bytes of the section header table.
fn section_table(bytes: &[u8]) -> Result<&[u8], ArtifactError> {
    if !bytes.starts_with(b"\x7fELF") {
        return Err(ArtifactError::NotArtifact("no ELF magic"));
    }
    if bytes.len() < HEADER {
        return Err(ArtifactError::Truncated {
            what: "ELF header".into(),
            end: HEADER as u64,
            len: bytes.len() as u64,
        });
    }
    // 64 bits, little-endian, version 1.
    if bytes[4..7] != [2, 1, 1] {
        return Err(ArtifactError::NotArtifact("not a 64-bit little-endian ELF file"));
    }
    let program_headers = u16_at(bytes, 56);
    if u16_at(bytes, 52) as usize != HEADER || u16_at(bytes, 58) as usize != ENTRY || program_headers != 0 {
        return Err(ArtifactError::NotArtifact("an ELF file of another kind"));
    }
    let start = u64_at(bytes, 40);
    let count = u16_at(bytes, 60);
    let end = start.checked_add(u64::from(count) * ENTRY as u64);
    let end = end.ok_or_else(|| malformed("ELF header", "the section headers are beyond 2^64"))?;
    if end > bytes.len() as u64 {
        return Err(ArtifactError::Truncated {
            what: "section headers".into(),
            end,
            len: bytes.len() as u64,
        });
    }
    Ok(&bytes[start as usize..end as usize])
}

fn section_name(names: &[u8], at: u32) -> Result<&str, ArtifactError> {
    // No section name of ours is longer; without a bound, a thousand names of a megabyte would cost a gigabyte.
    const LONGEST: usize = 64;
    let rest = names.get(at as usize..).unwrap_or(&[]);
    let rest = &rest[..rest.len().min(LONGEST)];
    rest.iter()
        .position(|&byte| byte == 0)
        .and_then(|end| std::str::from_utf8(&rest[..end]).ok())
        .ok_or_else(|| malformed("section headers", "a section without a name"))
}

/// Notes one section, if it may be there.
fn place(
    sections: &mut Sections,
    seen: &mut [bool; SECTION_COUNT],
    entry: &Entry,
    name: &str,
    range: Range<usize>,
) -> Result<(), ArtifactError> {
    if matches!(entry.kind, TYPE_RELA | TYPE_REL | TYPE_RELR) {
        return Err(malformed(name, "relocations are not allowed"));
    }
    let Some(row) = SECTIONS.iter().find(|row| row.name == name) else {
        if !name.starts_with(DEBUG_PREFIX) || entry.kind != 1 || entry.flags != 0 {
            return Err(malformed(name, "unknown section"));
        }
        sections.bulk.push(range.clone());
        sections.debug.push((name.to_string(), range));
        return Ok(());
    };
    if std::mem::replace(&mut seen[row.id as usize], true) {
        return Err(malformed(name, "more than one such section"));
    }
    if entry.kind != row.kind || entry.flags != row.flags {
        return Err(malformed(name, "wrong section type or flags"));
    }
    if row.flags != 0 && entry.address != entry.offset {
        return Err(malformed(name, "its address is not its offset"));
    }
    if row.bulk {
        sections.bulk.push(range.clone());
    }
    sections.known[row.id as usize] = range;
    Ok(())
}

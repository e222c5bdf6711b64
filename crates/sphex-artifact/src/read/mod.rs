//! Reading an artifact in place.
//!
//! Needs bytes that anyone may have written; gives lookups by pc that allocate nothing, take no lock and may run in a
//! signal handler. [`Index::parse`] checks the whole structure once: ELF headers, which sections there are and that they
//! do not overlap, the metadata hash, and the bounds and order of every table. An [`Index`] is offsets only, so that the
//! owner of a mapping can keep it beside the mapping and make an [`ArtifactView`] when it needs one.
//!
//! I1. No function here panics on any bytes, also when a view is made with other bytes than the index came from.
//! I2. After `parse`, each byte of the file is covered by the metadata hash (checked) or by the bulk hash, which
//!     [`ArtifactView::verify_bulk`] checks.

mod cast;
mod elf;
mod header;
mod tables;

use std::ops::Range;

pub use header::{Header, Host, Mismatch};
pub use tables::{Frame, Frames, Handlers};

use crate::module::Description;
use crate::sections::{AddressRow, FunctionRow, InlineNode, SECTIONS, SectionId, TrapRow};
use elf::Sections;
#[cfg(feature = "write")]
pub(crate) use elf::parse as sections;
#[cfg(feature = "write")]
pub(crate) use header::{bulk_hash, metadata_hash};
use tables::Tables;

/// Why some bytes are not an artifact that can be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ArtifactError {
    /// Some other file.
    #[error("not a sphex artifact: {0}")]
    NotArtifact(&'static str),
    /// The file ends too early.
    #[error("truncated artifact: {what} ends at byte {end}, the file has {len}")]
    Truncated {
        /// What is missing.
        what: String,
        /// Where it ends.
        end: u64,
        /// Length of the file.
        len: u64,
    },
    /// The file's structure is wrong.
    #[error("malformed artifact: {section}: {reason}")]
    Malformed {
        /// Section, or part of the file.
        section: String,
        /// What is wrong.
        reason: &'static str,
    },
    /// A hash does not fit.
    #[error("damaged artifact: the hash of its {0} does not match")]
    Damaged(&'static str),
    /// The artifact is for another build, target, CPU or other settings.
    #[error("incompatible artifact: {0}")]
    Incompatible(#[from] Mismatch),
    /// The description of the modules is wrong.
    #[error("malformed artifact: description: {0}")]
    Description(String),
}

pub(crate) fn malformed(section: impl Into<String>, reason: &'static str) -> ArtifactError {
    ArtifactError::Malformed { section: section.into(), reason }
}

/// Where everything is in an artifact's bytes.
#[derive(Clone, Debug)]
pub struct Index {
    len: usize,
    header: Header,
    sections: Sections,
    tables: Tables,
}

impl Index {
    /// Checks an artifact and finds its parts. The bulk hash is not checked, the description not decoded.
    pub fn parse(bytes: &[u8]) -> Result<Index, ArtifactError> {
        let sections = elf::parse(bytes)?;
        let header = header::parse(bytes, &sections)?;
        let tables = tables::parse(bytes, &sections)?;
        Ok(Index { len: bytes.len(), header, sections, tables })
    }

    /// The view of the bytes this came from; `None` if these are of another length.
    pub fn view<'a>(&'a self, bytes: &'a [u8]) -> Option<ArtifactView<'a>> {
        (bytes.len() == self.len).then_some(ArtifactView { bytes, index: self })
    }

    /// The header.
    pub fn header(&self) -> &Header {
        &self.header
    }

    /// Where a section is in the file; empty if there is none.
    pub fn section(&self, id: SectionId) -> Range<usize> {
        self.sections.range(id)
    }

    /// Sections for debuggers: name and place.
    pub fn debug_sections(&self) -> &[(String, Range<usize>)] {
        &self.sections.debug
    }
}

/// An artifact that was checked.
#[derive(Clone, Copy, Debug)]
pub struct ArtifactView<'a> {
    bytes: &'a [u8],
    index: &'a Index,
}

impl<'a> ArtifactView<'a> {
    /// All bytes.
    pub fn bytes(&self) -> &'a [u8] {
        self.bytes
    }

    /// Where everything is.
    pub fn index(&self) -> &'a Index {
        self.index
    }

    /// The header.
    pub fn header(&self) -> &'a Header {
        &self.index.header
    }

    /// Bytes of a section; empty if there is none.
    pub fn section(&self, id: SectionId) -> &'a [u8] {
        self.bytes.get(self.index.section(id)).unwrap_or(&[])
    }

    /// Machine code.
    pub fn text(&self) -> &'a [u8] {
        self.section(SectionId::Text)
    }

    /// Decodes and checks the description.
    pub fn description(&self) -> Result<Description, ArtifactError> {
        let bytes = self.section(SectionId::Info);
        let (description, rest) = postcard::take_from_bytes::<Description>(bytes)
            .map_err(|error| ArtifactError::Description(error.to_string()))?;
        if !rest.is_empty() {
            return Err(ArtifactError::Description("bytes after its end".into()));
        }
        let lens = crate::validate::Lengths {
            data: self.section(SectionId::Data).len() as u64,
            bodies: self.section(SectionId::Bodies).len() as u64,
            page: self.index.header.target.page(),
        };
        description.validate(&lens).map_err(ArtifactError::Description)?;
        tables::check_functions(self, &description)?;
        Ok(description)
    }

    /// Checks the hash of code, constants, memory images and whatever else is not metadata.
    pub fn verify_bulk(&self) -> Result<(), ArtifactError> {
        if header::bulk_hash(self.bytes, &self.index.sections) == self.index.header.bulk_hash {
            Ok(())
        } else {
            Err(ArtifactError::Damaged("code and data"))
        }
    }

    /// Number of functions in the text.
    pub fn function_count(&self) -> usize {
        self.index.tables.functions.count
    }

    /// The function at this position of the table, which is in order of pc and of (module, index).
    pub fn function_row(&self, position: usize) -> Option<FunctionRow> {
        tables::function_row(self, position)
    }

    /// The code of a function.
    pub fn function(&self, module: u32, function: u32) -> Option<FunctionRow> {
        tables::function(self, module, function)
    }

    /// The function whose code contains this pc.
    pub fn function_at(&self, pc: u32) -> Option<FunctionRow> {
        tables::function_at(self, pc)
    }

    /// The trap that a fault at exactly this pc means.
    pub fn trap_at(&self, pc: u32) -> Option<TrapRow> {
        tables::trap_at(self, pc)
    }

    /// All traps, by position in order of pc.
    pub fn trap_row(&self, position: usize) -> Option<TrapRow> {
        tables::trap_row(self, position)
    }

    /// Where the instruction at this pc came from. For a return address, ask for the byte before it.
    pub fn address_at(&self, pc: u32) -> Option<AddressRow> {
        tables::address_at(self, pc)
    }

    /// Where the code of these pcs came from, in order: each row holds up to the next.
    pub fn addresses_in(&self, pcs: Range<u32>) -> impl Iterator<Item = AddressRow> + use<'a> {
        tables::addresses_in(*self, pcs)
    }

    /// An inline node, by the number that rows use (from 1).
    pub fn inline_node(&self, node: u32) -> Option<InlineNode> {
        tables::inline_node(self, node)
    }

    /// The wasm frames at this pc, innermost first: inlined bodies, then the function itself.
    pub fn frames_at(&self, pc: u32) -> Frames<'a> {
        tables::frames_at(*self, pc)
    }

    /// Live references at the call with this return address, as `SafepointSlot` bits.
    pub fn safepoint_at(&self, return_pc: u32) -> Option<&'a [u32]> {
        tables::safepoint_at(self, return_pc)
    }

    /// Exception handlers of the call with this return address.
    pub fn handlers_at(&self, return_pc: u32) -> Option<Handlers<'a>> {
        tables::handlers_at(self, return_pc)
    }

    /// The name of a function, if it has one.
    pub fn function_name(&self, module: u32, function: u32) -> Option<&'a str> {
        tables::function_name(self, module, function)
    }
}

/// The name of a section.
pub(crate) fn section_name(id: SectionId) -> &'static str {
    SECTIONS[id as usize].name
}

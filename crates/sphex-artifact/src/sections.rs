//! The layout of an artifact: its sections, the bytes of its header, and the rows of its tables.
//!
//! Writer and reader are both made from what stands here. An artifact is an ELF64 file without program headers and
//! without relocations, in which every section's address is its offset in the file. All numbers are little-endian.
//!
//! Table sections are columns of `u32`, so that they are read in place and searched by bisection; a `pc` is a byte
//! offset from the start of `.text`:
//!
//! - `.sphex.funcs`: rows of 4 words: start, length, module, function index. Ascending by start and by (module, index).
//! - `.sphex.traps`: count; pcs; then codes and frame states, a byte each. Padded to words.
//! - `.sphex.addrmap`: count, number of inline nodes, flags (1: there is an inline column); pcs; wasm offsets;
//!   inline node ids (if flagged); inline nodes of 4 words: parent, module, function, wasm offset of the call.
//! - `.sphex.safepoints` and `.sphex.exn`: count, number of words; return pcs; count + 1 starts; words. A safepoint's
//!   words are [`SafepointSlot`]s; an exception handler is three words.
//! - `.sphex.names`: count; rows of 4 words: module, function index, start, length; then the text.

use std::fmt;

/// Version of the file format. Part of the build id; an artifact of another one is not looked at further.
pub const FORMAT: u32 = 1;

/// First bytes of `.sphex.hdr`.
pub const MAGIC: [u8; 8] = *b"sphexart";

/// The sections that mean something to the reader.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[repr(u8)]
pub enum SectionId {
    /// Machine code, padded to a page.
    Text,
    /// Unwind records, directly after `.text`, terminated.
    EhFrame,
    /// Constants.
    Rodata,
    /// Header.
    Header,
    /// Description of the modules (postcard).
    Info,
    /// Functions by pc.
    Functions,
    /// Traps by pc.
    Traps,
    /// Wasm offsets by pc.
    AddressMap,
    /// Live references by return pc.
    Safepoints,
    /// Exception handlers by return pc.
    Exceptions,
    /// Function names.
    Names,
    /// Memory images (page-aligned) and bytes of segments.
    Data,
    /// The wasm it was made from.
    Bodies,
    /// Symbols.
    Symbols,
    /// Names of symbols.
    Strings,
    /// Names of sections.
    SectionNames,
}

/// What is known of a section.
#[derive(Clone, Copy, Debug)]
pub struct SectionRow {
    /// Which one.
    pub id: SectionId,
    /// Its name.
    pub name: &'static str,
    /// ELF section type.
    pub kind: u32,
    /// ELF section flags.
    pub flags: u64,
    /// Must every artifact have it?
    pub required: bool,
    /// Is it covered by the bulk hash (checked on demand), rather than the metadata hash (checked always)?
    pub bulk: bool,
}

/// Number of sections in [`SECTIONS`].
pub const SECTION_COUNT: usize = 16;

const PROGBITS: u32 = 1;
const SYMTAB: u32 = 2;
const STRTAB: u32 = 3;
const ALLOC: u64 = 2;
const EXEC: u64 = 4;

const fn row(
    id: SectionId,
    name: &'static str,
    kind: u32,
    flags: u64,
    required: bool,
    bulk: bool,
) -> SectionRow {
    SectionRow { id, name, kind, flags, required, bulk }
}

/// All sections, in the order of [`SectionId`] and of the file. Besides these there may be `.debug_*` (bulk).
pub const SECTIONS: [SectionRow; SECTION_COUNT] = [
    row(SectionId::Text, ".text", PROGBITS, ALLOC | EXEC, true, true),
    row(SectionId::EhFrame, ".eh_frame", PROGBITS, ALLOC, false, true),
    row(SectionId::Rodata, ".rodata", PROGBITS, ALLOC, false, true),
    row(SectionId::Header, ".sphex.hdr", PROGBITS, ALLOC, true, false),
    row(SectionId::Info, ".sphex.info", PROGBITS, ALLOC, true, false),
    row(SectionId::Functions, ".sphex.funcs", PROGBITS, ALLOC, true, false),
    row(SectionId::Traps, ".sphex.traps", PROGBITS, ALLOC, true, false),
    row(SectionId::AddressMap, ".sphex.addrmap", PROGBITS, ALLOC, false, false),
    row(SectionId::Safepoints, ".sphex.safepoints", PROGBITS, ALLOC, false, false),
    row(SectionId::Exceptions, ".sphex.exn", PROGBITS, ALLOC, false, false),
    row(SectionId::Names, ".sphex.names", PROGBITS, ALLOC, false, false),
    row(SectionId::Data, ".sphex.data", PROGBITS, ALLOC, false, true),
    row(SectionId::Bodies, ".sphex.bodies", PROGBITS, 0, false, true),
    row(SectionId::Symbols, ".symtab", SYMTAB, 0, false, true),
    row(SectionId::Strings, ".strtab", STRTAB, 0, false, true),
    row(SectionId::SectionNames, ".shstrtab", STRTAB, 0, true, false),
];

/// Prefix of the names of sections that debuggers read.
pub const DEBUG_PREFIX: &str = ".debug_";

/// Alignment of `.rodata` and of every table.
pub const ALIGN: u64 = 64;

/// Offsets of the fields of `.sphex.hdr`.
pub(crate) mod hdr {
    pub const FORMAT: usize = 8;
    pub const KIND: usize = 12;
    pub const BUILD: usize = 16;
    pub const ARCH: usize = 32;
    pub const OS: usize = 33;
    pub const PAGE_LOG2: usize = 34;
    pub const SETTINGS_LEN: usize = 36;
    pub const FEATURES: usize = 40;
    pub const META_HASH: usize = 48;
    pub const BULK_HASH: usize = 80;
    pub const SIZE: usize = 112;
}

/// What an artifact holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum Kind {
    /// A core module.
    Module = 0,
    /// A component and its modules.
    Component = 1,
    /// Functions compiled from CLIF.
    Functions = 2,
}

impl Kind {
    pub(crate) fn from_u32(n: u32) -> Option<Kind> {
        [Kind::Module, Kind::Component, Kind::Functions].into_iter().find(|kind| *kind as u32 == n)
    }
}

/// Identifies what must be the same in compiler and runtime: version, format and the sources of this crate.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct BuildId(
    /// The number.
    pub u128,
);

impl fmt::Display for BuildId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", self.0)
    }
}

impl fmt::Debug for BuildId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "BuildId({self})")
    }
}

/// The sources whose contents are the contract.
pub(crate) const SOURCES: &[(&str, &[u8])] = &[
    ("builtins.rs", include_bytes!("builtins.rs")),
    ("convention.rs", include_bytes!("convention.rs")),
    ("images.rs", include_bytes!("images.rs")),
    ("module.rs", include_bytes!("module.rs")),
    ("sections.rs", include_bytes!("sections.rs")),
    ("target.rs", include_bytes!("target.rs")),
    ("traps.rs", include_bytes!("traps.rs")),
    ("types.rs", include_bytes!("types.rs")),
    ("vmctx.rs", include_bytes!("vmctx.rs")),
    ("write.rs", include_bytes!("write.rs")),
];

impl BuildId {
    /// This build. `SPHEX_BUILD_ID` in the environment of the build becomes part of it.
    pub const CURRENT: BuildId = {
        let mut hash = source_hash(FORMAT as u128, env!("CARGO_PKG_VERSION").as_bytes());
        if let Some(extra) = option_env!("SPHEX_BUILD_ID") {
            hash = source_hash(hash, extra.as_bytes());
        }
        let mut i = 0;
        while i < SOURCES.len() {
            hash = source_hash(hash, SOURCES[i].1);
            i += 1;
        }
        BuildId(hash)
    };
}

/// A hash that can be computed at compile time; it tells builds apart and does not resist attackers.
pub const fn source_hash(seed: u128, mut bytes: &[u8]) -> u128 {
    const PRIME: u128 = 0x0000_0000_0100_0000_0000_0000_0000_013b;
    let mut hash = seed ^ 0x6c62_272e_07bb_0142_62b8_2175_6295_c58d ^ ((bytes.len() as u128) << 64);
    while let Some((chunk, rest)) = bytes.split_first_chunk::<8>() {
        hash = (hash ^ u64::from_le_bytes(*chunk) as u128).wrapping_mul(PRIME);
        hash ^= hash >> 67;
        bytes = rest;
    }
    while let Some((byte, rest)) = bytes.split_first() {
        hash = (hash ^ *byte as u128).wrapping_mul(PRIME);
        bytes = rest;
    }
    hash ^ hash >> 61
}

/// A function in `.text`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FunctionRow {
    /// Where its code begins.
    pub start: u32,
    /// Bytes of its code.
    pub len: u32,
    /// The module it belongs to, by position in the description.
    pub module: u32,
    /// Its index in that module's function index space.
    pub function: u32,
}

/// How to find the caller from an instruction that may trap.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FrameState {
    /// The frame pointer is the function's own: return address at fp + 8, caller's frame pointer at fp.
    Frame,
    /// No frame: the return address is in the link register.
    Link,
    /// No frame: the return address is at the stack pointer plus this (a multiple of 8, at most 2024).
    Stack(u32),
}

impl FrameState {
    /// As a byte; `None` if the offset cannot be written.
    pub fn to_byte(self) -> Option<u8> {
        match self {
            FrameState::Frame => Some(0),
            FrameState::Link => Some(1),
            FrameState::Stack(offset) if offset.is_multiple_of(8) => u8::try_from(offset / 8 + 2).ok(),
            FrameState::Stack(_) => None,
        }
    }

    /// From a byte.
    pub fn from_byte(byte: u8) -> FrameState {
        match byte {
            0 => FrameState::Frame,
            1 => FrameState::Link,
            n => FrameState::Stack((u32::from(n) - 2) * 8),
        }
    }
}

/// An instruction that may fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TrapRow {
    /// Where the instruction begins.
    pub pc: u32,
    /// The trap's code, see [`Trap`](crate::Trap).
    pub code: u8,
    /// How to find the caller.
    pub frame: FrameState,
}

/// Where the code from here to the next row came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AddressRow {
    /// Where the code begins.
    pub pc: u32,
    /// Byte offset in the wasm module; [`NO_OFFSET`] is none.
    pub offset: u32,
    /// Inline node: 0 is the function itself, `i` the node `i - 1` of the tree.
    pub inline: u32,
}

/// No wasm offset is known.
pub const NO_OFFSET: u32 = u32::MAX;

/// A body inlined into another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct InlineNode {
    /// The inline node that it was inlined into (same numbering as [`AddressRow::inline`]; smaller than its own).
    pub parent: u32,
    /// Module of the inlined function.
    pub module: u32,
    /// The inlined function's index.
    pub function: u32,
    /// Byte offset in the wasm module of the call it replaced.
    pub call_offset: u32,
}

/// Where a live reference is at a safepoint: a kind (4 bits) and a multiple of 4 bytes below the frame pointer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SafepointSlot(
    /// The bits: `kind | below / 4 << 4`.
    pub u32,
);

impl SafepointSlot {
    /// A 32-bit host reference.
    pub const EXTERN: u32 = 0;

    /// The slot of this kind that begins `below` bytes below the frame pointer; `None` if it cannot be written.
    pub fn new(kind: u32, below: u32) -> Option<SafepointSlot> {
        (kind < 16 && below.is_multiple_of(4) && below < 1 << 30).then_some(SafepointSlot(kind | below << 2))
    }

    /// What is there.
    pub const fn kind(self) -> u32 {
        self.0 & 15
    }

    /// How many bytes below the frame pointer it begins.
    pub const fn below(self) -> u32 {
        (self.0 >> 4) * 4
    }
}

/// The references that are live across a call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Safepoint {
    /// The call's return address.
    pub pc: u32,
    /// Where they are.
    pub slots: Vec<SafepointSlot>,
}

/// One handler of a call that may throw.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Handler {
    /// Tag index, or `u32::MAX` for any.
    pub tag: u32,
    /// Where the handler begins.
    pub handler: u32,
    /// Distance from the frame pointer down to the stack pointer at the call.
    pub frame_bytes: u32,
}

/// The handlers of a call, in the order in which they are tried.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ExceptionRow {
    /// The call's return address.
    pub pc: u32,
    /// Its handlers.
    pub handlers: Vec<Handler>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_stand_at_their_id() {
        for (i, row) in SECTIONS.iter().enumerate() {
            assert_eq!(row.id as usize, i);
        }
    }

    #[test]
    fn every_source_is_in_the_build_id() {
        // Not those of the reader, and of what never leaves the process: they decide nothing that is written.
        let outside = ["lib.rs", "validate.rs", "records.rs", "read"];
        for entry in std::fs::read_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/src")).unwrap() {
            let name = entry.unwrap().file_name().into_string().unwrap();
            let listed = SOURCES.iter().any(|(source, _)| *source == name);
            assert!(listed || outside.contains(&name.as_str()), "{name}");
        }
        let mut changed = SOURCES[0].1.to_vec();
        changed[100] ^= 1;
        assert_ne!(source_hash(0, &changed), source_hash(0, SOURCES[0].1));
        assert_ne!(source_hash(0, b"ab"), source_hash(0, b"ab\0"));
    }

    #[test]
    fn packed_fields_round_trip() {
        for byte in 0..=255 {
            assert_eq!(FrameState::from_byte(byte).to_byte(), Some(byte));
        }
        assert_eq!(FrameState::Stack(4).to_byte(), None);
        assert_eq!(FrameState::Stack(2032).to_byte(), None);
        let slot = SafepointSlot::new(3, 1 << 29).unwrap();
        assert_eq!((slot.kind(), slot.below()), (3, 1 << 29));
        assert!(SafepointSlot::new(16, 0).is_none() && SafepointSlot::new(0, 6).is_none());
    }
}

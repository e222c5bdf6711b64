//! Writing an artifact.
//!
//! Needs code that is linked but for its place, and the rows of the tables; gives the bytes of the file, the same for the
//! same contents. Code refers to `.rodata`, and `.eh_frame` to code, by distances that [`TextLayout`] tells beforehand.

use std::borrow::Cow;
use std::collections::BTreeMap;

use object::elf;
use object::write::StringId;
use object::write::elf::{FileHeader, SectionHeader, Sym, Writer};

use crate::module::Description;
use crate::read;
use crate::sections::{
    ALIGN, AddressRow, BuildId, DEBUG_PREFIX, ExceptionRow, FORMAT, FunctionRow, InlineNode, Kind, MAGIC,
    SECTIONS, Safepoint, SectionId, SectionRow, TrapRow, hdr,
};
use crate::target::{Arch, CpuFeatures, Target};

/// Where the parts that code refers to stand, in bytes from the start of `.text`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TextLayout {
    /// `.eh_frame`: the end of the padded text.
    pub eh_frame: u64,
    /// `.rodata`, aligned to 64 bytes.
    pub rodata: u64,
}

impl TextLayout {
    /// The layout for these lengths.
    pub fn new(target: Target, text_len: usize, eh_frame_len: usize) -> TextLayout {
        let eh_frame = (text_len as u64).next_multiple_of(target.page());
        TextLayout { eh_frame, rodata: (eh_frame + eh_frame_len as u64).next_multiple_of(ALIGN) }
    }
}

/// The name of a function.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Name {
    /// Its module.
    pub module: u32,
    /// Its index.
    pub function: u32,
    /// Its name.
    pub name: String,
}

/// The address map on its way into an artifact: the largest table, so that it need not be in memory as rows.
pub trait Addresses: std::fmt::Debug {
    /// How many rows there are.
    fn len(&self) -> usize;

    /// Whether there are none.
    fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Is any row of an inlined body?
    fn has_inline(&self) -> bool;

    /// Visits the rows, ascending by pc, some at a time. Done once a column.
    fn each(&self, visit: &mut dyn FnMut(&[AddressRow]));
}

impl Addresses for Vec<AddressRow> {
    fn len(&self) -> usize {
        Vec::len(self)
    }

    fn has_inline(&self) -> bool {
        self.iter().any(|row| row.inline != 0)
    }

    fn each(&self, visit: &mut dyn FnMut(&[AddressRow])) {
        self.chunks(1 << 12).for_each(visit);
    }
}

/// All that goes into an artifact.
#[derive(Clone, Debug)]
pub struct Contents<'a> {
    /// What it holds.
    pub kind: Kind,
    /// What it runs on.
    pub target: Target,
    /// CPU features that the code uses.
    pub features: CpuFeatures,
    /// Settings that shaped the code; no `=` or line feed in a name, no line feed in a value.
    pub settings: BTreeMap<String, String>,
    /// The modules.
    pub description: &'a Description,
    /// Machine code, without padding at its end.
    pub text: &'a [u8],
    /// Unwind records for [`TextLayout`], terminated; or nothing.
    pub eh_frame: &'a [u8],
    /// Constants.
    pub rodata: &'a [u8],
    /// Functions, ascending by start and by (module, index).
    pub functions: &'a [FunctionRow],
    /// Traps, ascending by pc.
    pub traps: &'a [TrapRow],
    /// Source addresses, ascending by pc.
    pub addresses: &'a dyn Addresses,
    /// Inlined bodies that `addresses` refers to.
    pub inline_nodes: &'a [InlineNode],
    /// Safepoints, ascending by pc.
    pub safepoints: &'a [Safepoint],
    /// Exception handlers, ascending by pc.
    pub exceptions: &'a [ExceptionRow],
    /// Function names, ascending by (module, index).
    pub names: &'a [Name],
    /// Memory images and segment bytes, as [`images::lay_out`](crate::images::lay_out) makes them.
    pub data: &'a [u8],
    /// The modules' wasm, where the description says; or nothing.
    pub bodies: &'a [u8],
    /// Sections for debuggers, by name (`.debug_...`).
    pub debug: &'a [(&'a str, &'a [u8])],
}

/// Contents that no artifact can hold.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum WriteError {
    /// More code than offsets of 32 bits reach.
    #[error("too much code: {0} bytes, at most 2 GiB")]
    TooLarge(usize),
    /// A table is too long, out of order, or has a row that has no representation.
    #[error("{table}: {reason}")]
    Table {
        /// Which one.
        table: &'static str,
        /// What is wrong.
        reason: &'static str,
    },
    /// The ELF writer refused.
    #[error("cannot write the ELF file: {0}")]
    Elf(String),
}

/// Writes an artifact.
pub fn write(contents: &Contents<'_>) -> Result<Vec<u8>, WriteError> {
    if contents.text.len() > i32::MAX as usize {
        return Err(WriteError::TooLarge(contents.text.len()));
    }
    let page = contents.target.page();
    let mut parts = Vec::new();
    for row in &SECTIONS {
        let bytes = section_bytes(contents, row.id)?;
        if row.required || bytes.len() > 0 {
            let (align, padded) = match row.id {
                SectionId::Text | SectionId::Data => (page, bytes.len().next_multiple_of(page as usize)),
                SectionId::EhFrame => (1, bytes.len()),
                _ => (ALIGN, bytes.len()),
            };
            parts.push(Part { row: Some(row), name: row.name, bytes, padded, align, offset: 0, id: None });
        }
    }
    parts.retain(|part| !matches!(part.row, Some(row) if made_by_elf_writer(row.id)));
    for (name, bytes) in contents.debug {
        if !name.starts_with(DEBUG_PREFIX) || name.len() > 60 || name.bytes().any(|byte| byte == 0) {
            return Err(WriteError::Table {
                table: "debug sections",
                reason: "a name that is not `.debug_...`",
            });
        }
        let bytes = Bytes::from(*bytes);
        let padded = bytes.len();
        parts.push(Part { row: None, name, bytes, padded, align: 1, offset: 0, id: None });
    }
    let symbols = symbol_names(contents);
    let mut file = Vec::new();
    write_elf(contents, &mut parts, &symbols, &mut file)
        .map_err(|error| WriteError::Elf(error.to_string()))?;
    let own = |error: crate::ArtifactError| WriteError::Elf(error.to_string());
    put_hashes(&mut file).map_err(own)?;
    // The reader has the last word: what it would refuse is not handed out.
    crate::Index::parse(&file).map_err(own)?;
    Ok(file)
}

/// Puts hashes that fit into an artifact that was changed, so that tests reach the checks behind them.
pub fn rehash(file: &mut [u8]) {
    // What has no sections keeps its hashes; reading it fails for that reason.
    let _ = put_hashes(file);
}

/// The bytes of a section.
enum Bytes<'a> {
    Whole(Cow<'a, [u8]>),
    /// The largest table. It is encoded when it is written, and never in memory beside the file.
    Addresses(&'a dyn Addresses, &'a [InlineNode]),
}

impl<'a, T: Into<Cow<'a, [u8]>>> From<T> for Bytes<'a> {
    fn from(bytes: T) -> Bytes<'a> {
        Bytes::Whole(bytes.into())
    }
}

impl Bytes<'_> {
    fn len(&self) -> usize {
        match self {
            Bytes::Whole(bytes) => bytes.len(),
            Bytes::Addresses(map, _) if map.is_empty() => 0,
            Bytes::Addresses(map, nodes) => {
                12 + map.len() * 4 * (2 + usize::from(map.has_inline())) + nodes.len() * 16
            }
        }
    }

    fn write(&self, writer: &mut Writer<'_>) {
        match self {
            Bytes::Whole(bytes) => writer.write(bytes),
            Bytes::Addresses(map, nodes) => write_addresses(*map, nodes, writer),
        }
    }
}

/// A section on its way into the file.
struct Part<'a> {
    row: Option<&'static SectionRow>,
    name: &'a str,
    bytes: Bytes<'a>,
    padded: usize,
    align: u64,
    offset: u64,
    id: Option<StringId>,
}

const fn made_by_elf_writer(id: SectionId) -> bool {
    matches!(id, SectionId::Symbols | SectionId::Strings | SectionId::SectionNames)
}

fn section_bytes<'a>(contents: &Contents<'a>, id: SectionId) -> Result<Bytes<'a>, WriteError> {
    Ok(match id {
        SectionId::Text => contents.text.into(),
        SectionId::EhFrame => contents.eh_frame.into(),
        SectionId::Rodata => contents.rodata.into(),
        SectionId::Header => header(contents)?.into(),
        SectionId::Info => postcard::to_allocvec(contents.description)
            .map_err(|_| WriteError::Table { table: ".sphex.info", reason: "cannot be serialised" })?
            .into(),
        SectionId::Functions => function_table(contents.functions).into(),
        SectionId::Traps => trap_table(contents.traps)?.into(),
        SectionId::AddressMap => address_table(contents)?,
        SectionId::Safepoints => safepoint_table(contents.safepoints)?.into(),
        SectionId::Exceptions => exception_table(contents.exceptions)?.into(),
        SectionId::Names => name_table(contents.names)?.into(),
        SectionId::Data => contents.data.into(),
        SectionId::Bodies => contents.bodies.into(),
        SectionId::Symbols | SectionId::Strings | SectionId::SectionNames => Bytes::from(&[]),
    })
}

fn header(contents: &Contents<'_>) -> Result<Vec<u8>, WriteError> {
    let mut settings = String::new();
    for (name, value) in &contents.settings {
        if name.is_empty() || name.contains(['=', '\n']) || value.contains('\n') {
            return Err(WriteError::Table {
                table: "settings",
                reason: "a name or value that cannot be written",
            });
        }
        settings.extend([name, "=", value, "\n"]);
    }
    let mut out = vec![0; hdr::SIZE];
    let mut put = |at: usize, bytes: &[u8]| out[at..at + bytes.len()].copy_from_slice(bytes);
    put(0, &MAGIC);
    put(hdr::FORMAT, &FORMAT.to_le_bytes());
    put(hdr::KIND, &(contents.kind as u32).to_le_bytes());
    put(hdr::BUILD, &BuildId::CURRENT.0.to_le_bytes());
    put(hdr::ARCH, &[contents.target.arch as u8]);
    put(hdr::OS, &[contents.target.os as u8]);
    put(hdr::PAGE_LOG2, &[contents.target.page_log2()]);
    put(hdr::SETTINGS_LEN, &(settings.len() as u32).to_le_bytes());
    put(hdr::FEATURES, &contents.features.0.to_le_bytes());
    out.extend_from_slice(settings.as_bytes());
    Ok(out)
}

fn push(out: &mut Vec<u8>, words: impl IntoIterator<Item = u32>) {
    words.into_iter().for_each(|word| out.extend_from_slice(&word.to_le_bytes()));
}

fn count(len: usize, table: &'static str) -> Result<u32, WriteError> {
    u32::try_from(len).map_err(|_| WriteError::Table { table, reason: "too many rows" })
}

fn align_words(out: &mut Vec<u8>) {
    out.resize(out.len().next_multiple_of(4), 0);
}

fn function_table(rows: &[FunctionRow]) -> Vec<u8> {
    let mut out = Vec::with_capacity(rows.len() * 16);
    rows.iter().for_each(|row| push(&mut out, [row.start, row.len, row.module, row.function]));
    out
}

fn trap_table(rows: &[TrapRow]) -> Result<Vec<u8>, WriteError> {
    let mut out = Vec::with_capacity(rows.len() * 6 + 8);
    push(&mut out, [count(rows.len(), ".sphex.traps")?]);
    push(&mut out, rows.iter().map(|row| row.pc));
    out.extend(rows.iter().map(|row| row.code));
    for row in rows {
        let reason = "a frame state that cannot be written";
        out.push(row.frame.to_byte().ok_or(WriteError::Table { table: ".sphex.traps", reason })?);
    }
    align_words(&mut out);
    Ok(out)
}

fn address_table<'a>(contents: &Contents<'a>) -> Result<Bytes<'a>, WriteError> {
    let (map, nodes) = (contents.addresses, contents.inline_nodes);
    count(map.len(), ".sphex.addrmap")?;
    count(nodes.len(), ".sphex.addrmap")?;
    Ok(Bytes::Addresses(map, nodes))
}

/// Writes the address map column by column.
fn write_addresses(map: &dyn Addresses, nodes: &[InlineNode], writer: &mut Writer<'_>) {
    if map.is_empty() {
        return;
    }
    let mut out = Vec::new();
    // `address_table` has seen that both fit.
    push(&mut out, [map.len() as u32, nodes.len() as u32, u32::from(map.has_inline())]);
    write_column(map, &mut out, writer, |row| row.pc);
    write_column(map, &mut out, writer, |row| row.offset);
    if map.has_inline() {
        write_column(map, &mut out, writer, |row| row.inline);
    }
    nodes.iter().for_each(|node| push(&mut out, [node.parent, node.module, node.function, node.call_offset]));
    writer.write(&out);
}

/// Writes a column, through `out`.
fn write_column(
    map: &dyn Addresses,
    out: &mut Vec<u8>,
    writer: &mut Writer<'_>,
    column: impl Fn(&AddressRow) -> u32,
) {
    map.each(&mut |rows| {
        if out.len() >= 1 << 16 {
            writer.write(out);
            out.clear();
        }
        let start = out.len();
        out.resize(start + 4 * rows.len(), 0);
        for (bytes, row) in out[start..].chunks_exact_mut(4).zip(rows) {
            bytes.copy_from_slice(&column(row).to_le_bytes());
        }
    });
}

/// Lists of words by pc.
fn list_table(
    table: &'static str,
    pcs: impl ExactSizeIterator<Item = u32>,
    lens: impl Iterator<Item = usize>,
    words: Vec<u32>,
) -> Result<Vec<u8>, WriteError> {
    let mut out = Vec::new();
    if pcs.len() == 0 {
        return Ok(out);
    }
    push(&mut out, [count(pcs.len(), table)?, count(words.len(), table)?]);
    push(&mut out, pcs);
    let mut start = 0;
    push(&mut out, [start]);
    for len in lens {
        start += len as u32;
        push(&mut out, [start]);
    }
    push(&mut out, words);
    Ok(out)
}

fn safepoint_table(rows: &[Safepoint]) -> Result<Vec<u8>, WriteError> {
    let words = rows.iter().flat_map(|row| row.slots.iter().map(|slot| slot.0)).collect();
    list_table(
        ".sphex.safepoints",
        rows.iter().map(|row| row.pc),
        rows.iter().map(|row| row.slots.len()),
        words,
    )
}

fn exception_table(rows: &[ExceptionRow]) -> Result<Vec<u8>, WriteError> {
    let handlers = rows.iter().flat_map(|row| &row.handlers);
    let words = handlers.flat_map(|handler| [handler.tag, handler.handler, handler.frame_bytes]).collect();
    let lens = rows.iter().map(|row| row.handlers.len() * 3);
    list_table(".sphex.exn", rows.iter().map(|row| row.pc), lens, words)
}

fn name_table(names: &[Name]) -> Result<Vec<u8>, WriteError> {
    let mut out = Vec::new();
    if names.is_empty() {
        return Ok(out);
    }
    let table = ".sphex.names";
    push(&mut out, [count(names.len(), table)?]);
    let mut start = 0usize;
    for name in names {
        push(&mut out, [name.module, name.function, count(start, table)?, count(name.name.len(), table)?]);
        start += name.name.len();
    }
    names.iter().for_each(|name| out.extend_from_slice(name.name.as_bytes()));
    align_words(&mut out);
    Ok(out)
}

/// A symbol a function: its name, or its number.
fn symbol_names(contents: &Contents<'_>) -> Vec<String> {
    let name_of = |row: &FunctionRow| {
        let key = (row.module, row.function);
        let found = contents.names.binary_search_by_key(&key, |name| (name.module, name.function)).ok()?;
        let name = &contents.names[found].name;
        (!name.is_empty() && !name.contains('\0')).then(|| name.clone())
    };
    let numbered = |row: &FunctionRow| format!("wasm[{}]::function[{}]", row.module, row.function);
    contents.functions.iter().map(|row| name_of(row).unwrap_or_else(|| numbered(row))).collect()
}

fn write_elf(
    contents: &Contents<'_>,
    parts: &mut [Part<'_>],
    symbols: &[String],
    file: &mut Vec<u8>,
) -> object::write::Result<()> {
    let names: Vec<String> = parts.iter().map(|part| part.name.to_string()).collect();
    let mut writer = Writer::new(object::Endianness::Little, true, file);
    writer.reserve_file_header();
    writer.reserve_null_section_index();
    let mut text_index = None;
    for (part, name) in parts.iter_mut().zip(&names) {
        part.id = Some(writer.add_section_name(name.as_bytes()));
        let index = writer.reserve_section_index();
        text_index = text_index.or(Some(index));
        part.offset = writer.reserve(part.padded as u64, part.align);
    }
    let ids: Vec<StringId> = symbols.iter().map(|name| writer.add_string(name.as_bytes())).collect();
    writer.reserve_null_symbol_index();
    for _ in symbols {
        writer.reserve_symbol_index(text_index);
    }
    writer.reserve_symtab_section_index();
    writer.reserve_symtab();
    writer.reserve_strtab_section_index();
    writer.reserve_strtab()?;
    writer.reserve_shstrtab_section_index();
    writer.reserve_shstrtab()?;
    writer.reserve_section_headers();

    writer.write_file_header(&FileHeader {
        os_abi: elf::ELFOSABI_NONE,
        abi_version: 0,
        e_type: elf::ET_DYN,
        e_machine: match contents.target.arch {
            Arch::X64 => elf::EM_X86_64,
            Arch::Aarch64 => elf::EM_AARCH64,
        },
        e_entry: 0,
        e_flags: Default::default(),
    })?;
    let filler = [if contents.target.arch == Arch::X64 { 0xcc } else { 0 }; 4096];
    for part in parts.iter() {
        writer.pad_until(part.offset);
        part.bytes.write(&mut writer);
        let is_text = part.row.is_some_and(|row| row.id == SectionId::Text);
        let mut rest = part.padded - part.bytes.len();
        while is_text && rest > 0 {
            let now = rest.min(filler.len());
            writer.write(&filler[..now]);
            rest -= now;
        }
        writer.pad_until(part.offset + part.padded as u64);
    }
    let text = parts.first().map_or(0, |part| part.offset);
    writer.write_null_symbol();
    for (row, id) in contents.functions.iter().zip(ids) {
        let st_name = writer.string_offset(Some(id));
        writer.write_symbol(&Sym {
            section: text_index.map(|index| index.0),
            st_name,
            st_info: elf::SymbolInfo::new(elf::STB_LOCAL, elf::STT_FUNC),
            st_other: Default::default(),
            st_shndx: Default::default(),
            st_value: text + u64::from(row.start),
            st_size: u64::from(row.len),
        });
    }
    writer.write_strtab();
    writer.write_shstrtab();
    writer.write_null_section_header();
    for part in parts.iter() {
        let (kind, flags) = part.row.map_or((1, 0), |row| (row.kind, row.flags));
        let sh_name = writer.section_name_offset(part.id);
        writer.write_section_header(&SectionHeader {
            sh_name,
            sh_type: elf::SectionType(kind),
            sh_flags: elf::SectionFlags(flags),
            sh_addr: if flags == 0 { 0 } else { part.offset },
            sh_offset: part.offset,
            sh_size: part.padded as u64,
            sh_link: 0,
            sh_info: 0,
            sh_addralign: part.align,
            sh_entsize: 0,
        });
    }
    writer.write_symtab_section_header(symbols.len() as u32 + 1);
    writer.write_strtab_section_header();
    writer.write_shstrtab_section_header();
    Ok(())
}

/// Puts the hashes into the header, computed by the reader's code.
fn put_hashes(file: &mut [u8]) -> Result<(), crate::ArtifactError> {
    let sections = read::sections(file)?;
    let header = sections.range(SectionId::Header);
    let bulk = read::bulk_hash(file, &sections);
    let put = |file: &mut [u8], at: usize, hash: [u8; 32]| {
        if let Some(field) = file.get_mut(header.clone()).and_then(|header| header.get_mut(at..at + 32)) {
            field.copy_from_slice(&hash);
        }
    };
    put(file, hdr::BULK_HASH, bulk);
    let metadata = read::metadata_hash(file, &sections);
    put(file, hdr::META_HASH, metadata);
    Ok(())
}

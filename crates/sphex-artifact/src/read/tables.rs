//! The tables: checked once for bounds and order, then searched in place.

use std::ops::Range;

use super::cast::words;
use super::elf::Sections;
use super::{ArtifactError, ArtifactView, malformed, section_name};
use crate::module::Description;
use crate::sections::{
    AddressRow, FrameState, FunctionRow, Handler, InlineNode, NO_OFFSET, SafepointSlot, SectionId, TrapRow,
};

/// Rows of four words.
#[derive(Clone, Copy, Debug, Default)]
pub struct Rows {
    /// Byte offset in the section.
    at: usize,
    /// Number of rows.
    pub count: usize,
}

/// A column of words, or of bytes.
type Column = Range<usize>;

/// Lists of words by pc.
#[derive(Clone, Debug, Default)]
pub struct Lists {
    pcs: Column,
    starts: Column,
    words: Column,
}

/// Where the columns of all tables are, as byte offsets in their sections.
#[derive(Clone, Debug, Default)]
pub struct Tables {
    /// Functions by pc.
    pub functions: Rows,
    trap_pcs: Column,
    trap_codes: Column,
    trap_frames: Column,
    address_pcs: Column,
    address_offsets: Column,
    address_inline: Column,
    inline_nodes: Rows,
    safepoints: Lists,
    exceptions: Lists,
    names: Rows,
    name_text: Column,
}

/// Cuts a section into columns.
struct Cutter<'a> {
    id: SectionId,
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Cutter<'a> {
    fn new(bytes: &'a [u8], sections: &Sections, id: SectionId) -> Result<Cutter<'a>, ArtifactError> {
        let section = bytes.get(sections.range(id)).unwrap_or(&[]);
        words(section).ok_or_else(|| malformed(section_name(id), "not aligned words"))?;
        Ok(Cutter { id, bytes: section, at: 0 })
    }

    fn bad(&self, reason: &'static str) -> ArtifactError {
        malformed(section_name(self.id), reason)
    }

    fn bytes(&mut self, count: usize) -> Result<Column, ArtifactError> {
        let end = self.at.checked_add(count).filter(|&end| end <= self.bytes.len());
        let end = end.ok_or_else(|| self.bad("a column is longer than the section"))?;
        let column = self.at..end;
        self.at = end;
        Ok(column)
    }

    fn words(&mut self, count: usize) -> Result<(Column, &'a [u32]), ArtifactError> {
        let bytes = count.checked_mul(4).ok_or_else(|| self.bad("a column is longer than the section"))?;
        let column = self.bytes(bytes)?;
        let section: &'a [u8] = self.bytes;
        Ok((column.clone(), column_words(section, &column)))
    }

    fn rows(&mut self, count: usize) -> Result<(Rows, &'a [u32]), ArtifactError> {
        let count_words =
            count.checked_mul(4).ok_or_else(|| self.bad("a column is longer than the section"))?;
        let (column, words) = self.words(count_words)?;
        Ok((Rows { at: column.start, count }, words))
    }

    fn count(&mut self) -> Result<usize, ArtifactError> {
        let (_, words) = self.words(1)?;
        Ok(words.first().map_or(0, |&n| n as usize))
    }

    fn end(&self) -> Result<(), ArtifactError> {
        if self.at.next_multiple_of(4) == self.bytes.len() {
            Ok(())
        } else {
            Err(self.bad("bytes after its end"))
        }
    }

    fn ascending(&self, pcs: &[u32], text: usize) -> Result<(), ArtifactError> {
        if pcs.windows(2).any(|pair| pair[0] >= pair[1]) {
            return Err(self.bad("not in ascending order"));
        }
        match pcs.last() {
            Some(&last) if last as usize > text => Err(self.bad("a pc beyond .text")),
            _ => Ok(()),
        }
    }
}

fn column_words<'a>(section: &'a [u8], column: &Column) -> &'a [u32] {
    section.get(column.clone()).and_then(words).unwrap_or(&[])
}

/// Checks all tables.
pub fn parse(bytes: &[u8], sections: &Sections) -> Result<Tables, ArtifactError> {
    let text = sections.range(SectionId::Text).len();
    let mut tables = Tables::default();
    functions(&mut tables, Cutter::new(bytes, sections, SectionId::Functions)?, text)?;
    traps(&mut tables, Cutter::new(bytes, sections, SectionId::Traps)?, text)?;
    if !sections.range(SectionId::AddressMap).is_empty() {
        addresses(&mut tables, Cutter::new(bytes, sections, SectionId::AddressMap)?, text)?;
    }
    if !sections.range(SectionId::Safepoints).is_empty() {
        tables.safepoints = lists(Cutter::new(bytes, sections, SectionId::Safepoints)?, text, 1)?;
    }
    if !sections.range(SectionId::Exceptions).is_empty() {
        tables.exceptions = lists(Cutter::new(bytes, sections, SectionId::Exceptions)?, text, 3)?;
        let cutter = Cutter::new(bytes, sections, SectionId::Exceptions)?;
        let handlers = column_words(cutter.bytes, &tables.exceptions.words);
        if handlers.as_chunks::<3>().0.iter().any(|handler| handler[1] as usize >= text) {
            return Err(cutter.bad("a handler beyond .text"));
        }
    }
    if !sections.range(SectionId::Names).is_empty() {
        names(&mut tables, Cutter::new(bytes, sections, SectionId::Names)?)?;
    }
    check_eh_frame(bytes.get(sections.range(SectionId::EhFrame)).unwrap_or(&[]))?;
    Ok(tables)
}

fn functions(tables: &mut Tables, mut cutter: Cutter<'_>, text: usize) -> Result<(), ArtifactError> {
    let (rows, words) = cutter.rows(cutter.bytes.len() / 16)?;
    cutter.end()?;
    let mut end = 0u64;
    let mut last = None;
    for row in words.as_chunks::<4>().0 {
        let [start, len, module, function] = *row;
        if u64::from(start) < end || last.is_some_and(|last| last >= (module, function)) {
            return Err(cutter.bad("not in ascending order"));
        }
        end = u64::from(start) + u64::from(len);
        last = Some((module, function));
    }
    if end > text as u64 {
        return Err(cutter.bad("a function beyond .text"));
    }
    tables.functions = rows;
    Ok(())
}

fn traps(tables: &mut Tables, mut cutter: Cutter<'_>, text: usize) -> Result<(), ArtifactError> {
    let count = cutter.count()?;
    let (pcs, words) = cutter.words(count)?;
    tables.trap_pcs = pcs;
    tables.trap_codes = cutter.bytes(count)?;
    tables.trap_frames = cutter.bytes(count)?;
    cutter.end()?;
    cutter.ascending(words, text)?;
    if cutter.bytes.get(tables.trap_codes.clone()).unwrap_or(&[]).contains(&0) {
        return Err(cutter.bad("a trap without a code"));
    }
    Ok(())
}

fn addresses(tables: &mut Tables, mut cutter: Cutter<'_>, text: usize) -> Result<(), ArtifactError> {
    let (count, nodes, flags) = (cutter.count()?, cutter.count()?, cutter.count()?);
    if flags > 1 {
        return Err(cutter.bad("unknown flags"));
    }
    let (pcs, words) = cutter.words(count)?;
    tables.address_pcs = pcs;
    tables.address_offsets = cutter.words(count)?.0;
    let (inline, inline_words) = cutter.words(if flags == 1 { count } else { 0 })?;
    tables.address_inline = inline;
    let (rows, node_words) = cutter.rows(nodes)?;
    tables.inline_nodes = rows;
    cutter.end()?;
    cutter.ascending(words, text)?;
    if inline_words.iter().any(|&node| node as usize > nodes) {
        return Err(cutter.bad("an unknown inline node"));
    }
    // Node `i` (from 1) has a smaller parent: walking up ends.
    if node_words.as_chunks::<4>().0.iter().enumerate().any(|(i, node)| node[0] as usize > i) {
        return Err(cutter.bad("an inline node before its parent"));
    }
    Ok(())
}

fn lists(mut cutter: Cutter<'_>, text: usize, width: usize) -> Result<Lists, ArtifactError> {
    let (count, total) = (cutter.count()?, cutter.count()?);
    let (pcs, pc_words) = cutter.words(count)?;
    let (starts, start_words) = cutter.words(count.saturating_add(1))?;
    let (words, _) = cutter.words(total)?;
    cutter.end()?;
    cutter.ascending(pc_words, text)?;
    let ordered = start_words.windows(2).all(|pair| pair[0] <= pair[1]);
    let ends = start_words.first() == Some(&0) && start_words.last().map(|&n| n as usize) == Some(total);
    if !ordered || !ends || start_words.iter().any(|&start| !(start as usize).is_multiple_of(width)) {
        return Err(cutter.bad("wrong starts"));
    }
    Ok(Lists { pcs, starts, words })
}

fn names(tables: &mut Tables, mut cutter: Cutter<'_>) -> Result<(), ArtifactError> {
    let count = cutter.count()?;
    let (rows, words) = cutter.rows(count)?;
    let text = cutter.bytes(cutter.bytes.len() - cutter.at)?;
    let mut last = None;
    for row in words.as_chunks::<4>().0 {
        let [module, function, start, len] = *row;
        if last.is_some_and(|last| last >= (module, function)) {
            return Err(cutter.bad("not in ascending order"));
        }
        last = Some((module, function));
        if u64::from(start) + u64::from(len) > text.len() as u64 {
            return Err(cutter.bad("a name beyond its end"));
        }
    }
    tables.names = rows;
    tables.name_text = text;
    Ok(())
}

/// Walks the records of `.eh_frame`: they fill it, the last is the terminator. Unwinders walk the same way, without
/// knowing the end.
fn check_eh_frame(section: &[u8]) -> Result<(), ArtifactError> {
    let bad = |reason| malformed(".eh_frame", reason);
    let mut rest = section;
    while let Some((len, after)) = rest.split_first_chunk::<4>() {
        let len = u32::from_le_bytes(*len);
        if len == 0 {
            return if after.is_empty() { Ok(()) } else { Err(bad("records after its terminator")) };
        }
        rest = after.get(len as usize..).ok_or_else(|| bad("a record beyond its end"))?;
    }
    if section.is_empty() { Ok(()) } else { Err(bad("not terminated")) }
}

/// Do the functions of the text belong to the description?
pub fn check_functions(view: &ArtifactView<'_>, description: &Description) -> Result<(), ArtifactError> {
    for position in 0..view.function_count() {
        let Some(row) = view.function_row(position) else { break };
        let module = description.modules.get(row.module as usize);
        let defined = module.is_some_and(|module| {
            !module.is_imported_function(row.function) && (row.function as usize) < module.functions.len()
        });
        if !defined {
            return Err(malformed(".sphex.funcs", "a function that is not in the description"));
        }
    }
    Ok(())
}

fn rows_of<'a>(view: &ArtifactView<'a>, id: SectionId, rows: Rows) -> &'a [[u32; 4]] {
    let bytes = rows.count.saturating_mul(16);
    column_words(view.section(id), &(rows.at..rows.at.saturating_add(bytes))).as_chunks::<4>().0
}

fn column<'a>(view: &ArtifactView<'a>, id: SectionId, column: &Column) -> &'a [u32] {
    column_words(view.section(id), column)
}

fn byte(view: &ArtifactView<'_>, id: SectionId, column: &Column, position: usize) -> Option<u8> {
    view.section(id).get(column.clone())?.get(position).copied()
}

fn to_function(row: [u32; 4]) -> FunctionRow {
    FunctionRow { start: row[0], len: row[1], module: row[2], function: row[3] }
}

fn function_rows<'a>(view: &ArtifactView<'a>) -> &'a [[u32; 4]] {
    rows_of(view, SectionId::Functions, view.index.tables.functions)
}

/// The function at a position.
pub fn function_row(view: &ArtifactView<'_>, position: usize) -> Option<FunctionRow> {
    function_rows(view).get(position).copied().map(to_function)
}

/// The function of an index.
pub fn function(view: &ArtifactView<'_>, module: u32, function: u32) -> Option<FunctionRow> {
    let rows = function_rows(view);
    let position = rows.binary_search_by_key(&(module, function), |row| (row[2], row[3])).ok()?;
    rows.get(position).copied().map(to_function)
}

/// The function whose code contains a pc.
pub fn function_at(view: &ArtifactView<'_>, pc: u32) -> Option<FunctionRow> {
    let rows = function_rows(view);
    let row = to_function(*rows.get(rows.partition_point(|row| row[0] <= pc).checked_sub(1)?)?);
    (pc - row.start < row.len).then_some(row)
}

/// The trap at a position.
pub fn trap_row(view: &ArtifactView<'_>, position: usize) -> Option<TrapRow> {
    let tables = &view.index.tables;
    let pc = *column(view, SectionId::Traps, &tables.trap_pcs).get(position)?;
    let code = byte(view, SectionId::Traps, &tables.trap_codes, position)?;
    let frame = byte(view, SectionId::Traps, &tables.trap_frames, position)?;
    Some(TrapRow { pc, code, frame: FrameState::from_byte(frame) })
}

/// The trap of a pc.
pub fn trap_at(view: &ArtifactView<'_>, pc: u32) -> Option<TrapRow> {
    let pcs = column(view, SectionId::Traps, &view.index.tables.trap_pcs);
    trap_row(view, pcs.binary_search(&pc).ok()?)
}

/// Where the code at a pc came from.
pub fn address_at(view: &ArtifactView<'_>, pc: u32) -> Option<AddressRow> {
    let pcs = column(view, SectionId::AddressMap, &view.index.tables.address_pcs);
    address_row(view, pcs.partition_point(|&start| start <= pc).checked_sub(1)?)
}

/// The rows of these pcs.
pub fn addresses_in(view: ArtifactView<'_>, pcs: Range<u32>) -> impl Iterator<Item = AddressRow> {
    let starts = column(&view, SectionId::AddressMap, &view.index.tables.address_pcs);
    let first = starts.partition_point(|&start| start < pcs.start);
    let rows = (first..starts.len()).map_while(move |position| address_row(&view, position));
    rows.take_while(move |row| row.pc < pcs.end)
}

fn address_row(view: &ArtifactView<'_>, position: usize) -> Option<AddressRow> {
    let tables = &view.index.tables;
    let pc = *column(view, SectionId::AddressMap, &tables.address_pcs).get(position)?;
    let offset = *column(view, SectionId::AddressMap, &tables.address_offsets).get(position)?;
    let inline =
        column(view, SectionId::AddressMap, &tables.address_inline).get(position).copied().unwrap_or(0);
    Some(AddressRow { pc, offset, inline })
}

/// An inline node.
pub fn inline_node(view: &ArtifactView<'_>, node: u32) -> Option<InlineNode> {
    let rows = rows_of(view, SectionId::AddressMap, view.index.tables.inline_nodes);
    let [parent, module, function, call_offset] = *rows.get((node as usize).checked_sub(1)?)?;
    Some(InlineNode { parent, module, function, call_offset })
}

/// A wasm frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Frame {
    /// Module.
    pub module: u32,
    /// Function index.
    pub function: u32,
    /// Byte offset in the wasm module, if known.
    pub offset: Option<u32>,
}

/// The wasm frames at a pc, innermost first.
#[derive(Clone, Debug)]
pub struct Frames<'a> {
    view: ArtifactView<'a>,
    outer: Option<FunctionRow>,
    node: u32,
    offset: u32,
}

/// The wasm frames at a pc.
pub fn frames_at(view: ArtifactView<'_>, pc: u32) -> Frames<'_> {
    let outer = function_at(&view, pc);
    // A row before the function's start belongs to another function.
    let row = address_at(&view, pc).filter(|row| outer.is_some_and(|outer| row.pc >= outer.start));
    let (node, offset) = row.map_or((0, NO_OFFSET), |row| (row.inline, row.offset));
    Frames { view, outer, node, offset }
}

impl Iterator for Frames<'_> {
    type Item = Frame;

    fn next(&mut self) -> Option<Frame> {
        let offset = (self.offset != NO_OFFSET).then_some(self.offset);
        let outer = self.outer?;
        match inline_node(&self.view, self.node) {
            // `<`: ends even if the bytes are not those that were checked (I1).
            Some(node) if node.parent < self.node => {
                self.node = node.parent;
                self.offset = node.call_offset;
                Some(Frame { module: node.module, function: node.function, offset })
            }
            _ => {
                self.outer = None;
                Some(Frame { module: outer.module, function: outer.function, offset })
            }
        }
    }
}

fn list_at<'a>(view: &ArtifactView<'a>, id: SectionId, lists: &Lists, pc: u32) -> Option<&'a [u32]> {
    let position = column(view, id, &lists.pcs).binary_search(&pc).ok()?;
    let starts = column(view, id, &lists.starts);
    let (start, end) = (*starts.get(position)?, *starts.get(position + 1)?);
    column(view, id, &lists.words).get(start as usize..end as usize)
}

/// Live references at a return address.
pub fn safepoint_at<'a>(view: &ArtifactView<'a>, pc: u32) -> Option<&'a [u32]> {
    list_at(view, SectionId::Safepoints, &view.index.tables.safepoints, pc)
}

/// The handlers of a call.
#[derive(Clone, Debug)]
pub struct Handlers<'a> {
    rest: &'a [u32],
}

/// The handlers at a return address.
pub fn handlers_at<'a>(view: &ArtifactView<'a>, pc: u32) -> Option<Handlers<'a>> {
    let rest = list_at(view, SectionId::Exceptions, &view.index.tables.exceptions, pc)?;
    Some(Handlers { rest })
}

impl Iterator for Handlers<'_> {
    type Item = Handler;

    fn next(&mut self) -> Option<Handler> {
        let (&[tag, handler, frame_bytes], rest) = self.rest.split_first_chunk::<3>()?;
        self.rest = rest;
        Some(Handler { tag, handler, frame_bytes })
    }
}

/// The name of a function.
pub fn function_name<'a>(view: &ArtifactView<'a>, module: u32, function: u32) -> Option<&'a str> {
    let tables = &view.index.tables;
    let rows = rows_of(view, SectionId::Names, tables.names);
    let position = rows.binary_search_by_key(&(module, function), |row| (row[0], row[1])).ok()?;
    let [_, _, start, len] = *rows.get(position)?;
    let text = view.section(SectionId::Names).get(tables.name_text.clone())?;
    let name = text.get(start as usize..(start as usize).checked_add(len as usize)?)?;
    std::str::from_utf8(name).ok()
}

impl SafepointSlot {
    /// The slots of a safepoint's words.
    pub fn all(words: &[u32]) -> impl Iterator<Item = SafepointSlot> + '_ {
        words.iter().map(|&bits| SafepointSlot(bits))
    }
}

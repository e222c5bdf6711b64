//! `sphex objdump`: the machine code of an artifact, or of a module that is compiled first: the names of functions and of
//! what they call, the places in the wasm that instructions came from, the traps that faults mean, and the fields of the
//! vmctx, constants and builtins that instructions touch.
//!
//! Needs nothing but the artifact: calls between functions have been linked, so that names come from its tables.

use std::io::{self, BufWriter, Write};
use std::ops::Range;

use anyhow::Context;
use iced_x86::{Instruction, SymbolResolver, SymbolResult};
use sphex_artifact::sections::{FunctionRow, SectionId};
use sphex_artifact::{Arch, ArtifactView, Index, Trap};

use crate::disassemble::{Disassembler, Fields};
use crate::exit::{Failure, Result};
use crate::input;
use crate::options::Objdump;

/// Prints it.
pub fn execute(options: &Objdump) -> Result {
    let file = options.file.display();
    let bytes = input::artifact(&options.file, &options.compile)?;
    let index = Index::parse(&bytes).with_context(|| file.to_string())?;
    let view = index.view(&bytes).context("the file changed while it was read")?;
    if view.header().target.arch != Arch::X64 {
        let target = view.header().target;
        return Err(Failure::Error(anyhow::anyhow!("{file}: expected code for x86_64, found {target}")));
    }
    let rows = chosen(&view, options.function.as_deref())?;
    let description = view.description().with_context(|| file.to_string())?;
    let fields = description.modules.first().map_or_else(Fields::header, Fields::of);
    let mut out = BufWriter::new(io::stdout().lock());
    header(&mut out, &view)?;
    let mut disassembler = Disassembler::new(Some(Box::new(Names(names(&view)))), fields, !options.no_bytes);
    for row in rows {
        writeln!(out, "\n{:08x} <{}>:", row.start, title(&view, row))?;
        let range = row.start as usize..row.start as usize + row.len as usize;
        let code = view.text().get(range).unwrap_or(&[]);
        let mut last = None;
        disassembler.function(&mut out, code, row.start, |instruction| {
            let mut notes = notes(&view, instruction.ip() as u32, &mut last);
            notes += &constant(&view, instruction).unwrap_or_default();
            notes
        })?;
    }
    out.flush()?;
    Ok(())
}

/// The functions to show.
fn chosen(view: &ArtifactView<'_>, wanted: Option<&str>) -> Result<Vec<FunctionRow>> {
    let all = (0..view.function_count()).filter_map(|position| view.function_row(position));
    let Some(wanted) = wanted else { return Ok(all.collect()) };
    let is_wanted = |row: &FunctionRow| match wanted.parse::<u32>() {
        Ok(index) => row.function == index,
        Err(_) => view.function_name(row.module, row.function) == Some(wanted),
    };
    let rows: Vec<_> = all.filter(is_wanted).collect();
    if rows.is_empty() {
        return Err(Failure::Error(anyhow::anyhow!("no function {wanted} in the artifact")));
    }
    Ok(rows)
}

/// What a function is called here.
fn title(view: &ArtifactView<'_>, row: FunctionRow) -> String {
    match view.function_name(row.module, row.function) {
        Some(name) => name.to_owned(),
        None if row.module == 0 => format!("function[{}]", row.function),
        None => format!("module[{}].function[{}]", row.module, row.function),
    }
}

fn header(out: &mut impl Write, view: &ArtifactView<'_>) -> io::Result<()> {
    let header = view.header();
    let features = header.features.names(header.target.arch);
    writeln!(out, "target {}, cpu features [{features}], build {}", header.target, header.build)?;
    for (name, value) in &header.settings {
        writeln!(out, "setting {name}={value}")?;
    }
    Ok(())
}

fn names(view: &ArtifactView<'_>) -> Vec<(u64, String)> {
    // The table is in order of pc.
    (0..view.function_count())
        .filter_map(|position| view.function_row(position))
        .map(|row| (u64::from(row.start), title(view, row)))
        .collect()
}

/// Starts of functions, ascending.
struct Names(Vec<(u64, String)>);

impl SymbolResolver for Names {
    fn symbol(
        &mut self,
        instruction: &Instruction,
        _operand: u32,
        _instruction_operand: Option<u32>,
        address: u64,
        _size: u32,
    ) -> Option<SymbolResult<'_>> {
        let code = instruction.is_call_near() || instruction.is_jmp_short_or_near();
        if !code && !instruction.is_ip_rel_memory_operand() {
            return None;
        }
        let position = self.0.binary_search_by_key(&address, |(start, _)| *start).ok()?;
        Some(SymbolResult::with_str(address, &self.0[position].1))
    }
}

/// The constant that an instruction reads. `.text` and `.rodata` are as far from each other in memory as in the file.
fn constant(view: &ArtifactView<'_>, instruction: &Instruction) -> Option<String> {
    if !instruction.is_ip_rel_memory_operand() {
        return None;
    }
    let text = view.index().section(SectionId::Text);
    let at = usize::try_from(instruction.ip_rel_memory_address()).ok()?.checked_add(text.start)?;
    let rodata: Range<usize> = view.index().section(SectionId::Rodata);
    let size = instruction.memory_size().size();
    if !rodata.contains(&at) || size == 0 {
        return None;
    }
    let bytes = view.bytes().get(at..at.checked_add(size)?)?;
    let digits: String = bytes.iter().rev().map(|byte| format!("{byte:02x}")).collect();
    Some(format!(" constant 0x{digits}"))
}

/// The place in the wasm, where it is another than before; inlined callees first. And the trap.
fn notes(view: &ArtifactView<'_>, pc: u32, last: &mut Option<(u32, u32, u32)>) -> String {
    let mut notes = String::new();
    if let Some(row) = view.address_at(pc) {
        let frames: Vec<_> = view.frames_at(pc).collect();
        let here = frames.first().and_then(|f| Some((f.module, f.function, f.offset?)));
        if here.is_some() && here != *last && row.pc == pc {
            for (depth, frame) in frames.iter().enumerate() {
                let Some(offset) = frame.offset else { continue };
                notes += if depth == 0 { " wasm " } else { " in " };
                notes += &format!("{offset:#x}");
                if depth + 1 < frames.len() {
                    let name = view.function_name(frame.module, frame.function);
                    notes += &name.map_or(format!(" function[{}]", frame.function), |n| format!(" {n}"));
                }
            }
            *last = here;
        }
    }
    if let Some(trap) = view.trap_at(pc) {
        let what = Trap::from_code(trap.code).map_or("unknown", Trap::message);
        notes += &format!(" trap: {what}");
    }
    notes
}

//! `sphex objdump`: the machine code of an artifact, with the names of functions, the offsets in the wasm that
//! instructions came from, and the traps that faults mean.
//!
//! Needs nothing but the file: calls between functions have been linked, so that names come from the table of functions.

use std::fs;
use std::io::{self, BufWriter, Write};

use anyhow::Context;
use iced_x86::{
    Decoder, DecoderOptions, Formatter, Instruction, IntelFormatter, SymbolResolver, SymbolResult,
};
use sphex_artifact::sections::FunctionRow;
use sphex_artifact::{Arch, ArtifactView, Index, Trap};

use crate::exit::{Failure, Result};
use crate::options::Objdump;

/// Prints it.
pub fn execute(options: &Objdump) -> Result {
    let file = options.file.display();
    let bytes = fs::read(&options.file).with_context(|| format!("cannot read {file}"))?;
    let index = Index::parse(&bytes).with_context(|| file.to_string())?;
    let view = index.view(&bytes).context("the file changed while it was read")?;
    if view.header().target.arch != Arch::X64 {
        let target = view.header().target;
        return Err(Failure::Error(anyhow::anyhow!("{file}: expected code for x86_64, found {target}")));
    }
    let rows = chosen(&view, options.function.as_deref())?;
    let mut out = BufWriter::new(io::stdout().lock());
    header(&mut out, &view)?;
    let mut formatter = IntelFormatter::with_options(Some(Box::new(Names(names(&view)))), None);
    formatter.options_mut().set_space_after_operand_separator(true);
    formatter.options_mut().set_rip_relative_addresses(true);
    for row in rows {
        function(&mut out, &view, &mut formatter, row, !options.no_bytes)?;
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

fn function(
    out: &mut impl Write,
    view: &ArtifactView<'_>,
    formatter: &mut IntelFormatter,
    row: FunctionRow,
    with_bytes: bool,
) -> io::Result<()> {
    writeln!(out, "\n{:08x} <{}>:", row.start, title(view, row))?;
    let range = row.start as usize..row.start as usize + row.len as usize;
    let code = view.text().get(range).unwrap_or(&[]);
    let mut decoder = Decoder::with_ip(64, code, u64::from(row.start), DecoderOptions::NONE);
    let mut instruction = Instruction::default();
    let mut text = String::new();
    let mut last = None;
    while decoder.can_decode() {
        let at = decoder.position();
        decoder.decode_out(&mut instruction);
        text.clear();
        formatter.format(&instruction, &mut text);
        let pc = row.start + at as u32;
        write!(out, "{pc:8x}:  ")?;
        if with_bytes {
            let bytes: String = code[at..decoder.position()].iter().map(|b| format!("{b:02x} ")).collect();
            write!(out, "{bytes:<31}")?;
        }
        let notes = notes(view, pc, &mut last);
        if notes.is_empty() {
            writeln!(out, "{text}")?;
        } else {
            writeln!(out, "{text:<40} ;{notes}")?;
        }
    }
    Ok(())
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

//! Source files and lines of wasm offsets, from the DWARF sections that an artifact carries.

use addr2line::gimli::{self, EndianSlice, LittleEndian};

use crate::backtrace::{SourceLocation, demangle};
use crate::vm::code::Code;

/// Where the instruction at this offset of the module came from, innermost first; empty if nothing says so.
///
/// The artifact's `.debug_*` sections are those of the wasm module. Their addresses count from the start of the module's
/// code section, which the description tells.
pub(crate) fn locate(code: &Code, module: u32, offset: Option<u32>) -> Vec<SourceLocation> {
    find(code, module, offset).unwrap_or_default()
}

fn find(code: &Code, module: u32, offset: Option<u32>) -> Option<Vec<SourceLocation>> {
    let start = code.description().modules.get(module as usize)?.code_offset;
    let address = u64::from(offset?).checked_sub(start)?;
    let load = |id: gimli::SectionId| -> Result<EndianSlice<'_, LittleEndian>, gimli::Error> {
        Ok(EndianSlice::new(code.debug_section(id.name()), LittleEndian))
    };
    let dwarf = gimli::Dwarf::load(load).ok()?;
    let context = addr2line::Context::from_dwarf(dwarf).ok()?;
    let mut frames = context.find_frames(address).skip_all_loads().ok()?;
    let mut found = Vec::new();
    while let Ok(Some(frame)) = frames.next() {
        let function = frame.function.and_then(|name| name.raw_name().ok().map(|name| demangle(&name)));
        let location = frame.location.as_ref();
        found.push(SourceLocation {
            function,
            file: location.and_then(|l| l.file).map(str::to_string),
            line: location.and_then(|l| l.line),
            column: location.and_then(|l| l.column).filter(|column| *column > 0),
        });
    }
    found.retain(|location| location.file.is_some());
    Some(found)
}

//! Source files and lines of wasm offsets, from the DWARF sections that an artifact carries.

use addr2line::gimli::{self, EndianSlice, LittleEndian};

use crate::backtrace::{SourceLocation, demangle};
use crate::vm::code::Code;

/// Where the instruction at this offset of the module came from, innermost first; empty if nothing says so.
pub(crate) fn locate(code: &Code, module: u32, offset: Option<u32>) -> Vec<SourceLocation> {
    let lines = Lines::new(code, module);
    lines.zip(offset).and_then(|(lines, offset)| lines.find(offset)).unwrap_or_default()
}

/// A module's debug information, ready to be asked.
///
/// The artifact's `.debug_*` sections are those of the wasm module. Their addresses count from the start of the module's
/// code section, which the description tells.
pub(crate) struct Lines<'a> {
    context: addr2line::Context<EndianSlice<'a, LittleEndian>>,
    start: u64,
}

impl<'a> Lines<'a> {
    /// That of a module; `None` if it has none.
    pub(crate) fn new(code: &'a Code, module: u32) -> Option<Lines<'a>> {
        let start = code.description().modules.get(module as usize)?.code_offset;
        let load = |id: gimli::SectionId| -> Result<EndianSlice<'a, LittleEndian>, gimli::Error> {
            Ok(EndianSlice::new(code.debug_section(id.name()), LittleEndian))
        };
        let dwarf = gimli::Dwarf::load(load).ok()?;
        Some(Lines { context: addr2line::Context::from_dwarf(dwarf).ok()?, start })
    }

    fn find(&self, offset: u32) -> Option<Vec<SourceLocation>> {
        let address = u64::from(offset).checked_sub(self.start)?;
        let mut frames = self.context.find_frames(address).skip_all_loads().ok()?;
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

    /// File and line of the instruction at this offset of the module, of the innermost function if the producer inlined.
    pub(crate) fn innermost(&self, offset: u32) -> Option<(String, u32)> {
        let location = self.context.find_location(u64::from(offset).checked_sub(self.start)?).ok()??;
        Some((location.file?.to_owned(), location.line?))
    }
}

//! The wasm frames that were running when something went wrong.

use std::fmt;
use std::sync::Arc;

use crate::vm::code::Code;

/// Most frames that are kept.
pub(crate) const MAX_FRAMES: usize = 64;

/// A chain of wasm frames, innermost first, across every entry into wasm that was active in the store.
#[derive(Clone, Default)]
pub struct Backtrace {
    frames: Vec<Frame>,
    more: bool,
}

/// One wasm frame: a function, or a body that was inlined into one.
#[derive(Clone)]
pub struct Frame {
    code: Arc<Code>,
    module: u32,
    function: u32,
    offset: Option<u32>,
}

impl Backtrace {
    pub(crate) fn new(frames: Vec<Frame>, more: bool) -> Backtrace {
        Backtrace { frames, more }
    }

    /// The frames, innermost first.
    pub fn frames(&self) -> &[Frame] {
        &self.frames
    }

    /// Were there more frames than are kept?
    pub fn is_truncated(&self) -> bool {
        self.more
    }
}

impl Frame {
    pub(crate) fn new(code: Arc<Code>, frame: sphex_artifact::read::Frame) -> Frame {
        Frame { code, module: frame.module, function: frame.function, offset: frame.offset }
    }

    /// The function's index in its module.
    pub fn function_index(&self) -> u32 {
        self.function
    }

    /// The function's name from the module's name section, as it stands there.
    pub fn raw_name(&self) -> Option<&str> {
        self.code.view()?.function_name(self.module, self.function)
    }

    /// The function's name, demangled where it is a mangled name of Rust or C++; from the debug information if the
    /// module names no functions.
    pub fn function_name(&self) -> Option<String> {
        match self.raw_name() {
            Some(name) => Some(demangle(name)),
            None => self.source_locations().pop()?.function,
        }
    }

    /// The module's name, if it has one.
    pub fn module_name(&self) -> Option<&str> {
        self.code.description().modules.get(self.module as usize)?.name.as_deref()
    }

    /// Byte offset in the module of the instruction that was running.
    pub fn module_offset(&self) -> Option<u32> {
        self.offset
    }

    /// Source file and line, where the module has debug information. Innermost first when the producer inlined.
    pub fn source_locations(&self) -> Vec<SourceLocation> {
        crate::symbolize::locate(&self.code, self.module, self.offset)
    }
}

/// A place in a source file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SourceLocation {
    /// The function there, demangled.
    pub function: Option<String>,
    /// The file.
    pub file: Option<String>,
    /// The line, from 1.
    pub line: Option<u32>,
    /// The column, from 1.
    pub column: Option<u32>,
}

impl fmt::Display for SourceLocation {
    /// `file:line:column`, as far as it is known.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.file.as_deref().unwrap_or("<unknown>"))?;
        if let Some(line) = self.line {
            write!(f, ":{line}")?;
            if let Some(column) = self.column {
                write!(f, ":{column}")?;
            }
        }
        Ok(())
    }
}

/// Demangles a name of Rust or C++; others stay.
pub(crate) fn demangle(name: &str) -> String {
    if let Ok(rust) = rustc_demangle::try_demangle(name) {
        return format!("{rust:#}");
    }
    if name.starts_with("_Z")
        && let Ok(symbol) = cpp_demangle::Symbol::new(name)
        && let Ok(text) = symbol.demangle()
    {
        return text;
    }
    name.to_string()
}

impl fmt::Display for Backtrace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("wasm backtrace:")?;
        for (i, frame) in self.frames.iter().enumerate() {
            write!(f, "\n  {i:3}: {frame}")?;
        }
        if self.more {
            f.write_str("\n       ...")?;
        }
        Ok(())
    }
}

impl fmt::Display for Frame {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.offset {
            Some(offset) => write!(f, "{offset:#8x} - ")?,
            None => f.write_str("       ? - ")?,
        }
        f.write_str(self.module_name().unwrap_or("<unknown>"))?;
        match self.function_name() {
            Some(name) => write!(f, "!{name}")?,
            None => write!(f, "!<wasm function {}>", self.function)?,
        }
        let locations = self.source_locations();
        for (i, location) in locations.iter().enumerate() {
            write!(f, "\n                    at {location}")?;
            if let (Some(name), true) = (&location.function, i + 1 < locations.len()) {
                write!(f, " ({name}, inlined)")?;
            }
        }
        Ok(())
    }
}

impl fmt::Debug for Backtrace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl fmt::Debug for Frame {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

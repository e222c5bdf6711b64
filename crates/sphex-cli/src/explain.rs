//! `sphex explain`: a function on its way through the compiler, as text after each stage.
//!
//! The stages come out of the one pipeline there is: [`Explainer`] goes along with it.

use std::io::{self, BufWriter, Stdout, Write};
use std::ops::Range;
use std::sync::{Mutex, PoisonError};

use sphex::inspect::{Defined, Observer, State, Watch, Which};
use sphex_artifact::Trap;
use sphex_codegen::emit::CompiledFunction;
use sphex_codegen::machine::Listing;
use sphex_codegen::opt::place;
use sphex_codegen::regalloc::Allocation;
use sphex_ir::Function;

use crate::disassemble::{Disassembler, Fields};
use crate::engine::{self, failure_in};
use crate::exit::{Failure, Result};
use crate::input;
use crate::options::{Explain, Stage};

/// Explains.
pub fn execute(explain: &Explain) -> Result {
    let options = explain.compile.options()?;
    let Some(file) = &explain.file else {
        return Err(Failure::usage("expected FILE, the module to explain, found nothing"));
    };
    let engine = engine::engine(&options)?;
    let bytes = input::wasm(file)?;
    let wasm = engine.to_binary(&bytes).map_err(|error| failure_in(file, error))?;
    let which = match explain.function.as_deref() {
        None => Which::All,
        Some(function) => function.parse().map_or(Which::Name(function), Which::Index),
    };
    let stages = if explain.stages.is_empty() { Stage::ALL } else { &explain.stages };
    let page = Page { out: BufWriter::new(io::stdout()), error: None };
    let mut text = Text { wasm: &wasm, which, lines: Vec::new(), printed: None };
    if stages.contains(&Stage::Wasm) && which == Which::All {
        text.print(None);
    }
    let explainer =
        Explainer { stages, floating: options.optimize, page: Mutex::new(page), text: Mutex::new(text) };
    let done = engine.inspect(&wasm, which, &explainer);
    let mut page = explainer.page.into_inner().unwrap_or_else(PoisonError::into_inner);
    match page.error.take() {
        Some(error) => return Err(error.into()),
        None => page.out.flush()?,
    }
    done.map_err(|error| failure_in(file, error))
}

/// What is printed to.
struct Page {
    out: BufWriter<Stdout>,
    error: Option<io::Error>,
}

impl Page {
    /// Writes, unless writing has failed before.
    fn write(&mut self, write: impl FnOnce(&mut BufWriter<Stdout>) -> io::Result<()>) {
        if self.error.is_none() {
            self.error = write(&mut self.out).err();
        }
    }
}

/// Watches functions and prints them.
struct Explainer<'a> {
    stages: &'a [Stage],
    /// IR comes floating out of the translation.
    floating: bool,
    page: Mutex<Page>,
    text: Mutex<Text<'a>>,
}

impl Explainer<'_> {
    fn page(&self) -> std::sync::MutexGuard<'_, Page> {
        self.page.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn stage(&self, stage: Stage, text: impl FnOnce() -> String) {
        if self.stages.contains(&stage) {
            self.page().write(|out| write!(out, "\n-- {} --\n{}", stage.title(), text()));
        }
    }
}

impl Watch for Explainer<'_> {
    fn function(&self, function: Defined<'_>) -> Option<Box<dyn Observer + '_>> {
        let Range { start, end } = function.bytes;
        let name = function.name.map_or(String::new(), |name| format!(" <{name}>"));
        let index = function.index;
        self.page().write(|out| writeln!(out, "function {index}{name}, wasm {start:#x}..{end:#x}"));
        let mut text = self.text.lock().unwrap_or_else(PoisonError::into_inner);
        self.stage(Stage::Wasm, || text.function(start as u64..end as u64));
        Some(Box::new(Reporter(self)))
    }

    fn wants_more(&self) -> bool {
        self.page().error.is_none()
    }
}

/// Prints the stages of one function.
struct Reporter<'a, 'e>(&'a Explainer<'e>);

impl Observer for Reporter<'_, '_> {
    fn step(&mut self, name: &'static str, state: State<'_>) {
        match (name, state) {
            ("translate", State::Ir(func)) => self.0.stage(Stage::Ir, || translated(func, self.0.floating)),
            ("layout", State::Ir(func)) => self.0.stage(Stage::Opt, || func.to_string()),
            ("select", State::Machine(func)) => self
                .0
                .stage(Stage::Select, || Listing { func, allocation: None, with_places: true }.to_string()),
            (_, State::Allocated(func, allocation)) => self.0.stage(Stage::Regalloc, || {
                allocated(&Listing { func, allocation: Some(allocation), with_places: true }, allocation)
            }),
            (_, State::Code(code)) => {
                self.0.stage(Stage::Asm, || assembly(code));
                self.0.page().write(|out| writeln!(out));
            }
            _ => {}
        }
    }
}

/// A floating function lists only what has effects; what the rest is needed for gets a block in a copy.
fn translated(func: &Function, floating: bool) -> String {
    let mut func = func.clone();
    if floating {
        place::place(&mut func, &mut place::Scratch::default(), &mut Default::default());
    }
    func.to_string()
}

fn allocated(listing: &Listing<'_>, allocation: &Allocation<'_>) -> String {
    let (words, moves) = (allocation.spill_words(), allocation.move_count());
    format!("  {words} words of spill slots, {moves} moves\n{listing}")
}

/// Bytes, instructions, places in the wasm, traps, relocations.
fn assembly(code: &CompiledFunction) -> String {
    let mut out = Vec::new();
    let mut disassembler = Disassembler::new(None, Fields::header(), true);
    let (mut places, mut traps) = (code.address_map.iter().peekable(), code.traps.iter().peekable());
    let mut relocations = code.relocations.iter().peekable();
    // Writing to a vector cannot fail. The records are in order of their offsets.
    let _ = disassembler.function(&mut out, &code.code, 0, |instruction| {
        let mut notes = String::new();
        let (start, end) = (instruction.ip() as u32, instruction.next_ip() as u32);
        while let Some((_, place)) = places.next_if(|(offset, _)| *offset <= start) {
            if !place.is_none() && places.peek().is_none_or(|(next, _)| *next > start) {
                notes += &format!(" wasm {:#x}", place.offset);
            }
        }
        while let Some(trap) = traps.next_if(|trap| trap.offset < end) {
            notes += &format!(" trap: {}", Trap::from_code(trap.code).map_or("unknown", Trap::message));
        }
        while let Some(relocation) = relocations.next_if(|relocation| relocation.offset < end) {
            use sphex_codegen::emit::RelocationTarget::{Constant, Symbol};
            let target = match relocation.target {
                Symbol(symbol) => code.symbols.get(symbol.0 as usize).map(ToString::to_string),
                Constant(offset) => Some(format!("constant+{offset:#x}")),
            };
            let (kind, addend) = (relocation.kind, relocation.addend);
            notes += &format!(" {kind:?} {}{addend:+}", target.unwrap_or_default());
        }
        notes
    });
    let mut text = String::from_utf8_lossy(&out).into_owned();
    if !code.constants.is_empty() {
        let digits: String = code.constants.iter().map(|byte| format!(" {byte:02x}")).collect();
        text += &format!("constants:{digits}\n");
    }
    text
}

/// The module's own text, with the offset of each line.
struct Text<'a> {
    wasm: &'a [u8],
    which: Which<'a>,
    /// Offset in the wasm, and where the line stands in `printed`.
    lines: Vec<(u64, Range<usize>)>,
    printed: Option<String>,
}

impl Text<'_> {
    /// A function's lines.
    fn function(&mut self, bytes: Range<u64>) -> String {
        if self.which != Which::All {
            self.print(Some(bytes.clone()));
        }
        let Some(printed) = &self.printed else { return "(no text)\n".to_owned() };
        let from = self.lines.partition_point(|(offset, _)| *offset < bytes.start);
        let lines = self.lines[from..].iter().take_while(|(offset, _)| *offset < bytes.end);
        let mut text = String::new();
        for (offset, line) in lines {
            text += &format!("  @{offset:04x} {}\n", printed[line.clone()].trim_end());
        }
        text
    }

    /// Prints the module, or of it what comes from these bytes.
    fn print(&mut self, wanted: Option<Range<u64>>) {
        let mut lines = Lines { wanted, text: String::new(), lines: Vec::new(), keep: false, past: false };
        let mut config = wasmprinter::Config::new();
        // That the lines wanted are behind us ends it too.
        let _ = config.indent_text("  ").print(self.wasm, &mut lines);
        let Lines { text, lines, .. } = lines;
        let ends = lines.iter().skip(1).map(|(_, start)| *start).chain([text.len()]).collect::<Vec<_>>();
        self.lines = lines.into_iter().zip(ends).map(|((offset, start), end)| (offset, start..end)).collect();
        self.printed = Some(text);
    }
}

/// Takes lines with an offset that is wanted.
struct Lines {
    wanted: Option<Range<u64>>,
    text: String,
    lines: Vec<(u64, usize)>,
    keep: bool,
    /// The lines wanted have been: the rest is nobody's.
    past: bool,
}

impl wasmprinter::Print for Lines {
    fn write_str(&mut self, text: &str) -> io::Result<()> {
        if self.keep {
            self.text.push_str(text);
        }
        if self.past { Err(io::ErrorKind::Other.into()) } else { Ok(()) }
    }

    fn start_line(&mut self, offset: Option<u64>) {
        let Some(offset) = offset else {
            self.keep = false;
            return;
        };
        self.keep = self.wanted.as_ref().is_none_or(|wanted| wanted.contains(&offset));
        if self.keep {
            self.lines.push((offset, self.text.len()));
        } else {
            // Sections may stand in another order than their offsets in the text; bodies do not.
            self.past = !self.lines.is_empty();
        }
    }
}

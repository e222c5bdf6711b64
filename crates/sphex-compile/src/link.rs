//! Linking: compiled functions become the sections of one artifact.
//!
//! Needs each function's code and records, in the order in which they are to stand. Gives text, unwind records, constants
//! and the tables, every reference between them resolved: no relocation is left for load time. Cost: linear.

use crate::error::CompileError;
use rustc_hash::FxHashMap;
use sphex_artifact::sections::{
    AddressRow, FrameState, FunctionRow, InlineNode, NO_OFFSET, Safepoint, SafepointSlot, TrapRow,
};
use sphex_artifact::target::Target;
use sphex_artifact::write::TextLayout;
use sphex_asm::record::{Relocation, RelocationKind, RelocationTarget};
use sphex_codegen::emit::{CompiledFunction, Live};
use sphex_codegen::unwind::eh_frame::EhFrame;
use sphex_ir::ExternalName;

/// A function to link.
pub(crate) struct Input {
    /// Its name, to which calls refer.
    pub(crate) name: ExternalName,
    /// Its index in the module.
    pub(crate) function: u32,
    /// Its code and records.
    pub(crate) code: CompiledFunction,
    /// Bodies inlined into it; their own node 0 is the function itself.
    pub(crate) inlined: Vec<sphex_ir::InlineNode>,
    /// Byte offset in the module that its prologue belongs to.
    pub(crate) offset: u32,
}

/// The sections made of code.
#[derive(Default)]
pub(crate) struct Linked {
    pub(crate) text: Vec<u8>,
    pub(crate) eh_frame: Vec<u8>,
    pub(crate) rodata: Vec<u8>,
    pub(crate) functions: Vec<FunctionRow>,
    pub(crate) traps: Vec<TrapRow>,
    pub(crate) addresses: Vec<AddressRow>,
    pub(crate) inline_nodes: Vec<InlineNode>,
    pub(crate) safepoints: Vec<Safepoint>,
}

type Result<T> = std::result::Result<T, CompileError>;

/// Filler between functions: breakpoints.
const FILLER: u8 = 0xcc;

/// Links functions, in ascending order of their indices. Each is let go when it has been copied.
pub(crate) fn link(target: Target, inputs: Vec<Input>) -> Result<Linked> {
    let (mut text, mut rodata) = (0, 0);
    let mut places = Vec::with_capacity(inputs.len());
    for Input { code, .. } in &inputs {
        let start = reserve(&mut text, code.code.len(), code.alignment)?;
        places.push((start, reserve(&mut rodata, code.constants.len(), code.constants_alignment)?));
    }
    let by_name: FxHashMap<ExternalName, u32> =
        inputs.iter().zip(&places).map(|(input, &(start, _))| (input.name.clone(), start)).collect();
    let mut eh_frame = EhFrame::new(TextLayout::new(target, text, 0).eh_frame as i64);
    for (input, &(start, _)) in inputs.iter().zip(&places) {
        eh_frame.add(u64::from(start), input.code.code.len() as u64, &input.code.unwind);
    }
    let eh_frame = if inputs.is_empty() { Vec::new() } else { eh_frame.finish() };
    let layout = TextLayout::new(target, text, eh_frame.len());
    let mut linked = Linked {
        text: Vec::with_capacity(text),
        rodata: Vec::with_capacity(rodata),
        eh_frame,
        ..Linked::default()
    };
    for (input, (start, constants)) in inputs.into_iter().zip(places) {
        linked.text.resize(start as usize, FILLER);
        linked.text.extend_from_slice(&input.code.code);
        linked.rodata.resize(constants as usize, 0);
        linked.rodata.extend_from_slice(&input.code.constants);
        for relocation in &input.code.relocations {
            let to = match relocation.target {
                RelocationTarget::Constant(offset) => {
                    layout.rodata as i64 + i64::from(constants) + i64::from(offset)
                }
                RelocationTarget::Symbol(symbol) => {
                    let name = input.code.symbols.get(symbol.0 as usize);
                    let found = name.and_then(|name| by_name.get(name));
                    i64::from(*found.ok_or_else(|| unresolved(name))?)
                }
            };
            patch(&mut linked.text, start, relocation, to).ok_or_else(|| {
                CompileError::Artifact(format!("a reference that cannot be resolved in {}", input.name))
            })?;
        }
        linked.add_records(&input, start);
    }
    Ok(linked)
}

fn unresolved(name: Option<&ExternalName>) -> CompileError {
    let name = name.map_or_else(|| "?".to_owned(), ToString::to_string);
    CompileError::Artifact(format!("nothing is named {name}"))
}

/// Makes room for so many bytes at this alignment behind `end`; gives where.
fn reserve(end: &mut usize, len: usize, alignment: u32) -> Result<u32> {
    let start = end.next_multiple_of(alignment.max(1) as usize);
    *end = start + len;
    match *end > i32::MAX as usize {
        true => Err(CompileError::Artifact("more than 2 GiB of code".to_owned())),
        false => Ok(start as u32),
    }
}

/// Fills a field of the function at `start` with the distance to `to`; `None` if that is not possible.
fn patch(text: &mut [u8], start: u32, relocation: &Relocation, to: i64) -> Option<()> {
    let at = start as usize + relocation.offset as usize;
    match relocation.kind {
        RelocationKind::Call4 | RelocationKind::PcRel4 => {}
        // What a slot would hold is in reach itself: `mov reg, [rip + slot]` becomes `lea reg, [rip + target]`.
        RelocationKind::GotPcRel4 => {
            let opcode = text.get_mut(at.checked_sub(2)?)?;
            if *opcode != 0x8b {
                return None;
            }
            *opcode = 0x8d;
        }
        RelocationKind::Abs8 => return None,
    }
    let distance = i32::try_from(to + relocation.addend - at as i64).ok()?;
    text.get_mut(at..at + 4)?.copy_from_slice(&distance.to_le_bytes());
    Some(())
}

impl Linked {
    fn add_records(&mut self, input: &Input, start: u32) {
        let code = &input.code;
        let len = code.code.len() as u32;
        self.functions.push(FunctionRow { start, len, module: 0, function: input.function });
        self.traps.extend(code.traps.iter().map(|trap| TrapRow {
            pc: start + trap.offset,
            code: trap.code,
            frame: FrameState::Frame,
        }));
        // Node 0 of a function is the function; its others get numbers in the artifact from 1.
        let base = self.inline_nodes.len() as u32;
        let node = |node: u32| if node == 0 { 0 } else { base + node };
        self.inline_nodes.extend(input.inlined.iter().skip(1).map(|inlined| InlineNode {
            parent: node(inlined.parent),
            module: 0,
            function: inlined.function,
            call_offset: inlined.call_offset,
        }));
        if code.address_map.first().is_none_or(|(offset, _)| *offset > 0) {
            self.add_address(AddressRow { pc: start, offset: input.offset, inline: 0 });
        }
        for &(offset, loc) in &code.address_map {
            // Code without a place of its own belongs to what comes before it.
            if loc.is_none() && offset > 0 {
                continue;
            }
            let place = if loc.is_none() { input.offset } else { loc.offset };
            self.add_address(AddressRow { pc: start + offset, offset: place, inline: node(loc.node) });
        }
        for call in code.calls.iter().filter(|call| !call.live.is_empty()) {
            let slots = call.live.iter().filter_map(|live| match live {
                Live::Frame(offset) => SafepointSlot::new(SafepointSlot::EXTERN, offset.unsigned_abs()),
                // The sphex convention preserves none.
                Live::Register(_) => None,
            });
            self.safepoints.push(Safepoint { pc: start + call.offset, slots: slots.collect() });
        }
    }

    fn add_address(&mut self, row: AddressRow) {
        match self.addresses.last_mut() {
            Some(last) if last.pc == row.pc => *last = row,
            Some(last)
                if (last.offset, last.inline) == (row.offset, row.inline) && row.offset != NO_OFFSET => {}
            _ => self.addresses.push(row),
        }
    }
}

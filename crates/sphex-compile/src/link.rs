//! Linking: compiled functions become the sections of one artifact.
//!
//! Needs each function's code and records, in the order in which they are to stand. Gives text, unwind records, constants
//! and the tables, every reference between them resolved: no relocation is left for load time. Cost: linear.

mod places;

use crate::error::CompileError;
use places::Places;
use rustc_hash::FxHashMap;
use sphex_artifact::sections::{
    AddressRow, FrameState, FunctionRow, InlineNode, Safepoint, SafepointSlot, TrapRow,
};
use sphex_artifact::target::{Arch, Target};
use sphex_artifact::write::{Addresses, TextLayout};
use sphex_asm::aarch64;
use sphex_asm::record::{Relocation, RelocationKind, RelocationTarget};
use sphex_codegen::emit::{CompiledFunction, Live};
use sphex_codegen::unwind::eh_frame::EhFrame;
use sphex_ir::ExternalName;

/// A function to link. All of a module's wait for the last one, and so hold no more than linking needs.
pub(crate) struct Input {
    /// Its name, to which calls refer.
    pub(crate) name: ExternalName,
    /// Its index in the module.
    pub(crate) function: u32,
    /// Its code and records, the address map left out.
    pub(crate) code: CompiledFunction,
    pub(crate) places: Places,
    /// Bodies inlined into it; their own node 0 is the function itself.
    pub(crate) inlined: Vec<sphex_ir::InlineNode>,
}

impl Input {
    /// The function of this index; `offset` is the byte in the module that its prologue belongs to.
    pub(crate) fn new(
        name: ExternalName,
        function: u32,
        mut code: CompiledFunction,
        mut inlined: Vec<sphex_ir::InlineNode>,
        offset: u32,
    ) -> Input {
        let places = Places::pack(&core::mem::take(&mut code.address_map), offset);
        code.calls.retain(|call| !call.live.is_empty());
        code.calls.shrink_to_fit();
        code.code.shrink_to_fit();
        inlined.shrink_to_fit();
        Input { name, function, code, places, inlined }
    }

    /// Bytes of its code.
    pub(crate) fn code_len(&self) -> usize {
        self.code.code.len()
    }
}

/// The sections made of code.
#[derive(Default)]
pub(crate) struct Linked {
    pub(crate) text: Vec<u8>,
    pub(crate) eh_frame: Vec<u8>,
    pub(crate) rodata: Vec<u8>,
    pub(crate) functions: Vec<FunctionRow>,
    pub(crate) traps: Vec<TrapRow>,
    pub(crate) addresses: AddressMap,
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
    let arch = match target.arch {
        Arch::X64 => sphex_codegen::settings::Arch::X64,
        Arch::Aarch64 => sphex_codegen::settings::Arch::Aarch64,
    };
    let mut eh_frame = EhFrame::new(arch, TextLayout::new(target, text, 0).eh_frame as i64);
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
    for (mut input, (start, constants)) in inputs.into_iter().zip(places) {
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
        linked.add_records(&mut input, start);
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
pub(crate) fn patch(text: &mut [u8], start: u32, relocation: &Relocation, to: i64) -> Option<()> {
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
        kind => {
            let field = text.get_mut(at..at + 4)?;
            let word = u32::from_le_bytes(field.try_into().ok()?);
            let word = aarch64::relocate::patch(kind, word, at as i64, to + relocation.addend)?;
            field.copy_from_slice(&word.to_le_bytes());
            return Some(());
        }
    }
    let distance = i32::try_from(to + relocation.addend - at as i64).ok()?;
    text.get_mut(at..at + 4)?.copy_from_slice(&distance.to_le_bytes());
    Some(())
}

impl Linked {
    fn add_records(&mut self, input: &mut Input, start: u32) {
        let code = &input.code;
        let len = code.code.len() as u32;
        self.functions.push(FunctionRow { start, len, module: 0, function: input.function });
        self.traps.extend(code.traps.iter().map(|trap| TrapRow {
            pc: start + trap.offset,
            code: trap.code,
            frame: FrameState::Frame,
        }));
        let base = self.inline_nodes.len() as u32;
        self.inline_nodes.extend(input.inlined.iter().skip(1).map(|inlined| InlineNode {
            parent: inline_node(base, inlined.parent),
            module: 0,
            function: inlined.function,
            call_offset: inlined.call_offset,
        }));
        self.addresses.functions.push((start, base, core::mem::take(&mut input.places)));
        for call in &code.calls {
            let slots = call.live.iter().filter_map(|live| match live {
                Live::Frame(offset) => SafepointSlot::new(SafepointSlot::EXTERN, offset.unsigned_abs()),
                // The sphex convention preserves none.
                Live::Register(_) => None,
            });
            self.safepoints.push(Safepoint { pc: start + call.offset, slots: slots.collect() });
        }
    }
}

/// Where code comes from, function by function; unpacked when it is written.
#[derive(Debug, Default)]
pub(crate) struct AddressMap {
    /// Start of the code, what is added to the numbers of inline nodes, rows.
    functions: Vec<(u32, u32, Places)>,
}

impl Addresses for AddressMap {
    fn len(&self) -> usize {
        self.functions.iter().map(|(.., places)| places.len()).sum()
    }

    fn has_inline(&self) -> bool {
        self.functions.iter().any(|(.., places)| places.has_inline())
    }

    fn each(&self, visit: &mut dyn FnMut(&[AddressRow])) {
        let mut rows = Vec::new();
        for &(start, base, ref places) in &self.functions {
            rows.clear();
            rows.reserve(places.len());
            places.each(|place| {
                rows.push(AddressRow {
                    pc: start + place.code,
                    offset: place.source,
                    inline: inline_node(base, place.node),
                });
            });
            rows.chunks(1 << 12).for_each(&mut *visit);
        }
    }
}

/// The number in the artifact of a function's inline node. Node 0 of a function is the function; its others follow `base`.
fn inline_node(base: u32, node: u32) -> u32 {
    if node == 0 { 0 } else { base + node }
}

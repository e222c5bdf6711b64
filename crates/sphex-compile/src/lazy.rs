//! A module whose functions are compiled one by one, when somebody asks for them.
//!
//! Needs a module's bytes. Gives at once what is refused and what is not, exactly as the driver does; the artifact without
//! the code (its *skeleton*); and then the code of any function, in any order, on any thread. The bytes of a function are
//! those that it has in the module's artifact, but for the distances to what it refers to.
//!
//! What the driver refuses because of code generation alone (a frame that is too large) is an error of that function here,
//! when it is asked for.

use crate::driver::{self, Worker as Inner};
use crate::error::CompileError;
use crate::link::{self, Input};
use crate::module::{self, ModuleInfo};
use crate::settings::Settings;
use crate::translate::{self, WASM_NAMESPACE, check};
use sphex_artifact::images;
use sphex_artifact::module::Description;
use sphex_artifact::records::FunctionRecords;
use sphex_artifact::sections::{AddressRow, FrameState, FunctionRow, InlineNode, Kind, TrapRow};
use sphex_artifact::write::Name;
use sphex_asm::record::{RelocationTarget, UnwindRecord};
use sphex_codegen::settings::Arch;
use sphex_codegen::unwind::eh_frame::EhFrame;
use sphex_ir::ExternalName;
use std::ops::Range;

type Result<T> = std::result::Result<T, CompileError>;

/// Modules with fewer bytes of code are looked at on the calling thread: to start others would take longer.
const PARALLEL_BYTES: usize = 512 << 10;

/// Alignment of unwind records.
const EH_ALIGN: usize = 8;

/// A module that was looked at, and that nothing is wrong with.
pub struct LazyModule<'a> {
    wasm: &'a [u8],
    info: ModuleInfo<'a>,
    settings: Settings,
    code_bytes: usize,
}

/// What a thread keeps from function to function.
#[derive(Default)]
pub struct Worker(Inner);

/// A function's code, which has no address yet.
pub struct Unplaced {
    input: Input,
    /// Its unwind records, which stand behind its constants.
    eh_frame: Vec<u8>,
}

/// A function's code at its address.
#[derive(Debug)]
pub struct Placed {
    /// What stands from its address on: the code, its constants, its unwind records.
    pub bytes: Vec<u8>,
    /// Its constants within `bytes`.
    pub constants: Range<usize>,
    /// Its unwind records within `bytes`, terminated.
    pub eh_frame: Range<usize>,
    /// What is known of the code.
    pub records: FunctionRecords,
}

impl<'a> LazyModule<'a> {
    /// Reads a module and looks at all its bodies. Gives it, and its artifact but for code.
    pub fn new(wasm: &'a [u8], settings: &Settings) -> Result<(LazyModule<'a>, Vec<u8>)> {
        let start = std::time::Instant::now();
        let result = driver::refuse_invalid(wasm, settings, LazyModule::look(wasm, settings));
        match &result {
            Ok(_) => {
                tracing::debug!(wasm = wasm.len(), time = ?start.elapsed(), "looked at, to be compiled lazily")
            }
            Err(error) => tracing::debug!(wasm = wasm.len(), %error, time = ?start.elapsed(), "refused"),
        }
        result
    }

    fn look(wasm: &'a [u8], settings: &Settings) -> Result<(LazyModule<'a>, Vec<u8>)> {
        let mut info = module::parse(wasm, settings)?;
        let code_bytes = info.bodies.iter().map(|body| body.bytes.as_bytes().len()).sum();
        let mut looking = settings.clone();
        if code_bytes < PARALLEL_BYTES {
            looking.threads = Some(1);
        }
        let seen = check_bodies(&info, &looking)?;
        driver::note_seen(&mut info, seen);
        let lazy = LazyModule { wasm, info, settings: settings.clone(), code_bytes };
        let skeleton = lazy.skeleton()?;
        Ok((lazy, skeleton))
    }

    /// The artifact of the module, without any code.
    fn skeleton(&self) -> Result<Vec<u8>> {
        let mut module = self.info.module.clone();
        let mut data = Vec::new();
        let page = self.settings.artifact_target().page();
        images::lay_out(&mut module, &self.info.segments, page, &mut data);
        let description = Description { modules: vec![module], bodies: Vec::new() };
        let debug: &[_] = if self.settings.debug_info { &self.info.debug } else { &[] };
        let (nothing, names) = (link::Linked::default(), driver::names(&self.info));
        driver::finish(Kind::Module, &self.settings, &description, &nothing, &names, &data, debug)
    }

    /// Compiles the whole module to its artifact, as [`compile_module`](crate::compile_module) does.
    pub fn whole(&self) -> Result<Vec<u8>> {
        crate::compile_module(self.wasm, &self.settings)
    }

    /// The indices of the functions that it defines.
    pub fn functions(&self) -> Range<u32> {
        let imported = self.info.module.imported.functions;
        imported..imported + self.info.bodies.len() as u32
    }

    /// Bytes of all bodies.
    pub fn code_bytes(&self) -> usize {
        self.code_bytes
    }

    /// Compiles the function of this index.
    pub fn compile(&self, function: u32, worker: &mut Worker) -> Result<Unplaced> {
        if !self.functions().contains(&function) {
            return Err(CompileError::NoSuchFunction(function));
        }
        let position = (function - self.functions().start) as usize;
        let input = driver::compile_function(&self.info, &self.settings, position, &mut worker.0, &())?;
        driver::renew(&mut worker.0, &self.info, position);
        let mut unplaced = Unplaced { input, eh_frame: Vec::new() };
        let code = &unplaced.input.code;
        unplaced.eh_frame = eh_frame(
            self.settings.codegen.target.arch,
            unplaced.eh_frame_start(),
            code.code.len(),
            &code.unwind,
        );
        Ok(unplaced)
    }

    /// An artifact with one function, for debuggers: they read where it stands from it, and its unwind records, which are
    /// those of its place.
    pub fn debug_image(&self, placed: &Placed) -> Result<Vec<u8>> {
        let FunctionRecords { module, function, len, .. } = placed.records;
        let bytes = |range: Range<usize>| placed.bytes.get(range).map_or_else(Vec::new, <[u8]>::to_vec);
        let linked = link::Linked {
            eh_frame: bytes(placed.eh_frame.clone()),
            text: bytes(0..len as usize),
            functions: vec![FunctionRow { start: 0, len, module, function }],
            ..link::Linked::default()
        };
        let name = self.info.names.get(function as usize).copied().flatten();
        let name = name.map(|name| Name { module, function, name: name.to_owned() });
        let (kind, nothing) = (Kind::Functions, Description::default());
        driver::finish(kind, &self.settings, &nothing, &linked, name.as_slice(), &[], &[])
    }
}

impl std::fmt::Debug for LazyModule<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("LazyModule").field("functions", &self.functions()).finish_non_exhaustive()
    }
}

/// Refuses what the translator will refuse, with the error that it has for the lowest index. Gives what was seen of all.
fn check_bodies(info: &ModuleInfo<'_>, settings: &Settings) -> Result<Vec<driver::Seen>> {
    let known = |ty: &sphex_artifact::FuncType| {
        ty.params.iter().chain(&ty.results).all(|&ty| translate::ir_type(ty).is_ok())
    };
    let looked = driver::each(
        info,
        settings,
        |(check, scratch): &mut (check::Scratch, translate::Scratch), position| {
            let (plain, scan) = check::look(&info.bodies[position], settings.features, check);
            Ok((plain, driver::seen(info, settings, position, scan, scratch)))
        },
    )?;
    if !info.module.types.iter().all(known) || !looked.iter().all(|(plain, _)| *plain) {
        driver::each(info, settings, |scratch: &mut translate::Scratch, position| {
            let translation = translate::translate(info, settings, position, scratch)?;
            scratch.recycle(translation.func);
            Ok(())
        })?;
    }
    Ok(looked.into_iter().map(|(_, seen)| seen).collect())
}

impl Unplaced {
    /// Bytes that it will take, and the alignment of its address.
    pub fn size(&self) -> (usize, usize) {
        let code = &self.input.code;
        let alignment = code.alignment.max(code.constants_alignment).max(EH_ALIGN as u32) as usize;
        (self.eh_frame_start() + self.eh_frame.len(), alignment)
    }

    fn eh_frame_start(&self) -> usize {
        self.constants().end.next_multiple_of(EH_ALIGN)
    }

    /// Where its constants will stand.
    fn constants(&self) -> Range<usize> {
        let code = &self.input.code;
        let start = code.code.len().next_multiple_of(code.constants_alignment.max(1) as usize);
        start..start + code.constants.len()
    }

    /// Gives it an address, counted from where those that `address_of` has of functions are.
    pub fn place(self, start: u32, address_of: impl Fn(u32) -> Option<u32>) -> Result<Placed> {
        let (constants, eh_start) = (self.constants(), self.eh_frame_start());
        let Input { name, function, mut code, places, inlined } = self.input;
        let len = code.code.len();
        let mut bytes = std::mem::take(&mut code.code);
        for relocation in &code.relocations {
            let to = match relocation.target {
                RelocationTarget::Constant(offset) => Some(constants.start as i64 + i64::from(offset)),
                RelocationTarget::Symbol(symbol) => match code.symbols.get(symbol.0 as usize) {
                    Some(&ExternalName::User { namespace: WASM_NAMESPACE, index }) if index == function => {
                        Some(0)
                    }
                    Some(&ExternalName::User { namespace: WASM_NAMESPACE, index }) => {
                        address_of(index).map(|to| i64::from(to) - i64::from(start))
                    }
                    _ => None,
                },
            };
            to.and_then(|to| link::patch(&mut bytes, 0, relocation, to)).ok_or_else(|| {
                CompileError::Artifact(format!("a reference that cannot be resolved in {name}"))
            })?;
        }
        bytes.resize(constants.start, 0);
        bytes.extend_from_slice(&code.constants);
        bytes.resize(eh_start, 0);
        bytes.extend_from_slice(&self.eh_frame);
        let mut addresses = Vec::with_capacity(places.len());
        places.each(|place| {
            addresses.push(AddressRow { pc: place.code, offset: place.source, inline: place.node });
        });
        let traps = code.traps.iter();
        let nodes = inlined.iter().skip(1).map(|node| InlineNode {
            parent: node.parent,
            module: 0,
            function: node.function,
            call_offset: node.call_offset,
        });
        let records = FunctionRecords {
            module: 0,
            function,
            len: len as u32,
            traps: traps
                .map(|trap| TrapRow { pc: trap.offset, code: trap.code, frame: FrameState::Frame })
                .collect(),
            addresses: addresses.into(),
            inline_nodes: nodes.collect(),
        };
        let eh_frame = eh_start..bytes.len();
        Ok(Placed { bytes, constants, eh_frame, records })
    }
}

/// Unwind records that stand `distance` bytes behind the start of the code.
fn eh_frame(arch: Arch, distance: usize, len: usize, unwind: &[UnwindRecord]) -> Vec<u8> {
    let mut eh_frame = EhFrame::new(arch, distance as i64);
    eh_frame.add(0, len as u64, unwind);
    eh_frame.finish()
}

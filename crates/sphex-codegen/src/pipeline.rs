//! The whole of a compilation, in order.
//!
//! | step | needs | gives |
//! |---|---|---|
//! | `opt::optimize` | placed or floating IR, an optimization level | placed IR |
//! | `abi::place` | a signature | where parameters and results are |
//! | selection | placed, verified IR | machine function, critical edges split |
//! | `regalloc::prepare` | machine function | the same, with budgets kept (`slots`) |
//! | `regalloc::allocate` | machine function | locations, moves, spill slots |
//! | `frame::layout` | spill slots, registers written | every offset in the frame |
//! | `emit::emit` | all of these | bytes and records |
//!
//! [`Context`] is the scratch memory of all steps: one a thread, reused from function to function. A [`Watcher`] sees what
//! each step leaves.

use crate::abi::Placement;
use crate::emit::{self, CompiledFunction, SequenceEmitter};
use crate::error::CodegenError;
use crate::frame::{self, StackLimit};
use crate::machine::MachineFunction;
use crate::observe::{State, Watcher};
use crate::opt;
use crate::regalloc::{self, RegisterFile};
use crate::select;
use crate::settings::{Arch, OptLevel, Settings};
use crate::{aarch64, x64};
use sphex_asm::buffer::CodeBuffer;
use sphex_ir::{Function, Opcode};

/// Memory that compilations reuse.
#[derive(Debug, Default)]
pub struct Context {
    /// What selection makes.
    pub machine: MachineFunction,
    opt: opt::Scratch,
    select: select::Scratch,
    regalloc: regalloc::Scratch,
    select_steps: u64,
    buffer: CodeBuffer,
}

impl Context {
    /// Empty memory.
    pub fn new() -> Self {
        Self::default()
    }
}

/// Compiles a function: placed, or floating if the settings ask for optimization.
pub fn compile(
    func: &mut Function,
    settings: &Settings,
    ctx: &mut Context,
) -> Result<CompiledFunction, CodegenError> {
    compile_watched(func, settings, ctx, &mut Watcher::nobody())
}

/// [`compile`], with somebody to look on.
pub fn compile_watched(
    func: &mut Function,
    settings: &Settings,
    ctx: &mut Context,
    watcher: &mut Watcher<'_>,
) -> Result<CompiledFunction, CodegenError> {
    let before = func.work();
    let placement = select_watched(func, settings, ctx, watcher)?;
    let passes = func.work() - before;
    let limit = frame::stack_limit(func, &placement)?;
    let sequences = match settings.target.arch {
        Arch::X64 => x64::sequence::emit,
        Arch::Aarch64 => aarch64::sequence::emit,
    };
    let mut compiled = finish(ctx, &placement, limit.as_ref(), settings, sequences, watcher)?;
    (compiled.steps.passes, compiled.steps.select) = (passes, ctx.select_steps);
    Ok(compiled)
}

/// Everything up to selection; `ctx.machine` is the result (for dumps too).
pub fn select(
    func: &mut Function,
    settings: &Settings,
    ctx: &mut Context,
) -> Result<Placement, CodegenError> {
    select_watched(func, settings, ctx, &mut Watcher::nobody())
}

fn select_watched(
    func: &mut Function,
    settings: &Settings,
    ctx: &mut Context,
    watcher: &mut Watcher<'_>,
) -> Result<Placement, CodegenError> {
    if settings.verify {
        verify(func, "input")?;
    }
    refuse_handlers(func)?;
    if settings.opt_level != OptLevel::None {
        opt::optimize(func, &mut ctx.opt, |func, pass| {
            watcher.step(pass, State::Ir(func));
            if settings.verify { verify(func, pass) } else { Ok(()) }
        })?;
    }
    let placement = crate::abi::place(settings.target.arch, &func.signature)?;
    ctx.machine.clear();
    ctx.machine.arch = settings.target.arch;
    ctx.select_steps = match settings.target.arch {
        Arch::X64 => x64::select(func, &mut ctx.machine, settings, &mut ctx.select)?,
        Arch::Aarch64 => aarch64::select(func, &mut ctx.machine, settings, &mut ctx.select)?,
    };
    watcher.step("select", State::Machine(&ctx.machine));
    Ok(placement)
}

/// Calls with exception handlers have no lowering yet.
fn refuse_handlers(func: &Function) -> Result<(), CodegenError> {
    if func.exception_tables.is_empty() {
        return Ok(());
    }
    let ends = func.layout.iter().filter_map(|&block| func.terminator(block));
    match ends
        .into_iter()
        .find(|&end| matches!(func.insts[end].opcode, Opcode::TryCall | Opcode::TryCallIndirect))
    {
        Some(value) => Err(CodegenError::UnsupportedInstruction { value, text: "try_call".into() }),
        None => Ok(()),
    }
}

fn verify(func: &Function, pass: &'static str) -> Result<(), CodegenError> {
    let report = |errors: sphex_ir::verify::VerifierErrors| errors.to_string();
    sphex_ir::verify::verify(func).map_err(|errors| CodegenError::Internal { pass, message: report(errors) })
}

/// Everything after selection: `ctx.machine` is finished.
pub fn compile_machine(
    ctx: &mut Context,
    placement: &Placement,
    limit: Option<&StackLimit>,
    settings: &Settings,
    sequences: SequenceEmitter,
) -> Result<CompiledFunction, CodegenError> {
    finish(ctx, placement, limit, settings, sequences, &mut Watcher::nobody())
}

fn finish(
    ctx: &mut Context,
    placement: &Placement,
    limit: Option<&StackLimit>,
    settings: &Settings,
    sequences: SequenceEmitter,
    watcher: &mut Watcher<'_>,
) -> Result<CompiledFunction, CodegenError> {
    let Context { machine, regalloc, buffer, .. } = ctx;
    let relieved = regalloc::prepare(machine, settings, regalloc);
    watcher.step("slots", State::Machine(machine));
    let file = register_file(placement, settings);
    let allocation = regalloc::allocate(machine, &file, settings, regalloc)?;
    watcher.step("regalloc", State::Allocated(machine, &allocation));
    let written = allocation.written();
    let frame = frame::layout(machine, placement, written, allocation.spill_words())?;
    let input = emit::Input {
        func: machine,
        allocation: &allocation,
        frame: &frame,
        placement,
        limit,
        settings,
        sequences,
    };
    let mut compiled = emit::emit(input, buffer)?;
    (compiled.steps.slots, compiled.steps.regalloc) = (relieved, allocation.steps());
    watcher.step("emit", State::Code(&compiled));
    Ok(compiled)
}

/// The registers that a function of this convention may hold values in.
fn register_file(placement: &Placement, settings: &Settings) -> RegisterFile {
    let convention = placement.convention;
    let mut kept = convention.frame;
    if settings.pinned_reg {
        kept.insert(settings.target.arch.pinned_reg());
    }
    if let Some(vmctx) = convention.vmctx {
        kept.insert(vmctx);
    }
    let free = convention.registers.difference(kept);
    let saved = convention.callee_saved;
    RegisterFile { preferred: free.difference(saved), other: free.intersection(saved) }
}

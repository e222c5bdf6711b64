//! Register allocation: the one file that names regalloc2.
//!
//! Needs: a finished machine function without critical edges, whose entry has no parameters. Gives: [`Allocation`]: a
//! location for each operand, moves between instructions and the number of spill slots.
//!
//! There are two allocators, in one form: [`Allocator::Walk`] is ours (`ssa`), [`Allocator::Search`] is regalloc2, which
//! tests compare with. Nothing is converted: operands, successors, predecessors and arguments of the machine function
//! stand in regalloc2's form and are handed over as slices. Vectors use its float class; whether a vector register's spill
//! slot has 8 or 16 bytes is decided once a function.
//!
//! Under `verify` the result of either is proven by regalloc2's symbolic checker (not beyond [`CHECK_LIMIT`]
//! instructions: it keeps a map of all values at each block).

pub use regalloc2::{
    Block as RaBlock, Operand, OperandConstraint, OperandKind, OperandPos, PReg, RegClass as RaClass, VReg,
};

mod ssa;

use crate::error::CodegenError;
use crate::machine::{CallRef, MachineBlock, MachineFunction, Pseudo};
use crate::settings::{Settings, Slots};
use crate::slots;
use regalloc2::{Edit, Inst, InstPosition, InstRange, MachineEnv, Output, PRegSet, ProgPoint, SpillSlot};
use sphex_asm::register::{Reg, RegClass, RegSet};
use sphex_entity::EntityRef;

/// Functions with more instructions are not checked.
pub const CHECK_LIMIT: usize = 50_000;

/// Most instructions or virtual registers of a function.
pub const SIZE_LIMIT: usize = 1 << 26;

/// A register in the allocator's form.
pub const fn to_preg(reg: Reg) -> PReg {
    PReg::new(reg.number() as usize, to_class(reg.class()))
}

/// A register of the allocator in ours.
pub const fn from_preg(preg: PReg) -> Reg {
    match preg.class() {
        RaClass::Int => Reg::int(preg.hw_enc() as u8),
        RaClass::Float | RaClass::Vector => Reg::vector(preg.hw_enc() as u8),
    }
}

/// A register class in the allocator's form.
pub const fn to_class(class: RegClass) -> RaClass {
    match class {
        RegClass::Int => RaClass::Int,
        RegClass::Vector => RaClass::Float,
    }
}

/// Which registers values may be in.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct RegisterFile {
    /// Tried first: free to use.
    pub preferred: RegSet,
    /// Tried then: must be saved first.
    pub other: RegSet,
}

/// Where an operand or a moved value is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Location {
    /// In a register.
    Reg(Reg),
    /// In the spill slot that begins at this word.
    Spill(u32),
}

/// A move between two instructions.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Move {
    /// Done before (`false`) or after (`true`) this instruction.
    pub after: bool,
    /// The instruction.
    pub inst: u32,
    /// Where the value is.
    pub from: Location,
    /// Where it goes.
    pub to: Location,
}

/// The allocator's memory, kept from function to function.
#[derive(Default)]
pub struct Scratch {
    ctx: regalloc2::Ctx,
    env: Option<(RegisterFile, MachineEnv)>,
    clobbers: Vec<PRegSet>,
    ssa: ssa::Scratch,
}

impl core::fmt::Debug for Scratch {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("Scratch").finish_non_exhaustive()
    }
}

/// Where everything is.
#[derive(Clone, Copy, Debug)]
pub struct Allocation<'a> {
    func: &'a MachineFunction,
    found: Found<'a>,
}

/// Whose result it is.
#[derive(Clone, Copy, Debug)]
enum Found<'a> {
    Searched(&'a Output),
    Walked(&'a ssa::Outcome),
}

impl Allocation<'_> {
    /// The location of an instruction's `k`th operand.
    pub fn location(&self, inst: usize, k: usize) -> Location {
        match self.found {
            Found::Searched(output) => from_allocation(output.inst_allocs(Inst::new(inst))[k]),
            Found::Walked(outcome) => outcome.locations[self.func.insts[inst].operands as usize + k],
        }
    }

    /// Words of spill slots.
    pub fn spill_words(&self) -> u32 {
        match self.found {
            Found::Searched(output) => output.num_spillslots as u32,
            Found::Walked(outcome) => outcome.spill_words,
        }
    }

    /// What the allocator counted: blocks and values of liveness, ranges, bundles, probes, evictions, splits, moves.
    pub fn steps(&self) -> u64 {
        let s = match self.found {
            Found::Searched(output) => &output.stats,
            Found::Walked(outcome) => return outcome.steps,
        };
        let liveness =
            s.livein_blocks + s.livein_iterations + s.initial_liverange_count + s.final_liverange_count;
        let bundles =
            s.merged_bundle_count + s.process_bundle_count + s.final_bundle_count + s.spill_bundle_count;
        let probes = s.process_bundle_reg_probes_any + s.spill_bundle_reg_probes;
        let conflicts = s.evict_bundle_count + s.splits;
        let moves = s.blockparam_ins_count + s.blockparam_outs_count + s.halfmoves_count + s.edits_count;
        (liveness + bundles + probes + conflicts + moves) as u64
    }

    /// How many moves there are.
    pub fn move_count(&self) -> usize {
        match self.found {
            Found::Searched(output) => output.edits.len(),
            Found::Walked(outcome) => outcome.moves.len(),
        }
    }

    /// The `n`th move; they stand in program order.
    pub fn nth_move(&self, n: usize) -> Option<Move> {
        let (point, Edit::Move { from, to }) = match self.found {
            Found::Searched(output) => output.edits.get(n)?,
            Found::Walked(outcome) => return outcome.moves.get(n).copied(),
        };
        Some(Move {
            after: point.pos() == InstPosition::After,
            inst: point.inst().raw_u32(),
            from: from_allocation(*from),
            to: from_allocation(*to),
        })
    }

    /// Every register that the function writes: as an operand, in a move, or as a clobber.
    pub fn written(&self) -> RegSet {
        let func = self.func;
        let mut written = RegSet::EMPTY;
        let mut write = |location: Location| {
            if let Location::Reg(reg) = location {
                written.insert(reg);
            }
        };
        for inst in 0..func.insts.len() {
            for (k, operand) in func.operands_of(inst).iter().enumerate() {
                if operand.kind() == OperandKind::Def {
                    write(self.location(inst, k));
                }
            }
        }
        for n in 0..self.move_count() {
            self.nth_move(n).iter().for_each(|edit| write(edit.to));
        }
        for data in &func.insts {
            match data.pseudo() {
                Some(Pseudo::Call) => {
                    written = written.union(func.calls[CallRef::from_u32(data.payload)].clobbers);
                }
                Some(_) => {}
                None => written = written.union(func.arch.row_clobbers(data.row)),
            }
        }
        written
    }
}

fn from_allocation(allocation: regalloc2::Allocation) -> Location {
    match (allocation.as_reg(), allocation.as_stack()) {
        (Some(preg), _) => Location::Reg(from_preg(preg)),
        (None, Some(slot)) => Location::Spill(slot.index() as u32),
        // The allocator gives every operand a place.
        (None, None) => Location::Spill(0),
    }
}

/// How registers are allocated.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Allocator {
    /// By one walk over the blocks, value by value. The function is in SSA form.
    Walk,
    /// By regalloc2's search, which takes twice the time and more.
    Search,
}

/// Makes a function one that allocation has little to do in, whatever it was: values go through the frame where they would
/// be too much. Gives the steps taken.
pub fn prepare(func: &mut MachineFunction, settings: &Settings, scratch: &mut Scratch) -> u64 {
    let mut steps = slots::relieve(func, settings.slots, settings.allocator);
    if settings.allocator == Allocator::Walk && !ssa::analyze(func, &mut scratch.ssa, slots::most_live(func))
    {
        steps += scratch.ssa.analysis_steps() + slots::relieve(func, Slots::All, settings.allocator);
        ssa::analyze(func, &mut scratch.ssa, u64::MAX);
    }
    steps
}

/// Allocates registers and spill slots of a function that [`prepare`] has seen.
pub fn allocate<'a>(
    func: &'a MachineFunction,
    file: &RegisterFile,
    settings: &Settings,
    scratch: &'a mut Scratch,
) -> Result<Allocation<'a>, CodegenError> {
    for (what, found) in
        [("machine instructions", func.insts.len()), ("virtual registers", func.vreg_count())]
    {
        if found > SIZE_LIMIT {
            return Err(CodegenError::FunctionTooLarge { what, limit: SIZE_LIMIT, found });
        }
    }
    let Scratch { ctx, env, clobbers, ssa } = scratch;
    let env = match env {
        Some((known, env)) if known == file => env,
        _ => &mut env.insert((*file, environment(file))).1,
    };
    let check = settings.verify && func.insts.len() <= CHECK_LIMIT;
    if settings.allocator == Allocator::Walk {
        let outcome = ssa::allocate(func, file, ssa)?;
        if check {
            find_clobbers(func, file, clobbers);
            let output = to_output(func, outcome);
            prove(&View { func, clobbers }, env, &output)?;
        }
        return Ok(Allocation { func, found: Found::Walked(outcome) });
    }
    find_clobbers(func, file, clobbers);
    let view = View { func, clobbers };
    let options = regalloc2::RegallocOptions { validate_ssa: settings.verify, ..Default::default() };
    let output = regalloc2::run_with_ctx(&view, env, &options, ctx).map_err(|error| match error {
        regalloc2::RegAllocError::TooManyOperands => CodegenError::FunctionTooLarge {
            what: "operands of one instruction",
            limit: usize::from(u16::MAX),
            found: usize::from(u16::MAX) + 1,
        },
        error => CodegenError::Internal { pass: "register allocation", message: format!("{error:?}") },
    })?;
    if check {
        prove(&view, env, output)?;
    }
    Ok(Allocation { func, found: Found::Searched(output) })
}

/// Runs the symbolic checker.
fn prove(view: &View<'_>, env: &MachineEnv, output: &Output) -> Result<(), CodegenError> {
    let mut checker = regalloc2::checker::Checker::new(view, env);
    checker.prepare(output);
    checker.run().map_err(|errors| CodegenError::Internal {
        pass: "register allocation checker",
        message: format!("{errors:?}"),
    })
}

/// Our result in the form that the checker reads.
fn to_output(func: &MachineFunction, outcome: &ssa::Outcome) -> Output {
    let allocation = |location: Location| match location {
        Location::Reg(reg) => regalloc2::Allocation::reg(to_preg(reg)),
        Location::Spill(word) => regalloc2::Allocation::stack(SpillSlot::new(word as usize)),
    };
    let edit = |edit: &Move| {
        let position = if edit.after { InstPosition::After } else { InstPosition::Before };
        let point = ProgPoint::new(Inst::new(edit.inst as usize), position);
        (point, Edit::Move { from: allocation(edit.from), to: allocation(edit.to) })
    };
    Output {
        num_spillslots: outcome.spill_words as usize,
        edits: outcome.moves.iter().map(edit).collect(),
        allocs: outcome.locations.iter().map(|location| allocation(*location)).collect(),
        inst_alloc_offsets: func.insts.iter().map(|inst| inst.operands).collect(),
        debug_locations: Vec::new(),
        stats: Default::default(),
    }
}

fn to_set(regs: RegSet) -> PRegSet {
    regs.iter().map(to_preg).collect()
}

fn environment(file: &RegisterFile) -> MachineEnv {
    let of = |regs: RegSet, class: RegClass| -> PRegSet {
        regs.iter().filter(|reg| reg.class() == class).map(to_preg).collect()
    };
    let by_class = |regs: RegSet| [of(regs, RegClass::Int), of(regs, RegClass::Vector), PRegSet::empty()];
    MachineEnv {
        preferred_regs_by_class: by_class(file.preferred),
        non_preferred_regs_by_class: by_class(file.other),
        scratch_by_class: [None; 3],
        fixed_stack_slots: Vec::new(),
    }
}

/// The clobbers of each call, in the allocator's form; calls mostly share a few sets.
fn find_clobbers(func: &MachineFunction, file: &RegisterFile, clobbers: &mut Vec<PRegSet>) {
    let allocatable = file.preferred.union(file.other);
    let mut last = (RegSet::EMPTY, PRegSet::empty());
    clobbers.clear();
    clobbers.extend(func.calls.values().map(|call| {
        let set = call.clobbers.intersection(allocatable);
        if set != last.0 {
            last = (set, to_set(set));
        }
        last.1
    }));
}

/// A machine function as the allocator sees it.
struct View<'a> {
    func: &'a MachineFunction,
    clobbers: &'a [PRegSet],
}

impl View<'_> {
    fn block(&self, block: RaBlock) -> &crate::machine::BlockData {
        &self.func.blocks[MachineBlock::new(block.index())]
    }
}

impl regalloc2::Function for View<'_> {
    fn num_insts(&self) -> usize {
        self.func.insts.len()
    }

    fn num_blocks(&self) -> usize {
        self.func.blocks.len()
    }

    fn entry_block(&self) -> RaBlock {
        RaBlock::new(0)
    }

    fn block_insns(&self, block: RaBlock) -> InstRange {
        let insts = self.block(block).insts;
        InstRange::new(Inst(insts.start), Inst(insts.end))
    }

    fn block_succs(&self, block: RaBlock) -> &[RaBlock] {
        &self.func.successors[self.block(block).successors.range()]
    }

    fn block_preds(&self, block: RaBlock) -> &[RaBlock] {
        &self.func.predecessors[self.block(block).predecessors.range()]
    }

    fn block_params(&self, block: RaBlock) -> &[VReg] {
        &self.func.vregs[self.block(block).params.range()]
    }

    fn is_ret(&self, inst: Inst) -> bool {
        self.func.insts[inst.index()].pseudo().is_some_and(Pseudo::is_exit)
    }

    fn is_branch(&self, inst: Inst) -> bool {
        self.func.insts[inst.index()].pseudo().is_some_and(Pseudo::is_branch)
    }

    fn branch_blockparams(&self, block: RaBlock, _: Inst, successor: usize) -> &[VReg] {
        self.func.arguments_of(MachineBlock::new(block.index()), successor)
    }

    fn inst_operands(&self, inst: Inst) -> &[Operand] {
        self.func.operands_of(inst.index())
    }

    fn inst_clobbers(&self, inst: Inst) -> PRegSet {
        let data = &self.func.insts[inst.index()];
        match data.pseudo() {
            Some(Pseudo::Call) => self.clobbers[data.payload as usize],
            Some(_) => PRegSet::empty(),
            None => {
                let clobbers = self.func.arch.row_clobbers(data.row);
                if clobbers.is_empty() { PRegSet::empty() } else { to_set(clobbers) }
            }
        }
    }

    fn num_vregs(&self) -> usize {
        self.func.vreg_count()
    }

    fn spillslot_size(&self, class: RaClass) -> usize {
        match class {
            RaClass::Int => 1,
            RaClass::Float | RaClass::Vector => 1 + usize::from(self.func.wide_vectors),
        }
    }
}

//! The bottom-up walk: from a placed IR function to machine instructions over virtual registers.
//!
//! Needs: a verified, placed function and a [`Target`], which turns one IR instruction at a time into rows. Gives: a filled
//! [`MachineFunction`], critical edges split. Cost: linear in instructions, uses and edges; no recursion on the depth of
//! expressions.
//!
//! The walk meets users before definitions ([`Facts`] F1). An instruction asks for its operands through the target's
//! [`Target::reg`]; only what was asked for, or has an effect, is emitted when the walk reaches it. So an operand that a
//! user took into itself (an address, a compare, a load) is never emitted on its own, and dead code disappears.
//!
//! - S1. A value has at most one virtual register, given at the first request; constants and addresses of the frame have
//!   none and are made again by each user.
//! - S2. An instruction whose effect matters is taken into a user only through [`Select::sink`], which checks F4 and that
//!   there is one user, and marks it so that the walk passes over it.
//! - S3. A block with several successors gives none of them arguments and is the only predecessor of each.

pub mod facts;

use crate::error::CodegenError;
use crate::machine::{MachineBlock, MachineFunction};
use crate::regalloc::VReg;
use facts::{Facts, must_stay, same_call};
use rustc_hash::FxHashMap;
use smallvec::SmallVec;
use sphex_entity::{EntityRef, EntitySet, SecondaryMap};
use sphex_ir::{Block, BlockCall, Function, Opcode, SrcLoc, Value};

/// What an ISA does in the walk.
pub trait Target<'f> {
    /// The walk's state.
    fn select(&mut self) -> &mut Select<'f>;
    /// A register that holds the value here; emits constants.
    fn reg(&mut self, value: Value) -> VReg;
    /// Emits an instruction that is no terminator.
    fn instruction(&mut self, inst: Value) -> Result<(), CodegenError>;
    /// Emits a terminator with other than one distinct target. `targets` are those of its block calls, in their order.
    fn terminator(&mut self, inst: Value, targets: &[MachineBlock]) -> Result<(), CodegenError>;
    /// Emits what receives the function's parameters, at the beginning of the entry block.
    fn entry(&mut self) -> Result<(), CodegenError>;
}

/// The state of the walk.
#[derive(Debug)]
pub struct Select<'f> {
    /// The function.
    pub func: &'f Function,
    /// What is known about it.
    pub facts: Facts,
    /// What is made of it.
    pub machine: &'f mut MachineFunction,
    /// The block that the walk is in.
    pub block: Block,
    /// The place in its block of the instruction being emitted.
    pub position: u32,
    tables: Tables,
}

/// Memory kept from function to function.
#[derive(Debug, Default)]
pub struct Scratch {
    facts: Facts,
    tables: Tables,
}

/// What has become of values, blocks and edges.
#[derive(Debug)]
struct Tables {
    vregs: SecondaryMap<Value, VReg>,
    sunk: EntitySet<Value>,
    blocks: SecondaryMap<Block, MachineBlock>,
    /// The block that receives the parameters and jumps to the IR's entry, where that has predecessors.
    outer_entry: Option<MachineBlock>,
    edges: Vec<Edge>,
    /// Where each block's edges begin in `edges`.
    first_edge: SecondaryMap<Block, u32>,
    /// For each block call of a `br_table`, the number of its edge among the block's; empty where they are the calls.
    edge_of_call: SecondaryMap<Block, Vec<u32>>,
}

/// A distinct way out of a block.
#[derive(Clone, Copy, Debug)]
struct Edge {
    call: BlockCall,
    /// The block made for this edge alone, if it was critical.
    split: Option<MachineBlock>,
}

impl Default for Tables {
    fn default() -> Self {
        Tables {
            vregs: SecondaryMap::with_default(VReg::invalid()),
            sunk: EntitySet::new(),
            blocks: SecondaryMap::new(),
            outer_entry: None,
            edges: Vec::new(),
            first_edge: SecondaryMap::new(),
            edge_of_call: SecondaryMap::new(),
        }
    }
}

impl Tables {
    fn clear(&mut self) {
        self.vregs.clear();
        self.sunk.clear();
        self.blocks.clear();
        self.outer_entry = None;
        self.edges.clear();
        self.first_edge.clear();
        self.edge_of_call.clear();
    }
}

impl<'f> Select<'f> {
    /// Prepares the walk: gathers facts and makes the machine blocks.
    pub fn new(func: &'f Function, machine: &'f mut MachineFunction, scratch: Scratch) -> Select<'f> {
        let Scratch { mut facts, mut tables } = scratch;
        facts.gather(func);
        tables.clear();
        let mut select = Select { func, facts, machine, block: Block::NONE, position: 0, tables };
        select.make_blocks();
        select
    }

    /// The memory, for the next function.
    pub fn into_scratch(self) -> Scratch {
        Scratch { facts: self.facts, tables: self.tables }
    }

    /// The value that `value` is a name of.
    pub fn resolve(&self, value: Value) -> Value {
        self.facts.resolve(self.func, value)
    }

    /// The register of a value that is no constant.
    pub fn value_reg(&mut self, value: Value) -> VReg {
        self.facts.step();
        let value = self.resolve(value);
        if self.tables.vregs[value] == VReg::invalid() {
            self.tables.vregs[value] = self.machine.new_vreg_for(self.func.type_of(value));
        }
        self.tables.vregs[value]
    }

    /// The register of a value, if anyone asked for it.
    pub fn wanted(&self, value: Value) -> Option<VReg> {
        Some(self.tables.vregs[value]).filter(|&vreg| vreg != VReg::invalid())
    }

    /// Takes the load `inst` into the instruction being emitted, if that may be (S2): same block, one use, nothing in
    /// between. The caller then emits its memory access and nobody else does.
    pub fn sink(&mut self, inst: Value) -> bool {
        let fits = self.can_sink(inst);
        if fits {
            self.tables.sunk.insert(inst);
            if self.may_fault(inst) {
                self.machine.take_load(self.func.srclocs[inst]);
            }
        }
        fits
    }

    /// The walk passes over an instruction, which the caller emits itself.
    pub fn take_over(&mut self, inst: Value) {
        self.tables.sunk.insert(inst);
    }

    /// Whether this is a load with a trap code.
    pub fn may_fault(&self, inst: Value) -> bool {
        use Opcode::{Load, Sload8, Sload16, Sload32, Uload8, Uload16, Uload32};
        let opcode = self.func.insts[inst].opcode;
        let is_load = matches!(opcode, Load | Sload8 | Sload16 | Sload32 | Uload8 | Uload16 | Uload32);
        is_load && self.func.flags(inst).trap.is_some()
    }

    /// Whether [`Self::sink`] would succeed.
    pub fn can_sink(&self, inst: Value) -> bool {
        self.facts.step();
        self.func.block_of[inst] == self.block
            && self.facts.used_once(inst)
            && self.wanted(inst).is_none()
            && self.facts.position(inst) < self.position
            && self.facts.may_sink(inst, self.position)
    }

    /// Whether some block goes back to the entry, so that its parameters are not only the function's.
    pub fn entry_is_target(&self) -> bool {
        self.tables.outer_entry.is_some()
    }

    /// The machine block of an IR block.
    pub fn machine_block(&self, block: Block) -> MachineBlock {
        self.tables.blocks[block]
    }

    fn make_blocks(&mut self) {
        let Some(entry) = self.func.entry() else { return };
        let entered = self.facts.postorder.iter().any(|&block| self.func.successors(block).contains(&entry));
        if entered {
            self.tables.outer_entry = Some(self.machine.add_block(false));
        }
        let mut ends = SecondaryMap::with_default(0);
        for block in self.block_order(entry) {
            let cold = self.func.blocks[block].cold && block != entry;
            self.tables.blocks[block] = self.machine.add_block(cold);
            self.make_edges(block, cold);
            ends[block] = self.machine.blocks.len();
        }
        // Emission follows the function's own order; split edges stand behind the block that they leave.
        let mut order: Vec<MachineBlock> = self.tables.outer_entry.into_iter().collect();
        for &block in &self.func.layout {
            order.extend((self.tables.blocks[block].index()..ends[block]).map(MachineBlock::new));
        }
        self.machine.order = order;
    }

    /// The function's own order of blocks, in which those that stand before all their predecessors, such as the bodies of
    /// rotated loops, wait for the first of these: the allocator's checker relies on it.
    fn block_order(&self, entry: Block) -> Vec<Block> {
        let mut reachable = EntitySet::new();
        for &block in &self.facts.postorder {
            reachable.insert(block);
        }
        let (mut entered, mut waiting) = (EntitySet::new(), EntitySet::new());
        entered.insert(entry);
        let mut order = Vec::with_capacity(self.facts.postorder.len());
        let mut ready = Vec::new();
        for &block in self.func.layout.iter().filter(|&&block| reachable.contains(block)) {
            if !entered.contains(block) {
                waiting.insert(block);
                continue;
            }
            ready.push(block);
            while let Some(block) = ready.pop() {
                order.push(block);
                for &successor in self.func.successors(block).iter().rev() {
                    entered.insert(successor);
                    if waiting.remove(successor) {
                        ready.push(successor);
                    }
                }
            }
        }
        order
    }

    fn make_edges(&mut self, block: Block, cold: bool) {
        self.tables.first_edge[block] = self.tables.edges.len() as u32;
        let Some(terminator) = self.func.terminator(block) else { return };
        let calls = self.func.block_calls(terminator);
        let distinct: SmallVec<[BlockCall; 2]> = if calls.len() <= 2 {
            let same = calls.len() == 2 && same_call(self.func, calls[0], calls[1]);
            if same { SmallVec::from_slice(&calls[..1]) } else { calls }
        } else {
            self.distinct_calls(block, &calls)
        };
        let several = distinct.len() > 1;
        for call in distinct {
            let target = self.func.block_call_target(call);
            let critical = several && !self.facts.single_edge(target);
            let cold = cold || self.func.blocks[target].cold;
            let split = critical.then(|| self.machine.add_block(cold));
            self.tables.edges.push(Edge { call, split });
        }
    }

    fn distinct_calls(&mut self, block: Block, calls: &[BlockCall]) -> SmallVec<[BlockCall; 2]> {
        let mut numbers = FxHashMap::default();
        let mut distinct = SmallVec::new();
        let mut edge_of_call = Vec::with_capacity(calls.len());
        for &call in calls {
            self.facts.step();
            let args: SmallVec<[Value; 4]> = self.func.block_call_args(call).collect();
            let number = *numbers.entry((self.func.block_call_target(call), args)).or_insert_with(|| {
                distinct.push(call);
                distinct.len() as u32 - 1
            });
            edge_of_call.push(number);
        }
        self.tables.edge_of_call[block] = edge_of_call;
        distinct
    }

    fn block_edges(&self, block: Block, terminator: Value) -> Vec<Edge> {
        let first = self.tables.first_edge[block] as usize;
        let count = match self.tables.edge_of_call[block].iter().max() {
            Some(&last) => last as usize + 1,
            None => {
                let calls = self.func.block_calls(terminator);
                let same = calls.len() == 2 && same_call(self.func, calls[0], calls[1]);
                if same { 1 } else { calls.len() }
            }
        };
        self.tables.edges[first..first + count].to_vec()
    }

    fn edge_block(&self, edge: &Edge) -> MachineBlock {
        edge.split.unwrap_or_else(|| self.tables.blocks[self.func.block_call_target(edge.call)])
    }

    /// The machine block that each block call of a terminator goes to.
    fn call_targets(&self, block: Block, edges: &[Edge]) -> Vec<MachineBlock> {
        let each: Vec<MachineBlock> = edges.iter().map(|edge| self.edge_block(edge)).collect();
        match self.tables.edge_of_call[block].as_slice() {
            [] => each,
            numbers => numbers.iter().map(|&number| each[number as usize]).collect(),
        }
    }
}

/// Runs the walk. Gives the steps it took.
pub fn walk<'f, T: Target<'f>>(target: &mut T) -> Result<u64, CodegenError> {
    for k in 0..target.select().facts.postorder.len() {
        let block = target.select().facts.postorder[k];
        walk_block(target, block)?;
    }
    let select = target.select();
    if let Some(outer) = select.tables.outer_entry
        && let Some(entry) = select.func.entry()
    {
        select.machine.start_block(outer);
        let params: Vec<VReg> =
            select.func.block_params(entry).map(|param| select.value_reg(param)).collect();
        // The parameters that the loop carries differ from those received: receive into fresh registers.
        let fresh: Vec<VReg> = select
            .func
            .block_params(entry)
            .map(|param| select.machine.new_vreg_for(select.func.type_of(param)))
            .collect();
        let inner = select.tables.blocks[entry];
        select.machine.set_params(inner, &params);
        select.machine.jump(inner, &fresh);
        for (param, vreg) in select.func.block_params(entry).zip(fresh) {
            select.tables.vregs[param] = vreg;
        }
        select.machine.start_group();
        target.entry()?;
    }
    let select = target.select();
    select.machine.finish();
    Ok(select.facts.steps() + select.machine.size())
}

fn walk_block<'f, T: Target<'f>>(target: &mut T, block: Block) -> Result<(), CodegenError> {
    let func = target.select().func;
    let Some(terminator) = func.terminator(block) else {
        return Err(CodegenError::Internal { pass: "select", message: format!("{block} has no terminator") });
    };
    let edges = target.select().block_edges(block, terminator);
    for edge in &edges {
        target.select().facts.step();
        if let Some(split) = edge.split {
            enter(target.select(), Block::NONE, terminator);
            target.select().machine.start_block(split);
            jump(target, edge);
        }
    }
    enter(target.select(), block, terminator);
    let machine_block = target.select().tables.blocks[block];
    target.select().machine.start_block(machine_block);
    match edges.as_slice() {
        [edge] => jump(target, edge),
        edges => {
            let targets = target.select().call_targets(block, edges);
            target.terminator(terminator, &targets)?;
        }
    }
    for &inst in func.blocks[block].insts.iter().rev().skip(1) {
        let select = target.select();
        select.facts.step();
        if select.tables.sunk.contains(inst) {
            continue;
        }
        if must_stay(func, inst) || func.results(inst).any(|value| select.wanted(value).is_some()) {
            enter(select, block, inst);
            select.machine.start_group();
            target.instruction(inst)?;
        }
    }
    receive(target, block)
}

/// Says where the walk is.
fn enter(select: &mut Select<'_>, block: Block, inst: Value) {
    select.block = block;
    select.position = select.facts.position(inst);
    let location: SrcLoc = select.func.srclocs[inst];
    select.machine.set_location(location);
}

/// Emits the way out of a block with one successor.
fn jump<'f, T: Target<'f>>(target: &mut T, edge: &Edge) {
    let select = target.select();
    let (func, to) = (select.func, func_target(select, edge));
    let args: SmallVec<[VReg; 8]> = if select.facts.single_edge(to) {
        SmallVec::new()
    } else {
        func.block_call_args(edge.call).map(|arg| target.reg(arg)).collect()
    };
    let select = target.select();
    let to = select.tables.blocks[to];
    select.machine.jump(to, &args);
}

fn func_target(select: &Select<'_>, edge: &Edge) -> Block {
    select.func.block_call_target(edge.call)
}

/// Declares a block's parameters, or receives the function's.
fn receive<'f, T: Target<'f>>(target: &mut T, block: Block) -> Result<(), CodegenError> {
    let select = target.select();
    if Some(block) == select.func.entry() {
        if select.tables.outer_entry.is_none() {
            select.machine.set_location(SrcLoc::NONE);
            select.machine.start_group();
            return target.entry();
        }
    } else if !select.facts.single_edge(block) {
        let func = select.func;
        let params: SmallVec<[VReg; 8]> =
            func.block_params(block).map(|param| select.value_reg(param)).collect();
        let machine_block = select.tables.blocks[block];
        select.machine.set_params(machine_block, &params);
    }
    Ok(())
}

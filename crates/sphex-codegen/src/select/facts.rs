//! What the walk knows before it begins: order of blocks, use counts, and how far down each load may go.
//!
//! Needs: a placed function. Gives: [`Facts`]. Cost: linear in instructions, uses and edges; no recursion.
//!
//! - F1. `postorder` holds the reachable blocks, each before its dominators: a walk over it in order, instructions from
//!   last to first, meets every use of a value before the value's definition.
//! - F2. A parameter of a block with one incoming edge is its argument under another name: [`Facts::resolve`] says which.
//! - F3. `uses` counts only uses by instructions that will be emitted; it stops at two.
//! - F4. A load may be executed at any later place in its block up to and including the instruction at `limit`: nothing
//!   before that can change what it reads, and nothing there can tell the trap that it might be.

use core::cell::Cell;
use rustc_hash::FxHashMap;
use smallvec::SmallVec;
use sphex_entity::{EntityRef, EntitySet, SecondaryMap};
use sphex_ir::{Block, BlockCall, Effects, Function, Opcode, Region, Value};

/// See the module's page.
#[derive(Debug)]
pub struct Facts {
    /// Reachable blocks, users before definitions (F1).
    pub postorder: Vec<Block>,
    /// How many edges come into a block (equal calls in one terminator are one edge); 2 stands for more.
    incoming: SecondaryMap<Block, u8>,
    alias: SecondaryMap<Value, Value>,
    uses: SecondaryMap<Value, u8>,
    position: SecondaryMap<Value, u32>,
    limit: SecondaryMap<Value, u32>,
    steps: Cell<u64>,
    nearest: Nearest,
    /// Whether a block goes back to the entry.
    pub reenters: bool,
    seen: EntitySet<Block>,
    /// The last call of each block, and the block that makes it.
    last: SecondaryMap<Block, (Block, u32)>,
    /// Blocks being walked, what each goes on to, and how many of these have been walked.
    stack: Vec<(Block, SmallVec<[Block; 2]>, usize)>,
}

impl Default for Facts {
    fn default() -> Self {
        Facts {
            postorder: Vec::new(),
            incoming: SecondaryMap::new(),
            alias: SecondaryMap::with_default(Value::NONE),
            uses: SecondaryMap::new(),
            position: SecondaryMap::new(),
            limit: SecondaryMap::new(),
            steps: Cell::new(0),
            nearest: Nearest::default(),
            reenters: false,
            seen: EntitySet::new(),
            last: SecondaryMap::with_default((Block::NONE, 0)),
            stack: Vec::new(),
        }
    }
}

impl Facts {
    /// Gathers the facts of `func`; the memory of those before is used again.
    pub fn gather(&mut self, func: &Function) {
        self.postorder.clear();
        self.reenters = false;
        let (blocks, values) = (func.blocks.len(), func.insts.len());
        self.incoming.reset(blocks);
        self.last.reset(blocks);
        self.seen.reset(blocks);
        self.alias.reset(values);
        self.uses.reset(values);
        self.position.reset(values);
        self.limit.reset(values);
        self.steps.set(0);
        self.order(func);
        self.name_parameters(func);
        let mut nearest = core::mem::take(&mut self.nearest);
        for k in 0..self.postorder.len() {
            self.scan_block(func, self.postorder[k], &mut nearest);
        }
        self.nearest = nearest;
    }

    /// Counts work: instructions, uses, edges, and every question about a value.
    #[inline]
    pub fn step(&self) {
        self.steps.set(self.steps.get() + 1);
    }

    /// The work counted so far.
    pub fn steps(&self) -> u64 {
        self.steps.get()
    }

    /// Whether a block has exactly one incoming edge, so that its parameters are other names (F2).
    pub fn single_edge(&self, block: Block) -> bool {
        self.incoming[block] == 1
    }

    /// The value that `value` is a name of.
    #[inline]
    pub fn resolve(&self, func: &Function, value: Value) -> Value {
        self.step();
        let value = func.resolve(value);
        self.alias[value].expand().unwrap_or(value)
    }

    /// Whether exactly one emitted instruction uses the value, once.
    pub fn used_once(&self, value: Value) -> bool {
        self.uses[value] == 1
    }

    /// Whether any emitted instruction uses the value.
    pub fn used(&self, value: Value) -> bool {
        self.uses[value] != 0
    }

    /// The instruction's place in its block, from 1.
    pub fn position(&self, inst: Value) -> u32 {
        self.position[inst]
    }

    /// Whether the load `load` may be executed at `position` of its own block instead (F4).
    pub fn may_sink(&self, load: Value, position: u32) -> bool {
        self.limit[load] >= position
    }

    /// Depth-first postorder on an explicit stack, and the number of incoming edges.
    fn order(&mut self, func: &Function) {
        let Some(entry) = func.entry() else { return };
        let mut stack = core::mem::take(&mut self.stack);
        stack.push((entry, func.successors(entry), 0));
        self.seen.insert(entry);
        while let Some((block, successors, next)) = stack.last_mut() {
            // Later successors first, so that in reverse postorder the first successor follows its block.
            let at = successors.len().wrapping_sub(*next + 1);
            let Some(&successor) = successors.get(at) else {
                self.postorder.push(*block);
                stack.pop();
                continue;
            };
            *next += 1;
            self.steps.set(self.steps.get() + 1);
            self.reenters |= successor == entry;
            if self.seen.insert(successor) {
                stack.push((successor, func.successors(successor), 0));
            }
        }
        self.stack = stack;
        self.incoming[entry] = 2; // the caller is an edge that is no block's
        let Self { postorder, incoming, last, steps, .. } = self;
        for &block in postorder.iter() {
            let Some(terminator) = func.terminator(block) else { continue };
            func.visit_block_calls(terminator, |call| {
                steps.set(steps.get() + 1);
                let target = func.block_call_target(call);
                let (from, other) = last[target];
                let same = from == block && same_call(func, BlockCall::from_u32(other), call);
                last[target] = (block, call.as_u32());
                if !same {
                    incoming[target] = incoming[target].saturating_add(1).min(2);
                }
            });
        }
    }

    fn name_parameters(&mut self, func: &Function) {
        // Definitions before uses, so that each argument is already resolved.
        for k in (0..self.postorder.len()).rev() {
            let Some(terminator) = func.terminator(self.postorder[k]) else { continue };
            for call in func.block_calls(terminator) {
                self.step();
                let target = func.block_call_target(call);
                if self.single_edge(target) {
                    for (param, arg) in func.block_params(target).zip(func.block_call_args(call)) {
                        let value = self.resolve(func, arg);
                        self.alias[param] = value;
                    }
                }
            }
        }
    }

    fn scan_block(&mut self, func: &Function, block: Block, nearest: &mut Nearest) {
        nearest.clear();
        let insts = &func.blocks[block].insts;
        for (k, &inst) in insts.iter().enumerate().rev() {
            self.step();
            let position = k as u32 + 1;
            self.position[inst] = position;
            let data = &func.insts[inst];
            if data.opcode.effects().has(Effects::LOAD) {
                self.limit[inst] = nearest.limit(func, inst);
            }
            nearest.pass(func, inst, position);
            if must_stay(func, inst) || func.results(inst).any(|v| self.used(v)) {
                self.count_uses(func, inst);
            }
        }
    }

    fn count_uses(&mut self, func: &Function, inst: Value) {
        let mut count = |value: Value| {
            self.steps.set(self.steps.get() + 1);
            let value = func.resolve(value);
            let value = self.alias[value].expand().unwrap_or(value);
            self.uses[value] = self.uses[value].saturating_add(1).min(2);
        };
        func.visit_operands(inst, &mut count);
        if func.insts[inst].opcode.effects().has(Effects::BRANCH) {
            func.visit_block_calls(inst, |call| {
                if self.incoming[func.block_call_target(call)] != 1 {
                    func.block_call_args(call).for_each(&mut count);
                }
            });
        }
    }
}

/// Whether an instruction is emitted even if nobody uses its results.
pub fn must_stay(func: &Function, inst: Value) -> bool {
    let effects = func.insts[inst].opcode.effects();
    let plain_load = effects.has(Effects::LOAD)
        && !effects.has(Effects::OTHER)
        && !effects.has(Effects::STORE)
        && !effects.has(Effects::CALL);
    if plain_load { load_trap(func, inst).is_some() } else { !effects.is_pure() }
}

/// The trap code of a plain load, if it can fault.
fn load_trap(func: &Function, inst: Value) -> Option<u8> {
    if func.insts[inst].opcode == Opcode::StackLoad {
        return None;
    }
    func.flags(inst).trap.map(|code| code.as_u8())
}

/// Whether two block calls have the same target and the same arguments.
pub fn same_call(func: &Function, x: BlockCall, y: BlockCall) -> bool {
    x == y
        || func.block_call_target(x) == func.block_call_target(y)
            && func.block_call_args(x).eq(func.block_call_args(y))
}

const NEVER: u32 = u32::MAX;

/// The nearest instructions below the place that a bottom-up scan of a block has reached, by what they do. Positions;
/// [`NEVER`] for none.
#[derive(Debug)]
struct Nearest {
    /// May write any memory: a call, an atomic, a store of no region.
    write: u32,
    /// Writes any memory at all, or has an effect that must not be seen before or without a trap.
    effect: u32,
    /// Reads memory that may change: an atomic load does not go below, since it orders what comes after it.
    load: u32,
    /// Stores by region.
    region: FxHashMap<Region, u32>,
    /// The nearest that may trap, its code, and the nearest one with another code.
    trap: u32,
    code: u16,
    other_trap: u32,
}

impl Default for Nearest {
    fn default() -> Self {
        Nearest {
            write: NEVER,
            effect: NEVER,
            load: NEVER,
            region: FxHashMap::default(),
            trap: NEVER,
            code: 0,
            other_trap: NEVER,
        }
    }
}

/// The code of a trap whose kind is not looked at: differs from every byte.
const SOME_TRAP: u16 = 256;

impl Nearest {
    fn clear(&mut self) {
        let mut region = core::mem::take(&mut self.region);
        region.clear();
        *self = Nearest { region, ..Nearest::default() };
    }

    /// How far a load above everything passed so far may go.
    fn limit(&self, func: &Function, load: Value) -> u32 {
        let flags = func.flags(load);
        let opcode = func.insts[load].opcode;
        let (stack, atomic) = (opcode == Opcode::StackLoad, opcode == Opcode::AtomicLoad);
        let written = match (flags.readonly && !stack && !atomic, flags.region) {
            (true, _) => NEVER,
            _ if atomic => self.effect.min(self.load),
            (_, region) if stack || region.is_none() => self.effect,
            (_, region) => self.write.min(self.region.get(&region).copied().unwrap_or(NEVER)),
        };
        match load_trap(func, load) {
            None => written,
            Some(code) if u16::from(code) == self.code => written.min(self.effect).min(self.other_trap),
            Some(_) => written.min(self.effect).min(self.trap),
        }
    }

    /// The scan goes above `inst`.
    fn pass(&mut self, func: &Function, inst: Value, position: u32) {
        let data = &func.insts[inst];
        let effects = data.opcode.effects();
        if effects.is_pure() || effects.has(Effects::TERMINATOR) {
            return;
        }
        let plain = !effects.has(Effects::OTHER) && !effects.has(Effects::CALL);
        if effects.has(Effects::LOAD)
            && data.opcode != Opcode::StackLoad
            && !(plain && func.flags(inst).readonly)
        {
            self.load = position;
        }
        if effects.has(Effects::STORE) || !plain {
            self.effect = position;
            let region = if plain && data.opcode != Opcode::StackStore {
                func.flags(inst).region
            } else {
                Region::NONE
            };
            match region.expand() {
                Some(region) => {
                    self.region.insert(region, position);
                }
                None => self.write = position,
            }
        }
        let code = if effects.has(Effects::LOAD) && plain {
            match load_trap(func, inst) {
                Some(code) => u16::from(code),
                None => return,
            }
        } else if effects.has(Effects::TRAP) {
            SOME_TRAP
        } else {
            return;
        };
        if code != self.code || code == SOME_TRAP {
            self.other_trap = self.trap;
            self.code = code;
        }
        self.trap = position;
    }
}

/// The dense number of a block, for tables.
pub fn block_index(block: Block) -> usize {
    block.index()
}

//! Replays a function through the folder, in dominance order: what floats is folded and deduplicated anew, loads and checks
//! whose outcome is known go.
//!
//! Needs: SSA, placed or floating.   Gives: a floating function, operands folded, with no load or check whose result is
//! known on every path.   Breaks: nothing; branches that became jumps may leave unreachable blocks.   Cost: one walk of
//! the dominator tree, O(uses + blocks · regions).
//!
//! I1. `memo[n]` is what floating node `n` has become. Nodes made in the walk are folded already.
//! I2. A listed instruction is seen before its uses, since blocks are walked in dominance order; if it is replaced, its
//!     value is an alias of the replacement.
//! I3. Facts and memory contents hold from where they are noted on, in what that point dominates: they are undone when
//!     the walk leaves the block. They decide listed instructions only, because a floating node may be used elsewhere.

use super::bounds::Facts;
use super::graph::Graph;
use super::memory::{Access, Memory};
use smallvec::SmallVec;
use sphex_entity::EntityRef;
use sphex_ir::flow::Cfg;
use sphex_ir::fold::{self, Folder};
use sphex_ir::{Block, BlockCall, Format, Function, InstData, Opcode, Value};

/// Scratch of the pass, reused from function to function.
#[derive(Debug, Default)]
pub struct Scratch {
    edges_changed: bool,
    folder: Folder,
    memo: Vec<Value>,
    pending: Vec<Value>,
    /// Blocks to walk, and whether what they dominate has been.
    stack: Vec<(Block, bool)>,
    facts: Facts,
    memory: Memory,
}

/// What becomes of a listed instruction.
enum Fate {
    Keep,
    Drop,
    /// It always traps: what follows is never reached.
    End,
}

/// Simplifies a function; says whether a branch or the end of a block changed.
pub fn simplify(func: &mut Function, scratch: &mut Scratch, graph: &mut Graph) -> bool {
    let s = scratch;
    graph.tree(func);
    super::drop_unreachable(func, &graph.cfg);
    let Some(entry) = func.entry() else { return false };
    s.edges_changed = false;
    s.folder.clear(func.insts.len() / 2);
    s.memo.clear();
    s.memo.resize(func.insts.len(), Value::NONE);
    s.facts.clear();
    s.memory.prepare(func, &graph.cfg, &graph.loops);
    let mut changed = false;
    let mut stack = core::mem::take(&mut s.stack);
    stack.push((entry, false));
    while let Some((block, done)) = stack.pop() {
        if done {
            s.facts.close();
            s.memory.close();
            continue;
        }
        stack.push((block, true));
        s.facts.open();
        s.memory.open(func, block, &graph.cfg, &graph.loops);
        s.learn_from_edge(func, &graph.cfg, block);
        changed |= s.block(func, block);
        s.memory.leave(block);
        stack.extend(graph.dominators.children(block).iter().rev().map(|&child| (child, false)));
    }
    s.stack = stack;
    if changed || s.edges_changed {
        graph.forget();
    }
    changed
}

impl Scratch {
    /// What the branch that alone leads to a block says about its condition.
    fn learn_from_edge(&mut self, func: &Function, cfg: &Cfg, block: Block) {
        let [pred] = cfg.preds(block) else { return };
        let Some(end) = func.terminator(*pred) else { return };
        let data = func.insts[end];
        if data.format() != Format::Brif {
            return;
        }
        let to = |word| func.block_call_target(BlockCall::from_u32(word)) == block;
        if to(data.b) != to(data.c) {
            self.facts.assume(func, Value::from_u32(data.a), to(data.b));
        }
    }

    fn block(&mut self, func: &mut Function, block: Block) -> bool {
        let mut listed = core::mem::take(&mut func.blocks[block].insts);
        let (mut kept, mut at) = (0, 0);
        let mut changed = false;
        while let Some(&inst) = listed.get(at) {
            at += 1;
            if func.floats(inst) {
                func.block_of[inst] = Block::NONE;
                continue;
            }
            self.fold_uses(func, inst);
            let before = func.insts[inst];
            match self.listed(func, inst) {
                Fate::Drop => {
                    func.block_of[inst] = Block::NONE;
                    continue;
                }
                fate => {
                    listed[kept] = inst;
                    kept += 1;
                    if matches!(fate, Fate::End) {
                        changed = true;
                        break;
                    }
                }
            }
            changed |= before.opcode.is_terminator() && before.opcode != func.insts[inst].opcode;
        }
        for &rest in &listed[at..] {
            func.block_of[rest] = Block::NONE;
        }
        listed.truncate(kept);
        func.blocks[block].insts = listed;
        changed
    }

    fn fold_uses(&mut self, func: &mut Function, inst: Value) {
        self.replace_uses(func, inst, Self::fold_value);
    }

    fn replace_uses(
        &mut self,
        func: &mut Function,
        inst: Value,
        by: impl Fn(&mut Self, &mut Function, Value) -> Value,
    ) {
        let mut uses: SmallVec<[Value; 8]> = SmallVec::new();
        func.visit_uses(inst, |v| uses.push(v));
        let mut changed = false;
        for value in &mut uses {
            let folded = by(self, func, *value);
            changed |= folded != *value;
            *value = folded;
        }
        if changed {
            let mut next = uses.iter();
            func.map_uses(inst, |v| next.next().copied().unwrap_or(v));
        }
    }

    /// The floating node that computes a value, if one does and it is not folded yet.
    fn unfolded(&self, func: &Function, value: Value) -> Option<Value> {
        let (inst, _) = func.definition(func.resolve(value))?;
        (self.memo.get(inst.index()).is_some_and(|m| m.is_none()) && func.floats(inst)).then_some(inst)
    }

    /// What a value has become (I1).
    fn folded(&self, func: &Function, value: Value) -> Value {
        let value = func.resolve(value);
        let Some((inst, result)) = func.definition(value) else { return value };
        match self.memo.get(inst.index()).copied().and_then(Value::expand) {
            Some(node) if result == 0 => func.resolve(node),
            Some(node) => Value::new(node.index() + result),
            None => value,
        }
    }

    /// Folds all that a value is computed from; a stack of its own, because expressions nest deep.
    fn fold_value(&mut self, func: &mut Function, value: Value) -> Value {
        let Some(node) = self.unfolded(func, value) else { return self.folded(func, value) };
        let mut pending = core::mem::take(&mut self.pending);
        pending.push(node);
        while let Some(&top) = pending.last() {
            let before = pending.len();
            if self.memo[top.index()].is_none() {
                func.visit_operands(top, |v| {
                    if let Some(node) = self.unfolded(func, v) {
                        pending.push(node);
                    }
                });
                if pending.len() > before {
                    continue;
                }
                self.replace_uses(func, top, |this, func, v| this.folded(func, v));
                fold_address(func, top);
                self.memo[top.index()] = self.folder.refold(func, top);
            }
            pending.pop();
        }
        self.pending = pending;
        self.folded(func, value)
    }

    /// Decides about a listed instruction whose operands are folded.
    fn listed(&mut self, func: &mut Function, inst: Value) -> Fate {
        let data = func.insts[inst];
        match data.format() {
            Format::CondTrap => return self.conditional_trap(func, inst),
            Format::Brif => self.brif(func, inst),
            Format::BrTable => br_table(func, inst),
            Format::Load | Format::Store | Format::StackLoad | Format::StackStore => {
                fold_address(func, inst);
                if let Access::Known(value) = self.memory.access(func, inst, &mut self.folder) {
                    func.replace(inst, value);
                    return Fate::Drop;
                }
            }
            _ if data.opcode.effects() == sphex_ir::Effects::TRAP
                && !data.opcode.row().results.is_empty() =>
            {
                let loc = func.srclocs[inst];
                let simpler = match fold::is_foldable(func, &data) {
                    true => self.folder.simplify(func, data, loc),
                    false => None,
                };
                if let Some(value) = simpler.or_else(|| self.memory.repeated(func, inst)) {
                    func.replace(inst, value);
                    return Fate::Drop;
                }
            }
            _ => self.memory.effect(func, inst),
        }
        Fate::Keep
    }

    /// A condition in its simplest form, whether that is inverted, and whether it is known to be other than zero.
    fn condition(&self, func: &Function, cond: Value) -> (Value, bool, Option<bool>) {
        let (cond, inverted) = fold::truth(func, cond);
        (cond, inverted, self.facts.known(func, cond))
    }

    fn conditional_trap(&mut self, func: &mut Function, inst: Value) -> Fate {
        let data = func.insts[inst];
        let (cond, inverted, known) = self.condition(func, Value::from_u32(data.a));
        let traps_on = (data.opcode == Opcode::Trapnz) != inverted;
        match known {
            Some(known) if known != traps_on => return Fate::Drop,
            Some(_) => {
                let trap = InstData::new(Opcode::Trap, sphex_ir::types::INVALID, 0, 0, 0);
                func.insts[inst] = trap.with_aux(data.aux);
                return Fate::End;
            }
            None => {}
        }
        let opcode = if traps_on { Opcode::Trapnz } else { Opcode::Trapz };
        func.insts[inst] = InstData::unary(opcode, data.ty, cond).with_aux(data.aux);
        self.facts.assume(func, cond, !traps_on);
        Fate::Keep
    }

    fn brif(&mut self, func: &mut Function, inst: Value) {
        let mut data = func.insts[inst];
        let (cond, inverted, known) = self.condition(func, Value::from_u32(data.a));
        data.a = cond.as_u32();
        if inverted {
            core::mem::swap(&mut data.b, &mut data.c);
            self.edges_changed = true;
        }
        func.insts[inst] = data;
        if let Some(known) = known {
            jump(func, inst, if known { data.b } else { data.c });
        } else if same_call(func, data.b, data.c) {
            jump(func, inst, data.b);
        }
    }
}

/// Moves a constant addend of an access's address into its offset.
fn fold_address(func: &mut Function, inst: Value) {
    let mut data = func.insts[inst];
    match data.format() {
        Format::Load => {
            let (address, offset) = fold::address(func, Value::from_u32(data.a), data.b as i32);
            (data.a, data.b) = (address.as_u32(), offset as u32);
        }
        Format::Store => {
            let (address, offset) = fold::address(func, Value::from_u32(data.b), data.c as i32);
            (data.b, data.c) = (address.as_u32(), offset as u32);
        }
        _ => return,
    }
    func.insts[inst] = data;
}

fn jump(func: &mut Function, inst: Value, call: u32) {
    func.insts[inst] = InstData::new(Opcode::Jump, sphex_ir::types::INVALID, call, 0, 0);
}

/// Whether two block calls go to the same place with the same arguments.
fn same_call(func: &Function, a: u32, b: u32) -> bool {
    let (a, b) = (BlockCall::from_u32(a), BlockCall::from_u32(b));
    func.block_call_target(a) == func.block_call_target(b)
        && func.block_call_args(a).eq(func.block_call_args(b))
}

/// A table with a known index, or without entries, is a jump.
fn br_table(func: &mut Function, inst: Value) {
    let index = func.as_iconst(Value::from_u32(func.insts[inst].a));
    let calls = func.block_calls(inst);
    let taken = match index {
        Some(index) => {
            usize::try_from(index).ok().and_then(|k| calls.get(k.checked_add(1)?)).or(calls.first())
        }
        None if calls.len() == 1 => calls.first(),
        None => None,
    };
    if let Some(call) = taken {
        jump(func, inst, call.as_u32());
    }
}

#[cfg(test)]
#[path = "simplify_tests.rs"]
mod tests;

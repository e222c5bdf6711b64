//! Placement: gives every floating instruction that is needed a block.
//!
//! Needs: a function whose pure instructions may float; reducible or not.   Gives: a placed function, in which nothing
//! unused and no unreachable block is left.   Breaks: nothing.   Cost: one walk of the dominator tree, O(uses + loop
//! depth · placed).
//!
//! I1. While block `b` is open, `memo[n]` is where floating node `n` has been computed in a block that dominates the
//!     current point, or nothing. Closing a block forgets what was computed in it.
//! I2. The first place of a node is the node itself; further places, in blocks that do not dominate each other, are copies.
//! I3. A node goes to the end of a dominating block only if all its operands are computed above the loop it leaves; what
//!     is hoisted to a block is kept apart and put before its terminator when the block closes, operands first.
//! I4. A first place's operands are rewritten too, perhaps to copies; a copy stands for its node (`origin`) wherever
//!     operands of a node are looked at again.
//! I5. No node gets more than about `COPIES + 8 + log2(depth of the tree)` places: the first few where it is asked for,
//!     further ones in a block that dominates the last one too, at last in ever shallower ones; never above `earliest`,
//!     the deepest block that something it is computed from stands in. Without that, a chain of values each of which is
//!     used in its own side block would be copied whole into each.
//! I6. A constant field behind the vmctx is loaded again behind every call instead of living across it, where it would be
//!     spilled and reloaded at each use: what `memo` has of it is used only where no call may lie between ([`epochs`]).
//!     Fields are exempt from I5: they are computed from nothing but fields, two deep. So are cheap values computed from
//!     what is computed anyway, up to [`LOW`] deep: addresses, which become addressing modes where they are used, but
//!     would occupy a register across half the function if they were shared.
//!
//! The textbook (Click, "Global code motion", PLDI 1995) schedules early, late, then picks the shallowest loop on the
//! dominator path in between, and needs a common ancestor of all uses. Walking the tree once and asking for values where
//! they are used is linear, sinks what one side of a branch needs to that side, and copies where two sides need it.

mod epochs;

use super::graph::Graph;
use sphex_entity::EntityRef;
use sphex_ir::flow::Dominators;
use sphex_ir::{Block, Function, Opcode, Value};

/// Hoisting a cheap value out of a loop occupies a register in the whole loop: at most so many (integers, floats).
const HOISTED_LIMIT: [u16; 2] = [9, 10];

/// Places that a node gets where it is asked for, in blocks that are not rare and in rare ones; then they are shared.
const COPIES: [u8; 2] = [16, 16];

/// Places after which shared ones move up the tree by half its height each time.
const CLIMBING: u8 = 24;

/// How deep the cheap values are that are made again wherever they are asked for.
const LOW: u8 = 4;

/// What placement knows about a node.
#[derive(Clone, Copy, Debug)]
struct Places {
    /// How many it has.
    count: u8,
    /// Depth of the deepest block that something it is computed from stands in.
    earliest: u32,
    /// The block of the last.
    last: Block,
    /// How many values deep it is computed from what needs no place; the maximum if dear ones are among them.
    height: u8,
}

/// Scratch of the pass, reused from function to function.
#[derive(Debug, Default)]
pub struct Scratch {
    graph: Graph,
    state: Vec<State>,
    /// Of each instruction made here, the node that it is a copy of (I4).
    origin: Vec<Value>,
    memo: Vec<Value>,
    places: Vec<Places>,
    depth: Vec<u32>,
    hoisted_out_of: Vec<[u16; 2]>,
    open: Vec<OpenBlock>,
    /// Closed blocks, whose memory the next ones take over.
    closed: Vec<OpenBlock>,
    /// Blocks to walk, and whether what they dominate has been.
    stack: Vec<(Block, bool)>,
    local: Vec<Value>,
    /// The list of the block being built, and the operands of an instruction of it.
    out: Vec<Value>,
    uses: Vec<Value>,
    /// Nodes to place, and the depth of the block to place each in or above.
    pending: Vec<(Value, usize)>,
    epochs: epochs::Epochs,
    /// The epoch of the current point.
    epoch: u32,
    /// The epoch of what `memo` has (I6).
    memo_epoch: Vec<u32>,
}

/// What became of an instruction that there was before the pass.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum State {
    /// It stood in a block's list.
    Listed,
    /// It floats and is not used yet.
    Floating,
    /// It floated and has been given a place.
    Used,
    /// The same two for a field (I6).
    FloatingField,
    UsedField,
}

/// A block on the path from the entry to the current one.
#[derive(Debug)]
struct OpenBlock {
    block: Block,
    /// Nodes computed here (I1), and what `memo` had of each before.
    computed: Vec<(Value, Value, u32)>,
    /// Instructions to put before the terminator (I3).
    hoisted: Vec<Value>,
}

/// Places a function.
pub fn place(func: &mut Function, scratch: &mut Scratch, graph: &mut Graph) {
    core::mem::swap(&mut scratch.graph, graph);
    scratch.graph.tree(func);
    super::drop_unreachable(func, &scratch.graph.cfg);
    if let Some(entry) = func.entry() {
        scratch.place(func, entry);
    }
    core::mem::swap(&mut scratch.graph, graph);
}

/// Whether a value is re-made in each block that uses it: constants need no register at all, and a comparison is
/// fused with the branch that it stands beside.
fn is_local(opcode: Opcode) -> bool {
    use Opcode::*;
    matches!(opcode, Iconst | F16const | F32const | F64const | StackAddr | FuncAddr | Icmp | Fcmp)
}

/// Whether an instruction is a constant: available in every block by making it again.
fn is_constant(func: &Function, value: Value) -> bool {
    let row = func.insts[value].opcode;
    is_local(row) && !matches!(row, Opcode::Icmp | Opcode::Fcmp)
}

/// Whether computing a value again costs less than a register kept for it.
fn is_cheap(func: &Function, inst: Value) -> bool {
    use Opcode::*;
    let opcode = func.insts[inst].opcode;
    let moves = matches!(opcode, Uextend | Sextend | Ireduce | Bitcast | GlobalValue | SymbolValue);
    moves || matches!(opcode, Ineg | Bnot | Iadd | Isub | Band | Bor | Bxor | Ishl | Ushr | Sshr)
}

impl Scratch {
    fn place(&mut self, func: &mut Function, entry: Block) {
        self.prepare(func);
        // The tree is walked with a stack of its own: blocks nest deep.
        let mut stack = core::mem::take(&mut self.stack);
        stack.push((entry, false));
        while let Some((block, done)) = stack.pop() {
            if done {
                self.close(func);
                continue;
            }
            stack.push((block, true));
            self.enter(func, block);
            stack.extend(self.graph.dominators.children(block).iter().rev().map(|&child| (child, false)));
        }
        self.stack = stack;
    }

    fn prepare(&mut self, func: &Function) {
        let vmctx = epochs::vmctx(func);
        self.state.clear();
        self.state.extend(func.insts.iter().map(|(value, data)| match data.opcode {
            Opcode::BlockParam | Opcode::Projection | Opcode::Alias => State::Listed,
            Opcode::Load if func.block_of[value].is_none() && epochs::is_field(func, vmctx, value) => {
                State::FloatingField
            }
            _ if func.block_of[value].is_none() => State::Floating,
            _ => State::Listed,
        }));
        self.epochs.compute(func, &self.graph.cfg, &self.graph.loops);
        self.origin.clear();
        self.memo.clear();
        self.memo.resize(func.insts.len(), Value::NONE);
        self.memo_epoch.clear();
        self.memo_epoch.resize(func.insts.len(), 0);
        self.places.clear();
        self.places.resize(func.insts.len(), Places { count: 0, earliest: 0, last: Block::NONE, height: 0 });
        self.depth.clear();
        self.depth.resize(func.blocks.len(), 0);
        for &block in self.graph.dominators.preorder() {
            self.depth[block.index()] =
                self.graph.dominators.idom(block).map_or(0, |parent| self.depth[parent.index()] + 1);
        }
        self.hoisted_out_of.clear();
        self.hoisted_out_of.resize(self.graph.loops.keys().len(), [0; 2]);
        self.open.clear();
    }

    /// Opens a block and gives places to all that its instructions use.
    fn enter(&mut self, func: &mut Function, block: Block) {
        let empty = || OpenBlock { block, computed: Vec::new(), hoisted: Vec::new() };
        let open = self.closed.pop().unwrap_or_else(empty);
        self.open.push(OpenBlock { block, ..open });
        let mut listed = core::mem::take(&mut func.blocks[block].insts);
        let mut out = core::mem::take(&mut self.out);
        out.clear();
        self.epoch = self.epochs.at_entry(block);
        let mut uses = core::mem::take(&mut self.uses);
        for &inst in &listed {
            uses.clear();
            func.visit_uses(inst, |v| uses.push(v));
            let mut changed = false;
            for value in &mut uses {
                let placed = self.demand(func, *value, &mut out);
                changed |= placed != *value;
                *value = placed;
            }
            if changed {
                let mut next = uses.iter();
                func.map_uses(inst, |v| next.next().copied().unwrap_or(v));
            }
            if epochs::is_call(func, inst) {
                self.epoch = epochs::behind(inst);
            }
            out.push(inst);
        }
        listed.clear();
        listed.extend_from_slice(&out);
        func.blocks[block].insts = listed;
        (self.out, self.uses) = (out, uses);
        for node in self.local.drain(..) {
            self.memo[node.index()] = Value::NONE;
        }
    }

    fn close(&mut self, func: &mut Function) {
        let Some(mut open) = self.open.pop() else { return };
        for (node, before, epoch) in open.computed.drain(..).rev() {
            // It may have been given a shallower place since.
            if self.memo[node.index()].expand().is_none_or(|at| func.block_of[at] == open.block) {
                let depth = before.expand().map(|at| self.depth_of(func, at));
                let valid =
                    depth.and_then(|d| self.open.get(d)).is_some_and(|o| o.block == func.block_of[before]);
                self.memo[node.index()] = if valid { before } else { Value::NONE };
                self.memo_epoch[node.index()] = epoch;
            }
        }
        if let Some((&end, hoisted)) = func.blocks[open.block].insts.last().zip(Some(&open.hoisted))
            && !hoisted.is_empty()
        {
            let insts = &mut func.blocks[open.block].insts;
            insts.pop();
            insts.extend_from_slice(hoisted);
            insts.push(end);
        }
        open.hoisted.clear();
        self.closed.push(open);
    }

    /// Where `value` is computed at the current point, if it is.
    fn available(&self, func: &Function, value: Value) -> Option<Value> {
        let value = func.resolve(value);
        let Some((inst, result)) = func.definition(value) else { return Some(value) };
        let node = self.node(inst);
        match self.state[node.index()] {
            State::Listed => Some(value),
            _ => self.memo[node.index()].expand().map(|at| Value::new(at.index() + result)),
        }
    }

    /// The node that an instruction is a copy of; itself, if there was one before the pass (I4).
    fn node(&self, inst: Value) -> Value {
        match inst.index().checked_sub(self.state.len()) {
            Some(copy) => self.origin[copy],
            None => inst,
        }
    }

    /// Makes a copy of a node (I4).
    fn copy(&mut self, func: &mut Function, node: Value) -> Value {
        let (data, loc) = (func.insts[node], func.srclocs[node]);
        let made = func.make(data, loc);
        let node = self.node(node);
        self.origin.resize(func.insts.len() - self.state.len(), node);
        made
    }

    /// Makes `value` computed at the current point, whose block's list so far is `out`.
    fn demand(&mut self, func: &mut Function, value: Value, out: &mut Vec<Value>) -> Value {
        if let Some(at) = self.available(func, value)
            && func.definition(at).is_none_or(|(inst, _)| self.is_current(self.node(inst)))
        {
            return at;
        }
        let mut pending = core::mem::take(&mut self.pending);
        let here = self.open.len() - 1;
        let node = |this: &Self, func: &Function, v: Value| {
            func.definition(func.resolve(v)).map_or(v, |(inst, _)| this.node(inst))
        };
        let top = node(self, func, value);
        pending.push((top, self.level(func, top, here)));
        while let Some(&(top, level)) = pending.last() {
            let before = pending.len();
            if !self.is_computed(func, top, level) {
                func.visit_operands(top, |operand| {
                    let operand = func.resolve(operand);
                    let Some((inst, _)) = func.definition(operand) else { return };
                    let operand = self.node(inst);
                    if self.state[operand.index()] == State::Listed {
                        return;
                    }
                    let level = if is_constant(func, operand) { here } else { level };
                    if !self.is_computed(func, operand, level) {
                        pending.push((operand, self.level(func, operand, level)));
                    }
                });
            }
            if pending.len() == before {
                pending.pop();
                if !self.is_computed(func, top, level) {
                    self.give_place(func, top, level, out);
                }
            }
        }
        self.pending = pending;
        self.available(func, value).unwrap_or(value)
    }

    /// Whether a floating node is computed in the open block of this depth or above.
    fn is_computed(&self, func: &Function, node: Value, level: usize) -> bool {
        let at = self.memo[node.index()].expand();
        at.is_some_and(|at| match level + 1 == self.open.len() {
            true => self.is_current(node),
            false => self.depth_of(func, at) <= level,
        })
    }

    fn is_field(&self, node: Value) -> bool {
        matches!(self.state[node.index()], State::FloatingField | State::UsedField)
    }

    /// Whether what `memo` has of a node may be used at the current point (I6).
    fn is_current(&self, node: Value) -> bool {
        !self.is_field(node) || self.memo_epoch[node.index()] == self.epoch
    }

    fn depth_of(&self, func: &Function, value: Value) -> usize {
        self.depth[Dominators::block_of(func, value).index()] as usize
    }

    /// The depth of the block to give a node its next place in, at most `level` (I5).
    fn level(&self, func: &Function, node: Value, level: usize) -> usize {
        let Places { count, earliest, last, height } = self.places[node.index()];
        let cold = func.blocks[self.open[level].block].cold;
        let remade = is_local(func.insts[node].opcode) || self.is_field(node) || height <= LOW;
        if count < COPIES[usize::from(cold)] || remade {
            return level;
        }
        let above = self.open.partition_point(|open| self.graph.dominators.dominates(open.block, last));
        let shared = above.saturating_sub(1) >> u32::from(count >= CLIMBING);
        shared.max(earliest as usize).min(level)
    }

    /// Gives a node whose operands are all available in the open block of this depth a place there or above (I2, I3).
    fn give_place(&mut self, func: &mut Function, node: Value, level: usize, out: &mut Vec<Value>) {
        let mut operands = smallvec::SmallVec::<[Value; 4]>::new();
        let mut replaced = false;
        func.visit_operands(node, |v| {
            let at = self.available(func, v).unwrap_or(v);
            replaced |= at != v;
            operands.push(at);
        });
        let used = if self.is_field(node) { State::UsedField } else { State::Used };
        let at = if self.state[node.index()] == used {
            self.copy(func, node)
        } else {
            self.state[node.index()] = used;
            node
        };
        if self.places[node.index()].count == 0 {
            self.places[node.index()].earliest = self.earliest(func, &operands);
            self.places[node.index()].height = self.height(func, node, &operands);
        }
        let target = self.target(func, node, level, &operands);
        let here = self.open.len() - 1;
        if target != here {
            for operand in &mut operands {
                if is_local(func.insts[*operand].opcode) {
                    *operand = self.hoist_local(func, *operand, target);
                    replaced = true;
                }
            }
        }
        if replaced {
            let mut next = operands.iter();
            func.map_uses(at, |v| next.next().copied().unwrap_or(v));
        }
        let before = (node, self.memo[node.index()], self.memo_epoch[node.index()]);
        self.memo[node.index()] = at;
        self.memo_epoch[node.index()] = self.epoch;
        func.block_of[at] = self.open[target].block;
        let places = &mut self.places[node.index()];
        places.count = places.count.saturating_add(1);
        places.last = self.open[target].block;
        if target == here {
            out.push(at);
        } else {
            self.open[target].hoisted.push(at);
        }
        if is_local(func.insts[at].opcode) {
            self.local.push(node);
        } else {
            self.open[target].computed.push(before);
        }
    }

    /// Makes a value that is re-made wherever it is used again for use in a shallower block: a constant, or a comparison,
    /// whose operands are constants or computed there already.
    fn hoist_local(&mut self, func: &mut Function, value: Value, target: usize) -> Value {
        let mut operands = func.operands(value);
        for operand in &mut operands {
            if is_constant(func, *operand) {
                *operand = self.copy(func, *operand);
                func.block_of[*operand] = self.open[target].block;
                self.open[target].hoisted.push(*operand);
            }
        }
        let made = self.copy(func, value);
        let mut next = operands.iter();
        func.map_uses(made, |v| next.next().copied().unwrap_or(v));
        func.block_of[made] = self.open[target].block;
        self.open[target].hoisted.push(made);
        made
    }

    /// The depth of the block that an operand holds a value back in: of a comparison, which is made again, the deepest
    /// that one of its operands stands in.
    fn held_at(&self, func: &Function, value: Value) -> usize {
        match is_local(func.insts[value].opcode) {
            true => {
                let mut deepest = 0;
                func.visit_operands(value, |v| {
                    if !is_constant(func, v) {
                        deepest = deepest.max(self.depth_of(func, v));
                    }
                });
                deepest
            }
            false => self.depth_of(func, value),
        }
    }

    /// The depth of the deepest block that something these are computed from stands in.
    fn earliest(&self, func: &Function, operands: &[Value]) -> u32 {
        let of = |&value: &Value| match func.definition(value) {
            Some((inst, _)) if self.state[self.node(inst).index()] != State::Listed => {
                self.places[self.node(inst).index()].earliest
            }
            _ => self.depth_of(func, value) as u32,
        };
        operands.iter().map(of).max().unwrap_or(0)
    }

    /// See [`Places::height`].
    fn height(&self, func: &Function, node: Value, operands: &[Value]) -> u8 {
        let of = |&value: &Value| match func.definition(value).map(|(inst, _)| self.node(inst)) {
            Some(inst) if self.state[inst.index()] != State::Listed && !self.is_field(inst) => {
                if is_constant(func, inst) { 0 } else { self.places[inst.index()].height }
            }
            _ => 0,
        };
        match is_cheap(func, node) {
            true => operands.iter().map(of).max().unwrap_or(0).saturating_add(1),
            false => u8::MAX,
        }
    }

    /// The open block, by depth, to compute `node` in: the one of depth `level`, or above the loops in which it is
    /// invariant.
    fn target(&mut self, func: &Function, node: Value, level: usize, operands: &[Value]) -> usize {
        let mut target = level;
        // What a rare path needs is computed there: a loop's registers are dearer.
        if is_local(func.insts[node].opcode) || func.blocks[self.open[target].block].cold {
            return target;
        }
        let earliest = operands.iter().map(|&v| self.held_at(func, v)).max().unwrap_or(0);
        let class = func.type_of(node).is_float() as usize;
        let (cheap, field) = (is_cheap(func, node), self.is_field(node));
        while let Some(l) = self.graph.loops.innermost(self.open[target].block) {
            let header = self.depth[self.graph.loops.get(l).header.index()] as usize;
            let count = &mut self.hoisted_out_of[l.index()][class];
            let full = cheap && *count >= HOISTED_LIMIT[class];
            if header == 0 || earliest >= header || full || field && self.epochs.calls_in(l) {
                break;
            }
            *count = count.saturating_add(1);
            target = header - 1;
        }
        target
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use sphex_ir::types::I32;
    use sphex_ir::{Builder, CallConv, ExternalName, Folder, IntCC, Signature};

    #[test]
    fn invariants_leave_the_loop_and_the_unused_goes() {
        let mut func = Function::new(ExternalName::symbol("f"), Signature::new(CallConv::Fast));
        let (entry, head, exit) = (func.add_block(), func.add_block(), func.add_block());
        let x = func.add_block_param(entry, I32);
        let i = func.add_block_param(head, I32);
        let mut folder = Folder::new();
        let mut b = Builder::folding(&mut func, &mut folder);
        b.switch_to(entry);
        b.jump(head, &[x]);
        b.switch_to(head);
        let seven = b.iconst(I32, 7);
        let invariant = b.binary(Opcode::Imul, x, seven);
        let next = b.binary(Opcode::Iadd, i, invariant);
        let unused = b.binary(Opcode::Bxor, i, x);
        let more = b.icmp(IntCC::Ult, next, x);
        b.brif(more, (head, &[next]), (exit, &[]));
        b.switch_to(exit);
        b.ret(&[]);
        place(&mut func, &mut Scratch::default(), &mut Graph::default());
        assert_eq!(func.block_of[invariant], entry);
        assert_eq!((func.block_of[next], func.block_of[more]), (head, head));
        assert!(func.block_of[unused].is_none());
        assert_eq!(func.blocks[entry].insts.len(), 3); // the constant, the product, the jump
    }

    #[test]
    fn a_copy_uses_what_is_computed_where_it_stands() {
        let mut func = Function::new(ExternalName::symbol("f"), Signature::new(CallConv::Fast));
        let (entry, left, right) = (func.add_block(), func.add_block(), func.add_block());
        let x = func.add_block_param(entry, I32);
        let mut folder = Folder::new();
        let mut b = Builder::folding(&mut func, &mut folder);
        b.switch_to(entry);
        let five = b.iconst(I32, 5);
        b.brif(x, (left, &[five]), (right, &[five]));
        for block in [left, right] {
            b.func.add_block_param(block, I32);
            b.switch_to(block);
            let equal = b.icmp(IntCC::Eq, x, five);
            let extended = b.convert(Opcode::Uextend, I32, equal);
            b.ret(&[extended]);
        }
        place(&mut func, &mut Scratch::default(), &mut Graph::default());
        for block in [left, right] {
            for &inst in &func.blocks[block].insts {
                for operand in func.operands(inst).into_iter().filter(|&v| v != x) {
                    assert_eq!(func.block_of[operand], block, "{inst} uses {operand}");
                }
            }
        }
    }

    #[test]
    fn two_arms_get_a_copy_each() {
        let mut func = Function::new(ExternalName::symbol("f"), Signature::new(CallConv::Fast));
        let (entry, left, right) = (func.add_block(), func.add_block(), func.add_block());
        let x = func.add_block_param(entry, I32);
        let mut folder = Folder::new();
        let mut b = Builder::folding(&mut func, &mut folder);
        b.switch_to(entry);
        b.brif(x, (left, &[]), (right, &[]));
        for block in [left, right] {
            b.switch_to(block);
            let square = b.binary(Opcode::Imul, x, x);
            b.ret(&[square]);
        }
        place(&mut func, &mut Scratch::default(), &mut Graph::default());
        let returned: Vec<Value> = [left, right]
            .iter()
            .map(|&block| {
                let (last, list) = func.blocks[block].insts.split_last().expect("two instructions");
                assert_eq!(list.len(), 1);
                assert_eq!(func.arguments(*last).next(), Some(list[0]));
                list[0]
            })
            .collect();
        assert_ne!(returned[0], returned[1]);
        assert!(func.blocks[entry].insts.len() == 1);
    }

    /// A chain of values, each used in a side block of its own, is not copied whole into each.
    #[test]
    fn side_blocks_share_a_chain() {
        let placed = |count: usize| {
            let mut func = Function::new(ExternalName::symbol("f"), Signature::new(CallConv::Fast));
            let entry = func.add_block();
            let x = func.add_block_param(entry, I32);
            let mut folder = Folder::new();
            let mut b = Builder::folding(&mut func, &mut folder);
            b.switch_to(entry);
            let mut chain = x;
            for _ in 0..count {
                let (side, next) = (b.func.add_block(), b.func.add_block());
                b.brif(x, (side, &[]), (next, &[]));
                b.switch_to(side);
                chain = b.binary(Opcode::Imul, chain, x);
                b.ret(&[chain]);
                b.switch_to(next);
            }
            b.ret(&[]);
            place(&mut func, &mut Scratch::default(), &mut Graph::default());
            func.layout.iter().map(|&block| func.blocks[block].insts.len()).sum::<usize>()
        };
        let (small, large) = (placed(100), placed(400));
        assert!(large < 5 * small, "{small} instructions become {large}");
    }
}

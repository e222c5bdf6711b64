//! Removes block parameters that nothing uses, and those that are always the same value.
//!
//! Needs: SSA, placed or floating, no unreachable block.   Gives: no dead and no redundant parameter.   Breaks: users of
//! a redundant parameter are not folded any more (`simplify` folds them).   Cost: one dominator tree of the graph of
//! those parameters of which it is not clear at once, O((parameters + arguments) · log parameters), and one walk over all
//! uses.
//!
//! I1. The graph has a node for each parameter and for each other value that is passed to one; edges go from argument
//!     to parameter, and from a root to every node that is no parameter (and to parameters of the entry).
//! I2. A parameter whose immediate dominator in this graph is not the root is that dominator under another name: the
//!     parameters below a node form a set into which only that node's value flows. Such a set is what Braun et al. ("Simple
//!     and efficient construction of static single assignment form", CC 2013) replace by its one outer operand, found one
//!     strongly connected component at a time; the dominator tree finds all sets at once.
//! I3. A parameter that gets two different values, neither of them a parameter that may be redundant, is not redundant: the
//!     root is all that its arguments have above them. Such a *solid* one counts as a value of its own: what it gets is no
//!     longer of interest, since no node but the root dominates it. Nearly all parameters are solid, so that the graph is small.
//! I4. What a `try_call` gives exists on its edges only: parameters that get it count as values of their own.

use smallvec::SmallVec;
use sphex_entity::{EntityRef, EntitySet};
use sphex_ir::flow::{Cfg, Dominators};
use sphex_ir::{Block, BlockCall, Format, Function, InstData, Opcode, Value};

/// Scratch of the pass, reused from function to function.
#[derive(Debug, Default)]
pub struct Scratch {
    graph: Cfg,
    tree: Dominators,
    /// Node of each value, 0 for none; values of nodes.
    node: Vec<u32>,
    values: Vec<Value>,
    edges: Vec<(Block, Block)>,
    /// What is passed to parameters, grouped by parameter.
    passed: Vec<Value>,
    /// For each block, how often it is gone to, and where what is passed to its parameters begins in `passed`.
    entries: Vec<(u32, u32)>,
    /// Blocks that lose parameters.
    shrinks: EntitySet<Block>,
    /// Parameters that are not redundant (I3).
    solid: EntitySet<Value>,
    live: EntitySet<Value>,
    work: Vec<Value>,
}

/// How often parameters are looked at for being solid: what is passed round a loop is known the second time.
const ROUNDS: usize = 3;

/// Removes dead and redundant parameters; says whether a redundant one was replaced.
pub fn params(func: &mut Function, scratch: &mut Scratch) -> bool {
    let s = scratch;
    s.collect(func);
    s.find_solid(func);
    let replaced = s.replace_redundant(func);
    s.mark_live(func);
    s.remove(func);
    replaced
}

/// The parameters of all blocks but the entry.
fn for_each_param(func: &Function, mut visit: impl FnMut(Value)) {
    for &block in func.layout.iter().skip(1) {
        func.block_params(block).for_each(&mut visit);
    }
}

impl Scratch {
    /// Every argument with its parameter: the edges of each block are counted, then their arguments noted.
    fn collect(&mut self, func: &Function) {
        self.entries.clear();
        self.entries.resize(func.blocks.len(), (0, 0));
        for &block in &func.layout {
            let Some(end) = func.terminator(block) else { continue };
            func.visit_block_calls(end, |call| {
                self.entries[func.block_call_target(call).index()].0 += 1;
            });
        }
        let mut total = 0;
        for &block in &func.layout {
            let (count, start) = &mut self.entries[block.index()];
            *start = total;
            total += *count * func.block_params(block).len() as u32;
            *count = 0;
        }
        self.passed.clear();
        self.passed.resize(total as usize, Value::NONE);
        for &block in &func.layout {
            let Some(end) = func.terminator(block) else { continue };
            let of_edge = matches!(func.insts[end].format(), Format::TryCall | Format::TryCallIndirect);
            func.visit_block_calls(end, |call| self.note(func, call, of_edge));
        }
    }

    /// Notes what an edge passes. How many arguments a parameter has in all is known only when all edges are: until then
    /// those of an edge stand together.
    fn note(&mut self, func: &Function, call: BlockCall, of_edge: bool) {
        let target = func.block_call_target(call);
        let (count, start) = &mut self.entries[target.index()];
        let params = func.block_params(target).len();
        let at = *start as usize + *count as usize * params;
        *count += 1;
        if !of_edge {
            for (place, arg) in self.passed[at..at + params].iter_mut().zip(func.block_call_args(call)) {
                *place = func.resolve(arg);
            }
        }
    }

    /// Where in `passed` the arguments of a parameter are; [`Value::NONE`] for what exists on an edge only (I4).
    fn passed_to(&self, func: &Function, param: Value) -> impl Iterator<Item = usize> + use<> {
        let InstData { a: block, b: k, .. } = func.insts[param];
        let (count, start) = self.entries[block as usize];
        let params = func.block_params(Block::from_u32(block)).len();
        let end = start as usize + count as usize * params;
        (start as usize + k as usize..end).step_by(params.max(1))
    }

    /// Finds parameters that are not redundant for sure (I3).
    fn find_solid(&mut self, func: &Function) {
        self.solid.reset(func.insts.len());
        let Some(entry) = func.entry() else { return };
        for param in func.block_params(entry) {
            self.solid.insert(param);
        }
        for _ in 0..ROUNDS {
            let mut changed = false;
            for_each_param(func, |param| {
                if !self.solid.contains(param) && self.is_solid(func, param) {
                    self.solid.insert(param);
                    changed = true;
                }
            });
            if !changed {
                break;
            }
        }
    }

    fn is_solid(&self, func: &Function, param: Value) -> bool {
        let mut first = param;
        for arg in self.passed_to(func, param).map(|at| self.passed[at]) {
            if arg.is_none() {
                return true;
            }
            let known = func.insts[arg].opcode != Opcode::BlockParam || self.solid.contains(arg);
            if !known || arg == first {
                continue;
            }
            if first != param {
                return true;
            }
            first = arg;
        }
        false
    }

    fn node(&mut self, value: Value) -> Block {
        if self.node[value.index()] == 0 {
            self.node[value.index()] = self.values.len() as u32;
            self.values.push(value);
        }
        Block::from_u32(self.node[value.index()])
    }

    fn replace_redundant(&mut self, func: &mut Function) -> bool {
        self.values.clear();
        self.values.push(Value::NONE);
        for_each_param(func, |param| {
            if !self.solid.contains(param) {
                self.values.push(param);
            }
        });
        let params = self.values.len();
        if params == 1 {
            return false;
        }
        self.node.clear();
        self.node.resize(func.insts.len(), 0);
        for (node, param) in self.values.iter().enumerate().skip(1) {
            self.node[param.index()] = node as u32;
        }
        self.edges.clear();
        let root = Block::from_u32(0);
        for k in 1..params {
            for at in self.passed_to(func, self.values[k]) {
                let (from, to) = (self.node(self.passed[at]), Block::new(k));
                if from != to {
                    self.edges.push((from, to));
                }
            }
        }
        self.edges.extend((params..self.values.len()).map(|k| (root, Block::new(k))));
        self.edges.sort_unstable();
        self.edges.dedup();
        self.graph.compute_graph(self.values.len(), root, &self.edges);
        self.tree.compute_graph(self.values.len(), Some(root), &self.graph);
        let mut replaced = false;
        // Parents come first, so that each takes over what its parent stands for.
        for &node in self.tree.preorder() {
            let Some(parent) = self.tree.idom(node).filter(|p| *p != root) else { continue };
            if (1..params).contains(&node.index()) {
                let by = self.values[parent.index()];
                func.replace(self.values[node.index()], by);
                self.live.remove(self.values[node.index()]);
                replaced = true;
            }
        }
        replaced
    }

    /// Marks what listed instructions use, and what that is computed from; parameters pass on to their arguments.
    fn mark_live(&mut self, func: &Function) {
        self.live.reset(func.insts.len());
        for &block in &func.layout {
            for &inst in &func.blocks[block].insts {
                if !func.floats(inst) {
                    func.visit_operands(inst, |v| self.mark(func, v));
                    if matches!(func.insts[inst].format(), Format::TryCall | Format::TryCallIndirect) {
                        func.visit_uses(inst, |v| self.mark(func, v));
                    }
                }
            }
        }
        while let Some(value) = self.work.pop() {
            if func.insts[value].opcode == Opcode::BlockParam {
                for at in self.passed_to(func, value) {
                    // A redundant parameter among them has become an alias since.
                    if let Some(arg) = self.passed[at].expand() {
                        self.mark(func, arg);
                    }
                }
            } else if let Some((inst, _)) = func.definition(value) {
                // Listed instructions with effects were seen already; their operands are marked at once.
                if func.floats(inst) {
                    self.live.insert(inst);
                    func.visit_operands(inst, |v| self.mark(func, v));
                }
            }
        }
    }

    fn mark(&mut self, func: &Function, value: Value) {
        let value = func.resolve(value);
        if self.live.insert(value) {
            self.work.push(value);
        }
    }

    fn keeps(&self, func: &Function, param: Value) -> bool {
        func.insts[param].opcode == Opcode::BlockParam && self.live.contains(param)
    }

    /// Takes parameters and arguments out.
    fn remove(&mut self, func: &mut Function) {
        let Some(entry) = func.entry() else { return };
        self.shrinks.reset(func.blocks.len());
        let mut some = false;
        for &block in &func.layout {
            if block != entry && func.block_params(block).any(|param| !self.keeps(func, param)) {
                self.shrinks.insert(block);
                some = true;
            }
        }
        for at in 0..func.layout.len() {
            let block = func.layout[at];
            // What only dead parameters needed may stand in lists.
            let mut insts = core::mem::take(&mut func.blocks[block].insts);
            insts.retain(|&inst| !func.floats(inst) || self.live.contains(inst));
            func.blocks[block].insts = insts;
            let Some(end) = func.terminator(block).filter(|_| some) else { continue };
            for (k, call) in func.block_calls(end).into_iter().enumerate() {
                let target = func.block_call_target(call);
                if self.shrinks.contains(target) {
                    let made = self.shorter(func, target, call);
                    func.set_block_call(end, k, made);
                }
            }
        }
        for at in 1..func.layout.len() {
            let block = func.layout[at];
            if self.shrinks.contains(block) {
                let kept: SmallVec<[Value; 8]> =
                    func.block_params(block).filter(|p| self.keeps(func, *p)).collect();
                for (k, &param) in kept.iter().enumerate() {
                    func.insts[param].b = k as u32;
                }
                func.blocks[block].params = sphex_entity::EntityList::from_slice(&kept, &mut func.lists);
            }
        }
    }

    /// A block call without the arguments of parameters that go.
    fn shorter(&self, func: &mut Function, target: Block, call: BlockCall) -> BlockCall {
        let kept: SmallVec<[Value; 8]> = func
            .block_params(target)
            .zip(func.block_call_args(call))
            .filter(|(param, _)| self.keeps(func, *param))
            .map(|(_, arg)| arg)
            .collect();
        func.make_block_call(target, &kept)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use sphex_ir::parse::parse_functions;

    fn after(text: &str) -> String {
        let mut func = parse_functions(text).expect("it parses").remove(0);
        params(&mut func, &mut Scratch::default());
        func.resolve_aliases();
        sphex_ir::verify::verify(&func).expect("it verifies");
        func.layout.iter().map(|b| func.block_params(*b).count().to_string()).collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn a_value_carried_round_two_loops_is_the_value() {
        let counts = after(
            "function %f(i32, i32) -> i32 {
            block0(v0: i32, v1: i32):
                jump block1(v0, v1, v1)
            block1(v2: i32, v3: i32, v4: i32):
                v5 = iadd v2, v3
                jump block2(v5, v3, v4)
            block2(v6: i32, v7: i32, v8: i32):
                brif v6, block2(v6, v7, v8), block3(v6, v7)
            block3(v9: i32, v10: i32):
                brif v10, block1(v9, v10, v7), block4(v9)
            block4(v11: i32):
                return v11
            }",
        );
        assert_eq!(counts, "2 1 0 0 0");
    }

    #[test]
    fn what_a_loop_carries_of_a_join_is_the_join() {
        let counts = after(
            "function %f(i32, i32) -> i32 {
            block0(v0: i32, v1: i32):
                brif v0, block1(v0), block1(v1)
            block1(v2: i32):
                jump block2(v2, v2)
            block2(v3: i32, v4: i32):
                v5 = iadd v3, v4
                brif v5, block2(v4, v3), block3(v4)
            block3(v6: i32):
                return v6
            }",
        );
        assert_eq!(counts, "2 1 0 0");
    }

    #[test]
    fn a_parameter_for_itself_alone_is_dead() {
        let counts = after(
            "function %f(i32) {
            block0(v0: i32):
                jump block1(v0, v0)
            block1(v1: i32, v2: i32):
                v3 = iadd v1, v2
                v4 = iadd v2, v2
                brif v4, block1(v3, v4), block2
            block2:
                return
            }",
        );
        assert_eq!(counts, "1 1 0");
    }
}

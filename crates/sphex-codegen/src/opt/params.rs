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
use sphex_ir::{Block, BlockCall, Format, Function, Opcode, Value};

/// Scratch of the pass, reused from function to function.
#[derive(Debug, Default)]
pub struct Scratch {
    graph: Cfg,
    tree: Dominators,
    /// Node of each value, 0 for none; values of nodes.
    node: Vec<u32>,
    values: Vec<Value>,
    edges: Vec<(Block, Block)>,
    /// From each parameter to what is passed to it, grouped by parameter.
    passed: Vec<(Value, Value)>,
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
    /// Every argument with its parameter.
    fn collect(&mut self, func: &Function) {
        self.passed.clear();
        for &block in &func.layout {
            let Some(end) = func.terminator(block) else { continue };
            let of_edge = matches!(func.insts[end].format(), Format::TryCall | Format::TryCallIndirect);
            for call in func.block_calls(end) {
                let target = func.block_call_target(call);
                for (param, arg) in func.block_params(target).zip(func.block_call_args(call)) {
                    let arg = func.resolve(arg);
                    self.passed.push((param, if of_edge { Value::NONE } else { arg }));
                }
            }
        }
        self.passed.sort_unstable();
    }

    /// Finds parameters that are not redundant for sure (I3).
    fn find_solid(&mut self, func: &Function) {
        self.solid.clear();
        let Some(entry) = func.entry() else { return };
        for param in func.block_params(entry) {
            self.solid.insert(param);
        }
        for _ in 0..ROUNDS {
            let mut changed = false;
            for passed in self.passed.chunk_by(|a, b| a.0 == b.0) {
                let param = passed[0].0;
                if !self.solid.contains(param) && self.is_solid(func, param, passed) {
                    self.solid.insert(param);
                    changed = true;
                }
            }
            if !changed {
                break;
            }
        }
    }

    fn is_solid(&self, func: &Function, param: Value, passed: &[(Value, Value)]) -> bool {
        let mut first = param;
        for &(_, arg) in passed {
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
        for k in 0..self.passed.len() {
            let (param, arg) = self.passed[k];
            if self.solid.contains(param) {
                continue;
            }
            let (from, to) = (self.node(arg), self.node(param));
            if from != to {
                self.edges.push((from, to));
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
        self.live.clear();
        let mut work = core::mem::take(&mut self.work);
        for &block in &func.layout {
            for &inst in &func.blocks[block].insts {
                if !func.floats(inst) {
                    work.extend(func.operands(inst));
                    if matches!(func.insts[inst].format(), Format::TryCall | Format::TryCallIndirect) {
                        func.visit_uses(inst, |v| work.push(v));
                    }
                }
            }
        }
        while let Some(value) = work.pop() {
            let value = func.resolve(value);
            if !self.live.insert(value) {
                continue;
            }
            if func.insts[value].opcode == Opcode::BlockParam {
                let from = self.passed.partition_point(|p| p.0 < value);
                let mine = self.passed[from..].iter().take_while(|p| p.0 == value);
                work.extend(mine.filter(|p| !p.1.is_none()).map(|p| p.1));
            } else if let Some((inst, _)) = func.definition(value) {
                // Listed instructions with effects were seen already; their operands are marked at once again.
                if func.floats(inst) {
                    self.live.insert(inst);
                    work.extend(func.operands(inst));
                }
            }
        }
        self.work = work;
    }

    fn keeps(&self, func: &Function, param: Value) -> bool {
        func.insts[param].opcode == Opcode::BlockParam && self.live.contains(param)
    }

    /// Takes parameters and arguments out.
    fn remove(&mut self, func: &mut Function) {
        let Some(entry) = func.entry() else { return };
        let mut shrinks = vec![false; func.blocks.len()];
        for &block in &func.layout {
            shrinks[block.index()] =
                block != entry && func.block_params(block).any(|param| !self.keeps(func, param));
        }
        for at in 0..func.layout.len() {
            let block = func.layout[at];
            // What only dead parameters needed may stand in lists.
            let mut insts = core::mem::take(&mut func.blocks[block].insts);
            insts.retain(|&inst| !func.floats(inst) || self.live.contains(inst));
            func.blocks[block].insts = insts;
            let Some(end) = func.terminator(block) else { continue };
            for (k, call) in func.block_calls(end).into_iter().enumerate() {
                let target = func.block_call_target(call);
                if shrinks[target.index()] {
                    let made = self.shorter(func, target, call);
                    func.set_block_call(end, k, made);
                }
            }
        }
        for at in 1..func.layout.len() {
            let block = func.layout[at];
            if shrinks[block.index()] {
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

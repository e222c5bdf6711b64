//! The control-flow graph: edges both ways and the reverse postorder.

use crate::function::{Block, Function};
use sphex_entity::EntityRef;

/// Edges of a function's blocks, in both directions, and the order in which a forward walk wants to see the blocks.
#[derive(Clone, Debug, Default)]
pub struct Cfg {
    succ_start: Vec<u32>,
    succs: Vec<Block>,
    pred_start: Vec<u32>,
    preds: Vec<Block>,
    rpo: Vec<Block>,
    rpo_number: Vec<u32>,
    /// Memory of the computation, kept for the next.
    fill: Vec<u32>,
    stack: Vec<(Block, u32)>,
    in_layout: Vec<bool>,
}

const UNREACHABLE: u32 = u32::MAX;

impl Cfg {
    /// The graph of `func`.
    pub fn new(func: &Function) -> Self {
        let mut cfg = Self::default();
        cfg.compute(func);
        cfg
    }

    /// Computes the graph of `func`, reusing memory. Blocks outside the layout have no successors.
    pub fn compute(&mut self, func: &Function) {
        self.compute_edges(func);
        self.compute_order(func.blocks.len(), func.entry());
    }

    /// Any graph of `count` nodes, numbered as blocks, that is walked from `entry`: its edges are sorted by their source.
    pub fn compute_graph(&mut self, count: usize, entry: Block, edges: &[(Block, Block)]) {
        self.succ_start.clear();
        self.succs.clear();
        let mut rest = edges.iter().peekable();
        for node in 0..count {
            self.succ_start.push(self.succs.len() as u32);
            while let Some((_, to)) = rest.next_if(|edge| edge.0.index() == node) {
                self.succs.push(*to);
            }
        }
        self.compute_preds(count);
        self.compute_order(count, Some(entry));
    }

    /// Forgets the edges from blocks that control cannot get to, which the function has lost.
    pub fn drop_unreachable(&mut self) {
        let count = self.rpo_number.len();
        let (mut kept, mut start) = (0, 0);
        for node in 0..count {
            let end = self.succ_start[node + 1] as usize;
            self.succ_start[node] = kept as u32;
            if self.rpo_number[node] != UNREACHABLE {
                self.succs.copy_within(start..end, kept);
                kept += end - start;
            }
            start = end;
        }
        self.succs.truncate(kept);
        self.succ_start.truncate(count);
        self.compute_preds(count);
    }

    fn compute_edges(&mut self, func: &Function) {
        let count = func.blocks.len();
        self.in_layout.clear();
        self.in_layout.resize(count, false);
        for &block in &func.layout {
            self.in_layout[block.index()] = true;
        }
        self.succ_start.clear();
        self.succs.clear();
        for block in func.blocks.keys() {
            self.succ_start.push(self.succs.len() as u32);
            if self.in_layout[block.index()] {
                func.visit_successors(block, |to| {
                    if func.blocks.contains(to) {
                        self.succs.push(to);
                    }
                });
            }
        }
        self.compute_preds(count);
    }

    /// Counting sort of the edges by target: count, prefix sums, fill.
    fn compute_preds(&mut self, count: usize) {
        self.succ_start.push(self.succs.len() as u32);
        self.pred_start.clear();
        self.pred_start.resize(count + 1, 0);
        for target in &self.succs {
            self.pred_start[target.index() + 1] += 1;
        }
        for k in 0..count {
            self.pred_start[k + 1] += self.pred_start[k];
        }
        self.preds.clear();
        self.preds.resize(self.succs.len(), Block::NONE);
        self.fill.clone_from(&self.pred_start);
        for block in (0..count).map(Block::new) {
            for target in &self.succs[span(&self.succ_start, block)] {
                let at = &mut self.fill[target.index()];
                self.preds[*at as usize] = block;
                *at += 1;
            }
        }
    }

    fn compute_order(&mut self, count: usize, entry: Option<Block>) {
        self.rpo.clear();
        self.rpo_number.clear();
        self.rpo_number.resize(count, UNREACHABLE);
        let Some(entry) = entry else { return };
        // Depth first, successors from the last to the first, so that in the reversed order the first comes first.
        let mut stack = core::mem::take(&mut self.stack);
        stack.push((entry, self.succs(entry).len() as u32));
        self.rpo_number[entry.index()] = 0;
        while let Some((block, left)) = stack.last_mut() {
            if *left == 0 {
                self.rpo.push(*block);
                stack.pop();
                continue;
            }
            *left -= 1;
            let next = self.succs[(self.succ_start[block.index()] + *left) as usize];
            if self.rpo_number[next.index()] == UNREACHABLE {
                self.rpo_number[next.index()] = 0;
                let edges = self.succs(next).len() as u32;
                stack.push((next, edges));
            }
        }
        self.stack = stack;
        self.rpo.reverse();
        for (number, block) in self.rpo.iter().enumerate() {
            self.rpo_number[block.index()] = number as u32;
        }
    }

    /// The blocks that control may go to from `block`, one for each edge, in the order of the branch's block calls.
    pub fn succs(&self, block: Block) -> &[Block] {
        &self.succs[span(&self.succ_start, block)]
    }

    /// The blocks that may go on to `block`, one for each edge (unreachable ones too), in block order.
    pub fn preds(&self, block: Block) -> &[Block] {
        &self.preds[span(&self.pred_start, block)]
    }

    /// Reachable blocks in reverse postorder: the entry first, each block before what it dominates.
    pub fn rpo(&self) -> &[Block] {
        &self.rpo
    }

    /// Where a block stands in [`Self::rpo`]; `None` where it is unreachable.
    pub fn rpo_number(&self, block: Block) -> Option<u32> {
        self.rpo_number.get(block.index()).copied().filter(|&n| n != UNREACHABLE)
    }

    /// Whether control can get to `block`.
    pub fn is_reachable(&self, block: Block) -> bool {
        self.rpo_number(block).is_some()
    }
}

fn span(starts: &[u32], block: Block) -> core::ops::Range<usize> {
    match (starts.get(block.index()), starts.get(block.index() + 1)) {
        (Some(&from), Some(&to)) => from as usize..to as usize,
        _ => 0..0,
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::build::Builder;
    use crate::signature::{CallConv, ExternalName, Signature};
    use crate::types;

    /// A function whose block `i` goes on to the blocks `edges[i]`.
    pub(in crate::flow) fn graph(edges: &[Vec<u32>]) -> Function {
        let mut func = Function::new(ExternalName::symbol("g"), Signature::new(CallConv::Fast));
        let blocks: Vec<Block> = edges.iter().map(|_| func.add_block()).collect();
        let mut b = Builder::new(&mut func);
        for (from, to) in edges.iter().enumerate() {
            b.switch_to(blocks[from]);
            let calls: Vec<_> = to.iter().map(|&t| b.func.make_block_call(Block::from_u32(t), &[])).collect();
            match to[..] {
                [] => b.ret(&[]),
                [t] => b.jump(Block::from_u32(t), &[]),
                _ => {
                    let index = b.iconst(types::I32, 0);
                    b.br_table(index, &calls)
                }
            };
        }
        func
    }

    #[test]
    fn edges_stand_in_both_directions_once_each() {
        let func = graph(&[vec![1, 2, 2], vec![3], vec![3, 0], vec![], vec![3]]);
        let cfg = Cfg::new(&func);
        let block = Block::from_u32;
        let mut reached = cfg.clone();
        reached.drop_unreachable();
        assert_eq!(reached.preds(block(3)), [block(1), block(2)]);
        assert_eq!((reached.succs(block(2)), reached.succs(block(4))), (&[block(3), block(0)][..], &[][..]));
        assert_eq!(cfg.succs(block(0)), [block(1), block(2), block(2)]);
        assert_eq!(cfg.preds(block(2)), [block(0), block(0)]);
        assert_eq!(cfg.preds(block(3)), [block(1), block(2), block(4)]);
        assert_eq!(cfg.rpo(), [block(0), block(1), block(2), block(3)]);
        assert!(!cfg.is_reachable(block(4)));
    }
}

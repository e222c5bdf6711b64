//! The forest of natural loops.
//!
//! A loop is a header with the blocks that reach one of its back edges (edges from blocks that the header dominates).
//! Cycles entered in two places have no header and are no loops here; [`Loops::is_reducible`] says whether there are any.

use super::{Cfg, Dominators};
use crate::function::{Block, Function};
use sphex_entity::{EntityRef, PrimaryMap, entity};

entity! {
    /// A natural loop.
    pub struct Loop("loop");
}

/// A loop of the forest.
#[derive(Clone, Copy, Debug)]
pub struct LoopData {
    /// The block that every iteration begins with.
    pub header: Block,
    /// The innermost loop around this one.
    pub parent: Loop,
    /// 1 for a loop in no other.
    pub depth: u32,
}

/// The loops of a function. Outer loops have lower numbers than what they contain.
#[derive(Clone, Debug, Default)]
pub struct Loops {
    loops: PrimaryMap<Loop, LoopData>,
    innermost: Vec<Loop>,
    irreducible: bool,
}

impl Loops {
    /// The loops of `func`.
    pub fn new(func: &Function, cfg: &Cfg, dominators: &Dominators) -> Self {
        let mut loops = Self::default();
        loops.compute(func, cfg, dominators);
        loops
    }

    /// Computes the loops of `func`, reusing memory.
    pub fn compute(&mut self, func: &Function, cfg: &Cfg, dominators: &Dominators) {
        self.compute_graph(func.blocks.len(), cfg, dominators);
    }

    /// Computes the loops of any graph of `count` nodes, numbered as blocks.
    pub fn compute_graph(&mut self, count: usize, cfg: &Cfg, dominators: &Dominators) {
        self.loops.clear();
        self.innermost.clear();
        self.innermost.resize(count, Loop::NONE);
        self.find_headers(cfg, dominators);
        self.find_members(cfg, dominators);
        for l in self.loops.keys() {
            let depth = self.loops[l].parent.expand().map_or(0, |parent| self.loops[parent].depth);
            self.loops[l].depth = depth + 1;
        }
    }

    fn find_headers(&mut self, cfg: &Cfg, dominators: &Dominators) {
        self.irreducible = false;
        for &block in cfg.rpo() {
            let mut is_header = false;
            for &pred in cfg.preds(block).iter().filter(|p| cfg.is_reachable(**p)) {
                if cfg.rpo_number(pred) >= cfg.rpo_number(block) {
                    let back = dominators.dominates(block, pred);
                    is_header |= back;
                    self.irreducible |= !back;
                }
            }
            if is_header {
                self.loops.push(LoopData { header: block, parent: Loop::NONE, depth: 0 });
            }
        }
    }

    /// Inner loops first: walk backwards from the back edges to the header. A block that is already in a loop stands for
    /// the outermost loop found so far around it (a union-find forest), so each block is walked once.
    fn find_members(&mut self, cfg: &Cfg, dominators: &Dominators) {
        let mut outer: Vec<Loop> = self.loops.keys().collect();
        let mut work: Vec<Block> = Vec::new();
        for l in self.loops.keys().rev() {
            let header = self.loops[l].header;
            work.extend(cfg.preds(header).iter().filter(|p| dominators.dominates(header, **p)));
            while let Some(block) = work.pop() {
                let from = match self.innermost[block.index()].expand() {
                    None => {
                        self.innermost[block.index()] = l;
                        block
                    }
                    Some(inner) => {
                        let top = find(&mut outer, inner);
                        if top == l {
                            continue;
                        }
                        self.loops[top].parent = l;
                        outer[top.index()] = l;
                        self.loops[top].header
                    }
                };
                if from != header {
                    work.extend(cfg.preds(from).iter().filter(|p| cfg.is_reachable(**p)));
                }
            }
        }
    }

    /// Every loop, outer ones first.
    pub fn keys(&self) -> impl DoubleEndedIterator<Item = Loop> + ExactSizeIterator + use<> {
        self.loops.keys()
    }

    /// A loop's data.
    pub fn get(&self, l: Loop) -> &LoopData {
        &self.loops[l]
    }

    /// The innermost loop that a block is in.
    pub fn innermost(&self, block: Block) -> Option<Loop> {
        self.innermost.get(block.index()).copied().and_then(Loop::expand)
    }

    /// In how many loops a block is.
    pub fn depth(&self, block: Block) -> u32 {
        self.innermost(block).map_or(0, |l| self.loops[l].depth)
    }

    /// The loop that a block is the header of.
    pub fn headed_by(&self, block: Block) -> Option<Loop> {
        self.innermost(block).filter(|l| self.loops[*l].header == block)
    }

    /// Whether `block` is in `l` or in a loop inside it. Walks up the forest.
    pub fn contains(&self, l: Loop, block: Block) -> bool {
        let mut at = self.innermost(block);
        while let Some(inner) = at.filter(|inner| self.loops[*inner].depth > self.loops[l].depth) {
            at = self.loops[inner].parent.expand();
        }
        at == Some(l)
    }

    /// Whether every cycle is a natural loop.
    pub fn is_reducible(&self) -> bool {
        !self.irreducible
    }
}

fn find(outer: &mut [Loop], mut l: Loop) -> Loop {
    while outer[l.index()] != l {
        let above = outer[l.index()];
        outer[l.index()] = outer[above.index()]; // halve the path
        l = above;
    }
    l
}

#[cfg(test)]
mod tests {
    use super::super::cfg::tests::graph;
    use super::*;

    fn loops(edges: &[Vec<u32>]) -> Loops {
        let func = graph(edges);
        let cfg = Cfg::new(&func);
        Loops::new(&func, &cfg, &Dominators::new(&func, &cfg))
    }

    fn depths(loops: &Loops, n: u32) -> Vec<u32> {
        (0..n).map(|b| loops.depth(Block::from_u32(b))).collect()
    }

    #[test]
    fn nests_and_siblings() {
        // 1 is a loop around the loops 2 (a block on itself) and 3-4; 5 is the exit.
        let found = loops(&[vec![1], vec![2], vec![2, 3], vec![4], vec![3, 1, 5], vec![]]);
        assert_eq!(depths(&found, 6), [0, 1, 2, 2, 2, 0]);
        assert_eq!(found.keys().map(|l| found.get(l).header.as_u32()).collect::<Vec<_>>(), [1, 2, 3]);
        assert!(found.is_reducible() && found.headed_by(Block::from_u32(3)).is_some());
        let outer = found.innermost(Block::from_u32(1)).unwrap();
        assert!(found.contains(outer, Block::from_u32(4)) && !found.contains(outer, Block::from_u32(5)));
    }

    #[test]
    fn a_cycle_with_two_entries_is_not_a_loop() {
        let found = loops(&[vec![1, 2], vec![2], vec![1]]);
        assert!(!found.is_reducible() && depths(&found, 3) == [0, 0, 0]);
    }

    #[test]
    fn ten_thousand_nested_loops() {
        let n = 10_000u32;
        let mut edges: Vec<Vec<u32>> = (0..n).map(|i| vec![i + 1]).collect();
        edges.extend((0..n).map(|i| vec![n - 1 - i, n + i + 1]));
        edges.push(vec![]);
        let found = loops(&edges);
        assert_eq!(found.depth(Block::from_u32(n - 1)), n);
        assert_eq!(found.depth(Block::from_u32(n)), n);
    }
}

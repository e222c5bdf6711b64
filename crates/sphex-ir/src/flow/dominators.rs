//! Dominators: by one round of the iterative method where that is enough, else by Lengauer and Tarjan's with path
//! compression: O(edges * log blocks) on every graph.
//!
//! The iterative method (Cooper, Harvey and Kennedy) gets its answer in the first round if every edge back goes to a block
//! that dominates where it comes from, which is so where programs are structured. It takes quadratic time on graphs that a
//! hostile module can have, so it has a budget. All walks here keep their own stacks.

use super::Cfg;
use crate::function::{Block, Function, Value};
use sphex_entity::EntityRef;

const NONE: u32 = u32::MAX;

/// The dominator tree of the reachable blocks.
#[derive(Clone, Debug, Default)]
pub struct Dominators {
    idom: Vec<Block>,
    children_start: Vec<u32>,
    children: Vec<Block>,
    preorder: Vec<Block>,
    // Times of entering and leaving a block in a walk of the tree: `a` dominates `b` iff b's span lies in a's.
    enter: Vec<u32>,
    leave: Vec<u32>,
    /// Memory of the computation, kept for the next.
    walk: DepthFirst,
    forest: Forest,
    fill: Vec<u32>,
}

impl Dominators {
    /// The tree of `func`, whose graph is `cfg`.
    pub fn new(func: &Function, cfg: &Cfg) -> Self {
        let mut tree = Self::default();
        tree.compute(func, cfg);
        tree
    }

    /// Computes the tree of `func`, reusing memory.
    pub fn compute(&mut self, func: &Function, cfg: &Cfg) {
        self.compute_graph(func.blocks.len(), func.entry(), cfg);
    }

    /// Computes the tree of any graph of `count` nodes, numbered as blocks.
    pub fn compute_graph(&mut self, count: usize, entry: Option<Block>, cfg: &Cfg) {
        self.idom.clear();
        self.idom.resize(count, Block::NONE);
        let Some(entry) = entry else {
            self.finish(count, None);
            return;
        };
        if self.one_round(cfg) {
            self.finish(count, Some((entry, cfg)));
            if self.backs_are_dominated(cfg) {
                return;
            }
        }
        self.idom.fill(Block::NONE);
        self.walk.run(count, entry, cfg);
        let Self { walk, forest, idom, .. } = self;
        forest.find(walk, cfg);
        for (number, &above) in forest.idom.iter().enumerate().skip(1) {
            idom[walk.blocks[number].index()] = walk.blocks[above as usize];
        }
        self.finish(count, Some((entry, cfg)));
    }

    /// The first round of the iterative method, which leaves edges back out of account. Says `false` if it takes too long.
    fn one_round(&mut self, cfg: &Cfg) -> bool {
        let rpo = cfg.rpo();
        let mut budget = 64 + 16 * rpo.len();
        // By numbers in reverse postorder: above[n] < n.
        let above = &mut self.fill;
        above.clear();
        above.push(0);
        for (number, &block) in rpo.iter().enumerate().skip(1) {
            let mut common = NONE;
            for &pred in cfg.preds(block) {
                let Some(mut pred) = cfg.rpo_number(pred).filter(|&pred| (pred as usize) < number) else {
                    continue;
                };
                if common == NONE {
                    common = pred;
                }
                while common != pred {
                    let deeper = if common > pred { &mut common } else { &mut pred };
                    *deeper = above[*deeper as usize];
                    if budget == 0 {
                        return false;
                    }
                    budget -= 1;
                }
            }
            above.push(common);
            self.idom[block.index()] = rpo[common as usize];
        }
        true
    }

    /// Whether all edges back go to blocks that dominate where they come from; then one round was enough.
    fn backs_are_dominated(&self, cfg: &Cfg) -> bool {
        cfg.rpo().iter().enumerate().all(|(number, &block)| {
            let back = |pred: &&Block| cfg.rpo_number(**pred).is_some_and(|pred| pred as usize >= number);
            cfg.preds(block).iter().filter(back).all(|&pred| self.dominates(block, pred))
        })
    }

    /// Child lists (children in reverse postorder) and the tree walk's times.
    fn finish(&mut self, count: usize, root: Option<(Block, &Cfg)>) {
        self.children_start.clear();
        self.children_start.resize(count + 1, 0);
        for idom in self.idom.iter().filter(|b| !b.is_none()) {
            self.children_start[idom.index() + 1] += 1;
        }
        for k in 0..count {
            self.children_start[k + 1] += self.children_start[k];
        }
        self.children.clear();
        self.children.resize(self.children_start[count] as usize, Block::NONE);
        self.preorder.clear();
        self.enter.clear();
        self.enter.resize(count, NONE);
        self.leave.clear();
        self.leave.resize(count, NONE);
        let Some((entry, cfg)) = root else { return };
        self.fill.clone_from(&self.children_start);
        for &block in cfg.rpo() {
            self.leave[block.index()] = 1;
            if let Some(idom) = self.idom[block.index()].expand() {
                self.children[self.fill[idom.index()] as usize] = block;
                self.fill[idom.index()] += 1;
            }
        }
        // Sizes of subtrees, then places: a block comes behind its parent and the subtrees of its earlier siblings.
        for &block in cfg.rpo().iter().rev() {
            if let Some(idom) = self.idom[block.index()].expand() {
                self.leave[idom.index()] += self.leave[block.index()];
            }
        }
        self.preorder.resize(cfg.rpo().len(), entry);
        self.enter[entry.index()] = 0;
        self.fill[entry.index()] = 1;
        for &block in cfg.rpo() {
            let size = self.leave[block.index()];
            if let Some(idom) = self.idom[block.index()].expand() {
                let at = self.fill[idom.index()];
                self.fill[idom.index()] += size;
                self.enter[block.index()] = at;
                self.fill[block.index()] = at + 1;
            }
            let at = self.enter[block.index()];
            self.leave[block.index()] = at + size;
            self.preorder[at as usize] = block;
        }
    }

    /// The block that immediately dominates `block`; `None` for the entry and for unreachable blocks.
    pub fn idom(&self, block: Block) -> Option<Block> {
        self.idom.get(block.index()).copied().and_then(Block::expand)
    }

    /// The blocks that `block` immediately dominates, in reverse postorder.
    pub fn children(&self, block: Block) -> &[Block] {
        match (self.children_start.get(block.index()), self.children_start.get(block.index() + 1)) {
            (Some(&from), Some(&to)) => &self.children[from as usize..to as usize],
            _ => &[],
        }
    }

    /// Reachable blocks, parents before children, subtrees together.
    pub fn preorder(&self) -> &[Block] {
        &self.preorder
    }

    /// Whether control can get to `block`.
    pub fn is_reachable(&self, block: Block) -> bool {
        self.enter.get(block.index()).is_some_and(|&t| t != NONE)
    }

    /// Whether every path from the entry to `b` passes `a` (a block dominates itself). Unreachable blocks neither
    /// dominate nor are dominated.
    pub fn dominates(&self, a: Block, b: Block) -> bool {
        if !self.is_reachable(a) || !self.is_reachable(b) {
            return false;
        }
        let (a, b) = (a.index(), b.index());
        self.enter[a] <= self.enter[b] && self.leave[b] <= self.leave[a]
    }

    /// The deepest block that dominates both.
    pub fn common(&self, mut a: Block, b: Block) -> Option<Block> {
        while !self.dominates(a, b) {
            a = self.idom(a)?;
        }
        Some(a)
    }

    /// The block that a listed instruction or a block parameter belongs to.
    pub fn block_of(func: &Function, value: Value) -> Block {
        match func.definition(value) {
            Some((inst, _)) => func.block_of[inst],
            None => Block::from_u32(func.insts[value].a),
        }
    }
}

/// A depth-first numbering of the reachable blocks.
#[derive(Clone, Debug, Default)]
struct DepthFirst {
    blocks: Vec<Block>,
    parent: Vec<u32>,
    number: Vec<u32>,
    stack: Vec<(u32, u32)>,
}

impl DepthFirst {
    fn run(&mut self, count: usize, entry: Block, cfg: &Cfg) {
        self.blocks.clear();
        self.parent.clear();
        self.number.clear();
        self.number.resize(count, NONE);
        self.enter(entry, 0);
        let mut stack = core::mem::take(&mut self.stack);
        stack.push((0, 0));
        while let Some((at, next)) = stack.last_mut() {
            let at = *at;
            match cfg.succs(self.blocks[at as usize]).get(*next as usize) {
                Some(&succ) => {
                    *next += 1;
                    if self.number[succ.index()] == NONE {
                        let number = self.enter(succ, at);
                        stack.push((number, 0));
                    }
                }
                None => {
                    stack.pop();
                }
            }
        }
        self.stack = stack;
    }

    fn enter(&mut self, block: Block, parent: u32) -> u32 {
        let number = self.blocks.len() as u32;
        self.number[block.index()] = number;
        self.blocks.push(block);
        self.parent.push(parent);
        number
    }
}

/// The forest of already processed vertices, with the vertex of least semidominator on the way to the root.
#[derive(Clone, Debug, Default)]
struct Forest {
    ancestor: Vec<u32>,
    label: Vec<u32>,
    semi: Vec<u32>,
    path: Vec<u32>,
    /// Immediate dominators as depth-first numbers; the entry's is itself.
    idom: Vec<u32>,
    /// The vertices with a given semidominator, as linked lists.
    bucket: Vec<u32>,
    bucket_next: Vec<u32>,
}

impl Forest {
    fn reset(&mut self, count: usize) {
        for (list, value) in [
            (&mut self.ancestor, NONE),
            (&mut self.bucket, NONE),
            (&mut self.bucket_next, NONE),
            (&mut self.idom, 0),
        ] {
            list.clear();
            list.resize(count, value);
        }
        for list in [&mut self.label, &mut self.semi] {
            list.clear();
            list.extend(0..count as u32);
        }
    }

    /// Finds `idom`.
    fn find(&mut self, walk: &DepthFirst, cfg: &Cfg) {
        let n = walk.blocks.len();
        self.reset(n);
        for w in (1..n as u32).rev() {
            let wi = w as usize;
            for pred in cfg.preds(walk.blocks[wi]) {
                let number = walk.number[pred.index()];
                if number != NONE {
                    let u = self.least(number);
                    self.semi[wi] = self.semi[wi].min(self.semi[u as usize]);
                }
            }
            let semi = self.semi[wi] as usize;
            self.bucket_next[wi] = self.bucket[semi];
            self.bucket[semi] = w;
            let parent = walk.parent[wi];
            self.ancestor[wi] = parent;
            let mut v = core::mem::replace(&mut self.bucket[parent as usize], NONE);
            while v != NONE {
                let u = self.least(v);
                let lower = self.semi[u as usize] < self.semi[v as usize];
                self.idom[v as usize] = if lower { u } else { parent };
                v = self.bucket_next[v as usize];
            }
        }
        for w in 1..n {
            if self.idom[w] != self.semi[w] {
                self.idom[w] = self.idom[self.idom[w] as usize];
            }
        }
    }

    /// The vertex of least semidominator between `v` and its tree's root, the root excluded. Shortens the path.
    fn least(&mut self, v: u32) -> u32 {
        if self.ancestor[v as usize] == NONE {
            return self.label[v as usize];
        }
        let mut at = v;
        while self.ancestor[self.ancestor[at as usize] as usize] != NONE {
            self.path.push(at);
            at = self.ancestor[at as usize];
        }
        while let Some(below) = self.path.pop() {
            let above = self.ancestor[below as usize] as usize;
            if self.semi[self.label[above] as usize] < self.semi[self.label[below as usize] as usize] {
                self.label[below as usize] = self.label[above];
            }
            self.ancestor[below as usize] = self.ancestor[above];
        }
        self.label[v as usize]
    }
}

#[cfg(test)]
mod tests {
    use super::super::cfg::tests::graph;
    use super::*;

    /// Dominance by its definition: `a` dominates `b` if `b` cannot be reached without `a`.
    fn reachable_without(cfg: &Cfg, entry: Block, avoid: Block, count: usize) -> Vec<bool> {
        let mut seen = vec![false; count];
        let mut work = if entry == avoid { vec![] } else { vec![entry] };
        while let Some(block) = work.pop() {
            if !core::mem::replace(&mut seen[block.index()], true) {
                work.extend(cfg.succs(block).iter().filter(|b| **b != avoid));
            }
        }
        seen
    }

    #[test]
    fn agrees_with_the_definition_on_random_graphs() {
        let mut state = 1u64;
        let mut random = move |below: u64| {
            state = state.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
            (state >> 33) % below
        };
        for _ in 0..300 {
            let n = 1 + random(12) as usize;
            let edges: Vec<Vec<u32>> =
                (0..n).map(|_| (0..random(4)).map(|_| random(n as u64) as u32).collect()).collect();
            let func = graph(&edges);
            let cfg = Cfg::new(&func);
            let tree = Dominators::new(&func, &cfg);
            let entry = func.entry().unwrap();
            for a in func.blocks.keys() {
                let without = reachable_without(&cfg, entry, a, n);
                for b in func.blocks.keys() {
                    let expected = cfg.is_reachable(a) && cfg.is_reachable(b) && !without[b.index()];
                    assert_eq!(tree.dominates(a, b), expected, "{a} {b} in {edges:?}");
                }
            }
        }
    }

    #[test]
    fn a_hundred_thousand_blocks_take_no_time() {
        // A ladder that is bad for the iterative method: each block goes one forward and one back.
        let n = 100_000u32;
        let edges: Vec<Vec<u32>> =
            (0..n).map(|i| if i + 1 < n { vec![i + 1, i.saturating_sub(1)] } else { vec![i - 1] }).collect();
        let func = graph(&edges);
        let cfg = Cfg::new(&func);
        let tree = Dominators::new(&func, &cfg);
        assert_eq!(tree.idom(Block::from_u32(n - 1)), Some(Block::from_u32(n - 2)));
    }
}

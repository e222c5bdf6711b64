//! How often blocks run, which of them are in which loops, who dominates whom.
//!
//! Needs: a finished machine function. Gives: [`Flow`].

use crate::machine::{MachineBlock, MachineFunction, Pseudo};
use sphex_entity::EntityRef;
use sphex_ir::Block;
use sphex_ir::flow::{Cfg, Dominators, Loops};

/// The graph of a function's blocks.
#[derive(Debug, Default)]
pub(super) struct Flow {
    edges: Vec<(Block, Block)>,
    cfg: Cfg,
    /// Who dominates whom; blocks are numbered as the machine function's.
    pub dominators: Dominators,
    loops: Loops,
    /// How often each block runs, by guess.
    pub frequency: Vec<f32>,
    /// In how many loops each block is.
    pub depth: Vec<u32>,
    /// The loop that each block is in innermost, as the number of its header; `NONE` outside.
    pub header: Vec<u32>,
    /// Where a block goes on that is only an edge: it has one block before it and one behind it, which is none such, no
    /// parameters, and a jump. `NONE` for the others.
    pub edge_to: Vec<u32>,
}

impl Flow {
    /// Computes it all.
    pub fn compute(&mut self, func: &MachineFunction) {
        let count = func.blocks.len();
        self.edges.clear();
        for block in func.blocks.keys() {
            let from = Block::from_u32(block.as_u32());
            self.edges.extend(func.successors_of(block).map(|to| (from, Block::from_u32(to.as_u32()))));
        }
        let entry = Block::from_u32(0);
        self.cfg.compute_graph(count, entry, &self.edges);
        self.dominators.compute_graph(count, Some(entry), &self.cfg);
        self.loops.compute_graph(count, &self.cfg, &self.dominators);
        self.frequency.clear();
        self.depth.clear();
        self.header.clear();
        for (block, data) in func.blocks.iter() {
            let block = Block::from_u32(block.as_u32());
            let depth = self.loops.depth(block);
            let cold = if data.cold { 1.0 / 256.0 } else { 1.0 };
            self.depth.push(depth);
            self.frequency.push(8f32.powi(depth.min(12) as i32) * cold);
            let header = self.loops.innermost(block).map(|l| self.loops.get(l).header);
            self.header.push(header.map_or(super::NONE, |block| block.as_u32()));
        }
        self.find_edges(func);
    }

    /// Half of the blocks of a large function can be edges. Each stands behind the one block before it, so that of several
    /// in a row the last is found first.
    fn find_edges(&mut self, func: &MachineFunction) {
        self.edge_to.clear();
        self.edge_to.resize(func.blocks.len(), super::NONE);
        for block in (0..func.blocks.len()).rev() {
            let data = &func.blocks[entity(block)];
            let jumps = data.insts.range().len() == 1
                && func.insts[data.insts.start as usize].pseudo() == Some(Pseudo::Jump);
            if jumps && data.params.range().is_empty() && data.predecessors.range().len() == 1 {
                let target = func.successors[data.successors.start as usize].index();
                let before = func.predecessors[data.predecessors.start as usize].index();
                if self.edge_to[target] == super::NONE && before < block && target != block {
                    self.edge_to[block] = target as u32;
                }
            }
        }
    }

    /// The block behind an edge.
    pub fn edge(&self, block: usize) -> Option<usize> {
        let target = self.edge_to[block];
        (target != super::NONE).then_some(target as usize)
    }

    /// Whether a loop begins with the block.
    pub fn is_header(&self, block: usize) -> bool {
        self.header[block] == block as u32
    }

    /// The header of the loop around the one that `header` is of.
    pub fn outer(&self, header: u32) -> u32 {
        let parent = self.loops.innermost(Block::from_u32(header)).map(|l| self.loops.get(l).parent);
        parent.and_then(|l| l.expand()).map_or(super::NONE, |l| self.loops.get(l).header.as_u32())
    }

    /// Headers, those of inner loops before those around them.
    pub fn headers_inside_out(&self) -> impl Iterator<Item = u32> + '_ {
        self.loops.keys().rev().map(|l| self.loops.get(l).header.as_u32())
    }

    /// The block right above another in the dominators' tree.
    pub fn above(&self, block: u32) -> Option<u32> {
        self.dominators.idom(Block::from_u32(block)).map(|block| block.as_u32())
    }

    /// The lowest block that dominates both.
    pub fn common(&self, a: u32, b: u32) -> u32 {
        self.dominators.common(Block::from_u32(a), Block::from_u32(b)).map_or(0, |block| block.as_u32())
    }

    /// Whether the way from one block to another leaves loops, and how many.
    pub fn exits(&self, from: usize, to: usize) -> u32 {
        self.depth[from].saturating_sub(self.depth[to])
    }
}

/// A block's number as an entity.
pub(super) fn entity(block: usize) -> MachineBlock {
    MachineBlock::new(block)
}

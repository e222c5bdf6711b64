//! The graph of blocks that the passes share: computed when a pass asks for it, kept as long as no edge changes.
//!
//! Needs: a pass that changes edges (or their order in a terminator) calls [`Graph::forget`]. Gives: edges, dominators and
//! loops. Cost: that of computing each, once for all passes between two changes.

use sphex_ir::Function;
use sphex_ir::flow::{Cfg, Dominators, Loops};

/// Edges, dominators and loops of one function.
#[derive(Debug, Default)]
pub struct Graph {
    /// Edges; right after [`Self::edges`].
    pub cfg: Cfg,
    /// Dominators; right after [`Self::tree`].
    pub dominators: Dominators,
    /// Loops; right after [`Self::tree`].
    pub loops: Loops,
    has_edges: bool,
    has_tree: bool,
}

impl Graph {
    /// Edges have changed.
    pub fn forget(&mut self) {
        (self.has_edges, self.has_tree) = (false, false);
    }

    /// The blocks that control cannot get to have lost their edges.
    pub fn drop_unreachable(&mut self) {
        self.cfg.drop_unreachable();
        self.has_tree = false;
    }

    /// Computes the edges, if they are not known.
    pub fn edges(&mut self, func: &Function) {
        if !self.has_edges {
            self.cfg.compute(func);
            self.has_edges = true;
        }
    }

    /// Computes edges, dominators and loops, as far as they are not known.
    pub fn tree(&mut self, func: &Function) {
        self.edges(func);
        if !self.has_tree {
            self.dominators.compute(func, &self.cfg);
            self.loops.compute(func, &self.cfg, &self.dominators);
            self.has_tree = true;
        }
    }
}

//! Loops that choose where to go on by a local that most ways back to them set to a constant.
//!
//! Compilers make control flow without a structure (a state machine of `goto`s) into a loop that begins with
//! `block* local.get br_table`: each jump sets the local and branches to the loop. Here such a branch goes where the table
//! would send it.
//!
//! Needs the prescan's word of which loops these are. Gives jumps past the table, into the joins behind its blocks. Cost: a
//! parameter of each such join for each local that the loop assigns, within [`MOST`].
//!
//! D1. The join of a block that such a table leads to has a parameter for every local that the loop assigns, as the loop's
//!     header has: what a jump to it hands over is complete, however much later the jump stands.
//! D2. Every cycle through such a join looks for an interruption and takes fuel there, as a loop's header does.
//! D3. Between the loop's header and the blocks' ends nothing is pushed on the operand stack, and neither loop nor blocks
//!     have parameters or results: the stack at a join is the stack at the header.

use super::{Output, Translator, Values};
use sphex_ir::Block;

/// Most parameters that the joins of one table get.
const MOST: usize = 2048;

/// A loop of this kind.
#[derive(Debug)]
pub(super) struct Dispatch {
    /// The loop's frame, by position.
    depth: usize,
    /// The local that the table looks at.
    selector: u32,
    /// Accesses noted before the loop: all that are known at a join that is jumped to from further down.
    accesses: u32,
    /// Whether the table has been met.
    met: bool,
    /// Frames that the table leads to, by position, its default first; empty if that is not worth while.
    targets: Vec<usize>,
    /// Joins of those among them that have ended, and the locals that each has parameters for.
    joins: Vec<(usize, Block, Vec<u32>)>,
}

impl Translator<'_, '_, '_> {
    /// A loop's frame has been pushed.
    pub(super) fn begin_dispatch(&mut self, ordinal: usize) {
        if let Some(selector) = self.scan.selector(ordinal)
            && self.slots.is_none()
            && self.settings.optimize
        {
            let depth = self.frames.len() - 1;
            self.dispatches.push(Dispatch {
                depth,
                selector,
                accesses: self.accesses.mark(),
                met: false,
                targets: Vec::new(),
                joins: Vec::new(),
            });
        }
    }

    /// A table with these targets, by position of their frames, the default first, has been met.
    pub(super) fn note_table(&mut self, targets: &[usize]) {
        let Some(dispatch) = self.dispatches.last_mut().filter(|dispatch| !dispatch.met) else { return };
        dispatch.met = true;
        let ordinal = self.frames[dispatch.depth].ordinal();
        let blocks = self.frames.len() - 1 - dispatch.depth;
        if blocks * self.scan.assigned(ordinal).len() <= MOST {
            dispatch.targets = targets.to_vec();
        }
    }

    /// The locals that the join of the frame at this depth needs parameters for, if such a table leads there (D1).
    pub(super) fn dispatched_locals(&mut self, depth: usize) -> Option<Vec<u32>> {
        let dispatch = self.dispatches.last().filter(|dispatch| dispatch.targets.contains(&depth))?;
        if depth <= dispatch.depth || dispatch.joins.iter().any(|join| join.0 == depth) {
            return None;
        }
        let ordinal = self.frames[dispatch.depth].ordinal();
        let mut locals = Vec::new();
        self.loop_locals(ordinal, |_, local| locals.push(local));
        Some(locals)
    }

    /// The join of the frame at this depth stands: jumps may go there (D2).
    pub(super) fn dispatched_join(&mut self, depth: usize, join: Block, locals: Vec<u32>) -> Output {
        if let Some(dispatch) = self.dispatches.last_mut() {
            dispatch.joins.push((depth, join, locals));
            self.accesses.forget_since(dispatch.accesses);
        }
        if self.settings.interruption {
            self.interruption_check();
        }
        self.take_fuel();
        Ok(())
    }

    /// Where a branch to the loop at this depth goes on, and with what, if its table's local is a constant now and leads to
    /// a join that stands.
    pub(super) fn past_dispatch(&self, depth: usize) -> Option<(Block, Values)> {
        let dispatch = self.dispatches.iter().rev().find(|dispatch| dispatch.depth == depth)?;
        let selected = self.b.func.resolve(self.locals.get(dispatch.selector));
        let index = usize::try_from(self.b.func.as_iconst(selected)? as u32).ok()?;
        let target = dispatch.targets.get(index.saturating_add(1)).or(dispatch.targets.first())?;
        let (_, join, locals) = dispatch.joins.iter().find(|join| join.0 == *target)?;
        Some((*join, locals.iter().map(|&local| self.locals.get(local)).collect()))
    }

    /// The frame at this depth has ended.
    pub(super) fn end_dispatch(&mut self, depth: usize) {
        if self.dispatches.last().is_some_and(|dispatch| dispatch.depth >= depth) {
            self.dispatches.pop();
        }
    }
}

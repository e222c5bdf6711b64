//! The order of blocks in memory.
//!
//! Needs: placed, no unreachable block.   Gives: an order in which cold blocks come last and innermost loops that test at
//! the top end with the test.   Breaks: nothing.   Cost: O(blocks + edges).
//!
//! A loop `header, body, jump header` costs two jumps an iteration; `body, header` costs one, for one more at entry. The
//! source's order, which what builds the IR follows, is kept otherwise: wasm's blocks are nested as they should lie.

use super::graph::Graph;
use sphex_entity::EntityRef;
use sphex_ir::{Block, Function, Opcode};

/// Scratch of the pass, reused from function to function.
#[derive(Debug, Default)]
pub struct Scratch {
    has_inner: Vec<bool>,
}

/// Orders the blocks.
pub fn layout(func: &mut Function, scratch: &mut Scratch, graph: &mut Graph) {
    let Some(entry) = func.entry() else { return };
    graph.tree(func);
    let old = core::mem::take(&mut func.layout);
    let (hot, cold): (Vec<Block>, Vec<Block>) =
        old.into_iter().partition(|&b| b == entry || !func.blocks[b].cold);
    let mut order = scratch.rotate(func, graph, hot);
    order.extend(cold);
    func.layout = order;
}

impl Scratch {
    fn rotate(&mut self, func: &Function, graph: &Graph, order: Vec<Block>) -> Vec<Block> {
        self.has_inner.clear();
        self.has_inner.resize(graph.loops.keys().len(), false);
        for l in graph.loops.keys() {
            if let Some(parent) = graph.loops.get(l).parent.expand() {
                self.has_inner[parent.index()] = true;
            }
        }
        let mut rotated = Vec::with_capacity(order.len());
        let mut at = 0;
        while at < order.len() {
            let length = self.span(func, graph, &order[at..]);
            if at > 0 && length > 1 {
                rotated.extend(&order[at + 1..at + length]);
            }
            rotated.push(order[at]);
            at += if at > 0 { length.max(1) } else { 1 };
        }
        rotated
    }

    /// How many blocks of `order`, from the first on, are a loop to rotate; 0 if it begins with none.
    fn span(&self, func: &Function, graph: &Graph, order: &[Block]) -> usize {
        let header = order[0];
        let Some(l) = graph.loops.headed_by(header).filter(|l| !self.has_inner[l.index()]) else { return 0 };
        let inside = |b: &Block| graph.loops.innermost(*b) == Some(l);
        let exits = graph.cfg.succs(header).iter().filter(|b| !inside(b)).count();
        if exits != 1 || graph.cfg.succs(header).len() != 2 {
            return 0;
        }
        let length = order.iter().take_while(|b| inside(b)).count();
        let last = order[length - 1];
        let jumps = func.terminator(last).is_some_and(|end| func.insts[end].opcode == Opcode::Jump);
        if length > 1 && jumps && graph.cfg.succs(last) == [header] { length } else { 0 }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use sphex_ir::parse::parse_functions;

    #[test]
    fn a_loop_ends_with_its_test_and_traps_come_last() {
        let text = "function %f(i32) -> i32 {
            block0(v0: i32):
                jump block1(v0)
            block1(v1: i32):
                brif v1, block2, block4
            block2:
                brif v0, block3, block5
            block5 cold:
                trap user1
            block3:
                v2 = iadd v1, v0
                jump block1(v2)
            block4:
                return v1
            }";
        let mut func = parse_functions(text).expect("it parses").remove(0);
        let before = func.layout.clone();
        layout(&mut func, &mut Scratch::default(), &mut Graph::default());
        let place = |k: usize| before.iter().position(|b| *b == func.layout[k]);
        // Entry, body (two blocks), header, exit, trap.
        assert_eq!((0..6).map(place).collect::<Option<Vec<_>>>().unwrap(), [0, 2, 4, 1, 5, 3]);
    }
}

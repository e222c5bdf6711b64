//! The optimizer: one pass a file.
//!
//! Needs: verified IR, placed or floating.   Gives: placed IR that computes the same.   Cost: each pass is linear or nearly;
//! at most [`ROUNDS`] rounds.
//!
//! | pass | what it does | why there |
//! |---|---|---|
//! | [`params`] | removes dead and redundant block parameters | what is merged hides what is equal |
//! | [`simplify`] | folds, deduplicates; with [`memory`] forwards loads, with [`bounds`] decides checks and branches | knows the values |
//! | [`branches`] | threads jumps, merges blocks, marks cold ones | decided branches leave trivial blocks |
//! | [`place`] | gives floating values a block | when nothing folds any more |
//! | [`layout`] | orders the blocks | when they are final |

pub mod bounds;
pub mod branches;
pub mod graph;
pub mod layout;
pub mod memory;
pub mod params;
pub mod place;
pub mod simplify;

use graph::Graph;
use sphex_ir::flow::Cfg;
use sphex_ir::{Block, Function};

/// Rounds of the passes that make work for each other.
pub const ROUNDS: usize = 3;

/// Scratch of all passes: one a thread.
#[derive(Debug, Default)]
pub struct Scratch {
    graph: Graph,
    params: params::Scratch,
    simplify: simplify::Scratch,
    branches: branches::Scratch,
    place: place::Scratch,
    layout: layout::Scratch,
}

/// Optimizes a function, placed or floating, and places it. `check` is called after each pass, with its name.
pub fn optimize<E>(
    func: &mut Function,
    scratch: &mut Scratch,
    mut check: impl FnMut(&Function, &'static str) -> Result<(), E>,
) -> Result<(), E> {
    let graph = &mut scratch.graph;
    graph.forget();
    branches::branches(func, &mut scratch.branches, graph);
    check(func, "branches")?;
    for _ in 0..ROUNDS {
        params::params(func, &mut scratch.params);
        check(func, "params")?;
        simplify::simplify(func, &mut scratch.simplify, graph);
        check(func, "simplify")?;
        let changed = branches::branches(func, &mut scratch.branches, graph);
        check(func, "branches")?;
        if !changed {
            break;
        }
    }
    place::place(func, &mut scratch.place, graph);
    check(func, "place")?;
    layout::layout(func, &mut scratch.layout, graph);
    check(func, "layout")
}

/// Takes the blocks that control cannot get to out of the layout; says whether there were any.
fn drop_unreachable(func: &mut Function, cfg: &Cfg) -> bool {
    let Some(entry) = func.entry() else { return false };
    if cfg.rpo().len() == func.layout.len() {
        return false;
    }
    let mut layout = core::mem::take(&mut func.layout);
    layout.retain(|&block| {
        let kept = block == entry || cfg.is_reachable(block);
        if !kept {
            let insts = core::mem::take(&mut func.blocks[block].insts);
            for &inst in &insts {
                func.block_of[inst] = Block::NONE;
            }
            func.reuse_list(insts);
        }
        kept
    });
    func.layout = layout;
    true
}

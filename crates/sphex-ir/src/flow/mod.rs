//! Control flow: who comes before whom, who dominates whom, what loops.
//!
//! Needs: a function whose blocks end in terminators. Gives: [`Cfg`] (edges both ways, reverse postorder), [`Dominators`]
//! (tree, constant-time queries) and [`Loops`] (the forest of natural loops). Each is a snapshot: computing it again after
//! a change reuses its memory. Everything is iterative; cost is linear in blocks and edges but for a logarithm.

mod cfg;
mod dominators;
mod loops;

pub use cfg::Cfg;
pub use dominators::Dominators;
pub use loops::{Loop, LoopData, Loops};

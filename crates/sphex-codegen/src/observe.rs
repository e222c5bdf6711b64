//! Watching a compilation: what each step leaves behind, for tools that show it, time it or count it.
//!
//! There is one pipeline. A [`Watcher`] goes along with it and hands the state between two steps to an [`Observer`]; with
//! nobody to watch that is one branch a step, and nothing is copied or counted.

use crate::emit::CompiledFunction;
use crate::machine::MachineFunction;
use crate::regalloc::Allocation;
use sphex_ir::Function;

/// A function between two steps.
#[derive(Clone, Copy, Debug)]
pub enum State<'a> {
    /// IR, floating until it has been placed.
    Ir(&'a Function),
    /// Machine rows with virtual registers.
    Machine(&'a MachineFunction),
    /// The same with a location for each operand, and moves.
    Allocated(&'a MachineFunction, &'a Allocation<'a>),
    /// Bytes and records.
    Code(&'a CompiledFunction),
}

/// Who looks on. A compilation does not depend on it.
pub trait Observer {
    /// The step of this name has ended, and left this.
    fn step(&mut self, name: &'static str, state: State<'_>);
}

/// An observer, or nobody.
#[derive(Default)]
pub struct Watcher<'a>(Option<&'a mut (dyn Observer + 'a)>);

impl<'a> Watcher<'a> {
    /// Nobody watches.
    pub const fn nobody() -> Self {
        Watcher(None)
    }

    /// This one watches, if there is one.
    pub fn new(observer: Option<&'a mut (dyn Observer + 'a)>) -> Self {
        Watcher(observer)
    }

    /// Tells that a step has ended.
    pub fn step(&mut self, name: &'static str, state: State<'_>) {
        if let Some(observer) = &mut self.0 {
            observer.step(name, state);
        }
    }
}

impl core::fmt::Debug for Watcher<'_> {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str(if self.0.is_some() { "Watcher(somebody)" } else { "Watcher(nobody)" })
    }
}

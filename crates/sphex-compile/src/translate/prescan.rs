//! One linear look at a body before it is translated.
//!
//! Needs the bytes of a body, valid or not. Gives, per loop, the locals assigned inside; which `if`s have an `else`; which
//! functions it tail-calls; what inlining asks. Cost: one decode, and the sum over loops of the locals assigned in them,
//! which stops at a budget: such a function is compiled with its locals in stack slots.
//!
//! What it says of an invalid body does not matter: the translator finds the error.

use std::ops::Range;
use wasmparser::{BinaryReader, BlockType, FrameKind, FrameStack, VisitOperator, VisitSimdOperator};

/// More locals than the validator allows: further indices are errors that it will report.
const MAX_LOCALS: u32 = 60_000;

/// What the prescan found.
#[derive(Debug, Default)]
pub(crate) struct Prescan {
    assigned: Vec<u32>,
    loops: Vec<Range<u32>>,
    has_else: Vec<bool>,
    /// Loops that begin with `block* local.get br_table`, none of which has parameters or results, in order, and the local.
    selectors: Vec<(u32, u32)>,
    /// Functions that it tail-calls.
    pub(crate) tail_calls: Vec<u32>,
    /// It tail-calls through a table or a reference.
    pub(crate) tail_calls_out: bool,
    /// It calls functions, directly or not.
    pub(crate) calls: bool,
    /// Operators.
    pub(crate) operators: u32,
    /// Loops and locals multiply beyond the budget.
    pub(crate) over_budget: bool,
    /// Entries that were moved.
    pub(crate) cost: u64,
}

impl Prescan {
    /// The locals assigned in the loop that begins as the `ordinal`th.
    pub(crate) fn assigned(&self, ordinal: usize) -> &[u32] {
        self.loops.get(ordinal).map_or(&[], |r| &self.assigned[r.start as usize..r.end as usize])
    }

    /// Whether there is a loop.
    pub(crate) fn has_loops(&self) -> bool {
        !self.loops.is_empty()
    }

    /// The local that the `ordinal`th loop looks at first to choose where to go on, by a table.
    pub(crate) fn selector(&self, ordinal: usize) -> Option<u32> {
        let at = self.selectors.binary_search_by_key(&(ordinal as u32), |selector| selector.0);
        at.ok().map(|at| self.selectors[at].1)
    }

    /// Whether the `ordinal`th `if` has an `else`.
    pub(crate) fn has_else(&self, ordinal: usize) -> bool {
        self.has_else.get(ordinal).copied().unwrap_or(true)
    }
}

/// Looks through the operators that `reader` stands before.
pub(crate) fn prescan(mut reader: BinaryReader<'_>, budget: u64) -> Prescan {
    let mut scan = Scan { budget, ..Scan::default() };
    scan.frames.push((FrameKind::Block, 0));
    while !reader.eof() && !scan.frames.is_empty() {
        scan.before = std::mem::take(&mut scan.opening);
        if reader.visit_operator(&mut scan).is_err() {
            break;
        }
        scan.found.operators = scan.found.operators.saturating_add(1);
    }
    scan.found
}

/// A first assignment of a local inside a loop; `before` is the stamp that it replaced.
struct Assignment {
    local: u32,
    before: u32,
}

/// What the operators up to here might be the beginning of a loop of: see [`Prescan::selector`].
#[derive(Clone, Copy, Default)]
enum Opening {
    #[default]
    None,
    /// A loop, by number, and blocks.
    Blocks(u32),
    /// And a local.
    Local(u32, u32),
}

/// I1. `stamps[x]` is the innermost open loop (by number, from 1) whose section of `log` has `x`, or 0, or stale.
#[derive(Default)]
struct Scan {
    found: Prescan,
    budget: u64,
    /// Kind; ordinal of the loop or `if`.
    frames: Vec<(FrameKind, usize)>,
    /// Open loops: number, start of their section of the log.
    open: Vec<(u32, usize)>,
    log: Vec<Assignment>,
    stamps: Vec<u32>,
    /// What is open behind the last operator, and before it.
    opening: Opening,
    before: Opening,
}

impl Scan {
    fn open_block(&mut self, ty: BlockType) {
        self.enter(FrameKind::Block);
        if let (Opening::Blocks(ordinal), BlockType::Empty) = (self.before, ty) {
            self.opening = Opening::Blocks(ordinal);
        }
    }

    fn open_loop(&mut self, ty: BlockType) {
        self.enter(FrameKind::Loop);
        if ty == BlockType::Empty {
            self.opening = Opening::Blocks(self.found.loops.len() as u32 - 1);
        }
    }

    fn get(&mut self, local: u32) {
        if let Opening::Blocks(ordinal) = self.before {
            self.opening = Opening::Local(ordinal, local);
        }
    }

    fn table(&mut self) {
        if let Opening::Local(ordinal, local) = self.before {
            self.found.selectors.push((ordinal, local));
        }
    }

    fn assign(&mut self, local: u32) {
        let Some(&(number, _)) = self.open.last() else { return };
        if local >= MAX_LOCALS || self.found.over_budget {
            return;
        }
        let index = local as usize;
        if index >= self.stamps.len() {
            self.stamps.resize(index + 1, 0);
        }
        if self.stamps[index] != number {
            self.log.push(Assignment { local, before: self.stamps[index] });
            self.stamps[index] = number;
        }
    }

    fn enter(&mut self, kind: FrameKind) {
        let ordinal = match kind {
            FrameKind::Loop => {
                self.found.loops.push(0..0);
                self.open.push((self.found.loops.len() as u32, self.log.len()));
                self.found.loops.len() - 1
            }
            FrameKind::If => {
                self.found.has_else.push(false);
                self.found.has_else.len() - 1
            }
            _ => 0,
        };
        self.frames.push((kind, ordinal));
    }

    fn leave(&mut self) {
        let Some((FrameKind::Loop, ordinal)) = self.frames.pop() else { return };
        let Some((_, start)) = self.open.pop() else { return };
        if self.found.over_budget {
            return;
        }
        self.found.cost += (self.log.len() - start) as u64;
        if self.found.cost > self.budget {
            self.found.over_budget = true;
            return;
        }
        let first = self.found.assigned.len() as u32;
        self.found.assigned.extend(self.log[start..].iter().map(|a| a.local));
        self.found.loops[ordinal] = first..self.found.assigned.len() as u32;
        let parent = self.open.last().map_or(0, |open| open.0);
        let mut kept = start;
        for k in start..self.log.len() {
            let Assignment { local, before } = self.log[k];
            self.stamps[local as usize] = parent;
            if parent != 0 && before != parent {
                self.log[kept] = Assignment { local, before };
                kept += 1;
            }
        }
        self.log.truncate(kept);
    }
}

impl FrameStack for Scan {
    fn current_frame(&self) -> Option<FrameKind> {
        self.frames.last().map(|f| f.0)
    }
}

macro_rules! look {
    ($scan:ident visit_block $blockty:ident) => { $scan.open_block($blockty) };
    ($scan:ident visit_loop $blockty:ident) => { $scan.open_loop($blockty) };
    ($scan:ident visit_if $blockty:ident) => { { let _: BlockType = $blockty; $scan.enter(FrameKind::If); } };
    ($scan:ident visit_try $blockty:ident) => { { let _: BlockType = $blockty; $scan.enter(FrameKind::LegacyTry); } };
    ($scan:ident visit_try_table $table:ident) => { { let _ = &$table; $scan.enter(FrameKind::TryTable); } };
    ($scan:ident visit_else) => { $scan.other_arm(FrameKind::Else) };
    ($scan:ident visit_catch $tag:ident) => { { let _: u32 = $tag; $scan.other_arm(FrameKind::LegacyCatch) } };
    ($scan:ident visit_catch_all) => { $scan.other_arm(FrameKind::LegacyCatchAll) };
    ($scan:ident visit_delegate $depth:ident) => { { let _: u32 = $depth; $scan.leave() } };
    ($scan:ident visit_end) => { $scan.leave() };
    ($scan:ident visit_local_get $local:ident) => { $scan.get($local) };
    ($scan:ident visit_br_table $targets:ident) => { { let _ = &$targets; $scan.table(); } };
    ($scan:ident visit_local_set $local:ident) => { $scan.assign($local) };
    ($scan:ident visit_local_tee $local:ident) => { $scan.assign($local) };
    ($scan:ident visit_call $f:ident) => { { let _: u32 = $f; $scan.found.calls = true; } };
    ($scan:ident visit_call_indirect $ty:ident $table:ident) => { { let _: (u32, u32) = ($ty, $table); $scan.found.calls = true; } };
    ($scan:ident visit_return_call $f:ident) => { { $scan.found.calls = true; $scan.found.tail_calls.push($f); } };
    ($scan:ident visit_return_call_indirect $ty:ident $table:ident) => {
        { let _: (u32, u32) = ($ty, $table); $scan.found.calls = true; $scan.found.tail_calls_out = true; }
    };
    ($scan:ident $other:ident $($arg:ident)*) => { { $(let _ = &$arg;)* } };
}

macro_rules! visit {
    ($(@$proposal:ident $op:ident $({ $($arg:ident: $argty:ty),* })? => $visit:ident ($($ann:tt)*))*) => {
        $(
        fn $visit(&mut self $($(, $arg: $argty)*)?) { look!(self $visit $($($arg)*)?) })*
    };
}

impl Scan {
    fn other_arm(&mut self, kind: FrameKind) {
        if let Some(frame) = self.frames.last_mut() {
            if frame.0 == FrameKind::If {
                self.found.has_else[frame.1] = true;
            }
            frame.0 = kind;
        }
    }
}

impl<'a> VisitOperator<'a> for Scan {
    type Output = ();

    fn simd_visitor(&mut self) -> Option<&mut dyn VisitSimdOperator<'a, Output = ()>> {
        Some(self)
    }

    wasmparser::for_each_visit_operator!(visit);
}

impl<'a> VisitSimdOperator<'a> for Scan {
    wasmparser::for_each_visit_simd_operator!(visit);
}

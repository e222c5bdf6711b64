//! Dominance: a value is there before it is used.
//!
//! Each value has a point from which it is available: a block and a position in its list. A floating instruction's is the
//! latest of its operands'; they must lie on one path of the dominator tree. Floating instructions are visited depth first
//! with an explicit stack, which also finds cycles.

use super::Report;
use crate::flow::{Cfg, Dominators};
use crate::function::{Block, Function, Value};
use crate::table::Format;
use sphex_entity::EntityRef;

/// Available in `block` from position `at` on (0: from its start), and in what it dominates.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Point {
    block: Block,
    at: u32,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    New,
    Entered,
    Known(Point),
    Wrong,
}

struct Points<'f> {
    func: &'f Function,
    tree: &'f Dominators,
    states: Vec<State>,
}

pub(super) fn check(func: &Function, cfg: &Cfg, tree: &Dominators, report: &mut Report<'_>) {
    let mut points = Points { func, tree, states: vec![State::New; func.insts.len()] };
    points.listed();
    for &block in func.layout.iter().filter(|block| cfg.is_reachable(**block)) {
        for (at, &inst) in func.blocks[block].insts.iter().enumerate() {
            let mut used = Vec::new();
            func.visit_uses(inst, |value| used.push(value));
            let here = Point { block, at: at as u32 };
            for value in used {
                check_use(&mut points, inst, value, here, report);
            }
        }
    }
}

fn check_use(points: &mut Points<'_>, inst: Value, value: Value, here: Point, report: &mut Report<'_>) {
    let func = points.func;
    let resolved = func.resolve(value);
    let own = func.definition(resolved).is_some_and(|(of, _)| of == inst);
    let is_try = matches!(func.insts[inst].format(), Format::TryCall | Format::TryCallIndirect);
    if own && is_try && resolved != inst {
        return; // a try_call's results exist on its edges only
    }
    match points.of(resolved, report) {
        Some(point) if !points.reaches(point, here) => {
            let value = report.printer().value(value);
            let message = format!("{value} is not available here: its definition does not dominate this use");
            report.operand(inst, resolved, message);
        }
        Some(_) => {}
        None => report.operand(inst, resolved, "the value is computed nowhere"),
    }
}

impl Points<'_> {
    /// Points of parameters and listed instructions.
    fn listed(&mut self) {
        let func = self.func;
        for &block in &func.layout {
            for param in func.block_params(block) {
                self.states[param.index()] = State::Known(Point { block, at: 0 });
            }
            for (at, &inst) in func.blocks[block].insts.iter().enumerate() {
                self.states[inst.index()] = State::Known(Point { block, at: at as u32 + 1 });
            }
        }
    }

    fn reaches(&self, from: Point, to: Point) -> bool {
        if from.block == to.block {
            return from.at <= to.at;
        }
        self.tree.dominates(from.block, to.block)
    }

    /// The instruction or parameter that makes a value, aliases and projections followed.
    fn source(&self, value: Value) -> Value {
        let value = self.func.resolve(value);
        self.func.definition(value).map_or(value, |(inst, _)| inst)
    }

    /// Where a value is available from; `None` where it is made nowhere (a cycle is reported here).
    fn of(&mut self, value: Value, report: &mut Report<'_>) -> Option<Point> {
        let source = self.source(value);
        let mut stack = vec![source];
        while let Some(&inst) = stack.last() {
            if matches!(self.states[inst.index()], State::Known(_) | State::Wrong) {
                stack.pop();
                continue;
            }
            if !self.func.floats(inst) {
                self.states[inst.index()] = State::Wrong;
                continue;
            }
            let operands: Vec<Value> =
                self.func.operands(inst).into_iter().map(|operand| self.source(operand)).collect();
            let waiting: Vec<Value> =
                operands.iter().copied().filter(|o| self.states[o.index()] == State::New).collect();
            if self.states[inst.index()] == State::New && !waiting.is_empty() {
                self.states[inst.index()] = State::Entered;
                stack.extend(waiting);
                continue;
            }
            self.states[inst.index()] = self.latest(inst, &operands, report);
            stack.pop();
        }
        match self.states[source.index()] {
            State::Known(point) => Some(point),
            _ => None,
        }
    }

    /// The point of a floating instruction whose operands' points are known.
    fn latest(&self, inst: Value, operands: &[Value], report: &mut Report<'_>) -> State {
        let Some(entry) = self.func.entry() else { return State::Wrong };
        let mut latest = Point { block: entry, at: 0 };
        for operand in operands {
            match self.states[operand.index()] {
                State::Known(point) if self.reaches(latest, point) => latest = point,
                State::Known(point) if self.reaches(point, latest) => {}
                State::Known(_) => {
                    report.operand(inst, *operand, "the operands are available on different paths only");
                    return State::Wrong;
                }
                State::Entered => {
                    report.operand(inst, *operand, "the instruction depends on itself");
                    return State::Wrong;
                }
                State::New | State::Wrong => return State::Wrong,
            }
        }
        State::Known(latest)
    }
}

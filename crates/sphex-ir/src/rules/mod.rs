//! Rewrite rules: peephole identities as data.
//!
//! A [`Rule`] is a left-hand template (a tree of opcodes with variables and constants as leaves) and a rewrite, which may
//! decline: that is its guard. Rules of an opcode are tried in the order of their table. Rewrites lower (cost, size).
//!
//! Needs: operands resolved, commuting operands in canonical order (constants last). Gives: a simpler value or none.
//! `tests/rules.rs` instantiates every template, checks that the rule fired and compares with the interpreter.

mod compare;
mod convert;
mod divide;
mod integer;

use crate::fold::{Folder, Rewrite};
use crate::function::{Function, InstData, SrcLoc, Value};
use crate::table::{Effects, Opcode};
use crate::types::Type;
use std::sync::LazyLock;

/// A template.
#[derive(Clone, Copy, Debug)]
pub enum Pat {
    /// Any value, bound to this variable (0 to 3); a variable that is bound already must be the same value.
    Var(usize),
    /// Any integer constant, bound to this slot (0 to 1).
    Const(usize),
    /// This integer constant, sign-extended to the type's width.
    Int(i64),
    /// A pure instruction with these operands.
    Op(Opcode, &'static [Pat]),
}

/// What a template's leaves are.
#[derive(Clone, Copy, Debug)]
pub struct Match {
    /// Values of the variables.
    pub vars: [Value; 4],
    /// The constants, zero-extended.
    pub consts: [u64; 2],
    /// Type of the root's result.
    pub ty: Type,
    /// Type of the root's first operand.
    pub arg: Type,
    /// The root.
    pub root: InstData,
}

/// A row: name, template, rewrite.
#[derive(Clone, Copy, Debug)]
pub struct Rule {
    /// Unique name.
    pub name: &'static str,
    /// The left-hand side; its root is an [`Pat::Op`].
    pub pattern: Pat,
    /// Makes the right-hand side, or declines.
    pub rewrite: fn(&mut Rewrite<'_>, &Match) -> Option<Value>,
}

/// Every rule, in order.
pub static RULES: LazyLock<Vec<Rule>> = LazyLock::new(|| {
    [integer::RULES, compare::RULES, convert::RULES, divide::RULES].into_iter().flatten().copied().collect()
});

/// A rule of an opcode: its number in [`RULES`], and the opcodes that its first two operands must have, if it says so.
/// Most rules are found not to apply by these alone.
#[derive(Clone, Copy, Debug)]
struct Candidate {
    number: u16,
    first: Option<Opcode>,
    second: Option<Opcode>,
}

/// The rules by the root's opcode.
static BY_OPCODE: LazyLock<Vec<Vec<Candidate>>> = LazyLock::new(|| {
    let mut index = vec![Vec::new(); 256];
    for (number, rule) in RULES.iter().enumerate() {
        if let Pat::Op(opcode, operands) = rule.pattern {
            let wanted = |k: usize| match operands.get(k)? {
                Pat::Var(_) => None,
                Pat::Const(_) | Pat::Int(_) => Some(Opcode::Iconst),
                Pat::Op(opcode, _) => Some(*opcode),
            };
            let (first, second) = (wanted(0), wanted(1));
            index[opcode as usize].push(Candidate { number: number as u16, first, second });
        }
    }
    index
});

/// The first rule's result that applies.
pub(crate) fn apply(folder: &mut Folder, func: &mut Function, data: &InstData, loc: SrcLoc) -> Option<Value> {
    let candidates = &BY_OPCODE[data.opcode as usize];
    if candidates.is_empty() {
        return None;
    }
    let rules = &*RULES;
    let orders = if data.opcode.row().effects.has(Effects::COMMUTES) { 2 } else { 1 };
    for &Candidate { number, first, second } in candidates {
        let rule = &rules[number as usize];
        let Pat::Op(_, operands) = rule.pattern else { continue };
        for order in 0..orders {
            // Asked anew each time: a rewrite that declines may have made instructions.
            let (a, b) = if order == 1 { (data.b, data.a) } else { (data.a, data.b) };
            if !may_be(func, a, first) || !may_be(func, b, second) {
                continue;
            }
            let Some(found) = matches(func, data, operands, order == 1) else { continue };
            if let Some(value) = (rule.rewrite)(&mut Rewrite::new(folder, func, loc), &found) {
                if let Some(count) = folder.firings.get_mut(number as usize) {
                    *count += 1;
                }
                return Some(value);
            }
        }
    }
    None
}

/// May this operand be what a template wants there?
#[inline(always)]
fn may_be(func: &Function, operand: u32, wanted: Option<Opcode>) -> bool {
    wanted.is_none_or(|wanted| func.insts[func.resolve(Value::from_u32(operand))].opcode == wanted)
}

/// Matches the operands of `data` against templates, the first two swapped on request.
fn matches(func: &Function, data: &InstData, operands: &[Pat], swapped: bool) -> Option<Match> {
    let words = [data.a, data.b, data.c];
    let mut found = Match {
        vars: [Value::NONE; 4],
        consts: [0; 2],
        ty: data.ty,
        arg: func.type_of(Value::from_u32(data.a)),
        root: *data,
    };
    for (k, pattern) in operands.iter().enumerate() {
        let word = words[if swapped && k < 2 { 1 - k } else { k }];
        if !leaf(func, Value::from_u32(word), pattern, &mut found) {
            return None;
        }
    }
    Some(found)
}

/// Matches a value against a template; the recursion is as deep as the template (three at most).
fn leaf(func: &Function, value: Value, pattern: &Pat, found: &mut Match) -> bool {
    let value = func.resolve(value);
    let data = &func.insts[value];
    match *pattern {
        Pat::Var(k) if found.vars[k].is_none() => {
            found.vars[k] = value;
            true
        }
        Pat::Var(k) => found.vars[k] == value,
        Pat::Const(k) => {
            found.consts[k] = data.imm64();
            data.opcode == Opcode::Iconst && data.ty.bits() <= 64
        }
        Pat::Int(k) => {
            data.opcode == Opcode::Iconst && data.imm64() == k as u64 & crate::evaluate::mask(data.ty)
        }
        Pat::Op(opcode, operands) => {
            let words = [data.a, data.b, data.c];
            data.opcode == opcode
                && operands.iter().enumerate().all(|(k, p)| leaf(func, Value::from_u32(words[k]), p, found))
        }
    }
}

/// Shorthand for the tables.
pub(crate) mod short {
    pub(crate) use super::Pat::{self, Op};
    pub(crate) use super::{Match, Rule};
    pub(crate) use crate::fold::Rewrite;
    pub(crate) use crate::function::Value;
    pub(crate) use crate::table::Opcode;
    pub(crate) const X: Pat = Pat::Var(0);
    pub(crate) const Y: Pat = Pat::Var(1);
    pub(crate) const Z: Pat = Pat::Var(2);
    pub(crate) const K: Pat = Pat::Const(0);
    pub(crate) const L: Pat = Pat::Const(1);
    pub(crate) const ZERO: Pat = Pat::Int(0);
    pub(crate) const ONE: Pat = Pat::Int(1);
    pub(crate) const ONES: Pat = Pat::Int(-1);

    /// A row.
    pub(crate) const fn rule(
        name: &'static str,
        pattern: Pat,
        rewrite: fn(&mut Rewrite<'_>, &Match) -> Option<Value>,
    ) -> Rule {
        Rule { name, pattern, rewrite }
    }
}

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

/// The rules of one opcode, as sets of bits: bit `k` of each is for the `k`th of `rules`.
#[derive(Debug)]
struct Index {
    /// Numbers in [`RULES`].
    rules: Vec<u16>,
    /// Which rules the first operand's opcode admits, and which the second's. Most rules are found not to apply by these.
    admits: [Box<[u32; 256]>; 2],
    /// Which rules do not want the first two operands to be the same value.
    differ: u32,
}

/// The rules by the root's opcode. No opcode has more than 32.
static BY_OPCODE: LazyLock<Vec<Option<Index>>> = LazyLock::new(|| {
    let mut index: Vec<Option<Index>> = (0..256).map(|_| None).collect();
    for (number, rule) in RULES.iter().enumerate() {
        let Pat::Op(opcode, operands) = rule.pattern else { continue };
        let of_opcode = index[opcode as usize].get_or_insert_with(|| Index {
            rules: Vec::new(),
            admits: [Box::new([0; 256]), Box::new([0; 256])],
            differ: 0,
        });
        let bit = 1 << of_opcode.rules.len();
        of_opcode.rules.push(number as u16);
        for (k, admits) in of_opcode.admits.iter_mut().enumerate() {
            match operands.get(k) {
                None | Some(Pat::Var(_)) => admits.iter_mut().for_each(|set| *set |= bit),
                Some(Pat::Const(_) | Pat::Int(_)) => admits[Opcode::Iconst as usize] |= bit,
                Some(Pat::Op(opcode, _)) => admits[*opcode as usize] |= bit,
            }
        }
        if !matches!(operands, [Pat::Var(x), Pat::Var(y), ..] if x == y) {
            of_opcode.differ |= bit;
        }
    }
    index
});

/// The first rule's result that applies.
pub(crate) fn apply(folder: &mut Folder, func: &mut Function, data: &InstData, loc: SrcLoc) -> Option<Value> {
    let index = BY_OPCODE[data.opcode as usize].as_ref()?;
    let shape = data.opcode.shape();
    let operand = |word: u32| func.resolve(Value::from_u32(word));
    let (a, b) = match shape.words {
        (0, 0) => return None,
        (0, 1) => (operand(data.a), operand(data.a)),
        _ => (operand(data.a), operand(data.b)),
    };
    let [first, second] = &index.admits;
    let [of_a, of_b] = [a, b].map(|value| func.insts[value].opcode as usize);
    let wanted = if a == b { u32::MAX } else { index.differ };
    let direct = first[of_a] & second[of_b] & wanted;
    let swapped = match shape.effects.has(Effects::COMMUTES) {
        true => first[of_b] & second[of_a] & wanted,
        false => 0,
    };
    let mut left = direct | swapped;
    while left != 0 {
        let k = left.trailing_zeros();
        left &= left - 1;
        let number = index.rules[k as usize] as usize;
        let rule = &RULES[number];
        let Pat::Op(_, operands) = rule.pattern else { continue };
        for order in [direct, swapped].into_iter().enumerate().filter(|(_, set)| set >> k & 1 != 0) {
            let Some(found) = matches(func, data, operands, order.0 == 1) else { continue };
            if let Some(value) = (rule.rewrite)(&mut Rewrite::new(folder, func, loc), &found) {
                if let Some(count) = folder.firings.get_mut(number) {
                    *count += 1;
                }
                return Some(value);
            }
        }
    }
    None
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

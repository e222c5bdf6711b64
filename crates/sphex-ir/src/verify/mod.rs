//! The verifier: whether a function means anything.
//!
//! Needs: any function, also a malformed one. Gives: nothing, or every error found, each with the instruction's line and a
//! caret under the guilty word. Placed and floating functions are both known: a pure instruction in no list is checked where
//! it is used. Cost: linear, but for the dominator tree's logarithm. Three steps, each only if the one before found
//! nothing: references ([`structure`]), types ([`instruction`]), dominance ([`dominance`]).

mod dominance;
mod instruction;
mod structure;

use crate::flow::{Cfg, Dominators};
use crate::function::{Block, Function, Value};
use crate::print::Printer;
use core::fmt;

/// One thing that is wrong.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct VerifierError {
    /// Where: an instruction's line, a block's, or a declaration.
    pub place: String,
    /// Columns of `place` to point at, from 0: start and length.
    pub span: (usize, usize),
    /// What.
    pub message: String,
}

/// Everything that is wrong with a function.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct VerifierErrors {
    /// The function's name.
    pub function: String,
    /// At least one error; at most [`LIMIT`].
    pub errors: Vec<VerifierError>,
}

/// No more errors than this are collected.
pub const LIMIT: usize = 100;

impl fmt::Display for VerifierError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (at, length) = self.span;
        let caret = "^".repeat(length.max(1));
        write!(f, "    {}\n    {:at$}{caret}\n    {}", self.place, "", self.message)
    }
}

impl fmt::Display for VerifierErrors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "function {} is invalid", self.function)?;
        self.errors.iter().try_for_each(|error| write!(f, "\n{error}"))
    }
}

impl std::error::Error for VerifierErrors {}

/// Checks a function.
pub fn verify(func: &Function) -> Result<(), VerifierErrors> {
    let mut report = Report { func, printer: None, errors: Vec::new() };
    structure::check(func, &mut report);
    if report.errors.is_empty() {
        instruction::check(func, &mut report);
    }
    if report.errors.is_empty() {
        let cfg = Cfg::new(func);
        let tree = Dominators::new(func, &cfg);
        dominance::check(func, &cfg, &tree, &mut report);
    }
    if report.errors.is_empty() {
        return Ok(());
    }
    Err(VerifierErrors { function: func.name.to_string(), errors: report.errors })
}

/// Collects errors; values are numbered for printing when the first one comes.
struct Report<'f> {
    func: &'f Function,
    printer: Option<Printer<'f>>,
    errors: Vec<VerifierError>,
}

impl<'f> Report<'f> {
    fn printer(&mut self) -> &Printer<'f> {
        let func = self.func;
        self.printer.get_or_insert_with(|| Printer::new(func))
    }

    fn is_full(&self) -> bool {
        self.errors.len() >= LIMIT
    }

    fn add(&mut self, place: String, word: Option<&str>, message: String) {
        if !self.is_full() {
            let span = word.and_then(|word| find_word(&place, word)).unwrap_or((0, place.chars().count()));
            self.errors.push(VerifierError { place, span, message });
        }
    }

    /// An error about a declaration or the whole function.
    fn general(&mut self, place: impl Into<String>, message: impl Into<String>) {
        self.add(place.into(), None, message.into());
    }

    fn block(&mut self, block: Block, message: impl Into<String>) {
        if !self.is_full() {
            let place = self.printer().block_header(block);
            self.add(place, None, message.into());
        }
    }

    /// An error about an instruction; the caret stands under its opcode.
    fn inst(&mut self, inst: Value, message: impl Into<String>) {
        if !self.is_full() {
            let name = self.func.insts[inst].opcode.row().name;
            let place = self.printer().inst(inst);
            self.add(place, Some(name), message.into());
        }
    }

    /// An error about one value that an instruction uses; the caret stands under the value.
    fn operand(&mut self, inst: Value, operand: Value, message: impl Into<String>) {
        if !self.is_full() {
            let place = self.printer().inst(inst);
            let word = self.printer().value(operand);
            self.add(place, Some(&word), message.into());
        }
    }
}

/// Where `word` last stands in `line` as a whole word: start and length.
fn find_word(line: &str, word: &str) -> Option<(usize, usize)> {
    let is_part = |c: Option<char>| c.is_some_and(|c| c.is_ascii_alphanumeric() || c == '_');
    let whole = |at: usize| {
        !is_part(line[..at].chars().next_back()) && !is_part(line[at + word.len()..].chars().next())
    };
    let at = line.rmatch_indices(word).map(|(at, _)| at).find(|at| whole(*at))?;
    Some((line[..at].chars().count(), word.chars().count()))
}

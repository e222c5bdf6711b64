//! `; run:` and `; print:` lines: a call, and what must come of it. Beside CLIF's own: `; run: %f(1) == trap int_divz`.

use super::testfile::TestFile;
use sphex_ir::interpret::DataValue;
use sphex_ir::parse::Comment;
use sphex_ir::{AbiParam, Function, TrapCode};

/// What must come of a call.
#[derive(Clone, PartialEq, Debug)]
pub enum Expectation {
    /// These results.
    Equal(Vec<DataValue>),
    /// Other results.
    NotEqual(Vec<DataValue>),
    /// A trap.
    Trap(TrapCode),
    /// A first result that is not zero.
    True,
    /// Any results; they are shown.
    Shown,
}

/// A call.
#[derive(Clone, PartialEq, Debug)]
pub struct Invocation {
    /// The line of the comment.
    pub line: u32,
    /// The function's name in text.
    pub function: String,
    /// Arguments of the types of its parameters.
    pub args: Vec<DataValue>,
    /// What must come of it.
    pub expectation: Expectation,
}

/// The text of a comment without its semicolons.
pub fn content(comment: &Comment) -> &str {
    comment.text.trim_start_matches(';').trim()
}

/// The calls of a file, in order.
pub fn invocations(file: &TestFile<'_>) -> Result<Vec<Invocation>, String> {
    let mut found = Vec::new();
    for parsed in &file.functions {
        for comment in &parsed.comments {
            let text = content(comment);
            let at_line = |error: String| format!("{}: {error}", comment.line);
            if text == "run" {
                found.push(Invocation {
                    line: comment.line,
                    function: parsed.function.name.to_string(),
                    args: Vec::new(),
                    expectation: Expectation::True,
                });
            } else if let Some(call) = text.strip_prefix("run:") {
                found.push(invocation(file, comment.line, call.trim()).map_err(at_line)?);
            } else if let Some(call) = text.strip_prefix("print:") {
                let call = invocation(file, comment.line, call.trim()).map_err(at_line)?;
                found.push(Invocation { expectation: Expectation::Shown, ..call });
            }
        }
    }
    Ok(found)
}

/// Parses `%f(1, 2) == 3`.
fn invocation(file: &TestFile<'_>, line: u32, text: &str) -> Result<Invocation, String> {
    let text = text.split(';').next().unwrap_or("").trim();
    let (call, expected, equal) = match (text.find("=="), text.find("!=")) {
        (Some(at), _) => (&text[..at], Some(&text[at + 2..]), true),
        (None, Some(at)) => (&text[..at], Some(&text[at + 2..]), false),
        (None, None) => (text, None, true),
    };
    let call = call.trim();
    let open = call.find('(').ok_or_else(|| format!("expected a call, found `{call}`"))?;
    let name = call[..open].trim();
    let list = call[open + 1..].strip_suffix(')').ok_or_else(|| format!("expected `)`, found `{call}`"))?;
    // A misspelt name is that of the only function in sight or an error; it is never passed over.
    let function = file.function(name).ok_or_else(|| format!("expected a function, found `{name}`"))?;
    let args = values(&split(list), &function.signature.params)?;
    let expectation = match expected {
        None => Expectation::True,
        Some(text) if equal && text.trim().starts_with("trap ") => {
            let code = text.trim()["trap ".len()..].trim();
            let code =
                TrapCode::parse(code).ok_or_else(|| format!("expected a trap code, found `{code}`"))?;
            Expectation::Trap(code)
        }
        Some(text) => {
            let results = results(function, text.trim())?;
            if equal { Expectation::Equal(results) } else { Expectation::NotEqual(results) }
        }
    };
    Ok(Invocation { line, function: name.to_string(), args, expectation })
}

/// One result as it is, several in brackets.
fn results(function: &Function, text: &str) -> Result<Vec<DataValue>, String> {
    let returns = &function.signature.returns;
    if returns.len() == 1 {
        return values(&[text], returns);
    }
    let inner = text.strip_prefix('[').and_then(|t| t.strip_suffix(']'));
    values(&split(inner.ok_or_else(|| format!("expected results in brackets, found `{text}`"))?), returns)
}

/// Splits at commas outside of brackets.
fn split(text: &str) -> Vec<&str> {
    let mut parts = Vec::new();
    let (mut depth, mut from) = (0, 0);
    for (at, c) in text.char_indices() {
        match c {
            '[' => depth += 1,
            ']' => depth -= 1,
            ',' if depth == 0 => {
                parts.push(text[from..at].trim());
                from = at + 1;
            }
            _ => {}
        }
    }
    let last = text[from..].trim();
    if !last.is_empty() || !parts.is_empty() {
        parts.push(last);
    }
    parts
}

fn values(texts: &[&str], params: &[AbiParam]) -> Result<Vec<DataValue>, String> {
    if texts.len() != params.len() {
        return Err(format!("expected {} values, found {}", params.len(), texts.len()));
    }
    let parse = |(text, param): (&&str, &AbiParam)| {
        DataValue::parse(text, param.ty)
            .ok_or_else(|| format!("expected a value of type {}, found `{text}`", param.ty))
    };
    texts.iter().zip(params).map(parse).collect()
}

impl Invocation {
    /// Whether these results are what was expected; if not, why not. Gives what is to be shown.
    pub fn judge(&self, results: &[DataValue]) -> Result<Option<String>, String> {
        let shown = |values: &[DataValue]| {
            let texts: Vec<String> = values.iter().map(DataValue::to_string).collect();
            if texts.len() == 1 { texts[0].clone() } else { format!("[{}]", texts.join(", ")) }
        };
        let same = |expected: &[DataValue]| {
            expected.len() == results.len() && results.iter().zip(expected).all(|(r, e)| r.matches(*e))
        };
        let args: Vec<String> = self.args.iter().map(DataValue::to_string).collect();
        let call = format!("{}: {}({})", self.line, self.function, args.join(", "));
        match &self.expectation {
            Expectation::Equal(expected) if !same(expected) => {
                Err(format!("{call}: expected {}, found {}", shown(expected), shown(results)))
            }
            Expectation::NotEqual(expected) if same(expected) => {
                Err(format!("{call}: expected anything but {}", shown(expected)))
            }
            Expectation::True if results.first().is_some_and(|r| r.bits == 0) => {
                Err(format!("{call}: expected true, found {}", shown(results)))
            }
            Expectation::Shown => Ok(Some(format!("{call} = {}", shown(results)))),
            _ => Ok(None),
        }
    }
}

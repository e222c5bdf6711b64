//! Checks of a text: `check:`, `sameln:`, `nextln:`, `not:`, in order, with variables.
//!
//! `regex: V=v\d+` names a pattern; `$V` then matches it. `$(x=v\d+)` or `$(x=$V)` matches and keeps what it matched;
//! `$x` matches that again. `$$` is a dollar sign. Everything else stands for itself.

use super::directive::content;
use super::pattern::Pattern;
use sphex_ir::parse::Comment;
use std::collections::HashMap;

/// A part of a check's pattern.
enum Part {
    Text(Pattern),
    Capture(String, Pattern),
    Use(String),
}

#[derive(Clone, Copy, PartialEq)]
enum Kind {
    Check,
    SameLine,
    NextLine,
    Not,
}

/// The checks among a function's comments.
pub struct Checker {
    named: HashMap<String, Pattern>,
    captured: HashMap<String, Pattern>,
    /// Line of the text reached, and the column behind the last match.
    line: usize,
    column: usize,
    forbidden: Vec<(String, Vec<Part>)>,
}

/// Whether a comment is a check.
pub fn is_check(comment: &Comment) -> bool {
    kind(content(comment)).is_some() || content(comment).starts_with("regex:")
}

fn kind(text: &str) -> Option<(Kind, &str)> {
    let kinds = [
        ("check:", Kind::Check),
        ("sameln:", Kind::SameLine),
        ("nextln:", Kind::NextLine),
        ("not:", Kind::Not),
    ];
    kinds.iter().find_map(|(word, kind)| Some((*kind, text.strip_prefix(word)?.trim())))
}

/// Applies the checks to a text; the error says which one failed and from where on it looked.
pub fn check(comments: &[Comment], text: &str) -> Result<(), String> {
    let lines: Vec<Vec<char>> = text.lines().map(|line| line.chars().collect()).collect();
    let mut checker = Checker {
        named: HashMap::new(),
        captured: HashMap::new(),
        line: 0,
        column: 0,
        forbidden: Vec::new(),
    };
    for comment in comments {
        let text = content(comment);
        let failed = |error: String| format!("{}: `{text}`: {error}", comment.line);
        if let Some(rest) = text.strip_prefix("regex:") {
            let (name, pattern) =
                rest.trim().split_once('=').ok_or_else(|| failed("expected `NAME=PATTERN`".to_string()))?;
            checker.named.insert(name.trim().to_string(), Pattern::parse(pattern.trim()).map_err(failed)?);
        } else if let Some((kind, pattern)) = kind(text) {
            let parts = checker.parse(pattern).map_err(failed)?;
            checker.apply(kind, text, parts, &lines).map_err(failed)?;
        }
    }
    checker.close(lines.len(), usize::MAX, &lines)
}

impl Checker {
    fn parse(&self, text: &str) -> Result<Vec<Part>, String> {
        let mut parts = Vec::new();
        let mut rest = text;
        while let Some(at) = rest.find('$') {
            parts.push(Part::Text(Pattern::literal(&rest[..at])));
            rest = &rest[at + 1..];
            if let Some(after) = rest.strip_prefix('$') {
                parts.push(Part::Text(Pattern::literal("$")));
                rest = after;
            } else if let Some(inner) = rest.strip_prefix('(') {
                let end = inner.find(')').ok_or("expected `)`")?;
                let (name, pattern) = inner[..end].split_once('=').ok_or("expected `$(NAME=PATTERN)`")?;
                let pattern = match pattern.strip_prefix('$') {
                    Some(other) => {
                        self.named.get(other).cloned().ok_or(format!("`${other}` is not defined"))?
                    }
                    None => Pattern::parse(pattern)?,
                };
                parts.push(Part::Capture(name.to_string(), pattern));
                rest = &inner[end + 1..];
            } else {
                let length = rest.bytes().take_while(|b| b.is_ascii_alphanumeric() || *b == b'_').count();
                parts.push(Part::Use(rest[..length].to_string()));
                rest = &rest[length..];
            }
        }
        parts.push(Part::Text(Pattern::literal(rest)));
        Ok(parts)
    }

    fn apply(&mut self, kind: Kind, text: &str, parts: Vec<Part>, lines: &[Vec<char>]) -> Result<(), String> {
        let (first, from, last) = match kind {
            Kind::Not => {
                self.forbidden.push((text.to_string(), parts));
                return Ok(());
            }
            Kind::Check => (self.line, self.column, lines.len()),
            Kind::SameLine => (self.line, self.column, self.line + 1),
            Kind::NextLine => {
                let next = self.line + usize::from(self.column > 0);
                (next, 0, next + 1)
            }
        };
        for number in first..last.min(lines.len()) {
            let start = if number == first { from } else { 0 };
            if let Some((begin, end, captures)) = self.find(&parts, &lines[number], start)? {
                self.close(number, begin, lines)?;
                (self.line, self.column) = (number, end.max(1));
                self.captured
                    .extend(captures.into_iter().map(|(name, text)| (name, Pattern::literal(&text))));
                return Ok(());
            }
        }
        let place: String = lines.get(first).map_or("the end".to_string(), |line| line.iter().collect());
        Err(format!("no match from line {} on: `{}`", first + 1, place.trim()))
    }

    /// Checks the `not:` lines up to the place where the next match begins.
    fn close(&mut self, line: usize, column: usize, lines: &[Vec<char>]) -> Result<(), String> {
        for (text, parts) in core::mem::take(&mut self.forbidden) {
            for (number, content) in lines.iter().enumerate().take(line.saturating_add(1)).skip(self.line) {
                let start = if number == self.line { self.column.min(content.len()) } else { 0 };
                let end = if number == line { column.min(content.len()) } else { content.len() };
                if self.find(&parts, &content[..end.max(start)], start)?.is_some() {
                    return Err(format!("`{text}`: found in line {}", number + 1));
                }
            }
        }
        Ok(())
    }

    /// The first match in a line: where it begins and ends, and what was captured.
    #[allow(clippy::type_complexity)] // a triple that one caller takes apart
    fn find(
        &self,
        parts: &[Part],
        line: &[char],
        from: usize,
    ) -> Result<Option<(usize, usize, Vec<(String, String)>)>, String> {
        for begin in from..=line.len() {
            if let Some((end, captures)) = self.match_at(parts, line, begin)? {
                return Ok(Some((begin, end, captures)));
            }
        }
        Ok(None)
    }

    #[allow(clippy::type_complexity)] // as above
    fn match_at(
        &self,
        parts: &[Part],
        line: &[char],
        begin: usize,
    ) -> Result<Option<(usize, Vec<(String, String)>)>, String> {
        let mut at = begin;
        let mut captures: Vec<(String, String)> = Vec::new();
        for part in parts {
            let end = match part {
                Part::Text(pattern) => pattern.match_at(line, at),
                Part::Capture(name, pattern) => {
                    let end = pattern.match_at(line, at);
                    if let Some(end) = end {
                        captures.push((name.clone(), line[at..end].iter().collect()));
                    }
                    end
                }
                Part::Use(name) => match captures.iter().find(|(own, _)| own == name) {
                    Some((_, text)) => Pattern::literal(text).match_at(line, at),
                    None => {
                        let known = self.captured.get(name).or_else(|| self.named.get(name));
                        known.ok_or_else(|| format!("`${name}` is not defined"))?.match_at(line, at)
                    }
                },
            };
            match end {
                Some(end) => at = end,
                None => return Ok(None),
            }
        }
        Ok(Some((at, captures)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(checks: &[&str], text: &str) -> Result<(), String> {
        let comment = |c: &&str| Comment { line: 1, text: format!("; {c}") };
        check(&checks.iter().map(comment).collect::<Vec<_>>(), text)
    }

    #[test]
    fn order_and_lines() {
        let text = "a one\nb two three\nc four\n";
        assert_eq!(run(&["check: one", "nextln: b", "sameln: three", "nextln: four"], text), Ok(()));
        assert!(run(&["check: two", "check: one"], text).is_err());
        assert!(run(&["check: one", "nextln: four"], text).is_err());
        assert!(run(&["check: two", "sameln: four"], text).is_err());
        assert!(run(&["check: one", "not: two", "check: four"], text).is_err());
        assert_eq!(run(&["check: two", "not: one", "check: four"], text), Ok(()));
        assert!(run(&["check: four", "not: four"], "four\nx\nfour\n").is_err());
    }

    #[test]
    fn variables() {
        let text = "v1 = iadd v2, v3\nreturn v1\n";
        assert_eq!(
            run(&[r"regex: V=v\d+", "check: $(x=$V) = iadd $V, $V", "nextln: return $x"], text),
            Ok(())
        );
        assert!(run(&[r"check: $(x=v\d+), ", "nextln: return $x"], text).is_err());
        assert!(run(&["check: $nobody"], text).is_err());
    }
}

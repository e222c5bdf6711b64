//! CLIF text to functions.
//!
//! Needs: text. Gives: placed functions, never folded, or the first error with its line and column; comments too, for a
//! test runner. Values and blocks may be used before the line that defines them: instructions are read with slots in
//! place of values, which are filled in when the function's end is reached; then types follow from operands to results.
//! Nothing recurses, and the cost is linear in the text.
//!
//! Beside CLIF: `leaves` on external functions, `inlineN` lines for the inline tree, and `@NODE:OFFSET` source locations.
//! Operations with an immediate operand (`iadd_imm`, `icmp_imm`, ...) are read as the constant and the operation.

mod body;
mod lexer;
mod operands;
mod preamble;

use crate::function::Function;
use body::Body;
use core::fmt;
use lexer::{CommentSpan, Kind, Token};

/// Where and why text is not CLIF.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ParseError {
    /// Line, from 1.
    pub line: u32,
    /// Column in characters, from 1.
    pub column: u32,
    /// What could stand there.
    pub expected: String,
    /// What stands there.
    pub found: String,
}

impl fmt::Display for ParseError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}: expected {}, found {}", self.line, self.column, self.expected, self.found)
    }
}

impl std::error::Error for ParseError {}

/// A comment, with its `;`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Comment {
    /// Line, from 1.
    pub line: u32,
    /// The text from the first `;` on.
    pub text: String,
}

/// A function with the comments that stand from its first line to the next function.
#[derive(Clone, Debug)]
pub struct ParsedFunction {
    /// The function.
    pub function: Function,
    /// The line of the word `function`.
    pub line: u32,
    /// Comments in and behind it.
    pub comments: Vec<Comment>,
}

/// What a text holds.
#[derive(Clone, Debug, Default)]
pub struct ParsedText {
    /// Comments before the first function.
    pub preamble: Vec<Comment>,
    /// Functions in order.
    pub functions: Vec<ParsedFunction>,
}

/// Parses the functions of a text, dropping comments.
pub fn parse_functions(text: &str) -> Result<Vec<Function>, ParseError> {
    Ok(parse_text(text, 0)?.functions.into_iter().map(|f| f.function).collect())
}

/// Parses a text from byte `from` on (what stands before is a test file's header; lines count from the text's start).
pub fn parse_text(text: &str, from: usize) -> Result<ParsedText, ParseError> {
    if text.len() >= u32::MAX as usize || !text.is_char_boundary(from) {
        let expected = "text of less than 4 GiB".to_string();
        return Err(ParseError { line: 1, column: 1, expected, found: format!("{} bytes", text.len()) });
    }
    let (tokens, comments) = lexer::tokenize(text, from);
    let mut parser = Parser { text, tokens, at: 0 };
    let mut starts = Vec::new();
    let mut functions = Vec::new();
    while parser.peek() != Kind::End {
        starts.push(parser.token().start);
        functions.push(parser.function().map_err(|failure| failure.locate(text))?);
    }
    Ok(attach_comments(text, functions, &starts, &comments))
}

fn attach_comments(
    text: &str,
    functions: Vec<Function>,
    starts: &[u32],
    comments: &[CommentSpan],
) -> ParsedText {
    let mut parsed = ParsedText::default();
    let mut lines = LineCounter { text, at: 0, line: 1 };
    let mut comments = comments.iter().peekable();
    let mut take = |limit: u32, lines: &mut LineCounter| {
        let mut taken = Vec::new();
        while let Some((from, to)) = comments.next_if(|(from, _)| *from < limit) {
            let text = text[*from as usize..*to as usize].to_string();
            taken.push(Comment { line: lines.line_of(*from as usize), text });
        }
        taken
    };
    parsed.preamble = take(starts.first().copied().unwrap_or(u32::MAX), &mut lines);
    for (k, function) in functions.into_iter().enumerate() {
        let line = lines.line_of(starts[k] as usize);
        let comments = take(starts.get(k + 1).copied().unwrap_or(u32::MAX), &mut lines);
        parsed.functions.push(ParsedFunction { function, line, comments });
    }
    parsed
}

/// Counts lines up to ever greater places.
struct LineCounter<'t> {
    text: &'t str,
    at: usize,
    line: u32,
}

impl LineCounter<'_> {
    fn line_of(&mut self, place: usize) -> u32 {
        self.line += self.text.as_bytes()[self.at..place].iter().filter(|b| **b == b'\n').count() as u32;
        self.at = place;
        self.line
    }
}

/// An error whose place is still a byte offset.
#[derive(Debug)]
struct Failure {
    start: u32,
    end: u32,
    expected: String,
    found: Option<String>,
}

type PResult<T> = Result<T, Failure>;

impl Failure {
    fn locate(self, text: &str) -> ParseError {
        let (start, end) = (self.start as usize, self.end as usize);
        let line_start = text[..start].rfind('\n').map_or(0, |n| n + 1);
        let found = self.found.unwrap_or_else(|| match &text[start..end] {
            "" => "the end of the text".to_string(),
            token => format!("`{token}`"),
        });
        ParseError {
            line: text[..start].matches('\n').count() as u32 + 1,
            column: text[line_start..start].chars().count() as u32 + 1,
            expected: self.expected,
            found,
        }
    }
}

/// The tokens and a place among them.
struct Parser<'t> {
    text: &'t str,
    tokens: Vec<Token>,
    at: usize,
}

impl<'t> Parser<'t> {
    fn token(&self) -> Token {
        self.tokens[self.at.min(self.tokens.len() - 1)]
    }

    fn peek(&self) -> Kind {
        self.token().kind
    }

    fn peek_second(&self) -> Kind {
        self.tokens.get(self.at + 1).map_or(Kind::End, |t| t.kind)
    }

    /// The current token's text.
    fn slice(&self) -> &'t str {
        let token = self.token();
        &self.text[token.start as usize..token.end as usize]
    }

    fn advance(&mut self) {
        self.at = (self.at + 1).min(self.tokens.len() - 1);
    }

    fn failure<T>(&self, expected: impl Into<String>) -> PResult<T> {
        let token = self.token();
        Err(Failure { start: token.start, end: token.end, expected: expected.into(), found: None })
    }

    /// An error at the token of index `at`.
    fn failure_at<T>(&self, at: usize, expected: impl Into<String>, found: Option<String>) -> PResult<T> {
        let token = self.tokens[at.min(self.tokens.len() - 1)];
        Err(Failure { start: token.start, end: token.end, expected: expected.into(), found })
    }

    fn is_punct(&self, c: char) -> bool {
        self.peek() == Kind::Punct(c)
    }

    fn eat_punct(&mut self, c: char) -> bool {
        let found = self.is_punct(c);
        if found {
            self.advance();
        }
        found
    }

    fn punct(&mut self, c: char) -> PResult<()> {
        if self.eat_punct(c) { Ok(()) } else { self.failure(format!("`{c}`")) }
    }

    fn is_word(&self, word: &str) -> bool {
        self.peek() == Kind::Word && self.slice() == word
    }

    fn eat_word(&mut self, word: &str) -> bool {
        let found = self.is_word(word);
        if found {
            self.advance();
        }
        found
    }

    fn word(&mut self, expected: &str) -> PResult<&'t str> {
        if self.peek() != Kind::Word {
            return self.failure(expected);
        }
        let word = self.slice();
        self.advance();
        Ok(word)
    }

    fn eat_arrow(&mut self) -> bool {
        let found = self.peek() == Kind::Arrow;
        if found {
            self.advance();
        }
        found
    }

    /// The number of the current token if it is a word `prefixNUMBER`.
    fn numbered(&self, prefix: &str) -> Option<u32> {
        if self.peek() != Kind::Word {
            return None;
        }
        numbered(self.slice(), prefix)
    }

    /// Parses `prefixNUMBER`.
    fn entity(&mut self, prefix: &str) -> PResult<u32> {
        match self.numbered(prefix) {
            Some(number) => {
                self.advance();
                Ok(number)
            }
            None => self.failure(format!("`{prefix}` and a number")),
        }
    }

    /// Parses a number token by `read`; `what` says what it must be.
    fn number<T>(&mut self, what: &str, read: impl Fn(&str) -> Option<T>) -> PResult<T> {
        let value = if self.peek() == Kind::Number { read(self.slice()) } else { None };
        match value {
            Some(value) => {
                self.advance();
                Ok(value)
            }
            None => self.failure(what),
        }
    }

    fn function(&mut self) -> PResult<Function> {
        if !self.eat_word("function") {
            return self.failure("`function`");
        }
        let name = self.external_name()?;
        let signature = self.signature()?;
        let mut body = Body::new(Function::new(name, signature));
        self.punct('{')?;
        self.preamble(&mut body)?;
        self.blocks(&mut body)?;
        self.punct('}')?;
        body.finish(self)
    }
}

/// The number of a word `prefixNUMBER`.
fn numbered(word: &str, prefix: &str) -> Option<u32> {
    let digits = word.strip_prefix(prefix)?;
    let number = digits.bytes().all(|b| b.is_ascii_digit()).then(|| digits.parse::<u32>().ok())??;
    (number != u32::MAX).then_some(number)
}

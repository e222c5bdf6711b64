//! The tokens of CLIF text. Comments are kept aside, with their places, for the test runner's directives.

/// What a token is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Kind {
    /// A word: letters, digits and `_`, not beginning with a digit.
    Word,
    /// A number: begins with a digit or a sign.
    Number,
    /// `%name` or `%"name"`.
    Name,
    /// `@0012` or `@3:0012`.
    SrcLoc,
    /// `"text"`.
    Text,
    /// `->`.
    Arrow,
    /// One other character.
    Punct(char),
    /// The end of the text.
    End,
}

/// A token: its kind and its bytes.
#[derive(Clone, Copy, Debug)]
pub(super) struct Token {
    pub kind: Kind,
    pub start: u32,
    pub end: u32,
}

/// A comment's bytes, from its `;` to the end of the line.
pub(super) type CommentSpan = (u32, u32);

/// Splits `text`, from byte `from` on, into tokens (the last is [`Kind::End`]) and comments.
pub(super) fn tokenize(text: &str, from: usize) -> (Vec<Token>, Vec<CommentSpan>) {
    let bytes = text.as_bytes();
    let mut tokens = Vec::new();
    let mut comments = Vec::new();
    let mut at = from.min(bytes.len());
    while at < bytes.len() {
        let start = at;
        let kind = match bytes[at] {
            b if b.is_ascii_whitespace() => {
                at += 1;
                continue;
            }
            b';' => {
                at += bytes[at..].iter().take_while(|b| **b != b'\n').count();
                comments.push((start as u32, at as u32));
                continue;
            }
            b'/' if bytes.get(at + 1) == Some(&b'*') => {
                at = text.as_bytes()[at + 2..]
                    .windows(2)
                    .position(|w| w == b"*/")
                    .map_or(bytes.len(), |n| at + 2 + n + 2);
                continue;
            }
            b if is_word(b) && !b.is_ascii_digit() => {
                at += count(&bytes[at..], is_word);
                Kind::Word
            }
            b if b.is_ascii_digit() || is_signed_number(&bytes[at..]) => {
                at += number_length(&bytes[at..]);
                Kind::Number
            }
            b'-' if bytes.get(at + 1) == Some(&b'>') => {
                at += 2;
                Kind::Arrow
            }
            b'%' if bytes.get(at + 1) == Some(&b'"') => {
                at += 1 + quoted_length(&bytes[at + 1..]);
                Kind::Name
            }
            b'%' => {
                at += 1 + count(&bytes[at + 1..], |b| is_word(b) || b == b'.' || b == b'$');
                Kind::Name
            }
            b'@' => {
                at += 1 + count(&bytes[at + 1..], |b| b.is_ascii_hexdigit() || b == b':');
                Kind::SrcLoc
            }
            b'"' => {
                at += quoted_length(&bytes[at..]);
                Kind::Text
            }
            _ => {
                let c = text[at..].chars().next().unwrap_or('\u{fffd}');
                at += c.len_utf8();
                Kind::Punct(c)
            }
        };
        tokens.push(Token { kind, start: start as u32, end: at as u32 });
    }
    tokens.push(Token { kind: Kind::End, start: bytes.len() as u32, end: bytes.len() as u32 });
    (tokens, comments)
}

fn is_word(b: u8) -> bool {
    b.is_ascii_alphanumeric() || b == b'_'
}

fn count(bytes: &[u8], accept: impl Fn(u8) -> bool) -> usize {
    bytes.iter().take_while(|b| accept(**b)).count()
}

fn is_signed_number(bytes: &[u8]) -> bool {
    let rest = match bytes {
        [b'+' | b'-', rest @ ..] => rest,
        _ => return false,
    };
    rest.first().is_some_and(u8::is_ascii_digit)
        || [&b"NaN"[..], b"sNaN", b"Inf"].iter().any(|word| rest.starts_with(word))
}

/// A number's bytes: word characters and dots, the payload of a NaN, and the sign of an exponent.
fn number_length(bytes: &[u8]) -> usize {
    let sign = usize::from(matches!(bytes[0], b'+' | b'-'));
    let hex = bytes[sign..].starts_with(b"0x");
    let mut at = sign;
    while let Some(&b) = bytes.get(at) {
        let exponent = match bytes[at - usize::from(at > 0)] {
            b'p' | b'P' => at > sign && hex,
            b'e' | b'E' => at > sign && !hex && bytes[sign].is_ascii_digit(),
            _ => false,
        };
        let part = match b {
            b'.' => true,
            b':' => bytes[..at].ends_with(b"NaN"),
            b'+' | b'-' => exponent && bytes.get(at + 1).is_some_and(u8::is_ascii_digit),
            _ => is_word(b),
        };
        if !part {
            break;
        }
        at += 1;
    }
    at
}

/// A quoted text's bytes, quotes included; an unclosed one ends with the line.
fn quoted_length(bytes: &[u8]) -> usize {
    let mut at = 1;
    while let Some(&b) = bytes.get(at) {
        match b {
            b'"' => return at + 1,
            b'\n' => return at,
            b'\\' if bytes.get(at + 1).is_some_and(|b| b.is_ascii() && *b != b'\n') => at += 2,
            _ => at += 1,
        }
    }
    at
}

/// The text between quotes, with `\"`, `\\`, `\n` and `\t` undone; `None` where the closing quote is missing.
pub(super) fn unquote(text: &str) -> Option<String> {
    let inner = text.strip_prefix('"')?.strip_suffix('"').filter(|_| text.len() >= 2)?;
    let mut out = String::with_capacity(inner.len());
    let mut chars = inner.chars();
    while let Some(c) = chars.next() {
        match c {
            '\\' => out.push(match chars.next()? {
                'n' => '\n',
                't' => '\t',
                other => other,
            }),
            _ => out.push(c),
        }
    }
    Some(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(text: &str) -> Vec<&str> {
        let (tokens, _) = tokenize(text, 0);
        tokens.iter().take(tokens.len() - 1).map(|t| &text[t.start as usize..t.end as usize]).collect()
    }

    #[test]
    fn tokens() {
        assert_eq!(words("v1 -> v2+8-4"), ["v1", "->", "v2", "+8", "-4"]);
        assert_eq!(words("-NaN:0x1, 0x1.8p-3 1.5e-3 +Inf"), ["-NaN:0x1", ",", "0x1.8p-3", "1.5e-3", "+Inf"]);
        assert_eq!(
            words("%a.b @0012 iadd.i32 u0:1 ; x\n%\"q \\\" r\"/* é */é"),
            ["%a.b", "@0012", "iadd", ".", "i32", "u0", ":", "1", "%\"q \\\" r\"", "é"]
        );
        assert_eq!(words("0xffe-1"), ["0xffe", "-1"]);
        assert_eq!(unquote("\"a\\\"b\""), Some("a\"b".into()));
        assert_eq!(unquote("\""), None);
    }
}

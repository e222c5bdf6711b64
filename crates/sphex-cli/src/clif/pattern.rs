//! A small regular expression, enough for checks: characters, `.`, `\d \w \s \b`, sets, `* + ?`.
//!
//! Matching backtracks over a list of pieces with an explicit stack; patterns come from test files, not from guests.

/// One piece of a pattern.
#[derive(Clone, Debug)]
struct Piece {
    class: Class,
    least: usize,
    most: usize,
}

#[derive(Clone, Debug)]
enum Class {
    Any,
    One(char),
    Set { negated: bool, ranges: Vec<(char, char)> },
    Boundary,
}

/// A compiled pattern.
#[derive(Clone, Debug, Default)]
pub struct Pattern {
    pieces: Vec<Piece>,
}

impl Pattern {
    /// A pattern that matches exactly this text.
    pub fn literal(text: &str) -> Self {
        Pattern { pieces: text.chars().map(|c| Piece { class: Class::One(c), least: 1, most: 1 }).collect() }
    }

    /// Parses a regular expression.
    pub fn parse(text: &str) -> Result<Self, String> {
        let mut pieces: Vec<Piece> = Vec::new();
        let mut chars = text.chars();
        while let Some(c) = chars.next() {
            let class = match c {
                '*' | '+' | '?' => {
                    let last = pieces.last_mut().ok_or_else(|| format!("nothing to repeat in `{text}`"))?;
                    last.least = usize::from(c == '+');
                    last.most = if c == '?' { 1 } else { usize::MAX };
                    continue;
                }
                '.' => Class::Any,
                '[' => set(&mut chars).ok_or_else(|| format!("unclosed `[` in `{text}`"))?,
                '\\' => match chars.next().ok_or_else(|| format!("`\\` at the end of `{text}`"))? {
                    'b' => Class::Boundary,
                    c => escape(c),
                },
                '(' | ')' | '|' | '{' | '}' | '^' | '$' => {
                    return Err(format!("`{c}` is not supported in `{text}`"));
                }
                c => Class::One(c),
            };
            let least = usize::from(!matches!(class, Class::Boundary));
            pieces.push(Piece { class, least, most: 1 });
        }
        Ok(Pattern { pieces })
    }

    /// The longest-first match at the start of `text[at..]`: where it ends.
    pub fn match_at(&self, text: &[char], at: usize) -> Option<usize> {
        // Choice points: piece, where it began, how many characters it took.
        let mut choices: Vec<(usize, usize, usize)> = Vec::new();
        let (mut piece, mut at) = (0, at);
        loop {
            let Some(current) = self.pieces.get(piece) else { return Some(at) };
            let taken = current.longest(text, at);
            match taken.filter(|n| *n >= current.least) {
                Some(n) => {
                    choices.push((piece, at, n));
                    at += n;
                    piece += 1;
                }
                None => loop {
                    let (index, from, n) = choices.pop()?;
                    if n > self.pieces[index].least && !matches!(self.pieces[index].class, Class::Boundary) {
                        choices.push((index, from, n - 1));
                        at = from + n - 1;
                        piece = index + 1;
                        break;
                    }
                },
            }
        }
    }
}

fn escape(c: char) -> Class {
    let set = |ranges: &[(char, char)]| Class::Set { negated: false, ranges: ranges.to_vec() };
    match c {
        'd' => set(&[('0', '9')]),
        'w' => set(&[('a', 'z'), ('A', 'Z'), ('0', '9'), ('_', '_')]),
        's' => set(&[(' ', ' '), ('\t', '\t')]),
        other => Class::One(other),
    }
}

fn set(chars: &mut core::str::Chars<'_>) -> Option<Class> {
    let mut ranges = Vec::new();
    let mut negated = false;
    let mut first = true;
    loop {
        match chars.next()? {
            '^' if first => negated = true,
            ']' => return Some(Class::Set { negated, ranges }),
            '\\' => match escape(chars.next()?) {
                Class::Set { ranges: more, .. } => ranges.extend(more),
                Class::One(c) => ranges.push((c, c)),
                Class::Any | Class::Boundary => return None,
            },
            c => {
                let mut ahead = chars.clone();
                match (ahead.next(), ahead.next()) {
                    (Some('-'), Some(to)) if to != ']' => {
                        *chars = ahead;
                        ranges.push((c, to));
                    }
                    _ => ranges.push((c, c)),
                }
            }
        }
        first = false;
    }
}

impl Piece {
    /// How many characters this takes at most; a boundary takes none.
    fn longest(&self, text: &[char], at: usize) -> Option<usize> {
        let word = |c: Option<&char>| c.is_some_and(|c| c.is_ascii_alphanumeric() || *c == '_');
        if let Class::Boundary = self.class {
            let before = at > 0 && word(text.get(at - 1));
            return (before != word(text.get(at))).then_some(0);
        }
        Some(text[at..].iter().take(self.most).take_while(|c| self.accepts(**c)).count())
    }

    fn accepts(&self, c: char) -> bool {
        match &self.class {
            Class::Any => true,
            Class::One(own) => *own == c,
            Class::Set { negated, ranges } => ranges.iter().any(|(a, b)| (*a..=*b).contains(&c)) != *negated,
            Class::Boundary => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns() {
        let ends = |pattern: &str, text: &str| {
            let text: Vec<char> = text.chars().collect();
            Pattern::parse(pattern).unwrap().match_at(&text, 0)
        };
        assert_eq!(ends(r"v\d+", "v123 x"), Some(4));
        assert_eq!(ends(r"\bv\d+\b", "v12"), Some(3));
        assert_eq!(ends("[^,]*,", "ab,cd,"), Some(3));
        assert_eq!(ends("a*ab", "aaab"), Some(4));
        assert_eq!(ends(".*b", "abab!"), Some(4));
        assert_eq!(ends("x?y", "y"), Some(1));
        assert_eq!(ends("[a-c-]+", "ab-d"), Some(3));
        assert_eq!(ends("x", "y"), None);
    }
}

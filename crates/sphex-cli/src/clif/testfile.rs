//! A test file: header lines (`test`, `set`, `target`), then functions with comments.

use sphex_ir::Function;
use sphex_ir::parse::{Comment, ParsedFunction, parse_text};

/// A `test` line.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct TestCommand {
    /// What to do: `run`, `cat`, ...
    pub name: String,
    /// Options, such as `precise-output`.
    pub options: Vec<String>,
}

/// A `target` line, with the settings of the lines before it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct TargetLine {
    /// The architecture or triple.
    pub isa: String,
    /// CPU features and presets.
    pub features: Vec<String>,
    /// `set` words, in order: name and value.
    pub settings: Vec<(String, Option<String>)>,
}

/// A test file.
#[derive(Debug)]
pub struct TestFile<'t> {
    /// The whole text.
    pub text: &'t str,
    /// What to test.
    pub commands: Vec<TestCommand>,
    /// For what.
    pub targets: Vec<TargetLine>,
    /// All settings, for commands that need no target.
    pub settings: Vec<(String, Option<String>)>,
    /// Comments before the first function.
    pub preamble: Vec<Comment>,
    /// The functions.
    pub functions: Vec<ParsedFunction>,
}

impl<'t> TestFile<'t> {
    /// Parses a file's text. The error says where.
    pub fn parse(text: &'t str) -> Result<Self, String> {
        let mut file = TestFile {
            text,
            commands: Vec::new(),
            targets: Vec::new(),
            settings: Vec::new(),
            preamble: Vec::new(),
            functions: Vec::new(),
        };
        let mut at = 0;
        for (number, line) in text.split_inclusive('\n').enumerate() {
            let code = line.split(';').next().unwrap_or("").trim();
            if code.starts_with("function") {
                break;
            }
            file.header_line(code).map_err(|error| format!("{}: {error}", number + 1))?;
            at += line.len();
        }
        let parsed = parse_text(text, at).map_err(|error| error.to_string())?;
        file.functions = parsed.functions;
        file.preamble = parsed.preamble;
        Ok(file)
    }

    fn header_line(&mut self, line: &str) -> Result<(), String> {
        let mut words = line.split_whitespace();
        match words.next() {
            None => {}
            Some("test") => {
                let name = words.next().ok_or("expected a test command, found the end of the line")?;
                let options = words.map(str::to_string).collect();
                self.commands.push(TestCommand { name: name.to_string(), options });
            }
            Some("set") => {
                for word in words {
                    let (name, value) = match word.split_once('=') {
                        Some((name, value)) => (name, Some(value.to_string())),
                        None => (word, None),
                    };
                    self.settings.push((name.to_string(), value));
                }
            }
            Some("target") => {
                let isa = words.next().ok_or("expected a target, found the end of the line")?;
                self.targets.push(TargetLine {
                    isa: isa.to_string(),
                    features: words.map(str::to_string).collect(),
                    settings: self.settings.clone(),
                });
            }
            Some(other) => {
                return Err(format!("expected `test`, `set`, `target` or `function`, found `{other}`"));
            }
        }
        Ok(())
    }

    /// The function of this name, as it stands in text.
    pub fn function(&self, name: &str) -> Option<&Function> {
        self.functions.iter().map(|parsed| &parsed.function).find(|f| f.name.to_string() == name)
    }
}

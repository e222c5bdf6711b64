//! `sphex clif test` over the repository's own files and, where it is present, the shared corpus.
//!
//! Which corpus files wait for what stands in `tests/suite-manifest.tsv`. A file that waits must still fail, so that the
//! list cannot grow stale; a file that the list does not have is an error.

use libtest_mimic::{Arguments, Failed, Trial};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;

const SUITE: &str = "clif-runtests";

fn main() {
    let arguments = Arguments::from_args();
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let mut trials = Vec::new();
    for file in files(&root.join("tests/clif")) {
        let name = file.strip_prefix(&root).unwrap_or(&file).display().to_string();
        trials.push(Trial::test(name, move || passes(&file)));
    }
    let shared = std::env::var_os("SPHEX_SHARED").map_or_else(|| root.join("../shared"), PathBuf::from);
    let corpus = shared.join("corpora").join(SUITE);
    if corpus.is_dir() {
        trials.extend(corpus_trials(&root, &corpus));
    } else if required("shared") {
        let message = format!("{} is required and absent", corpus.display());
        trials.push(Trial::test(SUITE, move || Err(message.into())));
    } else {
        println!("skipped: {SUITE} needs {}", corpus.display());
    }
    libtest_mimic::run(&arguments, trials).exit();
}

fn required(what: &str) -> bool {
    std::env::var("SPHEX_REQUIRE").is_ok_and(|list| list.split(',').any(|item| item.trim() == what))
}

fn corpus_trials(root: &Path, corpus: &Path) -> Vec<Trial> {
    let manifest = std::fs::read_to_string(root.join("tests/suite-manifest.tsv")).unwrap_or_default();
    let rows: BTreeMap<&str, (&str, &str)> = manifest
        .lines()
        .map(|line| line.split('\t').collect::<Vec<_>>())
        .filter(|row| row.len() >= 4 && row[0] == SUITE)
        .map(|row| (row[1], (row[2], row[3])))
        .collect();
    let mut trials = Vec::new();
    for file in files(corpus) {
        let name = file.strip_prefix(corpus).unwrap_or(&file).display().to_string();
        let (status, reason) = rows.get(name.as_str()).map_or(("absent", ""), |row| *row);
        let reason = reason.to_string();
        trials.push(match status {
            "pass" => Trial::test(format!("{SUITE}/{name}"), move || passes(&file)),
            "skip" => Trial::test(format!("{SUITE}/{name} (waits: {reason})"), move || waits(&file)),
            _ => Trial::test(format!("{SUITE}/{name}"), move || {
                Err("expected a row `pass` or `skip` in tests/suite-manifest.tsv, found none".into())
            }),
        });
    }
    trials
}

/// The `.clif` files below a folder, in order.
fn files(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut work = vec![folder.to_path_buf()];
    while let Some(folder) = work.pop() {
        for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
            let path = entry.path();
            match path.is_dir() {
                true => work.push(path),
                false if path.extension().is_some_and(|e| e == "clif") => found.push(path),
                false => {}
            }
        }
    }
    found.sort();
    found
}

fn run(file: &Path) -> Result<(bool, String), Failed> {
    let output = Command::new(env!("CARGO_BIN_EXE_sphex")).args(["clif", "test"]).arg(file).output()?;
    let text =
        format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    match output.status.code() {
        Some(0) => Ok((true, text)),
        Some(1) => Ok((false, text)),
        _ => Err(format!("{}: {text}", output.status).into()),
    }
}

fn passes(file: &Path) -> Result<(), Failed> {
    match run(file)? {
        (true, _) => Ok(()),
        (false, text) => Err(text.into()),
    }
}

fn waits(file: &Path) -> Result<(), Failed> {
    match run(file)? {
        (true, _) => Err("passes now: make its row in tests/suite-manifest.tsv `pass`".into()),
        (false, _) => Ok(()),
    }
}

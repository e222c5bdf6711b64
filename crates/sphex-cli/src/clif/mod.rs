//! `sphex clif`: CLIF files tested, printed, compiled.
//!
//! `test` has no list of what to skip: what it cannot do has failed.

mod command;
mod directive;
mod filecheck;
mod pattern;
mod run;
mod testfile;

use crate::exit::{self, Failure};
use crate::options::Clif;
use anyhow::{Context, Result};
use std::fmt::Write;
use std::path::{Path, PathBuf};
use testfile::TestFile;

/// Runs one of the commands.
pub fn execute(options: &Clif) -> exit::Result {
    match options {
        Clif::Test { files, verbose } => test(files, *verbose),
        Clif::Cat { files } => cat(files),
        Clif::Compile { file, target, output } => Ok(command::compile_file(file, target, output)?),
    }
}

/// The files named, and those in the folders named, in order.
fn expand(paths: &[PathBuf]) -> Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    let mut work: Vec<PathBuf> = paths.iter().rev().cloned().collect();
    while let Some(path) = work.pop() {
        if !path.is_dir() {
            files.push(path);
            continue;
        }
        let entries = std::fs::read_dir(&path).with_context(|| format!("cannot read {}", path.display()))?;
        let mut inner: Vec<PathBuf> = entries
            .map(|entry| entry.map(|e| e.path()))
            .collect::<Result<_, _>>()
            .with_context(|| format!("cannot read {}", path.display()))?;
        inner.retain(|p| p.is_dir() || p.extension().is_some_and(|e| e == "clif"));
        inner.sort();
        work.extend(inner.into_iter().rev());
    }
    Ok(files)
}

fn test(paths: &[PathBuf], verbose: bool) -> exit::Result {
    let (mut passed, mut failed) = (0, 0);
    for path in expand(paths)? {
        let outcome = test_file(&path);
        let mut out = String::new();
        for note in &outcome.notes {
            let _ = writeln!(out, "{}: {note}", path.display());
        }
        for failure in &outcome.failures {
            let _ = writeln!(out, "{}: {failure}", path.display());
        }
        if !outcome.failures.is_empty() {
            failed += 1;
        } else {
            passed += 1;
            if verbose {
                let _ = writeln!(out, "{}: passed", path.display());
            }
        }
        exit::print(&out)?;
    }
    exit::print(&format!("{passed} passed, {failed} failed\n"))?;
    if passed > 0 && failed == 0 { Ok(()) } else { Err(Failure::Code(1)) }
}

/// What a file's tests found.
#[derive(Debug, Default)]
pub struct Outcome {
    /// What is to be said: targets passed over, results to show.
    pub notes: Vec<String>,
    /// What is wrong.
    pub failures: Vec<String>,
}

fn test_file(path: &Path) -> Outcome {
    let mut outcome = Outcome::default();
    let text = match std::fs::read_to_string(path) {
        Ok(text) => text,
        Err(error) => {
            outcome.failures.push(format!("cannot read: {error}"));
            return outcome;
        }
    };
    let file = match TestFile::parse(&text) {
        Ok(file) => file,
        Err(error) => {
            outcome.failures.push(error);
            return outcome;
        }
    };
    let blessed = command::run_all(&file, &mut outcome);
    if let Some(text) = blessed.filter(|blessed| *blessed != text)
        && let Err(error) = std::fs::write(path, text)
    {
        outcome.failures.push(format!("cannot write: {error}"));
    }
    outcome
}

fn cat(files: &[PathBuf]) -> exit::Result {
    for path in expand(files)? {
        let text =
            std::fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))?;
        let file = TestFile::parse(&text).map_err(|error| anyhow::anyhow!("{}: {error}", path.display()))?;
        for parsed in &file.functions {
            sphex_ir::verify::verify(&parsed.function).with_context(|| path.display().to_string())?;
            exit::print(&format!("{}\n", parsed.function))?;
        }
    }
    Ok(())
}

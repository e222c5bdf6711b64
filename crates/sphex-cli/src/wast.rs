//! `sphex wast`: test scripts in the official format.
//!
//! Each file has a store of its own, and so has each thread of a script. Every directive that holds is counted as passed, every other one is told with file
//! and line. Kinds of failure are compared, not texts. There is no skip list: what cannot be handled has failed.

mod compare;
mod runner;
mod spectest;
mod threads;

use std::fs;
use std::path::Path;

use anyhow::Context;
use wast::Wast as Script;
use wast::lexer::Lexer;
use wast::parser::{self, ParseBuffer};

use crate::engine;
use crate::exit::{Failure, Result, print};
use crate::options::{Options, Wast};
use runner::Runner;

/// How a file went.
#[derive(Default)]
struct Tally {
    passed: usize,
    failed: usize,
}

/// Runs the scripts.
pub fn execute(wast: &Wast) -> Result {
    let options = wast.groups.parse()?;
    if wast.files.is_empty() {
        return Err(Failure::usage("expected FILE, a script, found nothing"));
    }
    let mut tally = Tally::default();
    for file in &wast.files {
        let text = fs::read(file).with_context(|| format!("cannot read {}", file.display()))?;
        script(file, &String::from_utf8_lossy(&text), &options, &mut tally)?;
    }
    print(&format!("{} passed, {} failed\n", tally.passed, tally.failed))?;
    if tally.failed > 0 || tally.passed == 0 {
        return Err(Failure::Code(1));
    }
    Ok(())
}

fn script(file: &Path, text: &str, options: &Options, tally: &mut Tally) -> Result {
    let options = with_header(options, text);
    let fail = |error: &wast::Error, tally: &mut Tally| {
        tally.failed += 1;
        let line = error.span().linecol_in(text).0 + 1;
        print(&format!("{}:{line}: cannot parse the script: {}\n", file.display(), error.message()))
    };
    let mut lexer = Lexer::new(text);
    lexer.allow_confusing_unicode(true);
    let buffer = match ParseBuffer::new_with_lexer(lexer) {
        Ok(buffer) => buffer,
        Err(error) => return fail(&error, tally),
    };
    let script = match parser::parse::<Script<'_>>(&buffer) {
        Ok(script) => script,
        Err(error) => return fail(&error, tally),
    };
    let runner = Runner::new(&engine::engine(&options)?, engine::limits(&options));
    let mut printed = Ok(());
    threads::run(runner, script.directives, text, &mut |line, outcome| match outcome {
        Ok(()) => tally.passed += 1,
        Err(message) => {
            tally.failed += 1;
            let told = print(&format!("{}:{line}: {message}\n", file.display()));
            if printed.is_ok() {
                printed = told;
            }
        }
    });
    printed
}

/// The proposals that a file's leading lines `;;! name = true` switch.
fn with_header(options: &Options, text: &str) -> Options {
    let mut options = options.clone();
    for line in text.lines().map_while(|line| line.strip_prefix(";;!")) {
        let Some((name, value)) = line.split_once('=') else { continue };
        let value = match value.trim() {
            "true" => true,
            "false" => false,
            _ => continue,
        };
        // Names that are no proposals belong to other tools: `hogs_memory`.
        let _ = options.set_proposal(name.trim(), value);
    }
    options
}

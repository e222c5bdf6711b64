//! `sphex compile`: a module to an artifact in a file.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::Context;
use sphex_artifact::Target;

use crate::engine::{self, failure_in};
use crate::exit::{Failure, Result};
use crate::input;
use crate::options::Compile;

/// Compiles it.
pub fn execute(compile: &Compile) -> Result {
    let mut options = compile.groups.parse()?;
    let Some(file) = &compile.file else {
        return Err(Failure::usage("expected FILE, the module to compile, found nothing"));
    };
    options.target = compile.target.as_deref().map(target).transpose()?;
    let engine = engine::engine(&options)?;
    let bytes = input::wasm(file)?;
    let artifact = engine.precompile(&bytes).map_err(|error| failure_in(file, error))?;
    let output = compile.output.clone().unwrap_or_else(|| default_output(file));
    write(&output, &artifact).with_context(|| format!("cannot write {}", output.display()))?;
    Ok(())
}

fn target(name: &str) -> Result<Target> {
    match Target::parse(name) {
        Some(target) if target.to_string() == "x86_64-linux" => Ok(target),
        Some(target) => {
            Err(Failure::usage(format!("--target: {target} is not supported yet, only x86_64-linux")))
        }
        None => Err(Failure::usage(format!("--target: expected x86_64-linux or a triple, found {name:?}"))),
    }
}

fn default_output(file: &Path) -> PathBuf {
    let name = file.file_stem().filter(|stem| *stem != "-").unwrap_or("out".as_ref());
    Path::new(name).with_extension("cwasm")
}

/// Writes beside the file first, so that no one ever sees half an artifact under its name.
fn write(output: &Path, bytes: &[u8]) -> std::io::Result<()> {
    let mut name = output.file_name().unwrap_or_default().to_owned();
    name.push(format!(".{}.tmp", std::process::id()));
    let temporary = output.with_file_name(name);
    let written = fs::write(&temporary, bytes).and_then(|()| fs::rename(&temporary, output));
    if written.is_err() {
        let _ = fs::remove_file(&temporary);
    }
    written
}

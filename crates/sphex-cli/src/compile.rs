//! `sphex compile`: a module to an artifact in a file.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::Context;

use crate::advice;
use crate::engine;
use crate::exit::{Failure, Result, print};
use crate::input;
use crate::options::Compile;
use crate::progress::Progress;
use crate::timing::Timing;

/// Compiles it.
pub fn execute(compile: &Compile) -> Result {
    let options = compile.compile.options()?;
    let Some(file) = &compile.file else {
        return Err(Failure::usage("expected FILE, the module to compile, found nothing"));
    };
    let engine = engine::engine(&options)?;
    let bytes = input::wasm(file)?;
    let (artifact, report) = match compile.time {
        true => {
            let timing = Timing::new();
            let artifact = engine.precompile_watched(&bytes, &timing);
            (artifact, timing.report())
        }
        false => (engine.precompile_watched(&bytes, &Progress::new()), String::new()),
    };
    let artifact = artifact.map_err(|error| advice::module::compile(&engine, file, &bytes, error))?;
    let output = compile.output.clone().unwrap_or_else(|| default_output(file));
    write(&output, &artifact).with_context(|| format!("cannot write {}", output.display()))?;
    print(&report)
}

fn default_output(file: &Path) -> PathBuf {
    let name = file.file_stem().filter(|stem| *stem != "-").unwrap_or("out".as_ref());
    Path::new(name).with_extension("cwasm")
}

/// Writes beside the file first, so that no one ever sees half an artifact under its name. A device or a pipe is written to
/// as it is.
fn write(output: &Path, bytes: &[u8]) -> std::io::Result<()> {
    if fs::metadata(output).is_ok_and(|found| !found.is_file()) {
        return fs::write(output, bytes);
    }
    let mut name = output.file_name().unwrap_or_default().to_owned();
    name.push(format!(".{}.tmp", std::process::id()));
    let temporary = output.with_file_name(name);
    let written = fs::write(&temporary, bytes).and_then(|()| fs::rename(&temporary, output));
    if written.is_err() {
        let _ = fs::remove_file(&temporary);
    }
    written
}

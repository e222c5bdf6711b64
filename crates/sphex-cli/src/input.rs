//! What FILE is: told by its first bytes, never by its name.

use std::fs;
use std::io::{self, Read};
use std::os::unix::fs::FileExt;
use std::path::Path;

use anyhow::Context;
use sphex::{Engine, Module};

use crate::advice;
use crate::engine::engine;
use crate::exit::{Failure, Result};
use crate::options::{HowToCompile, Options};
#[cfg(feature = "compiler")]
use crate::progress::Progress;

/// What a file holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Artifact,
    Component,
    Wasm,
    Text,
    Empty,
    Foreign(&'static str),
    Unknown,
}

fn kind(bytes: &[u8]) -> Kind {
    match bytes {
        [0x7f, b'E', b'L', b'F', ..] => Kind::Artifact,
        [0, b'a', b's', b'm', _, _, 1, 0, ..] => Kind::Component,
        [0, b'a', b's', b'm', ..] => Kind::Wasm,
        [] => Kind::Empty,
        _ if begins_like_text(bytes) => Kind::Text,
        _ => advice::file::foreign(bytes).map_or(Kind::Unknown, Kind::Foreign),
    }
}

/// Text begins with a parenthesis or a comment.
fn begins_like_text(bytes: &[u8]) -> bool {
    let rest = bytes.strip_prefix("\u{feff}".as_bytes()).unwrap_or(bytes);
    let first = rest.trim_ascii_start();
    first.is_empty() || first.starts_with(b"(") || first.starts_with(b";;")
}

/// Reads a file, or standard input for `-`.
pub fn read(file: &Path) -> Result<Vec<u8>> {
    if file == Path::new("-") {
        let mut bytes = Vec::new();
        io::stdin().read_to_end(&mut bytes).context("cannot read standard input")?;
        return Ok(bytes);
    }
    fs::read(file).map_err(|error| {
        let text = advice::file::unreadable(file, &error, &crate::options::commands());
        Failure::Error(anyhow::anyhow!(text))
    })
}

/// The module in a file.
pub fn module(engine: &Engine, file: &Path, options: &Options, allow_precompiled: bool) -> Result<Module> {
    if allow_precompiled && let Some(opened) = artifact_file(file) {
        return crate::os::deserialize_open_file(engine, opened)
            .map_err(|error| error.context(file.display().to_string()))
            .map_err(|error| advice::module::artifact(file, &error));
    }
    let bytes = read(file)?;
    let name = file.display();
    match kind(&bytes) {
        Kind::Artifact if allow_precompiled => {
            crate::os::deserialize(engine, &bytes).map_err(|error| advice::module::artifact(file, &error))
        }
        Kind::Artifact if !advice::file::is_artifact(&bytes) => Err(Failure::Error(anyhow::anyhow!(
            "{name}: expected a module (wasm, its text, or an artifact), found a native program or object file (ELF)"
        ))),
        Kind::Artifact => Err(Failure::Error(anyhow::anyhow!(
            "{name}: found an artifact, which is native code; if you trust it, run it with --allow-precompiled"
        ))),
        kind => check(file, kind).and_then(|()| compile(engine, file, options, &bytes)),
    }
}

/// The file, if it is an ordinary one, which can be mapped, with the magic of an artifact.
fn artifact_file(file: &Path) -> Option<fs::File> {
    let mut magic = [0; 4];
    let file = fs::File::open(file).ok().filter(|file| file.metadata().is_ok_and(|found| found.is_file()))?;
    file.read_exact_at(&mut magic, 0).ok()?;
    (kind(&magic) == Kind::Artifact).then_some(file)
}

/// The bytes of a module to compile.
#[cfg(feature = "compiler")]
pub fn wasm(file: &Path) -> Result<Vec<u8>> {
    let bytes = read(file)?;
    check(file, kind(&bytes)).map(|()| bytes)
}

/// The bytes of an artifact: the file's own, or what its module is compiled to.
pub fn artifact(file: &Path, how: &HowToCompile) -> Result<Vec<u8>> {
    let options = how.options()?;
    let bytes = read(file)?;
    match kind(&bytes) {
        Kind::Artifact => Ok(bytes),
        kind => check(file, kind).and_then(|()| precompile(&engine(&options)?, file, &bytes)),
    }
}

fn expected(found: &str) -> String {
    format!("expected a module (wasm, its text, or an artifact), found {found}")
}

/// May this be given to the compiler?
fn check(file: &Path, kind: Kind) -> Result {
    let found = match kind {
        Kind::Wasm | Kind::Text => return Ok(()),
        Kind::Component => {
            let text = format!("{}: expected a core module, found a component", file.display());
            let hint = Some(advice::module::COMPONENT.to_owned());
            return Err(Failure::Error(anyhow::anyhow!(advice::with_hint(text, hint))));
        }
        Kind::Artifact => "expected a module, found an artifact, which is compiled already",
        Kind::Empty => "expected a module, found an empty file",
        Kind::Foreign(what) => &expected(what),
        Kind::Unknown => &expected(advice::file::by_name(file)),
    };
    Err(Failure::Error(anyhow::anyhow!("{}: {found}", file.display())))
}

#[cfg(feature = "compiler")]
fn compile(engine: &Engine, file: &Path, options: &Options, bytes: &[u8]) -> Result<Module> {
    crate::cache::Cache::new(options)
        .module(engine, bytes)
        .map_err(|error| advice::module::compile(engine, file, bytes, error))
}

#[cfg(feature = "compiler")]
fn precompile(engine: &Engine, file: &Path, bytes: &[u8]) -> Result<Vec<u8>> {
    let artifact = engine.precompile_watched(bytes, &Progress::new());
    artifact.map_err(|error| advice::module::compile(engine, file, bytes, error))
}

#[cfg(not(feature = "compiler"))]
fn precompile(engine: &Engine, file: &Path, bytes: &[u8]) -> Result<Vec<u8>> {
    compile(engine, file, &Options::default(), bytes)?.serialize().map_err(crate::engine::failure)
}

#[cfg(not(feature = "compiler"))]
fn compile(_: &Engine, file: &Path, _: &Options, _: &[u8]) -> Result<Module> {
    Err(Failure::Error(anyhow::anyhow!(
        "{}: expected an artifact: this sphex was built without a compiler; `sphex compile` of one with makes them",
        file.display()
    )))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_bytes_tell() {
        assert_eq!(kind(b"\0asm\x01\0\0\0"), Kind::Wasm);
        assert_eq!(kind(b"\0asm\x0d\0\x01\0"), Kind::Component);
        assert_eq!(kind(b"\x7fELF\x02"), Kind::Artifact);
        assert_eq!((kind(b""), kind(b"\0as"), kind(b"x(")), (Kind::Empty, Kind::Unknown, Kind::Unknown));
        assert_eq!((kind(b"(module)"), kind(b" ;; x"), kind(b"\n")), (Kind::Text, Kind::Text, Kind::Text));
    }
}

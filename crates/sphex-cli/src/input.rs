//! What FILE is: told by its first bytes, never by its name.

use std::fs;
use std::io::{self, Read};
use std::path::Path;

use anyhow::Context;
use sphex::{Engine, Module};

use crate::engine::failure_in;
use crate::exit::{Failure, Result};

/// What a file holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Artifact,
    Component,
    Wasm,
    Text,
}

fn kind(bytes: &[u8]) -> Kind {
    match bytes {
        [0x7f, b'E', b'L', b'F', ..] => Kind::Artifact,
        [0, b'a', b's', b'm', _, _, 1, 0, ..] => Kind::Component,
        [0, b'a', b's', b'm', ..] => Kind::Wasm,
        _ => Kind::Text,
    }
}

/// Reads a file, or standard input for `-`.
pub fn read(file: &Path) -> Result<Vec<u8>> {
    if file == Path::new("-") {
        let mut bytes = Vec::new();
        io::stdin().read_to_end(&mut bytes).context("cannot read standard input")?;
        return Ok(bytes);
    }
    Ok(fs::read(file).with_context(|| format!("cannot read {}", file.display()))?)
}

/// The module in a file.
pub fn module(engine: &Engine, file: &Path, allow_precompiled: bool) -> Result<Module> {
    let bytes = read(file)?;
    let name = file.display();
    match kind(&bytes) {
        Kind::Artifact if allow_precompiled => {
            crate::os::deserialize(engine, &bytes).map_err(|error| failure_in(file, error))
        }
        Kind::Artifact => Err(Failure::Error(anyhow::anyhow!(
            "{name}: found an artifact, which is native code; if you trust it, run it with --allow-precompiled"
        ))),
        Kind::Component => Err(component(file)),
        Kind::Wasm | Kind::Text => compile(engine, file, &bytes),
    }
}

/// What is said of a component.
pub fn component(file: &Path) -> Failure {
    let name = file.display();
    Failure::Error(anyhow::anyhow!("{name}: expected a core module, found a component: not supported yet"))
}

/// Is it a component?
#[cfg(feature = "compiler")]
pub fn is_component(bytes: &[u8]) -> bool {
    kind(bytes) == Kind::Component
}

#[cfg(feature = "compiler")]
fn compile(engine: &Engine, file: &Path, bytes: &[u8]) -> Result<Module> {
    if bytes.is_empty() {
        return Err(Failure::Error(anyhow::anyhow!(
            "{}: expected a module, found an empty file",
            file.display()
        )));
    }
    Module::new(engine, bytes).map_err(|error| failure_in(file, error))
}

#[cfg(not(feature = "compiler"))]
fn compile(_: &Engine, file: &Path, _: &[u8]) -> Result<Module> {
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
        assert_eq!((kind(b"(module)"), kind(b""), kind(b"\0as")), (Kind::Text, Kind::Text, Kind::Text));
    }
}

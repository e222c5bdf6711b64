//! A module that does not compile, an artifact that does not load: what it needs, and how to get that.

use std::path::Path;

#[cfg(feature = "compiler")]
use sphex::{Engine, ErrorKind};
use sphex_artifact::ArtifactError;

use super::with_hint;
use crate::exit::Failure;

/// What to do with a component.
pub const COMPONENT: &str = "components do not run yet: build for wasm32-wasip1 instead of wasm32-wasip2";

/// How programs are made without a proposal, by what the compiler calls it.
#[cfg(feature = "compiler")]
const WITHOUT: &[(&str, &str)] = &[
    ("SIMD", "build without it: clang -mno-simd128, rustc -C target-feature=-simd128"),
    ("relaxed SIMD", "build without it: clang -mno-relaxed-simd, rustc -C target-feature=-relaxed-simd"),
    ("exception handling", "build without it: clang -fno-exceptions, rustc -C panic=abort"),
    ("legacy exception handling", "build without it: clang -fno-exceptions, rustc -C panic=abort"),
    ("garbage collection", "languages that compile to it (Kotlin, Dart, Java) need an engine that has it"),
    (
        "typed function references",
        "languages that compile to it (Kotlin, Dart, Java) need an engine that has it",
    ),
    ("memory64", "build for 32 bits: wasm32-wasip1"),
];

/// The failure of compiling a file's module.
#[cfg(feature = "compiler")]
pub fn compile(engine: &Engine, file: &Path, bytes: &[u8], error: sphex::Error) -> Failure {
    let hint = compile_hint(engine, file, bytes, &error);
    // The parser of text does not know where it came from.
    let text = format!("{}: {error:#}", file.display());
    let text = text.replace("--> <anon>:", &format!("--> {}:", file.display()));
    Failure::Error(anyhow::anyhow!(with_hint(text, hint)))
}

#[cfg(feature = "compiler")]
fn compile_hint(engine: &Engine, file: &Path, bytes: &[u8], error: &sphex::Error) -> Option<String> {
    use sphex_compile::CompileError;

    match error.downcast_ref::<CompileError>() {
        Some(CompileError::Unsupported { proposal, .. }) => {
            WITHOUT.iter().find(|(name, _)| name == proposal).map(|(_, how)| (*how).to_owned())
        }
        Some(CompileError::NotAModule { .. }) => Some(COMPONENT.to_owned()),
        Some(CompileError::Invalid { .. }) if error.message().contains("unexpected end-of-file") => {
            Some("the file ends too soon: was all of it copied or downloaded?".to_owned())
        }
        Some(CompileError::Invalid { .. }) => {
            let name = proposal_that_is_off(engine, bytes)?;
            Some(format!("it needs the {name} proposal, which is off: -W {name} turns it on"))
        }
        None if error.kind() == ErrorKind::Invalid
            && file.extension().is_some_and(|ending| ending == "wast") =>
        {
            Some("a test script? `sphex wast` runs those".to_owned())
        }
        _ => None,
    }
}

/// The proposal without which a module is invalid, and with which it is valid.
#[cfg(feature = "compiler")]
fn proposal_that_is_off(engine: &Engine, bytes: &[u8]) -> Option<&'static str> {
    let wasm = wasm(bytes)?;
    let accepts = |names: &[&str]| {
        let mut config = engine.config().clone();
        let on = |name: &&str| (format!("wasm-{name}"), Some("true".to_owned()));
        config.compile.options.extend(names.iter().map(on));
        Engine::new(&config).and_then(|engine| engine.validate(&wasm)).is_ok()
    };
    let all = crate::options::PROPOSALS;
    all.iter().copied().filter(|_| accepts(all)).find(|name| accepts(&[name]))
}

/// Wasm from what may be text.
#[cfg(feature = "compiler")]
fn wasm(bytes: &[u8]) -> Option<std::borrow::Cow<'_, [u8]>> {
    if bytes.starts_with(b"\0asm") {
        return Some(bytes.into());
    }
    let buffer = wast::parser::ParseBuffer::new(std::str::from_utf8(bytes).ok()?).ok()?;
    let mut module = wast::parser::parse::<wast::Wat<'_>>(&buffer).ok()?;
    Some(module.encode().ok()?.into())
}

/// The failure of loading an artifact.
pub fn artifact(file: &Path, error: &sphex::Error) -> Failure {
    let name = file.display().to_string();
    let mut text = format!("{error:#}");
    if !text.starts_with(&name) {
        text = format!("{name}: {text}");
    }
    let hint = match error.downcast_ref::<ArtifactError>() {
        Some(ArtifactError::Incompatible(differs)) => Some(match differs.field.as_str() {
            "build" | "format" => {
                "it was made by another build of sphex: compile the module again with this one"
            }
            "target" => "it was made for another machine: compile the module for this one",
            "cpu features" => {
                "it was made for another CPU: compile the module here, or with --target x86_64-linux for all"
            }
            _ => "it was made with other settings: compile the module again",
        }),
        Some(ArtifactError::NotArtifact(_)) => None,
        Some(_) => Some("the file is damaged: copy it again, or compile the module again"),
        None => None,
    };
    Failure::Error(anyhow::anyhow!(with_hint(text, hint.map(str::to_owned))))
}

#[cfg(test)]
mod tests {
    use super::*;
    use sphex_artifact::read::Mismatch;

    #[test]
    fn artifacts_of_elsewhere() {
        let cases = [
            ("build", "another build of sphex"),
            ("format", "another build of sphex"),
            ("target", "another machine"),
            ("cpu features", "--target x86_64-linux"),
            ("memory-reservation", "other settings"),
        ];
        for (field, expected) in cases {
            let differs =
                Mismatch { field: field.to_owned(), expected: "a".to_owned(), found: "b".to_owned() };
            let error = sphex::Error::from(ArtifactError::Incompatible(differs));
            let Failure::Error(failure) = artifact(Path::new("x.cwasm"), &error) else { panic!("{field}") };
            let text = failure.to_string();
            assert!(
                text.starts_with("x.cwasm: incompatible artifact: ") && text.contains(expected),
                "{text}"
            );
        }
    }
}

//! The IR of the modules in `tests/wasm`, as text beside them. `BLESS=1` rewrites the text.

mod common;

use sphex_compile::{Settings, translate_module};
use std::fmt::Write;
use std::path::Path;

/// What the first line of a file may ask for, after `;;! `.
fn settings(text: &str) -> Settings {
    let mut settings = Settings { interruption: false, ..Settings::default() };
    for word in text.lines().next().and_then(|line| line.strip_prefix(";;! ")).unwrap_or("").split(' ') {
        match word {
            "" => {}
            "interruption" => settings.interruption = true,
            "checked" => settings.memory = sphex_compile::MemorySettings::CHECKED,
            "no-spectre" => settings.spectre = false,
            "unoptimized" => settings.optimize = false,
            other => panic!("unknown word {other}"),
        }
    }
    settings
}

fn dump(text: &str, name: &str) -> String {
    let wasm = wat::parse_str(text).unwrap_or_else(|e| panic!("{name}: {e}"));
    let settings = settings(text);
    let mut out = String::new();
    let mut scratch = sphex_codegen::opt::place::Scratch::default();
    let result = translate_module(&wasm, &settings, |index, mut translation| {
        if settings.optimize {
            sphex_codegen::opt::place::place(&mut translation.func, &mut scratch, &mut Default::default());
        }
        common::verify(&translation.func, name, index);
        writeln!(out, "{}", translation.func).unwrap();
    });
    if let Err(error) = result {
        writeln!(out, "error: {error}").unwrap();
    }
    out
}

#[test]
fn translations_are_as_written() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/wasm");
    let mut names: Vec<_> = std::fs::read_dir(&folder).unwrap().map(|e| e.unwrap().path()).collect();
    names.retain(|path| path.extension().is_some_and(|e| e == "wat"));
    names.sort();
    assert!(names.len() >= 3, "too few files in {}", folder.display());
    let mut wrong = Vec::new();
    for path in names {
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        let found = dump(&std::fs::read_to_string(&path).unwrap(), &name);
        let expected = path.with_extension("clif");
        if std::env::var_os("BLESS").is_some() {
            std::fs::write(&expected, &found).unwrap();
        } else if std::fs::read_to_string(&expected).ok().as_deref() != Some(&*found) {
            wrong.push(format!("{name}: found\n{found}"));
        }
    }
    assert!(wrong.is_empty(), "{}\nBLESS=1 rewrites them", wrong.join("\n"));
}

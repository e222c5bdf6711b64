//! `sphex` built without a compiler: its symbols name no crate of the compiler, and it runs artifacts, WASI's 46
//! functions included. The crate's example `answer`, built without a compiler too, has host functions of any signature.
//!
//! Such binaries need a build of their own, which `cargo test` should not have to wait for: `.ci/run` makes them and says
//! where the first is in `SPHEX_NO_COMPILER`; the example stands beside it. Where that is not set and `SPHEX_REQUIRE` names `no-compiler` the test makes it; else
//! it is skipped.

#[path = "../../sphex/examples/answer.rs"]
#[allow(dead_code)]
mod answer;
mod support;

use std::path::{Path, PathBuf};
use std::process::Command;

use object::read::elf::{ElfFile64, FileHeader};
use object::{Endianness, Object, ObjectSymbol};
use sphex::{FuncType, ValType};
use support::{Ended, SPHEX, required, root, run};

/// Crates of which nothing may be in the binary.
const COMPILER: &[&str] =
    &["sphex_codegen", "sphex_compile", "sphex_ir", "sphex_asm", "regalloc2", "wasmparser", "wast", "rayon"];

/// Every function of preview 1: parameters (`i` 32 bits, `l` 64), and an `i` as the result of all but `proc_exit`.
const FUNCTIONS: &str = include_str!("../../sphex-wasi/tests/signatures.txt");

/// What `caller` prints.
const EXPECTED: &str = "aaaa}}iiiiiiiiiiiiiiiiiiiiiiiiiiiiiii}}aaiiii\n";

/// The binary, if this run has one.
fn binary() -> Option<PathBuf> {
    if let Some(path) = std::env::var_os("SPHEX_NO_COMPILER") {
        return Some(root().join(path));
    }
    if !required("no-compiler") {
        println!(
            "skipped: no_compiler needs SPHEX_NO_COMPILER=FILE, or SPHEX_REQUIRE=no-compiler to build one"
        );
        return None;
    }
    let target = Path::new(env!("CARGO_TARGET_TMPDIR")).join("no-compiler");
    let mut cargo = Command::new(env!("CARGO"));
    cargo.args(["build", "-q", "-p", "sphex-cli", "--no-default-features", "--target-dir"]).arg(&target);
    let built = run(cargo.current_dir(root()));
    assert_eq!(built.code, 0, "{}", built.stderr);
    let mut cargo = Command::new(env!("CARGO"));
    cargo.args([
        "build",
        "-q",
        "-p",
        "sphex",
        "--no-default-features",
        "--example",
        "answer",
        "--target-dir",
    ]);
    let built = run(cargo.arg(&target).current_dir(root()));
    assert_eq!(built.code, 0, "{}", built.stderr);
    let beside = target.join("debug/sphex-answer");
    std::fs::copy(target.join("debug/examples/answer"), beside).expect("the example");
    Some(target.join("debug/sphex"))
}

/// The names of the compiler's crates that occur in a binary's symbols.
fn compiler_crates(binary: &Path) -> Vec<&'static str> {
    let bytes = std::fs::read(binary).unwrap_or_else(|error| panic!("{}: {error}", binary.display()));
    let file = ElfFile64::<Endianness>::parse(&*bytes).expect("an ELF file");
    assert!(file.elf_header().is_class_64());
    let names: Vec<&str> = file.symbols().filter_map(|symbol| symbol.name().ok()).collect();
    assert!(names.len() > 1000, "{}: expected a binary with symbols", binary.display());
    COMPILER.iter().copied().filter(|name| names.iter().any(|symbol| symbol.contains(name))).collect()
}

#[test]
fn nothing_of_the_compiler_is_in_it() {
    let Some(binary) = binary() else { return };
    assert_eq!(compiler_crates(&binary), [""; 0], "in {}", binary.display());
    // That the search finds them where they are.
    assert_eq!(compiler_crates(Path::new(SPHEX)), COMPILER, "in {SPHEX}");
}

/// A module that calls every function, each argument 77, and writes a letter for each errno: `a` for 0, `i` for 8, badf.
fn caller() -> String {
    let (mut imports, mut calls) = (String::new(), String::new());
    let functions = FUNCTIONS.lines().filter(|entry| !entry.starts_with("proc_exit"));
    for (position, entry) in functions.enumerate() {
        let (name, params) = entry.split_once(' ').unwrap_or((entry, ""));
        let each = |show: fn(&str) -> String| -> String {
            params.chars().map(|letter| show(if letter == 'i' { "i32" } else { "i64" })).collect()
        };
        let (types, arguments) = (each(|ty| format!(" {ty}")), each(|ty| format!(" ({ty}.const 77)")));
        imports += &format!(
            "(import \"wasi_snapshot_preview1\" \"{name}\" (func ${name} (param{types}) (result i32)))\n"
        );
        calls += &format!(
            "(i32.store8 offset={} (i32.const 512) (i32.add (i32.const 97) (call ${name}{arguments})))\n",
            position
        );
    }
    format!(
        "(module\n{imports}(import \"wasi_snapshot_preview1\" \"proc_exit\" (func $proc_exit (param i32)))
        (memory (export \"memory\") 1)
        (func (export \"_start\")
            {calls}
            (i32.store8 (i32.const 557) (i32.const 10))
            (i32.store (i32.const 1024) (i32.const 512))
            (i32.store (i32.const 1028) (i32.const 46))
            (call $proc_exit (call $fd_write (i32.const 1) (i32.const 1024) (i32.const 1) (i32.const 0)))))"
    )
}

/// Compiles with the one binary, runs with the other.
fn compile_and_run(binary: &Path, folder: &Path, module: &Path, flags: &[&str], arguments: &[&str]) -> Ended {
    let artifact = folder.join("artifact.cwasm");
    let compiled = run(Command::new(SPHEX).arg("compile").arg(module).arg("-o").arg(&artifact));
    assert_eq!(compiled.code, 0, "{}", compiled.stderr);
    let mut command = Command::new(binary);
    command.args(["run", "--allow-precompiled"]).args(flags).arg(&artifact).args(arguments);
    run(command.current_dir(folder))
}

#[test]
fn it_runs_artifacts() {
    let Some(binary) = binary() else { return };
    let folder = tempfile::tempdir().expect("a folder");
    let folder = folder.path();
    let module = folder.join("caller.wat");
    std::fs::write(&module, caller()).expect("a file");
    let ended = compile_and_run(&binary, folder, &module, &[], &[]);
    let direct = run(Command::new(SPHEX).arg(&module));
    assert_eq!((ended.code, ended.stderr.as_str()), (0, ""));
    assert_eq!(ended.stdout, direct.stdout, "with and without a compiler");
    assert_eq!(ended.stdout, EXPECTED);

    // Nine parameters in their places: `touch` makes a file.
    let touch = compile_and_run(&binary, folder, &root().join("tests/cli/touch.wat"), &["--dir", "."], &[]);
    assert_eq!((touch.code, folder.join("made").is_file()), (0, true), "{}", touch.stderr);
    std::fs::write(folder.join("text"), "one two one").expect("a file");
    let wordcount = root().join("examples/wordcount.wasm");
    let counted = compile_and_run(&binary, folder, &wordcount, &["--dir", "."], &["text"]);
    assert_eq!((counted.code, counted.stderr.as_str()), (0, ""));
    assert!(counted.stdout.contains("2 one"), "{}", counted.stdout);
}

#[test]
fn it_says_that_it_cannot_compile() {
    let Some(binary) = binary() else { return };
    let ended = run(Command::new(&binary).arg(root().join("examples/wordcount.wasm")));
    assert_eq!(ended.code, 1);
    assert!(ended.stderr.contains("this sphex was built without a compiler"), "{}", ended.stderr);
    assert_eq!(run(Command::new(&binary).arg("compile").arg("--help")).code, 1);
}

/// Function types of 0 to 24 parameters and 0 to 12 results.
fn signatures() -> Vec<FuncType> {
    const TYPES: &[ValType] =
        &[ValType::I32, ValType::I64, ValType::F32, ValType::F64, ValType::ExternRef, ValType::FuncRef];
    let mut state = 0x5eed_u64;
    let mut draw = |below: usize| {
        state = state.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        (state >> 33) as usize % below
    };
    let mut types = |most: usize| -> Vec<ValType> {
        let kinds = 1 + draw(TYPES.len());
        (0..draw(most + 1)).map(|_| TYPES[draw(kinds)]).collect()
    };
    (0..300).map(|_| FuncType::new(types(24), types(12))).collect()
}

/// A module that hands the arguments of each export on to an import of the same type, and its results back.
fn forwarder(types: &[FuncType]) -> String {
    let mut imports = String::new();
    let mut exports = String::new();
    for (i, ty) in types.iter().enumerate() {
        let list = |types: &[ValType]| types.iter().map(|ty| format!(" {ty}")).collect::<String>();
        let ty_text = format!("(param{}) (result{})", list(&ty.params), list(&ty.results));
        let arguments: String = (0..ty.params.len()).map(|i| format!(" (local.get {i})")).collect();
        imports += &format!("(import \"any\" \"f{i}\" (func $f{i} {ty_text}))\n");
        exports += &format!("(func (export \"g{i}\") {ty_text} (call $f{i}{arguments}))\n");
    }
    format!("(module\n{imports}{exports})")
}

#[test]
fn host_functions_of_any_signature() {
    let Some(binary) = binary() else { return };
    let types = signatures();
    let mut expected = String::new();
    for (i, ty) in types.iter().enumerate() {
        let (_, params, results) = answer::answer(&format!("f{i}"), ty, &answer::arguments(ty));
        expected += &format!("f{i}({params}) = {results}\nexport g{i} = {results}\n");
    }
    let folder = tempfile::tempdir().expect("a folder");
    let (module, artifact) = (folder.path().join("any.wat"), folder.path().join("any.cwasm"));
    std::fs::write(&module, forwarder(&types)).expect("a file");
    let compiled = run(Command::new(SPHEX).arg("compile").arg(&module).arg("-o").arg(&artifact));
    assert_eq!(compiled.code, 0, "{}", compiled.stderr);

    let example = binary.with_file_name("sphex-answer");
    assert_eq!(compiler_crates(&example), [""; 0], "in {}", example.display());
    let ended = run(Command::new(&example).arg(&artifact));
    assert_eq!((ended.code, ended.stderr.as_str()), (0, ""));
    if let Some(difference) = support::difference("answers", &expected, &ended.stdout) {
        panic!("{difference}");
    }
}

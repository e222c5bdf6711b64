//! CLIF to object file to a running program: `cc` links it with a C main that calls every `run` line's function.
//!
//! For each line a wrapper in the C convention is made that calls the function with the line's arguments, whatever its
//! convention and however many results, and stores the results; C compares them with what the line says. Files: those of
//! `tests/clif/run` in the repository, and the public corpus where it is present. `SPHEX_CLIF=WORD` runs the files
//! whose path has the word.

use sphex_asm::x64::features::{Feature, FeatureSet};
use sphex_codegen::object::ObjectFile;
use sphex_codegen::pipeline::{Context, compile};
use sphex_codegen::regalloc::Allocator;
use sphex_codegen::settings::{Arch, Slots, Target};
use sphex_codegen::{CodegenError, Settings};
use sphex_ir::number::{parse_float, parse_int};
use sphex_ir::parse::parse_text;
use sphex_ir::types::{F32, F64, I64};
use sphex_ir::{
    AbiParam, Builder, CallConv, ExtFunc, ExternalName, Function, MemFlags, Opcode, Purpose, Signature, Type,
};
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;

/// A line `; run: %f(1, 2) == 3`.
struct Run {
    callee: usize,
    args: Vec<u128>,
    expected: Vec<u128>,
    equal: bool,
    text: String,
}

/// A line of a file that contradicts another one of it: it was meant for the function before.
const WRONG: [&str; 1] = [": %fcvt_to_sint_sat_i8_f64(-0x1.fffffffffffffp1023) == 0"];

/// What a file came to.
enum Outcome {
    Passed(usize),
    Skipped(String),
    Failed(String),
}

fn parse_value(text: &str, ty: Type) -> Option<u128> {
    match text {
        "true" => return Some(1),
        "false" => return Some(0),
        _ => {}
    }
    if ty.is_float() { parse_float(text, ty) } else { parse_int(text, ty.bits()) }
}

fn parse_values(text: &str, types: &[AbiParam]) -> Option<Vec<u128>> {
    let text = text.trim().trim_start_matches('[').trim_end_matches(']').trim();
    let words: Vec<&str> = if text.is_empty() { vec![] } else { text.split(',').map(str::trim).collect() };
    if words.len() != types.len() {
        return None;
    }
    words.iter().zip(types).map(|(word, param)| parse_value(word, param.ty)).collect()
}

fn parse_run(comment: &str, callee: usize, functions: &[Function]) -> Option<Run> {
    let line = comment.trim_start_matches(';').trim();
    let line = line.strip_prefix("run")?;
    let text = line.to_string();
    let Some(line) = line.strip_prefix(':') else {
        return line.trim().is_empty().then(|| Run {
            callee,
            args: vec![],
            expected: vec![0],
            equal: false,
            text,
        });
    };
    let line = line.trim();
    let (name, rest) = line.strip_prefix('%')?.split_once('(')?;
    let callee = functions.iter().position(|f| f.name == ExternalName::symbol(name))?;
    let (args, rest) = rest.split_once(')')?;
    let sig = &functions[callee].signature;
    let args = parse_values(args, &sig.params)?;
    let rest = rest.trim();
    let (equal, expected) = match (rest.strip_prefix("=="), rest.strip_prefix("!=")) {
        (Some(rest), _) => (true, parse_values(rest, &sig.returns)?),
        (_, Some(rest)) => (false, parse_values(rest, &sig.returns)?),
        _ => (false, vec![0]),
    };
    Some(Run { callee, args, expected, equal, text })
}

/// A C function that calls `callee` with constants and stores its results, 16 bytes apart.
fn wrapper(name: &str, callee: &Function, args: &[u128]) -> Function {
    let mut sig = Signature::new(CallConv::SystemV);
    sig.params.push(AbiParam::new(I64));
    let mut func = Function::new(ExternalName::symbol(name), sig);
    let signature = func.signatures.push(callee.signature.clone());
    let callee_ref =
        func.ext_funcs.push(ExtFunc { name: callee.name.clone(), signature, colocated: true, leaves: false });
    let block = func.add_block();
    let out = func.add_block_param(block, I64);
    let mut b = Builder::new(&mut func);
    b.switch_to(block);
    let mut values = Vec::new();
    for (param, &bits) in callee.signature.params.iter().zip(args) {
        values.push(match param.ty {
            F32 => b.f32const(bits as u32),
            F64 => b.f64const(bits as u64),
            ty => b.iconst(ty, bits as i64),
        });
    }
    let call = b.call(callee_ref, &values);
    let results: Vec<_> = b.func.results(call).collect();
    for (k, result) in results.into_iter().enumerate() {
        b.store(Opcode::Store, MemFlags::TRUSTED, result, out, 16 * k as i32);
    }
    b.ret(&[]);
    func
}

fn c_main(runs: &[Run], functions: &[Function]) -> String {
    let mut c = String::from(
        "#include <stdio.h>\n#include <string.h>\nunsigned char out[65536] __attribute__((aligned(16)));\n",
    );
    for k in 0..runs.len() {
        let _ = writeln!(c, "void wrapper{k}(void *);");
    }
    c.push_str("int main(void) {\n int bad = 0;\n");
    for (k, run) in runs.iter().enumerate() {
        let returns = &functions[run.callee].signature.returns;
        let _ = writeln!(
            c,
            " {{ int same = 1; fprintf(stderr, \"{k}\\n\"); memset(out, 0xaa, sizeof out); wrapper{k}(out);"
        );
        for (n, (bits, param)) in run.expected.iter().zip(returns).enumerate() {
            // A NaN stands for every NaN: which one the machine makes is not said.
            let nan = match param.ty {
                F32 if f32::from_bits(*bits as u32).is_nan() => Some("float"),
                F64 if f64::from_bits(*bits as u64).is_nan() => Some("double"),
                _ => None,
            };
            if let Some(ty) = nan {
                let _ = writeln!(c, " {{ {ty} x; memcpy(&x, out + {}, sizeof x); same &= x != x; }}", 16 * n);
                continue;
            }
            let bytes: Vec<String> =
                bits.to_le_bytes()[..param.ty.bytes() as usize].iter().map(u8::to_string).collect();
            let _ = writeln!(
                c,
                " {{ static const unsigned char x[] = {{{}}}; same &= !memcmp(out + {}, x, sizeof x); }}",
                bytes.join(","),
                16 * n
            );
        }
        let _ = writeln!(
            c,
            " if (same != {}) {{ bad = 1; printf(\"{k} %02x%02x%02x%02x%02x%02x%02x%02x\\n\", out[7],out[6],out[5],out[4],out[3],out[2],out[1],out[0]); }} }}",
            u8::from(run.equal)
        );
    }
    c.push_str(" fprintf(stderr, \"done\\n\"); return bad;\n}\n");
    c
}

/// What objects are made for, who links them, and who runs the programs (nobody: the machine itself).
struct Machine {
    arch: Arch,
    name: &'static str,
    cc: &'static str,
    flags: &'static [&'static str],
    emulator: Option<[&'static str; 3]>,
    /// Files whose name has this word, compiled with this feature.
    only: Option<(&'static str, &'static str)>,
}

const X64: Machine =
    Machine { arch: Arch::X64, name: "x86_64", cc: "cc", flags: &[], emulator: None, only: None };

const AARCH64: Machine = Machine {
    arch: Arch::Aarch64,
    name: "aarch64",
    cc: "aarch64-linux-gnu-gcc",
    flags: &["-static"],
    emulator: Some(["qemu-aarch64", "-cpu", "cortex-a72"]),
    only: None,
};

/// With the atomic instructions that the plain one does without.
const AARCH64_LSE: Machine =
    Machine { emulator: Some(["qemu-aarch64", "-cpu", "max"]), only: Some(("atomic", "has_lse")), ..AARCH64 };

/// Settings from the file's `set` and `target` lines; `None` if it is not for this target.
fn settings(text: &str, machine: &Machine) -> Result<(Settings, usize), String> {
    let mut settings = Settings::new(Target::parse(machine.name).ok_or("no target")?);
    let (mut at, mut wanted, mut run) = (0, false, false);
    for line in text.split_inclusive('\n') {
        let words: Vec<&str> = line.split_whitespace().collect();
        match words.first() {
            Some(&"test") => run |= words.get(1) == Some(&"run"),
            Some(&"set") => {
                for word in &words[1..] {
                    let (name, value) = match word.split_once('=') {
                        Some((name, value)) => (name, Some(value)),
                        None => (*word, None),
                    };
                    settings.set(name, value).map_err(|e| e.to_string())?;
                }
            }
            Some(&"target")
                if words.get(1).is_some_and(|t| Target::parse(t).is_some_and(|t| t.arch == machine.arch))
                    && !wanted =>
            {
                wanted = true;
                for word in &words[2..] {
                    settings.enable(word).map_err(|e| e.to_string())?;
                }
            }
            Some(&"target") => {}
            Some(word) if !word.starts_with(';') => break,
            _ => {}
        }
        at += line.len();
    }
    if !(wanted && run) {
        return Err(format!("not for test run on {}", machine.name));
    }
    let host = FeatureSet::detect();
    match Feature::ALL.iter().find(|f| settings.features.has(**f) && !host.has(**f)) {
        Some(feature) => Err(format!("this machine has no {}", feature.name())),
        None => Ok((settings, at)),
    }
}

fn run_file(path: &Path, scratch: &Path, (slots, allocator): Mode, machine: &Machine) -> Outcome {
    let text = std::fs::read_to_string(path).unwrap();
    let (mut settings, from) = match settings(&text, machine) {
        Ok(found) => found,
        Err(reason) => return Outcome::Skipped(reason),
    };
    (settings.slots, settings.allocator) = (slots, allocator);
    if let Some((word, feature)) = machine.only {
        if !path.file_name().is_some_and(|name| name.to_string_lossy().contains(word)) {
            return Outcome::Skipped(format!("without {word}"));
        }
        settings.enable(feature).unwrap();
    }
    let parsed = match parse_text(&text, from) {
        Ok(parsed) => parsed,
        Err(error) => return Outcome::Skipped(format!("parse: {error}")),
    };
    let functions: Vec<Function> = parsed.functions.iter().map(|f| f.function.clone()).collect();
    let mut runs = Vec::new();
    for (k, parsed) in parsed.functions.iter().enumerate() {
        for comment in &parsed.comments {
            if let Some(run) = parse_run(&comment.text, k, &functions) {
                let vmctx = functions[run.callee].signature.special_param(Purpose::VmContext);
                if vmctx.is_none() && !WRONG.contains(&run.text.as_str()) {
                    runs.push(run);
                }
            }
        }
    }
    let (mut object, mut ctx) = (ObjectFile::new(machine.arch), Context::new());
    let wrappers = runs
        .iter()
        .enumerate()
        .map(|(k, run)| wrapper(&format!("wrapper{k}"), &functions[run.callee], &run.args));
    for mut func in functions.iter().cloned().chain(wrappers) {
        let compiled = match compile(&mut func, &settings, &mut ctx) {
            Ok(compiled) => compiled,
            Err(
                e @ (CodegenError::UnsupportedInstruction { .. }
                | CodegenError::UnsupportedType(_)
                | CodegenError::UnsupportedConvention { .. }),
            ) => {
                return Outcome::Skipped(e.to_string());
            }
            Err(e) => return Outcome::Failed(format!("{}: {e}", func.name)),
        };
        if let Err(e) = object.add(&func.name, &compiled) {
            return Outcome::Failed(e.to_string());
        }
    }
    let bytes = match object.finish() {
        Ok(bytes) => bytes,
        Err(e) => return Outcome::Failed(e.to_string()),
    };
    link_and_run(path, scratch, &bytes, &runs, &functions, machine)
}

fn link_and_run(
    path: &Path,
    scratch: &Path,
    object: &[u8],
    runs: &[Run],
    functions: &[Function],
    machine: &Machine,
) -> Outcome {
    let stem = path.file_stem().unwrap().to_string_lossy().into_owned();
    let file = |ext: &str| scratch.join(format!("{stem}.{ext}"));
    std::fs::write(file("o"), object).unwrap();
    std::fs::write(file("c"), c_main(runs, functions)).unwrap();
    let linked = Command::new(machine.cc)
        .args(machine.flags)
        .arg("-O0")
        .arg("-o")
        .args([file("exe"), file("c"), file("o")])
        .arg("-lm")
        .output()
        .unwrap();
    if !linked.status.success() {
        return Outcome::Failed(format!("cc: {}", String::from_utf8_lossy(&linked.stderr)));
    }
    let mut program = match machine.emulator {
        None => Command::new(file("exe")),
        Some([emulator, args @ ..]) => {
            let mut command = Command::new(emulator);
            command.args(args).arg(file("exe"));
            command
        }
    };
    let output = program.output().unwrap();
    let (out, log) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    let describe =
        |k: &str| k.parse::<usize>().ok().and_then(|k| runs.get(k)).map_or(String::new(), |r| r.text.clone());
    if !output.status.success() {
        let mut message = format!("{}", output.status);
        if !log.ends_with("done\n") {
            let _ = write!(message, " in run{}", describe(log.lines().last().unwrap_or("")));
        }
        for line in out.lines().take(4) {
            let (k, found) = line.split_once(' ').unwrap_or((line, ""));
            let _ = write!(message, "\n    run{} found {found}", describe(k));
        }
        return Outcome::Failed(message);
    }
    for ext in ["o", "c", "exe"] {
        let _ = std::fs::remove_file(file(ext));
    }
    Outcome::Passed(runs.len())
}

fn files() -> Vec<PathBuf> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).ancestors().nth(2).unwrap();
    let shared = root.ancestors().map(|up| up.join("shared/corpora/clif-runtests"));
    let folders = shared.chain([root.join("tests/clif/run")]);
    let word = std::env::var("SPHEX_CLIF").unwrap_or_default();
    let mut files: Vec<PathBuf> = Vec::new();
    for folder in folders {
        let entries = std::fs::read_dir(folder).into_iter().flatten().flatten().map(|e| e.path());
        files.extend(
            entries.filter(|p| {
                p.extension().is_some_and(|e| e == "clif") && p.to_string_lossy().contains(&word)
            }),
        );
    }
    files.sort_by_key(|p| p.file_name().map(ToOwned::to_owned));
    files.dedup_by_key(|p| p.file_name().map(ToOwned::to_owned));
    files
}

#[test]
fn clif_runs_through_object_files() {
    run_files("usual", &[(Slots::Budget, Allocator::Walk)], &X64);
}

#[test]
fn clif_runs_through_the_frame() {
    let (walk, search) = (Allocator::Walk, Allocator::Search);
    run_files(
        "slots",
        &[(Slots::All, walk), (Slots::Params, walk), (Slots::Budget, search), (Slots::Copies, search)],
        &X64,
    );
}

#[test]
fn clif_runs_on_aarch64() {
    let (walk, search) = (Allocator::Walk, Allocator::Search);
    let modes = [(Slots::Budget, walk), (Slots::All, walk), (Slots::Budget, search)];
    run_files("aarch64", &modes, &AARCH64);
    run_files("aarch64-lse", &modes[..1], &AARCH64_LSE);
}

/// What goes through the frame, and how registers are allocated.
type Mode = (Slots, Allocator);

/// Runs every file, each in the next of the modes.
fn run_files(name: &str, modes: &[Mode], machine: &Machine) {
    for tool in [machine.cc].into_iter().chain(machine.emulator.map(|[emulator, ..]| emulator)) {
        if Command::new(tool).arg("--version").output().is_err() {
            let required = std::env::var("SPHEX_REQUIRE").unwrap_or_default();
            let wanted = machine.emulator.is_none() || required.split(',').any(|name| name == "qemu");
            assert!(required.is_empty() || !wanted, "{tool} is missing");
            println!("skipped: CLIF on {} needs {tool}", machine.name);
            return;
        }
    }
    let scratch = std::env::temp_dir().join(format!("sphex-object-{name}-{}", std::process::id()));
    std::fs::create_dir_all(&scratch).unwrap();
    let (mut passed, mut lines, mut skipped, mut failed) = (0, 0, 0, Vec::new());
    for (path, &mode) in files().iter().zip(modes.iter().cycle()) {
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        match run_file(path, &scratch, mode, machine) {
            Outcome::Passed(n) => (passed, lines) = (passed + 1, lines + n),
            Outcome::Skipped(reason) => {
                skipped += 1;
                println!("skipped {name}: {reason}");
            }
            Outcome::Failed(reason) => failed.push(format!("{name}: {reason}")),
        }
    }
    println!("{passed} files passed ({lines} runs), {skipped} skipped, {} failed", failed.len());
    assert!(failed.is_empty(), "{} (kept in {})", failed.join("\n"), scratch.display());
    assert!(passed > 0);
    let _ = std::fs::remove_dir_all(&scratch);
}

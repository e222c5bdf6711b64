//! Programs that people have, run by the `sphex` binary as people run it: one trial a program and way of running it.
//!
//! The example needs nothing. The benchmark programs lie in `../shared/bench/open`, those of other toolchains (and GCC
//! itself) where `ci/toolchains.sh` puts them. A trial whose input is absent is ignored, and fails where
//! `SPHEX_REQUIRE` names its source (`shared`, `toolchains`). Modules of more than 10 MB take about five minutes of CPU
//! time in the test profile, verifier and allocation checker on: they are ignored unless `SPHEX_REQUIRE` names
//! `toolchains` (or `--include-ignored`), and compiled once for each build of `sphex`: the artifacts stay in the target
//! folder.

mod support;

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Instant;

use libtest_mimic::{Arguments, Failed, Trial};
use support::{Ended, SPHEX, difference, required, root, run, shared, toolchain_programs};

/// How a program is run.
#[derive(Clone, Copy, PartialEq)]
enum Way {
    /// `sphex run FILE`.
    Direct,
    /// With explicit bounds checks.
    Checked,
    /// `sphex compile`, once a build; then `sphex run --allow-precompiled`.
    Compiled,
}

/// A program of a toolchain. It runs in a fresh folder that holds `input`, and sees that folder as `/work`.
struct Program {
    module: &'static str,
    way: Way,
    options: &'static [&'static str],
    /// A file of `tests/programs`.
    input: Option<&'static str>,
    arguments: &'static [&'static str],
    code: i32,
    /// A file of `tests/programs`.
    stdout: Option<&'static str>,
    /// What standard error contains.
    stderr: &'static str,
    /// A file that the program writes, and the file of `tests/programs` that it must equal.
    output: Option<(&'static str, &'static str)>,
}

const RUST: Program = Program {
    module: "rust_files",
    way: Way::Direct,
    options: &[],
    input: None,
    arguments: &["/work"],
    code: 0,
    stdout: Some("rust_files.stdout"),
    stderr: "",
    output: None,
};
const CPP: Program = Program { module: "cpp_streams", code: 3, stdout: Some("cpp_streams.stdout"), ..RUST };
const GO: Program = Program { module: "goroutines", code: 7, stdout: Some("goroutines.stdout"), ..RUST };
const THREADS: Program = Program {
    module: "rust_threads",
    options: &["-S", "threads"],
    arguments: &[],
    stdout: Some("rust_threads.stdout"),
    ..RUST
};
const GCC_OUT: &str = "/work/out.s";
const CC1: Program = Program {
    module: "cc1",
    way: Way::Compiled,
    input: Some("gcc_input.c"),
    arguments: &["-quiet", "-O2", "gcc_input.c", "-o", GCC_OUT],
    stdout: None,
    output: Some(("out.s", "gcc_input.s.expected")),
    ..RUST
};

const PROGRAMS: &[Program] = &[
    RUST,
    Program { way: Way::Checked, ..RUST },
    Program {
        // A panic is a trap after the message.
        arguments: &["/work", "panic"],
        code: 134,
        stderr: "index out of bounds: the len is 0 but the index is 3",
        ..RUST
    },
    THREADS,
    Program { way: Way::Checked, ..THREADS },
    Program { options: &["-S", "threads", "-O", "pooling-allocator"], ..THREADS },
    Program { arguments: &["exit"], code: 7, ..THREADS },
    Program { arguments: &["panic"], code: 134, stderr: "in a thread", ..THREADS },
    CPP,
    Program { way: Way::Checked, ..CPP },
    GO,
    Program { way: Way::Checked, ..GO },
    CC1,
    Program {
        module: "cc1plus",
        input: Some("gcc_input.cc"),
        arguments: &["-quiet", "-O2", "gcc_input.cc", "-o", GCC_OUT],
        output: Some(("out.s", "gcc_inputcc.s.expected")),
        ..CC1
    },
    Program {
        // GCC's own message about a file that is not there.
        arguments: &["-quiet", "absent.c", "-o", GCC_OUT],
        code: 1,
        stderr: "fatal error: absent.c: No such file or directory",
        output: None,
        ..CC1
    },
];

/// Large modules that are compiled and not run.
const ONLY_COMPILED: &[&str] = &["esbuild", "ruby"];

fn main() {
    let arguments = Arguments::from_args();
    let mut trials = example();
    trials.extend(benchmarks());
    trials.extend(toolchains());
    libtest_mimic::run(&arguments, trials).exit();
}

fn example() -> Vec<Trial> {
    let ways = [("", Way::Direct), (" checked", Way::Checked)];
    let trial = |(suffix, way)| Trial::test(format!("examples/wordcount{suffix}"), move || wordcount(way));
    ways.into_iter().map(trial).collect()
}

/// The README's command, on a text of known words.
fn wordcount(way: Way) -> Result<(), Failed> {
    let module = root().join("examples/wordcount.wasm");
    let folder = tempfile::tempdir()?;
    std::fs::write(folder.path().join("text"), "The cat, the dog; THE end. A cat!\n")?;
    let mut command = sphex(&module, way)?;
    command.current_dir(folder.path()).args(["--dir", "."]).arg(&module).args(["--top", "2", "text"]);
    let ended = run(&mut command);
    expect(&ended, 0, Some("8 words, 5 distinct\n       3 the\n       2 cat\n"), "")
}

/// Every folder of `bench/open`, by its own `run.args` and `expected.stdout`.
fn benchmarks() -> Vec<Trial> {
    let open = shared().join("bench/open");
    let Ok(entries) = std::fs::read_dir(&open) else { return vec![absent("bench/open", "shared", &open)] };
    let mut folders: Vec<PathBuf> = entries.flatten().map(|entry| entry.path()).collect();
    folders.sort();
    let mut trials = Vec::new();
    for folder in folders {
        let name = folder.file_name().unwrap_or_default().to_string_lossy().into_owned();
        if name == "simdk" {
            trials.push(Trial::test("bench/simdk (says that SIMD is missing)", move || needs_simd(&folder)));
            continue;
        }
        let checked = folder.clone();
        trials.push(Trial::test(format!("bench/{name}"), move || benchmark(&folder, Way::Direct)));
        trials.push(Trial::test(format!("bench/{name} checked"), move || benchmark(&checked, Way::Checked)));
    }
    trials
}

fn benchmark_module(folder: &Path) -> PathBuf {
    folder.join(folder.file_name().unwrap_or_default()).with_extension("wasm")
}

fn benchmark(folder: &Path, way: Way) -> Result<(), Failed> {
    let module = benchmark_module(folder);
    let arguments = std::fs::read_to_string(folder.join("run.args"))?;
    let expected = std::fs::read_to_string(folder.join("expected.stdout"))?;
    let mut command = sphex(&module, way)?;
    command.current_dir(folder).arg(&module).args(arguments.split_whitespace());
    expect(&run(&mut command), 0, Some(&expected), "")
}

fn needs_simd(folder: &Path) -> Result<(), Failed> {
    let module = benchmark_module(folder);
    let ended = run(sphex(&module, Way::Direct)?.arg(&module).arg("1"));
    expect(&ended, 1, Some(""), "simd")
}

fn toolchains() -> Vec<Trial> {
    let mut trials = Vec::new();
    for program in PROGRAMS {
        let path = toolchain_programs().join(program.module).with_extension("wasm");
        let way = if program.way == Way::Checked { " checked" } else { "" };
        let name = format!("toolchains/{} {}{way}", program.module, program.arguments.join(" "));
        trials.push(match path.is_file() {
            true if program.way == Way::Compiled => large(name, move || toolchain(program, &path)),
            true => Trial::test(name, move || toolchain(program, &path)),
            false => absent(&name, "toolchains", &path),
        });
    }
    for module in ONLY_COMPILED {
        let path = toolchain_programs().join(module).with_extension("wasm");
        let name = format!("toolchains/{module} compiles");
        trials.push(match path.is_file() {
            true => large(name, move || Ok(compiled(&path).map(drop)?)),
            false => absent(&name, "npm", &path),
        });
    }
    trials
}

fn toolchain(program: &Program, module: &Path) -> Result<(), Failed> {
    let folder = tempfile::tempdir()?;
    let sources = root().join("tests/programs");
    if let Some(input) = program.input {
        std::fs::copy(sources.join(input), folder.path().join(input))?;
    }
    let mut command = sphex(module, program.way)?;
    command.args(program.options);
    command.current_dir(folder.path()).args(["--dir", ".::/work", "--dir", ".::.", "--env", "GREETING=hi"]);
    command.arg(if program.way == Way::Compiled { compiled(module)? } else { module.to_path_buf() });
    let ended = run(command.args(program.arguments));
    let stdout = program.stdout.map(|name| std::fs::read_to_string(sources.join(name))).transpose()?;
    expect(&ended, program.code, stdout.as_deref(), program.stderr)?;
    if let Some((name, expected)) = program.output {
        let found = std::fs::read_to_string(folder.path().join(name))?;
        let expected_text = std::fs::read_to_string(sources.join(expected))?;
        if let Some(text) = difference(expected, &expected_text, &found) {
            return Err(text.into());
        }
    }
    Ok(())
}

/// `sphex` with the flags of a way, up to where options and FILE go.
fn sphex(module: &Path, way: Way) -> Result<Command, Failed> {
    if !module.is_file() {
        return Err(format!("{} is absent", module.display()).into());
    }
    let mut command = Command::new(SPHEX);
    command.arg("run");
    match way {
        Way::Direct => {}
        Way::Checked => drop(command.args(["-O", "memory-reservation=0"])),
        Way::Compiled => drop(command.arg("--allow-precompiled")),
    }
    Ok(command)
}

/// The artifact of a module, made if this build of `sphex` has not made it yet.
fn compiled(module: &Path) -> Result<PathBuf, String> {
    static ONE_AT_A_TIME: std::sync::Mutex<()> = std::sync::Mutex::new(());
    let text = |error: std::io::Error| error.to_string();
    let binary = std::fs::metadata(SPHEX).map_err(text)?;
    let modified = binary.modified().map_err(text)?.duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("artifacts");
    let key = format!("{}-{}", binary.len(), modified.as_nanos());

    let _guard = ONE_AT_A_TIME.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    let build = folder.join(key);
    if !build.is_dir() {
        // Those of earlier builds are of no use.
        let _ = std::fs::remove_dir_all(&folder);
        std::fs::create_dir_all(&build).map_err(text)?;
    }
    let name = module.file_stem().unwrap_or_default();
    let artifact = build.join(name).with_extension("cwasm");
    if artifact.is_file() {
        return Ok(artifact);
    }
    let begin = Instant::now();
    let ended = run(Command::new(SPHEX).arg("compile").arg(module).arg("-o").arg(&artifact));
    if ended.code != 0 {
        return Err(format!("compiling {} ended with {}: {}", module.display(), ended.code, ended.stderr));
    }
    println!("compiled {} in {:.1} s", name.display(), begin.elapsed().as_secs_f64());
    Ok(artifact)
}

/// Compares an end with the expected one. Nothing is on standard error that nobody expects.
fn expect(ended: &Ended, code: i32, stdout: Option<&str>, stderr: &str) -> Result<(), Failed> {
    if ended.code != code {
        return Err(format!("expected exit code {code}, found {}: {}", ended.code, ended.stderr).into());
    }
    if let Some(text) = stdout.and_then(|stdout| difference("standard output", stdout, &ended.stdout)) {
        return Err(text.into());
    }
    if !ended.stderr.contains(stderr) || stderr.is_empty() && !ended.stderr.is_empty() {
        return Err(format!("expected {stderr:?} on standard error, found {:?}", ended.stderr).into());
    }
    Ok(())
}

/// A trial that takes minutes.
fn large(name: String, trial: impl FnOnce() -> Result<(), Failed> + Send + 'static) -> Trial {
    let wanted = required("toolchains");
    if !wanted {
        println!("skipped: {name} needs SPHEX_REQUIRE=toolchains, and minutes");
    }
    Trial::test(name, trial).with_ignored_flag(!wanted)
}

/// What stands for a trial whose input is not here.
fn absent(name: &str, source: &str, path: &Path) -> Trial {
    let message = format!("{name} needs {}", path.display());
    if required(source) {
        return Trial::test(name, move || Err(message.into()));
    }
    println!("skipped: {message}");
    Trial::test(name, || Ok(())).with_ignored_flag(true)
}

//! The test commands.

use super::Outcome;
use super::directive::{Expectation, content, invocations};
use super::filecheck;
use super::testfile::{TestCommand, TestFile};
use anyhow::Context as _;
use iced_x86::{Decoder, DecoderOptions, Formatter, IntelFormatter};
use sphex_codegen::pipeline::Context;
use sphex_codegen::settings::{Settings, Target};
use sphex_ir::Function;
use sphex_ir::flow::{Cfg, Dominators};
use sphex_ir::interpret::{Interpreter, Outcome as Ending};
use sphex_ir::parse::ParsedFunction;
use sphex_ir::verify::verify;
use std::fmt::Write;
use std::path::Path;

/// Steps that `test interpret` allows a call.
const FUEL: u64 = 100_000_000;

/// Runs a file's test commands. Gives the file's text with new expectations, where `BLESS=1` asks for them.
pub fn run_all(file: &TestFile<'_>, outcome: &mut Outcome) -> Option<String> {
    if file.commands.is_empty() {
        outcome.failures.push("expected a `test` line, found none".to_string());
    }
    if let Err(error) = check_settings(file) {
        outcome.failures.push(error);
        return None;
    }
    let mut blessed = None;
    for command in &file.commands {
        let result = match command.name.as_str() {
            "verifier" => test_verifier(file),
            "interpret" => verify_all(file).and_then(|()| test_interpret(file, outcome)),
            "run" => verify_all(file).and_then(|()| super::run::test_run(file, outcome)),
            "cat" => verify_all(file)
                .and_then(|()| test_text(file, command, &mut blessed, |f, _| Ok(f.to_string()))),
            "print-cfg" => verify_all(file)
                .and_then(|()| test_text(file, command, &mut blessed, |f, _| Ok(print_cfg(f)))),
            "domtree" => verify_all(file)
                .and_then(|()| test_text(file, command, &mut blessed, |f, _| Ok(print_domtree(f)))),
            "optimize" => verify_all(file).and_then(|()| test_text(file, command, &mut blessed, optimized)),
            "compile" => verify_all(file).and_then(|()| test_text(file, command, &mut blessed, compiled)),
            // Another engine's pass; the same file's `run` shows whether the results are right.
            "alias-analysis" => Ok(()),
            other => Err(vec![format!("expected a test command, found `{other}`")]),
        };
        if let Err(failures) = result {
            outcome
                .failures
                .extend(failures.iter().map(|failure| format!("test {}: {failure}", command.name)));
        }
    }
    blessed
}

/// Names of settings are checked even where nothing is compiled.
fn check_settings(file: &TestFile<'_>) -> Result<(), String> {
    let Some(target) = Target::parse("x86_64") else { return Ok(()) };
    let mut settings = Settings::new(target);
    for (name, value) in &file.settings {
        settings.set(name, value.as_deref()).map_err(|error| error.to_string())?;
    }
    Ok(())
}

type Verdict = Result<(), Vec<String>>;

fn verdict(failures: Vec<String>) -> Verdict {
    if failures.is_empty() { Ok(()) } else { Err(failures) }
}

fn verify_all(file: &TestFile<'_>) -> Verdict {
    verdict(file.functions.iter().filter_map(|f| verify(&f.function).err()).map(|e| e.to_string()).collect())
}

/// Each `; error: TEXT` is part of one error; without such comments a function is valid.
fn test_verifier(file: &TestFile<'_>) -> Verdict {
    let mut failures = Vec::new();
    for parsed in &file.functions {
        let expected: Vec<_> = parsed
            .comments
            .iter()
            .filter_map(|c| Some((c.line, content(c).strip_prefix("error:")?.trim())))
            .collect();
        let errors = verify(&parsed.function).err();
        let texts: Vec<String> =
            errors.iter().flat_map(|e| e.errors.iter().map(|error| error.to_string())).collect();
        for (line, text) in &expected {
            if !texts.iter().any(|found| found.contains(text)) {
                failures.push(format!("{line}: expected the error `{text}`, found {texts:?}"));
            }
        }
        if let (Some(errors), true) = (&errors, expected.is_empty()) {
            failures.push(errors.to_string());
        }
        if texts.len() > expected.len() && !expected.is_empty() {
            failures.push(format!("{}: expected {} errors, found {texts:?}", parsed.line, expected.len()));
        }
    }
    verdict(failures)
}

fn test_interpret(file: &TestFile<'_>, outcome: &mut Outcome) -> Verdict {
    let mut failures = Vec::new();
    for call in invocations(file).map_err(|error| vec![error])? {
        let mut interpreter = Interpreter::new(file.functions.iter().map(|f| &f.function));
        interpreter.set_fuel(FUEL);
        let traps = match &call.expectation {
            Expectation::Trap(code) => Some(*code),
            _ => None,
        };
        let verdict = match (interpreter.call(&call.function, &call.args), traps) {
            (Ok(Ending::Returned(results)), None) => call.judge(&results),
            (Ok(Ending::Trapped(code)), Some(expected)) if code == expected => Ok(None),
            (Ok(ending), _) => Err(format!("{}: {}: found {ending:?}", call.line, call.function)),
            (Err(error), _) => Err(format!("{}: {}: {error}", call.line, call.function)),
        };
        match verdict {
            Ok(note) => outcome.notes.extend(note),
            Err(failure) => failures.push(failure),
        }
    }
    verdict(failures)
}

/// A test whose result is a text: the function's checks are applied to it, or, under `precise-output`, it stands in the
/// comments behind the function.
fn test_text(
    file: &TestFile<'_>,
    command: &TestCommand,
    blessed: &mut Option<String>,
    make: impl Fn(&Function, &Settings) -> Result<String, String>,
) -> Verdict {
    let precise = command.options.iter().any(|option| option == "precise-output");
    let settings = super::run::settings_of(file).map_err(|error| vec![error])?;
    let mut failures = Vec::new();
    let mut replacements = Vec::new();
    for (k, parsed) in file.functions.iter().enumerate() {
        let text = match make(&parsed.function, &settings) {
            Ok(text) => text,
            Err(error) => {
                failures.push(format!("{}: {}: {error}", parsed.line, parsed.function.name));
                continue;
            }
        };
        if !precise {
            let checks: Vec<_> = parsed.comments.iter().filter(|c| filecheck::is_check(c)).cloned().collect();
            failures.extend(filecheck::check(&checks, &text).err().map(|error| format!("{error}\n{text}")));
            continue;
        }
        let (from, to) = expected_lines(file, k);
        let expected: Vec<String> =
            text.lines().map(|line| format!("; {line}").trim_end().to_string()).collect();
        let found: Vec<&str> = file.text.lines().skip(from).take(to - from).collect();
        if expected != found {
            match std::env::var_os("BLESS") {
                Some(_) => replacements.push((from, to, expected)),
                None => failures.push(difference(parsed, &expected, &found)),
            }
        }
    }
    if !replacements.is_empty() {
        *blessed = Some(replace_lines(file.text, replacements));
    }
    verdict(failures)
}

/// The comment lines directly behind a function: from and to line numbers, from 0.
fn expected_lines(file: &TestFile<'_>, k: usize) -> (usize, usize) {
    let next = file.functions.get(k + 1).map_or(u32::MAX, |next| next.line);
    let lines: Vec<&str> = file.text.lines().collect();
    let start = file.functions[k].line as usize - 1;
    let end = lines
        .iter()
        .skip(start)
        .position(|line| line.trim_end() == "}")
        .map_or(lines.len(), |n| start + n + 1);
    let from = lines.iter().skip(end).position(|line| !line.trim().is_empty()).map_or(end, |n| end + n);
    let behind: Vec<&str> =
        lines.iter().copied().skip(from).take((next as usize).saturating_sub(from)).collect();
    let count = behind.iter().take_while(|l| l.starts_with(';')).count();
    // Calls to make, and what is said about the next function, are no output.
    let call = behind.first().is_some_and(|l| l.starts_with("; run") || l.starts_with("; print:"));
    let remark = behind.get(count).is_some_and(|line| line.starts_with("function"));
    if call || remark { (end, end) } else { (from, from + count) }
}

fn replace_lines(text: &str, replacements: Vec<(usize, usize, Vec<String>)>) -> String {
    let mut lines: Vec<String> = text.lines().map(str::to_string).collect();
    for (from, to, mut new) in replacements.into_iter().rev() {
        if from == to {
            new.insert(0, String::new());
        }
        lines.splice(from..to, new);
    }
    lines.join("\n") + "\n"
}

fn difference(parsed: &ParsedFunction, expected: &[String], found: &[&str]) -> String {
    let at = expected.iter().zip(found).take_while(|(e, f)| e == f).count();
    let line = |text: Option<&str>| text.unwrap_or("the end").to_string();
    format!(
        "{}: {}: output differs in line {}: the file says `{}`, the output is `{}` (BLESS=1 rewrites)",
        parsed.line,
        parsed.function.name,
        at + 1,
        line(found.get(at).copied()),
        line(expected.get(at).map(String::as_str)),
    )
}

/// The edges of the graph, for `dot`.
fn print_cfg(func: &Function) -> String {
    let cfg = Cfg::new(func);
    let mut out = format!("digraph \"{}\" {{\n", func.name);
    if let Some(entry) = func.entry() {
        let _ = writeln!(out, "    {{rank=min; {entry}}}");
    }
    for &block in &func.layout {
        let _ = writeln!(out, "    {block} [shape=record]");
    }
    for &block in &func.layout {
        for succ in cfg.succs(block) {
            let _ = writeln!(out, "    {block} -> {succ}");
        }
    }
    out.push_str("}\n");
    out
}

fn print_domtree(func: &Function) -> String {
    let cfg = Cfg::new(func);
    let tree = Dominators::new(func, &cfg);
    let mut out = String::from("cfg_postorder:\n");
    for block in cfg.rpo().iter().rev() {
        let _ = writeln!(out, "    {block}");
    }
    out.push_str("domtree_preorder {\n");
    for &block in tree.preorder() {
        let children: String = tree.children(block).iter().map(|child| format!(" {child}")).collect();
        let _ = writeln!(out, "    {block}:{children}");
    }
    out.push_str("}\n");
    out
}

/// What the optimizer makes of a function; verified after each pass.
fn optimized(func: &Function, _settings: &Settings) -> Result<String, String> {
    let mut func = func.clone();
    sphex_codegen::opt::optimize(&mut func, &mut Default::default(), |func, pass| {
        verify(func).map_err(|errors| format!("after {pass}: {errors}"))
    })?;
    func.resolve_aliases();
    Ok(func.to_string())
}

/// The disassembly of what is compiled, without addresses, which would change with every other line; targets of branches
/// are offsets in the function.
fn compiled(func: &Function, settings: &Settings) -> Result<String, String> {
    let mut func = func.clone();
    let result = sphex_codegen::pipeline::compile(&mut func, settings, &mut Context::new());
    let compiled = result.map_err(|error| error.to_string())?;
    let mut formatter = IntelFormatter::new();
    formatter.options_mut().set_space_after_operand_separator(true);
    formatter.options_mut().set_branch_leading_zeros(false);
    formatter.options_mut().set_hex_prefix("0x");
    formatter.options_mut().set_hex_suffix("");
    let mut out = String::new();
    for instruction in Decoder::with_ip(64, &compiled.code, 0, DecoderOptions::NONE).iter() {
        formatter.format(&instruction, &mut out);
        out.push('\n');
    }
    Ok(out)
}

/// `sphex clif compile`.
pub fn compile_file(file: &Path, target: &str, output: &Path) -> anyhow::Result<()> {
    let text = std::fs::read_to_string(file).with_context(|| format!("cannot read {}", file.display()))?;
    let parsed = TestFile::parse(&text).map_err(|error| anyhow::anyhow!("{}: {error}", file.display()))?;
    let target = Target::parse(target)
        .with_context(|| format!("unknown target: expected x86_64-linux or aarch64-linux, found {target}"))?;
    let mut settings = Settings::new(target);
    for (name, value) in &parsed.settings {
        settings.set(name, value.as_deref()).with_context(|| file.display().to_string())?;
    }
    let mut functions: Vec<Function> = parsed.functions.into_iter().map(|f| f.function).collect();
    for func in &functions {
        verify(func).with_context(|| file.display().to_string())?;
    }
    let object = sphex_codegen::object::compile_object(&mut functions, &settings)
        .with_context(|| file.display().to_string())?;
    std::fs::write(output, object).with_context(|| format!("cannot write {}", output.display()))
}

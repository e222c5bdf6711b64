//! `test run`: compiles the functions and calls them.

use super::Outcome;
use super::directive::{Expectation, Invocation, invocations};
use super::testfile::{TargetLine, TestFile};
use sphex::jit::Jit;
use sphex_codegen::settings::{Settings, Target};
use sphex_ir::Function;
use sphex_ir::parse::parse_functions;
use std::collections::HashSet;

/// The targets of a file that this machine can run, with their settings; the others are noted where it is the CPU that
/// lacks something.
fn runnable(file: &TestFile<'_>, outcome: &mut Outcome) -> Result<Vec<Settings>, String> {
    let host = Settings::host();
    let mut found = Vec::new();
    for line in &file.targets {
        let Some(target) = Target::parse(&line.isa) else { continue };
        let settings = settings_for(line, target)?;
        let missing: Vec<&str> =
            settings.features.iter().filter(|f| !host.features.has(*f)).map(|f| f.name()).collect();
        if missing.is_empty() {
            found.push(settings);
        } else {
            outcome.notes.push(format!("skipped: target {} needs {}", line.isa, missing.join(", ")));
        }
    }
    Ok(found)
}

fn settings_for(line: &TargetLine, target: Target) -> Result<Settings, String> {
    let mut settings = Settings::new(target);
    for (name, value) in &line.settings {
        settings.set(name, value.as_deref()).map_err(|error| error.to_string())?;
    }
    for word in &line.features {
        settings.enable(word).map_err(|error| error.to_string())?;
    }
    Ok(settings)
}

/// The settings of the first target that Sphex has, or the defaults.
pub fn settings_of(file: &TestFile<'_>) -> Result<Settings, String> {
    let known = file.targets.iter().find_map(|line| Some((line, Target::parse(&line.isa)?)));
    match known {
        Some((line, target)) => settings_for(line, target),
        None => Ok(Settings::host()),
    }
}

/// Compiles and calls, once for each target.
pub fn test_run(file: &TestFile<'_>, outcome: &mut Outcome) -> Result<(), Vec<String>> {
    let targets = runnable(file, outcome).map_err(|error| vec![error])?;
    if targets.is_empty() {
        return Err(vec!["no target that this machine can run".to_string()]);
    }
    let calls = invocations(file).map_err(|error| vec![error])?;
    let functions = with_library(file).map_err(|error| vec![error])?;
    let mut failures = Vec::new();
    for settings in targets {
        let mut jit = match Jit::new(functions.clone(), &settings) {
            Ok(jit) => jit,
            Err(error) => {
                failures.push(error.to_string());
                continue;
            }
        };
        for call in &calls {
            match judge(&mut jit, call) {
                Ok(note) => outcome.notes.extend(note),
                Err(failure) => failures.push(failure),
            }
        }
    }
    if failures.is_empty() { Ok(()) } else { Err(failures) }
}

fn judge(jit: &mut Jit, call: &Invocation) -> Result<Option<String>, String> {
    let name = call.function.strip_prefix('%').unwrap_or(&call.function);
    let expected = match call.expectation {
        Expectation::Trap(code) => Some(code),
        _ => None,
    };
    match (jit.call(name, &call.args), expected) {
        (Ok(results), None) => call.judge(&results),
        (Err(error), Some(code)) if error.trap_code() == Some(code.as_u8()) => Ok(None),
        (Ok(_), Some(code)) => Err(format!("{}: {}: expected the trap {code}", call.line, call.function)),
        (Err(error), _) => Err(format!("{}: {}: {error}", call.line, call.function)),
    }
}

/// The file's functions, and those of the library that they name without defining: each is one instruction.
fn with_library(file: &TestFile<'_>) -> Result<Vec<Function>, String> {
    let mut functions: Vec<Function> = file.functions.iter().map(|f| f.function.clone()).collect();
    let defined: HashSet<String> = functions.iter().map(|f| f.name.to_string()).collect();
    let mut wanted: Vec<String> = functions
        .iter()
        .flat_map(|f| f.ext_funcs.values())
        .map(|ext| ext.name.to_string())
        .filter(|name| !defined.contains(name))
        .collect();
    wanted.sort();
    wanted.dedup();
    for name in wanted {
        let Some(text) = library_function(&name) else { continue };
        functions.extend(parse_functions(&text).map_err(|error| error.to_string())?);
    }
    Ok(functions)
}

fn library_function(name: &str) -> Option<String> {
    let ty = match name.get(name.len().checked_sub(3)?..)? {
        "F32" => "f32",
        "F64" => "f64",
        _ => return None,
    };
    let opcode = match &name[1..name.len() - 3] {
        "Ceil" => "ceil",
        "Floor" => "floor",
        "Trunc" => "trunc",
        "Nearest" => "nearest",
        _ => return None,
    };
    Some(format!(
        "function {name}({ty}) -> {ty} {{\nblock0(v0: {ty}):\n    v1 = {opcode} v0\n    return v1\n}}\n"
    ))
}

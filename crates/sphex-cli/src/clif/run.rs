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
        let target = Target::parse(&line.isa).filter(|target| target.arch == host.target.arch);
        let Some(target) = target else { continue };
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
    let known = file.targets.iter().find_map(|line| {
        Some((line, Target::parse(&line.isa).filter(|target| target.arch == Settings::host().target.arch)?))
    });
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
    match (crate::os::call_clif(jit, name, &call.args), expected) {
        (Ok(results), None) => call.judge(&results),
        (Err(error), Some(code)) if error.trap_code() == Some(code.as_u8()) => Ok(None),
        (Ok(_), Some(code)) => Err(format!("{}: {}: expected the trap {code}", call.line, call.function)),
        (Err(error), _) => Err(format!("{}: {}: {error}", call.line, call.function)),
    }
}

/// The file's functions, and those of the library that it may call and does not define: each hands its arguments to a
/// function of this process.
fn with_library(file: &TestFile<'_>) -> Result<Vec<Function>, String> {
    let mut functions: Vec<Function> = file.functions.iter().map(|f| f.function.clone()).collect();
    let defined: HashSet<String> = functions.iter().map(|f| f.name.to_string()).collect();
    let text = file.text.to_lowercase();
    for (_, names, params, address) in library::FUNCTIONS.iter().filter(|row| text.contains(row.0)) {
        for name in names.iter().filter(|name| !defined.contains(**name)) {
            let stub = library_stub(name, params, address());
            functions.extend(parse_functions(&stub).map_err(|error| error.to_string())?);
        }
    }
    Ok(functions)
}

/// CLIF that calls the function at an address; all parameters and the result are of one type.
fn library_stub(name: &str, params: &[&str], address: usize) -> String {
    let ty = params[0];
    let types = params.join(", ");
    let args: Vec<String> = (0..params.len()).map(|k| format!("v{k}")).collect();
    let typed: Vec<String> = args.iter().map(|arg| format!("{arg}: {ty}")).collect();
    format!(
        "function {name}({types}) -> {ty} system_v {{
    sig0 = ({types}) -> {ty} system_v
block0({}):
    v10 = iconst.i64 {address}
    v11 = call_indirect sig0, v10({})
    return v11
}}
",
        typed.join(", "),
        args.join(", ")
    )
}

/// The library's functions, under CLIF's names and C's.
mod library {
    /// Family, names, parameter types, address.
    type Row = (&'static str, &'static [&'static str], &'static [&'static str], fn() -> usize);

    macro_rules! function {
        ($name:ident, $ty:ty, [$($param:ident),*], $body:expr) => {
            pub(super) extern "C" fn $name($($param: $ty),*) -> $ty {
                $body
            }
        };
    }
    function!(ceil32, f32, [x], x.ceil());
    function!(ceil64, f64, [x], x.ceil());
    function!(floor32, f32, [x], x.floor());
    function!(floor64, f64, [x], x.floor());
    function!(trunc32, f32, [x], x.trunc());
    function!(trunc64, f64, [x], x.trunc());
    function!(nearest32, f32, [x], x.round_ties_even());
    function!(nearest64, f64, [x], x.round_ties_even());
    function!(fma32, f32, [x, y, z], x.mul_add(y, z));
    function!(fma64, f64, [x, y, z], x.mul_add(y, z));

    const F32: &[&str] = &["f32"];
    const F64: &[&str] = &["f64"];

    pub(super) static FUNCTIONS: [Row; 10] = [
        ("ceil", &["%CeilF32", "%ceilf"], F32, || ceil32 as *const () as usize),
        ("ceil", &["%CeilF64", "%ceil"], F64, || ceil64 as *const () as usize),
        ("floor", &["%FloorF32", "%floorf"], F32, || floor32 as *const () as usize),
        ("floor", &["%FloorF64", "%floor"], F64, || floor64 as *const () as usize),
        ("trunc", &["%TruncF32", "%truncf"], F32, || trunc32 as *const () as usize),
        ("trunc", &["%TruncF64", "%trunc"], F64, || trunc64 as *const () as usize),
        ("nearest", &["%NearestF32", "%nearbyintf"], F32, || nearest32 as *const () as usize),
        ("nearest", &["%NearestF64", "%nearbyint"], F64, || nearest64 as *const () as usize),
        ("fma", &["%FmaF32", "%fmaf"], &["f32", "f32", "f32"], || fma32 as *const () as usize),
        ("fma", &["%FmaF64", "%fma"], &["f64", "f64", "f64"], || fma64 as *const () as usize),
    ];
}

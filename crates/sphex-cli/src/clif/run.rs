//! `test run`: compiles the functions and calls them.

use super::Outcome;
use super::testfile::{TargetLine, TestFile};
use sphex_codegen::settings::{Settings, Target};

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
    Err(vec!["not supported by this build".to_string()])
}

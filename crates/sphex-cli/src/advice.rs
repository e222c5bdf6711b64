//! What is missing, where it comes from, and which flag grants it.

pub mod ending;
pub mod file;
pub mod module;
pub mod near;
mod world;

use sphex::{ErrorKind, ExternType, ImportType, Linker, Module};

use crate::options::Preload;

/// Does the module import what the linker does not define?
pub fn is_missing<T>(linker: &Linker<T>, module: &Module) -> bool {
    module.imports().any(|import| !linker.is_defined(import.module, import.name))
}

/// The imports of a module that nothing provides, as one message; `None` if there are none. `given` has the names of
/// the modules that were preloaded.
pub fn missing<T>(linker: &Linker<T>, module: &Module, given: &[Preload]) -> Option<String> {
    let missing: Vec<_> =
        module.imports().filter(|import| !linker.is_defined(import.module, import.name)).collect();
    // Threads come with a memory, which tells less.
    let spawns = |import: &&ImportType<'_>| import.module == "wasi" && import.name == "thread-spawn";
    let first = missing.iter().find(spawns).or_else(|| missing.first())?;
    let mut text = String::from("missing import");
    if missing.len() > 1 {
        text += "s";
    }
    for (position, import) in missing.iter().enumerate() {
        if position == 10 {
            text += &format!("\n  and {} more", missing.len() - position);
            break;
        }
        let ImportType { module, name, ty } = import;
        let separator = if missing.len() == 1 { " " } else { "\n  " };
        text += &format!("{separator}`{module}::{name}` ({ty})");
    }
    Some(with_hint(text, Some(help(linker, first, given))))
}

/// Names in a message: the first few, and how many more.
pub fn names<'a>(all: impl Iterator<Item = &'a str>) -> String {
    const MOST: usize = 12;
    let all: Vec<&str> = all.collect();
    match all.len() {
        0 => "nothing".to_owned(),
        len if len > MOST => format!("{} and {} more", all[..MOST].join(", "), len - MOST),
        _ => all.join(", "),
    }
}

/// Where an import comes from, and what provides it.
fn help<T>(linker: &Linker<T>, import: &ImportType<'_>, given: &[Preload]) -> String {
    let ImportType { module, name, ty } = import;
    if let Some(preload) = given.iter().find(|preload| preload.name == *module) {
        let exports = linker.names(module);
        let near = near::suggestion(name, exports.iter().map(String::as_str));
        return format!("{}, given by --preload, does not export `{name}`{near}", preload.file.display());
    }
    if let Some(known) = world::of(module, name) {
        return known.to_owned();
    }
    if *module == "wasi_snapshot_preview1" {
        let functions = linker.names(module);
        let near = near::suggestion(name, functions.iter().map(String::as_str));
        return format!("it is no function of WASI preview 1, which is provided by default{near}");
    }
    if let ExternType::Memory(memory) = ty
        && memory.shared
    {
        return "-S threads makes the shared memories that a program imports".to_owned();
    }
    let what = match ty {
        ExternType::Memory(_) => "a memory of that name",
        ExternType::Table(_) => "a table of that name",
        ExternType::Global(_) => "a global of that name",
        _ => "its items",
    };
    format!(
        "`{module}` belongs to no world that sphex provides: give a module that exports {what} with --preload {module}=FILE"
    )
}

/// An import that was given something of another type: who wants it, and who gave it.
pub fn mismatch(module: &Module, error: &sphex::Error, given: &[Preload]) -> Option<String> {
    let names =
        |import: &ImportType<'_>| error.message().contains(&format!("`{}::{}`", import.module, import.name));
    let import = module.imports().find(|import| error.kind() == ErrorKind::Link && names(import))?;
    if let Some(preload) = given.iter().find(|preload| preload.name == import.module) {
        return Some(format!("{}, given by --preload, exports it as another type", preload.file.display()));
    }
    (import.module == "wasi_snapshot_preview1")
        .then(|| "WASI preview 1 has it as another type: which tool made the module?".to_owned())
}

/// A message, and below it what may help.
pub fn with_hint(message: impl Into<String>, hint: Option<String>) -> String {
    let message = message.into();
    match hint {
        Some(hint) => format!("{}\nhint: {hint}", message.trim_end()),
        None => message,
    }
}

/// A limit of the process that an error's number names.
pub fn limit_of_the_process(message: &str) -> Option<&'static str> {
    if message.contains(" may help") || message.contains("RLIMIT_") {
        return None;
    }
    [
        ("too many open descriptors", "this process may not open more files (ulimit -n)"),
        ("(os error 24)", "this process may not open more files (ulimit -n)"),
        ("(os error 23)", "the machine cannot open more files (fs.file-max)"),
        ("(os error 27)", "this process may not write files of that size (ulimit -f)"),
        (
            "(os error 12)",
            "the kernel refused memory or address space (ulimit -v); -O memory-reservation=0 needs less",
        ),
    ]
    .into_iter()
    .find(|(number, _)| message.contains(number))
    .map(|(_, hint)| hint)
}

/// The flag that may help with an error of the engine.
pub fn flag(error: &sphex::Error) -> Option<&'static str> {
    let message = error.message();
    match error.kind() {
        // Not a limit that the user has set, but one of the machine.
        ErrorKind::Limit if !message.contains("more than the limit") => None,
        ErrorKind::Limit if message.contains("instances") => Some("-W max-instances"),
        ErrorKind::Limit if message.contains("memories") => Some("-W max-memories"),
        ErrorKind::Limit if message.contains("tables") => Some("-W max-tables"),
        ErrorKind::Limit if message.contains("memory") => Some("-W max-memory-size"),
        ErrorKind::Limit if message.contains("table") => Some("-W max-table-elements"),
        ErrorKind::System if message.contains("memory") => Some("-O memory-reservation=0"),
        _ => None,
    }
}

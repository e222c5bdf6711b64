//! What is missing, where it comes from, and which flag grants it.

use sphex::{ErrorKind, ImportType, Linker, Module};

use crate::options::Preload;

/// The imports of a module that nothing provides, as one message; `None` if there are none. `given` has the names of
/// the modules that were preloaded.
pub fn missing<T>(linker: &Linker<T>, module: &Module, given: &[Preload]) -> Option<String> {
    let missing: Vec<_> =
        module.imports().filter(|import| !linker.is_defined(import.module, import.name)).collect();
    let first = missing.first()?;
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
    Some(format!("{text}\n{}", help(first, given)))
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
fn help(import: &ImportType<'_>, given: &[Preload]) -> String {
    let module = import.module;
    if let Some(preload) = given.iter().find(|preload| preload.name == module) {
        return format!("{}, given by --preload, does not export `{}`", preload.file.display(), import.name);
    }
    match module {
        "wasi_snapshot_preview1" => {
            "it is no function of WASI preview 1, which is provided by default".to_owned()
        }
        "wasi_unstable" => {
            "it belongs to WASI preview 0, which is not supported: build the program for wasm32-wasip1"
                .to_owned()
        }
        "wasi" => "it belongs to wasi-threads, which is not supported yet".to_owned(),
        _ if module.starts_with("wasi:") => {
            "it belongs to a world of components (WASI 0.2 or later), which is not supported yet".to_owned()
        }
        _ => format!(
            "`{module}` belongs to no world that sphex provides: give a module that exports its items with --preload {module}=FILE"
        ),
    }
}

/// The flag that may help with an error of the engine.
pub fn flag(error: &sphex::Error) -> Option<&'static str> {
    let message = error.message();
    match error.kind() {
        ErrorKind::Limit if message.contains("instances") => Some("-W max-instances"),
        ErrorKind::Limit if message.contains("memories") => Some("-W max-memories"),
        ErrorKind::Limit if message.contains("tables") => Some("-W max-tables"),
        ErrorKind::Limit if message.contains("memory") => Some("-W max-memory-size"),
        ErrorKind::Limit if message.contains("table") => Some("-W max-table-elements"),
        ErrorKind::System if message.contains("memory") => Some("-O memory-reservation=0"),
        _ => None,
    }
}

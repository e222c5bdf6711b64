//! Reads the crate's own source for public methods, so that a new one without a row is noticed.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use crate::{handles, single};

/// Methods that take a store or give a `Result`, and cannot be misused in a way that they could see.
const EXEMPT: &[(&str, &str)] = &[
    ("Error::downcast", "its error is the error itself, given back"),
    ("Func::from_raw", "unsafe: what it is given cannot be checked"),
    ("Caller::check_interruption", "fails when asked to; tests/epochs.rs"),
    ("Interruption::event", "fails where the system has no descriptors left"),
    ("Interruption::is_of", "any store is a good question"),
    ("Module::serialize", "fails where a function of a lazy module cannot be compiled; tests/lazy.rs"),
    ("RawVal::is_extern", "any bits are a good question"),
    ("RootScope::new", "any store is a good one"),
    ("Config::wasm_threads", "either is fine"),
    ("Store::epoch_deadline_callback", "only its callback fails"),
    ("Store::epoch_deadline_wait_callback", "only its callback fails"),
    ("Store::set_deadline", "fails where the system gives no thread"),
    ("Store::set_timeout", "fails where the system gives no thread"),
    ("StoreContextMut::check_interruption", "fails when asked to; tests/epochs.rs"),
];

/// Types whose methods, if they take a store, compare it with a handle.
const HANDLES: &[&str] = &[
    "Extern",
    "Func",
    "Global",
    "Instance",
    "InstancePre",
    "Linker",
    "Memories",
    "Memory",
    "Rooted",
    "Table",
    "TypedFunc",
];

fn sources(dir: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(dir).unwrap().flatten() {
        let path = entry.path();
        if path.is_dir() {
            sources(&path, found);
        } else if path.extension().is_some_and(|e| e == "rs") {
            found.push(path);
        }
    }
}

/// What lib.rs gives out by name, and its public modules.
fn exported(lib: &str) -> BTreeSet<String> {
    let mut names = BTreeSet::new();
    for statement in lib.split(';') {
        let statement = statement.trim_start_matches(|c: char| c != 'p').trim();
        if let Some(at) = statement.rfind("pub use ").or_else(|| statement.rfind("pub mod ")) {
            let words = statement[at + 8..].split(|c: char| !c.is_alphanumeric() && c != '_');
            names.extend(words.filter(|word| !word.is_empty()).map(str::to_string));
        }
    }
    names
}

/// The type that an `impl` block without a trait is for.
fn self_type(header: &str) -> Option<&str> {
    let mut rest = header.strip_prefix("impl")?;
    if rest.starts_with('<') {
        let mut depth = 0;
        let end = rest.char_indices().find_map(|(at, c)| {
            depth += i32::from(c == '<') - i32::from(c == '>');
            (depth == 0).then_some(at)
        });
        rest = &rest[end? + 1..];
    }
    let name = rest.trim_start();
    let end = name.find(|c: char| !c.is_alphanumeric() && c != '_')?;
    (!rest.contains(" for ")).then_some(&name[..end])
}

/// Public functions by `Type::name` or `module::name`, with their signatures.
fn functions() -> BTreeMap<String, String> {
    let src = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let exported = exported(&fs::read_to_string(src.join("lib.rs")).unwrap());
    let is_public = |name: &String| exported.contains(name);
    let mut files = Vec::new();
    sources(&src, &mut files);
    let mut found = BTreeMap::new();
    for file in files {
        let text = fs::read_to_string(&file).unwrap();
        let text = text.split("#[cfg(test)]\nmod ").next().unwrap_or_default();
        let module = file.file_stem().unwrap().to_string_lossy().into_owned();
        let mut owner = None;
        let lines: Vec<&str> = text.lines().collect();
        for (at, line) in lines.iter().enumerate() {
            let statement = || {
                let rest = &lines[at..];
                let end = rest.iter().position(|line| line.ends_with('{') || line.ends_with(';'));
                rest[..=end.unwrap_or(0)].join(" ")
            };
            if line.starts_with("impl") {
                owner = self_type(&statement()).map(str::to_string);
            } else if *line == "}" {
                owner = None;
            }
            let (home, code) = match line.strip_prefix("    ") {
                Some(code) => (owner.as_ref().filter(|owner| is_public(owner) || is_public(&module)), code),
                None => (Some(&module).filter(|module| is_public(module)), *line),
            };
            let Some((home, code)) = home.zip(code.strip_prefix("pub ")) else { continue };
            let code =
                ["const ", "unsafe ", "async "].iter().fold(code, |c, w| c.strip_prefix(w).unwrap_or(c));
            let Some(name) = code.strip_prefix("fn ") else { continue };
            let name = name.split(['(', '<']).next().unwrap_or_default();
            found.insert(format!("{home}::{name}"), statement());
        }
    }
    found
}

fn rows() -> BTreeSet<&'static str> {
    let methods = handles::METHODS.iter().map(|row| row.0).chain(single::ROWS.iter().map(|row| row.0));
    methods.map(|name| name.split(" (").next().unwrap_or(name)).collect()
}

#[test]
fn every_public_method_has_a_row() {
    let functions = functions();
    assert!(
        functions.len() > 180,
        "only {} public functions found: does the scan still work?",
        functions.len()
    );
    let rows = rows();
    let with_handles: BTreeSet<&str> = handles::METHODS.iter().map(|row| row.0).collect();
    let mut missing = String::new();
    for (name, signature) in &functions {
        let exempt = EXEMPT.iter().any(|(exempt, _)| exempt == name);
        let takes_store = ["AsContext", "StoreContext<", "StoreContextMut<"]
            .iter()
            .any(|word| signature.replace("fn as_context", "").contains(word));
        let home = name.split("::").next().unwrap_or_default();
        let may_fail = takes_store || signature.contains("-> Result") || signature.contains("= Result");
        if exempt || !may_fail {
            continue;
        }
        if takes_store && signature.contains("self") && HANDLES.contains(&home) {
            if !with_handles.contains(name.as_str()) {
                missing += &format!("{name} takes a store and has no row in handles.rs\n");
            }
        } else if !rows.contains(name.as_str()) {
            missing += &format!("{name} may fail and has no row in single.rs or handles.rs\n");
        }
    }
    assert!(missing.is_empty(), "{missing}");
    // Rows that are of no method test nothing that they say.
    for name in rows.into_iter().chain(EXEMPT.iter().map(|row| row.0)) {
        let is_type = functions.keys().any(|known| known.starts_with(&format!("{name}::")));
        assert!(functions.contains_key(name) || is_type, "a row for `{name}`, which does not exist");
    }
}

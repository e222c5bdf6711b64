//! The house rules that a machine can check: layering, banned dependencies, where `unsafe` may stand, documents that
//! name what exists.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

/// What each crate may use of the workspace (DESIGN.md section 2), dev-dependencies aside.
const LAYERS: &[(&str, &[&str])] = &[
    ("sphex-entity", &[]),
    ("sphex-ir", &["sphex-entity"]),
    ("sphex-asm", &["sphex-entity"]),
    ("sphex-artifact", &["sphex-entity"]),
    ("sphex-codegen", &["sphex-ir", "sphex-asm", "sphex-artifact", "sphex-entity"]),
    ("sphex-compile", &["sphex-codegen", "sphex-ir", "sphex-asm", "sphex-artifact", "sphex-entity"]),
    ("sphex", &["sphex-artifact", "sphex-entity", "sphex-compile?", "sphex-codegen?", "sphex-ir?"]),
    ("sphex-wasi", &["sphex", "sphex-entity"]),
    (
        "sphex-cli",
        &[
            "sphex",
            "sphex-wasi",
            "sphex-artifact",
            "sphex-compile?",
            "sphex-codegen?",
            "sphex-ir?",
            "sphex-asm?",
        ],
    ),
];

/// Peers: never in the lock file of the workspace.
const BANNED: &[&str] =
    &["wasmtime", "cranelift", "wasmer", "wasmi", "wasi-common", "wiggle", "pulley", "winch"];

/// Files that may hold `unsafe` code, by prefix. `jit.rs` hands its caller's promise on: `Jit::call` is unsafe itself.
const UNSAFE_ROOMS: &[&str] = &[
    "crates/sphex/src/vm",
    "crates/sphex/src/jit.rs",
    "crates/sphex-artifact/src/read/cast.rs",
    "crates/sphex-cli/src/os.rs",
    "crates/sphex-cli/src/cache/identity.rs",
];

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").canonicalize().expect("the workspace root exists")
}

fn read(path: &Path) -> String {
    fs::read_to_string(path).unwrap_or_else(|e| panic!("{}: {e}", path.display()))
}

fn source_files() -> Vec<PathBuf> {
    let mut open = vec![root().join("crates")];
    let mut files = Vec::new();
    while let Some(dir) = open.pop() {
        for entry in fs::read_dir(&dir).expect("a readable folder").flatten() {
            let path = entry.path();
            if path.is_dir() && !path.ends_with("target") {
                open.push(path);
            } else if path.extension().is_some_and(|e| e == "rs") {
                files.push(path);
            }
        }
    }
    files
}

/// The `[dependencies]` of a manifest that are of this workspace; optional ones end in `?`.
fn dependencies(manifest: &str) -> BTreeSet<String> {
    let mut section = "";
    let mut found = BTreeSet::new();
    for line in manifest.lines().map(str::trim) {
        if line.starts_with('[') {
            section = line;
        } else if section == "[dependencies]" && line.starts_with("sphex") {
            let name = line.split(['.', ' ', '=']).next().unwrap_or_default();
            found.insert(format!("{name}{}", if line.contains("optional = true") { "?" } else { "" }));
        }
    }
    found
}

#[test]
fn every_arrow_between_crates_points_down() {
    let crates: BTreeSet<String> = fs::read_dir(root().join("crates"))
        .expect("crates/")
        .flatten()
        .map(|e| e.file_name().to_string_lossy().into_owned())
        .collect();
    let known: BTreeSet<String> = LAYERS.iter().map(|(name, _)| name.to_string()).collect();
    assert_eq!(crates, known, "crates/ and the layering table differ");
    for (name, allowed) in LAYERS {
        let used = dependencies(&read(&root().join("crates").join(name).join("Cargo.toml")));
        for dependency in used {
            assert!(allowed.contains(&dependency.as_str()), "{name} must not depend on {dependency}");
        }
    }
}

#[test]
fn no_peer_is_in_the_lock_file() {
    let lock = read(&root().join("Cargo.lock"));
    for name in lock.lines().filter_map(|line| line.strip_prefix("name = \"")) {
        let name = name.trim_end_matches('"');
        assert!(!BANNED.iter().any(|peer| name.starts_with(peer)), "{name} is a peer's crate");
    }
}

#[test]
fn unsafe_stands_only_in_its_rooms() {
    for file in source_files() {
        let relative = file.strip_prefix(root()).expect("below the root").to_string_lossy().into_owned();
        // Tests and examples call what embedders call, `unsafe fn`s too.
        let in_tests = relative.contains("/tests/") || relative.contains("/examples/");
        if in_tests || UNSAFE_ROOMS.iter().any(|room| relative.starts_with(room)) {
            continue;
        }
        for (number, line) in read(&file).lines().enumerate() {
            let code = line.split("//").next().unwrap_or_default();
            let opens =
                ["unsafe {", "unsafe impl", "unsafe extern \"C\" {"].iter().any(|word| code.contains(word));
            assert!(!opens, "{relative}:{}: unsafe outside its rooms", number + 1);
        }
    }
}

#[test]
fn no_glob_is_re_exported() {
    for file in source_files() {
        for (number, line) in read(&file).lines().enumerate() {
            let glob = line.trim_start().starts_with("pub use") && line.contains("::*");
            assert!(!glob, "{}:{}: glob re-export", file.display(), number + 1);
        }
    }
}

#[test]
fn the_map_names_what_exists() {
    let sources: String = source_files().iter().map(|file| read(file)).collect();
    let page = read(&root().join("ARCHITECTURE.md"));
    for name in page.split('`').skip(1).step_by(2) {
        let is_symbol =
            name.starts_with(char::is_uppercase) && name.chars().all(|c| c.is_alphanumeric() || c == ':');
        if is_symbol {
            let last = name.rsplit("::").next().unwrap_or(name);
            assert!(sources.contains(last), "ARCHITECTURE.md names `{name}`, which no source has");
        }
        let is_path = name.contains('/') && name.starts_with("crates/")
            || name.starts_with("sphex-") && name.contains('/');
        if is_path {
            let path = if name.starts_with("crates/") { name.to_string() } else { format!("crates/{name}") };
            assert!(root().join(&path).exists(), "ARCHITECTURE.md names {path}, which does not exist");
        }
    }
}

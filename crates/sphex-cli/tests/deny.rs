//! What `deny.toml` says of licences, banned crates and sources, checked against `Cargo.lock` with cargo alone: a machine
//! needs neither cargo-deny nor a network.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// First letters of other engines' crates: `deny.toml` names the main ones, since it takes whole names only.
const PEERS: &[&str] =
    &["wasmtime", "cranelift", "wasmer", "wasmi", "wasi-common", "wiggle", "pulley", "winch"];

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").canonicalize().expect("the workspace root exists")
}

fn read(name: &str) -> String {
    fs::read_to_string(root().join(name)).unwrap_or_else(|e| panic!("{name}: {e}"))
}

/// The strings of the list `key = [...]` below `[section]`: whole ones, or the `crate` of tables.
fn list(text: &str, section: &str, key: &str) -> Vec<String> {
    let mut found = Vec::new();
    let (mut here, mut open) = (false, false);
    for line in text.lines().map(|line| line.split('#').next().unwrap_or_default().trim()) {
        if line.starts_with('[') && !open {
            here = line == format!("[{section}]");
        }
        let begins = here && line.split_once('=').is_some_and(|(name, _)| name.trim() == key);
        if begins || open {
            let value = if begins { line.split_once('=').map_or("", |(_, value)| value) } else { line };
            found.extend(value.split('"').skip(1).step_by(2).map(str::to_string));
            open = !line.ends_with(']');
        }
    }
    assert!(!open, "deny.toml: the list {key} does not end");
    found
}

/// Does an SPDX expression allow a choice of only these licences? `/` is what older manifests wrote for `OR`.
fn is_allowed(expression: &str, allowed: &[String]) -> bool {
    let spaced = expression.replace('/', " OR ").replace('(', " ( ").replace(')', " ) ");
    let words: Vec<&str> = spaced.split_whitespace().collect();
    let mut at = 0;
    let answer = either(&words, &mut at, allowed);
    answer && at == words.len()
}

fn either(words: &[&str], at: &mut usize, allowed: &[String]) -> bool {
    let mut answer = both(words, at, allowed);
    while words.get(*at) == Some(&"OR") {
        *at += 1;
        answer |= both(words, at, allowed);
    }
    answer
}

fn both(words: &[&str], at: &mut usize, allowed: &[String]) -> bool {
    let mut answer = one(words, at, allowed);
    while words.get(*at) == Some(&"AND") {
        *at += 1;
        answer &= one(words, at, allowed);
    }
    answer
}

fn one(words: &[&str], at: &mut usize, allowed: &[String]) -> bool {
    let Some(&word) = words.get(*at) else { return false };
    *at += 1;
    if word == "(" {
        let answer = either(words, at, allowed);
        let closed = words.get(*at) == Some(&")");
        *at += usize::from(closed);
        return answer && closed;
    }
    let mut name = word.to_string();
    if words.get(*at) == Some(&"WITH") {
        name = format!("{word} WITH {}", words.get(*at + 1).unwrap_or(&""));
        *at += 2;
    }
    allowed.contains(&name)
}

#[test]
fn expressions_are_read_as_spdx_says() {
    let allowed = ["MIT".to_string(), "Apache-2.0 WITH LLVM-exception".to_string()];
    for good in ["MIT", "GPL-3.0/MIT", "GPL-3.0 OR Apache-2.0 WITH LLVM-exception", "(MIT OR Zlib) AND MIT"] {
        assert!(is_allowed(good, &allowed), "{good}");
    }
    for bad in ["", "Apache-2.0", "MIT AND Zlib", "(MIT OR Zlib) AND GPL-3.0", "MIT Zlib", "Zlib OR (MIT"] {
        assert!(!is_allowed(bad, &allowed), "{bad}");
    }
}

/// A line `name version|licence` for each package: those for every system, or, where cargo cannot fetch them, those for
/// this one.
fn packages() -> String {
    let tree = |more: &[&str]| {
        let output = Command::new(env!("CARGO"))
            .args(["tree", "--workspace", "--all-features", "--edges", "normal,build,dev", "--locked"])
            .args(["--prefix", "none", "--no-dedupe", "--format", "{p}|{l}"])
            .args(more)
            .current_dir(root())
            .output()
            .expect("cargo runs");
        let message = String::from_utf8_lossy(&output.stderr).into_owned();
        if output.status.success() {
            Ok(String::from_utf8_lossy(&output.stdout).into_owned())
        } else {
            Err(message)
        }
    };
    tree(&["--target", "all"])
        .or_else(|_| tree(&["--offline"]))
        .unwrap_or_else(|message| panic!("cargo tree: {message}"))
}

#[test]
fn every_licence_is_allowed() {
    let allowed = list(&read("deny.toml"), "licenses", "allow");
    assert!(allowed.len() > 2, "deny.toml allows {allowed:?}");
    let text = packages();
    let mut seen = 0;
    for line in text.lines().filter(|line| !line.is_empty()) {
        let (package, licence) = line.split_once('|').unwrap_or((line, ""));
        seen += 1;
        assert!(
            is_allowed(licence.trim_end_matches(" (*)"), &allowed),
            "{package}: licence {licence:?} is not in deny.toml"
        );
    }
    assert!(seen > 50, "{seen} packages seen");
}

#[test]
fn no_banned_crate_is_locked() {
    let banned = list(&read("deny.toml"), "bans", "deny");
    for peer in PEERS {
        assert!(banned.iter().any(|name| name.starts_with(peer)), "deny.toml names no crate of {peer}");
    }
    let lock = read("Cargo.lock");
    let names: Vec<&str> = lock
        .lines()
        .filter_map(|line| line.strip_prefix("name = \""))
        .map(|name| name.trim_end_matches('"'))
        .collect();
    assert!(names.len() > 50, "{} packages locked", names.len());
    for name in names {
        assert!(!banned.iter().any(|other| other == name), "{name} is banned by deny.toml");
        assert!(!PEERS.iter().any(|peer| name.starts_with(peer)), "{name} is a peer's crate");
    }
}

#[test]
fn every_crate_comes_from_where_it_may() {
    let text = read("deny.toml");
    let registries = list(&text, "sources", "allow-registry");
    let git = list(&text, "sources", "allow-git");
    assert!(!registries.is_empty());
    for line in read("Cargo.lock").lines() {
        let Some(source) = line.strip_prefix("source = \"").map(|rest| rest.trim_end_matches('"')) else {
            continue;
        };
        let known = match source.split_once('+') {
            Some(("registry" | "sparse", address)) => registries.iter().any(|known| known == address),
            Some(("git", address)) => git.iter().any(|known| address.starts_with(known.as_str())),
            _ => false,
        };
        assert!(known, "{source} is not in deny.toml");
    }
}

#[test]
fn every_crate_of_ours_says_licence_and_rust_version() {
    let workspace = read("Cargo.toml");
    assert!(workspace.contains("license = \"Apache-2.0 WITH LLVM-exception\""));
    assert!(workspace.contains("rust-version = \""));
    for entry in fs::read_dir(root().join("crates")).expect("crates/").flatten() {
        let manifest = format!("crates/{}/Cargo.toml", entry.file_name().to_string_lossy());
        let text = read(&manifest);
        for key in ["license.workspace = true", "rust-version.workspace = true", "edition.workspace = true"] {
            assert!(text.contains(key), "{manifest}: no {key}");
        }
        assert!(text.contains("[lints"), "{manifest}: without the workspace's lints");
    }
    let licence = read("LICENSE");
    for sentence in
        ["Apache License", "Version 2.0, January 2004", "LLVM Exceptions to the Apache 2.0 License"]
    {
        assert!(licence.contains(sentence), "LICENSE: no {sentence:?}");
    }
}

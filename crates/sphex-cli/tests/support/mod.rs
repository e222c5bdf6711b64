//! What tests of the `sphex` binary share: where it is, where optional inputs are, and running it to the end.
#![allow(dead_code, reason = "each test binary uses its part")]

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

/// The binary under test.
pub const SPHEX: &str = env!("CARGO_BIN_EXE_sphex");

/// The repository's root.
pub fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

/// The folder of corpora and benchmark programs beside the repository.
pub fn shared() -> PathBuf {
    std::env::var_os("SPHEX_SHARED").map_or_else(|| root().join("../shared"), PathBuf::from)
}

/// Where `ci/toolchains.sh` puts programs.
pub fn toolchain_programs() -> PathBuf {
    let base = std::env::var_os("SPHEX_PROGRAMS").map_or_else(|| "/opt/sphex-programs".into(), PathBuf::from);
    base.join("programs")
}

/// Must this be here?
pub fn required(what: &str) -> bool {
    std::env::var("SPHEX_REQUIRE").is_ok_and(|list| list.split(',').any(|item| item.trim() == what))
}

/// A command that is expected to end by itself, as text: code (or minus the signal), standard output and error.
pub struct Ended {
    /// The exit code, or minus the signal.
    pub code: i32,
    /// Standard output.
    pub stdout: String,
    /// Standard error.
    pub stderr: String,
}

/// Runs a command to its end. Without a cache, if the command has none of its own: no test finds what another one left.
pub fn run(command: &mut Command) -> Ended {
    use std::os::unix::process::ExitStatusExt;
    if command.get_envs().all(|(name, _)| name != "XDG_CACHE_HOME" && name != "SPHEX_CACHE") {
        command.env("SPHEX_CACHE", "n");
    }
    let Output { status, stdout, stderr } = command.output().expect("a command that can be started");
    Ended {
        code: status.code().unwrap_or_else(|| -status.signal().unwrap_or(0)),
        stdout: String::from_utf8_lossy(&stdout).into_owned(),
        stderr: String::from_utf8_lossy(&stderr).into_owned(),
    }
}

/// The first line in which two texts differ, as a message; `None` if they are the same.
pub fn difference(what: &str, expected: &str, found: &str) -> Option<String> {
    if expected == found {
        return None;
    }
    let mut lines = (expected.lines(), found.lines());
    for number in 1.. {
        let (expected, found) = (lines.0.next(), lines.1.next());
        if expected != found || expected.is_none() {
            return Some(format!("{what}, line {number}: expected {expected:?}, found {found:?}"));
        }
    }
    None
}

//! The `sphex` command.
//!
//! Each command is a file with one `execute`; `options` has every flag, `exit` every way to end.

#![allow(dead_code, reason = "commands follow")]

#[cfg(feature = "compiler")]
mod clif;
mod exit;
mod objdump;
mod options;
mod settings;

use std::process::ExitCode;

fn main() -> ExitCode {
    exit::finish(options::parse().and_then(|command| command.execute()))
}

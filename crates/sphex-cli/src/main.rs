//! The `sphex` command.
//!
//! Each command is a file with one `execute`; `options` has every flag, `exit` every way to end.

mod advice;
#[cfg(feature = "compiler")]
mod cache;
#[cfg(feature = "compiler")]
mod clif;
#[cfg(feature = "compiler")]
mod compile;
mod engine;
mod exit;
mod input;
mod invoke;
mod objdump;
mod options;
mod os;
mod run;
mod settings;
#[cfg(feature = "compiler")]
mod wast;

use std::process::ExitCode;

fn main() -> ExitCode {
    exit::finish(options::parse().and_then(|command| command.execute()))
}

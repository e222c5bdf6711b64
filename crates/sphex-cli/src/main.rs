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
mod completion;
mod disassemble;
mod engine;
mod exit;
#[cfg(feature = "compiler")]
mod explain;
mod input;
mod invoke;
mod log;
mod objdump;
mod options;
mod os;
#[cfg(feature = "compiler")]
mod progress;
mod run;
mod settings;
#[cfg(feature = "compiler")]
mod timing;
#[cfg(feature = "compiler")]
mod wast;

use std::process::ExitCode;

fn main() -> ExitCode {
    log::begin();
    os::outlive_file_limit();
    exit::finish(options::parse().and_then(|command| command.execute()))
}

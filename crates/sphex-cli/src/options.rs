//! The command line: commands, flags and what they parse to.

mod groups;
mod values;

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};

use crate::exit::Result;
pub use groups::list;

/// Runs WebAssembly: compiles it with its own compiler, and runs the result.
#[derive(Parser)]
#[command(name = "sphex", version)]
struct CommandLine {
    #[command(subcommand)]
    command: Command,
}

/// What to do.
#[derive(Subcommand)]
pub enum Command {
    /// Work with CLIF, the text of the compiler's IR
    #[cfg(feature = "compiler")]
    #[command(subcommand)]
    Clif(Clif),
    /// Show the machine code of an artifact
    Objdump(Objdump),
    /// Show every option of the groups -C -D -O -S -W, and what this machine has
    Settings(Settings),
}

/// `sphex clif`.
#[cfg(feature = "compiler")]
#[derive(Subcommand)]
pub enum Clif {
    /// Run test files
    Test {
        /// Say of each file how it went
        #[arg(short, long)]
        verbose: bool,
        /// Files, or folders of them
        #[arg(required = true)]
        files: Vec<PathBuf>,
    },
    /// Parse, verify and print files
    Cat {
        /// Files, or folders of them
        #[arg(required = true)]
        files: Vec<PathBuf>,
    },
    /// Compile a file's functions to an object file
    Compile {
        /// The target
        #[arg(long, default_value = "x86_64-linux")]
        target: String,
        /// The object file to write
        #[arg(short)]
        output: PathBuf,
        /// The file
        file: PathBuf,
    },
}

/// `sphex objdump`.
#[derive(Args)]
pub struct Objdump {
    /// Only this function, by index or name
    #[arg(long = "func", value_name = "FUNCTION")]
    pub function: Option<String>,
    /// Leave out the bytes of instructions
    #[arg(long)]
    pub no_bytes: bool,
    /// The artifact
    pub file: PathBuf,
}

/// `sphex settings`.
#[derive(Args)]
pub struct Settings {}

/// Parses this process's command line. Does not return for help, and for what clap finds wrong.
pub fn parse() -> Result<Command> {
    Ok(CommandLine::parse().command)
}

impl Command {
    /// Does it.
    pub fn execute(self) -> Result {
        match self {
            #[cfg(feature = "compiler")]
            Command::Clif(options) => crate::clif::execute(&options),
            Command::Objdump(options) => crate::objdump::execute(&options),
            Command::Settings(_) => crate::settings::execute(),
        }
    }
}

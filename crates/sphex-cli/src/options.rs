//! The command line: commands, flags and what they parse to.

mod groups;
mod values;

use std::ffi::OsString;
use std::path::PathBuf;

use clap::{Args, CommandFactory, Parser, Subcommand};

use crate::exit::Result;
#[cfg(feature = "compiler")]
pub use groups::PROPOSALS;
pub use groups::{Groups, Options, list};
#[cfg(feature = "compiler")]
pub use values::number as bytes_of;
pub use values::{Directory, Preload, Variable};

/// Runs WebAssembly: compiles it with its own compiler, and runs the result.
#[derive(Parser)]
#[command(name = "sphex", version, arg_required_else_help = true)]
#[command(args_conflicts_with_subcommands = true, subcommand_negates_reqs = true)]
#[command(override_usage = "sphex [OPTIONS] <FILE> [ARGS]...\n       sphex <COMMAND>")]
pub struct CommandLine {
    #[command(subcommand)]
    command: Option<Command>,
    #[command(flatten)]
    run: Run,
}

/// What to do.
#[derive(Subcommand)]
pub enum Command {
    /// Run a program (the default: `sphex FILE` does the same)
    Run(Run),
    /// Compile a module to an artifact
    #[cfg(feature = "compiler")]
    Compile(Compile),
    /// Run test scripts in the official format
    #[cfg(feature = "compiler")]
    Wast(Wast),
    /// Work with CLIF, the text of the compiler's IR
    #[cfg(feature = "compiler")]
    #[command(subcommand)]
    Clif(Clif),
    /// Look at the cache of compiled modules, or empty it
    #[cfg(feature = "compiler")]
    #[command(subcommand)]
    Cache(CacheCommand),
    /// Show a function as each stage of the compiler leaves it
    #[cfg(feature = "compiler")]
    Explain(Explain),
    /// Show the machine code of an artifact, or of a module
    Objdump(Objdump),
    /// Show every option of the groups -C -D -O -S -W, and what this machine has
    Settings(Settings),
    /// Print a script that completes command lines of sphex in a shell
    Completion(Completion),
}

/// `sphex run`.
#[derive(Args)]
pub struct Run {
    #[command(flatten)]
    pub groups: Groups,
    /// Call this exported function instead of running the program: `f`, with values after FILE, or `f(1, 2)`
    #[arg(long, value_name = "FUNCTION")]
    pub invoke: Option<String>,
    /// Give the guest a directory; `::ro` makes it read-only
    #[arg(long = "dir", value_name = "HOST[::GUEST][::ro]")]
    pub dirs: Vec<Directory>,
    /// Set an environment variable of the guest; without `=`, to the value it has here
    #[arg(long = "env", value_name = "NAME[=VALUE]")]
    pub env: Vec<Variable>,
    /// Instantiate another module first; its exports are imports under this name
    #[arg(long = "preload", value_name = "NAME=FILE")]
    pub preloads: Vec<Preload>,
    /// The name under which the guest sees itself (default: FILE's last part)
    #[arg(long, value_name = "NAME")]
    pub argv0: Option<String>,
    /// Tell a profiler the names of functions: for perf, its map file or a jitdump
    #[arg(long, value_name = "KIND")]
    pub profile: Option<Profile>,
    /// Accept artifacts: they are native code, and nothing protects from a malicious one
    #[arg(long)]
    pub allow_precompiled: bool,
    /// The program (.wasm, .wat, an artifact, or `-` for standard input); all after it belongs to the guest
    #[arg(value_name = "FILE [ARGS]", trailing_var_arg = true)]
    pub file_and_args: Vec<OsString>,
}

/// How a profiler is told the names of functions. (Help of one line a flag: the values have none of their own.)
#[derive(clap::ValueEnum, Clone, Copy)]
pub enum Profile {
    // /tmp/perf-PID.map: names.
    Perfmap,
    // jit-PID.dump in the current folder: names, code and lines.
    Jitdump,
}

/// How a module is compiled.
#[derive(Args)]
pub struct HowToCompile {
    #[command(flatten)]
    groups: Groups,
    /// The machine to compile for: `x86_64-linux`, or a full triple. Named, it means the baseline CPU; else this one
    #[arg(long)]
    target: Option<String>,
}

impl HowToCompile {
    /// The options that it asks for.
    pub fn options(&self) -> Result<Options> {
        let mut options = self.groups.parse()?;
        options.target = self.target.as_deref().map(values::target).transpose()?;
        Ok(options)
    }
}

/// `sphex compile`.
#[cfg(feature = "compiler")]
#[derive(Args)]
pub struct Compile {
    #[command(flatten)]
    pub compile: HowToCompile,
    /// Say where the time went: a row a pass, and the slowest functions
    #[arg(long)]
    pub time: bool,
    /// Where the artifact goes (default: FILE with the ending .cwasm)
    #[arg(short, long, value_name = "OUT")]
    pub output: Option<PathBuf>,
    /// The module (.wasm, .wat, or `-` for standard input)
    pub file: Option<PathBuf>,
}

/// `sphex wast`.
#[cfg(feature = "compiler")]
#[derive(Args)]
pub struct Wast {
    #[command(flatten)]
    pub groups: Groups,
    /// The scripts
    #[arg(value_name = "FILE")]
    pub files: Vec<PathBuf>,
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

/// `sphex cache`.
#[cfg(feature = "compiler")]
#[derive(Subcommand)]
pub enum CacheCommand {
    /// Say where it is, how much is in it, and whether it is used
    Info,
    /// Remove every entry, those of other builds of sphex too
    Clean,
}

/// `sphex explain`.
#[cfg(feature = "compiler")]
#[derive(Args)]
pub struct Explain {
    #[command(flatten)]
    pub compile: HowToCompile,
    /// Only this function, by index or name; else every one
    #[arg(long = "func", value_name = "FUNCTION")]
    pub function: Option<String>,
    /// Only this stage; may be given several times
    #[arg(long = "stage", value_name = "STAGE")]
    pub stages: Vec<Stage>,
    /// The module (.wasm, .wat, or `-` for standard input)
    pub file: Option<PathBuf>,
}

/// A stage of the compiler.
#[cfg(feature = "compiler")]
#[derive(clap::ValueEnum, Clone, Copy, PartialEq, Eq)]
pub enum Stage {
    // The module's own text, with offsets.
    Wasm,
    // IR (CLIF) after translation.
    Ir,
    // IR after the optimizer.
    Opt,
    // Machine instructions with virtual registers.
    Select,
    // The same with registers, spill slots and moves.
    Regalloc,
    // Bytes with places in the wasm, traps and relocations.
    Asm,
}

#[cfg(feature = "compiler")]
impl Stage {
    /// All of them, in order.
    pub const ALL: &'static [Stage] =
        &[Stage::Wasm, Stage::Ir, Stage::Opt, Stage::Select, Stage::Regalloc, Stage::Asm];

    /// What stands above it.
    pub fn title(self) -> &'static str {
        match self {
            Stage::Wasm => "wasm",
            Stage::Ir => "ir",
            Stage::Opt => "opt",
            Stage::Select => "select",
            Stage::Regalloc => "regalloc",
            Stage::Asm => "asm",
        }
    }
}

/// `sphex completion`.
#[derive(Args)]
pub struct Completion {
    /// The shell
    pub shell: clap_complete::Shell,
}

/// `sphex objdump`.
#[derive(Args)]
pub struct Objdump {
    #[command(flatten)]
    pub compile: HowToCompile,
    /// Only this function, by index or name
    #[arg(long = "func", value_name = "FUNCTION")]
    pub function: Option<String>,
    /// Leave out the bytes of instructions
    #[arg(long)]
    pub no_bytes: bool,
    /// The artifact; or a module (.wasm, .wat, or `-` for standard input), which is compiled first
    pub file: PathBuf,
}

/// `sphex settings`.
#[derive(Args)]
pub struct Settings {}

/// Parses this process's command line. Does not return for help, and for what clap finds wrong.
pub fn parse() -> Result<Command> {
    if let Some(run) = parse_run(std::env::args_os().skip(1).collect()) {
        return Ok(Command::Run(run));
    }
    let line = CommandLine::try_parse().unwrap_or_else(|error| with_suggestion(error).exit());
    Ok(line.command.unwrap_or(Command::Run(line.run)))
}

/// `sphex run` alone: what the others take need not be made known to clap to run a program.
#[derive(Parser)]
#[command(name = "run")]
struct RunLine {
    #[command(flatten)]
    run: Run,
}

/// What to run, if these arguments are `run` and something that it takes, or begin with a file. Whatever else they are, help
/// and mistakes too, is for the whole command line to say.
fn parse_run(mut arguments: Vec<OsString>) -> Option<Run> {
    let first = arguments.first()?.to_str()?;
    if first != "run" {
        // A name without a dot or a slash may be a command's; an option may stand in front of one.
        if first.starts_with('-') || !first.contains(['.', '/']) {
            return None;
        }
        arguments.insert(0, "run".into());
    }
    RunLine::try_parse_from(arguments).ok().map(|line| line.run)
}

/// An error about an unknown flag, with the one that may be meant where clap sees none.
fn with_suggestion(mut error: clap::Error) -> clap::Error {
    use clap::error::{ContextKind, ContextValue, ErrorKind};

    let Some(ContextValue::String(unknown)) = error.get(ContextKind::InvalidArg) else { return error };
    if error.kind() != ErrorKind::UnknownArgument || error.get(ContextKind::SuggestedArg).is_some() {
        return error;
    }
    let line = CommandLine::command();
    let all = line.get_subcommands().chain([&line]).flat_map(|command| command.get_arguments());
    let flags: Vec<String> = all.filter_map(|flag| Some(format!("--{}", flag.get_long()?))).collect();
    if let Some(near) = crate::advice::near::nearest(unknown, flags.iter().map(String::as_str)) {
        error.insert(ContextKind::SuggestedArg, ContextValue::String(near.to_owned()));
    }
    error
}

/// The names of all commands.
pub fn commands() -> Vec<String> {
    let line = CommandLine::command();
    line.get_subcommands().map(|command| command.get_name().to_owned()).collect()
}

impl Command {
    /// Does it.
    pub fn execute(self) -> Result {
        match self {
            Command::Run(options) => crate::run::execute(&options),
            #[cfg(feature = "compiler")]
            Command::Compile(options) => crate::compile::execute(&options),
            #[cfg(feature = "compiler")]
            Command::Wast(options) => crate::wast::execute(&options),
            #[cfg(feature = "compiler")]
            Command::Clif(options) => crate::clif::execute(&options),
            #[cfg(feature = "compiler")]
            Command::Cache(command) => crate::cache::execute(&command),
            #[cfg(feature = "compiler")]
            Command::Explain(options) => crate::explain::execute(&options),
            Command::Objdump(options) => crate::objdump::execute(&options),
            Command::Settings(_) => crate::settings::execute(),
            Command::Completion(options) => crate::completion::execute(&options),
        }
    }
}

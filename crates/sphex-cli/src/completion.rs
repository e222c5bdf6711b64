//! `sphex completion`: what a shell reads to complete command lines of this tool.

use clap::CommandFactory;

use crate::exit::{Result, print};
use crate::options::{CommandLine, Completion};

/// Prints it.
pub fn execute(options: &Completion) -> Result {
    let mut script = Vec::new();
    clap_complete::generate(options.shell, &mut CommandLine::command(), "sphex", &mut script);
    print(&String::from_utf8_lossy(&script))
}

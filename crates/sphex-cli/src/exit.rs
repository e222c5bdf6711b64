//! How the process ends: exit codes, and errors on standard error.
//!
//! 0, or the guest's own code; 1 an error outside the guest; 2 a command line that makes no sense; 134 a trap.

use std::fmt;
use std::io::{self, Write};
use std::process::ExitCode;

/// The exit code of a guest that trapped, as a shell shows SIGABRT.
pub const TRAP: u8 = 134;

/// Why a command did not simply succeed.
#[derive(Debug)]
pub enum Failure {
    /// The command line makes no sense; told with exit code 2.
    Usage(String),
    /// Something outside the guest; told with exit code 1.
    Error(anyhow::Error),
    /// Everything has been said; only the code is left.
    Code(u8),
    /// The guest ended with this code.
    Exited(u8),
}

/// What commands return.
pub type Result<T = ()> = std::result::Result<T, Failure>;

impl Failure {
    /// A usage error.
    pub fn usage(message: impl fmt::Display) -> Failure {
        Failure::Usage(message.to_string())
    }
}

impl From<anyhow::Error> for Failure {
    fn from(error: anyhow::Error) -> Failure {
        Failure::Error(error)
    }
}

impl From<io::Error> for Failure {
    /// Our own output that nobody reads any more is no error.
    fn from(error: io::Error) -> Failure {
        match error.kind() {
            io::ErrorKind::BrokenPipe => Failure::Code(0),
            _ => Failure::Error(anyhow::Error::new(error).context("cannot write to standard output")),
        }
    }
}

/// Tells what went wrong and gives the exit code.
pub fn finish(result: Result) -> ExitCode {
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(Failure::Code(code) | Failure::Exited(code)) => ExitCode::from(code),
        Err(Failure::Usage(message)) => {
            say(&format!("error: {message}\n\nFor more information, try '--help'."));
            ExitCode::from(2)
        }
        Err(Failure::Error(error)) => {
            let message = format!("error: {error:#}");
            let hint = crate::advice::limit_of_the_process(&message).map(str::to_owned);
            say(&crate::advice::with_hint(message, hint));
            ExitCode::from(1)
        }
    }
}

/// One message on standard error. If even that is closed, there is nobody to tell.
pub fn say(message: &str) {
    let _ = writeln!(io::stderr(), "{message}");
}

/// Text on standard output.
pub fn print(text: &str) -> Result {
    let mut out = io::stdout().lock();
    out.write_all(text.as_bytes())?;
    out.flush()?;
    Ok(())
}

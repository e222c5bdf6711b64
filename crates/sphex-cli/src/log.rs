//! `SPHEX_LOG`: what the libraries report of their work, on standard error: `SPHEX_LOG=debug`, or per crate, as in
//! `SPHEX_LOG=sphex_wasi=trace`, which shows every call of the guest; several with commas.
//!
//! Without the variable nothing is installed, and an event costs one comparison. The filter is that of targets, without
//! regular expressions: those would make every start of the command slower.

use std::io;

use tracing_subscriber::filter::Targets;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;

use crate::exit;

/// The variable.
const VARIABLE: &str = "SPHEX_LOG";

/// Begins to listen, if the variable asks for it.
pub fn begin() {
    let Some(value) = std::env::var_os(VARIABLE).filter(|value| !value.is_empty()) else { return };
    let text = value.to_string_lossy();
    match text.parse::<Targets>() {
        Ok(targets) => {
            let lines = tracing_subscriber::fmt::layer().with_writer(io::stderr).without_time();
            tracing_subscriber::registry().with(lines).with(targets).init();
        }
        Err(error) => exit::say(&format!("warning: {VARIABLE}={text}: {error}; nothing is logged")),
    }
}

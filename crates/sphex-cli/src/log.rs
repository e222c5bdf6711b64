//! `SPHEX_LOG`: what the libraries report of their work, on standard error: `SPHEX_LOG=debug`, or per crate, as in
//! `SPHEX_LOG=sphex_wasi=trace`, which shows every call of the guest.
//!
//! Without the variable nothing is installed, and an event costs one comparison.

use std::io;

use tracing_subscriber::EnvFilter;

use crate::exit;

/// The variable.
const VARIABLE: &str = "SPHEX_LOG";

/// Begins to listen, if the variable asks for it.
pub fn begin() {
    let Some(value) = std::env::var_os(VARIABLE).filter(|value| !value.is_empty()) else { return };
    let text = value.to_string_lossy();
    match EnvFilter::builder().parse(&text) {
        Ok(filter) => {
            tracing_subscriber::fmt().with_env_filter(filter).with_writer(io::stderr).without_time().init()
        }
        Err(error) => exit::say(&format!("warning: {VARIABLE}={text}: {error}; nothing is logged")),
    }
}

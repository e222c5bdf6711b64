//! `sphex settings`: every option of the groups, and what this machine has.

use std::fmt::Write as _;

use sphex_artifact::{BuildId, CpuFeatures, Target};

use crate::exit::{Result, print};
use crate::options::list;

/// Prints them.
pub fn execute() -> Result {
    let mut text = String::new();
    let target = Target::HOST.map_or("none that Sphex compiles for".to_owned(), |target| target.to_string());
    let _ = writeln!(text, "sphex {}, build {}\nhost: {target}", env!("CARGO_PKG_VERSION"), BuildId::CURRENT);
    if let Some(target) = Target::HOST {
        let _ = writeln!(text, "cpu features: {}", CpuFeatures::detect().names(target.arch));
    }
    for (group, what) in [
        ('C', "compiler"),
        ('D', "debugging and profiling"),
        ('O', "optimization and memory"),
        ('S', "system interface"),
        ('W', "WebAssembly: limits and proposals"),
    ] {
        let _ = write!(text, "\n{what}\n{}", list(group));
    }
    print(&text)
}

//! The `sphex` command.

fn main() {}

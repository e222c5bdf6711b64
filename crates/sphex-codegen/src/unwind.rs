//! Unwind information.
//!
//! Needs: the frame records of compiled functions. Gives: tables that debuggers, profilers and host unwinders read.

pub mod eh_frame;

#[cfg(test)]
pub(crate) mod check;

#[cfg(test)]
pub(crate) mod tests;

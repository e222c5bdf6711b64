//! Random numbers: the host's, or an embedder's.

use crate::Errno;

/// Where random bytes come from.
pub trait Random: Send + Sync {
    /// Fills all of `bytes`.
    fn fill(&self, bytes: &mut [u8]) -> Result<(), Errno>;
}

/// The host's random numbers, fit for cryptography.
pub struct HostRandom;

impl Random for HostRandom {
    fn fill(&self, bytes: &mut [u8]) -> Result<(), Errno> {
        getrandom::fill(bytes).map_err(|_| Errno::Io)
    }
}

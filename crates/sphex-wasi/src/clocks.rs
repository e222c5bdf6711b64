//! Clocks: the host's, or an embedder's.

use crate::Errno;
use rustix::time::{ClockId as HostClock, Timespec};

/// A clock by the numbers of preview 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Clock {
    /// Nanoseconds since 1970.
    Realtime,
    /// Never goes back; its zero means nothing.
    Monotonic,
    /// What this process has used of the CPU.
    ProcessCpu,
    /// What this thread has used of the CPU.
    ThreadCpu,
}

impl Clock {
    /// The clock of that number; EINVAL if there is none.
    pub fn from_raw(raw: u32) -> Result<Clock, Errno> {
        match raw {
            0 => Ok(Clock::Realtime),
            1 => Ok(Clock::Monotonic),
            2 => Ok(Clock::ProcessCpu),
            3 => Ok(Clock::ThreadCpu),
            _ => Err(Errno::Inval),
        }
    }
}

/// What tells the guest the time.
pub trait Clocks: Send + Sync {
    /// Nanoseconds on that clock.
    fn now(&self, clock: Clock) -> Result<u64, Errno>;

    /// Nanoseconds between two ticks, at least 1.
    fn resolution(&self, clock: Clock) -> Result<u64, Errno>;
}

/// The host's clocks.
pub struct HostClocks;

impl Clocks for HostClocks {
    fn now(&self, clock: Clock) -> Result<u64, Errno> {
        Ok(nanoseconds(rustix::time::clock_gettime(host(clock))))
    }

    fn resolution(&self, clock: Clock) -> Result<u64, Errno> {
        Ok(nanoseconds(rustix::time::clock_getres(host(clock))).max(1))
    }
}

fn host(clock: Clock) -> HostClock {
    match clock {
        Clock::Realtime => HostClock::Realtime,
        Clock::Monotonic => HostClock::Monotonic,
        Clock::ProcessCpu => HostClock::ProcessCPUTime,
        Clock::ThreadCpu => HostClock::ThreadCPUTime,
    }
}

/// A host's time in nanoseconds; what lies before zero is zero.
pub(crate) fn nanoseconds(time: Timespec) -> u64 {
    let seconds = u64::try_from(time.tv_sec).unwrap_or(0);
    seconds.saturating_mul(1_000_000_000).saturating_add(u64::try_from(time.tv_nsec).unwrap_or(0))
}

/// Nanoseconds as the host wants them.
pub(crate) fn timespec(nanoseconds: u64) -> Timespec {
    Timespec { tv_sec: (nanoseconds / 1_000_000_000) as i64, tv_nsec: (nanoseconds % 1_000_000_000) as i64 }
}

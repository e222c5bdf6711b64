//! Time, random numbers, and the guest as a process.

use super::types::{Disposition, Errno, SIGNALS};
use super::{Fault, GuestMemory, Stop};
use crate::WasiCtx;
use crate::clocks::Clock;

/// Writes a clock's resolution in nanoseconds.
pub fn clock_res_get(
    ctx: &mut WasiCtx,
    memory: &mut GuestMemory<'_>,
    id: u32,
    result: u32,
) -> Result<(), Fault> {
    let resolution = ctx.clocks.resolution(Clock::from_raw(id)?)?;
    Ok(memory.write_u64(result, resolution)?)
}

/// Writes a clock's time in nanoseconds, as precise as the clock is, whatever was asked.
pub fn clock_time_get(
    ctx: &mut WasiCtx,
    memory: &mut GuestMemory<'_>,
    id: u32,
    _precision: u64,
    result: u32,
) -> Result<(), Fault> {
    let now = ctx.clocks.now(Clock::from_raw(id)?)?;
    Ok(memory.write_u64(result, now)?)
}

/// Ends the guest. Any code is taken; a command line keeps its lower eight bits.
pub fn proc_exit(_ctx: &mut WasiCtx, _memory: &mut GuestMemory<'_>, code: u32) -> Result<(), Fault> {
    Err(Fault::Stop(Stop::Exit(code)))
}

/// Does what the signal does by default: nothing, or end the guest. There is no one to stop it for: ENOTSUP.
pub fn proc_raise(_ctx: &mut WasiCtx, _memory: &mut GuestMemory<'_>, signal: u32) -> Result<(), Fault> {
    let (name, disposition) = *SIGNALS.get(signal as usize).ok_or(Errno::Inval)?;
    match disposition {
        Disposition::Ignore => Ok(()),
        Disposition::Stop => Err(Errno::NotSup.into()),
        Disposition::Terminate => Err(Fault::Stop(Stop::Signal((signal as u8, name)))),
    }
}

/// Lets another thread run, or under `call_async` another task.
pub fn sched_yield(ctx: &mut WasiCtx, _memory: &mut GuestMemory<'_>) -> Result<(), Fault> {
    match ctx.later() {
        Some(later) if later.yielded => Ok(()),
        Some(mut later) => {
            later.yields = true;
            Err(Fault::Wait)
        }
        None => {
            rustix::thread::sched_yield();
            Ok(())
        }
    }
}

/// Fills a buffer with random bytes.
pub fn random_get(
    ctx: &mut WasiCtx,
    memory: &mut GuestMemory<'_>,
    buffer: u32,
    len: u32,
) -> Result<(), Fault> {
    memory.check(buffer, len as usize)?;
    if len as usize > memory.limit() {
        return Err(Errno::Inval.into());
    }
    memory.fill(buffer, len as usize, |bytes| {
        ctx.random.fill(bytes)?;
        Ok(bytes.len())
    })?;
    Ok(())
}

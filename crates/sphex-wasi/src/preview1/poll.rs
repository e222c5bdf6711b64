//! `poll_oneoff`: waiting for time and for descriptors.

use super::types::{Awaited, Errno, Event, Rights, Subscription};
use super::{Fault, GuestMemory};
use crate::WasiCtx;
use crate::clocks::Clock;
use crate::files::{File, Readiness};
use rustix::event::{PollFd, PollFlags};
use smallvec::SmallVec;
use std::os::fd::BorrowedFd;
use std::sync::Arc;

/// More subscriptions in one call are EINVAL: a bound on what a call allocates.
const MAX_SUBSCRIPTIONS: u32 = 1 << 16;

/// Waits until one subscription at least has happened, and writes all that have.
///
/// What is wrong with one subscription (no such descriptor, no right, no such clock) is an event of its own, at once. No
/// subscription at all is EINVAL.
pub fn poll_oneoff(
    ctx: &mut WasiCtx,
    memory: &mut GuestMemory<'_>,
    subscriptions: u32,
    events: u32,
    count: u32,
    result: u32,
) -> Result<(), Fault> {
    let began = match ctx.began.take() {
        Some(began) => began,
        None => ctx.clocks.now(Clock::Monotonic)?,
    };
    let done = poll(ctx, memory, [subscriptions, events, count, result], began);
    if matches!(done, Err(Fault::Look | Fault::Wait)) {
        // The call will be made again: its times are still from when it began.
        ctx.began = Some(began);
    }
    done
}

fn poll(
    ctx: &WasiCtx,
    memory: &mut GuestMemory<'_>,
    [subscriptions, events, count, result]: [u32; 4],
    began: u64,
) -> Result<(), Fault> {
    if count == 0 || count > MAX_SUBSCRIPTIONS || count as usize * Subscription::SIZE > memory.limit() {
        return Err(Errno::Inval.into());
    }
    memory.check(subscriptions, count as usize * Subscription::SIZE)?;
    memory.check(events, count as usize * Event::SIZE)?;
    memory.check(result, 4)?;
    let mut poll = Poll { began, ..Poll::default() };
    for index in 0..count {
        // In bounds, so in 32 bits.
        let raw = memory.read(subscriptions + index * Subscription::SIZE as u32)?;
        poll.subscribe(ctx, Subscription::decode(&raw)?);
    }
    let happened = poll.wait(ctx)?;
    for (index, event) in happened.iter().enumerate() {
        memory.write(events + (index * Event::SIZE) as u32, &event.encode())?;
    }
    Ok(memory.write_u32(result, happened.len() as u32)?)
}

/// A call's subscriptions, sorted by what they need.
#[derive(Default)]
struct Poll<'a> {
    /// When the call began, on the monotonic clock.
    began: u64,
    happened: Vec<Event>,
    timers: SmallVec<[Timer; 2]>,
    files: SmallVec<[Watched<'a>; 4]>,
    /// Files to read that another thread asks how much there is.
    pooled: Vec<(u64, Arc<dyn File>)>,
}

/// Waits for a clock to reach a time.
struct Timer {
    userdata: u64,
    clock: Clock,
    deadline: u64,
}

/// Waits for a descriptor of the host.
struct Watched<'a> {
    userdata: u64,
    number: u32,
    file: &'a dyn File,
    fd: BorrowedFd<'a>,
    write: bool,
}

impl<'a> Poll<'a> {
    fn subscribe(&mut self, ctx: &'a WasiCtx, subscription: Subscription) {
        let Subscription { userdata, what } = subscription;
        let (kind, subscribed) = match what {
            Awaited::Clock { id, timeout, absolute } => (0, self.timer(userdata, id, timeout, absolute)),
            Awaited::Read { fd } => (1, self.file(ctx, userdata, fd, false)),
            Awaited::Write { fd } => (2, self.file(ctx, userdata, fd, true)),
        };
        if let Err(error) = subscribed {
            self.happened.push(Event { userdata, error, kind, nbytes: 0, hangup: false });
        }
    }

    fn timer(&mut self, userdata: u64, id: u32, time: u64, absolute: bool) -> Result<(), Errno> {
        let clock = match (Clock::from_raw(id)?, absolute) {
            // A guest that sleeps uses no CPU: it would never wake.
            (Clock::ProcessCpu | Clock::ThreadCpu, _) => return Err(Errno::NotSup),
            // A time from now does not move when someone sets the clock.
            (Clock::Realtime, false) => Clock::Monotonic,
            (clock, _) => clock,
        };
        let deadline = if absolute { time } else { self.began.saturating_add(time) };
        self.timers.push(Timer { userdata, clock, deadline });
        Ok(())
    }

    fn file(&mut self, ctx: &'a WasiCtx, userdata: u64, fd: u32, write: bool) -> Result<(), Errno> {
        let needed = if write { Rights::FD_WRITE } else { Rights::FD_READ };
        let descriptor = ctx.descriptor(fd)?;
        let file = descriptor.as_file(needed | Rights::POLL_FD_READWRITE, Errno::Badf)?;
        let number = fd;
        match file.wait_on() {
            Some(fd) => self.files.push(Watched { userdata, number, file, fd, write }),
            None => match ctx.to_pool(descriptor).filter(|_| !write) {
                Some(file) => self.pooled.push((userdata, file)),
                None => {
                    let ready = if write { Readiness::default() } else { file.readable()? };
                    self.happened.push(event(userdata, write, ready));
                }
            },
        }
        Ok(())
    }

    /// Waits, unless something has happened already, and gives all that has.
    fn wait(mut self, ctx: &WasiCtx) -> Result<Vec<Event>, Fault> {
        self.ask_files(ctx)?;
        let mut fds: SmallVec<[PollFd<'_>; 5]> = SmallVec::new();
        for watched in &self.files {
            fds.push(PollFd::from_borrowed_fd(watched.fd, watched.awaited()));
        }
        // What has happened already is told without waiting for anyone; nor is anything watched where others wait.
        if self.happened.is_empty() && ctx.later.is_none() {
            let events = ctx.events()?;
            fds.extend(events.iter().map(|event| PollFd::from_borrowed_fd(*event, PollFlags::IN)));
        }
        loop {
            let timeout = self.timeout(ctx)?;
            let at_once = ctx.later.is_some();
            let woken = crate::context::poll(&mut fds, if at_once { Some(0) } else { timeout });
            ctx.check_interrupt()?;
            let woken = match woken {
                Err(Errno::Intr) => continue,
                woken => woken?,
            };
            if woken != 0 {
                for (watched, fd) in self.files.iter().zip(&fds) {
                    self.happened.extend(watched.event(fd.revents()));
                }
            }
            // The kernel's word that the time is over is taken for it: an embedder's clock may stand still.
            let slept = match ctx.later() {
                Some(later) => later.slept,
                None if woken == 0 => timeout.unwrap_or(0),
                None => 0,
            };
            for timer in &self.timers {
                if timer.remaining(ctx)? <= slept {
                    let ready = Readiness::default();
                    self.happened.push(Event { kind: 0, ..event(timer.userdata, false, ready) });
                }
            }
            if !self.happened.is_empty() {
                return Ok(self.happened);
            }
            if let Some(mut later) = ctx.later() {
                later.timeout = timeout;
                later.files.extend(self.files.iter().map(|watched| (watched.number, watched.awaited())));
                return Err(Fault::Wait);
            }
        }
    }

    /// How much there is to read of files whose file system may have to look: they are ready in any case.
    fn ask_files(&mut self, ctx: &WasiCtx) -> Result<(), Fault> {
        if self.pooled.is_empty() {
            return Ok(());
        }
        let files: Vec<_> = self.pooled.iter().map(|(_, file)| file.clone()).collect();
        let asked =
            ctx.pooled(true, move || Ok(files.iter().map(|file| file.readable()).collect::<Vec<_>>()))?;
        for ((userdata, _), ready) in self.pooled.drain(..).zip(asked) {
            let error = ready.err().unwrap_or(Errno::Success);
            let ready = ready.unwrap_or_default();
            self.happened.push(Event { error, ..event(userdata, false, ready) });
        }
        Ok(())
    }

    /// For how long to wait: not at all if something has happened, else until the first timer.
    fn timeout(&self, ctx: &WasiCtx) -> Result<Option<u64>, Errno> {
        if !self.happened.is_empty() {
            return Ok(Some(0));
        }
        let mut first = None;
        for timer in &self.timers {
            let remaining = timer.remaining(ctx)?;
            first = Some(first.map_or(remaining, |first: u64| first.min(remaining)));
        }
        Ok(first)
    }
}

impl Timer {
    fn remaining(&self, ctx: &WasiCtx) -> Result<u64, Errno> {
        Ok(self.deadline.saturating_sub(ctx.clocks.now(self.clock)?))
    }
}

impl Watched<'_> {
    fn awaited(&self) -> PollFlags {
        if self.write { PollFlags::OUT } else { PollFlags::IN }
    }

    /// What the kernel says of it, if anything. An error is left for the next read or write to tell.
    fn event(&self, flags: PollFlags) -> Option<Event> {
        if flags.is_empty() {
            return None;
        }
        let failed = |error| Event { error, ..event(self.userdata, self.write, Readiness::default()) };
        if flags.contains(PollFlags::NVAL) {
            return Some(failed(Errno::Badf));
        }
        let readable = if self.write { Ok(Readiness::default()) } else { self.file.readable() };
        let hangup = flags.contains(PollFlags::HUP);
        Some(match readable {
            Ok(ready) => {
                event(self.userdata, self.write, Readiness { hangup: ready.hangup || hangup, ..ready })
            }
            Err(error) => failed(error),
        })
    }
}

fn event(userdata: u64, write: bool, ready: Readiness) -> Event {
    let kind = if write { 2 } else { 1 };
    Event { userdata, error: Errno::Success, kind, nbytes: ready.bytes, hangup: ready.hangup }
}

//! Binding to the engine for async calls: what a guest waits for is waited for through tokio.
//!
//! *Needs* a tokio runtime around the poll of the call's future, with its drivers for I/O and time. *Gives*
//! [`add_to_linker_async`]. A function that would wait says so (`crate::later`); here is who waits: pipes, terminals and
//! sockets are watched by the runtime's reactor, sleeps are its timers, and what may wait for a disk runs on its pool of
//! blocking threads, which is bounded by the runtime's `max_blocking_threads`.

use super::link::{MODULE, add_exit, attempt, each_function, is_told, look, memory_of, outcome, run, tell};
use super::{Fault, GuestMemory};
use crate::WasiCtx;
use crate::later::{Done, Later};
use rustix::event::PollFlags;
use sphex::{Caller, Error, Interruption, Linker, Result};
use std::future::{Future, poll_fn};
use std::os::fd::{BorrowedFd, OwnedFd};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;
use tokio::runtime::Handle;
use tokio::task::JoinHandle;
use tokio::time::Sleep;

/// As [`add_to_linker`](super::add_to_linker); under `call_async`, where a guest waits the call's future does, and the
/// thread is free. Sync calls are as those of the other: they wait themselves.
///
/// Pipes, terminals, sockets, sleeps, `poll_oneoff` and `sched_yield` wait through tokio; all that asks a file
/// system, from opening to closing, is done by its blocking threads, unless what is read is in memory already. A call that has to
/// wait outside a runtime that has I/O and time enabled is an error. What stops the store ends the wait; a call of a file
/// that a blocking thread has begun is carried out all the same.
///
/// `sock_recv` gives what has come, whether or not it was asked to wait for all.
pub fn add_to_linker_async<T: Send + 'static>(
    linker: &mut Linker<T>,
    ctx: impl Fn(&mut T) -> &mut WasiCtx + Copy + Send + Sync + 'static,
) -> Result<()> {
    macro_rules! told {
        ($caller:ident, $name:ident, $result:ident, $($param:ident as $rust:ident),*) => {
            if is_told() {
                let arguments: &[(&str, i128)] = &[$((stringify!($param), i128::from($param as $rust))),*];
                tell(&mut $caller, stringify!($name), arguments, &$result);
            }
        };
    }
    macro_rules! define {
        (@now $name:ident($($param:ident: $wasm:ident as $rust:ident),*)) => {
            linker.func_wrap(MODULE, stringify!($name), move |mut caller: Caller<'_, T>, $($param: $wasm),*| {
                let result = run(&mut caller, ctx, |ctx, memory| super::$name(ctx, memory, $($param as $rust),*));
                told!(caller, $name, result, $($param as $rust),*);
                result
            })?;
        };
        (@later $name:ident($($param:ident: $wasm:ident as $rust:ident),*)) => {
            linker.func_wrap_either(
                MODULE,
                stringify!($name),
                move |mut caller: Caller<'_, T>, ($($param,)*): ($($wasm,)*)| {
                    let result =
                        run(&mut caller, ctx, |ctx, memory| super::$name(ctx, memory, $($param as $rust),*));
                    told!(caller, $name, result, $($param as $rust),*);
                    result
                },
                move |mut caller: Caller<'_, T>, ($($param,)*): ($($wasm,)*)| {
                    Box::new(async move {
                        let function = move |ctx: &mut WasiCtx, memory: &mut GuestMemory<'_>| {
                            super::$name(ctx, memory, $($param as $rust),*)
                        };
                        let result = run_later(&mut caller, ctx, function).await;
                        told!(caller, $name, result, $($param as $rust),*);
                        result
                    })
                },
            )?;
        };
        ($($when:ident $name:ident($($param:ident: $wasm:ident as $rust:ident),*);)*) => {$(
            define!(@$when $name($($param: $wasm as $rust),*));
        )*};
    }
    each_function!(define);
    add_exit(linker)
}

/// As `run`, waiting in the place of the function.
async fn run_later<T: Send + 'static>(
    caller: &mut Caller<'_, T>,
    ctx_of: impl Fn(&mut T) -> &mut WasiCtx + Copy + Send + Sync,
    function: impl Fn(&mut WasiCtx, &mut GuestMemory<'_>) -> Result<(), Fault> + Send + Sync,
) -> Result<i32> {
    let memory = memory_of(caller)?;
    ctx_of(caller.data_mut()).begin(true);
    loop {
        match attempt(caller, memory, &ctx_of, &function)? {
            Err(Fault::Look) => look(caller, &ctx_of)?,
            Err(Fault::Wait) => {
                let mut wait = Wait::new(caller.interruption(), ctx_of(caller.data_mut()))?;
                let came = loop {
                    match poll_fn(|context| wait.poll(context)).await {
                        Came::Look => caller.check_interruption()?,
                        came => break came,
                    }
                };
                resume(ctx_of(caller.data_mut()), came)?;
            }
            done => {
                let ctx = ctx_of(caller.data_mut());
                ctx.begin(false);
                return outcome(ctx, done);
            }
        }
    }
}

const WATCH: &str = "cannot watch a descriptor";

/// What ended a wait.
enum Came {
    /// Someone wants something of the store; the wait may go on after that.
    Look,
    /// A descriptor is ready, or seems so.
    Ready,
    /// So many nanoseconds are over.
    Slept(u64),
    /// The job is done.
    Done(Result<Done, tokio::task::JoinError>),
    /// Others had a turn.
    Yielded,
}

/// Tells the function, which is called again now, what came.
fn resume(ctx: &mut WasiCtx, came: Came) -> Result<()> {
    let Some(mut later) = ctx.later() else { return Ok(()) };
    *later = match came {
        Came::Look | Came::Ready => Later::default(),
        Came::Slept(slept) => Later { slept, ..Later::default() },
        Came::Yielded => Later { yielded: true, ..Later::default() },
        Came::Done(done) => {
            let done = done.map_err(|error| Error::from(error).context("a call of a file"))?;
            Later { done: Some(done), ..Later::default() }
        }
    };
    Ok(())
}

/// What a function waits for. Nothing in here is borrowed from the store.
struct Wait {
    interruption: Interruption,
    sources: Vec<(AsyncFd<OwnedFd>, bool)>,
    sleep: Option<(Pin<Box<Sleep>>, u64)>,
    job: Option<JoinHandle<Done>>,
    /// Others are to have a turn: have they had it?
    turn: Option<bool>,
}

impl Wait {
    /// Begins to wait for what the function left in the context.
    fn new(interruption: Interruption, ctx: &WasiCtx) -> Result<Wait> {
        let Some(mut later) = ctx.later() else {
            return Err(Error::msg("a call that waits for nothing"));
        };
        let turn = later.yields.then_some(false);
        let mut wait = Wait { interruption, sources: Vec::new(), sleep: None, job: None, turn };
        if later.yields {
            return Ok(wait);
        }
        let runtime = Handle::try_current()
            .map_err(|_| Error::msg("a guest waits: expected a tokio runtime around the call, found none"))?;
        if let Some(job) = later.job.take() {
            wait.job = Some(runtime.spawn_blocking(job));
            return Ok(wait);
        }
        for &(number, flags) in &later.files {
            wait.watch(ctx.descriptor(number)?.object.wait_on(), flags.contains(PollFlags::OUT))?;
        }
        if let Some(interrupt) = &ctx.interrupt {
            wait.watch(Some(interrupt.wait_on()), false)?;
        }
        if let Some(nanoseconds) = later.timeout {
            let sleep = driven("time", || tokio::time::sleep(Duration::from_nanos(nanoseconds)))?;
            wait.sleep = Some((Box::pin(sleep), nanoseconds));
        }
        Ok(wait)
    }

    /// Watches a descriptor of the host: a duplicate, for the kernel lets a reactor watch each number once, and others may
    /// watch this one; and one that stays open however long it is watched.
    fn watch(&mut self, fd: Option<BorrowedFd<'_>>, write: bool) -> Result<()> {
        let Some(fd) = fd else { return Ok(()) };
        let interest = if write { Interest::WRITABLE } else { Interest::READABLE };
        let own = fd.try_clone_to_owned().map_err(|error| Error::from(error).context(WATCH))?;
        // Deprecated, for not everything that has a descriptor keeps it, in favour of one that is unsafe: an `OwnedFd` does.
        #[expect(deprecated)]
        let registered = driven("I/O", || AsyncFd::with_interest(own, interest))?;
        let source = registered.map_err(|error| Error::from(error).context(WATCH))?;
        self.sources.push((source, write));
        Ok(())
    }

    fn poll(&mut self, context: &mut Context<'_>) -> Poll<Came> {
        if self.interruption.is_pending() {
            return Poll::Ready(Came::Look);
        }
        if let Some(turn_given) = &mut self.turn {
            if std::mem::replace(turn_given, true) {
                return Poll::Ready(Came::Yielded);
            }
            context.waker().wake_by_ref();
            return Poll::Pending;
        }
        if let Some(job) = &mut self.job {
            return Pin::new(job).poll(context).map(Came::Done);
        }
        for (source, write) in &self.sources {
            let ready =
                if *write { source.poll_write_ready(context) } else { source.poll_read_ready(context) };
            if ready.is_ready() {
                return Poll::Ready(Came::Ready);
            }
        }
        match &mut self.sleep {
            Some((sleep, nanoseconds)) => sleep.as_mut().poll(context).map(|()| Came::Slept(*nanoseconds)),
            None => Poll::Pending,
        }
    }
}

/// Asks the runtime for something that only one of its drivers gives; without that driver it panics.
fn driven<R>(driver: &str, ask: impl FnOnce() -> R) -> Result<R> {
    catch_unwind(AssertUnwindSafe(ask)).map_err(|_| {
        Error::msg(format!(
            "a guest waits: expected a tokio runtime with its {driver} driver enabled, found none"
        ))
    })
}

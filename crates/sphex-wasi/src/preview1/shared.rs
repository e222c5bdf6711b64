//! Binding to the engine where several stores, on several threads, have one context.
//!
//! *Needs* a [`SharedWasi`] in each store's data. *Gives* [`add_to_linker_shared`]. The context is locked while a function
//! works on it, and never while anyone waits: as under `call_async` (`crate::later`), a function that would wait says what
//! for, here its own thread waits, and the function is called again.

use super::link::{MODULE, add_exit, each_function, is_told, memory_of, outcome, tell};
use super::{Fault, GuestMemory};
use crate::WasiCtx;
use crate::context::{Object, Wake, poll};
use crate::later::Later;
use rustix::event::{PollFd, PollFlags};
use sphex::{Caller, Linker, Module, Result};
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// A context that several stores use. Cheap to clone.
#[derive(Clone)]
pub struct SharedWasi(Arc<Mutex<WasiCtx>>);

impl SharedWasi {
    /// Shares a context.
    pub fn new(ctx: WasiCtx) -> SharedWasi {
        SharedWasi(Arc::new(Mutex::new(ctx)))
    }

    /// The context, for as long as nobody else needs it.
    pub fn lock(&self) -> MutexGuard<'_, WasiCtx> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for SharedWasi {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SharedWasi").finish_non_exhaustive()
    }
}

/// As [`add_imports_to_linker`](super::add_imports_to_linker), for stores that share a context: those functions that the
/// module imports and nobody has defined.
pub fn add_to_linker_shared<T: 'static>(
    linker: &mut Linker<T>,
    module: &Module,
    ctx: impl Fn(&T) -> &SharedWasi + Copy + Send + Sync + 'static,
) -> Result<()> {
    let imported: Vec<&str> =
        module.imports().filter(|import| import.module == MODULE).map(|import| import.name).collect();
    let undefined: Vec<&str> = imported.into_iter().filter(|name| !linker.is_defined(MODULE, name)).collect();
    macro_rules! define {
        ($($when:ident $name:ident($($param:ident: $wasm:ident as $rust:ident),*);)*) => {$(
            if undefined.contains(&stringify!($name)) {
                linker.func_wrap(MODULE, stringify!($name), move |mut caller: Caller<'_, T>, $($param: $wasm),*| {
                    let function = |ctx: &mut WasiCtx, memory: &mut GuestMemory<'_>| {
                        super::$name(ctx, memory, $($param as $rust),*)
                    };
                    let result = run(&mut caller, ctx, function);
                    if is_told() {
                        let arguments: &[(&str, i128)] = &[$((stringify!($param), i128::from($param as $rust))),*];
                        tell(&mut caller, stringify!($name), arguments, &result);
                    }
                    result
                })?;
            }
        )*};
    }
    each_function!(define);
    if undefined.contains(&"proc_exit") { add_exit(linker) } else { Ok(()) }
}

/// What a context knows of a call: put in while the call has the lock.
struct State {
    wake: Wake,
    began: Option<u64>,
    later: Option<Mutex<Later>>,
}

impl State {
    fn swap(&mut self, ctx: &mut WasiCtx) {
        std::mem::swap(&mut self.wake, &mut ctx.wake);
        std::mem::swap(&mut self.began, &mut ctx.began);
        std::mem::swap(&mut self.later, &mut ctx.later);
    }
}

/// Runs a function on its caller's memory, and waits in its place.
fn run<T: 'static>(
    caller: &mut Caller<'_, T>,
    ctx_of: impl Fn(&T) -> &SharedWasi,
    function: impl Fn(&mut WasiCtx, &mut GuestMemory<'_>) -> Result<(), Fault>,
) -> Result<i32> {
    let memory = memory_of(caller)?;
    let shared_memory = memory.shared(&*caller)?;
    let shared = ctx_of(caller.data()).clone();
    let wake = Wake::Store(caller.interruption());
    let mut state = State { wake, began: None, later: Some(Mutex::default()) };
    loop {
        let done = {
            let (_, mut memories) = caller.split();
            let view = match &shared_memory {
                Some(memory) => GuestMemory::shared(memory),
                None => GuestMemory::new(memories.get_mut(memory)?),
            };
            let mut ctx = shared.lock();
            let mut view = view.limited(ctx.hostcall_limit);
            state.swap(&mut ctx);
            let done = function(&mut ctx, &mut view);
            state.swap(&mut ctx);
            done
        };
        match done {
            Err(Fault::Look) => caller.check_interruption()?,
            Err(Fault::Wait) => {
                let Some(later) = &mut state.later else { continue };
                let left = std::mem::take(later.get_mut().unwrap_or_else(PoisonError::into_inner));
                *later = Mutex::new(wait(caller, &shared, left)?);
            }
            done => return outcome(&mut shared.lock(), done),
        }
    }
}

/// Waits for what a function left behind; gives what came of it.
fn wait<T: 'static>(caller: &mut Caller<'_, T>, shared: &SharedWasi, left: Later) -> Result<Later> {
    if left.yields {
        rustix::thread::sched_yield();
        return Ok(Later { yielded: true, ..Later::default() });
    }
    if let Some(job) = left.job {
        return Ok(Later { done: Some(job()), ..Later::default() });
    }
    // What they name stays open while it is watched, whatever other threads close.
    let mut objects: Vec<(Object, PollFlags)> = Vec::new();
    let interrupt = {
        let ctx = shared.lock();
        for &(number, flags) in &left.files {
            match ctx.descriptor(number) {
                Ok(descriptor) => objects.push((descriptor.object.clone(), flags)),
                // Closed meanwhile: called again, the function says so.
                Err(_) => return Ok(Later::default()),
            }
        }
        ctx.interrupt.clone()
    };
    let interruption = caller.interruption();
    let mut fds: Vec<PollFd<'_>> = Vec::new();
    for (object, flags) in &objects {
        if let Some(fd) = object.wait_on() {
            fds.push(PollFd::from_borrowed_fd(fd, *flags));
        }
    }
    if let Some(interrupt) = &interrupt {
        fds.push(PollFd::from_borrowed_fd(interrupt.wait_on(), PollFlags::IN));
    }
    if interruption.is_possible() {
        fds.push(PollFd::from_borrowed_fd(interruption.event()?, PollFlags::IN));
    }
    if interruption.is_pending() {
        caller.check_interruption()?;
    }
    Ok(match poll(&mut fds, left.timeout) {
        Ok(0) => Later { slept: left.timeout.unwrap_or(0), ..Later::default() },
        // Something is ready, or a signal came: called again, the function finds out.
        _ => {
            caller.check_interruption()?;
            Later::default()
        }
    })
}

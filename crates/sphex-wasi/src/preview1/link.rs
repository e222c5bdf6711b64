//! Binding to the engine. This file and `later` are all of preview 1 that knows it.

use super::types::Errno;
use super::{Fault, GuestMemory, Stop};
use crate::WasiCtx;
use crate::context::Wake;
use sphex::{Caller, Error, Linker, Memory, Module, Result, Trap};

/// The module that guests import from.
pub const MODULE: &str = "wasi_snapshot_preview1";

/// Where calls are reported to.
const TARGET: &str = "sphex_wasi";

/// Most bytes of a path that are shown.
const SHOWN: usize = 256;

/// Gives another macro the functions, but for `proc_exit`: whether each may wait (`later`), its name, and for each parameter
/// its type in wasm and here.
macro_rules! each_function {
    ($define:ident) => {
        $define! {
            now args_get(argv: i32 as u32, buffer: i32 as u32);
            now args_sizes_get(count: i32 as u32, size: i32 as u32);
            now environ_get(environ: i32 as u32, buffer: i32 as u32);
            now environ_sizes_get(count: i32 as u32, size: i32 as u32);
            now clock_res_get(id: i32 as u32, result: i32 as u32);
            now clock_time_get(id: i32 as u32, precision: i64 as u64, result: i32 as u32);
            later fd_advise(fd: i32 as u32, offset: i64 as u64, len: i64 as u64, advice: i32 as u32);
            now fd_allocate(fd: i32 as u32, offset: i64 as u64, len: i64 as u64);
            later fd_close(fd: i32 as u32);
            later fd_datasync(fd: i32 as u32);
            now fd_fdstat_get(fd: i32 as u32, result: i32 as u32);
            now fd_fdstat_set_flags(fd: i32 as u32, modes: i32 as u32);
            now fd_fdstat_set_rights(fd: i32 as u32, base: i64 as u64, inheriting: i64 as u64);
            later fd_filestat_get(fd: i32 as u32, result: i32 as u32);
            later fd_filestat_set_size(fd: i32 as u32, size: i64 as u64);
            later fd_filestat_set_times(fd: i32 as u32, accessed: i64 as u64, modified: i64 as u64, which: i32 as u32);
            later fd_pread(fd: i32 as u32, list: i32 as u32, len: i32 as u32, offset: i64 as u64, read: i32 as u32);
            now fd_prestat_get(fd: i32 as u32, result: i32 as u32);
            now fd_prestat_dir_name(fd: i32 as u32, buffer: i32 as u32, len: i32 as u32);
            later fd_pwrite(fd: i32 as u32, list: i32 as u32, len: i32 as u32, offset: i64 as u64, written: i32 as u32);
            later fd_read(fd: i32 as u32, list: i32 as u32, len: i32 as u32, read: i32 as u32);
            later fd_readdir(fd: i32 as u32, buffer: i32 as u32, len: i32 as u32, cookie: i64 as u64, used: i32 as u32);
            later fd_renumber(fd: i32 as u32, to: i32 as u32);
            later fd_seek(fd: i32 as u32, offset: i64 as i64, whence: i32 as u32, result: i32 as u32);
            later fd_sync(fd: i32 as u32);
            now fd_tell(fd: i32 as u32, result: i32 as u32);
            later fd_write(fd: i32 as u32, list: i32 as u32, len: i32 as u32, written: i32 as u32);
            later path_create_directory(fd: i32 as u32, path: i32 as u32, len: i32 as u32);
            later path_filestat_get(fd: i32 as u32, lookup: i32 as u32, path: i32 as u32, len: i32 as u32, result: i32 as u32);
            later path_filestat_set_times(
                fd: i32 as u32, lookup: i32 as u32, path: i32 as u32, len: i32 as u32, accessed: i64 as u64,
                modified: i64 as u64, which: i32 as u32
            );
            later path_link(
                old_fd: i32 as u32, lookup: i32 as u32, old: i32 as u32, old_len: i32 as u32, new_fd: i32 as u32,
                new: i32 as u32, new_len: i32 as u32
            );
            later path_open(
                fd: i32 as u32, lookup: i32 as u32, path: i32 as u32, len: i32 as u32, oflags: i32 as u32,
                base: i64 as u64, inheriting: i64 as u64, modes: i32 as u32, result: i32 as u32
            );
            later path_readlink(
                fd: i32 as u32, path: i32 as u32, len: i32 as u32, buffer: i32 as u32, buffer_len: i32 as u32,
                used: i32 as u32
            );
            later path_remove_directory(fd: i32 as u32, path: i32 as u32, len: i32 as u32);
            later path_rename(
                fd: i32 as u32, old: i32 as u32, old_len: i32 as u32, new_fd: i32 as u32, new: i32 as u32,
                new_len: i32 as u32
            );
            later path_symlink(target: i32 as u32, target_len: i32 as u32, fd: i32 as u32, path: i32 as u32, len: i32 as u32);
            later path_unlink_file(fd: i32 as u32, path: i32 as u32, len: i32 as u32);
            later poll_oneoff(subscriptions: i32 as u32, events: i32 as u32, count: i32 as u32, result: i32 as u32);
            now proc_raise(signal: i32 as u32);
            later sched_yield();
            now random_get(buffer: i32 as u32, len: i32 as u32);
            later sock_accept(fd: i32 as u32, modes: i32 as u32, result: i32 as u32);
            later sock_recv(
                fd: i32 as u32, list: i32 as u32, len: i32 as u32, modes: i32 as u32, received: i32 as u32,
                result_flags: i32 as u32
            );
            later sock_send(fd: i32 as u32, list: i32 as u32, len: i32 as u32, modes: i32 as u32, sent: i32 as u32);
            now sock_shutdown(fd: i32 as u32, how: i32 as u32);
        }
    };
}
pub(super) use each_function;

/// Defines all 46 functions in a linker. `ctx` finds the context in the store's data.
///
/// A function works on the memory that its caller exports as `memory`. What ends the guest is an error: `exit_code()` for
/// `proc_exit`, the trap `Interrupt` for an interrupt, and [`Stop`] inside for a signal.
///
/// Where a guest waits, the thread does, under `call_async` too.
pub fn add_to_linker<T: 'static>(
    linker: &mut Linker<T>,
    ctx: impl Fn(&mut T) -> &mut WasiCtx + Copy + Send + Sync + 'static,
) -> Result<()> {
    add_some(linker, ctx, |_| true)
}

/// As [`add_to_linker`], but only those functions that the module imports and nobody has defined: a process that runs one
/// program starts a little sooner.
pub fn add_imports_to_linker<T: 'static>(
    linker: &mut Linker<T>,
    module: &Module,
    ctx: impl Fn(&mut T) -> &mut WasiCtx + Copy + Send + Sync + 'static,
) -> Result<()> {
    let imported: Vec<&str> =
        module.imports().filter(|import| import.module == MODULE).map(|import| import.name).collect();
    let undefined: Vec<&str> = imported.into_iter().filter(|name| !linker.is_defined(MODULE, name)).collect();
    add_some(linker, ctx, |name| undefined.contains(&name))
}

fn add_some<T: 'static>(
    linker: &mut Linker<T>,
    ctx: impl Fn(&mut T) -> &mut WasiCtx + Copy + Send + Sync + 'static,
    wanted: impl Fn(&str) -> bool,
) -> Result<()> {
    macro_rules! define {
        ($($when:ident $name:ident($($param:ident: $wasm:ident as $rust:ident),*);)*) => {$(
            if wanted(stringify!($name)) {
                linker.func_wrap(MODULE, stringify!($name), move |mut caller: Caller<'_, T>, $($param: $wasm),*| {
                    let result = run(&mut caller, ctx, |ctx, memory| super::$name(ctx, memory, $($param as $rust),*));
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
    if wanted("proc_exit") { add_exit(linker) } else { Ok(()) }
}

/// The only function without a result, and the only one that never returns.
pub(super) fn add_exit<T: 'static>(linker: &mut Linker<T>) -> Result<()> {
    linker.func_wrap(MODULE, "proc_exit", |code: i32| -> Result<()> {
        tracing::trace!(target: TARGET, "proc_exit(code={code})");
        Err(Error::exit(code))
    })?;
    Ok(())
}

/// Are calls reported?
pub(super) fn is_told() -> bool {
    tracing::enabled!(target: TARGET, tracing::Level::TRACE)
}

/// Runs a function on its caller's memory: an error code for the guest, or an error that ends it.
pub(super) fn run<T: 'static>(
    caller: &mut Caller<'_, T>,
    ctx_of: impl Fn(&mut T) -> &mut WasiCtx,
    function: impl Fn(&mut WasiCtx, &mut GuestMemory<'_>) -> Result<(), Fault>,
) -> Result<i32> {
    let memory = memory_of(caller)?;
    ctx_of(caller.data_mut()).begin(false);
    loop {
        match attempt(caller, memory, &ctx_of, &function)? {
            Err(Fault::Look) => look(caller, &ctx_of)?,
            done => return outcome(ctx_of(caller.data_mut()), done),
        }
    }
}

/// The memory that a function works on.
pub(super) fn memory_of<T>(caller: &mut Caller<'_, T>) -> Result<Memory> {
    caller.get_memory("memory").ok_or_else(|| {
        Error::msg("a module that calls WASI must export its memory as \"memory\", found none")
    })
}

/// Makes a call once.
pub(super) fn attempt<T: 'static>(
    caller: &mut Caller<'_, T>,
    memory: Memory,
    ctx_of: &impl Fn(&mut T) -> &mut WasiCtx,
    function: &impl Fn(&mut WasiCtx, &mut GuestMemory<'_>) -> Result<(), Fault>,
) -> Result<Result<(), Fault>> {
    let shared = memory.shared(&*caller)?;
    let (data, mut memories) = caller.split();
    let ctx = ctx_of(data);
    if let Wake::Nobody = ctx.wake {
        ctx.wake = Wake::Ask;
    }
    let memory = match &shared {
        Some(memory) => GuestMemory::shared(memory),
        None => GuestMemory::new(memories.get_mut(memory)?),
    };
    let mut memory = memory.limited(ctx.hostcall_limit);
    Ok(function(ctx, &mut memory))
}

/// What a call that is done gives the guest, or how it ends it.
pub(super) fn outcome(ctx: &mut WasiCtx, done: Result<(), Fault>) -> Result<i32> {
    ctx.wake = Wake::Ask;
    match done {
        Ok(()) => Ok(0),
        Err(Fault::Errno(errno)) => {
            ctx.refuse(errno);
            Ok(errno.raw().into())
        }
        Err(Fault::Stop(Stop::Exit(code))) => Err(Error::exit(code as i32)),
        Err(Fault::Stop(Stop::Interrupted)) => Err(Error::from_trap(Trap::Interrupt)),
        Err(Fault::Stop(stop)) => Err(stop.into()),
        Err(Fault::Look | Fault::Wait) => Ok(Errno::Intr.raw().into()),
    }
}

/// Looks at what someone wants of the store, and lets the function wait for more of that. An error ends the guest.
#[cold]
pub(super) fn look<T: 'static>(
    caller: &mut Caller<'_, T>,
    ctx: &impl Fn(&mut T) -> &mut WasiCtx,
) -> Result<()> {
    let looked = caller.check_interruption();
    let wake = match &looked {
        Ok(()) => Wake::Store(caller.interruption()),
        Err(_) => Wake::Ask,
    };
    let ctx = ctx(caller.data_mut());
    ctx.wake = wake;
    looked
}

/// Reports a call in the manner of strace: its arguments, paths as text, and the error code.
#[cold]
pub(super) fn tell<T: 'static>(
    caller: &mut Caller<'_, T>,
    name: &str,
    arguments: &[(&str, i128)],
    result: &Result<i32>,
) {
    let mut text = String::new();
    let mut arguments = arguments.iter().peekable();
    while let Some(&(argument, value)) = arguments.next() {
        let separator = if text.is_empty() { "" } else { ", " };
        // A path is an address, and behind it its length.
        let len = arguments.next_if(|(next, _)| {
            matches!(argument, "path" | "old" | "new" | "target") && next.ends_with("len")
        });
        match len {
            Some(&(_, len)) => {
                let path = read(caller, value as u32, len as u32);
                let path = path.map_or("EFAULT".to_owned(), |path| format!("{path:?}"));
                text += &format!("{separator}{argument}={path}");
            }
            None => text += &format!("{separator}{argument}={value}"),
        }
    }
    let code = result.as_ref().ok().and_then(|&code| Errno::ALL.get(code as usize));
    match (code, result) {
        (Some(Errno::Success), _) => tracing::trace!(target: TARGET, "{name}({text}) = 0"),
        (Some(code), _) => {
            tracing::trace!(target: TARGET, "{name}({text}) = {} {code:?} ({code})", code.raw())
        }
        (None, Ok(code)) => tracing::trace!(target: TARGET, "{name}({text}) = {code}"),
        (None, Err(error)) => tracing::trace!(target: TARGET, "{name}({text}) ends the guest: {error}"),
    }
}

/// Text in the caller's memory.
fn read<T: 'static>(caller: &mut Caller<'_, T>, at: u32, len: u32) -> Option<String> {
    let memory = caller.get_memory("memory")?;
    let mut bytes = vec![0; (len as usize).min(SHOWN)];
    memory.read(&*caller, at as usize, &mut bytes).ok()?;
    Some(String::from_utf8_lossy(&bytes).into_owned())
}

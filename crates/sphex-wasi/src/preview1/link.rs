//! Binding to the engine: the one file of preview 1 that knows it.

use super::{Fault, GuestMemory, Stop};
use crate::WasiCtx;
use sphex::{Caller, Error, Linker, Result, Trap};

/// The module that guests import from.
pub const MODULE: &str = "wasi_snapshot_preview1";

/// Defines all 46 functions in a linker. `ctx` finds the context in the store's data.
///
/// A function works on the memory that its caller exports as `memory`. What ends the guest is an error: `exit_code()` for
/// `proc_exit`, the trap `Interrupt` for an interrupt, and [`Stop`] inside for a signal.
pub fn add_to_linker<T: 'static>(
    linker: &mut Linker<T>,
    ctx: impl Fn(&mut T) -> &mut WasiCtx + Copy + Send + Sync + 'static,
) -> Result<()> {
    // Each row: the name, and for each parameter its type in wasm and here.
    macro_rules! functions {
        ($($name:ident($($param:ident: $wasm:ident as $rust:ident),*);)*) => {$(
            linker.func_wrap(MODULE, stringify!($name), move |mut caller: Caller<'_, T>, $($param: $wasm),*| {
                run(&mut caller, ctx, |ctx, memory| super::$name(ctx, memory, $($param as $rust),*))
            })?;
        )*};
    }
    functions! {
        args_get(argv: i32 as u32, buffer: i32 as u32);
        args_sizes_get(count: i32 as u32, size: i32 as u32);
        environ_get(environ: i32 as u32, buffer: i32 as u32);
        environ_sizes_get(count: i32 as u32, size: i32 as u32);
        clock_res_get(id: i32 as u32, result: i32 as u32);
        clock_time_get(id: i32 as u32, precision: i64 as u64, result: i32 as u32);
        fd_advise(fd: i32 as u32, offset: i64 as u64, len: i64 as u64, advice: i32 as u32);
        fd_allocate(fd: i32 as u32, offset: i64 as u64, len: i64 as u64);
        fd_close(fd: i32 as u32);
        fd_datasync(fd: i32 as u32);
        fd_fdstat_get(fd: i32 as u32, result: i32 as u32);
        fd_fdstat_set_flags(fd: i32 as u32, modes: i32 as u32);
        fd_fdstat_set_rights(fd: i32 as u32, base: i64 as u64, inheriting: i64 as u64);
        fd_filestat_get(fd: i32 as u32, result: i32 as u32);
        fd_filestat_set_size(fd: i32 as u32, size: i64 as u64);
        fd_filestat_set_times(fd: i32 as u32, accessed: i64 as u64, modified: i64 as u64, which: i32 as u32);
        fd_pread(fd: i32 as u32, list: i32 as u32, len: i32 as u32, offset: i64 as u64, read: i32 as u32);
        fd_prestat_get(fd: i32 as u32, result: i32 as u32);
        fd_prestat_dir_name(fd: i32 as u32, buffer: i32 as u32, len: i32 as u32);
        fd_pwrite(fd: i32 as u32, list: i32 as u32, len: i32 as u32, offset: i64 as u64, written: i32 as u32);
        fd_read(fd: i32 as u32, list: i32 as u32, len: i32 as u32, read: i32 as u32);
        fd_readdir(fd: i32 as u32, buffer: i32 as u32, len: i32 as u32, cookie: i64 as u64, used: i32 as u32);
        fd_renumber(fd: i32 as u32, to: i32 as u32);
        fd_seek(fd: i32 as u32, offset: i64 as i64, whence: i32 as u32, result: i32 as u32);
        fd_sync(fd: i32 as u32);
        fd_tell(fd: i32 as u32, result: i32 as u32);
        fd_write(fd: i32 as u32, list: i32 as u32, len: i32 as u32, written: i32 as u32);
        path_create_directory(fd: i32 as u32, path: i32 as u32, len: i32 as u32);
        path_filestat_get(fd: i32 as u32, lookup: i32 as u32, path: i32 as u32, len: i32 as u32, result: i32 as u32);
        path_filestat_set_times(
            fd: i32 as u32, lookup: i32 as u32, path: i32 as u32, len: i32 as u32, accessed: i64 as u64,
            modified: i64 as u64, which: i32 as u32
        );
        path_link(
            old_fd: i32 as u32, lookup: i32 as u32, old: i32 as u32, old_len: i32 as u32, new_fd: i32 as u32,
            new: i32 as u32, new_len: i32 as u32
        );
        path_open(
            fd: i32 as u32, lookup: i32 as u32, path: i32 as u32, len: i32 as u32, oflags: i32 as u32,
            base: i64 as u64, inheriting: i64 as u64, modes: i32 as u32, result: i32 as u32
        );
        path_readlink(
            fd: i32 as u32, path: i32 as u32, len: i32 as u32, buffer: i32 as u32, buffer_len: i32 as u32,
            used: i32 as u32
        );
        path_remove_directory(fd: i32 as u32, path: i32 as u32, len: i32 as u32);
        path_rename(
            fd: i32 as u32, old: i32 as u32, old_len: i32 as u32, new_fd: i32 as u32, new: i32 as u32,
            new_len: i32 as u32
        );
        path_symlink(target: i32 as u32, target_len: i32 as u32, fd: i32 as u32, path: i32 as u32, len: i32 as u32);
        path_unlink_file(fd: i32 as u32, path: i32 as u32, len: i32 as u32);
        poll_oneoff(subscriptions: i32 as u32, events: i32 as u32, count: i32 as u32, result: i32 as u32);
        proc_raise(signal: i32 as u32);
        sched_yield();
        random_get(buffer: i32 as u32, len: i32 as u32);
        sock_accept(fd: i32 as u32, modes: i32 as u32, result: i32 as u32);
        sock_recv(
            fd: i32 as u32, list: i32 as u32, len: i32 as u32, modes: i32 as u32, received: i32 as u32,
            result_flags: i32 as u32
        );
        sock_send(fd: i32 as u32, list: i32 as u32, len: i32 as u32, modes: i32 as u32, sent: i32 as u32);
        sock_shutdown(fd: i32 as u32, how: i32 as u32);
    }
    // The only one without a result, and the only one that never returns.
    linker.func_wrap(MODULE, "proc_exit", |code: i32| -> Result<()> { Err(Error::exit(code)) })?;
    Ok(())
}

/// Runs a function on its caller's memory: an error code for the guest, or an error that ends it.
fn run<T: 'static>(
    caller: &mut Caller<'_, T>,
    ctx: impl Fn(&mut T) -> &mut WasiCtx,
    function: impl FnOnce(&mut WasiCtx, &mut GuestMemory<'_>) -> Result<(), Fault>,
) -> Result<i32> {
    let memory = caller.get_memory("memory").ok_or_else(|| {
        Error::msg("a module that calls WASI must export its memory as \"memory\", found none")
    })?;
    let (data, mut memories) = caller.split();
    let bytes = memories.get_mut(memory)?;
    match function(ctx(data), &mut GuestMemory::new(bytes)) {
        Ok(()) => Ok(0),
        Err(Fault::Errno(errno)) => Ok(errno.raw().into()),
        Err(Fault::Stop(Stop::Exit(code))) => Err(Error::exit(code as i32)),
        Err(Fault::Stop(Stop::Interrupted)) => Err(Error::from_trap(Trap::Interrupt)),
        Err(Fault::Stop(stop)) => Err(stop.into()),
    }
}

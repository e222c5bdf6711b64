//! What needs `unsafe` in the command: signals that stop the guest, and artifacts that the user vouches for.
//!
//! Handlers only store and write: they are safe to run at any instruction. No thread is started.
#![allow(unsafe_code)]

use std::io;
use std::ptr;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicI32, Ordering};

use sphex::{Engine, InterruptHandle, Module};

/// The guest that signals stop.
static GUEST: OnceLock<InterruptHandle> = OnceLock::new();

/// The first signal that came, or 0.
static CAME: AtomicI32 = AtomicI32::new(0);

/// Loads an artifact that the user said to trust.
pub fn deserialize(engine: &Engine, bytes: &[u8]) -> sphex::Result<Module> {
    // SAFETY: `--allow-precompiled` is the user's word that a Sphex compiler made these bytes.
    unsafe { Module::deserialize(engine, bytes) }
}

/// Maps an artifact that the user said to trust.
pub fn deserialize_open_file(engine: &Engine, file: std::fs::File) -> sphex::Result<Module> {
    // SAFETY: as for `deserialize`; who changes the file while it runs breaks that word.
    unsafe { Module::deserialize_open_file(engine, file) }
}

/// Maps an entry of the cache, whose first `len` bytes are the artifact.
#[cfg(feature = "compiler")]
pub fn deserialize_entry(engine: &Engine, entry: std::fs::File, len: u64) -> sphex::Result<Module> {
    // SAFETY: only this user can have written the file (K1 of `cache`), and this user's runs of this very program write
    // only what their compiler made; none of them changes an entry after it has its name.
    unsafe { Module::deserialize_open_file_start(engine, entry, len) }
}

/// Calls a function of a CLIF file.
#[cfg(feature = "compiler")]
pub fn call_clif(
    jit: &mut sphex::jit::Jit,
    name: &str,
    arguments: &[sphex::jit::DataValue],
) -> sphex::Result<Vec<sphex::jit::DataValue>> {
    // SAFETY: to run the functions of the file is what `clif test` was asked for; CLIF is trusted like C.
    unsafe { jit.call(name, arguments) }
}

extern "C" fn stop_guest(signal: libc::c_int) {
    let _ = CAME.compare_exchange(0, signal, Ordering::SeqCst, Ordering::SeqCst);
    if let Some(guest) = GUEST.get() {
        guest.interrupt();
    }
}

/// From now on SIGINT and SIGTERM stop the guest. A second signal ends the process.
pub fn watch(guest: InterruptHandle) -> io::Result<()> {
    let _ = GUEST.set(guest);
    for signal in [libc::SIGINT, libc::SIGTERM] {
        // A signal that our parent ignores (nohup, a shell's background job) stays ignored.
        if is_ignored(signal)? {
            continue;
        }
        // SAFETY: all zeros is a valid `sigaction`: no flags, an empty mask.
        let mut action: libc::sigaction = unsafe { std::mem::zeroed() };
        action.sa_sigaction = stop_guest as extern "C" fn(libc::c_int) as usize;
        // ONSTACK: the signal may come while wasm is at the end of its stack.
        action.sa_flags = libc::SA_RESETHAND | libc::SA_ONSTACK;
        // SAFETY: the handler is async-signal-safe: atomics, an eventfd write, a read of an initialised `OnceLock`.
        checked(unsafe { libc::sigaction(signal, &action, ptr::null_mut()) })?;
    }
    Ok(())
}

/// From now on a file that grows beyond the process's limit (ulimit -f) is an error of the write, for us and for the
/// guest, and not the end of the process.
pub fn outlive_file_limit() {
    // SAFETY: no handler is installed: the signal is ignored.
    unsafe { libc::signal(libc::SIGXFSZ, libc::SIG_IGN) };
}

fn is_ignored(signal: libc::c_int) -> io::Result<bool> {
    // SAFETY: all zeros is a valid `sigaction`, which the call overwrites.
    let mut old: libc::sigaction = unsafe { std::mem::zeroed() };
    // SAFETY: asks without changing.
    checked(unsafe { libc::sigaction(signal, ptr::null(), &mut old) })?;
    Ok(old.sa_sigaction == libc::SIG_IGN)
}

fn checked(result: libc::c_int) -> io::Result<()> {
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// The signal that stopped the guest, if one did.
pub fn stopped() -> Option<i32> {
    Some(CAME.load(Ordering::SeqCst)).filter(|signal| *signal != 0)
}

/// Ends the process by a signal, as if nobody had handled it. Gives the exit code of shells if that fails.
pub fn die_by(signal: i32) -> u8 {
    // SAFETY: restores the default and sends the signal to this thread.
    unsafe {
        libc::signal(signal, libc::SIG_DFL);
        libc::raise(signal);
    }
    128u8.wrapping_add(signal as u8)
}

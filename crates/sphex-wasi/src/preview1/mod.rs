//! Preview 1: the 46 functions of `wasi_snapshot_preview1`.
//!
//! *Needs* a [`WasiCtx`] and a [`GuestMemory`]; nothing here knows an engine, and `link` alone binds the functions to
//! one. *Gives*, per function, a Rust function with the parameters of the witx, numbers as the guest passes them, results
//! through pointers. They check in this order: the descriptor (EBADF), its kind and rights, flags (EINVAL), pointers
//! (EFAULT); only then has a call any effect, so a bad result pointer never costs the guest data.

mod args;
mod fd;
#[cfg(feature = "tokio")]
mod later;
mod link;
mod memory;
mod path;
mod poll;
mod proc;
mod shared;
mod sock;
pub mod types;

pub use args::{args_get, args_sizes_get, environ_get, environ_sizes_get};
pub use fd::{
    fd_advise, fd_allocate, fd_close, fd_datasync, fd_fdstat_get, fd_fdstat_set_flags, fd_fdstat_set_rights,
    fd_filestat_get, fd_filestat_set_size, fd_filestat_set_times, fd_pread, fd_prestat_dir_name,
    fd_prestat_get, fd_pwrite, fd_read, fd_readdir, fd_renumber, fd_seek, fd_sync, fd_tell, fd_write,
};
#[cfg(feature = "tokio")]
pub use later::add_to_linker_async;
pub use link::{MODULE, add_imports_to_linker, add_to_linker};
pub use memory::{GuestMemory, MAX_BUFFERS, MAX_PATH};
pub use path::{
    path_create_directory, path_filestat_get, path_filestat_set_times, path_link, path_open, path_readlink,
    path_remove_directory, path_rename, path_symlink, path_unlink_file,
};
pub use poll::poll_oneoff;
pub use proc::{clock_res_get, clock_time_get, proc_exit, proc_raise, random_get, sched_yield};
pub use shared::{SharedWasi, add_to_linker_shared};
pub use sock::{sock_accept, sock_recv, sock_send, sock_shutdown};

use crate::context::{Interrupt, Wake};
use crate::files::File;
use crate::{FdFlags, WasiCtx};
use rustix::event::{PollFd, PollFlags};
use smallvec::SmallVec;
use std::os::fd::BorrowedFd;
use types::Errno;

/// How a function ends that did not succeed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// The guest gets this code.
    Errno(Errno),
    /// The guest goes no further.
    Stop(Stop),
    /// Not done: someone wants the store's wasm to stop. Where that asks for nothing else the call is made again. Only
    /// functions in an engine say so, and the engine's binding hears it.
    Look,
    /// Not done: it would wait, and the engine's binding waits in its place, then makes the call again. Only functions of
    /// `add_to_linker_async` say so.
    Wait,
}

/// Why a guest goes no further.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Stop {
    /// `proc_exit`, with all 32 bits of its code.
    #[error("guest exited with code {0}")]
    Exit(u32),
    /// `proc_raise` of a signal that ends a program; its number and name.
    #[error("guest raised SIG{}", .0.1)]
    Signal((u8, &'static str)),
    /// [`crate::Interrupt`] was fired while the guest waited.
    #[error("interrupted while waiting in a host function")]
    Interrupted,
}

impl From<Errno> for Fault {
    fn from(errno: Errno) -> Fault {
        Fault::Errno(errno)
    }
}

impl WasiCtx {
    /// Makes a call that waits for nobody on a file that may make one wait, before anything is asked and watched for a wait.
    /// `None`: one has to wait, or the file cannot say.
    fn at_once<T>(
        &self,
        file: &dyn File,
        call: impl FnOnce() -> Result<Option<T>, Errno>,
    ) -> Result<Option<T>, Fault> {
        if file.wait_on().is_none() {
            return Ok(None);
        }
        self.check_interrupt()?;
        match call() {
            Err(Errno::Again | Errno::Intr) => Ok(None),
            done => Ok(done?),
        }
    }

    /// Makes a call on descriptor `number` that may wait, so that an interrupt ends the wait. `call` is told whether it must
    /// not wait itself, because the wait has been done here.
    fn waiting<T>(
        &self,
        number: u32,
        file: &dyn File,
        ready: PollFlags,
        mut call: impl FnMut(bool) -> Result<T, Errno>,
    ) -> Result<T, Fault> {
        if self.later.is_some()
            && let Some(fd) = file.wait_on()
        {
            return self.waiting_later(number, file, fd, ready, call);
        }
        let watched = match file.wait_on() {
            Some(fd) => Some((fd, self.events()?)).filter(|(_, events)| !events.is_empty()),
            None => None,
        };
        let Some((fd, events)) = watched else {
            loop {
                match call(false) {
                    Err(Errno::Intr) => self.check_interrupt()?,
                    done => return Ok(done?),
                }
            }
        };
        let nonblock = file.flags()?.contains(FdFlags::NONBLOCK);
        loop {
            self.check_interrupt()?;
            if !nonblock {
                let mut fds: SmallVec<[PollFd<'_>; 3]> = SmallVec::new();
                fds.push(PollFd::from_borrowed_fd(fd, ready));
                fds.extend(events.iter().map(|event| PollFd::from_borrowed_fd(*event, PollFlags::IN)));
                match crate::context::poll(&mut fds, None) {
                    Err(Errno::Intr) => continue,
                    waited => waited?,
                };
                self.check_interrupt()?;
            }
            match call(!nonblock) {
                Err(Errno::Intr) => {}
                // Another reader was faster.
                Err(Errno::Again) if !nonblock => {}
                done => return Ok(done?),
            }
        }
    }

    /// `waiting` where someone else waits.
    fn waiting_later<T>(
        &self,
        number: u32,
        file: &dyn File,
        fd: BorrowedFd<'_>,
        ready: PollFlags,
        mut call: impl FnMut(bool) -> Result<T, Errno>,
    ) -> Result<T, Fault> {
        let nonblock = file.flags()?.contains(FdFlags::NONBLOCK);
        loop {
            self.check_interrupt()?;
            if !nonblock {
                match crate::context::poll(&mut [PollFd::from_borrowed_fd(fd, ready)], Some(0)) {
                    Err(Errno::Intr) => continue,
                    Ok(0) => {
                        if let Some(mut later) = self.later() {
                            later.files.push((number, ready));
                        }
                        return Err(Fault::Wait);
                    }
                    polled => polled?,
                };
            }
            match call(!nonblock) {
                Err(Errno::Intr) => {}
                // Another reader was faster.
                Err(Errno::Again) if !nonblock => {}
                done => return Ok(done?),
            }
        }
    }

    /// What must be watched during a wait: readable when it is to end.
    fn events(&self) -> Result<SmallVec<[BorrowedFd<'_>; 2]>, Fault> {
        let mut events = SmallVec::new();
        events.extend(self.interrupt.as_ref().map(Interrupt::wait_on));
        match &self.wake {
            Wake::Nobody => {}
            Wake::Ask => return Err(Fault::Look),
            Wake::Store(interruption) if !interruption.is_possible() => {}
            Wake::Store(interruption) => events.push(interruption.event().map_err(|_| Errno::Mfile)?),
        }
        Ok(events)
    }

    /// Stops the guest if an interrupt was fired, or lets the engine look.
    fn check_interrupt(&self) -> Result<(), Fault> {
        if self.interrupt.as_ref().is_some_and(Interrupt::fired) {
            return Err(Fault::Stop(Stop::Interrupted));
        }
        match &self.wake {
            Wake::Store(interruption) if interruption.is_pending() => Err(Fault::Look),
            _ => Ok(()),
        }
    }
}

/// Flags of the guest; EINVAL if it sets one that does not exist.
fn flags<F: bitflags::Flags>(bits: F::Bits) -> Result<F, Errno> {
    F::from_bits(bits).ok_or(Errno::Inval)
}

/// Flags of 16 bits in a parameter of 32.
fn flags16<F: bitflags::Flags<Bits = u16>>(bits: u32) -> Result<F, Errno> {
    flags(u16::try_from(bits).map_err(|_| Errno::Inval)?)
}

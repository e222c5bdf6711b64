//! The operating system: pages, files in memory, stack bounds and signals. One module a platform.

#[cfg(unix)]
mod unix;
#[cfg(unix)]
pub(crate) use unix::{
    Mapping, Protection, block_signals, entry_low, make_writable, page_size, prepare_entries, swap_stack_low,
    thread_has_signal_stack,
};

#[cfg(unix)]
pub(crate) mod dirty;
#[cfg(all(feature = "compiler", target_os = "linux", target_arch = "x86_64"))]
pub(crate) mod executable;
#[cfg(unix)]
pub(crate) mod room;
#[cfg(unix)]
pub(crate) mod signals;
#[cfg(unix)]
pub(crate) mod stacks;

#[cfg(not(unix))]
compile_error!("Sphex runs on Linux (x86-64, AArch64) for now");

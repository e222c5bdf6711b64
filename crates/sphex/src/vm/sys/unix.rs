//! Pages, memory files and stack bounds on Unix.

use std::cell::Cell;
use std::ffi::c_void;
use std::io;
use std::ops::Range;
use std::os::fd::BorrowedFd;
use std::ptr::{self, NonNull};
use std::sync::OnceLock;

use rustix::mm::{MapFlags, MprotectFlags, ProtFlags};

/// What a page may be used for. Never both written and executed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Protection {
    /// Every access faults.
    None,
    /// Read.
    Read,
    /// Read and written.
    ReadWrite,
    /// Read and executed.
    ReadExecute,
}

impl Protection {
    fn mprotect(self) -> MprotectFlags {
        match self {
            Protection::None => MprotectFlags::empty(),
            Protection::Read => MprotectFlags::READ,
            Protection::ReadWrite => MprotectFlags::READ | MprotectFlags::WRITE,
            Protection::ReadExecute => MprotectFlags::READ | MprotectFlags::EXEC,
        }
    }

    fn map(self) -> ProtFlags {
        match self {
            Protection::None => ProtFlags::empty(),
            Protection::Read => ProtFlags::READ,
            Protection::ReadWrite => ProtFlags::READ | ProtFlags::WRITE,
            Protection::ReadExecute => ProtFlags::READ | ProtFlags::EXEC,
        }
    }
}

/// Bytes of a page.
pub(crate) fn page_size() -> usize {
    rustix::param::page_size()
}

/// A range of address space that is ours, unmapped when dropped (but for a part of another mapping).
#[derive(Debug)]
pub(crate) struct Mapping {
    base: NonNull<u8>,
    len: usize,
    part: bool,
}

// SAFETY: a mapping is a range of addresses; who may touch its bytes is up to its owner.
unsafe impl Send for Mapping {}
// SAFETY: as above; all methods that change it take `&mut self`.
unsafe impl Sync for Mapping {}

impl Mapping {
    /// Reserves `len` bytes (rounded up to pages) that fault.
    pub(crate) fn reserve(len: usize) -> io::Result<Mapping> {
        Mapping::anonymous(len, Protection::None)
    }

    /// Maps `len` bytes of zeros.
    pub(crate) fn anonymous(len: usize, protection: Protection) -> io::Result<Mapping> {
        let len = round_up(len.max(1))?;
        // SAFETY: no address is asked for, so that nothing mapped is replaced.
        let base = unsafe {
            rustix::mm::mmap_anonymous(
                ptr::null_mut(),
                len,
                protection.map(),
                MapFlags::PRIVATE | MapFlags::NORESERVE,
            )
        }?;
        Mapping::from_raw(base, len)
    }

    /// Maps `len` bytes of a file, copy-on-write.
    pub(crate) fn file(fd: BorrowedFd<'_>, len: usize, protection: Protection) -> io::Result<Mapping> {
        let len = round_up(len.max(1))?;
        // SAFETY: no address is asked for, so that nothing mapped is replaced.
        let base =
            unsafe { rustix::mm::mmap(ptr::null_mut(), len, protection.map(), MapFlags::PRIVATE, fd, 0) }?;
        Mapping::from_raw(base, len)
    }

    pub(super) fn from_raw(base: *mut c_void, len: usize) -> io::Result<Mapping> {
        let base = NonNull::new(base.cast()).ok_or_else(|| io::Error::other("mapped at address 0"))?;
        Ok(Mapping { base, len, part: false })
    }

    /// Some pages of this mapping, as a mapping that is not unmapped when it is dropped.
    ///
    /// # Safety
    ///
    /// `self` lives longer, and nothing else uses these pages meanwhile.
    pub(crate) unsafe fn part(&self, range: Range<usize>) -> io::Result<Mapping> {
        self.check(&range)?;
        // SAFETY: `check` found the range inside this mapping.
        let base = unsafe { self.base.add(range.start) };
        Ok(Mapping { base, len: range.len(), part: true })
    }

    /// Its first byte.
    pub(crate) fn base(&self) -> *mut u8 {
        self.base.as_ptr()
    }

    /// Its bytes, a multiple of the page size.
    pub(crate) fn len(&self) -> usize {
        self.len
    }

    /// Puts pages of its own in the place of those of `range` (whose ends are on page borders), with the same bytes.
    ///
    /// # Safety
    ///
    /// Nobody reads, writes or runs these pages meanwhile.
    pub(crate) unsafe fn detach(&self, range: Range<usize>, protection: Protection) -> io::Result<()> {
        self.check(&range)?;
        if range.is_empty() {
            return Ok(());
        }
        let flags = MapFlags::PRIVATE | MapFlags::FIXED;
        // SAFETY: `check` found the range inside this mapping, which is ours; the pages were readable, and are
        // writable where they are written.
        unsafe {
            let start = self.base().add(range.start);
            let bytes = std::slice::from_raw_parts(start, range.len()).to_vec();
            rustix::mm::mmap_anonymous(start.cast(), range.len(), Protection::ReadWrite.map(), flags)?;
            ptr::copy_nonoverlapping(bytes.as_ptr(), start, range.len());
            rustix::mm::mprotect(start.cast(), range.len(), protection.mprotect())?;
        }
        Ok(())
    }

    /// Changes what the pages of `range` (whose ends are on page borders) may be used for.
    pub(crate) fn protect(&mut self, range: Range<usize>, protection: Protection) -> io::Result<()> {
        self.check(&range)?;
        if range.is_empty() {
            return Ok(());
        }
        // SAFETY: `check` found the range inside this mapping, which is ours.
        unsafe {
            let start = self.base().add(range.start).cast();
            rustix::mm::mprotect(start, range.len(), protection.mprotect())?;
        }
        Ok(())
    }

    /// Replaces the pages of `range` by those of a file from `offset`, copy-on-write.
    pub(crate) fn map_file(
        &mut self,
        range: Range<usize>,
        fd: BorrowedFd<'_>,
        offset: u64,
        protection: Protection,
    ) -> io::Result<()> {
        self.check(&range)?;
        if range.is_empty() {
            return Ok(());
        }
        // SAFETY: `check` found the range inside this mapping, so that only our own pages are replaced.
        unsafe {
            rustix::mm::mmap(
                self.base().add(range.start).cast(),
                range.len(),
                protection.map(),
                MapFlags::PRIVATE | MapFlags::FIXED,
                fd,
                offset,
            )?;
        }
        Ok(())
    }

    /// Replaces the pages of `range` by ones that fault, and gives their contents back.
    pub(crate) fn vacate(&mut self, range: Range<usize>) -> io::Result<()> {
        self.check(&range)?;
        if range.is_empty() {
            return Ok(());
        }
        // SAFETY: `check` found the range inside this mapping, so that only our own pages are replaced.
        unsafe {
            rustix::mm::mmap_anonymous(
                self.base().add(range.start).cast(),
                range.len(),
                ProtFlags::empty(),
                MapFlags::PRIVATE | MapFlags::NORESERVE | MapFlags::FIXED,
            )?;
        }
        Ok(())
    }

    /// Gives what was written to the pages of `range` back: they hold zeros or what their file holds again.
    #[cfg(target_os = "linux")]
    pub(crate) fn discard(&mut self, range: Range<usize>) -> io::Result<()> {
        self.check(&range)?;
        if range.is_empty() {
            return Ok(());
        }
        // SAFETY: `check` found the range inside this mapping, which is ours and private.
        unsafe {
            let start = self.base().add(range.start).cast();
            rustix::mm::madvise(start, range.len(), rustix::mm::Advice::LinuxDontNeed)?;
        }
        Ok(())
    }

    pub(super) fn check(&self, range: &Range<usize>) -> io::Result<()> {
        let page = page_size();
        let whole = range.start.is_multiple_of(page) && range.end.is_multiple_of(page);
        if whole && range.start <= range.end && range.end <= self.len {
            Ok(())
        } else {
            Err(io::Error::new(io::ErrorKind::InvalidInput, "a range of pages outside its mapping"))
        }
    }
}

impl Drop for Mapping {
    fn drop(&mut self) {
        if self.part {
            return;
        }
        // SAFETY: the mapping is ours and no one uses it any more.
        let result = unsafe { rustix::mm::munmap(self.base().cast(), self.len) };
        debug_assert!(result.is_ok());
    }
}

/// Makes pages writable, which are given by the bytes from `base` on that they hold. A signal handler may do so.
///
/// # Safety
///
/// The pages are mapped, and the caller's.
pub(crate) unsafe fn make_writable(base: usize, bytes: Range<usize>) -> io::Result<()> {
    let start = ptr::with_exposed_provenance_mut(base + bytes.start);
    // SAFETY: the caller's promise; no one relies on a page of a memory that cannot be written.
    unsafe { rustix::mm::mprotect(start, bytes.len(), Protection::ReadWrite.mprotect())? };
    Ok(())
}

fn round_up(len: usize) -> io::Result<usize> {
    len.checked_next_multiple_of(page_size()).ok_or_else(|| io::ErrorKind::OutOfMemory.into())
}

thread_local! {
    /// The lowest address of the stack that this thread runs on, once it is ready for wasm; 0: ask again.
    static ENTRY_LOW: Cell<usize> = const { Cell::new(0) };
    static STACK_LOW: Cell<usize> = const { Cell::new(0) };
    static SIGNAL_STACK: SignalStack = const { SignalStack { ready: Cell::new(false), ours: Cell::new(None) } };
}

/// The lowest address of the stack that this thread runs on, if `prepare_entries` has been here; else 0.
#[inline(always)]
pub(crate) fn entry_low() -> usize {
    ENTRY_LOW.with(Cell::get)
}

/// Sees to it that this thread is ready to run wasm on the stack that it is on, and gives the stack's lowest address.
pub(crate) fn prepare_entries() -> crate::Result<usize> {
    let failed = |what: &'static str| move |error| crate::Error::system(what, error);
    thread_has_signal_stack().map_err(failed("cannot make an alternate signal stack"))?;
    let low = stack_low().map_err(failed("cannot find the stack's bounds"))?;
    ENTRY_LOW.with(|cell| cell.set(low));
    Ok(low)
}

/// The lowest address of the stack that this thread runs on: its own, or a fiber's. The guard below it is not counted.
fn stack_low() -> io::Result<usize> {
    let known = STACK_LOW.with(Cell::get);
    if known != 0 {
        return Ok(known);
    }
    let low = match first_thread_low(false) {
        Some(low) => low,
        None => query_stack_low().or_else(|error| first_thread_low(true).ok_or(error))?,
    };
    STACK_LOW.with(|cell| cell.set(low));
    Ok(low)
}

/// Says that this thread goes on on a stack that ends at `low`; gives what was there before (0: its own, not yet known).
/// Never inlined: the caller may be one that goes on on another thread, see `fiber`.
#[inline(never)]
pub(crate) fn swap_stack_low(low: usize) -> usize {
    ENTRY_LOW.with(|cell| cell.set(0));
    STACK_LOW.with(|cell| cell.replace(low))
}

#[cfg(target_os = "linux")]
fn query_stack_low() -> io::Result<usize> {
    let mut attributes = std::mem::MaybeUninit::<libc::pthread_attr_t>::uninit();
    let (mut low, mut size, mut guard) = (ptr::null_mut(), 0, 0);
    // SAFETY: `pthread_getattr_np` initialises the attributes when it succeeds; they are read, then destroyed.
    unsafe {
        let code = libc::pthread_getattr_np(libc::pthread_self(), attributes.as_mut_ptr());
        if code != 0 {
            return Err(io::Error::from_raw_os_error(code));
        }
        let code = libc::pthread_attr_getstack(attributes.as_ptr(), &mut low, &mut size);
        libc::pthread_attr_getguardsize(attributes.as_ptr(), &mut guard);
        libc::pthread_attr_destroy(attributes.as_mut_ptr());
        if code != 0 {
            return Err(io::Error::from_raw_os_error(code));
        }
    }
    // glibc counts the guard as part of the stack of a thread that it made; leave it out in any case.
    Ok(low as usize + guard)
}

/// The same of the process's first thread, whose stack glibc looks up in `/proc/self/maps`, which takes a tenth of the start
/// of the command, and a descriptor. The kernel puts the program's name at the top; below that the stack may grow to its
/// limit. What the limit was raised to since the start may be taken by mappings, so that no more than `MOST` is believed (the
/// kernel keeps 128 MiB free in any case): `None` if it is more, unless that `will_do`, where glibc finds nothing.
#[cfg(target_os = "linux")]
fn first_thread_low(will_do: bool) -> Option<usize> {
    const MOST: u64 = 8 << 20;
    if rustix::thread::gettid() != rustix::process::getpid() {
        return None;
    }
    // SAFETY: reads what the kernel gave the process at its start.
    let name = unsafe { libc::getauxval(libc::AT_EXECFN) } as usize;
    let top = name.checked_next_multiple_of(page_size())?;
    let limit = rustix::process::getrlimit(rustix::process::Resource::Stack).current;
    if !will_do && limit.is_none_or(|limit| limit > MOST) {
        return None;
    }
    let low = top.checked_sub(limit.unwrap_or(MOST).min(MOST) as usize)?;
    let here = 0u8;
    (low..top).contains(&(&raw const here).addr()).then_some(low)
}

#[cfg(target_os = "macos")]
fn first_thread_low(_: bool) -> Option<usize> {
    None
}

#[cfg(target_os = "macos")]
fn query_stack_low() -> io::Result<usize> {
    // SAFETY: both functions only read the thread's own record.
    unsafe {
        let this = libc::pthread_self();
        Ok(libc::pthread_get_stackaddr_np(this) as usize - libc::pthread_get_stacksize_np(this))
    }
}

/// Lets no signal of the process come to this thread: those are for the embedder's threads.
pub(crate) fn block_signals() {
    // SAFETY: `sigset_t` is plain data; both calls only read and write what they are given and the thread's mask.
    unsafe {
        let mut all = std::mem::MaybeUninit::<libc::sigset_t>::uninit();
        libc::sigfillset(all.as_mut_ptr());
        libc::pthread_sigmask(libc::SIG_SETMASK, all.as_ptr(), ptr::null_mut());
    }
}

/// This thread's alternate signal stack, if we made it.
struct SignalStack {
    ready: Cell<bool>,
    ours: Cell<Option<Mapping>>,
}

impl Drop for SignalStack {
    fn drop(&mut self) {
        ENTRY_LOW.with(|cell| cell.set(0));
        if let Some(mapping) = self.ours.take() {
            let off = libc::stack_t { ss_sp: ptr::null_mut(), ss_flags: libc::SS_DISABLE, ss_size: 0 };
            // SAFETY: the thread ends outside any signal handler; the stack is switched off, then unmapped.
            if unsafe { libc::sigaltstack(&off, ptr::null_mut()) } != 0 {
                std::mem::forget(mapping);
            }
        }
    }
}

/// Sees to it that this thread has an alternate signal stack that is large enough.
#[inline(never)]
pub(crate) fn thread_has_signal_stack() -> io::Result<()> {
    SIGNAL_STACK
        .try_with(|stack| {
            if stack.ready.get() {
                return Ok(());
            }
            let wanted = signal_stack_bytes();
            // SAFETY: `stack_t` is plain data; the call fills it.
            let mut old: libc::stack_t = unsafe { std::mem::zeroed() };
            // SAFETY: asks for the present stack only.
            if unsafe { libc::sigaltstack(ptr::null(), &mut old) } != 0 {
                return Err(io::Error::last_os_error());
            }
            if old.ss_flags & libc::SS_DISABLE != 0 || old.ss_size < wanted {
                let guard = page_size();
                let mut mapping = Mapping::reserve(wanted + guard)?;
                mapping.protect(guard..mapping.len(), Protection::ReadWrite)?;
                let new = libc::stack_t {
                    // SAFETY: the guard is inside the mapping.
                    ss_sp: unsafe { mapping.base().add(guard) }.cast(),
                    ss_flags: 0,
                    ss_size: mapping.len() - guard,
                };
                // SAFETY: the new stack is mapped and stays so until the thread ends.
                if unsafe { libc::sigaltstack(&new, ptr::null_mut()) } != 0 {
                    return Err(io::Error::last_os_error());
                }
                stack.ours.set(Some(mapping));
            }
            stack.ready.set(true);
            Ok(())
        })
        .unwrap_or_else(|_| Err(io::Error::other("the thread is ending")))
}

/// At least 64 KiB beside what the kernel says it needs for the registers.
fn signal_stack_bytes() -> usize {
    static BYTES: OnceLock<usize> = OnceLock::new();
    *BYTES.get_or_init(|| {
        #[cfg(target_os = "linux")]
        // SAFETY: reads the auxiliary vector; 0 if the kernel does not say.
        let minimum = unsafe { libc::getauxval(libc::AT_MINSIGSTKSZ) } as usize;
        #[cfg(not(target_os = "linux"))]
        let minimum = libc::MINSIGSTKSZ;
        (64 << 10) + minimum.clamp(2048, 1 << 20)
    })
}

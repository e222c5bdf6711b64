//! Standard streams: the host's, pipes in memory, or nothing.

use crate::files::{Advice, File, Readiness, Whence};
use crate::files::{advise, filestat, filetype, flags, read_now, readable, seek, write_now, write_some};
use crate::{Errno, FdFlags, Filestat, Filetype};
use rustix::event::{PollFd, PollFlags};
use std::io::{IoSlice, IoSliceMut};
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

/// Descriptor 0, 1 or 2 of this process.
///
/// It is shared with whoever started us, so its modes are never touched: a guest's NONBLOCK is acted out by asking first.
/// Nothing is buffered.
pub struct HostStream {
    fd: BorrowedFd<'static>,
    nonblock: AtomicBool,
    filetype: OnceLock<Filetype>,
}

impl HostStream {
    /// Standard input.
    pub fn stdin() -> HostStream {
        HostStream::new(rustix::stdio::stdin())
    }

    /// Standard output.
    pub fn stdout() -> HostStream {
        HostStream::new(rustix::stdio::stdout())
    }

    /// Standard error.
    pub fn stderr() -> HostStream {
        HostStream::new(rustix::stdio::stderr())
    }

    fn new(fd: BorrowedFd<'static>) -> HostStream {
        HostStream { fd, nonblock: AtomicBool::new(false), filetype: OnceLock::new() }
    }

    /// Runs a call that may wait, in the guest's mode whatever the kernel's is.
    fn waiting<T>(
        &self,
        ready: PollFlags,
        mut call: impl FnMut() -> rustix::io::Result<T>,
    ) -> Result<T, Errno> {
        let nonblock = self.nonblock.load(Relaxed);
        if nonblock && !self.poll(ready, false)? {
            return Err(Errno::Again);
        }
        loop {
            match call() {
                // Whoever started us left it non-blocking, which is not what the guest sees.
                Err(rustix::io::Errno::AGAIN) if !nonblock => self.poll(ready, true)?,
                done => return Ok(done?),
            };
        }
    }

    fn poll(&self, ready: PollFlags, wait: bool) -> Result<bool, Errno> {
        let now = crate::clocks::timespec(0);
        let mut fds = [PollFd::new(&self.fd, ready)];
        Ok(rustix::event::poll(&mut fds, if wait { None } else { Some(&now) })? != 0)
    }
}

impl File for HostStream {
    fn filetype(&self) -> Filetype {
        *self
            .filetype
            .get_or_init(|| rustix::fs::fstat(self.fd).map_or(Filetype::Unknown, |stat| filetype(&stat)))
    }

    fn is_terminal(&self) -> bool {
        self.filetype() == Filetype::CharacterDevice && rustix::termios::isatty(self.fd)
    }

    fn read(&self, buffers: &mut [IoSliceMut<'_>]) -> Result<usize, Errno> {
        self.waiting(PollFlags::IN, || rustix::io::readv(self.fd, buffers))
    }

    fn read_now(&self, buffers: &mut [IoSliceMut<'_>], offset: Option<u64>) -> Result<Option<usize>, Errno> {
        read_now(self.fd, buffers, offset)
    }

    fn blocks(&self) -> bool {
        self.filetype() == Filetype::RegularFile
    }

    fn write(&self, buffers: &[IoSlice<'_>]) -> Result<usize, Errno> {
        self.waiting(PollFlags::OUT, || rustix::io::writev(self.fd, buffers))
    }

    fn write_some(&self, buffers: &[IoSlice<'_>]) -> Result<usize, Errno> {
        write_some(self.fd, buffers)
    }

    fn write_now(&self, buffers: &[IoSlice<'_>]) -> Result<Option<usize>, Errno> {
        write_now(self.fd, buffers)
    }

    fn read_at(&self, buffers: &mut [IoSliceMut<'_>], offset: u64) -> Result<usize, Errno> {
        Ok(rustix::io::preadv(self.fd, buffers, offset)?)
    }

    fn write_at(&self, buffers: &[IoSlice<'_>], offset: u64) -> Result<usize, Errno> {
        Ok(rustix::io::pwritev(self.fd, buffers, offset)?)
    }

    fn seek(&self, offset: i64, whence: Whence) -> Result<u64, Errno> {
        seek(self.fd, offset, whence)
    }

    fn stat(&self) -> Result<Filestat, Errno> {
        Ok(filestat(&rustix::fs::fstat(self.fd)?))
    }

    fn set_size(&self, size: u64) -> Result<(), Errno> {
        Ok(rustix::fs::ftruncate(self.fd, size)?)
    }

    fn sync(&self, metadata: bool) -> Result<(), Errno> {
        crate::files::sync(self.fd, metadata)
    }

    fn advise(&self, offset: u64, len: u64, advice: Advice) -> Result<(), Errno> {
        advise(self.fd, offset, len, advice)
    }

    fn flags(&self) -> Result<FdFlags, Errno> {
        let mut flags = flags(self.fd)?;
        flags.set(FdFlags::NONBLOCK, self.nonblock.load(Relaxed));
        Ok(flags)
    }

    fn set_flags(&self, wanted: FdFlags) -> Result<(), Errno> {
        let kept = self.flags()?.difference(FdFlags::NONBLOCK);
        // A guest that repeats what it was told must not fail; one that wants more would change what others share.
        if !kept.contains(wanted.difference(FdFlags::NONBLOCK)) {
            return Err(Errno::NotSup);
        }
        self.nonblock.store(wanted.contains(FdFlags::NONBLOCK), Relaxed);
        Ok(())
    }

    fn wait_on(&self) -> Option<BorrowedFd<'_>> {
        (self.filetype() != Filetype::RegularFile).then_some(self.fd)
    }

    fn readable(&self) -> Result<Readiness, Errno> {
        readable(self.fd.as_fd(), self.filetype())
    }
}

/// Nothing to read, and room for everything.
pub struct Null;

impl File for Null {
    fn filetype(&self) -> Filetype {
        Filetype::Unknown
    }

    fn read(&self, _: &mut [IoSliceMut<'_>]) -> Result<usize, Errno> {
        Ok(0)
    }

    fn write(&self, buffers: &[IoSlice<'_>]) -> Result<usize, Errno> {
        Ok(buffers.iter().map(|buffer| buffer.len()).sum())
    }
}

/// Input from memory: what is left of some bytes. Clones share it.
#[derive(Clone)]
pub struct InputPipe {
    left: Arc<Mutex<std::io::Cursor<Vec<u8>>>>,
}

impl InputPipe {
    /// A pipe that gives these bytes and then its end.
    pub fn new(bytes: impl Into<Vec<u8>>) -> InputPipe {
        InputPipe { left: Arc::new(Mutex::new(std::io::Cursor::new(bytes.into()))) }
    }
}

impl File for InputPipe {
    fn filetype(&self) -> Filetype {
        Filetype::Unknown
    }

    fn read(&self, buffers: &mut [IoSliceMut<'_>]) -> Result<usize, Errno> {
        let mut left = self.left.lock().unwrap_or_else(PoisonError::into_inner);
        Ok(std::io::Read::read_vectored(&mut *left, buffers)?)
    }

    fn readable(&self) -> Result<Readiness, Errno> {
        let left = self.left.lock().unwrap_or_else(PoisonError::into_inner);
        let bytes = (left.get_ref().len() as u64).saturating_sub(left.position());
        Ok(Readiness { bytes, hangup: bytes == 0 })
    }
}

/// Output into memory, up to a limit. Clones share it.
#[derive(Clone)]
pub struct OutputPipe {
    bytes: Arc<Mutex<Vec<u8>>>,
    limit: usize,
}

impl OutputPipe {
    /// An empty pipe that takes so many bytes and then says ENOSPC.
    pub fn new(limit: usize) -> OutputPipe {
        OutputPipe { bytes: Arc::default(), limit }
    }

    /// What was written so far.
    pub fn contents(&self) -> Vec<u8> {
        self.bytes.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl File for OutputPipe {
    fn filetype(&self) -> Filetype {
        Filetype::Unknown
    }

    fn write(&self, buffers: &[IoSlice<'_>]) -> Result<usize, Errno> {
        let mut bytes = self.bytes.lock().unwrap_or_else(PoisonError::into_inner);
        let before = bytes.len();
        for buffer in buffers {
            let room = self.limit - bytes.len();
            bytes.extend_from_slice(&buffer[..buffer.len().min(room)]);
        }
        let wanted: usize = buffers.iter().map(|buffer| buffer.len()).sum();
        if wanted != 0 && bytes.len() == before { Err(Errno::NoSpc) } else { Ok(bytes.len() - before) }
    }
}

//! The host's files: whatever opening a path gives that is no directory.

use super::{Advice, File, Readiness, SetTime, Times, Whence};
use crate::clocks::{nanoseconds, timespec};
use crate::{Errno, FdFlags, Filestat, Filetype};
use rustix::fs::{OFlags, SeekFrom, Stat, Timespec, Timestamps};
use rustix::io::ReadWriteFlags;
use std::io::{IoSlice, IoSliceMut};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::atomic::{AtomicU16, Ordering::Relaxed};

/// A file of the host that the guest opened: calls go straight to the kernel.
pub struct HostFile {
    fd: OwnedFd,
    filetype: Filetype,
    /// The modes as the guest knows them. The kernel may have O_NONBLOCK besides, on a regular file, where it means nothing.
    flags: AtomicU16,
}

impl HostFile {
    /// The file behind a descriptor, which from now on is the guest's: it may be made non-blocking.
    pub fn new(fd: OwnedFd) -> Result<HostFile, Errno> {
        let filetype = filetype(&rustix::fs::fstat(&fd)?);
        let flags = AtomicU16::new(flags(fd.as_fd())?.bits());
        Ok(HostFile { fd, filetype, flags })
    }

    /// A file just opened with O_NONBLOCK, without O_APPEND, and with the other modes of `flags`.
    pub(super) fn opened(fd: OwnedFd, filetype: Filetype, flags: FdFlags) -> Result<HostFile, Errno> {
        let regular = filetype == Filetype::RegularFile;
        if flags.contains(FdFlags::APPEND) || (!regular && !flags.contains(FdFlags::NONBLOCK)) {
            set_modes(fd.as_fd(), flags)?;
        }
        Ok(HostFile { fd, filetype, flags: AtomicU16::new(flags.bits()) })
    }
}

impl File for HostFile {
    fn filetype(&self) -> Filetype {
        self.filetype
    }

    fn is_terminal(&self) -> bool {
        self.filetype == Filetype::CharacterDevice && rustix::termios::isatty(&self.fd)
    }

    fn read(&self, buffers: &mut [IoSliceMut<'_>]) -> Result<usize, Errno> {
        Ok(rustix::io::readv(&self.fd, buffers)?)
    }

    fn read_now(&self, buffers: &mut [IoSliceMut<'_>], offset: Option<u64>) -> Result<Option<usize>, Errno> {
        read_now(self.fd.as_fd(), buffers, offset)
    }

    fn write(&self, buffers: &[IoSlice<'_>]) -> Result<usize, Errno> {
        Ok(rustix::io::writev(&self.fd, buffers)?)
    }

    fn write_some(&self, buffers: &[IoSlice<'_>]) -> Result<usize, Errno> {
        write_some(self.fd.as_fd(), buffers)
    }

    fn write_now(&self, buffers: &[IoSlice<'_>]) -> Result<Option<usize>, Errno> {
        write_now(self.fd.as_fd(), buffers)
    }

    fn read_at(&self, buffers: &mut [IoSliceMut<'_>], offset: u64) -> Result<usize, Errno> {
        Ok(rustix::io::preadv(&self.fd, buffers, offset)?)
    }

    fn write_at(&self, buffers: &[IoSlice<'_>], offset: u64) -> Result<usize, Errno> {
        Ok(rustix::io::pwritev(&self.fd, buffers, offset)?)
    }

    fn seek(&self, offset: i64, whence: Whence) -> Result<u64, Errno> {
        seek(self.fd.as_fd(), offset, whence)
    }

    fn stat(&self) -> Result<Filestat, Errno> {
        Ok(filestat(&rustix::fs::fstat(&self.fd)?))
    }

    fn set_size(&self, size: u64) -> Result<(), Errno> {
        Ok(rustix::fs::ftruncate(&self.fd, size)?)
    }

    fn set_times(&self, times: Times) -> Result<(), Errno> {
        Ok(rustix::fs::futimens(&self.fd, &timestamps(times))?)
    }

    fn sync(&self, metadata: bool) -> Result<(), Errno> {
        sync(self.fd.as_fd(), metadata)
    }

    fn advise(&self, offset: u64, len: u64, advice: Advice) -> Result<(), Errno> {
        advise(self.fd.as_fd(), offset, len, advice)
    }

    fn flags(&self) -> Result<FdFlags, Errno> {
        Ok(FdFlags::from_bits_truncate(self.flags.load(Relaxed)))
    }

    fn set_flags(&self, wanted: FdFlags) -> Result<(), Errno> {
        let fixed = self.flags()?.difference(CHANGEABLE);
        // The guest need not repeat what cannot change, but it cannot have more of it.
        if !fixed.contains(wanted.difference(CHANGEABLE)) {
            return Err(Errno::NotSup);
        }
        set_modes(self.fd.as_fd(), wanted)?;
        self.flags.store((fixed | wanted).bits(), Relaxed);
        Ok(())
    }

    fn blocks(&self) -> bool {
        self.filetype == Filetype::RegularFile
    }

    fn wait_on(&self) -> Option<BorrowedFd<'_>> {
        (self.filetype != Filetype::RegularFile).then(|| self.fd.as_fd())
    }

    fn readable(&self) -> Result<Readiness, Errno> {
        readable(self.fd.as_fd(), self.filetype)
    }
}

/// What `fstat` says, in WASI's terms.
#[allow(clippy::unnecessary_cast)] // Widths differ between architectures.
pub(crate) fn filestat(stat: &Stat) -> Filestat {
    let time = |seconds: i64, nanos: i64| nanoseconds(Timespec { tv_sec: seconds, tv_nsec: nanos });
    Filestat {
        dev: stat.st_dev,
        ino: stat.st_ino,
        filetype: filetype(stat),
        nlink: stat.st_nlink as u64,
        size: u64::try_from(stat.st_size).unwrap_or(0),
        atim: time(stat.st_atime, stat.st_atime_nsec as i64),
        mtim: time(stat.st_mtime, stat.st_mtime_nsec as i64),
        ctim: time(stat.st_ctime, stat.st_ctime_nsec as i64),
    }
}

pub(crate) fn filetype(stat: &Stat) -> Filetype {
    rustix::fs::FileType::from_raw_mode(stat.st_mode).into()
}

pub(crate) fn timestamps(times: Times) -> Timestamps {
    let time = |time| match time {
        SetTime::Keep => Timespec { tv_sec: 0, tv_nsec: rustix::fs::UTIME_OMIT },
        SetTime::Now => Timespec { tv_sec: 0, tv_nsec: rustix::fs::UTIME_NOW },
        SetTime::To(nanoseconds) => timespec(nanoseconds),
    };
    Timestamps { last_access: time(times.accessed), last_modification: time(times.modified) }
}

pub(crate) fn seek(fd: BorrowedFd<'_>, offset: i64, whence: Whence) -> Result<u64, Errno> {
    let to = match whence {
        Whence::Set => SeekFrom::Start(u64::try_from(offset).map_err(|_| Errno::Inval)?),
        Whence::Current => SeekFrom::Current(offset),
        Whence::End => SeekFrom::End(offset),
    };
    Ok(rustix::fs::seek(fd, to)?)
}

pub(crate) fn sync(fd: BorrowedFd<'_>, metadata: bool) -> Result<(), Errno> {
    if metadata {
        rustix::fs::fsync(fd)?
    } else {
        rustix::fs::fdatasync(fd)?
    }
    Ok(())
}

pub(crate) fn advise(fd: BorrowedFd<'_>, offset: u64, len: u64, advice: Advice) -> Result<(), Errno> {
    use rustix::fs::Advice as H;
    let advice = match advice {
        Advice::Normal => H::Normal,
        Advice::Sequential => H::Sequential,
        Advice::Random => H::Random,
        Advice::WillNeed => H::WillNeed,
        Advice::DontNeed => H::DontNeed,
        Advice::NoReuse => H::NoReuse,
    };
    if i64::try_from(offset).is_err() || i64::try_from(len).is_err() {
        return Err(Errno::Inval);
    }
    Ok(rustix::fs::fadvise(fd, offset, std::num::NonZeroU64::new(len), advice)?)
}

/// The modes that can change after opening.
const CHANGEABLE: FdFlags = FdFlags::APPEND.union(FdFlags::NONBLOCK);

/// The modes that the kernel has for a descriptor.
pub(crate) fn flags(fd: BorrowedFd<'_>) -> Result<FdFlags, Errno> {
    let host = rustix::fs::fcntl_getfl(fd)?;
    let mut flags = FdFlags::empty();
    flags.set(FdFlags::APPEND, host.contains(OFlags::APPEND));
    flags.set(FdFlags::NONBLOCK, host.contains(OFlags::NONBLOCK));
    // SYNC and RSYNC are one number on Linux, DSYNC a bit of it.
    flags.set(FdFlags::SYNC | FdFlags::RSYNC, host.contains(OFlags::SYNC));
    flags.set(FdFlags::DSYNC, host.contains(OFlags::DSYNC));
    Ok(flags)
}

/// Sets the changeable modes; the kernel leaves all others alone.
pub(crate) fn set_modes(fd: BorrowedFd<'_>, flags: FdFlags) -> Result<(), Errno> {
    let mut host = OFlags::empty();
    host.set(OFlags::APPEND, flags.contains(FdFlags::APPEND));
    host.set(OFlags::NONBLOCK, flags.contains(FdFlags::NONBLOCK));
    Ok(rustix::fs::fcntl_setfl(fd, host)?)
}

/// Reads what is in memory already. Terminals and some file systems cannot be asked for that.
pub(crate) fn read_now(
    fd: BorrowedFd<'_>,
    buffers: &mut [IoSliceMut<'_>],
    offset: Option<u64>,
) -> Result<Option<usize>, Errno> {
    // An offset of all ones is the position.
    if offset == Some(u64::MAX) {
        return Ok(None);
    }
    match rustix::io::preadv2(fd, buffers, offset.unwrap_or(u64::MAX), ReadWriteFlags::NOWAIT) {
        Err(rustix::io::Errno::OPNOTSUPP | rustix::io::Errno::NOSYS | rustix::io::Errno::INVAL) => Ok(None),
        read => Ok(Some(read?)),
    }
}

/// Writes what a stream that is ready takes at once. Where the kernel cannot be asked not to wait, a part so small that
/// a ready pipe has room for it.
pub(crate) fn write_some(fd: BorrowedFd<'_>, buffers: &[IoSlice<'_>]) -> Result<usize, Errno> {
    const ROOM: usize = 4096;
    match write_now(fd, buffers)? {
        Some(written) => Ok(written),
        None => {
            let first = buffers.first().map_or(&[][..], |buffer| &buffer[..buffer.len().min(ROOM)]);
            Ok(rustix::io::write(fd, first)?)
        }
    }
}

/// Writes what there is room for. Terminals and some file systems cannot be asked for that.
pub(crate) fn write_now(fd: BorrowedFd<'_>, buffers: &[IoSlice<'_>]) -> Result<Option<usize>, Errno> {
    // An offset of all ones is the position.
    match rustix::io::pwritev2(fd, buffers, u64::MAX, ReadWriteFlags::NOWAIT) {
        Err(rustix::io::Errno::OPNOTSUPP | rustix::io::Errno::NOSYS | rustix::io::Errno::INVAL) => Ok(None),
        written => Ok(Some(written?)),
    }
}

/// What can be read at once: the rest of a regular file, what the kernel has buffered of anything else.
pub(crate) fn readable(fd: BorrowedFd<'_>, filetype: Filetype) -> Result<Readiness, Errno> {
    let bytes = if filetype == Filetype::RegularFile {
        let size = u64::try_from(rustix::fs::fstat(fd)?.st_size).unwrap_or(0);
        size.saturating_sub(rustix::fs::tell(fd)?)
    } else {
        rustix::io::ioctl_fionread(fd).unwrap_or(0)
    };
    Ok(Readiness { bytes, hangup: false })
}

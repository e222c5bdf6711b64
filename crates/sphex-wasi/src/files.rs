//! Files and directories as WASI sees them: two traits, and the host's implementation of each.
//!
//! *Needs* nothing of a guest: arguments are host values, checked already. *Gives* [`File`] and [`Directory`], which an
//! embedder may implement for a file system of its own, and [`HostFile`] and [`HostDirectory`].
//!
//! Every method has a default that says "not for this kind of thing" with the code that Linux has for it, so an
//! implementation is as long as what it can do.

mod directory;
mod file;

pub(crate) use file::{
    advise, filestat, filetype, flags, read_now, readable, seek, set_modes, sync, write_now, write_some,
};

pub use directory::HostDirectory;
pub use file::HostFile;

use crate::{Errno, FdFlags, Filestat, Filetype, OFlags};
use std::any::Any;
use std::io::{IoSlice, IoSliceMut};
use std::os::fd::BorrowedFd;
use std::sync::Arc;

/// From where a position is counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum Whence {
    Set,
    Current,
    End,
}

/// How a file is going to be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum Advice {
    Normal,
    Sequential,
    Random,
    WillNeed,
    DontNeed,
    NoReuse,
}

/// A time to be set, in nanoseconds since 1970.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum SetTime {
    Keep,
    Now,
    To(u64),
}

/// Both times of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs)]
pub struct Times {
    pub accessed: SetTime,
    pub modified: SetTime,
}

/// How a path is to be opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
#[allow(missing_docs)]
pub struct OpenHow {
    pub read: bool,
    pub write: bool,
    /// Whether a symbolic link at the end is followed.
    pub follow: bool,
    pub oflags: OFlags,
    pub flags: FdFlags,
}

/// What opening a path gave.
pub enum Opened {
    /// Anything but a directory.
    File(Arc<dyn File>),
    /// A directory.
    Directory(Arc<dyn Directory>),
}

/// An entry of a directory.
#[derive(Clone, Copy, Debug)]
#[allow(missing_docs)]
pub struct Entry<'a> {
    pub name: &'a [u8],
    /// 0 where there is none to tell.
    pub ino: u64,
    pub filetype: Filetype,
    /// From where to read on after this entry.
    pub next: u64,
}

/// What can be done at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
#[allow(missing_docs)]
pub struct Readiness {
    pub bytes: u64,
    pub hangup: bool,
}

/// A file, pipe, terminal or other stream of bytes.
#[allow(unused_variables)]
pub trait File: Send + Sync {
    /// What kind of thing it is.
    fn filetype(&self) -> Filetype;

    /// Whether it is a terminal, which has no position.
    fn is_terminal(&self) -> bool {
        false
    }

    /// Reads at the position and moves it. No bytes: the end.
    fn read(&self, buffers: &mut [IoSliceMut<'_>]) -> Result<usize, Errno> {
        Err(Errno::Badf)
    }

    /// Reads what is there without waiting for anyone or anything, at an offset or at the position. EAGAIN: nothing is
    /// there; `None`: that cannot be asked, and nothing was read.
    fn read_now(&self, buffers: &mut [IoSliceMut<'_>], offset: Option<u64>) -> Result<Option<usize>, Errno> {
        Ok(None)
    }

    /// Writes what there is room for without waiting for anyone. EAGAIN: there is none; `None`: that cannot be asked, and
    /// nothing was written.
    fn write_now(&self, buffers: &[IoSlice<'_>]) -> Result<Option<usize>, Errno> {
        Ok(None)
    }

    /// Writes at the position and moves it.
    fn write(&self, buffers: &[IoSlice<'_>]) -> Result<usize, Errno> {
        Err(Errno::Badf)
    }

    /// Writes what can be written without waiting, at least one byte, of a stream that said it was ready.
    fn write_some(&self, buffers: &[IoSlice<'_>]) -> Result<usize, Errno> {
        self.write(buffers)
    }

    /// Reads somewhere else, leaving the position.
    fn read_at(&self, buffers: &mut [IoSliceMut<'_>], offset: u64) -> Result<usize, Errno> {
        Err(Errno::Spipe)
    }

    /// Writes somewhere else, leaving the position.
    fn write_at(&self, buffers: &[IoSlice<'_>], offset: u64) -> Result<usize, Errno> {
        Err(Errno::Spipe)
    }

    /// Moves the position and says where it is.
    fn seek(&self, offset: i64, whence: Whence) -> Result<u64, Errno> {
        Err(Errno::Spipe)
    }

    /// What is known of it.
    fn stat(&self) -> Result<Filestat, Errno> {
        Ok(Filestat { filetype: self.filetype(), ..Filestat::default() })
    }

    /// Cuts or grows it.
    fn set_size(&self, size: u64) -> Result<(), Errno> {
        Err(Errno::Inval)
    }

    /// Sets its times.
    fn set_times(&self, times: Times) -> Result<(), Errno> {
        Err(Errno::NotSup)
    }

    /// Waits until data, and with `metadata` all else, is on the disk.
    fn sync(&self, metadata: bool) -> Result<(), Errno> {
        Err(Errno::Inval)
    }

    /// Takes a hint.
    fn advise(&self, offset: u64, len: u64, advice: Advice) -> Result<(), Errno> {
        Err(Errno::Spipe)
    }

    /// The modes it was opened with.
    fn flags(&self) -> Result<FdFlags, Errno> {
        Ok(FdFlags::empty())
    }

    /// Changes APPEND and NONBLOCK; the others cannot change.
    fn set_flags(&self, flags: FdFlags) -> Result<(), Errno> {
        if flags == self.flags()? { Ok(()) } else { Err(Errno::NotSup) }
    }

    /// Whether what is done with it may wait for a disk or a server: under `call_async` another thread does it then, and
    /// drops it when the guest closes it. Still called by the guest's thread, so that they must not wait: `seek` but from the
    /// end, `read_now`, `flags`, `set_flags`, and what says what it is.
    fn blocks(&self) -> bool {
        false
    }

    /// A host descriptor to wait on; `None` if it never makes anyone wait.
    fn wait_on(&self) -> Option<BorrowedFd<'_>> {
        None
    }

    /// What can be read at once, for a thing that is ready.
    fn readable(&self) -> Result<Readiness, Errno> {
        Ok(Readiness::default())
    }
}

/// A directory. Paths are relative to it and must not lead out of it: such a one is EPERM.
#[allow(unused_variables)]
pub trait Directory: Any + Send + Sync {
    /// Opens a path, or makes the file.
    fn open(&self, path: &str, how: &OpenHow) -> Result<Opened, Errno>;

    /// What is known of this directory.
    fn stat(&self) -> Result<Filestat, Errno>;

    /// Gives its entries from a cookie on (0: the first), `.` and `..` included, until `visit` returns false.
    fn read(&self, cookie: u64, visit: &mut dyn FnMut(Entry<'_>) -> bool) -> Result<(), Errno>;

    /// What is known of a path.
    fn stat_at(&self, path: &str, follow: bool) -> Result<Filestat, Errno>;

    /// Whether nothing in it can be changed.
    fn read_only(&self) -> bool {
        true
    }

    /// Whether what is done with it may wait for a disk or a server: under `call_async` another thread does it then, and
    /// drops it when the guest closes it.
    fn blocks(&self) -> bool {
        false
    }

    /// Sets this directory's times.
    fn set_times(&self, times: Times) -> Result<(), Errno> {
        Err(Errno::Rofs)
    }

    /// Waits until it is on the disk.
    fn sync(&self, metadata: bool) -> Result<(), Errno> {
        Ok(())
    }

    /// Sets the times of a path.
    fn set_times_at(&self, path: &str, follow: bool, times: Times) -> Result<(), Errno> {
        Err(Errno::Rofs)
    }

    /// Makes a directory.
    fn create_directory(&self, path: &str) -> Result<(), Errno> {
        Err(Errno::Rofs)
    }

    /// Gives the file at `path` a second name in another directory, EXDEV if that is of another kind.
    fn link(&self, path: &str, to: &dyn Directory, new: &str) -> Result<(), Errno> {
        Err(Errno::Rofs)
    }

    /// Moves what is at `path` to another directory, EXDEV if that is of another kind.
    fn rename(&self, path: &str, to: &dyn Directory, new: &str) -> Result<(), Errno> {
        Err(Errno::Rofs)
    }

    /// Makes a symbolic link at `path` that holds `target`, which must not be absolute (EPERM).
    fn symlink(&self, target: &str, path: &str) -> Result<(), Errno> {
        Err(Errno::Rofs)
    }

    /// What a symbolic link holds.
    fn read_link(&self, path: &str) -> Result<Vec<u8>, Errno> {
        Err(Errno::Inval)
    }

    /// Removes an empty directory.
    fn remove_directory(&self, path: &str) -> Result<(), Errno> {
        Err(Errno::Rofs)
    }

    /// Removes anything but a directory.
    fn unlink(&self, path: &str) -> Result<(), Errno> {
        Err(Errno::Rofs)
    }
}

//! The host's directories: every path goes through cap-primitives, which resolves it beneath the directory.
//!
//! *Needs* paths that are text without NUL and of bounded length. *Gives* what the kernel says of what it finds, or EPERM
//! where a path would lead out, by whatever way. What the resolver does not settle is settled here:
//!
//! - I1: everything is opened with O_NONBLOCK and O_NOCTTY, so that no FIFO makes an open wait and no terminal becomes
//!   ours; a FIFO that the guest did not open so is made blocking afterwards.
//! - I2: the kernel's directory positions are the guest's cookies. Nothing is buffered between calls, so a directory may
//!   change while it is read, with the guarantees that the kernel gives.
//! - I3: what lies above a directory is not told: `..` has no inode number.
//! - I4: a directory that is read-only gives only read-only things, and a link or a move never leaves or enters it.

use super::file::{filestat, filetype, sync, timestamps};
use super::{Directory, Entry, HostFile, OpenHow, Opened, Times};
use crate::clocks::nanoseconds;
use crate::{Errno, FdFlags, Filestat, Filetype, OFlags};
use cap_primitives::fs as cap;
use cap_primitives::fs::{FollowSymlinks, MetadataExt, OpenOptions, OpenOptionsExt};
use rustix::fs::{AtFlags, Mode, OFlags as Host, RawDir, SeekFrom, Timespec};
use sphex_entity::seeded_bug;
use std::any::Any;
use std::fs::File as StdFile;
use std::mem::MaybeUninit;
use std::os::fd::AsFd;
use std::path::Path;
use std::sync::Arc;

/// A directory of the host.
pub struct HostDirectory {
    file: StdFile,
    read_only: bool,
}

impl HostDirectory {
    /// Opens a directory by a path of the host, with all that this process may do there.
    pub fn open_ambient(path: &Path, read_only: bool) -> Result<HostDirectory, Errno> {
        let open = |flags| rustix::fs::open(path, flags | Host::DIRECTORY | Host::CLOEXEC, Mode::empty());
        // A directory that may be searched but not listed is of use as well.
        let fd = match open(Host::RDONLY) {
            Err(rustix::io::Errno::ACCESS) => open(Host::PATH)?,
            opened => opened?,
        };
        Ok(HostDirectory { file: fd.into(), read_only })
    }

    /// Opens with host flags; I1.
    fn open_host(
        &self,
        path: &str,
        read: bool,
        write: bool,
        how: &OpenHow,
        flags: Host,
    ) -> Result<StdFile, Errno> {
        let mut options = OpenOptions::new();
        options.read(read).write(write)._cap_fs_ext_follow(follow(how.follow));
        options.create(how.oflags.contains(OFlags::CREAT)).truncate(how.oflags.contains(OFlags::TRUNC));
        options.create_new(how.oflags.contains(OFlags::CREAT | OFlags::EXCL));
        options.custom_flags((flags | Host::NONBLOCK | Host::NOCTTY).bits() as i32);
        let opened = cap::open(&self.file, Path::new(path), &options).map_err(Errno::from);
        // To make a file whose name can only be a directory's: the kernel's answers, which the resolver's own walk has not.
        let makes = how.oflags.contains(OFlags::CREAT);
        match opened {
            Err(Errno::Inval) if makes && (path.ends_with('/') || self.is_link(path)) => Err(Errno::IsDir),
            Err(Errno::IsDir) if makes && how.oflags.contains(OFlags::EXCL) && ends_in_dots(path) => {
                Err(Errno::Exist)
            }
            opened => opened,
        }
    }

    fn is_link(&self, path: &str) -> bool {
        self.stat_at(path, false).is_ok_and(|found| found.filetype == Filetype::SymbolicLink)
    }

    fn open_directory(&self, path: &str, how: &OpenHow) -> Result<StdFile, Errno> {
        let how = OpenHow { oflags: OFlags::empty(), ..*how };
        match self.open_host(path, true, false, &how, Host::DIRECTORY) {
            // The resolver that walks by itself takes a link at the end for no directory. It follows it to a dot.
            Err(Errno::NotDir) if how.follow => {
                self.open_host(&format!("{path}/."), true, false, &how, Host::DIRECTORY)
            }
            opened => opened,
        }
    }

    fn open_file(&self, path: &str, how: &OpenHow) -> Result<StdFile, Errno> {
        let mut host = Host::empty();
        host.set(Host::DSYNC, how.flags.contains(FdFlags::DSYNC));
        host.set(Host::SYNC, how.flags.intersects(FdFlags::SYNC | FdFlags::RSYNC));
        let alters = how.oflags.intersects(OFlags::CREAT | OFlags::TRUNC);
        if !alters {
            return self.open_host(path, how.read || !how.write, how.write, how, host);
        }
        // To make or cut a file needs write access, whatever the guest wants besides. What exists already and is only to
        // be read may be one that this process may not write.
        if !how.write && how.oflags == OFlags::CREAT {
            let plain = OpenHow { oflags: OFlags::empty(), ..*how };
            match self.open_host(path, true, false, &plain, host) {
                Err(Errno::NoEnt) if self.read_only => return Err(Errno::Rofs),
                Err(Errno::NoEnt) => {}
                Ok(file) if is_directory(&file)? => return Err(Errno::IsDir),
                opened => return opened,
            }
        }
        self.open_host(path, how.read || !how.write, true, how, host)
    }

    /// The thing itself, without opening it: for what a path names, link or FIFO or anything.
    fn locate(&self, path: &str, followed: bool) -> Result<StdFile, Errno> {
        let mut options = OpenOptions::new();
        options.read(true)._cap_fs_ext_follow(follow(followed || needs_directory(path)));
        options.custom_flags(Host::PATH.bits() as i32);
        Ok(cap::open(&self.file, Path::new(path), &options)?)
    }

    /// EROFS if nothing here may change.
    fn writable(&self) -> Result<&StdFile, Errno> {
        if self.read_only { Err(Errno::Rofs) } else { Ok(&self.file) }
    }
}

impl Directory for HostDirectory {
    fn open(&self, path: &str, how: &OpenHow) -> Result<Opened, Errno> {
        if self.read_only && (how.write || how.oflags.contains(OFlags::TRUNC)) {
            return Err(Errno::Rofs);
        }
        if self.read_only && how.oflags.contains(OFlags::CREAT | OFlags::EXCL) {
            return Err(self.stat_at(path, false).map_or(Errno::Rofs, |_| Errno::Exist));
        }
        let only_directory = how.oflags.contains(OFlags::DIRECTORY);
        let file = if only_directory { self.open_directory(path, how)? } else { self.open_file(path, how)? };
        let filetype = filetype(&rustix::fs::fstat(&file)?);
        if filetype == Filetype::Directory {
            return Ok(Opened::Directory(Arc::new(HostDirectory { file, read_only: self.read_only })));
        }
        Ok(Opened::File(Arc::new(HostFile::opened(file.into(), filetype, how.flags)?)))
    }

    fn stat(&self) -> Result<Filestat, Errno> {
        Ok(filestat(&rustix::fs::fstat(&self.file)?))
    }

    fn read(&self, cookie: u64, visit: &mut dyn FnMut(Entry<'_>) -> bool) -> Result<(), Errno> {
        // Keeps I2: the position is set by each call, whoever read before.
        rustix::fs::seek(&self.file, SeekFrom::Start(cookie))?;
        let mut buffer = [MaybeUninit::uninit(); 8192];
        let mut entries = RawDir::new(self.file.as_fd(), &mut buffer);
        while let Some(entry) = entries.next() {
            let entry = entry?;
            let name = entry.file_name().to_bytes();
            let mut filetype = Filetype::from(entry.file_type());
            if entry.file_type() == rustix::fs::FileType::Unknown {
                // Not all file systems tell. A name of one component that is no link is safe to ask for.
                let stat = rustix::fs::statat(&self.file, entry.file_name(), AtFlags::SYMLINK_NOFOLLOW);
                filetype = stat.map_or(Filetype::Unknown, |stat| super::file::filetype(&stat));
            }
            // Keeps I3.
            let ino = if name == b".." { 0 } else { entry.ino() };
            if !visit(Entry { name, ino, filetype, next: entry.next_entry_cookie() }) {
                break;
            }
        }
        Ok(())
    }

    fn stat_at(&self, path: &str, followed: bool) -> Result<Filestat, Errno> {
        // The resolver's own way is the faster one, but it forgets slashes at the end.
        if needs_directory(path) {
            return Ok(filestat(&rustix::fs::fstat(self.locate(path, true)?)?));
        }
        if seeded_bug(8) && !path.contains("..") {
            let flags = if followed { AtFlags::empty() } else { AtFlags::SYMLINK_NOFOLLOW };
            return Ok(filestat(&rustix::fs::statat(&self.file, path, flags)?));
        }
        let found = cap::stat(&self.file, Path::new(path), follow(followed))?;
        let time = |tv_sec, tv_nsec| nanoseconds(Timespec { tv_sec, tv_nsec });
        Ok(Filestat {
            dev: found.dev(),
            ino: found.ino(),
            filetype: rustix::fs::FileType::from_raw_mode(found.mode()).into(),
            nlink: found.nlink(),
            size: found.size(),
            atim: time(found.atime(), found.atime_nsec()),
            mtim: time(found.mtime(), found.mtime_nsec()),
            ctim: time(found.ctime(), found.ctime_nsec()),
        })
    }

    fn blocks(&self) -> bool {
        true
    }

    fn read_only(&self) -> bool {
        self.read_only
    }

    fn set_times(&self, times: Times) -> Result<(), Errno> {
        Ok(rustix::fs::futimens(self.writable()?, &timestamps(times))?)
    }

    fn sync(&self, metadata: bool) -> Result<(), Errno> {
        sync(self.file.as_fd(), metadata)
    }

    fn set_times_at(&self, path: &str, followed: bool, times: Times) -> Result<(), Errno> {
        self.writable()?;
        // The thing is found, not opened: opening a FIFO or a device would act on it.
        let found = self.locate(path, followed)?;
        Ok(rustix::fs::utimensat(&found, c"", &timestamps(times), AtFlags::EMPTY_PATH)?)
    }

    fn create_directory(&self, path: &str) -> Result<(), Errno> {
        Ok(cap::create_dir(self.writable()?, Path::new(path), &cap::DirOptions::new())?)
    }

    fn link(&self, path: &str, to: &dyn Directory, new: &str) -> Result<(), Errno> {
        let to = same_kind(to)?;
        // Keeps I4 for both ends, like the next.
        Ok(cap::hard_link(self.writable()?, Path::new(path), to.writable()?, Path::new(new))?)
    }

    fn rename(&self, path: &str, to: &dyn Directory, new: &str) -> Result<(), Errno> {
        let to = same_kind(to)?;
        Ok(cap::rename(self.writable()?, Path::new(path), to.writable()?, Path::new(new))?)
    }

    fn symlink(&self, target: &str, path: &str) -> Result<(), Errno> {
        Ok(cap::symlink(Path::new(target), self.writable()?, Path::new(path))?)
    }

    fn read_link(&self, path: &str) -> Result<Vec<u8>, Errno> {
        let target = cap::read_link(&self.file, Path::new(path))?;
        Ok(target.into_os_string().into_encoded_bytes())
    }

    fn remove_directory(&self, path: &str) -> Result<(), Errno> {
        // A slash at the end means nothing here, but to the resolver it is a dot, which cannot be removed.
        let stripped = path.trim_end_matches('/');
        let path = if stripped.is_empty() { path } else { stripped };
        Ok(cap::remove_dir(self.writable()?, Path::new(path))?)
    }

    fn unlink(&self, path: &str) -> Result<(), Errno> {
        Ok(cap::remove_file(self.writable()?, Path::new(path))?)
    }
}

fn follow(followed: bool) -> FollowSymlinks {
    if followed { FollowSymlinks::Yes } else { FollowSymlinks::No }
}

/// Whether a path says by its end that it means a directory, so that a link there is followed.
fn needs_directory(path: &str) -> bool {
    path.ends_with('/') || path.ends_with("/.")
}

/// Whether the last name of a path is `.` or `..`.
fn ends_in_dots(path: &str) -> bool {
    matches!(path.trim_end_matches('/').rsplit('/').next(), Some("." | ".."))
}

fn is_directory(file: &StdFile) -> Result<bool, Errno> {
    Ok(filetype(&rustix::fs::fstat(file)?) == Filetype::Directory)
}

fn same_kind(directory: &dyn Directory) -> Result<&HostDirectory, Errno> {
    (directory as &dyn Any).downcast_ref().ok_or(Errno::Xdev)
}

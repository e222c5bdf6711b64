//! Keeping the cache small: what was not used for longest goes first, and what killed writers left goes at once.
//!
//! A sweep reads the folders of all builds, so it is not made for each entry: once a minute, or when a large entry came.
//! Only what looks like the cache's own is ever touched: folders `v` + 32 hexadecimal digits, in them entries of 64
//! digits and temporary files. Two sweeps at once delete the same things, which does no harm.

use std::ffi::OsString;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::ffi::OsStringExt;
use std::path::Path;
use std::time::{Duration, SystemTime};

use rustix::fs::{AtFlags, Dir, FileType, FlockOperation, Mode, OFlags, Timespec, Timestamps};

use super::folder::{self, Folders};

/// The file whose time is that of the last sweep.
const STAMP: &str = "swept";
/// Between sweeps, unless there is a reason.
const PERIOD: Duration = Duration::from_secs(60);
/// Temporary files begin so.
const TEMPORARY: &str = "tmp-";
/// A temporary file this old has no living writer, whatever its lock says.
const ABANDONED: Duration = Duration::from_secs(3600);
/// Entries of other builds go if nobody used them for so long.
const OTHER_BUILDS: Duration = Duration::from_secs(30 * 24 * 3600);

/// A name for a file that is being written.
pub fn temporary_name() -> String {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    format!("{TEMPORARY}{:x}-{:x}", std::process::id(), now.as_nanos())
}

/// What stands in the cache.
#[derive(Debug, Default)]
pub struct Survey {
    /// The folders of builds.
    pub builds: Vec<Build>,
    /// Every entry.
    pub entries: Vec<Found>,
    /// Temporary files.
    pub temporaries: Vec<Found>,
    /// Things that are not the cache's, and are left alone.
    pub foreign: usize,
}

/// The folder of a build.
#[derive(Debug)]
pub struct Build {
    name: OsString,
    folder: OwnedFd,
}

/// A file in it.
#[derive(Debug)]
pub struct Found {
    /// Position of its folder.
    build: usize,
    name: OsString,
    /// When it was last used.
    pub used: SystemTime,
    /// Its length.
    pub bytes: u64,
}

impl Survey {
    /// Reads all folders. What cannot be read is as good as absent.
    pub fn new(root: &OwnedFd) -> Survey {
        let mut survey = Survey::default();
        for name in names(root) {
            if name == STAMP {
                continue;
            }
            let is_build = name.as_bytes().split_first().is_some_and(|(v, id)| *v == b'v' && is_hex(id, 32));
            let opened = || folder::open_folder(root, Path::new(&name), OFlags::NOFOLLOW).ok().flatten();
            match is_build.then(opened).flatten() {
                Some(folder) => survey.builds.push(Build { name, folder }),
                None => survey.foreign += 1,
            }
        }
        for build in 0..survey.builds.len() {
            survey.read(build);
        }
        survey
    }

    fn read(&mut self, build: usize) {
        for name in names(&self.builds[build].folder) {
            let folder = &self.builds[build].folder;
            let Ok(stat) = rustix::fs::statat(folder, &name, AtFlags::SYMLINK_NOFOLLOW) else { continue };
            let is_file = FileType::from_raw_mode(stat.st_mode) == FileType::RegularFile;
            let found = |name| Found {
                build,
                name,
                used: folder::used(&stat),
                bytes: u64::try_from(stat.st_size).unwrap_or(0),
            };
            if is_file && is_hex(name.as_bytes(), 64) {
                self.entries.push(found(name));
            } else if is_file && name.as_bytes().starts_with(TEMPORARY.as_bytes()) {
                self.temporaries.push(found(name));
            } else {
                self.foreign += 1;
            }
        }
    }

    /// Is it of this build?
    pub fn is_own(&self, entry: &Found) -> bool {
        *self.builds[entry.build].name == *folder::own_name()
    }

    fn remove(&self, found: &Found) -> bool {
        folder::remove(&self.builds[found.build].folder, &found.name)
    }

    /// Takes away what killed writers left: a living one holds a lock.
    pub fn remove_abandoned(&self, now: SystemTime) -> usize {
        let dead = |found: &&Found| {
            let old = now.duration_since(found.used).is_ok_and(|age| age > ABANDONED);
            old || self.is_unlocked(found)
        };
        self.temporaries.iter().filter(dead).filter(|found| self.remove(found)).count()
    }

    fn is_unlocked(&self, found: &Found) -> bool {
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let folder = &self.builds[found.build].folder;
        let Ok(file) = rustix::fs::openat(folder, &found.name, flags, Mode::empty()) else { return false };
        rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive).is_ok()
    }

    /// Takes away every entry, and the folders that are empty then. Gives number and bytes.
    pub fn remove_all(&self) -> (usize, u64) {
        let removed: Vec<u64> =
            self.entries.iter().filter(|entry| self.remove(entry)).map(|entry| entry.bytes).collect();
        (removed.len(), removed.iter().sum())
    }

    /// Takes away the folders of builds that have nothing in them any more.
    pub fn remove_empty(&self, root: &OwnedFd, own_too: bool) {
        let own = folder::own_name();
        for build in self.builds.iter().filter(|build| own_too || *build.name != *own) {
            // Refused by the kernel if anything is in it.
            let _ = rustix::fs::unlinkat(root, &build.name, AtFlags::REMOVEDIR);
        }
    }

    /// Takes away entries of other builds that nobody uses, then the least recently used until a tenth of the limit is
    /// free.
    fn evict(&mut self, limit: u64, now: SystemTime) {
        let stale = |survey: &Survey, entry: &Found| {
            !survey.is_own(entry) && now.duration_since(entry.used).is_ok_and(|age| age > OTHER_BUILDS)
        };
        let entries = std::mem::take(&mut self.entries);
        let (stale, mut entries): (Vec<_>, Vec<_>) =
            entries.into_iter().partition(|entry| stale(self, entry));
        for entry in &stale {
            self.remove(entry);
        }
        let mut bytes: u64 = entries.iter().map(|entry| entry.bytes).sum();
        if bytes > limit {
            entries.sort_by_key(|entry| entry.used);
            for entry in &entries {
                if bytes <= limit - limit / 10 {
                    break;
                }
                self.remove(entry);
                bytes -= entry.bytes;
            }
        }
    }
}

/// After an entry of so many bytes was written: a sweep, if it is time.
pub fn after_store(folders: &Folders, limit: u64, bytes: u64) {
    let now = SystemTime::now();
    if bytes < limit / 64 && swept_lately(&folders.root, now) {
        return;
    }
    stamp(&folders.root);
    let mut survey = Survey::new(&folders.root);
    survey.remove_abandoned(now);
    survey.evict(limit, now);
    survey.remove_empty(&folders.root, false);
}

fn swept_lately(root: &OwnedFd, now: SystemTime) -> bool {
    rustix::fs::statat(root, STAMP, AtFlags::SYMLINK_NOFOLLOW)
        .is_ok_and(|stat| now.duration_since(folder::used(&stat)).is_ok_and(|age| age < PERIOD))
}

fn stamp(root: &OwnedFd) {
    let flags = OFlags::CREATE | OFlags::WRONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    if let Ok(file) = rustix::fs::openat(root, STAMP, flags, Mode::RUSR | Mode::WUSR) {
        let now = Timespec { tv_sec: 0, tv_nsec: rustix::fs::UTIME_NOW };
        let _ = rustix::fs::futimens(&file, &Timestamps { last_access: now, last_modification: now });
    }
}

/// Forgets when the last sweep was.
pub fn remove_stamp(root: &OwnedFd) {
    folder::remove(root, STAMP);
}

fn names(folder: &OwnedFd) -> Vec<OsString> {
    let Ok(dir) = Dir::read_from(folder) else { return Vec::new() };
    let names = dir.flatten().map(|entry| OsString::from_vec(entry.file_name().to_bytes().to_vec()));
    names.filter(|name| name != "." && name != "..").collect()
}

fn is_hex(text: &[u8], len: usize) -> bool {
    text.len() == len && text.iter().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
}

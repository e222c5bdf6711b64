//! The cache's folders and entries, opened so that nothing of another user's is ever used (K1).
//!
//! Each folder is opened once, checked by its descriptor, and what is in it is opened relative to that: whatever happens
//! to the names above it, what was checked is what is used.

use std::ffi::OsStr;
use std::fmt;
use std::fs::File;
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use rustix::fs::{AtFlags, CWD, FileType, Mode, OFlags, Stat};
use rustix::io::Errno;

use super::identity;

/// Why something of the cache is not used.
#[derive(Debug)]
pub struct Refusal(pub String);

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The cache's folder, and in it the folder of this build.
#[derive(Debug)]
pub struct Folders {
    /// `sphex`, with a folder a build.
    pub root: OwnedFd,
    /// The folder of this build.
    pub own: OwnedFd,
}

/// An entry that may be loaded.
#[derive(Debug)]
pub struct Entry {
    /// The file.
    pub file: File,
    /// When it was last used, give or take an hour.
    pub used: SystemTime,
    /// Its length.
    pub bytes: u64,
}

/// Where caches are: an absolute `$XDG_CACHE_HOME`, else `~/.cache`; `None` if there is no home either.
pub fn base() -> Option<PathBuf> {
    let absolute = |name| std::env::var_os(name).map(PathBuf::from).filter(|path| path.is_absolute());
    absolute("XDG_CACHE_HOME").or_else(|| Some(absolute("HOME")?.join(".cache")))
}

/// The cache's folder; `None` if there is no home.
pub fn path() -> Option<PathBuf> {
    Some(base()?.join("sphex"))
}

/// The name of the folder of this build.
pub fn own_name() -> String {
    format!("v{}", identity::build())
}

impl Folders {
    /// Both folders; `None` if there are none, or no home.
    pub fn open() -> Result<Option<Folders>, Refusal> {
        let Some(root) = root()? else { return Ok(None) };
        let own = open_folder(&root, Path::new(&own_name()), OFlags::NOFOLLOW)?;
        Ok(own.map(|own| Folders { root, own }))
    }

    /// Both folders, made where they are missing.
    pub fn create() -> Result<Folders, Refusal> {
        let base = base()
            .ok_or_else(|| Refusal("neither XDG_CACHE_HOME nor HOME says where it could be".to_owned()))?;
        if let Some(folders) = Folders::open()? {
            return Ok(folders);
        }
        let made =
            |path: &Path, error: std::io::Error| Refusal(format!("cannot make {}: {error}", path.display()));
        let mut builder = std::fs::DirBuilder::new();
        std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
        let path = base.join("sphex");
        builder.recursive(true).create(&path).map_err(|error| made(&path, error))?;
        let gone = || Refusal(format!("{} went away", path.display()));
        let root = root()?.ok_or_else(gone)?;
        let name = own_name();
        match rustix::fs::mkdirat(&root, &name, Mode::RWXU) {
            Ok(()) | Err(Errno::EXIST) => {}
            Err(errno) => return Err(made(&path.join(&name), errno.into())),
        }
        let own = open_folder(&root, Path::new(&name), OFlags::NOFOLLOW)?.ok_or_else(gone)?;
        Ok(Folders { root, own })
    }
}

/// The cache's folder; `None` if there is none. It may be a link: what counts is whose folder it leads to.
pub fn root() -> Result<Option<OwnedFd>, Refusal> {
    match path() {
        Some(path) => open_folder(CWD, &path, OFlags::empty()),
        None => Ok(None),
    }
}

/// A folder of the user's alone; `None` if there is nothing of that name.
pub fn open_folder(at: impl AsFd, path: &Path, flags: OFlags) -> Result<Option<OwnedFd>, Refusal> {
    let refuse = |what: &dyn fmt::Display| Refusal(format!("{}: {what}", path.display()));
    let flags = flags | OFlags::DIRECTORY | OFlags::RDONLY | OFlags::CLOEXEC;
    let folder = match rustix::fs::openat(at, path, flags, Mode::empty()) {
        Ok(folder) => folder,
        Err(Errno::NOENT) => return Ok(None),
        Err(errno) => return Err(refuse(&std::io::Error::from(errno))),
    };
    let stat = rustix::fs::fstat(&folder).map_err(|errno| refuse(&std::io::Error::from(errno)))?;
    check(&stat).map_err(|what| refuse(&what)).map(|()| Some(folder))
}

/// An entry; `None` if there is none of that name.
pub fn open_entry(folder: &OwnedFd, name: &str) -> Result<Option<Entry>, Refusal> {
    let refuse = |what: &dyn fmt::Display| Refusal(format!("entry {name}: {what}"));
    // NONBLOCK: a FIFO of that name must not make us wait.
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
    let file = match rustix::fs::openat(folder, name, flags, Mode::empty()) {
        Ok(file) => file,
        Err(Errno::NOENT) => return Ok(None),
        Err(errno) => return Err(refuse(&std::io::Error::from(errno))),
    };
    let stat = rustix::fs::fstat(&file).map_err(|errno| refuse(&std::io::Error::from(errno)))?;
    check(&stat).map_err(|what| refuse(&what))?;
    if FileType::from_raw_mode(stat.st_mode) != FileType::RegularFile {
        return Err(refuse(&"not an ordinary file"));
    }
    Ok(Some(Entry { file: File::from(file), used: used(&stat), bytes: stat.st_size as u64 }))
}

/// Takes an entry away, whatever it is (but for a folder).
pub fn remove(folder: &OwnedFd, name: impl AsRef<OsStr>) -> bool {
    rustix::fs::unlinkat(folder, name.as_ref(), AtFlags::empty()).is_ok()
}

/// When it was last used.
pub fn used(stat: &Stat) -> SystemTime {
    let since = Duration::new(u64::try_from(stat.st_mtime).unwrap_or(0), stat.st_mtime_nsec as u32);
    SystemTime::UNIX_EPOCH + since
}

/// Does it belong to this user, and can nobody else write it? The bits of the group are also the most that an access
/// control list grants.
fn check(stat: &Stat) -> Result<(), String> {
    let user = rustix::process::geteuid().as_raw();
    let mode = stat.st_mode & 0o7777;
    if stat.st_uid != user {
        return Err(format!("belongs to user {}, not to {user}", stat.st_uid));
    }
    if mode & 0o022 != 0 {
        return Err(format!("others may write it (mode {mode:o}); chmod go-w makes it usable"));
    }
    Ok(())
}

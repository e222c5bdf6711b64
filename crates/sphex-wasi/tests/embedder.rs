//! What an embedder brings itself: a file system in memory, other clocks, other random numbers.

mod guest;

use guest::Guest;
use sphex_wasi::files::{Directory, Entry, File, HostDirectory, OpenHow, Opened, SetTime, Times, Whence};
use sphex_wasi::preview1::{fd_read, fd_write};
use sphex_wasi::random::Random;
use sphex_wasi::{Errno, FdFlags, Filestat, Filetype, OFlags, WasiCtx};
use std::collections::BTreeMap;
use std::io::{IoSlice, IoSliceMut};
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, Mutex};

/// A directory of files, no deeper.
#[derive(Default)]
struct Memory {
    files: Mutex<BTreeMap<String, Arc<Mutex<Vec<u8>>>>>,
}

struct MemoryFile {
    bytes: Arc<Mutex<Vec<u8>>>,
    position: Mutex<usize>,
}

impl File for MemoryFile {
    fn filetype(&self) -> Filetype {
        Filetype::RegularFile
    }

    fn read(&self, buffers: &mut [IoSliceMut<'_>]) -> Result<usize, Errno> {
        let (bytes, mut position) = (self.bytes.lock().unwrap(), self.position.lock().unwrap());
        let before = *position;
        for buffer in buffers {
            let len = buffer.len().min(bytes.len() - *position);
            buffer[..len].copy_from_slice(&bytes[*position..*position + len]);
            *position += len;
        }
        Ok(*position - before)
    }

    fn write(&self, buffers: &[IoSlice<'_>]) -> Result<usize, Errno> {
        let mut bytes = self.bytes.lock().unwrap();
        let before = bytes.len();
        buffers.iter().for_each(|buffer| bytes.extend_from_slice(buffer));
        *self.position.lock().unwrap() = bytes.len();
        Ok(bytes.len() - before)
    }

    fn seek(&self, offset: i64, whence: Whence) -> Result<u64, Errno> {
        if whence != Whence::Set {
            return Err(Errno::NotSup);
        }
        *self.position.lock().unwrap() = offset as usize;
        Ok(offset as u64)
    }
}

impl Directory for Memory {
    fn open(&self, path: &str, how: &OpenHow) -> Result<Opened, Errno> {
        let mut files = self.files.lock().unwrap();
        if how.oflags.contains(OFlags::CREAT) {
            files.entry(path.into()).or_default();
        }
        let bytes = files.get(path).ok_or(Errno::NoEnt)?.clone();
        Ok(Opened::File(Arc::new(MemoryFile { bytes, position: Mutex::new(0) })))
    }

    fn stat(&self) -> Result<Filestat, Errno> {
        Ok(Filestat { filetype: Filetype::Directory, ..Filestat::default() })
    }

    fn read(&self, cookie: u64, visit: &mut dyn FnMut(Entry<'_>) -> bool) -> Result<(), Errno> {
        for (index, name) in self.files.lock().unwrap().keys().enumerate().skip(cookie as usize) {
            let (name, next) = (name.as_bytes(), index as u64 + 1);
            if !visit(Entry { name, ino: next, filetype: Filetype::RegularFile, next }) {
                break;
            }
        }
        Ok(())
    }

    fn stat_at(&self, path: &str, _: bool) -> Result<Filestat, Errno> {
        let files = self.files.lock().unwrap();
        let size = files.get(path).ok_or(Errno::NoEnt)?.lock().unwrap().len() as u64;
        Ok(Filestat { filetype: Filetype::RegularFile, size, ..Filestat::default() })
    }

    fn read_only(&self) -> bool {
        false
    }
}

#[test]
fn a_file_system_in_memory() {
    let memory = Arc::new(Memory::default());
    let mut builder = WasiCtx::builder();
    builder.directory(memory.clone(), "/mem").unwrap().preopen(Path::new("/"), "/host", true).unwrap();
    let mut guest = Guest::with(builder.build(), Path::new("/"));
    guest.script(
        "here",
        "fd_prestat_dir_name 3 4 = ok /mem\npath_open 3 f a c rw - - -> a\nfd_write a hello = ok 5\nfd_seek a 1 0 = ok 1
         fd_read a 9 = ok ello\nfd_pread a 1 0 = spipe\npath_filestat_get 3 - a = ok file 5\nfd_filestat_get 3 = ok dir
         path_open 3 f b - r - - = noent\npath_create_directory 3 d = rofs\npath_unlink_file 3 a = rofs
         path_readlink 3 a 9 = inval\nfd_sync 3\npath_rename 3 a 3 b = rofs\nfd_filestat_set_times 3 0 0 M = rofs",
    );
    assert_eq!(guest.readdir(3, 99, 0).len(), 25);
    assert_eq!(*memory.files.lock().unwrap()["a"].lock().unwrap(), b"hello");
}

/// A context goes wherever its store goes.
#[test]
fn a_context_may_move_to_another_thread() {
    fn check<T: Send + Sync>() {}
    check::<WasiCtx>();
    check::<sphex_wasi::Interrupt>();
}

#[test]
fn other_random_numbers() {
    struct Seven;
    impl Random for Seven {
        fn fill(&self, bytes: &mut [u8]) -> Result<(), Errno> {
            bytes.fill(7);
            Ok(())
        }
    }
    let mut builder = WasiCtx::builder();
    builder.random(Box::new(Seven));
    let mut guest = Guest::with(builder.build(), Path::new("/"));
    guest.script("here", "random_get 4");
    assert_eq!(guest.memory[0x4000..0x4005], [7, 7, 7, 7, 0]);
}

/// A host directory that is read-only refuses by itself, whatever rights a descriptor of it has. So do those of another
/// kind where two are needed.
#[test]
fn a_read_only_directory_refuses_by_itself() {
    let root = tempfile::tempdir().unwrap();
    std::fs::create_dir(root.path().join("d")).unwrap();
    std::fs::write(root.path().join("f"), "text").unwrap();
    let open = |read_only| HostDirectory::open_ambient(root.path(), read_only).unwrap();
    let (fixed, free, memory) = (open(true), open(false), Memory::default());
    let times = Times { accessed: SetTime::Now, modified: SetTime::To(1) };
    let how = |write, oflags| OpenHow { read: true, write, follow: true, oflags, ..OpenHow::default() };
    let refused = [
        fixed.create_directory("new"),
        fixed.symlink("f", "new"),
        fixed.unlink("f"),
        fixed.remove_directory("d"),
        fixed.rename("f", &free, "new"),
        free.rename("f", &fixed, "new"),
        fixed.link("f", &free, "new"),
        free.link("f", &fixed, "new"),
        fixed.set_times(times),
        fixed.set_times_at("f", true, times),
        fixed.open("f", &how(true, OFlags::empty())).map(|_| ()),
        fixed.open("f", &how(false, OFlags::TRUNC)).map(|_| ()),
        fixed.open("new", &how(false, OFlags::CREAT)).map(|_| ()),
        fixed.open("new", &how(false, OFlags::CREAT | OFlags::EXCL)).map(|_| ()),
    ];
    for (number, outcome) in refused.into_iter().enumerate() {
        assert_eq!(outcome, Err(Errno::Rofs), "{number}");
    }
    // What is opened through it is so as well.
    let Ok(Opened::Directory(inner)) = fixed.open("d", &how(false, OFlags::DIRECTORY)) else { panic!() };
    assert_eq!((inner.read_only(), inner.create_directory("new")), (true, Err(Errno::Rofs)));
    assert_eq!(std::fs::read(root.path().join("f")).unwrap(), b"text");
    assert_eq!(std::fs::read_dir(root.path()).unwrap().count(), 2);
    // Another kind of directory is another file system.
    assert_eq!(free.rename("f", &memory, "new"), Err(Errno::Xdev));
    assert_eq!(free.link("f", &memory, "new"), Err(Errno::Xdev));
}

/// A stream that is always ready, and counts what it is asked.
struct Ready {
    pipe: std::io::PipeReader,
    now: AtomicUsize,
    other: AtomicUsize,
}

impl File for Ready {
    fn filetype(&self) -> Filetype {
        Filetype::Unknown
    }

    fn read_now(&self, buffers: &mut [IoSliceMut<'_>], _: Option<u64>) -> Result<Option<usize>, Errno> {
        self.now.fetch_add(1, Relaxed);
        Ok(Some(buffers.iter().map(|buffer| buffer.len()).sum()))
    }

    fn write_now(&self, buffers: &[IoSlice<'_>]) -> Result<Option<usize>, Errno> {
        self.now.fetch_add(1, Relaxed);
        Ok(Some(buffers.iter().map(|buffer| buffer.len()).sum()))
    }

    fn flags(&self) -> Result<FdFlags, Errno> {
        self.other.fetch_add(1, Relaxed);
        Ok(FdFlags::empty())
    }

    fn read(&self, _: &mut [IoSliceMut<'_>]) -> Result<usize, Errno> {
        self.other.fetch_add(1, Relaxed);
        Err(Errno::Io)
    }

    fn write(&self, _: &[IoSlice<'_>]) -> Result<usize, Errno> {
        self.other.fetch_add(1, Relaxed);
        Err(Errno::Io)
    }

    fn wait_on(&self) -> Option<std::os::fd::BorrowedFd<'_>> {
        Some(std::os::fd::AsFd::as_fd(&self.pipe))
    }
}

/// What is ready is read and written by one call each: nothing is asked or watched before, though someone could interrupt.
#[test]
fn a_stream_that_is_ready_is_asked_once() {
    let (pipe, _writer) = std::io::pipe().unwrap();
    let stream = Arc::new(Ready { pipe, now: AtomicUsize::new(0), other: AtomicUsize::new(0) });
    let mut builder = WasiCtx::builder();
    builder.stdin(stream.clone()).stdout(stream.clone());
    let mut guest = Guest::with(builder.build(), Path::new("."));
    let _interrupt = guest.ctx.interrupt().unwrap();
    for _ in 0..5 {
        guest.memory[..8].copy_from_slice(&[0, 64, 0, 0, 7, 0, 0, 0]);
        guest.call(|ctx, memory| fd_write(ctx, memory, 1, 0, 1, 16)).unwrap();
        guest.call(|ctx, memory| fd_read(ctx, memory, 0, 0, 1, 16)).unwrap();
        assert_eq!(guest.u32(16), 7);
    }
    assert_eq!((stream.now.load(Relaxed), stream.other.load(Relaxed)), (10, 0));
}

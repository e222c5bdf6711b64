//! What one guest may see: arguments, environment, descriptors, clocks, random numbers.
//!
//! *Needs* what the embedder puts in. *Gives* a [`WasiCtx`] for the host functions. The descriptor table holds
//! [`Descriptor`]s: things behind reference-counted traits, with rights that only ever get fewer.

use crate::clocks::{Clocks, HostClocks, timespec};
use crate::files::{Directory, File, HostDirectory};
use crate::later::Later;
use crate::random::{HostRandom, Random};
use crate::sockets::Socket;
use crate::streams::{HostStream, Null};
use crate::{Errno, FdFlags, Rights};
use rustix::event::{EventfdFlags, PollFd};
use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

/// Everything that one guest has of the world.
pub struct WasiCtx {
    pub(crate) args: Vec<Vec<u8>>,
    pub(crate) env: Vec<Vec<u8>>,
    pub(crate) table: Table,
    pub(crate) clocks: Box<dyn Clocks>,
    pub(crate) random: Box<dyn Random>,
    pub(crate) interrupt: Option<Interrupt>,
    pub(crate) refused: Refused,
    pub(crate) wake: Wake,
    /// When the `poll_oneoff` began that is being repeated.
    pub(crate) began: Option<u64>,
    /// Set while a call does not wait itself.
    pub(crate) later: Option<Mutex<Later>>,
    pub(crate) hostcall_limit: usize,
}

/// What a guest was refused, for a host that tells why a program failed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Refused {
    /// It looked for directories, or used one, and was given no descriptor beyond the standard streams.
    pub directories: bool,
    /// It tried to change something in a read-only directory.
    pub writing: bool,
    /// It tried what its directories do not permit, such as a path that leads out of them.
    pub outside: bool,
}

/// How a store stops what its guest waits for.
pub(crate) enum Wake {
    /// No store: functions are called without an engine.
    Nobody,
    /// There is a store; whoever wants to wait asks for it ([`Fault::Look`](crate::preview1::Fault::Look)).
    Ask,
    /// This, for the present call.
    Store(sphex::Interruption),
}

impl WasiCtx {
    /// A builder: no arguments, no environment, no directories; standard streams that are empty and swallow.
    pub fn builder() -> WasiCtxBuilder {
        WasiCtxBuilder {
            args: Vec::new(),
            env: Vec::new(),
            streams: [const { None }; 3],
            opened: Vec::new(),
            clocks: Box::new(HostClocks),
            random: Box::new(HostRandom),
            hostcall_limit: HOSTCALL_LIMIT,
            max_descriptors: MAX_DESCRIPTORS,
        }
    }

    /// A handle by which another thread or a signal handler ends whatever the guest waits for in a host function: sleep,
    /// poll, read, write, accept. The call then stops the guest with `Stop::Interrupted`.
    ///
    /// In an engine it is not needed: what stops the store's wasm (`Store::interrupt_handle`, epochs, deadlines) ends
    /// waits, too. Without any of these, calls wait in the kernel with nothing else to watch.
    pub fn interrupt(&mut self) -> Result<Interrupt, Errno> {
        if let Some(interrupt) = &self.interrupt {
            return Ok(interrupt.clone());
        }
        let event = rustix::event::eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?;
        let interrupt = Interrupt { inner: Arc::new(Fired { fired: AtomicBool::new(false), event }) };
        self.interrupt = Some(interrupt.clone());
        Ok(interrupt)
    }

    /// What the guest was refused so far.
    pub fn refused(&self) -> Refused {
        self.refused
    }

    /// Remembers what an error code means that the guest gets.
    pub(crate) fn refuse(&mut self, errno: Errno) {
        match errno {
            Errno::Badf if self.table.len() <= 3 => self.refused.directories = true,
            Errno::Rofs => self.refused.writing = true,
            Errno::Perm | Errno::NotCapable => self.refused.outside = true,
            _ => {}
        }
    }

    /// The descriptor of that number.
    pub fn descriptor(&self, fd: u32) -> Result<&Descriptor, Errno> {
        self.table.get(fd)
    }

    /// Gives the guest another descriptor.
    pub fn push(&mut self, descriptor: Descriptor) -> Result<u32, Errno> {
        self.table.push(descriptor)
    }
}

/// Ends what a guest waits for. Clones are the same handle.
#[derive(Clone)]
pub struct Interrupt {
    inner: Arc<Fired>,
}

struct Fired {
    fired: AtomicBool,
    event: OwnedFd,
}

impl Interrupt {
    /// Ends the present wait and every later one. May be called from a signal handler: it is a store and a `write`.
    pub fn fire(&self) {
        self.inner.fired.store(true, Ordering::SeqCst);
        let _ = rustix::io::write(&self.inner.event, &1u64.to_ne_bytes());
    }

    /// Lets the guest wait again.
    pub fn reset(&self) {
        self.inner.fired.store(false, Ordering::SeqCst);
        let _ = rustix::io::read(&self.inner.event, &mut [0; 8]);
    }

    /// Whether it has been fired.
    pub fn fired(&self) -> bool {
        self.inner.fired.load(Ordering::SeqCst)
    }

    /// The descriptor that becomes readable when it is fired.
    pub(crate) fn wait_on(&self) -> BorrowedFd<'_> {
        self.inner.event.as_fd()
    }
}

/// Sleeps for so many nanoseconds at most, watching `fds`.
pub(crate) fn poll(fds: &mut [PollFd<'_>], nanoseconds: Option<u64>) -> Result<usize, Errno> {
    let timeout = nanoseconds.map(timespec);
    Ok(rustix::event::poll(fds, timeout.as_ref())?)
}

/// What a descriptor names.
#[derive(Clone)]
pub enum Object {
    /// A file or a stream.
    File(Arc<dyn File>),
    /// A directory.
    Directory(Arc<dyn Directory>),
    /// A socket.
    Socket(Arc<dyn Socket>),
}

impl Object {
    /// A host descriptor to wait on; `None` if it never makes anyone wait.
    pub(crate) fn wait_on(&self) -> Option<BorrowedFd<'_>> {
        match self {
            Object::File(file) => file.wait_on(),
            Object::Socket(socket) => socket.wait_on(),
            Object::Directory(_) => None,
        }
    }
}

/// A thing that the guest has open, and what it may do with it.
#[derive(Clone)]
pub struct Descriptor {
    /// The thing.
    pub object: Object,
    /// What may be done with it.
    pub(crate) rights: Rights,
    /// What may be done with things opened through it.
    pub(crate) inheriting: Rights,
    /// By which name the guest knows it from the start.
    pub(crate) preopen: Option<Arc<str>>,
}

/// Rights that change what is on the disk: those that a read-only directory does not have.
pub(crate) const CHANGING: Rights = Rights::PATH_CREATE_DIRECTORY
    .union(Rights::PATH_CREATE_FILE)
    .union(Rights::PATH_LINK_SOURCE)
    .union(Rights::PATH_LINK_TARGET)
    .union(Rights::PATH_RENAME_SOURCE)
    .union(Rights::PATH_RENAME_TARGET)
    .union(Rights::PATH_FILESTAT_SET_SIZE)
    .union(Rights::PATH_FILESTAT_SET_TIMES)
    .union(Rights::PATH_SYMLINK)
    .union(Rights::PATH_REMOVE_DIRECTORY)
    .union(Rights::PATH_UNLINK_FILE)
    .union(Rights::FD_WRITE)
    .union(Rights::FD_ALLOCATE)
    .union(Rights::FD_FILESTAT_SET_SIZE)
    .union(Rights::FD_FILESTAT_SET_TIMES);

impl Descriptor {
    /// A file or stream with those of the rights that mean something for one.
    pub fn file(file: Arc<dyn File>, rights: Rights) -> Descriptor {
        let rights = rights & Rights::FILE;
        Descriptor { object: Object::File(file), rights, inheriting: Rights::empty(), preopen: None }
    }

    /// A directory with those of the rights that mean something for one; a read-only one has none that change it. What
    /// may be opened for writing through it is left to the directory, which then says EROFS.
    pub fn directory(directory: Arc<dyn Directory>, rights: Rights, inheriting: Rights) -> Descriptor {
        let mut rights = rights & Rights::DIRECTORY;
        if directory.read_only() {
            rights &= !CHANGING;
        }
        let inheriting = inheriting & Rights::INHERITABLE;
        Descriptor { object: Object::Directory(directory), rights, inheriting, preopen: None }
    }

    /// A socket.
    pub fn socket(socket: Arc<dyn Socket>) -> Descriptor {
        let (rights, inheriting) = (Rights::SOCKET, Rights::SOCKET);
        Descriptor { object: Object::Socket(socket), rights, inheriting, preopen: None }
    }

    /// What may be done with it, and with what is opened through it.
    pub fn rights(&self) -> (Rights, Rights) {
        (self.rights, self.inheriting)
    }

    /// Drops all other rights; ENOTCAPABLE if any of these is not there.
    pub(crate) fn narrow(&mut self, base: Rights, inheriting: Rights) -> Result<(), Errno> {
        if !self.rights.contains(base) || !self.inheriting.contains(inheriting) {
            return Err(Errno::NotCapable);
        }
        (self.rights, self.inheriting) = (base, inheriting);
        Ok(())
    }

    /// The file or socket as a stream, if it has the rights. For a directory, `otherwise`.
    pub(crate) fn as_file(&self, needed: Rights, otherwise: Errno) -> Result<&dyn File, Errno> {
        let file: &dyn File = match &self.object {
            Object::File(file) => &**file,
            Object::Socket(socket) => &**socket,
            Object::Directory(_) => return Err(otherwise),
        };
        self.require(needed)?;
        Ok(file)
    }

    /// As `as_directory`, to be kept.
    pub(crate) fn to_directory(&self, needed: Rights) -> Result<Arc<dyn Directory>, Errno> {
        self.as_directory(needed)?;
        match &self.object {
            Object::Directory(directory) => Ok(directory.clone()),
            _ => Err(Errno::NotDir),
        }
    }

    /// The directory, if it has the rights. ENOTDIR for anything else.
    pub(crate) fn as_directory(&self, needed: Rights) -> Result<&dyn Directory, Errno> {
        let Object::Directory(directory) = &self.object else {
            return Err(Errno::NotDir);
        };
        if !self.rights.contains(needed) && directory.read_only() && CHANGING.contains(needed) {
            return Err(Errno::Rofs);
        }
        self.require(needed)?;
        Ok(&**directory)
    }

    /// The socket, if it has the rights. ENOTSOCK for anything else.
    pub(crate) fn as_socket(&self, needed: Rights) -> Result<&dyn Socket, Errno> {
        let Object::Socket(socket) = &self.object else {
            return Err(Errno::NotSock);
        };
        self.require(needed)?;
        Ok(&**socket)
    }

    /// A descriptor that is not open for reading or writing is EBADF, as everywhere; any other right is a capability.
    pub(crate) fn require(&self, needed: Rights) -> Result<(), Errno> {
        let missing = needed.difference(self.rights);
        if missing.is_empty() {
            Ok(())
        } else if missing.intersects(Rights::FD_READ | Rights::FD_WRITE) {
            Err(Errno::Badf)
        } else {
            Err(Errno::NotCapable)
        }
    }

    /// The modes of a file or socket; a directory has none.
    pub(crate) fn flags(&self) -> Result<FdFlags, Errno> {
        self.as_file(Rights::empty(), Errno::IsDir).map_or(Ok(FdFlags::empty()), |file| file.flags())
    }
}

/// The guest's descriptors. The lowest free number is the next one.
pub(crate) struct Table {
    slots: Vec<Option<Descriptor>>,
    most: usize,
    free: BinaryHeap<Reverse<u32>>,
}

/// The most descriptors that a guest has, if nothing else is said: a bound on memory for things that are no descriptors
/// of the host.
const MAX_DESCRIPTORS: usize = 1 << 20;

/// The most bytes that one host call moves, if nothing else is said.
pub(crate) const HOSTCALL_LIMIT: usize = 128 << 20;

impl Table {
    /// One more than the largest descriptor that there ever was.
    pub(crate) fn len(&self) -> usize {
        self.slots.len()
    }

    pub(crate) fn get(&self, fd: u32) -> Result<&Descriptor, Errno> {
        self.slots.get(fd as usize).and_then(Option::as_ref).ok_or(Errno::Badf)
    }

    pub(crate) fn get_mut(&mut self, fd: u32) -> Result<&mut Descriptor, Errno> {
        self.slots.get_mut(fd as usize).and_then(Option::as_mut).ok_or(Errno::Badf)
    }

    pub(crate) fn push(&mut self, descriptor: Descriptor) -> Result<u32, Errno> {
        if let Some(Reverse(fd)) = self.free.pop() {
            self.slots[fd as usize] = Some(descriptor);
            return Ok(fd);
        }
        if self.slots.len() >= self.most {
            return Err(Errno::Mfile);
        }
        self.slots.push(Some(descriptor));
        Ok(self.slots.len() as u32 - 1)
    }

    pub(crate) fn remove(&mut self, fd: u32) -> Result<Descriptor, Errno> {
        let removed = self.slots.get_mut(fd as usize).and_then(Option::take).ok_or(Errno::Badf)?;
        self.free.push(Reverse(fd));
        Ok(removed)
    }

    /// Moves a descriptor onto another, which it gives, to be closed. Both must be open.
    pub(crate) fn renumber(&mut self, from: u32, to: u32) -> Result<Option<Descriptor>, Errno> {
        self.get(from)?;
        self.get(to)?;
        if from == to {
            return Ok(None);
        }
        let moved = self.remove(from)?;
        Ok(Some(std::mem::replace(self.get_mut(to)?, moved)))
    }
}

/// What is wrong with what a context was to be made of.
#[derive(Debug, thiserror::Error)]
pub enum BuildError {
    /// A string that the guest could not tell from a shorter one.
    #[error("{what} {text:?} contains a NUL byte")]
    Nul {
        /// `argument`, `environment variable` or `directory name`.
        what: &'static str,
        /// The string.
        text: String,
    },
    /// A name that would end in its middle.
    #[error("environment variable name {0:?} is empty or contains \"=\"")]
    EnvironmentName(String),
    /// A directory that cannot be had.
    #[error("cannot open directory {}: {errno}", path.display())]
    Directory {
        /// Its path.
        path: PathBuf,
        /// Why not.
        errno: Errno,
    },
}

/// Puts a [`WasiCtx`] together.
pub struct WasiCtxBuilder {
    args: Vec<Vec<u8>>,
    env: Vec<Vec<u8>>,
    streams: [Option<Arc<dyn File>>; 3],
    opened: Vec<Descriptor>,
    clocks: Box<dyn Clocks>,
    random: Box<dyn Random>,
    hostcall_limit: usize,
    max_descriptors: usize,
}

impl WasiCtxBuilder {
    /// Adds an argument; the first is the program's name.
    pub fn arg(&mut self, arg: impl Into<Vec<u8>>) -> Result<&mut Self, BuildError> {
        self.args.push(without_nul("argument", arg.into())?);
        Ok(self)
    }

    /// Sets an environment variable.
    pub fn env(&mut self, name: &str, value: &str) -> Result<&mut Self, BuildError> {
        if name.is_empty() || name.contains('=') {
            return Err(BuildError::EnvironmentName(name.into()));
        }
        let entry = without_nul("environment variable", format!("{name}={value}").into())?;
        let prefix = &entry[..=name.len()];
        self.env.retain(|old| !old.starts_with(prefix));
        self.env.push(entry);
        Ok(self)
    }

    /// Opens a directory of the host for the guest, which knows it as `guest`.
    pub fn preopen(&mut self, host: &Path, guest: &str, read_only: bool) -> Result<&mut Self, BuildError> {
        let directory = HostDirectory::open_ambient(host, read_only)
            .map_err(|errno| BuildError::Directory { path: host.into(), errno })?;
        self.directory(Arc::new(directory), guest)
    }

    /// Gives the guest a directory of the embedder's own kind.
    pub fn directory(&mut self, directory: Arc<dyn Directory>, guest: &str) -> Result<&mut Self, BuildError> {
        without_nul("directory name", guest.into())?;
        let mut descriptor = Descriptor::directory(directory, Rights::DIRECTORY, Rights::INHERITABLE);
        descriptor.preopen = Some(guest.into());
        // Before any socket: guests look for preopened directories from 3 up, until a number that is none.
        let at = self.opened.iter().take_while(|opened| opened.preopen.is_some()).count();
        self.opened.insert(at, descriptor);
        Ok(self)
    }

    /// Gives the guest a socket, numbered after the directories.
    pub fn socket(&mut self, socket: Arc<dyn Socket>) -> &mut Self {
        self.opened.push(Descriptor::socket(socket));
        self
    }

    /// Standard input.
    pub fn stdin(&mut self, stream: Arc<dyn File>) -> &mut Self {
        self.streams[0] = Some(stream);
        self
    }

    /// Standard output.
    pub fn stdout(&mut self, stream: Arc<dyn File>) -> &mut Self {
        self.streams[1] = Some(stream);
        self
    }

    /// Standard error.
    pub fn stderr(&mut self, stream: Arc<dyn File>) -> &mut Self {
        self.streams[2] = Some(stream);
        self
    }

    /// This process's three standard streams.
    pub fn inherit_stdio(&mut self) -> &mut Self {
        self.stdin(Arc::new(HostStream::stdin()));
        self.stdout(Arc::new(HostStream::stdout()));
        self.stderr(Arc::new(HostStream::stderr()))
    }

    /// Other clocks than the host's.
    pub fn clocks(&mut self, clocks: Box<dyn Clocks>) -> &mut Self {
        self.clocks = clocks;
        self
    }

    /// Other random numbers than the host's.
    pub fn random(&mut self, random: Box<dyn Random>) -> &mut Self {
        self.random = random;
        self
    }

    /// The most bytes that the guest can make the host move or hold in one call; 128 MiB if nothing is said.
    ///
    /// A read, write, send or receive of more moves so many and says so; random numbers, a listing of a directory or a
    /// list of subscriptions for more are EINVAL. Paths are bounded by [`MAX_PATH`](crate::preview1::MAX_PATH), lists of
    /// buffers by [`MAX_BUFFERS`](crate::preview1::MAX_BUFFERS). At least one: a guest that writes nothing tries again for ever.
    pub fn hostcall_limit(&mut self, bytes: usize) -> &mut Self {
        self.hostcall_limit = bytes.max(1);
        self
    }

    /// The most descriptors that the guest may have open, those that it begins with included; one more is EMFILE. 2^20 if
    /// nothing is said.
    pub fn max_descriptors(&mut self, count: usize) -> &mut Self {
        self.max_descriptors = count;
        self
    }

    /// The context.
    pub fn build(self) -> WasiCtx {
        let mut slots = Vec::with_capacity(8);
        for (number, stream) in self.streams.into_iter().enumerate() {
            let input = Rights::FILE.difference(CHANGING);
            let rights = if number == 0 { input } else { Rights::FILE.difference(Rights::FD_READ) };
            slots.push(Some(Descriptor::file(stream.unwrap_or_else(|| Arc::new(Null)), rights)));
        }
        slots.extend(self.opened.into_iter().map(Some));
        let table = Table { slots, most: self.max_descriptors, free: BinaryHeap::new() };
        let WasiCtxBuilder { args, env, clocks, random, hostcall_limit, .. } = self;
        let (interrupt, wake, began, later) = (None, Wake::Nobody, None, None);
        let refused = Refused::default();
        WasiCtx { args, env, table, clocks, random, interrupt, wake, began, later, hostcall_limit, refused }
    }
}

fn without_nul(what: &'static str, bytes: Vec<u8>) -> Result<Vec<u8>, BuildError> {
    if bytes.contains(&0) {
        return Err(BuildError::Nul { what, text: String::from_utf8_lossy(&bytes).into_owned() });
    }
    Ok(bytes)
}

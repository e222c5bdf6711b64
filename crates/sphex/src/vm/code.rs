//! Machine code: artifacts that are mapped, and the registry that finds them by pc.
//!
//! The registry is a sorted table behind one atomic pointer. A reader (the trap handler) counts itself in, loads the
//! pointer and bisects: no lock, no allocation. A writer makes a new table, swaps the pointer and waits until no reader
//! is left that may hold the old one.
//!
//! - **C1.** An entry of the registry points to a `Code` that is alive: it is taken out before the `Code` is unmapped.
//! - **C2.** Text is never writable after it is executable: not where it is executable, and once somebody may run it,
//!   nowhere (of lazy code see `lazy`, L1).

use std::borrow::Cow;
use std::fs::File;
use std::io::{self, Write};
use std::ops::Range;
use std::os::fd::{AsFd, BorrowedFd};
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicPtr, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use sphex_artifact::read::Frame;
use sphex_artifact::sections::{SectionId, TrapRow};
use sphex_artifact::{ArtifactView, Description, Index};

use super::debugger::{self, Registered};
use super::lazy::Lazy;
use super::profile;
use super::sys::{Mapping, Protection, page_size};
use crate::engine::Engine;
use crate::error::{Error, ErrorKind, Result};
use crate::module::Module;

/// An artifact that is mapped and can be run.
#[derive(Debug)]
pub(crate) struct Code {
    mapping: Mapping,
    len: usize,
    index: Index,
    description: Description,
    /// The file behind the mapping, for memory images.
    file: File,
    unwind: AtomicBool,
    debugger: OnceLock<Option<Registered>>,
    /// Where the artifact has no code, because functions are compiled when they are called: what compiles them.
    lazy: Option<Box<Lazy>>,
}

impl Code {
    /// Maps an artifact from its bytes, by way of a file in memory; `verify` also compares the hash of code and data.
    pub(crate) fn from_bytes(engine: &Engine, bytes: &[u8], verify: bool) -> Result<Arc<Code>> {
        let file = memory_file(bytes)?;
        Code::from_file(engine, file, verify)
    }

    /// Maps the artifact of a module that is compiled lazily.
    #[cfg(all(feature = "compiler", target_os = "linux", target_arch = "x86_64"))]
    pub(crate) fn from_lazy(engine: &Engine, skeleton: &[u8], lazy: Lazy) -> Result<Arc<Code>> {
        let mut code = Code::map(engine, memory_file(skeleton)?, skeleton.len() as u64, false)?;
        code.lazy = Some(Box::new(lazy));
        let code = Arc::new(code);
        register(&code);
        Ok(code)
    }

    /// Maps an artifact from a file.
    pub(crate) fn from_file(engine: &Engine, file: File, verify: bool) -> Result<Arc<Code>> {
        let len = file.metadata().map_err(|error| Error::system("cannot map the artifact", error))?.len();
        Code::from_file_start(engine, file, len, verify)
    }

    /// Maps an artifact from the first `len` bytes of a file, which has them.
    fn from_file_start(engine: &Engine, file: File, len: u64, verify: bool) -> Result<Arc<Code>> {
        let code = Arc::new(Code::map(engine, file, len, verify)?);
        register(&code);
        Ok(code)
    }

    fn map(engine: &Engine, file: File, len: u64, verify: bool) -> Result<Code> {
        let system = |error| Error::system("cannot map the artifact", error);
        let len = usize::try_from(len).map_err(|_| system(io::ErrorKind::OutOfMemory.into()))?;
        let mapping = Mapping::file(file.as_fd(), len, Protection::Read).map_err(system)?;
        // SAFETY: the mapping has `len` bytes, which no one writes: the mapping is private, and who changes the file
        // under it breaks the promise of `Module::deserialize_file`.
        let bytes = unsafe { std::slice::from_raw_parts(mapping.base(), len) };
        let index = Index::parse(bytes).map_err(artifact_error)?;
        let view = index.view(bytes).ok_or_else(|| Error::new(ErrorKind::Artifact, "no view"))?;
        engine.check_header(view.header())?;
        if verify {
            view.verify_bulk().map_err(artifact_error)?;
        }
        let description = view.description().map_err(artifact_error)?;
        let unwind = AtomicBool::new(false);
        let debugger = OnceLock::new();
        let mut code = Code { mapping, len, index, description, file, unwind, debugger, lazy: None };
        let text = code.index.section(SectionId::Text);
        let end = text.end.next_multiple_of(page_size());
        code.mapping.protect(text.start..end, Protection::ReadExecute).map_err(system)?;
        tracing::debug!(bytes = len, text = text.len(), address = code.text().start, "loaded");
        Ok(code)
    }

    /// The artifact's bytes as they are mapped.
    pub(crate) fn bytes(&self) -> &[u8] {
        // SAFETY: as in `from_file`; the mapping lives as long as `self`.
        unsafe { std::slice::from_raw_parts(self.mapping.base(), self.len) }
    }

    /// The artifact's bytes; those of a lazy module's are made by compiling all of it.
    pub(crate) fn artifact(&self) -> Result<Cow<'_, [u8]>> {
        match &self.lazy {
            Some(lazy) => lazy.whole().map(Cow::Owned),
            None => Ok(Cow::Borrowed(self.bytes())),
        }
    }

    /// What compiles its functions when they are called, if that is so.
    pub(crate) fn lazy(&self) -> Option<&Lazy> {
        self.lazy.as_deref()
    }

    /// How many functions have code.
    pub(crate) fn compiled(&self) -> usize {
        let all = || self.view().map_or(0, |view| view.function_count());
        self.lazy().map_or_else(all, Lazy::compiled)
    }

    /// The trap that a fault at this pc of its text means. Called by the signal handler.
    pub(crate) fn trap_at(&self, pc: usize) -> Option<TrapRow> {
        match &self.lazy {
            Some(lazy) => lazy.trap_at(pc),
            None => self.view()?.trap_at(u32::try_from(pc.checked_sub(self.text().start)?).ok()?),
        }
    }

    /// The wasm frames at this pc of its text, innermost first.
    pub(crate) fn frames_at(&self, pc: usize, see: impl FnMut(Frame)) {
        let offset = pc.wrapping_sub(self.text().start) as u32;
        match (&self.lazy, self.view()) {
            (Some(lazy), _) => lazy.frames_at(pc).for_each(see),
            (None, Some(view)) => view.frames_at(offset).for_each(see),
            (None, None) => {}
        }
    }

    /// The artifact's tables; of a lazy module, those that do not depend on code.
    pub(crate) fn view(&self) -> Option<ArtifactView<'_>> {
        self.index.view(self.bytes())
    }

    /// What the artifact describes.
    pub(crate) fn description(&self) -> &Description {
        &self.description
    }

    /// The bytes of a section for debuggers; empty if there is none.
    pub(crate) fn debug_section(&self, name: &str) -> &[u8] {
        let found = self.index.debug_sections().iter().find(|(n, _)| n == name);
        found.and_then(|(_, range)| self.bytes().get(range.clone())).unwrap_or(&[])
    }

    /// The file that holds memory images, and where in it they begin.
    pub(crate) fn image_file(&self) -> (BorrowedFd<'_>, u64) {
        (self.file.as_fd(), self.index.section(SectionId::Data).start as u64)
    }

    /// Bytes of memory images and segments.
    pub(crate) fn data(&self) -> &[u8] {
        self.bytes().get(self.index.section(SectionId::Data)).unwrap_or(&[])
    }

    /// The address of a function's code, or of what has it compiled first.
    pub(crate) fn function(&self, module: u32, function: u32) -> Option<*const u8> {
        if let Some(lazy) = &self.lazy {
            return lazy.function(function);
        }
        let row = self.view()?.function(module, function)?;
        let text = self.index.section(SectionId::Text);
        (row.start as usize <= text.len()).then(|| {
            // SAFETY: the offset is inside the text, which is inside the mapping.
            unsafe { self.mapping.base().add(text.start + row.start as usize).cast_const() }
        })
    }

    /// The addresses of the text.
    pub(crate) fn text(&self) -> Range<usize> {
        if let Some(lazy) = &self.lazy {
            return lazy.text();
        }
        let text = self.index.section(SectionId::Text);
        let base = self.mapping.base() as usize;
        base + text.start..base + text.end
    }

    /// Tells unwinder, debugger and profiler of this code, as the engine's configuration asks.
    pub(crate) fn make_known(&self, engine: &Engine) -> Result<()> {
        let host = &engine.config().host;
        if let Some(lazy) = &self.lazy {
            lazy.make_known(host);
            return Ok(());
        }
        if host.native_unwind {
            self.register_unwind();
        }
        if host.native_debug {
            self.register_debugger();
        }
        host.profiler.map_or(Ok(()), |profiler| profile::tell(self, profiler))
    }

    /// Puts the text on pages that no file is behind. For profilers, when the code has just been loaded: nobody runs it
    /// yet.
    pub(crate) fn detach_text(&self) -> io::Result<()> {
        let text = self.index.section(SectionId::Text);
        let pages = text.start..text.end.next_multiple_of(page_size());
        // SAFETY: the pages hold the same bytes as before in the end; nobody runs or reads them before the module that
        // this code is loaded for has been given out. keeps C2: they become executable after they were written.
        unsafe { self.mapping.detach(pages, Protection::ReadExecute) }
    }

    /// Makes the unwind records known to the platform's unwinder, until the code is unmapped.
    pub(crate) fn register_unwind(&self) {
        if let Some(lazy) = &self.lazy {
            return lazy.register_unwind();
        }
        let frames = self.index.section(SectionId::EhFrame);
        if !frames.is_empty() && !self.unwind.swap(true, Ordering::SeqCst) {
            // SAFETY: the reader has checked that the section is a terminated list of records.
            unsafe { unwinder::register(self.bytes()[frames].as_ptr()) }
        }
    }

    /// Makes functions and unwind records known to a debugger, until the code is unmapped.
    pub(crate) fn register_debugger(&self) {
        self.debugger.get_or_init(|| debugger::register(self.bytes(), self.mapping.base() as usize));
    }
}

impl Drop for Code {
    fn drop(&mut self) {
        self.debugger.take();
        if *self.unwind.get_mut() {
            let frames = self.index.section(SectionId::EhFrame);
            // SAFETY: registered by `register_unwind` with the same address.
            unsafe { unwinder::deregister(self.bytes()[frames].as_ptr()) }
        }
        if let Some(lazy) = &self.lazy {
            lazy.forget();
        }
        // keeps C1
        unregister(self.text());
    }
}

/// A file in memory with these bytes.
fn memory_file(bytes: &[u8]) -> Result<File> {
    let system = |error| Error::system("cannot make a file in memory for code", error);
    let flags = rustix::fs::MemfdFlags::CLOEXEC;
    let fd = rustix::fs::memfd_create("sphex-code", flags).map_err(|e| system(e.into()))?;
    let mut file = File::from(fd);
    file.write_all(bytes).map_err(system)?;
    Ok(file)
}

fn artifact_error(error: impl std::error::Error + Send + Sync + 'static) -> Error {
    Error::with_source(ErrorKind::Artifact, error.to_string(), error)
}

#[cfg(all(target_os = "linux", target_env = "gnu"))]
pub(super) mod unwinder {
    unsafe extern "C" {
        fn __register_frame(frames: *const u8);
        fn __deregister_frame(frames: *const u8);
    }

    /// Registers a terminated list of unwind records.
    pub(in crate::vm) unsafe fn register(frames: *const u8) {
        // SAFETY: the caller's promise.
        unsafe { __register_frame(frames) }
    }

    /// Takes it back.
    pub(in crate::vm) unsafe fn deregister(frames: *const u8) {
        // SAFETY: the caller's promise.
        unsafe { __deregister_frame(frames) }
    }
}

#[cfg(not(all(target_os = "linux", target_env = "gnu")))]
pub(super) mod unwinder {
    /// Other unwinders take one record at a time; not supported.
    pub(in crate::vm) unsafe fn register(_: *const u8) {}
    /// Nothing was registered.
    pub(in crate::vm) unsafe fn deregister(_: *const u8) {}
}

struct Entry {
    text: Range<usize>,
    code: *const Code,
}

static TABLE: AtomicPtr<Vec<Entry>> = AtomicPtr::new(std::ptr::null_mut());
static READERS: AtomicUsize = AtomicUsize::new(0);
static WRITER: Mutex<()> = Mutex::new(());

fn register(code: &Arc<Code>) {
    let entry = Entry { text: code.text(), code: Arc::as_ptr(code) };
    replace(|table| {
        let at = table.partition_point(|other| other.text.start < entry.text.start);
        table.insert(at, entry);
    });
}

fn unregister(text: Range<usize>) {
    replace(|table| table.retain(|entry| entry.text != text));
}

fn replace(change: impl FnOnce(&mut Vec<Entry>)) {
    let _writer = WRITER.lock().unwrap_or_else(PoisonError::into_inner);
    let old = TABLE.load(Ordering::SeqCst);
    let mut new: Vec<Entry> = if old.is_null() {
        Vec::new()
    } else {
        // SAFETY: only a writer frees a table, and we are the only writer.
        let old = unsafe { &*old };
        old.iter().map(|entry| Entry { text: entry.text.clone(), code: entry.code }).collect()
    };
    change(&mut new);
    TABLE.store(Box::into_raw(Box::new(new)), Ordering::SeqCst);
    while READERS.load(Ordering::SeqCst) != 0 {
        std::thread::yield_now();
    }
    if !old.is_null() {
        // SAFETY: it came from `Box::into_raw`; no reader is left that loaded it before the store above.
        drop(unsafe { Box::from_raw(old) });
    }
}

/// Calls `f` with the code whose text contains `pc`. Safe in a signal handler if `f` is.
pub(crate) fn with_code_at<R>(pc: usize, f: impl FnOnce(&Code) -> Option<R>) -> Option<R> {
    READERS.fetch_add(1, Ordering::SeqCst);
    let table = TABLE.load(Ordering::SeqCst);
    let found = if table.is_null() {
        None
    } else {
        // SAFETY: a table that was loaded while we are counted in is not freed before we are counted out.
        let table = unsafe { &*table };
        let at = table.partition_point(|entry| entry.text.end <= pc);
        // SAFETY: C1: a `Code` waits for readers before it goes.
        table.get(at).filter(|entry| entry.text.contains(&pc)).and_then(|entry| f(unsafe { &*entry.code }))
    };
    READERS.fetch_sub(1, Ordering::SeqCst);
    found
}

/// The code whose text contains `pc`, which the caller's store keeps alive (V3).
pub(crate) fn code_at(pc: usize) -> Option<Arc<Code>> {
    with_code_at(pc, |code| {
        // SAFETY: every registered `Code` is in an `Arc`; V3 says that its count is not zero.
        unsafe {
            Arc::increment_strong_count(code);
            Some(Arc::from_raw(code))
        }
    })
}

impl Module {
    /// Loads a module from the bytes of an artifact that [`Module::serialize`] or the compiler made.
    ///
    /// # Safety
    ///
    /// An artifact is machine code, which is run as it is. Damage of its tables is found, and so is an artifact of
    /// another build, target or CPU; an artifact that someone forged is not. The bytes must come from this compiler.
    pub unsafe fn deserialize(engine: &Engine, bytes: &[u8]) -> Result<Module> {
        Module::from_code(engine, Code::from_bytes(engine, bytes, engine.config().host.verify_artifacts)?)
    }

    /// Loads a module from an artifact in a file, which is mapped.
    ///
    /// # Safety
    ///
    /// As [`Module::deserialize`]; and no one may change or shorten the file while the module or anything made from
    /// it lives. (Replacing it by renaming another file over it is fine.)
    pub unsafe fn deserialize_file(engine: &Engine, path: impl AsRef<Path>) -> Result<Module> {
        let path = path.as_ref();
        let file = File::open(path)
            .map_err(|error| Error::system(&format!("cannot open {}", path.display()), error))?;
        // SAFETY: the caller's promise.
        unsafe { Module::deserialize_open_file(engine, file) }
            .map_err(|error| error.context(path.display().to_string()))
    }

    /// As [`Module::deserialize_file`], of a file that is open for reading.
    ///
    /// # Safety
    ///
    /// As [`Module::deserialize_file`].
    pub unsafe fn deserialize_open_file(engine: &Engine, file: File) -> Result<Module> {
        let code = Code::from_file(engine, file, engine.config().host.verify_artifacts)?;
        Module::from_code(engine, code)
    }

    /// As [`Module::deserialize_open_file`], of the first `len` bytes of a file; what stands behind them is the caller's.
    ///
    /// # Safety
    ///
    /// As [`Module::deserialize_file`].
    pub unsafe fn deserialize_open_file_start(engine: &Engine, file: File, len: u64) -> Result<Module> {
        let found = file.metadata().map_err(|error| Error::system("cannot map the artifact", error))?.len();
        if found < len {
            let message = format!("expected an artifact of {len} bytes, found a file of {found}");
            return Err(Error::new(ErrorKind::Artifact, message));
        }
        let code = Code::from_file_start(engine, file, len, engine.config().host.verify_artifacts)?;
        Module::from_code(engine, code)
    }
}

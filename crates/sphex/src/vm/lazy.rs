//! Code that is made when it is first called.
//!
//! A lazy module's code stands in a range of address space of its own: *slots*, a word a function, which are data; then
//! the *text*: a *stub* a function, and behind the stubs the functions in the order in which they were called first.
//!
//! ```text
//! stub:  jmp [slot]         to the function, or at first to the next line
//!        mov eax, position
//!        jmp tail           jmp [slot 0]: to `stubs::resolve`, which saves the arguments, calls `resolve` here, restores
//!                           them and jumps to the function
//! ```
//!
//! Generated code is as ever: a call goes to the stub, or to the function if that has code when the caller is compiled. So
//! do references to functions. The text is mapped twice, once to be written and once to be run (`sys::executable`).
//!
//! - **L1.** What stands in the text up to `State::end` never changes. A function is placed under the lock, behind all
//!   others; its records are published after its bytes, and its slot is set after its records: whoever jumps by the slot
//!   finds code, and whoever asks for a pc of that code finds its records.
//! - **L2.** `functions[..published]` are in order of address and live as long as the `Lazy`. The signal handler reads them:
//!   no lock, nothing allocated.
//! - **L3.** A function is compiled by one thread at a time; others that want the same wait, others that want another do
//!   not. No lock is held meanwhile.
//! - **L4.** A compilation wants a large stack, and does not run on wasm's where that may be small: a fiber's, or what a
//!   deep recursion has left of the thread's.
//! - **L5.** The pages of the text are shared with processes that are forked from this one, which run what is there and
//!   write nothing.

use std::fmt;
use std::ops::Range;
use std::panic;
use std::ptr;
use std::slice;
use std::sync::atomic::{AtomicPtr, AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

use rustc_hash::FxHashSet;
use sphex_artifact::read::Frame;
use sphex_artifact::records::FunctionRecords;
use sphex_artifact::sections::TrapRow;
use sphex_artifact::vmctx::VmHeader;

use super::builtins::guarded;
use super::code::{Code, unwinder};
use super::debugger::{self, Registered};
use super::fiber::Fiber;
use super::profile;
use super::stacks::Stacks;
use super::store::store_of;
use super::stubs;
use super::sys::{self, Mapping, Protection, executable, page_size};
use crate::compiler::{self, LazyModule, Placed, Settings, Unplaced, Worker};
use crate::config::{Host, Profiler};
use crate::error::{Error, ErrorKind, Result};

/// Bytes of a stub, and of the tail in front of them.
const STUB: usize = 16;
/// Where in a stub its slot points to at first.
const SECOND_HALF: usize = 6;
/// Bytes of text for each byte of wasm, and for each function: more than any that somebody wrote has needed.
const ROOM: (usize, usize) = (64, 512);
/// Bytes of text that there are at least. (It is address space.)
const LEAST_TEXT: usize = 8 << 20;
/// Bytes of text: what is within reach of a call.
const MOST_TEXT: usize = 1 << 30;
/// Bytes of stack with which a compilation begins at least.
const ENOUGH_STACK: usize = 1 << 20;
/// Bytes of the stacks that compilations have where there is less.
const STACK: usize = 2 << 20;
/// Workers that are kept, with their memory.
const WORKERS: usize = 4;

/// A module's functions, and the code of those that were called.
pub(crate) struct Lazy {
    source: Source,
    /// Slots, then text.
    space: Mapping,
    /// The pages of the text once more.
    writable: Mapping,
    /// Where the text begins.
    slots_end: usize,
    /// Those that have code (L2).
    functions: Box<[AtomicPtr<Function>]>,
    published: AtomicUsize,
    state: Mutex<State>,
    /// Somebody has finished a compilation.
    changed: Condvar,
    stacks: Stacks,
    /// A process that is forked from this one shares the text: it must not write to it.
    process: u32,
}

/// What only one thread uses at a time.
struct State {
    /// Bytes of text that are taken.
    end: usize,
    /// Positions of functions that are being compiled.
    busy: FxHashSet<usize>,
    /// How many threads wait for another's compilation: to wake nobody costs a system call.
    waiting: usize,
    workers: Vec<Worker>,
    /// Make unwind records known to the platform's unwinder.
    unwind: bool,
    /// Make functions known to debuggers.
    debugger: bool,
    profiler: Option<Profiler>,
}

/// A function that has code.
struct Function {
    /// Where, from the start of the text.
    start: usize,
    records: FunctionRecords,
    /// Where its unwind records are, from the start of the text.
    eh_frame: usize,
    _debugger: Option<Registered>,
}

/// A module, and the bytes that it borrows.
struct Source {
    // In front of the bytes: dropped first.
    module: LazyModule<'static>,
    _wasm: Arc<Vec<u8>>,
}

impl Source {
    /// Reads a module; gives its artifact without code, too.
    fn new(wasm: Vec<u8>, settings: &Settings) -> Result<(Source, Vec<u8>)> {
        let wasm = Arc::new(wasm);
        // SAFETY: the bytes stay where they are, and as they are, until the `Arc` is dropped, which the source does behind
        // the module. No method of the module gives out what borrows from them.
        let bytes: &'static [u8] = unsafe { slice::from_raw_parts(wasm.as_ptr(), wasm.len()) };
        let (module, skeleton) = LazyModule::new(bytes, settings).map_err(compiler::error)?;
        Ok((Source { module, _wasm: wasm }, skeleton))
    }
}

impl Lazy {
    /// Reads a module, of which nothing is compiled yet; gives its artifact without code, too.
    pub(crate) fn new(wasm: Vec<u8>, settings: &Settings) -> Result<(Lazy, Vec<u8>)> {
        let system = |error| Error::system("cannot reserve address space for code", error);
        let (source, skeleton) = Source::new(wasm, settings)?;
        let count = source.module.functions().len();
        let stubs = STUB * (count + 1);
        let room = source.module.code_bytes().saturating_mul(ROOM.0).saturating_add(count * ROOM.1);
        let page = page_size().max(64 << 10);
        let text = (stubs + room.clamp(LEAST_TEXT, MOST_TEXT)).next_multiple_of(page);
        let slots_end = (size_of::<usize>() * (count + 1)).next_multiple_of(page);
        let mut space = Mapping::reserve(slots_end + text).map_err(system)?;
        space.protect(0..slots_end, Protection::ReadWrite).map_err(system)?;
        // SAFETY: the pages were just reserved.
        let writable =
            unsafe { executable::map_twice(&space, slots_end..slots_end + text) }.map_err(system)?;
        let state = State {
            end: stubs,
            busy: FxHashSet::default(),
            waiting: 0,
            workers: Vec::new(),
            unwind: false,
            debugger: false,
            profiler: None,
        };
        let lazy = Lazy {
            source,
            space,
            writable,
            slots_end,
            functions: (0..count).map(|_| AtomicPtr::new(ptr::null_mut())).collect(),
            published: AtomicUsize::new(0),
            state: Mutex::new(state),
            changed: Condvar::new(),
            stacks: Stacks::new(STACK),
            process: std::process::id(),
        };
        lazy.write_stubs(count);
        Ok((lazy, skeleton))
    }

    /// Writes the stubs and sets the slots.
    fn write_stubs(&self, count: usize) {
        let slot = |number: usize, field_end: usize| {
            let distance = (number * size_of::<usize>()) as i64 - (self.slots_end + field_end) as i64;
            (distance as i32).to_le_bytes()
        };
        // SAFETY: the text is larger than its stubs; nobody else has its address yet.
        let stubs = unsafe { slice::from_raw_parts_mut(self.writable.base(), STUB * (count + 1)) };
        // Every distance is less than `MOST_TEXT` and what stubs and slots take, which is less than 2 GiB: a module has
        // a million functions at most.
        for (i, stub) in stubs.as_chunks_mut::<STUB>().0.iter_mut().enumerate() {
            let at = i * STUB;
            stub.fill(0xcc);
            stub[..2].copy_from_slice(&[0xff, 0x25]);
            stub[2..6].copy_from_slice(&slot(i, at + 6));
            if i > 0 {
                stub[6] = 0xb8;
                stub[7..11].copy_from_slice(&(i as u32 - 1).to_le_bytes());
                stub[11] = 0xe9;
                stub[12..].copy_from_slice(&(-((at + STUB) as i32)).to_le_bytes());
                self.slot(i - 1).store(self.unresolved(i - 1), Ordering::Relaxed);
            }
        }
        self.word(0).store(stubs::resolve as *const () as usize, Ordering::Release);
    }

    /// A word of the slots.
    fn word(&self, number: usize) -> &AtomicUsize {
        assert!((number + 1) * size_of::<usize>() <= self.slots_end);
        // SAFETY: it lies within the slots, which are mapped to be written and nothing but such words.
        unsafe { &*self.space.base().cast::<AtomicUsize>().add(number) }
    }

    /// Where the function at this position is, or its stub's second half.
    fn slot(&self, position: usize) -> &AtomicUsize {
        self.word(position + 1)
    }

    /// What the slot of a function holds that has no code.
    fn unresolved(&self, position: usize) -> usize {
        self.text().start + STUB * (position + 1) + SECOND_HALF
    }

    /// The addresses of stubs and code, with the room that there is.
    pub(crate) fn text(&self) -> Range<usize> {
        let base = self.space.base().addr();
        base + self.slots_end..base + self.space.len()
    }

    /// How many functions have code.
    pub(crate) fn compiled(&self) -> usize {
        self.published.load(Ordering::Acquire)
    }

    /// Compiles the whole module to its artifact.
    pub(crate) fn whole(&self) -> Result<Vec<u8>> {
        self.source.module.whole().map_err(compiler::error)
    }

    /// The address of a function: of its code, or of its stub.
    pub(crate) fn function(&self, function: u32) -> Option<*const u8> {
        let at = self.offset(function)?;
        Some(self.space.base().wrapping_add(self.slots_end + at))
    }

    /// The same from the start of the text.
    fn offset(&self, function: u32) -> Option<usize> {
        let functions = self.source.module.functions();
        let position = functions.contains(&function).then(|| (function - functions.start) as usize)?;
        let at = self.slot(position).load(Ordering::Acquire);
        let stub = STUB * (position + 1);
        Some(if at == self.unresolved(position) { stub } else { at - self.text().start })
    }

    /// The function whose code contains this pc.
    fn function_at(&self, pc: usize) -> Option<(&Function, u32)> {
        let offset = pc.checked_sub(self.text().start)?;
        let known = self.functions.get(..self.published.load(Ordering::Acquire))?;
        // SAFETY: L2.
        let function = |at: &AtomicPtr<Function>| unsafe { &*at.load(Ordering::Relaxed) };
        let position = known.partition_point(|at| function(at).start <= offset).checked_sub(1)?;
        let found = function(known.get(position)?);
        let at = u32::try_from(offset - found.start).ok()?;
        (at < found.records.len).then_some((found, at))
    }

    /// The trap that a fault at this pc means. Called by the signal handler.
    pub(crate) fn trap_at(&self, pc: usize) -> Option<TrapRow> {
        let (function, at) = self.function_at(pc)?;
        function.records.trap_at(at)
    }

    /// The wasm frames at this pc, innermost first.
    pub(crate) fn frames_at(&self, pc: usize) -> impl Iterator<Item = Frame> + '_ {
        self.function_at(pc).into_iter().flat_map(|(function, at)| function.records.frames_at(at))
    }

    /// From now on, says what it compiles to whom the configuration names.
    pub(crate) fn make_known(&self, host: &Host) {
        let mut state = self.lock();
        state.debugger = host.native_debug;
        state.profiler = host.profiler;
        drop(state);
        if host.native_unwind {
            self.register_unwind();
        }
    }

    /// Makes unwind records known to the platform's unwinder, those that there are and those to come.
    pub(crate) fn register_unwind(&self) {
        let mut state = self.lock();
        if !std::mem::replace(&mut state.unwind, true) {
            for function in self.all() {
                // SAFETY: a terminated list of records, which the compiler made (L1).
                unsafe { unwinder::register(self.at(function.eh_frame)) }
            }
        }
    }

    /// Takes all back that was said of its code.
    pub(crate) fn forget(&self) {
        let mut state = self.lock();
        if std::mem::take(&mut state.unwind) {
            for function in self.all() {
                // SAFETY: registered with the same address.
                unsafe { unwinder::deregister(self.at(function.eh_frame)) }
            }
        }
    }

    fn all(&self) -> impl Iterator<Item = &Function> {
        // SAFETY: L2.
        self.functions[..self.compiled()].iter().map(|at| unsafe { &*at.load(Ordering::Relaxed) })
    }

    /// An address in the text, which it is within.
    fn at(&self, offset: usize) -> *const u8 {
        self.space.base().wrapping_add(self.slots_end + offset)
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The code of the function at this position, which is compiled if it has none (L3). `code` is the one that this is of.
    fn code_of(&self, code: &Code, position: usize) -> Result<*const u8> {
        let slot = self.slot(position);
        let mut state = self.lock();
        loop {
            let at = slot.load(Ordering::Acquire);
            if at != self.unresolved(position) {
                return Ok(ptr::with_exposed_provenance(at));
            }
            if state.busy.insert(position) {
                break;
            }
            state.waiting += 1;
            state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
            state.waiting -= 1;
        }
        let mut worker = state.workers.pop().unwrap_or_default();
        drop(state);
        let turn = Turn { lazy: self, position };
        let function = self.source.module.functions().start + position as u32;
        let unplaced = self.source.module.compile(function, &mut worker).map_err(compiler::error);
        let mut state = self.lock();
        if state.workers.len() < WORKERS {
            state.workers.push(worker);
        }
        let placed = unplaced.and_then(|unplaced| self.place(code, &mut state, position, unplaced));
        drop(state);
        drop(turn);
        tracing::trace!(function, ok = placed.is_ok(), "compiled when it was called");
        placed
    }

    /// Puts a function behind the others (L1).
    fn place(
        &self,
        code: &Code,
        state: &mut State,
        position: usize,
        unplaced: Unplaced,
    ) -> Result<*const u8> {
        if std::process::id() != self.process {
            let message =
                "a lazy module cannot compile in a process that was forked from the one it was made in";
            return Err(Error::new(ErrorKind::System, message));
        }
        let (size, alignment) = unplaced.size();
        let start = state.end.next_multiple_of(alignment);
        let end = start.saturating_add(size);
        if end > self.writable.len() {
            let message = format!("the code of a lazy module takes more than {} bytes", self.writable.len());
            return Err(Error::new(ErrorKind::Limit, message));
        }
        let address = |function| self.offset(function).map(|at| at as u32);
        let placed = unplaced.place(start as u32, address).map_err(compiler::error)?;
        debug_assert_eq!(placed.bytes.len(), size);
        // SAFETY: the range is within the text and behind what was placed; we have the lock, so nobody else writes there,
        // and no slot leads there yet.
        unsafe {
            let to = self.writable.base().add(start);
            ptr::copy_nonoverlapping(placed.bytes.as_ptr(), to, size);
        }
        state.end = end;
        let eh_frame = start + placed.eh_frame.start;
        let at = self.at(start);
        let debugger = if state.debugger { self.debug_image(&placed, start)? } else { None };
        if let Some(profiler) = state.profiler {
            let bytes = &placed.bytes[..placed.records.len as usize];
            profile::tell_function(code, profiler, at.addr(), bytes, &placed.records)?;
        }
        // Nothing fails from here on.
        if state.unwind {
            // SAFETY: a terminated list of records, which the compiler made, in its place (L1).
            unsafe { unwinder::register(self.at(eh_frame)) }
        }
        let function = Function { start, records: placed.records, eh_frame, _debugger: debugger };
        let published = self.published.load(Ordering::Relaxed);
        self.functions[published].store(Box::into_raw(Box::new(function)), Ordering::Relaxed);
        self.published.store(published + 1, Ordering::Release);
        self.slot(position).store(at.expose_provenance(), Ordering::Release);
        Ok(at)
    }

    /// Tells debuggers of a function.
    fn debug_image(&self, placed: &Placed, start: usize) -> Result<Option<Registered>> {
        let image = self.source.module.debug_image(placed).map_err(compiler::error)?;
        let (text, eh_frame) = (self.at(start).addr(), &placed.eh_frame);
        let eh_frame = text + eh_frame.start..text + eh_frame.end;
        Ok(debugger::register_function(&image, text..text + placed.records.len as usize, eh_frame))
    }
}

impl Drop for Lazy {
    fn drop(&mut self) {
        let published = *self.published.get_mut();
        for function in &mut self.functions[..published] {
            // SAFETY: L2: it came from a box; nobody can ask for this code any more (C1).
            drop(unsafe { Box::from_raw(*function.get_mut()) });
        }
    }
}

impl fmt::Debug for Lazy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Lazy").field("text", &self.text()).finish_non_exhaustive()
    }
}

/// A function that this thread compiles; others wait until it is dropped.
struct Turn<'a> {
    lazy: &'a Lazy,
    position: usize,
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        let mut state = self.lazy.lock();
        state.busy.remove(&self.position);
        if state.waiting > 0 {
            self.lazy.changed.notify_all();
        }
    }
}

/// Runs a compilation on this stack, or on another (L4).
fn on_large_stack<R>(stacks: &Stacks, compile: impl FnOnce() -> Result<R>) -> Result<R> {
    let here = 0u8;
    if (&raw const here).addr().saturating_sub(sys::prepare_entries()?) >= ENOUGH_STACK {
        return compile();
    }
    let mut fiber = Fiber::new(stacks.take()?, compile);
    // SAFETY: it has not run yet, and it runs on this thread, to its end: nothing on it is suspended.
    let outcome = unsafe { fiber.resume(None) };
    if let Some(stack) = fiber.into_stack() {
        stacks.give(stack);
    }
    match outcome {
        Some(Ok(result)) => result,
        Some(Err(payload)) => panic::resume_unwind(payload),
        None => Err(Error::new(ErrorKind::System, "a compilation was left before its end")),
    }
}

/// The code of a function that was called and has none; null: a trap was noted. Called by the `resolve` stub.
pub(crate) unsafe extern "C" fn resolve(vmctx: *mut VmHeader, position: u32) -> *const u8 {
    // SAFETY: called by the stub with the vmctx of the instance whose function was called, on the thread that runs it.
    let (inner, number) = unsafe { (store_of(vmctx), (*vmctx).instance.addr()) };
    let compile = |inner: &mut super::store::StoreInner| {
        let code = inner.instances[number].module.code();
        let lazy = code.lazy().ok_or_else(|| Error::new(ErrorKind::Artifact, "no function to compile"))?;
        on_large_stack(&lazy.stacks, || lazy.code_of(code, position as usize))
    };
    // SAFETY: the stub unwinds if a trap is left, as those of builtins do.
    unsafe { guarded(inner, compile) }.unwrap_or(ptr::null())
}

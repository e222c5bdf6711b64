//! `wasi-threads`: a program whose threads are instances of one module, each in a store of its own, around one memory.
//!
//! *Needs* a module that imports a shared memory and `wasi::thread-spawn`, and exports `wasi_thread_start`; and someone who
//! makes stores. *Gives* [`WasiThreads`]: each thread is one of the system's. What ends one thread other than by returning,
//! a trap or `proc_exit`, ends the program, as does the return of its first: the stores of the others are interrupted,
//! whatever they run or wait for, and the first end is the program's.

use sphex::{
    Caller, Engine, Error, ErrorKind, ExternType, FuncType, InstancePre, InterruptHandle, Linker, Module,
    Result, SharedMemory, Store, ValType,
};
use std::collections::BTreeMap;
use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, OnceLock, PoisonError};
use std::thread;

use crate::Errno;

/// The module that programs import from.
pub const MODULE: &str = "wasi";

/// The function that they import.
pub const SPAWN: &str = "thread-spawn";

/// The function that they export.
pub const START: &str = "wasi_thread_start";

/// The largest number of a thread; the smallest is 1.
const LARGEST: u32 = (1 << 29) - 1;

/// Bytes of a thread's stack that are not wasm's.
const HOST_STACK: usize = 1 << 20;

/// Makes the store of a new thread.
type Make<T> = dyn Fn(&WasiThreads<T>) -> Result<Store<T>> + Send + Sync;

/// The threads of a program. Cheap to clone.
pub struct WasiThreads<T: 'static>(Arc<Process<T>>);

struct Process<T: 'static> {
    make: Box<Make<T>>,
    most: usize,
    program: OnceLock<InstancePre<T>>,
    state: Mutex<State>,
    /// A thread has ended.
    changed: Condvar,
}

#[derive(Default)]
struct State {
    last: u32,
    /// By number; 0 is the first. `None`: it has no store yet.
    running: BTreeMap<u32, Option<InterruptHandle>>,
    /// No thread is begun any more.
    over: bool,
    /// What ended the program, if it was not the first thread.
    ended: Option<Error>,
    refused: Option<String>,
}

impl State {
    /// A number that no thread has.
    fn number(&mut self) -> u32 {
        loop {
            self.last = if self.last >= LARGEST { 1 } else { self.last + 1 };
            if !self.running.contains_key(&self.last) {
                return self.last;
            }
        }
    }

    /// Stops all threads.
    fn end(&mut self) {
        self.over = true;
        self.running.values().flatten().for_each(InterruptHandle::interrupt);
    }
}

impl<T> Clone for WasiThreads<T> {
    fn clone(&self) -> Self {
        WasiThreads(self.0.clone())
    }
}

impl<T> fmt::Debug for WasiThreads<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let running = self.lock().running.len();
        f.debug_struct("WasiThreads")
            .field("running", &running)
            .field("most", &self.0.most)
            .finish_non_exhaustive()
    }
}

impl<T: Send + 'static> WasiThreads<T> {
    /// No threads yet, and never more than `most` beside the first. `make` makes the store of each new thread, with the
    /// limits that it is to have; it is called on that thread.
    pub fn new(
        most: usize,
        make: impl Fn(&WasiThreads<T>) -> Result<Store<T>> + Send + Sync + 'static,
    ) -> WasiThreads<T> {
        WasiThreads(Arc::new(Process {
            make: Box::new(make),
            most: most.min(LARGEST as usize),
            program: OnceLock::new(),
            state: Mutex::default(),
            changed: Condvar::new(),
        }))
    }

    /// Defines `wasi::thread-spawn`. `threads` finds the program in the store's data.
    pub fn add_to_linker(
        linker: &mut Linker<T>,
        threads: impl Fn(&T) -> &WasiThreads<T> + Send + Sync + 'static,
    ) -> Result<()> {
        linker.func_wrap(MODULE, SPAWN, move |caller: Caller<'_, T>, argument: i32| -> i32 {
            let threads = threads(caller.data()).clone();
            threads.spawn(caller.engine(), argument)
        })?;
        Ok(())
    }

    /// Makes the shared memories that the module imports and nobody has defined, and defines them.
    pub fn define_memories(linker: &mut Linker<T>, module: &Module) -> Result<()> {
        for import in module.imports() {
            if let ExternType::Memory(ty) = import.ty
                && ty.shared
                && !linker.is_defined(import.module, import.name)
            {
                let memory = SharedMemory::new(module.engine(), ty)?;
                linker.shared_memory(import.module, import.name, &memory)?;
            }
        }
        Ok(())
    }

    /// Says which module the threads run. An error of kind `Link` if it does not export how a thread begins, of kind
    /// `Argument` if there is a module already.
    pub fn set_program(&self, program: InstancePre<T>) -> Result<()> {
        let expected = ExternType::Func(FuncType::new([ValType::I32, ValType::I32], []));
        let found = program.module().exports().find(|export| export.name == START).map(|export| export.ty);
        if found.as_ref() != Some(&expected) {
            let found = found.map_or_else(|| "none".to_owned(), |found| found.to_string());
            let message = format!(
                "a module that imports `{MODULE}::{SPAWN}` must export `{START}`: expected a {expected}, found {found}"
            );
            return Err(Error::new(ErrorKind::Link, message));
        }
        let set = self.0.program.set(program);
        set.map_err(|_| Error::new(ErrorKind::Argument, "the threads have a program already"))
    }

    /// Runs the first thread, then ends all others and waits until they are gone. Gives what the first thread gave, unless
    /// another one has ended the program before: then that one's trap, or error with an `exit_code()`.
    pub fn run<R>(&self, store: &mut Store<T>, first: impl FnOnce(&mut Store<T>) -> Result<R>) -> Result<R> {
        self.lock().running.insert(0, Some(store.interrupt_handle()));
        let given = first(store);
        let mut state = self.lock();
        state.running.remove(&0);
        state.end();
        while !state.running.is_empty() {
            state = self.0.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        match state.ended.take() {
            Some(ended) => Err(ended),
            None => given,
        }
    }

    /// Why the guest was refused a thread, the last time that it was.
    pub fn refused(&self) -> Option<String> {
        self.lock().refused.clone()
    }

    /// Begins a thread: its number, or an error code below zero.
    fn spawn(&self, engine: &Engine, argument: i32) -> i32 {
        let number = {
            let mut state = self.lock();
            let running = state.running.keys().filter(|number| **number > 0).count();
            if running >= self.0.most {
                let message =
                    format!("{} threads: more than the limit of {} threads", running + 1, self.0.most);
                return refuse(&mut state, message);
            }
            let number = state.number();
            state.running.insert(number, None);
            number
        };
        let stack = engine.config().host.max_wasm_stack.saturating_add(HOST_STACK);
        let threads = self.clone();
        let thread = thread::Builder::new().name(format!("wasi-thread-{number}")).stack_size(stack);
        match thread.spawn(move || threads.thread(number, argument)) {
            Ok(_) => number as i32,
            Err(error) => {
                let mut state = self.lock();
                state.running.remove(&number);
                refuse(&mut state, format!("the system gives no thread: {error}"))
            }
        }
    }

    /// A thread, from its first to its last instruction.
    fn thread(&self, number: u32, argument: i32) {
        let ended = catch_unwind(AssertUnwindSafe(|| self.run_thread(number, argument)));
        let ended = ended.unwrap_or_else(|_| Err(Error::msg("the host panicked")));
        let mut state = self.lock();
        state.running.remove(&number);
        if let Err(error) = ended
            && !state.over
        {
            let error =
                if error.exit_code().is_some() { error } else { error.context(format!("thread {number}")) };
            state.ended = Some(error);
            state.end();
        }
        self.0.changed.notify_all();
    }

    fn run_thread(&self, number: u32, argument: i32) -> Result<()> {
        let program = self.0.program.get().ok_or_else(|| Error::msg("the threads have no program"))?;
        let mut store = (self.0.make)(self)?;
        {
            let mut state = self.lock();
            if state.over {
                return Ok(());
            }
            state.running.insert(number, Some(store.interrupt_handle()));
        }
        let instance = program.instantiate(&mut store)?;
        let start = instance.get_typed_func::<(i32, i32), ()>(&mut store, START)?;
        start.call(&mut store, (number as i32, argument))
    }
}

impl<T: 'static> WasiThreads<T> {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The guest's error code, and the reason for those who ask.
fn refuse(state: &mut State, message: String) -> i32 {
    tracing::warn!(target: "sphex_wasi", "thread-spawn: {message}");
    state.refused = Some(message);
    -i32::from(Errno::Again.raw())
}

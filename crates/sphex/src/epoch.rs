//! Epochs and deadlines of a store, and what happens when one is reached.
//!
//! *Needs* the engine's schedule. *Gives* `Engine::increment_epoch`, the store's methods, and [`acknowledge`], which
//! decides what an interruption that wasm or a waiting host function has seen does.

use std::fmt;
use std::time::{Duration, Instant};

use sphex_artifact::Trap;

use crate::engine::Engine;
use crate::error::{Error, Result};
use crate::store::Store;
use crate::vm::stop::{EPOCH, INTERRUPT, TIMEOUT, YIELD};
use crate::vm::store::StoreInner;

/// What a callback of [`Store::epoch_deadline_callback`] decides.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum UpdateDeadline {
    /// Wasm goes on; the next deadline is so many ticks away.
    Continue(u64),
    /// An async call gives others a turn, then goes on; the next deadline is so many ticks away. In a call that is not
    /// async it is an error.
    Yield(u64),
}

/// What a callback of [`Store::epoch_deadline_callback`] gets: the embedder's data. Memories, tables and globals are out
/// of reach, for wasm that runs on may hold parts of them in registers.
pub struct EpochContext<'a, T> {
    data: &'a mut T,
    engine: &'a Engine,
}

impl<'a, T> EpochContext<'a, T> {
    pub(crate) fn new(data: &'a mut T, engine: &'a Engine) -> EpochContext<'a, T> {
        EpochContext { data, engine }
    }

    /// The embedder's data.
    pub fn data(&self) -> &T {
        self.data
    }

    /// The embedder's data, to be changed.
    pub fn data_mut(&mut self) -> &mut T {
        self.data
    }

    /// The engine.
    pub fn engine(&self) -> &Engine {
        self.engine
    }
}

impl<T: fmt::Debug> fmt::Debug for EpochContext<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("EpochContext").field("data", &self.data).finish_non_exhaustive()
    }
}

/// A callback that finds its context's data at an address: that of [`StoreInner::data`].
pub(crate) type Callback = dyn FnMut(*mut u8, &Engine) -> Result<UpdateDeadline> + Send + Sync;

/// A callback for while a host function waits, which has its hands on the store's data.
pub(crate) type WaitCallback = dyn FnMut(&Engine) -> Result<UpdateDeadline> + Send + Sync;

/// What happens at the epoch deadline.
pub(crate) enum EpochAction {
    /// A trap.
    Trap,
    /// What the callback says.
    Callback(Box<Callback>),
    /// An async call gives others a turn; the next deadline is so many ticks away.
    Yield(u64),
}

/// When a store is to stop.
pub(crate) struct Deadlines {
    epoch: Option<u64>,
    time: Option<Instant>,
    action: EpochAction,
    /// What decides in the place of the action's callback while that cannot run.
    waiting: Option<Box<WaitCallback>>,
}

impl Default for Deadlines {
    fn default() -> Self {
        Deadlines { epoch: None, time: None, action: EpochAction::Trap, waiting: None }
    }
}

impl Engine {
    /// The next epoch has come: stores whose epoch deadline it is are interrupted. Any thread may call it, at any pace;
    /// not a signal handler, for it takes a lock.
    ///
    /// ```
    /// # #[cfg(feature = "compiler")] fn main() -> sphex::Result<()> {
    /// use sphex::{Engine, Instance, Module, Store, Trap};
    ///
    /// let engine = Engine::default();
    /// let module = Module::new(&engine, r#"(module (func (export "spin") (loop (br 0))))"#)?;
    /// let mut store = Store::new(&engine, ());
    /// store.set_epoch_deadline(1);
    /// let instance = Instance::new(&mut store, &module, &[])?;
    /// let spin = instance.get_typed_func::<(), ()>(&mut store, "spin")?;
    /// let ticker = std::thread::spawn({
    ///     let engine = engine.clone();
    ///     move || engine.increment_epoch()
    /// });
    /// assert_eq!(spin.call(&mut store, ()).unwrap_err().trap(), Some(Trap::EpochDeadline));
    /// # ticker.join().unwrap();
    /// # Ok(()) }
    /// # #[cfg(not(feature = "compiler"))] fn main() {}
    /// ```
    pub fn increment_epoch(&self) {
        self.schedule().increment();
    }
}

impl<T> Store<T> {
    /// The store's wasm runs for at most so many further epochs. With 0 it is stopped at once.
    ///
    /// A store without a deadline is not stopped by epochs, and nothing makes it look at them.
    pub fn set_epoch_deadline(&mut self, ticks_beyond_now: u64) {
        self.inner_mut().set_epoch_deadline(ticks_beyond_now);
    }

    /// The store's wasm is no longer stopped by epochs.
    pub fn clear_epoch_deadline(&mut self) {
        self.inner_mut().move_epoch(None);
    }

    /// At the epoch deadline wasm traps with [`Trap::EpochDeadline`], and so does every later call until the deadline is
    /// set anew. This is the default.
    pub fn epoch_deadline_trap(&mut self) {
        self.inner_mut().deadlines.action = EpochAction::Trap;
    }

    /// At the epoch deadline a callback decides: to go on, or, with an error, to stop wasm.
    ///
    /// It runs between two instructions of wasm, or where a host function waits that asks with
    /// [`Caller::check_interruption`](crate::Caller::check_interruption), as WASI's do. It must not block. While an async
    /// host function is suspended it does not run, for that may hold the store's data: the deadline is looked at when the
    /// function is done, or decided by [`epoch_deadline_wait_callback`](Store::epoch_deadline_wait_callback).
    pub fn epoch_deadline_callback(
        &mut self,
        callback: impl FnMut(EpochContext<'_, T>) -> Result<UpdateDeadline> + Send + Sync + 'static,
    ) {
        let callback = crate::vm::data::epoch_callback(callback);
        self.inner_mut().deadlines.action = EpochAction::Callback(callback);
    }

    /// What decides at the epoch deadline while a call is suspended in an async host function, in the place of the callback
    /// of [`epoch_deadline_callback`](Store::epoch_deadline_callback), which needs the store's data and cannot have it then.
    /// An error drops the function's future and ends the call; with `Continue` and `Yield` it waits on.
    ///
    /// It must not block, and shares with the other callback what it captures. Without that callback it is not used: a trap
    /// at the deadline ends the wait anyway, and a turn for others does not end it.
    ///
    /// ```
    /// # #[cfg(feature = "compiler")] fn main() -> sphex::Result<()> {
    /// use std::sync::Arc;
    /// use std::sync::atomic::{AtomicBool, Ordering};
    /// use std::task::{Context, Poll, Waker};
    ///
    /// use sphex::{Engine, Error, Linker, Module, Store, UpdateDeadline};
    ///
    /// let engine = Engine::default();
    /// let module = Module::new(&engine, r#"(module (import "host" "query" (func)) (export "query" (func 0)))"#)?;
    /// let mut linker = Linker::new(&engine);
    /// // An answer that never comes.
    /// linker.func_wrap_async("host", "query", |_, (): ()| Box::new(std::future::pending::<()>()))?;
    /// let mut store = Store::new(&engine, ());
    /// let gone = Arc::new(AtomicBool::new(false));
    /// let is_gone = gone.clone();
    /// let decide = move || match is_gone.load(Ordering::Relaxed) {
    ///     true => Err(Error::msg("the client is gone")),
    ///     false => Ok(UpdateDeadline::Continue(1)),
    /// };
    /// store.epoch_deadline_wait_callback({
    ///     let decide = decide.clone();
    ///     move |_| decide()
    /// });
    /// store.epoch_deadline_callback(move |_| decide());
    /// store.set_epoch_deadline(1);
    /// let instance = linker.instantiate(&mut store, &module)?;
    /// let query = instance.get_typed_func::<(), ()>(&mut store, "query")?;
    /// let mut call = std::pin::pin!(query.call_async(&mut store, ()));
    /// let mut context = Context::from_waker(Waker::noop());
    /// assert!(call.as_mut().poll(&mut context).is_pending());
    /// engine.increment_epoch();
    /// assert!(call.as_mut().poll(&mut context).is_pending());
    /// gone.store(true, Ordering::Relaxed);
    /// engine.increment_epoch();
    /// let Poll::Ready(Err(error)) = call.as_mut().poll(&mut context) else { panic!("it waits on") };
    /// assert_eq!(error.message(), "the client is gone");
    /// # Ok(()) }
    /// # #[cfg(not(feature = "compiler"))] fn main() {}
    /// ```
    pub fn epoch_deadline_wait_callback(
        &mut self,
        callback: impl FnMut(&Engine) -> Result<UpdateDeadline> + Send + Sync + 'static,
    ) {
        self.inner_mut().deadlines.waiting = Some(Box::new(callback));
    }

    /// At the epoch deadline an async call gives others a turn, then goes on for `ticks` further epochs. In a call that is
    /// not async it is an error.
    pub fn epoch_deadline_async_yield_and_update(&mut self, ticks: u64) {
        self.inner_mut().deadlines.action = EpochAction::Yield(ticks);
    }

    /// The store's wasm, and host functions that wait, run until then: after it wasm traps with [`Trap::Timeout`], and so
    /// does every later call until the deadline is set anew. `None`: for ever.
    ///
    /// While some store of the engine has a deadline, the engine keeps one thread.
    pub fn set_deadline(&mut self, deadline: Option<Instant>) -> Result<()> {
        self.inner_mut().move_time(deadline)
    }

    /// [`set_deadline`](Store::set_deadline) to a time from now.
    ///
    /// ```
    /// # #[cfg(feature = "compiler")] fn main() -> sphex::Result<()> {
    /// use std::time::Duration;
    /// use sphex::{Engine, Instance, Module, Store, Trap};
    ///
    /// let engine = Engine::default();
    /// let module = Module::new(&engine, r#"(module (func (export "spin") (loop (br 0))))"#)?;
    /// let mut store = Store::new(&engine, ());
    /// let instance = Instance::new(&mut store, &module, &[])?;
    /// let spin = instance.get_typed_func::<(), ()>(&mut store, "spin")?;
    /// store.set_timeout(Duration::from_millis(10))?;
    /// assert_eq!(spin.call(&mut store, ()).unwrap_err().trap(), Some(Trap::Timeout));
    /// # Ok(()) }
    /// # #[cfg(not(feature = "compiler"))] fn main() {}
    /// ```
    pub fn set_timeout(&mut self, timeout: Duration) -> Result<()> {
        // A time that no clock can tell never comes.
        self.set_deadline(Instant::now().checked_add(timeout))
    }

    /// The deadline in time, if there is one.
    pub fn deadline(&self) -> Option<Instant> {
        self.inner().deadlines.time
    }
}

impl StoreInner {
    /// Sets the epoch deadline, from now.
    pub(crate) fn set_epoch_deadline(&mut self, ticks: u64) {
        // An epoch that no counter reaches never comes.
        self.move_epoch(self.engine.schedule().epoch().checked_add(ticks));
    }

    fn move_epoch(&mut self, new: Option<u64>) {
        let old = std::mem::replace(&mut self.deadlines.epoch, new);
        self.engine.schedule().move_epoch(self.id.get(), &self.vm, old, new);
    }

    fn move_time(&mut self, new: Option<Instant>) -> Result<()> {
        let old = std::mem::take(&mut self.deadlines.time);
        self.engine.schedule().move_time(self.id.get(), &self.vm, old, new)?;
        self.deadlines.time = new;
        Ok(())
    }

    /// The deadline in time.
    pub(crate) fn deadline(&self) -> Option<Instant> {
        self.deadlines.time
    }

    /// Leaves the engine's schedule, when the store is dropped.
    pub(crate) fn forget_deadlines(&mut self) {
        if self.deadlines.epoch.is_some() {
            self.move_epoch(None);
        }
        if self.deadlines.time.is_some() {
            // Taking a deadline back cannot fail.
            let _ = self.move_time(None);
        }
    }
}

/// Decides what an interruption does that was seen: `Ok` means that wasm, or the wait, goes on; `true`, that an async call
/// gives others a turn before.
///
/// `may_yield`: wasm itself saw it, so that an async call may be suspended. Else a pause that is due waits for wasm.
pub(crate) fn acknowledge(inner: &mut StoreInner, may_yield: bool) -> Result<bool> {
    let vm = inner.vm.clone();
    vm.drain();
    let asked = vm.asked();
    if asked & INTERRUPT != 0 {
        vm.withdraw(INTERRUPT);
        if vm.asked() != 0 {
            vm.ask(0);
        }
        return Err(Error::from_trap(Trap::Interrupt));
    }
    if asked & TIMEOUT != 0 {
        vm.ask(0);
        return Err(Error::from_trap(Trap::Timeout));
    }
    let mut pause = asked & YIELD != 0;
    if asked & EPOCH != 0 {
        pause |= reach_epoch(inner)?;
    }
    if pause && !may_yield {
        vm.ask(YIELD);
        // The event is for reasons that a waiting host function must see; this one is none.
        vm.drain();
        return Ok(false);
    }
    vm.withdraw(YIELD);
    Ok(pause)
}

/// What an interruption does to a call that is suspended in a host function's future: an error ends it, `true` lets others
/// have a turn.
///
/// What a callback decides waits until that future is done or asks itself (`Caller::check_interruption`), unless there is
/// one for this: the future may hold borrowed what the callback would be given.
pub(crate) fn acknowledge_suspended(inner: &mut StoreInner) -> Result<bool> {
    let asked = inner.vm.asked();
    if asked & (INTERRUPT | TIMEOUT) != 0 {
        return acknowledge(inner, true);
    }
    if asked & EPOCH == 0 {
        return Ok(false);
    }
    if !matches!(inner.deadlines.action, EpochAction::Callback(_)) {
        return acknowledge(inner, true);
    }
    if inner.deadlines.waiting.is_none() {
        return Ok(false);
    }
    inner.vm.drain();
    if inner.vm.asked() & (INTERRUPT | TIMEOUT) != 0 {
        // It came in between, and the event that said so is gone.
        return acknowledge(inner, true);
    }
    // The callback cannot reach the store, so it cannot miss itself.
    let Some(mut callback) = inner.deadlines.waiting.take() else { return Ok(false) };
    let update = callback(&inner.engine);
    inner.deadlines.waiting = Some(callback);
    move_on(inner, update)
}

/// The epoch deadline: an error stops wasm; `true` means that an async call is to give others a turn.
fn reach_epoch(inner: &mut StoreInner) -> Result<bool> {
    // The callback cannot reach the store, so it cannot miss its action.
    let mut action = std::mem::replace(&mut inner.deadlines.action, EpochAction::Trap);
    let engine = inner.engine.clone();
    let update = match &mut action {
        EpochAction::Trap => Err(Error::from_trap(Trap::EpochDeadline)),
        EpochAction::Callback(callback) => callback(inner.data, &engine),
        EpochAction::Yield(ticks) => Ok(UpdateDeadline::Yield(*ticks)),
    };
    inner.deadlines.action = action;
    move_on(inner, update)
}

/// Does what was decided at the epoch deadline.
fn move_on(inner: &mut StoreInner, update: Result<UpdateDeadline>) -> Result<bool> {
    match update {
        Err(error) => {
            // It stays: later calls find the deadline passed.
            inner.vm.ask(0);
            Err(error)
        }
        Ok(UpdateDeadline::Continue(ticks)) => {
            inner.set_epoch_deadline(ticks);
            Ok(false)
        }
        Ok(UpdateDeadline::Yield(ticks)) => {
            inner.set_epoch_deadline(ticks);
            Ok(true)
        }
    }
}

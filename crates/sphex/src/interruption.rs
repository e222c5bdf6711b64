//! Stopping wasm from another thread, and host functions that wait without holding that up.
//!
//! *Needs* the store's shared words. *Gives* [`InterruptHandle`] to those who stop, and [`Interruption`] to host functions
//! that wait: one that waits in the kernel watches the [event](Interruption::event) beside what it waits for, and where
//! that becomes readable asks [`Caller::check_interruption`], which says whether to go on.

use std::os::fd::BorrowedFd;
use std::sync::Arc;
use std::time::Instant;

use crate::epoch::acknowledge;
use crate::error::{Error, Result};
use crate::store::{AsContext, Caller, Store, StoreContextMut};
use crate::vm::stop::{INTERRUPT, SharedVm, YIELD};

/// Stops the wasm of a store from another thread.
#[derive(Clone, Debug)]
pub struct InterruptHandle(Arc<SharedVm>);

impl InterruptHandle {
    /// The store's wasm traps with [`Trap::Interrupt`](crate::Trap::Interrupt) at its next function entry or turn of a
    /// loop, and a host function that waits is woken; if none runs, the next one does. An async call that is suspended is
    /// woken and ends so, too.
    ///
    /// May be called from a signal handler, where it is a few atomic operations and a `write`: unless a call of the store
    /// is async, for then it calls the waker of that call's task, and few executors have wakers that a signal handler may
    /// call.
    pub fn interrupt(&self) {
        self.0.ask(INTERRUPT);
    }
}

impl<T> Store<T> {
    /// A handle with which any thread can stop the store's wasm.
    pub fn interrupt_handle(&self) -> InterruptHandle {
        let vm = &self.inner().vm;
        vm.watch();
        InterruptHandle(vm.clone())
    }
}

/// What a host function that waits must watch, so that interrupts, epochs and deadlines end the wait.
///
/// ```
/// # #[cfg(feature = "compiler")] fn main() -> sphex::Result<()> {
/// use std::time::Duration;
/// use sphex::{Caller, Engine, Linker, Module, Result, Store, Trap};
///
/// let engine = Engine::default();
/// let module = Module::new(&engine, r#"(module (import "host" "sleep" (func)) (export "sleep" (func 0)))"#)?;
/// let mut linker = Linker::new(&engine);
/// linker.func_wrap("host", "sleep", |mut caller: Caller<'_, ()>| -> Result<()> {
///     let interruption = caller.interruption();
///     loop {
///         // A program would watch the event of `interruption` with `poll`, beside its own descriptors.
///         if interruption.is_pending() {
///             caller.check_interruption()?;
///         }
///         std::thread::sleep(Duration::from_millis(1));
///     }
/// })?;
/// let mut store = Store::new(&engine, ());
/// let instance = linker.instantiate(&mut store, &module)?;
/// let sleep = instance.get_typed_func::<(), ()>(&mut store, "sleep")?;
/// store.set_timeout(Duration::from_millis(5))?;
/// assert_eq!(sleep.call(&mut store, ()).unwrap_err().trap(), Some(Trap::Timeout));
/// # Ok(()) }
/// # #[cfg(not(feature = "compiler"))] fn main() {}
/// ```
#[derive(Clone, Debug)]
pub struct Interruption(Arc<SharedVm>);

impl Interruption {
    /// Can the store be stopped at all: has it a handle or a deadline? If not, a wait need not watch anything.
    pub fn is_possible(&self) -> bool {
        self.0.is_watched()
    }

    /// Is there anything for [`Caller::check_interruption`] to look at?
    pub fn is_pending(&self) -> bool {
        self.0.asked() & !YIELD != 0
    }

    /// A descriptor that is readable when something is pending. Only poll it; it is made by the first call.
    pub fn event(&self) -> Result<BorrowedFd<'_>> {
        self.0.event().map_err(|error| Error::system("cannot make an eventfd", error))
    }

    /// Is it of this store?
    pub fn is_of(&self, store: impl AsContext) -> bool {
        Arc::ptr_eq(&self.0, &store.as_context().inner().vm)
    }
}

impl<T> StoreContextMut<'_, T> {
    /// What a host function that waits must watch.
    pub fn interruption(&self) -> Interruption {
        Interruption(self.inner().vm.clone())
    }

    /// Does what a pending interruption asks for. An error must end the host function (and, being returned, ends the
    /// wasm that called it); `Ok` means that the wait goes on: nothing was pending, or an epoch callback said so.
    pub fn check_interruption(&mut self) -> Result<()> {
        acknowledge(self.inner_mut(), false).map(|_| ())
    }

    /// The store's deadline in time, see [`Store::set_deadline`].
    pub fn deadline(&self) -> Option<Instant> {
        self.inner().deadline()
    }
}

impl<T> Caller<'_, T> {
    /// What a host function that waits must watch.
    pub fn interruption(&self) -> Interruption {
        Interruption(self.as_context().inner().vm.clone())
    }

    /// As [`StoreContextMut::check_interruption`].
    pub fn check_interruption(&mut self) -> Result<()> {
        crate::store::AsContextMut::as_context_mut(self).check_interruption()
    }

    /// The store's deadline in time, see [`Store::set_deadline`].
    pub fn deadline(&self) -> Option<Instant> {
        self.as_context().inner().deadline()
    }
}

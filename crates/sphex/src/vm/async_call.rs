//! Calls that may be suspended: the future of a call, and the host functions that are futures.
//!
//! A call becomes a fiber when its future is polled first. Its *base entry* into wasm is the one entry under which
//! suspension is on: `StoreInner.fiber` names the fiber there, and is null within every other entry, such as a sync call
//! that a host function makes. What wants to suspend asks `suspender`, and is refused with `WouldSuspend` where it is null.
//!
//! **Hand-over.** Whenever a fiber is suspended, `visit` takes its entry out of the store (`activation::detach`): limits,
//! frame pointers, the thread's active store are then as the call found them. To go on, the entry is put back, on whichever
//! thread that is. So a store whose call is suspended looks idle, a call that is forgotten leaves nothing behind but its
//! stack, and calls may nest: a host future that awaits a call of its own store runs a second fiber on top of the first.
//!
//! **Why the future is `Send`** when the embedder's data is. While suspended it has: the store (borrowed); the start
//! function and the result, `Send` by bound; the fiber's frames. Those are (F2) wasm's, which point into the store; the
//! stubs'; and ours, whose locals are pointers to the store and the fiber, the host function (`Sync`), its future
//! (`Send`, by the type of `HostFuture`), and a place for the result that is empty until the future is done.
//!
//! **Stopping.** A host future that waits is not wasm that looks at its limit. Where the store can be stopped at all,
//! `drive` leaves the task's waker with the store's shared words before each poll and looks at what was asked for after
//! that, so that an interrupt, an epoch or a deadline either is seen before the fiber is suspended or wakes the task. The
//! call then ends with that trap, and the future is dropped as by a cancelled call.
//!
//! **Cancelling.** A call that is dropped while suspended is resumed once with `Err(Cancelled)`: the host future that
//! waits is dropped, on the fiber, wasm unwinds, the outer call ends with that error. It never suspends again, and its
//! stack goes back to the engine. The store is as after a trap.

use std::any::Any;
use std::future::Future;
use std::hint;
use std::panic;
use std::pin::{Pin, pin};
use std::task::{Context, Poll, Waker};
use std::thread;

use sphex_artifact::types::FuncType;
use sphex_artifact::vmctx::{Image, VmHeader};

use super::activation::{Words, attach, detach};
use super::call::{HostFunc, WasmRet, WasmValues, give_results, raw_host_frame, return_area, typed_now};
use super::fiber::{self, Control, Fiber};
use super::image;
use super::store::{StoreData, StoreInner, StorePtr};
use super::stubs;
use super::sys;
use crate::asynchronous::HostFuture;
use crate::engine::Engine;
use crate::epoch::acknowledge_suspended;
use crate::error::{Error, ErrorKind, Result};
use crate::store::{Caller, StoreContextMut};
use crate::value::Val;

/// The future of a call: runs `F` on a fiber.
pub(crate) struct OnFiber<'a, T: 'static, F, R> {
    store: StoreContextMut<'a, T>,
    state: State<F, R>,
}

enum State<F, R> {
    Fresh(F),
    Suspended(Fiber<Result<R>>, Option<Words>),
    Done,
}

// SAFETY: see "Why the future is `Send`" above. `F` is in the future or was moved to the fiber, `R` is made there.
unsafe impl<T: Send, F: Send, R: Send> Send for OnFiber<'_, T, F, R> {}

/// Nothing points into the future: what the fiber refers to is on its own stack, or the store's.
impl<T, F, R> Unpin for OnFiber<'_, T, F, R> {}

impl<'a, T, F, R> OnFiber<'a, T, F, R>
where
    F: FnOnce(StorePtr) -> Result<R>,
{
    /// Will run `start` on a fiber. It enters wasm (at most) once and does nothing afterwards that may be suspended.
    pub(crate) fn new(store: StoreContextMut<'a, T>, start: F) -> OnFiber<'a, T, F, R> {
        OnFiber { store, state: State::Fresh(start) }
    }
}

impl<T, F, R> OnFiber<'_, T, F, R> {
    /// Runs the fiber until it is suspended again or finished.
    fn visit(
        &mut self,
        mut fiber: Fiber<Result<R>>,
        detached: Option<Words>,
        context: Option<&mut Context<'_>>,
    ) -> Poll<thread::Result<Result<R>>> {
        let at = self.store.as_ptr();
        let control = fiber.control();
        // SAFETY: we borrow the store. The fiber is one of ours that has not finished; what its frames use is the store
        // and what is `Send` or has not left this thread. If it was suspended, its entry goes back first.
        let outcome = unsafe {
            let outer = std::mem::replace(&mut (*at.0.as_ptr()).fiber, control);
            if let Some(detached) = detached {
                attach(at, detached, control);
            }
            let outcome = fiber.resume(context);
            let detached = if outcome.is_none() { detach(at) } else { None };
            (*at.0.as_ptr()).fiber = outer;
            outcome.ok_or(detached)
        };
        match outcome {
            Err(detached) => {
                self.state = State::Suspended(fiber, detached);
                Poll::Pending
            }
            Ok(result) => {
                self.store.inner().vm.disarm();
                if let Some(stack) = fiber.into_stack() {
                    self.store.engine().stacks().give(stack);
                }
                Poll::Ready(result)
            }
        }
    }
}

impl<T, F, R> Future for OnFiber<'_, T, F, R>
where
    F: FnOnce(StorePtr) -> Result<R>,
{
    type Output = Result<R>;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Result<R>> {
        let this = self.get_mut();
        if let Err(error) = sys::thread_has_signal_stack() {
            // What is suspended will be cancelled when the future is dropped.
            return Poll::Ready(Err(Error::system("cannot make an alternate signal stack", error)));
        }
        let (fiber, detached) = match std::mem::replace(&mut this.state, State::Done) {
            State::Fresh(start) => {
                let stack = match this.store.engine().stacks().take() {
                    Ok(stack) => stack,
                    Err(error) => return Poll::Ready(Err(error)),
                };
                let at = this.store.as_ptr();
                (Fiber::new(stack, move || start(at)), None)
            }
            State::Suspended(fiber, detached) => (fiber, detached),
            State::Done => {
                let message = "an async call was polled after it had ended";
                return Poll::Ready(Err(Error::new(ErrorKind::Argument, message)));
            }
        };
        match this.visit(fiber, detached, Some(context)) {
            Poll::Pending => Poll::Pending,
            Poll::Ready(Ok(result)) => Poll::Ready(result),
            Poll::Ready(Err(payload)) => panic::resume_unwind(payload),
        }
    }
}

impl<T, F, R> Drop for OnFiber<'_, T, F, R> {
    fn drop(&mut self) {
        let State::Suspended(fiber, detached) = std::mem::replace(&mut self.state, State::Done) else {
            return;
        };
        // Without a signal stack (of a thread that is ending) wasm is not entered; unwinding needs none.
        let _ = sys::thread_has_signal_stack();
        let outcome: Poll<Result<_, Box<dyn Any + Send>>> = self.visit(fiber, detached, None);
        if let Poll::Ready(Err(payload)) = outcome
            && !thread::panicking()
        {
            // A destructor of the host's panicked.
            panic::resume_unwind(payload);
        }
    }
}

/// The fiber that may be suspended here.
fn suspender(inner: &StoreInner, what: &str) -> Result<*mut Control> {
    if inner.fiber.is_null() {
        let message = format!("{what} cannot wait here: wasm was entered by `call`, not by `call_async`");
        return Err(Error::new(ErrorKind::WouldSuspend, message));
    }
    Ok(inner.fiber)
}

/// Lets others run: the call's task is woken at once, and suspended. `Err(WouldSuspend)` where that cannot be,
/// `Err(Cancelled)` if the call was dropped meanwhile: wasm must then unwind with this error.
///
/// Called by builtins, whose frames touch no thread-local around it (F3).
pub(crate) fn suspend_for_yield(inner: &mut StoreInner) -> Result<()> {
    let control = suspender(inner, "a yield")?;
    // SAFETY: suspension is on: we were called by wasm under the base entry, so that we are on this fiber (F2).
    unsafe {
        if let Some(context) = (*control).context() {
            context.waker().wake_by_ref();
        }
        fiber::suspend(control)
    }
}

/// Polls a host function's future until it is done, suspended in between. An error if the call is cancelled or the store
/// is stopped meanwhile; the future is then to be dropped.
///
/// # Safety
///
/// Called on the fiber, by the frame of an async host function that wasm called under the base entry (F2). The store is
/// the one that the fiber runs, and may be used while the future is not polled.
#[inline(never)]
unsafe fn drive(
    inner: *mut StoreInner,
    control: *mut Control,
    future: Pin<&mut dyn Future<Output = ()>>,
) -> Result<()> {
    // What is polled must not be inlined here (F3), so it is not to be known.
    let mut future = hint::black_box(future);
    loop {
        // SAFETY: we are on the fiber; the caller lends us the store.
        if let Some(context) = unsafe { (*control).context() } {
            // SAFETY: as above.
            if let Some(seen) = unsafe { attend(inner, context.waker())? } {
                if future.as_mut().poll(context).is_ready() {
                    return Ok(());
                }
                // SAFETY: as above.
                if unsafe { is_asked_anew(inner, context.waker(), seen) } {
                    continue;
                }
            }
        }
        // SAFETY: the caller's promise; the poll has returned.
        unsafe { fiber::suspend(control)? };
    }
}

/// Leaves the task with the store, and then looks at what was asked of the store: an error ends the call. What is still
/// asked for then; `None` if others are to have a turn first: the task was woken. Never inlined: locks and logs touch
/// thread-locals (F3).
#[inline(never)]
unsafe fn attend(inner: *mut StoreInner, waker: &Waker) -> Result<Option<u32>> {
    // SAFETY: the caller lends us the store.
    let inner = unsafe { &mut *inner };
    if !inner.vm.is_watched() {
        return Ok(Some(0));
    }
    inner.vm.arm(waker);
    if inner.vm.asked() != 0 && acknowledge_suspended(inner)? {
        waker.wake_by_ref();
        return Ok(None);
    }
    Ok(Some(inner.vm.asked()))
}

/// Was anything asked of the store since `attend`? A call of this store within the future may have taken the task's place,
/// so it is left there again. Never inlined (F3).
#[inline(never)]
unsafe fn is_asked_anew(inner: *mut StoreInner, waker: &Waker, seen: u32) -> bool {
    // SAFETY: as above.
    let inner = unsafe { &*inner };
    if !inner.vm.is_watched() {
        return false;
    }
    inner.vm.arm(waker);
    inner.vm.asked() & !seen != 0
}

impl HostFunc {
    /// An async function of Rust types.
    pub(crate) fn typed_async<T, P, R, F>(engine: &Engine, f: F) -> Result<HostFunc>
    where
        T: 'static,
        P: WasmValues,
        R: WasmRet,
        F: for<'a> Fn(Caller<'a, T>, P) -> HostFuture<'a, R> + Send + Sync + 'static,
    {
        let ty = FuncType::new(P::TYPES.iter().copied(), R::Values::TYPES.iter().copied());
        let signature = engine.intern(&ty)?;
        let code = stubs::exit_code();
        Ok(HostFunc { signature, call: call_typed_async::<T, P, R, F>, code, body: Box::new(f) })
    }

    /// A function of Rust types with a body for calls that may not wait and one for those that may.
    pub(crate) fn either<T, P, R, N, L>(engine: &Engine, now: N, later: L) -> Result<HostFunc>
    where
        T: 'static,
        P: WasmValues,
        R: WasmRet,
        N: Fn(Caller<'_, T>, P) -> R + Send + Sync + 'static,
        L: for<'a> Fn(Caller<'a, T>, P) -> HostFuture<'a, R> + Send + Sync + 'static,
    {
        let ty = FuncType::new(P::TYPES.iter().copied(), R::Values::TYPES.iter().copied());
        let signature = engine.intern(&ty)?;
        let code = stubs::exit_code();
        Ok(HostFunc { signature, call: call_either::<T, P, R, N, L>, code, body: Box::new((now, later)) })
    }

    /// An async function of values.
    pub(crate) fn untyped_async<T, F>(engine: &Engine, ty: &FuncType, f: F) -> Result<HostFunc>
    where
        T: 'static,
        F: for<'a> Fn(Caller<'a, T>, &'a [Val], &'a mut [Val]) -> HostFuture<'a, Result<()>>
            + Send
            + Sync
            + 'static,
    {
        let signature = engine.intern(ty)?;
        let code = stubs::exit_code();
        Ok(HostFunc { signature, call: call_untyped_async::<T, F>, code, body: Box::new(f) })
    }
}

const ASYNC_HOST: &str = "an async host function";

unsafe extern "C" fn call_typed_async<T, P, R, F>(env: *mut u8, caller: *mut VmHeader, image: *mut Image)
where
    T: 'static,
    P: WasmValues,
    R: WasmRet,
    F: for<'a> Fn(Caller<'a, T>, P) -> HostFuture<'a, R> + Send + Sync + 'static,
{
    // SAFETY: the exit stub calls us with the image of a call of our signature; `typed_async` pairs this with an `F`. The
    // store is ours, but for what `visit` does to it while we are suspended: we hold it by pointer, and lend it to the
    // future, which is not polled then.
    unsafe {
        raw_host_frame::<T>(env, caller, |func, store, number| {
            let control = suspender(&(*store).inner, ASYNC_HOST)?;
            typed_later::<T, P, R, F>(func.body::<F>(), control, store, number, image)
        })
    }
}

/// Calls an async host function of Rust types, and waits for it.
///
/// # Safety
///
/// Called on the fiber by the frame of a host function with the image of a call of this signature.
#[inline(always)]
unsafe fn typed_later<T, P, R, F>(
    f: &F,
    control: *mut Control,
    store: *mut StoreData<T>,
    number: Option<usize>,
    image: *mut Image,
) -> Result<()>
where
    T: 'static,
    P: WasmValues,
    R: WasmRet,
    F: for<'a> Fn(Caller<'a, T>, P) -> HostFuture<'a, R> + Send + Sync + 'static,
{
    // SAFETY: the caller's promise.
    unsafe {
        let image = &mut *image;
        let area = return_area::<P, R::Values>(image);
        let params = P::load(&mut (*store).inner, image, image.stack);
        let mut outcome: Option<Result<R::Values>> = None;
        let inner = &raw mut (*store).inner;
        {
            // The embedder's function is called by the first poll, and its result converted by the last: nothing of the
            // embedder's runs in this frame itself (F3).
            let future = pin!(async {
                let future = f(Caller::new(&mut *store, number), params);
                outcome = Some(Box::into_pin(future).await.into_result());
            });
            drive(inner, control, future)?;
        }
        let Some(values) = outcome else { return Ok(()) };
        give_results(values?, &mut (*store).inner, image, area)
    }
}

unsafe extern "C" fn call_either<T, P, R, N, L>(env: *mut u8, caller: *mut VmHeader, image: *mut Image)
where
    T: 'static,
    P: WasmValues,
    R: WasmRet,
    N: Fn(Caller<'_, T>, P) -> R + Send + Sync + 'static,
    L: for<'a> Fn(Caller<'a, T>, P) -> HostFuture<'a, R> + Send + Sync + 'static,
{
    // SAFETY: as in `call_typed_async`; `either` pairs this with an `N` and an `L`. Where suspension is off the store is
    // borrowed by the host function as by any other.
    unsafe {
        raw_host_frame::<T>(env, caller, |func, store, number| {
            let (now, later) = func.body::<(N, L)>();
            let control = (*store).inner.fiber;
            if control.is_null() {
                typed_now::<T, P, R, N>(now, &mut *store, number, image)
            } else {
                typed_later::<T, P, R, L>(later, control, store, number, image)
            }
        })
    }
}

unsafe extern "C" fn call_untyped_async<T, F>(env: *mut u8, caller: *mut VmHeader, image: *mut Image)
where
    T: 'static,
    F: for<'a> Fn(Caller<'a, T>, &'a [Val], &'a mut [Val]) -> HostFuture<'a, Result<()>>
        + Send
        + Sync
        + 'static,
{
    // SAFETY: as in `call_typed_async`.
    unsafe {
        raw_host_frame::<T>(env, caller, |func, store, number| {
            let control = suspender(&(*store).inner, ASYNC_HOST)?;
            let image = &mut *image;
            let signature = &func.signature;
            let f = func.body::<F>();
            let area = image::return_area(image, &signature.placement);
            let mut params = Vec::with_capacity(signature.ty.params.len());
            for (bits, ty) in image::params(image, signature).zip(&signature.ty.params) {
                params.push(Val::from_bits(&mut (*store).inner, *ty, bits));
            }
            let mut results: Vec<Val> = signature.ty.results.iter().map(|ty| Val::default_for(*ty)).collect();
            let mut outcome = Ok(());
            let inner = &raw mut (*store).inner;
            {
                let future = pin!(async {
                    let future = f(Caller::new(&mut *store, number), &params, &mut results);
                    outcome = Box::into_pin(future).await;
                });
                drive(inner, control, future)?;
            }
            outcome?;
            let inner = &mut (*store).inner;
            inner.reserve_refs(Val::count_refs(&results));
            for (((place, shape), ty), value) in signature.results().zip(&signature.ty.results).zip(&results)
            {
                value.expect(*ty).map_err(|error| error.context("a host function's result"))?;
                image::write_at(image, area, place, shape, value.to_bits(inner)?);
            }
            Ok(())
        })
    }
}

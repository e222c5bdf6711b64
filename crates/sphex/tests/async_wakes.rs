//! Calls that wait in a host function's future are woken and ended by whatever stops the store: an interrupt, a deadline in
//! time, an epoch. And host functions with two bodies.
#![cfg(feature = "compiler")]

mod tasks;

use std::future::{Future, pending, poll_fn};
use std::panic::{self, AssertUnwindSafe};
use std::pin::{Pin, pin};
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Condvar, Mutex};
use std::task::{Context, Poll, Wake, Waker};
use std::thread;
use std::time::Duration;

use sphex::{Caller, Engine, Error, ErrorKind, Instance, Linker, Module, Store, Trap, UpdateDeadline};
use tasks::{Count, Woken, count_turns, poll};

const WAT: &str = r#"(module
    (import "h" "forever" (func $forever))
    (import "h" "nested" (func $nested))
    (import "h" "either" (func $either (param i32) (result i32)))
    (import "h" "again" (func $again (param i32) (result i32)))
    (global (export "after") (mut i32) (i32.const 0))
    (func (export "forever") (call $forever) (global.set 0 (i32.const 1)))
    (func (export "nested") (call $nested) (global.set 0 (i32.const 1)))
    (func (export "either") (param i32) (result i32) (call $either (local.get 0)))
    (func (export "again") (param i32) (result i32) (call $again (local.get 0)))
    (func (export "nothing")))"#;

fn make(engine: &Engine) -> (Store<Count>, Instance) {
    let module = Module::new(engine, WAT).unwrap();
    let mut linker: Linker<Count> = Linker::new(engine);
    linker
        .func_wrap_async("h", "forever", |caller: Caller<'_, Count>, (): ()| {
            let held = caller.data().one();
            Box::new(async move {
                let _held = (held, caller);
                pending::<()>().await
            })
        })
        .unwrap();
    linker
        .func_wrap_async("h", "nested", |mut caller: Caller<'_, Count>, (): ()| {
            Box::new(async move {
                let _held = caller.data().one();
                let instance = caller.instance().ok_or_else(|| Error::msg("no instance"))?;
                let forever = instance.get_typed_func::<(), ()>(&mut caller, "forever")?;
                // One call that is over when this one waits: it must not have taken the place of our task.
                let mut over = pin!(forever.call_async(&mut caller, ()));
                assert!(poll(over.as_mut()).is_pending());
                poll_fn(|_| Poll::<sphex::Result<()>>::Pending).await
            })
        })
        .unwrap();
    linker
        .func_wrap_either(
            "h",
            "either",
            |caller: Caller<'_, Count>, (n,): (i32,)| -> sphex::Result<i32> {
                let _held = caller.data().one();
                if n == 13 { Err(Error::msg("thirteen")) } else { Ok(n + 1) }
            },
            |caller, (n,)| {
                Box::new(async move {
                    let _held = caller.data().one();
                    tasks::Turns(2).await;
                    if n == 13 { Err(Error::msg("thirteen, later")) } else { Ok(n + 2) }
                })
            },
        )
        .unwrap();
    linker
        .func_wrap("h", "again", |mut caller: Caller<'_, Count>, n: i32| -> sphex::Result<i32> {
            let instance = caller.instance().ok_or_else(|| Error::msg("no instance"))?;
            instance.get_typed_func::<i32, i32>(&mut caller, "either")?.call(&mut caller, n)
        })
        .unwrap();
    let mut store = Store::new(engine, Count::default());
    let instance = linker.instantiate(&mut store, &module).unwrap();
    (store, instance)
}

/// Sleeps until it is woken: an executor that never polls without being asked to.
#[derive(Default)]
struct Sleeper(Mutex<bool>, Condvar);

impl Wake for Sleeper {
    fn wake(self: Arc<Self>) {
        *self.0.lock().unwrap() = true;
        self.1.notify_one();
    }
}

fn sleep_on<F: Future>(future: F) -> F::Output {
    let sleeper = Arc::new(Sleeper::default());
    let waker = Waker::from(sleeper.clone());
    let mut future = pin!(future);
    loop {
        if let Poll::Ready(output) = future.as_mut().poll(&mut Context::from_waker(&waker)) {
            return output;
        }
        let woken = sleeper.0.lock().unwrap();
        let (mut woken, timeout) =
            sleeper.1.wait_timeout_while(woken, Duration::from_secs(60), |woken| !*woken).unwrap();
        assert!(!timeout.timed_out(), "nobody woke the task");
        *woken = false;
    }
}

/// Runs `after` in a while, on another thread.
fn later(after: impl FnOnce() + Send + 'static) -> thread::JoinHandle<()> {
    thread::spawn(move || {
        thread::sleep(Duration::from_millis(20));
        after();
    })
}

#[test]
fn whatever_stops_the_store_ends_the_wait() {
    for name in ["forever", "nested"] {
        let engine = Engine::default();
        let (mut store, instance) = make(&engine);
        let function = instance.get_typed_func::<(), ()>(&mut store, name).unwrap();
        let nothing = instance.get_typed_func::<(), ()>(&mut store, "nothing").unwrap();
        let after = instance.get_global(&mut store, "after").unwrap();
        for round in 0..3 {
            store.set_timeout(Duration::from_millis(20)).unwrap();
            let error = sleep_on(function.call_async(&mut store, ())).unwrap_err();
            assert_eq!(error.trap(), Some(Trap::Timeout), "{name} {round}");
            assert_eq!(error.backtrace().unwrap().frames().len(), 1);
            store.set_deadline(None).unwrap();

            let handle = store.interrupt_handle();
            let thread = later(move || handle.interrupt());
            let error = sleep_on(function.call_async(&mut store, ())).unwrap_err();
            assert_eq!(error.trap(), Some(Trap::Interrupt), "{name} {round}");
            thread.join().unwrap();

            store.epoch_deadline_trap();
            store.set_epoch_deadline(1);
            let ticker = engine.clone();
            let thread = later(move || ticker.increment_epoch());
            let error = sleep_on(function.call_async(&mut store, ())).unwrap_err();
            assert_eq!(error.trap(), Some(Trap::EpochDeadline), "{name} {round}");
            thread.join().unwrap();
            store.clear_epoch_deadline();

            // What the futures held is dropped, wasm went no further, and the store is as good as before.
            assert_eq!((store.data().live(), after.get(&mut store).unwrap().i32()), (0, Some(0)));
            sleep_on(nothing.call_async(&mut store, ())).unwrap();
            nothing.call(&mut store, ()).unwrap();
        }
    }
}

#[test]
fn what_was_asked_before_the_wait_is_seen_before_it() {
    let engine = Engine::default();
    let (mut store, instance) = make(&engine);
    let handle = store.interrupt_handle();
    let forever = instance.get_typed_func::<(), ()>(&mut store, "forever").unwrap();
    // Between two polls, with a waker that does nothing: the next poll sees it.
    let mut call = Box::pin(forever.call_async(&mut store, ()));
    assert!(poll(call.as_mut()).is_pending());
    handle.interrupt();
    let Poll::Ready(Err(error)) = poll(call.as_mut()) else { panic!("it waits on") };
    assert_eq!(error.trap(), Some(Trap::Interrupt));
    drop(call);
    assert_eq!(store.data().live(), 0);
}

#[test]
fn a_task_is_woken_once_and_let_go_of() {
    let engine = Engine::default();
    let (mut store, instance) = make(&engine);
    let handle = store.interrupt_handle();
    let forever = instance.get_typed_func::<(), ()>(&mut store, "forever").unwrap();
    let woken = Arc::new(Woken::default());
    let waker = Waker::from(woken.clone());
    let mut call = Box::pin(forever.call_async(&mut store, ()));
    assert!(call.as_mut().poll(&mut Context::from_waker(&waker)).is_pending());
    handle.interrupt();
    handle.interrupt();
    assert_eq!(woken.0.load(Ordering::SeqCst), 1);
    drop(call);
    assert_eq!(Arc::strong_count(&woken), 2);
    // One that is dropped before anyone wakes it.
    let mut call = Box::pin(forever.call_async(&mut store, ()));
    let mut context = Context::from_waker(&waker);
    assert!(matches!(call.as_mut().poll(&mut context), Poll::Ready(Err(error)) if error.trap().is_some()));
    drop(call);
    let mut call = Box::pin(forever.call_async(&mut store, ()));
    assert!(call.as_mut().poll(&mut context).is_pending());
    assert_eq!(Arc::strong_count(&woken), 3);
    drop(call);
    drop(waker);
    // The store keeps no waker of a call that is over: a task that owns its store would never be freed.
    assert_eq!(Arc::strong_count(&woken), 1);
    handle.interrupt();
}

/// An epoch that only gives others a turn lets the wait go on; one whose callback wants the store's data waits for the
/// host function, or is seen where that asks for itself.
#[test]
fn epochs_that_do_not_trap() {
    let engine = Engine::default();
    let (mut store, instance) = make(&engine);
    let forever = instance.get_typed_func::<(), ()>(&mut store, "forever").unwrap();
    store.epoch_deadline_async_yield_and_update(1);
    store.set_epoch_deadline(1);
    let woken = Arc::new(Woken::default());
    let waker = Waker::from(woken.clone());
    let mut context = Context::from_waker(&waker);
    {
        let mut call = Box::pin(forever.call_async(&mut store, ()));
        assert!(call.as_mut().poll(&mut context).is_pending());
        for tick in 1..4 {
            engine.increment_epoch();
            // Woken by the epoch; and by itself, to have its turn after the others.
            assert_eq!(woken.0.load(Ordering::SeqCst), 2 * tick - 1);
            assert!(call.as_mut().poll(&mut context).is_pending());
            assert_eq!(woken.0.load(Ordering::SeqCst), 2 * tick);
            assert!(call.as_mut().poll(&mut context).is_pending());
        }
    }
    store.epoch_deadline_callback(|_| Err(Error::msg("the callback")));
    store.set_epoch_deadline(1);
    let mut call = Box::pin(forever.call_async(&mut store, ()));
    assert!(call.as_mut().poll(&mut context).is_pending());
    engine.increment_epoch();
    for _ in 0..3 {
        assert!(call.as_mut().poll(&mut context).is_pending());
    }
    drop(call);

    let mut linker: Linker<Count> = Linker::new(&engine);
    linker
        .func_wrap_async("h", "asks", |mut caller: Caller<'_, Count>, (): ()| {
            let wait = move |context: &mut Context<'_>| -> Poll<sphex::Result<()>> {
                context.waker().wake_by_ref();
                caller.check_interruption().map_or_else(|error| Poll::Ready(Err(error)), |()| Poll::Pending)
            };
            Box::new(poll_fn(wait))
        })
        .unwrap();
    let module =
        Module::new(&engine, r#"(module (import "h" "asks" (func)) (export "f" (func 0)))"#).unwrap();
    let instance = linker.instantiate(&mut store, &module).unwrap();
    let asks = instance.get_typed_func::<(), ()>(&mut store, "f").unwrap();
    let mut ticks = 0;
    store.epoch_deadline_callback(move |_| {
        ticks += 1;
        if ticks == 3 { Err(Error::msg("three ticks")) } else { Ok(UpdateDeadline::Continue(1)) }
    });
    store.set_epoch_deadline(1);
    let mut call: Pin<Box<dyn Future<Output = _>>> = Box::pin(asks.call_async(&mut store, ()));
    let mut polls = 0;
    let error = loop {
        match poll(call.as_mut()) {
            Poll::Ready(result) => break result.unwrap_err(),
            Poll::Pending => engine.increment_epoch(),
        }
        polls += 1;
    };
    assert_eq!((error.message(), polls), ("three ticks", 3));
}

/// While the callback with the store's data cannot run another decides, and only then.
#[test]
fn a_callback_for_waits() {
    let engine = Engine::default();
    let (mut store, instance) = make(&engine);
    let forever = instance.get_typed_func::<(), ()>(&mut store, "forever").unwrap();
    let nothing = instance.get_typed_func::<(), ()>(&mut store, "nothing").unwrap();
    let after = instance.get_global(&mut store, "after").unwrap();
    let (running, waiting) = (Arc::new(AtomicU32::new(0)), Arc::new(AtomicU32::new(0)));
    let count = running.clone();
    store.epoch_deadline_callback(move |_| {
        count.fetch_add(1, Ordering::SeqCst);
        Ok(UpdateDeadline::Continue(1))
    });
    let count = waiting.clone();
    store.epoch_deadline_wait_callback(move |_| match count.fetch_add(1, Ordering::SeqCst) + 1 {
        1 => Ok(UpdateDeadline::Continue(1)),
        2 => Ok(UpdateDeadline::Yield(1)),
        // Due at once, again.
        3 => Ok(UpdateDeadline::Continue(0)),
        4 => Ok(UpdateDeadline::Continue(1)),
        5 => panic!("the fifth"),
        _ => Err(Error::msg("enough")),
    });
    let counts = || (running.load(Ordering::SeqCst), waiting.load(Ordering::SeqCst));
    let woken = Arc::new(Woken::default());
    let waker = Waker::from(woken.clone());
    let mut context = Context::from_waker(&waker);
    store.set_epoch_deadline(1);
    {
        let mut call = Box::pin(forever.call_async(&mut store, ()));
        assert!(call.as_mut().poll(&mut context).is_pending());
        // How often the task has been woken after the tick and after the poll, by those who are done, and by itself.
        for (tick, [before, behind]) in [(1, [1, 1]), (2, [2, 3]), (3, [4, 5])] {
            engine.increment_epoch();
            assert_eq!((counts(), woken.0.load(Ordering::SeqCst)), ((0, tick - 1), before));
            assert!(call.as_mut().poll(&mut context).is_pending());
            assert_eq!((counts(), woken.0.load(Ordering::SeqCst)), ((0, tick), behind));
        }
        assert!(call.as_mut().poll(&mut context).is_pending());
        assert_eq!((counts(), woken.0.load(Ordering::SeqCst)), ((0, 4), 5));
        assert!(call.as_mut().poll(&mut context).is_pending());
        assert_eq!(counts(), (0, 4));
        engine.increment_epoch();
        let panicked =
            panic::catch_unwind(AssertUnwindSafe(|| call.as_mut().poll(&mut context).is_pending()));
        assert_eq!(panicked.unwrap_err().downcast_ref(), Some(&"the fifth"));
    }
    assert_eq!((store.data().live(), after.get(&mut store).unwrap().i32()), (0, Some(0)));
    // Wasm itself asks the other one. A callback that panicked is gone, and so nobody ends the wait.
    nothing.call(&mut store, ()).unwrap();
    assert_eq!(counts(), (1, 5));
    {
        let mut call = Box::pin(forever.call_async(&mut store, ()));
        assert!(call.as_mut().poll(&mut context).is_pending());
        engine.increment_epoch();
        assert!(call.as_mut().poll(&mut context).is_pending());
    }
    assert_eq!(counts(), (1, 5));

    // Woken by another thread each time, until it ends the call.
    let count = waiting.clone();
    store.epoch_deadline_wait_callback(move |_| match count.fetch_add(1, Ordering::SeqCst) + 1 {
        ..8 => Ok(UpdateDeadline::Continue(1)),
        _ => Err(Error::msg("ended")),
    });
    store.set_epoch_deadline(1);
    let (ticker, stop) = (engine.clone(), Arc::new(AtomicBool::new(false)));
    let stopped = stop.clone();
    let thread = thread::spawn(move || {
        while !stopped.load(Ordering::SeqCst) {
            thread::sleep(Duration::from_millis(5));
            ticker.increment_epoch();
        }
    });
    let error = sleep_on(forever.call_async(&mut store, ())).unwrap_err();
    stop.store(true, Ordering::SeqCst);
    thread.join().unwrap();
    assert_eq!((error.message(), counts().1), ("ended", 8));
    assert_eq!((store.data().live(), after.get(&mut store).unwrap().i32()), (0, Some(0)));
    // A trap at the deadline does not ask it, and an interrupt comes first.
    store.epoch_deadline_callback(|_| Ok(UpdateDeadline::Continue(1)));
    running.store(1, Ordering::SeqCst);
    store.set_epoch_deadline(1);
    let handle = store.interrupt_handle();
    for (trap, expected) in [(false, Trap::Interrupt), (true, Trap::EpochDeadline)] {
        if trap {
            store.epoch_deadline_trap();
            store.set_epoch_deadline(1);
        }
        let mut call = Box::pin(forever.call_async(&mut store, ()));
        assert!(call.as_mut().poll(&mut context).is_pending());
        engine.increment_epoch();
        if !trap {
            handle.interrupt();
        }
        let Poll::Ready(Err(error)) = call.as_mut().poll(&mut context) else { panic!("it waits on") };
        assert_eq!((error.trap(), counts()), (Some(expected), (1, 8)));
    }
}

/// Each call gets the body that suits it, an inner sync call within an async one too.
#[test]
fn a_function_with_two_bodies() {
    let engine = Engine::default();
    let (mut store, instance) = make(&engine);
    for name in ["either", "again"] {
        let f = instance.get_typed_func::<i32, i32>(&mut store, name).unwrap();
        assert_eq!(f.call(&mut store, 5).unwrap(), 6);
        assert_eq!(f.call(&mut store, 13).unwrap_err().message(), "thirteen");
        let (expected, turns, message) =
            if name == "either" { (7, 2, "thirteen, later") } else { (6, 0, "thirteen") };
        let (result, pending) = count_turns(f.call_async(&mut store, 5));
        assert_eq!((result.unwrap(), pending), (expected, turns), "{name}");
        let (result, pending) = count_turns(f.call_async(&mut store, 13));
        assert_eq!((result.unwrap_err().message(), pending), (message, turns), "{name}");
    }
    let f = instance.get_typed_func::<i32, i32>(&mut store, "either").unwrap();
    let mut call = Box::pin(f.call_async(&mut store, 5));
    assert!(poll(call.as_mut()).is_pending());
    drop(call);
    assert_eq!(store.data().live(), 0);
    // What has only an async body is refused as before.
    let forever = instance.get_typed_func::<(), ()>(&mut store, "forever").unwrap();
    assert_eq!(forever.call(&mut store, ()).unwrap_err().kind(), ErrorKind::WouldSuspend);
}

//! Async calls on many threads: tasks that are woken by one thread and polled by another, dropped by a third. Without wasm,
//! and so without a compiler: host functions are called through the stubs.
//!
//! `ci/tsan.sh` builds this file as a program under ThreadSanitizer. What waits inside the standard library is invisible to
//! it: locks are taken by trying (that part is compiled here), and threads are joined one by one.

mod tasks;

use std::collections::VecDeque;
use std::future::Future;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::task::{Context, Poll, Wake, Waker};
use std::thread;

use sphex::{Caller, Engine, Error, ExternRef, Func, Store, TypedFunc};
use tasks::{Count, Turns, count_turns, poll};

/// Takes a lock by trying.
fn lock<V>(mutex: &Mutex<V>) -> MutexGuard<'_, V> {
    loop {
        match mutex.try_lock() {
            Ok(guard) => return guard,
            Err(_) => thread::yield_now(),
        }
    }
}

/// Runs tasks on threads, by their wakers alone.
#[derive(Default)]
struct Executor {
    queue: Mutex<VecDeque<Arc<Task>>>,
    live: AtomicUsize,
}

struct Task {
    future: Mutex<Option<Pin<Box<dyn Future<Output = ()> + Send>>>>,
    queued: AtomicBool,
    executor: Arc<Executor>,
    /// Polls until it is dropped instead.
    patience: AtomicUsize,
}

impl Wake for Task {
    fn wake(self: Arc<Self>) {
        if !self.queued.swap(true, Ordering::AcqRel) {
            let executor = self.executor.clone();
            lock(&executor.queue).push_back(self);
        }
    }
}

impl Executor {
    fn spawn(self: &Arc<Self>, patience: usize, future: impl Future<Output = ()> + Send + 'static) {
        self.live.fetch_add(1, Ordering::AcqRel);
        let task = Arc::new(Task {
            future: Mutex::new(Some(Box::pin(future))),
            queued: AtomicBool::new(false),
            executor: self.clone(),
            patience: AtomicUsize::new(patience),
        });
        task.wake();
    }

    /// Works until no task is left.
    fn work(&self) {
        loop {
            let Some(task) = lock(&self.queue).pop_front() else {
                if self.live.load(Ordering::Acquire) == 0 {
                    return;
                }
                thread::yield_now();
                continue;
            };
            task.queued.store(false, Ordering::Release);
            let mut slot = lock(&task.future);
            let Some(future) = slot.as_mut() else { continue };
            let waker = Waker::from(task.clone());
            let ended = future.as_mut().poll(&mut Context::from_waker(&waker)).is_ready();
            if ended || task.patience.fetch_sub(1, Ordering::AcqRel) == 1 {
                *slot = None;
                self.live.fetch_sub(1, Ordering::AcqRel);
            }
        }
    }
}

/// Wakers that a thread of its own wakes.
#[derive(Clone, Default)]
struct Bell(Arc<Mutex<Vec<Waker>>>);

/// Pending until the bell rings.
struct Ring(Bell, bool);

impl Future for Ring {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        if self.1 {
            return Poll::Ready(());
        }
        self.1 = true;
        lock(&self.0.0).push(context.waker().clone());
        Poll::Pending
    }
}

struct Data {
    bell: Bell,
    held: Count,
    sum: u64,
}

/// `step(n)`: waits for the bell, or takes a turn; `nest(n)`: steps, then awaits `nest(n - 1)`.
fn make(engine: &Engine, bell: &Bell, held: &Count) -> (Store<Data>, TypedFunc<u32, u64>) {
    let data = Data { bell: bell.clone(), held: held.clone(), sum: 0 };
    let mut store = Store::new(engine, data);
    let step =
        Func::wrap_async(&mut store, |mut caller: Caller<'_, Data>, (n, kept): (u32, Option<ExternRef>)| {
            Box::new(async move {
                let _held = caller.data().held.one();
                match n % 3 {
                    0 => Ring(caller.data().bell.clone(), false).await,
                    turns => Turns(turns).await,
                }
                caller.data_mut().sum += u64::from(n);
                kept
            })
        });
    let step = step.unwrap().typed::<(u32, Option<ExternRef>), Option<ExternRef>>(&store).unwrap();
    let nest: Arc<Mutex<Option<TypedFunc<u32, u64>>>> = Arc::default();
    let own = nest.clone();
    let func = Func::wrap_async(&mut store, move |mut caller: Caller<'_, Data>, (n,): (u32,)| {
        let own = *lock(&own);
        Box::new(async move {
            let _held = caller.data().held.one();
            let kept = step.call_async(&mut caller, (n, Some(ExternRef::new(n)))).await?;
            assert!(kept.is_some_and(|kept| kept.data().downcast_ref() == Some(&n)));
            match (n, own) {
                (0, _) => Ok(caller.data().sum),
                (_, Some(nest)) => nest.call_async(&mut caller, n - 1).await,
                _ => Err(Error::msg("not there yet")),
            }
        })
    });
    let func = func.unwrap().typed::<u32, u64>(&store).unwrap();
    *lock(&nest) = Some(func);
    (store, func)
}

#[cfg(not(test))]
fn main() {
    tasks_are_handed_from_thread_to_thread();
    each_poll_and_the_drop_on_another_thread();
    println!("both ran to their end");
}

#[cfg_attr(test, test)]
fn tasks_are_handed_from_thread_to_thread() {
    let engine = Engine::default();
    let (bell, held) = (Bell::default(), Count::default());
    let executor = Arc::new(Executor::default());
    // Makes the types of functions known to the engine, whose lock would wait.
    drop(make(&engine, &bell, &held));
    let finished = Arc::new(AtomicUsize::new(0));
    const TASKS: usize = 120;
    for i in 0..TASKS {
        let (engine, bell, held, finished) = (engine.clone(), bell.clone(), held.clone(), finished.clone());
        let patience = if i % 7 == 3 { 1 + i % 5 } else { usize::MAX };
        executor.spawn(patience, async move {
            let (mut store, nest) = make(&engine, &bell, &held);
            for round in 0..4u32 {
                let depth = (i as u32 + round) % 6;
                let expected = (0..=depth).map(u64::from).sum::<u64>() + store.data().sum;
                assert_eq!(nest.call_async(&mut store, depth).await.unwrap(), expected);
            }
            finished.fetch_add(1, Ordering::Relaxed);
        });
    }
    let over = AtomicBool::new(false);
    thread::scope(|scope| {
        let ringer = scope.spawn(|| {
            while !over.load(Ordering::Acquire) {
                for waker in std::mem::take(&mut *lock(&bell.0)) {
                    waker.wake();
                }
                thread::yield_now();
            }
        });
        let workers: Vec<_> = (0..4).map(|_| scope.spawn(|| executor.work())).collect();
        for worker in workers {
            worker.join().unwrap();
        }
        over.store(true, Ordering::Release);
        ringer.join().unwrap();
    });
    assert_eq!(held.live(), 0);
    let finished = finished.load(Ordering::Relaxed);
    assert!((TASKS * 6 / 7..=TASKS).contains(&finished), "{finished}");
}

#[cfg_attr(test, test)]
fn each_poll_and_the_drop_on_another_thread() {
    let engine = Engine::default();
    let (bell, held) = (Bell::default(), Count::default());
    for polls in 0..40 {
        let (mut store, nest) = make(&engine, &bell, &held);
        let mut call = Box::pin(nest.call_async(&mut store, 5));
        let mut ended = false;
        for _ in 0..polls {
            let call = &mut call;
            ended =
                thread::scope(|scope| scope.spawn(move || poll(call.as_mut()).is_ready()).join().unwrap());
            if ended {
                break;
            }
        }
        thread::scope(|scope| scope.spawn(|| drop(call)).join().unwrap());
        assert_eq!(held.live(), 0);
        assert_eq!(ended, polls > 8, "{polls}");
        let before = store.data().sum;
        let (sum, turns) = count_turns(nest.call_async(&mut store, 5));
        assert_eq!((sum.unwrap(), turns), (before + 15, 8));
    }
}

//! Async calls on many threads: tasks that are woken by one thread and polled by another, dropped by a third. Without wasm,
//! and so without a compiler: host functions are called through the stubs. `ci/tsan.sh` runs this file under
//! ThreadSanitizer.

mod tasks;

use std::collections::VecDeque;
use std::future::Future;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex};
use std::task::{Context, Poll, Wake, Waker};
use std::thread;

use sphex::{Caller, Engine, Error, ExternRef, Func, Store, TypedFunc};
use tasks::{Count, Turns, count_turns, poll};

/// Runs tasks on threads, by their wakers alone.
#[derive(Default)]
struct Executor {
    queue: Mutex<VecDeque<Arc<Task>>>,
    filled: Condvar,
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
            executor.queue.lock().unwrap().push_back(self);
            executor.filled.notify_one();
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
            let task = {
                let mut queue = self.queue.lock().unwrap();
                loop {
                    if let Some(task) = queue.pop_front() {
                        break task;
                    }
                    if self.live.load(Ordering::Acquire) == 0 {
                        return;
                    }
                    queue = self.filled.wait(queue).unwrap();
                }
            };
            task.queued.store(false, Ordering::Release);
            let mut slot = task.future.lock().unwrap();
            let Some(future) = slot.as_mut() else { continue };
            let waker = Waker::from(task.clone());
            let ended = future.as_mut().poll(&mut Context::from_waker(&waker)).is_ready();
            if ended || task.patience.fetch_sub(1, Ordering::AcqRel) == 1 {
                *slot = None;
                if self.live.fetch_sub(1, Ordering::AcqRel) == 1 {
                    drop(self.queue.lock().unwrap());
                    self.filled.notify_all();
                }
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
        self.0.0.lock().unwrap().push(context.waker().clone());
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
        let own = *own.lock().unwrap();
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
    *nest.lock().unwrap() = Some(func);
    (store, func)
}

#[test]
fn tasks_are_handed_from_thread_to_thread() {
    let engine = Engine::default();
    let (bell, held) = (Bell::default(), Count::default());
    let executor = Arc::new(Executor::default());
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
        scope.spawn(|| {
            while !over.load(Ordering::Acquire) {
                for waker in std::mem::take(&mut *bell.0.lock().unwrap()) {
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
    });
    assert_eq!(held.live(), 0);
    let finished = finished.load(Ordering::Relaxed);
    assert!((TASKS * 6 / 7..=TASKS).contains(&finished), "{finished}");
}

#[test]
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
        thread::scope(|scope| {
            scope.spawn(|| drop(call));
        });
        assert_eq!(held.live(), 0);
        assert_eq!(ended, polls > 8, "{polls}");
        let before = store.data().sum;
        let (sum, turns) = count_turns(nest.call_async(&mut store, 5));
        assert_eq!((sum.unwrap(), turns), (before + 15, 8));
    }
}

//! The hand-over of stacks and calls between threads, in the orders that `shuttle` can think of.
//!
//! `shelf.rs` is the runtime's own file, with shuttle's lock. The calls are real ones; a turn to another thread happens
//! between polls, where an executor's locks are.

mod tasks;

#[path = "../src/vm/shelf.rs"]
#[allow(dead_code, reason = "a part is used")]
mod shelf;

mod lock {
    pub(crate) use shuttle::sync::Mutex;
}

use std::collections::VecDeque;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};

use shelf::Shelf;
use shuttle::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use shuttle::sync::{Arc, Condvar, Mutex};
use shuttle::thread;
use sphex::{Caller, Engine, Func, Store};
use tasks::{Count, Turns};

#[test]
fn a_stack_has_one_owner() {
    let run = || {
        let shelf: Arc<Shelf<usize>> = Arc::new(Shelf::new());
        let owned: Arc<Vec<AtomicBool>> = Arc::new((0..3).map(|_| AtomicBool::new(false)).collect());
        let made = Arc::new(AtomicUsize::new(0));
        let threads: Vec<_> = (0..3)
            .map(|_| {
                let (shelf, owned, made) = (shelf.clone(), owned.clone(), made.clone());
                thread::spawn(move || {
                    for _ in 0..3 {
                        let stack = shelf.take().unwrap_or_else(|| made.fetch_add(1, Ordering::SeqCst));
                        // No more are made than are in use at once.
                        assert!(!owned[stack].swap(true, Ordering::SeqCst));
                        thread::yield_now();
                        assert!(owned[stack].swap(false, Ordering::SeqCst));
                        shelf.put(stack);
                    }
                })
            })
            .collect();
        for thread in threads {
            thread.join().unwrap();
        }
        let made = made.load(Ordering::SeqCst);
        assert!((1..=3).contains(&made) && shelf.len() == made);
    };
    shuttle::check_random(run, 1000);
    shuttle::check_pct(run, 1000, 3);
}

type Call = Pin<Box<dyn Future<Output = u32> + Send>>;

/// Tasks, and the threads that wait for them. What a poll wakes is pushed by the thread that polled, after the poll.
#[derive(Default)]
struct Queue {
    tasks: Mutex<VecDeque<(usize, Call)>>,
    filled: Condvar,
    left: AtomicUsize,
}

impl Queue {
    fn take(&self) -> Option<(usize, Call)> {
        let mut tasks = self.tasks.lock().unwrap();
        loop {
            if let Some(task) = tasks.pop_front() {
                return Some(task);
            }
            if self.left.load(Ordering::SeqCst) == 0 {
                return None;
            }
            tasks = self.filled.wait(tasks).unwrap();
        }
    }

    fn end(&self) {
        if self.left.fetch_sub(1, Ordering::SeqCst) == 1 {
            drop(self.tasks.lock().unwrap());
            self.filled.notify_all();
        }
    }
}

#[test]
fn calls_are_handed_over() {
    let engine = Engine::default();
    let run = move || {
        let held = Count::default();
        let queue = Arc::new(Queue::default());
        for n in 0..3u32 {
            let (engine, held) = (engine.clone(), held.clone());
            let call: Call = Box::pin(async move {
                let mut store = Store::new(&engine, held);
                let inner = Func::wrap_async(&mut store, |caller: Caller<'_, Count>, (n,): (u32,)| {
                    Box::new(async move {
                        let _held = caller.data().one();
                        Turns(n).await;
                        n
                    })
                });
                let inner = inner.unwrap().typed::<u32, u32>(&store).unwrap();
                let outer =
                    Func::wrap_async(&mut store, move |mut caller: Caller<'_, Count>, (n,): (u32,)| {
                        Box::new(async move {
                            let first = inner.call_async(&mut caller, n).await?;
                            Turns(1).await;
                            Ok::<u32, sphex::Error>(first + inner.call_async(&mut caller, 1).await?)
                        })
                    });
                let outer = outer.unwrap().typed::<u32, u32>(&store).unwrap();
                outer.call_async(&mut store, n).await.unwrap()
            });
            queue.left.fetch_add(1, Ordering::SeqCst);
            queue.tasks.lock().unwrap().push_back((n as usize, call));
        }
        let threads: Vec<_> = (0..3)
            .map(|thread| {
                let queue = queue.clone();
                thread::spawn(move || {
                    let mut polls = 0;
                    while let Some((n, mut call)) = queue.take() {
                        let woken = std::sync::Arc::new(tasks::Woken::default());
                        let waker = woken.clone().into();
                        polls += 1;
                        match call.as_mut().poll(&mut Context::from_waker(&waker)) {
                            Poll::Ready(result) => {
                                assert_eq!(result as usize, n + 1);
                                queue.end();
                            }
                            // One thread gives up now and then, and drops the call.
                            Poll::Pending if thread == 2 && polls == 2 => {
                                drop(call);
                                queue.end();
                            }
                            Poll::Pending => {
                                assert_eq!(woken.0.load(std::sync::atomic::Ordering::SeqCst), 1);
                                queue.tasks.lock().unwrap().push_back((n, call));
                                queue.filled.notify_one();
                            }
                        }
                    }
                })
            })
            .collect();
        for thread in threads {
            thread.join().unwrap();
        }
        assert_eq!(held.live(), 0);
    };
    shuttle::check_random(run.clone(), 300);
    shuttle::check_pct(run, 300, 3);
}

//! What the async tests share: futures that wait as often as they are told, and a way to poll by hand.
#![allow(dead_code, reason = "each test uses a part")]

use std::future::Future;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll, Wake, Waker};

/// Is pending this many times; wakes its task each time.
pub struct Turns(pub u32);

impl Future for Turns {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        if self.0 == 0 {
            return Poll::Ready(());
        }
        self.0 -= 1;
        context.waker().wake_by_ref();
        Poll::Pending
    }
}

/// Counts what is made and what is dropped.
#[derive(Clone, Default)]
pub struct Count(Arc<AtomicUsize>);

impl Count {
    /// Counted now, and given back when it is dropped.
    pub fn one(&self) -> Counted {
        self.0.fetch_add(1, Ordering::SeqCst);
        Counted(self.clone())
    }

    /// How many live?
    pub fn live(&self) -> usize {
        self.0.load(Ordering::SeqCst)
    }
}

/// Something that is counted.
pub struct Counted(Count);

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.0.fetch_sub(1, Ordering::SeqCst);
    }
}

/// Counts how often it is woken.
#[derive(Default)]
pub struct Woken(pub AtomicUsize);

impl Wake for Woken {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Ordering::SeqCst);
    }
}

/// Polls once, with a waker that does nothing.
pub fn poll<F: Future + ?Sized>(future: Pin<&mut F>) -> Poll<F::Output> {
    future.poll(&mut Context::from_waker(Waker::noop()))
}

/// Polls until it is ready; how often it was pending.
pub fn count_turns<F: Future>(future: F) -> (F::Output, usize) {
    let mut future = pin!(future);
    let mut turns = 0;
    loop {
        match poll(future.as_mut()) {
            Poll::Ready(output) => return (output, turns),
            Poll::Pending => turns += 1,
        }
    }
}

/// Polls until it is ready.
pub fn block_on<F: Future>(future: F) -> F::Output {
    count_turns(future).0
}

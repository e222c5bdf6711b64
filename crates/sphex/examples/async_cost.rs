//! What async calls cost: `cargo run --profile ci -p sphex --no-default-features --example async_cost`.
//!
//! Host functions are called through the stubs, without wasm, so that what is measured is the fiber: taking a stack,
//! switching there and back, giving it back.

use std::future::Future;
use std::pin::{Pin, pin};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};
use sphex::{Caller, Engine, Func, Result, Store, TypedFunc};

/// Is pending this many times.
struct Turns(u64);

impl Future for Turns {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<()> {
        if self.0 == 0 {
            return Poll::Ready(());
        }
        self.0 -= 1;
        Poll::Pending
    }
}

fn block_on<F: Future>(future: F) -> F::Output {
    let mut future = pin!(future);
    let mut context = Context::from_waker(Waker::noop());
    loop {
        if let Poll::Ready(output) = future.as_mut().poll(&mut context) {
            return output;
        }
    }
}

/// What this thread has computed for; others on the machine do not count.
fn now() -> Duration {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    Duration::new(time.tv_sec as u64, time.tv_nsec as u32)
}

fn measure(what: &str, count: u64, mut run: impl FnMut() -> Result<()>) -> Result<()> {
    run()?;
    let best = (0..5).map(|_| {
        let start = now();
        run().map(|()| now() - start)
    });
    let best = best.collect::<Result<Vec<_>>>()?.into_iter().min().unwrap_or_default();
    println!("{what:60} {:8.1} ns", best.as_nanos() as f64 / count as f64);
    Ok(())
}

fn main() -> Result<()> {
    const CALLS: u64 = 200_000;
    let engine = Engine::default();
    let mut store = Store::new(&engine, ());
    let sync = Func::wrap(&mut store, |n: u64| n + 1)?;
    let sync: TypedFunc<u64, u64> = sync.typed(&store)?;
    let later = Func::wrap_async(&mut store, |_: Caller<'_, ()>, (turns,): (u64,)| {
        Box::new(async move {
            Turns(turns).await;
            turns + 1
        })
    })?;
    let later: TypedFunc<u64, u64> = later.typed(&store)?;
    measure("call of a host function", CALLS, || {
        (0..CALLS).try_for_each(|n| sync.call(&mut store, n).map(drop))
    })?;
    measure("call_async of a host function", CALLS, || {
        (0..CALLS).try_for_each(|n| block_on(sync.call_async(&mut store, n)).map(drop))
    })?;
    measure("call_async of an async host function that is ready", CALLS, || {
        (0..CALLS).try_for_each(|_| block_on(later.call_async(&mut store, 0)).map(drop))
    })?;
    measure("call_async of an async host function that waits once", CALLS, || {
        (0..CALLS).try_for_each(|_| block_on(later.call_async(&mut store, 1)).map(drop))
    })?;
    measure("a poll of a call that waits: resume, poll, suspend", CALLS, || {
        block_on(later.call_async(&mut store, CALLS)).map(drop)
    })
}

//! Guests that wait, one thread that does not: each guest asks the host for a value that comes later, and all of them run
//! at once on one thread. `cargo run -p sphex --example async_host`.
//!
//! The executor here is thirty lines, so that the example needs no other crate; any other will do.

use std::collections::VecDeque;
use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Wake, Waker};

use sphex::{Caller, Engine, InstancePre, Linker, Module, Result, Store};

type Task = Pin<Box<dyn Future<Output = ()> + Send>>;

/// Runs tasks in turns until all are done.
#[derive(Default)]
struct Executor {
    ready: Arc<Mutex<VecDeque<usize>>>,
    tasks: Vec<Option<Task>>,
}

struct Wakes(usize, Arc<Mutex<VecDeque<usize>>>);

impl Wake for Wakes {
    fn wake(self: Arc<Self>) {
        self.1.lock().unwrap_or_else(|e| e.into_inner()).push_back(self.0);
    }
}

impl Executor {
    fn spawn(&mut self, task: impl Future<Output = ()> + Send + 'static) {
        self.ready.lock().unwrap_or_else(|e| e.into_inner()).push_back(self.tasks.len());
        self.tasks.push(Some(Box::pin(task)));
    }

    fn run(mut self) {
        loop {
            let next = self.ready.lock().unwrap_or_else(|e| e.into_inner()).pop_front();
            let Some(number) = next else { return };
            let waker = Waker::from(Arc::new(Wakes(number, self.ready.clone())));
            if let Some(task) = &mut self.tasks[number]
                && task.as_mut().poll(&mut Context::from_waker(&waker)).is_ready()
            {
                self.tasks[number] = None;
            }
        }
    }
}

/// Lets every other task have a turn.
async fn turn() {
    let mut waited = false;
    poll_fn(|context| {
        if std::mem::replace(&mut waited, true) {
            return Poll::Ready(());
        }
        context.waker().wake_by_ref();
        Poll::Pending
    })
    .await;
}

/// What happened, in order.
type Log = Arc<Mutex<Vec<String>>>;

fn say(log: &Log, text: String) {
    log.lock().unwrap_or_else(|e| e.into_inner()).push(text);
}

async fn guest(name: &'static str, log: Log, pre: InstancePre<(&'static str, Log)>) -> Result<()> {
    let engine = pre.module().engine().clone();
    let mut store = Store::new(&engine, (name, log.clone()));
    let instance = pre.instantiate_async(&mut store).await?;
    let sum = instance.get_typed_func::<i32, i32>(&mut store, "sum")?;
    let result = sum.call_async(&mut store, 2).await?;
    say(&log, format!("{name}: {result}"));
    // The same call without `async` does not wait: it fails.
    say(&log, format!("{name}: {:?}", sum.call(&mut store, 2).unwrap_err().kind()));
    Ok(())
}

/// Two guests, each waiting twice; the log shows that they took turns.
pub fn run() -> Result<Vec<String>> {
    let engine = Engine::default();
    let module = Module::new(
        &engine,
        r#"(module (import "host" "fetch" (func $fetch (param i32) (result i32)))
            (func (export "sum") (param $n i32) (result i32) (local $sum i32)
                (loop $again
                    (local.set $sum (i32.add (local.get $sum) (call $fetch (local.get $n))))
                    (br_if $again (local.tee $n (i32.sub (local.get $n) (i32.const 1)))))
                (local.get $sum)))"#,
    )?;
    let mut linker = Linker::new(&engine);
    linker.func_wrap_async("host", "fetch", |caller: Caller<'_, (&'static str, Log)>, (n,): (i32,)| {
        Box::new(async move {
            let (name, log) = caller.data();
            say(log, format!("{name}: waits for {n}"));
            // A database or a socket would be asked here.
            turn().await;
            say(log, format!("{name}: has {n}"));
            n * 10
        })
    })?;
    let pre = linker.instantiate_pre(&module)?;
    let log = Log::default();
    let mut executor = Executor::default();
    for name in ["a", "b"] {
        let task = guest(name, log.clone(), pre.clone());
        let log = log.clone();
        executor.spawn(async move {
            if let Err(error) = task.await {
                say(&log, format!("{name}: {error}"));
            }
        });
    }
    executor.run();
    let lines = std::mem::take(&mut *log.lock().unwrap_or_else(|e| e.into_inner()));
    Ok(lines)
}

fn main() -> Result<()> {
    for line in run()? {
        println!("{line}");
    }
    Ok(())
}

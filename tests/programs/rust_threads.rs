//! Threads of Rust's standard library: counters, a lock, a channel, sleeping, a scope, thread-locals, the end of a process.

use std::cell::Cell;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Barrier, Condvar, Mutex, mpsc};
use std::thread;
use std::time::Duration;

static COUNTER: AtomicU64 = AtomicU64::new(0);

thread_local!(static LOCAL: Cell<u32> = const { Cell::new(1) });

fn main() {
    let total = Mutex::new(0u64);
    let barrier = Barrier::new(8);
    let (sender, receiver) = mpsc::channel();
    thread::scope(|scope| {
        for number in 0..8u64 {
            let (sender, total, barrier) = (sender.clone(), &total, &barrier);
            scope.spawn(move || {
                barrier.wait();
                for _ in 0..50_000 {
                    COUNTER.fetch_add(1, Ordering::Relaxed);
                }
                for _ in 0..500 {
                    *total.lock().unwrap() += number;
                }
                LOCAL.set(LOCAL.get() + 1);
                assert_eq!(LOCAL.get(), 2);
                thread::sleep(Duration::from_millis(2));
                sender.send(format!("thread {number}")).unwrap();
            });
        }
    });
    drop(sender);
    let mut told: Vec<String> = receiver.iter().collect();
    told.sort();
    println!("{} {} {}", COUNTER.load(Ordering::SeqCst), total.lock().unwrap(), told.join(", "));

    let (ready, changed) = (Mutex::new(false), Condvar::new());
    thread::scope(|scope| {
        scope.spawn(|| {
            *ready.lock().unwrap() = true;
            changed.notify_all();
        });
        let (ready, timeout) = changed
            .wait_timeout_while(ready.lock().unwrap(), Duration::from_secs(60), |ready| !*ready)
            .unwrap();
        println!("{ready} {}", timeout.timed_out());
    });
    let caught = thread::spawn(|| 6 * 7).join().unwrap();
    println!("{caught}");
    match std::env::args().nth(1).as_deref() {
        Some("exit") => {
            thread::spawn(|| std::process::exit(7));
            loop {
                thread::park();
            }
        }
        Some("panic") => {
            thread::spawn(|| panic!("in a thread"));
            loop {
                std::hint::spin_loop();
            }
        }
        _ => {
            // Nobody waits for these.
            thread::spawn(|| loop { thread::park() });
            thread::spawn(|| loop { std::hint::spin_loop() });
        }
    }
}

//! Epochs, deadlines and interruptions: wasm in loops, in recursion and behind host functions.
#![cfg(feature = "compiler")]

mod tasks;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::{Duration, Instant};

use sphex::{
    Caller, Config, Engine, Error, ErrorKind, Instance, Linker, Module, Result, Store, Trap, TypedFunc,
    UpdateDeadline,
};

const WAT: &str = r#"(module
    (func (export "spin") (loop (br 0)))
    (func $deep (param i32) (if (local.get 0) (then (call $deep (i32.sub (local.get 0) (i32.const 1))))))
    (func (export "calls") (loop (call $deep (i32.const 50)) (br 0)))
    (func (export "nothing"))
    ;; Everything that a loop may hold in registers, while it is stopped again and again.
    (func (export "mixed") (param $n i32) (result i64 f64 i32)
        (local $a i64) (local $b i64) (local $c i64) (local $d i64) (local $e i64) (local $f i64) (local $g i64)
        (local $h i64) (local $i i32) (local $x f64) (local $y f64) (local $z f64) (local $w f32) (local $v f32)
        (local $p0 f64) (local $p1 f64) (local $p2 f64) (local $p3 f64) (local $p4 f64) (local $p5 f64)
        (local $p6 f64) (local $p7 f64) (local $p8 f64) (local $p9 f64)
        (local.set $a (i64.const 1)) (local.set $b (i64.const 3)) (local.set $c (i64.const 5))
        (local.set $d (i64.const 7)) (local.set $e (i64.const 11)) (local.set $f (i64.const 13))
        (local.set $g (i64.const 17)) (local.set $h (i64.const 19))
        (local.set $x (f64.const 1)) (local.set $y (f64.const 0.5)) (local.set $z (f64.const 3))
        (local.set $w (f32.const 1.5)) (local.set $v (f32.const 0.75))
        (loop $l
            (local.set $a (i64.add (i64.mul (local.get $a) (local.get $b)) (local.get $c)))
            (local.set $b (i64.xor (local.get $b) (i64.rotl (local.get $d) (i64.const 7))))
            (local.set $c (i64.sub (local.get $c) (local.get $e)))
            (local.set $d (i64.add (local.get $d) (local.get $f)))
            (local.set $e (i64.or (i64.shl (local.get $e) (i64.const 1)) (i64.shr_u (local.get $g) (i64.const 60))))
            (local.set $f (i64.add (local.get $f) (local.get $h)))
            (local.set $g (i64.mul (local.get $g) (i64.const 6364136223846793005)))
            (local.set $h (i64.add (local.get $h) (local.get $a)))
            (local.set $x (f64.add (local.get $x) (local.get $y)))
            (local.set $y (f64.mul (local.get $y) (f64.const 0.999)))
            (local.set $z (f64.sub (local.get $z) (local.get $x)))
            (local.set $w (f32.add (local.get $w) (local.get $v)))
            (local.set $v (f32.mul (local.get $v) (f32.const 0.5)))
            (local.set $p0 (f64.add (local.get $p0) (f64.const 1.25)))
            (local.set $p1 (f64.add (local.get $p1) (f64.const 2.25)))
            (local.set $p2 (f64.add (local.get $p2) (f64.const 3.25)))
            (local.set $p3 (f64.add (local.get $p3) (f64.const 4.25)))
            (local.set $p4 (f64.add (local.get $p4) (f64.const 5.25)))
            (local.set $p5 (f64.add (local.get $p5) (f64.const 6.25)))
            (local.set $p6 (f64.add (local.get $p6) (f64.const 7.25)))
            (local.set $p7 (f64.add (local.get $p7) (f64.const 8.25)))
            (local.set $p8 (f64.add (local.get $p8) (f64.const 9.25)))
            (local.set $p9 (f64.add (local.get $p9) (f64.const 10.25)))
            (local.set $i (i32.add (local.get $i) (i32.const 1)))
            (br_if $l (i32.lt_u (local.get $i) (local.get $n))))
        (local.set $x (f64.add (local.get $x) (local.get $p0)))
        (local.set $x (f64.add (local.get $x) (local.get $p1)))
        (local.set $x (f64.add (local.get $x) (local.get $p2)))
        (local.set $x (f64.add (local.get $x) (local.get $p3)))
        (local.set $x (f64.add (local.get $x) (local.get $p4)))
        (local.set $x (f64.add (local.get $x) (local.get $p5)))
        (local.set $x (f64.add (local.get $x) (local.get $p6)))
        (local.set $x (f64.add (local.get $x) (local.get $p7)))
        (local.set $x (f64.add (local.get $x) (local.get $p8)))
        (local.set $x (f64.add (local.get $x) (local.get $p9)))
        (i64.xor (i64.xor (i64.xor (local.get $a) (local.get $b)) (i64.xor (local.get $c) (local.get $d)))
            (i64.xor (i64.xor (local.get $e) (local.get $f)) (i64.xor (local.get $g) (local.get $h))))
        (f64.add (f64.add (local.get $x) (local.get $y)) (local.get $z))
        (i32.reinterpret_f32 (f32.add (local.get $w) (local.get $v)))))"#;

/// Optimized and not, compiled at once and lazily.
fn engines() -> Vec<Engine> {
    [(true, false), (false, false), (true, true)]
        .into_iter()
        .map(|(optimize, lazy)| {
            let mut config = Config::new();
            config.compile.optimize = optimize;
            config.host.lazy_compilation = lazy;
            Engine::new(&config).unwrap()
        })
        .collect()
}

struct Set {
    store: Store<u32>,
    instance: Instance,
}

impl Set {
    fn new(engine: &Engine) -> Set {
        let mut store = Store::new(engine, 0);
        let instance = Instance::new(&mut store, &Module::new(engine, WAT).unwrap(), &[]).unwrap();
        Set { store, instance }
    }

    fn func(&mut self, name: &str) -> TypedFunc<(), ()> {
        self.instance.get_typed_func(&mut self.store, name).unwrap()
    }

    fn call(&mut self, name: &str) -> Result<()> {
        self.func(name).call(&mut self.store, ())
    }

    fn trap(&mut self, name: &str) -> Option<Trap> {
        self.call(name).expect_err(name).trap()
    }
}

/// Increments the epoch of an engine until it is dropped.
struct Ticker(Arc<AtomicBool>, Option<std::thread::JoinHandle<()>>);

impl Ticker {
    fn new(engine: &Engine, pause: Duration) -> Ticker {
        let (stop, engine) = (Arc::new(AtomicBool::new(false)), engine.clone());
        let stopped = stop.clone();
        let thread = std::thread::spawn(move || {
            while !stopped.load(Ordering::Relaxed) {
                std::thread::sleep(pause);
                engine.increment_epoch();
            }
        });
        Ticker(stop, Some(thread))
    }
}

impl Drop for Ticker {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
        self.1.take().map(std::thread::JoinHandle::join);
    }
}

#[test]
fn the_deadline_is_a_trap_that_stays() {
    for engine in engines() {
        let mut set = Set::new(&engine);
        set.call("nothing").unwrap();
        engine.increment_epoch();
        set.call("nothing").unwrap();
        set.store.set_epoch_deadline(2);
        engine.increment_epoch();
        set.call("nothing").unwrap();
        let _ticker = Ticker::new(&engine, Duration::from_millis(5));
        for name in ["spin", "calls", "spin"] {
            assert_eq!(set.trap(name), Some(Trap::EpochDeadline), "{name}");
        }
        let error = set.call("spin").unwrap_err();
        assert_eq!((error.kind(), error.to_string().as_str()), (ErrorKind::Trap, "epoch deadline reached"));
        set.store.set_epoch_deadline(u64::MAX);
        set.call("nothing").unwrap();
        set.store.set_epoch_deadline(0);
        assert_eq!(set.trap("calls"), Some(Trap::EpochDeadline));
        set.store.clear_epoch_deadline();
        set.call("nothing").unwrap();
    }
}

#[test]
fn backtraces_begin_where_wasm_was_stopped() {
    for engine in engines() {
        let mut set = Set::new(&engine);
        set.store.set_epoch_deadline(1);
        let _ticker = Ticker::new(&engine, Duration::from_millis(2));
        let error = set.call("spin").unwrap_err();
        let frames = error.backtrace().unwrap().frames();
        assert_eq!(frames.len(), 1, "{error:?}");
        set.store.set_epoch_deadline(1);
        let error = set.call("calls").unwrap_err();
        assert!(!error.backtrace().unwrap().frames().is_empty(), "{error:?}");
    }
}

/// A callback goes on, and nothing that wasm computes is changed by that: the loop is stopped thousands of times.
#[test]
fn a_callback_goes_on_and_registers_survive() {
    for engine in engines() {
        let mut set = Set::new(&engine);
        let mixed = set.instance.get_typed_func::<i32, (i64, f64, i32)>(&mut set.store, "mixed").unwrap();
        let turns = 20_000_000;
        let expected = mixed.call(&mut set.store, turns).unwrap();
        set.store.epoch_deadline_callback(|mut context| {
            *context.data_mut() += 1;
            // Leaves nothing as it was in the registers that a call may use.
            let mut noise = std::hint::black_box([1.5f64; 24]);
            for _ in 0..3 {
                noise = std::array::from_fn(|k| noise[(k + 7) % 24] * noise[k] + noise[(k + 11) % 24]);
            }
            assert!(std::hint::black_box(noise)[3] > 1.0 && context.engine().config().compile.interruption);
            Ok(UpdateDeadline::Continue(1))
        });
        set.store.set_epoch_deadline(1);
        let _ticker = Ticker::new(&engine, Duration::from_micros(20));
        let mut seen = 0;
        for _ in 0..20 {
            let found = mixed.call(&mut set.store, turns).unwrap();
            assert_eq!((found.0, found.1.to_bits(), found.2), (expected.0, expected.1.to_bits(), expected.2));
            seen = *set.store.data();
            if seen > 300 {
                break;
            }
        }
        assert!(seen > 50, "the loop was stopped {seen} times only");
    }
}

#[test]
fn a_callback_may_stop_wasm_and_may_panic() {
    for engine in engines() {
        let mut set = Set::new(&engine);
        let _ticker = Ticker::new(&engine, Duration::from_millis(1));
        for name in ["spin", "calls"] {
            set.store.epoch_deadline_callback(|mut context| {
                *context.data_mut() += 1;
                match *context.data() {
                    3 => Err(Error::msg("three is enough")),
                    _ => Ok(UpdateDeadline::Continue(1)),
                }
            });
            *set.store.data_mut() = 0;
            set.store.set_epoch_deadline(1);
            assert_eq!(set.call(name).unwrap_err().message(), "three is enough");
            assert_eq!(*set.store.data(), 3);
            set.store.epoch_deadline_callback(|_| panic!("tick"));
            set.store.set_epoch_deadline(1);
            let panicked = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| set.call(name)));
            assert_eq!(panicked.unwrap_err().downcast_ref::<&str>(), Some(&"tick"));
            set.store.epoch_deadline_callback(|_| Ok(UpdateDeadline::Yield(1)));
            set.store.set_epoch_deadline(1);
            let error = set.call(name).unwrap_err();
            assert!(error.to_string().contains("yield"), "{error}");
            set.store.epoch_deadline_async_yield_and_update(1);
            set.store.set_epoch_deadline(1);
            assert!(set.call(name).unwrap_err().to_string().contains("yield"));
        }
        set.store.epoch_deadline_trap();
        set.store.set_epoch_deadline(1);
        assert_eq!(set.trap("spin"), Some(Trap::EpochDeadline));
    }
}

/// An async call gives others a turn at each deadline, in loops and at entries, and computes the same.
#[test]
fn async_calls_yield() {
    for engine in engines() {
        let mut set = Set::new(&engine);
        let mixed = set.instance.get_typed_func::<i32, (i64, f64, i32)>(&mut set.store, "mixed").unwrap();
        let turns = 5_000_000;
        let expected = mixed.call(&mut set.store, turns).unwrap();
        let _ticker = Ticker::new(&engine, Duration::from_micros(100));
        set.store.epoch_deadline_async_yield_and_update(1);
        set.store.set_epoch_deadline(1);
        let mut yields = 0;
        for _ in 0..100 {
            let (found, pending) = tasks::count_turns(mixed.call_async(&mut set.store, turns));
            let found = found.unwrap();
            assert_eq!((found.0, found.1.to_bits(), found.2), (expected.0, expected.1.to_bits(), expected.2));
            yields += pending;
            if yields > 50 {
                break;
            }
        }
        assert!(yields > 50, "yielded {yields} times only");
        // A call that never ends, given up after some turns: wasm unwinds, and the store lives on.
        for name in ["spin", "calls"] {
            let func = set.func(name);
            let mut call = Box::pin(func.call_async(&mut set.store, ()));
            for _ in 0..10 {
                assert!(tasks::poll(call.as_mut()).is_pending());
            }
            drop(call);
        }
        set.store.epoch_deadline_callback(|mut context| {
            *context.data_mut() += 1;
            match *context.data() {
                n if n < 10 => Ok(UpdateDeadline::Yield(1)),
                10 => Ok(UpdateDeadline::Continue(1)),
                _ => Err(Error::msg("enough")),
            }
        });
        let spin = set.func("spin");
        let (ended, pending) = tasks::count_turns(spin.call_async(&mut set.store, ()));
        assert_eq!((ended.unwrap_err().message(), pending), ("enough", 9));
        set.store.clear_epoch_deadline();
        set.call("nothing").unwrap();
    }
}

#[test]
fn epochs_stop_those_that_are_due_and_no_others() {
    let engine = Engine::default();
    let mut sets: Vec<Set> = (0..8).map(|_| Set::new(&engine)).collect();
    for (k, set) in sets.iter_mut().enumerate() {
        set.store.set_epoch_deadline(k as u64 + 1);
    }
    drop(sets.remove(4));
    for _ in 0..4 {
        engine.increment_epoch();
    }
    for (k, set) in sets.iter_mut().enumerate() {
        let ended = set.call("nothing");
        assert_eq!(ended.is_err(), k < 4, "{k}");
    }
}

#[test]
fn a_timeout_is_a_trap_of_its_own() {
    for engine in engines() {
        let mut set = Set::new(&engine);
        for name in ["spin", "calls"] {
            let start = Instant::now();
            set.store.set_timeout(Duration::from_millis(30)).unwrap();
            assert!(set.store.deadline().is_some());
            assert_eq!(set.trap(name), Some(Trap::Timeout));
            let took = start.elapsed();
            assert!(took >= Duration::from_millis(30) && took < Duration::from_secs(20), "{took:?}");
            assert_eq!(set.call("nothing").unwrap_err().to_string(), "timed out");
            set.store.set_deadline(None).unwrap();
            set.call("nothing").unwrap();
        }
        set.store.set_deadline(Some(Instant::now())).unwrap();
        assert_eq!(set.trap("nothing"), Some(Trap::Timeout));
        set.store.set_timeout(Duration::MAX).unwrap();
        set.call("nothing").unwrap();
    }
}

/// Threads of this process whose name says that they keep an engine's time.
fn timers() -> usize {
    let tasks = std::fs::read_dir("/proc/self/task").unwrap();
    tasks
        .filter_map(|task| std::fs::read_to_string(task.ok()?.path().join("comm")).ok())
        .filter(|name| name.trim() == "sphex-timer")
        .count()
}

/// Alone in its process: other tests have timers, too.
#[test]
fn the_timer_thread_lives_while_there_is_a_deadline() {
    if std::env::var_os("SPHEX_ALONE").is_none() {
        let this = std::env::current_exe().unwrap();
        let name = "the_timer_thread_lives_while_there_is_a_deadline";
        let ended = std::process::Command::new(this).args([name, "--exact"]).env("SPHEX_ALONE", "1").output();
        assert!(ended.as_ref().unwrap().status.success(), "{ended:?}");
        return;
    }
    let wait_for = |count: usize| {
        let start = Instant::now();
        while timers() != count {
            assert!(start.elapsed() < Duration::from_secs(20), "expected {count} timers, found {}", timers());
            std::thread::sleep(Duration::from_millis(1));
        }
    };
    let engine = Engine::default();
    let (mut a, mut b) = (Set::new(&engine), Set::new(&engine));
    a.store.set_epoch_deadline(1);
    a.call("nothing").unwrap();
    assert_eq!(timers(), 0);
    a.store.set_timeout(Duration::from_secs(3600)).unwrap();
    b.store.set_timeout(Duration::from_secs(1800)).unwrap();
    wait_for(1);
    drop(b);
    a.call("nothing").unwrap();
    wait_for(1);
    a.store.set_timeout(Duration::from_millis(5)).unwrap();
    assert_eq!(a.trap("spin"), Some(Trap::Timeout));
    wait_for(0);
    a.store.set_timeout(Duration::from_secs(3600)).unwrap();
    wait_for(1);
    a.store.set_deadline(None).unwrap();
    wait_for(0);
    a.store.set_timeout(Duration::from_secs(3600)).unwrap();
    drop(a);
    wait_for(0);
}

#[test]
fn an_interruption_counts_once_and_comes_first() {
    for engine in engines() {
        let mut set = Set::new(&engine);
        let handle = set.store.interrupt_handle();
        handle.interrupt();
        handle.interrupt();
        assert_eq!(set.trap("calls"), Some(Trap::Interrupt));
        set.call("nothing").unwrap();
        set.store.set_epoch_deadline(0);
        handle.interrupt();
        assert_eq!(set.trap("spin"), Some(Trap::Interrupt));
        assert_eq!(set.trap("spin"), Some(Trap::EpochDeadline));
    }
}

/// A host function that waits on the event is woken by everything that stops wasm, and by nothing else.
#[test]
fn host_functions_that_wait_are_woken() {
    use rustix::event::{PollFd, PollFlags, poll};
    let engine = Engine::default();
    let waits = Arc::new(AtomicU32::new(0));
    let mut linker = Linker::new(&engine);
    let counted = waits.clone();
    linker
        .func_wrap("host", "wait", move |mut caller: Caller<'_, u32>| -> Result<()> {
            let interruption = caller.interruption();
            assert!(interruption.is_of(&caller) && interruption.is_possible());
            loop {
                counted.fetch_add(1, Ordering::Relaxed);
                let event = interruption.event()?;
                poll(&mut [PollFd::from_borrowed_fd(event, PollFlags::IN)], None).unwrap();
                caller.check_interruption()?;
            }
        })
        .unwrap();
    let wat = r#"(module (import "host" "wait" (func $w)) (func (export "wait") (call $w)) (func (export "nothing"))
        (func (export "calls") (local i32)
            (loop (br_if 0 (i32.lt_u (local.tee 0 (i32.add (local.get 0) (i32.const 1))) (i32.const 3))))))"#;
    let module = Module::new(&engine, wat).unwrap();
    let mut store = Store::new(&engine, 0);
    let instance = linker.instantiate(&mut store, &module).unwrap();
    let wait = instance.get_typed_func::<(), ()>(&mut store, "wait").unwrap();
    let nothing = instance.get_typed_func::<(), ()>(&mut store, "nothing").unwrap();
    let calls = instance.get_typed_func::<(), ()>(&mut store, "calls").unwrap();

    // Pending before the wait begins, and while it lasts.
    let handle = store.interrupt_handle();
    handle.interrupt();
    assert_eq!(wait.call(&mut store, ()).unwrap_err().trap(), Some(Trap::Interrupt));
    let later = std::thread::spawn(move || {
        std::thread::sleep(Duration::from_millis(10));
        handle.interrupt();
    });
    assert_eq!(wait.call(&mut store, ()).unwrap_err().trap(), Some(Trap::Interrupt));
    later.join().unwrap();
    assert!(waits.load(Ordering::Relaxed) <= 4);

    store.set_timeout(Duration::from_millis(10)).unwrap();
    assert_eq!(wait.call(&mut store, ()).unwrap_err().trap(), Some(Trap::Timeout));
    assert_eq!(wait.call(&mut store, ()).unwrap_err().trap(), Some(Trap::Timeout));
    store.set_deadline(None).unwrap();
    nothing.call(&mut store, ()).unwrap();

    let _ticker = Ticker::new(&engine, Duration::from_millis(2));
    store.set_epoch_deadline(1);
    assert_eq!(wait.call(&mut store, ()).unwrap_err().trap(), Some(Trap::EpochDeadline));
    store.epoch_deadline_callback(|mut context| {
        *context.data_mut() += 1;
        if *context.data() == 5 { Err(Error::msg("five")) } else { Ok(UpdateDeadline::Continue(1)) }
    });
    store.set_epoch_deadline(1);
    assert_eq!(wait.call(&mut store, ()).unwrap_err().message(), "five");

    // A turn for others cannot be given from inside a host function: it waits for wasm.
    store.epoch_deadline_async_yield_and_update(3);
    store.set_epoch_deadline(1);
    let handle = store.interrupt_handle();
    let later = std::thread::spawn(move || {
        std::thread::sleep(Duration::from_millis(30));
        handle.interrupt();
    });
    assert_eq!(wait.call(&mut store, ()).unwrap_err().trap(), Some(Trap::Interrupt));
    later.join().unwrap();
    assert!(calls.call(&mut store, ()).unwrap_err().to_string().contains("yield"));
}

/// Interruptions from all sides while wasm runs, calls out, and is entered anew: none is lost and none is felt twice.
#[test]
fn many_interruptions() {
    let engine = Engine::default();
    let mut set = Set::new(&engine);
    let handle = set.store.interrupt_handle();
    let (go, done) = (Arc::new(AtomicU32::new(0)), Arc::new(AtomicBool::new(false)));
    let (waiting, finished) = (go.clone(), done.clone());
    let thread = std::thread::spawn(move || {
        let mut seen = 0;
        while !finished.load(Ordering::SeqCst) {
            if waiting.load(Ordering::SeqCst) != seen {
                seen += 1;
                handle.interrupt();
            }
            std::hint::spin_loop();
        }
    });
    let names = ["spin", "calls"].map(|name| set.func(name));
    for k in 0..2000 {
        go.fetch_add(1, Ordering::SeqCst);
        let error = names[k % 2].call(&mut set.store, ()).unwrap_err();
        assert_eq!(error.trap(), Some(Trap::Interrupt));
    }
    done.store(true, Ordering::SeqCst);
    thread.join().unwrap();
    set.call("nothing").unwrap();
}

//! Whatever a guest waits for ends when its store is stopped: by a deadline in time, by an interrupt, by an epoch.

use sphex::{Engine, Error, Instance, Linker, Module, Result, Store, Trap, UpdateDeadline};
use sphex_wasi::files::HostFile;
use sphex_wasi::preview1::{
    GuestMemory, MAX_BUFFERS, add_to_linker, fd_readdir, fd_write, poll_oneoff, random_get,
};
use sphex_wasi::sockets::HostSocket;
use sphex_wasi::streams::{InputPipe, OutputPipe};
use sphex_wasi::{Descriptor, Errno, Rights, WasiCtx, WasiCtxBuilder};
use std::os::fd::OwnedFd;
use std::os::unix::net::{UnixListener, UnixStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

const WAT: &str = r#"(module
    (import "wasi_snapshot_preview1" "fd_read" (func $fd_read (param i32 i32 i32 i32) (result i32)))
    (import "wasi_snapshot_preview1" "fd_write" (func $fd_write (param i32 i32 i32 i32) (result i32)))
    (import "wasi_snapshot_preview1" "poll_oneoff" (func $poll_oneoff (param i32 i32 i32 i32) (result i32)))
    (import "wasi_snapshot_preview1" "sock_accept" (func $sock_accept (param i32 i32 i32) (result i32)))
    (import "wasi_snapshot_preview1" "sock_recv" (func $sock_recv (param i32 i32 i32 i32 i32 i32) (result i32)))
    (memory (export "memory") 2)
    ;; One buffer: a page at 65536.
    (data (i32.const 0) "\00\00\01\00\00\00\01\00")
    (func (export "read") (param i32) (result i32)
        (call $fd_read (local.get 0) (i32.const 0) (i32.const 1) (i32.const 16)))
    (func (export "write") (param i32) (result i32) (local i32)
        (loop (br_if 0 (i32.eqz (local.tee 1
            (call $fd_write (local.get 0) (i32.const 0) (i32.const 1) (i32.const 16))))))
        (local.get 1))
    (func (export "accept") (param i32) (result i32)
        (call $sock_accept (local.get 0) (i32.const 0) (i32.const 16)))
    (func (export "receive") (param i32) (result i32)
        (call $sock_recv (local.get 0) (i32.const 0) (i32.const 1) (i32.const 0) (i32.const 16) (i32.const 20)))
    ;; Sleeps for so many milliseconds; 0: an hour.
    (func (export "sleep") (param i32) (result i32)
        (i32.store8 (i32.const 108) (i32.const 0))
        (i32.store (i32.const 116) (i32.const 1))
        (i64.store (i32.const 124) (select (i64.mul (i64.extend_i32_u (local.get 0)) (i64.const 1000000))
            (i64.const 3600000000000) (local.get 0)))
        (call $poll_oneoff (i32.const 100) (i32.const 200) (i32.const 1) (i32.const 16)))
    ;; Waits until a descriptor can be read.
    (func (export "poll") (param i32) (result i32)
        (i32.store8 (i32.const 108) (i32.const 1))
        (i32.store (i32.const 116) (local.get 0))
        (call $poll_oneoff (i32.const 100) (i32.const 200) (i32.const 1) (i32.const 16))))"#;

/// Something to wait for: a name, the function that waits, and a descriptor beside what keeps it waiting.
struct Wait {
    name: &'static str,
    function: &'static str,
    descriptor: Option<Descriptor>,
    _other_end: Vec<OwnedFd>,
}

fn file(fd: impl Into<OwnedFd>) -> Descriptor {
    Descriptor::file(Arc::new(HostFile::new(fd.into()).unwrap()), Rights::all())
}

/// A terminal: the side of programs, and that of whoever types.
fn terminal() -> (OwnedFd, OwnedFd) {
    let typist = std::fs::OpenOptions::new().read(true).write(true).open("/dev/ptmx").unwrap();
    rustix::pty::unlockpt(&typist).unwrap();
    let name = rustix::pty::ptsname(&typist, Vec::new()).unwrap();
    let path = name.to_str().unwrap().to_owned();
    let program = std::fs::OpenOptions::new().read(true).write(true).open(path).unwrap();
    (program.into(), typist.into())
}

fn waits() -> Vec<Wait> {
    let wait = |name, function, descriptor, other: Vec<OwnedFd>| Wait {
        name,
        function,
        descriptor,
        _other_end: other,
    };
    let pipe = || std::io::pipe().unwrap();
    let (read, write) = pipe();
    let (polled, polled_end) = pipe();
    let (unread, full) = pipe();
    let (socket, peer) = UnixStream::pair().unwrap();
    let (received, sender) = UnixStream::pair().unwrap();
    let (tty, typist) = terminal();
    let folder = tempfile::tempdir().unwrap();
    let listener = UnixListener::bind(folder.path().join("socket")).unwrap();
    let fifo = folder.path().join("fifo");
    assert!(std::process::Command::new("mkfifo").arg(&fifo).status().unwrap().success());
    // Both ends in one descriptor: it never ends, and nobody writes.
    let fifo = std::fs::OpenOptions::new().read(true).write(true).open(fifo).unwrap();
    let socket_of = |fd: OwnedFd| Some(Descriptor::socket(Arc::new(HostSocket::new(fd).unwrap())));
    vec![
        wait("a pipe", "read", Some(file(read)), vec![write.into()]),
        wait("a FIFO", "read", Some(file(fifo)), vec![]),
        wait("a terminal", "read", Some(file(tty)), vec![typist]),
        wait("a full pipe", "write", Some(file(full)), vec![unread.into()]),
        wait("a socket", "read", socket_of(socket.into()), vec![peer.into()]),
        wait("a message", "receive", socket_of(received.into()), vec![sender.into()]),
        wait("a connection", "accept", socket_of(listener.into()), vec![]),
        wait("time", "sleep", None, vec![]),
        wait("a pipe in poll_oneoff", "poll", Some(file(polled)), vec![polled_end.into()]),
    ]
}

/// A store whose context has one more descriptor, the fourth.
fn store(engine: &Engine, descriptor: Option<Descriptor>) -> (Store<WasiCtx>, Instance) {
    let module = Module::new(engine, WAT).unwrap();
    let mut linker = Linker::new(engine);
    add_to_linker(&mut linker, |ctx: &mut WasiCtx| ctx).unwrap();
    let mut ctx = WasiCtx::builder().build();
    if let Some(descriptor) = descriptor {
        assert_eq!(ctx.push(descriptor), Ok(3));
    }
    let mut store = Store::new(engine, ctx);
    let instance = linker.instantiate(&mut store, &module).unwrap();
    (store, instance)
}

/// Runs `after` in a while, on another thread.
fn later(after: impl FnOnce() + Send + 'static) -> std::thread::JoinHandle<()> {
    std::thread::spawn(move || {
        std::thread::sleep(Duration::from_millis(20));
        after();
    })
}

#[test]
fn every_wait_ends_whoever_stops_the_store() {
    for wait in waits() {
        let engine = Engine::default();
        let (mut store, instance) = store(&engine, wait.descriptor);
        let function = instance.get_typed_func::<i32, i32>(&mut store, wait.function).unwrap();
        let argument = if wait.function == "sleep" { 0 } else { 3 };
        let call = |store: &mut Store<WasiCtx>| -> Error {
            let start = Instant::now();
            let ended: Result<i32> = function.call(&mut *store, argument);
            assert!(start.elapsed() < Duration::from_secs(30), "{}", wait.name);
            ended.expect_err(wait.name)
        };

        store.set_timeout(Duration::from_millis(20)).unwrap();
        let error = call(&mut store);
        assert_eq!(error.trap(), Some(Trap::Timeout), "{}: {error:?}", wait.name);
        assert_eq!(error.backtrace().unwrap().frames().len(), 1, "{}", wait.name);
        store.set_deadline(None).unwrap();

        let handle = store.interrupt_handle();
        let thread = later(move || handle.interrupt());
        assert_eq!(call(&mut store).trap(), Some(Trap::Interrupt), "{}", wait.name);
        thread.join().unwrap();

        store.set_epoch_deadline(1);
        let ticker = engine.clone();
        let thread = later(move || ticker.increment_epoch());
        assert_eq!(call(&mut store).trap(), Some(Trap::EpochDeadline), "{}", wait.name);
        thread.join().unwrap();

        // A callback lets it wait on, twice.
        let mut ticks = 0;
        store.epoch_deadline_callback(move |_| {
            ticks += 1;
            if ticks == 3 { Err(Error::msg("three ticks")) } else { Ok(UpdateDeadline::Continue(1)) }
        });
        store.set_epoch_deadline(1);
        let (ticker, done) = (engine.clone(), Arc::new(AtomicBool::new(false)));
        let over = done.clone();
        // On a busy machine two ticks may be seen as one.
        let thread = later(move || {
            while !over.load(Ordering::Relaxed) {
                ticker.increment_epoch();
                std::thread::sleep(Duration::from_millis(10));
            }
        });
        let error = call(&mut store);
        assert_eq!(error.message(), "three ticks", "{}", wait.name);
        done.store(true, Ordering::Relaxed);
        thread.join().unwrap();
    }
}

/// A sleep that epochs interrupt again and again ends when it should: its time runs from its beginning.
#[test]
fn a_sleep_that_goes_on_ends_in_time() {
    let engine = Engine::default();
    let (mut store, instance) = store(&engine, None);
    let sleep = instance.get_typed_func::<i32, i32>(&mut store, "sleep").unwrap();
    store.epoch_deadline_callback(|_| Ok(UpdateDeadline::Continue(1)));
    store.set_epoch_deadline(1);
    let ticker = engine.clone();
    let done = Arc::new(AtomicBool::new(false));
    let over = done.clone();
    let thread = std::thread::spawn(move || {
        while !over.load(Ordering::Relaxed) {
            ticker.increment_epoch();
            std::thread::sleep(Duration::from_millis(5));
        }
    });
    for _ in 0..2 {
        let start = Instant::now();
        assert_eq!(sleep.call(&mut store, 100).unwrap(), 0);
        let took = start.elapsed();
        assert!(took >= Duration::from_millis(100) && took < Duration::from_secs(20), "{took:?}");
    }
    done.store(true, Ordering::Relaxed);
    thread.join().unwrap();
}

fn limited(f: impl FnOnce(&mut WasiCtxBuilder)) -> WasiCtx {
    let mut builder = WasiCtx::builder();
    f(&mut builder);
    builder.build()
}

/// What a guest makes the host move or hold in one call is bounded, whatever numbers it names.
#[test]
fn hostcalls_are_limited() {
    let (input, output) = (InputPipe::new(vec![7; 5000]), OutputPipe::new(1 << 20));
    let mut ctx = limited(|builder| {
        builder.stdin(Arc::new(input)).stdout(Arc::new(output.clone()));
        builder.preopen(std::path::Path::new("/"), "/", true).unwrap();
    });
    let mut bytes = vec![1; 1 << 16];
    // Two buffers of 800 bytes.
    for (at, word) in [4096u32, 800, 8192, 800].into_iter().enumerate() {
        bytes[at * 4..][..4].copy_from_slice(&word.to_le_bytes());
    }
    let mut memory = GuestMemory::new(&mut bytes).limited(1000);
    fd_write(&mut ctx, &mut memory, 1, 0, 2, 16).unwrap();
    assert_eq!((memory.read_u32(16), output.contents().len()), (Ok(1000), 1000));
    sphex_wasi::preview1::fd_read(&mut ctx, &mut memory, 0, 0, 2, 16).unwrap();
    assert_eq!(memory.read_u32(16), Ok(1000));
    assert_eq!(memory.bytes(8192, 201).unwrap()[198..], [7, 7, 1]);
    assert_eq!(random_get(&mut ctx, &mut memory, 4096, 1000), Ok(()));
    assert_eq!(random_get(&mut ctx, &mut memory, 4096, 1001), Err(Errno::Inval.into()));
    assert_eq!(random_get(&mut ctx, &mut memory, 4096, u32::MAX), Err(Errno::Fault.into()));
    assert_eq!(fd_readdir(&mut ctx, &mut memory, 3, 4096, 1000, 0, 16), Ok(()));
    assert_eq!(fd_readdir(&mut ctx, &mut memory, 3, 4096, 1001, 0, 16), Err(Errno::Inval.into()));
    // 48 bytes each.
    assert_eq!(poll_oneoff(&mut ctx, &mut memory, 32768, 40000, 21, 16), Err(Errno::Inval.into()));
    assert_eq!(poll_oneoff(&mut ctx, &mut memory, 32768, 40000, u32::MAX, 16), Err(Errno::Inval.into()));
    assert_eq!(fd_write(&mut ctx, &mut memory, 1, 0, MAX_BUFFERS + 1, 16), Err(Errno::Inval.into()));
}

#[test]
fn descriptors_are_limited() {
    let mut ctx = limited(|builder| {
        builder.max_descriptors(5);
    });
    let (one, _other) = UnixStream::pair().unwrap();
    let descriptor = Descriptor::socket(Arc::new(HostSocket::new(one).unwrap()));
    assert_eq!(ctx.push(descriptor.clone()), Ok(3));
    assert_eq!(ctx.push(descriptor.clone()), Ok(4));
    assert_eq!(ctx.push(descriptor.clone()), Err(Errno::Mfile));
    let mut bytes = [0; 16];
    sphex_wasi::preview1::fd_close(&mut ctx, &mut GuestMemory::new(&mut bytes), 3).unwrap();
    assert_eq!(ctx.push(descriptor), Ok(3));
}

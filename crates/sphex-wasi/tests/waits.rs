//! Guests of `add_to_linker_async` on one thread of tokio's: where a guest waits, the thread goes on with others.
#![cfg(feature = "tokio")]

use sphex::{Config, Engine, Error, Instance, Linker, Module, Result, Store, Trap, UpdateDeadline};
use sphex_wasi::files::{
    Advice, Directory, Entry, File, HostFile, OpenHow, Opened, Readiness, Times, Whence,
};
use sphex_wasi::preview1::{add_to_linker, add_to_linker_async};
use sphex_wasi::sockets::HostSocket;
use sphex_wasi::{Descriptor, Errno, Filestat, Filetype, Rights, WasiCtx};
use std::cell::RefCell;
use std::future::Future;
use std::io::{IoSliceMut, Write};
use std::os::fd::OwnedFd;
use std::os::unix::net::{UnixListener, UnixStream};
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Waker};
use std::thread::ThreadId;
use std::time::Duration;
use tokio::runtime::{Builder, Runtime};
use tokio::task::LocalSet;

const WAT: &str = r#"(module
    (import "wasi_snapshot_preview1" "fd_read" (func $fd_read (param i32 i32 i32 i32) (result i32)))
    (import "wasi_snapshot_preview1" "fd_write" (func $fd_write (param i32 i32 i32 i32) (result i32)))
    (import "wasi_snapshot_preview1" "fd_pread" (func $fd_pread (param i32 i32 i32 i64 i32) (result i32)))
    (import "wasi_snapshot_preview1" "fd_readdir" (func $fd_readdir (param i32 i32 i32 i64 i32) (result i32)))
    (import "wasi_snapshot_preview1" "fd_sync" (func $fd_sync (param i32) (result i32)))
    (import "wasi_snapshot_preview1" "path_open"
        (func $path_open (param i32 i32 i32 i32 i32 i64 i64 i32 i32) (result i32)))
    (import "wasi_snapshot_preview1" "poll_oneoff" (func $poll_oneoff (param i32 i32 i32 i32) (result i32)))
    (import "wasi_snapshot_preview1" "fd_filestat_get" (func $fd_filestat_get (param i32 i32) (result i32)))
    (import "wasi_snapshot_preview1" "fd_filestat_set_times"
        (func $fd_filestat_set_times (param i32 i64 i64 i32) (result i32)))
    (import "wasi_snapshot_preview1" "fd_seek" (func $fd_seek (param i32 i64 i32 i32) (result i32)))
    (import "wasi_snapshot_preview1" "fd_advise" (func $fd_advise (param i32 i64 i64 i32) (result i32)))
    (import "wasi_snapshot_preview1" "fd_close" (func $fd_close (param i32) (result i32)))
    (import "wasi_snapshot_preview1" "fd_renumber" (func $fd_renumber (param i32 i32) (result i32)))
    (import "wasi_snapshot_preview1" "path_rename"
        (func $path_rename (param i32 i32 i32 i32 i32 i32) (result i32)))
    (import "wasi_snapshot_preview1" "sched_yield" (func $sched_yield (result i32)))
    (import "wasi_snapshot_preview1" "sock_accept" (func $sock_accept (param i32 i32 i32) (result i32)))
    (import "wasi_snapshot_preview1" "sock_recv" (func $sock_recv (param i32 i32 i32 i32 i32 i32) (result i32)))
    (import "wasi_snapshot_preview1" "sock_send" (func $sock_send (param i32 i32 i32 i32 i32) (result i32)))
    (memory (export "memory") 2)
    ;; One buffer: a page at 65536. A short one: four bytes at 65536.
    (data (i32.const 0) "\00\00\01\00\00\00\01\00\00\00\01\00\04\00\00\00")
    (data (i32.const 400) "name")
    (func (export "read") (param i32) (result i32)
        (call $fd_read (local.get 0) (i32.const 0) (i32.const 1) (i32.const 16)))
    (func (export "write") (param i32) (result i32)
        (call $fd_write (local.get 0) (i32.const 8) (i32.const 1) (i32.const 16)))
    (func (export "fill") (param i32) (result i32) (local i32)
        (loop (br_if 0 (i32.eqz (local.tee 1
            (call $fd_write (local.get 0) (i32.const 0) (i32.const 1) (i32.const 16))))))
        (local.get 1))
    (func (export "pread") (param i32) (result i32)
        (call $fd_pread (local.get 0) (i32.const 8) (i32.const 1) (i64.const 2) (i32.const 16)))
    (func (export "readdir") (param i32) (result i32)
        (call $fd_readdir (local.get 0) (i32.const 65536) (i32.const 65536) (i64.const 0) (i32.const 16)))
    (func (export "sync") (param i32) (result i32) (call $fd_sync (local.get 0)))
    (func (export "stat") (param i32) (result i32) (call $fd_filestat_get (local.get 0) (i32.const 16)))
    (func (export "touch") (param i32) (result i32)
        (call $fd_filestat_set_times (local.get 0) (i64.const 0) (i64.const 0) (i32.const 2)))
    (func (export "end") (param i32) (result i32)
        (call $fd_seek (local.get 0) (i64.const 0) (i32.const 2) (i32.const 16)))
    (func (export "position") (param i32) (result i32)
        (call $fd_seek (local.get 0) (i64.const 0) (i32.const 0) (i32.const 16)))
    (func (export "advise") (param i32) (result i32)
        (call $fd_advise (local.get 0) (i64.const 0) (i64.const 0) (i32.const 3)))
    (func (export "close") (param i32) (result i32) (call $fd_close (local.get 0)))
    ;; Moves the descriptor behind this one onto it.
    (func (export "renumber") (param i32) (result i32)
        (call $fd_renumber (i32.add (local.get 0) (i32.const 1)) (local.get 0)))
    (func (export "rename") (param i32) (result i32)
        (call $path_rename (local.get 0) (i32.const 400) (i32.const 4)
            (local.get 0) (i32.const 400) (i32.const 3)))
    ;; How many bytes there are to read: at 16.
    (func (export "ask") (param i32) (result i32)
        (i32.store8 (i32.const 108) (i32.const 1))
        (i32.store (i32.const 116) (local.get 0))
        (call $poll_oneoff (i32.const 100) (i32.const 200) (i32.const 1) (i32.const 16))
        (i32.store (i32.const 16) (i32.load (i32.const 216))))
    ;; Opens "name", to be made, read and written; the descriptor is at 16.
    (func (export "open") (param i32) (result i32)
        (call $path_open (local.get 0) (i32.const 0) (i32.const 400) (i32.const 4) (i32.const 1)
            (i64.const 0x8a000f6) (i64.const 0) (i32.const 0) (i32.const 16)))
    (func (export "accept") (param i32) (result i32)
        (call $sock_accept (local.get 0) (i32.const 0) (i32.const 16)))
    (func (export "receive") (param i32) (result i32)
        (call $sock_recv (local.get 0) (i32.const 0) (i32.const 1) (i32.const 2) (i32.const 16) (i32.const 20)))
    (func (export "send") (param i32) (result i32)
        (call $sock_send (local.get 0) (i32.const 8) (i32.const 1) (i32.const 0) (i32.const 16)))
    (func (export "yield") (param i32) (result i32) (local i32)
        (loop (local.set 1 (call $sched_yield))
            (br_if 0 (local.tee 0 (i32.sub (local.get 0) (i32.const 1)))))
        (local.get 1))
    ;; Sleeps for so many milliseconds.
    (func (export "sleep") (param i32) (result i32)
        (i32.store8 (i32.const 108) (i32.const 0))
        (i32.store (i32.const 116) (i32.const 1))
        (i64.store (i32.const 124) (i64.mul (i64.extend_i32_u (local.get 0)) (i64.const 1000000)))
        (call $poll_oneoff (i32.const 100) (i32.const 200) (i32.const 1) (i32.const 16)))
    ;; Waits until a descriptor can be read, or for an hour.
    (func (export "poll") (param i32) (result i32)
        (i32.store8 (i32.const 108) (i32.const 1))
        (i32.store (i32.const 116) (local.get 0))
        (i32.store8 (i32.const 156) (i32.const 0))
        (i32.store (i32.const 164) (i32.const 1))
        (i64.store (i32.const 172) (i64.const 3600000000000))
        (call $poll_oneoff (i32.const 100) (i32.const 200) (i32.const 2) (i32.const 16))))"#;

struct Guest {
    store: Store<WasiCtx>,
    instance: Instance,
}

impl Guest {
    /// One whose context has these descriptors from the fourth on.
    fn new(engine: &Engine, descriptors: Vec<Descriptor>) -> Guest {
        let module = Module::new(engine, WAT).unwrap();
        let mut linker = Linker::new(engine);
        add_to_linker_async(&mut linker, |ctx: &mut WasiCtx| ctx).unwrap();
        let mut ctx = WasiCtx::builder().build();
        for descriptor in descriptors {
            ctx.push(descriptor).unwrap();
        }
        let mut store = Store::new(engine, ctx);
        let instance = linker.instantiate(&mut store, &module).unwrap();
        Guest { store, instance }
    }

    async fn call(&mut self, name: &str, argument: i32) -> Result<i32> {
        let function = self.instance.get_typed_func::<i32, i32>(&mut self.store, name)?;
        function.call_async(&mut self.store, argument).await
    }

    fn call_sync(&mut self, name: &str, argument: i32) -> Result<i32> {
        let function = self.instance.get_typed_func::<i32, i32>(&mut self.store, name)?;
        function.call(&mut self.store, argument)
    }

    /// What the last call wrote at 16, and so much of the buffer at 65536.
    fn read(&mut self) -> (u32, Vec<u8>) {
        let memory = self.instance.get_memory(&mut self.store, "memory").unwrap();
        let bytes = memory.data(&self.store).unwrap();
        let len = u32::from_le_bytes(bytes[16..20].try_into().unwrap());
        (len, bytes[65536..][..len as usize].to_vec())
    }
}

fn one_thread() -> Runtime {
    Builder::new_current_thread().enable_all().build().unwrap()
}

fn file(fd: impl Into<OwnedFd>) -> Descriptor {
    Descriptor::file(Arc::new(HostFile::new(fd.into()).unwrap()), Rights::all())
}

fn socket(fd: impl Into<OwnedFd>) -> Descriptor {
    Descriptor::socket(Arc::new(HostSocket::new(fd.into()).unwrap()))
}

/// 100 guests on one thread. Each waits for a byte in its pipe, sleeps, and writes to the next guest's pipe: the last one
/// begins. None would ever go on if another's wait held the thread.
#[test]
fn many_guests_wait_on_one_thread() {
    const GUESTS: usize = 100;
    let engine = Engine::default();
    let (mut pipes_out, mut pipes_in): (Vec<_>, Vec<_>) =
        (0..=GUESTS).map(|_| std::io::pipe().unwrap()).unzip();
    let order = Rc::new(RefCell::new(Vec::new()));
    let tasks = LocalSet::new();
    let first = pipes_out.remove(0);
    for number in 0..GUESTS {
        let (read, write) = (pipes_out.remove(0), pipes_in.remove(0));
        let mut guest = Guest::new(&engine, vec![file(read), file(write)]);
        let order = order.clone();
        tasks.spawn_local(async move {
            assert_eq!(guest.call("read", 3).await.unwrap(), 0);
            assert_eq!(guest.read().0, 4);
            assert_eq!(guest.call("sleep", 1).await.unwrap(), 0);
            order.borrow_mut().push(number);
            assert_eq!(guest.call("write", 4).await.unwrap(), 0);
        });
    }
    let mut last = pipes_in.remove(0);
    drop(pipes_out);
    one_thread().block_on(async {
        tasks
            .run_until(async {
                tokio::task::yield_now().await;
                last.write_all(b"turn").unwrap();
            })
            .await;
        tasks.await;
    });
    assert_eq!(*order.borrow(), (0..GUESTS).rev().collect::<Vec<_>>());
    let mut turn = [0; 4];
    std::io::Read::read_exact(&mut { first }, &mut turn).unwrap();
    assert_eq!(&turn, b"turn");
}

/// What guests wait for: a name, the function, its argument, descriptors, and the other ends.
struct Wait(&'static str, &'static str, i32, Vec<Descriptor>, Vec<OwnedFd>);

fn waits() -> Vec<Wait> {
    let (read, write) = std::io::pipe().unwrap();
    let (polled, polled_end) = std::io::pipe().unwrap();
    let (unread, full) = std::io::pipe().unwrap();
    let (talk, peer) = UnixStream::pair().unwrap();
    let (received, sender) = UnixStream::pair().unwrap();
    let folder = tempfile::tempdir().unwrap();
    let listener = UnixListener::bind(folder.path().join("socket")).unwrap();
    vec![
        Wait("a pipe", "read", 3, vec![file(read)], vec![write.into()]),
        Wait("a full pipe", "fill", 3, vec![file(full)], vec![unread.into()]),
        Wait("a socket", "read", 3, vec![socket(talk)], vec![peer.into()]),
        Wait("a message", "receive", 3, vec![socket(received)], vec![sender.into()]),
        Wait("a connection", "accept", 3, vec![socket(listener)], vec![]),
        Wait("time", "sleep", 3_600_000, vec![], vec![]),
        Wait("a pipe in poll_oneoff", "poll", 3, vec![file(polled)], vec![polled_end.into()]),
    ]
}

/// After `after`, in a while, on the same thread; `call` must have ended by then.
async fn meanwhile<F: Future<Output = Result<i32>>>(call: F, after: impl FnOnce()) -> Error {
    let mut call = pin!(call);
    let sleep = tokio::time::timeout(Duration::from_millis(5), call.as_mut()).await;
    assert!(sleep.is_err(), "it does not wait: {sleep:?}");
    after();
    tokio::time::timeout(Duration::from_secs(60), call).await.expect("nobody woke it").unwrap_err()
}

#[test]
fn every_wait_ends_whoever_stops_the_store() {
    let runtime = one_thread();
    for Wait(name, function, argument, descriptors, _ends) in waits() {
        let engine = Engine::default();
        let mut guest = Guest::new(&engine, descriptors);
        runtime.block_on(async {
            guest.store.set_timeout(Duration::from_millis(20)).unwrap();
            let call = guest.call(function, argument);
            let ended = tokio::time::timeout(Duration::from_secs(60), call).await.expect(name);
            let error = ended.unwrap_err();
            assert_eq!(error.trap(), Some(Trap::Timeout), "{name}: {error:?}");
            assert_eq!(error.backtrace().unwrap().frames().len(), 1, "{name}");
            guest.store.set_deadline(None).unwrap();

            let handle = guest.store.interrupt_handle();
            let error = meanwhile(guest.call(function, argument), || handle.interrupt()).await;
            assert_eq!(error.trap(), Some(Trap::Interrupt), "{name}: {error:?}");

            guest.store.set_epoch_deadline(1);
            let error = meanwhile(guest.call(function, argument), || engine.increment_epoch()).await;
            assert_eq!(error.trap(), Some(Trap::EpochDeadline), "{name}: {error:?}");

            // A callback lets it wait on, once; it is called though the guest waits.
            let mut ticks = 0;
            guest.store.epoch_deadline_callback(move |_| {
                ticks += 1;
                if ticks == 3 { Err(Error::msg("three ticks")) } else { Ok(UpdateDeadline::Continue(1)) }
            });
            guest.store.set_epoch_deadline(1);
            {
                let mut call = pin!(guest.call(function, argument));
                for _ in 0..2 {
                    assert!(tokio::time::timeout(Duration::from_millis(2), call.as_mut()).await.is_err());
                    engine.increment_epoch();
                }
                let error = meanwhile(call, || engine.increment_epoch()).await;
                assert_eq!(error.message(), "three ticks", "{name}");
            }
            guest.store.clear_epoch_deadline();

            let interrupt = guest.store.data_mut().interrupt().unwrap();
            let error = meanwhile(guest.call(function, argument), || interrupt.fire()).await;
            assert_eq!(error.trap(), Some(Trap::Interrupt), "{name}: {error:?}");
            interrupt.reset();

            // Dropped while it waits: the store is as good as before.
            assert!(
                tokio::time::timeout(Duration::from_millis(2), guest.call(function, argument)).await.is_err()
            );
            assert_eq!(guest.call("yield", 2).await.unwrap(), 0, "{name}");
            assert_eq!(guest.call("sleep", 1).await.unwrap(), 0, "{name}");
            // And so is a sync call, which waits itself.
            guest.store.set_timeout(Duration::from_millis(20)).unwrap();
            let error = guest.call_sync(function, argument).unwrap_err();
            assert_eq!(error.trap(), Some(Trap::Timeout), "{name}");
        });
    }
}

#[test]
fn what_comes_is_what_the_guest_gets() {
    let engine = Engine::default();
    let (read, mut write) = std::io::pipe().unwrap();
    let (talk, mut peer) = UnixStream::pair().unwrap();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("socket");
    let listener = UnixListener::bind(&path).unwrap();
    let mut guest = Guest::new(&engine, vec![file(read), socket(talk), socket(listener)]);
    one_thread().block_on(async {
        let late = tokio::task::spawn_blocking(move || {
            std::thread::sleep(Duration::from_millis(5));
            write.write_all(b"pipe").unwrap();
            std::thread::sleep(Duration::from_millis(5));
            peer.write_all(b"sock").unwrap();
            std::thread::sleep(Duration::from_millis(5));
            let connected = UnixStream::connect(path).unwrap();
            (write, peer, connected)
        });
        assert_eq!(guest.call("poll", 3).await.unwrap(), 0);
        assert_eq!(guest.read().0, 1);
        assert_eq!(guest.call("read", 3).await.unwrap(), 0);
        assert_eq!(guest.read(), (4, b"pipe".to_vec()));
        // It asks for all of its buffer and gets what there is.
        assert_eq!(guest.call("receive", 4).await.unwrap(), 0);
        assert_eq!(guest.read(), (4, b"sock".to_vec()));
        assert_eq!(guest.call("send", 4).await.unwrap(), 0);
        assert_eq!(guest.call("accept", 5).await.unwrap(), 0);
        assert_eq!(guest.read().0, 6);
        let (write, mut peer, connected) = late.await.unwrap();
        let mut sent = [0; 4];
        std::io::Read::read_exact(&mut peer, &mut sent).unwrap();
        assert_eq!(&sent, b"sock");
        // The end of a pipe, and of a connection.
        drop((write, connected));
        assert_eq!((guest.call("read", 3).await.unwrap(), guest.read().0), (0, 0));
        assert_eq!((guest.call("read", 6).await.unwrap(), guest.read().0), (0, 0));
    });
}

/// Two guests read one pipe, four bytes at a time for one who asks for more: nobody holds the thread, nothing is lost.
#[test]
fn guests_may_share_a_descriptor() {
    let engine = Engine::default();
    let (read, mut write) = std::io::pipe().unwrap();
    let shared = file(read);
    let mut guests: Vec<_> = (0..3).map(|_| Guest::new(&engine, vec![shared.clone()])).collect();
    drop(shared);
    one_thread().block_on(async {
        let [a, b, c] = &mut guests[..] else { unreachable!() };
        let feed = async {
            for _ in 0..3 {
                tokio::time::sleep(Duration::from_millis(2)).await;
                write.write_all(b"1234").unwrap();
            }
        };
        let calls = (a.call("read", 3), b.call("read", 3), c.call("read", 3));
        let (mut a, mut b, mut c) = (pin!(calls.0), pin!(calls.1), pin!(calls.2));
        let mut feed = pin!(feed);
        let mut left = [true; 4];
        std::future::poll_fn(|context| {
            left[0] = left[0] && feed.as_mut().poll(context).is_pending();
            let calls: [Pin<&mut dyn Future<Output = Result<i32>>>; 3] = [a.as_mut(), b.as_mut(), c.as_mut()];
            for (left, call) in left[1..].iter_mut().zip(calls) {
                if *left && let Poll::Ready(ended) = call.poll(context) {
                    assert_eq!(ended.unwrap(), 0);
                    *left = false;
                }
            }
            if left == [false; 4] { Poll::Ready(()) } else { Poll::Pending }
        })
        .await;
    });
    let read: u32 = guests.iter_mut().map(|guest| guest.read().0).sum();
    assert_eq!(read, 12);
}

/// Where the work of a file or directory is done.
#[derive(Clone, Default)]
struct Threads(Arc<Mutex<Vec<(&'static str, ThreadId)>>>);

impl Threads {
    fn note(&self, what: &'static str) {
        self.0.lock().unwrap().push((what, std::thread::current().id()));
    }
}

struct Slow(Threads);

impl File for Slow {
    fn filetype(&self) -> Filetype {
        Filetype::RegularFile
    }

    fn blocks(&self) -> bool {
        true
    }

    fn read(&self, buffers: &mut [IoSliceMut<'_>]) -> std::result::Result<usize, Errno> {
        self.0.note("read");
        buffers[0][..4].copy_from_slice(b"slow");
        Ok(4)
    }

    fn read_at(&self, _: &mut [IoSliceMut<'_>], _: u64) -> std::result::Result<usize, Errno> {
        self.0.note("read_at");
        Err(Errno::Io)
    }

    fn write(&self, buffers: &[std::io::IoSlice<'_>]) -> std::result::Result<usize, Errno> {
        self.0.note("write");
        Ok(buffers.iter().map(|buffer| buffer.len()).sum())
    }

    fn sync(&self, _: bool) -> std::result::Result<(), Errno> {
        self.0.note("sync");
        Ok(())
    }

    fn stat(&self) -> std::result::Result<Filestat, Errno> {
        self.0.note("stat");
        Ok(Filestat { dev: 9, ..Filestat::default() })
    }

    fn set_times(&self, _: Times) -> std::result::Result<(), Errno> {
        self.0.note("set_times");
        Ok(())
    }

    fn advise(&self, _: u64, _: u64, _: Advice) -> std::result::Result<(), Errno> {
        self.0.note("advise");
        Ok(())
    }

    fn seek(&self, _: i64, whence: Whence) -> std::result::Result<u64, Errno> {
        self.0.note(if whence == Whence::End { "end" } else { "position" });
        Ok(11)
    }

    fn readable(&self) -> std::result::Result<Readiness, Errno> {
        self.0.note("readable");
        Ok(Readiness { bytes: 12, hangup: false })
    }
}

impl Drop for Slow {
    fn drop(&mut self) {
        self.0.note("close");
    }
}

impl Directory for Slow {
    fn blocks(&self) -> bool {
        true
    }

    fn read_only(&self) -> bool {
        false
    }

    fn open(&self, path: &str, _: &OpenHow) -> std::result::Result<Opened, Errno> {
        self.0.note("open");
        assert_eq!(path, "name");
        Ok(Opened::File(Arc::new(Slow(self.0.clone()))))
    }

    fn stat(&self) -> std::result::Result<Filestat, Errno> {
        self.0.note("stat directory");
        Ok(Filestat { dev: 10, ..Filestat::default() })
    }

    fn set_times(&self, _: Times) -> std::result::Result<(), Errno> {
        self.0.note("set_times directory");
        Ok(())
    }

    fn rename(&self, path: &str, _: &dyn Directory, new: &str) -> std::result::Result<(), Errno> {
        self.0.note("rename");
        assert_eq!((path, new), ("name", "nam"));
        Ok(())
    }

    fn read(&self, _: u64, visit: &mut dyn FnMut(Entry<'_>) -> bool) -> std::result::Result<(), Errno> {
        self.0.note("readdir");
        visit(Entry { name: b"entry", ino: 7, filetype: Filetype::RegularFile, next: 1 });
        Ok(())
    }

    fn stat_at(&self, _: &str, _: bool) -> std::result::Result<Filestat, Errno> {
        Err(Errno::Io)
    }
}

/// What is called, the descriptor, what it gives, the number that it writes, and what is done for that.
type Work = (&'static str, i32, u16, Option<u32>, &'static [&'static str]);

/// What may wait for a disk is done by another thread, once, and its result comes back; a sync call does it itself.
#[test]
fn files_are_left_to_the_pool() {
    let engine = Engine::default();
    let threads = Threads::default();
    let directory = Descriptor::directory(Arc::new(Slow(threads.clone())), Rights::all(), Rights::all());
    let mut guest = Guest::new(&engine, vec![directory]);
    let here = std::thread::current().id();
    let io: u16 = Errno::Io.raw();
    let calls: [Work; 17] = [
        ("open", 3, 0, Some(4), &["open"]),
        ("read", 4, 0, Some(4), &["read"]),
        ("write", 4, 0, Some(4), &["write"]),
        ("pread", 4, io, None, &["read_at"]),
        ("sync", 4, 0, None, &["sync"]),
        ("readdir", 3, 0, Some(29), &["readdir"]),
        ("stat", 4, 0, Some(9), &["stat"]),
        ("stat", 3, 0, Some(10), &["stat directory"]),
        ("touch", 4, 0, None, &["set_times"]),
        ("touch", 3, 0, None, &["set_times directory"]),
        ("advise", 4, 0, None, &["advise"]),
        ("end", 4, 0, Some(11), &["end"]),
        ("ask", 4, 0, Some(12), &["readable"]),
        ("rename", 3, 0, None, &["rename"]),
        ("open", 3, 0, Some(5), &["open"]),
        ("renumber", 4, 0, None, &["close"]),
        ("close", 4, 0, None, &["close"]),
    ];
    for sync in [false, true] {
        for (name, argument, code, number, jobs) in calls {
            let ended = match sync {
                true => guest.call_sync(name, argument),
                false => one_thread().block_on(guest.call(name, argument)),
            };
            assert_eq!(ended.unwrap(), i32::from(code), "{name} {sync}");
            let (written, bytes) = guest.read();
            assert!(number.is_none_or(|number| number == written), "{name} {sync}: {written}");
            assert!(name != "read" || bytes == b"slow");
            let done = std::mem::take(&mut *threads.0.lock().unwrap());
            assert_eq!(done.iter().map(|(job, _)| *job).collect::<Vec<_>>(), jobs, "{name} {sync}");
            assert!(done.iter().all(|(_, thread)| (*thread == here) == sync), "{name}: {done:?}");
        }
        // Where the position is the descriptor knows, and nobody waits for that. A number that is not open is found here.
        assert_eq!(guest.call_sync("open", 3).unwrap(), 0);
        let rest = [("position", 4, 0), ("close", 4, 0), ("close", 4, Errno::Badf.raw())];
        for (name, argument, code) in rest {
            let ended = match sync {
                true => guest.call_sync(name, argument),
                false => one_thread().block_on(guest.call(name, argument)),
            };
            assert_eq!(ended.unwrap(), i32::from(code), "{name} {sync}");
        }
        let done = std::mem::take(&mut *threads.0.lock().unwrap());
        assert_eq!(done.iter().map(|(job, _)| *job).collect::<Vec<_>>(), ["open", "position", "close"]);
        assert!(done[1].1 == here);
    }
}

/// The host's own files: the same bytes by either kind of call.
#[test]
fn files_of_the_host() {
    let engine = Engine::default();
    for sync in [false, true] {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("name"), b"0123456789").unwrap();
        let module = Module::new(&engine, WAT).unwrap();
        let mut linker = Linker::new(&engine);
        add_to_linker_async(&mut linker, |ctx: &mut WasiCtx| ctx).unwrap();
        let mut builder = WasiCtx::builder();
        builder.preopen(folder.path(), "/", false).unwrap();
        let mut store = Store::new(&engine, builder.build());
        let instance = linker.instantiate(&mut store, &module).unwrap();
        let mut guest = Guest { store, instance };
        let runtime = one_thread();
        let mut call = |name, argument| {
            let ended = match sync {
                true => guest.call_sync(name, argument),
                false => runtime.block_on(guest.call(name, argument)),
            };
            assert_eq!(ended.unwrap(), 0, "{name} {sync}");
            guest.read()
        };
        assert_eq!(call("open", 3).0, 4);
        assert_eq!(call("pread", 4), (4, b"2345".to_vec()));
        assert_eq!(call("read", 4), (10, b"0123456789".to_vec()));
        assert_eq!(call("read", 4).0, 0);
        assert_eq!(call("write", 4).0, 4);
        call("sync", 4);
        call("touch", 4);
        call("advise", 4);
        call("stat", 4);
        assert_eq!(call("end", 4).0, 14);
        assert_eq!(call("ask", 4).0, 0);
        assert_eq!(call("position", 4).0, 0);
        assert_eq!(call("ask", 4).0, 14);
        assert!(call("readdir", 3).0 > 24 * 3);
        assert_eq!(std::fs::read(folder.path().join("name")).unwrap(), b"01234567890123");
        assert_eq!(call("open", 3).0, 5);
        call("renumber", 4);
        assert_eq!(call("read", 4), (14, b"01234567890123".to_vec()));
        call("close", 4);
        call("rename", 3);
        assert!(folder.path().join("nam").exists() && !folder.path().join("name").exists());
    }
}

/// Sync functions under `call_async`, async ones under `call`, no runtime, a runtime without drivers: errors, no panics.
#[test]
fn mixing_is_an_error_or_works() {
    let engine = Engine::default();
    // The sync functions block, as ever, and end by the deadline.
    let mut linker = Linker::new(&engine);
    add_to_linker(&mut linker, |ctx: &mut WasiCtx| ctx).unwrap();
    let mut store = Store::new(&engine, WasiCtx::builder().build());
    let instance = linker.instantiate(&mut store, &Module::new(&engine, WAT).unwrap()).unwrap();
    let mut guest = Guest { store, instance };
    let mut context = Context::from_waker(Waker::noop());
    assert!(matches!(pin!(guest.call("sleep", 1)).poll(&mut context), Poll::Ready(Ok(0))));
    guest.store.set_timeout(Duration::from_millis(10)).unwrap();
    let Poll::Ready(Err(error)) = pin!(guest.call("sleep", 100_000)).poll(&mut context) else { panic!() };
    assert_eq!(error.trap(), Some(Trap::Timeout));

    let (read, mut write) = std::io::pipe().unwrap();
    let mut guest = Guest::new(&engine, vec![file(read)]);
    // Outside a runtime: what need not wait works, the rest says what is missing.
    let Poll::Ready(Err(error)) = pin!(guest.call("read", 3)).poll(&mut context) else { panic!() };
    assert_eq!(error.message(), "a guest waits: expected a tokio runtime around the call, found none");
    write.write_all(b"here").unwrap();
    assert!(matches!(pin!(guest.call("read", 3)).poll(&mut context), Poll::Ready(Ok(0))));
    assert_eq!(guest.read(), (4, b"here".to_vec()));
    assert_eq!(guest.call_sync("sleep", 1).unwrap(), 0);
    let bare = Builder::new_current_thread().build().unwrap();
    for (name, driver) in [("read", "I/O"), ("sleep", "time")] {
        let error = bare.block_on(guest.call(name, 3)).unwrap_err();
        let expected =
            format!("a guest waits: expected a tokio runtime with its {driver} driver enabled, found none");
        assert_eq!(error.message(), expected);
    }
    assert_eq!(guest.call_sync("sleep", 1).unwrap(), 0);
    // Fuel, and many turns: `sched_yield` gives the thread to others.
    let mut config = Config::new();
    config.compile.fuel = true;
    let engine = Engine::new(&config).unwrap();
    let mut guest = Guest::new(&engine, vec![]);
    guest.store.set_fuel(1000).unwrap();
    let mut call = Box::pin(guest.call("yield", 5));
    for _ in 0..5 {
        assert!(call.as_mut().poll(&mut context).is_pending());
    }
    assert!(matches!(call.as_mut().poll(&mut context), Poll::Ready(Ok(0))));
}

/// The command does not link the runtime: nothing asks for the feature but tests.
#[test]
fn nobody_pays_for_tokio_unasked() {
    let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let cli = std::fs::read_to_string(root.join("sphex-cli/Cargo.toml")).unwrap();
    assert!(!cli.contains("tokio"), "{cli}");
    let own = std::fs::read_to_string(root.join("sphex-wasi/Cargo.toml")).unwrap();
    assert!(!own.contains("default = ") && own.contains("tokio = { workspace = true, optional = true }"));
}

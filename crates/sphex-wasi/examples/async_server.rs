//! A server whose every connection is a WASI program of its own, all of them on one thread: while one guest waits for its
//! client, the thread serves the others. `cargo run -p sphex-wasi --features tokio --example async_server`.
//!
//! The program knows nothing of this: it reads its standard input, which is the connection, and writes its standard output.

use sphex::{Engine, InstancePre, Linker, Module, Result, Store};
use sphex_wasi::WasiCtx;
use sphex_wasi::preview1::add_to_linker_async;
use sphex_wasi::sockets::HostSocket;
use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::sync::Arc;
use tokio::net::TcpListener;
use tokio::task::JoinSet;

/// Says everything again, louder, until its input ends.
const SHOUT: &str = r#"(module
    (import "wasi_snapshot_preview1" "fd_read" (func $fd_read (param i32 i32 i32 i32) (result i32)))
    (import "wasi_snapshot_preview1" "fd_write" (func $fd_write (param i32 i32 i32 i32) (result i32)))
    (memory (export "memory") 1)
    (data (i32.const 0) "\00\04\00\00")
    (func (export "_start") (local $n i32) (local $i i32)
        (loop $next
            (i32.store (i32.const 4) (i32.const 64))
            (if (call $fd_read (i32.const 0) (i32.const 0) (i32.const 1) (i32.const 16)) (then unreachable))
            (local.set $n (i32.load (i32.const 16)))
            (if (i32.eqz (local.get $n)) (then return))
            (local.set $i (i32.const 0))
            (loop $letter
                (if (i32.lt_u (i32.sub (i32.load8_u offset=1024 (local.get $i)) (i32.const 97)) (i32.const 26))
                    (then (i32.store8 offset=1024 (local.get $i)
                        (i32.sub (i32.load8_u offset=1024 (local.get $i)) (i32.const 32)))))
                (br_if $letter (i32.lt_u (local.tee $i (i32.add (local.get $i) (i32.const 1))) (local.get $n))))
            (i32.store (i32.const 4) (local.get $n))
            (drop (call $fd_write (i32.const 1) (i32.const 0) (i32.const 1) (i32.const 16)))
            (br $next))))"#;

/// The program of one connection.
async fn serve(mut store: Store<WasiCtx>, pre: InstancePre<WasiCtx>) -> Result<()> {
    let instance = pre.instantiate_async(&mut store).await?;
    instance.get_typed_func::<(), ()>(&mut store, "_start")?.call_async(&mut store, ()).await
}

async fn server() -> Result<Vec<String>> {
    let engine = Engine::default();
    let module = Module::new(&engine, SHOUT)?;
    let mut linker = Linker::new(&engine);
    add_to_linker_async(&mut linker, |ctx: &mut WasiCtx| ctx)?;
    let pre = linker.instantiate_pre(&module)?;

    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let address = listener.local_addr()?;
    let clients = tokio::task::spawn_blocking(move || clients(address));
    let (mut guests, mut handles) = (JoinSet::new(), Vec::new());
    for _ in 0..3 {
        let connection = listener.accept().await?.0.into_std()?;
        // A guest that sees a non-blocking descriptor gets EAGAIN instead of waiting.
        connection.set_nonblocking(false)?;
        let connection = Arc::new(HostSocket::new(connection)?);
        let mut builder = WasiCtx::builder();
        builder.stdin(connection.clone()).stdout(connection);
        let store = Store::new(&engine, builder.build());
        handles.push(store.interrupt_handle());
        guests.spawn(serve(store, pre.clone()));
    }
    let (mut lines, silent) = clients.await??;
    for _ in 0..2 {
        if let Some(ended) = guests.join_next().await {
            ended??;
            lines.push("a guest has ended".to_owned());
        }
    }
    // Who is still here says nothing.
    handles.iter().for_each(|handle| handle.interrupt());
    while let Some(ended) = guests.join_next().await {
        if let Err(error) = ended? {
            lines.push(format!("a guest was stopped: {}", error.message()));
        }
    }
    drop(silent);
    Ok(lines)
}

/// Three clients. The first to connect is the last to speak; the third never does.
fn clients(address: SocketAddr) -> std::io::Result<(Vec<String>, TcpStream)> {
    let mut connections = Vec::new();
    for _ in 0..3 {
        connections.push(TcpStream::connect(address)?);
    }
    let silent = connections.remove(2);
    let mut lines = Vec::new();
    for (name, mut connection) in ["second", "first"].into_iter().zip(connections.into_iter().rev()) {
        write!(connection, "hello from the {name}")?;
        connection.shutdown(Shutdown::Write)?;
        let mut reply = String::new();
        connection.read_to_string(&mut reply)?;
        lines.push(reply);
    }
    Ok((lines, silent))
}

/// What the clients heard, and how the guests ended.
pub fn run() -> Result<Vec<String>> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(server())
}

fn main() -> Result<()> {
    for line in run()? {
        println!("{line}");
    }
    Ok(())
}

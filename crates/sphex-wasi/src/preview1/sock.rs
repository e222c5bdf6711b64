//! Sockets that the embedder handed over.

use super::types::{Errno, FdFlags, Rights};
use super::{Fault, GuestMemory, flags16};
use crate::{Descriptor, WasiCtx};
use rustix::event::PollFlags;

/// Takes a connection that waits on a listening socket.
pub fn sock_accept(
    ctx: &mut WasiCtx,
    memory: &mut GuestMemory<'_>,
    fd: u32,
    modes: u32,
    result: u32,
) -> Result<(), Fault> {
    let listening = ctx.descriptor(fd)?;
    let socket = listening.as_socket(Rights::SOCK_ACCEPT)?;
    let modes: FdFlags = flags16(modes)?;
    if !FdFlags::NONBLOCK.contains(modes) {
        return Err(Errno::Inval.into());
    }
    memory.check(result, 4)?;
    let accepted =
        ctx.waiting(fd, socket, PollFlags::IN, |_| socket.accept(modes.contains(FdFlags::NONBLOCK)))?;
    let mut descriptor = Descriptor::socket(accepted);
    descriptor.rights &= listening.inheriting & !Rights::SOCK_ACCEPT;
    descriptor.inheriting = Rights::empty();
    let fd = ctx.table.push(descriptor)?;
    Ok(memory.write_u32(result, fd)?)
}

/// Receives.
#[allow(clippy::too_many_arguments)]
pub fn sock_recv(
    ctx: &mut WasiCtx,
    memory: &mut GuestMemory<'_>,
    fd: u32,
    buffers: u32,
    buffers_len: u32,
    modes: u32,
    received: u32,
    result_flags: u32,
) -> Result<(), Fault> {
    let socket = ctx.descriptor(fd)?.as_socket(Rights::FD_READ)?;
    if modes > 3 {
        return Err(Errno::Inval.into());
    }
    memory.check(received, 4)?;
    memory.check(result_flags, 2)?;
    let (peek, all) = (modes & 1 != 0, modes & 2 != 0);
    // Who waits for all of it would block the thread of an async call: what is there must do.
    let at_once = ctx.later.is_some();
    let mut truncated = false;
    let len = memory.receive(buffers, buffers_len, |targets| {
        let (len, cut) = ctx.waiting(fd, socket, PollFlags::IN, |_| match at_once {
            true => socket.receive_now(targets, peek),
            false => socket.receive(targets, peek, all),
        })?;
        truncated = cut;
        Ok(len)
    })?;
    memory.write_u32(received, len as u32)?;
    Ok(memory.write(result_flags, &u16::from(truncated).to_le_bytes())?)
}

/// Sends. There are no flags yet.
pub fn sock_send(
    ctx: &mut WasiCtx,
    memory: &mut GuestMemory<'_>,
    fd: u32,
    buffers: u32,
    buffers_len: u32,
    modes: u32,
    sent: u32,
) -> Result<(), Fault> {
    let socket = ctx.descriptor(fd)?.as_socket(Rights::FD_WRITE)?;
    if modes != 0 {
        return Err(Errno::Inval.into());
    }
    memory.check(sent, 4)?;
    let sources = memory.sources(buffers, buffers_len)?;
    let len = ctx.waiting(fd, socket, PollFlags::OUT, |ready| {
        if ready { socket.write_some(&sources) } else { socket.send(&sources) }
    })?;
    drop(sources);
    Ok(memory.write_u32(sent, len as u32)?)
}

/// Ends either direction, or both.
pub fn sock_shutdown(
    ctx: &mut WasiCtx,
    _memory: &mut GuestMemory<'_>,
    fd: u32,
    how: u32,
) -> Result<(), Fault> {
    let socket = ctx.descriptor(fd)?.as_socket(Rights::SOCK_SHUTDOWN)?;
    if how == 0 || how > 3 {
        return Err(Errno::Inval.into());
    }
    Ok(socket.shutdown(how & 1 != 0, how & 2 != 0)?)
}

//! Sockets that the embedder hands over: preview 1 cannot make any.

use crate::files::{File, Readiness};
use crate::files::{filestat, flags, readable, set_modes};
use crate::{Errno, FdFlags, Filestat, Filetype};
use rustix::net::{RecvAncillaryBuffer, RecvFlags, ReturnFlags, SendAncillaryBuffer, SendFlags, Shutdown};
use rustix::net::{SocketFlags, SocketType};
use std::io::{IoSlice, IoSliceMut};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;

/// A socket: a stream that can do more.
pub trait Socket: File {
    /// Takes a connection that is waiting, non-blocking or not.
    fn accept(&self, nonblock: bool) -> Result<Arc<dyn Socket>, Errno>;

    /// Receives; also says whether the rest of a message was cut off.
    fn receive(&self, buffers: &mut [IoSliceMut<'_>], peek: bool, all: bool) -> Result<(usize, bool), Errno>;

    /// Receives what is there, without waiting for anyone: EAGAIN if that is nothing.
    fn receive_now(&self, buffers: &mut [IoSliceMut<'_>], peek: bool) -> Result<(usize, bool), Errno> {
        self.receive(buffers, peek, false)
    }

    /// Sends.
    fn send(&self, buffers: &[IoSlice<'_>]) -> Result<usize, Errno>;

    /// Ends either direction.
    fn shutdown(&self, reads: bool, writes: bool) -> Result<(), Errno>;
}

/// A socket of the host.
pub struct HostSocket {
    fd: OwnedFd,
    filetype: Filetype,
}

impl HostSocket {
    /// A bound or connected socket, from now on the guest's. ENOTSOCK if it is none.
    pub fn new(fd: impl Into<OwnedFd>) -> Result<HostSocket, Errno> {
        let fd = fd.into();
        let kind = rustix::net::sockopt::socket_type(&fd)?;
        let filetype = if kind == SocketType::DGRAM { Filetype::SocketDgram } else { Filetype::SocketStream };
        Ok(HostSocket { fd, filetype })
    }

    fn receive_with(&self, buffers: &mut [IoSliceMut<'_>], flags: RecvFlags) -> Result<(usize, bool), Errno> {
        let mut control = RecvAncillaryBuffer::default();
        let message = rustix::net::recvmsg(&self.fd, buffers, &mut control, flags)?;
        Ok((message.bytes, message.flags.contains(ReturnFlags::TRUNC)))
    }

    fn send_with(&self, buffers: &[IoSlice<'_>], flags: SendFlags) -> Result<usize, Errno> {
        let mut control = SendAncillaryBuffer::default();
        Ok(rustix::net::sendmsg(&self.fd, buffers, &mut control, flags | SendFlags::NOSIGNAL)?)
    }
}

impl Socket for HostSocket {
    fn accept(&self, nonblock: bool) -> Result<Arc<dyn Socket>, Errno> {
        let mut flags = SocketFlags::CLOEXEC;
        flags.set(SocketFlags::NONBLOCK, nonblock);
        let fd = rustix::net::accept_with(&self.fd, flags)?;
        Ok(Arc::new(HostSocket { fd, filetype: self.filetype }))
    }

    fn receive(&self, buffers: &mut [IoSliceMut<'_>], peek: bool, all: bool) -> Result<(usize, bool), Errno> {
        let mut flags = RecvFlags::empty();
        flags.set(RecvFlags::PEEK, peek);
        flags.set(RecvFlags::WAITALL, all);
        self.receive_with(buffers, flags)
    }

    fn receive_now(&self, buffers: &mut [IoSliceMut<'_>], peek: bool) -> Result<(usize, bool), Errno> {
        let mut flags = RecvFlags::DONTWAIT;
        flags.set(RecvFlags::PEEK, peek);
        self.receive_with(buffers, flags)
    }

    fn send(&self, buffers: &[IoSlice<'_>]) -> Result<usize, Errno> {
        self.send_with(buffers, SendFlags::empty())
    }

    fn shutdown(&self, reads: bool, writes: bool) -> Result<(), Errno> {
        let how = match (reads, writes) {
            (true, true) => Shutdown::Both,
            (true, false) => Shutdown::Read,
            (false, true) => Shutdown::Write,
            (false, false) => return Err(Errno::Inval),
        };
        Ok(rustix::net::shutdown(&self.fd, how)?)
    }
}

impl File for HostSocket {
    fn filetype(&self) -> Filetype {
        self.filetype
    }

    fn read(&self, buffers: &mut [IoSliceMut<'_>]) -> Result<usize, Errno> {
        Ok(rustix::io::readv(&self.fd, buffers)?)
    }

    fn read_now(&self, buffers: &mut [IoSliceMut<'_>], _: Option<u64>) -> Result<Option<usize>, Errno> {
        Ok(Some(self.receive_now(buffers, false)?.0))
    }

    fn write(&self, buffers: &[IoSlice<'_>]) -> Result<usize, Errno> {
        // Not `writev`, which would raise SIGPIPE in a process that does not ignore it.
        self.send(buffers)
    }

    fn write_some(&self, buffers: &[IoSlice<'_>]) -> Result<usize, Errno> {
        self.send_with(buffers, SendFlags::DONTWAIT)
    }

    fn stat(&self) -> Result<Filestat, Errno> {
        let stat = rustix::fs::fstat(&self.fd)?;
        Ok(Filestat { filetype: self.filetype, ..filestat(&stat) })
    }

    fn flags(&self) -> Result<FdFlags, Errno> {
        flags(self.fd.as_fd())
    }

    fn set_flags(&self, wanted: FdFlags) -> Result<(), Errno> {
        if !FdFlags::NONBLOCK.contains(wanted) {
            return Err(Errno::NotSup);
        }
        set_modes(self.fd.as_fd(), wanted)
    }

    fn wait_on(&self) -> Option<BorrowedFd<'_>> {
        Some(self.fd.as_fd())
    }

    fn readable(&self) -> Result<Readiness, Errno> {
        readable(self.fd.as_fd(), self.filetype)
    }
}

//! Functions of open descriptors.

use super::types::{DIRENT_SIZE, Errno, FdFlags, Fdstat, Filestat, Filetype, FstFlags, Rights};
use super::types::{encode_dirent, encode_prestat};
use super::{Fault, GuestMemory, flags16};
use crate::files::{Advice, Directory, Entry, File, SetTime, Times, Whence};
use crate::{Descriptor, Object, WasiCtx};
use rustix::event::PollFlags;
use std::io::{IoSlice, IoSliceMut};
use std::sync::Arc;

/// Gives a hint about a part of a file.
pub fn fd_advise(
    ctx: &mut WasiCtx,
    _memory: &mut GuestMemory<'_>,
    fd: u32,
    offset: u64,
    len: u64,
    advice: u32,
) -> Result<(), Fault> {
    let descriptor = ctx.descriptor(fd)?;
    let file = descriptor.as_file(Rights::FD_ADVISE, Errno::Badf)?;
    let advice = match advice {
        0 => Advice::Normal,
        1 => Advice::Sequential,
        2 => Advice::Random,
        3 => Advice::WillNeed,
        4 => Advice::DontNeed,
        5 => Advice::NoReuse,
        _ => return Err(Errno::Inval.into()),
    };
    match ctx.to_pool(descriptor) {
        Some(file) => ctx.pooled(true, move || file.advise(offset, len, advice)),
        None => Ok(file.advise(offset, len, advice)?),
    }
}

/// ENOTSUP: not every file system can do it, and emulating it is a race. Guests know how to go on.
pub fn fd_allocate(
    ctx: &mut WasiCtx,
    _memory: &mut GuestMemory<'_>,
    fd: u32,
    _offset: u64,
    _len: u64,
) -> Result<(), Fault> {
    ctx.descriptor(fd)?.as_file(Rights::FD_ALLOCATE, Errno::Badf)?;
    Err(Errno::NotSup.into())
}

/// Closes.
pub fn fd_close(ctx: &mut WasiCtx, _memory: &mut GuestMemory<'_>, fd: u32) -> Result<(), Fault> {
    if let Some(done) = ctx.done() {
        return done;
    }
    let closed = ctx.table.remove(fd)?;
    close(ctx, closed)
}

/// Drops what is in no table any more: the last to hold a file closes it, which may free a large one or ask a server.
fn close(ctx: &WasiCtx, closed: Descriptor) -> Result<(), Fault> {
    let blocks = match &closed.object {
        Object::File(file) => file.blocks(),
        Object::Directory(directory) => directory.blocks(),
        Object::Socket(_) => false,
    };
    ctx.pooled(blocks, move || {
        drop(closed);
        Ok(())
    })
}

/// Waits until data is on the disk.
pub fn fd_datasync(ctx: &mut WasiCtx, _memory: &mut GuestMemory<'_>, fd: u32) -> Result<(), Fault> {
    sync(ctx, fd, Rights::FD_DATASYNC, false)
}

/// Waits until data and metadata are on the disk.
pub fn fd_sync(ctx: &mut WasiCtx, _memory: &mut GuestMemory<'_>, fd: u32) -> Result<(), Fault> {
    sync(ctx, fd, Rights::FD_SYNC, true)
}

fn sync(ctx: &WasiCtx, fd: u32, needed: Rights, metadata: bool) -> Result<(), Fault> {
    let descriptor = ctx.descriptor(fd)?;
    descriptor.require(needed)?;
    match descriptor.object.clone() {
        Object::File(file) => ctx.pooled(file.blocks(), move || file.sync(metadata)),
        Object::Directory(directory) => ctx.pooled(directory.blocks(), move || directory.sync(metadata)),
        Object::Socket(_) => Err(Errno::Inval.into()),
    }
}

/// Writes what kind of thing a descriptor is, its modes and its rights.
pub fn fd_fdstat_get(
    ctx: &mut WasiCtx,
    memory: &mut GuestMemory<'_>,
    fd: u32,
    result: u32,
) -> Result<(), Fault> {
    let descriptor = ctx.descriptor(fd)?;
    let (mut base, inheriting) = descriptor.rights();
    let (filetype, terminal) = match &descriptor.object {
        Object::File(file) => (file.filetype(), file.is_terminal()),
        Object::Directory(_) => (Filetype::Directory, false),
        Object::Socket(socket) => (socket.filetype(), false),
    };
    if terminal {
        // By this guests know a terminal from other devices.
        base &= !(Rights::FD_SEEK | Rights::FD_TELL);
    }
    let stat = Fdstat { filetype, flags: descriptor.flags()?, base, inheriting };
    Ok(memory.write(result, &stat.encode())?)
}

/// Changes modes: APPEND and NONBLOCK. One of the others that is not set already is ENOTSUP.
pub fn fd_fdstat_set_flags(
    ctx: &mut WasiCtx,
    _memory: &mut GuestMemory<'_>,
    fd: u32,
    modes: u32,
) -> Result<(), Fault> {
    let file = ctx.descriptor(fd)?.as_file(Rights::FD_FDSTAT_SET_FLAGS, Errno::Badf)?;
    Ok(file.set_flags(flags16::<FdFlags>(modes)?)?)
}

/// Drops rights. ENOTCAPABLE if any would be added.
pub fn fd_fdstat_set_rights(
    ctx: &mut WasiCtx,
    _memory: &mut GuestMemory<'_>,
    fd: u32,
    base: u64,
    inheriting: u64,
) -> Result<(), Fault> {
    let descriptor = ctx.table.get_mut(fd)?;
    let rights = |bits| Rights::from_bits(bits).ok_or(Errno::NotCapable);
    Ok(descriptor.narrow(rights(base)?, rights(inheriting)?)?)
}

/// Writes what is known of an open thing.
pub fn fd_filestat_get(
    ctx: &mut WasiCtx,
    memory: &mut GuestMemory<'_>,
    fd: u32,
    result: u32,
) -> Result<(), Fault> {
    let descriptor = ctx.descriptor(fd)?;
    descriptor.require(Rights::FD_FILESTAT_GET)?;
    let stat: Filestat = match descriptor.object.clone() {
        Object::File(file) => ctx.pooled(file.blocks(), move || file.stat())?,
        Object::Directory(directory) => ctx.pooled(directory.blocks(), move || directory.stat())?,
        Object::Socket(socket) => socket.stat()?,
    };
    Ok(memory.write(result, &stat.encode())?)
}

/// Cuts or grows a file.
pub fn fd_filestat_set_size(
    ctx: &mut WasiCtx,
    _memory: &mut GuestMemory<'_>,
    fd: u32,
    size: u64,
) -> Result<(), Fault> {
    let descriptor = ctx.descriptor(fd)?;
    let file = descriptor.as_file(Rights::FD_FILESTAT_SET_SIZE, Errno::Badf)?;
    match ctx.to_pool(descriptor) {
        Some(file) => ctx.pooled(true, move || file.set_size(size)),
        None => Ok(file.set_size(size)?),
    }
}

/// Sets the times of an open thing.
pub fn fd_filestat_set_times(
    ctx: &mut WasiCtx,
    _memory: &mut GuestMemory<'_>,
    fd: u32,
    accessed: u64,
    modified: u64,
    which: u32,
) -> Result<(), Fault> {
    let descriptor = ctx.descriptor(fd)?;
    if matches!(descriptor.object, Object::Directory(_)) {
        descriptor.as_directory(Rights::FD_FILESTAT_SET_TIMES)?;
    }
    descriptor.require(Rights::FD_FILESTAT_SET_TIMES)?;
    let times = times(accessed, modified, which)?;
    match descriptor.object.clone() {
        Object::File(file) => ctx.pooled(file.blocks(), move || file.set_times(times)),
        Object::Directory(directory) => ctx.pooled(directory.blocks(), move || directory.set_times(times)),
        Object::Socket(socket) => Ok(socket.set_times(times)?),
    }
}

/// Which times to set; a time cannot be both now and another.
pub(super) fn times(accessed: u64, modified: u64, which: u32) -> Result<Times, Errno> {
    let which: FstFlags = flags16(which)?;
    let time = |to, now, value| match (which.contains(to), which.contains(now)) {
        (true, true) => Err(Errno::Inval),
        (true, false) => Ok(SetTime::To(value)),
        (false, true) => Ok(SetTime::Now),
        (false, false) => Ok(SetTime::Keep),
    };
    Ok(Times {
        accessed: time(FstFlags::ATIM, FstFlags::ATIM_NOW, accessed)?,
        modified: time(FstFlags::MTIM, FstFlags::MTIM_NOW, modified)?,
    })
}

/// Reads at an offset, leaving the position.
pub fn fd_pread(
    ctx: &mut WasiCtx,
    memory: &mut GuestMemory<'_>,
    fd: u32,
    buffers: u32,
    buffers_len: u32,
    offset: u64,
    read: u32,
) -> Result<(), Fault> {
    let descriptor = ctx.descriptor(fd)?;
    let file = descriptor.as_file(Rights::FD_READ | Rights::FD_SEEK, Errno::IsDir)?;
    memory.check(read, 4)?;
    let len = memory.receive(buffers, buffers_len, |targets| match ctx.to_pool(descriptor) {
        Some(file) => read_on_pool(ctx, file, targets, Some(offset)),
        None => Ok(retry(|| file.read_at(targets, offset))?),
    })?;
    Ok(memory.write_u32(read, len as u32)?)
}

/// Writes the kind of a preopened thing, which is a directory, and the length of its name.
pub fn fd_prestat_get(
    ctx: &mut WasiCtx,
    memory: &mut GuestMemory<'_>,
    fd: u32,
    result: u32,
) -> Result<(), Fault> {
    let name = ctx.descriptor(fd)?.preopen.as_ref().ok_or(Errno::Badf)?;
    Ok(memory.write(result, &encode_prestat(name.len() as u32))?)
}

/// Writes the name of a preopened directory. ENAMETOOLONG if it does not fit.
pub fn fd_prestat_dir_name(
    ctx: &mut WasiCtx,
    memory: &mut GuestMemory<'_>,
    fd: u32,
    buffer: u32,
    len: u32,
) -> Result<(), Fault> {
    let name = ctx.descriptor(fd)?.preopen.as_ref().ok_or(Errno::Badf)?;
    if (len as usize) < name.len() {
        return Err(Errno::NameTooLong.into());
    }
    Ok(memory.write(buffer, name.as_bytes())?)
}

/// Writes at an offset, leaving the position.
pub fn fd_pwrite(
    ctx: &mut WasiCtx,
    memory: &mut GuestMemory<'_>,
    fd: u32,
    buffers: u32,
    buffers_len: u32,
    offset: u64,
    written: u32,
) -> Result<(), Fault> {
    let descriptor = ctx.descriptor(fd)?;
    let file = descriptor.as_file(Rights::FD_WRITE | Rights::FD_SEEK, Errno::Badf)?;
    memory.check(written, 4)?;
    let sources = memory.sources(buffers, buffers_len)?;
    let len = match ctx.to_pool(descriptor) {
        Some(file) => write_on_pool(ctx, file, &sources, Some(offset))?,
        None => retry(|| file.write_at(&sources, offset))?,
    };
    drop(sources);
    Ok(memory.write_u32(written, len as u32)?)
}

/// Reads at the position.
pub fn fd_read(
    ctx: &mut WasiCtx,
    memory: &mut GuestMemory<'_>,
    fd: u32,
    buffers: u32,
    buffers_len: u32,
    read: u32,
) -> Result<(), Fault> {
    let descriptor = ctx.descriptor(fd)?;
    let file = descriptor.as_file(Rights::FD_READ, Errno::IsDir)?;
    memory.check(read, 4)?;
    let len = memory.receive(buffers, buffers_len, |targets| match ctx.to_pool(descriptor) {
        Some(file) => read_on_pool(ctx, file, targets, None),
        None => match ctx.at_once(file, || file.read_now(targets, None))? {
            Some(len) => Ok(len),
            None => ctx.waiting(fd, file, PollFlags::IN, |ready| {
                let read = if ready { file.read_now(targets, None)? } else { None };
                read.map_or_else(|| file.read(targets), Ok)
            }),
        },
    })?;
    Ok(memory.write_u32(read, len as u32)?)
}

/// Fills a buffer with entries of a directory from a cookie on; the last one is cut where the buffer ends.
pub fn fd_readdir(
    ctx: &mut WasiCtx,
    memory: &mut GuestMemory<'_>,
    fd: u32,
    buffer: u32,
    len: u32,
    cookie: u64,
    used: u32,
) -> Result<(), Fault> {
    let directory = ctx.descriptor(fd)?.to_directory(Rights::FD_READDIR)?;
    if len as usize > memory.limit() {
        // Not cut: a listing that does not fill its buffer is the last.
        return Err(Errno::Inval.into());
    }
    memory.check(used, 4)?;
    let filled = memory.fill(buffer, len as usize, |bytes| {
        if ctx.later.is_none() || !directory.blocks() {
            return Ok(list(&*directory, cookie, bytes)?);
        }
        let listed = ctx.pooled(true, move || {
            let mut bytes = vec![0; len as usize];
            let filled = list(&*directory, cookie, &mut bytes)?;
            bytes.truncate(filled);
            Ok(bytes)
        })?;
        bytes[..listed.len()].copy_from_slice(&listed);
        Ok(listed.len())
    })?;
    Ok(memory.write_u32(used, filled as u32)?)
}

/// Fills bytes with entries; how many of them.
fn list(directory: &dyn Directory, cookie: u64, bytes: &mut [u8]) -> Result<usize, Errno> {
    let mut filled = 0;
    let mut put = |piece: &[u8]| {
        let fits = piece.len().min(bytes.len() - filled);
        bytes[filled..filled + fits].copy_from_slice(&piece[..fits]);
        filled += fits;
        fits == piece.len()
    };
    directory.read(cookie, &mut |entry: Entry<'_>| {
        let header: [u8; DIRENT_SIZE] =
            encode_dirent(entry.next, entry.ino, entry.name.len() as u32, entry.filetype);
        put(&header) && put(entry.name)
    })?;
    Ok(filled)
}

/// Moves a descriptor onto another, which is closed.
pub fn fd_renumber(ctx: &mut WasiCtx, _memory: &mut GuestMemory<'_>, fd: u32, to: u32) -> Result<(), Fault> {
    if let Some(done) = ctx.done() {
        return done;
    }
    match ctx.table.renumber(fd, to)? {
        Some(closed) => close(ctx, closed),
        None => Ok(()),
    }
}

/// Moves the position.
pub fn fd_seek(
    ctx: &mut WasiCtx,
    memory: &mut GuestMemory<'_>,
    fd: u32,
    offset: i64,
    whence: u32,
    result: u32,
) -> Result<(), Fault> {
    let needed = if whence == 1 && offset == 0 { Rights::empty() } else { Rights::FD_SEEK };
    let descriptor = ctx.descriptor(fd)?;
    let file = descriptor.as_file(needed, Errno::Badf)?;
    if needed.is_empty() {
        require_tell(descriptor)?;
    }
    let whence = match whence {
        0 => Whence::Set,
        1 => Whence::Current,
        2 => Whence::End,
        _ => return Err(Errno::Inval.into()),
    };
    memory.check(result, 8)?;
    // The position itself is the descriptor's; where the end is, the file system knows.
    let position = match ctx.to_pool(descriptor).filter(|_| whence == Whence::End) {
        Some(file) => ctx.pooled(true, move || file.seek(offset, whence))?,
        None => file.seek(offset, whence)?,
    };
    Ok(memory.write_u64(result, position)?)
}

/// Writes the position.
pub fn fd_tell(ctx: &mut WasiCtx, memory: &mut GuestMemory<'_>, fd: u32, result: u32) -> Result<(), Fault> {
    let descriptor = ctx.descriptor(fd)?;
    let file = descriptor.as_file(Rights::empty(), Errno::Badf)?;
    require_tell(descriptor)?;
    let position = file.seek(0, Whence::Current)?;
    Ok(memory.write_u64(result, position)?)
}

/// The right to move the position implies that to know it.
fn require_tell(descriptor: &Descriptor) -> Result<(), Errno> {
    descriptor.require(Rights::FD_SEEK).or_else(|_| descriptor.require(Rights::FD_TELL))
}

/// Writes at the position.
pub fn fd_write(
    ctx: &mut WasiCtx,
    memory: &mut GuestMemory<'_>,
    fd: u32,
    buffers: u32,
    buffers_len: u32,
    written: u32,
) -> Result<(), Fault> {
    let descriptor = ctx.descriptor(fd)?;
    let file = descriptor.as_file(Rights::FD_WRITE, Errno::Badf)?;
    memory.check(written, 4)?;
    let sources = memory.sources(buffers, buffers_len)?;
    let len = match ctx.to_pool(descriptor) {
        Some(file) => write_on_pool(ctx, file, &sources, None)?,
        None => match ctx.at_once(file, || file.write_now(&sources))? {
            Some(len) => len,
            None => ctx.waiting(fd, file, PollFlags::OUT, |ready| {
                if ready { file.write_some(&sources) } else { file.write(&sources) }
            })?,
        },
    };
    drop(sources);
    Ok(memory.write_u32(written, len as u32)?)
}

/// Reads what is in memory already, or leaves reading to the pool: a copy, for guest memory cannot be lent to a thread.
fn read_on_pool(
    ctx: &WasiCtx,
    file: Arc<dyn File>,
    targets: &mut [IoSliceMut<'_>],
    offset: Option<u64>,
) -> Result<usize, Fault> {
    let read = match ctx.done::<Vec<u8>>() {
        Some(read) => read?,
        None => {
            match file.read_now(targets, offset) {
                Ok(None) | Err(Errno::Again | Errno::Intr) => {}
                read => return Ok(read?.unwrap_or(0)),
            }
            let len = targets.iter().map(|target| target.len()).sum();
            ctx.leave(move || {
                let mut bytes = vec![0; len];
                let len = retry(|| {
                    let mut target = [IoSliceMut::new(&mut bytes)];
                    match offset {
                        Some(offset) => file.read_at(&mut target, offset),
                        None => file.read(&mut target),
                    }
                })?;
                bytes.truncate(len);
                Ok(bytes)
            })?
        }
    };
    let mut rest = &read[..];
    for target in targets {
        let (now, later) = rest.split_at(rest.len().min(target.len()));
        target[..now.len()].copy_from_slice(now);
        rest = later;
    }
    Ok(read.len())
}

/// Leaves writing to the pool.
fn write_on_pool(
    ctx: &WasiCtx,
    file: Arc<dyn File>,
    sources: &[IoSlice<'_>],
    offset: Option<u64>,
) -> Result<usize, Fault> {
    if let Some(written) = ctx.done() {
        return written;
    }
    let mut bytes = Vec::with_capacity(sources.iter().map(|source| source.len()).sum());
    for source in sources {
        bytes.extend_from_slice(source);
    }
    ctx.leave(move || {
        let source = [IoSlice::new(&bytes)];
        retry(|| match offset {
            Some(offset) => file.write_at(&source, offset),
            None => file.write(&source),
        })
    })
}

/// Makes a call that does not wait for anyone again if a signal came between.
fn retry<T>(mut call: impl FnMut() -> Result<T, Errno>) -> Result<T, Errno> {
    loop {
        match call() {
            Err(Errno::Intr) => {}
            done => return done,
        }
    }
}

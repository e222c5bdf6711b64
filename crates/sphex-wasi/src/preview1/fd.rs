//! Functions of open descriptors.

use super::types::{DIRENT_SIZE, Errno, FdFlags, Fdstat, Filestat, Filetype, FstFlags, Rights};
use super::types::{encode_dirent, encode_prestat};
use super::{Fault, GuestMemory, flags16};
use crate::files::{Advice, Entry, SetTime, Times, Whence};
use crate::{Descriptor, Object, WasiCtx};
use rustix::event::PollFlags;

/// Gives a hint about a part of a file.
pub fn fd_advise(
    ctx: &mut WasiCtx,
    _memory: &mut GuestMemory<'_>,
    fd: u32,
    offset: u64,
    len: u64,
    advice: u32,
) -> Result<(), Fault> {
    let file = ctx.descriptor(fd)?.as_file(Rights::FD_ADVISE, Errno::Badf)?;
    let advice = match advice {
        0 => Advice::Normal,
        1 => Advice::Sequential,
        2 => Advice::Random,
        3 => Advice::WillNeed,
        4 => Advice::DontNeed,
        5 => Advice::NoReuse,
        _ => return Err(Errno::Inval.into()),
    };
    Ok(file.advise(offset, len, advice)?)
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
    ctx.table.remove(fd)?;
    Ok(())
}

/// Waits until data is on the disk.
pub fn fd_datasync(ctx: &mut WasiCtx, _memory: &mut GuestMemory<'_>, fd: u32) -> Result<(), Fault> {
    sync(ctx.descriptor(fd)?, Rights::FD_DATASYNC, false)
}

/// Waits until data and metadata are on the disk.
pub fn fd_sync(ctx: &mut WasiCtx, _memory: &mut GuestMemory<'_>, fd: u32) -> Result<(), Fault> {
    sync(ctx.descriptor(fd)?, Rights::FD_SYNC, true)
}

fn sync(descriptor: &Descriptor, needed: Rights, metadata: bool) -> Result<(), Fault> {
    descriptor.require(needed)?;
    match &descriptor.object {
        Object::File(file) => file.sync(metadata)?,
        Object::Directory(directory) => directory.sync(metadata)?,
        Object::Socket(_) => return Err(Errno::Inval.into()),
    }
    Ok(())
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
    let stat: Filestat = match &descriptor.object {
        Object::File(file) => file.stat()?,
        Object::Directory(directory) => directory.stat()?,
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
    let file = ctx.descriptor(fd)?.as_file(Rights::FD_FILESTAT_SET_SIZE, Errno::Badf)?;
    Ok(file.set_size(size)?)
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
    match &descriptor.object {
        Object::File(file) => file.set_times(times)?,
        Object::Directory(directory) => directory.set_times(times)?,
        Object::Socket(socket) => socket.set_times(times)?,
    }
    Ok(())
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
    let file = ctx.descriptor(fd)?.as_file(Rights::FD_READ | Rights::FD_SEEK, Errno::IsDir)?;
    memory.check(read, 4)?;
    let mut targets = memory.targets(buffers, buffers_len)?;
    let len = retry(|| file.read_at(&mut targets, offset))?;
    drop(targets);
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
    let file = ctx.descriptor(fd)?.as_file(Rights::FD_WRITE | Rights::FD_SEEK, Errno::Badf)?;
    memory.check(written, 4)?;
    let sources = memory.sources(buffers, buffers_len)?;
    let len = retry(|| file.write_at(&sources, offset))?;
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
    let file = ctx.descriptor(fd)?.as_file(Rights::FD_READ, Errno::IsDir)?;
    memory.check(read, 4)?;
    let mut targets = memory.targets(buffers, buffers_len)?;
    let len = ctx.waiting(file, PollFlags::IN, |_| file.read(&mut targets))?;
    drop(targets);
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
    let directory = ctx.descriptor(fd)?.as_directory(Rights::FD_READDIR)?;
    if len as usize > memory.limit() {
        // Not cut: a listing that does not fill its buffer is the last.
        return Err(Errno::Inval.into());
    }
    memory.check(used, 4)?;
    let bytes = memory.bytes_mut(buffer, len as usize)?;
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
    Ok(memory.write_u32(used, filled as u32)?)
}

/// Moves a descriptor onto another, which is closed.
pub fn fd_renumber(ctx: &mut WasiCtx, _memory: &mut GuestMemory<'_>, fd: u32, to: u32) -> Result<(), Fault> {
    Ok(ctx.table.renumber(fd, to)?)
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
    let position = file.seek(offset, whence)?;
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
    let file = ctx.descriptor(fd)?.as_file(Rights::FD_WRITE, Errno::Badf)?;
    memory.check(written, 4)?;
    let sources = memory.sources(buffers, buffers_len)?;
    let len = ctx.waiting(file, PollFlags::OUT, |ready| {
        if ready { file.write_some(&sources) } else { file.write(&sources) }
    })?;
    drop(sources);
    Ok(memory.write_u32(written, len as u32)?)
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

//! Functions of paths, each relative to an open directory.

use super::fd::times;
use super::types::{Errno, FdFlags, OFlags, Rights};
use super::{Fault, GuestMemory, flags16};
use crate::files::{OpenHow, Opened};
use crate::{Descriptor, WasiCtx};

/// Makes a directory.
pub fn path_create_directory(
    ctx: &mut WasiCtx,
    memory: &mut GuestMemory<'_>,
    fd: u32,
    path: u32,
    len: u32,
) -> Result<(), Fault> {
    let directory = ctx.descriptor(fd)?.as_directory(Rights::PATH_CREATE_DIRECTORY)?;
    Ok(directory.create_directory(memory.path(path, len)?)?)
}

/// Writes what is known of what a path names.
pub fn path_filestat_get(
    ctx: &mut WasiCtx,
    memory: &mut GuestMemory<'_>,
    fd: u32,
    lookup: u32,
    path: u32,
    len: u32,
    result: u32,
) -> Result<(), Fault> {
    let directory = ctx.descriptor(fd)?.as_directory(Rights::PATH_FILESTAT_GET)?;
    let stat = directory.stat_at(memory.path(path, len)?, follows(lookup)?)?;
    Ok(memory.write(result, &stat.encode())?)
}

/// Sets the times of what a path names.
#[allow(clippy::too_many_arguments)]
pub fn path_filestat_set_times(
    ctx: &mut WasiCtx,
    memory: &mut GuestMemory<'_>,
    fd: u32,
    lookup: u32,
    path: u32,
    len: u32,
    accessed: u64,
    modified: u64,
    which: u32,
) -> Result<(), Fault> {
    let directory = ctx.descriptor(fd)?.as_directory(Rights::PATH_FILESTAT_SET_TIMES)?;
    let times = times(accessed, modified, which)?;
    Ok(directory.set_times_at(memory.path(path, len)?, follows(lookup)?, times)?)
}

/// Gives a file a second name. Following a link first is not offered: EINVAL.
#[allow(clippy::too_many_arguments)]
pub fn path_link(
    ctx: &mut WasiCtx,
    memory: &mut GuestMemory<'_>,
    old_fd: u32,
    lookup: u32,
    old: u32,
    old_len: u32,
    new_fd: u32,
    new: u32,
    new_len: u32,
) -> Result<(), Fault> {
    let from = ctx.descriptor(old_fd)?.as_directory(Rights::PATH_LINK_SOURCE)?;
    let to = ctx.descriptor(new_fd)?.as_directory(Rights::PATH_LINK_TARGET)?;
    if follows(lookup)? {
        return Err(Errno::Inval.into());
    }
    Ok(from.link(memory.path(old, old_len)?, to, memory.path(new, new_len)?)?)
}

/// Opens or makes a file, or opens a directory.
///
/// The descriptor gets those of the rights asked for that its directory hands down and that mean something for what was
/// found. Reading and writing are never dropped silently from a file: they are ENOTCAPABLE.
#[allow(clippy::too_many_arguments)]
pub fn path_open(
    ctx: &mut WasiCtx,
    memory: &mut GuestMemory<'_>,
    fd: u32,
    lookup: u32,
    path: u32,
    len: u32,
    oflags: u32,
    base: u64,
    inheriting: u64,
    modes: u32,
    result: u32,
) -> Result<(), Fault> {
    let parent = ctx.descriptor(fd)?;
    let oflags: OFlags = flags16(oflags)?;
    let mut needed = Rights::PATH_OPEN;
    needed.set(Rights::PATH_CREATE_FILE, oflags.contains(OFlags::CREAT));
    needed.set(Rights::PATH_FILESTAT_SET_SIZE, oflags.contains(OFlags::TRUNC));
    let directory = open_in(parent, needed)?;
    let follow = follows(lookup)?;
    let modes: FdFlags = flags16(modes)?;
    let only_directory = oflags.contains(OFlags::DIRECTORY);
    if only_directory && oflags.intersects(OFlags::CREAT | OFlags::EXCL | OFlags::TRUNC) {
        return Err(Errno::Inval.into());
    }
    let wanted = Rights::from_bits_truncate(base);
    let read = wanted.intersects(Rights::FD_READ | Rights::FD_READDIR);
    let write = wanted.contains(Rights::FD_WRITE) && !only_directory;
    let missing = (wanted & (Rights::FD_READ | Rights::FD_WRITE)).difference(parent.inheriting);
    if !missing.is_empty() && !only_directory {
        return Err(Errno::NotCapable.into());
    }
    memory.check(result, 4)?;
    let how = OpenHow { read, write, follow, oflags, flags: modes };
    let opened = directory.open(memory.path(path, len)?, &how)?;
    let mut rights = wanted & parent.inheriting;
    let descriptor = match opened {
        // Only a directory was asked for, and to write it.
        Opened::Directory(_) if wanted.contains(Rights::FD_WRITE) => return Err(Errno::IsDir.into()),
        Opened::Directory(found) => {
            let inheriting = Rights::from_bits_truncate(inheriting) & parent.inheriting;
            Descriptor::directory(found, rights, inheriting)
        }
        Opened::File(file) => {
            if !write {
                rights &= !(Rights::FD_ALLOCATE | Rights::FD_FILESTAT_SET_SIZE);
            }
            if directory.read_only() {
                rights &= !crate::context::CHANGING;
            }
            Descriptor::file(file, rights)
        }
    };
    let fd = ctx.table.push(descriptor)?;
    Ok(memory.write_u32(result, fd)?)
}

/// The directory to open in. A read-only one says itself what it refuses, file by file.
fn open_in(parent: &Descriptor, needed: Rights) -> Result<&dyn crate::files::Directory, Errno> {
    let directory = parent.as_directory(Rights::empty())?;
    let checked = if directory.read_only() { needed & Rights::PATH_OPEN } else { needed };
    parent.as_directory(checked)
}

/// Writes what a symbolic link holds, cut where the buffer ends.
#[allow(clippy::too_many_arguments)]
pub fn path_readlink(
    ctx: &mut WasiCtx,
    memory: &mut GuestMemory<'_>,
    fd: u32,
    path: u32,
    len: u32,
    buffer: u32,
    buffer_len: u32,
    used: u32,
) -> Result<(), Fault> {
    let directory = ctx.descriptor(fd)?.as_directory(Rights::PATH_READLINK)?;
    memory.check(used, 4)?;
    memory.check(buffer, buffer_len as usize)?;
    let target = directory.read_link(memory.path(path, len)?)?;
    let fits = target.len().min(buffer_len as usize);
    memory.write(buffer, &target[..fits])?;
    Ok(memory.write_u32(used, fits as u32)?)
}

/// Removes an empty directory.
pub fn path_remove_directory(
    ctx: &mut WasiCtx,
    memory: &mut GuestMemory<'_>,
    fd: u32,
    path: u32,
    len: u32,
) -> Result<(), Fault> {
    let directory = ctx.descriptor(fd)?.as_directory(Rights::PATH_REMOVE_DIRECTORY)?;
    Ok(directory.remove_directory(memory.path(path, len)?)?)
}

/// Moves a file or directory.
#[allow(clippy::too_many_arguments)]
pub fn path_rename(
    ctx: &mut WasiCtx,
    memory: &mut GuestMemory<'_>,
    fd: u32,
    old: u32,
    old_len: u32,
    new_fd: u32,
    new: u32,
    new_len: u32,
) -> Result<(), Fault> {
    let from = ctx.descriptor(fd)?.as_directory(Rights::PATH_RENAME_SOURCE)?;
    let to = ctx.descriptor(new_fd)?.as_directory(Rights::PATH_RENAME_TARGET)?;
    Ok(from.rename(memory.path(old, old_len)?, to, memory.path(new, new_len)?)?)
}

/// Makes a symbolic link, not to an absolute path: EPERM.
#[allow(clippy::too_many_arguments)]
pub fn path_symlink(
    ctx: &mut WasiCtx,
    memory: &mut GuestMemory<'_>,
    target: u32,
    target_len: u32,
    fd: u32,
    path: u32,
    len: u32,
) -> Result<(), Fault> {
    let directory = ctx.descriptor(fd)?.as_directory(Rights::PATH_SYMLINK)?;
    Ok(directory.symlink(memory.path(target, target_len)?, memory.path(path, len)?)?)
}

/// Removes a name of anything but a directory.
pub fn path_unlink_file(
    ctx: &mut WasiCtx,
    memory: &mut GuestMemory<'_>,
    fd: u32,
    path: u32,
    len: u32,
) -> Result<(), Fault> {
    let directory = ctx.descriptor(fd)?.as_directory(Rights::PATH_UNLINK_FILE)?;
    Ok(directory.unlink(memory.path(path, len)?)?)
}

/// Whether a link at the end of a path is followed.
fn follows(lookup: u32) -> Result<bool, Errno> {
    if lookup > 1 { Err(Errno::Inval) } else { Ok(lookup == 1) }
}

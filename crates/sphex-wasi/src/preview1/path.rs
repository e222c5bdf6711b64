//! Functions of paths, each relative to an open directory.

use super::fd::times;
use super::types::{Errno, FdFlags, OFlags, Rights};
use super::{Fault, GuestMemory, flags16};
use crate::files::{Directory, OpenHow, Opened};
use crate::{Descriptor, WasiCtx};
use std::sync::Arc;

/// Makes a directory.
pub fn path_create_directory(
    ctx: &mut WasiCtx,
    memory: &mut GuestMemory<'_>,
    fd: u32,
    path: u32,
    len: u32,
) -> Result<(), Fault> {
    let directory = ctx.descriptor(fd)?.to_directory(Rights::PATH_CREATE_DIRECTORY)?;
    let path = memory.path(path, len)?.to_owned();
    ctx.pooled(directory.blocks(), move || directory.create_directory(&path))
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
    let directory = ctx.descriptor(fd)?.to_directory(Rights::PATH_FILESTAT_GET)?;
    let (path, follow) = (memory.path(path, len)?.to_owned(), follows(lookup)?);
    let stat = ctx.pooled(directory.blocks(), move || directory.stat_at(&path, follow))?;
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
    let directory = ctx.descriptor(fd)?.to_directory(Rights::PATH_FILESTAT_SET_TIMES)?;
    let times = times(accessed, modified, which)?;
    let (path, follow) = (memory.path(path, len)?.to_owned(), follows(lookup)?);
    ctx.pooled(directory.blocks(), move || directory.set_times_at(&path, follow, times))
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
    let from = ctx.descriptor(old_fd)?.to_directory(Rights::PATH_LINK_SOURCE)?;
    let to = ctx.descriptor(new_fd)?.to_directory(Rights::PATH_LINK_TARGET)?;
    if follows(lookup)? {
        return Err(Errno::Inval.into());
    }
    let (old, new) = (memory.path(old, old_len)?.to_owned(), memory.path(new, new_len)?.to_owned());
    ctx.pooled(from.blocks() || to.blocks(), move || from.link(&old, &*to, &new))
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
    let handed_down = parent.inheriting;
    let follow = follows(lookup)?;
    let modes: FdFlags = flags16(modes)?;
    let only_directory = oflags.contains(OFlags::DIRECTORY);
    if only_directory && oflags.intersects(OFlags::CREAT | OFlags::EXCL | OFlags::TRUNC) {
        return Err(Errno::Inval.into());
    }
    let wanted = Rights::from_bits_truncate(base);
    let read = wanted.intersects(Rights::FD_READ | Rights::FD_READDIR);
    let write = wanted.contains(Rights::FD_WRITE) && !only_directory;
    let missing = (wanted & (Rights::FD_READ | Rights::FD_WRITE)).difference(handed_down);
    if !missing.is_empty() && !only_directory {
        return Err(Errno::NotCapable.into());
    }
    memory.check(result, 4)?;
    let how = OpenHow { read, write, follow, oflags, flags: modes };
    let (path, read_only) = (memory.path(path, len)?.to_owned(), directory.read_only());
    let opened = ctx.pooled(directory.blocks(), move || directory.open(&path, &how))?;
    let mut rights = wanted & handed_down;
    let descriptor = match opened {
        // Only a directory was asked for, and to write it.
        Opened::Directory(_) if wanted.contains(Rights::FD_WRITE) => return Err(Errno::IsDir.into()),
        Opened::Directory(found) => {
            let inheriting = Rights::from_bits_truncate(inheriting) & handed_down;
            Descriptor::directory(found, rights, inheriting)
        }
        Opened::File(file) => {
            if !write {
                rights &= !(Rights::FD_ALLOCATE | Rights::FD_FILESTAT_SET_SIZE);
            }
            if read_only {
                rights &= !crate::context::CHANGING;
            }
            Descriptor::file(file, rights)
        }
    };
    let fd = ctx.table.push(descriptor)?;
    Ok(memory.write_u32(result, fd)?)
}

/// The directory to open in. A read-only one says itself what it refuses, file by file.
fn open_in(parent: &Descriptor, needed: Rights) -> Result<Arc<dyn Directory>, Errno> {
    let directory = parent.as_directory(Rights::empty())?;
    let checked = if directory.read_only() { needed & Rights::PATH_OPEN } else { needed };
    parent.to_directory(checked)
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
    let directory = ctx.descriptor(fd)?.to_directory(Rights::PATH_READLINK)?;
    memory.check(used, 4)?;
    memory.check(buffer, buffer_len as usize)?;
    let path = memory.path(path, len)?.to_owned();
    let target = ctx.pooled(directory.blocks(), move || directory.read_link(&path))?;
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
    let directory = ctx.descriptor(fd)?.to_directory(Rights::PATH_REMOVE_DIRECTORY)?;
    let path = memory.path(path, len)?.to_owned();
    ctx.pooled(directory.blocks(), move || directory.remove_directory(&path))
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
    let from = ctx.descriptor(fd)?.to_directory(Rights::PATH_RENAME_SOURCE)?;
    let to = ctx.descriptor(new_fd)?.to_directory(Rights::PATH_RENAME_TARGET)?;
    let (old, new) = (memory.path(old, old_len)?.to_owned(), memory.path(new, new_len)?.to_owned());
    ctx.pooled(from.blocks() || to.blocks(), move || from.rename(&old, &*to, &new))
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
    let directory = ctx.descriptor(fd)?.to_directory(Rights::PATH_SYMLINK)?;
    let (target, path) = (memory.path(target, target_len)?.to_owned(), memory.path(path, len)?.to_owned());
    ctx.pooled(directory.blocks(), move || directory.symlink(&target, &path))
}

/// Removes a name of anything but a directory.
pub fn path_unlink_file(
    ctx: &mut WasiCtx,
    memory: &mut GuestMemory<'_>,
    fd: u32,
    path: u32,
    len: u32,
) -> Result<(), Fault> {
    let directory = ctx.descriptor(fd)?.to_directory(Rights::PATH_UNLINK_FILE)?;
    let path = memory.path(path, len)?.to_owned();
    ctx.pooled(directory.blocks(), move || directory.unlink(&path))
}

/// Whether a link at the end of a path is followed.
fn follows(lookup: u32) -> Result<bool, Errno> {
    if lookup > 1 { Err(Errno::Inval) } else { Ok(lookup == 1) }
}

//! Arguments and environment: two lists of strings.

use super::types::Errno;
use super::{Fault, GuestMemory};
use crate::WasiCtx;

/// Writes the arguments, and pointers to them.
pub fn args_get(
    ctx: &mut WasiCtx,
    memory: &mut GuestMemory<'_>,
    argv: u32,
    buffer: u32,
) -> Result<(), Fault> {
    write_list(&ctx.args, memory, argv, buffer)
}

/// Writes how many arguments there are and how many bytes they take.
pub fn args_sizes_get(
    ctx: &mut WasiCtx,
    memory: &mut GuestMemory<'_>,
    count: u32,
    size: u32,
) -> Result<(), Fault> {
    write_sizes(&ctx.args, memory, count, size)
}

/// Writes the environment, and pointers to its entries.
pub fn environ_get(
    ctx: &mut WasiCtx,
    memory: &mut GuestMemory<'_>,
    environ: u32,
    buffer: u32,
) -> Result<(), Fault> {
    write_list(&ctx.env, memory, environ, buffer)
}

/// Writes how many entries the environment has and how many bytes they take.
pub fn environ_sizes_get(
    ctx: &mut WasiCtx,
    memory: &mut GuestMemory<'_>,
    count: u32,
    size: u32,
) -> Result<(), Fault> {
    write_sizes(&ctx.env, memory, count, size)
}

/// The bytes of all strings with their NULs.
fn size(list: &[Vec<u8>]) -> usize {
    list.iter().map(|text| text.len() + 1).sum()
}

fn write_sizes(list: &[Vec<u8>], memory: &mut GuestMemory<'_>, count: u32, bytes: u32) -> Result<(), Fault> {
    let total = u32::try_from(size(list)).map_err(|_| Errno::Overflow)?;
    memory.check(bytes, 4)?;
    memory.write_u32(count, list.len() as u32)?;
    Ok(memory.write_u32(bytes, total)?)
}

fn write_list(
    list: &[Vec<u8>],
    memory: &mut GuestMemory<'_>,
    pointers: u32,
    buffer: u32,
) -> Result<(), Fault> {
    memory.check(pointers, list.len() * 4)?;
    memory.check(buffer, size(list))?;
    // Both ranges are in bounds, so no sum of a start and what was written wraps.
    let (mut pointer, mut at) = (pointers, buffer);
    for text in list {
        memory.write_u32(pointer, at)?;
        memory.write(at, text)?;
        let nul = at + text.len() as u32;
        memory.write(nul, &[0])?;
        pointer = pointer.wrapping_add(4);
        at = nul.wrapping_add(1);
    }
    Ok(())
}

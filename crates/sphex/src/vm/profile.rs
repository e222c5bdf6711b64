//! Names of functions for profilers: perf's map file and perf's jitdump.
//!
//! Needs: mapped code. Gives: `/tmp/perf-PID.map`, with a line a function; or `jit-PID.dump` in the current folder, with a
//! record a function that holds its code, and where the module has debug information the source line of each place, for
//! `perf inject --jit`. Both are written when code is loaded, or when a function is compiled because it is called. The stubs need no entry: nothing but modules
//! is generated, and stubs are functions of this program, whose symbols perf reads (unless somebody strips them).
//!
//! - perf reads the map only for memory without a file behind it: the text is copied there first. (Lazy code has none.)
//! - The dump's first page is mapped executable once: perf records that mapping, and finds the dump by it. Times in it are
//!   those of `CLOCK_MONOTONIC` (`perf record -k mono`).

use std::fs::{File, OpenOptions};
use std::io::{self, BufWriter, Write};
use std::os::fd::AsFd;
use std::os::unix::fs::OpenOptionsExt;
use std::path::PathBuf;
use std::process;
use std::sync::{Mutex, PoisonError};

use sphex_artifact::ArtifactView;
use sphex_artifact::sections::NO_OFFSET;

use super::code::Code;
use super::sys::{Mapping, Protection, page_size};
use crate::backtrace::demangle;
use crate::config::Profiler;
use crate::error::{Error, Result};
use crate::symbolize::Lines;

/// The files of this process, which all its modules write to.
static FILES: Mutex<Files> = Mutex::new(Files { map: None, dump: None });

struct Files {
    map: Option<File>,
    dump: Option<Dump>,
}

/// A dump, and what keeps perf informed of it.
struct Dump {
    file: File,
    /// Never touched: perf has seen it being made.
    _marker: Mapping,
    functions: u64,
}

/// Makes the functions of some code known.
pub(crate) fn tell(code: &Code, profiler: Profiler) -> Result<()> {
    if profiler == Profiler::PerfMap {
        code.detach_text().map_err(cannot_write(profiler))?;
    }
    let Some(view) = code.view() else { return Ok(()) };
    let (text, base) = (view.text(), code.text().start);
    let rows = (0..view.function_count()).filter_map(|position| view.function_row(position));
    let told = rows.filter_map(|row| {
        let (start, end) = (row.start as usize, row.start.checked_add(row.len)? as usize);
        let places = move || {
            let places = view.addresses_in(row.start..row.start.saturating_add(row.len));
            places.map(|place| (place.pc - row.start, place.offset)).collect()
        };
        Some(Told::new(&view, row.function, base + start, text.get(start..end)?, places))
    });
    write(code, profiler, told)
}

/// Makes a function known that was just compiled.
#[cfg(all(feature = "compiler", target_os = "linux", target_arch = "x86_64"))]
pub(crate) fn tell_function(
    code: &Code,
    profiler: Profiler,
    address: usize,
    bytes: &[u8],
    records: &sphex_artifact::records::FunctionRecords,
) -> Result<()> {
    let Some(view) = code.view() else { return Ok(()) };
    let places = || records.addresses.iter().map(|place| (place.pc, place.offset)).collect();
    let told = Told::new(&view, records.function, address, bytes, places);
    write(code, profiler, std::iter::once(told))
}

/// What a profiler is told of a function.
struct Told<'a, P> {
    address: u64,
    name: String,
    bytes: &'a [u8],
    /// From which byte on it comes from which byte of the module.
    places: P,
}

impl<'a, P: FnOnce() -> Vec<(u32, u32)>> Told<'a, P> {
    fn new(view: &ArtifactView<'_>, function: u32, address: usize, bytes: &'a [u8], places: P) -> Self {
        let name = view.function_name(0, function);
        let name = name.map_or_else(|| format!("wasm[{function}]"), demangle);
        Told { address: address as u64, name: name.replace(char::is_control, " "), bytes, places }
    }
}

fn write<'a, P>(code: &Code, profiler: Profiler, told: impl Iterator<Item = Told<'a, P>>) -> Result<()>
where
    P: FnOnce() -> Vec<(u32, u32)>,
{
    let mut files = FILES.lock().unwrap_or_else(PoisonError::into_inner);
    match profiler {
        Profiler::PerfMap => write_map(told, &mut files.map),
        Profiler::Jitdump => write_dump(code, told, &mut files.dump),
    }
    .map_err(cannot_write(profiler))
}

fn cannot_write(profiler: Profiler) -> impl Fn(io::Error) -> Error {
    move |error| {
        let path = match profiler {
            Profiler::PerfMap => map_path(),
            Profiler::Jitdump => dump_path(),
        };
        Error::system(&format!("cannot write {}", path.display()), error)
    }
}

fn map_path() -> PathBuf {
    PathBuf::from(format!("/tmp/perf-{}.map", process::id()))
}

fn dump_path() -> PathBuf {
    PathBuf::from(format!("jit-{}.dump", process::id()))
}

/// A new file of our own. Another process's of the same id is replaced; a link that waits there is not followed.
fn create(path: &PathBuf) -> io::Result<File> {
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    OpenOptions::new().read(true).append(true).create_new(true).mode(0o644).open(path)
}

fn write_map<'a, P>(told: impl Iterator<Item = Told<'a, P>>, map: &mut Option<File>) -> io::Result<()> {
    let file = match map {
        Some(file) => file,
        None => map.insert(create(&map_path())?),
    };
    let mut out = BufWriter::new(file);
    for Told { address, name, bytes, .. } in told {
        writeln!(out, "{address:x} {:x} {name}", bytes.len())?;
    }
    out.flush()
}

const MAGIC: u32 = 0x4a69_5444;
const VERSION: u32 = 1;
const HEADER_BYTES: u32 = 40;
const CODE_LOAD: u32 = 0;
const DEBUG_INFO: u32 = 2;
/// `EM_X86_64` and `EM_AARCH64`.
const MACHINE: u32 = if cfg!(target_arch = "aarch64") { 183 } else { 62 };

fn now() -> u64 {
    let now = rustix::time::clock_gettime(rustix::time::ClockId::Monotonic);
    now.tv_sec as u64 * 1_000_000_000 + now.tv_nsec as u64
}

/// A record: its number, its length, when, and what is in it.
fn record(out: &mut impl Write, id: u32, body: &[u8]) -> io::Result<()> {
    let len = u32::try_from(body.len() + 16).map_err(|_| io::ErrorKind::InvalidData)?;
    out.write_all(&id.to_ne_bytes())?;
    out.write_all(&len.to_ne_bytes())?;
    out.write_all(&now().to_ne_bytes())?;
    out.write_all(body)
}

impl Dump {
    fn new() -> io::Result<Dump> {
        let mut file = create(&dump_path())?;
        let mut header = Vec::new();
        for word in [MAGIC, VERSION, HEADER_BYTES, MACHINE, 0, process::id()] {
            header.extend_from_slice(&word.to_ne_bytes());
        }
        header.extend_from_slice(&now().to_ne_bytes());
        // No flags: times are the clock's.
        header.extend_from_slice(&0u64.to_ne_bytes());
        file.write_all(&header)?;
        let marker = Mapping::file(file.as_fd(), page_size(), Protection::ReadExecute)?;
        Ok(Dump { file, _marker: marker, functions: 0 })
    }
}

fn write_dump<'a, P>(
    code: &Code,
    told: impl Iterator<Item = Told<'a, P>>,
    dump: &mut Option<Dump>,
) -> io::Result<()>
where
    P: FnOnce() -> Vec<(u32, u32)>,
{
    let dump = match dump {
        Some(dump) => dump,
        None => dump.insert(Dump::new()?),
    };
    let lines = Lines::new(code, 0);
    let thread = rustix::thread::gettid().as_raw_nonzero().get() as u32;
    let mut out = BufWriter::new(&mut dump.file);
    let mut body = Vec::new();
    for Told { address, name, bytes, places } in told {
        if let Some(lines) = &lines {
            let entries = debug_entries(lines, address, &places());
            if !entries.is_empty() {
                body.clear();
                body.extend_from_slice(&address.to_ne_bytes());
                body.extend_from_slice(&(entries.len() as u64).to_ne_bytes());
                for (address, line, file) in entries {
                    body.extend_from_slice(&address.to_ne_bytes());
                    body.extend_from_slice(&line.to_ne_bytes());
                    body.extend_from_slice(&0u32.to_ne_bytes());
                    body.extend_from_slice(file.replace('\0', " ").as_bytes());
                    body.push(0);
                }
                record(&mut out, DEBUG_INFO, &body)?;
            }
        }
        body.clear();
        body.extend_from_slice(&process::id().to_ne_bytes());
        body.extend_from_slice(&thread.to_ne_bytes());
        for word in [address, address, bytes.len() as u64, dump.functions] {
            body.extend_from_slice(&word.to_ne_bytes());
        }
        body.extend_from_slice(name.as_bytes());
        body.push(0);
        body.extend_from_slice(bytes);
        record(&mut out, CODE_LOAD, &body)?;
        dump.functions += 1;
    }
    out.flush()
}

/// Address, line and file of each place in a function whose line is another than before.
fn debug_entries(lines: &Lines<'_>, address: u64, places: &[(u32, u32)]) -> Vec<(u64, u32, String)> {
    let mut entries: Vec<(u64, u32, String)> = Vec::new();
    for &(pc, offset) in places {
        if offset == NO_OFFSET {
            continue;
        }
        let Some((file, line)) = lines.innermost(offset) else { continue };
        if entries.last().is_none_or(|(_, known, at)| (*known, at.as_str()) != (line, file.as_str())) {
            entries.push((address + u64::from(pc), line, file));
        }
    }
    entries
}

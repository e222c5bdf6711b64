//! A guest without an engine: some memory, a context, and a small language in which a test is a list of calls.
//!
//! A line is `function arguments... = outcome`; `-> name` before the outcome keeps a new descriptor. The outcome is the
//! error code's name, or `ok` and what the call wrote. `host ...` lines act on the host's side. `#` begins a comment.
#![allow(dead_code)]

pub mod seccomp;

use sphex_wasi::preview1::types::FstFlags;
use sphex_wasi::preview1::*;
use sphex_wasi::{Errno, FdFlags, OFlags, Rights, WasiCtx};
use std::collections::HashMap;
use std::fmt::Write;
use std::path::{Path, PathBuf};

/// Where strings, buffers and results of a call lie.
const TEXT: u32 = 0x100;
const TEXT2: u32 = 0x2000;
const VECTORS: u32 = 0x80;
const BUFFER: u32 = 0x4000;
const BUFFER_LEN: u32 = 0x8000;
const RESULT: u32 = 0x10;

pub struct Guest {
    pub ctx: WasiCtx,
    pub memory: Vec<u8>,
    pub root: PathBuf,
    names: HashMap<String, u32>,
}

impl Guest {
    /// A guest whose descriptor 3 is `root`, known as `/`, and 4 the same, read-only.
    pub fn new(root: &Path) -> Guest {
        let mut builder = WasiCtx::builder();
        builder.arg("prog").unwrap().arg("two words").unwrap().env("A", "1").unwrap();
        builder.preopen(root, "/", false).unwrap().preopen(root, "/ro", true).unwrap();
        Guest::with(builder.build(), root)
    }

    pub fn with(ctx: WasiCtx, root: &Path) -> Guest {
        Guest { ctx, memory: vec![0; 0x10000], root: root.into(), names: HashMap::new() }
    }

    pub fn call<R>(&mut self, call: impl FnOnce(&mut WasiCtx, &mut GuestMemory<'_>) -> R) -> R {
        call(&mut self.ctx, &mut GuestMemory::new(&mut self.memory))
    }

    pub fn u32(&self, at: u32) -> u32 {
        u32::from_le_bytes(self.memory[at as usize..][..4].try_into().unwrap())
    }

    pub fn u64(&self, at: u32) -> u64 {
        u64::from_le_bytes(self.memory[at as usize..][..8].try_into().unwrap())
    }

    /// Writes a string into guest memory and gives its length.
    pub fn put(&mut self, at: u32, bytes: &[u8]) -> u32 {
        self.memory[at as usize..][..bytes.len()].copy_from_slice(bytes);
        bytes.len() as u32
    }

    /// Opens a path with all rights of a reader or writer.
    pub fn open(&mut self, path: &str, oflags: &str, rights: &str) -> Result<u32, Errno> {
        let outcome = self.line(&format!("path_open 3 f {path} {oflags} {rights} all -"));
        match outcome.strip_prefix("ok ") {
            Some(fd) => Ok(fd.parse().unwrap()),
            None => Err(*Errno::ALL.iter().find(|errno| name(**errno) == outcome).expect(&outcome)),
        }
    }

    /// Runs a script; panics with every line that came out differently.
    pub fn script(&mut self, source: &str, text: &str) {
        let mut wrong = String::new();
        for (number, line) in text.lines().enumerate() {
            let line = line.split('#').next().unwrap().trim();
            if line.is_empty() {
                continue;
            }
            let (call, expected) = line.split_once(" = ").unwrap_or((line, "ok"));
            let (call, keep) =
                call.split_once(" -> ").map_or((call, None), |(call, keep)| (call, Some(keep)));
            let mut outcome = self.line(call.trim());
            if let (Some(keep), Some(fd)) = (keep, outcome.strip_prefix("ok ")) {
                self.names.insert(keep.trim().into(), fd.parse().unwrap());
                outcome = "ok".into();
            }
            if outcome != expected.trim() {
                writeln!(wrong, "{source}:{}: {call}: expected {expected}, found {outcome}", number + 1)
                    .unwrap();
            }
        }
        assert!(wrong.is_empty(), "{wrong}");
    }

    /// Runs one call and says what came out.
    pub fn line(&mut self, line: &str) -> String {
        let words: Vec<&str> = line.split_whitespace().collect();
        if words[0] == "host" {
            return self.host(&words[1..]);
        }
        self.memory[RESULT as usize..][..64].fill(0xaa);
        match self.dispatch(&words) {
            Ok(()) => format!("ok {}", self.result(&words)).trim_end().into(),
            Err(Fault::Errno(errno)) => name(errno),
            Err(Fault::Stop(stop)) => format!("{stop:?}"),
            Err(Fault::Look | Fault::Wait) => "look, without a store".into(),
        }
    }

    fn fd(&self, word: &str) -> u32 {
        self.names.get(word).copied().unwrap_or_else(|| word.parse().unwrap_or(u32::MAX))
    }

    fn number<T: std::str::FromStr>(&self, word: &str) -> T {
        word.parse().unwrap_or_else(|_| panic!("number {word}"))
    }

    fn path(&mut self, at: u32, word: &str) -> (u32, u32) {
        let bytes = unescape(word);
        (at, self.put(at, &bytes))
    }

    /// One buffer: for writing, with the text in it.
    fn vectors(&mut self, text: &[u8], len: u32) -> (u32, u32) {
        self.put(BUFFER, text);
        self.put(VECTORS, &BUFFER.to_le_bytes());
        self.put(VECTORS + 4, &len.to_le_bytes());
        (VECTORS, 1)
    }

    fn dispatch(&mut self, words: &[&str]) -> Result<(), Fault> {
        let function = words[0];
        if function.starts_with("path_") {
            return self.dispatch_path(words);
        }
        let fd = match words.get(1) {
            Some(word) if function.starts_with("fd_") || function.starts_with("sock_") => self.fd(word),
            _ => 0,
        };
        match function {
            "fd_advise" => {
                let (offset, len, advice) =
                    (self.number(words[2]), self.number(words[3]), self.number(words[4]));
                self.call(|c, m| fd_advise(c, m, fd, offset, len, advice))
            }
            "fd_allocate" => self.call(|c, m| fd_allocate(c, m, fd, 0, 1)),
            "fd_close" => self.call(|c, m| fd_close(c, m, fd)),
            "fd_datasync" => self.call(|c, m| fd_datasync(c, m, fd)),
            "fd_sync" => self.call(|c, m| fd_sync(c, m, fd)),
            "fd_fdstat_get" => self.call(|c, m| fd_fdstat_get(c, m, fd, RESULT)),
            "fd_fdstat_set_flags" => {
                let flags = modes(words[2]);
                self.call(|c, m| fd_fdstat_set_flags(c, m, fd, flags))
            }
            "fd_fdstat_set_rights" => {
                let (base, inheriting) = (rights(words[2]), rights(words[3]));
                self.call(|c, m| fd_fdstat_set_rights(c, m, fd, base, inheriting))
            }
            "fd_filestat_get" => self.call(|c, m| fd_filestat_get(c, m, fd, RESULT)),
            "fd_filestat_set_size" => {
                let size = self.number(words[2]);
                self.call(|c, m| fd_filestat_set_size(c, m, fd, size))
            }
            "fd_filestat_set_times" => {
                let (accessed, modified) = (self.number(words[2]), self.number(words[3]));
                let which = times(words[4]);
                self.call(|c, m| fd_filestat_set_times(c, m, fd, accessed, modified, which))
            }
            "fd_read" => {
                let (list, len) = self.vectors(b"", self.number(words[2]));
                self.call(|c, m| fd_read(c, m, fd, list, len, RESULT))
            }
            "fd_pread" => {
                let (list, len) = self.vectors(b"", self.number(words[2]));
                let offset = self.number(words[3]);
                self.call(|c, m| fd_pread(c, m, fd, list, len, offset, RESULT))
            }
            "fd_write" => {
                let text = unescape(words[2]);
                let (list, len) = self.vectors(&text, text.len() as u32);
                self.call(|c, m| fd_write(c, m, fd, list, len, RESULT))
            }
            "fd_pwrite" => {
                let text = unescape(words[2]);
                let (list, len) = self.vectors(&text, text.len() as u32);
                let offset = self.number(words[3]);
                self.call(|c, m| fd_pwrite(c, m, fd, list, len, offset, RESULT))
            }
            "fd_prestat_get" => self.call(|c, m| fd_prestat_get(c, m, fd, RESULT)),
            "fd_prestat_dir_name" => {
                let len = self.number(words[2]);
                self.memory[BUFFER as usize..][..16].fill(0);
                self.call(|c, m| fd_prestat_dir_name(c, m, fd, BUFFER, len))
            }
            "fd_readdir" => {
                let (len, cookie) = (self.number(words[2]), self.number(words[3]));
                self.call(|c, m| fd_readdir(c, m, fd, BUFFER, len, cookie, RESULT))
            }
            "fd_renumber" => {
                let to = self.fd(words[2]);
                self.call(|c, m| fd_renumber(c, m, fd, to))
            }
            "fd_seek" => {
                let (offset, whence) = (self.number(words[2]), self.number(words[3]));
                self.call(|c, m| fd_seek(c, m, fd, offset, whence, RESULT))
            }
            "fd_tell" => self.call(|c, m| fd_tell(c, m, fd, RESULT)),
            "sock_accept" => {
                let flags = modes(words[2]);
                self.call(|c, m| sock_accept(c, m, fd, flags, RESULT))
            }
            "sock_recv" => {
                let (list, len) = self.vectors(b"", self.number(words[2]));
                let flags = self.number(words[3]);
                self.call(|c, m| sock_recv(c, m, fd, list, len, flags, RESULT, RESULT + 8))
            }
            "sock_send" => {
                let text = unescape(words[2]);
                let (list, len) = self.vectors(&text, text.len() as u32);
                let flags = self.number(words[3]);
                self.call(|c, m| sock_send(c, m, fd, list, len, flags, RESULT))
            }
            "sock_shutdown" => {
                let how = self.number(words[2]);
                self.call(|c, m| sock_shutdown(c, m, fd, how))
            }
            "clock_res_get" => {
                let id = self.number(words[1]);
                self.call(|c, m| clock_res_get(c, m, id, RESULT))
            }
            "clock_time_get" => {
                let id = self.number(words[1]);
                self.call(|c, m| clock_time_get(c, m, id, 0, RESULT))
            }
            "proc_exit" => {
                let code = self.number(words[1]);
                self.call(|c, m| proc_exit(c, m, code))
            }
            "proc_raise" => {
                let signal = self.number(words[1]);
                self.call(|c, m| proc_raise(c, m, signal))
            }
            "sched_yield" => self.call(sched_yield),
            "random_get" => {
                let len = self.number(words[1]);
                self.call(|c, m| random_get(c, m, BUFFER, len))
            }
            _ => panic!("no function {function}"),
        }
    }

    fn dispatch_path(&mut self, words: &[&str]) -> Result<(), Fault> {
        if words[0] == "path_symlink" {
            let (target, target_len) = self.path(TEXT2, words[1]);
            let fd = self.fd(words[2]);
            let (path, len) = self.path(TEXT, words[3]);
            return self.call(|c, m| path_symlink(c, m, target, target_len, fd, path, len));
        }
        let fd = self.fd(words[1]);
        match words[0] {
            "path_create_directory" => {
                let (path, len) = self.path(TEXT, words[2]);
                self.call(|c, m| path_create_directory(c, m, fd, path, len))
            }
            "path_filestat_get" => {
                let (path, len) = self.path(TEXT, words[3]);
                self.call(|c, m| path_filestat_get(c, m, fd, lookup(words[2]), path, len, RESULT))
            }
            "path_filestat_set_times" => {
                let (path, len) = self.path(TEXT, words[3]);
                let (accessed, modified) = (self.number(words[4]), self.number(words[5]));
                let (follow, which) = (lookup(words[2]), times(words[6]));
                self.call(|c, m| {
                    path_filestat_set_times(c, m, fd, follow, path, len, accessed, modified, which)
                })
            }
            "path_link" => {
                let (old, old_len) = self.path(TEXT, words[3]);
                let to = self.fd(words[4]);
                let (new, new_len) = self.path(TEXT2, words[5]);
                let follow = lookup(words[2]);
                self.call(|c, m| path_link(c, m, fd, follow, old, old_len, to, new, new_len))
            }
            "path_open" => {
                let (path, len) = self.path(TEXT, words[3]);
                let (follow, how) = (lookup(words[2]), oflags(words[4]));
                let (base, inheriting, modes) = (rights(words[5]), rights(words[6]), modes(words[7]));
                self.call(|c, m| path_open(c, m, fd, follow, path, len, how, base, inheriting, modes, RESULT))
            }
            "path_readlink" => {
                let (path, len) = self.path(TEXT, words[2]);
                let room = self.number(words[3]);
                self.call(|c, m| path_readlink(c, m, fd, path, len, BUFFER, room, RESULT))
            }
            "path_remove_directory" => {
                let (path, len) = self.path(TEXT, words[2]);
                self.call(|c, m| path_remove_directory(c, m, fd, path, len))
            }
            "path_rename" => {
                let (old, old_len) = self.path(TEXT, words[2]);
                let to = self.fd(words[3]);
                let (new, new_len) = self.path(TEXT2, words[4]);
                self.call(|c, m| path_rename(c, m, fd, old, old_len, to, new, new_len))
            }
            "path_unlink_file" => {
                let (path, len) = self.path(TEXT, words[2]);
                self.call(|c, m| path_unlink_file(c, m, fd, path, len))
            }
            function => panic!("no function {function}"),
        }
    }

    /// What a call that succeeded wrote.
    fn result(&self, words: &[&str]) -> String {
        let buffer =
            |len: u32| String::from_utf8_lossy(&self.memory[BUFFER as usize..][..len as usize]).into_owned();
        let at = RESULT as usize;
        match words[0] {
            "path_open" | "fd_write" | "fd_pwrite" | "sock_accept" | "sock_send" => {
                self.u32(RESULT).to_string()
            }
            "fd_read" | "fd_pread" | "path_readlink" => buffer(self.u32(RESULT)),
            "sock_recv" => {
                format!("{} {}", buffer(self.u32(RESULT)), self.memory[at + 8]).trim_start().into()
            }
            "fd_seek" | "fd_tell" => self.u64(RESULT).to_string(),
            "fd_prestat_get" => format!("{} {}", self.memory[at], self.u32(RESULT + 4)),
            "fd_prestat_dir_name" => buffer(16).trim_end_matches('\0').into(),
            "fd_filestat_get" | "path_filestat_get" => {
                match filetype(self.memory[at + 16]) {
                    // How large a directory is, is the file system's affair.
                    "dir" => "dir".into(),
                    filetype => format!("{filetype} {}", self.u64(RESULT + 32)),
                }
            }
            "fd_fdstat_get" => format!("{} {}", filetype(self.memory[at]), self.memory[at + 2]),
            "clock_res_get" | "clock_time_get" => if self.u64(RESULT) == 0 { "zero" } else { "" }.into(),
            _ => String::new(),
        }
    }

    /// The rights of a descriptor, as `fd_fdstat_get` tells them.
    pub fn rights(&mut self, fd: u32) -> (Rights, Rights) {
        self.call(|c, m| fd_fdstat_get(c, m, fd, RESULT)).unwrap();
        (Rights::from_bits_retain(self.u64(RESULT + 8)), Rights::from_bits_retain(self.u64(RESULT + 16)))
    }

    /// The result of a `fd_readdir` into a buffer of `len` bytes.
    pub fn readdir(&mut self, fd: u32, len: u32, cookie: u64) -> Vec<u8> {
        self.call(|c, m| fd_readdir(c, m, fd, BUFFER, len.min(BUFFER_LEN), cookie, RESULT)).unwrap();
        self.memory[BUFFER as usize..][..self.u32(RESULT) as usize].to_vec()
    }

    fn host(&self, words: &[&str]) -> String {
        let path = self.root.join(words.get(1).copied().unwrap_or_default());
        let done = match words[0] {
            "write" => std::fs::write(path, unescape(words[2])),
            "read" => {
                return std::fs::read_to_string(path).map_or("none".into(), |text| format!("ok {text}"));
            }
            "mkdir" => std::fs::create_dir(path),
            "rm" => std::fs::remove_file(path),
            "symlink" => std::os::unix::fs::symlink(words[2], path),
            "fifo" => rustix::fs::mknodat(
                rustix::fs::CWD,
                &path,
                rustix::fs::FileType::Fifo,
                rustix::fs::Mode::RUSR | rustix::fs::Mode::WUSR,
                0,
            )
            .map_err(Into::into),
            "chmod" => {
                use std::os::unix::fs::PermissionsExt;
                let mode = u32::from_str_radix(words[2], 8).unwrap();
                std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode))
            }
            "exists" => return if path.symlink_metadata().is_ok() { "ok yes" } else { "ok no" }.into(),
            "mtime" => {
                use std::os::unix::fs::MetadataExt;
                let found = path.symlink_metadata().unwrap();
                return format!("ok {}.{:09}", found.mtime(), found.mtime_nsec());
            }
            other => panic!("no host command {other}"),
        };
        done.map_or_else(|error| error.to_string(), |()| "ok".into())
    }
}

/// The name of a code in the witx.
pub fn name(errno: Errno) -> String {
    format!("{errno:?}").to_lowercase()
}

fn unescape(word: &str) -> Vec<u8> {
    if word == "''" {
        return Vec::new();
    }
    if let Some((text, times)) = word.split_once("*") {
        return text.repeat(times.parse().unwrap()).into_bytes();
    }
    let mut bytes = Vec::new();
    let mut rest = word.as_bytes();
    while let Some((&byte, tail)) = rest.split_first() {
        if byte == b'%' {
            bytes.push(u8::from_str_radix(std::str::from_utf8(&tail[..2]).unwrap(), 16).unwrap());
            rest = &tail[2..];
        } else {
            bytes.push(byte);
            rest = tail;
        }
    }
    bytes
}

fn letters<F: bitflags_like::Bits>(word: &str, table: &[(char, F)]) -> u32 {
    if let Some(raw) = word.strip_prefix('!') {
        return raw.parse().unwrap();
    }
    let bits = |letter| table.iter().find(|(known, _)| *known == letter).expect(word).1.raw();
    word.chars().filter(|letter| *letter != '-').fold(0, |all, letter| all | bits(letter))
}

mod bitflags_like {
    use super::{FdFlags, FstFlags, OFlags};

    pub trait Bits {
        fn raw(&self) -> u32;
    }

    impl Bits for FdFlags {
        fn raw(&self) -> u32 {
            self.bits().into()
        }
    }

    impl Bits for OFlags {
        fn raw(&self) -> u32 {
            self.bits().into()
        }
    }

    impl Bits for FstFlags {
        fn raw(&self) -> u32 {
            self.bits().into()
        }
    }
}

fn modes(word: &str) -> u32 {
    use FdFlags as F;
    letters(word, &[('a', F::APPEND), ('d', F::DSYNC), ('n', F::NONBLOCK), ('r', F::RSYNC), ('s', F::SYNC)])
}

fn oflags(word: &str) -> u32 {
    use OFlags as F;
    letters(word, &[('c', F::CREAT), ('d', F::DIRECTORY), ('e', F::EXCL), ('t', F::TRUNC)])
}

fn times(word: &str) -> u32 {
    use FstFlags as F;
    letters(word, &[('a', F::ATIM), ('A', F::ATIM_NOW), ('m', F::MTIM), ('M', F::MTIM_NOW)])
}

fn lookup(word: &str) -> u32 {
    match word {
        "-" => 0,
        "f" => 1,
        other => other.parse().unwrap(),
    }
}

/// `-`, `r`, `w`, `rw`, `all`, or names of the witx joined by `+`, less names after a `~`.
fn rights(word: &str) -> u64 {
    let (plus, minus) = word.split_once('~').unwrap_or((word, ""));
    let named = |names: &str| {
        let names = names.split('+').filter(|name| !name.is_empty());
        names.fold(Rights::empty(), |all, name| all | Rights::from_name(&name.to_uppercase()).expect(name))
    };
    let basic = Rights::FILE & !(Rights::FD_READ | Rights::FD_WRITE);
    let all = match plus {
        "-" => Rights::empty(),
        "r" => basic | Rights::FD_READ,
        "w" => basic | Rights::FD_WRITE,
        "rw" => basic | Rights::FD_READ | Rights::FD_WRITE,
        "all" => Rights::INHERITABLE,
        "dir" => Rights::DIRECTORY,
        names => named(names),
    };
    (all & !named(minus)).bits()
}

fn filetype(number: u8) -> &'static str {
    ["unknown", "block", "char", "dir", "file", "dgram", "stream", "link"][usize::from(number)]
}

//! The cache of compiled modules: one file an artifact, found by what it was made from and how.
//!
//! Needs a module's bytes and an engine's configuration; gives the module, from
//! `$XDG_CACHE_HOME/sphex/v{build}/{key}` where that has it, else compiled and put there. The hit path does as little
//! as can be: it hashes the module, opens three things, and maps the entry. Nothing is parsed, no thread is started.
//!
//! - **K1.** Entries are native code. Nothing is taken from a folder or a file that belongs to another user or that
//!   others may write (`folder`).
//! - **K2.** An entry appears under its name whole: it is written under another name and renamed, in one folder. A
//!   writer that is killed leaves a file that no key names; the next sweep takes it away (`sweep`).
//! - **K3.** Nothing is synced to disk, which would cost more than many compilations. What a crash of the machine
//!   leaves half is found when it is loaded: an artifact's two hashes cover each of its bytes, and both are compared
//!   each time. A bad entry is deleted, and the module compiled again.
//! - **K4.** No run fails because of the cache. Why it was of no use is told under `SPHEX_LOG`, else nothing is said.
//! - **K5.** An entry is the artifact and behind it the key, 32 bytes: one that was copied or renamed to another key's name
//!   is a bad entry.

mod command;
mod folder;
mod identity;
mod sweep;

use std::cell::Cell;
use std::fmt;
use std::fs::File;
use std::io::Write;
use std::os::fd::OwnedFd;
use std::os::unix::fs::FileExt;
use std::time::{Duration, SystemTime};

use rustix::fs::{AtFlags, FlockOperation, Mode, OFlags};
use sphex::{Config, Engine, ErrorKind, Module};
use sphex_artifact::{BuildId, CpuFeatures, Target};

pub use command::execute;
use folder::{Entry, Folders, Refusal};

use crate::options::{Options, bytes_of};
use crate::os;
use crate::progress::Progress;

/// Bytes that all entries together may have, if `SPHEX_CACHE_SIZE` says nothing else.
const DEFAULT_LIMIT: u64 = 2 << 30;

/// An entry whose time is older than this is marked as used when it is.
const TOUCH_AFTER: Duration = Duration::from_secs(3600);

/// What an entry is found by: a hash of everything that decides what is in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Key([u8; KEY_BYTES]);

const KEY_BYTES: usize = 32;

impl Key {
    /// The key of a module, compiled by this program on this machine with this configuration.
    pub fn new(config: &Config, wasm: &[u8]) -> Key {
        Key::of(identity::build(), Target::HOST, CpuFeatures::detect(), config, wasm)
    }

    fn of(build: BuildId, host: Option<Target>, features: CpuFeatures, config: &Config, wasm: &[u8]) -> Key {
        // `Debug` of the whole struct, so that a setting that is added tomorrow is in it. Of `Host` nothing is.
        let settings = format!("{host:?} {:x} {:?}", features.0, config.compile);
        let mut hash = blake3::Hasher::new();
        hash.update(&build.0.to_le_bytes());
        hash.update(&(settings.len() as u64).to_le_bytes());
        hash.update(settings.as_bytes());
        hash.update(wasm);
        Key(*hash.finalize().as_bytes())
    }
}

/// The name of the entry's file.
impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

/// The cache as one run uses it.
#[derive(Debug)]
pub struct Cache {
    enabled: bool,
    /// What is not there is compiled as it is called, and not kept.
    lazy: bool,
    limit: u64,
    /// Something has been said: once is enough.
    said: Cell<bool>,
}

impl Cache {
    /// The cache, if the options and `SPHEX_CACHE` do not turn it off.
    pub fn new(options: &Options) -> Cache {
        let environment = || switched_off(std::env::var_os("SPHEX_CACHE").as_deref());
        let enabled = options.cache.unwrap_or_else(|| !environment());
        let limit = limit(std::env::var("SPHEX_CACHE_SIZE").ok().as_deref());
        Cache { enabled, lazy: options.lazy == Some(true), limit, said: Cell::new(false) }
    }

    /// The module of these bytes, wasm or text.
    pub fn module(&self, engine: &Engine, bytes: &[u8]) -> sphex::Result<Module> {
        if !self.enabled {
            return Module::new_watched(engine, bytes, &Progress::new());
        }
        let key = Key::new(engine.config(), bytes);
        if let Some(module) = self.load(engine, &key) {
            tracing::debug!(%key, "found in the cache");
            return Ok(module);
        }
        tracing::debug!(%key, "not in the cache");
        // What cannot be kept need not be whole.
        if self.lazy || self.said(Folders::create()).is_none() {
            return Module::new_watched(engine, bytes, &Progress::new());
        }
        let artifact = engine.precompile_watched(bytes, &Progress::new())?;
        self.store(&key, &artifact);
        os::deserialize(engine, &artifact)
    }

    /// The module of a key, if there is a good entry.
    fn load(&self, engine: &Engine, key: &Key) -> Option<Module> {
        let folders = self.said(Folders::open())??;
        let name = key.to_string();
        let entry = match folder::open_entry(&folders.own, &name) {
            Ok(Some(entry)) => entry,
            Ok(None) => return None,
            Err(refusal) => {
                self.say(&refusal);
                folder::remove(&folders.own, &name);
                return None;
            }
        };
        let len = match artifact_len(&entry, key) {
            Ok(len) => len,
            Err(refusal) => {
                self.say(&Refusal(format!("entry {name}: {refusal}")));
                folder::remove(&folders.own, &name);
                return None;
            }
        };
        touch(&entry.file, entry.used);
        match os::deserialize_entry(engine, entry.file, len) {
            Ok(module) => Some(module),
            Err(error) => {
                self.say(&format!("entry {name}: {error}"));
                // Short of memory or of descriptors the entry is not to blame.
                if error.kind() == ErrorKind::Artifact {
                    folder::remove(&folders.own, &name);
                }
                None
            }
        }
    }

    /// Puts an artifact under a key, if that can be done.
    fn store(&self, key: &Key, artifact: &[u8]) {
        let bytes = (artifact.len() + KEY_BYTES) as u64;
        if bytes > self.limit {
            return;
        }
        let Some(folders) = self.said(Folders::create()) else { return };
        if self.said(write(&folders.own, key, artifact)).is_some() {
            sweep::after_store(&folders, self.limit, bytes);
        }
    }

    fn said<T>(&self, result: Result<T, Refusal>) -> Option<T> {
        result.map_err(|refusal| self.say(&refusal)).ok()
    }

    fn say(&self, message: &dyn fmt::Display) {
        if !self.said.replace(true) {
            tracing::warn!("{message}");
        }
    }
}

/// How much of an entry is the artifact, if the key behind it is this one: K5.
fn artifact_len(entry: &Entry, key: &Key) -> Result<u64, Refusal> {
    let len = entry.bytes.checked_sub(KEY_BYTES as u64).ok_or_else(|| Refusal("cut".to_owned()))?;
    let mut found = [0; KEY_BYTES];
    entry.file.read_exact_at(&mut found, len).map_err(|error| Refusal(error.to_string()))?;
    if found == key.0 {
        Ok(len)
    } else {
        Err(Refusal("holds what another key stands for, or is cut".to_owned()))
    }
}

/// Writes an entry: K2.
fn write(folder: &OwnedFd, key: &Key, artifact: &[u8]) -> Result<(), Refusal> {
    let refuse = |error: std::io::Error| Refusal(format!("cannot write an entry: {error}"));
    // Beyond this no write goes: better not to begin.
    let most = rustix::process::getrlimit(rustix::process::Resource::Fsize).current;
    if most.is_some_and(|most| ((artifact.len() + KEY_BYTES) as u64) > most) {
        return Err(refuse(rustix::io::Errno::FBIG.into()));
    }
    // Between the making of a file and its lock a sweep may take it for one that a killed writer left.
    let mut written = Ok(());
    for _ in 0..3 {
        written = write_once(folder, key, artifact);
        if !matches!(&written, Err(error) if error.kind() == std::io::ErrorKind::NotFound) {
            break;
        }
    }
    written.map_err(refuse)
}

fn write_once(folder: &OwnedFd, key: &Key, artifact: &[u8]) -> std::io::Result<()> {
    let temporary = sweep::temporary_name();
    let flags = OFlags::CREATE | OFlags::EXCL | OFlags::WRONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let mut file = File::from(rustix::fs::openat(folder, &temporary, flags, Mode::RUSR | Mode::WUSR)?);
    // The lock says that the writer lives. Where there are no locks a sweep goes by age.
    let _ = rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive);
    let renamed = |()| rustix::fs::renameat(folder, &temporary, folder, key.to_string()).map_err(Into::into);
    let written = file.write_all(artifact).and_then(|()| file.write_all(&key.0)).and_then(renamed);
    written.inspect_err(|_| {
        let _ = rustix::fs::unlinkat(folder, &temporary, AtFlags::empty());
    })
}

/// Notes that an entry is in use, at most once an hour: its modification time is the time of its last use.
fn touch(entry: &File, used: SystemTime) {
    let now = SystemTime::now();
    if now.duration_since(used).is_ok_and(|age| age > TOUCH_AFTER) {
        let _ = entry.set_modified(now);
    }
}

fn switched_off(value: Option<&std::ffi::OsStr>) -> bool {
    value
        .and_then(|value| value.to_str())
        .is_some_and(|value| matches!(value, "n" | "no" | "off" | "false" | "0"))
}

fn limit(text: Option<&str>) -> u64 {
    text.and_then(bytes_of).unwrap_or(DEFAULT_LIMIT)
}

#[cfg(test)]
mod tests {
    use super::*;

    type Flip = fn(&mut sphex::Compile);

    /// One way to change each setting, in the order of the fields.
    const FLIPS: &[(&str, Flip)] = &[
        ("memory_reservation", |c| c.memory_reservation = 0),
        ("memory_guard", |c| c.memory_guard += 65536),
        ("explicit_checks", |c| c.explicit_checks ^= true),
        ("interruption", |c| c.interruption ^= true),
        ("fuel", |c| c.fuel ^= true),
        ("spectre", |c| c.spectre ^= true),
        ("optimize", |c| c.optimize ^= true),
        ("inlining", |c| c.inlining ^= true),
        ("debug_info", |c| c.debug_info ^= true),
        ("target", |c| c.target = Some("x86_64-linux".to_owned())),
        ("options", |c| c.options.push(("has_avx2".to_owned(), Some("false".to_owned())))),
    ];

    /// The names of a struct's fields, as its `Debug` tells them.
    fn fields(value: &impl fmt::Debug) -> Vec<String> {
        let text = format!("{value:#?}");
        let outer = text.lines().filter_map(|line| line.strip_prefix("    "));
        let named = outer.filter(|line| !line.starts_with([' ', ']', '}', ')']));
        named.filter_map(|line| Some(line.split_once(':')?.0.to_owned())).collect()
    }

    #[test]
    fn every_compile_setting_is_in_the_key() {
        let plain = Config::new();
        let names: Vec<_> = FLIPS.iter().map(|(name, _)| (*name).to_owned()).collect();
        assert_eq!(fields(&plain.compile), names, "a setting that this test does not flip");
        let mut keys = vec![Key::new(&plain, b"wasm")];
        for (name, flip) in FLIPS {
            let mut config = plain.clone();
            flip(&mut config.compile);
            let key = Key::new(&config, b"wasm");
            assert!(!keys.contains(&key), "{name}");
            keys.push(key);
        }
    }

    #[test]
    fn all_else_that_decides_is_in_the_key() {
        let (config, host) = (Config::new(), Target::HOST);
        let all = CpuFeatures::detect();
        let less = CpuFeatures(all.0 & all.0.wrapping_sub(1));
        let key = |build, host, features, wasm| Key::of(BuildId(build), host, features, &config, wasm);
        let first = key(1, host, all, b"wasm");
        assert_eq!(first, key(1, host, all, b"wasm"));
        assert_ne!(first, key(2, host, all, b"wasm"), "build");
        assert_ne!(first, key(1, None, all, b"wasm"), "target");
        assert_ne!(first, key(1, host, less, b"wasm"), "features");
        assert_ne!(first, key(1, host, all, b"wasn"), "wasm");
    }

    #[test]
    fn how_code_is_run_is_not_in_the_key() {
        let plain = Config::new();
        let mut config = plain.clone();
        config.host.max_wasm_stack += 1;
        config.host.compile_threads = Some(1);
        assert_eq!(Key::new(&plain, b"wasm"), Key::new(&config, b"wasm"));
    }

    #[test]
    fn the_environment_turns_it_off_and_limits_it() {
        let off = |text: &str| switched_off(Some(text.as_ref()));
        assert!(off("n") && off("off") && off("0") && !off("y") && !off("") && !switched_off(None));
        assert_eq!((limit(None), limit(Some("3M")), limit(Some("x"))), (2 << 30, 3 << 20, 2 << 30));
    }
}

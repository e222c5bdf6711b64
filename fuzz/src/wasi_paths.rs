//! A guest with random paths, links and calls, in a directory beside ones that are none of its business.
//!
//! The bytes make a tree and a list of preview 1 calls. After each call what is outside is as it was; nothing that a call
//! wrote into the guest's memory tells of it: no content, no link's target, no inode number. A second process, in which
//! `openat2` does not exist, does the same with the path resolver's own walk, and must answer the same.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{Read, Write};
use std::os::fd::OwnedFd;
use std::os::unix::fs::{MetadataExt, symlink};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::{LazyLock, Mutex};

use sphex_wasi::WasiCtx;
use sphex_wasi::preview1::fd_readdir;

use crate::guest::{Guest, seccomp};
use crate::random::Choices;

/// The variable that makes a process the second one.
const TWIN: &str = "SPHEX_WASI_TWIN";
/// Where worlds are made: in memory, where there is such a place.
static SCRATCH: LazyLock<PathBuf> = LazyLock::new(|| {
    let memory = PathBuf::from("/dev/shm");
    if tempfile::TempDir::new_in(&memory).is_ok() { memory } else { std::env::temp_dir() }
});
/// Where `fd_readdir` puts entries, and how many bytes.
const ENTRIES: (u32, u32) = (0x4000, 2048);
/// Where the guest of the tests has its results.
const RESULT: usize = 0x10;

/// A directory with `box` (descriptor 3), `frozen` (4, read-only), and `outside`, which is neither.
struct World {
    root: tempfile::TempDir,
    outside: BTreeSet<u64>,
    before: BTreeMap<PathBuf, String>,
}

impl World {
    fn new(choices: &mut Choices<'_>) -> std::io::Result<World> {
        let root = tempfile::TempDir::new_in(SCRATCH.as_path())?;
        let at = |name: &str| root.path().join(name);
        for directory in ["box", "frozen", "frozen/a", "outside", "outside/deep", "outside/empty"] {
            std::fs::create_dir(at(directory))?;
        }
        for file in ["outside/secret", "outside/deep/gold", "marker"] {
            std::fs::write(at(file), "CANARY")?;
        }
        std::fs::write(at("frozen/b"), "frozen")?;
        std::fs::write(at("frozen/a/c"), "frozen")?;
        symlink("CANARY-link", at("outside/link"))?;
        symlink("../../outside", at("frozen/a/out"))?;
        symlink("a/c", at("frozen/l"))?;
        grow(&root.path().join("box"), choices);
        let mut world = World { root, outside: BTreeSet::new(), before: BTreeMap::new() };
        for name in ["outside", "marker"] {
            let mut open = vec![world.root.path().join(name)];
            while let Some(path) = open.pop() {
                let stat = path.symlink_metadata()?;
                world.outside.insert(stat.ino());
                if stat.is_dir() {
                    open.extend(std::fs::read_dir(&path)?.flatten().map(|entry| entry.path()));
                }
            }
        }
        world.before = world.untouchable()?;
        Ok(world)
    }

    fn guest(&self) -> Guest {
        let mut builder = WasiCtx::builder();
        for (name, read_only) in [("box", false), ("frozen", true)] {
            builder.preopen(&self.root.path().join(name), name, read_only).expect("it is there");
        }
        Guest::with(builder.build(), &self.root.path().join("box"))
    }

    /// All that a guest must leave as it is: names, contents, links, times of change.
    fn untouchable(&self) -> std::io::Result<BTreeMap<PathBuf, String>> {
        let mut found = BTreeMap::new();
        let mut open = vec![self.root.path().join("outside"), self.root.path().join("frozen")];
        while let Some(path) = open.pop() {
            let stat = path.symlink_metadata()?;
            let told =
                (stat.mtime(), stat.mtime_nsec(), stat.ctime_nsec(), stat.nlink(), stat.mode(), stat.size());
            let content = if stat.is_file() { std::fs::read_to_string(&path)? } else { String::new() };
            if stat.is_dir() {
                open.extend(std::fs::read_dir(&path)?.flatten().map(|entry| entry.path()));
            }
            found.insert(path, format!("{told:?} {content}"));
        }
        for entry in std::fs::read_dir(self.root.path())?.flatten() {
            found.entry(entry.path()).or_default();
        }
        Ok(found)
    }
}

const NAMES: [&str; 4] = ["a", "b", "c", "l"];

/// Fills the guest's directory; what cannot be made is left out.
fn grow(directory: &Path, choices: &mut Choices<'_>) {
    for _ in 0..4 + choices.below(24) {
        let mut path = directory.to_path_buf();
        (0..choices.pick(&[1, 1, 2, 3])).for_each(|_| path.push(choices.pick(&NAMES)));
        let _ = match choices.below(8) {
            0..=2 => std::fs::create_dir_all(&path),
            // Never onto a FIFO, which would wait.
            3 => std::fs::File::create_new(&path).and_then(|mut file| file.write_all(b"inside")),
            4 => {
                let mode = rustix::fs::Mode::RUSR | rustix::fs::Mode::WUSR;
                rustix::fs::mknodat(rustix::fs::CWD, &path, rustix::fs::FileType::Fifo, mode, 0)
                    .map_err(Into::into)
            }
            _ => symlink(target(directory, choices), &path),
        };
    }
}

/// What a link of the host's holds.
fn target(directory: &Path, choices: &mut Choices<'_>) -> String {
    let root = directory.parent().unwrap_or(directory).display();
    match choices.below(14) {
        0 => "..".into(),
        1 => "../outside".into(),
        2 => "../../outside/deep".into(),
        3 => "../../../outside/secret".into(),
        4 => format!("{root}/outside"),
        5 => format!("{root}/outside/secret"),
        6 => format!("/..{root}/outside/deep/../secret"),
        7 => format!("/proc/self/root{root}/outside"),
        8 => format!("{root}/box"),
        9 => "../box/../outside/".into(),
        10 => "../frozen/b".into(),
        11 => ".".into(),
        _ => path(&root.to_string(), choices),
    }
}

/// A path as a guest may say it, escaped for the guest's language.
fn path(root: &str, choices: &mut Choices<'_>) -> String {
    const ODD: [&str; 12] =
        ["..", "..", "..", ".", "", "outside", "secret", "box", "frozen", "...", "%ff", "outside/deep/gold"];
    match choices.below(24) {
        0 => return format!("{root}/outside/secret"),
        1 => return format!("/{root}/outside"),
        2 => return "x*256".into(),
        3 => return "''".into(),
        4 => return "a%00b".into(),
        5 => return "a/*900".into(),
        _ => {}
    }
    let mut path = if choices.one_in(16) { "/".to_string() } else { String::new() };
    for at in 0..choices.pick(&[1, 1, 1, 2, 2, 3, 5]) {
        if at > 0 {
            path.push('/');
        }
        path.push_str(if choices.one_in(4) { choices.pick(&ODD) } else { choices.pick(&NAMES) });
    }
    if choices.one_in(8) {
        path.push('/');
    }
    if path.is_empty() { "''".into() } else { path }
}

/// The next call, as a line of the guest's language.
fn line(root: &str, choices: &mut Choices<'_>) -> String {
    let fd = choices.pick(&[3, 3, 3, 3, 4, 4, 5, 6, 7, 8]);
    let follow = choices.pick(&["f", "-"]);
    let one = path(root, choices);
    match choices.below(20) {
        0..=3 => {
            let how = choices.pick(&["-", "-", "c", "d", "ce", "t", "ct"]);
            let rights = choices.pick(&["all", "rw", "r", "w", "-"]);
            let modes = choices.pick(&["-", "-", "n", "a"]);
            format!("path_open {fd} {follow} {one} {how} {rights} all {modes}")
        }
        4 | 5 => format!("path_create_directory {fd} {one}"),
        6 | 7 => format!("path_filestat_get {fd} {follow} {one}"),
        8 => format!(
            "path_filestat_set_times {fd} {follow} {one} 1000000000 2000000000 {}",
            choices.pick(&["am", "AM"])
        ),
        9 => format!("path_link {fd} {follow} {one} {} {}", choices.pick(&[3, 4, 5]), path(root, choices)),
        10 => format!("path_readlink {fd} {one} 200"),
        11 => format!("path_remove_directory {fd} {one}"),
        12 | 13 => format!("path_rename {fd} {one} {} {}", choices.pick(&[3, 3, 4, 5]), path(root, choices)),
        14 | 15 => format!("path_symlink {} {fd} {one}", path(root, choices)),
        16 => format!("path_unlink_file {fd} {one}"),
        17 => format!("fd_close {}", choices.pick(&[5, 6, 7])),
        18 => format!("fd_readdir {fd}"),
        _ => format!("fd_read {fd}"),
    }
}

/// Makes the tree and the calls; gives what each came to, or what is wrong.
fn run(bytes: &[u8]) -> Result<Vec<String>, String> {
    let mut choices = Choices::new(bytes);
    let world = World::new(&mut choices).map_err(|error| format!("cannot make a world: {error}"))?;
    let root = world.root.path().display().to_string();
    let mut guest = world.guest();
    let mut outcomes = Vec::new();
    for calls in 0..40 {
        if choices.is_empty() {
            break;
        }
        let line = line(&root, &mut choices);
        guest.memory.fill(0);
        let outcome = call(&mut guest, &line);
        // The guest has put its arguments into memory as well: what it was told is in the outcome.
        let told = told_inodes(&guest, &line, &outcome);
        let line = line.replace(&root, "ROOT");
        outcomes.push(format!("{line} = {}", outcome.replace(&root, "ROOT")));
        if outcome.contains("CANARY") {
            return Err(format!("{line}: the guest learns {outcome}"));
        }
        if let Some(ino) = told.iter().find(|ino| world.outside.contains(ino)) {
            return Err(format!("{line}: the guest learns of inode {ino}, which is outside"));
        }
        if calls % 8 != 7 && !choices.is_empty() {
            continue;
        }
        let after = world.untouchable().map_err(|error| format!("{line}: outside is gone: {error}"))?;
        if let Some((path, _)) = world.before.iter().find(|(path, told)| after.get(*path) != Some(told)) {
            return Err(format!("{line}: {} is not what it was: {:?}", path.display(), after.get(path)));
        }
        if after.len() != world.before.len() {
            return Err(format!("{line}: something new outside: {:?}", after.keys()));
        }
    }
    Ok(outcomes)
}

/// Runs one call, and those around it that keep it from waiting for ever.
fn call(guest: &mut Guest, line: &str) -> String {
    let (function, rest) = line.split_once(' ').unwrap_or((line, ""));
    match function {
        // A FIFO would wait for a writer, who never comes.
        "fd_read" => match guest.line(&format!("fd_fdstat_get {rest}")) {
            kind if kind.starts_with("ok file") => guest.line(&format!("fd_read {rest} 64")),
            kind => kind,
        },
        "fd_readdir" => {
            let fd = rest.parse().unwrap_or(u32::MAX);
            let (at, len) = ENTRIES;
            match guest.call(|ctx, memory| fd_readdir(ctx, memory, fd, at, len, 0, RESULT as u32)) {
                Ok(()) => {
                    let mut names: Vec<String> = entries(guest).into_iter().map(|(_, name)| name).collect();
                    names.sort();
                    format!("ok {names:?}")
                }
                Err(fault) => format!("{fault:?}"),
            }
        }
        _ => guest.line(line),
    }
}

/// Inode and name of the entries that were read whole.
fn entries(guest: &Guest) -> Vec<(u64, String)> {
    let used = guest.u32(RESULT as u32).min(ENTRIES.1) as usize;
    let mut rest = &guest.memory[ENTRIES.0 as usize..][..used];
    let mut found = Vec::new();
    while let Some((head, tail)) = rest.split_at_checked(24) {
        let word = |at: usize| u64::from_le_bytes(head[at..][..8].try_into().unwrap_or_default());
        let Some((name, tail)) = tail.split_at_checked(word(16) as u32 as usize) else { break };
        found.push((word(8), String::from_utf8_lossy(name).into_owned()));
        rest = tail;
    }
    found
}

/// The inode numbers that a call which succeeded told.
fn told_inodes(guest: &Guest, line: &str, outcome: &str) -> Vec<u64> {
    if !outcome.starts_with("ok") {
        return Vec::new();
    }
    match line.split(' ').next() {
        Some("path_filestat_get") => vec![guest.u64(RESULT as u32 + 8)],
        Some("fd_readdir") => entries(guest).into_iter().map(|(ino, _)| ino).collect(),
        _ => Vec::new(),
    }
}

/// A process without `openat2` that does the same.
struct Twin(UnixStream);

static SECOND: Mutex<Option<Twin>> = Mutex::new(None);

fn send(stream: &mut UnixStream, bytes: &[u8]) -> std::io::Result<()> {
    stream.write_all(&(bytes.len() as u32).to_le_bytes())?;
    stream.write_all(bytes)
}

fn receive(stream: &mut UnixStream) -> std::io::Result<Vec<u8>> {
    let mut len = [0; 4];
    stream.read_exact(&mut len)?;
    let mut bytes = vec![0; u32::from_le_bytes(len) as usize];
    stream.read_exact(&mut bytes)?;
    Ok(bytes)
}

impl Twin {
    /// Starts this program again, with arguments that lead it to [`serve_if_twin`].
    fn start(arguments: &[&str]) -> std::io::Result<Twin> {
        let (ours, theirs) = UnixStream::pair()?;
        Command::new(std::env::current_exe()?)
            .args(arguments)
            .env(TWIN, "1")
            .stdin(Stdio::from(OwnedFd::from(theirs)))
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()?;
        Ok(Twin(ours))
    }

    fn ask(&mut self, bytes: &[u8]) -> std::io::Result<String> {
        send(&mut self.0, bytes)?;
        Ok(String::from_utf8_lossy(&receive(&mut self.0)?).into_owned())
    }
}

fn text(outcome: Result<Vec<String>, String>) -> String {
    outcome.map_or_else(|wrong| format!("wrong: {wrong}"), |lines| lines.join("\n"))
}

/// If this process is the second one: answers until nobody asks, and ends.
pub fn serve_if_twin() {
    if std::env::var_os(TWIN).is_none() {
        return;
    }
    seccomp::forbid_openat2();
    let Ok(input) = std::os::fd::AsFd::as_fd(&std::io::stdin()).try_clone_to_owned() else { return };
    let mut stream = UnixStream::from(input);
    while let Ok(bytes) = receive(&mut stream) {
        if send(&mut stream, text(run(&bytes)).as_bytes()).is_err() {
            break;
        }
    }
    // SAFETY: it ends this process, without what libfuzzer has registered for that: it takes an end for a crash.
    #[allow(unsafe_code)]
    unsafe {
        libc::_exit(0)
    }
}

/// Runs the bytes here and in the second process, which `arguments` start; gives the number of calls that succeeded.
pub fn check(bytes: &[u8], arguments: &[&str]) -> Result<usize, String> {
    let outcomes = run(bytes)?;
    let mut second = SECOND.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
    let asked = match &mut *second {
        Some(twin) => twin.ask(bytes),
        none => Twin::start(arguments).and_then(|twin| none.insert(twin).ask(bytes)),
    };
    let found = asked.map_err(|error| format!("the second process: {error}"))?;
    let expected = outcomes.join("\n");
    if expected != found {
        let pair = expected.lines().zip(found.lines()).find(|(a, b)| a != b);
        return Err(match pair {
            Some((here, there)) => format!("with openat2: {here}\nwithout:      {there}"),
            None => format!("without openat2: {found}"),
        });
    }
    Ok(1 + outcomes.iter().filter(|line| line.contains(" = ok")).count())
}

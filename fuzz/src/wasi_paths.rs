//! A guest with random paths, links and calls, in a directory beside ones that are none of its business.
//!
//! The bytes make a tree and a list of preview 1 calls. Two names of three are such that the call has something to find: those
//! of the tree, or new ones in its directories; the others are whatever a hostile guest may think of. After each call what is outside is as it was; nothing that a call
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

/// Names that a call may find, each relative to the guest's directory: what was made there, whether or not it still is.
#[derive(Default)]
struct Known {
    directories: Vec<String>,
    files: Vec<String>,
    links: Vec<String>,
    /// New names that were given so far.
    given: usize,
}

/// What a call wants of a name.
#[derive(Clone, Copy)]
enum Wish {
    Directory,
    File,
    Link,
    Any,
    New,
}

impl Known {
    /// What is there before the first call, in the order of names.
    fn of(directory: &Path) -> Known {
        let mut known = Known::default();
        let mut open = vec![String::new()];
        while let Some(path) = open.pop() {
            let Ok(entries) = std::fs::read_dir(directory.join(&path)) else { continue };
            let mut names: Vec<String> =
                entries.flatten().map(|entry| entry.file_name().to_string_lossy().into_owned()).collect();
            names.sort();
            for name in names {
                let path = if path.is_empty() { name } else { format!("{path}/{name}") };
                let Ok(stat) = directory.join(&path).symlink_metadata() else { continue };
                if stat.is_dir() {
                    open.push(path.clone());
                }
                known.add(
                    if stat.is_dir() {
                        'd'
                    } else if stat.is_symlink() {
                        'l'
                    } else {
                        'f'
                    },
                    path,
                );
            }
        }
        known
    }

    fn add(&mut self, kind: char, path: String) {
        match kind {
            'd' => self.directories.push(path),
            'l' => self.links.push(path),
            _ => self.files.push(path),
        }
    }

    /// A name relative to a descriptor, which suits the wish if it can.
    fn name(&mut self, fd: u32, wish: Wish, root: &str, choices: &mut Choices<'_>) -> String {
        if choices.one_in(3) {
            return path(root, choices);
        }
        let frozen = ["a", "b", "a/c", "l", "a/out"];
        let all = [&self.directories, &self.files, &self.links];
        let list = match wish {
            _ if fd == 4 => return choices.pick(&frozen).into(),
            _ if fd != 3 => return choices.pick(&NAMES).into(),
            Wish::Directory => &self.directories,
            Wish::File => &self.files,
            Wish::Link => &self.links,
            Wish::Any => all[choices.below(3)],
            Wish::New => {
                self.given += 1;
                let name = format!("n{}", self.given);
                return match choices.below(2 * self.directories.len() + 1) {
                    at if at < self.directories.len() => format!("{}/{name}", self.directories[at]),
                    _ => name,
                };
            }
        };
        // Those that were made last are the likeliest to be there still.
        match list.len() {
            0 => path(root, choices),
            len => list[len - 1 - choices.below(len)].clone(),
        }
    }

    /// Remembers what a call that succeeded has made: words of its line.
    fn note(&mut self, line: &str) {
        let words: Vec<&str> = line.split(' ').collect();
        let (kind, fd, path) = match words[..] {
            ["path_open", fd, _, path, how, ..] if how.contains('c') => ('f', fd, path),
            ["path_create_directory", fd, path] => ('d', fd, path),
            ["path_symlink", _, fd, path] => ('l', fd, path),
            ["path_link", _, _, _, fd, path] => ('f', fd, path),
            ["path_rename", "3", old, fd, path] => {
                let kind = if self.directories.iter().any(|name| name == old) { 'd' } else { 'f' };
                (kind, fd, path)
            }
            _ => return,
        };
        if fd == "3" && self.files.len() + self.directories.len() + self.links.len() < 200 {
            self.add(kind, path.to_owned());
        }
    }
}

/// The next call, as a line of the guest's language.
fn line(known: &mut Known, root: &str, choices: &mut Choices<'_>) -> String {
    let fd = choices.pick(&[3, 3, 3, 3, 3, 4, 4, 5, 6, 7]);
    let follow = choices.pick(&["f", "-"]);
    let mut name = |fd, wish, choices: &mut Choices<'_>| known.name(fd, wish, root, choices);
    match choices.below(22) {
        0..=4 => {
            let how = choices.pick(&["-", "-", "-", "d", "c", "ce", "t", "ct"]);
            let wish = match how {
                "d" => Wish::Directory,
                "ce" => Wish::New,
                "-" => Wish::Any,
                _ => choices.pick(&[Wish::File, Wish::New]),
            };
            let one = name(fd, wish, choices);
            let rights = choices.pick(&["all", "rw", "r", "r", "w", "-"]);
            let modes = choices.pick(&["-", "-", "n", "a"]);
            format!("path_open {fd} {follow} {one} {how} {rights} all {modes}")
        }
        5 | 6 => format!("path_create_directory {fd} {}", name(fd, Wish::New, choices)),
        7 | 8 => format!("path_filestat_get {fd} {follow} {}", name(fd, Wish::Any, choices)),
        9 => format!(
            "path_filestat_set_times {fd} {follow} {} 1000000000 2000000000 {}",
            name(fd, Wish::Any, choices),
            choices.pick(&["am", "AM"])
        ),
        10 | 11 => {
            let (one, to) = (name(fd, Wish::File, choices), choices.pick(&[3, 3, 4, 5]));
            let follow = choices.pick(&["f", "-", "-", "-"]);
            format!("path_link {fd} {follow} {one} {to} {}", name(to, Wish::New, choices))
        }
        12 => format!("path_readlink {fd} {} 200", name(fd, Wish::Link, choices)),
        13 => format!("path_remove_directory {fd} {}", name(fd, Wish::Directory, choices)),
        14 | 15 => {
            let (one, to) = (name(fd, Wish::Any, choices), choices.pick(&[3, 3, 4, 5]));
            format!("path_rename {fd} {one} {to} {}", name(to, Wish::New, choices))
        }
        16 | 17 => format!("path_symlink {} {fd} {}", path(root, choices), name(fd, Wish::New, choices)),
        18 => {
            let wish = choices.pick(&[Wish::File, Wish::Link]);
            format!("path_unlink_file {fd} {}", name(fd, wish, choices))
        }
        19 => format!("fd_close {}", choices.pick(&[5, 6, 7])),
        20 => format!("fd_readdir {fd}"),
        _ => format!("fd_read {fd}"),
    }
}

/// Makes the tree and the calls; gives what each came to, or what is wrong.
fn run(bytes: &[u8]) -> Result<Vec<String>, String> {
    let mut choices = Choices::new(bytes);
    let world = World::new(&mut choices).map_err(|error| format!("cannot make a world: {error}"))?;
    let root = world.root.path().display().to_string();
    let mut guest = world.guest();
    let mut known = Known::of(&world.root.path().join("box"));
    let mut outcomes = Vec::new();
    for calls in 0..40 {
        if choices.is_empty() {
            break;
        }
        let line = line(&mut known, &root, &mut choices);
        guest.memory.fill(0);
        let outcome = call(&mut guest, &line);
        // The guest has put its arguments into memory as well: what it was told is in the outcome.
        let told = told_inodes(&guest, &line, &outcome);
        if outcome.starts_with("ok") {
            known.note(&line);
        }
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

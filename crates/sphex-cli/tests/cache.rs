//! The cache of compiled modules: that it is used, and that nothing that may befall it does harm.
//!
//! Whether an entry was used is seen by putting the artifact of another program in its place: if that one runs, it was.

mod support;

use std::fs::{self, Permissions};
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant, SystemTime};

use support::{Ended, SPHEX, root, run};

/// Some user that owns nothing here.
const NOBODY: u32 = 65534;

/// A cache of a test's own, and programs.
struct Home {
    folder: tempfile::TempDir,
}

impl Home {
    fn new() -> Home {
        let home = Home { folder: tempfile::tempdir().expect("a folder") };
        home.program("hello");
        home
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// A program that says `word`.
    fn program(&self, word: &str) -> PathBuf {
        let text = fs::read_to_string(root().join("tests/cli/hello.wat")).expect("the program");
        assert_eq!(text.matches("hello\\n").count(), 1);
        let word = format!("{word:5.5}\\n");
        let text = text.replace("hello\\n", &word);
        let path = self.path(&format!("{}.wat", word.trim_end_matches("\\n").trim()));
        fs::write(&path, text).expect("a file");
        path
    }

    /// `sphex` with this cache.
    fn sphex(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(SPHEX);
        command.args(arguments).current_dir(self.folder.path()).stdin(Stdio::null()).env_clear();
        command.env("XDG_CACHE_HOME", self.path("cache")).env("SPHEX_LOG", "warn");
        command
    }

    /// Runs a program without a complaint.
    fn says(&self, program: &str, expected: &str) {
        let ended = run(&mut self.sphex(&[&format!("{program}.wat")]));
        assert_eq!(told(&ended), (0, expected, ""));
    }

    /// Runs `hello` and gives what the cache says.
    fn complains(&self) -> String {
        let ended = run(&mut self.sphex(&["hello.wat"]));
        assert_eq!((ended.code, ended.stdout.as_str()), (0, "hello\n"), "{}", ended.stderr);
        assert_eq!(
            ended.stderr.matches(" WARN sphex::cache: ").count(),
            1,
            "once, not more: {:?}",
            ended.stderr
        );
        // And silence where nobody asks.
        let silent = run(self.sphex(&["hello.wat"]).env_remove("SPHEX_LOG"));
        assert_eq!(told(&silent), (0, "hello\n", ""));
        ended.stderr
    }

    fn cache(&self) -> PathBuf {
        self.path("cache/sphex")
    }

    /// The folder of this build.
    fn build(&self) -> PathBuf {
        let builds: Vec<_> = names(&self.cache()).into_iter().filter(|name| name.starts_with('v')).collect();
        assert_eq!(builds.len(), 1, "{builds:?}");
        self.cache().join(&builds[0])
    }

    /// All entries.
    fn entries(&self) -> Vec<PathBuf> {
        let build = self.build();
        names(&build).into_iter().filter(|name| name.len() == 64).map(|name| build.join(name)).collect()
    }

    /// The only entry, after a run of `hello`.
    fn entry(&self) -> PathBuf {
        self.says("hello", "hello\n");
        let entries = self.entries();
        assert_eq!(entries.len(), 1);
        entries[0].clone()
    }

    /// The artifact of a program that says `other`.
    fn other(&self) -> Vec<u8> {
        self.program("other");
        let compile = run(&mut self.sphex(&["compile", "other.wat", "-o", "other.cwasm"]));
        assert_eq!(told(&compile), (0, "", ""));
        fs::read(self.path("other.cwasm")).expect("an artifact")
    }

    /// The only entry, replaced by `other`: who uses it says so.
    fn poisoned(&self) -> PathBuf {
        let entry = self.entry();
        self.poison(&entry);
        entry
    }

    /// Puts `other` there, and behind it the key that the entry's name says.
    fn poison(&self, entry: &Path) {
        let name = entry.file_name().and_then(|name| name.to_str()).expect("a name");
        let key =
            (0..name.len()).step_by(2).map(|at| u8::from_str_radix(&name[at..at + 2], 16).expect("a key"));
        let bytes: Vec<u8> = self.other().into_iter().chain(key).collect();
        fs::write(entry, bytes).expect("an entry");
    }
}

fn told(ended: &Ended) -> (i32, &str, &str) {
    (ended.code, &ended.stdout, &ended.stderr)
}

fn names(folder: &Path) -> Vec<String> {
    let Ok(entries) = fs::read_dir(folder) else { return Vec::new() };
    let mut names: Vec<_> =
        entries.flatten().map(|entry| entry.file_name().to_string_lossy().into_owned()).collect();
    names.sort();
    names
}

fn mode(path: &Path, mode: u32) {
    fs::set_permissions(path, Permissions::from_mode(mode)).expect("permissions");
}

fn age(path: &Path, seconds: u64) -> SystemTime {
    let time = SystemTime::now() - Duration::from_secs(seconds);
    fs::File::options().write(true).open(path).and_then(|file| file.set_modified(time)).expect("a time");
    time
}

fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

fn skipped(what: &str, needs: &str) {
    println!("skipped: cache: {what} needs {needs}");
}

#[test]
fn the_second_run_uses_what_the_first_compiled() {
    let home = Home::new();
    let entry = home.entry();
    for (path, expected) in [(home.cache(), 0o700), (home.build(), 0o700), (entry.clone(), 0o600)] {
        let found = fs::metadata(&path).expect("it is there").mode() & 0o777;
        assert_eq!(found, expected, "{}", path.display());
    }
    let before = fs::metadata(&entry).expect("an entry");
    home.says("hello", "hello\n");
    let after = fs::metadata(&entry).expect("an entry");
    assert_eq!((before.ino(), before.mtime_nsec()), (after.ino(), after.mtime_nsec()));
    home.poison(&entry);
    home.says("hello", "other\n");
}

#[test]
fn other_modules_and_settings_have_entries_of_their_own() {
    let home = Home::new();
    home.poisoned();
    home.program("three");
    home.says("three", "three\n");
    let options =
        ["-O opt-level=0", "-O memory-reservation=0", "-C spectre=n", "-C has_avx2=n", "-W fuel=1000000"];
    for (position, option) in options.iter().enumerate() {
        let (group, setting) = option.split_once(' ').expect("two words");
        let ended = run(&mut home.sphex(&["run", group, setting, "hello.wat"]));
        assert_eq!(told(&ended), (0, "hello\n", ""), "{option}");
        assert_eq!(home.entries().len(), position + 3, "{option}");
    }
    // What decides only how it is run makes none.
    let ended = run(&mut home.sphex(&["run", "-W", "max-wasm-stack=65536", "-C", "threads=1", "hello.wat"]));
    assert_eq!(told(&ended), (0, "other\n", ""));
}

#[test]
fn what_is_compiled_lazily_is_not_kept() {
    let home = Home::new();
    let run_lazily = || run(&mut home.sphex(&["run", "-C", "lazy", "hello.wat"]));
    assert_eq!(told(&run_lazily()), (0, "hello\n", ""));
    assert!(!home.path("cache").exists());
    // What is kept is used all the same.
    home.poisoned();
    assert_eq!(told(&run_lazily()), (0, "other\n", ""));
    // What will not be kept is compiled lazily, unless somebody says otherwise.
    let ways: [(&[&str], bool); 4] = [
        (&["run", "three.wat"], false),
        (&["run", "-C", "cache=n", "three.wat"], true),
        (&["run", "-C", "cache=n,lazy=n", "three.wat"], false),
        (&["run", "-C", "lazy=n", "hello.wat"], false),
    ];
    home.program("three");
    for (arguments, lazy) in ways {
        let ended = run(home.sphex(arguments).env("SPHEX_LOG", "trace"));
        assert_eq!(ended.stderr.contains("compiled when it was called"), lazy, "{arguments:?}");
    }
    let mut nowhere = home.sphex(&["run", "three.wat"]);
    let ended = run(nowhere.env_remove("XDG_CACHE_HOME").env("SPHEX_LOG", "trace"));
    assert_eq!((ended.code, ended.stdout.as_str()), (0, "three\n"));
    assert!(ended.stderr.contains("compiled when it was called"), "{}", ended.stderr);
}

#[test]
fn it_can_be_turned_off() {
    let home = Home::new();
    let off = run(&mut home.sphex(&["run", "-C", "cache=n", "hello.wat"]));
    assert_eq!(told(&off), (0, "hello\n", ""));
    let off = run(home.sphex(&["hello.wat"]).env("SPHEX_CACHE", "n"));
    assert_eq!(told(&off), (0, "hello\n", ""));
    assert!(!home.path("cache").exists());
    home.poisoned();
    let off = run(&mut home.sphex(&["run", "-C", "cache=n", "hello.wat"]));
    assert_eq!(told(&off), (0, "hello\n", ""));
    let on = run(home.sphex(&["run", "-C", "cache=y", "hello.wat"]).env("SPHEX_CACHE", "n"));
    assert_eq!(told(&on), (0, "other\n", ""));
}

#[test]
fn twenty_at_once_on_an_empty_cache() {
    let home = Home::new();
    for round in 0..5 {
        let children: Vec<_> = (0..20)
            .map(|_| {
                let mut command = home.sphex(&["hello.wat"]);
                command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("a process")
            })
            .collect();
        for child in children {
            let output = child.wait_with_output().expect("an end");
            assert_eq!(
                (output.status.code(), &*output.stdout, &*String::from_utf8_lossy(&output.stderr)),
                (Some(0), &b"hello\n"[..], ""),
                "round {round}"
            );
        }
        assert_eq!(names(&home.build()).len(), 1, "one entry and nothing else");
        home.says("hello", "hello\n");
        fs::remove_dir_all(home.cache()).expect("it goes");
    }
}

/// Is any file in the folder of a build?
fn is_written_to(cache: &Path) -> bool {
    let builds = names(cache).into_iter().filter(|name| name.starts_with('v'));
    builds.map(|build| names(&cache.join(build))).any(|inside| !inside.is_empty())
}

#[test]
fn killed_at_any_moment() {
    let home = Home::new();
    // Large enough that writing it takes a while: 4 MiB of data.
    let program = home.program("hello");
    let text = fs::read_to_string(&program).expect("the program");
    let data =
        format!("(memory (export \"memory\") 70) (data (i32.const 65536) \"{}\")", "x".repeat(4 << 20));
    assert_eq!(text.matches("(memory (export \"memory\") 1)").count(), 1);
    fs::write(&program, text.replace("(memory (export \"memory\") 1)", &data)).expect("a file");
    let begin = Instant::now();
    home.says("hello", "hello\n");
    let whole = begin.elapsed();
    let artifact = fs::read(&home.entries()[0]).expect("an entry");
    let (mut with_entry, mut with_leftover) = (0, 0);
    for step in 0..60u32 {
        fs::remove_dir_all(home.cache()).expect("it goes");
        let mut child = home.sphex(&["hello.wat"]).stdout(Stdio::null()).spawn().expect("a process");
        if step % 2 == 0 {
            // While it writes: as soon as a file is there, or a little later.
            while child.try_wait().expect("a child").is_none() && !is_written_to(&home.cache()) {}
            std::thread::sleep(Duration::from_micros(u64::from(step) * 20));
        } else {
            // From the beginning to the end, in an order that is none.
            std::thread::sleep(whole.mul_f64(f64::from(step * 37 % 60) / 60.0 + 0.005));
        }
        child.kill().expect("it is not waited for yet");
        child.wait().expect("an end");
        for name in names(&home.cache()).iter().filter(|name| name.starts_with('v')) {
            let folder = home.cache().join(name);
            let inside = names(&folder);
            with_entry += usize::from(inside.iter().any(|name| name.len() == 64));
            with_leftover += usize::from(inside.iter().any(|name| name.starts_with("tmp-")));
            for entry in inside.iter().filter(|name| name.len() == 64) {
                assert!(fs::read(folder.join(entry)).expect("an entry") == artifact, "whole or not at all");
            }
        }
        home.says("hello", "hello\n");
        let sweep = run(&mut home.sphex(&["cache", "clean"]));
        assert_eq!((sweep.code, names(&home.cache())), (0, Vec::new()), "no leftovers");
    }
    println!("of 60 killed, {with_entry} had an entry, {with_leftover} left a temporary file");
    assert!(with_entry < 60, "none was killed in time");
    assert!(with_leftover > 0, "none was killed while it wrote");
}

#[test]
fn leftovers_go_with_the_next_sweep_but_not_those_of_the_living() {
    let home = Home::new();
    home.entry();
    let (dead, living) = (home.build().join("tmp-1-1"), home.build().join("tmp-1-2"));
    fs::write(&dead, "part").expect("a file");
    let lock = fs::File::create(&living).expect("a file");
    rustix::fs::flock(&lock, rustix::fs::FlockOperation::LockExclusive).expect("a lock");
    age(&home.cache().join("swept"), 120);
    home.program("again");
    home.says("again", "again\n");
    assert_eq!((dead.exists(), living.exists()), (false, true));
    // However well locked: nobody writes for an hour.
    age(&living, 7200);
    run(&mut home.sphex(&["cache", "clean"]));
    assert!(!living.exists());
}

#[test]
fn a_full_disk() {
    let home = Home::new();
    let mount = home.path("cache");
    fs::create_dir(&mount).expect("a folder");
    let script = format!(
        "mount -t tmpfs -o size=16k none {0} || exit 99; {SPHEX} hello.wat && {SPHEX} hello.wat && ls {0}/sphex/v*; df {0} | tail -1",
        mount.display()
    );
    let mut command = Command::new("unshare");
    command.arg(if is_root() { "-m" } else { "-rm" }).args(["sh", "-c", &script]);
    command.current_dir(home.folder.path()).stdin(Stdio::null());
    command.env("XDG_CACHE_HOME", &mount).env("SPHEX_LOG", "warn");
    let Ok(output) = command.output() else { return skipped("a full disk", "unshare") };
    if output.status.code() == Some(99) || output.stdout.is_empty() {
        return skipped("a full disk", "a mount namespace");
    }
    let stdout = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(stdout.starts_with("hello\nhello\n"), "{stdout}");
    assert!(!stdout.contains("tmp-"), "{stdout}");
    let stderr = String::from_utf8_lossy(&output.stderr);
    let full = " WARN sphex::cache: cannot write an entry: No space left on device (os error 28)";
    assert_eq!(stderr.lines().collect::<Vec<_>>(), [full, full]);
}

#[test]
fn damaged_entries_are_compiled_again() {
    let home = Home::new();
    let entry = home.entry();
    let good = fs::read(&entry).expect("an entry");
    let damaged = |bytes: &[u8], what: &dyn std::fmt::Display| {
        fs::write(&entry, bytes).expect("an entry");
        let ended = run(&mut home.sphex(&["hello.wat"]));
        assert_eq!((ended.code, ended.stdout.as_str()), (0, "hello\n"), "{what}: {}", ended.stderr);
        assert!(ended.stderr.starts_with(" WARN sphex::cache: entry "), "{what}: {:?}", ended.stderr);
        assert!(fs::read(&entry).expect("an entry") == good, "{what}");
    };
    for len in [0, 1, 63, 64, 4095, 4096, good.len() / 2, good.len() - 1] {
        damaged(&good[..len], &format_args!("cut to {len}"));
    }
    for at in (0..good.len()).step_by(good.len() / 61).chain([good.len() - 32, good.len() - 1]) {
        let mut bytes = good.clone();
        bytes[at] ^= 0x10;
        damaged(&bytes, &format_args!("flipped at {at}"));
    }
    damaged(&[good.as_slice(), b"more"].concat(), &"longer");
    damaged(&vec![0; good.len()], &"zeros, as after a crash of the machine");
    home.says("hello", "hello\n");
    // A bad one goes even where none takes its place.
    fs::write(&entry, &good[1..]).expect("an entry");
    let ended = run(home.sphex(&["hello.wat"]).env("SPHEX_CACHE_SIZE", "1"));
    assert_eq!((ended.code, ended.stdout.as_str(), entry.exists()), (0, "hello\n", false));
}

#[test]
fn an_entry_by_another_name_is_not_used() {
    let home = Home::new();
    let entry = home.entry();
    let good = fs::read(&entry).expect("an entry");
    home.program("other");
    home.says("other", "other\n");
    let other = home.entries().into_iter().find(|path| *path != entry).expect("a second entry");
    fs::rename(&other, &entry).expect("it moves");
    let said = home.complains();
    assert!(said.contains(": holds what another key stands for, or is cut\n"), "{said}");
    assert!(fs::read(&entry).expect("an entry") == good, "compiled again");
    // Nor a bare artifact, however good.
    fs::write(&entry, home.other()).expect("an entry");
    home.complains();
    assert!(fs::read(&entry).expect("an entry") == good, "compiled again");
}

#[test]
fn foreign_things_are_left_alone() {
    let home = Home::new();
    let entry = home.entry();
    let (letter, note) = (home.cache().join("letter"), home.build().join("note"));
    fs::write(&letter, "dear").expect("a file");
    fs::write(&note, "well").expect("a file");
    fs::create_dir(home.cache().join("v1")).expect("a folder");
    home.says("hello", "hello\n");
    let info = run(&mut home.sphex(&["cache", "info"]));
    assert!(info.stdout.contains("foreign       3\n"), "{}", info.stdout);
    let clean = run(&mut home.sphex(&["cache", "clean"]));
    assert!(clean.stdout.starts_with("removed 1 entries, "), "{}", clean.stdout);
    assert!(letter.exists() && note.exists() && home.cache().join("v1").exists() && !entry.exists());

    // Things of an entry's name that are no entries.
    let fifo = Command::new("mkfifo").arg(&entry).status().expect("mkfifo");
    assert!(fifo.success());
    home.complains();
    assert!(fs::metadata(&entry).expect("an entry").is_file());
    fs::remove_file(&entry).expect("it goes");
    fs::create_dir(&entry).expect("a folder");
    home.complains();
    assert!(entry.is_dir());
}

#[test]
fn links_are_not_followed() {
    let home = Home::new();
    let entry = home.poisoned();
    let elsewhere = home.path("elsewhere");
    fs::rename(&entry, &elsewhere).expect("it moves");
    symlink(&elsewhere, &entry).expect("a link");
    home.complains();
    let found = fs::symlink_metadata(&entry).expect("an entry");
    assert!(found.is_file() && elsewhere.exists(), "the link was replaced, not what it led to");
    home.says("hello", "hello\n");

    // Nor is a folder of the build that is a link.
    home.poison(&entry);
    let (build, moved) = (home.build(), home.path("moved"));
    fs::rename(&build, &moved).expect("it moves");
    symlink(&moved, &build).expect("a link");
    home.complains();

    // The whole cache may be: people have other disks.
    fs::remove_file(&build).expect("it goes");
    fs::rename(&moved, &build).expect("it moves");
    let disk = home.path("disk");
    fs::rename(home.cache(), &disk).expect("it moves");
    symlink(&disk, home.cache()).expect("a link");
    home.says("hello", "other\n");
}

#[test]
fn what_others_may_write_is_not_used() {
    let home = Home::new();
    let entry = home.poisoned();
    home.says("hello", "other\n");
    for (path, before) in [(home.cache(), 0o700), (home.build(), 0o700)] {
        for bad in [0o777, 0o770, 0o702, 0o1777] {
            mode(&path, bad);
            home.complains();
        }
        mode(&path, before);
        home.says("hello", "other\n");
    }
    let info = |bad| {
        mode(&home.cache(), bad);
        let info = run(&mut home.sphex(&["cache", "info"]));
        mode(&home.cache(), 0o700);
        info.stdout
    };
    assert!(info(0o777).contains("others may write it (mode 777)") && !info(0o755).contains("others"));
    // An entry is thrown away.
    mode(&entry, 0o620);
    home.complains();
    home.says("hello", "hello\n");
    assert_eq!(fs::metadata(&entry).expect("an entry").mode() & 0o777, 0o600);
}

#[test]
fn what_belongs_to_another_user_is_not_used() {
    if !is_root() {
        return skipped("another user", "root");
    }
    let home = Home::new();
    let entry = home.poisoned();
    let owner = |path: &Path, user| std::os::unix::fs::chown(path, Some(user), None).expect("root may");
    for path in [home.cache(), home.build()] {
        owner(&path, NOBODY);
        home.complains();
        owner(&path, 0);
        home.says("hello", "other\n");
    }
    owner(&home.cache(), NOBODY);
    let clean = run(&mut home.sphex(&["cache", "clean"]));
    assert_eq!((clean.code, clean.stdout.as_str()), (1, ""));
    assert!(clean.stderr.contains("belongs to user 65534, not to 0"), "{}", clean.stderr);
    owner(&home.cache(), 0);
    owner(&entry, NOBODY);
    home.complains();
    home.says("hello", "hello\n");
    assert_eq!(fs::metadata(&entry).expect("an entry").uid(), 0);
}

#[test]
fn a_cache_that_cannot_be_written() {
    let home = Home::new();
    let cache = home.path("cache");
    fs::create_dir(&cache).expect("a folder");
    // Root may write everywhere, so it is somebody else who tries.
    mode(home.folder.path(), 0o755);
    let as_nobody = |log: &str| {
        let mut command = home.sphex(&["hello.wat"]);
        command.env("SPHEX_LOG", log);
        if is_root() {
            command.uid(NOBODY).gid(NOBODY);
        }
        command.output()
    };
    if is_root() {
        std::os::unix::fs::chown(&cache, Some(NOBODY), Some(NOBODY)).expect("root may");
    }
    mode(&cache, 0o500);
    let Ok(output) = as_nobody("warn") else { return skipped("a read-only folder", "a binary for all") };
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert_eq!((output.status.code(), &*output.stdout), (Some(0), &b"hello\n"[..]), "{stderr}");
    let expected = format!(
        " WARN sphex::cache: cannot make {}/sphex: Permission denied (os error 13)\n",
        cache.display()
    );
    assert_eq!(stderr, expected);
    let output = as_nobody("").expect("it runs");
    assert_eq!((&*output.stdout, &*output.stderr), (&b"hello\n"[..], &b""[..]));
    // Entries that are there already are used.
    mode(&cache, 0o700);
    as_nobody("warn").expect("it runs");
    let entry = home.entries()[0].clone();
    home.poison(&entry);
    mode(&home.build(), 0o500);
    let output = as_nobody("warn").expect("it runs");
    assert_eq!((&*output.stdout, &*output.stderr), (&b"other\n"[..], &b""[..]));
}

#[test]
fn without_a_home() {
    let home = Home::new();
    for (name, value) in [("NOTHING", ""), ("HOME", "relative"), ("HOME", ""), ("XDG_CACHE_HOME", "relative")]
    {
        let mut command = home.sphex(&["hello.wat"]);
        let before = names(home.folder.path());
        let ended = run(command.env_remove("XDG_CACHE_HOME").env(name, value).env("SPHEX_CACHE", "y"));
        assert_eq!((ended.code, ended.stdout.as_str()), (0, "hello\n"));
        assert!(ended.stderr.contains("neither XDG_CACHE_HOME nor HOME"), "{:?}", ended.stderr);
        assert_eq!(names(home.folder.path()), before);
    }
    let info = run(home.sphex(&["cache", "info"]).env_remove("XDG_CACHE_HOME"));
    assert_eq!((info.code, info.stdout.contains("none: neither")), (0, true));
    // With a home alone it is below that, made if need be.
    let ended = run(home
        .sphex(&["hello.wat"])
        .env_remove("XDG_CACHE_HOME")
        .env("SPHEX_CACHE", "y")
        .env("HOME", home.path("home")));
    assert_eq!(told(&ended), (0, "hello\n", ""));
    assert_eq!(names(&home.path("home/.cache/sphex")).len(), 2);
}

#[test]
fn the_least_recently_used_go_first() {
    let home = Home::new();
    let size = fs::metadata(home.entry()).expect("an entry").len();
    fs::remove_dir_all(home.cache()).expect("it goes");
    let limit = (size * 7 / 2).to_string();
    let words = ["one", "two", "three", "four"];
    let mut entries: Vec<PathBuf> = Vec::new();
    for (position, word) in words.iter().enumerate() {
        home.program(word);
        if position == 3 {
            // `one` is used again: more than an hour after the last time, that is noted.
            assert_eq!(run(home.sphex(&["one.wat"]).env("SPHEX_CACHE_SIZE", &limit)).stderr, "");
        }
        let ended = run(home.sphex(&[&format!("{word}.wat")]).env("SPHEX_CACHE_SIZE", &limit));
        assert_eq!((ended.code, ended.stderr.as_str()), (0, ""));
        if position < 3 {
            let new = home.entries().into_iter().find(|entry| !entries.contains(entry)).expect("a new entry");
            age(&new, 7200 - 60 * position as u64);
            entries.push(new);
        }
    }
    let left: Vec<_> = entries.iter().map(|entry| entry.exists()).collect();
    assert_eq!((left, home.entries().len()), (vec![true, false, true], 3));
    // What is larger than the whole cache is not kept at all.
    home.program("large");
    let ended = run(home.sphex(&["large.wat"]).env("SPHEX_CACHE_SIZE", "4k"));
    assert_eq!((ended.code, ended.stderr.as_str(), home.entries().len()), (0, "", 3));
}

#[test]
fn a_use_is_noted_once_an_hour() {
    let home = Home::new();
    let entry = home.entry();
    let recent = age(&entry, 3000);
    home.says("hello", "hello\n");
    assert_eq!(fs::metadata(&entry).expect("an entry").modified().expect("a time"), recent);
    age(&entry, 4000);
    home.says("hello", "hello\n");
    let noted = fs::metadata(&entry).expect("an entry").modified().expect("a time");
    assert!(noted.elapsed().is_ok_and(|age| age < Duration::from_secs(600)));
}

#[test]
fn other_builds_go_when_nobody_uses_them() {
    let home = Home::new();
    home.entry();
    let old = home.cache().join(format!("v{}", "0".repeat(32)));
    let young = home.cache().join(format!("v{}", "1".repeat(32)));
    for (build, days) in [(&old, 31), (&young, 29)] {
        fs::create_dir(build).expect("a folder");
        fs::write(build.join("a".repeat(64)), "entry").expect("a file");
        age(&build.join("a".repeat(64)), days * 24 * 3600);
    }
    let info = run(&mut home.sphex(&["cache", "info"]));
    assert!(info.stdout.contains("entries       1, ") && info.stdout.contains("other builds  2, 10 bytes"));
    age(&home.cache().join("swept"), 120);
    home.program("again");
    home.says("again", "again\n");
    assert_eq!((old.exists(), young.exists()), (false, true));
    run(&mut home.sphex(&["cache", "clean"]));
    assert!(!young.exists() && names(&home.cache()).is_empty());
}

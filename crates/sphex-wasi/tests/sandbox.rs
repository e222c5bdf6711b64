//! The sandbox: a list of ways out, none of which leads out, with `openat2` and without.
//!
//! Each test makes a directory that holds `box`, which the guest is given, and `outside`, which it must never read, ask
//! about, or change. After every attempt what is outside is compared with what was there.

mod guest;

use guest::Guest;
use guest::seccomp::both_ways;
use rustix::fs::{CWD, RenameFlags, renameat_with};
use std::collections::BTreeMap;
use std::os::unix::fs::{MetadataExt, symlink};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

/// A directory with `box` and `outside` in it.
struct World {
    root: tempfile::TempDir,
}

impl World {
    fn new() -> World {
        let world = World { root: tempfile::tempdir().unwrap() };
        for directory in ["box", "box/deep", "box/deep/in", "outside", "outside/treasure", "outside/empty"] {
            std::fs::create_dir(world.path(directory)).unwrap();
        }
        for file in ["outside/secret", "outside/treasure/gold", "marker"] {
            std::fs::write(world.path(file), "outside").unwrap();
        }
        std::fs::write(world.path("box/inside"), "in").unwrap();
        world
    }

    fn path(&self, name: &str) -> PathBuf {
        self.root.path().join(name)
    }

    fn guest(&self) -> Guest {
        Guest::new(&self.path("box"))
    }

    /// All that is outside: names, contents, links, times.
    fn outside(&self) -> BTreeMap<PathBuf, String> {
        let mut found = BTreeMap::new();
        let mut left = vec![self.path("outside")];
        while let Some(path) = left.pop() {
            let stat = path.symlink_metadata().unwrap();
            let text = std::fs::read_to_string(&path).unwrap_or_default();
            let told = format!("{} {} {} {text}", stat.mtime_nsec(), stat.nlink(), stat.mode());
            if stat.is_dir() {
                left.extend(std::fs::read_dir(&path).unwrap().map(|entry| entry.unwrap().path()));
            }
            found.insert(path, told);
        }
        for entry in std::fs::read_dir(self.root.path()).unwrap() {
            found.entry(entry.unwrap().path()).or_default();
        }
        found
    }
}

/// Ways to `outside` from `box`: by dots, by absolute paths, by links of every shape.
fn ways(world: &World) -> Vec<String> {
    let outside = world.path("outside").display().to_string();
    let links = [
        ("out", "../outside".to_string()),
        ("slash", "../outside/".into()),
        ("dot", "./.././outside/.".into()),
        ("abs", outside.clone()),
        ("absdots", format!("/..{outside}/../outside")),
        ("up", "..".into()),
        ("upslash", "../".into()),
        ("root", "/".into()),
        ("chain1", "deep/../chain2".into()),
        ("chain2", "chain3".into()),
        ("chain3", "../outside".into()),
        ("chainabs", "abs".into()),
        ("dotty", "deep/in/../../../outside".into()),
        ("inner", "deep".into()),
        ("round", "../box/../outside".into()),
        ("proc", format!("/proc/self/root{outside}")),
        ("procrel", format!("{}proc/self/root{outside}", "../".repeat(20))),
        ("cwd", "/proc/self/cwd".into()),
        ("fd", "/proc/self/fd".into()),
    ];
    for (name, target) in links {
        symlink(target, world.path("box").join(name)).unwrap();
    }
    symlink("../../../outside", world.path("box/deep/in/link")).unwrap();
    symlink("../in/link", world.path("box/deep/in/again")).unwrap();
    let mut ways: Vec<String> = [
        "../outside",
        "./../outside",
        ".//..//outside",
        "deep/../../outside",
        "deep/in/../../../outside",
        "deep/./../deep/in/.././../../outside",
        "../box/../outside",
        "../../../../../../../../../../proc/self/cwd",
        "out",
        "./out",
        "deep/../out",
        "slash",
        "dot",
        "abs",
        "absdots",
        "up/outside",
        "upslash/outside",
        "up/box/up/outside",
        "up/box/out",
        "chain1",
        "chainabs",
        "dotty",
        "inner/../../outside",
        "inner/in/link",
        "deep/in/link",
        "deep/in/again",
        "round",
        "proc",
        "procrel",
        "cwd",
        "fd",
    ]
    .map(String::from)
    .to_vec();
    ways.extend([
        outside.clone(),
        format!("/{outside}"),
        format!("/..{outside}"),
        format!("root{outside}"),
        format!("root/..{outside}"),
        "/proc/self/cwd".into(),
    ]);
    ways
}

/// What a guest may try by a way to a directory outside. `@` is the way.
const ATTEMPTS: &[&str] = &[
    "path_open 3 f @ d r all -",
    "path_open 3 f @ - - - -",
    "path_open 3 f @/ d dir all -",
    "path_open 3 f @/. - r - -",
    "path_open 3 f @/secret - r - -",
    "path_open 3 - @/secret - r - -",
    "path_open 3 f @/secret - w - -",
    "path_open 3 f @/secret t rw - -",
    "path_open 3 f @/secret ct rw - a",
    "path_open 3 f @/secret ce rw - -",
    "path_open 3 f @/new c rw - -",
    "path_open 3 - @/new ce rw - -",
    "path_open 3 f @/treasure/../secret - r - -",
    "path_open 3 f @/../marker - r - -",
    "path_open 3 f @/../box/inside - r - -",
    "path_open 4 f @/secret - r - -",
    "path_filestat_get 3 f @",
    "path_filestat_get 3 - @/",
    "path_filestat_get 3 - @/.",
    "path_filestat_get 3 f @/secret",
    "path_filestat_get 3 - @/secret",
    "path_filestat_get 3 - @/none",
    "path_filestat_get 4 - @/..",
    "path_filestat_set_times 3 f @ 1 1 am",
    "path_filestat_set_times 3 - @/ 1 1 am",
    "path_filestat_set_times 3 f @/secret 1 1 am",
    "path_filestat_set_times 3 - @/secret 1 1 AM",
    "path_create_directory 3 @/new",
    "path_create_directory 3 @/new/",
    "path_remove_directory 3 @/empty",
    "path_remove_directory 3 @/empty/",
    "path_unlink_file 3 @/secret",
    "path_readlink 3 @/secret 99",
    "path_symlink inside 3 @/new",
    "path_link 3 - inside 3 @/new",
    "path_link 3 - @/secret 3 stolen",
    "path_link 3 - inside 3 @/secret",
    "path_rename 3 inside 3 @/new",
    "path_rename 3 inside 3 @/secret",
    "path_rename 3 @/secret 3 stolen",
    "path_rename 3 @/empty 3 stolen",
    "path_rename 3 @/secret 3 @/new",
];

#[test]
fn no_path_leads_out() {
    both_ways("no_path_leads_out", || {
        let world = World::new();
        let ways = ways(&world);
        let mut guest = world.guest();
        let before = world.outside();
        for way in &ways {
            for attempt in ATTEMPTS {
                let attempt = attempt.replace('@', way);
                let outcome = guest.line(&attempt);
                assert_eq!(outcome, "perm", "{attempt}");
                assert_eq!(world.outside(), before, "{attempt}");
            }
        }
        assert_eq!(std::fs::read_to_string(world.path("box/inside")).unwrap(), "in");
        assert!(!world.path("box/stolen").exists());
    });
}

/// Links at the end of a path: followed only inside, dangling ones too.
#[test]
fn links_at_the_end_lead_nowhere() {
    both_ways("links_at_the_end_lead_nowhere", || {
        let world = World::new();
        let outside = world.path("outside").display().to_string();
        let targets = [
            "../outside/secret".to_string(),
            "../outside/new".into(),
            format!("{outside}/secret"),
            format!("{outside}/new"),
            "deep/../../outside/new".into(),
            "/proc/self/fd/2".into(),
            "/dev/null".into(),
            "other".into(),
            "./other".into(),
        ];
        symlink("../outside/new", world.path("box/other")).unwrap();
        let mut guest = world.guest();
        let before = world.outside();
        for target in targets {
            symlink(&target, world.path("box/link")).unwrap();
            let cases = [
                ("path_open 3 f link - r - -", "perm"),
                ("path_open 3 f link - rw - -", "perm"),
                ("path_open 3 f link c rw - -", "perm"),
                ("path_open 3 f link ct w - -", "perm"),
                ("path_open 3 f link ce rw - -", "exist"),
                ("path_open 3 - link - r - -", "loop"),
                ("path_open 3 - link ct rw - -", "loop"),
                ("path_filestat_get 3 f link", "perm"),
                ("path_filestat_set_times 3 f link 1 1 am", "perm"),
                ("path_create_directory 3 link", "exist"),
                ("path_create_directory 3 link/", "exist"),
                ("path_symlink x 3 link", "exist"),
                ("path_link 3 - inside 3 link", "exist"),
            ];
            for (attempt, expected) in cases {
                assert_eq!(guest.line(attempt), expected, "{target}: {attempt}");
                assert_eq!(world.outside(), before, "{target}: {attempt}");
            }
            // The link itself is the guest's: it can be asked about, moved and removed.
            let len = target.len();
            assert_eq!(guest.line("path_filestat_get 3 - link"), format!("ok link {len}"));
            let told = if target.starts_with('/') { "perm".into() } else { format!("ok {target}") };
            assert_eq!(guest.line("path_readlink 3 link 999"), told);
            guest.script("here", "path_filestat_set_times 3 - link 1 1 am\npath_rename 3 link 3 moved");
            guest.script("here", "path_unlink_file 3 moved");
            assert_eq!(world.outside(), before, "{target}");
        }
        // A long chain ends by count.
        for number in 0..60 {
            symlink(format!("c{}", number + 1), world.path(&format!("box/c{number}"))).unwrap();
        }
        assert_eq!(guest.line("path_open 3 f c0 - r - -"), "loop");
        assert_eq!(guest.line("path_filestat_get 3 f c0"), "loop");
    });
}

/// The kernel's own links, which name things that no path does.
#[test]
fn magic_links_lead_nowhere() {
    both_ways("magic_links_lead_nowhere", || {
        let mut guest = Guest::new(Path::new("/proc/self"));
        for link in ["root", "cwd", "exe", "fd/0", "fd/1", "fd/2", "task/../root", "ns/mnt"] {
            for attempt in [
                "path_open 3 f @ - r - -",
                "path_open 3 f @ d r - -",
                "path_open 3 f @/ - r - -",
                "path_open 3 f @/etc/passwd - r - -",
                "path_filestat_get 3 f @",
                "path_filestat_get 3 f @/etc",
            ] {
                let attempt = attempt.replace('@', link);
                let outcome = guest.line(&attempt);
                assert!(
                    ["perm", "loop", "noent", "notdir"].contains(&outcome.as_str()),
                    "{attempt}: {outcome}"
                );
            }
        }
    });
}

/// A descriptor of a directory leads only down from there, wherever the directory is moved.
#[test]
fn a_directory_that_is_moved_out_leads_only_down() {
    both_ways("a_directory_that_is_moved_out_leads_only_down", || {
        let world = World::new();
        let mut guest = world.guest();
        guest.script("here", "path_open 3 f deep d dir all - -> d\npath_open d f .. d dir all - = perm");
        std::fs::rename(world.path("box/deep"), world.path("outside/deep")).unwrap();
        let before = world.outside();
        guest.script(
            "here",
            "path_open d f .. - r - - = perm\npath_open d f ../secret - r - - = perm
             path_open d f in/../../secret - r - - = perm\npath_filestat_get d - .. = perm
             path_create_directory d ../new = perm\npath_unlink_file d ../secret = perm
             path_open d f in - r - - -> in\nfd_readdir d 999 0",
        );
        assert_eq!(world.outside(), before);
    });
}

/// Nothing that names a FIFO waits for its other end.
#[test]
fn fifos_make_nothing_wait() {
    both_ways("fifos_make_nothing_wait", || {
        let world = World::new();
        let mut guest = world.guest();
        let done = std::sync::Arc::new(AtomicBool::new(false));
        let watch = done.clone();
        let watchdog = std::thread::spawn(move || {
            let start = Instant::now();
            while !watch.load(Ordering::Relaxed) {
                if start.elapsed() > Duration::from_secs(20) {
                    eprintln!("waited for a FIFO");
                    std::process::exit(1);
                }
                std::thread::sleep(Duration::from_millis(5));
            }
        });
        guest.script(
            "here",
            "host fifo fifo\nhost symlink link fifo
             path_open 3 f fifo - r - - -> r\nfd_fdstat_get r = ok unknown 0\nfd_read r 9 = ok\nfd_close r
             path_open 3 f link - r - - -> r\nfd_close r\npath_open 3 - link - r - - = loop
             path_open 3 f fifo - w - - = nxio\npath_open 3 f fifo c w - - = nxio\npath_open 3 f fifo t w - - = nxio
             path_open 3 f fifo d r - - = notdir\npath_open 3 f fifo/ - r - - = notdir\npath_open 4 f fifo - w - - = rofs
             path_open 3 f fifo ce rw - - = exist\npath_open 3 f fifo c r - - -> r\nfd_close r
             path_filestat_get 3 f fifo = ok unknown 0\npath_filestat_get 3 f link = ok unknown 0
             path_filestat_set_times 3 f link 1 2000000000 am\nhost mtime fifo = ok 2.000000000
             path_filestat_set_times 3 - fifo 1 3000000000 am\nhost mtime fifo = ok 3.000000000
             path_link 3 - fifo 3 other\npath_rename 3 other 3 third\npath_unlink_file 3 third
             path_open 3 f fifo - rw - n -> rw\nfd_fdstat_get rw = ok unknown 4\nfd_read rw 9 = again
             fd_write rw text = ok 4\npath_open 3 f fifo - r - - -> r\nfd_read r 9 = ok text
             path_open 3 f fifo - w - - -> w\nfd_close w",
        );
        // One opened for waiting does wait, for data.
        let writer = std::fs::OpenOptions::new().read(true).write(true).open(world.path("box/fifo")).unwrap();
        let late = std::thread::spawn(move || {
            std::thread::sleep(Duration::from_millis(30));
            std::io::Write::write_all(&mut &writer, b"late").unwrap();
            writer
        });
        guest.script("here", "fd_read r 9 = ok late\nfd_close r\nfd_close rw");
        late.join().unwrap();
        done.store(true, Ordering::Relaxed);
        watchdog.join().unwrap();
    });
}

/// Runs `attack` again and again in a thread while `guest` runs for a while, a thousand times at least.
fn race(attack: impl Fn() + Sync, mut attempt: impl FnMut(usize)) {
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !stop.load(Ordering::Relaxed) {
                attack();
            }
        });
        let start = Instant::now();
        let mut round = 0;
        while round < 1000 || start.elapsed() < Duration::from_millis(300) {
            // A failed assertion must not leave the attacker running.
            let ended = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| attempt(round)));
            if let Err(failed) = ended {
                stop.store(true, Ordering::Relaxed);
                std::panic::resume_unwind(failed);
            }
            round += 1;
        }
        stop.store(true, Ordering::Relaxed);
    });
}

/// A thread swaps a directory with a link to the outside, while the guest uses paths through it.
#[test]
fn a_directory_swapped_with_a_link() {
    both_ways("a_directory_swapped_with_a_link", || {
        let world = World::new();
        std::fs::create_dir(world.path("box/swap")).unwrap();
        std::fs::create_dir(world.path("box/swap/treasure")).unwrap();
        std::fs::write(world.path("box/swap/secret"), "inside").unwrap();
        symlink("../outside", world.path("box/link")).unwrap();
        let (swap, link) = (world.path("box/swap"), world.path("box/link"));
        let mut guest = world.guest();
        let mut outcomes = BTreeMap::new();
        let before = world.outside();
        let attack = || renameat_with(CWD, &swap, CWD, &link, RenameFlags::EXCHANGE).unwrap();
        race(attack, |round| {
            let attempt = match round % 9 {
                0 | 1 => "path_open 3 f swap/secret - r - -",
                2 => "path_filestat_get 3 - swap/secret",
                3 => "path_open 3 f swap/secret ct rw - -",
                4 => "path_create_directory 3 swap/new",
                5 => "path_remove_directory 3 swap/new",
                6 => "path_open 3 f swap/made c rw - -",
                7 => "path_unlink_file 3 swap/made",
                _ => "path_filestat_set_times 3 f swap/treasure 1 1 am",
            };
            let outcome = guest.line(attempt);
            if let Some(size) = outcome.strip_prefix("ok file ") {
                assert_ne!(size, "7", "{attempt} asked about what is outside");
            } else if let Some(fd) = outcome.strip_prefix("ok ").map(String::from) {
                let text = guest.line(&format!("fd_read {fd} 99"));
                assert!(!text.contains("outside"), "{attempt} read what is outside");
                guest.line(&format!("fd_close {fd}"));
            }
            *outcomes.entry(outcome.split(' ').next().unwrap().to_string()).or_insert(0) += 1;
        });
        assert_eq!(world.outside(), before);
        assert!(outcomes.contains_key("ok") && outcomes.contains_key("perm"), "no race: {outcomes:?}");
    });
}

/// A thread moves a directory out and in again, while the guest goes up from it by dots.
#[test]
fn dots_from_a_directory_that_moves() {
    both_ways("dots_from_a_directory_that_moves", || {
        let world = World::new();
        std::fs::write(world.path("box/marker"), "in").unwrap();
        let (inside, outside) = (world.path("box/deep/in"), world.path("outside/in"));
        let mut guest = world.guest();
        let attack = || {
            std::fs::rename(&inside, &outside).unwrap();
            std::fs::rename(&outside, &inside).unwrap();
        };
        let mut opened = 0;
        race(attack, |_| {
            let outcome = guest.line("path_open 3 f deep/in/../../marker - r - -");
            if let Some(fd) = outcome.strip_prefix("ok ").map(String::from) {
                assert_eq!(guest.line(&format!("fd_read {fd} 99")), "ok in");
                guest.line(&format!("fd_close {fd}"));
                opened += 1;
            }
            let outcome = guest.line("path_filestat_get 3 f deep/in/../../../marker");
            assert!(!outcome.starts_with("ok"), "{outcome}");
        });
        assert_ne!(opened, 0);
    });
}

/// A thread points a link inside and outside in turn, while the guest follows it and makes links of its own.
#[test]
fn a_link_that_changes_its_target() {
    both_ways("a_link_that_changes_its_target", || {
        let world = World::new();
        let (link, next) = (world.path("box/link"), world.path("box/next"));
        symlink("inside", &link).unwrap();
        let mut guest = world.guest();
        let before = world.outside();
        let mut outcomes = BTreeMap::new();
        let attack = || {
            for target in ["../outside/secret", "inside", "../outside/new", "deep/../inside"] {
                symlink(target, &next).unwrap();
                std::fs::rename(&next, &link).unwrap();
            }
        };
        race(attack, |round| {
            let attempt = match round % 6 {
                0 | 1 => "path_open 3 f link - r - -",
                2 => "path_open 3 f link - rw - -",
                3 => "path_filestat_get 3 f link",
                4 => "path_filestat_set_times 3 f link 1 1 am",
                _ => "path_open 3 f deep/../link c rw - -",
            };
            let outcome = guest.line(attempt);
            if let Some(size) = outcome.strip_prefix("ok file ") {
                assert_eq!(size, "2", "{attempt} asked about what is outside");
            } else if let Some(fd) = outcome.strip_prefix("ok ").map(String::from) {
                assert_eq!(guest.line(&format!("fd_read {fd} 99")), "ok in", "{attempt}");
                guest.line(&format!("fd_close {fd}"));
            }
            *outcomes.entry(outcome.split(' ').next().unwrap().to_string()).or_insert(0) += 1;
        });
        assert_eq!(world.outside(), before);
        assert!(outcomes.contains_key("ok") && outcomes.contains_key("perm"), "no race: {outcomes:?}");
    });
}

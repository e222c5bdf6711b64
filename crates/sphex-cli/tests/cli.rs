//! The command line under test: transcripts in `tests/cli/*.txt`, one trial a file, and what a transcript cannot tell
//! (signals, closed pipes, threads).
//!
//! A transcript is a list of commands with what they are expected to say:
//!
//! ```text
//! # A comment; blank lines are nothing.
//! $ sphex hello.wat
//! | a line of standard output
//! ! a line of standard error
//! = 134
//! ```
//!
//! `=` is the exit code where it is not 0. Commands run under `sh -c` in a folder of the trial's own, which begins with
//! a copy of every other file of `tests/cli`; what one command leaves there the next one finds. `BLESS=1` rewrites what
//! is expected.

mod support;

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::os::fd::FromRawFd;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use libtest_mimic::{Arguments, Failed, Trial};
use support::{Ended, SPHEX, difference, root, run};

type Outcome = Result<(), Failed>;

fn main() {
    let arguments = Arguments::from_args();
    // What is started in the background of a shell has INT ignored, and so would the programs that we start.
    // SAFETY: no other thread runs yet.
    #[allow(unsafe_code)]
    unsafe {
        libc::signal(libc::SIGINT, libc::SIG_DFL)
    };
    let folder = root().join("tests/cli");
    let mut transcripts: Vec<PathBuf> = fs::read_dir(&folder)
        .into_iter()
        .flatten()
        .flatten()
        .map(|entry| entry.path())
        .filter(|path| path.extension().is_some_and(|end| end == "txt"))
        .collect();
    transcripts.sort();
    assert!(!transcripts.is_empty(), "no transcripts in {}", folder.display());
    let mut trials: Vec<Trial> = transcripts
        .into_iter()
        .map(|path| {
            let name = path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
            Trial::test(format!("transcript/{name}"), move || transcript(&path))
        })
        .collect();
    for (name, signal) in [("INT", libc::SIGINT), ("TERM", libc::SIGTERM)] {
        for guest in ["loop", "wait", "sleep"] {
            trials.push(Trial::test(format!("signal/{name} in {guest}"), move || dies_by(signal, guest)));
        }
    }
    trials.push(Trial::test("signal/an ignored INT stays ignored", ignored_signal));
    trials.push(Trial::test("pipe/EPIPE reaches the guest", closed_pipe));
    trials.push(Trial::test("pipe/our own output ends quietly", closed_pipe_of_ours));
    trials.push(Trial::test("completion/of commands and flags in bash", completion));
    trials.push(Trial::test("progress/a bar on a terminal, gone at the end, no thread", progress));
    trials.push(Trial::test("guidance/a file that may not be read", unreadable));
    trials.push(Trial::test("threads/a hello starts none", no_thread));
    trials.push(Trial::test("threads/one while the guest waits", one_thread));
    libtest_mimic::run(&arguments, trials).exit();
}

/// A folder with the files that transcripts and trials use.
fn workshop() -> Result<tempfile::TempDir, Failed> {
    let folder = tempfile::tempdir()?;
    for entry in fs::read_dir(root().join("tests/cli"))? {
        let path = entry?.path();
        if path.extension().is_none_or(|end| end != "txt") {
            fs::copy(&path, folder.path().join(path.file_name().unwrap_or_default()))?;
        }
    }
    Ok(folder)
}

/// Runs a transcript, and compares it with itself.
fn transcript(path: &Path) -> Outcome {
    let expected = fs::read_to_string(path)?;
    let folder = workshop()?;
    let mut found = String::new();
    for line in expected.lines().filter(|line| !line.starts_with(['|', '!', '='])) {
        found += line;
        found.push('\n');
        if let Some(command) = line.strip_prefix("$ ") {
            found += &told(&shell(folder.path(), command), folder.path());
        }
    }
    if std::env::var_os("BLESS").is_some_and(|value| value == "1") && expected != found {
        fs::write(path, &found)?;
        return Ok(());
    }
    difference(&path.display().to_string(), &expected, &found).map_or(Ok(()), |text| Err(text.into()))
}

fn shell(folder: &Path, command: &str) -> Ended {
    let own = Path::new(SPHEX).parent().unwrap_or(Path::new("/")).display();
    let mut shell = Command::new("sh");
    shell.args(["-c", command]).current_dir(folder).stdin(Stdio::null()).env_clear();
    shell.env("PATH", format!("{own}:/usr/local/bin:/usr/bin:/bin")).env("LC_ALL", "C").env("SEEN", "yes");
    shell.env("XDG_CACHE_HOME", folder.join(".cache"));
    run(&mut shell)
}

/// How a command ended, as lines of a transcript.
fn told(ended: &Ended, folder: &Path) -> String {
    let mut text = String::new();
    for (mark, output) in [('|', &ended.stdout), ('!', &ended.stderr)] {
        for line in output.replace(&folder.display().to_string(), "[FOLDER]").lines() {
            text += format!("{mark} {line}").trim_end();
            text.push('\n');
        }
    }
    if ended.code != 0 {
        text += &format!("= {}\n", ended.code);
    }
    text
}

/// A guest that has started: it said so.
struct Started {
    child: Child,
    stdout: BufReader<std::process::ChildStdout>,
    _folder: tempfile::TempDir,
}

/// Starts `NAME.wat`, whose standard input is an open pipe, and waits for its first line.
fn start(name: &str) -> Result<Started, Failed> {
    let folder = workshop()?;
    let mut command = Command::new(SPHEX);
    command.arg(format!("{name}.wat")).current_dir(folder.path()).env("SPHEX_CACHE", "n");
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn()?;
    let mut stdout = BufReader::new(child.stdout.take().ok_or("no pipe")?);
    let mut line = String::new();
    stdout.read_line(&mut line)?;
    let started = Started { child, stdout, _folder: folder };
    if line == "ready\n" { Ok(started) } else { Err(format!("expected ready, found {line:?}").into()) }
}

impl Started {
    fn send(&self, signal: i32) {
        let pid = i32::try_from(self.child.id()).expect("a process id");
        let pid = rustix::process::Pid::from_raw(pid).expect("a process id");
        let signal = rustix::process::Signal::from_named_raw(signal).expect("a signal");
        rustix::process::kill_process(pid, signal).expect("a child that has not been waited for");
    }
}

/// A signal stops the guest, wherever it is, and the process then dies by that very signal, without a word.
fn dies_by(signal: i32, guest: &str) -> Outcome {
    use std::os::unix::process::ExitStatusExt;
    let mut started = start(guest)?;
    started.send(signal);
    let status = started.child.wait()?;
    let mut stderr = String::new();
    started.child.stderr.take().ok_or("no pipe")?.read_to_string(&mut stderr)?;
    match status.signal() == Some(signal) && stderr.is_empty() {
        true => Ok(()),
        false => Err(format!("expected an end by signal {signal}, found {status} and {stderr:?}").into()),
    }
}

/// Under `nohup`-like parents a signal that is ignored stays ignored: the guest reads on.
fn ignored_signal() -> Outcome {
    let folder = workshop()?;
    let script = format!("trap '' INT; exec {SPHEX} wait.wat");
    let mut command = Command::new("sh");
    command.args(["-c", &script]).current_dir(folder.path()).stdin(Stdio::piped()).stdout(Stdio::piped());
    command.env("SPHEX_CACHE", "n");
    let mut child = command.spawn()?;
    let mut stdout = BufReader::new(child.stdout.take().ok_or("no pipe")?);
    let mut line = String::new();
    stdout.read_line(&mut line)?;
    let mut started = Started { child, stdout, _folder: folder };
    started.send(libc::SIGINT);
    started.child.stdin.take().ok_or("no pipe")?.write_all(b"on")?;
    let status = started.child.wait()?;
    started.stdout.read_to_string(&mut line)?;
    match status.code() == Some(2) && line == "ready\n" {
        true => Ok(()),
        false => Err(format!("expected exit code 2, found {status}, {line:?}").into()),
    }
}

/// Writing to a pipe that nobody reads gives the guest an errno, and it lives on: `echo.wat` exits with it.
fn closed_pipe() -> Outcome {
    let mut started = start("echo")?;
    drop(started.stdout);
    let mut stdin = started.child.stdin.take().ok_or("no pipe")?;
    // A child of another trial may hold our end of the pipe until its exec, so the first writes may still succeed.
    let status = loop {
        if let Some(status) = started.child.try_wait()? {
            break status;
        }
        let _ = stdin.write_all(b"text");
        std::thread::sleep(std::time::Duration::from_millis(2));
    };
    let pipe = 64;
    match status.code() == Some(pipe) {
        true => Ok(()),
        false => Err(format!("expected exit code {pipe} (errno pipe), found {status}").into()),
    }
}

/// Whatever prints ends quietly when nobody reads it any more.
fn closed_pipe_of_ours() -> Outcome {
    let folder = workshop()?;
    let sphex = |arguments: &[&str], stdout: std::io::PipeWriter| {
        let mut command = Command::new(SPHEX);
        command.args(arguments).current_dir(folder.path()).stdin(Stdio::null()).stderr(Stdio::piped());
        run_with_output(&mut command, stdout)
    };
    let clif = root().join("tests/clif/run").display().to_string();
    let commands: [&[&str]; 10] = [
        &["settings"],
        &["run", "-W", "help"],
        &["objdump", "explain.wat"],
        &["explain", "explain.wat"],
        &["clif", "cat", &clif],
        &["clif", "test", "-v", &clif],
        &["compile", "--time", "explain.wat"],
        &["completion", "bash"],
        &["--help"],
        &["run", "--invoke", "add", "values.wat", "1", "2"],
    ];
    for arguments in commands {
        let (reader, writer) = std::io::pipe()?;
        drop(reader);
        let ended = sphex(arguments, writer)?;
        if ended.code != 0 || !ended.stderr.is_empty() {
            let (code, stderr) = (ended.code, ended.stderr);
            return Err(format!("{arguments:?}: expected a quiet end, found {code} and {stderr:?}").into());
        }
    }
    Ok(())
}

fn run_with_output(command: &mut Command, stdout: std::io::PipeWriter) -> Result<Ended, Failed> {
    let child = command.stdout(stdout).spawn()?;
    let output = child.wait_with_output()?;
    let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
    Ok(Ended { code: output.status.code().unwrap_or(-1), stdout: String::new(), stderr })
}

/// Scripts for every shell come out; bash reads its own and completes with it.
fn completion() -> Outcome {
    let folder = workshop()?;
    for name in ["bash", "elvish", "fish", "powershell", "zsh"] {
        let script = shell(folder.path(), &format!("sphex completion {name} | tee sphex.{name} | wc -l"));
        if script.code != 0 || script.stdout.trim().parse::<u32>().unwrap_or(0) < 50 {
            return Err(
                format!("{name}: expected a script, found {:?}", script.stdout + &script.stderr).into()
            );
        }
    }
    if shell(folder.path(), "command -v bash").code != 0 {
        println!("skipped: completion needs bash");
        return Ok(());
    }
    let ask = |words: &str, last: &str| {
        let count = words.split(' ').count();
        let script = format!(
            ". ./sphex.bash; COMP_WORDS=({words} '{last}'); COMP_CWORD={count}; \
             _sphex sphex '{last}' \"${{COMP_WORDS[COMP_CWORD-1]}}\"; echo \"${{COMPREPLY[@]}}\""
        );
        run(Command::new("bash").args(["-c", &script]).current_dir(folder.path()))
    };
    let cases = [
        ("sphex", "expl", "explain"),
        ("sphex explain", "--fu", "--func"),
        ("sphex explain --stage", "reg", "regalloc"),
    ];
    for (words, last, expected) in cases {
        let found = ask(words, last);
        if found.stdout.trim() != expected || !found.stderr.is_empty() {
            let found = found.stdout + &found.stderr;
            return Err(format!("{words} {last}: expected {expected}, found {found:?}").into());
        }
    }
    Ok(())
}

/// A terminal: our end, and the one for a program.
fn terminal() -> std::io::Result<(fs::File, fs::File)> {
    let (mut ours, mut theirs) = (-1, -1);
    let mut size = libc::winsize { ws_row: 24, ws_col: 100, ws_xpixel: 0, ws_ypixel: 0 };
    // SAFETY: two places for descriptors and a size; no name and no modes.
    #[allow(unsafe_code)]
    let made = unsafe {
        libc::openpty(&mut ours, &mut theirs, std::ptr::null_mut(), std::ptr::null_mut(), &raw mut size)
    };
    if made != 0 {
        return Err(std::io::Error::last_os_error());
    }
    // SAFETY: both were just opened, and belong to nobody else.
    #[allow(unsafe_code)]
    let files = unsafe { (fs::File::from_raw_fd(ours), fs::File::from_raw_fd(theirs)) };
    Ok(files)
}

/// A module of so many bytes of code.
fn large(bytes: usize) -> Vec<u8> {
    use wasm_encoder::{CodeSection, Function, FunctionSection, Module, TypeSection, ValType};
    let (mut types, mut functions, mut code) =
        (TypeSection::new(), FunctionSection::new(), CodeSection::new());
    types.ty().function([ValType::I32], [ValType::I32]);
    let mut body = Function::new([]);
    for k in 0..400 {
        body.instructions().local_get(0).i32_const(k).i32_rotl().local_get(0).i32_xor().local_set(0);
    }
    body.instructions().local_get(0).end();
    for _ in 0..bytes.div_ceil(body.byte_len()) {
        functions.function(0);
        code.function(&body);
    }
    let mut module = Module::new();
    module.section(&types).section(&functions).section(&code);
    module.finish()
}

/// Compiles for a terminal in a process that may start no thread; what it wrote there, and how long it took.
fn compile_on_terminal(folder: &Path, file: &str) -> Result<(String, std::time::Duration), Failed> {
    let (mut ours, theirs) = terminal()?;
    let mut command = Command::new(SPHEX);
    command.args(["compile", "-C", "threads=1", "-o", "out.cwasm", file]).current_dir(folder);
    command.env("TERM", "xterm").stdin(Stdio::null()).stderr(theirs);
    // SAFETY: between fork and exec this makes two system calls and nothing else.
    #[allow(unsafe_code)]
    unsafe {
        command.pre_exec(forbid_clone);
    }
    let start = std::time::Instant::now();
    let mut child = command.spawn()?;
    drop(command);
    let mut written = Vec::new();
    // When the program has ended, reading its terminal is an error.
    let _ = ours.read_to_end(&mut written);
    let (status, time) = (child.wait()?, start.elapsed());
    let text = String::from_utf8_lossy(&written).into_owned();
    if status.success() { Ok((text, time)) } else { Err(format!("{status}: {text:?}").into()) }
}

fn progress() -> Outcome {
    let folder = workshop()?;
    let (small, _) = compile_on_terminal(folder.path(), "hello.wat")?;
    if !small.is_empty() {
        return Err(format!("expected nothing for a hello, found {small:?}").into());
    }
    let mut bytes = 1 << 20;
    let shown = loop {
        fs::write(folder.path().join("large.wasm"), large(bytes))?;
        let (shown, time) = compile_on_terminal(folder.path(), "large.wasm")?;
        if time > std::time::Duration::from_millis(2500) {
            break shown;
        }
        bytes *= 2;
    };
    let last = shown.rsplit('\r').next().unwrap_or_default();
    if !shown.contains("compiling [") || last.contains("compiling") {
        return Err(format!("expected a bar that is gone at the end, found {shown:?}").into());
    }
    // Into a file or a pipe nothing is drawn.
    let quiet = shell(folder.path(), "sphex compile -C threads=1 -o out.cwasm large.wasm");
    match (quiet.code, quiet.stderr.is_empty()) {
        (0, true) => Ok(()),
        (code, _) => Err(format!("expected a quiet compilation, found {code} and {:?}", quiet.stderr).into()),
    }
}

/// A module that this user may not read. (Root may read all, so then it is another user who tries.)
fn unreadable() -> Outcome {
    let folder = workshop()?;
    let mode =
        |path: &Path, mode| fs::set_permissions(path, std::os::unix::fs::PermissionsExt::from_mode(mode));
    mode(folder.path(), 0o755)?;
    mode(&folder.path().join("hello.wat"), 0o200)?;
    let mut command = Command::new(SPHEX);
    command.arg("hello.wat").current_dir(folder.path()).env("SPHEX_CACHE", "n");
    let (owner, mut user) = (rustix::process::geteuid().as_raw(), rustix::process::geteuid().as_raw());
    if owner == 0 {
        user = 65534;
        command.uid(user);
    }
    let Ok(output) = command.output() else {
        println!("skipped: unreadable needs a binary that all may run");
        return Ok(());
    };
    let expected = format!(
        "error: cannot read hello.wat: Permission denied (os error 13)\n\
         hint: its mode is 200 and it belongs to user {owner}; this is user {user}\n"
    );
    let found = String::from_utf8_lossy(&output.stderr).into_owned();
    difference("standard error", &expected, &found).map_or(Ok(()), |text| Err(text.into()))
}

/// Runs a command that the kernel kills at its first `clone`.
fn without_clone(command: &mut Command) -> Ended {
    // SAFETY: between fork and exec this makes two system calls and nothing else.
    #[allow(unsafe_code)]
    unsafe {
        command.pre_exec(forbid_clone);
    }
    run(command)
}

/// From here on a `clone` kills the process.
fn forbid_clone() -> std::io::Result<()> {
    const fn step(code: u32, jt: u8, jf: u8, k: u32) -> libc::sock_filter {
        libc::sock_filter { code: code as u16, jt, jf, k }
    }
    let mut program = [
        step(libc::BPF_LD | libc::BPF_W | libc::BPF_ABS, 0, 0, 0),
        step(libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K, 1, 0, libc::SYS_clone as u32),
        step(libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K, 0, 1, libc::SYS_clone3 as u32),
        step(libc::BPF_RET | libc::BPF_K, 0, 0, libc::SECCOMP_RET_KILL_PROCESS),
        step(libc::BPF_RET | libc::BPF_K, 0, 0, libc::SECCOMP_RET_ALLOW),
    ];
    let filter = libc::sock_fprog { len: program.len() as u16, filter: program.as_mut_ptr() };
    // SAFETY: the filter and its program live until the call returns, which copies them; the other arguments are numbers.
    #[allow(unsafe_code)]
    let installed = unsafe {
        libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0
            && libc::prctl(libc::PR_SET_SECCOMP, libc::SECCOMP_MODE_FILTER, &raw const filter) == 0
    };
    if installed { Ok(()) } else { Err(std::io::Error::last_os_error()) }
}

/// A hello, compiled and run in one process that may start no thread, then once more from the cache. That the kernel
/// would notice is shown by a compilation on two threads.
fn no_thread() -> Outcome {
    let folder = workshop()?;
    let sphex = |arguments: &[&str]| {
        let mut command = Command::new(SPHEX);
        command.args(arguments).current_dir(folder.path()).stdin(Stdio::null());
        without_clone(command.env("XDG_CACHE_HOME", folder.path()))
    };
    for run in ["compiled", "cached"] {
        let hello = sphex(&["hello.wat"]);
        if (hello.code, hello.stdout.as_str()) != (0, "hello\n") {
            return Err(
                format!("{run}: expected a hello, found {} and {:?}", hello.code, hello.stderr).into()
            );
        }
    }
    let module = root().join("examples/wordcount.wasm").display().to_string();
    let parallel = sphex(&["compile", "-C", "threads=2", "-o", "out.cwasm", &module]);
    match parallel.code == -libc::SIGSYS {
        true => Ok(()),
        false => Err(format!("expected SIGSYS, found {} and {:?}", parallel.code, parallel.stderr).into()),
    }
}

/// While a guest waits for input the process has one thread.
fn one_thread() -> Outcome {
    let mut started = start("wait")?;
    let threads = fs::read_dir(format!("/proc/{}/task", started.child.id()))?.count();
    drop(started.child.stdin.take());
    started.child.wait()?;
    if threads == 1 { Ok(()) } else { Err(format!("expected 1 thread, found {threads}").into()) }
}

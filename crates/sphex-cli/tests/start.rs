//! What a start asks of the system, counted: nothing is opened, started or given back that running a program does not need.
//! Time would not tell on a machine that others use.
#![cfg(all(target_os = "linux", feature = "compiler"))]
#![allow(unsafe_code)]

use std::collections::BTreeMap;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, Stdio};
use std::{io, ptr};

/// How often each system call was made, by number.
type Calls = BTreeMap<i64, usize>;

/// Runs `sphex` under the eyes of this thread. `None` if the system does not let it look.
fn calls(folder: &Path, arguments: &[&str]) -> Option<Calls> {
    let mut command = Command::new(env!("CARGO_BIN_EXE_sphex"));
    command.args(arguments).current_dir(folder).stdin(Stdio::null()).stdout(Stdio::null());
    // SAFETY: one system call between fork and exec.
    unsafe {
        command.pre_exec(|| match libc::ptrace(libc::PTRACE_TRACEME) {
            0 => Ok(()),
            _ => Err(io::Error::last_os_error()),
        });
    }
    let child = match command.spawn() {
        Ok(child) => child,
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => return None,
        Err(error) => panic!("{error}"),
    };
    let (pid, mut calls, mut entering) = (child.id() as i32, Calls::new(), true);
    loop {
        let mut status = 0;
        // SAFETY: waits for the child, which this thread started; `status` is there.
        assert_eq!(unsafe { libc::waitpid(pid, &raw mut status, 0) }, pid);
        if libc::WIFEXITED(status) {
            assert_eq!(libc::WEXITSTATUS(status), 0, "sphex {arguments:?}");
            return Some(calls);
        }
        assert!(libc::WIFSTOPPED(status), "sphex {arguments:?}: {status:#x}");
        let pass = match libc::WSTOPSIG(status) {
            // The first stop is that of exec; then there are two a call.
            signal if signal == libc::SIGTRAP | 0x80 => {
                if entering {
                    *calls.entry(number(pid)).or_default() += 1;
                }
                entering = !entering;
                0
            }
            libc::SIGTRAP => {
                // SAFETY: the child is stopped.
                unsafe { libc::ptrace(libc::PTRACE_SETOPTIONS, pid, 0, libc::PTRACE_O_TRACESYSGOOD) };
                0
            }
            signal => signal,
        };
        // SAFETY: the child is stopped.
        assert_eq!(unsafe { libc::ptrace(libc::PTRACE_SYSCALL, pid, 0, pass) }, 0);
    }
}

/// The number of the call that a stopped child is about to make.
fn number(pid: i32) -> i64 {
    // `struct ptrace_syscall_info`: the operation, the machine, two addresses, then the call.
    let mut info = [0u64; 16];
    // SAFETY: the kernel writes no more than it is told there is.
    let got = unsafe {
        libc::ptrace(libc::PTRACE_GET_SYSCALL_INFO, pid, size_of_val(&info), ptr::from_mut(&mut info))
    };
    assert!(got >= 32, "{}", io::Error::last_os_error());
    info[3] as i64
}

/// Half of what a program of 200 functions that calls 27 needs is that the others are not compiled, and that nobody is asked to
/// help.
#[test]
fn a_start_from_wasm_starts_no_thread() {
    let folder = tempfile::tempdir().unwrap();
    let hello = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../benches/hello.wasm");
    std::fs::copy(hello, folder.path().join("hello.wasm")).unwrap();
    let Some(lazy) = calls(folder.path(), &["run", "-C", "cache=n", "hello.wasm"]) else {
        println!("skipped: a_start_from_wasm_starts_no_thread needs ptrace");
        return;
    };
    let of = |call: libc::c_long| lazy.get(&call).copied().unwrap_or(0);
    assert_eq!(of(libc::SYS_clone) + of(libc::SYS_clone3), 0, "a thread: {lazy:?}");
    // Slots, stubs and code are one range of address space; the code's pages have no file, and are mapped once more.
    assert_eq!((of(libc::SYS_mremap), of(libc::SYS_memfd_create)), (1, 1), "{lazy:?}");
    let log = Command::new(env!("CARGO_BIN_EXE_sphex"))
        .args(["run", "-C", "cache=n", "hello.wasm"])
        .current_dir(folder.path())
        .env("SPHEX_LOG", "trace")
        .output()
        .unwrap();
    let compiled = String::from_utf8_lossy(&log.stderr).matches("compiled when it was called").count();
    assert_eq!(compiled, 27);
}

#[test]
fn a_start_asks_for_little() {
    let folder = tempfile::tempdir().unwrap();
    let hello = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/cli/hello.wat");
    std::fs::copy(hello, folder.path().join("hello.wat")).unwrap();
    let compiled = Command::new(env!("CARGO_BIN_EXE_sphex"))
        .args(["compile", "hello.wat", "-o", "hello.cwasm"])
        .current_dir(folder.path())
        .status();
    assert!(compiled.unwrap().success());
    let Some(nothing) = calls(folder.path(), &["--version"]) else {
        println!("skipped: a_start_asks_for_little needs ptrace");
        return;
    };
    let hello = calls(folder.path(), &["run", "--allow-precompiled", "hello.cwasm"]).unwrap();
    let more = |call: libc::c_long| {
        let of = |calls: &Calls| calls.get(&call).copied().unwrap_or(0);
        of(&hello).saturating_sub(of(&nothing))
    };
    // The artifact, and not the process's mappings, nor which pages the guest wrote.
    assert_eq!(more(libc::SYS_openat), 1, "{hello:?}");
    assert_eq!(more(libc::SYS_clone) + more(libc::SYS_clone3), 0, "a thread: {hello:?}");
    // The artifact, the memory, its image, the signal stack.
    assert_eq!(more(libc::SYS_mmap), 4, "{hello:?}");
    // Two signal stacks, the loader's and ours.
    assert!(more(libc::SYS_munmap) <= 1, "{hello:?}");
    // Each further call is one that somebody added: to be taken away, or to be counted here with its reason. How often
    // the heap grows is the allocator's affair.
    let all = |calls: &Calls| {
        calls.iter().filter(|&(&call, _)| call != libc::SYS_brk).map(|(_, n)| n).sum::<usize>()
    };
    let (before, now) = (all(&nothing), all(&hello));
    assert!(now <= before + 29, "{now} system calls, {before} of them to do nothing: {hello:?}");
}

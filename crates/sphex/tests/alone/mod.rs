//! Tests that measure their process: each runs in one of its own, and may count what the kernel is asked for.
#![allow(unsafe_code, dead_code)]

use std::mem::MaybeUninit;
use std::process::Command;
use std::sync::atomic::{AtomicI32, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

const MARK: &str = "SPHEX_TEST_ALONE";

/// Runs a test in a process of its own. `name` is the test's.
pub fn alone(name: &str, test: impl FnOnce()) {
    alone_with(name, &[], test);
}

/// The same with environment variables.
pub fn alone_with(name: &str, variables: &[(&str, &str)], test: impl FnOnce()) {
    if std::env::var_os(MARK).is_some() {
        return test();
    }
    let child = Command::new(std::env::current_exe().unwrap())
        .args([name, "--exact", "--nocapture", "--test-threads=1"])
        .env(MARK, "1")
        .envs(variables.iter().copied())
        .output()
        .unwrap();
    let text =
        format!("{}{}", String::from_utf8_lossy(&child.stdout), String::from_utf8_lossy(&child.stderr));
    assert!(child.status.success() && text.contains("1 passed"), "alone:\n{text}");
    text.lines()
        .filter(|line| line.contains("bytes") || line.contains("skipped"))
        .for_each(|line| println!("{line}"));
}

/// A field of `/proc/self/status`, in bytes.
pub fn status(field: &str) -> usize {
    let text = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = text.lines().find_map(|line| line.strip_prefix(field)?.strip_prefix(':')).unwrap();
    line.trim().trim_end_matches(" kB").parse::<usize>().unwrap() << 10
}

/// Mappings of the process.
pub fn mappings() -> usize {
    std::fs::read_to_string("/proc/self/maps").unwrap().lines().count()
}

/// What a piece of code asked the kernel for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Counted {
    /// System calls.
    pub system_calls: u64,
    /// The number of the last one.
    pub last: i32,
    /// Faults that the kernel resolved.
    pub faults: i64,
}

/// What `pause` is by number: AArch64 has no such call of its own.
#[cfg(target_arch = "x86_64")]
const SYS_PAUSE: libc::c_long = libc::SYS_pause;
#[cfg(not(target_arch = "x86_64"))]
const SYS_PAUSE: libc::c_long = libc::SYS_ppoll;

static CALLS: AtomicU64 = AtomicU64::new(0);
static LAST: AtomicI32 = AtomicI32::new(0);

extern "C" fn count(_: i32, info: *mut libc::siginfo_t, _: *mut libc::c_void) {
    CALLS.fetch_add(1, Ordering::Relaxed);
    // `si_syscall` of the kernel's structure: after `si_signo`, `si_errno`, `si_code` and the address.
    // SAFETY: a SIGSYS of seccomp has this field.
    LAST.store(unsafe { info.cast::<u8>().add(24).cast::<i32>().read() }, Ordering::Relaxed);
}

/// Runs `f` once unseen and once more with every system call counted. That is done by a filter, which a thread cannot take
/// off again, and what is counted does not happen: so a thread is started for it, which never ends.
pub fn count_kernel(f: impl Fn() + Send + 'static) -> Counted {
    let result = Arc::new(OnceLock::new());
    let ours = result.clone();
    std::thread::spawn(move || {
        f();
        install();
        let (calls, faults) = (CALLS.load(Ordering::Relaxed), faulted());
        f();
        let (faults_now, calls_now) = (faulted(), CALLS.load(Ordering::Relaxed));
        let last = if calls_now == calls { 0 } else { LAST.load(Ordering::Relaxed) };
        let _ = ours.set(Counted { system_calls: calls_now - calls, last, faults: faults_now - faults });
        loop {
            // SAFETY: waits for a signal.
            unsafe { libc::pause() };
        }
    });
    // Code whose system calls do not happen may do anything, also go on for ever.
    for _ in 0..20_000 {
        match result.get() {
            Some(counted) => return *counted,
            None => std::thread::sleep(Duration::from_millis(1)),
        }
    }
    let (calls, last) = (CALLS.load(Ordering::Relaxed), LAST.load(Ordering::Relaxed));
    panic!("{calls} system calls, the last was number {last}, and no end");
}

fn faulted() -> i64 {
    let mut usage = MaybeUninit::<libc::rusage>::uninit();
    // SAFETY: the call fills `usage`.
    let usage = unsafe {
        assert_eq!(libc::getrusage(libc::RUSAGE_THREAD, usage.as_mut_ptr()), 0);
        usage.assume_init()
    };
    usage.ru_minflt + usage.ru_majflt
}

/// From here on a system call of this thread is a SIGSYS, but for those that the measurement needs.
fn install() {
    // SAFETY: the handler touches atomics only; the action is complete.
    unsafe {
        let mut action: libc::sigaction = std::mem::zeroed();
        action.sa_sigaction = count as *const () as usize;
        action.sa_flags = libc::SA_SIGINFO | libc::SA_ONSTACK;
        assert_eq!(libc::sigaction(libc::SIGSYS, &action, std::ptr::null_mut()), 0);
    }
    let allowed = [libc::SYS_getrusage, libc::SYS_rt_sigreturn, libc::SYS_exit_group, SYS_PAUSE];
    let step = |code: u32, jt, jf, k| libc::sock_filter { code: code as u16, jt, jf, k };
    let mut program = vec![step(libc::BPF_LD | libc::BPF_W | libc::BPF_ABS, 0, 0, 0)];
    for (i, call) in allowed.iter().enumerate() {
        let jump = (allowed.len() - i) as u8;
        program.push(step(libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K, jump, 0, *call as u32));
    }
    program.push(step(libc::BPF_RET | libc::BPF_K, 0, 0, libc::SECCOMP_RET_TRAP));
    program.push(step(libc::BPF_RET | libc::BPF_K, 0, 0, libc::SECCOMP_RET_ALLOW));
    let filter = libc::sock_fprog { len: program.len() as u16, filter: program.as_mut_ptr() };
    // SAFETY: the filter and its program live until the call returns, which copies them; the rest are numbers.
    let installed = unsafe {
        libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0
            && libc::prctl(libc::PR_SET_SECCOMP, libc::SECCOMP_MODE_FILTER, &raw const filter) == 0
    };
    assert!(installed, "seccomp: {}", std::io::Error::last_os_error());
}

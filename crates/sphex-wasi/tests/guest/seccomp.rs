//! A kernel without `openat2`, for the path resolver's own walk: a seccomp filter in a process of its own.
#![allow(unsafe_code)]

use std::process::Command;

const MARK: &str = "SPHEX_TEST_WITHOUT_OPENAT2";

/// Runs a test twice: here, and in a child where `openat2` answers ENOSYS. `name` is the test's own.
pub fn both_ways(name: &str, test: fn()) {
    if std::env::var_os(MARK).is_some() {
        forbid_openat2();
        test();
        return;
    }
    test();
    let child = Command::new(std::env::current_exe().unwrap())
        .args([name, "--exact", "--nocapture"])
        .env(MARK, "1")
        .output()
        .unwrap();
    let text =
        format!("{}{}", String::from_utf8_lossy(&child.stdout), String::from_utf8_lossy(&child.stderr));
    assert!(child.status.success() && text.contains("1 passed"), "without openat2:\n{text}");
}

/// From here on `openat2` does not exist for this thread and those that it starts.
pub fn forbid_openat2() {
    let step = |code: u32, jt, jf, k| libc::sock_filter { code: code as u16, jt, jf, k };
    let mut program = [
        step(libc::BPF_LD | libc::BPF_W | libc::BPF_ABS, 0, 0, 0),
        step(libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K, 0, 1, libc::SYS_openat2 as u32),
        step(libc::BPF_RET | libc::BPF_K, 0, 0, libc::SECCOMP_RET_ERRNO | libc::ENOSYS as u32),
        step(libc::BPF_RET | libc::BPF_K, 0, 0, libc::SECCOMP_RET_ALLOW),
    ];
    let filter = libc::sock_fprog { len: program.len() as u16, filter: program.as_mut_ptr() };
    // SAFETY: the filter and its program live until the call returns, which copies them; the other arguments are numbers.
    let installed = unsafe {
        libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0
            && libc::prctl(libc::PR_SET_SECCOMP, libc::SECCOMP_MODE_FILTER, &raw const filter) == 0
    };
    assert!(installed, "seccomp: {}", std::io::Error::last_os_error());
    let opened = rustix::fs::openat2(
        rustix::fs::CWD,
        c"/",
        rustix::fs::OFlags::PATH,
        rustix::fs::Mode::empty(),
        rustix::fs::ResolveFlags::empty(),
    );
    assert_eq!(opened.unwrap_err(), rustix::io::Errno::NOSYS);
}

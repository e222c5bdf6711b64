//! Why the system gives no more memory or descriptors, in words that help.

use std::io;

/// Says what ran out when the system answered `ENOMEM` to a wish for `wanted` bytes, and what to do about it. `None` for
/// other errors, and where nothing is known.
pub(crate) fn explain(error: &io::Error, wanted: u64) -> Option<String> {
    if error.kind() != io::ErrorKind::OutOfMemory {
        return None;
    }
    mappings().or_else(|| address_space(wanted))
}

/// Says which limit there is where the system had no descriptor left.
pub(crate) fn no_descriptors(error: &io::Error) -> Option<String> {
    match rustix::io::Errno::from_io_error(error)? {
        rustix::io::Errno::MFILE => {
            let limit = rustix::process::getrlimit(rustix::process::Resource::Nofile).current?;
            Some(format!("the process may have {limit} descriptors (RLIMIT_NOFILE, `ulimit -n`)"))
        }
        rustix::io::Errno::NFILE => {
            Some("the machine has as many files open as it may (fs.file-max)".to_owned())
        }
        _ => None,
    }
}

/// The kernel counts a process's mappings; a new one may split an old one into three.
const NEAR: usize = 4;

#[cfg(target_os = "linux")]
fn mappings() -> Option<String> {
    let text = std::fs::read_to_string("/proc/sys/vm/max_map_count").ok()?;
    let most: usize = text.trim().parse().ok()?;
    let have = count_lines("/proc/self/maps").ok()?;
    (have + NEAR >= most).then(|| {
        format!(
            "the process has {have} mappings of {most} that it may have (vm.max_map_count): raise it, or keep fewer \
             instances with memories of their own alive"
        )
    })
}

/// Lines of a file, read piece by piece: memory is short.
#[cfg(target_os = "linux")]
fn count_lines(path: &str) -> io::Result<usize> {
    use std::io::Read;
    let mut file = std::fs::File::open(path)?;
    let mut piece = [0; 4096];
    let mut lines = 0;
    loop {
        match file.read(&mut piece) {
            Ok(0) => return Ok(lines),
            Ok(len) => lines += piece[..len].iter().filter(|byte| **byte == b'\n').count(),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
}

#[cfg(target_os = "linux")]
fn address_space(wanted: u64) -> Option<String> {
    let text = std::fs::read_to_string("/proc/self/statm").ok()?;
    let pages: u64 = text.split(' ').next()?.parse().ok()?;
    let have = pages.saturating_mul(super::page_size() as u64);
    // Programs get the lower half of 48 bits.
    let whole = 1u64 << 47;
    (have.saturating_add(wanted) > whole - (whole >> 6)).then(|| {
        format!(
            "{} of {} GiB of address space are taken: reserve less for each memory (-O memory-reservation=0 reserves \
             nothing), or keep fewer memories alive",
            have >> 30,
            whole >> 30
        )
    })
}

#[cfg(not(target_os = "linux"))]
fn mappings() -> Option<String> {
    let _ = NEAR;
    None
}

#[cfg(not(target_os = "linux"))]
fn address_space(_: u64) -> Option<String> {
    None
}

//! A progress bar for compilations that take more than a second, on a terminal. No thread draws it: the compiler's own do,
//! when a function is done.
//!
//! By hand, and not with a library: one that estimates with `pow` makes every start of the command load `libm`.

use std::io::{self, IsTerminal, Write};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use sphex::inspect::Watch;

/// Compilations that are done by then show nothing.
const PATIENCE: Duration = Duration::from_secs(1);

/// The bar is drawn no more often.
const PERIOD: Duration = Duration::from_millis(100);

/// Characters of the bar.
const WIDTH: usize = 40;

/// Watches a compilation and shows how far it is.
pub struct Progress {
    start: Instant,
    on_terminal: bool,
    total: AtomicUsize,
    done: AtomicUsize,
    /// When the bar was drawn last, if it was.
    drawn: Mutex<Option<Instant>>,
}

impl Progress {
    /// Begins now.
    pub fn new() -> Progress {
        Progress {
            start: Instant::now(),
            on_terminal: io::stderr().is_terminal(),
            total: AtomicUsize::new(0),
            done: AtomicUsize::new(0),
            drawn: Mutex::new(None),
        }
    }

    fn draw(&self, done: usize) {
        // Whoever finds another thread drawing goes on compiling.
        let Ok(mut drawn) = self.drawn.try_lock() else { return };
        if drawn.is_some_and(|last| last.elapsed() < PERIOD) {
            return;
        }
        *drawn = Some(Instant::now());
        let total = self.total.load(Ordering::Relaxed);
        let _ = write!(io::stderr(), "\r\x1b[K{}", bar(done, total, self.start.elapsed()));
    }
}

/// The bar, and how long it will take if the rest goes like what is done.
fn bar(done: usize, total: usize, elapsed: Duration) -> String {
    let part = if total == 0 { 1.0 } else { (done as f64 / total as f64).clamp(1e-6, 1.0) };
    let full = (part * WIDTH as f64) as usize;
    let left = (elapsed.as_secs_f64() * (1.0 - part) / part) as u64;
    let (done, total) = (done as f64 / 1e6, total as f64 / 1e6);
    format!("compiling [{:<WIDTH$}] {done:.1} of {total:.1} MB, {left} s left", "=".repeat(full))
}

impl Watch for Progress {
    fn begin(&self, _: usize, bytes: usize) {
        self.total.store(bytes, Ordering::Relaxed);
    }

    fn done(&self, bytes: usize) {
        let done = self.done.fetch_add(bytes, Ordering::Relaxed) + bytes;
        if self.on_terminal && self.start.elapsed() > PATIENCE {
            self.draw(done);
        }
    }
}

impl Drop for Progress {
    /// What was drawn goes away, however the compilation ended.
    fn drop(&mut self) {
        if self.drawn.get_mut().is_ok_and(|drawn| drawn.is_some()) {
            let _ = write!(io::stderr(), "\r\x1b[K");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_bar_grows_and_the_rest_shrinks() {
        let at = |done| bar(done, 4_000_000, Duration::from_secs(6));
        let blanks = |n| " ".repeat(n);
        assert_eq!(
            at(1_000_000),
            format!("compiling [{}{}] 1.0 of 4.0 MB, 18 s left", "=".repeat(10), blanks(30))
        );
        assert_eq!(at(4_000_000), format!("compiling [{}] 4.0 of 4.0 MB, 0 s left", "=".repeat(40)));
        assert!(at(0).starts_with("compiling [ ") && bar(0, 0, Duration::ZERO).contains("0 s"));
    }
}

//! A progress bar for compilations that take more than a second, on a terminal. No thread draws it: the compiler's own do,
//! when a function is done.

use std::io::{self, IsTerminal};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use sphex::inspect::Watch;

/// Compilations that are done by then show nothing.
const PATIENCE: Duration = Duration::from_secs(1);

/// Watches a compilation and shows how far it is.
pub struct Progress {
    start: Instant,
    on_terminal: bool,
    total: AtomicUsize,
    done: AtomicUsize,
    bar: OnceLock<ProgressBar>,
}

impl Progress {
    /// Begins now.
    pub fn new() -> Progress {
        Progress {
            start: Instant::now(),
            on_terminal: io::stderr().is_terminal(),
            total: AtomicUsize::new(0),
            done: AtomicUsize::new(0),
            bar: OnceLock::new(),
        }
    }

    fn bar(&self) -> ProgressBar {
        let total = self.total.load(Ordering::Relaxed) as u64;
        let bar = ProgressBar::with_draw_target(Some(total), ProgressDrawTarget::stderr());
        let style = ProgressStyle::with_template("compiling [{bar:40}] {bytes} of {total_bytes}, {eta} left");
        bar.with_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()))
            .with_elapsed(self.start.elapsed())
    }
}

impl Watch for Progress {
    fn begin(&self, _: usize, bytes: usize) {
        self.total.store(bytes, Ordering::Relaxed);
    }

    fn done(&self, bytes: usize) {
        let done = self.done.fetch_add(bytes, Ordering::Relaxed) + bytes;
        if self.on_terminal && (self.bar.get().is_some() || self.start.elapsed() > PATIENCE) {
            self.bar.get_or_init(|| self.bar()).set_position(done as u64);
        }
    }
}

impl Drop for Progress {
    /// What was drawn goes away, however the compilation ended.
    fn drop(&mut self) {
        if let Some(bar) = self.bar.get() {
            bar.finish_and_clear();
        }
    }
}

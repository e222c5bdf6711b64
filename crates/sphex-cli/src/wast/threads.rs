//! The directives of a script in order, those of its threads on threads of the system's.
//!
//! A thread has a store of its own and sees of the script's modules the shared memories of one. How its directives went is
//! told where the script waits for it, or at the end.

use std::collections::BTreeMap;
use std::thread::{self, ScopedJoinHandle};

use wast::WastDirective;

use super::runner::{Outcome, Runner};

/// How directives went, by line.
type Outcomes = Vec<(usize, Outcome)>;

/// Runs directives and tells how each went.
pub fn run(
    mut runner: Runner,
    directives: Vec<WastDirective<'_>>,
    text: &str,
    tell: &mut dyn FnMut(usize, Outcome),
) {
    thread::scope(|scope| {
        let mut threads: BTreeMap<String, ScopedJoinHandle<'_, Outcomes>> = BTreeMap::new();
        for directive in directives {
            let line = directive.span().linecol_in(text).0 + 1;
            match directive {
                WastDirective::Thread(thread) => {
                    let outcome = runner.for_thread(thread.shared_module).and_then(|runner| {
                        let name = thread.name.name().to_owned();
                        let run = move || collect(runner, thread.directives, text);
                        // A thread of the same name that nobody waited for is waited for at the end.
                        let spawned = thread::Builder::new().spawn_scoped(scope, run);
                        threads.insert(name, spawned.map_err(|error| format!("no thread: {error}"))?);
                        Ok(())
                    });
                    tell(line, outcome);
                }
                WastDirective::Wait { thread, .. } => match threads.remove(thread.name()) {
                    Some(thread) => join(thread, line, tell),
                    None => tell(line, Err(format!("no thread `{}` to wait for", thread.name()))),
                },
                other => tell(line, runner.directive(other)),
            }
        }
        for thread in threads.into_values() {
            join(thread, 0, tell);
        }
    });
}

fn collect(runner: Runner, directives: Vec<WastDirective<'_>>, text: &str) -> Outcomes {
    let mut outcomes = Vec::new();
    run(runner, directives, text, &mut |line, outcome| outcomes.push((line, outcome)));
    outcomes
}

/// Waits for a thread and tells what it told. `line` is that of the waiting directive, which has no outcome if 0.
fn join(thread: ScopedJoinHandle<'_, Outcomes>, line: usize, tell: &mut dyn FnMut(usize, Outcome)) {
    match thread.join() {
        Ok(outcomes) => {
            outcomes.into_iter().for_each(|(line, outcome)| tell(line, outcome));
            if line > 0 {
                tell(line, Ok(()));
            }
        }
        Err(_) => tell(line, Err("the thread panicked".to_owned())),
    }
}

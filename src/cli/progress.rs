//! How far long work has come, for who watches a terminal: never in a pipe, nor beside JSON, where a program reads.

use std::io::{IsTerminal, Write};
use std::time::{Duration, Instant};

use super::Output;

/// A bar on standard error.
pub(super) struct Progress {
    what: &'static str,
    done: u64,
    all: u64,
    /// Where it may be shown: when it was last drawn, and whether it was.
    drawn: Option<Option<Instant>>,
    /// What is said behind it.
    then: &'static str,
}

impl Progress {
    pub(super) fn new(what: &'static str, all: u64, output: Output) -> Self {
        let shown = all > FEW && !output.is_json() && std::io::stderr().is_terminal();
        Self { what, done: 0, all, drawn: shown.then_some(None), then: "" }
    }

    /// So many are done, of all.
    pub(super) fn reach(&mut self, done: u64) {
        self.done = done;
        let Some(last) = &mut self.drawn else { return };
        if done < self.all && last.is_some_and(|last| last.elapsed() < PAUSE) {
            return;
        }
        *last = Some(Instant::now());
        let filled = (u128::from(done.min(self.all)) * BAR as u128 / u128::from(self.all.max(1))) as usize;
        // A terminal that does not take it is no reason to stop.
        let _ = write!(std::io::stderr(), "\r[{:<BAR$}] {done} of {} {}", "#".repeat(filled), self.all, self.what);
    }

    /// Has something said behind it, where it was seen.
    pub(super) fn say_then(&mut self, words: &'static str) {
        self.then = words;
    }

    pub(super) fn advance(&mut self) {
        self.reach(self.done + 1);
    }
}

/// Whatever is said next has a line of its own.
impl Drop for Progress {
    fn drop(&mut self) {
        if self.drawn.flatten().is_some() {
            let _ = writeln!(std::io::stderr());
            if !self.then.is_empty() {
                let _ = writeln!(std::io::stderr(), "{}", self.then);
            }
        }
    }
}

/// So many are done before anybody could read how many.
const FEW: u64 = 1_000;
const PAUSE: Duration = Duration::from_millis(100);
const BAR: usize = 40;

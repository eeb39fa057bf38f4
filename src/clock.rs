//! The only place that asks the time. Everything that judges takes `now` as an argument; whoever has to
//! supply it holds a `Clock`. The wall clock decides validity, so that suspends and steps count.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use rustls_pki_types::UnixTime;

pub use crate::date::{Date, rfc3339};

/// Tells the wall clock's time, or a time that a unit test moves.
#[derive(Clone, Debug, Default)]
pub struct Clock {
    moved: Option<Arc<AtomicU64>>,
}

impl Clock {
    /// Returns a clock that stands still at `seconds` since the epoch until [`Clock::set`].
    pub fn fixed(seconds: u64) -> Self {
        Self { moved: Some(Arc::new(AtomicU64::new(seconds))) }
    }

    /// Moves a fixed clock; a real one is not moved.
    pub fn set(&self, seconds: u64) {
        if let Some(moved) = &self.moved {
            moved.store(seconds, Ordering::Relaxed);
        }
    }

    /// Returns the time, in whole seconds since the epoch.
    pub fn now(&self) -> UnixTime {
        UnixTime::since_unix_epoch(match &self.moved {
            Some(seconds) => Duration::from_secs(seconds.load(Ordering::Relaxed)),
            None => Duration::from_secs(wall().as_secs()),
        })
    }
}

/// The wall clock's time as it was once, carried on without the steps it has made since: for what lives seconds, and once.
#[derive(Clone, Debug)]
pub struct Steady {
    clock: Clock,
    from: (Duration, Instant),
}

impl Clock {
    /// Begins to count from now. Of a clock that a test moves it is that clock.
    pub fn steady(&self) -> Steady {
        Steady { clock: self.clone(), from: (wall(), Instant::now()) }
    }
}

impl Steady {
    /// Returns the time, in whole seconds since the epoch as it was told then.
    pub fn now(&self) -> u64 {
        match &self.clock.moved {
            Some(_) => self.clock.now().as_secs(),
            None => (self.from.0 + self.from.1.elapsed()).as_secs(),
        }
    }
}

/// Returns the wall clock's time since the epoch, with its fraction: for log lines.
#[expect(clippy::disallowed_methods, reason = "the one place that asks")]
pub fn wall() -> Duration {
    // INVARIANT: a clock before 1970 reads as 1970, so that every certificate is not yet valid: closed, not open.
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO)
}

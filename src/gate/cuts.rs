//! How long a change takes to be true everywhere.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use crate::metrics::Metrics;

/// Measures one install: from the change being seen to the last connection cut. The last holder to drop it observes
/// `portcullis_revocation_seconds`, if anything was cut.
#[derive(Debug)]
pub struct Cuts {
    pub seen: Instant,
    metrics: Arc<Metrics>,
    cut: AtomicU64,
}

impl Cuts {
    /// Begins to measure an install whose change was seen at `seen`.
    pub fn new(seen: Instant, metrics: Arc<Metrics>) -> Arc<Self> {
        Arc::new(Self { seen, metrics, cut: AtomicU64::new(0) })
    }

    /// Counts one that was cut, and is kept until it is gone.
    pub(super) fn one_more(self: &Arc<Self>) -> Arc<Self> {
        self.cut.fetch_add(1, Ordering::Relaxed);
        Arc::clone(self)
    }
}

impl Drop for Cuts {
    fn drop(&mut self) {
        let cut = *self.cut.get_mut();
        if cut > 0 {
            let took = self.seen.elapsed();
            self.metrics.revocation(took);
            tracing::info!(cut, milliseconds = took.as_secs_f64() * 1e3, "what the change denied is gone");
        }
    }
}

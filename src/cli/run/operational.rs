//! The operational log: what the proxy says of itself, as JSON lines on standard error, through `tracing`.

use std::sync::Arc;
use std::time::Duration;

use tracing_subscriber::EnvFilter;

use crate::cli::Failure;
use crate::log::{Destination, Lines};
use crate::metrics::Metrics;

/// The log's way out, to be settled before the process ends.
pub(super) struct OperationalLog(Lines);

impl OperationalLog {
    /// Sends every event to standard error; `default` is the level where `PORTCULLIS_LOG` does not say otherwise.
    pub(super) fn start(metrics: &Arc<Metrics>, default: &str) -> Result<Self, Failure> {
        let lines = Lines::open(Destination::Stderr, Arc::clone(&metrics.log_lines_dropped)).map_err(Failure::local)?;
        let filter = EnvFilter::builder().with_default_directive(default.parse().map_err(Failure::usage)?);
        let filter =
            filter.with_env_var("PORTCULLIS_LOG").from_env().map_err(|error| Failure::usage(format_args!("PORTCULLIS_LOG: {error}")))?;
        let subscriber = tracing_subscriber::fmt().json().flatten_event(true).with_env_filter(filter).with_writer({
            let lines = lines.clone();
            move || lines.clone()
        });
        // Set twice in one process only by tests.
        let _ = subscriber.try_init();
        Ok(Self(lines))
    }

    /// Lets the last lines out; a stuck terminal does not hold up the end.
    pub(super) fn finish(self) {
        self.0.settle(Duration::from_secs(1));
    }
}

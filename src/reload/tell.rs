//! What a look came to, told: counted, logged, and kept for the status page.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::{Install, Report, Thread, lock};
use crate::clock;
use crate::config::{self, Look, Problem, Settings, Status};
use crate::metrics::ReloadResult;

impl<F: FnMut(Install)> Thread<F> {
    /// A file that changes while it is read is nothing to talk about until it has done so for a while.
    pub(super) fn waits(&mut self, look: &Look) -> bool {
        if !look.unstable {
            self.unstable_since = None;
            return false;
        }
        let since = *self.unstable_since.get_or_insert_with(Instant::now);
        let waits = since.elapsed() < PATIENCE;
        if !waits {
            // From here on the next event or second has to bring it.
            self.again = None;
        }
        waits
    }

    /// Counts, logs, and keeps for the status page.
    pub(super) fn tell(&mut self, look: &Look, noticed: Instant, asked: bool) {
        let before = lock(&self.view).report.clone();
        if let Some(loaded) = &look.loaded {
            self.waits_for_a_start = self.unchangeable(&loaded.settings, &look.status);
        }
        let warnings = self.with_what_waits(&look.warnings);
        self.show(Report {
            generation: look.loaded.as_ref().map_or(before.generation, |loaded| loaded.rules.generation),
            status: look.status.clone(),
            problems: look.problems.clone(),
            warnings: warnings.clone(),
            unrecorded: self.unrecorded(),
        });
        let worse = look.problems.iter().any(|problem| !before.problems.contains(problem));
        let mended = !before.problems.is_empty() && look.problems.is_empty();
        let result = match (&look.loaded, look.problems.is_empty()) {
            (_, false) if worse || asked || look.loaded.is_some() => Some(ReloadResult::Failure),
            (_, false) => None,
            (Some(_), true) => Some(ReloadResult::Success),
            (None, true) if mended => Some(ReloadResult::Success),
            (None, true) if asked => Some(ReloadResult::Unchanged),
            (None, true) => None,
        };
        if let Some(result) = result {
            self.metrics.reloaded(result, clock::wall().as_secs_f64());
        }
        for problem in look.problems.iter().filter(|problem| asked || !before.problems.contains(problem)) {
            tracing::error!(at = problem.place(), help = problem.help, "{}", problem.message);
        }
        for warning in warnings.iter().filter(|warning| !before.warnings.contains(warning)) {
            tracing::warn!(at = warning.place(), help = warning.help, "{}", warning.message);
        }
        if let Some(loaded) = &look.loaded {
            let took = u64::try_from(noticed.elapsed().as_micros()).unwrap_or(u64::MAX);
            tracing::info!(
                generation = loaded.rules.generation,
                entries = look.status.entries,
                entries_before = before.status.entries,
                microseconds = took,
                changed = config::changed::some(&look.changed),
                "new rules in force"
            );
        } else if mended {
            tracing::info!("every source is good again; the rules in force are what they say");
        } else if asked && look.problems.is_empty() {
            tracing::info!("nothing has changed");
        }
    }

    /// Adds what takes effect at the next start to what a look warns of, so that whoever asks how things stand reads it, too.
    pub(super) fn with_what_waits(&self, warnings: &[Problem]) -> Vec<Problem> {
        warnings.iter().chain(&self.waits_for_a_start).cloned().collect()
    }

    /// Says what was written and cannot take effect while we run.
    fn unchangeable(&self, now: &Settings, status: &Status) -> Vec<Problem> {
        let then = &self.started_with;
        let found = [
            (now.runtime.workers != then.runtime.workers, "the number of workers changes at the next start, not before"),
            (now.runtime.binds != then.runtime.binds, "listeners come, go and change their addresses at the next start, not before"),
            (now.monitor != then.monitor || now.monitor_names != then.monitor_names, "the monitor changes at the next start, not before"),
            (now.state != then.state, "the state directory changes at the next start, not before"),
        ];
        // The first of the sources is the configuration file.
        let file: Arc<str> = status.sources.first().map(|source| source.name.as_str()).unwrap_or_default().into();
        found.into_iter().filter(|(waits, _)| *waits).map(|(_, why)| Problem::in_file(&file, 0, why).warning()).collect()
    }

    pub(super) fn publish(&self, status: &Status) {
        #[expect(clippy::cast_precision_loss, reason = "a gauge is a float")]
        self.metrics.allowlist_entries.set(status.entries as f64);
        let known = status.sources.iter().filter_map(|source| source.last_good.map(|at| (source.name.clone(), at.as_secs_f64())));
        self.metrics.set_sources(known);
        // A principal is no certificate.
        let certificates = status.expiries.iter().filter(|expiry| expiry.kind != "principal");
        self.metrics.set_certificates(certificates.cloned().collect());
    }
}

/// How long a file may keep changing before that is an error.
const PATIENCE: Duration = Duration::from_millis(50);

//! Asks where no worker is: whoever proves a key by an answered challenge is judged on whatever thread that came to. The same snapshot,
//! the same decision, counted and logged in the same words.

use std::sync::{Arc, Mutex, PoisonError};

use super::refusals::{Refusals, Refused, steps};
use super::{About, Asker, Checkpoint, Inquiry};
use crate::admission::{Candidate, Decision, Denial, Scope, Snapshot, Steps, Verdict};
use crate::clock::Clock;
use crate::log::RefusalLog;
use crate::metrics::Metrics;

/// Judges challenges and tokens. Shared between threads.
pub struct Desk {
    clock: Clock,
    metrics: Arc<Metrics>,
    in_force: InForce,
    refusals: Mutex<Refusals>,
}

/// Returns the snapshot in force.
pub type InForce = Box<dyn Fn() -> Arc<Snapshot> + Send + Sync>;

/// The key of the candidate's leaf was proven, or whoever asks had a token of ours that says so: only then may a denial stand in its
/// name. Made in `challenge`, where the signature was checked, and nowhere else.
#[derive(Debug)]
pub struct Proven(());

impl Proven {
    /// Asserts it.
    pub(crate) fn assertion() -> Self {
        Self(())
    }
}

impl Desk {
    /// Asks whatever snapshot `in_force` returns.
    pub fn new(clock: Clock, metrics: Arc<Metrics>, log: RefusalLog, in_force: InForce) -> Self {
        let mut refusals = Refusals::default();
        refusals.tell(log);
        Self { clock, metrics, in_force, refusals: Mutex::new(refusals) }
    }

    /// Sets how many lines about denials one source may cause in a second.
    pub fn limit_refusals(&self, lines: u32) {
        self.refusals().limit(lines);
    }

    /// Returns the clock that decisions go by.
    pub fn clock(&self) -> &Clock {
        &self.clock
    }

    /// Returns the snapshot in force.
    pub fn snapshot(&self) -> Arc<Snapshot> {
        (self.in_force)()
    }

    /// Judges, counts and logs, once.
    pub fn judge(&self, candidate: Candidate, scope: &Scope<'_>, asker: &Asker, proven: Proven) -> Decision {
        self.judge_inquiry(candidate, scope, asker, None, proven)
    }

    /// The same with what can be told of the request, for the log.
    pub fn judge_inquiry(
        &self,
        candidate: Candidate,
        scope: &Scope<'_>,
        asker: &Asker,
        inquiry: Option<Inquiry<'_>>,
        Proven(()): Proven,
    ) -> Decision {
        let decision = self.snapshot().decide(Some(&candidate), scope, self.clock.now());
        let is_token = candidate.claims().is_some_and(|claims| claims.token.is_some());
        let checkpoint = if is_token { Checkpoint::Token } else { Checkpoint::Challenge };
        self.record(&decision, Some(&candidate), asker, &About { inquiry, ..About::of(checkpoint, *scope) });
        decision
    }

    /// Refuses what proved nothing, counts and logs it: in nobody's name. `why` is for the operator.
    pub fn refuse(&self, denial: Denial, why: impl Into<String>, scope: &Scope<'_>, asker: &Asker, inquiry: Option<Inquiry<'_>>) {
        let snapshot = self.snapshot();
        let mut steps = Steps::default();
        steps.failed("challenge", why.into(), denial);
        let decision = Decision {
            verdict: Verdict::Deny(denial),
            steps,
            principal: None,
            generation: snapshot.generation,
            valid_until: self.clock.now(),
        };
        self.record(&decision, None, asker, &About { inquiry, ..About::of(Checkpoint::Challenge, *scope) });
    }

    fn record(&self, decision: &Decision, candidate: Option<&Candidate>, asker: &Asker, about: &About<'_>) {
        let Some(denial) = decision.denial() else { return };
        self.metrics.listener(&asker.listener).denied(denial.code());
        let mut refusals = self.refusals();
        refusals.log(&Refused::by(decision, denial, candidate), || steps(decision), asker, about);
        // No worker's tick comes by here.
        refusals.tick();
    }

    fn refusals(&self) -> std::sync::MutexGuard<'_, Refusals> {
        // They count lines: whoever panicked with them left nothing half done that matters.
        self.refusals.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl std::fmt::Debug for Desk {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Desk").finish_non_exhaustive()
    }
}

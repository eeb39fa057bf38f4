//! The gate: the one handle that everybody asks. One per worker thread; it asks the snapshot of the rules in
//! force, counts and logs each decision once, and keeps every live standing true when rules or time move on.

mod answer;
pub mod cuts;
pub mod grant;
pub mod hold;
pub mod possession;
mod refusals;
mod remembered;
pub mod standing;

use std::cell::{Cell, RefCell};
use std::net::SocketAddr;
use std::rc::{Rc, Weak};
use std::sync::Arc;

use rustls_pki_types::CertificateDer;

use crate::admission::{Candidate, Decision, RouteScope, Scope, Snapshot, Verdict};
use crate::clock::Clock;
use crate::log::RefusalLog;
use crate::metrics::Metrics;
use answer::Window;
use refusals::Refusals;
use remembered::Remembered;

pub use cuts::Cuts;
pub use grant::{Admitted, Grant};
pub use hold::Hold;
pub use possession::Possession;
pub use refusals::{About, Inquiry};
pub use standing::Standing;

/// Asks the snapshot in force. One per worker; not shared between threads.
pub struct Gate {
    clock: Clock,
    metrics: Arc<Metrics>,
    snapshot: RefCell<Arc<Snapshot>>,
    /// Counts the installs on this worker: what was judged under another count is judged again.
    installs: Cell<u64>,
    candidates: RefCell<Remembered>,
    standings: RefCell<Standings>,
    /// The earliest second at which time alone may change a live answer, and the last second that was looked at.
    due: Cell<u64>,
    looked: Cell<u64>,
    refusals: RefCell<Refusals>,
}

/// Who is asking: for the log and the metrics, never for the decision.
#[derive(Clone, Debug)]
pub struct Asker {
    pub listener: Arc<str>,
    pub peer: Option<SocketAddr>,
    pub connection: u64,
}

/// Where a decision is asked for and enforced.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Checkpoint {
    Established,
    Handshake,
    Live,
    Request,
}

impl Gate {
    /// Makes the gate of a worker.
    pub fn new(clock: Clock, metrics: Arc<Metrics>, snapshot: Arc<Snapshot>) -> Rc<Self> {
        let now = clock.now().as_secs();
        Rc::new(Self {
            clock,
            metrics,
            snapshot: RefCell::new(snapshot),
            installs: Cell::new(0),
            candidates: RefCell::default(),
            standings: RefCell::default(),
            due: Cell::new(u64::MAX),
            looked: Cell::new(now),
            refusals: RefCell::default(),
        })
    }

    /// Returns the snapshot in force on this worker.
    pub fn snapshot(&self) -> Arc<Snapshot> {
        Arc::clone(&self.snapshot.borrow())
    }

    /// Returns the clock that decisions go by.
    pub fn clock(&self) -> &Clock {
        &self.clock
    }

    /// Sets how many lines about denials one source may cause in a second on this worker.
    pub fn limit_refusals(&self, lines: u32) {
        self.refusals.borrow_mut().limit(lines);
    }

    /// Sets where the lines about denials go; until then, into the operational log.
    pub fn tell_refusals(&self, log: RefusalLog) {
        self.refusals.borrow_mut().tell(log);
    }

    /// Puts a snapshot in force on this worker and asks every live standing again, before it returns: whoever is
    /// denied has then been woken. `routes` finds what a route of this name asks for now: open requests are judged
    /// by that. `cuts` is held by each that is cut until it is gone.
    pub fn install<'a>(&self, snapshot: Arc<Snapshot>, routes: &dyn Fn(&str) -> Option<&'a RouteScope>, cuts: Option<&Arc<Cuts>>) {
        *self.snapshot.borrow_mut() = snapshot;
        self.installs.set(self.installs.get() + 1);
        self.review(routes, cuts);
    }

    /// Ends the connections of the denied, and of nobody, where a denial is no HTTP answer any more: after `install`, so
    /// that `require` holds for those that came while it was `request`. `answers`: the listeners that still answer.
    pub fn shut_out(&self, answers: &dyn Fn(&str) -> bool, cuts: Option<&Arc<Cuts>>) {
        self.each_standing(|standing| {
            if !answers(&standing.asker().listener) {
                standing.shut_out(cuts);
            }
        });
    }

    /// Asks again whose `valid_until` has passed: the tick of one second.
    pub fn tick(&self) {
        self.refusals.borrow_mut().tick();
        let now = self.clock.now().as_secs();
        // A clock that was set back makes answers stale too: a certificate may not be valid yet.
        if now >= self.due.get() || now < self.looked.get() {
            self.review(&|_| None, None);
        }
        self.looked.set(now);
    }

    /// Returns how many standings live on this worker.
    pub fn standing_count(&self) -> usize {
        let standings = self.standings.borrow();
        standings.slots.len() - standings.free.len()
    }

    /// Returns the candidate of a presented chain; a returning client's certificates were parsed and its path verified before.
    pub fn candidate(&self, chain: &[CertificateDer<'_>]) -> Option<Rc<Candidate>> {
        if let Some(candidate) = self.candidates.borrow_mut().find(chain) {
            return Some(candidate);
        }
        Candidate::presented(chain).map(Rc::new)
    }

    /// Judges; counts and logs nothing: whoever tells the verdict records it.
    pub fn decide(&self, candidate: Option<&Candidate>, scope: &Scope<'_>) -> Decision {
        self.snapshot.borrow().decide(candidate, scope, self.clock.now())
    }

    /// Counts and logs a decision, once, when its verdict is told. INVARIANT: the candidate's key was proven; a
    /// denial in somebody's name is no stranger's to cause. `Standing` records its own.
    pub fn record<'a>(&self, decision: &Decision, candidate: Option<&Candidate>, asker: &Asker, about: impl Into<About<'a>>) {
        let about = about.into();
        match &decision.verdict {
            Verdict::Deny(denial) => {
                self.metrics.listener(&asker.listener).denied(denial.code());
                self.refusals.borrow_mut().log(*denial, decision, candidate, asker, &about);
            }
            Verdict::Admit(admission) => tracing::debug!(
                checkpoint = about.checkpoint.name(),
                connection = asker.connection,
                generation = decision.generation,
                listener = &*asker.listener,
                principal = %admission.principal.name,
                "admitted"
            ),
            Verdict::Open => {}
        }
    }

    /// Judges, and says while it holds.
    fn ask(&self, candidate: Option<&Candidate>, scope: &Scope<'_>) -> (Decision, Window) {
        let now = self.clock.now();
        let decision = self.snapshot.borrow().decide(candidate, scope, now);
        let window = Window { installs: self.installs.get(), from: now.as_secs(), until: decision.valid_until.as_secs() };
        self.due.set(self.due.get().min(window.until));
        (decision, window)
    }

    /// Tells whether what was judged then still holds.
    fn holds(&self, window: Window) -> bool {
        window.holds(self.installs.get(), self.clock.now().as_secs())
    }

    /// Remembers an admitted client's chain. Only these: a stranger makes as many certificates as it likes, and
    /// would push out everybody else's.
    fn remember(&self, candidate: &Rc<Candidate>) {
        self.candidates.borrow_mut().insert(candidate);
    }

    /// Asks every live standing whose answers no longer hold.
    fn review<'a>(&self, routes: &dyn Fn(&str) -> Option<&'a RouteScope>, cuts: Option<&Arc<Cuts>>) {
        self.due.set(u64::MAX);
        self.each_standing(|standing| self.due.set(self.due.get().min(standing.review(routes, cuts))));
    }

    fn each_standing(&self, ask: impl Fn(&Standing)) {
        let live = self.standings.borrow().slots.len();
        for slot in 0..live {
            // Not borrowed while the standing is asked: waking one may end another.
            let standing = self.standings.borrow().slots.get(slot).and_then(|weak| weak.as_ref()?.upgrade());
            if let Some(standing) = standing {
                ask(&standing);
            }
        }
    }
}

impl std::fmt::Debug for Gate {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Gate").field("generation", &self.snapshot.borrow().generation).finish_non_exhaustive()
    }
}

impl Checkpoint {
    /// Returns the name that the log uses.
    pub fn name(self) -> &'static str {
        match self {
            Self::Established => "established",
            Self::Handshake => "handshake",
            Self::Live => "live",
            Self::Request => "request",
        }
    }
}

/// Every live standing of a worker, at a slot of its own.
#[derive(Default)]
struct Standings {
    slots: Vec<Option<Weak<Standing>>>,
    free: Vec<usize>,
}

impl Standings {
    fn enter(&mut self, standing: Weak<Standing>) -> usize {
        if let Some(slot) = self.free.pop() {
            self.slots[slot] = Some(standing);
            return slot;
        }
        self.slots.push(Some(standing));
        self.slots.len() - 1
    }

    fn leave(&mut self, slot: usize) {
        self.slots[slot] = None;
        self.free.push(slot);
    }
}

#[cfg(test)]
mod tests;

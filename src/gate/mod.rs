//! The gate: the one handle that everybody asks. One per worker thread; it asks the snapshot of the rules in
//! force, counts and logs each decision once, and keeps every live standing true when rules or time move on.

mod answer;
pub mod cuts;
pub mod desk;
pub mod grant;
pub mod hold;
pub mod lifeline;
pub mod live;
pub mod possession;
mod refusals;
mod remembered;
pub mod renewed;
pub mod review;
pub mod sightings;
pub mod standing;
pub mod ways;

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::net::SocketAddr;
use std::rc::{Rc, Weak};
use std::sync::Arc;

use rustls_pki_types::CertificateDer;

use crate::admission::{Candidate, Changes, Decision, Scope, Snapshot, Verdict};
use crate::clock::Clock;
use crate::log::RefusalLog;
use crate::metrics::Metrics;
use answer::Window;
use hold::Holds;
use refusals::{Refusals, Refused};
use remembered::Remembered;
use renewed::Renewals;

pub use cuts::Cuts;
pub use desk::{Desk, Proven};
pub use grant::{Admitted, Grant};
pub use hold::Hold;
pub use lifeline::Lifeline;
use live::Strangers;
pub use live::{Live, Stranger};
pub use possession::Possession;
pub use refusals::{About, Inquiry, source};
pub use renewed::{OnRenewed, Renewed};
pub use review::Review;
use sightings::Sightings;
pub use sightings::{Sighting, Spot};
pub use standing::Standing;
pub use ways::{Lapse, Target, Way, Ways};

/// Asks the snapshot in force. One per worker; not shared between threads.
pub struct Gate {
    clock: Clock,
    metrics: Arc<Metrics>,
    snapshot: RefCell<Arc<Snapshot>>,
    /// Where requests lead; `None` before the first install, when nothing can lead elsewhere than it did.
    ways: RefCell<Option<Rc<dyn Ways>>>,
    /// Held by each that is cut until it is gone, while an install is carried out.
    cuts: RefCell<Option<Arc<Cuts>>>,
    /// Counts the installs on this worker: what was judged under another count is judged again.
    installs: Cell<u64>,
    candidates: RefCell<Remembered>,
    standings: RefCell<Standings>,
    /// The proxy stops: every connection is to leave.
    draining: Cell<bool>,
    /// What each client was told last; the candidate lives while somebody holds that.
    admitted: RefCell<HashMap<*const Candidate, Weak<Admitted>>>,
    /// Room for what is open on a connection, of those where nothing is.
    spare_holds: RefCell<Vec<Holds>>,
    /// The earliest second at which time alone may change a live answer, and the last second that was looked at.
    due: Cell<u64>,
    looked: Cell<u64>,
    refusals: RefCell<Refusals>,
    strangers: RefCell<Strangers>,
    sightings: RefCell<Sightings>,
    renewals: Renewals,
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
    Challenge,
    Established,
    Handshake,
    Live,
    Request,
    Token,
}

impl Gate {
    /// Makes the gate of a worker.
    pub fn new(clock: Clock, metrics: Arc<Metrics>, snapshot: Arc<Snapshot>) -> Rc<Self> {
        let now = clock.now().as_secs();
        Rc::new(Self {
            clock,
            metrics,
            snapshot: RefCell::new(snapshot),
            ways: RefCell::default(),
            cuts: RefCell::default(),
            installs: Cell::new(0),
            candidates: RefCell::default(),
            standings: RefCell::default(),
            draining: Cell::new(false),
            admitted: RefCell::default(),
            spare_holds: RefCell::default(),
            due: Cell::new(u64::MAX),
            looked: Cell::new(now),
            refusals: RefCell::default(),
            strangers: RefCell::default(),
            sightings: RefCell::default(),
            renewals: Renewals::default(),
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

    /// Sets who is told of certificates that renew a pinned one, once their key was proven: each certificate once, and again after an
    /// hour while it is no pin. Called on this thread, in the midst of a handshake or a request: hand it on and return.
    pub fn on_renewed(&self, listener: OnRenewed) {
        self.renewals.listen(listener);
    }

    /// Puts a snapshot in force on this worker. Nothing is admitted by the one before from now on, and nothing open moves
    /// on before it is asked again; the review finds and wakes what is idle. `ways`: where requests lead now. `cuts` is
    /// held by each that is cut until it is gone.
    pub fn install(self: &Rc<Self>, snapshot: Arc<Snapshot>, ways: Rc<dyn Ways>, cuts: Option<&Arc<Cuts>>) -> Review {
        let before = self.snapshot.replace(Arc::clone(&snapshot));
        *self.ways.borrow_mut() = Some(ways);
        *self.cuts.borrow_mut() = cuts.cloned();
        self.installs.set(self.installs.get() + 1);
        Review::of_all(self, Some(Changes::between(&before, &snapshot)))
    }

    /// Asks again whose `valid_until` has passed: the tick of one second.
    pub fn tick(self: &Rc<Self>) -> Review {
        self.refusals.borrow_mut().tick();
        let now = self.clock.now().as_secs();
        // A clock that was set back makes answers stale too: a certificate may not be valid yet.
        let due = now >= self.due.get() || now < self.looked.replace(now);
        if due { Review::of_all(self, None) } else { Review::of_none(self) }
    }

    /// Has every connection of this worker leave, those too that are still to come.
    pub fn drain(&self) {
        self.draining.set(true);
        let slots = self.standings.borrow().slots.len();
        (0..slots).filter_map(|slot| self.standing_at(slot)).for_each(|standing| standing.wake());
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

    /// Judges; counts and logs nothing: whoever tells the verdict records it. Why somebody is admitted, only `explain` tells.
    pub fn decide(&self, candidate: Option<&Candidate>, scope: &Scope<'_>) -> Decision {
        self.snapshot.borrow().decide_in_brief(candidate, scope, self.clock.now())
    }

    /// Counts and logs a decision, once, when its verdict is told. INVARIANT: the candidate's key was proven; a
    /// denial in somebody's name is no stranger's to cause. `Standing` records its own.
    pub fn record<'a>(&self, decision: &Decision, candidate: Option<&Candidate>, asker: &Asker, about: impl Into<About<'a>>) {
        let about = about.into();
        match &decision.verdict {
            Verdict::Deny(denial) => {
                self.metrics.listener(&asker.listener).denied(denial.code());
                self.note_stranger(*denial, candidate, asker, &about);
                let refused = Refused::by(decision, *denial, candidate);
                self.refusals.borrow_mut().log(&refused, || refusals::steps(decision), asker, &about);
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
        let decision = self.snapshot.borrow().decide_in_brief(candidate, scope, now);
        let window = Window { installs: self.installs.get(), from: now.as_secs(), until: decision.valid_until.as_secs() };
        self.due.set(self.due.get().min(window.until));
        (decision, window)
    }

    /// Tells of a renewal that a decision admitted. INVARIANT: only of a key that was proven.
    fn note_renewal(&self, decision: &Decision, possession: Option<&Possession>) {
        if let Some(possession) = possession {
            self.renewals.note(decision, possession, self.clock.now().as_secs());
        }
    }

    /// Tells whether what was judged then still holds.
    fn holds(&self, window: Window, now: u64) -> bool {
        window.holds(self.installs.get(), now)
    }

    /// Remembers an admitted client's chain. Only these: a stranger makes as many certificates as it likes, and
    /// would push out everybody else's.
    fn remember(&self, candidate: &Rc<Candidate>) {
        self.candidates.borrow_mut().insert(candidate);
    }

    /// Counts one that is cut by the install that is carried out, if one is.
    fn one_more_cut(&self) -> Option<Arc<Cuts>> {
        self.cuts.borrow().as_ref().map(Cuts::one_more)
    }

    fn standing_at(&self, slot: usize) -> Option<Rc<Standing>> {
        self.standings.borrow().slots.get(slot)?.as_ref()?.upgrade()
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
            Self::Challenge => "challenge",
            Self::Established => "established",
            Self::Handshake => "handshake",
            Self::Live => "live",
            Self::Request => "request",
            Self::Token => "token",
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

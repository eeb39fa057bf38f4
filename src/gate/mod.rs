//! The gate: the one handle that everybody asks. One per worker thread; it asks the snapshot of the rules in
//! force, counts and logs each decision once, and keeps every live standing true when rules or time move on.

pub mod grant;
pub mod possession;
pub mod standing;

use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;

use rustls_pki_types::CertificateDer;

use crate::admission::{Candidate, Decision, Scope, Snapshot};
use crate::clock::Clock;
use crate::metrics::Metrics;

pub use grant::{Admitted, Grant};
pub use possession::Possession;
pub use standing::{Hold, Standing};

/// Asks the snapshot in force. One per worker; not shared between threads.
pub struct Gate {
    // clock, metrics, the current snapshot (RefCell<Arc<Snapshot>>), remembered candidates, live standings
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
    pub fn new(clock: Clock, metrics: Arc<Metrics>, snapshot: Arc<Snapshot>) -> Rc<Self> {
        let _ = (clock, metrics, snapshot);
        todo!()
    }

    /// Returns the snapshot in force on this worker.
    pub fn snapshot(&self) -> Arc<Snapshot> {
        todo!()
    }

    /// Returns the clock.
    pub fn clock(&self) -> &Clock {
        todo!()
    }

    /// Puts a snapshot in force on this worker and asks every live standing again; cuts are tracked by `cuts` (see `standing::Cuts`).
    pub fn install(&self, snapshot: Arc<Snapshot>, cuts: Option<Arc<standing::Cuts>>) {
        let _ = (snapshot, cuts);
        todo!()
    }

    /// Asks again whose `valid_until` has passed: the tick of one second.
    pub fn tick(&self) {
        todo!()
    }

    /// Returns the candidate of a presented chain: remembered by exact DER, so that a returning client's certificates are parsed and its path verified once.
    pub fn candidate(&self, chain: &[CertificateDer<'_>]) -> Option<Rc<Candidate>> {
        let _ = chain;
        todo!()
    }

    /// Judges; counts and logs nothing: whoever tells the verdict records it.
    pub fn decide(&self, candidate: Option<&Candidate>, scope: &Scope<'_>) -> Decision {
        let _ = (candidate, scope);
        todo!()
    }

    /// Counts and logs a decision, once, when its verdict is told.
    pub fn record(&self, decision: &Decision, candidate: Option<&Candidate>, asker: &Asker, checkpoint: Checkpoint) {
        let _ = (decision, candidate, asker, checkpoint);
        todo!()
    }
}

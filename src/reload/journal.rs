//! Where changes are recorded before they widen what is in force, and after they tightened it: the ledger, or in tests something that
//! fails when told to.

use std::sync::Arc;
use std::time::Duration;

use crate::config::OpenLedger;
use crate::log::{AccessLog, Entry};
use crate::store::ledger::{Appended, NewEntry, Reader};
use crate::store::managed::State;

/// Records changes, durably.
pub trait Journal: Send {
    /// Returns the index that the next entry has.
    fn size(&self) -> u64;

    /// Records changes: when it returns they are on disk, all of them, or none is.
    fn append(&mut self, changes: Vec<NewEntry>, now: Duration) -> Result<Vec<Appended>, String>;

    /// Says why a change could never be recorded, if it could not: however much room there is.
    fn check(&self, change: &NewEntry) -> Result<(), String>;

    /// Makes public what was appended: after whoever asked was answered.
    fn publish(&mut self) -> Result<(), String>;

    /// Stores a state that all entries so far led to, if it is worth it.
    fn store(&mut self, state: &Arc<State>);

    /// Returns a handle for reading.
    fn reader(&self) -> Option<Reader>;
}

/// Has each checkpoint that is published told to the access log, from the one that the start signed on: who keeps these lines elsewhere
/// sees a history that was replaced.
pub fn audited(mut open: OpenLedger, log: AccessLog) -> Box<dyn Journal> {
    if open.ledger.is_writable() {
        tell(&log, &open.ledger.reader().checkpoint());
    }
    open.ledger.on_checkpoint(move |note| tell(&log, note));
    Box::new(open)
}

fn tell(log: &AccessLog, note: &str) {
    if log.takes_events() {
        log.line(&Entry { event: "checkpoint", note: Some(note), ..Entry::default() });
        log.flush();
    } else {
        // It has to leave the machine somehow.
        tracing::info!(note, "ledger checkpoint");
    }
}

impl Journal for OpenLedger {
    fn size(&self) -> u64 {
        self.ledger.size()
    }

    fn append(&mut self, changes: Vec<NewEntry>, now: Duration) -> Result<Vec<Appended>, String> {
        self.ledger.append(changes, now).map_err(|error| error.to_string())
    }

    fn check(&self, change: &NewEntry) -> Result<(), String> {
        self.ledger.check(change).map_err(|error| error.to_string())
    }

    fn publish(&mut self) -> Result<(), String> {
        self.ledger.publish().map_err(|error| error.to_string())
    }

    fn store(&mut self, state: &Arc<State>) {
        let size = self.ledger.size();
        if !self.ledger.wants_snapshot(self.stored) || state.entries() != size {
            return;
        }
        let (snapshot, state) = (self.ledger.snapshot(), Arc::clone(state));
        // A million principals take a while to write, and nobody waits for it. What fails is tried again when more has come.
        let store = move || match snapshot.store(&state.to_bytes()) {
            Ok(()) => tracing::debug!(entries = size, "stored a state of the ledger: the next start begins there"),
            Err(error) => tracing::warn!(%error, "a state of the ledger could not be stored: the next start takes longer"),
        };
        if std::thread::Builder::new().name("ledger-state".to_owned()).spawn(store).is_ok() {
            self.stored = size;
        }
    }

    fn reader(&self) -> Option<Reader> {
        Some(self.ledger.reader())
    }
}

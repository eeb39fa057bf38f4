//! Where changes are recorded before they widen what is in force, and after they tightened it: the ledger, or in tests something that
//! fails when told to.

use std::time::Duration;

use crate::store::ledger::{Appended, Ledger, NewEntry, Reader};

/// Records changes, durably.
pub trait Journal: Send {
    /// Returns the index that the next entry has.
    fn size(&self) -> u64;

    /// Records changes: when it returns they are on disk, all of them, or none is.
    fn append(&mut self, changes: Vec<NewEntry>, now: Duration) -> Result<Vec<Appended>, String>;

    /// Makes public what was appended: after whoever asked was answered.
    fn publish(&mut self) -> Result<(), String>;

    /// Returns a handle for reading.
    fn reader(&self) -> Option<Reader>;
}

impl Journal for Ledger {
    fn size(&self) -> u64 {
        self.size()
    }

    fn append(&mut self, changes: Vec<NewEntry>, now: Duration) -> Result<Vec<Appended>, String> {
        self.append(changes, now).map_err(|error| error.to_string())
    }

    fn publish(&mut self) -> Result<(), String> {
        self.publish().map_err(|error| error.to_string())
    }

    fn reader(&self) -> Option<Reader> {
        Some(self.reader())
    }
}

//! The ledger: who changed what, when, and why, append-only and tamper-evident. Entries are canonical JSON lines; their
//! hashes form an RFC 6962 tree whose head is a C2SP checkpoint. What an entry means is for its readers to say: here
//! it is opaque. `docs/ledger.md` has the format byte for byte.
//!
//! One thread owns the [`Ledger`] and appends; any number read through [`Reader`]s. An append is durable when it
//! returns; [`Ledger::publish`] then puts checkpoint and tiles on disk, and may be done after the answer was sent.

mod canonical;
mod check;
mod checkpoint;
mod data;
mod disk;
mod entry;
mod error;
mod follow;
mod note;
mod offline;
mod open;
mod publish;
mod reader;
mod receipt;
mod scan;
mod snapshot;
mod tiles;
mod tree;
mod verify;
mod writer;

#[cfg(test)]
mod tests;

pub use canonical::NotCanonical;
pub use checkpoint::Checkpoint;
pub use entry::{Actor, ActorKind, Entry, NewEntry, NotAnEntry};
pub use error::{AccessError, AppendError, OpenError, Warning};
pub use follow::{Follower, Unfollowed, keep_checkpoint};
pub use note::{NotANote, Verifier};
pub use offline::Extent;
pub use open::Opened;
pub use reader::{Entries, Reader};
pub use receipt::{NotProven, Receipt, verify_receipt};
pub use snapshot::{Snapshot, State};
pub use tree::Hash;
pub use verify::{Report, verify_directory};
pub use writer::{Appended, Ledger};

/// Where everything stands below the state directory.
mod names {
    /// The log, and what is published of it: what may be copied, or served to monitors.
    pub(super) const DIRECTORY: &str = "ledger";
    pub(super) const ENTRIES: &str = "entries.jsonl";
    pub(super) const CHECKPOINT: &str = "checkpoint";
    pub(super) const DATA: &str = "data";
    pub(super) const PUBLIC: &str = "ledger.pub";
    pub(super) const SNAPSHOT: &str = "snapshot";
    /// Beside the log, not in it: a copy of the log must not hold the key, nor may who replaces the log replace what was seen of it.
    pub(super) const KEY: &str = "ledger.key";
    /// The key until the first checkpoint is on disk: only then does it get its name, so that a key by that name has signed one.
    pub(super) const BEGUN: &str = "ledger.key.begun";
    pub(super) const SEEN: &str = "checkpoint.seen";
}

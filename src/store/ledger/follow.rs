//! Verifying a log that somebody hands over entry by entry: the tree that they make is held against the checkpoint that the key signed,
//! and against one that was seen before. Whoever hands them over is not trusted.

use std::io;
use std::path::Path;

use serde_json::Value;

use super::canonical;
use super::checkpoint::Checkpoint;
use super::disk::{Machine, replace};
use super::entry::Entry;
use super::note::{NotANote, Verifier};
use super::tree::{Hash, Tree};
use super::verify::Report;
use crate::pki::hex;

/// A log that is being handed over.
#[derive(Debug)]
pub struct Follower {
    verifier: Verifier,
    signed: Checkpoint,
    seen: Option<Checkpoint>,
    /// The head at the size that was seen before.
    head_then: Option<Hash>,
    tree: Tree,
}

impl Follower {
    /// Takes the checkpoint, and maybe one that was seen before; both have to be the key's.
    pub fn new(note: &str, seen: Option<&str>, verifier: Verifier) -> Result<Self, Unfollowed> {
        let signed = Checkpoint::open(note, &verifier).map_err(Unfollowed::Checkpoint)?;
        let seen = seen.map(|note| Checkpoint::open(note, &verifier)).transpose().map_err(Unfollowed::Seen)?;
        if let Some(seen) = seen.as_ref().filter(|seen| seen.size > signed.size) {
            return Err(Unfollowed::Shorter { size: signed.size, seen: seen.size });
        }
        let mut follower = Self { verifier, signed, seen, head_then: None, tree: Tree::default() };
        follower.mark();
        Ok(follower)
    }

    /// Returns how many entries the checkpoint has.
    pub fn size(&self) -> u64 {
        self.signed.size
    }

    /// Returns the index of the entry that comes next; `None`: there are all.
    pub fn next(&self) -> Option<u64> {
        (self.tree.size() < self.signed.size).then_some(self.tree.size())
    }

    /// Takes the next entry, with all its data.
    pub fn take(&mut self, mut entry: Entry) -> Result<(), Unfollowed> {
        let index = self.tree.size();
        let wrong = |why: &str| Unfollowed::Entry { index, why: why.to_owned() };
        if entry.index != index {
            return Err(wrong(&format!("is handed over as entry {}", entry.index)));
        }
        if let Some(detached) = &entry.detached {
            // The line has its hash in its place.
            let data = canonical::to_string(&std::mem::replace(&mut entry.data, Value::Null)).map_err(|error| wrong(&error.to_string()))?;
            if data.len() as u64 != detached.bytes || hex::lower(Hash::of(data.as_bytes()).as_bytes()) != detached.sha256 {
                return Err(wrong("has other data than its line says"));
            }
        }
        let line = entry.to_line().map_err(|error| wrong(&error.to_string()))?;
        self.tree.push(Hash::leaf(line.as_bytes()), line.len() as u64 + 1);
        self.mark();
        Ok(())
    }

    /// Says what was verified, once all were taken.
    pub fn finish(self) -> Result<Report, Unfollowed> {
        let (size, root) = (self.tree.size(), self.tree.root());
        if size != self.signed.size {
            return Err(Unfollowed::Missing { size: self.signed.size, taken: size });
        }
        // What was seen first: rewritten history is what a new checkpoint would hide.
        if let Some(seen) = self.seen.filter(|seen| self.head_then != Some(seen.root)) {
            return Err(Unfollowed::Rewritten { size: seen.size });
        }
        if root != self.signed.root {
            return Err(Unfollowed::Head { size });
        }
        let (origin, key) = (self.verifier.name().to_owned(), self.verifier.to_string());
        Ok(Report { origin, key, size, root: root.to_string(), problems: Vec::new() })
    }

    fn mark(&mut self) {
        if self.seen.as_ref().is_some_and(|seen| seen.size == self.tree.size()) {
            self.head_then = Some(self.tree.root());
        }
    }
}

/// Keeps a checkpoint that verified, whole or not at all.
pub fn keep_checkpoint(path: &Path, note: &str) -> io::Result<()> {
    // Of a name alone there is no directory to sync.
    replace(&Machine, &std::path::absolute(path)?, note.as_bytes())
}

/// Why a log is not what was signed, or seen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Unfollowed {
    Checkpoint(NotANote),
    Entry { index: u64, why: String },
    Head { size: u64 },
    Missing { size: u64, taken: u64 },
    Rewritten { size: u64 },
    Seen(NotANote),
    Shorter { size: u64, seen: u64 },
}

impl std::fmt::Display for Unfollowed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Checkpoint(error) => {
                write!(f, "the checkpoint: {error}; is --verifier the key of that proxy, from a copy of its ledger.pub?")
            }
            Self::Entry { index, why } => write!(f, "entry {index} {why}; {THERE}"),
            Self::Head { size } => write!(f, "the {size} entries are not what the checkpoint has signed; {THERE}"),
            Self::Missing { size, taken } => {
                write!(f, "only {taken} of {size} entries are there; ask again, and if they stay away {THERE}")
            }
            Self::Rewritten { size } => {
                write!(f, "the first {size} entries are not what the checkpoint seen before has signed: history was rewritten; {KEEP}")
            }
            Self::Seen(error) => {
                write!(f, "the checkpoint seen before: {error}; if the file of --checkpoint is another proxy's, name this one's")
            }
            Self::Shorter { size, seen } => write!(f, "has {size} entries, and {seen} were signed before: entries are gone; {KEEP}"),
        }
    }
}

/// Nothing that is read from elsewhere can tell more.
const THERE: &str = "run `portcullis ledger verify` on its machine, and compare with a backup";
const KEEP: &str = "keep the file of --checkpoint, which proves it, and ask who restored a backup or replaced the state directory";

impl std::error::Error for Unfollowed {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Checkpoint(error) | Self::Seen(error) => Some(error),
            Self::Entry { .. } | Self::Head { .. } | Self::Missing { .. } | Self::Rewritten { .. } | Self::Shorter { .. } => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::super::{Actor, ActorKind, Ledger, NewEntry};
    use super::*;

    fn new(object: &str, data: Value) -> NewEntry {
        NewEntry {
            action: "principal.put".to_owned(),
            object: object.to_owned(),
            actor: Actor::new(ActorKind::Socket),
            before: String::new(),
            after: String::new(),
            reason: None,
            data,
            more: false,
        }
    }

    /// A log of three entries, one of them with data in a file of its own; its checkpoints after one and after three.
    fn log(directory: &std::path::Path) -> (Vec<Entry>, [String; 2], Verifier) {
        let mut ledger = Ledger::open(directory, Some("example.com/log")).expect("opened").ledger;
        ledger.append(vec![new("one", Value::Null)], Duration::from_secs(1)).expect("recorded");
        let first = ledger.reader().checkpoint();
        let long = serde_json::json!({ "der": "A".repeat(70_000) });
        ledger.append(vec![new("two", long), new("three", Value::Null)], Duration::from_secs(2)).expect("recorded");
        let reader = ledger.reader();
        let entries = reader.entries(0).map(|entry| entry.expect("read")).collect();
        (entries, [first, reader.checkpoint()], reader.verifier().clone())
    }

    fn follow(entries: &[Entry], note: &str, seen: Option<&str>, verifier: &Verifier) -> Result<Report, Unfollowed> {
        let mut follower = Follower::new(note, seen, verifier.clone())?;
        for entry in entries {
            follower.take(entry.clone())?;
        }
        follower.finish()
    }

    #[test]
    fn a_log_that_is_handed_over_is_what_was_signed_and_seen_or_is_refused() {
        let (directory, other) = (tempfile::tempdir().expect("a directory"), tempfile::tempdir().expect("a directory"));
        let (entries, [first, last], verifier) = log(directory.path());
        for seen in [None, Some(&first), Some(&last)] {
            let report = follow(&entries, &last, seen.map(String::as_str), &verifier).expect("verified");
            assert_eq!((report.size, report.origin.as_str()), (3, "example.com/log"));
        }
        let changed = |at: usize, change: fn(&mut Entry)| {
            let mut entries = entries.clone();
            change(&mut entries[at]);
            follow(&entries, &last, None, &verifier).expect_err("refused")
        };
        assert_eq!(changed(0, |entry| entry.object = "1".to_owned()), Unfollowed::Head { size: 3 });
        assert_eq!(changed(2, |entry| entry.more = true), Unfollowed::Head { size: 3 });
        assert!(matches!(changed(1, |entry| entry.data = Value::Null), Unfollowed::Entry { index: 1, .. }));
        assert!(matches!(changed(1, |entry| entry.index = 2), Unfollowed::Entry { index: 1, .. }));
        assert_eq!(follow(&entries[..2], &last, None, &verifier), Err(Unfollowed::Missing { size: 3, taken: 2 }));
        // Another history of the same key: each checkpoint alone is good.
        assert_eq!(follow(&entries[..1], &first, Some(&last), &verifier), Err(Unfollowed::Shorter { size: 1, seen: 3 }));
        std::fs::copy(directory.path().join("ledger.key"), other.path().join("ledger.key.begun")).expect("copied");
        let mut ledger = Ledger::open(other.path(), None).expect("opened").ledger;
        ledger.append(vec![new("uno", Value::Null), new("due", Value::Null)], Duration::from_secs(1)).expect("recorded");
        let reader = ledger.reader();
        let forged: Vec<Entry> = reader.entries(0).map(|entry| entry.expect("read")).collect();
        assert!(follow(&forged, &reader.checkpoint(), None, &verifier).is_ok());
        assert_eq!(follow(&forged, &reader.checkpoint(), Some(&first), &verifier), Err(Unfollowed::Rewritten { size: 1 }));
        // Another key's.
        let third = tempfile::tempdir().expect("a directory");
        let (_, [_, theirs], _) = log(third.path());
        assert!(matches!(follow(&entries, &theirs, None, &verifier), Err(Unfollowed::Checkpoint(_))));
        assert!(matches!(follow(&entries, &last, Some(&theirs), &verifier), Err(Unfollowed::Seen(_))));
    }
}

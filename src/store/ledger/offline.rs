//! Reading a ledger that another process may have open, or a copy of one: no lock, no key, and nothing is written.

use std::path::{Path, PathBuf};
use std::sync::{Arc, RwLock};

use super::check::{self, Place, Stated};
use super::disk::{Disk, Log, Machine, read_if_there};
use super::error::OpenError;
use super::names;
use super::note::Verifier;
use super::reader::{Head, Reader, Shared};

/// A ledger directory and what is said of it there.
pub(super) struct Offline {
    pub(super) directory: PathBuf,
    pub(super) log: Arc<dyn Log>,
    pub(super) verifier: Verifier,
    pub(super) signed: Stated,
    pub(super) note: String,
}

/// How far a reader reads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Extent {
    /// All whole entries, also those that no checkpoint on disk speaks of yet.
    All,
    /// The entries of the checkpoint on disk: those that receipts can be made for.
    Published,
}

impl Reader {
    /// Reads the ledger of a state directory, or a copy of a ledger directory; `key` is the verifier to trust, else the one
    /// that lies there. Its entries are as its checkpoint says, or it is an error; what is after it counts only if whole.
    pub fn offline(directory: &Path, key: Option<Verifier>, extent: Extent) -> Result<Self, OpenError> {
        let Offline { directory, log, verifier, signed, note } = Offline::find(directory, key)?;
        let entries = directory.join(names::ENTRIES);
        let io = |error| OpenError::Io { path: entries.clone(), error };
        let place = Place { disk: &Machine, directory: &directory, log: &*log };
        let limit = if extent == Extent::Published { signed.size() } else { u64::MAX };
        let marks = [signed.size()];
        let mut found = place.examine(&marks, signed.size(), signed.size(), limit).map_err(io)?;
        found.stands(&entries, &[&signed])?;
        if let Some(begin) = found.torn_group {
            found = place.examine(&marks, signed.size(), signed.size(), begin).map_err(io)?;
        }
        let tree = RwLock::new(found.scan.tree);
        Ok(Self::new(Arc::new(Shared { disk: Arc::new(Machine), log, directory, tree, head: Head::Published(note, verifier) })))
    }
}

impl Offline {
    /// Finds the ledger, its checkpoint and its key.
    pub(super) fn find(directory: &Path, key: Option<Verifier>) -> Result<Self, OpenError> {
        let below = directory.join(names::DIRECTORY);
        let directory = if below.is_dir() { below } else { directory.to_owned() };
        let verifier = match key {
            Some(key) => key,
            None => public(&directory)?,
        };
        // The checkpoint first: a writer adds entries before it signs for them.
        let path = directory.join(names::CHECKPOINT);
        let io = |error| OpenError::Io { path: path.clone(), error };
        let note = read_if_there(&Machine, &path).map_err(io)?.ok_or_else(|| io(std::io::ErrorKind::NotFound.into()))?;
        let note = String::from_utf8_lossy(&note).into_owned();
        let signed = check::stated(path, &note, &verifier)?;
        let path = directory.join(names::ENTRIES);
        let (log, _) = Machine.log(&path, false).map_err(|error| OpenError::Io { path, error })?;
        Ok(Self { directory, log, verifier, signed, note })
    }
}

fn public(directory: &Path) -> Result<Verifier, OpenError> {
    let path = directory.join(names::PUBLIC);
    let text = Machine.read(&path).map_err(|error| OpenError::Io { path: path.clone(), error })?;
    let parsed = String::from_utf8_lossy(&text).parse();
    parsed.map_err(|error| OpenError::Damaged { path, line: None, why: format!("{error}"), advice: "name the ledger's key yourself" })
}

//! Reading a ledger that another process may have open, or a copy of one: no lock, no key, and nothing is written.

use std::path::{Path, PathBuf};
use std::sync::{Arc, RwLock};

use super::check::{self, Place, Stated};
use super::disk::{Disk, Log, Machine, read_if_there};
use super::error::OpenError;
use super::names;
use super::note::Verifier;
use super::reader::{Head, Reader, Shared};
use super::snapshot::{Noted, State};

/// A ledger directory and what is said of it there.
pub(super) struct Offline {
    pub(super) directory: PathBuf,
    pub(super) log: Arc<dyn Log>,
    pub(super) verifier: Verifier,
    pub(super) signed: Stated,
    /// What a state directory has seen of it; a copy of the ledger directory has seen nothing.
    pub(super) seen: Stated,
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
        Self::offline_from(directory, key, extent).map(|(reader, _)| reader)
    }

    /// Reads the ledger of a state directory, and the state to begin with where one was stored and is good.
    pub fn offline_with_state(directory: &Path) -> Result<(Self, Option<State>), OpenError> {
        let (reader, noted) = Self::offline_from(directory, None, Extent::All)?;
        let state = noted.and_then(|noted| noted.state(&Machine, reader.directory(), |bytes| bytes).ok());
        Ok((reader, state))
    }

    fn offline_from(directory: &Path, key: Option<Verifier>, extent: Extent) -> Result<(Self, Option<Noted>), OpenError> {
        let Offline { directory, log, verifier, signed, seen, note } = Offline::find(directory, key)?;
        let entries = directory.join(names::ENTRIES);
        let io = |error| OpenError::Io { path: entries.clone(), error };
        let place = Place { disk: &Machine, directory: &directory, log: &*log };
        let limit = if extent == Extent::Published { signed.size() } else { u64::MAX };
        // One that does not count costs a replay, and is the proxy's to tell of.
        let noted = Noted::read(&Machine, &directory, &verifier).ok().flatten().and_then(Result::ok);
        let marks = [signed.size(), seen.size(), noted.as_ref().map_or(0, |noted| noted.size)];
        let mut found = place.examine(&marks, signed.size(), signed.size(), limit).map_err(io)?;
        found.stands(&entries, &seen.beside(&signed))?;
        let noted = noted.filter(|noted| found.scan.heads.get(&noted.size) == Some(&noted.root));
        if let Some(begin) = found.torn_group {
            found = place.examine(&marks, signed.size(), signed.size(), begin).map_err(io)?;
        }
        let tree = RwLock::new(found.scan.tree);
        let shared = Shared { disk: Arc::new(Machine), log, directory, tree, head: Head::Published(note, verifier) };
        Ok((Self::new(Arc::new(shared)), noted))
    }
}

impl Offline {
    /// Finds the ledger, its checkpoint and its key.
    pub(super) fn find(directory: &Path, key: Option<Verifier>) -> Result<Self, OpenError> {
        let state = directory;
        let below = directory.join(names::DIRECTORY);
        let directory = if below.is_dir() { below } else { directory.to_owned() };
        let verifier = match key {
            Some(key) => key,
            None => public(&directory)?,
        };
        // What was seen first, then the checkpoint, then the entries: a writer goes the other way.
        let seen = check::checkpoint(&Machine, state.join(names::SEEN), &verifier)?;
        let path = directory.join(names::CHECKPOINT);
        let io = |error| OpenError::Io { path: path.clone(), error };
        let note = read_if_there(&Machine, &path).map_err(io)?.ok_or_else(|| io(std::io::ErrorKind::NotFound.into()))?;
        let note = String::from_utf8_lossy(&note).into_owned();
        let signed = check::stated(path, &note, &verifier)?;
        let path = directory.join(names::ENTRIES);
        let (log, _) = Machine.log(&path, false).map_err(|error| OpenError::Io { path, error })?;
        Ok(Self { directory, log, verifier, signed, seen, note })
    }
}

fn public(directory: &Path) -> Result<Verifier, OpenError> {
    let path = directory.join(names::PUBLIC);
    let text = Machine.read(&path).map_err(|error| OpenError::Io { path: path.clone(), error })?;
    let parsed = String::from_utf8_lossy(&text).parse();
    parsed.map_err(|error| OpenError::Damaged { path, line: None, why: format!("{error}"), advice: "name the ledger's key yourself" })
}

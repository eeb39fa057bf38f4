//! Snapshots: the caller's state at some size of the log, so that a start need not replay what came before. The state is
//! named by its hash in a note that the ledger's key signs together with the head of the tree at that size: it
//! is as hard to forge as a checkpoint, and a start that does not find it good replays from the beginning.

use std::io;
use std::path::Path;
use std::sync::Arc;

use super::checkpoint::number;
use super::disk::{Disk, read_if_there, replace};
use super::error::AccessError;
use super::names;
use super::note::Verifier;
use super::reader::{Head, Shared};
use super::tree::Hash;

/// A size of the log whose state can be stored, here or on another thread.
#[derive(Debug)]
pub struct Snapshot {
    shared: Arc<Shared>,
    size: u64,
    root: Hash,
}

/// A state that was stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct State<T = Vec<u8>> {
    /// How many entries it stands for: the replay goes on with the entry of this index.
    pub size: u64,
    /// Its bytes, or what they were read as.
    pub content: T,
}

impl Snapshot {
    pub(super) fn new(shared: Arc<Shared>) -> Self {
        let (size, root) = {
            let tree = shared.tree();
            (tree.size(), tree.root())
        };
        Self { shared, size, root }
    }

    /// Returns how many entries the state stands for.
    pub fn size(&self) -> u64 {
        self.size
    }

    /// Stores the state that the log's entries, up to this size, have led to.
    pub fn store(self, state: &[u8]) -> Result<(), AccessError> {
        let Head::Key(signer) = &self.shared.head else { return Ok(()) };
        let (disk, directory) = (&*self.shared.disk, &self.shared.directory);
        let text = format!("{TITLE}\n{}\n{}\n{}\n{}\n", signer.verifier().name(), self.size, self.root, Hash::of(state));
        let note = directory.join(names::SNAPSHOT);
        let content = directory.join(content_name(self.size));
        replace(disk, &content, state).map_err(|error| AccessError::Io { path: content.clone(), error })?;
        replace(disk, &note, signer.sign(&text).as_bytes()).map_err(|error| AccessError::Io { path: note.clone(), error })?;
        // Older ones are of no use any more; that they stay does no harm.
        for name in disk.list(directory).unwrap_or_default() {
            if is_content(&name) && name != content_name(self.size) {
                let _ = disk.remove(&directory.join(name));
            }
        }
        Ok(())
    }
}

/// What a note of a snapshot says.
pub(super) struct Noted {
    pub(super) size: u64,
    pub(super) root: Hash,
    state: Hash,
}

impl Noted {
    /// Reads the note, if there is one; the error says why it does not count.
    pub(super) fn read(disk: &dyn Disk, directory: &Path, verifier: &Verifier) -> io::Result<Option<Result<Self, String>>> {
        let Some(bytes) = read_if_there(disk, &directory.join(names::SNAPSHOT))? else { return Ok(None) };
        let note = String::from_utf8_lossy(&bytes);
        Ok(Some(match verifier.open(&note) {
            Ok(text) => Self::parse(text, verifier.name()).ok_or_else(|| "is no snapshot of this ledger".to_owned()),
            Err(error) => Err(error.to_string()),
        }))
    }

    fn parse(text: &str, origin: &str) -> Option<Self> {
        let lines: Vec<&str> = text.lines().collect();
        let [TITLE, name, size, root, state] = lines[..] else { return None };
        (name == origin).then_some(())?;
        Some(Self { size: number(size)?, root: Hash::parse(root)?, state: Hash::parse(state)? })
    }

    /// Reads the state; the error says why it does not count.
    pub(super) fn state<T>(&self, disk: &dyn Disk, directory: &Path, read: impl FnOnce(Vec<u8>) -> T) -> Result<State<T>, String> {
        let bytes = disk.read(&directory.join(content_name(self.size))).map_err(|error| error.to_string())?;
        match Hash::of(&bytes) == self.state {
            true => Ok(State { size: self.size, content: read(bytes) }),
            false => Err("is not what its note says".to_owned()),
        }
    }
}

/// Tells whether a snapshot is worth its writing: replay stays short, and writing stays rare as the log grows.
pub(super) fn is_due(stored: u64, size: u64) -> bool {
    size.saturating_sub(stored) >= FEW.max(size / 16)
}

fn content_name(size: u64) -> String {
    format!("{}-{size}", names::SNAPSHOT)
}

fn is_content(name: &str) -> bool {
    name.strip_prefix(names::SNAPSHOT).is_some_and(|rest| rest.starts_with('-'))
}

/// The first line of the note. No checkpoint is ever read from it: its second line is no size.
const TITLE: &str = "portcullis ledger snapshot v1";
const FEW: u64 = 10_000;

//! Appending: the one thread that owns the [`Ledger`]. All lines of an append in one write and one sync; if either fails the
//! file is cut back, the tree is as it was, and the next append tries again.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use memchr::memmem;

use super::canonical;
use super::data::{self, MAX_INLINE};
use super::disk::Log;
use super::entry::{Entry, MAX_LINE, NewEntry};
use super::error::AppendError;
use super::reader::{Reader, Shared};
use super::snapshot::{self, Snapshot};
use super::tree::Hash;

/// The log, open for appending.
pub struct Ledger {
    pub(super) shared: Arc<Shared>,
    /// The state directory: what was seen of the log stands beside it.
    pub(super) state: PathBuf,
    pub(super) writable: bool,
    /// What is written to: where the ledger could not be written when it was opened, the same file opened once more.
    log: Arc<dyn Log>,
    /// A write failed, and what it left could not be cut off yet.
    pub(super) untidy: bool,
    /// How many entries the tiles on disk have.
    pub(super) tiles: u64,
    /// The size of the checkpoint on disk, once we wrote it.
    pub(super) published: Option<u64>,
    pub(super) on_checkpoint: Option<OnCheckpoint>,
}

/// Told of each checkpoint that is published.
pub(super) type OnCheckpoint = Box<dyn FnMut(&str) + Send>;

/// Where a change is in the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Appended {
    pub index: u64,
    pub leaf: Hash,
}

impl Ledger {
    pub(super) fn new(shared: Shared, state: PathBuf, writable: bool, tiles: u64) -> Self {
        Self {
            log: Arc::clone(&shared.log),
            shared: Arc::new(shared),
            state,
            writable,
            untidy: false,
            tiles,
            published: None,
            on_checkpoint: None,
        }
    }

    /// Returns a handle for reading.
    pub fn reader(&self) -> Reader {
        Reader::new(Arc::clone(&self.shared))
    }

    /// Returns how many entries there are.
    pub fn size(&self) -> u64 {
        self.shared.tree().size()
    }

    /// Tells whether changes can be recorded: not where the directory could not be written to at the start, nor since.
    pub fn is_writable(&self) -> bool {
        self.writable
    }

    /// Calls `told` with each checkpoint (a signed note) that is published from now on: for anchors outside.
    pub fn on_checkpoint(&mut self, told: impl FnMut(&str) + Send + 'static) {
        self.on_checkpoint = Some(Box::new(told));
    }

    /// Records changes. When it returns they are on disk, all of them, or none is in the log.
    ///
    /// `now` is since the epoch. [`Ledger::publish`] is to follow; it may follow after the answer.
    pub fn append(&mut self, changes: Vec<NewEntry>, now: Duration) -> Result<Vec<Appended>, AppendError> {
        let path = self.shared.entries_path();
        if changes.is_empty() {
            return Ok(Vec::new());
        }
        if changes.last().is_some_and(|change| change.more) {
            return Err(AppendError::Incomplete);
        }
        if !self.writable {
            self.open_again(&path)?;
        }
        let (size, end) = {
            let tree = self.shared.tree();
            (tree.size(), tree.end())
        };
        let mut text = String::new();
        let mut placed = Vec::with_capacity(changes.len());
        for (at, change) in changes.into_iter().enumerate() {
            let index = size + at as u64;
            let line = self.line(&change, index, at, now)?;
            placed.push((Appended { index, leaf: Hash::leaf(line.as_bytes()) }, line.len() as u64 + 1));
            text.push_str(&line);
            text.push('\n');
        }
        self.write(end, text.as_bytes()).map_err(|error| AppendError::Io { path, error })?;
        let mut tree = self.shared.tree.write().unwrap_or_else(PoisonError::into_inner);
        placed.iter().for_each(|(appended, length)| tree.push(appended.leaf, *length));
        Ok(placed.into_iter().map(|(appended, _)| appended).collect())
    }

    /// Returns what a state of the caller's is to be stored under: the size and head that the log has now.
    pub fn snapshot(&self) -> Snapshot {
        Snapshot::new(Arc::clone(&self.shared))
    }

    /// Tells whether so much was appended since a state of this size was stored that a start would take long.
    pub fn wants_snapshot(&self, stored: u64) -> bool {
        snapshot::is_due(stored, self.size())
    }

    /// Says why no append could ever record a change, if none could; nothing is written.
    pub fn check(&self, change: &NewEntry) -> Result<(), AppendError> {
        placed(change, self.size(), 0, Duration::ZERO).map(|_| ())
    }

    fn line(&self, change: &NewEntry, index: u64, at: usize, now: Duration) -> Result<String, AppendError> {
        let Placed { mut entry, apart, line } = placed(change, index, at, now)?;
        let Some(data) = apart else { return Ok(line) };
        entry.detached = Some(data::put(&*self.shared.disk, &self.shared.directory, &data)?);
        fits(&entry, None, at)
    }

    /// Asks whether the ledger can be written by now. The lock stays with what was opened first.
    fn open_again(&mut self, path: &Path) -> Result<(), AppendError> {
        let io = |error| AppendError::Io { path: path.to_owned(), error };
        let (log, writable) = self.shared.disk.log(path, true).map_err(io)?;
        if !writable {
            return Err(AppendError::ReadOnly { path: path.to_owned() });
        }
        if log.identity().map_err(io)? != self.shared.log.identity().map_err(io)? {
            return Err(AppendError::Replaced { path: path.to_owned() });
        }
        // What a crash left after the last entry was passed over, and is still there.
        (self.log, self.writable, self.untidy) = (log, true, true);
        Ok(())
    }

    fn write(&mut self, end: u64, bytes: &[u8]) -> io::Result<()> {
        let log = &self.log;
        if self.untidy {
            log.truncate(end)?;
            self.untidy = false;
        }
        let Err(error) = log.write_at(end, bytes).and_then(|()| log.sync()) else { return Ok(()) };
        // What was not acknowledged must not be found at the next start, nor stand in the way of the next append. The cut
        // itself is synced so that a crash does not bring it back.
        self.untidy = log.truncate(end).and_then(|()| log.sync()).is_err();
        Err(error)
    }
}

/// Gives a change its place; its data apart, where that is too long for a line. All that can be said against it is said here, before
/// anything is written.
fn placed(change: &NewEntry, index: u64, at: usize, now: Duration) -> Result<Placed, AppendError> {
    let entry = Entry::place(change, index, now);
    let data = canonical::member(&change.data).map_err(|error| AppendError::NotCanonical(at, error))?;
    if memmem::find(data.as_bytes(), SECRET.as_bytes()).is_some() {
        return Err(AppendError::Secret(at));
    }
    let (inline, apart) = if data.len() > MAX_INLINE { (None, Some(data)) } else { (Some(data), None) };
    let line = fits(&entry, inline.as_deref().filter(|_| !change.data.is_null()), at)?;
    Ok(Placed { entry, apart, line })
}

struct Placed {
    /// Without its data.
    entry: Entry,
    /// Data that is too long for a line.
    apart: Option<String>,
    /// As it stands in the log, where nothing stands apart.
    line: String,
}

fn fits(entry: &Entry, data: Option<&str>, at: usize) -> Result<String, AppendError> {
    let line = entry.to_line_of(data).map_err(|error| AppendError::NotCanonical(at, error))?;
    // Room for `detached`, which may come to it.
    if line.len() > MAX_LINE - 256 { Err(AppendError::TooLong(at)) } else { Ok(line) }
}

impl fmt::Debug for Ledger {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Ledger").field("shared", &self.shared).field("writable", &self.writable).finish_non_exhaustive()
    }
}

/// PEM of a private key of any kind.
const SECRET: &str = "PRIVATE KEY-----";

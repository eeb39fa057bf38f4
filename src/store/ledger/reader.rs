//! Reading the log: any number of threads, beside the one that appends. Whatever is read from disk is compared with what
//! stands in memory, so that an entry is what it was, or an error.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard};

use super::checkpoint::Checkpoint;
use super::data;
use super::disk::{Disk, Log};
use super::entry::Entry;
use super::error::AccessError;
use super::names;
use super::note::{Signer, Verifier};
use super::receipt::Receipt;
use super::tree::{Hash, Tree, WIDTH, merkle};

/// A handle for reading; cheap to clone.
#[derive(Clone, Debug)]
pub struct Reader {
    shared: Arc<Shared>,
}

/// What the thread that appends and those that read have in common.
pub(super) struct Shared {
    pub(super) disk: Arc<dyn Disk>,
    pub(super) log: Arc<dyn Log>,
    /// The ledger directory.
    pub(super) directory: PathBuf,
    pub(super) tree: RwLock<Tree>,
    pub(super) head: Head,
}

/// Who vouches for the head.
pub(super) enum Head {
    Key(Signer),
    /// Somebody else, when it was published: the note, and the key's public half.
    Published(String, Verifier),
}

impl fmt::Debug for Shared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Shared").field("directory", &self.directory).finish_non_exhaustive()
    }
}

impl Shared {
    pub(super) fn tree(&self) -> RwLockReadGuard<'_, Tree> {
        // Nobody panics with the lock held; were it so, the tree is whole after every push.
        self.tree.read().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn entries_path(&self) -> PathBuf {
        self.directory.join(names::ENTRIES)
    }

    /// Reads a block, and compares it with what it hashed to.
    pub(super) fn block(&self, number: u64) -> Result<Option<Lines>, AccessError> {
        let Some((range, count, hash)) = ({
            let tree = self.tree();
            tree.block(number).and_then(|(range, count)| Some((range, count, tree.block_hash(number)?)))
        }) else {
            return Ok(None);
        };
        let path = self.entries_path();
        let mut bytes = vec![0; usize::try_from(range.end - range.start).unwrap_or(usize::MAX)];
        let mut filled = 0;
        while filled < bytes.len() {
            match self.log.read_at(range.start + filled as u64, &mut bytes[filled..]) {
                Ok(0) => return Err(AccessError::Changed { path, why: "is shorter than it was".to_owned() }),
                Ok(read) => filled += read,
                Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
                Err(error) => return Err(AccessError::Io { path, error }),
            }
        }
        let lines = Lines::new(number * WIDTH, bytes);
        let leaves = lines.leaves();
        if leaves.len() as u64 != count || merkle(&leaves) != hash {
            let why = format!("entries {} to {} are not what they were", number * WIDTH, number * WIDTH + count - 1);
            return Err(AccessError::Changed { path, why });
        }
        Ok(Some(lines))
    }
}

impl Reader {
    pub(super) fn new(shared: Arc<Shared>) -> Self {
        Self { shared }
    }

    /// Returns how many entries there are.
    pub fn size(&self) -> u64 {
        self.shared.tree().size()
    }

    /// Returns the head of the tree.
    pub fn root(&self) -> Hash {
        self.shared.tree().root()
    }

    /// Returns the key that verifies checkpoints and receipts.
    pub fn verifier(&self) -> &Verifier {
        match &self.shared.head {
            Head::Key(signer) => signer.verifier(),
            Head::Published(_, verifier) => verifier,
        }
    }

    /// Returns the ledger directory.
    pub fn directory(&self) -> &Path {
        &self.shared.directory
    }

    /// Returns the head, signed.
    pub fn checkpoint(&self) -> String {
        self.sign(&self.shared.tree())
    }

    /// Returns an entry's line, without its newline; `None` where the log ends before it.
    pub fn line(&self, index: u64) -> Result<Option<String>, AccessError> {
        let block = self.shared.block(index / WIDTH)?;
        let line = block.and_then(|block| block.line(index).map(<[u8]>::to_vec));
        // INVARIANT: what is in the tree was UTF-8 when it was put there.
        Ok(line.map(|line| String::from_utf8_lossy(&line).into_owned()))
    }

    /// Returns an entry; `None` where the log ends before it.
    pub fn entry(&self, index: u64) -> Result<Option<Entry>, AccessError> {
        let block = self.shared.block(index / WIDTH)?;
        block.and_then(|block| block.line(index).map(|line| self.parse(index, line))).transpose()
    }

    /// Returns the entries from an index to the end that the log has when it gets there.
    pub fn entries(&self, from: u64) -> Entries {
        Entries { reader: self.clone(), next: from, block: None }
    }

    /// Returns the proof that an entry is in the log, as C2SP tlog-proof; `None` where the log ends before it.
    pub fn receipt(&self, index: u64) -> Result<Option<String>, AccessError> {
        let Some(block) = self.shared.block(index / WIDTH)? else { return Ok(None) };
        let leaves = block.leaves();
        let tree = self.shared.tree();
        // The block under way may have grown since it was read: then the tree has its leaves.
        let loaded = (leaves.len() as u64 == WIDTH).then_some((index / WIDTH, leaves.as_slice()));
        let Some(path) = tree.path(index, loaded) else {
            // It was completed since: read again, whole.
            drop(tree);
            return if self.size() > index { self.receipt(index) } else { Ok(None) };
        };
        Ok(Some(Receipt { index, path, checkpoint: &self.sign(&tree) }.to_string()))
    }

    fn sign(&self, tree: &Tree) -> String {
        match &self.shared.head {
            Head::Key(signer) => {
                Checkpoint { origin: signer.verifier().name().to_owned(), size: tree.size(), root: tree.root() }.sign(signer)
            }
            Head::Published(note, _) => note.clone(),
        }
    }

    /// Reads a line of the log, and what stands in a file of its own.
    fn parse(&self, index: u64, line: &[u8]) -> Result<Entry, AccessError> {
        let changed = |why: String| AccessError::Changed { path: self.shared.entries_path(), why: format!("entry {index} {why}") };
        let mut entry = Entry::parse(line).map_err(|error| changed(error.to_string()))?;
        if entry.index != index {
            return Err(changed(format!("says that it is entry {}", entry.index)));
        }
        if let Some(detached) = &entry.detached {
            entry.data = data::get(&*self.shared.disk, &self.shared.directory, detached)?;
        }
        Ok(entry)
    }
}

/// Entries in their order.
#[derive(Debug)]
pub struct Entries {
    reader: Reader,
    next: u64,
    block: Option<Lines>,
}

impl Iterator for Entries {
    type Item = Result<Entry, AccessError>;

    fn next(&mut self) -> Option<Self::Item> {
        let index = self.next;
        if self.block.as_ref().is_none_or(|block| block.line(index).is_none()) {
            match self.reader.shared.block(index / WIDTH) {
                Ok(block) => self.block = block,
                Err(error) => {
                    // An end, not a loop: whoever goes on after an error gets nothing.
                    self.next = u64::MAX;
                    return Some(Err(error));
                }
            }
        }
        let line = self.block.as_ref()?.line(index)?;
        let entry = self.reader.parse(index, line);
        self.next = if entry.is_ok() { index + 1 } else { u64::MAX };
        Some(entry)
    }
}

/// A block of lines as it was read.
#[derive(Debug)]
pub(super) struct Lines {
    first: u64,
    bytes: Vec<u8>,
    /// Where each line begins; and the end.
    starts: Vec<usize>,
}

impl Lines {
    fn new(first: u64, bytes: Vec<u8>) -> Self {
        let starts = std::iter::once(0).chain(memchr::memchr_iter(b'\n', &bytes).map(|at| at + 1)).collect();
        Self { first, bytes, starts }
    }

    /// Returns a line without its newline.
    pub(super) fn line(&self, index: u64) -> Option<&[u8]> {
        let at = usize::try_from(index.checked_sub(self.first)?).ok()?;
        self.bytes.get(*self.starts.get(at)?..self.starts.get(at + 1)?.checked_sub(1)?)
    }

    pub(super) fn lines(&self) -> impl Iterator<Item = &[u8]> {
        self.starts.windows(2).filter_map(|line| self.bytes.get(line[0]..line[1] - 1))
    }

    pub(super) fn leaves(&self) -> Vec<Hash> {
        self.lines().map(Hash::leaf).collect()
    }
}

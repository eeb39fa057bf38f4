//! Opening: the lock, the key, and whether the log is what was signed and what was seen of it. Whatever does not verify stops
//! the start; what a crash leaves (a torn last record, a checkpoint that is behind) is put right, and said.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, RwLock};

use super::check::{self, Place};
use super::disk::{Disk, Log, Machine, read_if_there, replace};
use super::error::{OpenError, Warning};
use super::names;
use super::note::{Signer, Verifier, is_name};
use super::reader::{Head, Shared};
use super::snapshot::{Noted, State};
use super::tree::Tree;
use super::writer::Ledger;
use crate::threads::beside;

/// A ledger that verified.
#[derive(Debug)]
pub struct Opened<T = Vec<u8>> {
    pub ledger: Ledger,
    /// The state to begin with, where one was stored and is good. The replay goes on with `ledger.reader().entries(state.size)`.
    pub state: Option<State<T>>,
    pub warnings: Vec<Warning>,
}

impl Ledger {
    /// Opens the ledger of a state directory, or begins one. `origin` is the name that its checkpoints bear (a URL
    /// without scheme); without one, a new ledger gets a random name, and an old one keeps its own.
    pub fn open(state: &Path, origin: Option<&str>) -> Result<Opened, OpenError> {
        Self::open_on(Arc::new(Machine), state, origin)
    }

    /// The same; the state that was stored is read while the log is: what comes of it counts only once it is known to be the log's.
    pub fn open_reading<T: Send>(
        state: &Path,
        origin: Option<&str>,
        read: impl FnOnce(Vec<u8>) -> T + Send,
    ) -> Result<Opened<T>, OpenError> {
        Self::open_with(Arc::new(Machine), state, origin, read)
    }

    pub(super) fn open_on(disk: Arc<dyn Disk>, state: &Path, origin: Option<&str>) -> Result<Opened, OpenError> {
        Self::open_with(disk, state, origin, |bytes| bytes)
    }

    fn open_with<T: Send>(
        disk: Arc<dyn Disk>,
        state: &Path,
        origin: Option<&str>,
        read: impl FnOnce(Vec<u8>) -> T + Send,
    ) -> Result<Opened<T>, OpenError> {
        let mut opening = Opening { disk, state, directory: state.join(names::DIRECTORY), warnings: Vec::new() };
        let (log, writable) = opening.lock()?;
        let signer = opening.key(&*log, origin, writable)?;
        let verifier = signer.verifier().clone();
        let (shared, tiles, begun, found) = opening.verify(log, signer, writable, read)?;
        let mut ledger = Self::new(shared, state.to_owned(), writable, tiles);
        if writable {
            // A full disk stops no start: what is in the log is in force, and tighter rules may still come from elsewhere.
            if let Err(error) = opening.write_public(&verifier) {
                opening.warn(state.join(names::DIRECTORY), error.to_string());
            }
            let published = ledger.publish();
            if let Err(error) = published {
                if !begun {
                    // No entry without a checkpoint that says where the log began.
                    return Err(OpenError::Publish(error));
                }
                opening.warn(state.join(names::DIRECTORY), format!("checkpoint and tiles are behind the entries: {error}"));
            }
            opening.settle_key()?;
        }
        Ok(Opened { ledger, state: found, warnings: opening.warnings })
    }
}

/// The log, how many entries its tiles have, whether it had begun, and the state that was stored.
type Verified<T> = (Shared, u64, bool, Option<State<T>>);

struct Opening<'a> {
    disk: Arc<dyn Disk>,
    state: &'a Path,
    directory: PathBuf,
    warnings: Vec<Warning>,
}

impl Opening<'_> {
    fn warn(&mut self, path: PathBuf, what: String) {
        self.warnings.push(Warning { path, what });
    }

    /// Takes the log for ourselves: before anything is read, so that nobody writes while we do.
    fn lock(&mut self) -> Result<(Arc<dyn Log>, bool), OpenError> {
        let path = self.directory.join(names::ENTRIES);
        let io = |error| OpenError::Io { path: path.clone(), error };
        // On a read-only file system the directory is there, or there is no ledger to be read.
        let made = self.disk.create_dir(&self.directory);
        let (log, writable) = self.disk.log(&path, true).map_err(|error| io(made.err().unwrap_or(error)))?;
        if !log.lock().map_err(io)? {
            return Err(OpenError::Busy { path });
        }
        if !writable {
            self.warn(path, "cannot be written to: the ledger is read, and changes to it are refused".to_owned());
        }
        Ok((log, writable))
    }

    /// Reads the key, or makes one for a log that has not begun.
    fn key(&self, log: &dyn Log, origin: Option<&str>, writable: bool) -> Result<Signer, OpenError> {
        let path = self.state.join(names::KEY);
        let damaged = |why: &str, advice| OpenError::Damaged { path: path.clone(), line: None, why: why.to_owned(), advice };
        let io = |error| OpenError::Io { path: path.clone(), error };
        let key = read_if_there(&*self.disk, &path).map_err(io)?;
        let mut begun = log.read_at(0, &mut [0]).map_err(io)? > 0;
        for other in [self.directory.join(names::CHECKPOINT), self.state.join(names::SEEN)] {
            begun |= read_if_there(&*self.disk, &other).map_err(io)?.is_some();
        }
        if key.is_some() && !begun {
            // Not a beginning: whoever came in once as the first admin would be the first again.
            return Err(damaged("is the key of a ledger that is gone", GONE));
        }
        let beginning = || read_if_there(&*self.disk, &self.state.join(names::BEGUN)).map_err(io);
        if let Some(bytes) = key.map_or_else(beginning, |key| Ok(Some(key)))? {
            let text = String::from_utf8_lossy(&bytes);
            let signer = Signer::parse(&text).map_err(|_| damaged("is no key of a ledger", "restore it from a backup"))?;
            if origin.is_some_and(|origin| origin != signer.verifier().name()) {
                let why = format!("is the key of the ledger `{}`", signer.verifier().name());
                return Err(damaged(&why, "give that name as origin, or begin a new ledger in another state directory"));
            }
            return Ok(signer);
        }
        if begun {
            return Err(damaged("is missing, and the ledger has begun", "restore it from a backup: without it no checkpoint is ours"));
        }
        if !writable {
            return Err(damaged("is missing, and cannot be written", "make the state directory writable"));
        }
        self.make_key(&self.state.join(names::BEGUN), origin)
    }

    /// Gives a key that has signed the first checkpoint its name.
    fn settle_key(&self) -> Result<(), OpenError> {
        let (begun, path) = (self.state.join(names::BEGUN), self.state.join(names::KEY));
        let io = |error| OpenError::Io { path: path.clone(), error };
        if read_if_there(&*self.disk, &path).map_err(io)?.is_none() {
            self.disk.rename(&begun, &path).and_then(|()| self.disk.sync(self.state)).map_err(io)?;
        }
        Ok(())
    }

    fn make_key(&self, path: &Path, origin: Option<&str>) -> Result<Signer, OpenError> {
        let io = |error| OpenError::Io { path: path.to_owned(), error };
        let mut random = [0; 40];
        aws_lc_rs::rand::fill(&mut random).map_err(|_| io(io::Error::other("no random bytes")))?;
        let (seed, name) = random.split_at(32);
        let name = origin.map_or_else(|| format!("portcullis.invalid/{}", crate::pki::hex::lower(name)), str::to_owned);
        if !is_name(&name) {
            let why = format!("cannot be made: `{name}` is no origin");
            return Err(OpenError::Damaged { path: path.to_owned(), line: None, why, advice: "it has neither spaces nor `+`" });
        }
        let seed = seed.try_into().map_err(|_| io(io::Error::other("no random bytes")))?;
        let signer = Signer::new(&name, seed).map_err(|error| io(io::Error::other(error)))?;
        replace(&*self.disk, path, signer.to_secret().as_bytes()).map_err(io)?;
        Ok(signer)
    }

    /// Reads the log, and compares it with all that was ever signed and seen.
    fn verify<T: Send>(
        &mut self,
        log: Arc<dyn Log>,
        signer: Signer,
        writable: bool,
        read: impl FnOnce(Vec<u8>) -> T + Send,
    ) -> Result<Verified<T>, OpenError> {
        let (disk, entries) = (Arc::clone(&self.disk), self.directory.join(names::ENTRIES));
        let io = |error| OpenError::Io { path: entries.clone(), error };
        let signed = check::checkpoint(&*disk, self.directory.join(names::CHECKPOINT), signer.verifier())?;
        let seen = check::checkpoint(&*disk, self.state.join(names::SEEN), signer.verifier())?;
        let noted = match Noted::read(&*disk, &self.directory, signer.verifier()) {
            Ok(found) => found.and_then(|noted| noted.map_err(|why| self.unsound(&why)).ok()),
            Err(error) => {
                self.unsound(&error.to_string());
                None
            }
        };
        let marks = [signed.size(), seen.size(), noted.as_ref().map_or(0, |noted| noted.size)];
        let place = Place { disk: &*disk, directory: &self.directory, log: &*log };
        let examine = || place.examine(&marks, signed.size(), marks[2], u64::MAX);
        let (stored, found) = match &noted {
            Some(noted) => {
                let (stored, found) = beside(|| noted.state(&*disk, &self.directory, read), examine);
                (Some(stored), found)
            }
            None => (None, examine()),
        };
        let mut found = found.map_err(io)?;
        found.stands(&entries, &[&signed, &seen])?;
        if let Some(begin) = found.torn_group {
            let rest = found.scan.rest + found.scan.tree.end();
            found = place.examine(&marks, signed.size(), marks[2], begin).map_err(io)?;
            found.scan.rest = rest - found.scan.tree.end();
        }
        let tiles = found.tiles_agree(&place, signed.size())?;
        let (tree, rest) = (found.scan.tree, found.scan.rest);
        if rest > 0 {
            self.drop_torn(&*log, &tree, rest, writable)?;
        }
        if tree.size() > signed.size() {
            let kept = tree.size() - signed.size();
            self.warn(
                entries,
                format!("{kept} whole entries after the checkpoint are kept: it was not yet written when the process ended"),
            );
        }
        let state = noted.zip(stored).and_then(|(noted, stored)| {
            let ours = found.scan.heads.get(&noted.size) == Some(&noted.root);
            let state = if ours { stored } else { Err("is of another log".to_owned()) };
            state.map_err(|why| self.unsound(&why)).ok()
        });
        let shared = Shared { disk, log, directory: self.directory.clone(), tree: RwLock::new(tree), head: Head::Key(signer) };
        Ok((shared, tiles, signed.checkpoint.is_some() && seen.checkpoint.is_some(), state))
    }

    /// Says that a snapshot does not count. The entries do, so that this stops nothing.
    fn unsound(&mut self, why: &str) {
        self.warn(self.directory.join(names::SNAPSHOT), format!("{why}: the entries are replayed from the first"));
    }

    /// Drops what was being written when the process or the machine stopped: nobody was told that it is recorded.
    fn drop_torn(&mut self, log: &dyn Log, tree: &Tree, rest: u64, writable: bool) -> Result<(), OpenError> {
        let path = self.directory.join(names::ENTRIES);
        if writable {
            log.truncate(tree.end()).and_then(|()| log.sync()).map_err(|error| OpenError::Io { path: path.clone(), error })?;
        }
        self.warn(path, format!("dropped {rest} bytes of a torn record after entry {}: it was never acknowledged", tree.size()));
        Ok(())
    }

    /// The public half, for whoever verifies.
    fn write_public(&self, verifier: &Verifier) -> Result<(), OpenError> {
        let (path, text) = (self.directory.join(names::PUBLIC), format!("{verifier}\n"));
        let io = |error| OpenError::Io { path: path.clone(), error };
        if read_if_there(&*self.disk, &path).map_err(io)?.is_none_or(|found| found != text.as_bytes()) {
            replace(&*self.disk, &path, text.as_bytes()).map_err(io)?;
        }
        Ok(())
    }
}

const GONE: &str =
    "restore `ledger/` and `checkpoint.seen` from a backup, or move the state directory away to begin anew without its history";

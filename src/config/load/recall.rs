//! Takes up what the ledger says, once the configuration says where it is: the proxy opens it, whoever only looks reads it.

use std::path::Path;

use super::{Loader, Problem};
use crate::store::SourceError;
use crate::store::ledger::{self, Entry, Ledger, OpenError, Opened, Reader};
use crate::store::managed::{Change, ManagedRoster, Recalled, Written};
use crate::threads::shared_out;

/// The ledger, open, and how many entries the newest state stands for that was stored in it.
#[derive(Debug)]
pub struct OpenLedger {
    pub ledger: Ledger,
    pub stored: u64,
}

impl Loader {
    /// Hands out the ledger that was opened at the start; `None`: there is none.
    pub fn take_ledger(&mut self) -> Option<OpenLedger> {
        self.ledger.take()
    }

    /// Opens the ledger of a state directory, or reads it.
    pub(super) fn recall(&mut self, directory: &Path, warnings: &mut Vec<Problem>) -> Result<(), Problem> {
        let wrong = |why: String| super::from_source(&SourceError::new(directory, 0, why));
        let state = match self.saves {
            true => {
                let opened = Ledger::open_reading(directory, None, Recalled::from_bytes);
                let Opened { ledger, state, warnings: said } = opened.map_err(|error| wrong(error.to_string()))?;
                warnings.extend(said.iter().map(|warning| wrong(warning.to_string()).warning()));
                let (begin, stored) = begin(state, |why| warnings.push(wrong(why).warning()));
                let state = replayed(begin, &ledger.reader()).map_err(wrong)?;
                self.ledger = Some(OpenLedger { ledger, stored });
                state
            }
            // Whatever of it is left: a key has its name once it has signed a checkpoint.
            false if is_there(directory, "ledger.key") && is_missing(directory, "ledger/checkpoint") => {
                let why =
                    "ledger/checkpoint is missing, and the key that signed it is there: `run` would not start; restore it from a backup";
                return Err(wrong(why.to_owned()));
            }
            false if !directory.join("ledger").is_dir() => Recalled::default(),
            false => match Reader::offline_with_state(directory) {
                Ok((reader, state)) => {
                    let state = state.map(|stored| ledger::State { size: stored.size, content: Recalled::from_bytes(stored.content) });
                    let (begin, _) = begin(state, |why| warnings.push(wrong(why).warning()));
                    let state = replayed(begin, &reader).map_err(wrong)?;
                    let missing = ["ledger.key", "checkpoint.seen"].into_iter().find(|name| is_missing(directory, name));
                    if let Some(name) = missing.filter(|_| state.state.entries() > 0) {
                        let why = format!("{name} is missing, and the ledger has begun: `run` would not start; restore it from a backup");
                        return Err(wrong(why));
                    }
                    state
                }
                // `run` would not start, nor should anybody believe what is left without these principals.
                Err(error @ OpenError::Damaged { .. }) => return Err(wrong(error.to_string())),
                // Who only looks may not read it: the proxy's own user does.
                Err(error) => {
                    warnings.push(wrong(format!("managed principals are left out: {error}")).warning());
                    Recalled::default()
                }
            },
        };
        // Whoever began with a state has said what there is.
        if self.managed.state.entries() == 0 {
            self.managed = ManagedRoster::of(state);
        }
        Ok(())
    }
}

/// Returns what a replay begins with, and how many entries that stands for.
fn begin(stored: Option<ledger::State<Result<Recalled, String>>>, warn: impl FnOnce(String)) -> (Recalled, u64) {
    match stored.map(|stored| (stored.content, stored.size)) {
        Some((Ok(recalled), size)) => (recalled, size),
        Some((Err(why), _)) => {
            warn(format!("the stored state {why}: the ledger is read from its beginning"));
            (Recalled::default(), 0)
        }
        None => (Recalled::default(), 0),
    }
}

/// Tells whether a file is known not to be there; who may not look does not know.
fn is_missing(directory: &Path, name: &str) -> bool {
    directory.join(name).symlink_metadata().is_err_and(|error| error.kind() == std::io::ErrorKind::NotFound)
}

fn is_there(directory: &Path, name: &str) -> bool {
    directory.join(name).symlink_metadata().is_ok()
}

fn replayed(mut recalled: Recalled, reader: &Reader) -> Result<Recalled, String> {
    let size = reader.size();
    while recalled.state.entries() < size {
        let from = recalled.state.entries();
        // Whole blocks, as the log is read and compared.
        let blocks = (from / BLOCK..size.div_ceil(BLOCK)).take(AT_ONCE);
        let blocks: Vec<(u64, u64)> = blocks.map(|block| ((block * BLOCK).max(from), ((block + 1) * BLOCK).min(size))).collect();
        let read = shared_out(&blocks, 2, |blocks| {
            let entries = blocks.iter().flat_map(|(first, end)| reader.entries(*first).take(usize::try_from(end - first).unwrap_or(0)));
            entries.map(|entry| read(entry.map_err(|error| error.to_string())?)).collect::<Result<Vec<_>, String>>()
        });
        for part in read {
            for (index, change, written) in part? {
                recalled.replay(index, &change, written).map_err(|why| format!("ledger entry {index}: {why}"))?;
            }
        }
        if recalled.state.entries() <= from {
            return Err(format!("ledger entry {from} is missing"));
        }
    }
    Ok(recalled)
}

fn read(entry: Entry) -> Result<(u64, Change, Written), String> {
    let Entry { index, action, data, .. } = entry;
    let change = Change::read(&action, data).map_err(|why| format!("ledger entry {index}: {why}"))?;
    let written = change.written();
    Ok((index, change, written))
}

/// Entries that are read together.
const BLOCK: u64 = 256;
/// So many blocks are in memory, read and not yet replayed.
const AT_ONCE: usize = 64;

#[cfg(test)]
mod tests;

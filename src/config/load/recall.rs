//! Takes up what the ledger says, once the configuration says where it is: the proxy opens it, whoever only looks reads it.

use std::path::Path;
use std::sync::Arc;

use super::{Loader, Problem};
use crate::store::SourceError;
use crate::store::ledger::{Extent, Ledger, OpenError, Opened, Reader};
use crate::store::managed::{Change, ManagedRoster, State};

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
                let Opened { ledger, state, warnings: said } = Ledger::open(directory, None).map_err(|error| wrong(error.to_string()))?;
                warnings.extend(said.iter().map(|warning| wrong(warning.to_string()).warning()));
                let (begin, stored) = match state.map(|stored| (State::from_bytes(&stored.bytes), stored.size)) {
                    Some((Ok(state), size)) => (state, size),
                    Some((Err(why), _)) => {
                        warnings.push(wrong(format!("the stored state {why}: the ledger is read from its beginning")).warning());
                        (State::default(), 0)
                    }
                    None => (State::default(), 0),
                };
                let state = replayed(begin, &ledger.reader()).map_err(wrong)?;
                self.ledger = Some(OpenLedger { ledger, stored });
                state
            }
            false if !directory.join("ledger").is_dir() => State::default(),
            false => match Reader::offline(directory, None, Extent::All) {
                Ok(reader) => {
                    let state = replayed(State::default(), &reader).map_err(wrong)?;
                    if state.entries() > 0 && key_is_missing(directory) {
                        return Err(wrong(
                            "ledger.key is missing, and the ledger has begun: `run` would not start; restore it from a backup".to_owned(),
                        ));
                    }
                    state
                }
                // `run` would not start, nor should anybody believe what is left without these principals.
                Err(error @ OpenError::Damaged { .. }) => return Err(wrong(error.to_string())),
                // Who only looks may not read it: the proxy's own user does.
                Err(error) => {
                    warnings.push(wrong(format!("managed principals are left out: {error}")).warning());
                    State::default()
                }
            },
        };
        // Whoever began with a state has said what there is.
        if self.managed.state.entries() == 0 {
            self.managed = ManagedRoster::build(Arc::new(state));
        }
        Ok(())
    }
}

/// Tells whether the key is known not to be there; who may not look does not know.
fn key_is_missing(directory: &Path) -> bool {
    directory.join("ledger.key").symlink_metadata().is_err_and(|error| error.kind() == std::io::ErrorKind::NotFound)
}

fn replayed(mut state: State, reader: &Reader) -> Result<State, String> {
    for entry in reader.entries(state.entries()) {
        let entry = entry.map_err(|error| error.to_string())?;
        let index = entry.index;
        let change = Change::read(&entry.action, entry.data).map_err(|why| format!("ledger entry {index}: {why}"))?;
        state.replay(index, &change).map_err(|why| format!("ledger entry {index}: {why}"))?;
    }
    Ok(state)
}

//! What a loader keeps beyond a look: the restrictions in the state directory, and what it has fetched.

use super::{Loader, Plan, Problem, Seen};
use crate::config::gather::from_source;
use crate::store::{Fetched, Restrictions, SourceError, Wanted};
use std::sync::Arc;
use std::time::Duration;

impl Loader {
    /// Fetches what is named by URL. Without this what was last kept of it is all there is.
    #[must_use]
    pub fn fetching(mut self) -> Self {
        self.fetches = true;
        self
    }

    /// Calls back whenever a fetch ended: worth a look.
    pub fn on_fetch(&self, heard: impl Fn() + Send + 'static) {
        self.fetched.on_fetch(heard);
    }

    /// Hands out what is read from, for one look.
    pub(super) fn source(&self, seen: &Seen) -> Arc<Fetched> {
        if seen.reread && self.fetches {
            self.fetched.refetch();
        }
        Arc::clone(&self.fetched)
    }

    /// Has what the looked-at configurations name fetched from now on; of one URL the newest settings.
    pub(super) fn fetch_wanted(&mut self) {
        let mut wanted: Vec<Wanted> = Vec::new();
        for found in self.wanted.drain(..) {
            if !wanted.iter().any(|known| known.path() == found.path()) {
                wanted.push(found);
            }
        }
        if self.fetches {
            self.fetched.want(wanted);
        }
    }

    /// Takes up the restrictions last known good, once the configuration says where they are.
    pub(super) fn restore(&mut self, plan: &Plan, warnings: &mut Vec<Problem>) -> Vec<Problem> {
        if std::mem::replace(&mut self.restored, true) {
            return Vec::new();
        }
        let Some(state) = &plan.file.store.path else { return Vec::new() };
        if let Err(problem) = self.recall(state, warnings) {
            return vec![problem];
        }
        match Restrictions::restore(state) {
            Ok(restrictions) => {
                self.sources.restrictions = restrictions;
                Vec::new()
            }
            // Who only looks may not read it: the proxy's own user does.
            Err(error) if !self.saves => {
                warnings.push(from_source(&error).warning());
                Vec::new()
            }
            Err(error) => vec![from_source(&error)],
        }
    }

    pub(super) fn save(&mut self, plan: &Plan) -> Option<SourceError> {
        let state = plan.file.store.path.as_ref().filter(|_| self.saves)?;
        self.sources.restrictions.save(state).err()
    }
}

/// Waits for the first answers of a start: of what nothing is known of, or of everything where it is a check. A running proxy
/// never waits for the network.
pub(super) fn await_first(fetched: &Fetched, wanted: &[Wanted], restrictions: &Restrictions, all: bool) {
    let paths = wanted.iter().map(Wanted::path);
    let awaited: Vec<_> = paths.filter(|path| all || !restrictions.knows_crls_of(path)).collect();
    fetched.want(wanted.to_vec());
    fetched.wait(&awaited, FIRST_ANSWER);
}

/// How long a start waits for what it was never told.
const FIRST_ANSWER: Duration = Duration::from_secs(10);

//! The managed principals beside what files say: taken up before the start, and changed while everything else stays as it is.

use std::sync::Arc;

use super::look::{policy_hash, status, warnings};
use super::{InForce, Loaded, Loader};
use crate::config::compile::{Compiled, compile};
use crate::config::error::Problem;
use crate::config::gather::from_source;
use crate::pki::Fingerprint;
use crate::rules::Rules;
use crate::store::managed::{Change, ManagedRoster, State, Touched};

/// Rules with other managed principals, compiled and not in force.
#[derive(Debug)]
pub struct Prepared {
    compiled: Compiled,
}

impl Prepared {
    /// Returns the rules that would be in force.
    pub fn rules(&self) -> &Rules {
        &self.compiled.rules
    }
}

impl Loader {
    /// Takes up the managed principals that the ledger says there are, before anything is in force.
    pub fn begin_with(&mut self, state: Arc<State>) {
        self.managed = ManagedRoster::build(state);
    }

    /// Returns what the ledger says, as it is in force.
    pub fn managed(&self) -> &Arc<State> {
        self.in_force.as_ref().map_or(&self.managed.state, |in_force| &in_force.compiled.managed.state)
    }

    /// Tells the policy in force, with these managed principals, from any other.
    pub fn policy_hash(&self, state: &State) -> String {
        self.in_force.as_ref().map(|in_force| policy_hash(in_force.identity, state)).unwrap_or_default()
    }

    /// Takes in that an entry was written that changes no principal.
    pub fn count_entry(&mut self, change: &Change) {
        if let Some(in_force) = &mut self.in_force {
            let state = Arc::make_mut(&mut in_force.compiled.managed.state);
            // INVARIANT: nothing of such a change has to be read.
            let _ = state.replay(state.entries(), change);
        }
    }

    /// Returns the rules in force.
    pub fn rules(&self) -> Option<&Arc<Rules>> {
        self.in_force.as_ref().map(|in_force| &in_force.compiled.rules)
    }

    /// Compiles what is in force with other managed principals, of which these were touched and meet no static one. Nothing changes yet.
    pub fn prepare(&self, state: Arc<State>, touched: Touched) -> Result<Prepared, Vec<Problem>> {
        // INVARIANT: whoever changes managed principals has started.
        let Some(InForce { config, compiled: before, gathered, .. }) = &self.in_force else { return Err(Vec::new()) };
        let managed = before.managed.changed(state, touched);
        let mut compiled = compile(&config.value, gathered, &managed, before.rules.generation + 1, Some(before))?;
        // What was wrong with files is: they were not looked at.
        for problem in &before.problems {
            if !compiled.problems.contains(problem) {
                compiled.problems.push(problem.clone());
            }
        }
        Ok(Prepared { compiled })
    }

    /// Takes what was compiled as what is in force.
    pub fn put_in_force(&mut self, prepared: Prepared) -> Option<Loaded> {
        let in_force = self.in_force.as_mut()?;
        in_force.compiled = prepared.compiled;
        if !in_force.compiled.problems.is_empty() {
            // What stood in a file's way may have gone: the next look compiles it again.
            in_force.identity = Fingerprint::of(in_force.identity.as_bytes());
        }
        let config = Arc::clone(&in_force.config.value);
        self.sources.restrictions.signed_by(in_force.compiled.rules.snapshot.revocation.crl_signers());
        // Before it is in force: what a CRL takes away must outlast the authority that it is believed by.
        let unsaved = self.save(&config).map(|error| from_source(&error).warning());
        let InForce { compiled, gathered, settings, identity, missing, .. } = self.in_force.as_ref()?;
        Some(Loaded {
            rules: Arc::clone(&compiled.rules),
            settings: settings.clone(),
            monitor_tls: compiled.monitor.as_ref().map(|(_, tls)| tls.clone()),
            warnings: warnings(gathered, compiled).into_iter().chain(unsaved).collect(),
            status: status(Some(compiled), *identity, gathered),
            missing: missing.clone(),
        })
    }
}

//! The managed principals, compiled for lookup: every document whose principal can stand beside the static ones. Those that cannot admit
//! nobody, and are told of.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;

use super::compile::Known;
use super::image::Recalled;
use super::managed::Managed;
use super::many::{Compiled, Many};
use super::refusal::Invalid;
use super::revocations::KeptRevocation;
use super::state::State;
use crate::admission::layer::Entry;
use crate::admission::{Allowlist, Authority, Conflict, Credential, Layer, PrincipalId, PrincipalName, Provenance, RevokedId, RevokedIds};
use crate::threads::shared_out;

/// A state, compiled.
#[derive(Clone, Debug, Default)]
pub struct ManagedRoster {
    pub state: Arc<State>,
    pub layer: Layer,
    /// Those that hold everywhere.
    pub revoked: RevokedIds,
    pub disabled: BTreeMap<PrincipalId, Disabled>,
}

/// What changes were made to.
#[derive(Clone, Debug, Default)]
pub struct Touched {
    pub principals: Vec<PrincipalId>,
    /// Revoked ids, as they were written.
    pub ids: Vec<String>,
    /// Those of the principals whose document the caller has compiled as the state has it.
    pub compiled: HashMap<PrincipalId, Entry>,
}

/// Why a managed principal admits nobody.
#[derive(Clone, Debug)]
pub enum Disabled {
    /// A file says something else of the same name, certificate, key or id.
    Conflict(Conflict),
    /// It was recorded once and cannot be compiled any more.
    Invalid(Vec<Invalid>),
}

impl ManagedRoster {
    /// Compiles a state.
    pub fn build(state: Arc<State>) -> Self {
        let touched = state.kept().map(|(id, _)| *id).collect();
        Self::assembled(state, Vec::new(), touched)
    }

    /// Compiles what was recalled, as far as it is not compiled already.
    pub fn of(Recalled { state, compiled, touched }: Recalled) -> Self {
        Self::assembled(Arc::new(state), compiled, touched)
    }

    fn assembled(state: Arc<State>, mut compiled: Vec<Compiled>, touched: HashSet<PrincipalId>) -> Self {
        let rest: Vec<&Arc<Managed>> = touched.iter().filter_map(|id| state.principal_of(id)).collect();
        let rest = shared_out(&rest, FEW, |part| {
            let mut many = Many::default();
            part.iter().map(|kept| Compiled::of(kept, many.compile(kept, kept.document()))).collect::<Vec<_>>()
        });
        let recalled = compiled.len();
        compiled.extend(rest.into_iter().flatten());
        // What was recalled of who was changed since is not so any more.
        let (old, new) = compiled.split_at(recalled);
        let old = old.iter().filter(|compiled| touched.is_empty() || !touched.contains(&compiled.id()));
        let compiled: Vec<&Compiled> = old.chain(new).collect();
        let wrong = compiled.iter().filter_map(|compiled| Some((compiled.id(), Disabled::Invalid(compiled.wrong()?.clone()))));
        let mut disabled: BTreeMap<PrincipalId, Disabled> = wrong.collect();
        let layer = Layer::load(&compiled, |compiled| compiled.id(), Compiled::add).unwrap_or_else(|conflict| {
            // As `put` has it.
            disabled.extend(compiled.iter().map(|compiled| (compiled.id(), Disabled::Conflict(conflict.clone()))));
            Layer::default()
        });
        let ids: Vec<String> = state.revocations().map(|kept| kept.id.as_str().to_owned()).collect();
        let revoked = Self::default().revoked(&state, &ids);
        Self { state, layer, revoked, disabled }
    }

    /// Compiles the state after changes of these principals. What each shares with a static one is for the caller to ask before.
    pub fn changed(&self, state: Arc<State>, mut touched: Touched) -> Self {
        let mut disabled = self.disabled.clone();
        let mut entries = Vec::with_capacity(touched.principals.len());
        let mut many = Many::default();
        for id in &touched.principals {
            disabled.remove(id);
            let Some(kept) = state.principal_of(id) else { continue };
            match touched.compiled.remove(id).map_or_else(|| many.compile(kept, kept.document()), Ok) {
                Ok(entry) => entries.push(entry),
                Err(why) => drop(disabled.insert(*id, Disabled::Invalid(why))),
            }
        }
        let layer = self.put(&touched.principals, entries, &mut disabled);
        let revoked = self.revoked(&state, &touched.ids);
        Self { state, layer, revoked, disabled }
    }

    /// Returns the authorities of a principal.
    pub fn authorities(&self, name: &PrincipalName) -> Vec<Arc<Authority>> {
        let kept = self.state.principal_named(name.as_str());
        let credentials = kept.and_then(|kept| compile(kept).ok()).map(|(_, credentials)| credentials).unwrap_or_default();
        let authority = |(credential, _)| if let Credential::Authority(authority) = credential { Some(authority) } else { None };
        credentials.into_iter().filter_map(authority).collect()
    }

    /// Takes those out that meet a static principal.
    pub fn without(&self, conflicts: Vec<(PrincipalId, Conflict)>) -> Self {
        let ids: Vec<PrincipalId> = conflicts.iter().map(|(id, _)| *id).collect();
        let mut disabled = self.disabled.clone();
        disabled.extend(conflicts.into_iter().map(|(id, conflict)| (id, Disabled::Conflict(conflict))));
        let layer = self.put(&ids, Vec::new(), &mut disabled);
        Self { state: Arc::clone(&self.state), layer, revoked: self.revoked.clone(), disabled }
    }

    /// Puts those back that no static principal stands in the way of any more; `None`: there are none.
    pub fn mended(&self, allowlist: &Allowlist) -> Option<Self> {
        let in_conflict = self.disabled.iter().filter(|(_, why)| matches!(why, Disabled::Conflict(_)));
        let entries = in_conflict.filter_map(|(id, _)| Some((*id, compile(self.state.principal_of(id)?).ok()?)));
        let free: Vec<(PrincipalId, Entry)> =
            entries.filter(|(_, (principal, credentials))| allowlist.check_static(principal, credentials).is_ok()).collect();
        if free.is_empty() {
            return None;
        }
        let principals = free.iter().map(|(id, _)| *id).collect();
        let compiled = free.into_iter().collect();
        Some(self.changed(Arc::clone(&self.state), Touched { principals, ids: Vec::new(), compiled }))
    }

    fn revoked(&self, state: &State, touched: &[String]) -> RevokedIds {
        let mut removed: Vec<RevokedId> = Vec::new();
        let mut added = Vec::new();
        for id in touched {
            if let Some(kept) = self.state.revocation(id) {
                removed.extend(kept.ids());
            }
            added.extend(state.revocation(id));
        }
        // Two certificates of one key: the key stays revoked with the one that stays.
        let has_key = |kept: &&Arc<KeptRevocation>| kept.key.is_some();
        if touched.iter().filter_map(|id| self.state.revocation(id)).any(|kept| has_key(&kept)) {
            added.extend(state.revocations().filter(has_key));
        }
        let entry = |kept: &Arc<KeptRevocation>| kept.ids().map(|id| (id, Provenance::ledger(kept.index))).collect::<Vec<_>>();
        self.revoked.with(&removed, added.into_iter().flat_map(entry).collect())
    }

    /// A state has no two principals that claim the same; if it had, none of those that came together would get in.
    fn put(&self, removed: &[PrincipalId], entries: Vec<Entry>, disabled: &mut BTreeMap<PrincipalId, Disabled>) -> Layer {
        let ids: Vec<PrincipalId> = entries.iter().map(|(principal, _)| principal.id).collect();
        match self.layer.with(removed, entries) {
            Ok(layer) => layer,
            Err(conflict) => {
                disabled.extend(ids.iter().map(|id| (*id, Disabled::Conflict(conflict.clone()))));
                self.layer.with(removed, Vec::new()).unwrap_or_default()
            }
        }
    }
}

/// Fewer are not worth a thread.
const FEW: usize = 4096;

fn compile(kept: &Managed) -> Result<Entry, Vec<Invalid>> {
    kept.compile(&kept.document(), Known::default())
}

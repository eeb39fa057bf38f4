//! The managed principals, compiled for lookup: every document whose principal can stand beside the static ones. Those that cannot admit
//! nobody, and are told of.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::refusal::Invalid;
use super::state::{Managed, State};
use crate::admission::{Allowlist, Authority, Conflict, Credential, Layer, Principal, PrincipalId, PrincipalName, Provenance};

/// A state, compiled.
#[derive(Clone, Debug, Default)]
pub struct ManagedRoster {
    pub state: Arc<State>,
    pub layer: Layer,
    pub disabled: BTreeMap<PrincipalId, Disabled>,
}

/// Why a managed principal admits nobody.
#[derive(Clone, Debug)]
pub enum Disabled {
    /// A file says something else of the same name, certificate, key or id.
    Conflict(Conflict),
    /// It was recorded once and cannot be compiled any more.
    Invalid(Vec<Invalid>),
}

type Entry = (Principal, Vec<(Credential, Provenance)>);

impl ManagedRoster {
    /// Compiles a state.
    pub fn build(state: Arc<State>) -> Self {
        let ids: Vec<PrincipalId> = state.principals(None).filter_map(|kept| kept.document.id.parse().ok()).collect();
        Self::default().changed(state, &ids)
    }

    /// Compiles the state after changes of these principals. What each shares with a static one is for the caller to ask before.
    pub fn changed(&self, state: Arc<State>, touched: &[PrincipalId]) -> Self {
        let mut disabled = self.disabled.clone();
        let mut entries = Vec::with_capacity(touched.len());
        for id in touched {
            disabled.remove(id);
            let Some(kept) = state.principal_of(id) else { continue };
            match compile(kept) {
                Ok(entry) => entries.push(entry),
                Err(why) => drop(disabled.insert(*id, why)),
            }
        }
        let layer = self.put(touched, entries, &mut disabled);
        Self { state, layer, disabled }
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
        Self { state: Arc::clone(&self.state), layer, disabled }
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
        let ids: Vec<PrincipalId> = free.iter().map(|(id, _)| *id).collect();
        Some(self.changed(Arc::clone(&self.state), &ids))
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

fn compile(kept: &Managed) -> Result<Entry, Disabled> {
    kept.document.compile(kept.index).map_err(Disabled::Invalid)
}

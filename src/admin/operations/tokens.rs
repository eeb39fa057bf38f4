//! Bearer tokens, taken back all at once: those that a principal was given until now, whoever holds them.

use std::sync::Arc;

use super::principals::Which;
use super::{How, Plan, change, control};
use crate::admin::{Error, Shared};
use crate::admission::{Clearance, Principal, PrincipalId, Snapshot};
use crate::clock;
use crate::failure::Failure;
use crate::reload::Recorded;
use crate::request::service::Caller;
use crate::store::managed::{Change, Refusal, State};

/// Whose they are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Owner {
    pub(crate) id: PrincipalId,
    pub(crate) name: String,
}

/// Finds whose tokens are meant: of the ledger, of a file, or a well-known admin's.
pub(crate) async fn owner(shared: &Arc<Shared>, which: &Which) -> Result<Owner, Error> {
    let (view, which) = (control(shared)?.view(), which.clone());
    // By its name somebody in files is found by going through all of them.
    let found = tokio::task::spawn_blocking(move || find(&which, &view.state, &view.rules.snapshot)).await;
    found.map_err(|_| Failure::Internal)?.ok_or_else(|| Refusal::NotFound.into())
}

/// Takes all tokens back that a principal was given until now; says until when, and what was recorded. Said again in the same second it
/// changes nothing. What is protected is so from being deleted, and not from this.
pub(crate) async fn take_back_all(shared: &Arc<Shared>, caller: &Caller, how: How, owner: PrincipalId) -> Result<(u64, Recorded), Error> {
    // The answer would be cut with all else.
    let own = caller.token.is_some() && caller.principal.as_ref().is_some_and(|principal| principal.id == owner);
    let plan: Plan = Box::new(move |state, _| {
        let now = clock::wall().as_secs();
        match state.tokens_until(&owner) {
            _ if own => Err(Refusal::OwnToken),
            Some(until) if until >= now => Ok(Vec::new()),
            Some(_) | None => Ok(vec![Change::revoke_tokens(owner, now)]),
        }
    });
    let recorded = change(shared, caller, how, plan).await?;
    Ok((recorded.state.tokens_until(&owner).unwrap_or_default(), recorded))
}

fn find(which: &Which, state: &State, snapshot: &Snapshot) -> Option<Owner> {
    if let Ok(kept) = which.find(state, snapshot) {
        let document = &kept.document();
        return Some(Owner { id: document.id.parse().ok()?, name: document.name.clone() });
    }
    let is_meant = |principal: &Principal| match which {
        Which::Certificate(_) => false,
        Which::Id(id) => principal.id.to_string() == *id,
        Which::Name(name) => principal.name.as_str().eq_ignore_ascii_case(name),
    };
    let well_known = || snapshot.allowlist.ranked(&[Clearance::Admin]).map(|(principal, _)| principal).find(is_meant);
    let found = which.find_static(snapshot).or_else(well_known)?;
    Some(Owner { id: found.id, name: found.name.to_string() })
}

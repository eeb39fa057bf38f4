//! What takes certificates off for everybody: revoked ids and CRLs.

use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::{How, Plan, change, control};
use crate::admin::{Error, Shared};
use crate::admission::{Revocation, RevokedId};
use crate::failure::Failure;
use crate::pki::{Certificate, Crl, files};
use crate::reload::{Recorded, View};
use crate::request::service::Caller;
use crate::store::managed::{Change, CrlText, Invalid, Refusal};

/// Somebody whose certificate or key an id hits.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Hit {
    /// `None`: a CA of some authority.
    pub(crate) principal: Option<(String, String)>,
    pub(crate) fingerprint: Option<String>,
}

/// Revokes an id, everywhere. One that is revoked already changes nothing.
pub(crate) async fn revoke(shared: &Arc<Shared>, caller: &Caller, how: How, id: String) -> Result<Recorded, Error> {
    let reason = how.reason.clone();
    let plan: Plan = Box::new(move |state, _| match state.revocation(id.trim()) {
        Some(kept) if kept.everywhere => Ok(Vec::new()),
        Some(_) | None => Ok(vec![Change::revoke(&id, reason.clone())]),
    });
    change(shared, caller, how, plan).await
}

/// Takes a revocation back.
pub(crate) async fn unrevoke(shared: &Arc<Shared>, caller: &Caller, how: How, id: String) -> Result<Recorded, Error> {
    let plan: Plan = Box::new(move |state, snapshot| {
        let id = id.trim();
        if state.revocation(id).is_some() {
            return Ok(vec![Change::RevocationRemove { id: id.to_owned() }]);
        }
        let parsed: Result<RevokedId, _> = id.parse();
        let in_file = parsed.is_ok_and(|parsed| snapshot.revocation.ids().any(|(known, from)| *known == parsed && !from.is_ledger()));
        Err(if in_file { Refusal::Static { name: id.to_owned() } } else { Refusal::NotFound })
    });
    change(shared, caller, how, plan).await
}

/// Puts a CRL: PEM, or base64 of PEM or DER.
pub(crate) async fn put_crl(shared: &Arc<Shared>, caller: &Caller, how: How, name: String, text: String) -> Result<Recorded, Error> {
    let view = control(shared)?.view();
    // A long one takes a while to read and to verify: not on the thread that takes people off the list.
    let read = tokio::task::spawn_blocking(move || {
        let crl = Arc::new(read_crl(&text)?);
        let snapshot = &view.rules.snapshot;
        snapshot.revocation.look_through(&crl, &snapshot.allowlist);
        Ok(CrlText::of(crl))
    });
    let read = read.await.map_err(|_| Failure::Internal)?;
    let der = read.map_err(|why: String| Error::from(Refusal::Invalid(vec![Invalid::new("crl", why)])))?;
    let plan: Plan = Box::new(move |state, _| match state.crl(&name) {
        Some(kept) if kept.crl.fingerprint() == der.read()?.fingerprint() => Ok(Vec::new()),
        Some(_) | None => Ok(vec![Change::crl(&name, der.clone())]),
    });
    change(shared, caller, how, plan).await
}

fn read_crl(text: &str) -> Result<Crl, String> {
    if text.contains("-----BEGIN") {
        return only_crl(text.as_bytes());
    }
    let text: String = text.split_ascii_whitespace().collect();
    let bytes = STANDARD.decode(text).map_err(|_| "is neither PEM nor base64 of PEM or DER".to_owned())?;
    only_crl(&bytes)
}

fn only_crl(bytes: &[u8]) -> Result<Crl, String> {
    let mut found = files::crls(bytes).map_err(|error| error.to_string())?;
    match (found.pop(), found.is_empty()) {
        (Some(only), true) => Ok(only.value),
        _ => Err("holds more than one CRL: give each a name of its own".to_owned()),
    }
}

/// Takes a CRL away.
pub(crate) async fn remove_crl(shared: &Arc<Shared>, caller: &Caller, how: How, name: String) -> Result<Recorded, Error> {
    let plan: Plan = Box::new(move |_, _| Ok(vec![Change::CrlRemove { name: name.clone() }]));
    change(shared, caller, how, plan).await
}

/// Says whom an id hits, of the certificates that are known; false where there are more than were looked through.
pub(crate) fn hits(view: &View, id: &RevokedId) -> (Vec<Hit>, bool) {
    let (state, allowlist) = (&view.state, &view.rules.snapshot.allowlist);
    let mut found: Vec<Hit> = Vec::new();
    let mut take = |principal: Option<(String, String)>, fingerprint: Option<String>| {
        let hit = Hit { principal, fingerprint };
        if !found.contains(&hit) && found.len() < MOST_HITS {
            found.push(hit);
        }
    };
    let who = |principal: &crate::admission::Principal| Some((principal.id.to_string(), principal.name.to_string()));
    if let Some(fingerprint) = id.fingerprint()
        && let Some(owner) = allowlist.owner_of_pin(&fingerprint)
    {
        take(who(&owner), Some(fingerprint.to_string()));
    }
    if let Some(owner) = id.key().and_then(|key| allowlist.owner_of_spki_pin(&key)) {
        take(who(&owner), None);
    }
    for anchor in allowlist.anchors().filter(|anchor| Revocation::id_hits(id, anchor)) {
        take(None, Some(anchor.fingerprint.to_string()));
    }
    let mut looked = 0;
    for (kept, entry) in state.principals(None).flat_map(|kept| kept.document().certificates.into_iter().map(move |entry| (kept, entry))) {
        looked += 1;
        if looked > MOST_LOOKED {
            return (found, false);
        }
        let hit = |certificate: &Certificate| Revocation::id_hits(id, certificate);
        if matches!(entry.certificate(), Some(Ok(certificate)) if hit(&certificate)) {
            let hit =
                Hit { principal: Some((kept.id().to_string(), kept.name().to_owned())), fingerprint: Some(entry.fingerprint.clone()) };
            if !found.contains(&hit) && found.len() < MOST_HITS {
                found.push(hit);
            }
        }
    }
    (found, true)
}

const MOST_HITS: usize = 100;
const MOST_LOOKED: usize = 20_000;

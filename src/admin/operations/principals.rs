//! Principals: found, made, changed, deleted, replaced all at once.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use aws_lc_rs::rand;
use serde_json::Value;

use super::{How, Plan, change};
use crate::admin::{Error, Shared};
use crate::admission::{Principal, PrincipalId, Snapshot};
use crate::clock::Date;
use crate::date::duration_text;
use crate::failure::Failure;
use crate::pki::Fingerprint;
use crate::reload::Recorded;
use crate::request::service::Caller;
use crate::store::managed::{Change, Document, Invalid, Managed, Refusal, State};
use crate::threads::shared_out;

/// Which principal is meant.
#[derive(Clone, Debug)]
pub(crate) enum Which {
    Certificate(Fingerprint),
    Id(String),
    Name(String),
}

impl Which {
    /// Finds it; `Static`: a file has it.
    pub(crate) fn find<'s>(&self, state: &'s State, snapshot: &Snapshot) -> Result<&'s Arc<Managed>, Refusal> {
        let found = match self {
            Self::Certificate(fingerprint) => state.owner(fingerprint),
            Self::Id(id) => state.principal(id),
            Self::Name(name) => state.principal_named(name),
        };
        found.ok_or_else(|| match self.find_static(snapshot) {
            Some(principal) => Refusal::Static { name: principal.name.to_string() },
            None => Refusal::NotFound,
        })
    }

    /// Finds it among those of files.
    pub(crate) fn find_static(&self, snapshot: &Snapshot) -> Option<Principal> {
        let found = match self {
            Self::Certificate(fingerprint) => snapshot.allowlist.owner_of_pin(fingerprint).map(|owner| Principal::clone(&owner)),
            // Asked on the thread that takes people off the list: a million are not gone through for an id that nobody has.
            Self::Id(id) => snapshot.allowlist.find_static_id(&id.parse().ok()?),
            Self::Name(name) => snapshot.allowlist.find(name),
        };
        found.filter(|principal| !principal.provenance.is_ledger())
    }
}

/// Which version a change is meant for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct IfMatch(pub(crate) Option<u64>);

impl IfMatch {
    /// Refuses to change what has changed meanwhile.
    pub(crate) fn check(self, document: &Document) -> Result<(), Refusal> {
        match self.0 {
            Some(wanted) if wanted != document.version => Err(Refusal::VersionMismatch { is: document.version }),
            Some(_) | None => Ok(()),
        }
    }
}

/// Registers a principal; answers with what was recorded, the new principal's id among it.
pub(crate) async fn create(shared: &Arc<Shared>, caller: &Caller, how: How, document: Document) -> Result<(String, Recorded), Error> {
    let mut document = sent(document)?;
    if !document.id.is_empty() {
        return Err(Refusal::Invalid(vec![Invalid::new("id", "is given by us: leave it out")]).into());
    }
    let id = new_id()?;
    document.id.clone_from(&id);
    // A document that names what another one owns is told whose it is, and that is all of the plan.
    let plan: Plan = Box::new(move |_, _| Ok(vec![Change::put(document.clone())]));
    Ok((id, change(shared, caller, how, plan).await?))
}

/// Puts another document in the place of a principal's own.
pub(crate) async fn replace(
    shared: &Arc<Shared>,
    caller: &Caller,
    how: How,
    (which, version): (Which, IfMatch),
    document: Document,
) -> Result<Recorded, Error> {
    let document = sent(document)?;
    let plan: Plan = Box::new(move |state, snapshot| {
        let old = &which.find(state, snapshot)?.document();
        version.check(old)?;
        // An id that a whole document does not name stays revoked: only whoever names the list of ids, or an id, takes one back.
        let left = old.leaves_out(state, &document);
        Ok(put(old, document.clone()).into_iter().chain(left).collect())
    });
    change(shared, caller, how, plan).await
}

/// Changes some keys of a principal: RFC 7396, `null` takes a key away.
pub(crate) async fn patch(shared: &Arc<Shared>, caller: &Caller, how: How, at: (Which, IfMatch), patch: Value) -> Result<Recorded, Error> {
    let Value::Object(mut patch) = patch else {
        return Err(Refusal::Invalid(vec![Invalid::new("", "is no JSON object")]).into());
    };
    for ours in ["changed", "created", "version"] {
        patch.remove(ours);
    }
    edit(shared, caller, how, at, move |old| {
        let mut value = serde_json::to_value(old).map_err(|error| Refusal::Invalid(vec![Invalid::new("", error.to_string())]))?;
        if let (Some(members), true) = (value.as_object_mut(), patch.contains_key("role")) {
            // The shorthand says both anew.
            members.remove("clearance");
            members.remove("permissions");
        }
        merge(&mut value, &Value::Object(patch.clone()));
        let document = Document::from_json(value.to_string().as_bytes()).map_err(|wrong| Refusal::Invalid(vec![wrong]))?;
        if document.id != old.id {
            return Err(Refusal::Invalid(vec![Invalid::new("id", "stays what it is")]));
        }
        document.normalised().map_err(Refusal::Invalid)
    })
    .await
}

/// Deletes a principal.
pub(crate) async fn delete(shared: &Arc<Shared>, caller: &Caller, how: How, (which, version): (Which, IfMatch)) -> Result<Recorded, Error> {
    let plan: Plan = Box::new(move |state, snapshot| {
        let document = &which.find(state, snapshot)?.document();
        version.check(document)?;
        Ok(vec![remove(document)])
    });
    change(shared, caller, how, plan).await
}

/// Changes a principal's document by a function of what it is.
pub(crate) async fn edit(
    shared: &Arc<Shared>,
    caller: &Caller,
    how: How,
    (which, version): (Which, IfMatch),
    edited: impl Fn(&Document) -> Result<Document, Refusal> + Send + 'static,
) -> Result<Recorded, Error> {
    let plan: Plan = Box::new(move |state, snapshot| {
        let old = &which.find(state, snapshot)?.document();
        version.check(old)?;
        Ok(put(old, edited(old)?).into_iter().collect())
    });
    change(shared, caller, how, plan).await
}

/// Makes the managed principals exactly these: others go, by id or by name the same ones stay.
pub(crate) async fn replace_all(shared: &Arc<Shared>, caller: &Caller, how: How, documents: Vec<Document>) -> Result<Recorded, Error> {
    let mut wanted = Vec::with_capacity(documents.len());
    let mut names: HashMap<String, usize> = HashMap::new();
    let read = shared_out(&documents, FEW, |documents| documents.iter().map(|document| document.clone().normalised()).collect::<Vec<_>>());
    for (at, document) in read.into_iter().flatten().enumerate() {
        let within = |wrong: Vec<Invalid>| {
            let key = |wrong: Invalid| Invalid::new(format!("principals[{at}].{}", wrong.key), wrong.why);
            Error::from(Refusal::Invalid(wrong.into_iter().map(key).collect()))
        };
        let document = document.map_err(within)?;
        if let Some(first) = names.insert(document.name.to_ascii_lowercase(), at) {
            return Err(within(vec![Invalid::new("name", format!("is that of principals[{first}], too"))]));
        }
        wanted.push((document, new_id()?));
    }
    let plan: Plan = Box::new(move |state, _| {
        let mut stays: HashSet<PrincipalId> = HashSet::new();
        let mut puts = Vec::new();
        for (at, (document, id)) in wanted.iter().enumerate() {
            let known = match document.id.as_str() {
                "" => state.principal_named(&document.name),
                id => Some(state.principal(id).ok_or_else(|| nobodys(at, id))?),
            };
            match known {
                Some(known) => {
                    if !stays.insert(*known.id()) {
                        return Err(Refusal::NameTaken);
                    }
                    let old = known.document();
                    puts.extend(put(&old, document.clone()));
                    puts.extend(old.leaves_out(state, document));
                }
                None => puts.push(Change::put(Document { id: id.clone(), ..document.clone() })),
            }
        }
        let gone = state.principals(None).filter(|kept| !stays.contains(kept.id()));
        // First those that go: a name or certificate may go to another.
        let mut changes: Vec<Change> = gone.map(|kept| remove(&kept.document())).collect();
        changes.extend(puts);
        Ok(changes)
    });
    change(shared, caller, how, plan).await
}

/// An id is never given twice: whoever is registered again is somebody new.
fn nobodys(at: usize, id: &str) -> Refusal {
    let why = format!("`{id}` is no managed principal's, or was deleted: leave the id out to register this one anew");
    Refusal::Invalid(vec![Invalid::new(format!("principals[{at}].id"), why)])
}

/// Reads what a client sent.
fn sent(document: Document) -> Result<Document, Error> {
    document.normalised().map_err(|wrong| Refusal::Invalid(wrong).into())
}

/// Puts a document in the place of another: nothing, where it says the same. What only we know stays.
pub(super) fn put(old: &Document, mut new: Document) -> Option<Change> {
    new.id.clone_from(&old.id);
    new.version = old.version;
    new.created.clone_from(&old.created);
    new.changed.clone_from(&old.changed);
    for entry in &mut new.certificates {
        let known = old.certificates.iter().find(|known| known.fingerprint == entry.fingerprint);
        if let Some(known) = known {
            entry.der = entry.der.take().or_else(|| known.der.clone());
            entry.issuer = entry.issuer.take().or_else(|| known.issuer.clone());
            entry.added.clone_from(&known.added);
            entry.source = known.source;
        }
    }
    (new != *old).then(|| Change::put(new))
}

pub(super) fn remove(document: &Document) -> Change {
    Change::PrincipalRemove { id: document.id.clone(), name: document.name.clone() }
}

pub(crate) fn new_id() -> Result<String, Error> {
    let mut random = [0; 12];
    rand::fill(&mut random).map_err(|_| Failure::Internal)?;
    Ok(PrincipalId::from_random(&random).to_string())
}

/// Fewer documents are not worth a thread.
const FEW: usize = 256;

/// RFC 7396.
fn merge(value: &mut Value, patch: &Value) {
    let (Value::Object(members), Value::Object(patch)) = (&mut *value, patch) else {
        *value = patch.clone();
        return;
    };
    for (key, patch) in patch {
        match patch {
            Value::Null => drop(members.remove(key)),
            patch => merge(members.entry(key.clone()).or_insert(Value::Null), patch),
        }
    }
}

/// Says what a file's principal is, as far as its terms go.
pub(crate) fn describe(principal: &Principal) -> Document {
    let terms = &principal.terms;
    let time = |at: rustls_pki_types::UnixTime| Date::of(at.as_secs()).to_string();
    Document {
        id: principal.id.to_string(),
        name: principal.name.to_string(),
        display_name: principal.display_name.as_deref().map(ToOwned::to_owned),
        enabled: terms.enabled,
        valid_from: terms.valid_from.map(time),
        valid_until: terms.valid_until.map(time),
        client_ips: terms.client_ips.as_ref().map(|networks| networks.iter().map(ToString::to_string).collect()),
        gateway_ips: terms.gateway_ips.iter().map(ToString::to_string).collect(),
        serve: terms.serve.as_ref().map(|surfaces| surfaces.iter().map(|surface| surface.name().to_owned()).collect()),
        clearance: Some(terms.clearance.name().to_owned()),
        identifier: Some(terms.identifier.to_string()),
        audit_claims: terms.audit_claims.iter().map(ToString::to_string).collect(),
        allow_any_eku: terms.allow_any_eku,
        require_crl_dp: terms.require_crl_dp,
        token_ttl: terms.token_ttl.map(duration_text),
        expiry_notice: terms.expiry_notice.clone(),
        description: terms.description.as_deref().map(ToOwned::to_owned),
        ..Document::default()
    }
}

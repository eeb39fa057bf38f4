//! One change, as an entry of the ledger records it; and whether it only takes away, which decides what comes first, the record or the
//! effect.

use std::collections::{HashMap, HashSet};

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::crl::CrlText;
use super::document::{Document, PermissionDocument, Stamp};
use super::refusal::Invalid;
use super::state::State;
use crate::admission::{Clearance, PrincipalId, Reach, TokenId};
use crate::clock::rfc3339;
use crate::pki::Fingerprint;

/// One change.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
#[serde(tag = "action")]
pub enum Change {
    /// There was an admin: the server certificate registers nobody any more.
    #[serde(rename = "bootstrap.closed")]
    BootstrapClosed {},
    /// Base64 of DER.
    #[serde(rename = "crl.put")]
    CrlPut {
        name: String,
        der: CrlText,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        added: Option<Stamp>,
    },
    #[serde(rename = "crl.remove")]
    CrlRemove { name: String },
    /// Files changed who gets in: a record, nothing that a replay needs.
    #[serde(rename = "files.reloaded")]
    FilesReloaded(FilesReloaded),
    /// Makes a principal, or puts another document in the place of its own. Without an id: a new one.
    #[serde(rename = "principal.put")]
    PrincipalPut { document: Box<Document> },
    #[serde(rename = "principal.remove")]
    PrincipalRemove { id: String, name: String },
    #[serde(rename = "revocation.add")]
    RevocationAdd {
        id: String,
        /// For those alone whom it reaches (`sha256:HEX`, a leaf; `sha256/BASE64`, a key of a leaf or an anchor): what a principal said that
        /// is gone. None: everywhere.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        only: Vec<String>,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        reason: Option<String>,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        added: Option<Stamp>,
    },
    #[serde(rename = "revocation.remove")]
    RevocationRemove { id: String },
    /// Takes a bearer token back, by its `jti`; until `expires` (seconds since the epoch) it would be in time.
    #[serde(rename = "token.revoke")]
    TokenRevoked {
        jti: String,
        expires: u64,
        /// Whose it is.
        principal: String,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        added: Option<Stamp>,
    },
    /// Takes all tokens back that a principal was given until a second, this one included.
    #[serde(rename = "tokens.revoke")]
    TokensRevoked {
        id: String,
        until: u64,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        added: Option<Stamp>,
    },
}

/// A change as it is hashed and kept: what of making one needs no state.
#[derive(Debug)]
pub struct Written {
    /// Of the change; `None`: it changes nothing that is managed.
    pub(super) digest: Option<Fingerprint>,
    /// The JSON of the document that it puts.
    pub(super) document: Box<[u8]>,
}

/// What a reload of files changed.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize)]
pub struct FilesReloaded {
    pub generation: u64,
    pub added: u64,
    pub removed: u64,
    /// The first names of each, without those that came and went.
    pub added_names: Vec<String>,
    pub removed_names: Vec<String>,
    /// Ids and CRLs in force, before and after.
    pub restrictions_before: u64,
    pub restrictions_after: u64,
    /// How many later reloads it tells of, too: those that came while the ledger could not be written. What came in one and went in
    /// another is counted in both.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub merged: u64,
}

impl FilesReloaded {
    /// Tells of a later one, too.
    pub fn merge(&mut self, later: &Self, most_names: usize) {
        let union = |names: &mut Vec<String>, later: &[String]| {
            let room = most_names.saturating_sub(names.len());
            let known: HashSet<String> = names.iter().cloned().collect();
            names.extend(later.iter().filter(|name| !known.contains(*name)).take(room).cloned());
        };
        union(&mut self.added_names, &later.added_names);
        union(&mut self.removed_names, &later.removed_names);
        self.generation = later.generation;
        self.added += later.added;
        self.removed += later.removed;
        self.restrictions_after = later.restrictions_after;
        self.merged += later.merged + 1;
    }
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde's signature")]
fn is_zero(count: &u64) -> bool {
    *count == 0
}

impl Change {
    /// Every action, as `action` has it.
    pub const ACTIONS: [&'static str; 10] = [
        "bootstrap.closed",
        "crl.put",
        "crl.remove",
        "files.reloaded",
        "principal.put",
        "principal.remove",
        "revocation.add",
        "revocation.remove",
        "token.revoke",
        "tokens.revoke",
    ];

    /// Returns what an entry calls this.
    pub fn action(&self) -> &'static str {
        match self {
            Self::BootstrapClosed {} => "bootstrap.closed",
            Self::CrlPut { .. } => "crl.put",
            Self::CrlRemove { .. } => "crl.remove",
            Self::FilesReloaded(_) => "files.reloaded",
            Self::PrincipalPut { .. } => "principal.put",
            Self::PrincipalRemove { .. } => "principal.remove",
            Self::RevocationAdd { .. } => "revocation.add",
            Self::RevocationRemove { .. } => "revocation.remove",
            Self::TokenRevoked { .. } => "token.revoke",
            Self::TokensRevoked { .. } => "tokens.revoke",
        }
    }

    /// Returns what it was done to.
    pub fn object(&self) -> &str {
        match self {
            Self::BootstrapClosed {} => "bootstrap",
            Self::FilesReloaded(_) => "files",
            Self::CrlPut { name, .. } | Self::CrlRemove { name } => name,
            Self::PrincipalPut { document } => &document.id,
            Self::PrincipalRemove { id, .. }
            | Self::RevocationAdd { id, .. }
            | Self::RevocationRemove { id }
            | Self::TokensRevoked { id, .. } => id,
            Self::TokenRevoked { jti, .. } => jti,
        }
    }

    /// Returns what a replay needs.
    pub fn data(&self) -> Value {
        // INVARIANT: string keys, numbers and lists; nothing that JSON cannot say.
        let mut data = serde_json::to_value(self).unwrap_or_default();
        if let Some(members) = data.as_object_mut() {
            members.remove("action");
        }
        data
    }

    /// Reads what an entry recorded.
    pub fn read(action: &str, mut data: Value) -> Result<Self, Invalid> {
        if data.is_null() {
            data = Value::Object(serde_json::Map::new());
        }
        if let Some(members) = data.as_object_mut() {
            members.insert("action".to_owned(), action.into());
        }
        serde_json::from_value(data).map_err(|error| Invalid::new(action, error.to_string()))
    }

    /// Writes it.
    pub fn written(&self) -> Written {
        if matches!(self, Self::FilesReloaded(_)) {
            return Written { digest: None, document: Box::default() };
        }
        // INVARIANT: string keys and plain values: nothing fails.
        let text = serde_json::to_vec(self).unwrap_or_default();
        let document = match self {
            Self::PrincipalPut { document } => {
                let within = text.strip_prefix(PUT).and_then(|rest| rest.strip_suffix(b"}"));
                within.map_or_else(|| serde_json::to_vec(document).unwrap_or_default().into(), Into::into)
            }
            _ => Box::default(),
        };
        Written { digest: Some(Fingerprint::of(&text)), document }
    }

    /// Puts a CRL.
    pub fn crl(name: &str, der: CrlText) -> Self {
        Self::CrlPut { name: name.to_owned(), der, added: None }
    }

    /// Puts a document.
    pub fn put(document: Document) -> Self {
        Self::PrincipalPut { document: Box::new(document) }
    }

    /// Revokes an id, everywhere.
    pub fn revoke(id: &str, reason: Option<String>) -> Self {
        Self::RevocationAdd { id: id.trim().to_owned(), only: Vec::new(), reason, added: None }
    }

    /// Revokes an id for those alone whom it reaches.
    pub(super) fn revoke_within(id: &str, only: &[Reach], reason: String) -> Self {
        let only = only.iter().map(ToString::to_string).collect();
        Self::RevocationAdd { id: id.trim().to_owned(), only, reason: Some(reason), added: None }
    }

    /// Takes a token back.
    pub fn revoke_token(id: TokenId, expires: u64, principal: PrincipalId) -> Self {
        Self::TokenRevoked { jti: id.to_string(), expires, principal: principal.to_string(), added: None }
    }

    /// Takes all tokens back that a principal was given until now.
    pub fn revoke_tokens(principal: PrincipalId, now: u64) -> Self {
        Self::TokensRevoked { id: principal.to_string(), until: now, added: None }
    }

    /// Says who made it and when; gives a new principal its id (of random bytes, drawn by the caller), and each its version.
    pub fn settled(self, state: &State, stamp: &Stamp, random: &[u8; 12]) -> Self {
        let stamp = stamp.clone();
        match self {
            Self::CrlPut { name, der, added: _ } => Self::CrlPut { name, der, added: Some(stamp) },
            Self::PrincipalPut { document } => Self::put(document.settled(state, stamp, random)),
            Self::RevocationAdd { id, only, reason, added: _ } => Self::RevocationAdd { id, only, reason, added: Some(stamp) },
            Self::TokenRevoked { jti, expires, principal, added: _ } => Self::TokenRevoked { jti, expires, principal, added: Some(stamp) },
            Self::TokensRevoked { id, until, added: _ } => Self::TokensRevoked { id, until, added: Some(stamp) },
            Self::BootstrapClosed {}
            | Self::CrlRemove { .. }
            | Self::FilesReloaded(_)
            | Self::PrincipalRemove { .. }
            | Self::RevocationRemove { .. } => self,
        }
    }

    /// Tells whether after this nothing can be admitted that was not before: then it is put in force first, and recorded after. Not sure
    /// is no. What it does not count is that a certificate which one principal loses may be another's by an authority, whose rights are
    /// on record already: else nothing could be removed while the disk is full.
    pub fn tightens(&self, state: &State) -> bool {
        match self {
            Self::BootstrapClosed {}
            | Self::FilesReloaded(_)
            | Self::RevocationAdd { .. }
            | Self::TokenRevoked { .. }
            | Self::TokensRevoked { .. } => true,
            // A CRL that is fresh again lets those in whom a stale one kept out; one that was never there, where one is required.
            Self::CrlPut { .. } | Self::CrlRemove { .. } | Self::RevocationRemove { .. } => false,
            Self::PrincipalPut { document } => state.principal(&document.id).is_some_and(|kept| is_less(document, &kept.document())),
            // Its ids stay: see `leaves`.
            Self::PrincipalRemove { id, .. } => state.principal(id).is_some_and(|kept| may_go(&kept.document())),
        }
    }
}

impl Document {
    fn settled(mut self, state: &State, stamp: Stamp, random: &[u8; 12]) -> Self {
        let before = state.principal(&self.id).map(|kept| kept.document());
        let before = before.as_ref();
        self.version = before.map_or(1, |before| before.version + 1);
        self.created = before.map_or_else(|| Some(stamp.clone()), |before| before.created.clone());
        let known = before.iter().flat_map(|before| &before.certificates).map(|known| (known.fingerprint.as_str(), &known.added));
        let known: HashMap<&str, &Option<String>> = known.collect();
        for entry in &mut self.certificates {
            entry.added = known.get(entry.fingerprint.as_str()).map_or_else(|| Some(stamp.at.clone()), |added| (*added).clone());
        }
        if self.id.is_empty() {
            self.id = PrincipalId::from_random(random).to_string();
        }
        self.changed = Some(stamp);
        self
    }
}

/// Tells whether a document gives nothing that the one before did not.
fn is_less(new: &Document, old: &Document) -> bool {
    (!new.enabled || old.enabled)
        && same_identity(new, old)
        && later(new.valid_from.as_deref(), old.valid_from.as_deref(), |new, old| new >= old)
        && later(new.valid_until.as_deref(), old.valid_until.as_deref(), |new, old| new <= old)
        && narrower(new.client_ips.as_deref(), old.client_ips.as_deref())
        && narrower(new.serve.as_deref(), old.serve.as_deref())
        && is_subset(&new.cors_origins, &old.cors_origins)
        && less_rights(new, old)
        && (!new.allow_any_eku || old.allow_any_eku)
        && (!new.renews_same_key() || old.renews_same_key())
        && (new.require_crl_dp || !old.require_crl_dp)
        && (new.require_when || !old.require_when)
        && new.token_ttl == old.token_ttl
        && fewer_credentials(new, old)
        && is_subset(&old.revoked_ids, &new.revoked_ids)
}

/// A disabled principal keeps its certificates and keys from counting elsewhere.
fn may_go(document: &Document) -> bool {
    document.enabled
}

fn fewer_credentials(new: &Document, old: &Document) -> bool {
    let fingerprints: HashSet<&str> = old.certificates.iter().map(|entry| entry.fingerprint.as_str()).collect();
    let fewer = new.certificates.iter().all(|entry| fingerprints.contains(entry.fingerprint.as_str()))
        && is_subset(&new.spki_pins, &old.spki_pins)
        && is_subset(&new.authority, &old.authority);
    let same = new.certificates.len() == old.certificates.len() && new.spki_pins == old.spki_pins && new.authority == old.authority;
    fewer
        && (same || may_go(old))
        // A revoked certificate takes the others of its key with it, and one that was renewed lately keeps the next one waiting; so
        // long as it is there, and all that a successor is compared with.
        && (!old.renews_same_key() || (new.renews_same_key() && new.certificates == old.certificates))
}

/// Who the upstream is told of, and whose word is taken for an address.
fn same_identity(new: &Document, old: &Document) -> bool {
    let identifies = |document: &Document| document.certificates.is_empty() && document.spki_pins.is_empty();
    new.id == old.id
        && new.name == old.name
        && new.identifier == old.identifier
        // The default depends on the kind of credentials.
        && (new.identifier.is_some() || identifies(new) == identifies(old))
        && new.gateway_ips == old.gateway_ips
}

fn less_rights(new: &Document, old: &Document) -> bool {
    let rank = |clearance| match clearance {
        Clearance::Admin => Some(2),
        Clearance::Operator => Some(1),
        Clearance::User => Some(0),
        Clearance::Node => None,
    };
    let (now, before) = (new.clearance(), old.clearance());
    let lower = now == before || matches!((rank(now), rank(before)), (Some(now), Some(before)) if now < before);
    let denies = |permission: &&PermissionDocument| permission.access == "deny";
    // Admins skip permissions: whatever they had, they could do all.
    let fewer = before == Clearance::Admin
        || (new.permissions.iter().filter(|permission| !denies(permission)).all(|permission| old.permissions.contains(permission))
            && old.permissions.iter().filter(denies).all(|permission| new.permissions.contains(permission)));
    lower && fewer
}

fn later(new: Option<&str>, old: Option<&str>, is_less: impl Fn(u64, u64) -> bool) -> bool {
    match (new, old) {
        (_, None) => true,
        (None, Some(_)) => false,
        (Some(new), Some(old)) => new == old || rfc3339(new).zip(rfc3339(old)).is_some_and(|(new, old)| is_less(new, old)),
    }
}

/// An absent list lets everything through.
fn narrower(new: Option<&[String]>, old: Option<&[String]>) -> bool {
    match (new, old) {
        (_, None) => true,
        (None, Some(_)) => false,
        (Some(new), Some(old)) => is_subset(new, old),
    }
}

/// Short lists: no document has more than so many entries of a kind.
fn is_subset<T: PartialEq>(part: &[T], whole: &[T]) -> bool {
    part.iter().all(|item| whole.contains(item))
}

/// What stands before a document, where one is put.
const PUT: &[u8] = br#"{"action":"principal.put","document":"#;

#[cfg(test)]
mod tests;

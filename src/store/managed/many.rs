//! Documents compiled one after the other: what many have in common is made once, and shared.

use std::sync::Arc;

use super::compile::Known;
use super::document::Document;
use super::managed::Managed;
use super::refusal::Invalid;
use crate::admission::layer::Entry;
use crate::admission::{Conflict, Credential, Pin, Principal, PrincipalId, Provenance, RosterBuilder, Terms};

/// Compiles documents, of which one is often like the one before.
#[derive(Debug, Default)]
pub(super) struct Many {
    before: Option<(Document, Arc<Terms>)>,
}

impl Many {
    pub(super) fn compile(&mut self, kept: &Managed, document: Document) -> Result<Entry, Vec<Invalid>> {
        let same = self.before.as_ref().filter(|(before, _)| have_same_terms(&document, before)).map(|(_, terms)| terms);
        let is_new = same.is_none();
        let compiled = kept.compile(&document, Known { kin: None, terms: same })?;
        if is_new {
            self.before = Some((document, Arc::clone(&compiled.0.terms)));
        }
        Ok(compiled)
    }
}

/// What came of a document.
#[derive(Debug)]
pub(super) enum Compiled {
    Other(Arc<Managed>, Box<Result<Entry, Vec<Invalid>>>),
    /// One pin, and no other name than its own: nearly all of a million. Kept without allocations, of which there would be millions.
    Pinned(PrincipalId, Arc<Managed>, Arc<Terms>, Pin),
}

impl Compiled {
    pub(super) fn of(kept: &Arc<Managed>, compiled: Result<Entry, Vec<Invalid>>) -> Self {
        if let Ok((Principal { display_name: None, terms, .. }, credentials)) = &compiled
            && let [(Credential::Pin(pin), _)] = &credentials[..]
        {
            return Self::Pinned(*kept.id(), Arc::clone(kept), Arc::clone(terms), *pin);
        }
        Self::Other(Arc::clone(kept), Box::new(compiled))
    }

    pub(super) fn id(&self) -> PrincipalId {
        match self {
            Self::Other(kept, _) => *kept.id(),
            Self::Pinned(id, ..) => *id,
        }
    }

    /// Says what is wrong, where something is.
    pub(super) fn wrong(&self) -> Option<&Vec<Invalid>> {
        match self {
            Self::Other(_, compiled) => compiled.as_ref().as_ref().err(),
            Self::Pinned(..) => None,
        }
    }

    /// Adds those of whom nothing is wrong to a part of the layer. They lie all over the memory: they are fetched first, many at once, and
    /// put together then.
    pub(super) fn add(some: &[&Self], builder: &mut RosterBuilder) -> Result<(), Conflict> {
        let (mut pinned, mut others) = (Vec::with_capacity(some.len()), Vec::new());
        for compiled in some {
            match compiled {
                Self::Other(_, compiled) => others.push(compiled),
                Self::Pinned(id, kept, terms, pin) => pinned.push((id, &**kept, terms, pin)),
            }
        }
        let known: Vec<(u64, &str)> = pinned.iter().map(|(_, kept, ..)| (kept.index, kept.name())).collect();
        let names: String = known.iter().map(|(_, name)| *name).collect();
        let (mut names, mut written) = (names.as_str(), Provenance::ledger(0));
        for ((id, _, terms, pin), (index, name)) in pinned.iter().zip(&known) {
            let (name, rest) = names.split_at(name.len());
            names = rest;
            written.line = Provenance::ledger_line(*index);
            builder.add_chosen_pin((**id, name), terms, **pin, &written)?;
        }
        others.into_iter().filter_map(|compiled| compiled.as_ref().as_ref().ok()).try_for_each(|entry| builder.add(&entry.0, &entry.1))
    }
}

/// Tells whether two documents say the same of when, from where and to what. Each field is named, so that a new one is thought of here.
fn have_same_terms(one: &Document, other: &Document) -> bool {
    let Document {
        id: _,
        name: _,
        display_name: _,
        version: _,
        enabled,
        valid_from,
        valid_until,
        client_ips,
        gateway_ips,
        cors_origins,
        serve,
        clearance,
        permissions,
        role: _,
        identifier,
        audit_claims,
        allow_any_eku,
        renewal,
        require_crl_dp,
        require_when,
        token_ttl,
        expiry_notice,
        description,
        protected: _,
        certificates,
        fingerprints: _,
        spki_pins,
        authority: _,
        revoked_ids: _,
        created: _,
        changed: _,
    } = one;
    let is_pinned = !(certificates.is_empty() && spki_pins.is_empty());
    let other_is_pinned = !(other.certificates.is_empty() && other.spki_pins.is_empty());
    // Who renews is compared with its own certificates, which are part of its terms.
    renewal.is_none()
        && other.renewal.is_none()
        && is_pinned == other_is_pinned
        && *enabled == other.enabled
        && *valid_from == other.valid_from
        && *valid_until == other.valid_until
        && *client_ips == other.client_ips
        && *gateway_ips == other.gateway_ips
        && *cors_origins == other.cors_origins
        && *serve == other.serve
        && *clearance == other.clearance
        && *permissions == other.permissions
        && *identifier == other.identifier
        && *audit_claims == other.audit_claims
        && *allow_any_eku == other.allow_any_eku
        && *require_crl_dp == other.require_crl_dp
        && *require_when == other.require_when
        && *token_ttl == other.token_ttl
        && *expiry_notice == other.expiry_notice
        && *description == other.description
}

#[cfg(test)]
mod tests {
    use super::*;

    fn document(name: &str, number: u32, role: &str) -> Document {
        let fingerprints = vec![format!("{number:064x}")];
        let id = format!("p-{number:012}");
        Document { id, name: name.to_owned(), fingerprints, role: Some(role.to_owned()), ..Document::default() }.normalised().expect("good")
    }

    #[test]
    fn only_who_says_the_same_shares_and_all_is_as_if_compiled_alone() {
        let readers = [document("one", 1, "Reader"), document("two", 2, "Reader")];
        let changed = |change: fn(&mut Document)| {
            let mut document = document("other", 3, "Reader");
            change(&mut document);
            document
        };
        let others = [
            document("three", 3, "Contributor"),
            document("admin", 3, "Administrator"),
            changed(|document| document.enabled = false),
            changed(|document| document.valid_until = Some("2027-01-01T00:00:00Z".to_owned())),
            changed(|document| document.client_ips = Some(vec!["10.0.0.0/8".to_owned()])),
            changed(|document| document.description = Some("a door".to_owned())),
            changed(|document| document.renewal = Some("same-key".to_owned())),
        ];
        let kept = |document: &Document| {
            let text = serde_json::to_vec(document).expect("text");
            Managed::new(document.id.parse().expect("an id"), (&document.name, text.into()), 7)
        };
        let [first, second] = readers.each_ref().map(kept);
        for other in others.iter().map(kept) {
            let mut many = Many::default();
            let terms = [&first, &second, &other, &first].map(|kept| many.compile(kept, kept.document()).expect("good").0.terms);
            assert!(Arc::ptr_eq(&terms[0], &terms[1]) && !Arc::ptr_eq(&terms[1], &terms[2]) && terms[0] == terms[3]);
            assert_eq!(terms[2], other.document().compile(7).expect("good").0.terms, "{other:?}");
        }
    }
}

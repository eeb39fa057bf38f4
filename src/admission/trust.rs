//! The trust anchors of all authorities together: every one of them is an anchor for its own authorities, and an
//! intermediate for the others.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use super::authority::{AnchorProblemKind, Authority, lasting_problem};
use super::principal::{Principal, Provenance};
use super::roster::Roster;
use crate::pki::{Certificate, Fingerprint, SpkiPin};

/// Every configured CA certificate, once, and the authorities in the order in which they are asked.
#[derive(Debug, Default)]
pub(super) struct Trust {
    authorities: Vec<Listed>,
    known: Vec<Known>,
    by_subject: HashMap<Box<[u8]>, Vec<u32>>,
    by_key_id: HashMap<Box<[u8]>, Vec<u32>>,
    keys: HashSet<SpkiPin>,
    anchors_identity: Option<Fingerprint>,
    bounds_identity: Option<Fingerprint>,
}

/// One authority of one principal.
#[derive(Debug)]
pub(super) struct Listed {
    pub(super) authority: Arc<Authority>,
    roster: Arc<Roster>,
    owner: u32,
    pub(super) name: Box<str>,
    pub(super) written: Provenance,
}

/// A configured CA certificate.
#[derive(Debug)]
pub(super) struct Known {
    pub(super) certificate: Arc<Certificate>,
    /// Why it anchors nothing, whatever the time.
    pub(super) problem: Option<AnchorProblemKind>,
    /// The authorities whose bundle it stands in, by index; ascending.
    pub(super) authorities: Vec<u32>,
}

impl Listed {
    /// Puts the principal together.
    pub(super) fn principal(&self) -> Arc<Principal> {
        Arc::new(self.roster.principal(self.owner))
    }
}

impl Trust {
    pub(super) fn compile<'a>(rosters: impl Iterator<Item = &'a Arc<Roster>>) -> Self {
        let mut authorities: Vec<Listed> = Vec::new();
        for roster in rosters {
            authorities.extend(roster.authorities().map(|(authority, owner, written)| Listed {
                authority: Arc::clone(authority),
                roster: Arc::clone(roster),
                owner,
                name: roster.name(owner).into(),
                written,
            }));
        }
        // Stable: several authorities of one principal keep their order.
        authorities.sort_by(|a, b| (a.authority.priority, &a.name).cmp(&(b.authority.priority, &b.name)));
        let mut trust = Self { authorities, ..Self::default() };
        trust.index();
        trust
    }

    /// Returns the authorities in the order in which they are asked.
    pub(super) fn authorities(&self) -> &[Listed] {
        &self.authorities
    }

    pub(super) fn known(&self, index: u32) -> &Known {
        &self.known[index as usize]
    }

    pub(super) fn certificates(&self) -> impl Iterator<Item = &Arc<Certificate>> {
        self.known.iter().map(|known| &known.certificate)
    }

    /// Tells whether a certificate is configured, byte by byte.
    pub(super) fn has(&self, certificate: &Certificate) -> bool {
        self.by_subject(&certificate.subject.der).iter().any(|at| self.known(*at).certificate.fingerprint == certificate.fingerprint)
    }

    /// Returns the configured certificates with this subject (DER of the Name).
    pub(super) fn by_subject(&self, name: &[u8]) -> &[u32] {
        self.by_subject.get(name).map_or(&[], Vec::as_slice)
    }

    /// Returns the keys of all configured certificates.
    pub(super) fn keys(&self) -> &HashSet<SpkiPin> {
        &self.keys
    }

    /// Returns the configured certificates with this subject key id.
    pub(super) fn by_key_id(&self, id: &[u8]) -> &[u32] {
        self.by_key_id.get(id).map_or(&[], Vec::as_slice)
    }

    /// Tells anchors from other anchors: paths found under one set say nothing under another.
    pub(super) fn anchors_identity(&self) -> Fingerprint {
        self.anchors_identity.unwrap_or_else(|| Fingerprint::of(b""))
    }

    /// Tells bounds and priorities from others.
    pub(super) fn bounds_identity(&self) -> Fingerprint {
        self.bounds_identity.unwrap_or_else(|| Fingerprint::of(b""))
    }

    fn index(&mut self) {
        let mut places: HashMap<Fingerprint, u32> = HashMap::new();
        let mut bounds = Vec::new();
        for (number, listed) in self.authorities.iter().enumerate() {
            let number = u32::try_from(number).unwrap_or(u32::MAX);
            bounds.extend_from_slice(listed.name.as_bytes());
            bounds.extend_from_slice(format!(":{}:{}:", listed.authority.priority, listed.authority.require_client_eku).as_bytes());
            listed.authority.bounds.write_identity(&mut bounds);
            for certificate in &listed.authority.certificates {
                bounds.extend_from_slice(certificate.fingerprint.as_bytes());
                let at = *places.entry(certificate.fingerprint).or_insert_with(|| {
                    let problem = lasting_problem(certificate);
                    self.known.push(Known { certificate: Arc::clone(certificate), problem, authorities: Vec::new() });
                    u32::try_from(self.known.len() - 1).unwrap_or(u32::MAX)
                });
                let known = &mut self.known[at as usize];
                if known.authorities.last() != Some(&number) {
                    known.authorities.push(number);
                }
            }
        }
        let mut anchors: Vec<[u8; 32]> = places.keys().map(|fingerprint| *fingerprint.as_bytes()).collect();
        anchors.sort_unstable();
        self.anchors_identity = Some(Fingerprint::of(anchors.as_flattened()));
        self.bounds_identity = Some(Fingerprint::of(&bounds));
        for (at, known) in self.known.iter().enumerate() {
            let at = u32::try_from(at).unwrap_or(u32::MAX);
            let certificate = &known.certificate;
            self.keys.insert(certificate.spki_pin);
            self.by_subject.entry(certificate.subject.der.clone()).or_default().push(at);
            if let Some(id) = &certificate.subject_key_id {
                self.by_key_id.entry(id.clone()).or_default().push(at);
            }
        }
    }
}

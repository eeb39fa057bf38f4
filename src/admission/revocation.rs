//! Revocation: everything that takes a certificate off, whatever lists it. Ids here; CRLs in `crl.rs`.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use super::allowlist::Allowlist;
use super::authority::Authority;
use super::crl::{CrlProblem, CrlRefusal, Crls, CrlsBuilder, StaleCrl};
use super::principal::{PrincipalName, Provenance};
use super::revoked_id::{RevokedId, Target};
use crate::pki::{Certificate, Crl, Fingerprint, SpkiPin};

/// Everything that takes a certificate off. Asked in constant time per certificate, however long the lists are.
#[derive(Debug, Default)]
pub struct Revocation {
    entries: Vec<Entry>,
    everywhere: IdSet,
    /// A principal's ids bind every principal with the same anchor key.
    by_anchor_key: HashMap<SpkiPin, IdSet>,
    by_principal: HashMap<Box<str>, IdSet>,
    /// Every serial that some id gives with its issuer.
    issued_serials: HashSet<Box<[u8]>>,
    pub(super) crls: Crls,
}

/// Collects revoked ids and CRLs, then compiles them.
#[derive(Debug, Default)]
pub struct RevocationBuilder {
    revocation: Revocation,
    crls: CrlsBuilder,
}

/// A revoked id, and where it was written.
#[derive(Debug)]
struct Entry {
    id: RevokedId,
    written: Provenance,
}

/// Ids by what they hit; the values are indices of entries.
#[derive(Debug, Default)]
struct IdSet {
    fingerprints: HashMap<Fingerprint, u32>,
    serials: HashMap<Box<[u8]>, u32>,
    serials_of_issuers: HashMap<(Box<[u8]>, SpkiPin), u32>,
    /// The serials among `serials_of_issuers`, for those whose issuer's key is not known.
    issued_serials: HashMap<Box<[u8]>, Vec<(SpkiPin, u32)>>,
    sha1s: HashMap<[u8; 20], u32>,
    spkis: HashMap<SpkiPin, u32>,
    subject_key_ids: HashMap<Box<[u8]>, u32>,
}

/// Whose key issued a certificate, as far as that is known.
#[derive(Clone, Copy, Debug)]
pub(super) enum Issuer<'a> {
    Key(&'a SpkiPin),
    /// Another question will say.
    Unasked,
    /// No configured CA signed it, these being their keys: its issuer is nobody we know.
    NotAmong(&'a HashSet<SpkiPin>),
}

/// Which serials without an issuer count.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Serials {
    Counted,
    Ignored,
}

/// What hit a certificate: for the operator.
pub(super) type Hit = String;

impl RevocationBuilder {
    /// Starts from nothing, knowing what is in force: CRLs that stay need no second check of their signatures.
    pub fn after(revocation: &Revocation) -> Self {
        Self { crls: CrlsBuilder::after(&revocation.crls), ..Self::default() }
    }

    /// Revokes an id everywhere. A serial without its issuer concerns leaves only.
    pub fn id(&mut self, id: RevokedId, written: Provenance) {
        let entry = self.entry(id, written);
        self.revocation.everywhere.insert(&self.revocation.entries[entry as usize].id, entry);
    }

    /// Revokes an id of a principal: for the principal itself, and for every principal whose authorities have an anchor key in
    /// common with this one's.
    pub fn principal_id(&mut self, id: RevokedId, written: Provenance, principal: &PrincipalName, authorities: &[Arc<Authority>]) {
        let entry = self.entry(id, written);
        let revocation = &mut self.revocation;
        let id = &revocation.entries[entry as usize].id;
        revocation.by_principal.entry(principal.as_str().to_ascii_lowercase().into()).or_default().insert(id, entry);
        for anchor in authorities.iter().flat_map(|authority| &authority.certificates) {
            revocation.by_anchor_key.entry(anchor.spki_pin).or_default().insert(id, entry);
        }
    }

    /// Adds a CRL. Delta and indirect ones are refused: reading them as complete ones would lose entries.
    pub fn crl(&mut self, crl: Arc<Crl>, written: Provenance) -> Result<(), CrlRefusal> {
        self.crls.add(crl, written)
    }

    /// Says what a stale CRL means, and whether every issuer needs a fresh one.
    pub fn crl_policy(&mut self, stale: StaleCrl, required: bool) {
        self.crls.policy(stale, required);
    }

    /// Compiles: CRLs are checked against the configured CAs, and only the newest of each counts. What is
    /// wrong with them is in [`Revocation::crl_problems`].
    pub fn finish(self, allowlist: &Allowlist) -> Revocation {
        Revocation { crls: self.crls.finish(&allowlist.trust), ..self.revocation }
    }

    fn entry(&mut self, id: RevokedId, written: Provenance) -> u32 {
        for target in &id.targets {
            if let Target::SerialOfIssuer(serial, _) = target {
                self.revocation.issued_serials.insert(serial.clone());
            }
        }
        self.revocation.entries.push(Entry { id, written });
        u32::try_from(self.revocation.entries.len() - 1).unwrap_or(u32::MAX)
    }
}

impl Revocation {
    /// Returns every revoked id and where it was written.
    pub fn ids(&self) -> impl Iterator<Item = (&RevokedId, &Provenance)> {
        self.entries.iter().map(|entry| (&entry.id, &entry.written))
    }

    /// Says what is wrong, or worth a warning, about the CRLs: an old one beside a newer, one that nobody configured signed.
    pub fn crl_problems(&self) -> &[CrlProblem] {
        self.crls.problems()
    }

    /// Returns the SHA-256 of each CRL whose place a newer one of its issuer has taken.
    pub fn superseded_crls(&self) -> &[Fingerprint] {
        self.crls.superseded()
    }

    /// Returns the CRLs that count, and where they were read.
    pub fn crls(&self) -> impl Iterator<Item = (&Arc<Crl>, &Provenance)> {
        self.crls.iter()
    }

    /// Tells whether an id hits a certificate, its issuer left aside: what `check` and `revoke` print of the certificates they know.
    pub fn id_hits(id: &RevokedId, certificate: &Certificate) -> bool {
        let mut set = IdSet::default();
        set.insert(id, 0);
        set.hit(certificate, Issuer::NotAmong(&HashSet::new()), Serials::Counted).is_some()
    }

    /// Looks a leaf up among the ids that hold everywhere; those of an issuer left aside.
    pub(super) fn leaf_hit(&self, leaf: &Certificate) -> Option<Hit> {
        self.describe(self.everywhere.hit(leaf, Issuer::Unasked, Serials::Counted))
    }

    /// Tells whether some id could hit a certificate of this serial by its issuer: only then is it worth finding out who that is.
    pub(super) fn asks_for_issuer(&self, certificate: &Certificate) -> bool {
        self.issued_serials.contains(&certificate.serial)
    }

    /// Looks a leaf up among a principal's own ids, and among all ids of its issuer.
    pub(super) fn principal_hit(&self, principal: &PrincipalName, leaf: &Certificate, issuer: Issuer<'_>) -> Option<Hit> {
        let own = self.principal_set(principal).and_then(|set| set.hit(leaf, issuer, Serials::Counted));
        self.describe(own.or_else(|| self.everywhere.hit_by_issuer(leaf, issuer)))
    }

    /// Looks an intermediate or an anchor up among the ids that hold everywhere.
    pub(super) fn issuer_hit(&self, certificate: &Certificate, issuer: Issuer<'_>) -> Option<Hit> {
        self.describe(self.everywhere.hit(certificate, issuer, Serials::Ignored))
    }

    /// Looks a path member up among the ids of principals with this anchor key; `below`: the member stands below that key.
    pub(super) fn anchor_hit(&self, key: &SpkiPin, member: &Certificate, issuer: Issuer<'_>, below: bool) -> Option<Hit> {
        let serials = if below { Serials::Counted } else { Serials::Ignored };
        self.describe(self.by_anchor_key.get(key)?.hit(member, issuer, serials))
    }

    fn principal_set(&self, principal: &PrincipalName) -> Option<&IdSet> {
        if self.by_principal.is_empty() {
            return None;
        }
        self.by_principal.get(&*principal.as_str().to_ascii_lowercase())
    }

    fn describe(&self, entry: Option<u32>) -> Option<Hit> {
        let entry = &self.entries[entry? as usize];
        Some(format!("revoked by {:?} ({})", entry.id.as_str(), entry.written))
    }
}

impl IdSet {
    fn insert(&mut self, id: &RevokedId, entry: u32) {
        for target in &id.targets {
            match target {
                Target::Fingerprint(fingerprint) => drop(self.fingerprints.insert(*fingerprint, entry)),
                Target::Serial(serial) => drop(self.serials.insert(serial.clone(), entry)),
                Target::SerialOfIssuer(serial, issuer) => {
                    self.serials_of_issuers.insert((serial.clone(), *issuer), entry);
                    self.issued_serials.entry(serial.clone()).or_default().push((*issuer, entry));
                }
                Target::Sha1(sha1) => drop(self.sha1s.insert(*sha1, entry)),
                Target::Spki(pin) => drop(self.spkis.insert(*pin, entry)),
                Target::SubjectKeyId(id) => drop(self.subject_key_ids.insert(id.clone(), entry)),
            }
        }
    }

    fn hit(&self, certificate: &Certificate, issuer: Issuer<'_>, serials: Serials) -> Option<u32> {
        self.hit_by_itself(certificate)
            .or_else(|| self.serials.get(&certificate.serial).filter(|_| serials == Serials::Counted).copied())
            .or_else(|| self.hit_by_issuer(certificate, issuer))
    }

    fn hit_by_itself(&self, certificate: &Certificate) -> Option<u32> {
        let mut hit = self.fingerprints.get(&certificate.fingerprint).or_else(|| self.spkis.get(&certificate.spki_pin));
        if let Some(id) = &certificate.subject_key_id {
            hit = hit.or_else(|| self.subject_key_ids.get(id));
        }
        // Anybody can make the other certificate with the same signed part out of one with an ECDSA signature: (r, n - s)
        // verifies as (r, s) does. So an id hits both.
        if hit.is_none() && !self.fingerprints.is_empty() {
            hit = certificate.twin().and_then(|twin| self.fingerprints.get(&twin));
        }
        if hit.is_none() && !self.sha1s.is_empty() {
            let twin = || certificate.twin_sha1().and_then(|sha1| self.sha1s.get(&sha1));
            hit = self.sha1s.get(&certificate.sha1()).or_else(twin);
        }
        hit.copied()
    }

    fn hit_by_issuer(&self, certificate: &Certificate, issuer: Issuer<'_>) -> Option<u32> {
        if self.issued_serials.is_empty() {
            return None;
        }
        match issuer {
            Issuer::Unasked => None,
            Issuer::Key(key) => self.serials_of_issuers.get(&(certificate.serial.clone(), *key)).copied(),
            // Closed, not open: the serial fits, and nobody can tell us that the issuer does not.
            Issuer::NotAmong(keys) => {
                let issued = self.issued_serials.get(&certificate.serial)?;
                issued.iter().find(|(key, _)| !keys.contains(key)).map(|(_, entry)| *entry)
            }
        }
    }
}

//! Revocation: everything that takes a certificate off, whatever lists it. Ids here; CRLs in `crl.rs`.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use rustls_pki_types::UnixTime;

use super::allowlist::Allowlist;
use super::authority::Authority;
use super::claims::TokenId;
use super::crl::{Crls, CrlsBuilder, StaleCrl};
use super::crl_problem::{CrlProblem, CrlRefusal};
use super::principal::{PrincipalName, Provenance};
use super::reach::Reach;
use super::revoked_id::{RevokedId, Target};
use super::revoked_ids::{Revoked, RevokedIds, hits};
use super::revoked_tokens::RevokedTokens;
use crate::pki::{Certificate, Crl, Fingerprint, SpkiPin};

/// Everything that takes a certificate off. Asked in constant time per certificate, however long the lists are.
#[derive(Debug, Default)]
pub struct Revocation {
    /// Ids that stand in the configuration, in its order.
    entries: Vec<(RevokedId, Provenance)>,
    /// Those of them that hold everywhere.
    own: RevokedIds,
    /// Those of each other source.
    sources: Vec<RevokedIds>,
    /// A principal's ids bind every principal with the same anchor key.
    by_anchor_key: HashMap<SpkiPin, RevokedIds>,
    by_principal: HashMap<Box<str>, RevokedIds>,
    /// What principals that are gone said of a leaf, or of its key.
    by_leaf: HashMap<Reach, RevokedIds>,
    /// Every serial that some principal's id gives with its issuer.
    issued_serials: HashSet<Box<[u8]>>,
    pub(super) tokens: RevokedTokens,
    pub(super) crls: Crls,
}

/// Collects revoked ids and CRLs, then compiles them.
#[derive(Debug, Default)]
pub struct RevocationBuilder {
    revocation: Revocation,
    own: Vec<(RevokedId, Provenance)>,
    by_anchor_key: HashMap<SpkiPin, Vec<(RevokedId, Provenance)>>,
    by_principal: HashMap<Box<str>, Vec<(RevokedId, Provenance)>>,
    by_leaf: HashMap<Reach, Vec<(RevokedId, Provenance)>>,
    crls: CrlsBuilder,
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
        self.revocation.entries.push((id.clone(), written.clone()));
        self.own.push((id, written));
    }

    /// Includes the ids of one source, compiled before; they hold everywhere.
    pub fn include(&mut self, ids: &RevokedIds) {
        if !ids.is_empty() {
            self.revocation.sources.push(ids.clone());
        }
    }

    /// Revokes an id of a principal: for the principal itself, and for every principal whose authorities have an anchor key in
    /// common with this one's.
    pub fn principal_id(&mut self, id: RevokedId, written: Provenance, principal: &PrincipalName, authorities: &[Arc<Authority>]) {
        self.note_issued(&id);
        let mut keys: Vec<SpkiPin> =
            authorities.iter().flat_map(|authority| &authority.certificates).map(|anchor| anchor.spki_pin).collect();
        keys.sort_unstable();
        keys.dedup();
        for key in keys {
            self.by_anchor_key.entry(key).or_default().push((id.clone(), written.clone()));
        }
        let principal = principal.as_str().to_ascii_lowercase().into();
        self.by_principal.entry(principal).or_default().push((id.clone(), written.clone()));
        self.revocation.entries.push((id, written));
    }

    /// Revokes an id for those alone whom it reaches: what a principal said that is gone, or has lost what it said it of.
    pub fn id_within(&mut self, id: RevokedId, written: Provenance, reaches: impl IntoIterator<Item = Reach>) {
        self.note_issued(&id);
        for reach in reaches {
            if let Reach::Key(key) = reach {
                self.by_anchor_key.entry(key).or_default().push((id.clone(), written.clone()));
            }
            self.by_leaf.entry(reach).or_default().push((id.clone(), written.clone()));
        }
        self.revocation.entries.push((id, written));
    }

    fn note_issued(&mut self, id: &RevokedId) {
        for target in &id.targets {
            if let Target::SerialOfIssuer(serial, _) = target {
                self.revocation.issued_serials.insert(serial.clone());
            }
        }
    }

    /// Takes tokens back.
    pub fn tokens(&mut self, tokens: RevokedTokens) {
        self.revocation.tokens = tokens;
    }

    /// Adds a CRL. Delta and indirect ones are refused: reading them as complete ones would lose entries.
    pub fn crl(&mut self, crl: Arc<Crl>, written: Provenance) -> Result<(), CrlRefusal> {
        self.crls.add(crl, written)
    }

    /// Names CAs that signed CRLs which were in force: what those say stays, though no authority may list the CA any more.
    pub fn former_signers(&mut self, signers: &[Arc<Certificate>]) {
        self.crls.former(signers);
    }

    /// Says what a stale CRL means, and whether every issuer needs a fresh one.
    pub fn crl_policy(&mut self, stale: StaleCrl, required: bool) {
        self.crls.policy(stale, required);
    }

    /// Says where a CRL should be that was never seen. Whose it is, nobody knows: where a stale CRL denies, so does its absence,
    /// for every issuer of which there is no CRL.
    pub fn crl_missing(&mut self, place: String) {
        self.crls.missing(place);
    }

    /// Compiles: CRLs are checked against the configured CAs, and only the newest of each counts. What is
    /// wrong with them is in [`Revocation::crl_problems`].
    pub fn finish(self, allowlist: &Allowlist) -> Revocation {
        let Self { mut revocation, own, by_anchor_key, by_principal, by_leaf, crls } = self;
        let compiled = |ids| RevokedIds::default().with(&[], ids);
        revocation.own = compiled(own);
        revocation.by_anchor_key = by_anchor_key.into_iter().map(|(key, ids)| (key, compiled(ids))).collect();
        revocation.by_principal = by_principal.into_iter().map(|(principal, ids)| (principal, compiled(ids))).collect();
        revocation.by_leaf = by_leaf.into_iter().map(|(reach, ids)| (reach, compiled(ids))).collect();
        Revocation { crls: crls.finish(&allowlist.trust), ..revocation }
    }
}

impl Revocation {
    /// Tells whether this token was taken back by itself.
    pub fn has_token(&self, id: &TokenId) -> bool {
        self.tokens.has(id)
    }

    /// Returns every revoked id and where it was written.
    pub fn ids(&self) -> impl Iterator<Item = (&RevokedId, &Provenance)> {
        self.entries.iter().map(|(id, written)| (id, written)).chain(self.sources.iter().flat_map(RevokedIds::iter))
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

    /// Returns the CAs that signed those that count.
    pub fn crl_signers(&self) -> Vec<Arc<Certificate>> {
        self.crls.signers()
    }

    /// Hashes a CRL and checks its signature against the configured CAs, which is then known of it: a long one takes a while, and need
    /// not be looked at again where rules are compiled. Tells whether one of them signed it.
    pub fn look_through(&self, crl: &Crl, allowlist: &Allowlist) -> bool {
        self.crls.look_through(crl, &allowlist.trust)
    }

    /// Says of each CRL that does not speak for now why, and whether that denies whoever its issuer signed.
    pub fn untimely_crls(&self, now: UnixTime, skew: u64) -> impl Iterator<Item = (String, bool, &Provenance)> {
        self.crls.untimely(now, skew)
    }

    /// Tells whether an id hits a certificate, its issuer left aside: what `check` and `revoke` print of the certificates they know.
    pub fn id_hits(id: &RevokedId, certificate: &Certificate) -> bool {
        hits(id, certificate)
    }

    /// Looks a leaf up among the ids that hold everywhere; those of an issuer left aside.
    pub(super) fn leaf_hit(&self, leaf: &Certificate) -> Option<Hit> {
        self.everywhere().find_map(|ids| ids.hit(leaf, Issuer::Unasked, Serials::Counted)).map(describe)
    }

    /// Tells whether some id could hit a certificate of this serial by its issuer: only then is it worth finding out who that is.
    pub(super) fn asks_for_issuer(&self, certificate: &Certificate) -> bool {
        let by_principal = self.issued_serials.contains(&certificate.serial);
        by_principal || self.everywhere().any(|ids| ids.asks_for_issuer(&certificate.serial))
    }

    /// Looks a leaf up among a principal's own ids, what others left behind of it, and all ids of its issuer.
    pub(super) fn principal_hit(&self, principal: &PrincipalName, leaf: &Certificate, issuer: Issuer<'_>) -> Option<Hit> {
        let own = self.principal_ids(principal).and_then(|ids| ids.hit(leaf, issuer, Serials::Counted));
        let left = || self.left_of(leaf).find_map(|ids| ids.hit(leaf, issuer, Serials::Counted));
        own.or_else(left).or_else(|| self.everywhere().find_map(|ids| ids.hit_by_issuer(leaf, issuer))).map(describe)
    }

    /// Looks an intermediate or an anchor up among the ids that hold everywhere.
    pub(super) fn issuer_hit(&self, certificate: &Certificate, issuer: Issuer<'_>) -> Option<Hit> {
        self.everywhere().find_map(|ids| ids.hit(certificate, issuer, Serials::Ignored)).map(describe)
    }

    /// Looks a path member up among the ids of principals with this anchor key; `below`: the member stands below that key.
    pub(super) fn anchor_hit(&self, key: &SpkiPin, member: &Certificate, issuer: Issuer<'_>, below: bool) -> Option<Hit> {
        let serials = if below { Serials::Counted } else { Serials::Ignored };
        self.by_anchor_key.get(key)?.hit(member, issuer, serials).map(describe)
    }

    fn everywhere(&self) -> impl Iterator<Item = &RevokedIds> {
        std::iter::once(&self.own).chain(&self.sources)
    }

    fn left_of(&self, leaf: &Certificate) -> impl Iterator<Item = &RevokedIds> {
        let reaches = [Reach::Certificate(leaf.fingerprint), Reach::Key(leaf.spki_pin)];
        reaches.into_iter().filter(|_| !self.by_leaf.is_empty()).filter_map(|reach| self.by_leaf.get(&reach))
    }

    fn principal_ids(&self, principal: &PrincipalName) -> Option<&RevokedIds> {
        if self.by_principal.is_empty() {
            return None;
        }
        self.by_principal.get(&*principal.as_str().to_ascii_lowercase())
    }
}

fn describe(revoked: &Arc<Revoked>) -> Hit {
    format!("revoked by {:?} ({})", revoked.id.as_str(), revoked.written)
}

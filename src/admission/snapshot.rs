//! Everything a decision needs, immutable; `decide`.

use rustls_pki_types::UnixTime;

use super::allowlist::Allowlist;
use super::bootstrap::Bootstrap;
use super::candidate::Candidate;
use super::decision::{Decision, Steps};
use super::question::Question;
use super::revocation::{Issuer, Revocation};
use super::scope::{RouteScope, Scope, Surface};
use crate::pki::{Certificate, Fingerprint, SpkiPin};

/// The rules in force, as far as admission goes.
#[derive(Debug)]
pub struct Snapshot {
    pub generation: u64,
    pub allowlist: Allowlist,
    pub revocation: Revocation,
    /// Tolerance at both ends of a certificate's validity, in seconds; 0 unless configured, at most 300.
    pub clock_skew: u64,
    /// What our own certificates may begin.
    pub bootstrap: Bootstrap,
}

impl Snapshot {
    /// Judges a candidate (`None`: nothing was presented) in a scope at a time. The same call at every checkpoint.
    pub fn decide(&self, candidate: Option<&Candidate>, scope: &Scope<'_>, now: UnixTime) -> Decision {
        Question::answer(self, candidate, scope, now, Steps::default())
    }

    /// The same where nobody asks why somebody is admitted: the steps of an admission are left out, and cost nothing. A hundred
    /// thousand connections are asked again after an install.
    pub fn decide_in_brief(&self, candidate: Option<&Candidate>, scope: &Scope<'_>, now: UnixTime) -> Decision {
        let decision = Question::answer(self, candidate, scope, now, Steps::in_brief());
        if decision.denial().is_some() { self.decide(candidate, scope, now) } else { decision }
    }

    /// Tells trust anchors, CRLs and bounds from others: where it changes, sessions of before must not be resumed.
    pub fn trust_id(&self) -> [u8; 32] {
        let (trust, crls) = (&self.allowlist.trust, &self.revocation.crls);
        let parts = [trust.anchors_identity(), trust.bounds_identity(), crls.identity()];
        let mut parts = parts.iter().flat_map(|part| part.as_bytes()).copied().collect::<Vec<u8>>();
        parts.extend_from_slice(&crls.policy_identity());
        *Fingerprint::of(&parts).as_bytes()
    }

    /// Tells whether a preflight of an origin is to be answered on a route: whether anybody who can reach it lists the origin.
    pub fn preflight_allows(&self, route: &RouteScope, origin: &str) -> bool {
        self.allowlist.preflight_allows(route, origin)
    }

    /// Tells the same of a surface of our own that asks for no certificate.
    pub fn preflight_allows_on(&self, surface: Surface, origin: &str) -> bool {
        self.allowlist.preflight_allows_on(surface, origin)
    }

    /// Finds by whose key a certificate without a path is signed: its own, or a configured CA's. Looked for only where some id
    /// asks for it, since it takes signatures.
    pub(super) fn issuer_of(&self, leaf: &Certificate) -> Option<SpkiPin> {
        if !self.revocation.asks_for_issuer(leaf) {
            return None;
        }
        if leaf.is_self_issued() && leaf.is_signed_by(leaf.spki()) {
            return Some(leaf.spki_pin);
        }
        let trust = &self.allowlist.trust;
        let named = trust.by_subject(&leaf.issuer.der).iter().map(|known| &trust.known(*known).certificate);
        named.take(MOST_ISSUERS).find(|issuer| leaf.is_signed_by(issuer.spki())).map(|issuer| issuer.spki_pin)
    }

    pub(super) fn issuer<'a>(&'a self, key: Option<&'a SpkiPin>) -> Issuer<'a> {
        key.map_or(Issuer::NotAmong(self.allowlist.trust.keys()), Issuer::Key)
    }
}

/// Configured CAs of one name whose signature on a leaf is tried when only an id's issuer is in question.
const MOST_ISSUERS: usize = 16;

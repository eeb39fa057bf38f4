//! Everything a decision needs, immutable; `decide`.

use rustls_pki_types::UnixTime;

use super::allowlist::Allowlist;
use super::candidate::Candidate;
use super::decision::Decision;
use super::revocation::Revocation;
use super::scope::{RouteScope, Scope};
use crate::pki::Fingerprint;

/// The rules in force, as far as admission goes.
#[derive(Debug)]
pub struct Snapshot {
    pub generation: u64,
    pub allowlist: Allowlist,
    pub revocation: Revocation,
    /// Tolerance at both ends of a certificate's validity, in seconds; 0 unless configured, at most 300.
    pub clock_skew: u64,
}

impl Snapshot {
    /// Judges a candidate (`None`: nothing was presented) in a scope at a time. The same call at every checkpoint.
    pub fn decide(&self, candidate: Option<&Candidate>, scope: &Scope<'_>, now: UnixTime) -> Decision {
        let _ = (candidate, scope, now);
        todo!()
    }

    /// Tells trust anchors, CRLs and bounds from others: where it changes, sessions of before must not be resumed.
    pub fn trust_id(&self) -> [u8; 32] {
        let mut parts = Vec::new();
        parts.extend_from_slice(self.allowlist.trust.anchors_identity().as_bytes());
        parts.extend_from_slice(self.allowlist.trust.bounds_identity().as_bytes());
        self.revocation.crls.write_identity(&mut parts);
        *Fingerprint::of(&parts).as_bytes()
    }

    /// Tells whether a preflight of an origin is to be answered on a route: whether anybody who can reach it lists the origin.
    pub fn preflight_allows(&self, route: &RouteScope, origin: &str) -> bool {
        self.allowlist.preflight_allows(route, origin)
    }
}

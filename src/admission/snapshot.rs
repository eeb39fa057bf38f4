//! Everything a decision needs, immutable; `decide`.

use rustls_pki_types::UnixTime;

use super::allowlist::Allowlist;
use super::candidate::Candidate;
use super::decision::Decision;
use super::revocation::Revocation;
use super::scope::Scope;

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
}

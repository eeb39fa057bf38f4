//! `require_crl_dp` of a principal: its leaf has to say where its CRL is to be had, and a fresh CRL at hand has to speak of it. Where the
//! CRL comes from is the operator's business: nothing is fetched from where a certificate says. Asked by `snapshot`, once the
//! principal is known; the CRLs of a path are asked in `authorities`.

use rustls_pki_types::UnixTime;

use super::chain::Issuer;
use super::crl::Status;
use super::decision::Horizon;
use super::snapshot::Snapshot;
use crate::pki::{Certificate, crl};

/// What is found where all is well.
pub(super) const FRESH: &str = "require_crl_dp = true: the leaf names a CRL distribution point, and fresh CRLs speak of it";

/// Asks whether a leaf says where its CRL is.
pub(super) fn names_it(leaf: &Certificate) -> Result<(), String> {
    match crl::names_distribution_point(leaf) {
        true => Ok(()),
        false => Err("require_crl_dp = true, and the leaf names no CRL distribution point".to_owned()),
    }
}

/// Asks of a leaf without a path, a pinned one: some configured CA signed it, and a fresh CRL of that one speaks of it.
pub(super) fn check(snapshot: &Snapshot, leaf: &Certificate, now: UnixTime, horizon: &mut Horizon) -> Result<(), String> {
    names_it(leaf)?;
    let (trust, crls) = (&snapshot.allowlist.trust, &snapshot.revocation.crls);
    let named = trust.by_subject(&leaf.issuer.der).iter().map(|known| &trust.known(*known).certificate);
    let mut why = None;
    for issuer in named.take(MOST_ISSUERS).filter(|issuer| leaf.is_signed_by(issuer.spki())) {
        let issuer = Issuer { certificate: issuer.clone(), speaking: crls.speaking_for(issuer) };
        match crls.status(leaf, &issuer, now.as_secs(), snapshot.clock_skew, true, horizon) {
            Status::Clean => return Ok(()),
            Status::Revoked(unknown) | Status::Unknown(unknown) => why = why.or(Some(unknown)),
        }
    }
    Err(why.unwrap_or_else(|| "require_crl_dp = true, and no configured CA signed the leaf: whose CRL would speak of it?".to_owned()))
}

/// Configured CAs of one name whose signature is tried.
const MOST_ISSUERS: usize = 16;

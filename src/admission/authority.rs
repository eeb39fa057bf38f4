//! Authorities: trust anchors with bounds. What a certificate must be to anchor anything is said here.

use std::sync::Arc;

use rustls_pki_types::UnixTime;

use super::bounds::Bounds;
use super::chain;
use crate::pki::{Certificate, Validity};

/// Trust anchors with bounds.
#[derive(Debug)]
pub struct Authority {
    /// The bundle: trust anchors; partial chains may end at any of them.
    pub certificates: Vec<Arc<Certificate>>,
    pub bounds: Bounds,
    /// Lowest first; 100 unless configured.
    pub priority: u32,
    /// An absent EKU does not pass (the default).
    pub require_client_eku: bool,
}

/// What is wrong with a certificate of a bundle.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AnchorProblem {
    /// Its index in the bundle.
    pub index: usize,
    pub kind: AnchorProblemKind,
}

/// Why a certificate cannot be a trust anchor; alphabetical.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AnchorProblemKind {
    /// An extension marked critical that we do not know may restrict what we would allow.
    CriticalExtension,
    /// For now: it may end at a reload or with time.
    Expired,
    NoCertSign,
    NotACa,
    NotYetValid,
    /// RFC 5280's reading fails: an old version, a broken extension.
    Unreadable,
    WeakKey,
}

impl Authority {
    /// Says what is wrong with the bundle at a time: nobody is admitted by such a certificate while it lasts. To be
    /// refused at load, unless another certificate of the bundle is right and it is only its time that is wrong.
    pub fn problems(&self, now: UnixTime, skew: u64) -> Vec<AnchorProblem> {
        let of = |certificate: &Certificate| match (lasting_problem(certificate), certificate.validity(now, skew)) {
            (Some(kind), _) => Some(kind),
            (None, Validity::Expired) => Some(AnchorProblemKind::Expired),
            (None, Validity::NotYet) => Some(AnchorProblemKind::NotYetValid),
            (None, Validity::Valid) => None,
        };
        self.certificates
            .iter()
            .enumerate()
            .filter_map(|(index, certificate)| of(certificate).map(|kind| AnchorProblem { index, kind }))
            .collect()
    }
}

impl AnchorProblemKind {
    /// Time alone heals or causes it.
    pub fn is_of_time(self) -> bool {
        matches!(self, Self::Expired | Self::NotYetValid)
    }

    /// Says it in words that go after "the certificate".
    pub fn describe(self) -> &'static str {
        match self {
            Self::CriticalExtension => "has a critical extension that Portcullis does not know",
            Self::Expired => "has expired",
            Self::NoCertSign => "has a keyUsage without keyCertSign",
            Self::NotACa => "is no CA (basicConstraints CA:TRUE is missing): a single client's certificate is a pin, not an authority",
            Self::NotYetValid => "is not yet valid",
            Self::Unreadable => "is no X.509 v3 certificate as RFC 5280 has it",
            Self::WeakKey => "has a key that is too weak, too large or of an unknown kind",
        }
    }
}

/// Says what is wrong with a certificate as a trust anchor at any time.
pub(super) fn lasting_problem(certificate: &Certificate) -> Option<AnchorProblemKind> {
    let ca = certificate.basic_constraints.is_some_and(|constraints| constraints.ca);
    if !ca {
        Some(AnchorProblemKind::NotACa)
    } else if certificate.key_usage.is_some_and(|usage| !usage.key_cert_sign) {
        Some(AnchorProblemKind::NoCertSign)
    } else if super::conditions::weak_key(certificate).is_some() {
        Some(AnchorProblemKind::WeakKey)
    } else if certificate.version != 3 || !chain::is_readable_anchor(certificate) {
        Some(AnchorProblemKind::Unreadable)
    } else if certificate.extensions.iter().any(|extension| extension.critical && !KNOWN_EXTENSIONS.contains(&&*extension.oid)) {
        Some(AnchorProblemKind::CriticalExtension)
    } else {
        None
    }
}

/// The critical extensions that path building obeys: keyUsage, subjectAltName, basicConstraints, nameConstraints, extKeyUsage.
/// Policy constraints it does not: RFC 5280, 4.2, has us refuse what we cannot process.
const KNOWN_EXTENSIONS: [&str; 5] = ["2.5.29.15", "2.5.29.17", "2.5.29.19", "2.5.29.30", "2.5.29.37"];

//! What proves a principal: one exact certificate, one key, or an authority.

use std::sync::Arc;

use super::authority::Authority;
use crate::pki::{Certificate, Fingerprint, SpkiPin};

/// What proves a principal.
#[derive(Clone, Debug)]
pub enum Credential {
    Authority(Arc<Authority>),
    Pin(Pin),
    SpkiPin(SpkiPin),
}

/// One exact certificate. Where more than its fingerprint is known, a denial can say how a stranger relates to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pin {
    pub fingerprint: Fingerprint,
    /// Parts of the hashes of its key and its subject.
    pub(super) kin: Option<[u64; 2]>,
}

impl Pin {
    /// Says why a certificate is not fit to be a pin. Its issuer, CA flag and an absent EKU do not matter.
    pub fn unsuitable(certificate: &Certificate, allow_any_eku: bool) -> Option<&'static str> {
        match certificate.extended_key_usage {
            Some(usage) if !usage.client_auth && !usage.any && !allow_any_eku => {
                Some("its extendedKeyUsage lists neither clientAuth nor anyExtendedKeyUsage (allow_any_eku = true lets it pass)")
            }
            _ => None,
        }
    }
}

impl Pin {
    /// Takes what [`Self::kin`] said of the certificate of this fingerprint.
    pub fn known(fingerprint: Fingerprint, kin: Option<[u64; 2]>) -> Self {
        Self { fingerprint, kin }
    }

    /// Returns parts of the hashes of key and subject; `None` where only the fingerprint is known.
    pub fn kin(&self) -> Option<[u64; 2]> {
        self.kin
    }

    /// Tells whether the certificate has this key; `None` where only its fingerprint is known.
    pub fn has_key(&self, key: &SpkiPin) -> Option<bool> {
        self.kin.map(|[hash, _]| hash == prefix(key.as_bytes()))
    }

    /// Tells whether the certificate has this subject (DER of the Name); `None` where only its fingerprint is known.
    pub fn has_subject(&self, subject: &[u8]) -> Option<bool> {
        self.kin.map(|[_, hash]| hash == name_hash(subject))
    }
}

impl From<Fingerprint> for Pin {
    fn from(fingerprint: Fingerprint) -> Self {
        Self { fingerprint, kin: None }
    }
}

impl From<&Certificate> for Pin {
    fn from(certificate: &Certificate) -> Self {
        let kin = [prefix(certificate.spki_pin.as_bytes()), name_hash(&certificate.subject.der)];
        Self { fingerprint: certificate.fingerprint, kin: Some(kin) }
    }
}

/// Shortens a SHA-256.
pub(super) fn prefix(digest: &[u8; 32]) -> u64 {
    let [a, b, c, d, e, f, g, h, ..] = *digest;
    u64::from_be_bytes([a, b, c, d, e, f, g, h])
}

/// Hashes the DER of a name.
pub(super) fn name_hash(der: &[u8]) -> u64 {
    prefix(Fingerprint::of(der).as_bytes())
}

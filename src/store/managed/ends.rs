//! When a managed principal comes to its end, or what proves it does: read fast, since there may be a million of them.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::document::{CertificateDocument, Document, certificates};
use crate::date::rfc3339;
use crate::pki::pin::PinnedCertificate;
use crate::pki::{Certificate, Fingerprint};

/// An end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct End {
    pub kind: EndKind,
    /// Of a certificate.
    pub fingerprint: Option<Fingerprint>,
    /// Seconds since the epoch.
    pub not_after: u64,
}

/// What ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum EndKind {
    Anchor,
    Pin,
    Principal,
}

impl Document {
    /// Returns the ends of what admits somebody; a certificate that was renewed on its key ends for nobody.
    pub fn ends(&self) -> Vec<End> {
        if !self.enabled {
            return Vec::new();
        }
        let until = self.valid_until.as_deref().and_then(rfc3339);
        let principal = until.map(|not_after| End { kind: EndKind::Principal, fingerprint: None, not_after });
        let anchors = self.authority.iter().flat_map(|authority| &authority.certificates);
        let anchors = anchors.flat_map(|text| certificates(text).unwrap_or_default());
        let anchors =
            anchors.map(|anchor| End { kind: EndKind::Anchor, fingerprint: Some(anchor.fingerprint), not_after: anchor.not_after });
        principal.into_iter().chain(self.pins()).chain(anchors).collect()
    }

    fn pins(&self) -> Vec<End> {
        let pin = |fingerprint, not_after| End { kind: EndKind::Pin, fingerprint: Some(fingerprint), not_after };
        if !self.renews_same_key() || self.certificates.len() < 2 {
            let read = |entry: &CertificateDocument| PinnedCertificate::read(&STANDARD.decode(entry.der.as_deref()?).ok()?).ok();
            let read = self.certificates.iter().filter_map(read);
            return read.filter_map(|read| Some(pin(read.fingerprint, read.not_after?))).collect();
        }
        let read: Vec<Certificate> = self.certificates.iter().filter_map(|entry| entry.certificate()?.ok()).collect();
        let renewed = |old: &Certificate| read.iter().any(|new| new.spki_pin == old.spki_pin && new.not_after > old.not_after);
        read.iter().filter(|read| !renewed(read)).map(|read| pin(read.fingerprint, read.not_after)).collect()
    }
}

impl EndKind {
    /// Returns the name that metrics and logs use.
    pub fn name(self) -> &'static str {
        match self {
            Self::Anchor => "anchor",
            Self::Pin => "pin",
            Self::Principal => "principal",
        }
    }
}

//! What is kept of a certificate that is pinned by its fingerprint, read fast: a bundle may hold a million.

use rustls_pki_types::CertificateDer;

use super::certificate::{Certificate, CertificateError, ExtendedKeyUsage};
use super::der::{self, Reader, tag};
use super::extension::{self, EXTENDED_KEY_USAGE};
use super::fingerprint::Fingerprint;

/// A certificate of a file of pins: enough to judge by equality, and to refuse an EKU list without clientAuth.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PinnedCertificate {
    pub fingerprint: Fingerprint,
    /// `None`: no EKU extension.
    pub extended_key_usage: Option<ExtendedKeyUsage>,
}

impl PinnedCertificate {
    /// Reads what a pin needs. The shape is checked, names and keys are not: a certificate with an unreadable
    /// one is read here and admits nobody, since [`Certificate::parse`] refuses it when it is presented.
    pub fn read(der: &[u8]) -> Result<Self, CertificateError> {
        if let Some(extended_key_usage) = shape(der) {
            return Ok(Self { fingerprint: Fingerprint::of(der), extended_key_usage });
        }
        // Not DER, or no certificate at all: the parser says which, and why.
        let parsed = Certificate::parse(CertificateDer::from(der.to_vec()))?;
        Ok(Self { fingerprint: parsed.fingerprint, extended_key_usage: parsed.extended_key_usage })
    }
}

/// RFC 5280, 4.1. `None` where the fast way does not suffice.
fn shape(der: &[u8]) -> Option<Option<ExtendedKeyUsage>> {
    if der.len() > super::certificate::MAX_BYTES {
        return None;
    }
    let mut outer = Reader::new(der::only(der, tag::SEQUENCE)?);
    let mut tbs = Reader::new(outer.expect(tag::SEQUENCE)?.content);
    outer.expect(tag::SEQUENCE)?;
    outer.expect(tag::BIT_STRING)?;
    tbs.optional(VERSION);
    tbs.expect(tag::INTEGER)?;
    // Algorithm, issuer, validity, subject, key.
    for _ in 0..5 {
        tbs.expect(tag::SEQUENCE)?;
    }
    tbs.optional(ISSUER_UID);
    tbs.optional(SUBJECT_UID);
    let found = match tbs.optional(EXTENSIONS) {
        Some(extensions) => purposes(extensions.content)?,
        None => None,
    };
    (outer.is_empty() && tbs.is_empty()).then_some(found)
}

fn purposes(extensions: &[u8]) -> Option<Option<ExtendedKeyUsage>> {
    let mut list = Reader::new(der::only(extensions, tag::SEQUENCE)?);
    let mut found = None;
    while !list.is_empty() {
        let mut extension = Reader::new(list.expect(tag::SEQUENCE)?.content);
        let oid = extension.expect(tag::OID)?;
        extension.optional(tag::BOOLEAN);
        let value = extension.expect(tag::OCTET_STRING)?;
        if oid.content == EXTENDED_KEY_USAGE {
            if found.is_some() {
                return None;
            }
            found = Some(extension::extended_key_usage(value.content)?);
        }
    }
    Some(found)
}

const VERSION: u8 = 0xa0;
const ISSUER_UID: u8 = 0x81;
const SUBJECT_UID: u8 = 0x82;
const EXTENSIONS: u8 = 0xa3;

#[cfg(test)]
mod tests {
    use rcgen::{CertificateParams, ExtendedKeyUsagePurpose, KeyPair};

    use super::*;

    #[test]
    fn a_pin_is_read_as_the_whole_certificate_would_be() {
        let key = KeyPair::generate().unwrap();
        for purposes in [vec![], vec![ExtendedKeyUsagePurpose::ClientAuth], vec![ExtendedKeyUsagePurpose::ServerAuth]] {
            let mut params = CertificateParams::new(vec!["a.example".into()]).unwrap();
            params.extended_key_usages = purposes;
            let der = params.self_signed(&key).unwrap().der().to_vec();
            assert!(shape(&der).is_some(), "the fast way");
            let whole = Certificate::parse(CertificateDer::from(der.clone())).unwrap();
            let pin = PinnedCertificate::read(&der).unwrap();
            assert_eq!((pin.fingerprint, pin.extended_key_usage), (whole.fingerprint, whole.extended_key_usage));
            for cut in 0..der.len() {
                assert!(PinnedCertificate::read(&der[..cut]).is_err());
            }
            for at in 0..der.len() {
                let mut changed = der.clone();
                changed[at] ^= 0x80;
                if let (Ok(pin), Ok(whole)) = (PinnedCertificate::read(&changed), Certificate::parse(CertificateDer::from(changed))) {
                    assert_eq!((pin.fingerprint, pin.extended_key_usage), (whole.fingerprint, whole.extended_key_usage));
                }
            }
        }
    }
}

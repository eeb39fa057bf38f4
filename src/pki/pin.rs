//! What is kept of a certificate that is pinned by its fingerprint, read fast: a bundle may hold a million.

use rustls_pki_types::CertificateDer;

use super::certificate::{Certificate, CertificateError, ExtendedKeyUsage};
use super::der::{self, Reader, tag};
use super::extension::{self, EXTENDED_KEY_USAGE};
use super::fingerprint::Fingerprint;
use crate::date::Date;

/// A certificate of a file of pins: enough to judge by equality, and to refuse an EKU list without clientAuth.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PinnedCertificate {
    pub fingerprint: Fingerprint,
    /// `None`: no EKU extension.
    pub extended_key_usage: Option<ExtendedKeyUsage>,
    /// Seconds since the epoch, to watch its end; `None` where it is not written as it should be.
    pub not_after: Option<u64>,
}

impl PinnedCertificate {
    /// Reads what a pin needs. The shape is checked, names and keys are not: a certificate with an unreadable
    /// one is read here and admits nobody, since [`Certificate::parse`] refuses it when it is presented.
    pub fn read(der: &[u8]) -> Result<Self, CertificateError> {
        if let Some((extended_key_usage, not_after)) = shape(der) {
            return Ok(Self { fingerprint: Fingerprint::of(der), extended_key_usage, not_after });
        }
        // Not DER, or no certificate at all: the parser says which, and why.
        let parsed = Certificate::parse(CertificateDer::from(der.to_vec()))?;
        let (fingerprint, not_after) = (parsed.fingerprint, Some(parsed.not_after));
        Ok(Self { fingerprint, extended_key_usage: parsed.extended_key_usage, not_after })
    }
}

/// RFC 5280, 4.1. `None` where the fast way does not suffice.
fn shape(der: &[u8]) -> Option<(Option<ExtendedKeyUsage>, Option<u64>)> {
    if der.len() > super::certificate::MAX_BYTES {
        return None;
    }
    let mut outer = Reader::new(der::only(der, tag::SEQUENCE)?);
    let mut tbs = Reader::new(outer.expect(tag::SEQUENCE)?.content);
    outer.expect(tag::SEQUENCE)?;
    outer.expect(tag::BIT_STRING)?;
    tbs.optional(VERSION);
    tbs.expect(tag::INTEGER)?;
    // Algorithm, issuer; then subject, key.
    tbs.expect(tag::SEQUENCE)?;
    tbs.expect(tag::SEQUENCE)?;
    let not_after = end(tbs.expect(tag::SEQUENCE)?.content);
    tbs.expect(tag::SEQUENCE)?;
    tbs.expect(tag::SEQUENCE)?;
    tbs.optional(ISSUER_UID);
    tbs.optional(SUBJECT_UID);
    let found = match tbs.optional(EXTENSIONS) {
        Some(extensions) => purposes(extensions.content)?,
        None => None,
    };
    (outer.is_empty() && tbs.is_empty()).then_some((found, not_after))
}

/// RFC 5280, 4.1.2.5: the second of two times, UTCTime until 2049 and GeneralizedTime from then on.
fn end(validity: &[u8]) -> Option<u64> {
    let (mut reader, mut end) = (Reader::new(validity), None);
    for _ in 0..2 {
        end = Some(match reader.optional(UTC_TIME) {
            Some(time) => (time.content, 2),
            None => (reader.expect(GENERALIZED_TIME)?.content, 4),
        });
    }
    let (text, year) = end?;
    let digits = text.strip_suffix(b"Z").filter(|digits| digits.len() == year + 10 && digits.iter().all(u8::is_ascii_digit))?;
    let number = |digits: &[u8]| digits.iter().fold(0, |number, digit| number * 10 + u64::from(digit - b'0'));
    let two = |at: usize| number(&digits[year + at..year + at + 2]);
    let year = match (year, number(&digits[..year])) {
        (2, short) if short < 50 => 2000 + short,
        (2, short) => 1900 + short,
        (_, long) => long,
    };
    Date { year, month: two(0), day: two(2), hour: two(4), minute: two(6), second: two(8) }.seconds()
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

const UTC_TIME: u8 = 0x17;
const GENERALIZED_TIME: u8 = 0x18;
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
            params.not_after = if purposes.is_empty() { rcgen::date_time_ymd(2049, 12, 31) } else { rcgen::date_time_ymd(2050, 1, 1) };
            params.extended_key_usages = purposes;
            let der = params.self_signed(&key).unwrap().der().to_vec();
            assert!(shape(&der).is_some(), "the fast way");
            let whole = Certificate::parse(CertificateDer::from(der.clone())).unwrap();
            let pin = PinnedCertificate::read(&der).unwrap();
            assert_eq!((pin.fingerprint, pin.extended_key_usage), (whole.fingerprint, whole.extended_key_usage));
            assert_eq!(pin.not_after, Some(whole.not_after));
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

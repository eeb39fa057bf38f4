//! One certificate, read once. Any version, unknown extensions ignored: what a use of it demands is for
//! `admission` to say.

use std::collections::HashSet;
use std::ops::Range;

use aws_lc_rs::digest::{SHA1_FOR_LEGACY_USE_ONLY, digest};
use rustls_pki_types::{CertificateDer, UnixTime};
use x509_parser::certificate::{X509Certificate, X509CertificateParser};
use x509_parser::nom::{Offset as _, Parser as _};

use super::der::{self, Reader, tag};
use super::extension;
use super::fingerprint::{Fingerprint, SpkiPin};
use super::hex;
use super::name::DistinguishedName;
use super::signature::Signed;

/// A certificate, parsed. What is rarely asked for is computed when asked.
#[derive(Clone, Debug)]
pub struct Certificate {
    pub der: CertificateDer<'static>,
    pub fingerprint: Fingerprint,
    pub spki_pin: SpkiPin,
    /// Magnitude without leading zeros; empty for 0.
    pub serial: Box<[u8]>,
    pub subject: DistinguishedName,
    pub issuer: DistinguishedName,
    /// Seconds since the epoch; before 1970 is 0 for notBefore. Inclusive, both.
    pub not_before: u64,
    pub not_after: u64,
    pub sans: Vec<San>,
    pub basic_constraints: Option<BasicConstraints>,
    pub key_usage: Option<KeyUsage>,
    /// `None`: no EKU extension.
    pub extended_key_usage: Option<ExtendedKeyUsage>,
    pub subject_key_id: Option<Box<[u8]>>,
    pub authority_key_id: Option<Box<[u8]>>,
    /// Every extension, as it stands.
    pub extensions: Vec<Extension>,
    pub key: KeyKind,
    /// 1, 2 or 3.
    pub version: u8,
    /// The DER is canonical: definite minimal lengths throughout, one spelling of the signature and of its algorithm, so that
    /// nobody can respell it under another fingerprint (but for the ECDSA [`Certificate::twin`]).
    pub canonical: bool,
    spki: Range<usize>,
}

/// A subject alternative name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum San {
    Dns(Box<str>),
    Email(Box<str>),
    Ip(std::net::IpAddr),
    Uri(Box<str>),
    /// A name of a kind that nothing matches, or one that is not printable IA5 text.
    Other,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BasicConstraints {
    pub ca: bool,
    pub path_len: Option<u32>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KeyUsage {
    pub key_cert_sign: bool,
    pub crl_sign: bool,
    pub digital_signature: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ExtendedKeyUsage {
    pub any: bool,
    pub client_auth: bool,
    pub server_auth: bool,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Extension {
    /// Dotted.
    pub oid: Box<str>,
    pub critical: bool,
    /// The content of the OCTET STRING.
    pub value: Box<[u8]>,
}

/// The public key's kind and strength.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeyKind {
    Ec {
        bits: u32,
    },
    Ed25519,
    Rsa {
        bits: u32,
    },
    /// Of an RSA key that says so: for signatures of PSS alone (RFC 4055, 1.2).
    RsaPss {
        bits: u32,
    },
    Other,
}

/// Why a certificate could not be read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CertificateError {
    /// Not DER of a certificate; with what the parser said.
    Malformed(String),
    /// More bytes than any certificate of ours may have.
    TooLarge(usize),
}

impl std::fmt::Display for CertificateError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Malformed(why) => write!(f, "not a certificate: {why}"),
            Self::TooLarge(bytes) => write!(f, "a certificate of {bytes} bytes is too large"),
        }
    }
}

impl std::error::Error for CertificateError {}

impl Certificate {
    /// Reads a certificate from its DER. Bytes after it are an error; other leniencies of the parser show in [`Certificate::canonical`].
    pub fn parse(der: CertificateDer<'static>) -> Result<Self, CertificateError> {
        if der.len() > MAX_BYTES {
            return Err(CertificateError::TooLarge(der.len()));
        }
        // What of the extensions matters is decoded strictly below; the parser's deep parsing of all others would be wasted.
        let (rest, parsed) = X509CertificateParser::new()
            .with_deep_parse_extensions(false)
            .parse(&der)
            .map_err(|error| CertificateError::Malformed(error.to_string()))?;
        if !rest.is_empty() {
            return Err(malformed("bytes after its end"));
        }
        let version = u8::try_from(parsed.version().0).ok().and_then(|version| version.checked_add(1)).filter(|version| *version <= 3);
        let spki = parsed.tbs_certificate.subject_pki.raw;
        let start = der.as_ref().offset(spki);
        let known = extension::Known::read(&parsed).map_err(malformed)?;
        Ok(Self {
            fingerprint: Fingerprint::of(&der),
            spki_pin: SpkiPin::of(spki),
            serial: der::strip_zeros(parsed.raw_serial()).into(),
            subject: DistinguishedName::read(parsed.subject()),
            issuer: DistinguishedName::read(parsed.issuer()),
            not_before: u64::try_from(parsed.validity().not_before.timestamp()).unwrap_or(0),
            // Before 1970 is long over: 0 has passed at every time that there is.
            not_after: u64::try_from(parsed.validity().not_after.timestamp()).unwrap_or(0),
            sans: known.sans,
            basic_constraints: known.basic_constraints,
            key_usage: known.key_usage,
            extended_key_usage: known.extended_key_usage,
            subject_key_id: known.subject_key_id,
            authority_key_id: known.authority_key_id,
            extensions: extensions(&parsed)?,
            key: KeyKind::read(spki),
            version: version.ok_or_else(|| malformed("a version that does not exist"))?,
            canonical: is_canonical(&der),
            spki: start..start + spki.len(),
            der,
        })
    }

    /// Returns the SubjectPublicKeyInfo, DER.
    pub fn spki(&self) -> &[u8] {
        &self.der[self.spki.clone()]
    }

    /// Tells whether the key of an issuer (its SubjectPublicKeyInfo) signed this certificate.
    pub fn is_signed_by(&self, spki: &[u8]) -> bool {
        Signed::read(&self.der).is_some_and(|signed| signed.verifies(spki))
    }

    /// Returns the fingerprint of the certificate whose ECDSA signature is (r, n - s): anybody can make it from this one. `None` for other algorithms.
    pub fn twin(&self) -> Option<Fingerprint> {
        Signed::read(&self.der)?.twin().map(|der| Fingerprint::of(&der))
    }

    /// Returns SHA-1 of the DER: for looking up ids only, never a basis of trust.
    pub fn sha1(&self) -> [u8; 20] {
        sha1(&self.der)
    }

    /// Returns SHA-1 of the certificate that [`Certificate::twin`] is the fingerprint of.
    pub fn twin_sha1(&self) -> Option<[u8; 20]> {
        Signed::read(&self.der)?.twin().map(|der| sha1(&der))
    }

    /// Returns the serial as OpenSSL prints it: upper-case hex, even digits.
    pub fn serial_hex(&self) -> String {
        if self.serial.is_empty() { "00".to_owned() } else { hex::upper(&self.serial) }
    }

    /// Issuer and subject are the same name: whether it signed itself is another question.
    pub fn is_self_issued(&self) -> bool {
        self.issuer.der == self.subject.der
    }

    /// Tells whether `now`, give or take `skew` seconds, lies inside the validity.
    pub fn validity(&self, now: UnixTime, skew: u64) -> Validity {
        let (now, early, late) = (now.as_secs(), self.not_before.saturating_sub(skew), self.not_after.saturating_add(skew));
        if now < early {
            Validity::NotYet
        } else if now > late {
            Validity::Expired
        } else {
            Validity::Valid
        }
    }
}

/// Where a time lies against a certificate's validity.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Validity {
    Expired,
    NotYet,
    Valid,
}

impl KeyKind {
    /// Reads the algorithm of a SubjectPublicKeyInfo; what we do not know is `Other`, for no use of ours.
    pub(super) fn read(spki: &[u8]) -> Self {
        Self::try_read(spki).unwrap_or(Self::Other)
    }

    fn try_read(spki: &[u8]) -> Option<Self> {
        let mut info = Reader::new(der::only(spki, tag::SEQUENCE)?);
        let mut algorithm = Reader::new(info.expect(tag::SEQUENCE)?.content);
        let oid = algorithm.expect(tag::OID)?.content;
        match oid {
            EC_PUBLIC_KEY => {
                let curve = algorithm.expect(tag::OID)?.content;
                CURVES.iter().find(|(oid, _)| *oid == curve).map(|(_, bits)| Self::Ec { bits: *bits })
            }
            ED25519 => Some(Self::Ed25519),
            RSA | RSA_PSS => {
                let key = der::octets(info.expect(tag::BIT_STRING)?.content)?;
                let modulus = der::magnitude(Reader::new(der::only(key, tag::SEQUENCE)?).expect(tag::INTEGER)?.content)?;
                let leading = modulus.first()?.leading_zeros();
                let bits = u32::try_from(modulus.len()).ok()? * 8 - leading;
                Some(if oid == RSA_PSS { Self::RsaPss { bits } } else { Self::Rsa { bits } })
            }
            _ => None,
        }
    }
}

/// Takes SHA-1 of a DER: for lookup and display, never a basis of trust.
pub fn sha1(bytes: &[u8]) -> [u8; 20] {
    let mut out = [0; 20];
    out.copy_from_slice(digest(&SHA1_FOR_LEGACY_USE_ONLY, bytes).as_ref());
    out
}

fn malformed(why: &str) -> CertificateError {
    CertificateError::Malformed(why.to_owned())
}

/// Copies the extensions. RFC 5280, 4.2: no more than one of each; two would leave each reader to choose.
fn extensions(parsed: &X509Certificate<'_>) -> Result<Vec<Extension>, CertificateError> {
    let mut seen = HashSet::new();
    let all = parsed.extensions();
    if !all.iter().all(|extension| seen.insert(extension.oid.as_bytes())) {
        return Err(malformed("an extension stands in it twice"));
    }
    let copy = |extension: &x509_parser::extensions::X509Extension<'_>| Extension {
        oid: der::dotted(extension.oid.as_bytes()),
        critical: extension.critical,
        value: extension.value.into(),
    };
    Ok(all.iter().map(copy).collect())
}

/// Only what no issuer signed can be respelled by a stranger (the frame, the outer algorithm, the signature), but strict
/// reading throughout costs nothing and leaves no two readings of the rest either.
fn is_canonical(der: &[u8]) -> bool {
    der::is_canonical(der) && Signed::read(der).is_some_and(|signed| signed.is_spelled_one_way())
}

/// Larger than any certificate that a client sends in earnest; rustls bounds a whole chain to the same.
pub(super) const MAX_BYTES: usize = 64 * 1024;

const EC_PUBLIC_KEY: &[u8] = &[0x2a, 0x86, 0x48, 0xce, 0x3d, 2, 1];
const ED25519: &[u8] = &[0x2b, 0x65, 0x70];
const RSA: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 1, 1, 1];
const RSA_PSS: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 1, 1, 10];
/// P-192, P-224, P-256, P-384, P-521: the weak ones too, so that whoever refuses them can say why.
const CURVES: [(&[u8], u32); 5] = [
    (&[0x2a, 0x86, 0x48, 0xce, 0x3d, 3, 1, 1], 192),
    (&[0x2b, 0x81, 4, 0, 33], 224),
    (&[0x2a, 0x86, 0x48, 0xce, 0x3d, 3, 1, 7], 256),
    (&[0x2b, 0x81, 4, 0, 34], 384),
    (&[0x2b, 0x81, 4, 0, 35], 521),
];

#[cfg(test)]
#[path = "certificate_tests.rs"]
mod tests;

//! One certificate, read once. Any version, unknown extensions ignored: what a use of it demands is for
//! `admission` to say.

use rustls_pki_types::{CertificateDer, UnixTime};

use super::fingerprint::{Fingerprint, SpkiPin};
use super::name::DistinguishedName;

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
    /// The outer DER is canonical: definite minimal lengths, no trailing bytes, so that nobody can respell it under another fingerprint.
    pub canonical: bool,
}

/// A subject alternative name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum San {
    Dns(Box<str>),
    Email(Box<str>),
    Ip(std::net::IpAddr),
    Uri(Box<str>),
    /// A name of a kind that nothing matches, or one that is not text.
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

#[derive(Clone, Debug, PartialEq, Eq)]
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
    Ec { bits: u32 },
    Ed25519,
    Rsa { bits: u32 },
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
    /// Reads a certificate from its DER.
    pub fn parse(der: CertificateDer<'static>) -> Result<Self, CertificateError> {
        let _ = der;
        todo!()
    }

    /// Returns the SubjectPublicKeyInfo, DER.
    pub fn spki(&self) -> &[u8] {
        todo!()
    }

    /// Returns the fingerprint of the certificate whose ECDSA signature is (r, n - s): anybody can make it from this one. `None` for other algorithms.
    pub fn twin(&self) -> Option<Fingerprint> {
        todo!()
    }

    /// Returns SHA-1 of the DER: for looking up ids only, never a basis of trust.
    pub fn sha1(&self) -> [u8; 20] {
        todo!()
    }

    /// Returns the serial as OpenSSL prints it: upper-case hex, even digits.
    pub fn serial_hex(&self) -> String {
        todo!()
    }

    /// Issuer and subject are the same name: whether it signed itself is another question.
    pub fn is_self_issued(&self) -> bool {
        todo!()
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

//! Fingerprint: SHA-256 of a certificate's DER. SPKI pin: SHA-256 of its SubjectPublicKeyInfo.

use std::fmt;
use std::str::FromStr;

/// SHA-256 of a certificate's whole DER. Public, so compared plainly.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Fingerprint([u8; 32]);

/// SHA-256 of a SubjectPublicKeyInfo.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SpkiPin([u8; 32]);

/// Why a text is no fingerprint or SPKI pin.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NotADigest;

impl Fingerprint {
    /// Takes the fingerprint of a certificate's DER.
    pub fn of(der: &[u8]) -> Self {
        let _ = der;
        todo!()
    }

    /// Returns the digest.
    pub fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

impl SpkiPin {
    /// Takes the pin of a SubjectPublicKeyInfo.
    pub fn of(spki: &[u8]) -> Self {
        let _ = spki;
        todo!()
    }

    /// Returns the digest.
    pub fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

/// `sha256:HEX`, or 64 hex digits; any case, colons between bytes.
impl FromStr for Fingerprint {
    type Err = NotADigest;

    fn from_str(text: &str) -> Result<Self, NotADigest> {
        let _ = text;
        todo!()
    }
}

/// `sha256/BASE64`.
impl FromStr for SpkiPin {
    type Err = NotADigest;

    fn from_str(text: &str) -> Result<Self, NotADigest> {
        let _ = text;
        todo!()
    }
}

/// 64 lower-case hex digits.
impl fmt::Display for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let _ = f;
        todo!()
    }
}

/// `sha256/BASE64`.
impl fmt::Display for SpkiPin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let _ = f;
        todo!()
    }
}

impl fmt::Debug for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl fmt::Debug for SpkiPin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

//! Fingerprint: SHA-256 of a certificate's DER. SPKI pin: SHA-256 of its SubjectPublicKeyInfo.

use std::fmt;
use std::str::FromStr;

use aws_lc_rs::digest::{SHA256, digest};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::hex;

/// SHA-256 of a certificate's whole DER. Public, so compared plainly.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Fingerprint([u8; 32]);

/// SHA-256 of a SubjectPublicKeyInfo.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SpkiPin([u8; 32]);

/// Why a text is no fingerprint or SPKI pin.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NotADigest;

impl fmt::Display for NotADigest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("neither \"sha256:\" with 64 hex digits (a certificate) nor \"sha256/\" with base64 of 32 bytes (a key)")
    }
}

impl std::error::Error for NotADigest {}

impl Fingerprint {
    /// Takes the fingerprint of a certificate's DER.
    pub fn of(der: &[u8]) -> Self {
        Self(sha256(der))
    }

    /// Takes a digest as it stands.
    pub const fn from_bytes(digest: [u8; 32]) -> Self {
        Self(digest)
    }

    /// Returns the digest.
    pub fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

impl SpkiPin {
    /// Takes the pin of a SubjectPublicKeyInfo.
    pub fn of(spki: &[u8]) -> Self {
        Self(sha256(spki))
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
        // As nearly all of a million stand.
        if let Some(plain) = hex::digest(text) {
            return Ok(Self(plain));
        }
        let digits = match text.split_once(':') {
            Some((scheme, digits)) if scheme.eq_ignore_ascii_case("sha256") => digits,
            _ => text,
        };
        let spaced = || hex::decode(digits).and_then(|bytes| bytes.try_into().ok());
        hex::digest(digits).or_else(spaced).map(Self).ok_or(NotADigest)
    }
}

/// `sha256/BASE64`.
impl FromStr for SpkiPin {
    type Err = NotADigest;

    fn from_str(text: &str) -> Result<Self, NotADigest> {
        let base64 = text.strip_prefix("sha256/").ok_or(NotADigest)?;
        STANDARD.decode(base64).ok().and_then(|bytes| bytes.try_into().ok()).map(Self).ok_or(NotADigest)
    }
}

/// 64 lower-case hex digits.
impl fmt::Display for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex::lower(&self.0))
    }
}

/// `sha256/BASE64`.
impl fmt::Display for SpkiPin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "sha256/{}", STANDARD.encode(self.0))
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

fn sha256(bytes: &[u8]) -> [u8; 32] {
    let mut out = [0; 32];
    out.copy_from_slice(digest(&SHA256, bytes).as_ref());
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    const ABC: &str = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";

    #[test]
    fn a_fingerprint_is_read_however_it_was_printed() {
        let of_abc = Fingerprint::of(b"abc");
        assert_eq!(of_abc.to_string(), ABC);
        let colons = ABC.as_bytes().chunks(2).map(|pair| String::from_utf8_lossy(pair)).collect::<Vec<_>>().join(":").to_uppercase();
        for text in [ABC.to_owned(), ABC.to_uppercase(), format!("sha256:{ABC}"), colons.clone(), format!("SHA256:{colons}")] {
            assert_eq!(text.parse(), Ok(of_abc), "{text}");
        }
        for text in
            ["", "sha256:", "sha1:", &ABC[2..], &format!("{ABC}00"), &format!("sha1:{ABC}"), &format!("{ABC} "), &format!("sha256/{ABC}")]
        {
            assert_eq!(text.parse::<Fingerprint>(), Err(NotADigest), "{text}");
        }
    }

    #[test]
    fn an_spki_pin_is_base64_of_the_whole_digest() {
        let pin = SpkiPin::of(b"abc");
        assert_eq!(pin.to_string(), "sha256/ungWv48Bz+pBQUDeXa4iI7ADYaOWF3qctBD/YfIAFa0=");
        assert_eq!(pin.to_string().parse(), Ok(pin));
        for text in [
            "",
            "sha256/",
            "sha256/ungW",
            "ungWv48Bz+pBQUDeXa4iI7ADYaOWF3qctBD/YfIAFa0=",
            "sha256/ungWv48Bz+pBQUDeXa4iI7ADYaOWF3qctBD/YfIAFa0",
        ] {
            assert_eq!(text.parse::<SpkiPin>(), Err(NotADigest), "{text}");
        }
    }
}

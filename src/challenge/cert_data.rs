//! `cert-data`, as clients of the third system send it: base64 over the text of a PEM file, or over DER; or PEM as it is. Lenient in how it
//! is wrapped, strict in what it holds.

use std::fmt;

use base64::Engine as _;
use base64::alphabet::STANDARD;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use rustls_pki_types::CertificateDer;

use crate::pki::{Certificate, files};

/// A chain, leaf first: presented, and nothing of it proven.
#[derive(Clone, Debug)]
pub struct CertData {
    certificates: Vec<Certificate>,
}

/// Why a text holds no chain.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CertDataError {
    Base64,
    Certificate,
    TooLong,
    TooMany,
    /// Something stands behind the last certificate.
    Trailing,
}

impl CertData {
    /// Reads it.
    pub fn read(text: &str) -> Result<Self, CertDataError> {
        let decoded;
        let bytes = match text.trim_ascii() {
            text if text.starts_with("-----BEGIN ") => text.as_bytes(),
            text => {
                decoded = base64(text, MOST)?;
                &decoded
            }
        };
        if bytes.len() > MOST {
            return Err(CertDataError::TooLong);
        }
        let is_pem = !bytes.starts_with(&[0x30]);
        let last = bytes.trim_ascii_end().rsplit(|byte| *byte == b'\n').next().unwrap_or_default();
        let certificates = files::certificates(bytes, None).map_err(|_| CertDataError::Certificate)?;
        // The reader of files takes text around the blocks for comments.
        if is_pem && !last.trim_ascii().starts_with(b"-----END ") {
            return Err(CertDataError::Trailing);
        }
        if certificates.len() > MOST_CERTIFICATES {
            return Err(CertDataError::TooMany);
        }
        Ok(Self { certificates: certificates.into_iter().map(|located| located.value).collect() })
    }

    /// Returns whose key is to be proven.
    pub fn leaf(&self) -> &Certificate {
        // INVARIANT: `files::certificates` returns one at least.
        &self.certificates[0]
    }

    /// Returns the chain, leaf first.
    pub fn chain(&self) -> Vec<CertificateDer<'static>> {
        self.certificates.iter().map(|certificate| certificate.der.clone()).collect()
    }
}

/// Decodes base64 with line breaks, with or without its padding; at most so many bytes.
pub fn base64(text: &str, most: usize) -> Result<Vec<u8>, CertDataError> {
    let text: Vec<u8> = text.bytes().filter(|byte| !byte.is_ascii_whitespace()).collect();
    if text.len() > most.div_ceil(3) * 4 {
        return Err(CertDataError::TooLong);
    }
    let decoded = LENIENT.decode(&text).map_err(|_| CertDataError::Base64)?;
    if decoded.is_empty() { Err(CertDataError::Base64) } else { Ok(decoded) }
}

impl fmt::Display for CertDataError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Base64 => "is not base64",
            Self::Certificate => "holds no certificate in PEM or DER, or something else beside: a chain, leaf first, without its key",
            Self::TooLong => "is longer than 64 KiB",
            Self::TooMany => "holds more than 8 certificates",
            Self::Trailing => "has something behind the last certificate",
        })
    }
}

impl std::error::Error for CertDataError {}

const LENIENT: GeneralPurpose =
    GeneralPurpose::new(&STANDARD, GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent));
/// Decoded.
const MOST: usize = 64 << 10;
const MOST_CERTIFICATES: usize = 8;

#[cfg(test)]
mod tests {
    use base64::engine::general_purpose;

    use super::super::tests::Key;
    use super::*;

    fn read(text: &str) -> Result<usize, CertDataError> {
        CertData::read(text).map(|data| data.chain().len())
    }

    #[test]
    fn every_wrapping_that_clients_use_is_read_and_nothing_beside_it() {
        let (one, two) = (Key::new("one"), Key::new("two"));
        let pem = one.pem();
        let chain = format!("{pem}{}", two.pem());
        let b64 = |bytes: &[u8]| general_purpose::STANDARD.encode(bytes);
        let bare = |bytes: &[u8]| general_purpose::STANDARD_NO_PAD.encode(bytes);
        let der = &*one.leaf.der;
        let lines =
            |text: &str| text.as_bytes().chunks(64).map(|line| format!("{}\r\n", str::from_utf8(line).unwrap())).collect::<String>();
        for (name, text, expected) in [
            ("base64 of PEM", b64(pem.as_bytes()), Ok(1)),
            ("without padding", bare(format!("\n{pem}").as_bytes()), Ok(1)),
            ("with line breaks", lines(&b64(pem.as_bytes())), Ok(1)),
            ("with a text before, as openssl writes it", b64(format!("Certificate:\n    Data:\n{pem}").as_bytes()), Ok(1)),
            ("base64 of DER", b64(der), Ok(1)),
            ("DER without padding", bare(der), Ok(1)),
            ("PEM", pem.clone(), Ok(1)),
            ("PEM with CRLF", pem.replace('\n', "\r\n"), Ok(1)),
            ("a chain", b64(chain.as_bytes()), Ok(2)),
            ("eight", pem.repeat(8), Ok(8)),
            ("nine", pem.repeat(9), Err(CertDataError::TooMany)),
            ("nothing", String::new(), Err(CertDataError::Base64)),
            ("no base64", "!!!".to_owned(), Err(CertDataError::Base64)),
            ("base64 and something behind it", format!("{}*", b64(der)), Err(CertDataError::Base64)),
            ("base64 of nothing much", b64(b"hello"), Err(CertDataError::Certificate)),
            ("DER and a byte", b64(&[der, &[0]].concat()), Err(CertDataError::Certificate)),
            ("two of DER", b64(&[der, der].concat()), Err(CertDataError::Certificate)),
            ("PEM and words", format!("{pem}and more\n"), Err(CertDataError::Trailing)),
            ("base64 of PEM and words", b64(format!("{pem}more").as_bytes()), Err(CertDataError::Trailing)),
            ("half a block", pem[..pem.len() / 2].to_owned(), Err(CertDataError::Certificate)),
            ("its key as well", format!("{pem}{}", one.key_pem()), Err(CertDataError::Certificate)),
            ("a megabyte", b64(&[0x30; 1 << 20]), Err(CertDataError::TooLong)),
            ("PEM of a megabyte", format!("{pem}{}{pem}", " \n".repeat(1 << 19)), Err(CertDataError::TooLong)),
        ] {
            assert_eq!(read(&text), expected, "{name}");
        }
        assert_eq!(CertData::read(&chain).unwrap().leaf().fingerprint, one.leaf.fingerprint, "the leaf comes first");
    }
}

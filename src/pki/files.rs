//! What files hold: PEM (with line numbers), DER, PFX; certificates, CRLs, keys. Takes bytes, never paths:
//! whoever reads the file says how (`reload`, `cli`).

use std::fmt;

use rustls_pki_types::CertificateDer;

use super::certificate::Certificate;
use super::crl::Crl;
use super::pem::{self, Block, Blocks};
pub use super::pfx::Role;
use super::pfx::{self, Pfx};
use super::pin::PinnedCertificate;
use super::private_key::{self, PrivateKey};

/// Something found in a file, and the line its PEM block starts at (1-based; 0 for DER and PFX).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Located<T> {
    pub line: u32,
    pub value: T,
}

/// Why a file does not hold what it should.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FileError {
    /// 1-based; 0 where no line is to blame.
    pub line: u32,
    pub why: String,
}

impl FileError {
    pub(super) fn at(line: u32, why: &str) -> Self {
        Self { line, why: why.to_owned() }
    }
}

impl fmt::Display for FileError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.line {
            0 => f.write_str(&self.why),
            line => write!(f, "line {line}: {}", self.why),
        }
    }
}

impl std::error::Error for FileError {}

/// Reads every certificate of a PEM or DER file, or of a PFX when a password is given. Strict: no
/// certificate at all, a truncated block, a private key in the file, an unparsable certificate are errors.
pub fn certificates(bytes: &[u8], pfx_password: Option<&str>) -> Result<Vec<Located<Certificate>>, FileError> {
    read_certificates(bytes, pfx_password, Keys::Refused)
}

/// Reads the certificates that a principal is to be pinned by: like [`certificates`], but of a PFX its members only, without the
/// issuers that came along.
pub fn members(bytes: &[u8], pfx_password: Option<&str>) -> Result<Vec<Located<Certificate>>, FileError> {
    let roles = roles(bytes, pfx_password)?;
    Ok(roles.into_iter().filter(|(_, role)| *role == Role::Member).map(|(located, _)| located).collect())
}

/// Reads every certificate as [`certificates`] does, and tells which of a PFX are issuers of others in it.
pub fn roles(bytes: &[u8], pfx_password: Option<&str>) -> Result<Vec<(Located<Certificate>, Role)>, FileError> {
    if let Content::Pfx(pfx) = Content::of(bytes)? {
        let found = opened(pfx, pfx_password)?.into_roles().map(|(value, role)| (Located { line: 0, value }, role)).collect();
        return at_least_one(found, NO_CERTIFICATE);
    }
    Ok(certificates(bytes, pfx_password)?.into_iter().map(|located| (located, Role::Member)).collect())
}

/// Reads a certificate chain of our own, as it stands: like [`certificates`], but its key may be in the same PEM file.
pub fn chain(bytes: &[u8], pfx_password: Option<&str>) -> Result<Vec<Located<Certificate>>, FileError> {
    read_certificates(bytes, pfx_password, Keys::Passed)
}

/// Reads what pins need of every certificate, as strictly as [`certificates`] but for what a pin does not
/// depend on; a bundle of a million within seconds.
pub fn pins(bytes: &[u8], pfx_password: Option<&str>) -> Result<Vec<Located<PinnedCertificate>>, FileError> {
    match Content::of(bytes)? {
        Content::Der(der) => {
            let value = PinnedCertificate::read(der).map_err(|error| FileError::at(0, &not_a_certificate(der, &error)))?;
            Ok(vec![Located { line: 0, value }])
        }
        Content::Pfx(pfx) => {
            let pin = |certificate: &Certificate| PinnedCertificate {
                fingerprint: certificate.fingerprint,
                extended_key_usage: certificate.extended_key_usage,
                not_after: Some(certificate.not_after),
            };
            let members = opened(pfx, pfx_password)?.members();
            Ok(members.iter().map(|certificate| Located { line: 0, value: pin(certificate) }).collect())
        }
        Content::Pem(text) => pem_pins(text),
    }
}

/// Reads every CRL of a PEM or DER file; none at all is an error.
pub fn crls(bytes: &[u8]) -> Result<Vec<Located<Crl>>, FileError> {
    let text = match Content::of(bytes)? {
        Content::Der(der) | Content::Pfx(der) => {
            let value = Crl::parse(der).map_err(|error| FileError::at(0, &error.to_string()))?;
            return Ok(vec![Located { line: 0, value }]);
        }
        Content::Pem(text) => text,
    };
    let mut found = Vec::new();
    let mut scratch = Vec::new();
    for block in Blocks::new(text) {
        let block = block?;
        if block.label != "X509 CRL" {
            return Err(FileError::at(block.line, &format!("{} block in a file of CRLs", pem::shown(block.label))));
        }
        let value = Crl::parse(&block.decode(&mut scratch)?).map_err(|error| FileError::at(block.line, &error.to_string()))?;
        found.push(Located { line: block.line, value });
    }
    at_least_one(found, "no CRL in the file")
}

/// Reads a private key: SEC1 (behind an `EC PARAMETERS` block too), PKCS#1, PKCS#8, OpenSSH, either of the last two encrypted, with a password; a PFX.
/// Certificates in the same file are passed over; a second key is an error.
pub fn private_key(bytes: &[u8], password: Option<&str>) -> Result<PrivateKey, FileError> {
    let text = match Content::of(bytes)? {
        Content::Der(der) => return private_key::from_der(der, password).unwrap_or_else(|| Err(FileError::at(0, "not a private key"))),
        Content::Pfx(pfx) => return only_key(opened(pfx, password)?.keys),
        Content::Pem(text) => text,
    };
    let mut found: Option<Block<'_>> = None;
    for block in Blocks::new(text) {
        let block = block?;
        if private_key::is_key(block.label) && found.replace(block).is_some() {
            return Err(FileError::at(block.line, "a second private key in the file; leave one"));
        }
    }
    let block = found.ok_or_else(|| FileError::at(0, "no private key in the file"))?;
    private_key::from_block(&block, password)
}

/// Reads a chain and its key from a PFX: leaf first.
pub fn pfx(bytes: &[u8], password: &str) -> Result<(Vec<Certificate>, PrivateKey), FileError> {
    if !pfx::is_pfx(bytes) {
        return Err(FileError::at(0, "not a PFX"));
    }
    let opened = pfx::open(bytes, password)?;
    let certificates = at_least_one(opened.certificates, "no certificate in the PFX")?;
    Ok((certificates, only_key(opened.keys)?))
}

/// Writes a certificate as PEM (RFC 7468).
pub fn pem_of(certificate: &[u8]) -> String {
    pem::encode("CERTIFICATE", certificate)
}

/// Writes a PFX of certificates alone, under the empty password.
pub fn pfx_of(certificates: &[Certificate]) -> Result<Vec<u8>, FileError> {
    pfx::write_certificates(certificates).map_err(|error| FileError::at(0, &error.to_string()))
}

/// What to do about a private key among certificates.
#[derive(Clone, Copy)]
enum Keys {
    Passed,
    Refused,
}

/// A file's form.
enum Content<'a> {
    Der(&'a [u8]),
    Pem(&'a [u8]),
    Pfx(&'a [u8]),
}

impl<'a> Content<'a> {
    fn of(bytes: &'a [u8]) -> Result<Self, FileError> {
        match bytes {
            _ if pfx::is_pfx(bytes) => Ok(Self::Pfx(bytes)),
            // A SEQUENCE of 128 bytes and more; a text that starts with "0" has no byte above 0x7f next.
            [0x30, 0x80..=0xff, ..] => Ok(Self::Der(bytes)),
            [0xff, 0xfe, ..] | [0xfe, 0xff, ..] => Err(FileError::at(1, "text in UTF-16; save it as ASCII or UTF-8")),
            _ => {
                let text = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes);
                let blank = text.iter().take(MAX_BLANK).all(u8::is_ascii_whitespace);
                if blank { Err(FileError::at(0, "the file is empty")) } else { Ok(Self::Pem(text)) }
            }
        }
    }
}

fn read_certificates(bytes: &[u8], pfx_password: Option<&str>, keys: Keys) -> Result<Vec<Located<Certificate>>, FileError> {
    let text = match Content::of(bytes)? {
        Content::Der(der) => {
            let parsed = Certificate::parse(CertificateDer::from(der.to_vec()));
            let value = parsed.map_err(|error| FileError::at(0, &not_a_certificate(der, &error)))?;
            return Ok(vec![Located { line: 0, value }]);
        }
        Content::Pfx(pfx) => {
            let found = opened(pfx, pfx_password)?.certificates.into_iter().map(|value| Located { line: 0, value }).collect();
            return at_least_one(found, NO_CERTIFICATE);
        }
        Content::Pem(text) => text,
    };
    let mut found = Vec::new();
    let mut scratch = Vec::new();
    for block in Blocks::new(text) {
        let block = block?;
        if holds_certificate(&block, keys)? {
            let der = block.decode(&mut scratch)?;
            let parsed = Certificate::parse(CertificateDer::from(der));
            let value = parsed.map_err(|error| FileError::at(block.line, &error.to_string()))?;
            found.push(Located { line: block.line, value });
        }
    }
    at_least_one(found, NO_CERTIFICATE)
}

/// Reads a PEM bundle in parts, one a core: decoding and hashing a million certificates is all there is to do.
fn pem_pins(text: &[u8]) -> Result<Vec<Located<PinnedCertificate>>, FileError> {
    let parts = match text.len() {
        0..SMALL => 1,
        _ => std::thread::available_parallelism().map_or(1, usize::from).min(MAX_PARTS),
    };
    let mut cuts: Vec<usize> = (1..parts).map(|part| pem::cut_near(text, text.len() / parts * part)).collect();
    cuts.push(text.len());
    let mut from = 0;
    let slices: Vec<&[u8]> = cuts.iter().map(|to| &text[std::mem::replace(&mut from, *to)..*to]).collect();
    let read: Vec<Part> = std::thread::scope(|scope| {
        let threads: Vec<_> = slices.iter().skip(1).map(|slice| scope.spawn(|| part_pins(slice))).collect();
        let first = slices.first().map(|slice| part_pins(slice));
        let died = || (0, Err(FileError::at(0, "a thread that read the file died")));
        first.into_iter().chain(threads.into_iter().map(|thread| thread.join().unwrap_or_else(|_| died()))).collect()
    });
    let mut found = Vec::new();
    let mut before = 0;
    for (lines, pins) in read {
        let pins = pins.map_err(|error| FileError { line: error.line + before, ..error })?;
        found.extend(pins.into_iter().map(|pin| Located { line: pin.line + before, ..pin }));
        before += lines;
    }
    at_least_one(found, NO_CERTIFICATE)
}

/// How many lines, and what was found on them.
type Part = (u32, Result<Vec<Located<PinnedCertificate>>, FileError>);

fn part_pins(text: &[u8]) -> Part {
    let mut blocks = Blocks::new(text);
    let mut scratch = Vec::new();
    let pins = blocks.by_ref().map(|block| {
        let block = block?;
        holds_certificate(&block, Keys::Refused)?;
        let read = PinnedCertificate::read(&block.decode(&mut scratch)?);
        Ok(Located { line: block.line, value: read.map_err(|error| FileError::at(block.line, &error.to_string()))? })
    });
    let pins = pins.collect();
    (blocks.lines(), pins)
}

/// Judges a block of a file of certificates by its label; false is a key that is passed over.
fn holds_certificate(block: &Block<'_>, keys: Keys) -> Result<bool, FileError> {
    let why = match (block.label, keys) {
        // The second is what SSLeay wrote; OpenSSL still reads it.
        ("CERTIFICATE" | "X509 CERTIFICATE", _) => return Ok(true),
        (label, Keys::Passed) if private_key::is_key(label) || label == "EC PARAMETERS" => return Ok(false),
        (label, Keys::Refused) if private_key::is_key(label) || label == "EC PARAMETERS" => "a private key in a file of certificates: \
            name the certificate's own file, or take the key out, and replace it if others could read this file"
            .to_owned(),
        ("CERTIFICATE REQUEST" | "NEW CERTIFICATE REQUEST", _) => {
            "a certificate request: its issuer makes a certificate of it, or `openssl req -x509` one that is its own issuer".to_owned()
        }
        ("PKCS7", _) => "a PKCS7 block; convert it with `openssl pkcs7 -print_certs`".to_owned(),
        ("TRUSTED CERTIFICATE", _) => "a TRUSTED CERTIFICATE, OpenSSL's own form; convert it with `openssl x509`".to_owned(),
        (label, _) => format!("{} block in a file of certificates", pem::shown(label)),
    };
    Err(FileError { line: block.line, why })
}

fn not_a_certificate(der: &[u8], error: &impl fmt::Display) -> String {
    match private_key::from_der(der, None) {
        Some(_) => "a private key where certificates belong".to_owned(),
        None => error.to_string(),
    }
}

fn opened(pfx: &[u8], password: Option<&str>) -> Result<Pfx, FileError> {
    let password = password.ok_or_else(|| FileError::at(0, "a PFX; give its password, or convert it with `openssl pkcs12 -nokeys`"))?;
    pfx::open(pfx, password)
}

fn only_key(mut keys: Vec<PrivateKey>) -> Result<PrivateKey, FileError> {
    match (keys.pop(), keys.is_empty()) {
        (Some(key), true) => Ok(key),
        (Some(_), false) => Err(FileError::at(0, "several private keys in the PFX; leave one")),
        (None, _) => Err(FileError::at(0, "no private key in the PFX")),
    }
}

fn at_least_one<T>(found: Vec<T>, otherwise: &str) -> Result<Vec<T>, FileError> {
    // Never an empty list: what it restricts or who it names would be lost without a word.
    if found.is_empty() { Err(FileError::at(0, otherwise)) } else { Ok(found) }
}

const NO_CERTIFICATE: &str = "no certificate in the file";
/// Enough to tell blank from not; the PEM reader bounds the rest.
const MAX_BLANK: usize = 1024 * 1024;
/// Below this, threads cost more than they save.
const SMALL: usize = 4 * 1024 * 1024;
const MAX_PARTS: usize = 8;

#[cfg(test)]
#[path = "files_tests.rs"]
mod tests;

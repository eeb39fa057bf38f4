//! Makes a client its certificate: a new key, a self-issued leaf, and the files that clients' tools read. Nothing
//! is stored: who loses the key asks for another. Called by `cli` and by whoever answers a request for one.

use std::fmt;
use std::io::{Cursor, Write as _};

use pkcs5::pbes2::Parameters;
use rcgen::{
    CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa, KeyPair, KeyUsagePurpose, RsaKeySize, SerialNumber,
};
use rustls_pki_types::{CertificateDer, PrivatePkcs8KeyDer, UnixTime};
use zeroize::Zeroizing;
use zip::write::SimpleFileOptions;

use super::certificate::Certificate;
use super::der::{self, tag};
use super::private_key::PrivateKey;
use super::{pem, pfx};

/// What to make, beyond the name.
#[derive(Clone, Copy)]
pub struct Options<'a> {
    /// How long it is to be valid.
    pub days: u32,
    pub key: NewKey,
    /// Encrypts the key and the PFX. `None` or empty: a plain key, and a PFX under the empty password.
    pub password: Option<&'a str>,
    pub now: UnixTime,
}

/// The kind of a new key.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum NewKey {
    #[default]
    EcP256,
    /// For clients that know no elliptic curves.
    Rsa3072,
}

/// A new certificate and its key, in every form that clients' tools read. The key is wiped when this is dropped.
pub struct Generated {
    pub certificate: Certificate,
    pub key: PrivateKey,
    /// The name, made fit to be a file's: no directory, no hidden file, nothing that a shell expands.
    pub stem: String,
    pub crt_pem: String,
    /// PKCS#8: encrypted if there is a password.
    pub key_pem: Zeroizing<String>,
    pub pfx: Zeroizing<Vec<u8>>,
    made: UnixTime,
}

/// Why no certificate was made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum GenerateError {
    /// A lifetime out of bounds.
    Days(u32),
    /// The machine, or a library.
    Failed(String),
    /// A name that a certificate cannot carry; with the reason.
    Name(&'static str),
    /// A password that a PFX cannot have; with the reason.
    Password(&'static str),
}

impl fmt::Display for GenerateError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Days(days) => write!(f, "a certificate of {days} days: give 1 to {MAX_DAYS}"),
            Self::Failed(why) => write!(f, "the certificate could not be made: {why}"),
            Self::Name(why) => write!(f, "the name {why}"),
            Self::Password(why) => write!(f, "the password {why}"),
        }
    }
}

impl std::error::Error for GenerateError {}

impl Default for Options<'_> {
    fn default() -> Self {
        Self { days: DEFAULT_DAYS, key: NewKey::default(), password: None, now: UnixTime::since_unix_epoch(std::time::Duration::ZERO) }
    }
}

/// Makes a client certificate with this common name: self-issued, no CA, for clients, valid since five minutes ago.
pub fn generate(name: &str, options: &Options<'_>) -> Result<Generated, GenerateError> {
    check_name(name)?;
    let password = options.password.unwrap_or_default();
    check_password(password)?;
    if !(1..=MAX_DAYS).contains(&options.days) {
        return Err(GenerateError::Days(options.days));
    }
    let key = match options.key {
        NewKey::EcP256 => KeyPair::generate_for(&rcgen::PKCS_ECDSA_P256_SHA256),
        NewKey::Rsa3072 => KeyPair::generate_rsa_for(&rcgen::PKCS_RSA_SHA256, RsaKeySize::_3072),
    };
    let key = key.map_err(failed)?;
    let signed = params(name, options)?.self_signed(&key).map_err(failed)?;
    let certificate = Certificate::parse(CertificateDer::from(signed.der().to_vec())).map_err(failed)?;
    let pkcs8 = Zeroizing::new(key.serialize_der());
    let key_pem = Zeroizing::new(match password {
        "" => pem::encode("PRIVATE KEY", &pkcs8),
        password => pem::encode("ENCRYPTED PRIVATE KEY", &encrypted(&pkcs8, password)?),
    });
    let stem = file_stem(name);
    // A BMPString, as friendly names are, has no room for the rest of Unicode.
    let friendly_name = if is_bmp(name) { name } else { &stem };
    let pfx = pfx::write(friendly_name, &certificate, &pkcs8, password, ITERATIONS).map_err(failed)?;
    Ok(Generated {
        crt_pem: pem::encode("CERTIFICATE", &certificate.der),
        key: PrivateKey::new(PrivatePkcs8KeyDer::from(pkcs8.to_vec()).into()),
        certificate,
        stem,
        key_pem,
        pfx,
        made: options.now,
    })
}

impl Generated {
    /// Returns the files: their names and what they hold.
    pub fn files(&self) -> [(String, &[u8]); 3] {
        let name = |extension| format!("{}.{extension}", self.stem);
        [(name("pfx"), &self.pfx), (name("crt"), self.crt_pem.as_bytes()), (name("key"), self.key_pem.as_bytes())]
    }

    /// Packs the files into a zip, each for its owner's eyes.
    pub fn zip(&self) -> Result<Zeroizing<Vec<u8>>, GenerateError> {
        let made = rcgen::date_time_ymd(1970, 1, 1) + std::time::Duration::from_secs(self.made.as_secs());
        // Before 1980 there is no zip: its own default then.
        let year = u16::try_from(made.year()).unwrap_or_default();
        let modified = zip::DateTime::from_date_and_time(year, made.month().into(), made.day(), made.hour(), made.minute(), made.second());
        let options = SimpleFileOptions::default()
            .compression_method(zip::CompressionMethod::Stored)
            .unix_permissions(0o600)
            .last_modified_time(modified.unwrap_or_default());
        // Room from the start: a buffer that grows would leave copies of the key behind.
        let room = self.files().iter().map(|(name, content)| content.len() + 2 * name.len() + ZIP_OVERHEAD).sum();
        let mut out = zip::ZipWriter::new(Cursor::new(Vec::with_capacity(room)));
        for (name, content) in self.files() {
            out.start_file(name, options).map_err(failed)?;
            out.write_all(content).map_err(failed)?;
        }
        Ok(Zeroizing::new(out.finish().map_err(failed)?.into_inner()))
    }
}

impl fmt::Debug for Generated {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Generated").field("certificate", &self.certificate.fingerprint).finish_non_exhaustive()
    }
}

fn params(name: &str, options: &Options<'_>) -> Result<CertificateParams, GenerateError> {
    let mut params = CertificateParams::default();
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, name);
    params.is_ca = IsCa::ExplicitNoCa;
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
    params.serial_number = Some(SerialNumber::from_slice(&serial()?));
    let now = rcgen::date_time_ymd(1970, 1, 1) + std::time::Duration::from_secs(options.now.as_secs());
    (params.not_before, params.not_after) = (now - BACKDATED, now + DAY * options.days);
    Ok(params)
}

/// RFC 5280, 4.1.2.2: positive, and 20 octets at most; the second bit keeps it at 20.
fn serial() -> Result<[u8; 20], GenerateError> {
    let mut serial = [0; 20];
    aws_lc_rs::rand::fill(&mut serial).map_err(|_| failed("no random numbers"))?;
    serial[0] = serial[0] & 0x7f | 0x40;
    Ok(serial)
}

/// RFC 5958, 3: what `openssl pkcs8 -topk8 -v2 aes-256-cbc` writes, at a higher cost.
fn encrypted(pkcs8: &[u8], password: &str) -> Result<Vec<u8>, GenerateError> {
    let (mut salt, mut iv) = ([0; 16], [0; 16]);
    for bytes in [&mut salt, &mut iv] {
        aws_lc_rs::rand::fill(bytes).map_err(|_| failed("no random numbers"))?;
    }
    let parameters = Parameters::generate_pbkdf2_sha256_aes256cbc(ITERATIONS, &salt, iv).map_err(failed)?;
    let data = parameters.encrypt(password, pkcs8).map_err(failed)?;
    let algorithm = pkcs5::der::Encode::to_der(&pkcs5::EncryptionScheme::from(parameters)).map_err(failed)?;
    Ok(der::encode(tag::SEQUENCE, &[algorithm, der::encode(tag::OCTET_STRING, &data)].concat()))
}

fn check_name(name: &str) -> Result<(), GenerateError> {
    if name.trim().is_empty() {
        return Err(GenerateError::Name("is empty"));
    }
    // RFC 5280, A.1: ub-common-name.
    if name.chars().count() > 64 {
        return Err(GenerateError::Name("is longer than the 64 characters that a common name has room for"));
    }
    if name.chars().any(char::is_control) {
        return Err(GenerateError::Name("has control characters in it"));
    }
    Ok(())
}

fn check_password(password: &str) -> Result<(), GenerateError> {
    if !is_bmp(password) {
        // RFC 7292, B.1: a BMPString.
        return Err(GenerateError::Password("has characters beyond U+FFFF in it (emoji, say), for which a PFX has no room"));
    }
    // A terminal or a file cannot give these back whole, and OpenSSL ends a password at a NUL.
    if password.chars().any(char::is_control) {
        return Err(GenerateError::Password("has control characters in it"));
    }
    if password.len() > MAX_PASSWORD {
        return Err(GenerateError::Password("is longer than 512 bytes"));
    }
    Ok(())
}

fn is_bmp(text: &str) -> bool {
    text.chars().all(|character| u32::from(character) <= 0xffff)
}

/// Makes a name fit to be a file's, on any system that a zip is unpacked on.
pub fn file_stem(name: &str) -> String {
    let fit = |character: char| if character.is_ascii_alphanumeric() || matches!(character, '-' | '.' | '_') { character } else { '_' };
    let stem: String = name.chars().map(fit).collect();
    // A leading dot hides a file or names a directory, a leading dash is an option to some command, Windows drops a final dot.
    let stem = stem.trim_matches(|character| matches!(character, '.' | '-')).to_owned();
    if !stem.bytes().any(|byte| byte.is_ascii_alphanumeric()) {
        return "certificate".to_owned();
    }
    // What Windows takes for a device, whatever follows the first dot.
    let (device, rest) = stem.split_once('.').map_or((stem.as_str(), None), |(device, rest)| (device, Some(rest)));
    let numbered = |kind: &str| device.len() == 4 && device.as_bytes()[3].is_ascii_digit() && device[..3].eq_ignore_ascii_case(kind);
    if ["con", "prn", "aux", "nul"].iter().any(|kind| device.eq_ignore_ascii_case(kind)) || numbered("com") || numbered("lpt") {
        return rest.map_or_else(|| format!("{device}_"), |rest| format!("{device}_.{rest}"));
    }
    stem
}

fn failed(why: impl fmt::Display) -> GenerateError {
    GenerateError::Failed(why.to_string())
}

/// What browsers allow a server's certificate, and a year with some days to spare for the renewal.
pub const DEFAULT_DAYS: u32 = 397;
const MAX_DAYS: u32 = 36_500;
const DAY: std::time::Duration = std::time::Duration::from_secs(86_400);
/// For clocks a little behind.
const BACKDATED: std::time::Duration = std::time::Duration::from_secs(300);
/// Of PBKDF2 and of the PFX's MAC: .NET opens a PFX of 300,000 each and a million in all, OpenSSL writes 2048.
const ITERATIONS: u32 = 100_000;
const MAX_PASSWORD: usize = 512;
/// Headers of one entry, and its share of the end.
const ZIP_OVERHEAD: usize = 160;

#[cfg(test)]
#[path = "generate_tests.rs"]
mod tests;

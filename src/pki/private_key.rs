//! Private keys: PKCS#8, PKCS#1, SEC1, in PEM or DER, OpenSSH; encrypted PKCS#8 and OpenSSH with a password. Nothing of a key is ever shown.

use std::fmt;

use pkcs5::EncryptionScheme;
use pkcs5::pbes2::Kdf;
use rustls_pki_types::{PrivateKeyDer, PrivatePkcs1KeyDer, PrivatePkcs8KeyDer, PrivateSec1KeyDer};
use zeroize::Zeroizing;

use super::der::{self, Reader, tag};
use super::files::FileError;
use super::openssh;
use super::pem::{self, Block};

/// A private key; `Debug` shows its kind only, and its memory is wiped.
pub struct PrivateKey(Zeroizing<PrivateKeyDer<'static>>);

impl PrivateKey {
    /// Takes a key; it is wiped when this is dropped.
    pub fn new(key: PrivateKeyDer<'static>) -> Self {
        Self(Zeroizing::new(key))
    }

    /// Returns the key, for whoever uses it.
    pub fn der(&self) -> &PrivateKeyDer<'static> {
        &self.0
    }
}

impl fmt::Debug for PrivateKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match &*self.0 {
            PrivateKeyDer::Pkcs1(_) => "PrivateKey(PKCS#1)",
            PrivateKeyDer::Pkcs8(_) => "PrivateKey(PKCS#8)",
            PrivateKeyDer::Sec1(_) => "PrivateKey(SEC1)",
            _ => "PrivateKey",
        })
    }
}

impl Clone for PrivateKey {
    fn clone(&self) -> Self {
        Self::new(self.0.clone_key())
    }
}

/// Tells whether a PEM label announces a private key.
pub(super) fn is_key(label: &str) -> bool {
    label.ends_with("PRIVATE KEY")
}

/// Reads a key from its PEM block.
pub(super) fn from_block(block: &Block<'_>, password: Option<&str>) -> Result<PrivateKey, FileError> {
    let der = Zeroizing::new(block.decode(&mut Zeroizing::new(Vec::new()))?);
    let fail = |why: &str| FileError::at(block.line, why);
    match block.label {
        "PRIVATE KEY" | "RSA PRIVATE KEY" | "EC PRIVATE KEY" => plain(&der).ok_or_else(|| fail("the private key is malformed")),
        "ENCRYPTED PRIVATE KEY" => decrypt(&der, password).map_err(|why| fail(&why)),
        "OPENSSH PRIVATE KEY" => openssh::read(&der, password).map_err(fail),
        label => Err(fail(&format!("{} blocks are not supported; convert it with `openssl pkcs8 -topk8`", pem::shown(label)))),
    }
}

/// Reads a key from DER; `None` where it is none.
pub(super) fn from_der(der: &[u8], password: Option<&str>) -> Option<Result<PrivateKey, FileError>> {
    if let Some(key) = plain(der) {
        return Some(Ok(key));
    }
    encrypted(der).map(|_| decrypt(der, password).map_err(|why| FileError::at(0, &why)))
}

/// Tells the kinds apart by their shape, since `openssl` and people mislabel: RFC 5958, RFC 8017 A.1.2, RFC 5915.
fn plain(der: &[u8]) -> Option<PrivateKey> {
    let mut fields = Reader::new(der::only(der, tag::SEQUENCE)?);
    let version = fields.expect(tag::INTEGER)?.content;
    let key = match (version, fields.next()?.tag) {
        ([0 | 1], tag::SEQUENCE) => PrivatePkcs8KeyDer::from(der.to_vec()).into(),
        ([0], tag::INTEGER) => PrivatePkcs1KeyDer::from(der.to_vec()).into(),
        ([1], tag::OCTET_STRING) => PrivateSec1KeyDer::from(der.to_vec()).into(),
        _ => return None,
    };
    Some(PrivateKey::new(key))
}

/// RFC 5958, 3: the algorithm, whole, and what it encrypted.
fn encrypted(der: &[u8]) -> Option<(&[u8], &[u8])> {
    let mut fields = Reader::new(der::only(der, tag::SEQUENCE)?);
    let (algorithm, data) = (fields.expect(tag::SEQUENCE)?, fields.expect(tag::OCTET_STRING)?);
    fields.is_empty().then_some((algorithm.whole, data.content))
}

fn decrypt(der: &[u8], password: Option<&str>) -> Result<PrivateKey, String> {
    let password = password.ok_or(NO_PASSWORD)?;
    let (algorithm, data) = encrypted(der).ok_or("the encrypted private key is malformed")?;
    let scheme = EncryptionScheme::try_from(algorithm).map_err(|_| UNSUPPORTED)?;
    let affordable = scheme.pbes2().is_some_and(|parameters| match &parameters.kdf {
        Kdf::Pbkdf2(pbkdf2) => pbkdf2.iteration_count <= MAX_ITERATIONS,
        Kdf::Scrypt(scrypt) => {
            let memory = u64::from(scrypt.block_size).saturating_mul(scrypt.cost_parameter).saturating_mul(128);
            memory.saturating_mul(u64::from(scrypt.parallelization)) <= MAX_SCRYPT_BYTES
        }
        _ => false,
    });
    if !affordable {
        return Err(UNSUPPORTED.to_owned());
    }
    match scheme.decrypt(password, data) {
        // A wrong password shows as bad padding or, once in 256, as bytes that are no key.
        Ok(der) => plain(&Zeroizing::new(der)).ok_or_else(|| WRONG_PASSWORD.to_owned()),
        Err(pkcs5::Error::DecryptFailed | pkcs5::Error::EncryptFailed) => Err(WRONG_PASSWORD.to_owned()),
        Err(_) => Err(UNSUPPORTED.to_owned()),
    }
}

pub(super) const NO_PASSWORD: &str = "the private key is encrypted; give its password";
pub(super) const WRONG_PASSWORD: &str = "the private key does not open: wrong password?";
const UNSUPPORTED: &str = "the private key is encrypted by a method that is not supported, or at too high a cost; convert it with `openssl pkcs8 -topk8 -v2 aes-256-cbc`";
/// A second of work or less; OpenSSL writes 2048, careful people a million.
const MAX_ITERATIONS: u32 = 2_000_000;
const MAX_SCRYPT_BYTES: u64 = 256 * 1024 * 1024;

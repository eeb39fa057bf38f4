//! What files hold: PEM (with line numbers), DER, PFX; certificates, CRLs, keys. Takes bytes, never paths:
//! whoever reads the file says how (`reload`, `cli`).

use rustls_pki_types::PrivateKeyDer;

use super::certificate::Certificate;
use super::crl::Crl;

/// Something found in a file, and the line its PEM block starts at (1-based; 0 for DER and PFX).
#[derive(Clone, Debug)]
pub struct Located<T> {
    pub line: u32,
    pub value: T,
}

/// A private key; `Debug` shows its kind only.
pub struct PrivateKey(pub PrivateKeyDer<'static>);

/// Why a file does not hold what it should.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FileError {
    /// 1-based; 0 where no line is to blame.
    pub line: u32,
    pub why: String,
}

/// Reads every certificate of a PEM or DER file, or of a PFX when a password is given. Strict: no
/// certificate at all, a truncated block, a private key in the file, an unparsable certificate are errors.
pub fn certificates(bytes: &[u8], pfx_password: Option<&str>) -> Result<Vec<Located<Certificate>>, FileError> {
    let _ = (bytes, pfx_password);
    todo!()
}

/// Reads every CRL of a PEM or DER file; none at all is an error.
pub fn crls(bytes: &[u8]) -> Result<Vec<Located<Crl>>, FileError> {
    let _ = bytes;
    todo!()
}

/// Reads a private key: SEC1 (behind an `EC PARAMETERS` block too), PKCS#1, PKCS#8, encrypted PKCS#8 with a password.
pub fn private_key(bytes: &[u8], password: Option<&str>) -> Result<PrivateKey, FileError> {
    let _ = (bytes, password);
    todo!()
}

/// Reads a chain and its key from a PFX: leaf first.
pub fn pfx(bytes: &[u8], password: &str) -> Result<(Vec<Certificate>, PrivateKey), FileError> {
    let _ = (bytes, password);
    todo!()
}

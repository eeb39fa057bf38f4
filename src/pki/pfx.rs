//! PFX (PKCS#12): certificates, maybe with their key, behind a password. The library bounds the iterations of each key derivation.

use p12_keystore::error::Error;
use p12_keystore::{EncryptionAlgorithm, KeyStore, KeyStoreEntry, MacAlgorithm, Pkcs12Archive, PrivateKeyChain};
use rustls_pki_types::{CertificateDer, PrivatePkcs8KeyDer};
use zeroize::Zeroizing;

use super::certificate::Certificate;
use super::files::FileError;
use super::private_key::PrivateKey;

/// A PFX, opened.
pub(super) struct Pfx {
    /// The key's own first, if it says which that is.
    pub(super) certificates: Vec<Certificate>,
    pub(super) keys: Vec<PrivateKey>,
}

/// Tells a PFX from other DER by its version, 3 (RFC 7292, 4); also one in BER, which the library then refuses.
pub(super) fn is_pfx(bytes: &[u8]) -> bool {
    let content = match bytes {
        [0x30, 0x80, content @ ..] => content,
        [0x30, length, rest @ ..] if *length > 0x80 => rest.get(usize::from(length & 0x7f)..).unwrap_or_default(),
        _ => return false,
    };
    content.starts_with(&[2, 1, 3])
}

/// Opens a PFX.
pub(super) fn open(bytes: &[u8], password: &str) -> Result<Pfx, FileError> {
    if bytes.len() > MAX_BYTES {
        return Err(FileError::at(0, "a PFX of more than 1 MiB"));
    }
    let archive = Pkcs12Archive::from_pkcs12(bytes, password).map_err(|error| FileError::at(0, &why(&error)))?;
    let own = archive.keys.first().and_then(|key| key.local_key_id.as_ref()).map(AsRef::<[u8]>::as_ref);
    let mut bags: Vec<_> = archive.certs.iter().collect();
    bags.sort_by_key(|bag| own.is_none() || bag.local_key_id.as_deref() != own);
    let mut certificates = Vec::new();
    for bag in bags {
        let parsed = Certificate::parse(CertificateDer::from(bag.cert.as_der().to_vec()));
        certificates.push(parsed.map_err(|error| FileError::at(0, &error.to_string()))?);
    }
    let keys = archive.keys.iter().map(|bag| PrivateKey::new(PrivatePkcs8KeyDer::from(bag.key.as_der().to_vec()).into())).collect();
    Ok(Pfx { certificates, keys })
}

/// Writes a certificate and its key (PKCS#8): AES-256 by PBES2, PBKDF2 and MAC with SHA-256, which OpenSSL 3, Java, NSS, macOS and
/// Windows read; with a friendly name, and a local key id as OpenSSL gives one.
pub(super) fn write(
    friendly_name: &str,
    certificate: &Certificate,
    pkcs8: &[u8],
    password: &str,
    iterations: u32,
) -> Result<Zeroizing<Vec<u8>>, Error> {
    let key = p12_keystore::PrivateKey::from_der(pkcs8)?;
    let own = p12_keystore::Certificate::from_der(&certificate.der)?;
    let chain = PrivateKeyChain::new(certificate.sha1().to_vec(), key, [own]);
    let mut store = KeyStore::new();
    store.add_entry(friendly_name, KeyStoreEntry::PrivateKeyChain(chain));
    let writer = store.writer(password).encryption_algorithm(EncryptionAlgorithm::PbeWithHmacSha256AndAes256);
    let writer = writer.encryption_iterations(iterations).mac_algorithm(MacAlgorithm::HmacSha256).mac_iterations(iterations);
    writer.write().map(Zeroizing::new)
}

fn why(error: &Error) -> String {
    match error {
        Error::MacError(_) | Error::UnpadError => WRONG_PASSWORD.to_owned(),
        Error::Pkcs5Error(why) if why.contains("ryption failed") => WRONG_PASSWORD.to_owned(),
        Error::InvalidParameters | Error::Pkcs5Error(_) => {
            "the PFX derives its key in a way that is not supported, or at too high a cost; export it again".to_owned()
        }
        other => format!("not a PFX that can be read: {other}; export it again with `openssl pkcs12 -export`"),
    }
}

const WRONG_PASSWORD: &str = "the PFX does not open: wrong password?";
const MAX_BYTES: usize = 1024 * 1024;

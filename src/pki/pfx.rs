//! PFX (PKCS#12): certificates, maybe with their key, behind a password. The library bounds the iterations of each key derivation.

use p12_keystore::error::Error;
use p12_keystore::{CertificateBag, EncryptionAlgorithm, KeyStore, KeyStoreEntry, MacAlgorithm, Pkcs12Archive, PrivateKeyChain};
use rustls_pki_types::{CertificateDer, PrivatePkcs8KeyDer};
use zeroize::Zeroizing;

use super::certificate::Certificate;
use super::files::FileError;
use super::private_key::PrivateKey;

/// A PFX, opened.
pub(super) struct Pfx {
    /// The key's own first, if it says which that is.
    pub(super) certificates: Vec<Certificate>,
    /// How many of them say that they are the key's own.
    own: usize,
    pub(super) keys: Vec<PrivateKey>,
}

/// What a certificate is to the others in its PFX.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// It signed another one, and the key is not its own: it came along for the chain, and lists nobody.
    Issuer,
    Member,
}

impl Pfx {
    /// Returns the certificates without the issuers that came along.
    pub(super) fn members(self) -> Vec<Certificate> {
        self.into_roles().filter(|(_, role)| *role == Role::Member).map(|(certificate, _)| certificate).collect()
    }

    /// Tells each certificate's role.
    pub(super) fn into_roles(self) -> impl Iterator<Item = (Certificate, Role)> {
        let all = &self.certificates;
        let signed_another = |issuer: &Certificate| {
            // By signature: two self-signed certificates may have one name, and each is a client.
            let children = all.iter().filter(|child| child.fingerprint != issuer.fingerprint && child.issuer.der == issuer.subject.der);
            children.take(MOST_CHILDREN).any(|child| child.is_signed_by(issuer.spki()))
        };
        let role = |(index, certificate)| match index >= self.own && signed_another(certificate) {
            true => Role::Issuer,
            false => Role::Member,
        };
        let roles: Vec<Role> = all.iter().enumerate().map(role).collect();
        self.certificates.into_iter().zip(roles)
    }
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
    let archive = Pkcs12Archive::from_pkcs12(bytes, password).map_err(|error| FileError::at(0, &why(&error, bytes)))?;
    let own = archive.keys.first().and_then(|key| key.local_key_id.as_ref()).map(AsRef::<[u8]>::as_ref);
    let mut bags: Vec<_> = archive.certs.iter().collect();
    let is_own = |bag: &CertificateBag| own.is_some() && bag.local_key_id.as_deref() == own;
    bags.sort_by_key(|bag| !is_own(bag));
    let owned = bags.iter().filter(|bag| is_own(bag)).count();
    let mut certificates = Vec::new();
    for bag in bags {
        let parsed = Certificate::parse(CertificateDer::from(bag.cert.as_der().to_vec()));
        certificates.push(parsed.map_err(|error| FileError::at(0, &error.to_string()))?);
    }
    let keys = archive.keys.iter().map(|bag| PrivateKey::new(PrivatePkcs8KeyDer::from(bag.key.as_der().to_vec()).into())).collect();
    Ok(Pfx { certificates, own: owned, keys })
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

/// Writes certificates without keys, under the empty password: what anybody may read.
pub(super) fn write_certificates(certificates: &[Certificate]) -> Result<Vec<u8>, Error> {
    let mut store = KeyStore::new();
    for certificate in certificates {
        let entry = p12_keystore::Certificate::from_der(&certificate.der)?;
        store.add_entry(&certificate.fingerprint.to_string(), KeyStoreEntry::Certificate(entry));
    }
    store.writer("").encryption_algorithm(EncryptionAlgorithm::PbeWithHmacSha256AndAes256).mac_algorithm(MacAlgorithm::HmacSha256).write()
}

fn why(error: &Error, pfx: &[u8]) -> String {
    match error {
        Error::MacError(_) | Error::UnpadError => WRONG_PASSWORD.to_owned(),
        Error::Pkcs5Error(why) if why.contains("ryption failed") => WRONG_PASSWORD.to_owned(),
        Error::InvalidParameters | Error::Pkcs5Error(_) => {
            "the PFX derives its key in a way that is not supported, or at too high a cost; export it again".to_owned()
        }
        Error::UnsupportedEncryptionScheme => format!("the PFX is protected by {}, which is not supported; {CONVERT}", method(pfx)),
        other => format!("not a PFX that can be read: {other}; export it again with `openssl pkcs12 -export`"),
    }
}

/// Names the method that hinders; where the names of methods are themselves encrypted, nothing more can be said.
fn method(pfx: &[u8]) -> &'static str {
    let known = METHODS.iter().find(|(oid, _)| pfx.windows(oid.len()).any(|window| window == *oid));
    known.map_or("a method", |(_, name)| name)
}

/// RFC 7292, C, but for the two that are read (3DES and 40-bit RC2); RFC 9579.
const METHODS: [(&[u8], &str); 5] = [
    (&[6, 10, 0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 1, 12, 1, 1], "128-bit RC4"),
    (&[6, 10, 0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 1, 12, 1, 2], "40-bit RC4"),
    (&[6, 10, 0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 1, 12, 1, 4], "3DES with two keys"),
    (&[6, 10, 0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 1, 12, 1, 5], "128-bit RC2"),
    (&[6, 9, 0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 1, 5, 14], "a MAC of the kind PBMAC1"),
];
const CONVERT: &str = "convert it: `openssl pkcs12 -legacy -in OLD.pfx -nodes -out all.pem`, `openssl pkcs12 -export -macalg sha256 -in all.pem -out NEW.pfx`, and delete all.pem";
/// Of one name; each costs a signature.
const MOST_CHILDREN: usize = 64;
const WRONG_PASSWORD: &str = "the PFX does not open: wrong password?";
const MAX_BYTES: usize = 1024 * 1024;

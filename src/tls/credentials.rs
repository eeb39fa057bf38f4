//! Our own certificates, by SNI.

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;

use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;

use super::algorithms;
use super::current::Current;
use crate::pki::{Certificate, PrivateKey, San};

/// Names a certificate covers, shared by the connections that were shown it.
pub type Names = Arc<[Box<str>]>;

/// A certificate chain with its key, ready to sign.
#[derive(Clone, Debug)]
pub struct KeyPair {
    pub certified: Arc<CertifiedKey>,
    /// Lower-case DNS names the leaf covers, wildcards included: for SNI and 421.
    pub names: Names,
    /// Seconds since the epoch.
    pub not_after: u64,
}

/// Why a certificate and a key are no pair of ours.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum KeyPairError {
    Empty,
    /// The key belongs to another certificate.
    Mismatch,
    /// rustls cannot use it, and says why.
    Unusable(String),
}

/// The certificates of one listener; the first is the default.
#[derive(Clone, Debug)]
pub struct Credentials {
    pub key_pairs: Vec<KeyPair>,
}

impl KeyPair {
    /// Puts a chain, leaf first, and its key together; refuses a key that is another certificate's.
    pub fn new(chain: &[Certificate], key: PrivateKey) -> Result<Self, KeyPairError> {
        let leaf = chain.first().ok_or(KeyPairError::Empty)?;
        let ders = chain.iter().map(|certificate| certificate.der.clone()).collect();
        let certified = CertifiedKey::from_der(ders, key.der().clone_key(), &algorithms::default()).map_err(|error| match error {
            rustls::Error::InconsistentKeys(rustls::InconsistentKeys::KeyMismatch) => KeyPairError::Mismatch,
            error => KeyPairError::Unusable(error.to_string()),
        })?;
        let name = |san: &San| match san {
            San::Dns(name) => Some(name.to_ascii_lowercase().into()),
            San::Ip(ip) => Some(ip.to_string().into()),
            San::Email(_) | San::Uri(_) | San::Other => None,
        };
        Ok(Self { certified: Arc::new(certified), names: leaf.sans.iter().filter_map(name).collect(), not_after: leaf.not_after })
    }
}

impl fmt::Display for KeyPairError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Empty => f.write_str("there is no certificate"),
            Self::Mismatch => f.write_str("the key belongs to another certificate"),
            Self::Unusable(why) => write!(f, "certificate and key cannot be used: {why}"),
        }
    }
}

impl std::error::Error for KeyPairError {}

/// Key pairs, looked up by name.
#[derive(Debug)]
pub(super) struct ByName {
    /// Never empty.
    pub(super) key_pairs: Vec<KeyPair>,
    /// The URI SANs of each: what we are called in XFCC's `By`.
    uris: Vec<Names>,
    /// Several where one name has keys of several kinds, in the order of the configuration.
    exact: HashMap<Box<str>, Vec<usize>>,
    /// By what follows `*.`.
    wildcard: HashMap<Box<str>, Vec<usize>>,
    /// A name that is none of theirs is not answered.
    strict: bool,
}

impl ByName {
    /// `None` when there is nothing to show.
    pub(super) fn new(credentials: Credentials, strict: bool) -> Option<Self> {
        let key_pairs = credentials.key_pairs;
        if key_pairs.is_empty() {
            return None;
        }
        let (mut exact, mut wildcard) = (HashMap::<Box<str>, Vec<usize>>::new(), HashMap::<Box<str>, Vec<usize>>::new());
        for (index, key_pair) in key_pairs.iter().enumerate() {
            for name in key_pair.names.iter() {
                match name.strip_prefix("*.") {
                    Some(parent) => wildcard.entry(parent.into()).or_default().push(index),
                    None => exact.entry(name.clone()).or_default().push(index),
                }
            }
        }
        let uris = key_pairs.iter().map(uris).collect();
        Some(Self { key_pairs, uris, exact, wildcard, strict })
    }

    /// Finds the certificates for a lower-case name: exact first, then a wildcard for its first label (RFC 6125, 6.4.3).
    pub(super) fn named(&self, name: &str) -> Option<&[usize]> {
        let name = without_final_dot(name);
        self.exact.get(name).or_else(|| self.wildcard.get(parent(name)?)).map(Vec::as_slice)
    }

    /// Tells whether a handshake for this lower-case name may begin.
    pub(super) fn knows(&self, sni: Option<&str>) -> bool {
        !self.strict || sni.is_none_or(|name| self.named(name).is_some())
    }

    /// Returns the names of the first certificate for a lower-case name; of the default for an unknown name or none.
    pub(super) fn names(&self, sni: Option<&str>) -> &[Box<str>] {
        let index = sni.and_then(|name| self.named(name)).and_then(|indices| indices.first()).copied().unwrap_or(0);
        &self.key_pairs[index].names
    }

    /// Chooses the first whose key the client can check; the default for an unknown name or none.
    fn choose(&self, hello: &ClientHello<'_>) -> usize {
        let fallback = &[0][..];
        let indices = hello.server_name().and_then(|name| self.named(name)).unwrap_or(fallback);
        let fits = |index: &&usize| self.key_pairs[**index].certified.key.choose_scheme(hello.signature_schemes()).is_some();
        indices.iter().find(fits).or(indices.first()).copied().unwrap_or(0)
    }
}

impl ResolvesServerCert for ByName {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        let sni = hello.server_name().map(without_final_dot);
        if !self.knows(sni) {
            Current::with(Current::knows_no_name);
            return None;
        }
        let index = self.choose(&hello);
        let key_pair = &self.key_pairs[index];
        Current::with(|current| current.shows(sni, &key_pair.names, &self.uris[index]));
        Some(Arc::clone(&key_pair.certified))
    }
}

fn uris(key_pair: &KeyPair) -> Names {
    let leaf = key_pair.certified.end_entity_cert().ok().and_then(|der| Certificate::parse(der.clone().into_owned()).ok());
    let uri = |san| if let San::Uri(uri) = san { Some(uri) } else { None };
    leaf.map(|leaf| leaf.sans.into_iter().filter_map(uri).collect()).unwrap_or_default()
}

/// RFC 6066, 3: a name in SNI has no final dot. One that has it means the same host, here as in an authority.
pub(super) fn without_final_dot(name: &str) -> &str {
    name.strip_suffix('.').unwrap_or(name)
}

/// What follows the first label; `None` where there is none to replace.
fn parent(host: &str) -> Option<&str> {
    host.split_once('.').filter(|(label, parent)| !label.is_empty() && !parent.is_empty()).map(|(_, parent)| parent)
}

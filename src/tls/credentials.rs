//! Our own certificates, by SNI.

use std::sync::Arc;

/// A certificate chain with its key, ready to sign.
#[derive(Clone, Debug)]
pub struct KeyPair {
    pub certified: Arc<rustls::sign::CertifiedKey>,
    /// Lower-case DNS names the leaf covers, wildcards included: for SNI and 421.
    pub names: Arc<[Box<str>]>,
    /// Seconds since the epoch.
    pub not_after: u64,
}

/// The certificates of one listener; the first is the default.
#[derive(Clone, Debug)]
pub struct Credentials {
    pub key_pairs: Vec<KeyPair>,
}

/// Tells whether a certificate's names cover a host (lower case, no port, no final dot): exactly, or by a wildcard for its first label.
pub fn covers(names: &[Box<str>], host: &str) -> bool {
    let wildcard = host.split_once('.').filter(|(label, _)| !label.is_empty()).map(|(_, parent)| parent);
    names.iter().any(|name| **name == *host || name.strip_prefix("*.").is_some_and(|parent| Some(parent) == wildcard))
}

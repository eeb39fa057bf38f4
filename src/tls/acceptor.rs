//! One listener's TLS policy, compiled: a rustls configuration for every first try, and a twin that resumes
//! nothing for whoever was denied on a resumed session. Built anew by each install; the sessions survive it
//! while the client policy is the same.

use crate::pki::Fingerprint;

use super::credentials::{Credentials, KeyPair};

/// What a listener's configuration says of TLS; plain data, made by `config`.
#[derive(Clone, Debug)]
pub struct Settings {
    pub credentials: Credentials,
    /// `require`: whoever is denied hears an alert. `request`: denials are HTTP answers.
    pub client_auth: ClientAuth,
    pub min_tls_13: bool,
    /// Empty: the defaults. rustls names.
    pub groups: Vec<String>,
    pub ciphers: Vec<String>,
    pub strict_sni: bool,
    pub send_ca_names: bool,
    /// DER of the anchors' subjects, for `send_ca_names`.
    pub ca_names: Vec<Vec<u8>>,
    pub http2: bool,
    pub resumption: bool,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ClientAuth {
    Request,
    #[default]
    Require,
}

/// What sessions depend on beside the listener's own settings: a digest of anchors, CRLs and bounds. Another digest
/// means that no session of before is resumed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TrustId(pub [u8; 32]);

/// Why settings make no acceptor. `Display` says what to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SettingsError {
    NoCertificate,
    /// rustls refuses the combination.
    Unusable(String),
    UnknownCipher {
        name: String,
        known: Vec<String>,
    },
    UnknownGroup {
        name: String,
        known: Vec<String>,
    },
}

/// One listener's TLS policy, compiled.
#[derive(Debug)]
pub struct Acceptor {}

impl Acceptor {
    /// Compiles settings. `previous` is the same listener's acceptor before this install: its sessions stay if `client_auth` and `trust` do.
    pub fn new(settings: Settings, trust: TrustId, previous: Option<&Self>) -> Result<Self, SettingsError> {
        let _ = (settings, trust, previous);
        todo!()
    }

    /// Returns who hears denials how.
    pub fn client_auth(&self) -> ClientAuth {
        todo!()
    }

    /// Drops the sessions of clients that are gone; returns how many. The judgement of each resumed session is the lock, this only tidies.
    pub fn forget(&self, gone: impl Fn(&Fingerprint) -> bool) -> usize {
        let _ = gone;
        todo!()
    }

    /// Returns the certificate for a name: exact, then a wildcard of one label, else the default unless `strict_sni`.
    pub fn key_pair(&self, sni: Option<&str>) -> Option<&KeyPair> {
        let _ = sni;
        todo!()
    }
}

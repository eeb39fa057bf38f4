//! One listener's TLS policy, compiled: a rustls configuration for every first try, and a twin that resumes
//! nothing for whoever was denied on a resumed session. Built anew by each install; the sessions survive it
//! while the client policy is the same.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use rustls::server::NoServerSessionStorage;
use rustls::version::{TLS12, TLS13};
use rustls::{DistinguishedName, ServerConfig};
use rustls_pki_types::CertificateDer;

use super::algorithms;
use super::credentials::{ByName, Credentials};
use super::sessions::{self, NewOnly, Sessions};
use super::verifier::Verifier;
use crate::pki::Fingerprint;

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
pub struct Acceptor {
    policy: Policy,
    credentials: Arc<ByName>,
    /// Every connection's first try.
    config: Arc<ServerConfig>,
    /// Resumes nothing, and is the same otherwise.
    full_only: Arc<ServerConfig>,
    /// `None`: `resumption = "off"`.
    sessions: Option<Arc<Sessions>>,
    plain_http_seen: AtomicBool,
    /// Its listener serves our own surfaces and no upstream: `config` says so.
    pub serves_only_ours: bool,
}

/// Whom a session speaks for depends on this: no session outlives it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Policy {
    client_auth: ClientAuth,
    trust: TrustId,
}

impl Acceptor {
    /// Compiles settings. `previous` is the same listener's acceptor before this install: its sessions stay if `client_auth` and `trust` do.
    pub fn new(settings: Settings, trust: TrustId, previous: Option<&Self>) -> Result<Self, SettingsError> {
        Self::with_lifetime(settings, trust, previous, sessions::LIFETIME)
    }

    fn with_lifetime(settings: Settings, trust: TrustId, previous: Option<&Self>, lifetime: Duration) -> Result<Self, SettingsError> {
        let policy = Policy { client_auth: settings.client_auth, trust };
        let sessions = settings.resumption.then(|| {
            let kept = previous.filter(|previous| previous.policy == policy).and_then(|previous| previous.sessions.clone());
            kept.unwrap_or_else(|| Sessions::new(lifetime))
        });
        let provider = algorithms::provider(&settings)?;
        let credentials = Arc::new(ByName::new(settings.credentials, settings.strict_sni).ok_or(SettingsError::NoCertificate)?);
        let hints = if settings.send_ca_names { hints(settings.ca_names) } else { Vec::new() };

        // TLS 1.3 first or alone; nothing older than 1.2 exists in rustls.
        let versions: &[_] = if settings.min_tls_13 { &[&TLS13] } else { &[&TLS13, &TLS12] };
        let builder = ServerConfig::builder_with_provider(provider)
            .with_protocol_versions(versions)
            .map_err(|error| SettingsError::Unusable(error.to_string()))?;
        let resolver = Arc::<ByName>::clone(&credentials);
        let mut config =
            builder.with_client_cert_verifier(Arc::new(Verifier::new(settings.client_auth, hints))).with_cert_resolver(resolver);
        config.alpn_protocols = if settings.http2 { vec![b"h2".to_vec(), b"http/1.1".to_vec()] } else { vec![b"http/1.1".to_vec()] };
        // Early data could be replayed, and would be read before anybody judged whose it is.
        config.max_early_data_size = 0;
        // Records are sealed and opened in `stream.rs`, by the keys that the handshake ends with.
        config.enable_secret_extraction = true;
        config.send_tls13_tickets = usize::from(sessions.is_some());

        let mut full_only = config.clone();
        match &sessions {
            Some(sessions) => {
                config.session_storage = Arc::<Sessions>::clone(sessions);
                full_only.session_storage = Arc::new(NewOnly(Arc::clone(sessions)));
            }
            None => {
                config.session_storage = Arc::new(NoServerSessionStorage {});
                full_only.session_storage = Arc::new(NoServerSessionStorage {});
            }
        }
        Ok(Self {
            policy,
            credentials,
            config: Arc::new(config),
            full_only: Arc::new(full_only),
            sessions,
            plain_http_seen: AtomicBool::new(false),
            serves_only_ours: false,
        })
    }

    /// Returns who hears denials how.
    pub fn client_auth(&self) -> ClientAuth {
        self.policy.client_auth
    }

    /// Drops the sessions of clients that are gone; returns how many. The judgement of each resumed session is the lock, this only tidies.
    pub fn forget(&self, gone: impl Fn(&Fingerprint) -> bool) -> usize {
        self.sessions.as_ref().map_or(0, |sessions| sessions.forget(gone))
    }

    /// Returns the certificates that it may show, without their chains.
    pub fn certificates(&self) -> impl Iterator<Item = &CertificateDer<'static>> {
        self.credentials.key_pairs.iter().filter_map(|pair| pair.certified.cert.first())
    }

    /// Tells whether a handshake for this name may begin: any name, unless `strict_sni`.
    pub fn knows(&self, sni: Option<&str>) -> bool {
        self.credentials.knows(sni)
    }

    /// Returns the names of the certificate that a client of this name is shown, as far as its name says which.
    pub fn names(&self, sni: Option<&str>) -> &[Box<str>] {
        self.credentials.names(sni)
    }

    pub(super) fn config(&self) -> &Arc<ServerConfig> {
        &self.config
    }

    pub(super) fn full_only(&self) -> &Arc<ServerConfig> {
        &self.full_only
    }

    /// True the first time: somebody speaks plain HTTP to this listener, and once is enough to say so.
    pub(super) fn first_plain_http(&self) -> bool {
        !self.plain_http_seen.swap(true, Ordering::Relaxed)
    }
}

/// Compiles the names of CAs that CertificateRequest offers. A list that is too long is left out: its 16-bit length would
/// wrap, and other stacks give up far earlier; without it a client offers whatever certificate it has.
fn hints(mut names: Vec<Vec<u8>>) -> Vec<DistinguishedName> {
    names.sort_unstable();
    names.dedup();
    let bytes: usize = names.iter().map(|name| 2 + name.len()).sum();
    if bytes > MAX_HINTS {
        tracing::warn!(bytes, limit = MAX_HINTS, "send_ca_names: the list is too long for clients to read, so none is sent");
        return Vec::new();
    }
    names.into_iter().map(DistinguishedName::from).collect()
}

/// SChannel cuts a list at 16 KiB, and the first flight should fit a round trip.
const MAX_HINTS: usize = 8 * 1024;

impl fmt::Display for SettingsError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoCertificate => f.write_str("a listener needs at least one certificate: add one to `certificates`"),
            Self::Unusable(why) => write!(f, "min_tls, groups and ciphers leave nothing to talk with: {why}"),
            Self::UnknownCipher { name, known } => write!(f, "unknown cipher {name:?}; known are {}", known.join(", ")),
            Self::UnknownGroup { name, known } => write!(f, "unknown group {name:?}; known are {}", known.join(", ")),
        }
    }
}

impl std::error::Error for SettingsError {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_cas_are_sent_while_the_list_is_short() {
        let name = |index: usize| [&[0x30, 60][..], format!("{index:060}").as_bytes()].concat();
        for (count, expected) in [(0, 0), (3, 3), (128, 128), (129, 0), (5000, 0)] {
            assert_eq!(hints((0..count).map(name).collect()).len(), expected, "{count} names");
        }
        assert_eq!(hints(vec![name(1), name(1)]).len(), 1, "each once");
    }
}

//! The handshake: full or resumed, possession, our own certificates. A verifier here only translates the
//! gate's verdict; the lock is `Standing::open`, after every handshake.

pub mod acceptor;
mod alert;
pub mod credentials;
pub mod handshake;
mod sessions;
mod verifier;

use std::sync::{Arc, OnceLock};

use rustls::crypto::CryptoProvider;

pub use acceptor::{Acceptor, ClientAuth, Settings, SettingsError, TrustId};
pub use credentials::{Credentials, KeyPair};
pub use handshake::{Failed, Session, TlsError};

/// Returns the cryptography that every TLS of ours uses, either side: never rustls' process default, which panics when two are compiled in.
pub fn provider() -> Arc<CryptoProvider> {
    static PROVIDER: OnceLock<Arc<CryptoProvider>> = OnceLock::new();
    Arc::clone(PROVIDER.get_or_init(|| Arc::new(rustls::crypto::aws_lc_rs::default_provider())))
}

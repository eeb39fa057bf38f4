//! The handshake: full or resumed, possession, our own certificates. A verifier here only translates the
//! gate's verdict; the lock is `Standing::open`, after every handshake.

pub mod acceptor;
mod alert;
mod algorithms;
pub mod credentials;
mod current;
mod fault;
pub mod handshake;
mod lent;
mod records;
mod server_only;
mod sessions;
mod stream;
#[cfg(test)]
mod tests;
mod verifier;

pub use acceptor::{Acceptor, ClientAuth, Settings, SettingsError, TrustId};
pub use alert::name as alert_name;
pub use algorithms::default as provider;
pub use credentials::{Credentials, KeyPair, KeyPairError};
pub use handshake::{Failed, Session, TlsError};
pub use server_only::ServerOnly;
pub use stream::Stream;

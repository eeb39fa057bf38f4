//! The handshake: full or resumed, possession, our own certificates. A verifier here only translates the
//! gate's verdict; the lock is `Standing::open`, after every handshake.

pub mod acceptor;
pub mod alert;
pub mod credentials;
pub mod handshake;
pub mod sessions;
pub mod verifier;

pub use credentials::{Credentials, KeyPair};
pub use handshake::{Session, TlsError};

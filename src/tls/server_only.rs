//! TLS that shows our certificate and asks for none: for the monitor, whose clients nobody judges. Whoever comes through a
//! listener is judged elsewhere (`acceptor.rs`).

use std::io;
use std::sync::Arc;

use rustls::ServerConfig;
use rustls::server::NoServerSessionStorage;
use rustls::sign::SingleCertAndKey;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

use super::acceptor::SettingsError;
use super::algorithms;
use super::credentials::KeyPair;

/// One certificate of ours, ready to serve HTTP/1.1 with.
#[derive(Clone)]
pub struct ServerOnly(TlsAcceptor);

impl ServerOnly {
    /// Compiles it.
    pub fn new(pair: &KeyPair) -> Result<Self, SettingsError> {
        let builder = ServerConfig::builder_with_provider(algorithms::default()).with_safe_default_protocol_versions();
        let builder = builder.map_err(|error| SettingsError::Unusable(error.to_string()))?.with_no_client_auth();
        let mut config = builder.with_cert_resolver(Arc::new(SingleCertAndKey::from((*pair.certified).clone())));
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        // A scrape keeps its connection: nothing is worth remembering.
        config.session_storage = Arc::new(NoServerSessionStorage {});
        config.send_tls13_tickets = 0;
        Ok(Self(TlsAcceptor::from(Arc::new(config))))
    }

    /// Shakes hands. How long that may take is the caller's to say.
    pub async fn accept<IO: AsyncRead + AsyncWrite + Unpin>(&self, io: IO) -> io::Result<TlsStream<IO>> {
        self.0.accept(io).await
    }
}

impl std::fmt::Debug for ServerOnly {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("ServerOnly").finish_non_exhaustive()
    }
}

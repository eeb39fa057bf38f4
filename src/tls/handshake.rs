//! One handshake: ClientHello kept, session judged, alert heard.

use crate::gate::Possession;

/// A connection whose handshake is done.
pub struct Session<IO> {
    pub stream: tokio_rustls::server::TlsStream<IO>,
    /// `None`: no certificate was presented (`request` only).
    pub possession: Option<Possession>,
    /// As sent, lower case.
    pub sni: Option<Box<str>>,
    pub resumed: bool,
    pub http2: bool,
}

/// Why a handshake did not end in a session. The client has its alert already.
#[derive(Debug)]
pub enum TlsError {
    Denied(crate::admission::Denial),
    Io(std::io::Error),
    Protocol(rustls::Error),
    Timeout,
}

//! One handshake: ClientHello kept, session judged, alert heard.

use std::rc::Rc;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite};

use super::acceptor::Acceptor;
use crate::admission::{ClientAddress, Denial};
use crate::gate::{Asker, Gate, Possession};

/// A connection whose handshake is done.
#[derive(Debug)]
pub struct Session<IO> {
    pub stream: tokio_rustls::server::TlsStream<IO>,
    /// `None`: no certificate was presented (`request` only).
    pub possession: Option<Possession>,
    /// As sent, lower case.
    pub sni: Option<Box<str>>,
    /// Names that the certificate we showed covers: for 421, with `credentials::covers`.
    pub names: std::sync::Arc<[Box<str>]>,
    pub resumed: bool,
    pub http2: bool,
    /// `TLSv1.2`, `TLSv1.3`: for the log.
    pub version: &'static str,
    /// IANA name: for the log.
    pub cipher: &'static str,
}

/// A handshake that did not end in a session. The client has its alert already; `close` the connection.
#[derive(Debug)]
pub struct Failed<IO> {
    pub error: TlsError,
    io: Option<IO>,
}

/// Why a handshake did not end in a session.
#[derive(Debug)]
pub enum TlsError {
    Denied(Denial),
    Io(std::io::Error),
    Protocol(rustls::Error),
    Timeout,
    /// `strict_sni`, and we have no certificate for the name.
    UnknownName,
}

/// Shakes hands within `limit`. What is denied here was recorded at the gate; `Standing::open` is still to come.
pub async fn accept<IO>(
    acceptor: &Acceptor,
    gate: &Rc<Gate>,
    io: IO,
    address: ClientAddress,
    asker: &Asker,
    limit: Duration,
) -> Result<Session<IO>, Failed<IO>>
where
    IO: AsyncRead + AsyncWrite + Unpin,
{
    let _ = (acceptor, gate, io, address, asker, limit);
    todo!()
}

impl<IO: AsyncRead + AsyncWrite + Unpin> Failed<IO> {
    /// Closes slowly: FIN, then what still arrives is read and dropped, so that no reset overtakes the alert.
    pub async fn close(self) {
        if let Some(io) = self.io {
            slow_close(io).await;
        }
    }
}

/// Ends a connection whose last words the client must hear: FIN, then reads and drops at most 256 KiB, for at most a second.
pub async fn slow_close<IO: AsyncRead + AsyncWrite + Unpin>(io: IO) {
    let _ = io;
    todo!()
}

//! One handshake: ClientHello kept, session judged, alert heard. Drives rustls itself, because a resumed session
//! has to be judged after the ClientHello was read and before a byte is answered, and an alert has to be flushed
//! before the connection is closed.

use std::fmt;
use std::io;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use rustls::server::{Accepted, AcceptedAlert, ServerConnection};
use rustls::{HandshakeKind, ServerConfig};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::time::timeout;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

use super::acceptor::{Acceptor, ClientAuth};
use super::alert;
use super::credentials::{self, Names};
use super::current::Current;
use crate::admission::{ClientAddress, Denial};
use crate::gate::{Asker, Gate, Possession};

/// A connection whose handshake is done.
#[derive(Debug)]
pub struct Session<IO> {
    pub stream: TlsStream<IO>,
    /// `None`: no certificate was presented (`request` only).
    pub possession: Option<Possession>,
    /// Lower case, without a final dot.
    pub sni: Option<Box<str>>,
    /// Names that the certificate we showed covers: for 421, with `Routes::misdirected`.
    pub names: Names,
    /// Its URI SANs: what we are called in identity headers.
    pub uris: Names,
    pub resumed: bool,
    pub http2: bool,
    /// `TLSv1.2`, `TLSv1.3`: for the log.
    pub version: &'static str,
    /// rustls' name: for the log.
    pub cipher: &'static str,
}

/// A handshake that did not end in a session. The client has its alert already; `close` the connection.
#[derive(Debug)]
pub struct Failed<IO> {
    pub error: TlsError,
    /// `None` where nothing is left to say, or nobody to say it to.
    io: Option<IO>,
}

/// Why a handshake did not end in a session.
#[derive(Debug)]
pub enum TlsError {
    Denied(Denial),
    Io(io::Error),
    Protocol(rustls::Error),
    Timeout,
    /// `strict_sni`, and we have no certificate for the name.
    UnknownName,
}

/// Shakes hands within `limit`. What is denied here was recorded at the gate; `Standing::open` is still to come.
pub async fn accept<IO>(
    acceptor: &Acceptor,
    gate: &Rc<Gate>,
    mut io: IO,
    address: ClientAddress,
    asker: &Asker,
    limit: Duration,
) -> Result<Session<IO>, Failed<IO>>
where
    IO: AsyncRead + AsyncWrite + Unpin,
{
    let current = Current::new(gate, (address, acceptor.serves_only_ours), asker, acceptor.client_auth());
    let handshake = async {
        match timeout(limit, current.run(shake(acceptor, &current, &mut io))).await.unwrap_or(Err(TlsError::Timeout)) {
            Ok(connection) => establish(acceptor, &current, connection, io).await,
            Err(error @ (TlsError::Io(_) | TlsError::Timeout)) => Err(Failed { error, io: None }),
            Err(error) => Err(Failed { error, io: Some(io) }),
        }
    };
    // In a box of its own: its buffers would otherwise stay in the connection's task for as long as that lives.
    Box::pin(handshake).await
}

impl<IO: AsyncRead + AsyncWrite + Unpin> Failed<IO> {
    /// Closes slowly: FIN, then what still arrives is read and dropped, so that no reset overtakes the alert.
    pub async fn close(self) {
        if let Some(io) = self.io {
            slow_close(io).await;
        }
    }
}

/// Ends a connection whose last words the client must hear: FIN, then reads and drops at most 256 KiB, for at most a
/// second. Closing a socket with unread input would send a reset, and that overtakes what was written.
pub async fn slow_close<IO: AsyncRead + AsyncWrite + Unpin>(mut io: IO) {
    let drained = timeout(DRAIN_TIME, async {
        io.shutdown().await?;
        tokio::io::copy(&mut io.take(DRAIN_BYTES), &mut tokio::io::sink()).await
    });
    // Whatever goes wrong here, the connection is closed by being dropped.
    drop(drained.await);
}

/// Runs the handshake up to its last byte.
async fn shake<IO>(acceptor: &Acceptor, current: &Current, io: &mut IO) -> Result<ServerConnection, TlsError>
where
    IO: AsyncRead + AsyncWrite + Unpin,
{
    let hello = read_hello(acceptor, current, io).await?;
    let (accepted, mut used) = (hello.accepted, hello.used);
    if !acceptor.knows(accepted.client_hello().server_name()) {
        io.write_all(&alert::UNRECOGNIZED_NAME).await.map_err(TlsError::Io)?;
        return Err(TlsError::UnknownName);
    }
    let mut connection = answer(accepted, acceptor.config(), io).await?;
    let may_go_on = match connection.handshake_kind() {
        Some(HandshakeKind::Full) => true,
        // A second ClientHello may offer a ticket, and rustls would answer it before anybody judged whose it is.
        Some(HandshakeKind::FullWithHelloRetryRequest) | None => false,
        Some(HandshakeKind::Resumed) => current.resume(connection.peer_certificates()),
    };
    if !may_go_on {
        // Nothing of it was sent: the same bytes again, as a full handshake, so that the client may hear its alert.
        let again = replay(&hello.bytes)?;
        connection = answer(again.0, acceptor.full_only(), io).await?;
        used = again.1;
    }
    drive(&mut connection, io, &hello.bytes[used..]).await.map_err(|error| told(error, current))?;

    // INVARIANT: whatever was resumed was judged above.
    if connection.handshake_kind() == Some(HandshakeKind::Resumed) && !current.was_resumed() {
        return Err(TlsError::Protocol(rustls::Error::General("resumed without a judgement".into())));
    }
    Ok(connection)
}

/// A ClientHello with the bytes it came in.
struct Hello {
    accepted: Accepted,
    bytes: Vec<u8>,
    /// How many of them rustls has taken; the rest came too early and is for the connection.
    used: usize,
}

async fn read_hello<IO>(acceptor: &Acceptor, current: &Current, io: &mut IO) -> Result<Hello, TlsError>
where
    IO: AsyncRead + AsyncWrite + Unpin,
{
    let mut parser = rustls::server::Acceptor::default();
    let (mut bytes, mut used) = (Vec::new(), 0);
    loop {
        match feed_hello(&mut parser, &bytes, &mut used) {
            Ok(Some(accepted)) => return Ok(Hello { accepted, bytes, used }),
            Ok(None) => {}
            Err(Refusal::Io(error)) => return Err(TlsError::Io(error)),
            Err(Refusal::Alert(error, alert)) => {
                if looks_like_http(&bytes) && acceptor.first_plain_http() {
                    current.log_plain_http();
                }
                return refuse(error, alert, io).await;
            }
        }
        if bytes.len() >= MAX_HELLO {
            return Err(TlsError::Protocol(rustls::InvalidMessage::MessageTooLarge.into()));
        }
        let mut chunk = [0; CHUNK];
        match io.read(&mut chunk).await.map_err(TlsError::Io)? {
            0 => return Err(TlsError::Io(io::ErrorKind::UnexpectedEof.into())),
            read => bytes.extend_from_slice(&chunk[..read]),
        }
    }
}

enum Refusal {
    Alert(rustls::Error, AcceptedAlert),
    Io(io::Error),
}

/// Gives rustls the bytes it has not seen, until they make a ClientHello.
fn feed_hello(parser: &mut rustls::server::Acceptor, bytes: &[u8], used: &mut usize) -> Result<Option<Accepted>, Refusal> {
    while *used < bytes.len() {
        *used += parser.read_tls(&mut &bytes[*used..]).map_err(Refusal::Io)?;
        if let Some(accepted) = parser.accept().map_err(|(error, alert)| Refusal::Alert(error, alert))? {
            return Ok(Some(accepted));
        }
    }
    Ok(None)
}

/// Reads a ClientHello from bytes that made one before.
fn replay(bytes: &[u8]) -> Result<(Accepted, usize), TlsError> {
    let mut used = 0;
    match feed_hello(&mut rustls::server::Acceptor::default(), bytes, &mut used) {
        Ok(Some(accepted)) => Ok((accepted, used)),
        Ok(None) => Err(TlsError::Io(io::ErrorKind::UnexpectedEof.into())),
        Err(Refusal::Io(error)) => Err(TlsError::Io(error)),
        Err(Refusal::Alert(error, _)) => Err(TlsError::Protocol(error)),
    }
}

/// Prepares the answer to a ClientHello. Nothing is sent yet, except the alert if there is none.
async fn answer<IO>(accepted: Accepted, config: &Arc<ServerConfig>, io: &mut IO) -> Result<ServerConnection, TlsError>
where
    IO: AsyncWrite + Unpin,
{
    match accepted.into_connection(Arc::clone(config)) {
        Ok(connection) => Ok(connection),
        Err((error, alert)) => refuse(error, alert, io).await,
    }
}

async fn refuse<T>(error: rustls::Error, mut alert: AcceptedAlert, io: &mut (impl AsyncWrite + Unpin)) -> Result<T, TlsError> {
    let mut bytes = Vec::new();
    // Writing to memory does not fail.
    let _ = alert.write_all(&mut bytes);
    io.write_all(&bytes).await.map_err(TlsError::Io)?;
    io.flush().await.map_err(TlsError::Io)?;
    Err(TlsError::Protocol(error))
}

/// Exchanges messages until the handshake is done and everything of ours is sent. An alert of ours is sent too.
async fn drive<IO>(connection: &mut ServerConnection, io: &mut IO, early: &[u8]) -> Result<(), TlsError>
where
    IO: AsyncRead + AsyncWrite + Unpin,
{
    let mut fed = feed(connection, early);
    loop {
        flush(connection, io).await?;
        fed?;
        if !connection.is_handshaking() {
            return Ok(());
        }
        let mut chunk = [0; CHUNK];
        fed = match io.read(&mut chunk).await.map_err(TlsError::Io)? {
            0 => return Err(TlsError::Io(io::ErrorKind::UnexpectedEof.into())),
            read => feed(connection, &chunk[..read]),
        };
    }
}

/// Gives rustls what arrived. What the client sends on right behind its Finished stays in rustls' buffer, which is larger than a chunk.
fn feed(connection: &mut ServerConnection, mut bytes: &[u8]) -> Result<(), TlsError> {
    while !bytes.is_empty() {
        if connection.read_tls(&mut bytes).map_err(TlsError::Io)? == 0 {
            // close_notify: nothing behind it counts.
            break;
        }
        connection.process_new_packets().map_err(TlsError::Protocol)?;
    }
    Ok(())
}

async fn flush(connection: &mut ServerConnection, io: &mut (impl AsyncWrite + Unpin)) -> Result<(), TlsError> {
    if !connection.wants_write() {
        return Ok(());
    }
    let mut bytes = Vec::new();
    while connection.wants_write() {
        connection.write_tls(&mut bytes).map_err(TlsError::Io)?;
    }
    io.write_all(&bytes).await.map_err(TlsError::Io)?;
    io.flush().await.map_err(TlsError::Io)
}

/// Says what a failed handshake was about: a denial that the client was just told, or a fault of the protocol.
fn told(error: TlsError, current: &Current) -> TlsError {
    if let TlsError::Protocol(rustls::Error::NoCertificatesPresented) = error {
        current.nothing_presented();
    }
    match (error, current.denial()) {
        (TlsError::Protocol(_), Some(denial)) if current.client_auth() == ClientAuth::Require => TlsError::Denied(denial),
        (error, _) => error,
    }
}

/// Makes a session of a connection whose handshake is done.
async fn establish<IO>(acceptor: &Acceptor, current: &Current, connection: ServerConnection, io: IO) -> Result<Session<IO>, Failed<IO>>
where
    IO: AsyncRead + AsyncWrite + Unpin,
{
    let possession = current.proven().map(|(candidate, proven)| Possession::assertion(candidate, proven));
    let sni = connection.server_name().map(|name| credentials::without_final_dot(name).into());
    let (names, uris) = current.shown();
    let resumed = connection.handshake_kind() == Some(HandshakeKind::Resumed);
    let http2 = connection.alpn_protocol() == Some(b"h2");
    let version = connection.protocol_version().and_then(|version| version.as_str()).unwrap_or("unknown");
    let cipher = connection.negotiated_cipher_suite().and_then(|suite| suite.suite().as_str()).unwrap_or("unknown");
    // tokio-rustls makes streams of connections of its own only: this one takes the place of that one.
    let stream = TlsAcceptor::from(Arc::clone(acceptor.config())).accept_with(io, |fresh| *fresh = connection);
    match stream.into_fallible().await {
        Ok(stream) => Ok(Session { stream, possession, sni, names, uris, resumed, http2, version, cipher }),
        Err((error, _)) => Err(Failed { error: TlsError::Io(error), io: None }),
    }
}

/// Tells whether somebody speaks plain HTTP to us: a method, where a TLS record would begin with a byte below 32.
fn looks_like_http(bytes: &[u8]) -> bool {
    bytes.len() >= 4 && bytes.iter().take(3).all(u8::is_ascii_uppercase)
}

/// ClientHellos are below 2 KiB, with post-quantum key shares below 4; rustls itself takes no message of more.
const MAX_HELLO: usize = 64 * 1024;

/// Less than the plaintext that rustls buffers (16 KiB), so that what arrives behind a Finished always fits.
const CHUNK: usize = 4096;

const DRAIN_BYTES: u64 = 256 * 1024;
const DRAIN_TIME: Duration = Duration::from_secs(1);

impl fmt::Display for TlsError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Denied(denial) => write!(f, "denied: {}", denial.code()),
            Self::Io(error) => write!(f, "the connection broke during the handshake: {error}"),
            Self::Protocol(error) => write!(f, "the handshake failed: {error}"),
            Self::Timeout => f.write_str("the handshake took too long"),
            Self::UnknownName => f.write_str("no certificate for the name that the client asked for"),
        }
    }
}

impl std::error::Error for TlsError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Io(error) => Some(error),
            Self::Protocol(error) => Some(error),
            Self::Denied(_) | Self::Timeout | Self::UnknownName => None,
        }
    }
}

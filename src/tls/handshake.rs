//! One handshake: ClientHello kept, session judged, alert heard. Drives rustls itself, because a resumed session
//! has to be judged after the ClientHello was read and before a byte is answered, and an alert has to be flushed
//! before the connection is closed.

use std::fmt;
use std::io;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use rustls::server::UnbufferedServerConnection;
use rustls::unbuffered::{ConnectionState, EncodeError, EncodeTlsData, UnbufferedStatus};
use rustls::{HandshakeKind, ServerConfig};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::time::timeout;

use super::acceptor::{Acceptor, ClientAuth};
use super::alert;
use super::credentials::Names;
use super::current::Current;
use super::records::HEADER;
use super::stream::Stream;
use crate::admission::{ClientAddress, Denial};
use crate::gate::{Asker, Gate, Possession};

/// A connection whose handshake is done.
#[derive(Debug)]
pub struct Session<IO> {
    pub stream: Stream<IO>,
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
            Ok(exchange) => establish(&current, exchange, io),
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
async fn shake<IO>(acceptor: &Acceptor, current: &Current, io: &mut IO) -> Result<Exchange, TlsError>
where
    IO: AsyncRead + AsyncWrite + Unpin,
{
    let (mut exchange, hello) = hear_hello(acceptor, current, io).await?;
    let may_go_on = match exchange.connection.handshake_kind() {
        Some(HandshakeKind::Full) => true,
        // A second ClientHello may offer a ticket, and rustls would answer it before anybody judged whose it is.
        Some(HandshakeKind::FullWithHelloRetryRequest) | None => false,
        Some(HandshakeKind::Resumed) => current.resume(exchange.connection.peer_certificates()),
    };
    if !may_go_on {
        // Nothing of it was sent: the same bytes again, as a full handshake, so that the client may hear its alert.
        exchange = Exchange::again(acceptor, &hello)?;
    }
    exchange.drive(io).await.map_err(|error| told(error, current))?;

    // INVARIANT: whatever was resumed was judged above.
    if exchange.connection.handshake_kind() == Some(HandshakeKind::Resumed) && !current.was_resumed() {
        return Err(TlsError::Protocol(rustls::Error::General("resumed without a judgement".into())));
    }
    Ok(exchange)
}

/// Reads a ClientHello and prepares the answer to it; returns its bytes, too. Nothing is sent yet, except the alert if there
/// is no answer.
async fn hear_hello<IO>(acceptor: &Acceptor, current: &Current, io: &mut IO) -> Result<(Exchange, Vec<u8>), TlsError>
where
    IO: AsyncRead + AsyncWrite + Unpin,
{
    let (mut exchange, mut hello) = (Exchange::new(acceptor.config())?, Vec::new());
    loop {
        hello.extend_from_slice(exchange.read(io).await?);
        match exchange.step() {
            Ok(_) if exchange.outgoing.is_empty() => {}
            Ok(_) => return Ok((exchange, hello)),
            Err(error) => {
                if looks_like_http(&hello) && acceptor.first_plain_http() {
                    current.log_plain_http();
                }
                if current.is_unknown_name() {
                    io.write_all(&alert::UNRECOGNIZED_NAME).await.map_err(TlsError::Io)?;
                    return Err(TlsError::UnknownName);
                }
                if exchange.connection.handshake_kind() != Some(HandshakeKind::Resumed) {
                    return exchange.refuse(error, io).await;
                }
                // What is prepared for its session was judged by nobody: as a full handshake it fails likewise.
                exchange = Exchange::again(acceptor, &hello)?;
                return match exchange.step() {
                    Ok(_) => Ok((exchange, hello)),
                    Err(error) => exchange.refuse(error, io).await,
                };
            }
        }
    }
}

/// The messages of one handshake. What comes behind the last of them is not rustls' to read.
struct Exchange {
    connection: UnbufferedServerConnection,
    incoming: Vec<u8>,
    /// How much of it rustls was given: a record at a time.
    given: usize,
    /// Where the record ends that it was given last.
    record: usize,
    outgoing: Vec<u8>,
}

impl Exchange {
    fn new(config: &Arc<ServerConfig>) -> Result<Self, TlsError> {
        let connection = UnbufferedServerConnection::new(Arc::clone(config)).map_err(TlsError::Protocol)?;
        Ok(Self { connection, incoming: Vec::new(), given: 0, record: 0, outgoing: Vec::new() })
    }

    /// Begins anew with the same ClientHello, and resumes nothing.
    fn again(acceptor: &Acceptor, hello: &[u8]) -> Result<Self, TlsError> {
        let mut exchange = Self::new(acceptor.full_only())?;
        exchange.incoming.extend_from_slice(hello);
        Ok(exchange)
    }

    /// Exchanges messages until the handshake is done and everything of ours is sent. An alert of ours is sent too.
    async fn drive<IO>(&mut self, io: &mut IO) -> Result<(), TlsError>
    where
        IO: AsyncRead + AsyncWrite + Unpin,
    {
        loop {
            match self.step() {
                Ok(true) => return self.flush(io).await,
                Ok(false) if self.outgoing.is_empty() => drop(self.read(io).await?),
                Ok(false) => self.flush(io).await?,
                Err(error) => return self.refuse(error, io).await,
            }
        }
    }

    /// Reads on; returns what came.
    async fn read(&mut self, io: &mut (impl AsyncRead + Unpin)) -> Result<&[u8], TlsError> {
        // rustls keeps the records of a message until it is whole, however small the pieces in them.
        if self.incoming.len() >= MAX_FLIGHT {
            return Err(TlsError::Protocol(rustls::InvalidMessage::MessageTooLarge.into()));
        }
        let (mut chunk, before) = ([0; CHUNK], self.incoming.len());
        match io.read(&mut chunk).await.map_err(TlsError::Io)? {
            0 => return Err(TlsError::Io(io::ErrorKind::UnexpectedEof.into())),
            read => self.incoming.extend_from_slice(&chunk[..read]),
        }
        Ok(&self.incoming[before..])
    }

    /// Sends the alert that rustls leaves behind with an error, and what it queued before it. Asked for more than that, it
    /// would read on.
    async fn refuse<T>(&mut self, error: rustls::Error, io: &mut (impl AsyncWrite + Unpin)) -> Result<T, TlsError> {
        while self.connection.wants_write() {
            let given = &mut self.incoming[..self.given];
            let Ok(ConnectionState::EncodeTlsData(piece)) = self.connection.process_tls_records(given).state else { break };
            encode(piece, &mut self.outgoing).map_err(TlsError::Protocol)?;
        }
        self.flush(io).await?;
        Err(TlsError::Protocol(error))
    }

    /// Gives rustls what arrived, and takes its answer down, up to where something is to be sent or more has to come; `true`:
    /// the handshake is done.
    fn step(&mut self) -> Result<bool, rustls::Error> {
        loop {
            let UnbufferedStatus { discard, state } = self.connection.process_tls_records(&mut self.incoming[..self.given]);
            let done = match state {
                Ok(ConnectionState::EncodeTlsData(data)) => encode(data, &mut self.outgoing).map(|()| None),
                // By the caller, who sends it in this order.
                Ok(ConnectionState::TransmitTlsData(data)) => {
                    data.done();
                    Ok(None)
                }
                Ok(ConnectionState::BlockedHandshake) => Ok(Some(false)),
                Ok(ConnectionState::WriteTraffic(_)) => Ok(Some(true)),
                Ok(_) => Err(rustls::Error::General("a state that no handshake of ours has".into())),
                Err(error) => Err(error),
            };
            self.incoming.drain(..discard);
            (self.given, self.record) = (self.given - discard, self.record.saturating_sub(discard));
            match done? {
                Some(true) if self.given > 0 => return Err(rustls::PeerMisbehaved::KeyEpochWithPendingFragment.into()),
                Some(true) => return Ok(true),
                Some(false) if !self.outgoing.is_empty() || !self.give() => return Ok(false),
                Some(false) | None => {}
            }
        }
    }

    /// Lets rustls read on in the record under way, or the next one; `false`: nothing more of it is here.
    fn give(&mut self) -> bool {
        if self.given >= self.record {
            let Some(header) = self.incoming[self.given..].first_chunk::<HEADER>() else { return false };
            self.record = self.given + HEADER + usize::from(u16::from_be_bytes([header[3], header[4]]));
        }
        let more = self.record.min(self.incoming.len());
        std::mem::replace(&mut self.given, more) < more
    }

    async fn flush(&mut self, io: &mut (impl AsyncWrite + Unpin)) -> Result<(), TlsError> {
        if self.outgoing.is_empty() {
            return Ok(());
        }
        io.write_all(&self.outgoing).await.map_err(TlsError::Io)?;
        self.outgoing.clear();
        io.flush().await.map_err(TlsError::Io)
    }
}

fn encode<Data>(mut data: EncodeTlsData<'_, Data>, outgoing: &mut Vec<u8>) -> Result<(), rustls::Error> {
    let start = outgoing.len();
    let mut room = 0;
    loop {
        outgoing.resize(start + room, 0);
        match data.encode(&mut outgoing[start..]) {
            Ok(written) => {
                outgoing.truncate(start + written);
                return Ok(());
            }
            Err(EncodeError::InsufficientSize(needed)) if needed.required_size > room => room = needed.required_size,
            Err(error) => return Err(rustls::Error::General(error.to_string())),
        }
    }
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

/// Makes a session of a handshake that is done.
fn establish<IO>(current: &Current, exchange: Exchange, io: IO) -> Result<Session<IO>, Failed<IO>> {
    let Exchange { connection, incoming, .. } = exchange;
    let possession = current.proven().map(|(candidate, proven)| Possession::assertion(candidate, proven));
    let (sni, names, uris) = current.shown();
    let resumed = connection.handshake_kind() == Some(HandshakeKind::Resumed);
    let http2 = connection.alpn_protocol() == Some(b"h2");
    let version = connection.protocol_version().and_then(|version| version.as_str()).unwrap_or("unknown");
    let cipher = connection.negotiated_cipher_suite().and_then(|suite| suite.suite().as_str()).unwrap_or("unknown");
    match Stream::new(io, connection, incoming) {
        Ok(stream) => Ok(Session { stream, possession, sni, names, uris, resumed, http2, version, cipher }),
        Err(error) => Err(Failed { error: TlsError::Protocol(error), io: None }),
    }
}

/// Tells whether somebody speaks plain HTTP to us: a method, where a TLS record would begin with a byte below 32.
fn looks_like_http(bytes: &[u8]) -> bool {
    bytes.len() >= 4 && bytes.iter().take(3).all(u8::is_ascii_uppercase)
}

/// ClientHellos are below 2 KiB, with post-quantum key shares below 4; rustls itself takes no message of more.
const MAX_FLIGHT: usize = 64 * 1024;

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

//! One new connection to an endpoint: its address looked up off the hot path, TCP or a unix socket, TLS.

use std::cell::RefCell;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use rustls_pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpStream, UnixStream};
use tokio::time::Instant;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use super::Upstream;
use super::settings::EndpointAddress;
use crate::http1;

/// A connection to an endpoint, counted while it lives.
pub(super) struct Connection {
    stream: Stream,
    _place: Place,
}

enum Stream {
    Tcp(TcpStream),
    Tls(Box<TlsStream<TcpStream>>),
    Unix(UnixStream),
}

/// One of the connections that an upstream may have, until dropped.
#[derive(Debug)]
pub(super) struct Place(Arc<AtomicUsize>);

/// The addresses of one endpoint's name, as one worker knows them.
#[derive(Default)]
pub(super) struct Resolved {
    known: RefCell<Option<Known>>,
}

struct Known {
    addresses: Vec<SocketAddr>,
    /// When to look again; moved ahead by whoever does.
    stale: Instant,
}

impl Place {
    /// Takes a place; `None` where the upstream has as many connections as it may.
    pub(super) fn take(open: &Arc<AtomicUsize>, limit: Option<usize>) -> Option<Self> {
        let place = Self(Arc::clone(open));
        let before = open.fetch_add(1, Ordering::Relaxed);
        if limit.is_some_and(|limit| before >= limit) { None } else { Some(place) }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Connection {
    /// Connects to an endpoint of an upstream. The caller bounds the time.
    pub(super) async fn open(upstream: &Upstream, endpoint: usize, resolved: &Rc<Resolved>, place: Place) -> io::Result<Self> {
        let settings = &upstream.settings.endpoints[endpoint];
        let (host, port) = match &settings.address {
            EndpointAddress::Tcp { host, port } => (host, *port),
            EndpointAddress::Unix(path) => {
                return Ok(Self { stream: Stream::Unix(UnixStream::connect(path).await?), _place: place });
            }
        };
        let tcp = TcpStream::connect(&resolved.addresses(host, port).await?[..]).await?;
        tcp.set_nodelay(true)?;
        let Some(config) = upstream.tls_of(settings.protocol) else {
            return Ok(Self { stream: Stream::Tcp(tcp), _place: place });
        };
        let name = upstream.settings.tls.server_name.as_deref().unwrap_or(host);
        let name = ServerName::try_from(name.to_owned()).map_err(|error| io::Error::new(io::ErrorKind::InvalidInput, error))?;
        let tls = TlsConnector::from(Arc::clone(config)).connect(name, tcp).await?;
        let protocol = tls.get_ref().1.alpn_protocol();
        if settings.protocol.is_http2() && protocol != Some(b"h2") {
            return Err(io::Error::new(io::ErrorKind::InvalidData, "the endpoint does not speak HTTP/2"));
        }
        Ok(Self { stream: Stream::Tls(Box::new(tls)), _place: place })
    }
}

impl Resolved {
    /// Returns the addresses of a host: those known, while newer ones are looked up on the side.
    async fn addresses(self: &Rc<Self>, host: &str, port: u16) -> io::Result<Vec<SocketAddr>> {
        if let Ok(ip) = host.parse::<IpAddr>() {
            return Ok(vec![SocketAddr::new(ip, port)]);
        }
        let now = Instant::now();
        if let Some(known) = &mut *self.known.borrow_mut() {
            if known.stale <= now {
                known.stale = now + FRESH;
                let (resolved, host) = (Rc::clone(self), host.to_owned());
                tokio::task::spawn_local(async move {
                    // A resolver that is down must not take away what worked: the old addresses stay.
                    if let Err(error) = resolved.look_up(&host, port).await {
                        tracing::warn!(host, %error, "cannot look the upstream's name up; its last addresses stay in use");
                    }
                });
            }
            return Ok(known.addresses.clone());
        }
        self.look_up(host, port).await
    }

    async fn look_up(&self, host: &str, port: u16) -> io::Result<Vec<SocketAddr>> {
        let addresses: Vec<SocketAddr> = tokio::net::lookup_host((host, port)).await?.collect();
        if addresses.is_empty() {
            return Err(io::Error::new(io::ErrorKind::NotFound, "the name has no address"));
        }
        *self.known.borrow_mut() = Some(Known { addresses: addresses.clone(), stale: Instant::now() + FRESH });
        Ok(addresses)
    }
}

impl http1::Io for Connection {
    fn poll_readable(&mut self, context: &mut Context<'_>) -> Poll<()> {
        match &self.stream {
            Stream::Tcp(stream) => stream.poll_read_ready(context).map(drop),
            // rustls may have read what nobody took yet: the socket does not know of that.
            Stream::Tls(_) => Poll::Ready(()),
            Stream::Unix(stream) => stream.poll_read_ready(context).map(drop),
        }
    }
}

impl AsyncRead for Connection {
    fn poll_read(mut self: Pin<&mut Self>, context: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        match &mut self.stream {
            Stream::Tcp(stream) => Pin::new(stream).poll_read(context, buffer),
            Stream::Tls(stream) => Pin::new(stream).poll_read(context, buffer),
            Stream::Unix(stream) => Pin::new(stream).poll_read(context, buffer),
        }
    }
}

impl AsyncWrite for Connection {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        match &mut self.stream {
            Stream::Tcp(stream) => Pin::new(stream).poll_write(context, bytes),
            Stream::Tls(stream) => Pin::new(stream).poll_write(context, bytes),
            Stream::Unix(stream) => Pin::new(stream).poll_write(context, bytes),
        }
    }

    fn poll_write_vectored(mut self: Pin<&mut Self>, context: &mut Context<'_>, slices: &[io::IoSlice<'_>]) -> Poll<io::Result<usize>> {
        match &mut self.stream {
            Stream::Tcp(stream) => Pin::new(stream).poll_write_vectored(context, slices),
            Stream::Tls(stream) => Pin::new(stream).poll_write_vectored(context, slices),
            Stream::Unix(stream) => Pin::new(stream).poll_write_vectored(context, slices),
        }
    }

    fn is_write_vectored(&self) -> bool {
        match &self.stream {
            Stream::Tcp(stream) => stream.is_write_vectored(),
            Stream::Tls(stream) => stream.is_write_vectored(),
            Stream::Unix(stream) => stream.is_write_vectored(),
        }
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.stream {
            Stream::Tcp(stream) => Pin::new(stream).poll_flush(context),
            Stream::Tls(stream) => Pin::new(stream).poll_flush(context),
            Stream::Unix(stream) => Pin::new(stream).poll_flush(context),
        }
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.stream {
            Stream::Tcp(stream) => Pin::new(stream).poll_shutdown(context),
            Stream::Tls(stream) => Pin::new(stream).poll_shutdown(context),
            Stream::Unix(stream) => Pin::new(stream).poll_shutdown(context),
        }
    }
}

/// How long a name's addresses are used before they are looked up again.
const FRESH: Duration = Duration::from_secs(30);

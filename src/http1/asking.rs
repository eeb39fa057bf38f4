//! The side of an upstream: hyper's client over the guard.

use std::fmt;
use std::io;
use std::sync::Arc;

use bytes::Bytes;
use http::{Method, Request, Response, header};
use http_body::Body;
use hyper::body::Incoming;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::task::AbortHandle;

use super::BoxError;
use super::guard::Guard;
use super::head::Asked;
use super::shared::Asking;

/// Sends requests on one connection to an upstream, one at a time.
pub struct Sender<B> {
    engine: http1::SendRequest<B>,
    asking: Arc<Asking>,
    driver: AbortHandle,
}

/// Why a request got no answer.
pub enum SendError<B> {
    /// The connection broke, or was closed, after something may have been sent.
    Broken(hyper::Error),
    /// The answer is none, or smuggles.
    Malformed(hyper::Error),
    /// Nothing was sent: the request is as good as new.
    Unsent(Box<Request<B>>),
}

impl<B> Sender<B>
where
    B: Body<Data = Bytes> + Unpin + 'static,
    B::Error: Into<BoxError>,
{
    pub(super) async fn open<IO>(io: IO) -> io::Result<Self>
    where
        IO: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let asking = Arc::<Asking>::default();
        let guard = Guard::of_upstream(io, MAX_HEAD, Arc::clone(&asking));
        let (engine, connection) =
            http1::Builder::new().max_buf_size(MAX_BUFFER).handshake(TokioIo::new(guard)).await.map_err(io::Error::other)?;
        // How a connection ends is told to whoever waits on it; an idle one ends in silence.
        let driver = tokio::task::spawn_local(async move {
            let _ = connection.with_upgrades().await;
        });
        Ok(Self { engine, asking, driver: driver.abort_handle() })
    }

    /// Says whether another request may be sent, now or soon.
    pub fn is_usable(&self) -> bool {
        !self.engine.is_closed() && !self.asking.is_poisoned()
    }

    /// Ends the connection now, with all that is under way on it: a request's body may be stuck in an upstream
    /// that takes no more.
    pub fn abort(self) {
        self.driver.abort();
    }

    /// Waits until the last exchange is over; `false` when the connection can carry no other.
    pub async fn ready(&mut self) -> bool {
        (self.engine.is_ready() || self.engine.ready().await.is_ok()) && self.is_usable()
    }

    /// Sends a request, and waits for the head of its answer.
    pub async fn send(&mut self, request: Request<B>) -> Result<Response<Incoming>, SendError<B>> {
        self.asking.ask(if *request.method() == Method::HEAD {
            Asked::Head
        } else if request.headers().contains_key(header::UPGRADE) {
            Asked::Upgrade
        } else {
            Asked::Plain
        });
        self.engine.try_send_request(request).await.map_err(|mut failed| match failed.take_message() {
            Some(request) => SendError::Unsent(Box::new(request)),
            None if self.asking.is_poisoned() => SendError::Malformed(failed.into_error()),
            None => SendError::Broken(failed.into_error()),
        })
    }
}

impl<B> fmt::Debug for SendError<B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Broken(error) => f.debug_tuple("Broken").field(error).finish(),
            Self::Malformed(error) => f.debug_tuple("Malformed").field(error).finish(),
            Self::Unsent(_) => f.write_str("Unsent"),
        }
    }
}

/// An upstream's head may be as large as this, whatever clients are held to.
const MAX_HEAD: usize = 128 * 1024;
/// The engine's read buffer, with room for a head.
const MAX_BUFFER: usize = 256 * 1024;

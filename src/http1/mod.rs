//! HTTP/1.1 behind a narrow trait, both sides, read strictly. hyper is the engine; the guard in front of it
//! judges every byte that comes in, so that what RFC 9112 calls malformed is never acted upon. Names nothing
//! of ours but the ticker: who is refused what is told by the caller.

use std::future::Future;
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response};
use http_body::Body;
use hyper::body::Incoming;
use tokio::io::{AsyncRead, AsyncWrite};

/// Either side of a connection that is open for HTTP/1.1: what the rest of the house needs of a codec.
pub trait Exchange {
    /// Sends requests, one at a time, on a connection to an upstream.
    type Sender<B>;

    /// Serves one connection: one request after another, until it ends, `ending` says so, or a tunnel takes it over.
    fn serve<IO, S, F, B>(&self, io: IO, service: S, settings: Settings, ending: impl Ending) -> impl Future<Output = End>
    where
        IO: AsyncRead + AsyncWrite + Unpin + Send + 'static,
        S: Fn(Request<Incoming>) -> F + 'static,
        F: Future<Output = Response<B>> + 'static,
        B: Body<Data = Bytes> + 'static,
        B::Error: Into<Box<dyn std::error::Error + Send + Sync>>;
}

/// What one connection of a client may cost, and in which words it is refused.
#[derive(Clone)]
pub struct Settings {
    /// From the first byte of a head to its last.
    pub head: Duration,
    /// A connection without a request.
    pub idle: Duration,
    /// Between two pieces of a body, either way.
    pub progress: Duration,
    pub head_bytes: usize,
    /// Renders a whole response for a request that never became one.
    pub refusal: fn(Refusal) -> Bytes,
}

/// Why a request was refused before anybody could look at it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// RFC 9112 calls it malformed: 400.
    Malformed(&'static str),
    /// The head did not arrive in time: 408.
    SlowHead,
    /// The head is larger than we read: 431.
    TooLarge,
}

/// Says when a connection has to end.
pub trait Ending {
    /// Waits for the next reason to end; asked again after `Drain`.
    fn poll_ending(&mut self, context: &mut std::task::Context<'_>) -> std::task::Poll<EndingKind>;
}

/// How a connection ends before its client ends it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EndingKind {
    /// Now: whatever is under way is dropped.
    Cut,
    /// After the request under way.
    Drain,
}

/// How a connection ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    Closed,
    Cut,
    Refused(Refusal),
    TimedOut,
    /// A tunnel has taken the connection over.
    Upgraded,
}

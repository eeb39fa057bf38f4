//! HTTP/1.1 behind a narrow trait, both sides, read strictly. hyper is the engine; the guard in front of it
//! judges every byte that comes in, so that what RFC 9112 calls malformed is never acted upon. Names nothing
//! of ours but the ticker: in which words somebody is refused is the caller's to say.

mod asking;
mod chunks;
mod guard;
mod head;
mod serving;
mod shared;

use std::future::Future;
use std::io;
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response};
use http_body::Body;
use hyper::body::Incoming;
use tokio::io::{AsyncRead, AsyncWrite};

pub use asking::{SendError, Sender};
pub use serving::serve;

use crate::ticker::Ticker;

/// The engine in use.
pub struct Hyper;

/// What the rest of the house needs of an HTTP/1.1 engine, on either side.
pub trait Exchange {
    /// Sends requests, one at a time, on one connection to an upstream.
    type Sender<B>;

    /// Serves one connection of a client: one request after another, until it ends, `ending` says so, or a
    /// tunnel has taken it over.
    fn serve<IO, S, F, B>(io: IO, service: S, settings: Settings, ending: impl Ending) -> impl Future<Output = End>
    where
        IO: AsyncRead + AsyncWrite + Unpin + Send + 'static,
        S: Fn(Request<Incoming>) -> F + 'static,
        F: Future<Output = Response<B>> + 'static,
        B: Body<Data = Bytes> + Unpin + 'static,
        B::Error: Into<BoxError>;

    /// Opens a connection to an upstream for requests; the connection is driven by a task of this thread.
    fn open<IO, B>(io: IO) -> impl Future<Output = io::Result<Self::Sender<B>>>
    where
        IO: AsyncRead + AsyncWrite + Unpin + Send + 'static,
        B: Body<Data = Bytes> + Unpin + 'static,
        B::Error: Into<BoxError>;
}

impl Exchange for Hyper {
    type Sender<B> = Sender<B>;

    fn serve<IO, S, F, B>(io: IO, service: S, settings: Settings, ending: impl Ending) -> impl Future<Output = End>
    where
        IO: AsyncRead + AsyncWrite + Unpin + Send + 'static,
        S: Fn(Request<Incoming>) -> F + 'static,
        F: Future<Output = Response<B>> + 'static,
        B: Body<Data = Bytes> + Unpin + 'static,
        B::Error: Into<BoxError>,
    {
        serve(io, service, settings, ending)
    }

    fn open<IO, B>(io: IO) -> impl Future<Output = io::Result<Sender<B>>>
    where
        IO: AsyncRead + AsyncWrite + Unpin + Send + 'static,
        B: Body<Data = Bytes> + Unpin + 'static,
        B::Error: Into<BoxError>,
    {
        Sender::open(io)
    }
}

/// What hyper asks of a body's error.
pub type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// What one connection of a client may cost, and in which words it is refused.
#[derive(Clone)]
pub struct Settings {
    /// From the first byte of a head to its last.
    pub head: Duration,
    /// A connection without a request.
    pub idle: Duration,
    /// Between two pieces of an answer that the client takes.
    pub progress: Duration,
    pub head_bytes: usize,
    /// The worker's ticker.
    pub ticker: Rc<Ticker>,
    /// Renders a whole response for a request that never became one, and notes it.
    pub refusal: Rc<dyn Fn(Refusal) -> Bytes>,
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
    /// Waits for the next reason to end; asked again after [`EndingKind::Drain`].
    fn poll_ending(&mut self, context: &mut Context<'_>) -> Poll<EndingKind>;

    /// Says whether the answer under way must not go on, and waits for a client that takes nothing of it.
    fn is_stalled(&self) -> bool {
        false
    }
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
    /// A tunnel has taken the connection over.
    Upgraded,
}

//! HTTP/1.1, both sides, read strictly: what RFC 9112 calls malformed is never acted upon. One head is parsed once, one
//! buffer serves a connection while it has something to read, and a body is read by whoever asks for it. Names nothing of
//! ours but messages, the ticker, the clock and dates: in which words somebody is refused is the caller's to say.

mod asking;
mod body;
mod buffers;
mod chunks;
mod encode;
mod head;
mod inbound;
mod later;
mod outbound;
mod serving;
mod wire;

use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use tokio::io::{AsyncRead, AsyncWrite};

pub use asking::{Answered, Asks, SendError, Sender};
pub use body::{BodyFault, Incoming, Interim, Upgrade, Upgraded};
pub use later::{Later, send_put_off};
pub use serving::serve;

use crate::ticker::Ticker;

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
    /// The request line alone is longer than we read: 414.
    TargetTooLong,
    /// The head is larger than we read: 431.
    TooLarge,
    /// Another version than HTTP/1.0 and HTTP/1.1: 505.
    Version,
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

/// A stream of bytes that HTTP/1.1 is spoken over.
pub trait Io: AsyncRead + AsyncWrite + Unpin {
    /// Waits until a read may find something: bytes, the end, or an error. Asked before a buffer is lent; ready, too, where only a read
    /// can tell.
    fn poll_readable(&mut self, _context: &mut Context<'_>) -> Poll<()> {
        Poll::Ready(())
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

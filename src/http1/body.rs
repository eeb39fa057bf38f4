//! The body of a message that comes in, and the connection that it may become: handles on a connection that somebody
//! else serves. Whoever polls a body reads from the connection itself; nothing lies in between.

use std::fmt;
use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};

use bytes::{Buf, Bytes};
use http_body::{Body, Frame, SizeHint};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::sync::oneshot;

use super::Io;
use crate::message::Response;

/// A body as it comes in, over HTTP/1.1.
#[derive(Default)]
pub struct Incoming {
    /// `None`: there is none.
    source: Option<Rc<dyn Source>>,
    /// Of the exchange that it belongs to.
    number: u64,
}

/// A client that waits for an answer, and hears interim ones meanwhile.
pub struct Interim {
    source: Rc<dyn Source>,
    number: u64,
}

/// Why a body ends before its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BodyFault {
    /// Its framing is none: RFC 9112, 7.1.
    Malformed,
    /// The other side broke off.
    Truncated,
}

/// The connection that a client offered to take another protocol to; comes once a 101 was written.
#[derive(Debug)]
pub struct Upgrade(pub(super) oneshot::Receiver<Upgraded>);

/// A connection that is no longer HTTP.
pub struct Upgraded {
    io: Box<dyn Io>,
    /// What came behind the last head.
    unread: Bytes,
}

/// A connection that bodies are read from, and that may have something to send. A number says which exchange is meant: what
/// belongs to an earlier one has ended.
pub(super) trait Source {
    fn poll_frame(&self, number: u64, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BodyFault>>>;
    /// Returns how many bytes are to come, if that is known.
    fn left(&self, number: u64) -> Option<u64>;
    fn is_done(&self, number: u64) -> bool;
    /// Nobody will read the rest.
    fn abandon(&self, number: u64);
    /// Passes an interim answer on to whoever sent this.
    fn interim(&self, number: u64, head: &Response<()>);
    fn upgrade(&self, number: u64) -> Option<Upgrade>;
    /// Sends what was put off, if that is still to do; wakes whoever has to go on.
    fn catch_up(&self);
}

impl Incoming {
    pub(super) fn new(source: Rc<dyn Source>, number: u64) -> Self {
        Self { source: Some(source), number }
    }

    /// Returns whoever sent this, to hear interim answers before the final one.
    pub fn interim(&self) -> Option<Interim> {
        self.source.as_ref().map(|source| Interim { source: Rc::clone(source), number: self.number })
    }

    /// Returns the connection to come, if an upgrade was offered with this message.
    pub fn upgrade(&self) -> Option<Upgrade> {
        self.source.as_ref()?.upgrade(self.number)
    }
}

impl Body for Incoming {
    type Data = Bytes;
    type Error = BodyFault;

    fn poll_frame(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BodyFault>>> {
        self.source.as_ref().map_or(Poll::Ready(None), |source| source.poll_frame(self.number, context))
    }

    fn is_end_stream(&self) -> bool {
        self.source.as_ref().is_none_or(|source| source.is_done(self.number))
    }

    fn size_hint(&self) -> SizeHint {
        let left = self.source.as_ref().map_or(Some(0), |source| source.left(self.number));
        left.map_or_else(SizeHint::default, SizeHint::with_exact)
    }
}

impl Drop for Incoming {
    fn drop(&mut self) {
        if let Some(source) = self.source.take() {
            source.abandon(self.number);
        }
    }
}

impl Interim {
    /// Passes an interim answer on, if its client is one that takes any.
    pub fn say(&self, head: &Response<()>) {
        self.source.interim(self.number, head);
    }
}

impl Upgrade {
    /// Waits for the connection; `None`: it is not taken over.
    pub async fn taken(self) -> Option<Upgraded> {
        self.0.await.ok()
    }
}

impl Upgraded {
    pub(super) fn new(io: impl Io + 'static, unread: Bytes) -> Self {
        Self { io: Box::new(io), unread }
    }
}

impl AsyncRead for Upgraded {
    fn poll_read(mut self: Pin<&mut Self>, context: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        if self.unread.is_empty() {
            return Pin::new(&mut self.io).poll_read(context, buffer);
        }
        let length = self.unread.len().min(buffer.remaining());
        buffer.put_slice(&self.unread[..length]);
        self.unread.advance(length);
        if self.unread.is_empty() {
            self.unread = Bytes::new(); // a tunnel keeps no slab
        }
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Upgraded {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.io).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(Pin::new(&mut self.io).poll_shutdown(context))?;
        Poll::Ready(Ok(()))
    }
}

impl fmt::Debug for Incoming {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Incoming").field("number", &self.number).finish_non_exhaustive()
    }
}

impl fmt::Debug for Interim {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Interim").field("number", &self.number).finish_non_exhaustive()
    }
}

impl fmt::Debug for Upgraded {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Upgraded").field("unread", &self.unread.len()).finish_non_exhaustive()
    }
}

impl fmt::Display for BodyFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Malformed => "the body's framing is malformed",
            Self::Truncated => "the sender broke off",
        })
    }
}

impl std::error::Error for BodyFault {}

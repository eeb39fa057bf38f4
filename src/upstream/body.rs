//! Bodies on their way through: streamed with backpressure, cut when their hold lapses.

use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use http_body::Frame;

/// The body of an answer.
pub struct Body(Option<Bytes>);

impl Body {
    /// A small body of our own.
    pub fn full(bytes: impl Into<Bytes>) -> Self {
        Self(Some(bytes.into()))
    }

    /// No body.
    pub fn empty() -> Self {
        Self(None)
    }
}

/// Why a body ended early: the receiver sees a reset or a truncation, never a clean end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BodyError {
    /// The one who was to receive it, or the one who sent it, is no longer admitted.
    Denied,
    /// The sender broke off.
    Truncated,
}

impl http_body::Body for Body {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        Poll::Ready(self.0.take().map(|bytes| Ok(Frame::data(bytes))))
    }
}

impl std::fmt::Display for BodyError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Denied => "cut: no longer admitted",
            Self::Truncated => "the sender broke off",
        })
    }
}

impl std::error::Error for BodyError {}

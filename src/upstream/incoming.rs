//! A body as it comes in, from a client or an upstream, whichever version of HTTP it comes over.

use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use hyper::upgrade::OnUpgrade;

use super::body::BodyError;
use crate::http1::{self, BodyFault};
use crate::message::RequestHead;

/// A body as it comes in.
#[derive(Debug)]
pub enum Incoming {
    Http1(http1::Incoming),
    Http2(hyper::body::Incoming),
}

/// A client's side of a tunnel to be.
#[derive(Debug)]
pub enum Offered {
    Http1(http1::Upgrade),
    Http2(OnUpgrade),
}

impl Incoming {
    /// Returns the client, if it may hear interim answers: the engine of HTTP/2 has no way to send them.
    pub(super) fn interim(&self) -> Option<http1::Interim> {
        match self {
            Self::Http1(body) => body.interim(),
            Self::Http2(_) => None,
        }
    }
}

impl Offered {
    /// Returns the connection, or the stream, that came with an offer.
    pub fn of(head: &RequestHead, body: Option<&Incoming>) -> Option<Self> {
        match body? {
            Incoming::Http1(body) => body.upgrade().map(Self::Http1),
            Incoming::Http2(_) => head.extensions.get::<OnUpgrade>().cloned().map(Self::Http2),
        }
    }
}

impl Body for Incoming {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        match self.get_mut() {
            Self::Http1(body) => Pin::new(body).poll_frame(context).map_err(BodyError::from),
            // Its frames have no framing to be malformed: a stream that ends early was reset.
            Self::Http2(body) => Pin::new(body).poll_frame(context).map_err(|_| BodyError::Truncated),
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Http1(body) => body.is_end_stream(),
            Self::Http2(body) => body.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Http1(body) => body.size_hint(),
            Self::Http2(body) => body.size_hint(),
        }
    }
}

impl From<BodyFault> for BodyError {
    fn from(fault: BodyFault) -> Self {
        match fault {
            BodyFault::Malformed => Self::Malformed,
            BodyFault::Truncated => Self::Truncated,
        }
    }
}

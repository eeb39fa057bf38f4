//! Bodies of answers on their way through, streamed with backpressure, and what they have in common with those of requests
//! (`upload`). Either one ends with an error when it must not go on: its hold lapsed, its sender broke off or is too slow, or it is
//! larger than allowed. The receiver then sees a reset or a truncation, never a clean end.

use std::fmt;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use super::incoming::Incoming;
use super::lent::Lent;
use super::pool::Lease;
use crate::ticker::Timer;
use bytes::Bytes;
use http::HeaderMap;
use http_body::{Body as _, Frame, SizeHint};

/// The body of an answer.
#[derive(Default)]
pub struct Body(Kind);

#[derive(Default)]
enum Kind {
    #[default]
    Empty,
    Full(Bytes),
    Stream(Lent),
}

/// Watches an answer's body on its way to the client.
pub trait Watch {
    /// Waits until the body must not go on.
    fn poll_cut(&mut self, context: &mut Context<'_>) -> Poll<()>;
    /// So many bytes were handed on.
    fn passed(&mut self, bytes: usize);
    /// The body ended: whole, or early.
    fn ended(&mut self, end: Result<(), BodyError>);
}

/// Removes from trailers what may not be in them.
pub type TrailerFilter = fn(&mut HeaderMap);

/// Why a body ended early.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BodyError {
    /// The client went away before it had all.
    Abandoned,
    /// No longer admitted.
    Denied,
    /// The sender's framing is none.
    Malformed,
    /// The sender was silent for too long.
    TimedOut,
    TooLarge,
    /// The sender broke off.
    Truncated,
}

/// An answer's body, from an upstream.
pub(super) struct Download {
    pub(super) incoming: Incoming,
    /// How it broke off: told once what came before was sent.
    broken: Option<BodyError>,
    watch: Option<Box<dyn Watch>>,
    trailers: TrailerFilter,
    /// With the connection, which goes back to its pool behind the last byte; `None`: the body has ended.
    lease: Option<Box<Lease>>,
}

/// Ends a body whose sender is silent for too long.
pub(super) struct Pace {
    pub(super) timer: Timer,
    pub(super) progress: Duration,
}

impl Body {
    /// A small body of our own.
    pub fn full(bytes: impl Into<Bytes>) -> Self {
        Self(Kind::Full(bytes.into()))
    }

    /// No body.
    pub fn empty() -> Self {
        Self(Kind::Empty)
    }

    pub(super) fn stream(download: Download) -> Self {
        Self(Kind::Stream(Lent::new(download)))
    }

    /// Watches the body from here on; one without an upstream ends at once.
    pub fn watched(mut self, mut watch: Box<dyn Watch>) -> Self {
        match &mut self.0 {
            Kind::Empty => watch.ended(Ok(())),
            Kind::Full(bytes) => {
                watch.passed(bytes.len());
                watch.ended(Ok(()));
            }
            Kind::Stream(lent) => {
                if let Some(download) = lent.get_mut() {
                    download.watch = Some(watch);
                }
            }
        }
        self
    }
}

impl http_body::Body for Body {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        match &mut self.0 {
            Kind::Empty => Poll::Ready(None),
            Kind::Full(_) => match std::mem::take(&mut self.0) {
                Kind::Full(bytes) => Poll::Ready(Some(Ok(Frame::data(bytes)))),
                Kind::Empty | Kind::Stream(_) => Poll::Ready(None),
            },
            Kind::Stream(lent) => {
                let polled = lent.get_mut().map_or(Poll::Ready(None), |download| download.poll_frame(context));
                if let Poll::Ready(None | Some(Err(_))) = polled {
                    self.0 = Kind::Empty;
                }
                polled
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        match &self.0 {
            Kind::Empty => true,
            Kind::Full(bytes) => bytes.is_empty(),
            Kind::Stream(lent) => lent.get().is_none_or(|download| download.incoming.is_end_stream()),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.0 {
            Kind::Empty => SizeHint::with_exact(0),
            Kind::Full(bytes) => SizeHint::with_exact(bytes.len() as u64),
            Kind::Stream(lent) => lent.get().map_or_else(|| SizeHint::with_exact(0), |download| download.incoming.size_hint()),
        }
    }
}

impl Download {
    pub(super) fn new(incoming: Incoming, trailers: TrailerFilter, lease: Box<Lease>) -> Self {
        Self { incoming, broken: None, watch: None, trailers, lease: Some(lease) }
    }

    fn poll_frame(&mut self, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        if self.watch.as_mut().is_some_and(|watch| watch.poll_cut(context).is_ready()) {
            return Poll::Ready(Some(Err(self.end(Err(BodyError::Denied), BodyError::Denied))));
        }
        if let Some(error) = self.broken.take() {
            return Poll::Ready(Some(Err(self.end(Err(error), error))));
        }
        let Some(lease) = &self.lease else { return Poll::Ready(None) };
        match lease.pace.poll_frame(&mut self.incoming, context) {
            Poll::Pending => Poll::Pending,
            Poll::Ready(None) => {
                self.end(Ok(()), BodyError::Truncated);
                Poll::Ready(None)
            }
            Poll::Ready(Some(Err(error))) => {
                // A reset takes with it what the engine has not sent yet, the head among it: let it send that first.
                self.broken = Some(error);
                context.waker().wake_by_ref();
                Poll::Pending
            }
            Poll::Ready(Some(Ok(frame))) => {
                let frame = filtered(frame, self.trailers);
                if let (Some(watch), Some(data)) = (&mut self.watch, frame.data_ref()) {
                    watch.passed(data.len());
                }
                // The engine does not ask again after the last byte of a known length.
                if frame.is_trailers() || self.incoming.is_end_stream() {
                    self.end(Ok(()), BodyError::Truncated);
                }
                Poll::Ready(Some(Ok(frame)))
            }
        }
    }

    /// Tells the end once. Only after a whole body is the connection good for another request.
    fn end(&mut self, end: Result<(), BodyError>, error: BodyError) -> BodyError {
        if let Some(lease) = self.lease.take()
            && end.is_ok()
        {
            lease.give_back();
        }
        if let Some(mut watch) = self.watch.take() {
            watch.ended(end);
        }
        error
    }
}

impl Drop for Download {
    fn drop(&mut self) {
        let end = if self.incoming.is_end_stream() { Ok(()) } else { Err(BodyError::Abandoned) };
        self.end(end, BodyError::Abandoned);
    }
}

impl Pace {
    pub(super) fn poll_frame(&self, incoming: &mut Incoming, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        match Pin::new(&mut *incoming).poll_frame(context) {
            Poll::Ready(frame) => {
                self.timer.disarm();
                Poll::Ready(frame)
            }
            Poll::Pending => {
                if !self.timer.is_armed() {
                    self.timer.arm(self.patience(incoming));
                }
                self.timer.poll_expired(context).map(|()| Some(Err(BodyError::TimedOut)))
            }
        }
    }

    /// A body of known length is on its way; one without may be a stream of events, which have their pauses.
    fn patience(&self, incoming: &Incoming) -> Duration {
        if incoming.size_hint().exact().is_some() { self.progress } else { self.progress.saturating_mul(STREAM_PATIENCE) }
    }
}

impl fmt::Display for BodyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Abandoned => "the client went away",
            Self::Denied => "cut: no longer admitted",
            Self::Malformed => "the body's framing is malformed",
            Self::TimedOut => "the sender was silent for too long",
            Self::TooLarge => "the body is larger than allowed",
            Self::Truncated => "the sender broke off",
        })
    }
}

impl std::error::Error for BodyError {}

impl fmt::Debug for Body {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.0 {
            Kind::Empty => "Body::Empty",
            Kind::Full(_) => "Body::Full",
            Kind::Stream(_) => "Body::Stream",
        })
    }
}

/// Trailers reach code behind us like headers do: what may not be a header may not be a trailer either.
pub(super) fn filtered(frame: Frame<Bytes>, filter: TrailerFilter) -> Frame<Bytes> {
    match frame.into_trailers() {
        Ok(mut trailers) => {
            filter(&mut trailers);
            Frame::trailers(trailers)
        }
        Err(frame) => frame,
    }
}

/// A stream may pause this many times longer than a body of known length.
const STREAM_PATIENCE: u32 = 10;

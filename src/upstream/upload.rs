//! The body of a request on its way to an upstream: held, paced, bounded, and told of to whoever waits for the answer.

use std::cell::Cell;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http_body::{Body as _, Frame, SizeHint};

use super::body::{BodyError, Pace, TrailerFilter, filtered};
use super::hop_by_hop;
use super::incoming::Incoming;
use crate::gate::Hold;
use crate::http1::{Asks, Interim};
use crate::message::Response;
use crate::ticker::Timer;

/// The body of a request, to an upstream, and the client that it comes from.
#[derive(Default)]
pub struct Upload {
    body: Option<Box<Uploading>>,
    client: Option<Interim>,
}

struct Uploading {
    incoming: Incoming,
    hold: Hold,
    pace: Pace,
    /// How many bytes may still come.
    left: u64,
    trailers: TrailerFilter,
    sent: Rc<Sent>,
}

/// What became of a request's body, told to whoever waits for the answer.
#[derive(Debug, Default)]
pub struct Sent {
    bytes: Cell<u64>,
    moved: Cell<bool>,
    end: Cell<Option<Result<(), BodyError>>>,
}

/// What a request's body is held to.
#[derive(Clone, Copy, Debug)]
pub struct UploadLimits {
    pub bytes: u64,
    pub progress: Duration,
    pub trailers: TrailerFilter,
}

impl Upload {
    /// Makes an upstream's side of a request's body; without a hold there is none to make.
    pub fn new(
        incoming: Option<Incoming>,
        hold: Option<Hold>,
        timer: impl FnOnce() -> Timer,
        limits: UploadLimits,
    ) -> (Self, Option<Rc<Sent>>) {
        let Some(incoming) = incoming else { return (Self::empty(), None) };
        let client = incoming.interim();
        let Some(hold) = hold.filter(|_| !incoming.is_end_stream()) else { return (Self { body: None, client }, None) };
        let sent = Rc::<Sent>::default();
        let pace = Pace { timer: timer(), progress: limits.progress };
        let uploading = Uploading { incoming, hold, pace, left: limits.bytes, trailers: limits.trailers, sent: Rc::clone(&sent) };
        (Self { body: Some(Box::new(uploading)), client }, Some(sent))
    }

    /// No body.
    pub fn empty() -> Self {
        Self::default()
    }
}

impl http_body::Body for Upload {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let Some(uploading) = &mut self.body else { return Poll::Ready(None) };
        let polled = uploading.poll_frame(context);
        match &polled {
            Poll::Ready(None) => self.body = None,
            Poll::Ready(Some(Err(_))) | Poll::Ready(Some(Ok(_))) | Poll::Pending => {}
        }
        polled
    }

    fn is_end_stream(&self) -> bool {
        self.body.as_ref().is_none_or(|uploading| uploading.incoming.is_end_stream())
    }

    fn size_hint(&self) -> SizeHint {
        self.body.as_ref().map_or_else(|| SizeHint::with_exact(0), |uploading| uploading.incoming.size_hint())
    }
}

impl Asks for Upload {
    fn interim(&self, mut head: Response<()>) {
        if let Some(client) = &self.client {
            hop_by_hop::strip_answer(&mut head.headers);
            client.say(&head);
        }
    }
}

impl Uploading {
    fn poll_frame(&mut self, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        if self.hold.poll_lapsed(context).is_ready() {
            return Poll::Ready(Some(Err(self.fail(BodyError::Denied))));
        }
        match self.pace.poll_frame(&mut self.incoming, context) {
            Poll::Pending => Poll::Pending,
            Poll::Ready(None) => {
                self.sent.end.set(Some(Ok(())));
                Poll::Ready(None)
            }
            Poll::Ready(Some(Err(error))) => Poll::Ready(Some(Err(self.fail(error)))),
            Poll::Ready(Some(Ok(frame))) => {
                let frame = filtered(frame, self.trailers);
                let length = frame.data_ref().map_or(0, |data| data.len() as u64);
                let Some(left) = self.left.checked_sub(length) else {
                    return Poll::Ready(Some(Err(self.fail(BodyError::TooLarge))));
                };
                self.left = left;
                self.sent.bytes.set(self.sent.bytes.get() + length);
                self.sent.moved.set(true);
                if frame.is_trailers() || self.incoming.is_end_stream() {
                    self.sent.end.set(Some(Ok(())));
                }
                Poll::Ready(Some(Ok(frame)))
            }
        }
    }

    fn fail(&self, error: BodyError) -> BodyError {
        self.sent.end.set(Some(Err(error)));
        error
    }
}

impl Sent {
    /// Returns how many bytes went through.
    pub fn bytes(&self) -> u64 {
        self.bytes.get()
    }

    /// Says whether bytes went through since this was last asked.
    pub(super) fn has_moved(&self) -> bool {
        self.moved.take()
    }

    /// Says whether all of the body went through.
    pub(super) fn is_whole(&self) -> bool {
        matches!(self.end.get(), Some(Ok(())))
    }

    /// Returns why the body broke off, if it did.
    pub(super) fn failure(&self) -> Option<BodyError> {
        self.end.get().and_then(Result::err)
    }
}

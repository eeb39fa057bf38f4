//! The side of an upstream: whoever asks drives the connection itself. No task stands behind it but for what is left of a
//! request's body when its answer is already there.

mod wire;

use std::fmt;
use std::future::poll_fn;
use std::io;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};

use bytes::Bytes;
use http_body::Body;

use super::Io;
use super::body::{Incoming, Upgraded};
use crate::message::{Request, Response};
use wire::{Link, Wire};

/// Sends requests on one connection to an upstream, one at a time. Dropped, it leaves the connection to the answer under
/// way.
pub struct Sender<B>(Rc<dyn Link<B>>);

/// A request's body: besides its bytes, whoever waits for the answer to it.
pub trait Asks: Body<Data = Bytes> {
    /// Hears an interim answer (RFC 9110, 15.2) other than 100 and 101: the final one is still to come.
    fn interim(&self, _head: Response<()>) {}
}

/// The head of an answer, and what becomes of the connection behind it.
#[derive(Debug)]
pub enum Answered {
    /// Its body follows.
    Response(Response<Incoming>),
    /// 101: the upstream took what was offered.
    Switched(Response<()>, Upgraded),
}

/// Why a request got no answer.
#[derive(Debug)]
pub enum SendError {
    /// The connection broke, or was closed, after something may have been sent. `is_whole`: nothing of a body, since there is none.
    Broken { error: io::Error, is_whole: bool },
    /// The answer is none, or smuggles.
    Malformed(&'static str),
    /// Nothing was sent: the request is as good as new.
    Unsent,
}

impl<B> Sender<B>
where
    B: Asks + Default + Unpin + 'static,
    B::Error: fmt::Display,
{
    /// Takes a connection to an upstream for requests.
    pub fn new<IO>(io: IO) -> Self
    where
        IO: Io + 'static,
    {
        Self(Wire::new(io))
    }

    /// Says whether another request may follow, as far as is known without a look at the connection.
    pub fn is_idle(&self) -> bool {
        self.0.is_idle()
    }

    /// Says whether another request may be sent, now or soon.
    pub fn is_usable(&self) -> bool {
        self.0.poll_usable(&mut Context::from_waker(Waker::noop()))
    }

    /// Ends the connection now, with all that is under way on it: a request's body may be stuck in an upstream
    /// that takes no more.
    pub fn abort(&self) {
        self.0.abort();
    }

    /// Sends a request, and waits for the head of its answer. Dropped before that, the connection is good for nothing
    /// any more.
    pub async fn send(&mut self, request: &mut Request<B>) -> Result<Answered, SendError> {
        if !self.begin(request) {
            return Err(SendError::Unsent);
        }
        poll_fn(|context| self.poll_answer(request, context)).await
    }

    /// Begins to send a request; `false`: the connection takes none.
    pub fn begin(&self, request: &Request<B>) -> bool {
        self.0.begin(request)
    }

    /// Sends on what was begun, and waits for the head of the answer. The request stays with whoever asks, but for a body that is
    /// still on its way when the answer has come.
    pub fn poll_answer(&mut self, request: &mut Request<B>, context: &mut Context<'_>) -> Poll<Result<Answered, SendError>> {
        let mut polled = self.0.poll_answer(request, context);
        if let Poll::Ready(Ok(Answered::Response(response))) = &mut polled {
            let left = self.0.what_is_left();
            if !left.sent {
                Rc::clone(&self.0).drive(std::mem::take(&mut request.body));
            }
            if let Some(number) = left.number {
                response.body = Incoming::new(Rc::clone(&self.0) as _, number);
            }
        }
        polled
    }
}

impl<B> fmt::Debug for Sender<B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sender").finish_non_exhaustive()
    }
}

//! The side of an upstream: whoever asks drives the connection itself. No task stands behind it but for what is left of a
//! request's body when its answer is already there.

use std::cell::RefCell;
use std::fmt;
use std::future::poll_fn;
use std::io;
use std::rc::Rc;
use std::task::{Context, Poll, Waker, ready};

use bytes::Bytes;
use http::{Method, StatusCode};
use http_body::{Body, Frame};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::task::AbortHandle;

use super::body::{BodyFault, Incoming, Source, Upgrade, Upgraded};
use super::buffers::Size;
use super::encode;
use super::head::{Answer, Asked, Fault, Framing, read_answer};
use super::inbound::Inbound;
use super::outbound::{Broken, Encoder, Out};
use crate::message::{Name, Request, Response};

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
        IO: AsyncRead + AsyncWrite + Unpin + 'static,
    {
        Self(Rc::new(Wire(RefCell::new(Inner::new(io)))))
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

/// A connection, whatever it runs over.
trait Link<B>: Source {
    fn begin(&self, request: &Request<B>) -> bool;
    /// Waits for the head of the answer; what is left of the exchange is to be asked for.
    fn poll_answer(&self, request: &mut Request<B>, context: &mut Context<'_>) -> Poll<Result<Answered, SendError>>;
    fn what_is_left(&self) -> Left;
    fn is_idle(&self) -> bool;
    fn poll_usable(&self, context: &mut Context<'_>) -> bool;
    /// Sends what is left of a request's body, while somebody else reads the answer.
    fn drive(self: Rc<Self>, body: B);
    fn abort(&self);
}

/// What is left of an exchange when the head of its answer has come.
struct Left {
    /// Of the exchange, where a body follows.
    number: Option<u64>,
    /// The request's body needs nobody any more.
    sent: bool,
}

struct Wire<IO, B>(RefCell<Inner<IO, B>>);

struct Inner<IO, B> {
    /// `None`: ended, or a tunnel's.
    io: Option<IO>,
    inbound: Inbound,
    out: Out,
    number: u64,
    /// Of a request's body, what was on its way when the answer had come.
    rest: Option<B>,
    encoder: Encoder,
    bodiless: bool,
    sending: Sending,
    /// What was asked last, until it is answered.
    asked: Option<Asked>,
    interim: u8,
    /// Another request may follow.
    persists: bool,
    /// Of whoever reads the answer, while another task writes the request.
    reader: Option<Waker>,
    driver: Option<AbortHandle>,
}

/// How far a request has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Sending {
    /// The connection took nothing of it.
    Untouched,
    /// Something of it.
    Begun,
    /// The upstream takes no more: its answer may still come.
    Stuck,
    Whole,
}

impl<IO, B> Inner<IO, B>
where
    IO: AsyncRead + AsyncWrite + Unpin + 'static,
    B: Asks + Unpin,
    B::Error: fmt::Display,
{
    fn new(io: IO) -> Self {
        Self {
            io: Some(io),
            inbound: Inbound::new(Size::Large),
            out: Out::default(),
            number: 0,
            rest: None,
            encoder: Encoder::new(Framing::Empty, true),
            bodiless: true,
            sending: Sending::Whole,
            asked: None,
            interim: 0,
            persists: true,
            reader: None,
            driver: None,
        }
    }

    fn is_idle(&self) -> bool {
        self.io.is_some()
            && self.persists
            && self.asked.is_none()
            && self.sending == Sending::Whole
            && self.inbound.is_done()
            && self.inbound.is_empty()
    }

    /// Says whether all of the request is written, or nothing more can be.
    fn is_sent(&self) -> bool {
        matches!(self.sending, Sending::Stuck | Sending::Whole)
    }

    /// Writes what there is of the request, until it is sent.
    fn poll_send(&mut self, body: &mut B, context: &mut Context<'_>) -> Poll<Result<(), io::Error>> {
        let Some(io) = &mut self.io else { return Poll::Ready(Err(io::ErrorKind::NotConnected.into())) };
        while !matches!(self.sending, Sending::Stuck | Sending::Whole) {
            let waits = match self.encoder.gather(body, &mut self.out, context) {
                Ok(waits) => waits,
                // The upstream must not take what it has for the whole: it sees the connection end.
                Err(Broken::Body(error)) => return Poll::Ready(Err(io::Error::other(error.to_string()))),
                Err(Broken::Length) => return Poll::Ready(Err(io::Error::other("the body is not as long as its head says"))),
            };
            let before = self.out.left();
            let flushed = self.out.poll_flush(io, context);
            if self.out.left() < before && self.sending == Sending::Untouched {
                self.sending = Sending::Begun;
            }
            match flushed {
                Poll::Pending => return Poll::Pending,
                // It may have answered before it closed.
                Poll::Ready(Err(_)) if self.sending == Sending::Begun => self.sending = Sending::Stuck,
                Poll::Ready(Err(error)) => return Poll::Ready(Err(error)),
                Poll::Ready(Ok(())) if self.encoder.is_done() => self.sending = Sending::Whole,
                Poll::Ready(Ok(())) if waits => return Poll::Pending,
                Poll::Ready(Ok(())) => {}
            }
        }
        Poll::Ready(Ok(()))
    }

    /// The final answer has come.
    fn answered(&mut self, persists: bool) {
        (self.asked, self.interim) = (None, 0);
        self.persists = persists && self.sending != Sending::Stuck;
    }

    fn malformed(&mut self, fault: Fault) -> SendError {
        self.io = None;
        SendError::Malformed(match fault {
            Fault::Malformed(words) => words,
            Fault::TargetTooLong | Fault::TooLarge => "the head is too large",
            Fault::Version => "the version is neither HTTP/1.0 nor HTTP/1.1",
        })
    }

    /// Gives up, and says whether the request may be sent elsewhere.
    fn broken(&mut self, error: io::Error) -> SendError {
        self.io = None;
        match self.bodiless {
            true if self.sending == Sending::Untouched => SendError::Unsent,
            is_whole => SendError::Broken { error, is_whole },
        }
    }

    fn poll_head(&mut self, body: &B, context: &mut Context<'_>) -> Poll<Result<Answered, SendError>> {
        loop {
            let Some(io) = &mut self.io else { return Poll::Ready(Err(self.broken(io::ErrorKind::NotConnected.into()))) };
            let asked = self.asked.unwrap_or(Asked::Plain);
            let judged = self.inbound.take_head(MAX_HEAD).and_then(|head| head.map(|head| read_answer(&head, asked)).transpose());
            match judged {
                Err(fault) => return Poll::Ready(Err(self.malformed(fault))),
                Ok(Some(Answer::Interim(head))) => {
                    self.interim += 1;
                    // An upstream that never comes to its answer is not waited for.
                    if self.interim > MAX_INTERIM {
                        return Poll::Ready(Err(self.malformed(Fault::Malformed("too many interim answers"))));
                    }
                    // RFC 9110, 15.2: all are passed on but a 100, which is said between us and the client.
                    if head.status != StatusCode::CONTINUE {
                        body.interim(head);
                    }
                }
                Ok(Some(Answer::Final(response, framing, persists))) => {
                    self.inbound.begin_body(framing);
                    self.answered(persists);
                    return Poll::Ready(Ok(Answered::Response(response.map(|()| Incoming::default()))));
                }
                // RFC 9110, 7.8: a request is sent to its end before another protocol begins; its rest would be that protocol's.
                Ok(Some(Answer::Switch(_))) if self.sending != Sending::Whole => {
                    return Poll::Ready(Err(self.malformed(Fault::Malformed("it switched protocols in the middle of the request"))));
                }
                Ok(Some(Answer::Switch(response))) => {
                    self.answered(false);
                    let (io, unread) = (self.io.take(), self.inbound.take_rest());
                    // INVARIANT: it was just read from.
                    return Poll::Ready(match io {
                        Some(io) => Ok(Answered::Switched(response, Upgraded::new(io, unread))),
                        None => Err(self.broken(io::ErrorKind::NotConnected.into())),
                    });
                }
                Ok(None) => match ready!(self.inbound.poll_fill(io, context, Size::Large)) {
                    Ok(1..) => {}
                    Ok(0) => return Poll::Ready(Err(self.broken(io::ErrorKind::UnexpectedEof.into()))),
                    Err(error) => return Poll::Ready(Err(self.broken(error))),
                },
            }
        }
    }
}

impl<IO, B> Link<B> for Wire<IO, B>
where
    IO: AsyncRead + AsyncWrite + Unpin + 'static,
    B: Asks + Unpin + 'static,
    B::Error: fmt::Display,
{
    fn begin(&self, request: &Request<B>) -> bool {
        let inner = &mut *self.0.borrow_mut();
        if !inner.is_idle() {
            return false;
        }
        let (size, is_empty) = (request.body.size_hint(), request.body.is_end_stream());
        let framing = encode::request(inner.out.gather(), request, &size, is_empty);
        inner.asked = Some(if request.head.method == Method::HEAD {
            Asked::Head
        } else if request.head.headers.contains_key(Name::Upgrade) {
            Asked::Upgrade
        } else {
            Asked::Plain
        });
        inner.number += 1;
        inner.encoder = Encoder::new(framing, true);
        inner.bodiless = framing == Framing::Empty;
        inner.sending = Sending::Untouched;
        true
    }

    fn what_is_left(&self) -> Left {
        let inner = self.0.borrow();
        Left { number: (!inner.inbound.is_done()).then_some(inner.number), sent: inner.is_sent() }
    }

    fn poll_answer(&self, request: &mut Request<B>, context: &mut Context<'_>) -> Poll<Result<Answered, SendError>> {
        let inner = &mut *self.0.borrow_mut();
        if let Poll::Ready(Err(error)) = inner.poll_send(&mut request.body, context) {
            return Poll::Ready(Err(inner.broken(error)));
        }
        inner.poll_head(&request.body, context)
    }

    fn is_idle(&self) -> bool {
        self.0.borrow().is_idle()
    }

    fn poll_usable(&self, context: &mut Context<'_>) -> bool {
        let inner = &mut *self.0.borrow_mut();
        if !inner.is_idle() {
            return false;
        }
        let Some(io) = &mut inner.io else { return false };
        let is_usable = inner.inbound.poll_fill(io, context, Size::Large).is_pending();
        if !is_usable {
            // It ended, or said what nobody asked for: nothing that it says later can be believed.
            inner.io = None;
        }
        is_usable
    }

    fn drive(self: Rc<Self>, body: B) {
        let wire = Rc::clone(&self);
        let driver = tokio::task::spawn_local(async move {
            let sent = poll_fn(|context| wire.poll_rest(context)).await;
            let inner = &mut *wire.0.borrow_mut();
            (inner.driver, inner.rest) = (None, None);
            if sent.is_err() {
                inner.io = None;
                if let Some(reader) = inner.reader.take() {
                    reader.wake();
                }
            }
        });
        let inner = &mut *self.0.borrow_mut();
        (inner.driver, inner.rest) = (Some(driver.abort_handle()), Some(body));
    }

    fn abort(&self) {
        let inner = &mut *self.0.borrow_mut();
        (inner.io, inner.rest) = (None, None);
        if let Some(driver) = inner.driver.take() {
            driver.abort();
        }
        if let Some(reader) = inner.reader.take() {
            reader.wake();
        }
    }
}

impl<IO, B> Wire<IO, B>
where
    IO: AsyncRead + AsyncWrite + Unpin + 'static,
    B: Asks + Unpin,
    B::Error: fmt::Display,
{
    fn poll_rest(&self, context: &mut Context<'_>) -> Poll<Result<(), io::Error>> {
        let inner = &mut *self.0.borrow_mut();
        let Some(mut body) = inner.rest.take() else { return Poll::Ready(Ok(())) };
        let sent = inner.poll_send(&mut body, context);
        inner.rest = Some(body);
        sent
    }
}

impl<IO, B> Source for Wire<IO, B>
where
    IO: AsyncRead + AsyncWrite + Unpin + 'static,
    B: Asks + Unpin + 'static,
    B::Error: fmt::Display,
{
    fn poll_frame(&self, number: u64, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BodyFault>>> {
        let inner = &mut *self.0.borrow_mut();
        if inner.number != number || inner.inbound.is_done() {
            return Poll::Ready(None);
        }
        let Some(io) = &mut inner.io else { return Poll::Ready(Some(Err(BodyFault::Truncated))) };
        let polled = inner.inbound.poll_frame(io, context);
        if polled.is_pending() && inner.driver.is_some() {
            inner.reader = Some(context.waker().clone());
        }
        polled
    }

    fn left(&self, number: u64) -> Option<u64> {
        let inner = self.0.borrow();
        if inner.number == number { inner.inbound.left() } else { Some(0) }
    }

    fn is_done(&self, number: u64) -> bool {
        let inner = self.0.borrow();
        inner.number != number || inner.inbound.is_done()
    }

    fn abandon(&self, number: u64) {
        if !self.is_done(number) {
            self.abort();
        }
    }

    fn interim(&self, _: u64, _: &Response<()>) {}

    fn upgrade(&self, _: u64) -> Option<Upgrade> {
        None
    }
}

impl<B> fmt::Debug for Sender<B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sender").finish_non_exhaustive()
    }
}

/// An upstream's head may be as large as this, whatever clients are held to.
const MAX_HEAD: usize = 128 * 1024;
const MAX_INTERIM: u8 = 32;

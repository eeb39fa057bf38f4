//! A connection to an upstream: one exchange at a time, by whoever asks, and by whoever reads the answer.

use std::cell::RefCell;
use std::fmt;
use std::future::poll_fn;
use std::io;
use std::rc::{Rc, Weak};
use std::task::{Context, Poll, Waker, ready};

use bytes::Bytes;
use http::{Method, StatusCode};
use http_body::Frame;
use tokio::task::AbortHandle;

use super::{Answered, Asks, SendError};
use crate::http1::Io;
use crate::http1::body::{BodyFault, Incoming, Source, Upgrade, Upgraded};
use crate::http1::buffers::Size;
use crate::http1::encode;
use crate::http1::head::{Answer, Asked, Fault, Framing, read_answer};
use crate::http1::inbound::Inbound;
use crate::http1::later;
use crate::http1::outbound::{Broken, Encoder, Out};
use crate::message::{Name, Request, Response};

/// A connection, whatever it runs over.
pub(super) trait Link<B>: Source {
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
pub(super) struct Left {
    /// Of the exchange, where a body follows.
    pub(super) number: Option<u64>,
    /// The request's body needs nobody any more.
    pub(super) sent: bool,
}

pub(super) struct Wire<IO, B>(RefCell<Inner<IO, B>>);

impl<IO, B> Wire<IO, B>
where
    IO: Io + 'static,
    B: Asks + Unpin + 'static,
    B::Error: fmt::Display,
{
    pub(super) fn new(io: IO) -> Rc<Self> {
        Rc::new_cyclic(|wire| Self(RefCell::new(Inner::new(io, Weak::clone(wire)))))
    }
}

struct Inner<IO, B> {
    wire: Weak<Wire<IO, B>>,
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
    /// The request was put off, or is not to be.
    put_off: bool,
    /// Of whoever put it off.
    asker: Option<Waker>,
    /// Why it could not be sent.
    broken_by: Option<io::Error>,
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
    IO: Io + 'static,
    B: Asks + Unpin + 'static,
    B::Error: fmt::Display,
{
    fn new(io: IO, wire: Weak<Wire<IO, B>>) -> Self {
        Self {
            wire,
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
            put_off: false,
            asker: None,
            broken_by: None,
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

    /// Says whether nothing has come, not even the end; reads what has, and wakes whoever asks when something does.
    fn poll_silent(&mut self, context: &mut Context<'_>) -> bool {
        let Some(io) = &mut self.io else { return false };
        io.poll_readable(context).is_pending() || self.inbound.poll_fill(io, context, Size::Large).is_pending()
    }

    /// Writes what there is of the request, until it is sent.
    fn poll_send(&mut self, body: &mut B, context: &mut Context<'_>) -> Poll<Result<(), io::Error>> {
        while !matches!(self.sending, Sending::Stuck | Sending::Whole) {
            let waits = match self.encoder.gather(body, &mut self.out, context) {
                Ok(waits) => waits,
                // The upstream must not take what it has for the whole: it sees the connection end.
                Err(Broken::Body(error)) => return Poll::Ready(Err(io::Error::other(error.to_string()))),
                Err(Broken::Length) => return Poll::Ready(Err(io::Error::other("the body is not as long as its head says"))),
            };
            if self.encoder.is_done() && self.puts_off(context) {
                return Poll::Pending;
            }
            self.asker = None;
            let Some(io) = &mut self.io else {
                return Poll::Ready(Err(self.broken_by.take().unwrap_or_else(|| io::ErrorKind::NotConnected.into())));
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

    /// Puts a small request off, once, unless something is here already: that is looked at behind it.
    fn puts_off(&mut self, context: &mut Context<'_>) -> bool {
        let began = self.sending != Sending::Untouched || self.asked.is_none();
        if std::mem::replace(&mut self.put_off, true) || began || !self.out.is_small() {
            return false;
        }
        // Whoever asks is not asked again when it is sent, but when something comes.
        if !self.poll_silent(context) {
            return false;
        }
        let Some(wire) = self.wire.upgrade() else { return false };
        if !later::put_off(wire as Rc<dyn Source>) {
            return false;
        }
        self.asker = Some(context.waker().clone());
        true
    }

    /// The final answer has come.
    fn answered(&mut self, persists: bool) {
        (self.asked, self.interim, self.asker) = (None, 0, None);
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
                    // Back before the body, or the next request: whoever reads next finds it in the nearest memory.
                    self.inbound.release();
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
    IO: Io + 'static,
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
        (inner.put_off, inner.asker) = (false, None);
        true
    }

    fn what_is_left(&self) -> Left {
        let inner = self.0.borrow();
        Left { number: (!inner.inbound.is_done()).then_some(inner.number), sent: inner.is_sent() }
    }

    fn poll_answer(&self, request: &mut Request<B>, context: &mut Context<'_>) -> Poll<Result<Answered, SendError>> {
        let inner = &mut *self.0.borrow_mut();
        match inner.poll_send(&mut request.body, context) {
            Poll::Ready(Err(error)) => return Poll::Ready(Err(inner.broken(error))),
            // Put off just now: nothing is here.
            Poll::Pending if inner.asker.is_some() => return Poll::Pending,
            Poll::Pending | Poll::Ready(Ok(())) => {}
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
        let is_usable = inner.poll_silent(context);
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
    IO: Io + 'static,
    B: Asks + Unpin + 'static,
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
    IO: Io + 'static,
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
        if inner.inbound.is_done() {
            inner.inbound.release();
        } else if polled.is_pending() && inner.driver.is_some() {
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

    fn catch_up(&self) {
        let inner = &mut *self.0.borrow_mut();
        // Without one, nobody put it off, or it is done.
        let Some(asker) = inner.asker.take().filter(|_| inner.sending == Sending::Untouched) else { return };
        let Some(io) = &mut inner.io else { return };
        let before = inner.out.left();
        let flushed = inner.out.poll_flush(io, &mut Context::from_waker(Waker::noop()));
        let begun = inner.out.left() < before;
        match flushed {
            Poll::Ready(Ok(())) => {
                inner.sending = Sending::Whole;
                return;
            }
            // Nothing is written again behind an error. It may have answered before it closed.
            Poll::Ready(Err(_)) if begun => inner.sending = Sending::Stuck,
            Poll::Ready(Err(error)) => (inner.io, inner.broken_by) = (None, Some(error)),
            Poll::Pending if begun => inner.sending = Sending::Begun,
            Poll::Pending => {}
        }
        asker.wake();
    }
}

/// An upstream's head may be as large as this, whatever clients are held to.
const MAX_HEAD: usize = 128 * 1024;
const MAX_INTERIM: u8 = 32;

#[cfg(test)]
mod tests;

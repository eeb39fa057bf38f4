//! A client's connection, shared by whoever serves it and the bodies that are read from it.

use std::cell::RefCell;
use std::io;
use std::rc::Rc;
use std::task::{Context, Poll, Waker, ready};

use bytes::Bytes;
use http::Version;
use http_body::Frame;
use tokio::sync::oneshot;

use super::Io;
use super::body::{BodyFault, Source, Upgrade, Upgraded};
use super::buffers::Size;
use super::encode;
use super::head::{Fault, Framing};
use super::inbound::Inbound;
use super::later;
use super::outbound::Out;
use crate::message::Response;

/// One connection. Borrowed for no longer than a call: bodies reach for it from inside the answer.
pub(super) struct Wire<IO>(RefCell<Inner<IO>>);

struct Inner<IO> {
    /// `None`: closed, or a tunnel's.
    io: Option<IO>,
    inbound: Inbound,
    out: Out,
    /// Of the exchange under way.
    number: u64,
    /// The client waits for a 100 before it sends its body.
    expects: bool,
    /// A 100 is being written.
    continues: bool,
    /// The client hears interim answers until the final one comes.
    hears: bool,
    /// The client has said that it sends nothing more.
    ended: bool,
    /// A part of a head is there, and its time runs.
    partial: bool,
    /// Nobody reads the body any more.
    abandoned: bool,
    /// Of whoever reads the body: told when there is nothing left to read from.
    reader: Option<Waker>,
    upgrade: Option<oneshot::Sender<Upgraded>>,
    put_off: PutOff,
    /// Of the task that serves the connection, if it ever put something off.
    server: Option<Waker>,
}

/// What there is of an answer that was put off.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum PutOff {
    /// It could not be sent.
    Broken(io::ErrorKind),
    None,
    /// It is not sent yet, or not all of it.
    Unsent,
}

impl<IO: Io + 'static> Wire<IO> {
    pub(super) fn new(io: IO) -> Rc<Self> {
        Rc::new(Self(RefCell::new(Inner {
            io: Some(io),
            inbound: Inbound::new(Size::Head),
            out: Out::default(),
            number: 0,
            expects: false,
            continues: false,
            hears: false,
            ended: false,
            partial: false,
            abandoned: false,
            reader: None,
            upgrade: None,
            put_off: PutOff::None,
            server: None,
        })))
    }

    /// Waits for a head; `None`: the client has ended.
    pub(super) fn poll_head(&self, limit: usize, context: &mut Context<'_>) -> Poll<Result<Option<Bytes>, Fault>> {
        let inner = &mut *self.0.borrow_mut();
        let Some(io) = &mut inner.io else { return Poll::Ready(Ok(None)) };
        loop {
            match inner.inbound.take_head(limit) {
                Ok(Some(head)) => {
                    inner.partial = false;
                    return Poll::Ready(Ok(Some(head)));
                }
                Ok(None) => {}
                Err(fault) => return Poll::Ready(Err(fault)),
            }
            if !matches!(ready!(inner.inbound.poll_fill(io, context, Size::Head)), Ok(1..)) {
                return Poll::Ready(Ok(None));
            }
        }
    }

    /// Says, once, that a part of a head is there.
    pub(super) fn begins_head(&self) -> bool {
        !std::mem::replace(&mut self.0.borrow_mut().partial, true)
    }

    /// Says whether nothing that came in waits to be read.
    pub(super) fn is_empty(&self) -> bool {
        self.0.borrow().inbound.is_empty()
    }

    /// Says whether bytes may be on their way that nobody will read.
    pub(super) fn is_unread(&self) -> bool {
        let inner = self.0.borrow();
        !inner.inbound.is_done() || !inner.inbound.is_empty()
    }

    /// A request was read; what comes next is its body. Returns the number of the exchange.
    pub(super) fn begin(&self, framing: Framing, expects: bool, version: Version) -> u64 {
        let inner = &mut *self.0.borrow_mut();
        inner.number += 1;
        inner.inbound.begin_body(framing);
        inner.inbound.release();
        (inner.expects, inner.abandoned) = (expects, false);
        // RFC 9110, 15.2: HTTP/1.0 knows no interim answers.
        inner.hears = version != Version::HTTP_10;
        inner.number
    }

    /// Says whether the body is neither read nor to be.
    pub(super) fn is_abandoned(&self) -> bool {
        let inner = &mut *self.0.borrow_mut();
        inner.abandoned && !inner.drains()
    }

    /// Puts a head to what is written next.
    pub(super) fn put_head<T>(&self, write: impl FnOnce(&mut Vec<u8>) -> T) -> T {
        let inner = &mut *self.0.borrow_mut();
        // RFC 9110, 10.1.1: a final answer takes the place of a 100.
        (inner.expects, inner.continues, inner.hears) = (false, false, false);
        write(inner.out.gather())
    }

    pub(super) fn take_out(&self) -> Out {
        std::mem::take(&mut self.0.borrow_mut().out)
    }

    pub(super) fn put_out(&self, out: Out) {
        self.0.borrow_mut().out = out;
    }

    /// Writes what waits; returns how much still does.
    pub(super) fn poll_flush(&self, context: &mut Context<'_>) -> (Poll<io::Result<()>>, usize) {
        let inner = &mut *self.0.borrow_mut();
        if let PutOff::Broken(kind) = inner.put_off {
            return (Poll::Ready(Err(kind.into())), 0);
        }
        let Some(io) = &mut inner.io else { return (Poll::Ready(Err(io::ErrorKind::NotConnected.into())), 0) };
        let flushed = inner.out.poll_flush(io, context);
        if flushed.is_ready() {
            inner.put_off = PutOff::None;
        }
        (flushed, inner.out.left())
    }

    /// Puts off what waits to be written; `false`: it is to be written now.
    pub(super) fn put_off(self: &Rc<Self>, context: &mut Context<'_>) -> bool {
        let inner = &mut *self.0.borrow_mut();
        // Whoever sends ahead is not kept waiting; where a body is still to come, the connection may have to be closed behind this.
        if !inner.inbound.is_empty() || !inner.inbound.is_done() || !inner.out.is_small() || !later::put_off(Rc::clone(self) as _) {
            return false;
        }
        inner.put_off = PutOff::Unsent;
        if !inner.server.as_ref().is_some_and(|server| server.will_wake(context.waker())) {
            inner.server = Some(context.waker().clone());
        }
        true
    }

    /// Says whether an answer was put off, and is not sent.
    pub(super) fn is_behind(&self) -> bool {
        self.0.borrow().put_off != PutOff::None
    }

    /// Sends what there is of interim answers, and notices that the client went away while its answer is prepared.
    pub(super) fn poll_waiting(&self, context: &mut Context<'_>) -> Poll<()> {
        let inner = &mut *self.0.borrow_mut();
        if let Some(io) = inner.io.as_mut().filter(|_| inner.hears && !inner.out.is_empty())
            && let Poll::Ready(Err(_)) = inner.out.poll_flush(io, context)
        {
            return Poll::Ready(());
        }
        inner.poll_gone(context)
    }

    /// Notices that the client went away while its answer is under way.
    pub(super) fn poll_gone(&self, context: &mut Context<'_>) -> Poll<()> {
        self.0.borrow_mut().poll_gone(context)
    }

    /// Says whether the client has said that it sends nothing more, and all that it sent is read.
    pub(super) fn is_ended(&self) -> bool {
        let inner = self.0.borrow();
        inner.ended && inner.inbound.is_empty()
    }

    /// The exchange is over; `false`: the rest of its request stands in the way of another one.
    pub(super) fn finish(&self) -> bool {
        let inner = &mut *self.0.borrow_mut();
        inner.upgrade = None;
        let done = inner.inbound.is_done() || (inner.abandoned && inner.drains());
        inner.inbound.release();
        done
    }

    /// Hands the connection over to the tunnel that it has become.
    pub(super) fn switch(&self) {
        let inner = &mut *self.0.borrow_mut();
        if let Some(upgrade) = inner.upgrade.take()
            && let Some(io) = inner.io.take()
        {
            // Nobody may be there to take it any more: then it is closed.
            let _ = upgrade.send(Upgraded::new(io, inner.inbound.take_rest()));
        }
    }

    /// Takes the connection away from everybody, to close it; `None`: it is a tunnel's.
    pub(super) fn take(&self) -> Option<IO> {
        let inner = &mut *self.0.borrow_mut();
        if let Some(reader) = inner.reader.take() {
            reader.wake();
        }
        inner.io.take()
    }
}

impl<IO: Io> Inner<IO> {
    /// Keeps what else the client sends for later. A body that is not read yet is for its reader to look at.
    fn poll_gone(&mut self, context: &mut Context<'_>) -> Poll<()> {
        // Read on where it sends ahead, or nobody would notice that it went away; no further than a buffer, and the kernel's.
        while !self.ended && self.inbound.is_done() && self.inbound.len() < MOST_AHEAD {
            let Some(io) = &mut self.io else { return Poll::Ready(()) };
            if io.poll_readable(context).is_pending() {
                self.inbound.release();
                return Poll::Pending;
            }
            match ready!(self.inbound.poll_fill(io, context, Size::Head)) {
                Ok(1..) => {}
                // RFC 8446, 6.1: a close_notify ends one direction. Its sender may read on, and has asked for something.
                Ok(0) => self.ended = true,
                // RFC 9112, 9.8: an end without one, or a reset, ends both.
                Err(_) => return Poll::Ready(()),
            }
        }
        Poll::Pending
    }
}

impl<IO> Inner<IO> {
    /// Passes over the rest of a body, as far as it has come; says whether that was all.
    fn drains(&mut self) -> bool {
        while let Ok(Some(_)) = self.inbound.next_frame() {}
        self.inbound.is_done()
    }
}

impl<IO: Io + 'static> Source for Wire<IO> {
    fn poll_frame(&self, number: u64, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BodyFault>>> {
        let inner = &mut *self.0.borrow_mut();
        if inner.number != number || inner.inbound.is_done() {
            return Poll::Ready(None);
        }
        let Some(io) = &mut inner.io else { return Poll::Ready(Some(Err(BodyFault::Truncated))) };
        if std::mem::take(&mut inner.expects) && inner.inbound.is_empty() {
            // RFC 9110, 10.1.1: somebody wants the body.
            inner.out.gather().extend_from_slice(b"HTTP/1.1 100 Continue\r\n\r\n");
            inner.continues = true;
        }
        if inner.continues {
            match inner.out.poll_flush(io, context) {
                Poll::Ready(Ok(())) => inner.continues = false,
                Poll::Ready(Err(_)) => return Poll::Ready(Some(Err(BodyFault::Truncated))),
                Poll::Pending => {}
            }
        }
        let polled = inner.inbound.poll_frame(io, context);
        if polled.is_pending() && !inner.reader.as_ref().is_some_and(|reader| reader.will_wake(context.waker())) {
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
        let inner = &mut *self.0.borrow_mut();
        if inner.number == number {
            inner.abandoned = true;
        }
    }

    fn interim(&self, number: u64, head: &Response<()>) {
        let inner = &mut *self.0.borrow_mut();
        // A client that takes none of them hears no more: what waits for it is bounded.
        if inner.number == number && inner.hears && inner.out.left() < MOST_INTERIM {
            encode::interim(inner.out.gather(), head);
        }
    }

    fn upgrade(&self, number: u64) -> Option<Upgrade> {
        let inner = &mut *self.0.borrow_mut();
        if inner.number != number {
            return None;
        }
        let (sender, receiver) = oneshot::channel();
        inner.upgrade = Some(sender);
        Some(Upgrade(receiver))
    }

    fn catch_up(&self) {
        let inner = &mut *self.0.borrow_mut();
        let Some(io) = inner.io.as_mut().filter(|_| inner.put_off == PutOff::Unsent) else { return };
        let done = match inner.out.poll_flush(io, &mut Context::from_waker(Waker::noop())) {
            Poll::Ready(Ok(())) => {
                inner.put_off = PutOff::None;
                inner.inbound.is_empty() && !inner.ended
            }
            Poll::Ready(Err(error)) => {
                inner.put_off = PutOff::Broken(error.kind());
                false
            }
            Poll::Pending => false,
        };
        if !done && let Some(server) = &inner.server {
            server.wake_by_ref();
        }
    }
}

/// As many bytes behind a request are read before it is answered, but for one read.
const MOST_AHEAD: usize = 4 * 1024;
/// As many bytes of interim answers wait for a client at most, but for one more.
const MOST_INTERIM: usize = 16 * 1024;

#[cfg(test)]
pub(super) mod tests;

//! The guard: reads the incoming byte stream ahead of the engine and lets through only what is strictly well
//! formed, one message at a time. On the side of a client it judges requests, on the side of an upstream
//! answers. Bytes go straight into the engine's buffer; they are copied only where a head arrives in pieces
//! or a message ends in the middle of a read.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::{Buf, BytesMut};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::Refusal;
use super::chunks::Chunks;
use super::head::{Answer, Asked, Fault, Framing, find_end, judge_answer, judge_request};
use super::shared::{Asking, Served};

/// An I/O stream whose incoming side is judged.
pub(super) struct Guard<IO> {
    io: IO,
    side: Side,
    state: State,
    head_bytes: usize,
    /// Read, but not handed out: a head in pieces, or what came after a message's end.
    pending: BytesMut,
    /// So many bytes at the start of `pending` are judged.
    cleared: usize,
    /// So many bytes of a head in `pending` were looked at for its end.
    scanned: usize,
    /// Found behind what was let through: told when that was taken.
    fault: Option<Fault>,
}

enum Side {
    Client(Arc<Served>),
    Upstream(Arc<Asking>),
}

enum State {
    Body(Body),
    /// Nothing more is read: what follows can no longer be told apart.
    Broken,
    Head,
    Tunnel,
    /// A request was read, and its answer is under way.
    Wait,
}

enum Body {
    Chunked(Chunks),
    Close,
    Length(u64),
}

impl<IO> Guard<IO> {
    pub(super) fn of_client(io: IO, head_bytes: usize, served: Arc<Served>) -> Self {
        // A silent client is as slow as one that sends its head byte by byte.
        served.deadline.arm(served.times.head);
        Self::new(io, head_bytes, Side::Client(served))
    }

    pub(super) fn of_upstream(io: IO, head_bytes: usize, asking: Arc<Asking>) -> Self {
        Self::new(io, head_bytes, Side::Upstream(asking))
    }

    fn new(io: IO, head_bytes: usize, side: Side) -> Self {
        Self { io, side, state: State::Head, head_bytes, pending: BytesMut::new(), cleared: 0, scanned: 0, fault: None }
    }

    /// Says whether bytes may be on their way that nobody will read: closing at once would take the answer
    /// away from a client that is still sending.
    pub(super) fn is_unread(&self) -> bool {
        !matches!(self.state, State::Head | State::Tunnel) || !self.pending.is_empty()
    }

    /// Gives back the stream, for closing it.
    pub(super) fn into_inner(self) -> IO {
        self.io
    }

    /// Judges what is at the start of `bytes`, and returns how many of them are let through.
    fn judge(&mut self, bytes: &[u8]) -> Result<usize, Fault> {
        let mut let_through = 0;
        match self.judge_each(bytes, &mut let_through) {
            // A request whose body is at fault can still be answered; an answer like that is none.
            Err(fault) if let_through > 0 && matches!(self.side, Side::Client(_)) => {
                self.fault = Some(fault);
                Ok(let_through)
            }
            judged => judged.map(|()| let_through),
        }
    }

    fn judge_each(&mut self, bytes: &[u8], let_through: &mut usize) -> Result<(), Fault> {
        loop {
            let rest = &bytes[*let_through..];
            if rest.is_empty() {
                self.scanned = 0;
                return Ok(());
            }
            // The answer that was asked for is good, whatever stands behind it.
            if *let_through > 0 && matches!(self.state, State::Head) && self.is_unasked() {
                return Ok(());
            }
            match &mut self.state {
                State::Head => match self.judge_head(rest)? {
                    Some(length) => *let_through += length,
                    None => return Ok(()),
                },
                State::Body(body) => {
                    let (length, ended) = body.advance(rest)?;
                    *let_through += length;
                    if ended {
                        self.end_message();
                    }
                }
                State::Tunnel => *let_through = bytes.len(),
                State::Broken | State::Wait => return Ok(()),
            }
        }
    }

    /// Says whether an upstream has nothing to answer.
    fn is_unasked(&self) -> bool {
        matches!(&self.side, Side::Upstream(asking) if asking.asked().is_none())
    }

    fn judge_head(&mut self, bytes: &[u8]) -> Result<Option<usize>, Fault> {
        if self.is_unasked() {
            return Err(Fault::Malformed("an answer that nobody asked for"));
        }
        let end = find_end(bytes, self.scanned)?;
        if end.unwrap_or(bytes.len()) > self.head_bytes {
            return Err(Fault::TooLarge);
        }
        let Some(end) = end else {
            self.scanned = bytes.len();
            return Ok(None);
        };
        self.scanned = 0;
        match &self.side {
            Side::Client(served) => {
                let framing = judge_request(&bytes[..end])?;
                served.begin();
                self.begin_body(framing);
            }
            Side::Upstream(asking) => match judge_answer(&bytes[..end], asking.asked().unwrap_or(Asked::Plain))? {
                Answer::Final(framing) => {
                    asking.settle();
                    self.begin_body(framing);
                }
                Answer::Interim => asking.count_interim()?,
                Answer::Switch => self.state = State::Tunnel,
            },
        }
        Ok(Some(end))
    }

    fn begin_body(&mut self, framing: Framing) {
        self.state = match framing {
            Framing::Chunked => State::Body(Body::Chunked(Chunks::new())),
            Framing::Close => State::Body(Body::Close),
            Framing::Length(length) => State::Body(Body::Length(length)),
            Framing::Empty => return self.end_message(),
        };
    }

    fn end_message(&mut self) {
        self.state = match self.side {
            Side::Client(_) => State::Wait,
            Side::Upstream(_) => State::Head,
        };
    }

    /// Decides what becomes of a fault: the engine sees an end before the request, or an error inside it.
    fn fail(&mut self, fault: Fault) -> io::Result<()> {
        let before_request = matches!(self.state, State::Head);
        self.state = State::Broken;
        let words = match fault {
            Fault::Malformed(words) => words,
            Fault::TooLarge => "the head is too large",
        };
        match &self.side {
            Side::Client(served) if before_request => {
                served.refuse(match fault {
                    Fault::Malformed(words) => Refusal::Malformed(words),
                    Fault::TooLarge => Refusal::TooLarge,
                });
                Ok(())
            }
            Side::Client(_) => Err(io::Error::new(io::ErrorKind::InvalidData, words)),
            Side::Upstream(asking) => {
                asking.poison();
                Err(io::Error::new(io::ErrorKind::InvalidData, words))
            }
        }
    }

    /// Hands out what is judged already; `false` when there is nothing.
    fn hand_out(&mut self, buffer: &mut ReadBuf<'_>) -> bool {
        if matches!(self.state, State::Tunnel) {
            self.cleared = self.pending.len();
        }
        if self.cleared == 0 {
            return false;
        }
        let length = self.cleared.min(buffer.remaining());
        buffer.put_slice(&self.pending[..length]);
        self.pending.advance(length);
        self.cleared -= length;
        if self.pending.is_empty() {
            self.pending = BytesMut::new(); // an idle connection keeps no buffer
        }
        true
    }

    /// A client's next request is not looked at before the last one is answered; what an upstream says
    /// without being asked poisons its connection.
    fn leave_wait(&mut self) -> bool {
        let Side::Client(served) = &self.side else { return true };
        if served.is_tunnel() {
            self.state = State::Tunnel;
            return true;
        }
        if served.is_under_way() {
            return false;
        }
        self.state = State::Head;
        if !self.pending.is_empty() {
            served.deadline.arm(served.times.head);
        }
        true
    }

    /// Keeps the deadline of a client that does not take what we write.
    fn watch<T>(&self, written: Poll<io::Result<T>>) -> Poll<io::Result<T>> {
        let Side::Client(served) = &self.side else { return written };
        if matches!(self.state, State::Tunnel) {
            return written;
        }
        if served.keeps_stalling(written.is_pending()) {
            return Poll::Ready(Err(io::Error::new(io::ErrorKind::TimedOut, "the client takes no more")));
        }
        written
    }
}

impl<IO: AsyncRead + Unpin> Guard<IO> {
    /// Reads more, judges it, and says whether there is an answer for the engine.
    fn read_more(&mut self, context: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<bool>> {
        let before = buffer.filled().len();
        let read = Pin::new(&mut self.io).poll_read(context, buffer);
        if read.is_pending() && self.is_late() {
            return Poll::Ready(Ok(true));
        }
        ready!(read)?;
        let fresh = buffer.filled().len() - before;
        if fresh == 0 {
            self.pending.clear();
            return Poll::Ready(Ok(true));
        }
        if !self.pending.is_empty() {
            self.pending.extend_from_slice(&buffer.filled()[before..]);
            buffer.set_filled(before);
            return Poll::Ready(Ok(false));
        }
        let let_through = match self.judge(&buffer.filled()[before..]) {
            Ok(let_through) => let_through,
            Err(fault) => {
                buffer.set_filled(before);
                return Poll::Ready(self.fail(fault).map(|()| true));
            }
        };
        if let_through < fresh {
            self.keep(&buffer.filled()[before + let_through..]);
            buffer.set_filled(before + let_through);
        }
        Poll::Ready(Ok(let_through > 0))
    }

    /// Keeps what cannot be handed out yet.
    fn keep(&mut self, rest: &[u8]) {
        match &self.side {
            Side::Client(served) => {
                if matches!(self.state, State::Head) {
                    served.deadline.arm(served.times.head);
                }
                self.pending.extend_from_slice(rest);
            }
            Side::Upstream(asking) if asking.asked().is_none() => {
                // The answer before it stands; nothing else will be asked on this connection.
                asking.poison();
                self.pending.extend_from_slice(rest);
            }
            Side::Upstream(_) => self.pending.extend_from_slice(rest),
        }
    }

    /// Says whether a client was silent for too long; then it is refused, or left.
    fn is_late(&mut self) -> bool {
        let Side::Client(served) = &self.side else { return false };
        if !matches!(self.state, State::Head) || served.is_stalled() || !served.deadline.is_expired() {
            return false;
        }
        if !self.pending.is_empty() {
            served.refuse(Refusal::SlowHead);
        }
        self.state = State::Broken;
        true
    }

    /// Notices that the client went away while its answer is under way; keeps what else it sends for later.
    fn wait(&mut self, context: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        if self.pending.is_empty() {
            let before = buffer.filled().len();
            ready!(Pin::new(&mut self.io).poll_read(context, buffer))?;
            if buffer.filled().len() == before {
                return Poll::Ready(Ok(()));
            }
            self.pending.extend_from_slice(&buffer.filled()[before..]);
            buffer.set_filled(before);
        }
        if let Side::Client(served) = &self.side {
            served.wait(context.waker());
        }
        Poll::Pending
    }
}

impl<IO: AsyncRead + Unpin> AsyncRead for Guard<IO> {
    fn poll_read(mut self: Pin<&mut Self>, context: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = &mut *self;
        loop {
            if this.hand_out(buffer) {
                return Poll::Ready(Ok(()));
            }
            if let Some(fault) = this.fault.take() {
                this.pending.clear();
                return Poll::Ready(this.fail(fault));
            }
            match this.state {
                State::Broken => return Poll::Ready(Ok(())),
                State::Tunnel => return Pin::new(&mut this.io).poll_read(context, buffer),
                State::Wait => {
                    if this.leave_wait() {
                        continue;
                    }
                    return this.wait(context, buffer);
                }
                State::Body(_) | State::Head => {}
            }
            // What was kept may hold more than one message: judge only what is new to us.
            let pending = std::mem::take(&mut this.pending);
            if pending.len() > this.scanned || matches!(this.state, State::Body(_)) && !pending.is_empty() {
                let judged = this.judge(&pending);
                this.pending = pending;
                match judged {
                    Ok(0) => {}
                    Ok(let_through) => {
                        this.cleared = let_through;
                        continue;
                    }
                    Err(fault) => {
                        this.pending.clear();
                        return Poll::Ready(this.fail(fault));
                    }
                }
            } else {
                this.pending = pending;
            }
            if ready!(this.read_more(context, buffer))? {
                return Poll::Ready(Ok(()));
            }
        }
    }
}

impl<IO: AsyncWrite + Unpin> AsyncWrite for Guard<IO> {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.io).poll_write(context, bytes);
        self.watch(written)
    }

    fn poll_write_vectored(mut self: Pin<&mut Self>, context: &mut Context<'_>, slices: &[io::IoSlice<'_>]) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.io).poll_write_vectored(context, slices);
        self.watch(written)
    }

    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let flushed = Pin::new(&mut self.io).poll_flush(context);
        self.watch(flushed)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match (&self.side, &self.state) {
            // `serve` closes the connection itself: it may have a refusal to tell first.
            (Side::Client(_), State::Body(_) | State::Broken | State::Head | State::Wait) => Poll::Ready(Ok(())),
            (Side::Client(_), State::Tunnel) | (Side::Upstream(_), _) => Pin::new(&mut self.io).poll_shutdown(context),
        }
    }
}

impl Body {
    /// Reads on, and returns how many bytes belong to the body and whether it ended with them.
    fn advance(&mut self, bytes: &[u8]) -> Result<(usize, bool), Fault> {
        match self {
            Self::Chunked(chunks) => {
                let length = chunks.advance(bytes)?;
                Ok((length, chunks.is_done()))
            }
            Self::Close => Ok((bytes.len(), false)),
            Self::Length(left) => {
                let here = (*left).min(bytes.len() as u64);
                *left -= here;
                Ok((here as usize, *left == 0))
            }
        }
    }
}

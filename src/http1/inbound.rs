//! The incoming side of a connection, whichever end we are: one buffer, out of which heads are sliced and bodies are
//! read by their framing.

use std::io;
use std::pin::pin;
use std::task::{Context, Poll, ready};

use bytes::{Bytes, BytesMut};
use http_body::Frame;
use tokio::io::{AsyncRead, AsyncReadExt};

use super::BodyFault;
use super::buffers::{self, Size};
use super::chunks::Chunks;
use super::head::{Fault, Framing, find_end, too_large};

/// What has come in and was not taken yet, and the body that it belongs to.
pub(super) struct Inbound {
    buffer: BytesMut,
    /// The shelf that the buffer is from.
    size: Size,
    /// Of a head in the buffer, so many bytes were looked at for its end.
    scanned: usize,
    body: State,
}

enum State {
    /// Heavy, and rare.
    Chunked(Box<Chunks>),
    Close,
    Done,
    /// It cannot be told where it ends.
    Failed(BodyFault),
    Length(u64),
}

impl Inbound {
    /// `size`: what heads are read into.
    pub(super) fn new(size: Size) -> Self {
        Self { buffer: BytesMut::new(), size, scanned: 0, body: State::Done }
    }

    /// Says whether nothing waits to be taken.
    pub(super) fn is_empty(&self) -> bool {
        self.buffer.is_empty()
    }

    /// Returns how many bytes wait to be taken.
    pub(super) fn len(&self) -> usize {
        self.buffer.len()
    }

    /// Takes what waits, as it is: it is no longer ours to read.
    pub(super) fn take_rest(&mut self) -> Bytes {
        // A copy: a tunnel would hold on to all of the slab.
        let rest = Bytes::copy_from_slice(&self.buffer);
        self.buffer.clear();
        self.release();
        rest
    }

    /// Slices a whole head off, if there is one; `limit`: how large one may be.
    pub(super) fn take_head(&mut self, limit: usize) -> Result<Option<Bytes>, Fault> {
        // No further than the limit: what comes behind it may not change the answer by having come already.
        let seen = self.buffer.len().min(limit);
        if seen > self.scanned {
            if let Some(end) = find_end(&self.buffer[..seen], self.scanned)? {
                self.scanned = 0;
                return Ok(Some(self.buffer.split_to(end).freeze()));
            }
            self.scanned = seen;
        }
        if self.buffer.len() > limit { Err(too_large(&self.buffer[..limit])) } else { Ok(None) }
    }

    /// What comes next is a body, framed like this.
    pub(super) fn begin_body(&mut self, framing: Framing) {
        self.body = match framing {
            Framing::Chunked => State::Chunked(Box::new(Chunks::new())),
            Framing::Close => State::Close,
            Framing::Empty => State::Done,
            Framing::Length(length) => State::Length(length),
        };
    }

    /// Says whether the body has come whole.
    pub(super) fn is_done(&self) -> bool {
        matches!(self.body, State::Done)
    }

    /// Returns how many bytes of the body are to come, if that is known.
    pub(super) fn left(&self) -> Option<u64> {
        match self.body {
            State::Done => Some(0),
            State::Length(left) => Some(left),
            State::Chunked(_) | State::Close | State::Failed(_) => None,
        }
    }

    /// Reads more into the buffer, for a head or to see whether anything comes at all; `0`: the other side has ended. An idle
    /// connection has no buffer after this.
    pub(super) fn poll_fill<IO: AsyncRead + Unpin>(
        &mut self,
        io: &mut IO,
        context: &mut Context<'_>,
        size: Size,
    ) -> Poll<io::Result<usize>> {
        self.make_room(size);
        self.poll_read(io, context)
    }

    fn make_room(&mut self, size: Size) {
        if self.buffer.is_empty() && (self.size != size || self.buffer.capacity() < size.least()) {
            self.release();
            (self.buffer, self.size) = (buffers::take(size), size);
        }
        self.buffer.reserve(MORE);
    }

    /// Reads on in the body.
    pub(super) fn poll_frame<IO: AsyncRead + Unpin>(
        &mut self,
        io: &mut IO,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyFault>>> {
        loop {
            if let Some(frame) = self.next_frame().transpose() {
                return Poll::Ready(Some(frame));
            }
            if self.is_done() {
                return Poll::Ready(None);
            }
            self.make_room(Size::Large);
            if let Some(left) = self.left() {
                // All that may come in one step: what was handed on is mostly gone by now, and the slab its own again.
                self.buffer.reserve(usize::try_from(left).unwrap_or(buffers::LARGE).min(buffers::LARGE));
            }
            match ready!(self.poll_read(io, context)) {
                Ok(0) if matches!(self.body, State::Close) => self.body = State::Done,
                // RFC 9112, 8: an end before the end of the body leaves it incomplete.
                Ok(0) | Err(_) => return Poll::Ready(Some(Err(self.fail(BodyFault::Truncated)))),
                Ok(_) => {}
            }
        }
    }

    fn poll_read<IO: AsyncRead + Unpin>(&mut self, io: &mut IO, context: &mut Context<'_>) -> Poll<io::Result<usize>> {
        let read = pin!(io.read_buf(&mut self.buffer)).poll(context);
        if read.is_pending() {
            self.release();
        }
        read
    }

    /// Takes the next piece of the body out of the buffer; `None`: there is none, yet or any more.
    pub(super) fn next_frame(&mut self) -> Result<Option<Frame<Bytes>>, BodyFault> {
        match &mut self.body {
            State::Done => Ok(None),
            State::Failed(fault) => Err(*fault),
            _ if self.buffer.is_empty() => Ok(None),
            State::Close => Ok(self.take_data(self.buffer.len())),
            State::Length(left) => {
                let here = (*left).min(self.buffer.len() as u64);
                *left -= here;
                if *left == 0 {
                    self.body = State::Done;
                }
                Ok(self.take_data(here as usize))
            }
            State::Chunked(_) => match self.next_chunk() {
                Ok(frame) => Ok(frame),
                Err(_) => Err(self.fail(BodyFault::Malformed)),
            },
        }
    }

    fn next_chunk(&mut self) -> Result<Option<Frame<Bytes>>, Fault> {
        let State::Chunked(chunks) = &mut self.body else { return Ok(None) };
        let skipped = chunks.skip_framing(&self.buffer)?;
        let _ = self.buffer.split_to(skipped);
        if chunks.is_done() {
            let trailers = chunks.take_trailers()?;
            self.body = State::Done;
            return Ok(trailers.map(Frame::trailers));
        }
        let here = chunks.take_data(self.buffer.len());
        // The framing behind it may have come too: then it is known at once that this was all.
        let frame = self.take_data(here);
        self.end_early()?;
        Ok(frame)
    }

    /// Reads the end of a chunked body that has come with its last data, where no trailers are to be handed on.
    fn end_early(&mut self) -> Result<(), Fault> {
        let State::Chunked(chunks) = &mut self.body else { return Ok(()) };
        if self.buffer.starts_with(LAST_CHUNK) {
            let skipped = chunks.skip_framing(&self.buffer)?;
            let _ = self.buffer.split_to(skipped);
            if chunks.is_done() && chunks.take_trailers()?.is_none() {
                self.body = State::Done;
            }
        }
        Ok(())
    }

    fn take_data(&mut self, length: usize) -> Option<Frame<Bytes>> {
        (length > 0).then(|| Frame::data(self.buffer.split_to(length).freeze()))
    }

    fn fail(&mut self, fault: BodyFault) -> BodyFault {
        self.body = State::Failed(fault);
        fault
    }

    /// Returns how many bytes its buffer has.
    #[cfg(test)]
    pub(super) fn held(&self) -> usize {
        self.buffer.capacity()
    }

    /// Gives the buffer back, if nothing is in it.
    pub(super) fn release(&mut self) {
        if self.buffer.is_empty() && self.buffer.capacity() > 0 {
            buffers::give_back(std::mem::take(&mut self.buffer), self.size);
        }
    }
}

impl Drop for Inbound {
    fn drop(&mut self) {
        self.buffer.clear();
        self.release();
    }
}

/// The least that is worth a read.
const MORE: usize = 4 * 1024;
/// What stands behind the last data where there are no trailers.
const LAST_CHUNK: &[u8] = b"\r\n0\r\n\r\n";

//! The outgoing side of a connection, whichever end we are: heads and small bodies gathered in one buffer and written
//! with one call, large pieces beside it, not copied.

use std::io::{self, IoSlice, Write as _};
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::{Buf, Bytes};
use http::HeaderMap;
use http_body::{Body, Frame};
use tokio::io::AsyncWrite;

use super::buffers;
use super::head::Framing;

/// What is to be written: the gathered bytes, then a large piece, then what ends it.
#[derive(Default)]
pub(super) struct Out {
    gathered: Vec<u8>,
    written: usize,
    large: Bytes,
    tail: &'static [u8],
}

/// A body on its way out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Encoder {
    framing: Framing,
    trailers: bool,
    done: bool,
}

/// Why a body cannot be written to its end.
#[derive(Debug)]
pub(super) enum Broken<E> {
    /// Its source failed.
    Body(E),
    /// It is shorter or longer than its head says.
    Length,
}

impl Out {
    /// Returns the buffer to write a head into.
    pub(super) fn gather(&mut self) -> &mut Vec<u8> {
        if self.gathered.capacity() == 0 {
            self.gathered = buffers::take_out();
        }
        &mut self.gathered
    }

    pub(super) fn is_empty(&self) -> bool {
        self.left() == 0
    }

    /// Returns how many bytes wait to be written.
    pub(super) fn left(&self) -> usize {
        self.gathered.len() - self.written + self.large.len() + self.tail.len()
    }

    /// Says whether what waits is small, and in one place.
    pub(super) fn is_small(&self) -> bool {
        !self.is_full()
    }

    /// Says whether to write before more is gathered.
    fn is_full(&self) -> bool {
        !self.large.is_empty() || !self.tail.is_empty() || self.gathered.len() >= FULL
    }

    /// Writes all that waits, and sees it off.
    pub(super) fn poll_flush<IO: AsyncWrite + Unpin>(&mut self, io: &mut IO, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        while !self.is_empty() {
            let gathered = &self.gathered[self.written..];
            let written = if self.large.is_empty() && self.tail.is_empty() {
                ready!(Pin::new(&mut *io).poll_write(context, gathered))?
            } else {
                let slices = [IoSlice::new(gathered), IoSlice::new(&self.large), IoSlice::new(self.tail)];
                let from = slices.iter().take_while(|slice| slice.is_empty()).count();
                ready!(Pin::new(&mut *io).poll_write_vectored(context, &slices[from..]))?
            };
            if written == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            self.advance(written);
        }
        self.release();
        Pin::new(io).poll_flush(context)
    }

    fn advance(&mut self, written: usize) {
        let gathered = written.min(self.gathered.len() - self.written);
        self.written += gathered;
        let large = (written - gathered).min(self.large.len());
        self.large.advance(large);
        if self.large.is_empty() {
            self.large = Bytes::new();
        }
        self.tail = &self.tail[written - gathered - large..];
    }

    fn release(&mut self) {
        self.written = 0;
        buffers::give_back_out(std::mem::take(&mut self.gathered));
    }
}

impl Drop for Out {
    fn drop(&mut self) {
        self.release();
    }
}

impl Encoder {
    /// `trailers`: whether the other side takes any.
    pub(super) fn new(framing: Framing, trailers: bool) -> Self {
        Self { framing, trailers, done: framing == Framing::Empty }
    }

    /// Says whether all of it is written, or waits to be.
    pub(super) fn is_done(self) -> bool {
        self.done
    }

    /// Says whether the end of the connection is the end of the body.
    pub(super) fn ends_with_connection(self) -> bool {
        self.framing == Framing::Close
    }

    /// Takes pieces out of a body until there is enough to write, or none for now: then `true`.
    pub(super) fn gather<B>(&mut self, body: &mut B, out: &mut Out, context: &mut Context<'_>) -> Result<bool, Broken<B::Error>>
    where
        B: Body<Data = Bytes> + Unpin,
    {
        while !self.done && !out.is_full() {
            match Pin::new(&mut *body).poll_frame(context) {
                Poll::Pending => return Ok(true),
                Poll::Ready(None) => self.end(None, out).ok_or(Broken::Length)?,
                Poll::Ready(Some(Err(error))) => return Err(Broken::Body(error)),
                Poll::Ready(Some(Ok(frame))) => {
                    self.frame(frame, out).ok_or(Broken::Length)?;
                    if !self.done && body.is_end_stream() {
                        self.end(None, out).ok_or(Broken::Length)?;
                    }
                }
            }
        }
        Ok(false)
    }

    fn frame(&mut self, frame: Frame<Bytes>, out: &mut Out) -> Option<()> {
        match frame.into_data() {
            Ok(data) => self.data(data, out),
            Err(frame) => match frame.into_trailers() {
                Ok(trailers) => self.end(Some(&trailers), out),
                Err(_) => Some(()),
            },
        }
    }

    fn data(&mut self, data: Bytes, out: &mut Out) -> Option<()> {
        if data.is_empty() {
            return Some(());
        }
        match &mut self.framing {
            Framing::Chunked => {
                // Writing to a vector does not fail.
                let _ = write!(out.gather(), "{:x}\r\n", data.len());
                put(data, b"\r\n", out);
                return Some(());
            }
            Framing::Close => {}
            Framing::Empty => return None,
            Framing::Length(left) => {
                // RFC 9112, 6.2: a byte more would be another message.
                *left = left.checked_sub(data.len() as u64)?;
                self.done = *left == 0;
            }
        }
        put(data, b"", out);
        Some(())
    }

    fn end(&mut self, trailers: Option<&HeaderMap>, out: &mut Out) -> Option<()> {
        match self.framing {
            // Behind the piece that waits beside the buffer, not in the buffer, which goes first. No trailers come this way: they
            // are asked for once there is room again.
            Framing::Chunked if !out.large.is_empty() => out.tail = b"\r\n0\r\n\r\n",
            Framing::Chunked => {
                let gathered = out.gather();
                gathered.extend_from_slice(b"0\r\n");
                if let Some(trailers) = trailers.filter(|_| self.trailers) {
                    for (name, value) in trailers {
                        super::encode::field(gathered, name.as_str().as_bytes(), value.as_bytes());
                    }
                }
                gathered.extend_from_slice(b"\r\n");
            }
            Framing::Close | Framing::Empty => {}
            Framing::Length(left) if left > 0 => return None,
            Framing::Length(_) => {}
        }
        self.done = true;
        Some(())
    }
}

/// Small pieces are copied, so that one call writes many; large ones are not.
fn put(data: Bytes, tail: &'static [u8], out: &mut Out) {
    if data.len() < LARGE {
        let gathered = out.gather();
        gathered.extend_from_slice(&data);
        gathered.extend_from_slice(tail);
    } else {
        out.large = data;
        out.tail = tail;
    }
}

/// From here on a piece is written from where it lies.
const LARGE: usize = 8 * 1024;
/// As much is gathered at most before it is written, but for one piece more.
const FULL: usize = 16 * 1024;

#[cfg(test)]
mod tests {
    use std::convert::Infallible;
    use std::task::Waker;

    use super::*;

    /// One piece, and then at once the end, of a length that nobody told.
    struct Piece(Option<Bytes>);

    impl Body for Piece {
        type Data = Bytes;
        type Error = Infallible;

        fn poll_frame(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
            Poll::Ready(self.0.take().map(|data| Ok(Frame::data(data))))
        }

        fn is_end_stream(&self) -> bool {
            self.0.is_none()
        }
    }

    /// Takes so many bytes at a time.
    struct Slow(usize, Vec<u8>);

    impl AsyncWrite for Slow {
        fn poll_write(mut self: Pin<&mut Self>, _: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
            let length = bytes.len().min(self.0);
            self.1.extend_from_slice(&bytes[..length]);
            Poll::Ready(Ok(length))
        }

        fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            Poll::Ready(Ok(()))
        }

        fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            Poll::Ready(Ok(()))
        }
    }

    #[test]
    fn the_last_chunk_stands_behind_the_data_however_large_it_is() {
        for length in [1, LARGE - 1, LARGE, LARGE + 1, 200_000] {
            for step in [1000, usize::MAX] {
                let (mut out, mut encoder, mut io) = (Out::default(), Encoder::new(Framing::Chunked, true), Slow(step, Vec::new()));
                let (mut body, context) = (Piece(Some(vec![b'x'; length].into())), &mut Context::from_waker(Waker::noop()));
                out.gather().extend_from_slice(b"head ");
                while !encoder.is_done() || !out.is_empty() {
                    encoder.gather(&mut body, &mut out, context).unwrap();
                    assert!(out.poll_flush(&mut io, context).is_ready());
                }
                let expected = format!("head {length:x}\r\n{}\r\n0\r\n\r\n", "x".repeat(length));
                assert!(io.1 == expected.as_bytes(), "{length} bytes in steps of {step}");
            }
        }
    }
}

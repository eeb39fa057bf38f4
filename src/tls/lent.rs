//! What a connection has read and not opened, and sealed and not sent. While it has neither, its buffers are the worker's,
//! who lends them to whoever reads or writes next.

use std::cell::RefCell;
use std::io;
use std::ops::Range;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use rustls::AlertDescription;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::records::{HEADER, MAX_BODY};

/// Bytes of a client: text that is open and not yet taken, then records.
#[derive(Default)]
pub(super) struct Inbound {
    bytes: Vec<u8>,
    text: Range<usize>,
    records: Range<usize>,
    /// Of the record handed out last: its body, and all of it.
    body: Range<usize>,
}

/// Records for a client.
#[derive(Default)]
pub(super) struct Outbound {
    bytes: Vec<u8>,
    sent: usize,
}

/// A record's header, and its body.
type Record<'a> = ([u8; HEADER], &'a mut [u8]);

impl Inbound {
    /// Begins with what came behind a handshake.
    pub(super) fn of(bytes: Vec<u8>) -> Self {
        Self { text: 0..0, records: 0..bytes.len(), body: 0..0, bytes }
    }

    /// Says whether nothing is here.
    pub(super) fn is_empty(&self) -> bool {
        self.text.is_empty() && self.records.is_empty()
    }

    /// Hands over text; a buffer with nothing left in it goes back.
    pub(super) fn hand_over(&mut self, into: &mut ReadBuf<'_>) {
        let length = self.text.len().min(into.remaining());
        if length > 0 {
            into.put_slice(&self.bytes[self.text.start..self.text.start + length]);
            self.text.start += length;
        }
        if self.is_empty() {
            self.clear();
        }
    }

    /// Returns the header and the body of the next record, if all of it is here.
    pub(super) fn record(&mut self) -> Result<Option<Record<'_>>, AlertDescription> {
        let Some(header) = self.bytes[self.records.clone()].first_chunk::<HEADER>().copied() else { return Ok(None) };
        let length = usize::from(u16::from_be_bytes([header[3], header[4]]));
        if length > MAX_BODY {
            return Err(AlertDescription::RecordOverflow);
        }
        let from = self.records.start + HEADER;
        if self.records.end - from < length {
            return Ok(None);
        }
        self.body = from..from + length;
        Ok(Some((header, &mut self.bytes[self.body.clone()])))
    }

    /// The record handed out last was opened: this is its text.
    pub(super) fn opened(&mut self, text: Range<usize>) {
        self.text = self.body.start + text.start..self.body.start + text.end;
        self.passed();
    }

    /// The record handed out last is done with.
    pub(super) fn passed(&mut self) {
        self.records.start = self.body.end;
    }

    #[cfg(test)]
    pub(super) fn held(&self) -> usize {
        self.bytes.capacity()
    }

    /// Forgets what is here.
    pub(super) fn clear(&mut self) {
        (self.text, self.records) = (0..0, 0..0);
        self.release();
    }

    /// Reads on, as much as the socket has: an upload comes with a few calls and not a score.
    pub(super) fn poll_fill<IO: AsyncRead + Unpin>(&mut self, io: &mut IO, context: &mut Context<'_>) -> Poll<io::Result<usize>> {
        // INVARIANT: whoever reads was handed all text before.
        if self.bytes.len() < SIZE {
            let mut bytes = SHELF.with_borrow_mut(|shelf| shelf.inbound.pop()).unwrap_or_else(|| vec![0; SIZE]);
            bytes[..self.records.len()].copy_from_slice(&self.bytes[self.records.clone()]);
            self.bytes = bytes;
        } else {
            self.bytes.copy_within(self.records.clone(), 0);
        }
        (self.text, self.records) = (0..0, 0..self.records.len());
        let mut read = ReadBuf::new(&mut self.bytes[self.records.end..]);
        let polled = Pin::new(io).poll_read(context, &mut read);
        let length = read.filled().len();
        self.records.end += length;
        if length == 0 {
            self.shrink();
        }
        polled.map_ok(|()| length)
    }

    /// Keeps no more than what is here: a client that sends half a record holds half a record.
    fn shrink(&mut self) {
        let rest = self.bytes[self.records.clone()].to_vec();
        self.release();
        (self.records, self.bytes) = (0..rest.len(), rest);
    }

    fn release(&mut self) {
        let bytes = std::mem::take(&mut self.bytes);
        if bytes.len() == SIZE {
            keep(|shelf| &mut shelf.inbound, bytes);
        }
    }
}

impl Outbound {
    /// Returns the buffer to write a record behind.
    pub(super) fn room(&mut self) -> &mut Vec<u8> {
        if self.bytes.capacity() == 0 {
            self.bytes = SHELF.with_borrow_mut(|shelf| shelf.outbound.pop()).unwrap_or_else(|| Vec::with_capacity(SMALL));
        }
        &mut self.bytes
    }

    #[cfg(test)]
    pub(super) fn held(&self) -> usize {
        self.bytes.capacity()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    /// Says whether to send before more is sealed: a client that takes nothing must not make us hold its whole answer.
    pub(super) fn is_full(&self) -> bool {
        self.bytes.len() >= FULL
    }

    /// Sends all that is here.
    pub(super) fn poll_send<IO: AsyncWrite + Unpin>(&mut self, io: &mut IO, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        while self.sent < self.bytes.len() {
            match ready!(Pin::new(&mut *io).poll_write(context, &self.bytes[self.sent..]))? {
                0 => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                length => self.sent += length,
            }
        }
        self.release();
        Poll::Ready(Ok(()))
    }

    fn release(&mut self) {
        let mut bytes = std::mem::take(&mut self.bytes);
        self.sent = 0;
        if bytes.capacity() > 0 && bytes.capacity() <= 2 * FULL {
            bytes.clear();
            keep(|shelf| &mut shelf.outbound, bytes);
        }
    }
}

impl Drop for Inbound {
    fn drop(&mut self) {
        self.release();
    }
}

impl Drop for Outbound {
    fn drop(&mut self) {
        self.release();
    }
}

#[derive(Default)]
struct Shelf {
    inbound: Vec<Vec<u8>>,
    outbound: Vec<Vec<u8>>,
}

fn keep(of: impl FnOnce(&mut Shelf) -> &mut Vec<Vec<u8>>, bytes: Vec<u8>) {
    // The thread may be ending.
    let _ = SHELF.try_with(|shelf| {
        let mut shelf = shelf.borrow_mut();
        let kept = of(&mut shelf);
        if kept.len() < MOST {
            kept.push(bytes);
        }
    });
}

thread_local! {
    static SHELF: RefCell<Shelf> = RefCell::default();
}

/// What is read with one call: three records and most of a fourth.
const SIZE: usize = 64 * 1024;
/// A head with a small body; it grows for more.
const SMALL: usize = 8 * 1024;
/// A step of a body with its head, so that one call takes it.
const FULL: usize = 160 * 1024;
/// Of each kind, on one worker: nearly always one is enough, as whoever reads or writes is done with it at once.
const MOST: usize = 4;

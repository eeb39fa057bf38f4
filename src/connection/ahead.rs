//! What was read from a socket and not taken yet. TLS asks for four kilobytes at a time, and gets a body in records of
//! sixteen: with one call for all that is there, an upload of 64 KiB takes a few calls and not a score.

use std::cell::RefCell;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, ReadBuf};

/// Bytes of one socket. An idle connection has no room for any: the worker lends it.
#[derive(Debug, Default)]
pub(super) struct Ahead {
    bytes: Vec<u8>,
    from: usize,
    to: usize,
}

impl Ahead {
    /// Takes what is here; where nothing is, as much as the socket has.
    pub(super) fn poll_read<S: AsyncRead + Unpin>(
        &mut self,
        stream: &mut S,
        context: &mut Context<'_>,
        into: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.from == self.to {
            if into.remaining() >= SIZE {
                return Pin::new(stream).poll_read(context, into);
            }
            self.bytes = SPARE.with_borrow_mut(Vec::pop).unwrap_or_else(|| vec![0; SIZE]);
            let mut read = ReadBuf::new(&mut self.bytes);
            let polled = Pin::new(stream).poll_read(context, &mut read);
            (self.from, self.to) = (0, read.filled().len());
            if self.to == 0 {
                self.give_back();
                return polled;
            }
        }
        let length = into.remaining().min(self.to - self.from);
        into.put_slice(&self.bytes[self.from..self.from + length]);
        self.from += length;
        if self.from == self.to {
            self.give_back();
        }
        Poll::Ready(Ok(()))
    }

    fn give_back(&mut self) {
        let bytes = std::mem::take(&mut self.bytes);
        SPARE.with_borrow_mut(|spare| {
            if spare.len() < MOST {
                spare.push(bytes);
            }
        });
    }
}

thread_local! {
    static SPARE: RefCell<Vec<Vec<u8>>> = const { RefCell::new(Vec::new()) };
}

const SIZE: usize = 64 * 1024;
/// On one worker: nearly always one is enough, as whoever reads takes it all.
const MOST: usize = 4;

#[cfg(test)]
mod tests {
    use tokio::io::AsyncReadExt;

    use super::*;

    struct Read<'a>(Ahead, &'a [u8], usize);

    impl AsyncRead for Read<'_> {
        fn poll_read(mut self: Pin<&mut Self>, context: &mut Context<'_>, into: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
            let this = &mut *self;
            this.2 += usize::from(this.0.from == this.0.to);
            this.0.poll_read(&mut this.1, context, into)
        }
    }

    #[test]
    fn one_call_fetches_what_is_taken_in_many() {
        let sent: Vec<u8> = (0..100_000).map(|at| at as u8).collect();
        let mut read = Read(Ahead::default(), &sent, 0);
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let mut taken = Vec::new();
        let mut piece = [0; 4096];
        while let length @ 1.. = runtime.block_on(read.read(&mut piece)).unwrap() {
            taken.extend_from_slice(&piece[..length]);
        }
        assert!(taken == sent);
        assert_eq!(read.2, 3, "calls: 64 KiB, the rest, the end");
        assert_eq!(read.0.bytes.capacity(), 0, "nothing is kept");
    }
}

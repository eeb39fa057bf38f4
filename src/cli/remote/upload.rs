//! A body on its way to a proxy, in pieces: a long one shows how far it has come.

use std::convert::Infallible;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use hyper::body::{Body, Frame, SizeHint};

use crate::cli::Output;
use crate::cli::progress::Progress;

/// The body of a call.
pub(super) struct Upload {
    rest: Bytes,
    sent: usize,
    bar: Option<Progress>,
}

impl Upload {
    /// Sends bytes; shows nothing where nobody is to see it.
    pub(super) fn new(bytes: Bytes, shown: Option<Output>) -> Self {
        let bar = shown.map(|output| Progress::new("KiB sent", kib(bytes.len()), output));
        Self { rest: bytes, sent: 0, bar }
    }
}

impl Body for Upload {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        if self.rest.is_empty() {
            self.bar = None;
            return Poll::Ready(None);
        }
        let piece = self.rest.len().min(PIECE);
        let piece = self.rest.split_to(piece);
        self.sent += piece.len();
        let (sent, is_last) = (kib(self.sent), self.rest.is_empty());
        if let Some(bar) = &mut self.bar {
            bar.reach(sent);
            if is_last {
                bar.say_then("sent; the proxy is at work");
            }
        }
        // Nobody may ask again once all is handed over: its length was told.
        self.bar = self.bar.take().filter(|_| !is_last);
        Poll::Ready(Some(Ok(Frame::data(piece))))
    }

    fn is_end_stream(&self) -> bool {
        self.rest.is_empty()
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.rest.len() as u64)
    }
}

fn kib(bytes: usize) -> u64 {
    bytes.div_ceil(1024) as u64
}

const PIECE: usize = 64 << 10;

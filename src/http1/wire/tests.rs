//! What a connection keeps while its client waits.

use std::collections::VecDeque;
use std::pin::Pin;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::*;
use crate::http1::head::{Asking, read_request};

/// A stream of which each read gets one piece; says when there are no more, and is not read then.
pub(in crate::http1) struct Pieces(pub(in crate::http1) VecDeque<&'static [u8]>);

impl Io for Pieces {
    fn poll_readable(&mut self, _: &mut Context<'_>) -> Poll<()> {
        if self.0.is_empty() { Poll::Pending } else { Poll::Ready(()) }
    }
}

impl AsyncRead for Pieces {
    fn poll_read(mut self: Pin<&mut Self>, _: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let piece = self.0.pop_front().expect("nobody reads before something is there");
        buffer.put_slice(piece);
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Pieces {
    fn poll_write(self: Pin<&mut Self>, _: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Poll::Ready(Ok(bytes.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

#[test]
fn whoever_waits_for_an_answer_holds_no_buffer() {
    const HEAD: &[u8] = b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\n";
    const WHOLE: &[u8] = b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\n12345";
    for (pieces, is_read) in [(&[HEAD, b"12", b"345"][..], true), (&[WHOLE], true), (&[HEAD, b"12345"], false), (&[WHOLE], false)] {
        let context = &mut Context::from_waker(Waker::noop());
        let wire = Wire::new(Pieces(pieces.iter().copied().collect()));
        let Poll::Ready(Ok(Some(head))) = wire.poll_head(1000, context) else { panic!("a head is there") };
        let Ok(Asking { framing, .. }) = read_request(&head) else { panic!("it is well formed") };
        let number = wire.begin(framing, false, Version::HTTP_11);
        while is_read && !wire.is_done(number) {
            assert!(matches!(wire.poll_frame(number, context), Poll::Ready(Some(Ok(_)))));
        }
        if !is_read {
            wire.abandon(number);
            assert_eq!(wire.is_abandoned(), pieces.len() > 1, "what has come is passed over");
        }
        assert!(wire.poll_waiting(context).is_pending());
        let held = wire.0.borrow().inbound.held();
        assert_eq!(held, 0, "{} pieces, read: {is_read}", pieces.len());
    }
}

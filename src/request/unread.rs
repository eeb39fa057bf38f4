//! What still comes of a request that was answered unread. The engine resets such a stream of HTTP/2 right behind its answer
//! (RFC 9113, 8.1), and clients that find both at once take the reset for the answer: so the rest is read first, and thrown away.

use std::future::poll_fn;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::Duration;

use http_body::Body as _;

use crate::ticker::{Ticker, Timer};
use crate::upstream::Incoming;

/// Reads on for the requests of one worker; its holders are those under way.
#[derive(Debug, Default)]
pub(super) struct Unread(Rc<()>);

/// The rest of one request: a stream still, and so one of the few that its connection may have open.
struct Rest {
    incoming: Incoming,
    timer: Timer,
    left: usize,
    _one: Rc<()>,
}

impl Unread {
    /// Reads on, for a while. Where too many do so already, the stream is reset at once.
    pub(super) fn discard(&self, incoming: Incoming, ticker: &Rc<Ticker>) {
        if incoming.is_end_stream() || Rc::strong_count(&self.0) > MOST {
            return;
        }
        let timer = ticker.timer();
        timer.arm(PATIENCE);
        let mut rest = Rest { incoming, timer, left: BYTES, _one: Rc::clone(&self.0) };
        tokio::task::spawn_local(async move { poll_fn(|context| rest.poll_end(context)).await });
    }
}

impl Rest {
    /// Waits until it came whole, broke off, or is too much.
    fn poll_end(&mut self, context: &mut Context<'_>) -> Poll<()> {
        while let Poll::Ready(frame) = Pin::new(&mut self.incoming).poll_frame(context) {
            let Some(Ok(frame)) = frame else { return Poll::Ready(()) };
            let Some(left) = self.left.checked_sub(frame.data_ref().map_or(0, |data| data.len())) else { return Poll::Ready(()) };
            self.left = left;
        }
        self.timer.poll_expired(context)
    }
}

/// What a client may send before it hears anything: the window of a stream.
const BYTES: usize = 256 << 10;
/// On one worker.
const MOST: usize = 1024;
const PATIENCE: Duration = Duration::from_secs(1);

//! What the echo answers with: bytes, zeros, drips, or the request's own body.

use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use hyper::body::{Body, Frame, Incoming, SizeHint};
use tokio::time::{Interval, MissedTickBehavior, interval};

/// A body of one of these kinds.
pub(super) enum EchoBody {
    /// The request's, as it comes.
    Back(Incoming),
    Drip {
        pace: Box<Interval>,
        told: u64,
        lines: u64,
    },
    Once(Option<Bytes>),
    /// So many left.
    Zeros(u64),
}

impl EchoBody {
    /// A numbered line at each tick.
    pub(super) fn drip(pace: Duration, lines: u64) -> Self {
        let mut pace = interval(pace);
        pace.set_missed_tick_behavior(MissedTickBehavior::Delay);
        Self::Drip { pace: Box::new(pace), told: 0, lines }
    }
}

impl From<Vec<u8>> for EchoBody {
    fn from(bytes: Vec<u8>) -> Self {
        Self::Once((!bytes.is_empty()).then(|| bytes.into()))
    }
}

impl Body for EchoBody {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        let data = match &mut *self {
            Self::Back(body) => return Pin::new(body).poll_frame(context),
            Self::Drip { told, lines, .. } if told == lines => None,
            Self::Drip { pace, told, lines } => {
                ready!(pace.poll_tick(context));
                *told += 1;
                Some(Bytes::from(format!("drip {told} of {lines}\n")))
            }
            Self::Once(bytes) => bytes.take(),
            Self::Zeros(0) => None,
            Self::Zeros(left) => {
                let chunk = usize::try_from(*left).unwrap_or(usize::MAX).min(ZEROS.len());
                *left -= chunk as u64;
                Some(Bytes::from_static(&ZEROS[..chunk]))
            }
        };
        Poll::Ready(data.map(|data| Ok(Frame::data(data))))
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Back(body) => body.is_end_stream(),
            Self::Drip { told, lines, .. } => told == lines,
            Self::Once(bytes) => bytes.is_none(),
            Self::Zeros(left) => *left == 0,
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Back(body) => body.size_hint(),
            Self::Drip { .. } => SizeHint::default(),
            Self::Once(bytes) => SizeHint::with_exact(bytes.as_ref().map_or(0, |bytes| bytes.len() as u64)),
            Self::Zeros(left) => SizeHint::with_exact(*left),
        }
    }
}

/// ASCII zeros: readable where they land on a terminal.
static ZEROS: [u8; 64 * 1024] = [b'0'; 64 * 1024];

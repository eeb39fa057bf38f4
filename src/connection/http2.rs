//! HTTP/2 with a client: hyper's engine, our limits, and how such a connection leaves.

use std::cell::{Cell, RefCell};
use std::convert::Infallible;
use std::future::{Future, poll_fn};
use std::pin::pin;
use std::rc::Rc;
use std::task::Poll;
use std::time::Duration;

use http::Request;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::time::Instant;

use super::{Leaving, Stream};
use crate::gate::Lifeline;
use crate::http1::{Ending, EndingKind};
use crate::limits::Limits;
use crate::request;
use crate::upstream::Incoming;

/// Serves one connection until it ends, or has to.
pub(super) async fn serve(stream: Stream, context: Rc<request::Context>, limits: &Limits, mut leaving: Leaving) {
    let standing = Rc::clone(&context.standing);
    let progress = stream.get_ref().progress();
    let asked = Rc::new(Cell::new(Instant::now()));
    let streams = Streams::default();
    let service = service_fn({
        let (asked, streams) = (Rc::clone(&asked), streams.clone());
        move |request: Request<_>| {
            asked.set(Instant::now());
            let answer = request::serve(Rc::clone(&context), streams.begin(), request.map(Incoming::Http2).into());
            async move { Ok::<http::Response<_>, Infallible>(answer.await.into()) }
        }
    });
    let mut connection = pin!(engine(streams, limits).serve_connection(TokioIo::new(stream), service));
    let mut watch = pin!(tokio::time::sleep(limits.body_progress.min(limits.idle)));
    let mut stuck_at = None;
    let cut = poll_fn(|context| {
        loop {
            if connection.as_mut().poll(context).is_ready() {
                return Poll::Ready(false);
            }
            match leaving.poll_ending(context) {
                Poll::Ready(EndingKind::Cut) => return Poll::Ready(true),
                Poll::Ready(EndingKind::Drain) => {
                    connection.as_mut().graceful_shutdown();
                    continue;
                }
                Poll::Pending => {}
            }
            if watch.as_mut().poll(context).is_pending() {
                return Poll::Pending;
            }
            // Looked at now and then: a timer for each request would cost more than the request.
            let blocked = progress.blocked_at();
            if blocked.is_some() && blocked == stuck_at {
                return Poll::Ready(true);
            }
            stuck_at = blocked;
            if standing.holds_open() == 0 && asked.get().elapsed() >= limits.idle {
                connection.as_mut().graceful_shutdown();
            }
            watch.as_mut().reset(Instant::now() + limits.body_progress.min(limits.idle));
        }
    })
    .await;
    if cut {
        // GOAWAY first, so that the client knows what was not served; then whatever is left goes with the socket.
        connection.as_mut().graceful_shutdown();
        let _ = tokio::time::timeout(LAST_WORDS, connection).await;
    }
}

fn engine(streams: Streams, limits: &Limits) -> hyper::server::conn::http2::Builder<Streams> {
    let mut builder = hyper::server::conn::http2::Builder::new(streams);
    builder
        .timer(TokioTimer::new())
        .auto_date_header(false)
        .enable_connect_protocol()
        .initial_connection_window_size(WINDOW)
        .initial_stream_window_size(WINDOW)
        .keep_alive_interval(limits.idle.max(PONG))
        .keep_alive_timeout(PONG)
        .max_concurrent_streams(MAX_STREAMS)
        .max_header_list_size(u32::try_from(limits.head_bytes).unwrap_or(u32::MAX))
        .max_local_error_reset_streams(MAX_RESETS)
        .max_pending_accept_reset_streams(MAX_PENDING_RESETS)
        .max_send_buf_size(SEND_BUFFER);
    builder
}

/// Runs the streams of one connection on its own thread, each no longer than its lifeline holds. Dropped, a stream is
/// reset, with what was buffered for it, and its upstream is free, however little its client takes.
#[derive(Clone, Default)]
struct Streams {
    /// Whose task is begun next: the engine asks for an answer and then for its task; a tunnel's comes out of its request's.
    begun: Rc<RefCell<Rc<Lifeline>>>,
}

impl Streams {
    fn begin(&self) -> Rc<Lifeline> {
        let lifeline = Rc::<Lifeline>::default();
        self.begun.replace(Rc::clone(&lifeline));
        lifeline
    }
}

impl<F: Future + 'static> hyper::rt::Executor<F> for Streams {
    fn execute(&self, stream: F) {
        let (begun, lifeline) = (Rc::clone(&self.begun), Rc::clone(&self.begun.borrow()));
        tokio::task::spawn_local(async move {
            let mut stream = pin!(stream);
            let ended = poll_fn(|context| {
                if lifeline.poll_cut(context).is_ready() {
                    return Poll::Ready(());
                }
                begun.replace(Rc::clone(&lifeline));
                // It asks for more of a body, or for its end, only when its client has room for it.
                let ended = stream.as_mut().poll(context).is_ready() || lifeline.is_stalled();
                if ended { Poll::Ready(()) } else { Poll::Pending }
            });
            ended.await;
        });
    }
}

/// What a cut connection may still take: a quarter of the promised 100 ms.
const LAST_WORDS: Duration = Duration::from_millis(25);
const MAX_PENDING_RESETS: usize = 20;
const MAX_RESETS: usize = 256;
const MAX_STREAMS: u32 = 128;
const PONG: Duration = Duration::from_secs(20);
const SEND_BUFFER: usize = 64 * 1024;
const WINDOW: u32 = 256 * 1024;

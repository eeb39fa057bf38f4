//! HTTP/1.1 as it comes in, from a client or an upstream, cut into pieces at arbitrary places. Beyond "no panic": what is let through, and
//! what is refused, is the same as when all of it arrives at once.
#![no_main]

use std::cell::RefCell;
use std::convert::Infallible;
use std::future::Future;
use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, Request, Response};
use http_body::{Body, Frame};
use http_body_util::{BodyExt, Full};
use libfuzzer_sys::fuzz_target;
use portcullis::http1::{self, Answered, EndingKind, SendError, Sender, Settings};
use portcullis::ticker::Ticker;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Sleep, sleep, timeout};

// Who speaks (c: a client; g, h, u: an upstream, asked with GET, HEAD, or for an upgrade), three bytes that say where to cut, and the stream.
fuzz_target!(|bytes: &[u8]| {
    let [kind, a, b, c, stream @ ..] = bytes else { return };
    let play = |cuts: &[u8]| {
        let stream = Pieces::new(stream, cuts, *kind != b'c');
        match kind {
            b'c' => run(serve(stream)),
            b'g' | b'h' | b'u' => run(ask(stream, *kind)),
            _ => Vec::new(),
        }
    };
    let whole = play(&[]);
    assert_eq!(whole, play(&[*a, *b, *c]), "cut every so many bytes");
    assert_eq!(whole, play(&[1]), "byte by byte");
});

/// On a clock that moves by itself when nobody has anything to do.
fn run(what: impl Future<Output = Vec<String>>) -> Vec<String> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().expect("a runtime");
    tokio::task::LocalSet::new().block_on(&runtime, what)
}

/// What a service is asked, and how the connection ends.
async fn serve(stream: Pieces) -> Vec<String> {
    let seen = Rc::new(RefCell::new(Vec::new()));
    let settings = Settings {
        head: Duration::from_secs(5),
        idle: Duration::from_secs(10),
        progress: Duration::from_secs(10),
        head_bytes: 4096,
        ticker: Ticker::new(),
        refusal: Rc::new(|refusal| format!("{refusal:?}").into()),
    };
    let told = Rc::clone(&seen);
    let service = move |request: Request<_>| {
        let told = Rc::clone(&told);
        Box::pin(async move {
            let (parts, body) = request.into_parts();
            told.borrow_mut().push(format!("{} {} {:?} {:?}", parts.method, parts.uri, parts.version, sorted(&parts.headers)));
            let body = whole(body).await;
            told.borrow_mut().push(body);
            Response::new(Full::<Bytes>::default())
        })
    };
    let end = http1::serve(stream, service, settings, AfterAll(Box::pin(sleep(Duration::from_secs(60))))).await;
    let mut seen = seen.take();
    seen.push(format!("{end:?}"));
    seen
}

/// What an upstream is taken to answer.
async fn ask(stream: Pieces, kind: u8) -> Vec<String> {
    let mut sender = Sender::new(stream);
    let mut request = Request::new(Nothing);
    match kind {
        b'h' => *request.method_mut() = http::Method::HEAD,
        b'u' => {
            request.headers_mut().insert("connection", http::HeaderValue::from_static("upgrade"));
            request.headers_mut().insert("upgrade", http::HeaderValue::from_static("websocket"));
        }
        _ => {}
    }
    match timeout(PATIENCE, sender.send(request)).await {
        Err(_) => vec!["no answer".to_owned()],
        Ok(Err(SendError::Unsent(_))) => vec!["unsent".to_owned()],
        Ok(Err(SendError::Broken(..) | SendError::Malformed(_))) => vec!["no good".to_owned()],
        Ok(Ok(Answered::Switched(head, _))) => vec![format!("{} {:?} {:?}", head.status(), head.version(), sorted(head.headers()))],
        Ok(Ok(Answered::Response(answer))) => {
            let (parts, body) = answer.into_parts();
            match whole(body).await {
                // Whether its head was let through depends on whether the fault came with it: a client is told of neither as whole.
                body if body == BROKEN => vec!["no good".to_owned()],
                body => vec![format!("{} {:?} {:?}", parts.status, parts.version, sorted(&parts.headers)), body],
            }
        }
    }
}

async fn whole<B: Body<Data = Bytes> + Unpin>(mut body: B) -> String {
    let mut found = Vec::new();
    let mut trailers = None;
    loop {
        match timeout(PATIENCE, body.frame()).await {
            Err(_) => return format!("{found:?} and no end"),
            Ok(None) => return format!("{found:?} {trailers:?}"),
            Ok(Some(Err(_))) => return BROKEN.to_owned(),
            Ok(Some(Ok(frame))) => match frame.into_data() {
                Ok(data) => found.extend_from_slice(&data),
                Err(frame) => trailers = frame.trailers_ref().map(sorted),
            },
        }
    }
}

fn sorted(headers: &HeaderMap) -> Vec<String> {
    let mut lines: Vec<_> = headers.iter().map(|(name, value)| format!("{name}: {value:?}")).collect();
    lines.sort();
    lines
}

/// A request without a body, of nobody who hears interim answers.
struct Nothing;

impl Body for Nothing {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        Poll::Ready(None)
    }

    fn is_end_stream(&self) -> bool {
        true
    }
}

impl http1::Asks for Nothing {}

/// Ends a connection that nothing else ends.
struct AfterAll(Pin<Box<Sleep>>);

impl http1::Ending for AfterAll {
    fn poll_ending(&mut self, context: &mut Context<'_>) -> Poll<EndingKind> {
        self.0.as_mut().poll(context).map(|()| EndingKind::Cut)
    }
}

/// Gives a stream piece by piece, and is silent then; takes whatever is written.
struct Pieces {
    stream: Vec<u8>,
    at: usize,
    /// How long pieces are, in turns; empty: as long as there is room.
    cuts: Vec<usize>,
    turn: usize,
    /// Nothing comes before something was written.
    waits: bool,
    paused: bool,
}

impl Pieces {
    fn new(stream: &[u8], cuts: &[u8], waits: bool) -> Self {
        let cuts = cuts.iter().map(|cut| usize::from(*cut).max(1)).collect();
        Self { stream: stream.to_vec(), at: 0, cuts, turn: 0, waits, paused: false }
    }
}

impl AsyncRead for Pieces {
    fn poll_read(mut self: Pin<&mut Self>, context: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = &mut *self;
        let left = this.stream.len() - this.at;
        if this.waits || left == 0 {
            if this.waits {
                context.waker().wake_by_ref();
            }
            return Poll::Pending;
        }
        // Between two pieces everybody else has a turn.
        if !this.cuts.is_empty() && !std::mem::replace(&mut this.paused, true) {
            context.waker().wake_by_ref();
            return Poll::Pending;
        }
        this.paused = false;
        let piece = this.cuts.get(this.turn % this.cuts.len().max(1)).copied().unwrap_or(left);
        this.turn += 1;
        let length = piece.min(left).min(buffer.remaining());
        buffer.put_slice(&this.stream[this.at..this.at + length]);
        this.at += length;
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Pieces {
    fn poll_write(mut self: Pin<&mut Self>, _: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.waits = false;
        Poll::Ready(Ok(bytes.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

const BROKEN: &str = "broken";
const PATIENCE: Duration = Duration::from_secs(5);

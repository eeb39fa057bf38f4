//! One side of the engine at a time, fed with a stream in pieces.

use std::cell::RefCell;
use std::convert::Infallible;
use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, Request, Response};
use http_body::{Body, Frame};
use http_body_util::{BodyExt, Full};
use portcullis::http1::{self, Answered, Asks, Sender};
use portcullis::message;
use tokio::time::{sleep, timeout};

use super::harness::{AfterAll, Gate, Pieces, Script, Then, settings};

/// What was seen of a client's stream, and how its connection ended.
#[derive(Debug, PartialEq, Eq)]
pub struct Served {
    pub requests: Vec<Seen>,
    pub end: String,
}

/// A message as it came through.
#[derive(Debug, PartialEq, Eq)]
pub struct Seen {
    /// Of an answer: its status.
    pub method: String,
    pub target: String,
    pub fields: Vec<String>,
    /// `None`: it broke off, is malformed, or never ends.
    pub body: Option<Vec<u8>>,
    pub trailers: Vec<String>,
}

/// Serves a client's stream.
pub fn serve(stream: &[u8], cuts: &[u8]) -> Served {
    let stream = pieces(stream, cuts, Gate::Open);
    run(async {
        let seen = Rc::new(RefCell::new(Vec::new()));
        let told = Rc::clone(&seen);
        let service = move |request: message::Request<_>| {
            let told = Rc::clone(&told);
            Box::pin(async move {
                let (head, body) = Request::from(request).into_parts();
                let (body, trailers) = whole(body).await;
                let target = format!("{} {:?}", head.uri, head.version);
                told.borrow_mut().push(Seen { method: head.method.to_string(), target, fields: sorted(&head.headers), body, trailers });
                message::Response::new(http::StatusCode::OK, Full::<Bytes>::default())
            })
        };
        let end = http1::serve(stream, service, settings(), AfterAll(Box::pin(sleep(Duration::from_secs(60))))).await;
        Served { requests: seen.take(), end: format!("{end:?}") }
    })
}

/// Asks an upstream that answers with a stream; `None`: it is told of no answer, or of one that is not whole.
pub fn ask(stream: &[u8], cuts: &[u8], kind: u8) -> Option<Seen> {
    let stream = pieces(stream, cuts, Gate::Told);
    run(async {
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
        let (head, body, trailers) = match timeout(PATIENCE, sender.send(&mut request.into())).await.ok()?.ok()? {
            Answered::Switched(head, _) => (Response::from(head), Some(Vec::new()), Vec::new()),
            Answered::Response(answer) => {
                let (head, body) = Response::from(answer).into_parts();
                let (body, trailers) = whole(body).await;
                // Whether its head was let through depends on whether the fault came with it: a client is told of neither as whole.
                (Response::from_parts(head, ()), Some(body?), trailers)
            }
        };
        let target = String::new();
        Some(Seen { method: head.status().as_str().to_owned(), target, fields: sorted(head.headers()), body, trailers })
    })
}

/// On a clock that moves by itself when nobody has anything to do.
fn run<T>(what: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().expect("a runtime");
    tokio::task::LocalSet::new().block_on(&runtime, what)
}

fn pieces(stream: &[u8], cuts: &[u8], gate: Gate) -> Pieces {
    let cuts = cuts.iter().map(|cut| usize::from(*cut)).collect();
    Pieces::new(Script { stream: stream.to_vec(), cuts, then: Then::Silence, takes: None, gate })
}

async fn whole<B: Body<Data = Bytes> + Unpin>(mut body: B) -> (Option<Vec<u8>>, Vec<String>) {
    let (mut found, mut trailers) = (Vec::new(), Vec::new());
    loop {
        match timeout(PATIENCE, Pin::new(&mut body).frame()).await {
            Err(_) | Ok(Some(Err(_))) => return (None, Vec::new()),
            Ok(None) => return (Some(found), trailers),
            Ok(Some(Ok(frame))) => match frame.into_data() {
                Ok(data) => found.extend_from_slice(&data),
                Err(frame) => trailers = frame.trailers_ref().map(sorted).unwrap_or_default(),
            },
        }
    }
}

/// A request without a body, of nobody who hears interim answers.
#[derive(Default)]
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

impl Asks for Nothing {}

/// Returns headers as text, in the order of their names.
fn sorted(headers: &HeaderMap) -> Vec<String> {
    let mut lines: Vec<_> = headers.iter().map(|(name, value)| format!("{name}: {value:?}")).collect();
    lines.sort();
    lines
}

const PATIENCE: Duration = Duration::from_secs(5);

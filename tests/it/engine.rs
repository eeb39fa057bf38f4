//! Our HTTP/1.1 engine beside hyper's: the same bytes, cut at every place, and what reaches a service of them. Where they
//! differ, the table says why, and ours lets less through.

mod answers;
mod corpus;
mod harness;
mod invariants;
mod model;
mod peers;
mod published;
mod reference;

use std::cell::RefCell;
use std::convert::Infallible;
use std::rc::Rc;
use std::task::{Context, Poll};

use bytes::Bytes;
use http::{HeaderMap, Request, Response};
use http_body::Body;
use http_body_util::{BodyExt, Full};
use hyper_util::rt::TokioIo;
use portcullis::http1::{self, Ending, EndingKind};
use portcullis::message;

use harness::{Pieces, Script, Then};

/// Streams of requests, and why hyper lets more of one through, where it does.
const STREAMS: &[(&str, Option<&str>)] = &[
    ("GET / HTTP/1.1\r\nHost: a\r\n\r\n", None),
    ("GET /a?b HTTP/1.1\r\nHost: a\r\nX-A: 1\r\nx-b:2\r\nX-A:  3 \r\n\r\nGET /2 HTTP/1.1\r\nHost: a\r\n\r\n", None),
    ("\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n\r\nGET /2 HTTP/1.1\r\nHost: a\r\n\r\n", None),
    ("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhelloPUT /2 HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n", None),
    ("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\nGET /2 HTTP/1.1\r\nHost: a\r\n\r\n", None),
    (
        "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: Chunked\r\n\r\n2;x=y\r\nhe\r\n003\r\nllo\r\n0\r\nX-T: 1\r\n\r\nGET /2 HTTP/1.1\r\nHost: a\r\n\r\n",
        None,
    ),
    ("POST / HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 2\r\n\r\nokGET /2 HTTP/1.1\r\nHost: a\r\n\r\n", None),
    ("HEAD / HTTP/1.1\r\nHost: a\r\n\r\nOPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n", None),
    ("GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\nGET /2 HTTP/1.1\r\nHost: a\r\n\r\n", None),
    ("GET / HTTP/1.0\r\nHost: a\r\n\r\nGET /2 HTTP/1.1\r\nHost: a\r\n\r\n", None),
    ("GET / HTTP/1.0\r\nHost: a\r\nConnection: keep-alive\r\n\r\nGET /2 HTTP/1.1\r\nHost: a\r\n\r\n", None),
    ("GET http://a/x HTTP/1.1\r\nHost: a\r\n\r\n", None),
    ("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhel", None),
    ("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n", None),
    ("GET / HTTP/1.1\r\nHost: a\r\nX: a\0b\r\n\r\n", None),
    ("GET / HTTP/1.1\r\nHost: a\r\nX : b\r\n\r\n", None),
    ("GET / HTTP/1.1\r\nHost: a\r\nX: a\r\n b\r\n\r\n", None),
    ("GET / HTTP/1.1\r\nHost: a\r\nX: a\rb\r\n\r\n", None),
    ("GET / HTTP/1.1\r\nHost: a\r\nno colon\r\n\r\n", None),
    ("GET / HTTP/1.2\r\nHost: a\r\n\r\n", None),
    ("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: +5\r\n\r\nhello", None),
    ("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\nhello!", None),
    ("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n", None),
    ("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhelloX0\r\n\r\n", None),
    ("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n5\nhello\r\n0\r\n\r\n", None),
    ("GET / HTTP/1.1\nHost: a\n\n", Some("RFC 9112, 2.2: a bare LF may be taken for a line's end; parsers differ about it")),
    ("GET / HTTP/1.1\r\nHost: a\nX: b\r\n\r\n", Some("RFC 9112, 2.2")),
    ("GET / HTTP/1.1\r\nX: y\r\n\r\n", Some("RFC 9112, 3.2: without Host it is 400")),
    ("GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n", Some("RFC 9112, 3.2: with two Hosts it is 400")),
    ("GET ftp://a/ HTTP/1.1\r\nHost: a\r\n\r\n", Some("RFC 9112, 3.2.2: another scheme is nothing that we serve")),
    ("GET a:80 HTTP/1.1\r\nHost: a\r\n\r\n", Some("RFC 9112, 3.2.3: the form of CONNECT only")),
    ("GET * HTTP/1.1\r\nHost: a\r\n\r\n", Some("RFC 9112, 3.2.4: the form of OPTIONS only")),
    ("GET /#x HTTP/1.1\r\nHost: a\r\n\r\n", Some("RFC 9112, 3.2: a target has no fragment")),
    (
        "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        Some("RFC 9112, 6.1: both together are the mark of smuggling"),
    ),
    (
        "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nContent-Length: 5\r\n\r\nhello",
        Some("RFC 9112, 6.3: whoever repeats it has something in mind"),
    ),
    (
        "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
        Some("RFC 9112, 6.1: a coding that is not understood is an error, and only chunked is"),
    ),
    (
        "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n5 \r\nhello\r\n0\r\n\r\n",
        Some("RFC 9112, 7.1: a size is digits, and white space before the extension was a way to smuggle"),
    ),
];

#[test]
fn what_reaches_a_service_is_what_reaches_it_through_hyper_or_less_with_a_reason() {
    for (stream, reason) in STREAMS {
        let whole = ours(stream, &[]);
        for cut in 1..stream.len() {
            assert_eq!(ours(stream, &[cut, stream.len()]), whole, "cut at {cut}: {stream:?}");
        }
        assert_eq!(ours(stream, &[1]), whole, "byte by byte: {stream:?}");
        let reference = through_hyper(stream);
        match reason {
            None => assert_eq!(whole, reference, "{stream:?}"),
            Some(_) => {
                assert_ne!(whole, reference, "the reason has gone: {stream:?}");
                let complete = |seen: &[String]| seen.iter().filter(|request| !request.ends_with('!')).cloned().collect::<Vec<_>>();
                assert!(complete(&reference).starts_with(&complete(&whole)), "{stream:?}: {whole:?} is not less than {reference:?}");
            }
        }
    }
}

fn ours(stream: &str, cuts: &[usize]) -> Vec<String> {
    local(stream, cuts, async |io, seen| {
        let service = move |request: message::Request<_>| {
            let answered = told(request.into(), Rc::clone(&seen));
            Box::pin(async move { message::Response::from(answered.await) })
        };
        http1::serve(io, service, harness::settings(), Never).await;
    })
}

fn through_hyper(stream: &str) -> Vec<String> {
    local(stream, &[], async |io, seen| {
        let service = hyper::service::service_fn(move |request| {
            let answer = told(request, Rc::clone(&seen));
            async move { Ok::<_, Infallible>(answer.await) }
        });
        // It fails where the stream does.
        let _ = hyper::server::conn::http1::Builder::new().half_close(true).serve_connection(TokioIo::new(io), service).await;
    })
}

type Seen = Rc<RefCell<Vec<String>>>;

/// Notes a request, its headers in order, and its body; one that broke off ends with `!`.
async fn told<B: Body<Data = Bytes> + Unpin>(request: Request<B>, seen: Seen) -> Response<Full<Bytes>> {
    let (head, mut body) = request.into_parts();
    let (mut bytes, mut trailers, mut end) = (Vec::new(), HeaderMap::new(), "");
    while let Some(frame) = body.frame().await {
        match frame.map(http_body::Frame::into_data) {
            Ok(Ok(data)) => bytes.extend_from_slice(&data),
            Ok(Err(frame)) => trailers = frame.into_trailers().unwrap_or_default(),
            Err(_) => {
                // How much of a broken body comes through hangs on how it arrived.
                bytes.clear();
                end = "!";
                break;
            }
        }
    }
    let body = String::from_utf8_lossy(&bytes).into_owned();
    seen.borrow_mut().push(format!("{} {} {:?} {:?} {body:?} {trailers:?}{end}", head.method, head.uri, head.version, head.headers));
    Response::new(Full::default())
}

/// Serves a stream in pieces that ends, and returns what was seen of it.
fn local(stream: &str, cuts: &[usize], server: impl AsyncFnOnce(Pieces, Seen)) -> Vec<String> {
    let script = Script { stream: stream.into(), cuts: cuts.to_vec(), then: Then::Ends, ..Script::default() };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().expect("a runtime");
    tokio::task::LocalSet::new().block_on(&runtime, async {
        let seen = Seen::default();
        server(Pieces::new(script), Rc::clone(&seen)).await;
        seen.take()
    })
}

struct Never;

impl Ending for Never {
    fn poll_ending(&mut self, _: &mut Context<'_>) -> Poll<EndingKind> {
        Poll::Pending
    }
}

//! A client by the byte: what it hears, what comes through, and how its connection ends.

use std::cell::{Cell, RefCell};
use std::convert::Infallible;
use std::io;
use std::rc::Rc;

use http_body::Frame;
use http_body_util::{BodyExt, Full};
use tokio::io::{DuplexStream, ReadBuf};

use super::*;
use crate::http1::{Later, Refusal};
use crate::ticker::Ticker;

struct Never;

impl Ending for Never {
    fn poll_ending(&mut self, _: &mut Context<'_>) -> Poll<EndingKind> {
        Poll::Pending
    }
}

pub(in crate::http1) fn settings() -> Settings {
    Settings {
        head: Duration::from_secs(10),
        idle: Duration::from_secs(75),
        progress: Duration::from_secs(30),
        head_bytes: 4096,
        ticker: Ticker::new(),
        refusal: Rc::new(|refusal| Bytes::from(format!("REFUSED {refusal:?}"))),
    }
}

fn local<T>(test: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
    tokio::task::LocalSet::new().block_on(&runtime, test)
}

/// The same, where what is written is put off, as on a worker.
fn put_off<T>(test: impl Future<Output = T>) -> T {
    local(async {
        tokio::task::spawn_local(Later::default());
        tokio::task::yield_now().await;
        test.await
    })
}

/// Serves what `client` says in pieces, and returns what it hears, the requests that came through, and the end.
/// A request is noted as `METHOD target body`, its body's error as `!`.
fn exchange(pieces: &[&str]) -> (String, Vec<String>, End) {
    let at_once = local(exchanged(pieces));
    assert_eq!(put_off(exchanged(pieces)), at_once, "what is put off is the same, and in the same order");
    at_once
}

async fn exchanged(pieces: &[&str]) -> (String, Vec<String>, End) {
    let (mut ours, theirs) = tokio::io::duplex(1 << 20);
    let seen = Rc::new(RefCell::new(Vec::new()));
    let noted = Rc::clone(&seen);
    let service = move |request: Request<Incoming>| {
        let seen = Rc::clone(&noted);
        Box::pin(async move {
            let Request { head, body } = request;
            let read = body.collect().await.map(|body| body.to_bytes());
            let status = if read.is_ok() { 200 } else { 400 };
            let body = read.map_or("!".into(), |body| String::from_utf8_lossy(&body).into_owned());
            seen.borrow_mut().push(format!("{} {} {body}", head.method, head.uri));
            Response::new(StatusCode::from_u16(status).unwrap(), Full::new(Bytes::from(head.uri.path().to_owned())))
        })
    };
    let serving = tokio::task::spawn_local(serve(theirs, service, settings(), Never));
    for piece in pieces {
        let _ = ours.write_all(piece.as_bytes()).await;
        tokio::task::yield_now().await;
    }
    let mut heard = Vec::new();
    ours.read_to_end(&mut heard).await.unwrap();
    let end = serving.await.unwrap();
    (String::from_utf8(heard).unwrap(), seen.take(), end)
}

#[test]
fn requests_are_served_however_they_arrive() {
    let stream = "POST /1 HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhelloGET /2 HTTP/1.1\r\nHost: a\r\n\r\n\
        PUT /3 HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n3;x=y\r\nabc\r\n2\r\nde\r\n0\r\nX: y\r\n\r\n\
        \r\nGET /4 HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n";
    let expected = ["POST /1 hello", "GET /2 ", "PUT /3 abcde", "GET /4 "];
    for size in [1, 2, 3, 7, 40, 64, 100, 1000] {
        let pieces: Vec<&str> = (0..stream.len()).step_by(size).map(|at| &stream[at..stream.len().min(at + size)]).collect();
        let (heard, seen, end) = exchange(&pieces);
        assert_eq!(seen, expected, "in pieces of {size}");
        assert_eq!(heard.matches("HTTP/1.1 200 OK").count(), 4, "in pieces of {size}: {heard}");
        assert_eq!(end, End::Closed);
    }
}

#[test]
fn a_malformed_request_is_refused_after_the_answers_before_it() {
    let bad = ["GET / HTTP/1.1\r\n\r\n", "GET / HTTP/1.1\nHost: a\n\n", "\x16\x03\x01\n"];
    for bad in bad {
        let (heard, seen, end) = exchange(&[&format!("GET /1 HTTP/1.1\r\nHost: a\r\n\r\n{bad}")]);
        assert_eq!(seen, ["GET /1 "], "{bad:?}");
        assert!(heard.starts_with("HTTP/1.1 200 OK") && heard.contains("REFUSED Malformed"), "{bad:?}: {heard}");
        assert!(matches!(end, End::Refused(Refusal::Malformed(_))));
        let (heard, seen, _) = exchange(&[bad]);
        assert!(heard.starts_with("REFUSED Malformed") && seen.is_empty(), "{bad:?}: {heard}");
    }
}

#[test]
fn a_bad_chunk_ends_the_body_with_an_error_and_the_connection_with_it() {
    let head = "POST /1 HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n";
    for body in ["5\r\nhelloX\r\n0\r\n\r\n", "5 \r\nhello\r\n", "3\r\nabc\r\n0\nGET /x HTTP/1.1\r\nHost: a\r\n\r\n"] {
        let (heard, seen, end) = exchange(&[head, body, "GET /2 HTTP/1.1\r\nHost: a\r\n\r\n"]);
        assert_eq!(seen, ["POST /1 !"], "{body:?}");
        assert!(heard.starts_with("HTTP/1.1 400 Bad Request\r\n") && heard.matches("HTTP/1.1").count() == 1, "{heard}");
        assert_eq!(end, End::Closed);
    }
}

#[test]
fn a_large_or_slow_head_is_refused_and_silence_is_left() {
    let (heard, ..) = exchange(&["GET / HTTP/1.1\r\nHost: a\r\nX: ", &"y".repeat(5000)]);
    assert_eq!(heard, "REFUSED TooLarge");
    let (heard, ..) = exchange(&["GET /", &"y".repeat(5000)]);
    assert_eq!(heard, "REFUSED TargetTooLong");
    // Neither hangs on how much has come already.
    let (heard, ..) = exchange(&[&format!("GET / HTTP/1.1\r\nHost: a\r\nX: {}\n", "y".repeat(5000))]);
    assert_eq!(heard, "REFUSED TooLarge");
    let (heard, ..) = exchange(&["GET / HTTP/1.1\r\nHo"]);
    assert_eq!(heard, "REFUSED SlowHead");
    let (heard, _, end) = exchange(&[]);
    assert_eq!((heard.as_str(), end), ("", End::Closed));
    let (heard, seen, end) = exchange(&["GET /1 HTTP/1.1\r\nHost: a\r\n\r\n"]);
    assert_eq!((seen.len(), end), (1, End::Closed));
    assert!(heard.ends_with("/1"));
}

/// Serves one request with a body that never ends, or an answer that never comes.
fn endless(ending: impl Ending + 'static, client: impl AsyncFnOnce(DuplexStream)) -> End {
    put_off(async {
        let (ours, theirs) = tokio::io::duplex(1024);
        let service = |_: Request<Incoming>| {
            let frames = std::iter::repeat_with(|| Ok::<_, Infallible>(Frame::data(Bytes::from_static(&[b'x'; 512]))));
            std::future::ready(Response::new(StatusCode::OK, Endless(frames)))
        };
        let serving = tokio::task::spawn_local(serve(theirs, service, settings(), ending));
        client(ours).await;
        serving.await.unwrap()
    })
}

struct Endless<I>(I);

impl<I: Iterator<Item = Result<Frame<Bytes>, Infallible>> + Unpin> Body for Endless<I> {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        Poll::Ready(self.0.next())
    }
}

const GET: &[u8] = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n";

#[test]
fn a_client_that_takes_no_more_is_left() {
    let before = tokio::time::Instant::now;
    let end = endless(Never, async |mut client| {
        let start = before();
        client.write_all(GET).await.unwrap();
        // Nothing is read: the pipe is full until the other side gives up.
        let mut byte = [0];
        while !matches!(tokio::time::timeout(Duration::from_secs(60), async { client.write(&byte).await }).await, Ok(Err(_))) {
            tokio::time::sleep(Duration::from_secs(1)).await;
            byte[0] = b'x';
        }
        assert!(start.elapsed() >= Duration::from_secs(30));
    });
    assert_eq!(end, End::Closed);
}

#[test]
fn a_drain_ends_the_connection_behind_the_answer_under_way() {
    /// A piece; then, once the drain has begun, the last one.
    struct Pieces(u8, Rc<Cell<bool>>);
    impl Body for Pieces {
        type Data = Bytes;
        type Error = Infallible;

        fn poll_frame(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
            if self.0 == 1 && !self.1.get() {
                context.waker().wake_by_ref();
                return Poll::Pending;
            }
            self.0 += 1;
            Poll::Ready((self.0 < 3).then(|| Ok(Frame::data(Bytes::from_static(b"piece")))))
        }
    }
    /// Drains, once.
    struct Draining(Rc<Cell<bool>>, bool);
    impl Ending for Draining {
        fn poll_ending(&mut self, _: &mut Context<'_>) -> Poll<EndingKind> {
            if !self.0.get() || std::mem::replace(&mut self.1, true) { Poll::Pending } else { Poll::Ready(EndingKind::Drain) }
        }
    }
    let end = put_off(async {
        let (mut ours, theirs) = tokio::io::duplex(1024);
        let drains = Rc::new(Cell::new(false));
        let told = Rc::clone(&drains);
        let service = move |_: Request<Incoming>| std::future::ready(Response::new(StatusCode::OK, Pieces(0, Rc::clone(&told))));
        let serving = tokio::task::spawn_local(serve(theirs, service, settings(), Draining(Rc::clone(&drains), false)));
        let began = tokio::time::Instant::now();
        ours.write_all(GET).await.unwrap();
        let mut heard = vec![0; 1024];
        let read = ours.read(&mut heard).await.unwrap();
        assert!(heard[..read].ends_with(b"5\r\npiece\r\n"));
        drains.set(true);
        let mut rest = String::new();
        ours.read_to_string(&mut rest).await.unwrap();
        assert_eq!((rest.as_str(), began.elapsed()), ("5\r\npiece\r\n0\r\n\r\n", Duration::ZERO));
        serving.await.unwrap()
    });
    assert_eq!(end, End::Closed);
}

#[test]
fn a_cut_ends_the_answer_under_way() {
    struct Soon(Pin<Box<tokio::time::Sleep>>);
    impl Ending for Soon {
        fn poll_ending(&mut self, context: &mut Context<'_>) -> Poll<EndingKind> {
            self.0.as_mut().poll(context).map(|()| EndingKind::Cut)
        }
    }
    let end = put_off(async {
        let (mut ours, theirs) = tokio::io::duplex(1024);
        let soon = Soon(Box::pin(tokio::time::sleep(Duration::from_secs(5))));
        let service = |_: Request<Incoming>| std::future::pending::<Response<Full<Bytes>>>();
        let serving = tokio::task::spawn_local(serve(theirs, service, settings(), soon));
        ours.write_all(GET).await.unwrap();
        let mut heard = Vec::new();
        ours.read_to_end(&mut heard).await.unwrap();
        assert!(heard.is_empty());
        serving.await.unwrap()
    });
    assert_eq!(end, End::Cut);
}

/// A connection that ends without a goodbye, as a socket does under TLS.
struct Breaks(DuplexStream);

impl Io for Breaks {}

impl Io for DuplexStream {}

impl AsyncRead for Breaks {
    fn poll_read(mut self: Pin<&mut Self>, context: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        ready!(Pin::new(&mut self.0).poll_read(context, buffer))?;
        let ended = buffer.filled().len() == before;
        Poll::Ready(if ended { Err(io::ErrorKind::UnexpectedEof.into()) } else { Ok(()) })
    }
}

impl AsyncWrite for Breaks {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_shutdown(context)
    }
}

#[test]
fn a_client_that_goes_away_cancels_its_request() {
    let end = put_off(async {
        let (mut ours, theirs) = tokio::io::duplex(1024);
        let service = |_: Request<Incoming>| std::future::pending::<Response<Full<Bytes>>>();
        let serving = tokio::task::spawn_local(serve(Breaks(theirs), service, settings(), Never));
        ours.write_all(GET).await.unwrap();
        drop(ours);
        serving.await.unwrap()
    });
    assert_eq!(end, End::Closed);
}

#[test]
fn a_client_that_sends_nothing_more_is_answered_all_that_it_asked() {
    let (heard, end) = put_off(async {
        let (mut ours, theirs) = tokio::io::duplex(1024);
        let service = |_: Request<Incoming>| {
            Box::pin(async {
                tokio::time::sleep(Duration::from_secs(5)).await;
                Response::new(StatusCode::OK, Full::new(Bytes::from_static(b"late")))
            })
        };
        let serving = tokio::task::spawn_local(serve(theirs, service, settings(), Never));
        ours.write_all(&[GET, GET].concat()).await.unwrap();
        ours.shutdown().await.unwrap();
        let mut heard = String::new();
        ours.read_to_string(&mut heard).await.unwrap();
        (heard, serving.await.unwrap())
    });
    assert_eq!((heard.matches("\r\n\r\nlate").count(), end), (2, End::Closed), "{heard}");
    // Behind the first there is a second one; behind that nothing can come.
    assert_eq!(heard.matches("connection: close").count(), 1, "{heard}");
}

/// Says two interim answers before the final one, with a pause between them.
fn hinted(request: &str) -> String {
    put_off(async {
        let (mut ours, theirs) = tokio::io::duplex(1 << 20);
        let service = |request: Request<Incoming>| {
            Box::pin(async move {
                let client = request.body.interim().unwrap();
                for status in [103, 102] {
                    client.say(
                        &http::Response::builder().status(status).header("link", "</a>").header("connection", "x").body(()).unwrap().into(),
                    );
                    tokio::time::sleep(Duration::from_secs(1)).await;
                }
                let many = http::Response::builder().status(103).header("x", "y".repeat(9000)).body(()).unwrap().into();
                (0..100).for_each(|_| client.say(&many));
                Response::new(StatusCode::OK, Full::new(Bytes::from_static(b"late")))
            })
        };
        let serving = tokio::task::spawn_local(serve(theirs, service, settings(), Never));
        ours.write_all(request.as_bytes()).await.unwrap();
        // The first is not held back until the second comes.
        let mut heard = vec![0; 200];
        let read = tokio::time::timeout(Duration::from_millis(10), ours.read(&mut heard)).await.map_or(0, Result::unwrap);
        heard.truncate(read);
        ours.read_to_end(&mut heard).await.unwrap();
        serving.await.unwrap();
        let heard = String::from_utf8(heard).unwrap();
        format!("{read} {heard}")
    })
}

#[test]
fn interim_answers_come_before_the_final_one_but_not_to_http_1_0() {
    let first = "HTTP/1.1 103 Early Hints\r\nlink: </a>\r\n\r\n";
    let heard = hinted("GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n");
    let expected = format!("{} {first}HTTP/1.1 102 Processing\r\nlink: </a>\r\n\r\nHTTP/1.1 103", first.len());
    assert!(heard.starts_with(&expected), "{heard}");
    assert!(heard.ends_with("\r\n\r\nlate") && heard.len() < 40_000, "what waits for a client is bounded: {}", heard.len());
    let heard = hinted("GET / HTTP/1.0\r\nHost: a\r\n\r\n");
    assert!(heard.starts_with("0 HTTP/1.1 200 OK\r\n") && heard.ends_with("late"), "{heard}");
}

//! One connection by the byte, where what it writes is sent when a test says so.

use std::cell::Cell;
use std::convert::Infallible;
use std::future::poll_fn;
use std::io;
use std::time::Duration;

use bytes::Bytes;
use http_body::Frame;
use http_body_util::Full;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, DuplexStream, ReadBuf, duplex};
use tokio::task::{JoinHandle, yield_now};

use super::*;
use crate::http1::serving::tests::settings;
use crate::http1::{Answered, Asks, End, Ending, EndingKind, Incoming, Io, SendError, Sender, Settings, serve};
use crate::message::{Request, Response};

const GET: &[u8] = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n";
const OK: &[u8] = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok";

/// A worker's thread, but that what was put off is sent when a test says so.
fn local<T>(test: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
    tokio::task::LocalSet::new().block_on(&runtime, async {
        let later = Later::default();
        WAITING.with_borrow_mut(|waiting| waiting.task = Some(Waker::noop().clone()));
        let done = test.await;
        drop(later);
        done
    })
}

struct Until(Rc<Cell<bool>>);

impl Ending for Until {
    fn poll_ending(&mut self, _: &mut Context<'_>) -> Poll<EndingKind> {
        if self.0.get() { Poll::Ready(EndingKind::Cut) } else { Poll::Pending }
    }
}

/// A pipe on which something comes while what came first is answered, or of which the first write fails.
struct Line {
    pipe: DuplexStream,
    meanwhile: Option<&'static [u8]>,
    has_read: bool,
    fails: bool,
}

impl Line {
    fn new(pipe: DuplexStream) -> Self {
        Self { pipe, meanwhile: None, has_read: false, fails: false }
    }
}

impl Io for Line {}

impl AsyncRead for Line {
    fn poll_read(mut self: Pin<&mut Self>, context: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        if self.has_read
            && let Some(bytes) = self.meanwhile
        {
            buffer.put_slice(bytes);
            // None of them: the end, which stays.
            self.meanwhile = self.meanwhile.filter(|bytes| bytes.is_empty());
            return Poll::Ready(Ok(()));
        }
        let read = Pin::new(&mut self.pipe).poll_read(context, buffer);
        self.has_read |= read.is_ready();
        read
    }
}

impl AsyncWrite for Line {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        if std::mem::take(&mut self.fails) {
            return Poll::Ready(Err(io::ErrorKind::OutOfMemory.into()));
        }
        Pin::new(&mut self.pipe).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.pipe).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.pipe).poll_shutdown(context)
    }
}

/// Serves `body` on a pipe of so many bytes; the second is told to cut.
fn serving(body: &'static [u8], room: usize) -> (DuplexStream, Rc<Cell<bool>>, JoinHandle<End>) {
    let (ours, theirs) = duplex(room);
    let (cut, serving) = serving_on(Line::new(theirs), body);
    (ours, cut, serving)
}

fn refusing() -> Settings {
    Settings { refusal: Rc::new(|_| Bytes::from_static(b"REFUSED")), ..settings() }
}

fn serving_on(line: Line, body: &'static [u8]) -> (Rc<Cell<bool>>, JoinHandle<End>) {
    let cut = Rc::<Cell<bool>>::default();
    let service = move |_: Request<Incoming>| std::future::ready(Response::new(http::StatusCode::OK, Full::new(Bytes::from_static(body))));
    let serving = tokio::task::spawn_local(serve(line, service, refusing(), Until(Rc::clone(&cut))));
    (cut, serving)
}

/// Lets everybody run who can.
async fn settle() {
    for _ in 0..10 {
        yield_now().await;
    }
}

/// Returns what has come, without waiting for more.
async fn heard(stream: &mut DuplexStream) -> String {
    let mut bytes = vec![0; 1 << 16];
    let read = poll_fn(|context| {
        let mut buffer = ReadBuf::new(&mut bytes);
        let polled = std::pin::pin!(stream.read_buf(&mut buffer)).poll(context);
        Poll::Ready(if polled.is_ready() { buffer.filled().len() } else { 0 })
    });
    let read = read.await;
    String::from_utf8(bytes[..read].to_vec()).unwrap()
}

/// Reads until `end` has come.
async fn take(stream: &mut DuplexStream, end: &[u8]) {
    let mut all = Vec::new();
    while !all.ends_with(end) {
        assert_ne!(stream.read_buf(&mut all).await.unwrap(), 0, "{}", String::from_utf8_lossy(&all));
    }
}

#[test]
fn answers_are_put_off_together() {
    local(async {
        let (mut first, ..) = serving(b"1", 1 << 16);
        let (mut second, ..) = serving(b"2", 1 << 16);
        first.write_all(GET).await.unwrap();
        second.write_all(GET).await.unwrap();
        settle().await;
        assert_eq!((heard(&mut first).await, heard(&mut second).await), (String::new(), String::new()));
        send_put_off();
        let (first, second) = (heard(&mut first).await, heard(&mut second).await);
        assert!(first.ends_with("\r\n\r\n1"), "{first}");
        assert!(second.ends_with("\r\n\r\n2"), "{second}");
    });
}

#[test]
fn many_do_not_wait_for_the_last() {
    local(async {
        let mut clients: Vec<_> = (0..=MANY).map(|_| serving(b"ok", 1 << 16)).collect();
        for (client, ..) in &mut clients {
            client.write_all(GET).await.unwrap();
        }
        settle().await;
        let mut answered = 0;
        for (client, ..) in &mut clients {
            answered += usize::from(heard(client).await.ends_with("ok"));
        }
        assert_eq!(answered, MANY, "all but the last");
    });
}

#[test]
fn what_a_client_does_not_take_at_once_is_written_on_but_not_for_ever() {
    local(async {
        let (mut slow, _, serving) = serving(&[b'x'; 4000], 64);
        slow.write_all(GET).await.unwrap();
        settle().await;
        send_put_off();
        let began = tokio::time::Instant::now();
        take(&mut slow, &[b'x'; 4000]).await;
        assert_eq!(began.elapsed(), Duration::ZERO, "it goes on when there is room");
        slow.write_all(GET).await.unwrap();
        settle().await;
        send_put_off();
        assert_eq!(serving.await.unwrap(), End::Closed, "a client that takes nothing more");
        assert!(began.elapsed() >= Duration::from_secs(30));
    });
}

#[test]
fn a_refusal_comes_behind_the_answer_before_it() {
    local(async {
        let (mut slow, _, serving) = serving(&[b'x'; 4000], 64);
        slow.write_all(GET).await.unwrap();
        settle().await;
        slow.write_all(b"BAD\n").await.unwrap();
        take(&mut slow, &[&[b'x'; 4000][..], b"REFUSED"].concat()).await;
        drop(slow);
        assert!(matches!(serving.await.unwrap(), End::Refused(_)));
    });
}

#[test]
fn what_comes_before_an_answer_is_sent_waits_for_that() {
    let cases = [(&b"BAD\n"[..], &b"REFUSED"[..]), (GET, b""), (b"", b"")];
    for ((meanwhile, behind), room) in cases.into_iter().flat_map(|case| [(case, 64), (case, 1 << 16)]) {
        local(async {
            let (mut ours, theirs) = duplex(room);
            let (_, serving) = serving_on(Line { meanwhile: Some(meanwhile), ..Line::new(theirs) }, &[b'x'; 4000]);
            let began = tokio::time::Instant::now();
            ours.write_all(GET).await.unwrap();
            settle().await;
            send_put_off();
            take(&mut ours, &[&[b'x'; 4000], behind].concat()).await;
            if meanwhile == GET {
                settle().await;
                send_put_off();
                take(&mut ours, &[b'x'; 4000]).await;
            }
            assert_eq!(began.elapsed(), Duration::ZERO, "nobody was forgotten");
            drop(ours);
            let ended = serving.await.unwrap();
            assert_eq!((matches!(ended, End::Refused(_)), began.elapsed()), (behind == b"REFUSED", Duration::ZERO), "{ended:?}");
        });
    }
}

/// One piece, and the request's body beside it: nobody reads that, and nobody lets go of it.
struct Holding(Option<Bytes>, #[allow(dead_code, reason = "held")] Incoming);

impl http_body::Body for Holding {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        Poll::Ready(self.0.take().map(|data| Ok(Frame::data(data))))
    }

    fn size_hint(&self) -> http_body::SizeHint {
        http_body::SizeHint::with_exact(self.0.as_ref().map_or(0, |data| data.len() as u64))
    }
}

#[test]
fn an_answer_that_closes_the_connection_has_its_time() {
    local(async {
        let (mut slow, theirs) = duplex(64);
        let service = |request: Request<Incoming>| {
            let body = Holding(Some(Bytes::from_static(&[b'x'; 4000])), request.body);
            std::future::ready(Response::new(http::StatusCode::OK, body))
        };
        let serving = tokio::task::spawn_local(serve(theirs, service, refusing(), Until(Rc::default())));
        slow.write_all(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 9\r\n\r\n").await.unwrap();
        settle().await;
        send_put_off();
        tokio::time::sleep(Duration::from_secs(5)).await;
        take(&mut slow, &[b'x'; 4000]).await;
        drop(slow);
        assert_eq!(serving.await.unwrap(), End::Closed);
    });
}

#[test]
fn nothing_is_written_behind_an_error() {
    local(async {
        let (mut ours, theirs) = duplex(1 << 16);
        let (_, serving) = serving_on(Line { fails: true, ..Line::new(theirs) }, b"ok");
        ours.write_all(GET).await.unwrap();
        settle().await;
        send_put_off();
        assert_eq!(serving.await.unwrap(), End::Closed);
        assert_eq!(heard(&mut ours).await, "");

        let (mut upstream, ours) = duplex(1 << 16);
        let asked = ask(Line { fails: true, ..Line::new(ours) }).await;
        send_put_off();
        assert!(matches!(asked.await.unwrap(), Err(SendError::Unsent)));
        assert_eq!(heard(&mut upstream).await, "");
    });
}

#[test]
fn a_cut_takes_nothing_away_that_was_answered() {
    local(async {
        let (mut client, cut, serving) = serving(b"ok", 1 << 16);
        client.write_all(GET).await.unwrap();
        settle().await;
        cut.set(true);
        // Woken by what comes next.
        client.write_all(b"G").await.unwrap();
        assert_eq!(serving.await.unwrap(), End::Cut);
        let mut heard = String::new();
        client.read_to_string(&mut heard).await.unwrap();
        assert!(heard.ends_with("\r\n\r\nok"), "{heard}");
    });
}

#[derive(Default)]
pub(in crate::http1) struct Nothing;

impl http_body::Body for Nothing {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        Poll::Ready(None)
    }

    fn is_end_stream(&self) -> bool {
        true
    }

    fn size_hint(&self) -> http_body::SizeHint {
        http_body::SizeHint::with_exact(0)
    }
}

impl Asks for Nothing {}

type Asked = JoinHandle<Result<Answered, SendError>>;

/// Asks on a pipe of so many bytes, which already has `said` in it.
async fn asking(said: &[u8], room: usize) -> (DuplexStream, Asked) {
    let (mut upstream, ours) = duplex(room);
    upstream.write_all(said).await.unwrap();
    (upstream, ask(Line::new(ours)).await)
}

async fn ask(line: Line) -> Asked {
    let mut sender = Sender::new(line);
    let mut request = http::Request::get("/").header("host", "a").body(Nothing).unwrap().into();
    let asked = tokio::task::spawn_local(async move { sender.send(&mut request).await });
    settle().await;
    asked
}

#[test]
fn a_request_is_put_off() {
    local(async {
        for room in [1 << 16, 8] {
            let (mut upstream, asked) = asking(b"", room).await;
            assert_eq!(heard(&mut upstream).await, "");
            send_put_off();
            take(&mut upstream, b"\r\n\r\n").await;
            upstream.write_all(OK).await.unwrap();
            assert!(matches!(asked.await.unwrap(), Ok(Answered::Response(response)) if response.status == 200));
        }
    });
}

#[test]
fn what_is_here_already_is_looked_at_behind_the_request() {
    local(async {
        let (mut upstream, asked) = asking(OK, 1 << 16).await;
        assert!(matches!(asked.await.unwrap(), Ok(Answered::Response(_))));
        assert!(heard(&mut upstream).await.starts_with("GET / "));
    });
}

#[test]
fn a_request_that_nobody_waits_for_any_more_is_not_sent() {
    local(async {
        let (mut upstream, asked) = asking(b"", 1 << 16).await;
        asked.abort();
        settle().await;
        send_put_off();
        let mut heard = Vec::new();
        assert_eq!(upstream.read_to_end(&mut heard).await.unwrap(), 0);
    });
}

#[test]
fn an_upstream_that_went_away_meanwhile_saw_nothing() {
    local(async {
        let (upstream, asked) = asking(b"", 1 << 16).await;
        drop(upstream);
        send_put_off();
        assert!(matches!(asked.await.unwrap(), Err(SendError::Unsent)));
    });
}

#[test]
fn an_upstream_that_saw_a_part_saw_something() {
    local(async {
        let (upstream, asked) = asking(b"", 8).await;
        send_put_off();
        drop(upstream);
        assert!(matches!(asked.await.unwrap(), Err(SendError::Broken { is_whole: true, .. })));
    });
}

#[test]
fn where_nobody_sends_later_nothing_is_put_off() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
    tokio::task::LocalSet::new().block_on(&runtime, async {
        drop(Later::default());
        let (mut client, ..) = serving(b"ok", 1 << 16);
        client.write_all(GET).await.unwrap();
        settle().await;
        assert!(heard(&mut client).await.ends_with("ok"));
    });
}

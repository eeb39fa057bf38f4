//! A small proxy out of nothing but the engine's two sides, on a clock that moves by itself, between streams that come in
//! pieces. Shared with `fuzz/`.

use std::cell::{Cell, RefCell};
use std::future::Future;
use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker, ready};
use std::time::Duration;

use bytes::Bytes;
use http::StatusCode;
use http::header::{self, HeaderName, HeaderValue};
use http_body::{Body, Frame, SizeHint};
use portcullis::http1::{self, Answered, Asks, BodyFault, Ending, EndingKind, Incoming, Interim, Sender, Settings};
use portcullis::message::{Request, Response};
use portcullis::ticker::Ticker;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Sleep, sleep};

/// One side's stream, and how it comes.
#[derive(Clone, Debug, Default)]
pub struct Script {
    pub stream: Vec<u8>,
    /// How long pieces are, in turns; none: all at once.
    pub cuts: Vec<usize>,
    pub then: Then,
    /// It breaks once it was told so many bytes.
    pub takes: Option<usize>,
    pub gate: Gate,
}

/// What has to be told before bytes come.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Gate {
    /// So many bytes come at once, the others behind a 100.
    Continue(usize),
    #[default]
    Open,
    /// Of each answer where it ends, and whether it comes with its request's head already.
    Requests(Vec<(usize, bool)>),
    /// Anything at all.
    Told,
}

/// What comes behind the last byte.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Then {
    Breaks,
    Ends,
    #[default]
    Silence,
}

/// All that was said, to whom.
#[derive(Debug, Default)]
pub struct Heard {
    pub client: Vec<u8>,
    /// It was told that nothing more comes.
    pub goodbye: bool,
    /// By connection, in the order in which they were opened.
    pub upstreams: Vec<Vec<u8>>,
    /// Of each request: its method, its target, and the connection that it was sent on.
    pub requests: Vec<(String, String, Option<usize>)>,
    pub end: String,
}

/// Lets a client talk to upstreams, of which each takes one connection.
pub fn play(client: &Script, upstreams: &[Script]) -> Heard {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().expect("a runtime");
    tokio::task::LocalSet::new().block_on(&runtime, async {
        tokio::task::spawn_local(http1::Later::default());
        let state = Rc::new(State { scripts: upstreams.to_vec(), ..State::default() });
        let stream = Pieces::new(client.clone());
        let (told, goodbye) = (Rc::clone(&stream.told), Rc::clone(&stream.goodbye));
        let served = Rc::clone(&state);
        let service = move |request: Request<Incoming>| Box::pin(forward(Rc::clone(&served), request));
        let ends = AfterAll(Box::pin(sleep(Duration::from_secs(60))));
        let end = tokio::task::spawn_local(http1::serve(stream, service, settings(), ends)).await.expect("no panic");
        // What was spawned has its turn: an upload behind its answer, a tunnel.
        sleep(Duration::from_secs(60)).await;
        let upstreams = state.told.borrow().iter().map(|told| told.borrow().clone()).collect();
        let client = told.borrow().clone();
        Heard { client, goodbye: goodbye.get(), upstreams, requests: state.requests.take(), end: format!("{end:?}") }
    })
}

pub fn settings() -> Settings {
    Settings {
        head: Duration::from_secs(5),
        idle: Duration::from_secs(10),
        progress: Duration::from_secs(10),
        head_bytes: 4096,
        ticker: Ticker::new(),
        refusal: Rc::new(|_| Bytes::from_static(b"HTTP/1.1 400 Bad Request\r\nconnection: close\r\ncontent-length: 0\r\n\r\n")),
    }
}

#[derive(Default)]
struct State {
    scripts: Vec<Script>,
    opened: Cell<usize>,
    idle: RefCell<Option<(usize, Sender<Upload>)>>,
    told: RefCell<Vec<Rc<RefCell<Vec<u8>>>>>,
    requests: RefCell<Vec<(String, String, Option<usize>)>>,
}

impl State {
    fn connection(&self) -> Option<(usize, Sender<Upload>)> {
        if let Some((number, sender)) = self.idle.take().filter(|(_, sender)| sender.is_usable()) {
            return Some((number, sender));
        }
        let number = self.opened.get();
        let stream = Pieces::new(self.scripts.get(number)?.clone());
        self.opened.set(number + 1);
        self.told.borrow_mut().push(Rc::clone(&stream.told));
        Some((number, Sender::new(stream)))
    }
}

/// Sends a request on as a proxy does, numbered, and its answer back.
async fn forward(state: Rc<State>, request: Request<Incoming>) -> Response<Answer> {
    let Request { mut head, body } = request;
    let number = state.requests.borrow().len();
    state.requests.borrow_mut().push((head.method.to_string(), head.uri.to_string(), None));
    let failed = |status| {
        let mut response = Response::new(status, Answer { incoming: None, lease: None, state: Rc::clone(&state) });
        response.headers.insert(NUMBER, HeaderValue::from(number));
        response
    };
    let Some((connection, mut sender)) = state.connection() else { return failed(StatusCode::SERVICE_UNAVAILABLE) };
    state.requests.borrow_mut()[number].2 = Some(connection);
    let upgrade = head.headers.contains_key(header::UPGRADE).then(|| body.upgrade()).flatten();
    for name in [header::CONNECTION, header::EXPECT, header::TE] {
        head.headers.remove(name);
    }
    if upgrade.is_some() {
        head.headers.insert(header::CONNECTION, HeaderValue::from_static("upgrade"));
    }
    head.headers.insert(NUMBER, HeaderValue::from(number));
    let mut request = Request { head, body: Upload { client: body.interim(), body } };
    let mut response = match sender.send(&mut request).await {
        Ok(Answered::Response(response)) => {
            response.map(|incoming| Answer { incoming: Some(incoming), lease: Some((connection, sender)), state: Rc::clone(&state) })
        }
        Ok(Answered::Switched(head, mut upstream)) => {
            let Some(upgrade) = upgrade else { return failed(StatusCode::BAD_GATEWAY) };
            tokio::task::spawn_local(async move {
                let Some(mut client) = upgrade.taken().await else { return };
                let _ = tokio::time::timeout(Duration::from_secs(20), tokio::io::copy_bidirectional(&mut client, &mut upstream)).await;
            });
            head.map(|()| Answer { incoming: None, lease: None, state: Rc::clone(&state) })
        }
        Err(_) => return failed(StatusCode::BAD_GATEWAY),
    };
    if response.status != StatusCode::SWITCHING_PROTOCOLS {
        response.headers.remove(header::CONNECTION);
    }
    response.headers.insert(NUMBER, HeaderValue::from(number));
    response
}

/// A request's body, and its client.
#[derive(Default)]
struct Upload {
    body: Incoming,
    client: Option<Interim>,
}

impl Body for Upload {
    type Data = Bytes;
    type Error = BodyFault;

    fn poll_frame(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BodyFault>>> {
        Pin::new(&mut self.body).poll_frame(context)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

impl Asks for Upload {
    fn interim(&self, head: Response<()>) {
        if let Some(client) = &self.client {
            client.say(&head);
        }
    }
}

/// An answer's body; behind its last byte the connection is good for another request.
struct Answer {
    incoming: Option<Incoming>,
    lease: Option<(usize, Sender<Upload>)>,
    state: Rc<State>,
}

impl Body for Answer {
    type Data = Bytes;
    type Error = BodyFault;

    fn poll_frame(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BodyFault>>> {
        let Some(incoming) = &mut self.incoming else { return Poll::Ready(None) };
        let polled = Pin::new(incoming).poll_frame(context);
        if matches!(polled, Poll::Ready(Some(Err(_)))) {
            self.lease = None;
        }
        polled
    }

    fn is_end_stream(&self) -> bool {
        self.incoming.as_ref().is_none_or(Body::is_end_stream)
    }

    fn size_hint(&self) -> SizeHint {
        self.incoming.as_ref().map_or_else(|| SizeHint::with_exact(0), Body::size_hint)
    }
}

impl Drop for Answer {
    fn drop(&mut self) {
        if self.is_end_stream() {
            self.state.idle.replace(self.lease.take());
        }
    }
}

/// Gives a stream piece by piece, and keeps what it is told.
pub struct Pieces {
    script: Script,
    at: usize,
    turn: usize,
    paused: bool,
    told: Rc<RefCell<Vec<u8>>>,
    goodbye: Rc<Cell<bool>>,
    reader: Option<Waker>,
}

impl Pieces {
    pub fn new(script: Script) -> Self {
        Self { script, at: 0, turn: 0, paused: false, told: Rc::default(), goodbye: Rc::default(), reader: None }
    }

    /// Returns how many bytes may have come by now.
    fn released(&self) -> usize {
        let (told, all) = (self.told.borrow(), self.script.stream.len());
        match &self.script.gate {
            Gate::Continue(ahead) => {
                if told.starts_with(b"HTTP/1.1 100 ") {
                    all
                } else {
                    *ahead
                }
            }
            Gate::Open => all,
            Gate::Requests(answers) => {
                let (requests, _) = super::reference::requests(&told);
                let whole = requests.iter().filter(|request| matches!(request.body, super::reference::Body::Whole(..))).count();
                let is_due = |(number, (_, early)): &(usize, &(usize, bool))| *number < if *early { requests.len() } else { whole };
                answers.iter().enumerate().take_while(is_due).last().map_or(0, |(_, (end, _))| *end)
            }
            Gate::Told => {
                if told.is_empty() {
                    0
                } else {
                    all
                }
            }
        }
    }

    /// Returns how many bytes may be read now.
    fn left(&self) -> usize {
        self.released().min(self.script.stream.len()).saturating_sub(self.at)
    }
}

impl http1::Io for Pieces {
    fn poll_readable(&mut self, context: &mut Context<'_>) -> Poll<()> {
        let ends = self.at == self.script.stream.len() && !matches!(self.script.then, Then::Silence);
        if self.left() > 0 || ends {
            return Poll::Ready(());
        }
        self.reader = Some(context.waker().clone());
        Poll::Pending
    }
}

impl AsyncRead for Pieces {
    fn poll_read(mut self: Pin<&mut Self>, context: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = &mut *self;
        ready!(http1::Io::poll_readable(this, context));
        let left = this.left();
        if left == 0 {
            return Poll::Ready(if matches!(this.script.then, Then::Breaks) { Err(io::ErrorKind::ConnectionReset.into()) } else { Ok(()) });
        }
        // Between two pieces everybody else has a turn.
        if !this.script.cuts.is_empty() && !std::mem::replace(&mut this.paused, true) {
            context.waker().wake_by_ref();
            return Poll::Pending;
        }
        this.paused = false;
        let piece = this.script.cuts.get(this.turn % this.script.cuts.len().max(1)).copied().unwrap_or(left).max(1);
        this.turn += 1;
        let length = piece.min(left).min(buffer.remaining());
        buffer.put_slice(&this.script.stream[this.at..this.at + length]);
        this.at += length;
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Pieces {
    fn poll_write(mut self: Pin<&mut Self>, _: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let room = self.script.takes.map_or(bytes.len(), |takes| takes.saturating_sub(self.told.borrow().len()));
        if room == 0 {
            return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into()));
        }
        let length = bytes.len().min(room);
        self.told.borrow_mut().extend_from_slice(&bytes[..length]);
        if let Some(reader) = self.reader.take() {
            reader.wake();
        }
        Poll::Ready(Ok(length))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.goodbye.set(true);
        Poll::Ready(Ok(()))
    }
}

/// Ends a connection that nothing else ends.
pub struct AfterAll(pub Pin<Box<Sleep>>);

impl Ending for AfterAll {
    fn poll_ending(&mut self, context: &mut Context<'_>) -> Poll<EndingKind> {
        self.0.as_mut().poll(context).map(|()| EndingKind::Cut)
    }
}

pub const NUMBER: HeaderName = HeaderName::from_static("x-number");

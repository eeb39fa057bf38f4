//! One worker's connections to one upstream: idle HTTP/1.1 ones by endpoint, latest first; one shared HTTP/2
//! one each. Endpoints take turns; the next one is tried where a connect fails.

use std::cell::{Cell, RefCell};
use std::fmt;
use std::io;
use std::rc::{Rc, Weak};
use std::sync::Arc;
use std::time::Duration;

use http::uri::Scheme;
use hyper::client::conn::http2;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::sync::Mutex;
use tokio::time::Instant;

use super::body::Pace;
use super::connect::{Connection, Place, Resolved};
use super::upload::{Sent, Upload};
use super::{Error, Upstream};
use crate::http1::Sender;
use crate::ticker::Ticker;

/// One worker's pools, one for each upstream in use.
pub struct Pools {
    ticker: Rc<Ticker>,
    pools: RefCell<Vec<Rc<Pool>>>,
}

/// One worker's connections to one upstream.
pub struct Pool {
    pub(super) upstream: Arc<Upstream>,
    pub(super) ticker: Rc<Ticker>,
    stations: Box<[Station]>,
    turn: Cell<usize>,
}

/// What one worker has of one endpoint.
#[derive(Default)]
struct Station {
    #[expect(clippy::vec_box, reason = "a lease goes from here to a request, its answer and back as one pointer")]
    idle: RefCell<Vec<Box<Lease>>>,
    shared: RefCell<Option<http2::SendRequest<Upload>>>,
    /// Held while the shared connection is opened, so that a crowd opens one.
    opening: Mutex<()>,
    resolved: Rc<Resolved>,
    failed: Cell<Option<Instant>>,
}

/// A connection that a request may be sent on.
pub(super) enum Ready {
    Http1(Line),
    Http2(http2::SendRequest<Upload>, Scheme),
}

/// An HTTP/1.1 connection to one endpoint.
pub(super) struct Line {
    pub(super) sender: Sender<Upload>,
    station: usize,
    /// Taken from the pool: the upstream may just be closing it.
    pub(super) reused: bool,
}

/// What a request has of its upstream until its answer has ended, and the pool in between. Dropped before it is given back, its
/// connection is ended.
pub(super) struct Lease {
    pool: Weak<Pool>,
    /// `None`: not yet, or one of HTTP/2, which others share.
    pub(super) line: Option<Line>,
    /// Of the connection: an answer is waited for by it, and a connection that nobody needs is kept by it.
    pub(super) pace: Pace,
    /// The request's body, which may still be on its way when the answer is complete.
    pub(super) sent: Option<Rc<Sent>>,
}

impl Pools {
    /// Makes a worker's pools; a task of the worker closes what is idle for too long.
    pub fn new(ticker: Rc<Ticker>) -> Rc<Self> {
        let pools = Rc::new(Self { ticker, pools: RefCell::default() });
        let swept = Rc::downgrade(&pools);
        tokio::task::spawn_local(async move {
            loop {
                tokio::time::sleep(SWEEP).await;
                let Some(pools) = Weak::upgrade(&swept) else { return };
                pools.pools.borrow().iter().for_each(|pool| pool.sweep());
            }
        });
        pools
    }

    /// Returns the pool of an upstream: the same one as long as the upstream's settings stay.
    pub fn of(&self, upstream: &Arc<Upstream>) -> Rc<Pool> {
        let mut pools = self.pools.borrow_mut();
        if let Some(pool) = pools.iter().find(|pool| Arc::ptr_eq(&pool.upstream, upstream)) {
            return Rc::clone(pool);
        }
        let stations = upstream.settings.endpoints.iter().map(|_| Station::default()).collect();
        let pool = Rc::new(Pool { upstream: Arc::clone(upstream), ticker: Rc::clone(&self.ticker), stations, turn: Cell::new(0) });
        pools.push(Rc::clone(&pool));
        pool
    }

    /// Forgets the pools of upstreams that are no longer in the rules; what is under way goes on.
    pub fn keep(&self, upstreams: &super::Upstreams) {
        self.pools.borrow_mut().retain(|pool| upstreams.iter().any(|upstream| Arc::ptr_eq(upstream, &pool.upstream)));
    }
}

impl Pool {
    /// Returns a connection: the latest idle one of the endpoint whose turn it is, else a new one, to the next
    /// endpoint where that fails. `http1`: a tunnel needs a connection of its own.
    pub(super) async fn ready(&self, http1: bool, fresh: bool) -> Result<Ready, Error> {
        let (first, mut error) = (self.turn.get(), Error::Unavailable);
        self.turn.set(first.wrapping_add(1));
        // Those that just failed come last, but they come: better a slow answer than none.
        for forgive in [false, true] {
            for offset in 0..self.stations.len() {
                let index = first.wrapping_add(offset) % self.stations.len();
                let is_http2 = self.upstream.settings.endpoints[index].protocol.is_http2();
                if self.stations[index].has_failed() != forgive || (http1 && is_http2) {
                    continue;
                }
                let ready = if is_http2 { self.shared(index).await } else { self.own(index, fresh).await };
                match ready {
                    Ok(ready) => return Ok(ready),
                    Err(failed) => error = failed,
                }
            }
        }
        Err(error)
    }

    async fn own(&self, station: usize, fresh: bool) -> Result<Ready, Error> {
        if !fresh && let Some(line) = self.stations[station].idle().and_then(|mut lease| lease.line.take()) {
            return Ok(Ready::Http1(line));
        }
        Ok(Ready::Http1(Line { sender: Sender::new(self.connect(station).await?), station, reused: false }))
    }

    /// Returns what a request needs: with the latest idle connection of the endpoint whose turn it is, if there is one.
    pub(super) fn lease(self: &Rc<Self>, sent: Option<Rc<Sent>>) -> Box<Lease> {
        let turn = self.turn.get();
        let station = self.stations.get(turn % self.stations.len().max(1)).filter(|station| !station.has_failed());
        let mut lease = match station.and_then(Station::idle) {
            Some(lease) => {
                self.turn.set(turn.wrapping_add(1));
                lease
            }
            None => {
                let pace = Pace { timer: self.ticker.timer(), progress: self.upstream.settings.body_progress };
                Box::new(Lease::new(Rc::downgrade(self), pace))
            }
        };
        lease.sent = sent;
        lease
    }

    async fn shared(&self, index: usize) -> Result<Ready, Error> {
        let station = &self.stations[index];
        let scheme = if self.upstream.settings.endpoints[index].protocol.is_tls() { Scheme::HTTPS } else { Scheme::HTTP };
        if let Some(open) = station.open() {
            return Ok(Ready::Http2(open, scheme));
        }
        let _opening = station.opening.lock().await;
        if let Some(open) = station.open() {
            return Ok(Ready::Http2(open, scheme));
        }
        let connection = self.connect(index).await?;
        let (sender, driver) = http2::Builder::new(LocalExecutor)
            .timer(TokioTimer::new())
            .initial_connection_window_size(CONNECTION_WINDOW)
            .initial_stream_window_size(STREAM_WINDOW)
            .max_send_buf_size(SEND_BUFFER)
            .keep_alive_interval(Some(PING))
            .keep_alive_timeout(PING)
            .handshake(TokioIo::new(connection))
            .await
            .map_err(|_| Error::Unavailable)?;
        // How the connection ends is told to the streams on it.
        tokio::task::spawn_local(async move {
            let _ = driver.await;
        });
        *station.shared.borrow_mut() = Some(sender.clone());
        Ok(Ready::Http2(sender, scheme))
    }

    async fn connect(&self, index: usize) -> Result<Connection, Error> {
        let (upstream, station) = (&self.upstream, &self.stations[index]);
        let place = Place::take(&upstream.open, upstream.settings.max_connections).ok_or(Error::Overloaded)?;
        let opening = Connection::open(upstream, index, &station.resolved, place);
        let timer = self.ticker.timer();
        let opened = timer.limit(upstream.settings.connect, opening).await;
        let opened = opened.unwrap_or_else(|| Err(io::Error::from(io::ErrorKind::TimedOut)));
        opened.inspect(|_| station.failed.set(None)).map_err(|error| {
            if station.failed.replace(Some(Instant::now())).is_none() {
                let endpoint = &upstream.settings.endpoints[index];
                tracing::warn!(upstream = &*upstream.settings.name, %endpoint, %error, "cannot connect to the endpoint");
            }
            Error::Unavailable
        })
    }

    fn sweep(&self) {
        for station in &self.stations {
            station.idle.borrow_mut().retain(|lease| lease.is_usable());
            let mut shared = station.shared.borrow_mut();
            if shared.as_ref().is_some_and(http2::SendRequest::is_closed) {
                *shared = None;
            }
        }
    }
}

impl Station {
    /// Takes the latest idle connection that is still good for something.
    fn idle(&self) -> Option<Box<Lease>> {
        let mut idle = self.idle.borrow_mut();
        std::iter::from_fn(|| idle.pop()).find(|lease| lease.is_usable())
    }

    fn open(&self) -> Option<http2::SendRequest<Upload>> {
        self.shared.borrow().as_ref().filter(|sender| !sender.is_closed()).cloned()
    }

    fn has_failed(&self) -> bool {
        self.failed.get().is_some_and(|at| at.elapsed() < FORGIVEN)
    }
}

impl Lease {
    /// Begins without a connection.
    pub(super) fn new(pool: Weak<Pool>, pace: Pace) -> Self {
        Self { pool, line: None, pace, sent: None }
    }

    fn is_usable(&self) -> bool {
        !self.pace.timer.is_expired() && self.line.as_ref().is_some_and(|line| line.sender.is_usable())
    }

    /// Puts the connection back for the next request, if it can carry one.
    pub(super) fn give_back(mut self: Box<Self>) {
        let whole = self.sent.take().is_none_or(|sent| sent.is_whole());
        let (Some(pool), Some(line)) = (self.pool.upgrade(), &mut self.line) else { return };
        let mut idle = pool.stations[line.station].idle.borrow_mut();
        if whole && line.sender.is_idle() && idle.len() < pool.upstream.settings.max_idle {
            line.reused = true;
            self.pace.timer.arm(pool.upstream.settings.idle);
            idle.push(self);
        }
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        if let Some(line) = self.line.take() {
            line.sender.abort();
        }
    }
}

impl fmt::Debug for Pool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pool").field("upstream", &self.upstream.settings.name).finish_non_exhaustive()
    }
}

/// Runs a connection's streams on its own thread: for HTTP/2 on either side.
#[derive(Clone, Copy, Debug)]
pub struct LocalExecutor;

impl<F: Future + 'static> hyper::rt::Executor<F> for LocalExecutor {
    fn execute(&self, future: F) {
        tokio::task::spawn_local(async move {
            future.await;
        });
    }
}

/// How long an endpoint that could not be reached is tried last.
const FORGIVEN: Duration = Duration::from_secs(2);
const SWEEP: Duration = Duration::from_secs(5);
const PING: Duration = Duration::from_secs(20);
const CONNECTION_WINDOW: u32 = 4 * 1024 * 1024;
const STREAM_WINDOW: u32 = 256 * 1024;
const SEND_BUFFER: usize = 64 * 1024;

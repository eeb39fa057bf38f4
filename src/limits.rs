//! Times, sizes and numbers that bound what a client may cost us: plain data from `[limits]`, and the
//! counters that hold to it: connections, handshakes, requests of one principal.

mod sources;

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, HashMap};
use std::rc::Rc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::oneshot;

use crate::admission::PrincipalId;
pub use sources::Sources;

/// `[limits]`, compiled. One value for the whole proxy; it may change with every install.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limits {
    /// From accept to the end of the handshake.
    pub handshake: Duration,
    /// From the first byte of a request head to its last.
    pub head: Duration,
    /// A connection without a request.
    pub idle: Duration,
    /// Between two pieces of a body, either way.
    pub body_progress: Duration,
    /// Connecting to an upstream endpoint, TLS included.
    pub connect: Duration,
    /// Until the head of an upstream's answer.
    pub response: Duration,
    pub head_bytes: usize,
    /// `None`: no limit.
    pub body_bytes: Option<u64>,
    /// How long connections may finish after the drain began.
    pub drain: Duration,
    /// Open connections, all listeners together.
    pub connections: usize,
    /// Handshakes under way on one worker.
    pub handshakes: usize,
    /// `None`: a connection may live for ever.
    pub max_connection_age: Option<Duration>,
    /// Lines about denials that one source may cause in a second; what is above becomes one counted line.
    pub denial_lines: u32,
    /// Requests a second of one principal; 0: no limit.
    pub principal_rate: u32,
    /// Open requests of one principal; 0: no limit.
    pub principal_concurrency: u32,
    /// Calls a second of one source to what answers before anybody is known; 0: no limit.
    pub challenge_rate: u32,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            handshake: Duration::from_secs(10),
            head: Duration::from_secs(10),
            idle: Duration::from_secs(75),
            body_progress: Duration::from_secs(30),
            connect: Duration::from_secs(5),
            response: Duration::from_secs(60),
            head_bytes: 64 * 1024,
            body_bytes: None,
            drain: Duration::from_secs(30),
            connections: 20_000,
            handshakes: 512,
            max_connection_age: None,
            denial_lines: 10,
            principal_rate: 0,
            principal_concurrency: 0,
            challenge_rate: 20,
        }
    }
}

/// How many connections each worker has.
#[derive(Debug)]
pub struct Load {
    workers: Box<[AtomicUsize]>,
    /// How many connections the system lets us have, whatever the rules say.
    room: usize,
}

/// One connection's place on a worker, until dropped.
#[derive(Debug)]
pub struct Place {
    load: Arc<Load>,
    worker: usize,
}

impl Load {
    /// Begins with idle workers; at least one.
    pub fn new(workers: usize, room: usize) -> Arc<Self> {
        Arc::new(Self { workers: (0..workers.max(1)).map(|_| AtomicUsize::new(0)).collect(), room })
    }

    /// Takes a place on the least loaded worker; `None` when all together have `limit` connections.
    pub fn place(self: &Arc<Self>, limit: usize) -> Option<Place> {
        let counts = || self.workers.iter().map(|count| count.load(Ordering::Relaxed));
        if counts().sum::<usize>() >= limit.min(self.room) {
            return None;
        }
        let worker = counts().enumerate().min_by_key(|(_, count)| *count).map_or(0, |(worker, _)| worker);
        self.workers[worker].fetch_add(1, Ordering::Relaxed);
        Some(Place { load: Arc::clone(self), worker })
    }

    /// Returns how many connections are open.
    pub fn total(&self) -> usize {
        self.workers.iter().map(|count| count.load(Ordering::Relaxed)).sum()
    }
}

impl Place {
    /// Returns on which worker.
    pub fn worker(&self) -> usize {
        self.worker
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.load.workers[self.worker].fetch_sub(1, Ordering::Relaxed);
    }
}

/// The handshakes under way on one worker. Over the limit the longest waiting goes: an honest client is done in a
/// few round trips, so whoever opens connections and stays silent pushes out only its own.
#[derive(Debug, Default)]
pub struct Handshakes {
    next: Cell<u64>,
    waiting: RefCell<BTreeMap<u64, oneshot::Sender<()>>>,
}

/// One handshake under way.
#[derive(Debug)]
pub struct Handshake {
    all: Rc<Handshakes>,
    number: u64,
    shed: oneshot::Receiver<()>,
}

impl Handshakes {
    /// Begins one more, at the expense of the oldest where there are `limit`.
    pub fn begin(self: &Rc<Self>, limit: usize) -> Handshake {
        let (sender, shed) = oneshot::channel();
        let number = self.next.get();
        self.next.set(number + 1);
        let mut waiting = self.waiting.borrow_mut();
        waiting.insert(number, sender);
        if waiting.len() > limit.max(1)
            && let Some((_, oldest)) = waiting.pop_first()
        {
            let _ = oldest.send(());
        }
        drop(waiting);
        Handshake { all: Rc::clone(self), number, shed }
    }
}

impl Handshake {
    /// Waits until this one has to go.
    pub async fn shed(&mut self) {
        if (&mut self.shed).await.is_err() {
            std::future::pending::<()>().await;
        }
    }
}

impl Drop for Handshake {
    fn drop(&mut self) {
        self.all.waiting.borrow_mut().remove(&self.number);
    }
}

/// What each principal uses of its limits, on all workers together. Asked only where there are such limits.
#[derive(Debug, Default)]
pub struct Principals(Mutex<HashMap<PrincipalId, Use>>);

/// One principal's share.
#[derive(Debug)]
struct Use {
    open: u32,
    /// Requests that may still come, and when that was so; a second's worth at most.
    tokens: f64,
    at: Instant,
}

/// One request's share, until dropped.
#[derive(Debug)]
pub struct Entered {
    principals: Arc<Principals>,
    id: PrincipalId,
}

/// Which limit a principal is over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Excess {
    Concurrency,
    Rate,
}

impl Principals {
    /// Counts one request of a principal in; `None` where nothing limits it.
    pub fn enter(self: &Arc<Self>, id: &PrincipalId, limits: &Limits, now: Instant) -> Result<Option<Entered>, Excess> {
        if limits.principal_rate == 0 && limits.principal_concurrency == 0 {
            return Ok(None);
        }
        let rate = f64::from(limits.principal_rate);
        let mut all = self.lock();
        if all.len() >= MANY && !all.contains_key(id) {
            // A second of silence gives everything back: such a share says nothing.
            all.retain(|_, used| used.open > 0 || now.saturating_duration_since(used.at) < SECOND);
        }
        let used = all.entry(*id).or_insert(Use { open: 0, tokens: rate, at: now });
        if limits.principal_rate > 0 {
            let earned = now.saturating_duration_since(used.at).as_secs_f64() * rate;
            (used.tokens, used.at) = ((used.tokens + earned).min(rate), now);
            if used.tokens < 1.0 {
                return Err(Excess::Rate);
            }
        }
        if limits.principal_concurrency > 0 && used.open >= limits.principal_concurrency {
            return Err(Excess::Concurrency);
        }
        used.tokens -= 1.0;
        used.open += 1;
        Ok(Some(Entered { principals: Arc::clone(self), id: *id }))
    }

    /// What a panicking thread left behind are counts: as good as any.
    fn lock(&self) -> MutexGuard<'_, HashMap<PrincipalId, Use>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Entered {
    fn drop(&mut self) {
        if let Some(used) = self.principals.lock().get_mut(&self.id) {
            used.open = used.open.saturating_sub(1);
        }
    }
}

const MANY: usize = 10_000;
const SECOND: Duration = Duration::from_secs(1);

#[cfg(test)]
mod tests {
    use super::*;

    fn id() -> PrincipalId {
        "p-abcdefghijkl".parse().unwrap()
    }

    #[test]
    fn a_principal_has_so_many_requests_a_second() {
        let principals = Arc::new(Principals::default());
        let limits = Limits { principal_rate: 2, ..Limits::default() };
        let start = Instant::now();
        let enter = |millis| principals.enter(&id(), &limits, start + Duration::from_millis(millis)).err();
        assert_eq!(
            [0, 0, 1, 501, 502, 10_000, 10_000, 10_000].map(enter),
            [None, None, Some(Excess::Rate), None, Some(Excess::Rate), None, None, Some(Excess::Rate)]
        );
    }

    #[test]
    fn a_principal_has_so_many_open_requests() {
        let principals = Arc::new(Principals::default());
        let limits = Limits { principal_concurrency: 1, ..Limits::default() };
        let one = principals.enter(&id(), &limits, Instant::now()).unwrap();
        assert_eq!(principals.enter(&id(), &limits, Instant::now()).unwrap_err(), Excess::Concurrency);
        drop(one);
        assert!(principals.enter(&id(), &limits, Instant::now()).unwrap().is_some());
        assert!(principals.enter(&id(), &Limits::default(), Instant::now()).unwrap().is_none());
    }

    #[test]
    fn the_least_loaded_worker_gets_the_next_connection() {
        let load = Load::new(2, 100);
        let places: Vec<Place> = (0..4).filter_map(|_| load.place(10)).collect();
        assert_eq!(places.iter().map(Place::worker).collect::<Vec<_>>(), [0, 1, 0, 1]);
        let kept: Vec<Place> = places.into_iter().filter(|place| place.worker() == 0).collect();
        assert_eq!(load.place(10).map(|place| place.worker()), Some(1));
        drop(kept);
        assert_eq!(load.total(), 0);
    }

    #[test]
    fn no_more_connections_than_the_limit() {
        let load = Load::new(2, 100);
        let places: Vec<Option<Place>> = (0..3).map(|_| load.place(2)).collect();
        assert!(places[0].is_some() && places[1].is_some() && places[2].is_none());
        assert!(Load::new(2, 0).place(2).is_none(), "no room, whatever the rules say");
    }

    #[tokio::test]
    async fn the_oldest_handshake_is_shed() {
        let handshakes = Rc::new(Handshakes::default());
        let mut oldest = handshakes.begin(2);
        let mut second = handshakes.begin(2);
        let _third = handshakes.begin(2);
        oldest.shed().await;
        assert!(tokio::time::timeout(Duration::ZERO, second.shed()).await.is_err());
    }
}

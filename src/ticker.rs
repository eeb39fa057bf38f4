//! Coarse deadlines: one timer of the runtime per worker instead of one a request. Whoever waits arms a slot;
//! a tick of a quarter of a second wakes those whose time has come. A worker without deadlines has no tick.
//! For bounds in seconds only: an expiry comes up to two ticks late, never early.

use std::cell::{Cell, RefCell};
use std::rc::{Rc, Weak};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use tokio::time::Instant;

/// One worker's deadlines.
pub struct Ticker {
    started: Instant,
    /// The time of the last tick, in milliseconds since `started`; shared with what must be `Send`.
    now: Arc<AtomicU64>,
    slots: RefCell<Slots>,
    running: Cell<bool>,
    itself: Weak<Self>,
}

/// A slot: armed and disarmed at will, freed when dropped.
pub struct Timer {
    ticker: Rc<Ticker>,
    slot: usize,
}

/// A deadline that may be moved from inside something `Send`; watched by a [`Timer`].
#[derive(Debug)]
pub struct Deadline {
    now: Arc<AtomicU64>,
    at: AtomicU64,
}

#[derive(Default)]
struct Slots {
    entries: Vec<Entry>,
    free: Vec<usize>,
}

#[derive(Default)]
struct Entry {
    at: u64,
    watched: Option<Arc<Deadline>>,
    waker: Option<Waker>,
}

impl Ticker {
    /// Makes a worker's ticker. It ticks while somebody holds a timer, on the `LocalSet` of its first user.
    pub fn new() -> Rc<Self> {
        Rc::new_cyclic(|itself| Self {
            started: Instant::now(),
            now: Arc::default(),
            slots: RefCell::default(),
            running: Cell::new(false),
            itself: itself.clone(),
        })
    }

    /// Returns a slot, not armed yet.
    pub fn timer(&self) -> Timer {
        self.entry(None)
    }

    /// Returns a deadline to be moved by something `Send`, and the timer that watches it.
    pub fn deadline(&self) -> (Arc<Deadline>, Timer) {
        let deadline = Arc::new(Deadline { now: Arc::clone(&self.now), at: AtomicU64::new(NEVER) });
        (Arc::clone(&deadline), self.entry(Some(deadline)))
    }

    fn entry(&self, watched: Option<Arc<Deadline>>) -> Timer {
        self.run();
        let at = if watched.is_some() { 0 } else { NEVER };
        let entry = Entry { at, watched, waker: None };
        let mut slots = self.slots.borrow_mut();
        let slot = match slots.free.pop() {
            Some(slot) => {
                slots.entries[slot] = entry;
                slot
            }
            None => {
                slots.entries.push(entry);
                slots.entries.len() - 1
            }
        };
        // INVARIANT: whoever calls a method holds the `Rc` that `itself` is weak to.
        let ticker = self.itself.upgrade().expect("a ticker is only ever used through its Rc");
        Timer { ticker, slot }
    }

    fn run(&self) {
        if self.running.replace(true) {
            return;
        }
        self.now.store(self.elapsed(), Ordering::Relaxed);
        let ticker = self.itself.clone();
        tokio::task::spawn_local(async move {
            loop {
                tokio::time::sleep(TICK).await;
                let Some(ticker) = ticker.upgrade() else { return };
                if !ticker.tick() {
                    ticker.running.set(false);
                    return;
                }
            }
        });
    }

    /// Wakes whose time has come; `false` when nobody holds a timer.
    fn tick(&self) -> bool {
        let now = self.elapsed();
        self.now.store(now, Ordering::Relaxed);
        let mut slots = self.slots.borrow_mut();
        let slots = &mut *slots;
        for entry in &mut slots.entries {
            if entry.at > now {
                continue;
            }
            if let Some(watched) = &entry.watched {
                let at = watched.at.load(Ordering::Relaxed);
                if at > now {
                    // A deadline may be drawn nearer at any time: look again soon, without chasing the pointer each tick.
                    entry.at = at.min(now + WATCH);
                    continue;
                }
            }
            if let Some(waker) = entry.waker.take() {
                waker.wake();
            }
        }
        slots.free.len() < slots.entries.len()
    }

    fn elapsed(&self) -> u64 {
        u64::try_from(self.started.elapsed().as_millis()).unwrap_or(NEVER)
    }
}

impl Timer {
    /// Expires after `wait` from now.
    pub fn arm(&self, wait: Duration) {
        self.ticker.slots.borrow_mut().entries[self.slot].at = after(&self.ticker.now, wait);
    }

    /// Never expires, until armed again.
    pub fn disarm(&self) {
        self.ticker.slots.borrow_mut().entries[self.slot].at = NEVER;
    }

    /// Says whether the timer waits for anything.
    pub fn is_armed(&self) -> bool {
        self.ticker.slots.borrow().entries[self.slot].at != NEVER
    }

    /// Says whether the time has come.
    pub fn is_expired(&self) -> bool {
        self.ticker.slots.borrow().entries[self.slot].at <= self.ticker.now.load(Ordering::Relaxed)
    }

    /// Waits for the expiry.
    pub fn poll_expired(&self, context: &mut Context<'_>) -> Poll<()> {
        let mut slots = self.ticker.slots.borrow_mut();
        let entry = &mut slots.entries[self.slot];
        let at = entry.watched.as_ref().map_or(entry.at, |watched| watched.at.load(Ordering::Relaxed));
        if at <= self.ticker.now.load(Ordering::Relaxed) {
            return Poll::Ready(());
        }
        if !entry.waker.as_ref().is_some_and(|waker| waker.will_wake(context.waker())) {
            entry.waker = Some(context.waker().clone());
        }
        Poll::Pending
    }

    /// Runs a future for at most `limit`.
    pub async fn limit<F: Future>(&self, limit: Duration, future: F) -> Option<F::Output> {
        self.arm(limit);
        let mut future = std::pin::pin!(future);
        let output = std::future::poll_fn(|context| match future.as_mut().poll(context) {
            Poll::Ready(output) => Poll::Ready(Some(output)),
            Poll::Pending => self.poll_expired(context).map(|()| None),
        })
        .await;
        self.disarm();
        output
    }
}

impl Drop for Timer {
    fn drop(&mut self) {
        let mut slots = self.ticker.slots.borrow_mut();
        slots.entries[self.slot] = Entry { at: NEVER, ..Entry::default() };
        slots.free.push(self.slot);
    }
}

impl Deadline {
    /// Expires after `wait` from now.
    pub fn arm(&self, wait: Duration) {
        self.at.store(after(&self.now, wait), Ordering::Relaxed);
    }

    /// Never expires, until armed again.
    pub fn disarm(&self) {
        self.at.store(NEVER, Ordering::Relaxed);
    }

    /// Says whether the deadline waits for anything.
    pub fn is_armed(&self) -> bool {
        self.at.load(Ordering::Relaxed) != NEVER
    }

    /// Says whether the time has come.
    pub fn is_expired(&self) -> bool {
        self.at.load(Ordering::Relaxed) <= self.now.load(Ordering::Relaxed)
    }
}

impl std::fmt::Debug for Ticker {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Ticker").finish_non_exhaustive()
    }
}

impl std::fmt::Debug for Timer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Timer").field("slot", &self.slot).finish_non_exhaustive()
    }
}

/// The tick's own time may be up to one tick old: added, so that nothing expires early.
fn after(now: &AtomicU64, wait: Duration) -> u64 {
    let wait = u64::try_from((wait + TICK).as_millis()).unwrap_or(NEVER);
    now.load(Ordering::Relaxed).saturating_add(wait).min(NEVER - 1)
}

const NEVER: u64 = u64::MAX;
const TICK: Duration = Duration::from_millis(250);
/// Milliseconds between two looks at a deadline that others move.
const WATCH: u64 = 1000;

#[cfg(test)]
mod tests {
    use super::*;

    async fn expired(timer: &Timer) {
        std::future::poll_fn(|context| timer.poll_expired(context)).await;
    }

    fn local(test: impl Future<Output = ()>) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
        tokio::task::LocalSet::new().block_on(&runtime, test);
    }

    #[test]
    fn a_timer_expires_no_earlier_than_asked_and_within_two_ticks() {
        local(async {
            let ticker = Ticker::new();
            let timer = ticker.timer();
            let before = Instant::now();
            timer.arm(Duration::from_secs(10));
            expired(&timer).await;
            let waited = before.elapsed();
            assert!(waited >= Duration::from_secs(10) && waited <= Duration::from_secs(10) + 2 * TICK, "{waited:?}");
        });
    }

    #[test]
    fn a_deadline_drawn_nearer_is_noticed() {
        local(async {
            let ticker = Ticker::new();
            let (deadline, timer) = ticker.deadline();
            deadline.arm(Duration::from_secs(75));
            let before = Instant::now();
            tokio::task::spawn_local(async move {
                tokio::time::sleep(Duration::from_secs(3)).await;
                deadline.arm(Duration::from_secs(2));
            });
            expired(&timer).await;
            assert!(before.elapsed() < Duration::from_secs(8));
        });
    }

    #[test]
    fn nothing_ticks_when_nobody_waits() {
        local(async {
            let ticker = Ticker::new();
            let timer = ticker.timer();
            drop(timer);
            tokio::time::sleep(Duration::from_secs(1)).await;
            assert!(!ticker.running.get());
            assert_eq!(ticker.timer().limit(Duration::from_secs(1), std::future::pending::<()>()).await, None);
            assert_eq!(ticker.timer().limit(Duration::from_secs(1), std::future::ready(7)).await, Some(7));
        });
    }
}

//! What a guard shares with whoever sits on the other side of the engine: it is inside the engine's I/O, and
//! cannot be asked while the engine has it.

use std::sync::atomic::{AtomicBool, AtomicU8, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::task::Waker;
use std::time::Duration;

use super::Refusal;
use super::head::{Asked, Fault};
use crate::ticker::Deadline;

/// What the guard of a client's connection shares with whoever answers.
pub(super) struct Served {
    pub(super) deadline: Arc<Deadline>,
    pub(super) times: Times,
    pub(super) refusal: OnceLock<Refusal>,
    /// A request was let through and its answer is not complete.
    under_way: AtomicBool,
    tunnel: AtomicBool,
    stalled: AtomicBool,
    waiting: Mutex<Option<Waker>>,
}

/// How long a client may take.
#[derive(Clone, Copy, Debug)]
pub(super) struct Times {
    pub(super) head: Duration,
    pub(super) idle: Duration,
    pub(super) progress: Duration,
}

/// What the guard of an upstream's connection shares with whoever asks.
#[derive(Default)]
pub(super) struct Asking {
    asked: AtomicU8,
    poisoned: AtomicBool,
}

impl Served {
    pub(super) fn new(deadline: Arc<Deadline>, times: Times) -> Arc<Self> {
        Arc::new(Self {
            deadline,
            times,
            refusal: OnceLock::new(),
            under_way: AtomicBool::new(false),
            tunnel: AtomicBool::new(false),
            stalled: AtomicBool::new(false),
            waiting: Mutex::new(None),
        })
    }

    /// The answer is complete: the next request may be looked at.
    pub(super) fn answered(&self) {
        self.under_way.store(false, Ordering::Relaxed);
        if !self.stalled.load(Ordering::Relaxed) {
            self.rest();
        }
        // The engine asks again by itself, unless it was told to wait although bytes are here.
        let waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(waker) = waiting {
            waker.wake();
        }
    }

    /// A request was let through.
    pub(super) fn begin(&self) {
        self.deadline.disarm();
        self.under_way.store(true, Ordering::Relaxed);
    }

    pub(super) fn is_under_way(&self) -> bool {
        self.under_way.load(Ordering::Relaxed)
    }

    pub(super) fn is_tunnel(&self) -> bool {
        self.tunnel.load(Ordering::Relaxed)
    }

    pub(super) fn is_stalled(&self) -> bool {
        self.stalled.load(Ordering::Relaxed)
    }

    /// Notes whether the client takes what we write, and says whether it did not for too long.
    pub(super) fn keeps_stalling(&self, stalled: bool) -> bool {
        match (self.stalled.swap(stalled, Ordering::Relaxed), stalled) {
            (false, true) => self.deadline.arm(self.times.progress),
            (true, true) => return self.deadline.is_expired(),
            (true, false) => self.rest(),
            (false, false) => {}
        }
        false
    }

    /// The client is waited for again, or is not.
    fn rest(&self) {
        if self.under_way.load(Ordering::Relaxed) {
            self.deadline.disarm();
        } else {
            self.deadline.arm(self.times.idle);
        }
    }

    /// The answer is a 101: what follows is no longer HTTP.
    pub(super) fn switched(&self) {
        self.tunnel.store(true, Ordering::Relaxed);
    }

    pub(super) fn refuse(&self, refusal: Refusal) {
        // Only the first one counts: nothing is read after it.
        let _ = self.refusal.set(refusal);
    }

    pub(super) fn wait(&self, waker: &Waker) {
        *self.waiting.lock().unwrap_or_else(PoisonError::into_inner) = Some(waker.clone());
    }
}

impl Asking {
    /// Says what will be asked next. One request at a time.
    pub(super) fn ask(&self, asked: Asked) {
        self.asked.store(
            match asked {
                Asked::Head => HEAD,
                Asked::Plain => PLAIN,
                Asked::Upgrade => UPGRADE,
            },
            Ordering::Relaxed,
        );
    }

    /// The final answer has come: nothing else was asked.
    pub(super) fn settle(&self) {
        self.asked.store(NOTHING, Ordering::Relaxed);
    }

    /// Nothing more may be asked here.
    pub(super) fn poison(&self) {
        self.poisoned.store(true, Ordering::Relaxed);
    }

    /// Says whether the upstream sent what nobody asked for, or what is not HTTP.
    pub(super) fn is_poisoned(&self) -> bool {
        self.poisoned.load(Ordering::Relaxed)
    }

    pub(super) fn asked(&self) -> Option<Asked> {
        match self.asked.load(Ordering::Relaxed) & KIND {
            HEAD => Some(Asked::Head),
            PLAIN => Some(Asked::Plain),
            UPGRADE => Some(Asked::Upgrade),
            _ => None,
        }
    }

    /// An upstream that never comes to its answer is not waited for.
    pub(super) fn count_interim(&self) -> Result<(), Fault> {
        let before = self.asked.fetch_add(INTERIM, Ordering::Relaxed);
        if before / INTERIM >= MAX_INTERIM { Err(Fault::Malformed("too many interim answers")) } else { Ok(()) }
    }
}

const NOTHING: u8 = 0;
const HEAD: u8 = 1;
const PLAIN: u8 = 2;
const UPGRADE: u8 = 3;
const KIND: u8 = 3;
/// Interim answers are counted in the bits above the kind.
const INTERIM: u8 = 4;
const MAX_INTERIM: u8 = 32;

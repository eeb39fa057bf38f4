//! `[audit]`, whole: the access log, and where the lines about denials go.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use super::{AccessLog, Destination, Entry, Format, Settings};

/// What `[audit]` says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Audit {
    pub access: Settings,
    pub refusals: Refusals,
}

/// Where the lines about denials go.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Refusals {
    /// Denials are counted, and that is all.
    Off,
    /// Into the operational log, where whoever looks for trouble looks first.
    #[default]
    Operational,
    /// To a destination of their own.
    Own(Destination),
}

/// Where a line about a denial goes just now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    Nowhere,
    Operational,
    Own,
}

/// One thread's handles of everything that `[audit]` writes.
#[derive(Clone, Debug)]
pub struct Logs {
    pub access: AccessLog,
    pub refusals: RefusalLog,
}

/// The lines about denials: in the same hands, and by the same policy when the disk is slow, as the access log.
#[derive(Clone, Debug)]
pub struct RefusalLog {
    own: AccessLog,
    way: Arc<AtomicU8>,
}

impl Logs {
    /// Opens them and starts their writers; `dropped` counts lost lines.
    pub fn open(audit: &Audit, dropped: &Arc<AtomicU64>) -> io::Result<Self> {
        let own = AccessLog::open(own(&audit.refusals), Arc::clone(dropped))?;
        let refusals = RefusalLog { own, way: Arc::new(AtomicU8::new(way(&audit.refusals) as u8)) };
        Ok(Self { access: AccessLog::open(audit.access.clone(), Arc::clone(dropped))?, refusals })
    }

    /// Changes from one to the other. A destination that cannot be opened leaves the old one in use, with a warning.
    pub fn change(&self, from: &Audit, to: &Audit) {
        if from.access != to.access {
            self.access.change(to.access.clone());
        }
        if from.refusals != to.refusals {
            self.refusals.way.store(way(&to.refusals) as u8, Ordering::Relaxed);
            self.refusals.own.change(own(&to.refusals));
        }
    }

    /// Opens the same files again: after a rotation.
    pub fn reopen(&self) {
        self.access.reopen();
        self.refusals.own.reopen();
    }

    /// Waits until all that was handed over before is written, but no longer than `deadline`. Returns whether it is.
    pub fn settle(&self, deadline: Duration) -> bool {
        let until = Instant::now() + deadline;
        let access = self.access.settle(deadline);
        self.refusals.own.settle(until.saturating_duration_since(Instant::now())) && access
    }
}

impl RefusalLog {
    /// Says where lines go.
    pub fn way(&self) -> Way {
        match self.way.load(Ordering::Relaxed) {
            OFF => Way::Nowhere,
            OWN => Way::Own,
            _ => Way::Operational,
        }
    }

    /// Writes a line to the destination of its own. Never waits.
    pub fn line(&self, entry: &Entry<'_>) {
        self.own.line(entry);
    }

    /// Hands over what is buffered: the worker's tick calls this.
    pub fn flush(&self) {
        self.own.flush();
    }
}

fn way(refusals: &Refusals) -> Way {
    match refusals {
        Refusals::Off => Way::Nowhere,
        Refusals::Operational => Way::Operational,
        Refusals::Own(_) => Way::Own,
    }
}

fn own(refusals: &Refusals) -> Settings {
    let destination = match refusals {
        Refusals::Off | Refusals::Operational => Destination::Off,
        Refusals::Own(destination) => destination.clone(),
    };
    Settings { format: Format::Json, destination }
}

const OFF: u8 = Way::Nowhere as u8;
const OWN: u8 = Way::Own as u8;

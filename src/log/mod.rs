//! The access log, off the hot path: a line is written by hand into the worker's own buffer (0.1 us against
//! the 3 us of a tracing event), and full buffers go to one writer thread over a bounded channel.
//!
//! The policy when the destination is slow: a request never waits for its log line. What the channel cannot take, and
//! what the destination refuses, is dropped and counted (`portcullis_log_lines_dropped_total`).
//! What operators read of the proxy's own doings is written by `tracing`; only its lines go the same way (`Lines`),
//! so that a stuck terminal or journal stops no worker either.

mod audit;
mod line;
mod writer;

use std::cell::RefCell;
use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};
use std::sync::mpsc::{self, RecvTimeoutError, SyncSender, TrySendError};
use std::time::Duration;

use crate::clock;

pub use audit::{Audit, Logs, RefusalLog, Refusals, Way};

/// What `[audit]` says of the access log.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Settings {
    pub format: Format,
    pub destination: Destination,
}

/// How a line is written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Format {
    /// The Combined Log Format of the Apache server. Requests only; it has no place for verdict and code.
    Combined,
    #[default]
    Json,
}

/// Where lines go.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Destination {
    /// Appended to; opened again on each SIGHUP.
    File(PathBuf),
    Off,
    Stderr,
    #[default]
    Stdout,
}

/// One line. What is `None` or empty is left out.
#[derive(Clone, Debug, Default)]
pub struct Entry<'a> {
    /// `request`, or what else ended: `handshake`, `upgrade`, …
    pub event: &'a str,

    // Who.
    pub principal: Option<&'a str>,
    pub principal_id: Option<&'a str>,
    pub identifier: Option<&'a str>,
    pub fingerprint: Option<&'a [u8; 32]>,
    pub subject: Option<&'a str>,
    /// The id (`jti`) of the bearer token that was shown.
    pub token: Option<&'a str>,
    /// The principal's `audit_claims`.
    pub claims: &'a [(&'a str, &'a str)],

    // From where.
    pub listener: &'a str,
    pub connection: u64,
    pub peer: Option<SocketAddr>,
    /// The effective client address.
    pub client: Option<IpAddr>,
    pub user_agent: Option<&'a str>,
    pub referer: Option<&'a str>,

    // What.
    pub request_id: Option<&'a str>,
    pub method: Option<&'a str>,
    pub host: Option<&'a str>,
    /// Without the query: those carry tokens.
    pub path: Option<&'a str>,
    pub protocol: Option<&'a str>,
    pub route: Option<&'a str>,
    pub upstream: Option<&'a str>,

    /// Of a change to who gets in: what was done, to what, and which entry of the ledger says so.
    pub action: Option<&'a str>,
    pub object: Option<&'a str>,
    pub ledger_index: Option<u64>,
    /// `admin`, `bootstrap`, `socket`: by what right.
    pub actor: Option<&'a str>,
    /// Of a checkpoint of the ledger: the signed note, whole.
    pub note: Option<&'a str>,

    /// Of a denial: where it was asked for.
    pub checkpoint: Option<&'a str>,

    // The answer.
    /// `admit`, `deny`, `open`.
    pub verdict: Option<&'a str>,
    /// The stable code of the denial or failure.
    pub code: Option<&'a str>,
    /// Why, in words for the operator.
    pub reason: Option<&'a str>,
    /// Every step of a denial.
    pub steps: Option<&'a str>,
    /// Lines of this source that were not written one by one.
    pub count: Option<u64>,
    pub source: Option<&'a str>,
    pub status: Option<u16>,
    pub generation: u64,
    pub bytes_in: u64,
    pub bytes_out: u64,
    /// `None`: nothing was served, and the bytes say nothing.
    pub duration: Option<Duration>,
    pub upstream_duration: Option<Duration>,
}

/// The handle of one thread: each clone buffers for itself.
pub struct AccessLog {
    shared: Arc<Shared>,
    lines: SyncSender<Message>,
    buffer: RefCell<Buffer>,
}

/// Takes whole lines of JSON and hands each to a writer of its own. For `tracing`.
#[derive(Clone, Debug)]
pub struct Lines {
    lines: SyncSender<Message>,
    dropped: Arc<AtomicU64>,
}

/// Lines on their way, and how many.
#[derive(Default)]
struct Buffer {
    bytes: Vec<u8>,
    lines: u64,
    clock: line::Stamp,
    /// When lines were last handed over, since the epoch.
    flushed: Duration,
}

/// What all handles and the writer share.
struct Shared {
    /// A `Format`, or `OFF`: asked before each line, changed by a reload.
    format: AtomicU8,
    dropped: Arc<AtomicU64>,
}

#[derive(Debug)]
enum Message {
    Lines {
        bytes: Box<[u8]>,
        count: u64,
    },
    /// Write elsewhere from now on.
    Open(Destination),
    /// Open the same destination again.
    Reopen,
    /// Dropped when all before it is written.
    Settle(mpsc::Sender<()>),
}

impl AccessLog {
    /// Opens the log and starts its writer; `dropped` counts lost lines.
    pub fn open(settings: Settings, dropped: Arc<AtomicU64>) -> std::io::Result<Self> {
        let (lines, messages) = mpsc::sync_channel(MAX_BATCHES);
        let shared = Arc::new(Shared { format: AtomicU8::new(format_code(&settings)), dropped });
        writer::start(settings.destination, messages, Arc::clone(&shared.dropped))?;
        Ok(Self { shared, lines, buffer: RefCell::default() })
    }

    /// Changes format and destination. A destination that cannot be opened leaves the old one in use, with a warning.
    pub fn change(&self, settings: Settings) {
        self.shared.format.store(format_code(&settings), Ordering::Relaxed);
        self.order(Message::Open(settings.destination));
    }

    /// Opens the same file again: after a rotation.
    pub fn reopen(&self) {
        self.order(Message::Reopen);
    }

    fn order(&self, order: Message) {
        // A writer that is stuck takes no order either.
        if self.lines.try_send(order).is_err() {
            tracing::warn!("the writer of a log of [audit] is stuck: its destination stays as it was");
        }
    }

    /// Tells whether lines go anywhere.
    pub fn is_on(&self) -> bool {
        self.shared.format.load(Ordering::Relaxed) != OFF
    }

    /// Tells whether lines about anything but requests are written, too.
    pub fn takes_events(&self) -> bool {
        self.shared.format.load(Ordering::Relaxed) == JSON
    }

    /// Writes a line into the buffer. Never waits.
    pub fn line(&self, entry: &Entry<'_>) {
        let format = self.shared.format.load(Ordering::Relaxed);
        if format == OFF || (format == COMBINED && entry.status.is_none()) {
            return;
        }
        let now = clock::wall();
        let buffer = &mut *self.buffer.borrow_mut();
        if format == COMBINED {
            line::combined(&mut buffer.bytes, &mut buffer.clock, entry, now);
        } else {
            line::json(&mut buffer.bytes, &mut buffer.clock, entry, now);
        }
        buffer.lines += 1;
        // Under load a line waits for the batch; a lone one is handed over at once, and the tick takes the stragglers.
        if buffer.bytes.len() >= BATCH_BYTES || now.saturating_sub(buffer.flushed) >= LINGER {
            self.hand_over(buffer, now);
        }
    }

    /// Hands over what is buffered: the worker's tick calls this.
    pub fn flush(&self) {
        self.hand_over(&mut self.buffer.borrow_mut(), clock::wall());
    }

    /// Waits until all that was handed over before is written, but no longer than `deadline`: a blocked pipe must not hold
    /// up the end of the process. Returns whether it is.
    pub fn settle(&self, deadline: Duration) -> bool {
        self.flush();
        settle(&self.lines, deadline)
    }

    fn hand_over(&self, buffer: &mut Buffer, now: Duration) {
        if buffer.lines == 0 {
            return;
        }
        let (bytes, count) = (Box::from(buffer.bytes.as_slice()), std::mem::take(&mut buffer.lines));
        buffer.bytes.clear();
        buffer.flushed = now;
        if let Err(TrySendError::Full(_) | TrySendError::Disconnected(_)) = self.lines.try_send(Message::Lines { bytes, count }) {
            self.shared.dropped.fetch_add(count, Ordering::Relaxed);
        }
    }
}

impl Lines {
    /// Starts a writer to a destination; `dropped` counts lost lines.
    pub fn open(destination: Destination, dropped: Arc<AtomicU64>) -> std::io::Result<Self> {
        let (lines, messages) = mpsc::sync_channel(MAX_LINES);
        writer::start(destination, messages, Arc::clone(&dropped))?;
        Ok(Self { lines, dropped })
    }

    /// Waits until all that was written before is out, but no longer than `deadline`. Returns whether it is.
    pub fn settle(&self, deadline: Duration) -> bool {
        settle(&self.lines, deadline)
    }
}

/// Each write is one line. Never waits, never fails: what cannot be taken is counted.
impl std::io::Write for Lines {
    fn write(&mut self, line: &[u8]) -> std::io::Result<usize> {
        if self.lines.try_send(Message::Lines { bytes: line::harmless(line), count: 1 }).is_err() {
            self.dropped.fetch_add(1, Ordering::Relaxed);
        }
        Ok(line.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

/// A handle with a buffer of its own, for another thread.
impl Clone for AccessLog {
    fn clone(&self) -> Self {
        Self { shared: Arc::clone(&self.shared), lines: self.lines.clone(), buffer: RefCell::default() }
    }
}

impl Drop for AccessLog {
    fn drop(&mut self) {
        self.flush();
    }
}

impl fmt::Debug for AccessLog {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AccessLog").field("on", &self.is_on()).finish_non_exhaustive()
    }
}

fn settle(lines: &SyncSender<Message>, deadline: Duration) -> bool {
    let (settle, settled) = mpsc::channel();
    // Never sent to: the writer drops it, or time is up.
    lines.try_send(Message::Settle(settle)).is_ok() && settled.recv_timeout(deadline) == Err(RecvTimeoutError::Disconnected)
}

fn format_code(settings: &Settings) -> u8 {
    match (&settings.destination, settings.format) {
        (Destination::Off, _) => OFF,
        (_, Format::Combined) => COMBINED,
        (_, Format::Json) => JSON,
    }
}

const OFF: u8 = 0;
const JSON: u8 = 1;
const COMBINED: u8 = 2;
const BATCH_BYTES: usize = 16 * 1024;
/// 4 MiB of full batches may wait for the disk.
const MAX_BATCHES: usize = 256;
const MAX_LINES: usize = 4096;
const LINGER: Duration = Duration::from_millis(200);

#[cfg(test)]
mod tests;

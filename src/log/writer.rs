//! The writer thread: takes batches, writes them whole, and is the only one to wait for a disk.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::Receiver;
use std::time::{Duration, Instant};

use super::{Destination, Message};

/// Starts the writer. It ends by itself once every handle is dropped.
pub(super) fn start(destination: Destination, messages: Receiver<Message>, dropped: Arc<AtomicU64>) -> io::Result<()> {
    let sink = Sink::open(&destination)?;
    std::thread::Builder::new().name("log".to_owned()).spawn(move || write_all(destination, sink, &messages, &dropped))?;
    Ok(())
}

fn write_all(mut destination: Destination, mut sink: Sink, messages: &Receiver<Message>, dropped: &AtomicU64) {
    let mut last_warning: Option<Instant> = None;
    while let Ok(message) = messages.recv() {
        match message {
            Message::Lines { bytes, count } => {
                if let Err(error) = sink.write(&bytes) {
                    dropped.fetch_add(count, Ordering::Relaxed);
                    if last_warning.is_none_or(|at| at.elapsed() >= WARNING_INTERVAL) {
                        last_warning = Some(Instant::now());
                        tracing::warn!(%error, "access log lines are lost: the destination does not take them");
                    }
                }
            }
            Message::Settle(settled) => drop(settled),
            Message::Open(other) => {
                destination = other;
                reopen(&destination, &mut sink);
            }
            Message::Reopen => reopen(&destination, &mut sink),
        }
    }
}

fn reopen(destination: &Destination, sink: &mut Sink) {
    match Sink::open(destination) {
        Ok(opened) => *sink = opened,
        Err(error) => tracing::warn!(%error, "the access log's destination cannot be opened: the old one stays"),
    }
}

enum Sink {
    File(File),
    Off,
    Stderr,
    Stdout,
}

impl Sink {
    fn open(destination: &Destination) -> io::Result<Self> {
        Ok(match destination {
            Destination::File(path) => {
                let opened = OpenOptions::new().append(true).create(true).mode(MODE).open(path);
                Self::File(opened.map_err(|error| io::Error::new(error.kind(), format!("{}: {error}", path.display())))?)
            }
            Destination::Off => Self::Off,
            Destination::Stderr => Self::Stderr,
            Destination::Stdout => Self::Stdout,
        })
    }

    fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        match self {
            Self::File(file) => file.write_all(bytes),
            Self::Off => Ok(()),
            Self::Stderr => io::stderr().lock().write_all(bytes),
            Self::Stdout => {
                let mut stdout = io::stdout().lock();
                stdout.write_all(bytes)?;
                stdout.flush()
            }
        }
    }
}

/// Who came when is nobody's business but the operators'.
const MODE: u32 = 0o640;
const WARNING_INTERVAL: Duration = Duration::from_secs(10);

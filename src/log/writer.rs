//! The writer thread: takes batches, writes them whole, and is the only one to wait for a disk.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{self, Receiver};
use std::time::{Duration, Instant};

use super::{Destination, Message, Settings};

/// The running writer. It ends by itself once every `AccessLog` is dropped.
#[derive(Debug)]
pub struct Writer {
    ended: Receiver<()>,
}

impl Writer {
    pub(super) fn start(settings: Settings, messages: Receiver<Message>, dropped: Arc<AtomicU64>) -> io::Result<Self> {
        let sink = Sink::open(&settings.destination)?;
        let (end, ended) = mpsc::channel();
        std::thread::Builder::new().name("access-log".to_owned()).spawn(move || {
            write_all(sink, &messages, &dropped);
            // Nobody waits for the end: fine.
            let _ = end.send(());
        })?;
        Ok(Self { ended })
    }

    /// Waits until all is written, but no longer than `deadline`: a blocked pipe must not hold up the end of the process.
    /// Drop every `AccessLog` first. Returns whether all was handed to the destination.
    pub fn finish(self, deadline: Duration) -> bool {
        self.ended.recv_timeout(deadline).is_ok()
    }
}

fn write_all(mut sink: Sink, messages: &Receiver<Message>, dropped: &AtomicU64) {
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
            Message::Open(settings) => match Sink::open(&settings.destination) {
                Ok(opened) => sink = opened,
                Err(error) => tracing::warn!(%error, "the access log's destination cannot be opened: the old one stays"),
            },
        }
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
                let opened = OpenOptions::new().append(true).create(true).open(path);
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

const WARNING_INTERVAL: Duration = Duration::from_secs(10);

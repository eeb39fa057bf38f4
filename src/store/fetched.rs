//! What is fetched by https, as units of a source: each URL's content as it was last fetched and found good, beside the
//! files of this machine. Nobody who reads waits for the network; `fetcher` brings what is here.

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::watch;

use super::fetcher;
use super::file::Files;
use super::source::{ReadError, Reading, Source, Stamp};
use crate::clock;
use crate::upstream::fetch::{Fetch, Validators};
use crate::upstream::{Tls, Url};

/// Files, and what is fetched. The thread that fetches starts with the first URL and ends with this.
#[derive(Debug)]
pub struct Fetched {
    slots: Arc<Slots>,
    orders: watch::Sender<Orders>,
}

/// A URL to keep fetching from.
#[derive(Clone, Debug, PartialEq)]
pub struct Wanted {
    pub url: Url,
    /// What the server is verified by.
    pub tls: Tls,
    /// Between two fetches that find nothing wrong.
    pub interval: Duration,
}

/// What the fetcher is told.
#[derive(Clone, Debug, Default)]
pub(super) struct Orders {
    pub(super) wanted: Vec<Wanted>,
    /// Counts who asked for everything to be fetched again.
    pub(super) asked: u64,
}

/// What was fetched, by URL.
#[derive(Default)]
pub(super) struct Slots {
    state: Mutex<State>,
    answered: Condvar,
}

#[derive(Default)]
struct State {
    slots: BTreeMap<PathBuf, Slot>,
    fetches: u64,
    heard: Option<Box<dyn Fn() + Send>>,
    running: bool,
}

#[derive(Default)]
struct Slot {
    content: Option<Content>,
    /// Why the last fetch failed.
    error: Option<String>,
}

struct Content {
    bytes: Arc<[u8]>,
    validators: Validators,
    stamp: Stamp,
}

/// Tells a URL from the path of a file.
pub fn is_url(unit: &Path) -> bool {
    unit.as_os_str().as_encoded_bytes().starts_with(b"https://")
}

impl Fetched {
    /// Fetches from these URLs from now on, and forgets all others.
    pub fn want(&self, wanted: Vec<Wanted>) {
        if self.orders.borrow().wanted == wanted {
            return;
        }
        self.slots.lock().slots.retain(|url, _| wanted.iter().any(|wanted| *url == wanted.path()));
        self.orders.send_modify(|orders| orders.wanted = wanted);
        let is_running = std::mem::replace(&mut self.slots.lock().running, true);
        if is_running {
            return;
        }
        if let Err(error) = fetcher::start(Arc::clone(&self.slots), self.orders.subscribe()) {
            self.slots.lock().running = false;
            for wanted in &self.orders.borrow().wanted {
                self.slots.tell(&wanted.path(), Err(format!("no thread to fetch on: {error}")));
            }
        }
    }

    /// Fetches everything again, now.
    pub fn refetch(&self) {
        self.orders.send_modify(|orders| orders.asked += 1);
    }

    /// Calls back whenever a fetch ended.
    pub fn on_fetch(&self, heard: impl Fn() + Send + 'static) {
        self.slots.lock().heard = Some(Box::new(heard));
    }

    /// Waits until each of these has been fetched or has failed, but no longer than that.
    pub fn wait(&self, urls: &[PathBuf], longest: Duration) {
        let deadline = Instant::now() + longest;
        let mut state = self.slots.lock();
        while urls.iter().any(|url| !state.slots.contains_key(url)) {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return;
            }
            state = self.slots.answered.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner).0;
        }
    }
}

impl Default for Fetched {
    fn default() -> Self {
        Self { slots: Arc::default(), orders: watch::Sender::new(Orders::default()) }
    }
}

impl Source for Fetched {
    fn stamp(&self, unit: &Path) -> Result<Stamp, ReadError> {
        if is_url(unit) { self.slots.read(unit).map(|(_, stamp)| stamp) } else { Files.stamp(unit) }
    }

    fn read(&self, unit: &Path, limit: u64) -> Result<Reading, ReadError> {
        if !is_url(unit) {
            return Files.read(unit, limit);
        }
        let (bytes, stamp) = self.slots.read(unit)?;
        if bytes.len() as u64 > limit {
            return Err(ReadError::TooLarge { limit });
        }
        Ok(Reading { bytes: bytes.to_vec(), stamp, young: false, exposed: false })
    }

    fn list(&self, directory: &Path) -> Result<Vec<PathBuf>, ReadError> {
        Files.list(directory)
    }
}

impl Wanted {
    /// The unit it is.
    pub fn path(&self) -> PathBuf {
        PathBuf::from(self.url.as_str())
    }
}

impl Slots {
    /// Takes in how a fetch ended.
    pub(super) fn tell(&self, url: &Path, outcome: Result<Fetch, String>) {
        let mut state = self.lock();
        state.fetches += 1;
        let fetches = state.fetches.cast_signed();
        let slot = state.slots.entry(url.to_owned()).or_default();
        let now = clock::wall();
        // The time of the fetch stands where a file has its modification: that is how old the content is.
        let modified = (now.as_secs().cast_signed(), i64::from(now.subsec_nanos()));
        slot.error = match outcome {
            Ok(Fetch::New(bytes, validators)) => {
                let stamp = Stamp { device: 0, inode: 0, size: bytes.len() as u64, modified, changed: (fetches, 0) };
                slot.content = Some(Content { bytes: bytes.into(), validators, stamp });
                None
            }
            Ok(Fetch::Same) => {
                slot.content.iter_mut().for_each(|content| (content.stamp.modified, content.stamp.changed) = (modified, (fetches, 0)));
                None
            }
            Err(why) => Some(why),
        };
        self.answered.notify_all();
        if let Some(heard) = &state.heard {
            heard();
        }
    }

    /// What the server is told that we have.
    pub(super) fn validators(&self, url: &Path) -> Validators {
        let state = self.lock();
        let content = state.slots.get(url).and_then(|slot| slot.content.as_ref());
        content.map(|content| content.validators.clone()).unwrap_or_default()
    }

    fn read(&self, url: &Path) -> Result<(Arc<[u8]>, Stamp), ReadError> {
        match self.lock().slots.get(url) {
            None => Err(ReadError::NotYetFetched),
            Some(Slot { error: Some(why), .. }) => Err(ReadError::NotFetched(why.clone())),
            Some(Slot { content: Some(content), error: None }) => Ok((Arc::clone(&content.bytes), content.stamp)),
            Some(Slot { content: None, error: None }) => Err(ReadError::NotYetFetched),
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // Whoever panicked while it held the lock left whole values behind.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for Slots {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.lock().slots.keys()).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failed_fetch_is_told_and_the_same_content_is_younger() {
        let fetched = Fetched::default();
        let url = Path::new("https://crl.example.com/ca.crl");
        assert!(matches!(fetched.stamp(url), Err(ReadError::NotYetFetched)));
        fetched.slots.tell(url, Ok(Fetch::New(b"content".to_vec(), Validators::default())));
        let first = fetched.read(url, 100).expect("fetched");
        assert_eq!((first.bytes.as_slice(), first.stamp), (&b"content"[..], fetched.stamp(url).expect("fetched")));
        assert!(matches!(fetched.read(url, 6), Err(ReadError::TooLarge { limit: 6 })));
        fetched.slots.tell(url, Err("no connection".to_owned()));
        assert_eq!(fetched.read(url, 100).expect_err("failed").to_string(), "cannot be fetched: no connection");
        fetched.slots.tell(url, Ok(Fetch::Same));
        let second = fetched.read(url, 100).expect("fetched");
        assert_eq!(second.bytes, first.bytes);
        assert!(second.stamp != first.stamp && second.stamp.modified >= first.stamp.modified);
    }

    #[test]
    fn a_file_is_a_file_and_whoever_waits_does_not_wait_for_ever() {
        let fetched = Fetched::default();
        assert!(matches!(fetched.stamp(Path::new("/nowhere/https://x")), Err(ReadError::Missing)));
        fetched.wait(&["https://crl.example.com/".into()], Duration::ZERO);
        fetched.wait(&[], Duration::MAX / 4);
    }
}

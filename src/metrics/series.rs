//! The series of a family: by a label from the configuration, or by a code of ours.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use super::cells::Counter;

/// The series of one family, by label. Looked up under a lock; counted without.
#[derive(Debug)]
pub(super) struct Family<T>(Mutex<BTreeMap<Box<str>, Arc<T>>>);

impl<T> Default for Family<T> {
    fn default() -> Self {
        Self(Mutex::default())
    }
}

impl<T> Family<T> {
    pub(super) fn get(&self, label: &str, make: impl FnOnce() -> T) -> Arc<T> {
        let mut series = lock(&self.0);
        // Names come from the configuration, but reloads may go on for years: what is over the cap counts together.
        let label = if series.len() < MAX_SERIES || series.contains_key(label) { label } else { OVERFLOW };
        Arc::clone(series.entry(label.into()).or_insert_with(|| Arc::new(make())))
    }

    /// Returns every series, in the order of its label.
    pub(super) fn all(&self) -> Vec<(Box<str>, Arc<T>)> {
        lock(&self.0).iter().map(|(label, series)| (label.clone(), Arc::clone(series))).collect()
    }
}

/// Counters by a code of ours, made when first counted. The codes are few and `'static`: no lock, no hashing.
#[derive(Debug)]
pub(super) struct ByCode {
    workers: usize,
    slots: Box<[OnceLock<(&'static str, Counter)>]>,
}

impl ByCode {
    pub(super) fn new(workers: usize) -> Self {
        Self { workers, slots: (0..MAX_CODES).map(|_| OnceLock::new()).collect() }
    }

    /// Makes these at once. An alert asks what was counted since it last looked, and a series that begins with its first count has not risen.
    pub(super) fn from_zero(workers: usize, codes: &[&'static str]) -> Self {
        let made = Self::new(workers);
        for code in codes {
            made.counter(code);
        }
        made
    }

    pub(super) fn counter(&self, code: &'static str) -> &Counter {
        let taken = self.slots.iter().map(|slot| slot.get_or_init(|| (code, Counter::new(self.workers))));
        // INVARIANT: fewer codes than slots; were it otherwise, the last slot would count the rest.
        let mut last = None;
        for (name, counter) in taken {
            if *name == code {
                return counter;
            }
            last = Some(counter);
        }
        last.expect("there are slots")
    }

    pub(super) fn all(&self) -> impl Iterator<Item = (&'static str, u64)> {
        self.slots.iter().map_while(|slot| slot.get()).map(|(code, counter)| (*code, counter.get()))
    }
}

/// What a panicking thread left behind are counts: as good as any.
pub(super) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Series in one family.
pub(super) const MAX_SERIES: usize = 1000;
/// Denial codes and failures together are about forty.
pub(super) const MAX_CODES: usize = 64;
/// The label of everything over a cap; no name of ours has a space.
pub(super) const OVERFLOW: &str = "and others";

//! The challenges that were used, while they could be used again: all that is kept of any.

use std::collections::HashMap;

use super::challenges::Refusal;
use super::message::NONCE;

/// Nonces, each until its challenge has expired. Bounded: who fills it needs that many signatures by keys of its own within a minute,
/// and keeps others out until it stops, but nobody gets in twice.
#[derive(Debug)]
pub(super) struct Spent {
    until: HashMap<[u8; NONCE], u64>,
    swept: u64,
    most: usize,
}

impl Spent {
    pub(super) fn new(most: usize) -> Self {
        Self { until: HashMap::new(), swept: 0, most }
    }

    /// Takes a nonce once.
    pub(super) fn take(&mut self, nonce: [u8; NONCE], expires: u64, now: u64) -> Result<(), Refusal> {
        if now > self.swept {
            self.swept = now;
            self.until.retain(|_, expires| now < *expires);
        }
        if self.until.contains_key(&nonce) {
            return Err(Refusal::Used);
        }
        if self.until.len() >= self.most {
            return Err(Refusal::Full);
        }
        self.until.insert(nonce, expires);
        Ok(())
    }

    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.until.len()
    }
}

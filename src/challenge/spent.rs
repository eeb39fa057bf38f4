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

#[cfg(test)]
mod tests {
    use super::*;

    /// `docs/clients/README.md` has the figure.
    #[test]
    fn as_many_as_are_remembered_take_three_megabytes_and_never_more() {
        let most = 100_000;
        let mut spent = Spent::new(most);
        let nonce = |number: usize| (number as u128).to_be_bytes();
        for number in 0..2 * most {
            let taken = spent.take(nonce(number), 60, 0);
            assert_eq!(taken.is_ok(), number < most, "{number}");
        }
        // hashbrown fills seven eighths of a power of two of places, each with a byte of its own.
        let places = (spent.until.capacity() * 8).div_ceil(7);
        assert_eq!((places, size_of::<([u8; NONCE], u64)>() + 1), (131_072, 25));
        assert_eq!(spent.take(nonce(3 * most), 120, 60), Ok(()), "what is over makes room");
        assert_eq!(spent.len(), 1);
    }
}

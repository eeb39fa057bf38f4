//! The chains of admitted clients, by exact DER: a returning client is parsed and its path verified once.
//! Bounded in number and bytes; the least recently used half goes when the other is full.

use std::collections::HashMap;
use std::hash::{BuildHasher, RandomState};
use std::rc::Rc;

use rustls_pki_types::CertificateDer;

use crate::admission::Candidate;

/// Two halves: what is found in the older moves to the younger; when that is full, the older is dropped.
#[derive(Default)]
pub(super) struct Remembered {
    /// Keyed at random, so that nobody can choose certificates that collide.
    hasher: RandomState,
    young: Half,
    old: Half,
}

#[derive(Default)]
struct Half {
    candidates: HashMap<u64, Rc<Candidate>>,
    bytes: usize,
}

impl Remembered {
    /// Finds the candidate of exactly this chain.
    pub(super) fn find(&mut self, chain: &[CertificateDer<'_>]) -> Option<Rc<Candidate>> {
        let key = self.key(chain.iter().map(AsRef::as_ref));
        if let Some(candidate) = self.young.candidates.get(&key) {
            return is(candidate, chain).then(|| Rc::clone(candidate));
        }
        let candidate = self.old.candidates.get(&key).filter(|candidate| is(candidate, chain)).cloned()?;
        self.put(key, &candidate);
        Some(candidate)
    }

    /// Remembers a candidate, unless it could not be parsed.
    pub(super) fn insert(&mut self, candidate: &Rc<Candidate>) {
        let Some(chain) = ders(candidate) else { return };
        let key = self.key(chain);
        if !self.young.candidates.contains_key(&key) {
            self.put(key, candidate);
        }
    }

    fn put(&mut self, key: u64, candidate: &Rc<Candidate>) {
        let bytes = ders(candidate).map_or(0, |chain| chain.map(<[u8]>::len).sum());
        if self.young.candidates.len() >= HALF_COUNT || self.young.bytes + bytes > HALF_BYTES {
            self.old = std::mem::take(&mut self.young);
        }
        self.young.candidates.insert(key, Rc::clone(candidate));
        self.young.bytes += bytes;
    }

    fn key<'a>(&self, chain: impl Iterator<Item = &'a [u8]>) -> u64 {
        // Where one certificate ends and the next begins is compared, not hashed.
        chain.fold(0, |key, der| self.hasher.hash_one((key, der)))
    }
}

/// Tells whether the candidate is of exactly this chain.
fn is(candidate: &Candidate, chain: &[CertificateDer<'_>]) -> bool {
    ders(candidate).is_some_and(|ders| ders.eq(chain.iter().map(AsRef::as_ref)))
}

/// Returns the certificates as presented; `None` where the leaf could not be read.
fn ders(candidate: &Candidate) -> Option<impl Iterator<Item = &[u8]>> {
    let leaf = candidate.leaf().ok()?;
    Some(std::iter::once(leaf.der.as_ref()).chain(candidate.intermediates().iter().map(AsRef::as_ref)))
}

const HALF_COUNT: usize = 4096;
/// Of DER; what is parsed from it takes about as much again.
const HALF_BYTES: usize = 4 * 1024 * 1024;

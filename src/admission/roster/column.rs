//! Digests, found by index: nothing is stored twice.

use std::collections::HashMap;
use std::hash::{BuildHasher, RandomState};

use hashbrown::HashTable;
use hashbrown::hash_table::Entry;

use super::{Place, index};
use crate::pki::{Fingerprint, SpkiPin};

/// Digests, their owners, and a table of indices into both.
#[derive(Clone, Debug)]
pub(super) struct Column<K> {
    pub(super) keys: Vec<K>,
    pub(super) owners: Vec<u32>,
    pub(super) table: HashTable<u32>,
    /// Keyed at random, and of the whole digest: a list may hold digests that somebody made up, and a million of
    /// them with equal prefixes would be compared with one another.
    hasher: RandomState,
    /// Where a key was written, if not where its principal was.
    pub(super) places: HashMap<u32, Place>,
}

impl<K: Digest> Column<K> {
    /// Adds a key; where it stands there already, says where.
    pub(super) fn insert(&mut self, key: K, owner: u32, place: Option<Place>) -> Result<u32, u32> {
        let Self { keys, hasher, .. } = self;
        let vacant = match self.table.entry(key.hash(hasher), |at| keys[*at as usize] == key, |at| keys[*at as usize].hash(hasher)) {
            Entry::Occupied(known) => return Err(*known.get()),
            Entry::Vacant(vacant) => vacant,
        };
        let at = index(keys.len());
        vacant.insert(at);
        self.keys.push(key);
        self.owners.push(owner);
        if let Some(place) = place {
            self.places.insert(at, place);
        }
        Ok(at)
    }

    pub(super) fn reserve(&mut self, more: usize) {
        self.keys.reserve(more);
        self.owners.reserve(more);
        let Self { keys, hasher, .. } = self;
        self.table.reserve(more, |at| keys[*at as usize].hash(hasher));
    }

    pub(super) fn find(&self, key: &K) -> Option<u32> {
        self.table.find(key.hash(&self.hasher), |at| self.keys[*at as usize] == *key).copied()
    }

    pub(super) fn shrink_to_fit(&mut self) {
        self.keys.shrink_to_fit();
        self.owners.shrink_to_fit();
        self.places.shrink_to_fit();
    }
}

impl<K> Default for Column<K> {
    fn default() -> Self {
        Self { keys: Vec::new(), owners: Vec::new(), table: HashTable::new(), hasher: RandomState::new(), places: HashMap::new() }
    }
}

/// A SHA-256, whoever computed it.
pub(super) trait Digest: Copy + PartialEq {
    fn hash(&self, hasher: &RandomState) -> u64;
}

impl Digest for Fingerprint {
    fn hash(&self, hasher: &RandomState) -> u64 {
        hasher.hash_one(self.as_bytes())
    }
}

impl Digest for SpkiPin {
    fn hash(&self, hasher: &RandomState) -> u64 {
        hasher.hash_one(self.as_bytes())
    }
}

//! A persistent array of many small parts: a copy shares all of them, and replacing one copies two short lists of
//! pointers. What lets a change among a million cost what it changes.

use std::sync::Arc;

/// Parts, each shared by every copy that did not replace it.
#[derive(Clone, Debug)]
pub(super) struct Shards<T> {
    groups: Vec<Arc<Vec<Arc<T>>>>,
}

impl<T> Shards<T> {
    /// Returns the part of a hash: by its high bits.
    pub(super) fn slot(hash: u64) -> usize {
        (hash >> (64 - SLOT_BITS)) as usize
    }

    pub(super) fn get(&self, slot: usize) -> &Arc<T> {
        &self.groups[slot / WIDTH][slot % WIDTH]
    }

    pub(super) fn set(&mut self, slot: usize, part: T) {
        Arc::make_mut(&mut self.groups[slot / WIDTH])[slot % WIDTH] = Arc::new(part);
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &Arc<T>> {
        self.groups.iter().flat_map(|group| group.iter())
    }

    /// Returns the parts that are not those of another array.
    pub(super) fn changed<'a>(&'a self, before: &'a Self) -> impl Iterator<Item = &'a Arc<T>> {
        let groups = self.groups.iter().zip(&before.groups).filter(|(now, then)| !Arc::ptr_eq(now, then));
        groups.flat_map(|(now, then)| now.iter().zip(then.iter()).filter(|(now, then)| !Arc::ptr_eq(now, then)).map(|(now, _)| now))
    }
}

impl<T: Default> Default for Shards<T> {
    fn default() -> Self {
        let part = Arc::new(T::default());
        let group = Arc::new(std::iter::repeat_n(part, WIDTH).collect());
        Self { groups: std::iter::repeat_n(group, SLOTS / WIDTH).collect() }
    }
}

/// A million principals are some 250 a part, rebuilt in well under a millisecond.
pub(super) const SLOT_BITS: u32 = 12;
pub(super) const SLOTS: usize = 1 << SLOT_BITS;
const WIDTH: usize = 64;

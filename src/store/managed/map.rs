//! A map that is cheap to clone and to change: what was loaded, sorted once, under what changed since. A state of a million principals is
//! shared by everybody who looks at one of its versions.

use std::iter::Peekable;
use std::ops::Bound;
use std::sync::Arc;

use rpds::RedBlackTreeMapSync;

/// An ordered map, persistent.
#[derive(Clone, Debug)]
pub(super) struct Map<K: Ord, V> {
    base: Arc<Vec<(K, V)>>,
    /// `None`: taken away.
    changed: RedBlackTreeMapSync<K, Option<V>>,
    len: usize,
}

impl<K: Clone + Ord, V: Clone> Map<K, V> {
    /// Takes what was loaded; of two with one key the last counts.
    pub(super) fn load(mut entries: Vec<(K, V)>) -> Self {
        // Stable, so that the last of equals stays the last.
        if !entries.is_sorted_by(|a, b| a.0 < b.0) {
            entries.sort_by(|a, b| a.0.cmp(&b.0));
            entries.reverse();
            entries.dedup_by(|a, b| a.0 == b.0);
            entries.reverse();
        }
        Self { len: entries.len(), base: Arc::new(entries), changed: RedBlackTreeMapSync::default() }
    }

    pub(super) fn len(&self) -> usize {
        self.len
    }

    pub(super) fn get<Q: Ord + ?Sized>(&self, key: &Q) -> Option<&V>
    where
        K: std::borrow::Borrow<Q>,
    {
        match self.changed.get(key) {
            Some(changed) => changed.as_ref(),
            None => self.base.binary_search_by(|(known, _)| known.borrow().cmp(key)).ok().map(|at| &self.base[at].1),
        }
    }

    pub(super) fn insert(&mut self, key: K, value: V) {
        self.len += usize::from(self.get(&key).is_none());
        self.changed.insert_mut(key, Some(value));
    }

    pub(super) fn remove(&mut self, key: &K) {
        if self.get(key).is_some() {
            self.len -= 1;
            self.changed.insert_mut(key.clone(), None);
        }
    }

    /// Goes through all of it, in order.
    pub(super) fn iter(&self) -> impl Iterator<Item = (&K, &V)> {
        self.range(Bound::Unbounded)
    }

    /// Goes on from a key.
    pub(super) fn range(&self, from: Bound<K>) -> impl Iterator<Item = (&K, &V)> {
        let start = match from {
            Bound::Unbounded => 0,
            Bound::Included(ref key) => self.base.partition_point(|(known, _)| known < key),
            Bound::Excluded(ref key) => self.base.partition_point(|(known, _)| known <= key),
        };
        let base = self.base[start..].iter().map(|(key, value)| (key, value)).peekable();
        let changed = self.changed.range((from, Bound::Unbounded)).map(|(key, value)| (key, value.as_ref())).peekable();
        Merged { base, changed }
    }
}

impl<K: Clone + Ord, V: Clone> Default for Map<K, V> {
    fn default() -> Self {
        Self::load(Vec::new())
    }
}

/// Both, in order; what changed counts.
struct Merged<B: Iterator, C: Iterator> {
    base: Peekable<B>,
    changed: Peekable<C>,
}

impl<'a, K: Ord + 'a, V: 'a, B, C> Iterator for Merged<B, C>
where
    B: Iterator<Item = (&'a K, &'a V)>,
    C: Iterator<Item = (&'a K, Option<&'a V>)>,
{
    type Item = (&'a K, &'a V);

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            let Some((key, _)) = self.changed.peek() else { return self.base.next() };
            match self.base.peek() {
                Some((older, _)) if older < key => return self.base.next(),
                Some((older, _)) if older == key => drop(self.base.next()),
                Some(_) | None => {}
            }
            if let Some((key, Some(value))) = self.changed.next() {
                return Some((key, value));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    #[test]
    fn what_changed_lies_over_what_was_loaded() {
        let mut plain: BTreeMap<u32, u32> = (0..200).map(|at| (at * 7 % 500, at)).collect();
        let mut map = Map::load((0..200).map(|at| (at * 7 % 500, at)).collect());
        let before = map.clone();
        for at in 0..300 {
            let key = at * 11 % 600;
            if at % 3 == 0 {
                plain.remove(&key);
                map.remove(&key);
            } else {
                plain.insert(key, at);
                map.insert(key, at);
            }
            assert_eq!((map.len(), map.get(&key)), (plain.len(), plain.get(&key)));
        }
        assert_eq!(map.iter().collect::<Vec<_>>(), plain.iter().collect::<Vec<_>>());
        let from = Bound::Excluded(123);
        let rest: Vec<_> = plain.range((from, Bound::Unbounded)).collect();
        assert_eq!(map.range(from).collect::<Vec<_>>(), rest);
        assert_eq!(before.len(), 200, "the state before is as it was");
    }

    #[test]
    fn of_two_with_one_key_the_last_counts() {
        let map = Map::load(vec![(2, 'a'), (1, 'b'), (2, 'c')]);
        assert_eq!(map.iter().collect::<Vec<_>>(), [(&1, &'b'), (&2, &'c')]);
    }
}

//! [`ExpiringMap`]: a bounded map of entries that end at a time; those that end first make room.

use std::borrow::Borrow;
use std::collections::{BTreeSet, HashMap};
use std::hash::Hash;

use foldhash::fast::RandomState;

use crate::clock::Timestamp;

/// Entries by key, each with its end. What has ended stays until it has to make room: the reader looks at the end.
#[derive(Clone, Debug)]
pub(crate) struct ExpiringMap<K, V> {
    entries: HashMap<K, (V, Timestamp), RandomState>,
    by_end: BTreeSet<(Timestamp, K)>,
}

impl<K: Clone + Ord + Hash, V> ExpiringMap<K, V> {
    pub(crate) fn get<Q: Hash + Eq + ?Sized>(&self, key: &Q) -> Option<(&V, Timestamp)>
    where
        K: Borrow<Q>,
    {
        self.entries.get(key).map(|(value, ends)| (value, *ends))
    }

    pub(crate) fn insert(&mut self, key: K, value: V, ends: Timestamp) {
        let former = self.entries.insert(key.clone(), (value, ends));
        if let Some((_, former)) = former {
            self.by_end.remove(&(former, key.clone()));
        }
        self.by_end.insert((ends, key));
    }

    pub(crate) fn remove(&mut self, key: &K) {
        if let Some((_, ends)) = self.entries.remove(key) {
            self.by_end.remove(&(ends, key.clone()));
        }
    }

    /// Drops those that end first, until no more than `most` are left.
    pub(crate) fn truncate(&mut self, most: usize) {
        while self.entries.len() > most {
            let Some((_, key)) = self.by_end.pop_first() else {
                return;
            };
            self.entries.remove(&key);
        }
    }

    pub(crate) fn len(&self) -> usize {
        self.entries.len()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// All of them, those that end first in front.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (&K, &V, Timestamp)> {
        self.by_end.iter().filter_map(|(ends, key)| {
            let (value, _) = self.entries.get(key)?;
            Some((key, value, *ends))
        })
    }
}

impl<K, V> Default for ExpiringMap<K, V> {
    fn default() -> Self {
        Self {
            entries: HashMap::default(),
            by_end: BTreeSet::new(),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::clock::later;

    fn at(seconds: u64) -> Timestamp {
        later(Timestamp::UNIX_EPOCH, Duration::from_secs(seconds))
    }

    #[test]
    fn what_ends_first_makes_room() {
        let mut map = ExpiringMap::default();
        for (key, ends) in [("a", 3), ("b", 1), ("c", 2), ("b", 4), ("a", 3)] {
            map.insert(key, key.to_owned() + "!", at(ends));
        }
        let order: Vec<_> = map.iter().map(|(key, ..)| *key).collect();
        assert_eq!(order, ["c", "a", "b"]);
        map.truncate(2);
        assert_eq!(map.get("c"), None);
        assert_eq!(map.get("b"), Some((&"b!".to_owned(), at(4))));
        map.remove(&"b");
        map.remove(&"b");
        map.truncate(1);
        assert_eq!((map.len(), map.by_end.len()), (1, 1));
        map.truncate(0);
        assert_eq!((map.len(), map.by_end.len()), (0, 0));
    }
}

//! The due queue: credentials by due time.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use crate::clock::Timestamp;

/// The moments at which credentials are due, the earliest first. Putting one in and taking one out cost the same for ten and,
/// near enough, for a hundred thousand.
#[derive(Debug, Default)]
pub(crate) struct DueQueue {
    /// The number makes moments unique, and those that come together come out in the order in which they went in.
    order: BTreeMap<(Timestamp, u64), Arc<str>>,
    places: HashMap<Arc<str>, (Timestamp, u64)>,
    next_number: u64,
}

impl DueQueue {
    /// Puts a credential in; a former moment of the same one is forgotten.
    pub(crate) fn put(&mut self, id: Arc<str>, at: Timestamp) {
        let place = (at, self.next_number);
        self.next_number += 1;
        if let Some(former) = self.places.insert(Arc::clone(&id), place) {
            self.order.remove(&former);
        }
        self.order.insert(place, id);
    }

    /// Takes a credential out.
    pub(crate) fn remove(&mut self, id: &str) {
        if let Some(place) = self.places.remove(id) {
            self.order.remove(&place);
        }
    }

    /// Whether the credential has a moment.
    pub(crate) fn contains(&self, id: &str) -> bool {
        self.places.contains_key(id)
    }

    /// The earliest moment.
    pub(crate) fn next(&self) -> Option<Timestamp> {
        self.order.first_key_value().map(|((at, _), _)| *at)
    }

    /// Takes out a credential that is due at `now`, the earliest first.
    pub(crate) fn pop_due(&mut self, now: Timestamp) -> Option<Arc<str>> {
        let first = self.order.first_entry()?;
        if first.key().0 > now {
            return None;
        }
        let id = first.remove();
        self.places.remove(&id);
        Some(id)
    }

    /// Forgets all credentials.
    pub(crate) fn clear(&mut self) {
        self.order.clear();
        self.places.clear();
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use proptest::prelude::*;

    use super::*;
    use crate::clock::later;

    fn at(seconds: u64) -> Timestamp {
        later(Timestamp::UNIX_EPOCH, Duration::from_secs(seconds))
    }

    #[test]
    fn the_queue_gives_what_is_due_in_order() {
        let mut queue = DueQueue::default();
        queue.put("a".into(), at(10));
        queue.put("b".into(), at(5));
        queue.put("c".into(), at(7));
        queue.put("a".into(), at(6));
        queue.remove("c");
        assert_eq!(queue.next(), Some(at(5)));
        assert_eq!(queue.pop_due(at(4)), None);
        assert_eq!(queue.pop_due(at(5)).as_deref(), Some("b"));
        assert_eq!(queue.pop_due(at(5)), None);
        assert!(queue.contains("a") && !queue.contains("c"));
        assert_eq!(queue.pop_due(at(99)).as_deref(), Some("a"));
        assert_eq!(queue.next(), None);
    }

    proptest! {
        #[test]
        fn every_credential_comes_once_and_in_time(puts in prop::collection::vec((0_u8..9, 0_u64..20), 0..60)) {
            let mut queue = DueQueue::default();
            let mut expected = std::collections::BTreeMap::new();
            for (id, seconds) in &puts {
                queue.put(id.to_string().into(), at(*seconds));
                expected.insert(id.to_string(), at(*seconds));
            }
            let mut last = at(0);
            for second in 0..20 {
                while let Some(id) = queue.pop_due(at(second)) {
                    let due = expected.remove(&*id);
                    prop_assert_eq!(due, Some(at(second)));
                    prop_assert!(due >= Some(last));
                    last = at(second);
                }
            }
            prop_assert!(expected.is_empty() && queue.next().is_none());
            prop_assert!(queue.places.is_empty());
        }
    }
}

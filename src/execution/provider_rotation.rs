//! Rotation of providers: the provider that a call over several begins with.

use std::collections::HashMap;
use std::hash::{BuildHasher, Hash, Hasher};

use foldhash::fast::RandomState;
use parking_lot::Mutex;

/// Which provider a call over several begins with: one place for each model and provider list, moved on by every call.
#[derive(Debug, Default)]
pub(crate) struct Rotation {
    places: Mutex<HashMap<u64, usize>>,
    hashes: RandomState,
}

impl Rotation {
    /// Where this call begins. The next one with the same model and list begins one further.
    pub(crate) fn advance<'a>(
        &self,
        model: &str,
        providers: impl ExactSizeIterator<Item = &'a str>,
    ) -> usize {
        let len = providers.len();
        if len < 2 {
            return 0;
        }
        // Lists with the same hash share a place: that is no harm.
        let mut hasher = self.hashes.build_hasher();
        model.hash(&mut hasher);
        providers.for_each(|provider| provider.hash(&mut hasher));
        let key = hasher.finish();
        let mut places = self.places.lock();
        if places.len() >= MOST_PLACES && !places.contains_key(&key) {
            places.clear();
        }
        let place = places.entry(key).or_default();
        let start = *place % len;
        *place = (start + 1) % len;
        start
    }
}

/// Callers may invent model names; beyond this many the rotation starts afresh.
const MOST_PLACES: usize = 4096;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_list_has_its_own_place() {
        let rotation = Rotation::default();
        let ab = ["a", "b"].into_iter();
        let ba = ["b", "a"].into_iter();
        assert_eq!(rotation.advance("m", ab.clone()), 0);
        assert_eq!(rotation.advance("m", ab.clone()), 1);
        assert_eq!(rotation.advance("m", ba.clone()), 0);
        assert_eq!(rotation.advance("n", ab.clone()), 0);
        assert_eq!(rotation.advance("m", ab.clone()), 0);
    }
}

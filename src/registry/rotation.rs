use std::collections::HashMap;
use std::sync::Arc;

use parking_lot::Mutex;

/// Which provider a call over several begins with: one place for each model and provider list, moved on by every call.
#[derive(Debug, Default)]
pub(crate) struct Rotation {
    places: Mutex<HashMap<Vec<String>, usize>>,
}

impl Rotation {
    /// Where this call begins. The next one with the same model and list begins one further.
    pub(crate) fn advance(&self, model: &str, providers: &[Arc<str>]) -> usize {
        if providers.len() < 2 {
            return 0;
        }
        let key: Vec<String> = std::iter::once(model)
            .chain(providers.iter().map(|provider| &**provider))
            .map(str::to_owned)
            .collect();
        let mut places = self.places.lock();
        if places.len() >= MOST_PLACES && !places.contains_key(&key) {
            places.clear();
        }
        let place = places.entry(key).or_default();
        let start = *place % providers.len();
        *place = (start + 1) % providers.len();
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
        let ab = ["a".into(), "b".into()];
        let ba = ["b".into(), "a".into()];
        assert_eq!(rotation.advance("m", &ab), 0);
        assert_eq!(rotation.advance("m", &ab), 1);
        assert_eq!(rotation.advance("m", &ba), 0);
        assert_eq!(rotation.advance("n", &ab), 0);
        assert_eq!(rotation.advance("m", &ab), 0);
    }
}

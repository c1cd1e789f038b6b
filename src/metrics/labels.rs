//! [`Labels`]: the values that labels take, a bounded number of each.

use std::collections::HashSet;
use std::sync::Arc;

use metrics::SharedString;
use parking_lot::Mutex;

/// The values that some labels have had. Recorders keep each for good: callers may invent models, and credentials come and go.
#[derive(Debug, Default)]
pub(super) struct Labels {
    pub(super) models: Names,
    pub(super) credentials: Names,
    pub(super) windows: Names,
}

/// The values of one label.
#[derive(Debug, Default)]
pub(super) struct Names(Mutex<HashSet<Arc<str>>>);

/// The value of all that have none of their own: the word of the conventions.
pub(super) const OTHER: &str = "_OTHER";

impl Names {
    /// The value for a name: itself, unless there are too many. One that `is_real`, and not just asked for, finds more room.
    pub(super) fn label(&self, name: &str, is_real: bool) -> SharedString {
        let mut known = self.0.lock();
        if let Some(name) = known.get(name) {
            return SharedString::from(Arc::clone(name));
        }
        let most = if is_real { MOST } else { FEW };
        if known.len() >= most {
            return SharedString::const_str(OTHER);
        }
        let name: Arc<str> = name.into();
        known.insert(Arc::clone(&name));
        SharedString::from(name)
    }
}

const FEW: usize = 64;
const MOST: usize = 1024;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_bounded_and_stay_what_they_were() {
        let names = Names::default();
        let label = |n: usize, is_real| names.label(&format!("name-{n}"), is_real).to_string();
        for round in 0..2 {
            for n in 0..10_000 {
                let expected = if n < FEW {
                    format!("name-{n}")
                } else {
                    OTHER.to_owned()
                };
                assert_eq!(label(n, false), expected, "round {round}");
            }
        }
        for n in 0..10_000 {
            let expected = if n < MOST {
                format!("name-{n}")
            } else {
                OTHER.to_owned()
            };
            assert_eq!(label(n, true), expected);
        }
        assert_eq!(label(1_000, false), "name-1000");
    }
}

//! [`Truncation`]: when the entries that are too many are to be removed, which costs a look at all of them.

use std::sync::atomic::{AtomicUsize, Ordering};

/// Counts what a handle has written since it last removed what was too much.
#[derive(Debug, Default)]
pub(crate) struct Truncation {
    written: AtomicUsize,
}

impl Truncation {
    /// Notes that so many are written, and says whether those that are too many go now: there may be a part more than `most` until then.
    pub(crate) fn is_due(&self, written: usize, most: usize) -> bool {
        let before = self.written.fetch_add(written, Ordering::Relaxed);
        let is_due = before + written > most / PART;
        if is_due {
            self.written.store(0, Ordering::Relaxed);
        }
        is_due
    }
}

const PART: usize = 64;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_part_of_the_bound_may_be_written_in_between() {
        let truncation = Truncation::default();
        let due: Vec<_> = (0..7).map(|_| truncation.is_due(1, 128)).collect();
        assert_eq!(due, [false, false, true, false, false, true, false]);
        assert!(truncation.is_due(1, 9));
    }
}

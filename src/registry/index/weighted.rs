//! Weighted round-robin: the earliest virtual deadline is next.

use std::collections::BTreeSet;

use crate::registry::FastMap;

/// Earliest virtual deadline first: each turn puts a credential's next one off by the inverse of its weight. So turns are
/// shared by weight, and as evenly as can be.
#[derive(Debug, Default)]
pub(crate) struct WeightedScheduler {
    /// The slots that are ready, by deadline; between equal deadlines, by slot.
    queue: BTreeSet<(u64, u32)>,
    /// The deadline of every slot that is or was in the queue.
    deadlines: FastMap<u32, u64>,
    /// The deadline of the last turn: a slot that returns does not catch up on the turns that it missed.
    now: u64,
}

impl WeightedScheduler {
    pub(crate) fn add(&mut self, slot: u32, weight: u32) {
        if weight == 0 {
            return;
        }
        let deadline = self.deadlines.entry(slot).or_insert(self.now);
        *deadline = (*deadline).max(self.now);
        self.queue.insert((*deadline, slot));
    }

    /// It is no longer ready.
    pub(crate) fn remove(&mut self, slot: u32) {
        if let Some(deadline) = self.deadlines.get(&slot) {
            self.queue.remove(&(*deadline, slot));
        }
    }

    /// It is no longer there.
    pub(crate) fn forget(&mut self, slot: u32) {
        self.remove(slot);
        self.deadlines.remove(&slot);
    }

    /// The first one that `admits` admits: it has had its turn.
    pub(crate) fn take(
        &mut self,
        admits: impl Fn(u32) -> bool,
        weight: impl FnOnce(u32) -> u32,
    ) -> Option<u32> {
        let (deadline, slot) = self.queue.iter().find(|(_, slot)| admits(*slot)).copied()?;
        self.now = self.now.max(deadline);
        self.queue.remove(&(deadline, slot));
        let next = deadline.saturating_add(UNIT / u64::from(weight(slot).max(1)));
        self.deadlines.insert(slot, next);
        self.queue.insert((next, slot));
        Some(slot)
    }
}

/// What a turn costs with weight 1. Divided by the highest weight, it is still exact to a millionth.
const UNIT: u64 = 1 << 40;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn turns_are_shared_by_weight_and_evenly() {
        let weights = [5, 1, 1];
        let mut turns = WeightedScheduler::default();
        for (slot, weight) in (0..).zip(weights) {
            turns.add(slot, weight);
        }
        let mut next = || turns.take(|_| true, |slot| weights[slot as usize]).unwrap();
        let taken: Vec<u32> = (0..7).map(|_| next()).collect();
        assert_eq!(taken.iter().filter(|slot| **slot == 0).count(), 5);
        // No slot waits longer than its share.
        let longest = taken
            .chunk_by(|one, other| one == other)
            .map(<[_]>::len)
            .max();
        assert!(longest <= Some(5), "{taken:?}");
        let many: Vec<u32> = (0..7000).map(|_| next()).collect();
        let counts = [0, 1, 2].map(|slot| many.iter().filter(|taken| **taken == slot).count());
        assert_eq!(counts, [5000, 1000, 1000]);
    }

    #[test]
    fn who_comes_back_does_not_catch_up() {
        let mut turns = WeightedScheduler::default();
        turns.add(0, 1);
        turns.add(1, 1);
        turns.remove(1);
        for _ in 0..100 {
            assert_eq!(turns.take(|_| true, |_| 1), Some(0));
        }
        turns.add(1, 1);
        let taken: Vec<u32> = (0..4).filter_map(|_| turns.take(|_| true, |_| 1)).collect();
        assert_eq!(
            taken.iter().filter(|slot| **slot == 1).count(),
            2,
            "{taken:?}"
        );
        turns.add(2, 0);
        assert!((0..10).all(|_| turns.take(|_| true, |_| 1) != Some(2)));
        assert_eq!(turns.take(|_| false, |_| 1), None);
    }
}

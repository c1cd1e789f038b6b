//! A bitset in levels: the next set place in a few steps, whatever their number.

use super::ordered_slots::{CHUNK, Edit, HALF, OrderedSlots, Place};

/// A word for each chunk, and a summary that says which chunks have any bit, in the order of the directory.
#[derive(Debug, Default)]
pub(crate) struct BitSet {
    words: Vec<u64>,
    summary: Vec<u64>,
    count: usize,
}

impl BitSet {
    /// Every place of an order.
    pub(crate) fn all(order: &OrderedSlots) -> Self {
        let mut words = vec![0; order.chunk_count()];
        for chunk in order.directory() {
            words[*chunk] = bits_up_to(order.chunk_len(*chunk));
        }
        let mut bits = Self {
            words,
            summary: Vec::new(),
            count: order.len(),
        };
        bits.summarise(order);
        bits
    }

    pub(crate) fn count(&self) -> usize {
        self.count
    }

    pub(crate) fn has(&self, place: Place) -> bool {
        self.word(place.chunk) & bit(place.index) != 0
    }

    pub(crate) fn set(&mut self, order: &OrderedSlots, place: Place, on: bool) {
        if self.has(place) == on {
            return;
        }
        let chunk = place.chunk;
        if chunk >= self.words.len() {
            self.words.resize(order.chunk_count(), 0);
        }
        self.words[chunk] ^= bit(place.index);
        if on {
            self.count += 1;
        } else {
            self.count -= 1;
        }
        self.note(order, place.chunk);
    }

    /// The first set place after `after`, or the first of all.
    pub(crate) fn next(&self, order: &OrderedSlots, after: Option<Place>) -> Option<Place> {
        self.next_where(order, after, |_, word| word)
    }

    /// All set places, in order.
    pub(crate) fn iter<'a>(&'a self, order: &'a OrderedSlots) -> impl Iterator<Item = Place> + 'a {
        let first = self.next(order, None);
        std::iter::successors(first, move |last| self.next(order, Some(*last)))
    }

    /// As [`next`](Self::next), among the places that `mask` leaves of a chunk's word.
    pub(crate) fn next_where(
        &self,
        order: &OrderedSlots,
        after: Option<Place>,
        mask: impl Fn(usize, u64) -> u64,
    ) -> Option<Place> {
        let mut rank = 0;
        if let Some(after) = after {
            let later = !(u64::MAX >> (CHUNK - 1 - after.index));
            let word = mask(after.chunk, self.word(after.chunk)) & later;
            if word != 0 {
                return Some(first(after.chunk, word));
            }
            rank = order.rank(after.chunk) + 1;
        }
        loop {
            rank = self.next_chunk(rank)?;
            let chunk = order.directory()[rank];
            let word = mask(chunk, self.word(chunk));
            if word != 0 {
                return Some(first(chunk, word));
            }
            rank += 1;
        }
    }

    /// Keeps up with what the order says has changed.
    pub(crate) fn shift(&mut self, order: &OrderedSlots, shift: Edit) {
        match shift {
            Edit::Opened(place) => {
                if let Some(word) = self.words.get_mut(place.chunk) {
                    let low = bit(place.index) - 1;
                    *word = (*word & low) | ((*word & !low) << 1);
                }
                self.note(order, place.chunk);
            }
            Edit::Closed(place) => {
                self.count -= usize::from(self.has(place));
                if let Some(word) = self.words.get_mut(place.chunk) {
                    let low = bit(place.index) - 1;
                    *word = (*word & low) | ((*word >> 1) & !low);
                }
                self.note(order, place.chunk);
            }
            Edit::Split { from, into } => {
                self.words.resize(order.chunk_count(), 0);
                let word = self.words[from];
                self.words[into] = word >> HALF;
                self.words[from] = word & (bit(HALF) - 1);
                self.summarise(order);
            }
            Edit::Directory => {
                self.words.resize(order.chunk_count(), 0);
                self.summarise(order);
            }
        }
    }

    fn word(&self, chunk: usize) -> u64 {
        self.words.get(chunk).copied().unwrap_or(0)
    }

    /// The first chunk with a bit, by its rank, from `rank` on.
    fn next_chunk(&self, rank: usize) -> Option<usize> {
        let (index, offset) = (rank / CHUNK, rank % CHUNK);
        let word = self.summary.get(index)? & (u64::MAX << offset);
        if word != 0 {
            return Some(index * CHUNK + word.trailing_zeros() as usize);
        }
        let rest = self.summary[index + 1..].iter();
        let (skipped, word) = rest.enumerate().find(|(_, word)| **word != 0)?;
        Some((index + 1 + skipped) * CHUNK + word.trailing_zeros() as usize)
    }

    fn note(&mut self, order: &OrderedSlots, chunk: usize) {
        let rank = order.rank(chunk);
        let needed = order.directory().len().div_ceil(CHUNK);
        if self.summary.len() < needed {
            self.summary.resize(needed, 0);
        }
        let bit = bit(rank % CHUNK);
        if self.word(chunk) == 0 {
            self.summary[rank / CHUNK] &= !bit;
        } else {
            self.summary[rank / CHUNK] |= bit;
        }
    }

    fn summarise(&mut self, order: &OrderedSlots) {
        self.summary.clear();
        self.summary
            .resize(order.directory().len().div_ceil(CHUNK), 0);
        for (rank, chunk) in order.directory().iter().enumerate() {
            if self.word(*chunk) != 0 {
                self.summary[rank / CHUNK] |= bit(rank % CHUNK);
            }
        }
    }
}

fn bit(index: usize) -> u64 {
    1 << index
}

/// So many bits, the lowest.
fn bits_up_to(count: usize) -> u64 {
    match count {
        0 => 0,
        _ => u64::MAX >> (CHUNK - count.min(CHUNK)),
    }
}

fn first(chunk: usize, word: u64) -> Place {
    Place {
        chunk,
        index: word.trailing_zeros() as usize,
    }
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, BTreeSet};

    use proptest::prelude::*;
    use proptest::test_runner::FileFailurePersistence;

    use super::*;

    #[derive(Clone, Debug)]
    enum Step {
        Comes(u32),
        Goes(u32),
        Set(u32, bool),
        Next(u32),
    }

    fn steps() -> impl Strategy<Value = Vec<Step>> {
        let slot = || 0..400_u32;
        let step = prop_oneof![
            4 => slot().prop_map(Step::Comes),
            1 => slot().prop_map(Step::Goes),
            4 => (slot(), any::<bool>()).prop_map(|(slot, on)| Step::Set(slot, on)),
            2 => slot().prop_map(Step::Next),
        ];
        prop::collection::vec(step, 1..1200)
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_failure_persistence(FileFailurePersistence::WithSource("regressions")))]

        #[test]
        fn bits_follow_their_slots(steps in steps()) {
            let (mut order, mut bits) = (OrderedSlots::default(), BitSet::default());
            let mut places: BTreeMap<u32, Place> = BTreeMap::new();
            let mut set: BTreeSet<u32> = BTreeSet::new();
            for step in steps {
                match step {
                    Step::Comes(slot) if !places.contains_key(&slot) => {
                        let before = order.last_up_to(|other| other.cmp(&slot));
                        order.insert_after(
                            before,
                            slot,
                            |slot, place| { places.insert(slot, place); },
                            |order, shift| bits.shift(order, shift),
                        );
                    }
                    Step::Goes(slot) => {
                        if let Some(place) = places.remove(&slot) {
                            set.remove(&slot);
                            order.remove(
                                place,
                                |slot, place| { places.insert(slot, place); },
                                |order, shift| bits.shift(order, shift),
                            );
                        }
                    }
                    Step::Set(slot, on) => {
                        if let Some(place) = places.get(&slot) {
                            bits.set(&order, *place, on);
                            if on { set.insert(slot); } else { set.remove(&slot); }
                        }
                    }
                    Step::Next(slot) => {
                        let after = order.last_up_to(|other| other.cmp(&slot));
                        let found = bits.next(&order, after).map(|place| order.slot(place));
                        prop_assert_eq!(found, set.range(slot + 1..).next().copied());
                        let odd = |_, word| word & 0xAAAA_AAAA_AAAA_AAAA;
                        let found = bits.next_where(&order, after, odd);
                        let expected = set.range(slot + 1..).find(|slot| places[*slot].index % 2 == 1);
                        prop_assert_eq!(found.map(|place| order.slot(place)), expected.copied());
                    }
                    Step::Comes(_) => {}
                }
                prop_assert_eq!(bits.count(), set.len());
            }
            let all = BitSet::all(&order);
            prop_assert_eq!(all.count(), places.len());
            let listed: Vec<u32> = all.iter(&order).map(|place| order.slot(place)).collect();
            prop_assert_eq!(listed, places.into_keys().collect::<Vec<_>>());
        }
    }
}

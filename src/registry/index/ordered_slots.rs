//! Slots in the order of their ids, in chunks of one word of bits, so that an insertion costs one chunk.

use std::cmp::Ordering;

/// Where a slot is: its chunk's number and its index in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Place {
    pub(crate) chunk: usize,
    pub(crate) index: usize,
}

/// Slots in order. Chunks keep their numbers; the directory says in which order they come.
#[derive(Debug, Default)]
pub(crate) struct OrderedSlots {
    chunks: Vec<Chunk>,
    directory: Vec<usize>,
    /// Numbers of chunks that are no longer used.
    free: Vec<usize>,
    len: usize,
}

#[derive(Debug, Default)]
struct Chunk {
    /// Its index in the directory.
    rank: usize,
    slots: Vec<u32>,
}

/// What has changed for bit sets that keep a bit for each place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Edit {
    /// A place was opened; those after it in its chunk have moved up by one.
    Opened(Place),
    /// A place was closed; those after it in its chunk have moved down by one.
    Closed(Place),
    /// The upper half of a chunk has moved into another one, from index 0 on.
    Split { from: usize, into: usize },
    /// Chunks have come or gone.
    Directory,
}

impl OrderedSlots {
    pub(crate) fn len(&self) -> usize {
        self.len
    }

    pub(crate) fn slot(&self, place: Place) -> u32 {
        self.chunks[place.chunk].slots[place.index]
    }

    /// The chunks in order.
    pub(crate) fn directory(&self) -> &[usize] {
        &self.directory
    }

    /// The last place of the chunk that is this part, from 0 to 1, of all chunks.
    pub(crate) fn at_part(&self, part: f64) -> Option<Place> {
        let nth = index_at(part, self.len);
        let rank = (nth * self.directory.len()).checked_div(self.len)?;
        let chunk = *self.directory.get(rank)?;
        let index = nth % self.chunks[chunk].slots.len();
        Some(Place { chunk, index })
    }

    /// A chunk's index in the directory.
    pub(crate) fn rank(&self, chunk: usize) -> usize {
        self.chunks[chunk].rank
    }

    pub(crate) fn chunk_len(&self, chunk: usize) -> usize {
        self.chunks[chunk].slots.len()
    }

    /// One more than the highest number of a chunk.
    pub(crate) fn chunk_count(&self) -> usize {
        self.chunks.len()
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = u32> + '_ {
        self.directory
            .iter()
            .flat_map(|chunk| self.chunks[*chunk].slots.iter().copied())
    }

    /// The last place whose slot comes before or is what `compare` looks for; `compare` says how a slot relates to that.
    pub(crate) fn last_up_to(&self, compare: impl Fn(u32) -> Ordering) -> Option<Place> {
        let up_to = |slot: u32| compare(slot) != Ordering::Greater;
        let rank = self
            .directory
            .partition_point(|chunk| up_to(self.chunks[*chunk].slots[0]))
            .checked_sub(1)?;
        let chunk = self.directory[rank];
        let slots = &self.chunks[chunk].slots;
        let index = slots.partition_point(|slot| up_to(*slot)) - 1;
        Some(Place { chunk, index })
    }

    /// Puts a slot in after `before`, or first. `moved` hears of the new places of slots, `shifted` of what that means for bits.
    pub(crate) fn insert_after(
        &mut self,
        before: Option<Place>,
        slot: u32,
        mut moved: impl FnMut(u32, Place),
        mut shifted: impl FnMut(&Self, Edit),
    ) {
        self.len += 1;
        let mut at = match before {
            Some(place) => Place {
                index: place.index + 1,
                ..place
            },
            None => {
                let first = self.directory.first().copied();
                let chunk = first.unwrap_or_else(|| self.open_chunk(0));
                Place { chunk, index: 0 }
            }
        };
        if self.chunks[at.chunk].slots.len() == CHUNK {
            at = self.make_room(at, &mut moved, &mut shifted);
        }
        self.chunks[at.chunk].slots.insert(at.index, slot);
        self.tell_places(at, moved);
        shifted(self, Edit::Opened(at));
    }

    pub(crate) fn remove(
        &mut self,
        at: Place,
        moved: impl FnMut(u32, Place),
        mut shifted: impl FnMut(&Self, Edit),
    ) {
        self.len -= 1;
        self.chunks[at.chunk].slots.remove(at.index);
        self.tell_places(at, moved);
        let is_empty = self.chunks[at.chunk].slots.is_empty();
        shifted(self, Edit::Closed(at));
        if is_empty {
            let rank = self.rank(at.chunk);
            self.directory.remove(rank);
            self.free.push(at.chunk);
            self.number_from(0);
            shifted(self, Edit::Directory);
        }
    }

    /// Another place for what does not fit at `at`: at the end of all, in a new chunk; elsewhere in a half of the old one.
    fn make_room(
        &mut self,
        at: Place,
        moved: &mut impl FnMut(u32, Place),
        shifted: &mut impl FnMut(&Self, Edit),
    ) -> Place {
        let rank = self.rank(at.chunk);
        let into = self.open_chunk(rank + 1);
        let at_the_end = rank + 2 == self.directory.len() && at.index == CHUNK;
        if at_the_end {
            shifted(self, Edit::Directory);
            return Place {
                chunk: into,
                index: 0,
            };
        }
        self.chunks[into].slots = self.chunks[at.chunk].slots.split_off(HALF);
        let start = Place {
            chunk: into,
            index: 0,
        };
        self.tell_places(start, moved);
        shifted(
            self,
            Edit::Split {
                from: at.chunk,
                into,
            },
        );
        match at.index.checked_sub(HALF) {
            Some(index) if index > 0 => Place { chunk: into, index },
            _ => at,
        }
    }

    /// Says of each slot from `from` to the end of its chunk where it is now.
    fn tell_places(&self, from: Place, mut moved: impl FnMut(u32, Place)) {
        let chunk = from.chunk;
        for (index, slot) in self.chunks[chunk].slots.iter().enumerate().skip(from.index) {
            moved(*slot, Place { chunk, index });
        }
    }

    fn open_chunk(&mut self, rank: usize) -> usize {
        let chunk = self.free.pop().unwrap_or_else(|| {
            self.chunks.push(Chunk::default());
            self.chunks.len() - 1
        });
        self.directory.insert(rank, chunk);
        self.number_from(rank);
        chunk
    }

    fn number_from(&mut self, rank: usize) {
        for (rank, chunk) in self.directory.iter().enumerate().skip(rank) {
            self.chunks[*chunk].rank = rank;
        }
    }
}

/// An index below `len`, at a part of it that is less than 1.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    clippy::cast_precision_loss,
    reason = "a part of a length is an index"
)]
pub(crate) fn index_at(part: f64, len: usize) -> usize {
    (len as f64 * part) as usize
}

/// As many slots as a word has bits.
pub(crate) const CHUNK: usize = 64;
pub(crate) const HALF: usize = CHUNK / 2;

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;
    use proptest::test_runner::FileFailurePersistence;

    use super::*;

    proptest! {
        #![proptest_config(ProptestConfig::with_failure_persistence(FileFailurePersistence::WithSource("regressions")))]

        #[test]
        fn slots_stay_in_order_and_know_their_places(
            steps in prop::collection::vec((0..600_u32, prop::bool::weighted(0.7)), 1..900)
        ) {
            let mut order = OrderedSlots::default();
            let mut places: BTreeMap<u32, Place> = BTreeMap::new();
            for (slot, comes) in steps {
                match (comes, places.get(&slot).copied()) {
                    (true, None) => {
                        let before = order.last_up_to(|other| other.cmp(&slot));
                        order.insert_after(before, slot, |slot, place| { places.insert(slot, place); }, |_, _| ());
                    }
                    (false, Some(place)) => {
                        places.remove(&slot);
                        order.remove(place, |slot, place| { places.insert(slot, place); }, |_, _| ());
                    }
                    _ => {}
                }
                prop_assert_eq!(order.len(), places.len());
            }
            let listed: Vec<u32> = order.iter().collect();
            let expected: Vec<u32> = places.keys().copied().collect();
            prop_assert_eq!(listed, expected);
            for (slot, place) in &places {
                prop_assert_eq!(order.slot(*place), *slot);
            }
            for (rank, chunk) in order.directory().iter().enumerate() {
                prop_assert_eq!(order.rank(*chunk), rank);
            }
        }
    }

    #[test]
    fn slots_that_come_in_order_fill_their_chunks() {
        let mut order = OrderedSlots::default();
        for slot in 0..1000_u32 {
            let before = order.last_up_to(|other| other.cmp(&slot));
            order.insert_after(before, slot, |_, _| (), |_, _| ());
        }
        assert_eq!(order.directory().len(), 1000_usize.div_ceil(CHUNK));
    }
}

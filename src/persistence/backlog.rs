//! The write-behind backlog: unsaved records, and when each may be written.

use std::collections::{BTreeSet, HashMap};
use std::time::{Duration, Instant};

use super::item::Item;
use crate::clock::deadline;

/// Records with news, each with a due time and a back-off of its own, so that one which cannot be saved delays no other.
#[derive(Debug, Default)]
pub(crate) struct Backlog {
    records: HashMap<Item, Entry>,
    /// Records with news that no writer is saving at the moment, by when they are due.
    waiting: BTreeSet<(Instant, Item)>,
    /// Those that were written just now, by when their next news need not wait.
    resting: BTreeSet<(Instant, Item)>,
    under_way: usize,
}

#[derive(Debug)]
struct Entry {
    /// From when on it may be written.
    due: Instant,
    /// When its last write came to an end.
    tried: Instant,
    /// How many writes in a row have failed.
    failures: u32,
    stage: Stage,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    Ticket,
    /// It is being written, and may have got news since that began.
    UnderWay {
        has_news: bool,
    },
    Resting,
}

impl Backlog {
    /// Notes news of a record: the first are due immediately, what follows a write when [`COALESCE`] has passed, and what follows one that
    /// failed, whatever its pause, when [`PAUSE_BEFORE_NEWS`] has.
    pub(crate) fn note(&mut self, item: Item, now: Instant) {
        let Some(entry) = self.records.get_mut(&item) else {
            self.waiting.insert((now, item.clone()));
            let entry = Entry {
                due: now,
                tried: now,
                failures: 0,
                stage: Stage::Ticket,
            };
            self.records.insert(item, entry);
            return;
        };
        match entry.stage {
            Stage::Ticket => {
                let due = deadline(entry.tried, PAUSE_BEFORE_NEWS).max(now);
                if due < entry.due {
                    self.waiting.remove(&(entry.due, item.clone()));
                    entry.due = due;
                    self.waiting.insert((due, item));
                }
            }
            Stage::UnderWay { .. } => entry.stage = Stage::UnderWay { has_news: true },
            Stage::Resting => {
                entry.stage = Stage::Ticket;
                let place = (entry.due, item);
                self.resting.remove(&place);
                self.waiting.insert(place);
            }
        }
    }

    /// A record that is due; from here on it is under way.
    pub(crate) fn take_due(&mut self, now: Instant) -> Option<Item> {
        while self.resting.first().is_some_and(|(due, _)| *due <= now) {
            if let Some((_, item)) = self.resting.pop_first() {
                self.records.remove(&item);
            }
        }
        let due = self.waiting.first().is_some_and(|(due, _)| *due <= now);
        due.then(|| self.take_any()).flatten()
    }

    /// As [`take_due`](Self::take_due), for any record with news.
    pub(crate) fn take_any(&mut self) -> Option<Item> {
        let (_, item) = self.waiting.pop_first()?;
        self.begin(&item);
        Some(item)
    }

    /// Takes this record, if it has news and is not under way.
    pub(crate) fn take(&mut self, item: &Item) -> bool {
        let due = self.records.get(item).map(|entry| entry.due);
        let waits = due.is_some_and(|due| self.waiting.remove(&(due, item.clone())));
        if waits {
            self.begin(item);
        }
        waits
    }

    fn begin(&mut self, item: &Item) {
        if let Some(entry) = self.records.get_mut(item) {
            entry.stage = Stage::UnderWay { has_news: false };
            self.under_way += 1;
        }
    }

    /// A record that was taken is written, or could not be: then it waits for longer and longer.
    pub(crate) fn finish(&mut self, item: &Item, is_saved: bool, now: Instant) {
        let Some(entry) = self.records.get_mut(item) else {
            return;
        };
        let has_news = entry.stage == Stage::UnderWay { has_news: true };
        let has_recovered = is_saved && entry.failures > 0;
        entry.failures = if is_saved {
            0
        } else {
            entry.failures.saturating_add(1)
        };
        let pause = COALESCE.saturating_mul(2_u32.saturating_pow(entry.failures));
        entry.due = deadline(now, pause.min(LONGEST_BACK_OFF));
        entry.tried = now;
        let place = (entry.due, item.clone());
        self.under_way -= 1;
        if has_news || !is_saved {
            entry.stage = Stage::Ticket;
            self.waiting.insert(place);
        } else {
            entry.stage = Stage::Resting;
            self.resting.insert(place);
        }
        if has_recovered {
            self.end_back_offs(now);
        }
    }

    /// One that had failed is saved: the store may be well again, for all of them.
    fn end_back_offs(&mut self, now: Instant) {
        for (due, item) in std::mem::take(&mut self.waiting) {
            let entry = self
                .records
                .get_mut(&item)
                .filter(|entry| entry.failures > 0);
            let due = match entry {
                Some(entry) => std::mem::replace(&mut entry.due, due.min(now)).min(now),
                None => due,
            };
            self.waiting.insert((due, item));
        }
    }

    /// When the next record with news is due.
    pub(crate) fn next_due(&self) -> Option<Instant> {
        self.waiting.first().map(|(due, _)| *due)
    }

    /// The ids of records that wait, the first due first.
    pub(crate) fn waiting(&self) -> impl Iterator<Item = &Item> {
        self.waiting.iter().map(|(_, item)| item)
    }

    /// How many records the store does not have as they are.
    pub(crate) fn unsaved(&self) -> usize {
        self.waiting.len() + self.under_way
    }
}

/// News of a record that come within this time of its last write are written together.
const COALESCE: Duration = Duration::from_millis(500);

/// News of a record whose last write failed are tried after this time.
const PAUSE_BEFORE_NEWS: Duration = Duration::from_secs(1);

/// The longest pause between attempts to save a record.
const LONGEST_BACK_OFF: Duration = Duration::from_secs(10);

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::clock::{Clock, ManualClock};

    const TICK: Duration = Duration::from_millis(1);

    fn record(id: &str) -> Item {
        Item::Record(Arc::from(id))
    }

    fn all_due(backlog: &mut Backlog, now: Instant) -> Vec<String> {
        std::iter::from_fn(|| backlog.take_due(now))
            .map(|id| id.to_string())
            .collect()
    }

    #[test]
    fn first_news_are_due_immediately_and_what_follows_is_coalesced() {
        let now = ManualClock::at(crate::clock::Timestamp::UNIX_EPOCH).monotonic();
        let (a, b) = (record("a"), record("b"));
        let mut backlog = Backlog::default();
        backlog.note(a.clone(), now);
        backlog.note(a.clone(), now);
        assert_eq!(all_due(&mut backlog, now), ["a"]);
        // News of a record that is being written, and of another one.
        backlog.note(a.clone(), now);
        backlog.note(b.clone(), now);
        assert_eq!(all_due(&mut backlog, now), ["b"]);
        assert_eq!((backlog.unsaved(), backlog.next_due()), (2, None));
        backlog.finish(&a, true, now);
        backlog.finish(&b, true, now);
        assert_eq!(backlog.unsaved(), 1, "a has news again");
        assert!(all_due(&mut backlog, now + COALESCE.checked_sub(TICK).unwrap()).is_empty());
        assert_eq!(all_due(&mut backlog, now + COALESCE), ["a"]);
        backlog.finish(&a, true, now + COALESCE);
        // News while it rests wait for the rest of the pause; without news, it is forgotten.
        backlog.note(a.clone(), now + COALESCE + TICK);
        assert_eq!(backlog.next_due(), Some(now + 2 * COALESCE));
        assert_eq!(all_due(&mut backlog, now + 2 * COALESCE), ["a"]);
        backlog.finish(&a, true, now + 2 * COALESCE);
        assert!(all_due(&mut backlog, now + 3 * COALESCE).is_empty());
        assert!(backlog.records.is_empty() && backlog.resting.is_empty());
    }

    #[test]
    fn a_record_that_fails_waits_longer_and_longer_alone() {
        let mut now = ManualClock::at(crate::clock::Timestamp::UNIX_EPOCH).monotonic();
        let (bad, good) = (record("bad"), record("good"));
        let mut backlog = Backlog::default();
        backlog.note(bad.clone(), now);
        for pause in [1, 2, 4, 8, 10, 10] {
            assert_eq!(all_due(&mut backlog, now), ["bad"]);
            backlog.finish(&bad, false, now);
            // Others go on.
            backlog.note(good.clone(), now);
            assert_eq!(all_due(&mut backlog, now), ["good"]);
            backlog.finish(&good, true, now);
            let due = now + Duration::from_secs(pause);
            assert_eq!(backlog.next_due(), Some(due));
            assert!(all_due(&mut backlog, due.checked_sub(TICK).unwrap()).is_empty());
            now = due;
        }
        assert!(backlog.take(&bad), "a last attempt needs no due time");
        assert!(!backlog.take(&bad) && backlog.take_any().is_none());
        backlog.finish(&bad, true, now);
        assert_eq!(backlog.unsaved(), 0);
    }

    #[test]
    fn news_and_the_recovery_of_another_record_end_a_pause() {
        let mut now = ManualClock::at(crate::clock::Timestamp::UNIX_EPOCH).monotonic();
        let records = [record("a"), record("b")];
        let mut backlog = Backlog::default();
        let second = Duration::from_secs(1);
        for record in &records {
            backlog.note(record.clone(), now);
        }
        for pause in [1, 2, 4] {
            assert_eq!(all_due(&mut backlog, now).len(), 2);
            for record in &records {
                backlog.finish(record, false, now);
            }
            assert_eq!(backlog.next_due(), Some(now + pause * second));
            now += pause * second;
        }
        assert_eq!(all_due(&mut backlog, now).len(), 2);
        for record in &records {
            backlog.finish(record, false, now);
        }
        let [a, b] = records;
        backlog.note(a.clone(), now);
        assert_eq!(backlog.next_due(), Some(now + second));
        now += 2 * second;
        assert_eq!(all_due(&mut backlog, now), ["a"]);
        backlog.finish(&a, false, now);
        now += 3 * second;
        backlog.note(a.clone(), now);
        assert_eq!(all_due(&mut backlog, now), ["a"]);
        backlog.finish(&a, true, now);
        assert_eq!(all_due(&mut backlog, now), ["b"]);
        backlog.finish(&b, true, now);
        assert_eq!(backlog.unsaved(), 0);
    }
}

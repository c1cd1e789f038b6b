//! [`EntryNotes`]: entries that the store does not have yet.

use crate::expiring::ExpiringMap;
use crate::store::StoreEntry;

/// Bounded as the store is: where that is away for long, the newest are kept for it.
#[derive(Debug, Default)]
pub(super) struct EntryNotes {
    noted: Notes,
    /// Those that the writer has taken.
    being_saved: Notes,
    most: usize,
}

type Notes = ExpiringMap<String, Option<String>>;

/// Entries to be written, and how many the store keeps.
pub(super) type Taken = (Vec<StoreEntry>, usize);

impl EntryNotes {
    /// Whether the writer is to be told: it does not know of any.
    pub(super) fn note(&mut self, entry: StoreEntry, most: usize) -> bool {
        let is_first = self.noted.is_empty();
        let StoreEntry {
            key,
            value,
            expires_at,
        } = entry;
        self.noted.insert(key, value, expires_at);
        self.noted.truncate(most);
        self.most = most;
        is_first
    }

    pub(super) fn get(&self, key: &str) -> Option<StoreEntry> {
        let noted = self.noted.get(key).or_else(|| self.being_saved.get(key));
        noted.map(|(value, ends)| entry(key, value.as_deref(), ends))
    }

    /// Takes them to be written: they are found until that has come to its [end](Self::end_save).
    pub(super) fn begin_save(&mut self) -> Taken {
        self.being_saved = std::mem::take(&mut self.noted);
        let all = self.being_saved.iter();
        let all = all.map(|(key, value, ends)| entry(key, value.as_deref(), ends));
        (all.collect(), self.most)
    }

    pub(super) fn end_save(&mut self, is_saved: bool) {
        let taken = std::mem::take(&mut self.being_saved);
        if is_saved {
            return;
        }
        for (key, value, ends) in taken.iter() {
            if self.noted.get(key).is_none() {
                self.noted.insert(key.clone(), value.clone(), ends);
            }
        }
        self.noted.truncate(self.most);
    }
}

fn entry(key: &str, value: Option<&str>, ends: crate::clock::Timestamp) -> StoreEntry {
    let mut entry = StoreEntry::removal(key);
    entry.value = value.map(str::to_owned);
    entry.expires_at = ends;
    entry
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::Timestamp;

    fn named(key: &str, value: &str) -> StoreEntry {
        StoreEntry::new(key, value, Timestamp::UNIX_EPOCH)
    }

    #[test]
    fn what_could_not_be_saved_is_kept_unless_there_is_newer() {
        let mut notes = EntryNotes::default();
        assert!(notes.note(named("a", "1"), 9));
        assert!(!notes.note(named("b", "1"), 9));
        assert!(!notes.note(StoreEntry::removal("c"), 9));
        assert_eq!(notes.begin_save().0.len(), 3);
        assert_eq!(notes.get("a"), Some(named("a", "1")), "it is under way");
        assert!(notes.note(named("a", "2"), 9));
        notes.end_save(false);
        for (key, value) in [("a", Some("2")), ("b", Some("1")), ("c", None)] {
            let found = notes.get(key).unwrap();
            assert_eq!(found.value.as_deref(), value, "{key}");
        }
        assert_eq!(notes.begin_save().0.len(), 3);
        notes.end_save(true);
        assert_eq!(notes.get("a"), None);
        assert_eq!(notes.begin_save(), (Vec::new(), 9));
    }
}

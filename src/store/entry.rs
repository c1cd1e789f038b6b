//! [`StoreEntry`]: a small value under a key, until a time, beside the records.

use std::collections::BTreeMap;

use crate::clock::Timestamp;

/// A small value that processes share beside the records, under a key, until a time. See [`Store::save_entries`](super::Store::save_entries).
///
/// ```
/// use credpool::{StoreEntry, Timestamp};
///
/// let entry = StoreEntry::new("resource/1", "team-a", Timestamp::UNIX_EPOCH);
/// assert_eq!(entry.value.as_deref(), Some("team-a"));
/// assert_eq!(StoreEntry::removal("resource/1").value, None);
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct StoreEntry {
    /// What it is found by: any text.
    pub key: String,
    /// What it says; none where the entry is to be removed.
    pub value: Option<String>,
    /// From when on it counts no more, to the millisecond. A store need not look at the time: readers do.
    pub expires_at: Timestamp,
}

impl StoreEntry {
    /// An entry.
    pub fn new(key: impl Into<String>, value: impl Into<String>, expires_at: Timestamp) -> Self {
        Self {
            key: key.into(),
            value: Some(value.into()),
            expires_at,
        }
    }

    /// The removal of what is under a key.
    pub fn removal(key: impl Into<String>) -> Self {
        Self {
            key: key.into(),
            value: None,
            expires_at: Timestamp::UNIX_EPOCH,
        }
    }
}

/// The last of several under one key, in the order of the keys: writers that lock rows in one order do not wait for each other in a circle.
#[cfg_attr(
    not(any(feature = "sqlite", feature = "postgres", feature = "redis")),
    expect(dead_code, reason = "stores of these features write in batches")
)]
pub(super) fn last_of_each(entries: &[StoreEntry]) -> impl Iterator<Item = &StoreEntry> {
    let by_key: BTreeMap<&str, &StoreEntry> =
        entries.iter().map(|entry| (&*entry.key, entry)).collect();
    by_key.into_values()
}

pub(super) fn millis(at: Timestamp) -> i64 {
    let millis = (at - Timestamp::UNIX_EPOCH).whole_milliseconds();
    i64::try_from(millis).unwrap_or(i64::MAX)
}

/// The time of so many milliseconds, within the calendar.
pub(super) fn from_millis(millis: i64) -> Timestamp {
    Timestamp::UNIX_EPOCH.saturating_add(time::Duration::milliseconds(millis))
}

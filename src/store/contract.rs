//! What a store that several processes share says beyond its records.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::Skipped;
use crate::Timestamp;
use crate::auth::Auth;
use crate::error::Error;

/// What became of a [`Store::save_if`](super::Store::save_if).
#[derive(Clone, Debug)]
pub enum Saved {
    /// It is durable, at this place: a path, a key.
    At(String),
    /// The store has another revision of the record, this one, or none at all; nothing was written.
    Conflict(Option<Box<Auth>>),
}

/// A digest of a record's credential part.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Revision([u8; 16]);

impl Revision {
    /// That of a record.
    pub fn of(auth: &Auth) -> Self {
        use sha2::{Digest, Sha256};
        let mut part = super::parts::credential(auth);
        part.remove("next_refresh_after");
        let digest = Sha256::digest(serde_json::to_vec(&part).unwrap_or_default());
        let mut first = [0; 16];
        first.copy_from_slice(&digest[..16]);
        Self(first)
    }
}

/// What it means that a store has no record of an id.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Missing {
    /// It was removed.
    Removed,
    /// The store has lost it, or cannot tell.
    Lost,
}

/// The right to refresh one record, from [`Store::lock`](super::Store::lock). Given back when it is dropped.
///
/// With it goes the record's [`Intent`], which outlives the process that noted it.
pub trait RecordLock: Send {
    /// The intent that was noted last and not cleared.
    ///
    /// # Errors
    /// When it cannot be read.
    fn intent(&self) -> Result<Option<Intent>, Error>;

    /// Notes, durably, that the refresh token of a generation is about to be used; `None`: that it is known what came of it.
    ///
    /// # Errors
    /// When it was not noted. A refresh then does not begin.
    fn set_intent(&mut self, intent: Option<&Intent>) -> Result<(), Error>;

    /// Whether getting this lock proves that its former holder is dead or has given it back.
    fn holder_is_dead(&self) -> bool {
        true
    }
}

/// That a refresh has begun. One that is found by the next who has the lock, for the generation that the record still has, says
/// that its answer was lost: the refresh token may have been used up.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Intent {
    /// The generation whose refresh token is being used.
    pub generation: u64,
    /// When it began, by the wall clock.
    #[serde(with = "unix_millis")]
    pub at: Timestamp,
    /// How many times that token has been sent, this time included.
    pub tries: u32,
}

impl Intent {
    /// A refresh of `generation` that begins now, for the first time.
    pub fn new(generation: u64, now: Timestamp) -> Self {
        Self {
            generation,
            at: now,
            tries: 1,
        }
    }

    /// How many times the token has been sent, with this try.
    pub fn with_tries(mut self, tries: u32) -> Self {
        self.tries = tries;
        self
    }
}

/// In JSON, an instant is a number of milliseconds.
mod unix_millis {
    use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error};
    use time::Duration;

    use crate::Timestamp;

    pub(super) fn serialize<S: Serializer>(at: &Timestamp, to: S) -> Result<S::Ok, S::Error> {
        let millis = (*at - Timestamp::UNIX_EPOCH).whole_milliseconds();
        i64::try_from(millis).unwrap_or(i64::MAX).serialize(to)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Timestamp, D::Error> {
        let millis = i64::deserialize(from)?;
        Timestamp::UNIX_EPOCH
            .checked_add(Duration::milliseconds(millis))
            .ok_or_else(|| D::Error::custom("no such time"))
    }
}

/// A lock that excludes nobody, of stores that one process uses alone.
#[derive(Clone, Copy, Debug, Default)]
pub struct Unlocked;

impl RecordLock for Unlocked {
    fn intent(&self) -> Result<Option<Intent>, Error> {
        Ok(None)
    }

    fn set_intent(&mut self, _: Option<&Intent>) -> Result<(), Error> {
        Ok(())
    }
}

/// A place in a store's history, in the store's own words.
#[derive(Clone, PartialEq, Eq)]
pub struct Cursor(String);

impl Cursor {
    /// A place. The text is the store's own business.
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// The store's own text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Cursor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Cursor").field(&self.0).finish()
    }
}

/// What has changed in a store.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Changes {
    /// Where the next look begins.
    pub cursor: Cursor,
    /// Records that were written, as they are now.
    pub written: Vec<Auth>,
    /// Ids of records that are gone.
    pub removed: Vec<String>,
    /// What was written and does not read.
    pub skipped: Vec<Skipped>,
    /// The answer names every record that the store has.
    pub complete: bool,
}

impl Changes {
    /// Nothing, up to `cursor`.
    pub fn none(cursor: Cursor) -> Self {
        Self {
            cursor,
            written: Vec::new(),
            removed: Vec::new(),
            skipped: Vec::new(),
            complete: false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_intent_reads_as_it_was_written() {
        let at = time::macros::utc_datetime!(2026-01-02 03:04:05.678);
        let intent = Intent::new(7, at).with_tries(2);
        let text = serde_json::to_string(&intent).unwrap();
        assert_eq!(serde_json::from_str::<Intent>(&text).unwrap(), intent);
        let hostile = text.replace(
            &(intent.at - Timestamp::UNIX_EPOCH)
                .whole_milliseconds()
                .to_string(),
            "9223372036854775807",
        );
        assert!(serde_json::from_str::<Intent>(&hostile).is_err());
    }
}

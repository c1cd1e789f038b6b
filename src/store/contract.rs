//! Types of a shared store: revisions and compare-and-swap, locks, write-ahead intents, changes since a cursor.

use std::fmt;

use serde::{Deserialize, Serialize};
use serde_json::Value;
use sha2::{Digest, Sha256};

use super::Skipped;
use super::codec;
use crate::auth::{Auth, Wiped, wiped_json};
use crate::clock::Timestamp;
use crate::error::Error;

/// What became of a [`Store::save_if`](super::Store::save_if).
///
/// ```
/// use credpool::{Auth, MemoryStore, Saved, Store};
///
/// let store = MemoryStore::new();
/// let auth = Auth::api_key("openai", "sk-1").with_id("a");
/// assert!(matches!(store.save_if(&auth, None)?, Saved::At(_)));
/// // There is one now.
/// let other = Auth::api_key("openai", "sk-2").with_id("a");
/// assert!(matches!(store.save_if(&other, None)?, Saved::Conflict(Some(_))));
/// # Ok::<(), credpool::Error>(())
/// ```
#[doc(alias = "compare-and-swap")]
#[derive(Clone, Debug)]
pub enum Saved {
    /// It is durable, at this place: a path, a key.
    At(String),
    /// The store has another revision of the record, this one, or none at all; nothing was written.
    Conflict(Option<Box<Auth>>),
}

/// What is there instead of what a writer expected.
pub(super) type Conflict = Option<Box<Auth>>;

/// What a record's credential is: a digest of all of it that is stored apart from its runtime state, tokens and settings alike.
///
/// Two records have one revision where their credentials say the same, however that was formatted, by any writer. It is made
/// from the decoded record, so that it needs no counter, which a store that is restored counts again and other programs do not
/// know. [`next_refresh_after`](Auth::next_refresh_after) is left out: it is when this process looks again, not what the
/// credential is.
///
/// ```
/// use credpool::{Auth, Revision};
///
/// let auth = Auth::api_key("openai", "sk-123").with_id("a");
/// assert_eq!(Revision::of(&auth), Revision::of(&auth.clone()));
/// assert_ne!(Revision::of(&auth), Revision::of(&auth.with_label("renamed")));
/// ```
#[doc(alias = "compare-and-swap")]
#[doc(alias = "optimistic locking")]
#[doc(alias = "ETag")]
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Revision([u8; 16]);

impl Revision {
    /// The revision of a record.
    pub fn of(auth: &Auth) -> Self {
        let mut credential = codec::credential(auth);
        credential.remove("next_refresh_after");
        let mut credential = Wiped::new(Value::from(credential.into_inner()));
        // Whatever the order in which the map has its members. Writing them to memory cannot fail.
        credential.sort_all_objects();
        let digest = Sha256::digest(wiped_json(&*credential).unwrap_or_default());
        let mut revision = [0; 16];
        revision.copy_from_slice(&digest[..16]);
        Self(revision)
    }

    /// Whether [`Store::save_if`](super::Store::save_if) may write `auth` where the store has `stored`: that is what the writer expects, or
    /// an earlier attempt has written `auth` already.
    ///
    /// ```
    /// use credpool::{Auth, Revision};
    ///
    /// let stored = Auth::api_key("openai", "old").with_id("a");
    /// let newer = Auth::api_key("openai", "new").with_id("a");
    /// assert!(Revision::allows(Some(&Revision::of(&stored)), Some(&stored), &newer));
    /// assert!(!Revision::allows(None, Some(&stored), &newer));
    /// ```
    pub fn allows(expected: Option<&Self>, stored: Option<&Auth>, auth: &Auth) -> bool {
        let there = stored.map(Self::of);
        there.as_ref() == expected || there == Some(Self::of(auth))
    }
}

impl fmt::Debug for Revision {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Revision({:032x})", u128::from_be_bytes(self.0))
    }
}

/// What it means that a store has no record of an id, from [`Store::missing`](super::Store::missing).
///
/// ```
/// use credpool::{Auth, MemoryStore, Missing, Store};
///
/// let store = MemoryStore::new();
/// store.save(&Auth::api_key("openai", "sk-1").with_id("a"))?;
/// store.delete("a")?;
/// assert_eq!(store.missing("a")?, Missing::Removed);
/// assert_eq!(store.missing("b")?, Missing::Lost);
/// # Ok::<(), credpool::Error>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Missing {
    /// The record was removed, and stays so.
    Removed,
    /// The store knows of no removal: it has lost the record, or never had it. A process that still has it writes it again.
    Lost,
}

impl Missing {
    /// What a store says that remembers removals.
    pub(super) fn of(is_removed: bool) -> Self {
        if is_removed {
            Self::Removed
        } else {
            Self::Lost
        }
    }
}

/// The right to refresh one record, from [`Store::lock`](super::Store::lock). Given back when it is dropped.
///
/// With it goes the record's [`Intent`], which outlives the process that noted it.
///
/// ```
/// use std::time::Duration;
///
/// use credpool::{MemoryStore, RecordLock, Store};
///
/// let store = MemoryStore::new();
/// let lock: Option<Box<dyn RecordLock>> = store.lock("a", Duration::ZERO)?;
/// assert!(lock.is_some_and(|lock| lock.is_held() && lock.holder_is_dead()));
/// # Ok::<(), credpool::Error>(())
/// ```
pub trait RecordLock: Send {
    /// The intent that was noted last and not cleared.
    ///
    /// # Errors
    /// When it cannot be read.
    fn intent(&self) -> Result<Option<Intent>, Error>;

    /// Notes, durably, that the refresh token of a generation is about to be used; `None`: that it is known what came of it. While new
    /// tokens cannot be saved, the intent is noted again every few seconds, at another time of its own.
    ///
    /// A call that takes more than 5 seconds is no good: others may have waited this refresh out. Then its token is not sent, and the
    /// refresh is tried again later.
    ///
    /// # Errors
    /// When it was not noted. A refresh then does not begin.
    fn set_intent(&mut self, intent: Option<&Intent>) -> Result<(), Error>;

    /// Whether to get this lock proves that its former holder is dead, or has given it back. Default: true.
    ///
    /// A lock of the system on an open file (`flock`) proves it. One that ends with a lease or a connection does not: these may
    /// end while the holder lives and its request is under way. Where it is false, the refresh token of an unfinished
    /// [`Intent`] is sent again only when the longest request is over: 35 seconds, counted from when the intent was first seen as it is and
    /// from when the store was last in trouble, since no process could save new tokens then. A refresh
    /// token that is sent while the former request is under way ends the login at a strict token endpoint. The price: where the
    /// holder was killed in the middle of its request, the login lives on only if the token endpoint takes a spent token for as long
    /// as that; with a lock that proves the death, the next process asks within a second.
    fn holder_is_dead(&self) -> bool {
        true
    }

    /// Whether the lock is still held, as far as is known without asking. Default: true.
    ///
    /// False: it was lost, or may be within moments, because it could not be renewed; another process may get it. A holder then
    /// ends its request.
    fn is_held(&self) -> bool {
        true
    }
}

/// A write-ahead intent: the durable note that a refresh has begun. One that the next holder of the lock finds, for the generation that
/// the record still has, says that its answer was lost: the refresh token may have been used up.
///
/// ```
/// use std::time::Duration;
///
/// use credpool::{Auth, Clock, Intent, MemoryStore, Store, SystemClock};
///
/// let store = MemoryStore::new();
/// store.save(&Auth::api_key("openai", "sk-1").with_id("a"))?;
/// let mut lock = store.lock("a", Duration::ZERO)?.expect("no other holder");
/// let intent = Intent::new(3, SystemClock.now()).with_tries(1);
/// lock.set_intent(Some(&intent))?;
/// assert_eq!(lock.intent()?.map(|intent| intent.generation), Some(3));
/// # Ok::<(), credpool::Error>(())
/// ```
#[doc(alias = "write-ahead")]
#[doc(alias = "fencing token")]
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

    use crate::clock::Timestamp;

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

/// A lock that excludes no other process, of stores that one process uses alone.
///
/// ```
/// use credpool::{RecordLock, Unlocked};
///
/// let lock: Box<dyn RecordLock> = Box::new(Unlocked::default());
/// assert!(lock.is_held());
/// ```
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
///
/// ```
/// use credpool::{Auth, MemoryStore, Store};
///
/// let store = MemoryStore::new();
/// let cursor = store.list()?.cursor.unwrap();
/// store.save(&Auth::api_key("openai", "sk-1").with_id("a"))?;
/// let changes = store.changes(Some(&cursor))?.unwrap();
/// assert_eq!(changes.written[0].id, "a");
/// # Ok::<(), credpool::Error>(())
/// ```
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
///
/// ```
/// use credpool::{Auth, Changes, Cursor, codec};
///
/// let texts = codec::encode(&Auth::api_key("openai", "sk-1").with_id("a"))?;
/// let mut changes = Changes::none(Cursor::new("42"));
/// changes.add("a", texts.credential(), Some(texts.state()));
/// changes.removed.push("b".to_owned());
/// assert_eq!(changes.written[0].id, "a");
/// # Ok::<(), credpool::Error>(())
/// ```
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Changes {
    /// Where the next look begins.
    pub cursor: Cursor,
    /// Records that were written, as they are now.
    pub written: Vec<Auth>,
    /// Ids of records that were removed.
    pub removed: Vec<String>,
    /// What was written and cannot be parsed.
    pub skipped: Vec<Skipped>,
    /// Whether the answer names every record that the store has, because it began at the beginning: the cursor was not of this
    /// store, or was ahead of it, as after a server lost its last writes or an older copy was restored. What `written` and `skipped`
    /// then do not name is not in the store; [`Store::missing`](super::Store::missing) tells what that means.
    pub complete: bool,
    /// Whether the store is notified of changes, so that the next look costs next to nothing while nothing has changed. Hot reload then asks
    /// four times a second, where its interval is longer. Default: false.
    pub is_notified: bool,
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
            is_notified: false,
        }
    }

    /// Adds a record that was written, as the store has its texts: to `written`, or to `skipped` where it cannot be parsed. See
    /// [`codec`](crate::codec).
    ///
    /// ```
    /// use credpool::{Changes, Cursor};
    ///
    /// let mut changes = Changes::none(Cursor::new("1"));
    /// changes.add("a", "no JSON", None);
    /// assert_eq!((changes.written.len(), changes.skipped.len()), (0, 1));
    /// ```
    pub fn add(&mut self, id: &str, credential: &str, state: Option<&str>) {
        codec::add_row(&mut self.written, &mut self.skipped, id, credential, state);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(text: &str) -> Auth {
        serde_json::from_str(text).unwrap()
    }

    #[test]
    fn a_revision_is_what_the_credential_says_however_it_is_written() {
        let one = r#"{"id":"a","provider":"p","disabled":false,"metadata":{"x":1,"y":{"b":[1,"2"],"a":null}},"other":1.5}"#;
        let same = r#"{ "other": 1.50, "metadata": {"y": {"a": null, "b": [1, "\u0032"]}, "x": 1},
            "provider": "p", "id": "a", "status": "error", "status_message": "slow", "updated_at": "2026-01-01T00:00:00Z",
            "next_refresh_after": "2026-01-01T00:00:00Z", "created_at": "0001-01-01T00:00:00Z", "generation": 0 }"#;
        let revision = Revision::of(&record(one));
        assert_eq!(revision, Revision::of(&record(same)));
        for (part, other) in [
            (r#""x":1"#, r#""x":"1""#),
            (r#""x":1"#, r#""x":1.0"#),
            (r#"[1,"2"]"#, "[1,2]"),
            (r#"[1,"2"]"#, r#"["2",1]"#),
            (r#"[1,"2"]"#, r#"[[1],"2"]"#),
            (r#""a":null"#, r#""a":false"#),
            (r#","a":null"#, ""),
            (r#""id":"a""#, r#""id":"b""#),
            (r#""disabled":false"#, r#""disabled":true"#),
            (r#""disabled":false"#, r#""proxy_url":"http://h:1""#),
            (r#""disabled":false"#, r#""generation":1"#),
            (
                r#""disabled":false"#,
                r#""created_at":"2026-01-01T00:00:00Z""#,
            ),
            (
                r#""disabled":false"#,
                r#""last_refreshed_at":"2026-01-01T00:00:00Z""#,
            ),
            (r#""disabled":false"#, r#""attributes":{"base_url":"u"}"#),
            (r#""other":1.5"#, r#""another":1.5"#),
        ] {
            let changed = one.replace(part, other);
            assert_ne!(changed, one);
            assert_ne!(revision, Revision::of(&record(&changed)), "{part} {other}");
        }
    }

    #[test]
    fn a_revision_shows_no_secret() {
        let shown = format!("{:?}", Revision::of(&Auth::api_key("p", "k").with_id("a")));
        let digits = shown.trim_start_matches("Revision(").trim_end_matches(')');
        assert_eq!(digits.len(), 32);
        assert!(digits.bytes().all(|digit| digit.is_ascii_hexdigit()));
    }

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

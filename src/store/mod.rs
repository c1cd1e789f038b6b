//! Durable homes of credentials: the [`Store`] trait and its backends. Knows nothing of registry and manager.

pub mod codec;
mod contract;
mod entry;
mod file;
mod memory;
mod mounted;
#[cfg(feature = "postgres")]
mod postgres;
#[cfg(feature = "redis")]
mod redis;
mod sealed;
#[cfg(feature = "sqlite")]
mod sqlite;
mod support;

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

#[cfg(feature = "redis")]
pub use self::redis::RedisStore;
pub use contract::{Changes, Cursor, Intent, Missing, RecordLock, Revision, Saved, Unlocked};
pub use entry::StoreEntry;
pub use file::FileStore;
pub use memory::MemoryStore;
pub use mounted::MountedKeys;
#[cfg(feature = "postgres")]
pub use postgres::PostgresStore;
pub use sealed::{Sealed, SealingKey};
#[cfg(feature = "sqlite")]
pub use sqlite::SqliteStore;
pub(crate) use support::lock_file::leave_parents_locks;

use crate::auth::Auth;
use crate::error::Error;

/// Keeps records across restarts.
///
/// Three methods, `list`, `save` and `delete`, are enough for a store that one process uses alone. Then a cooldown rewrites the whole
/// record; a look for one record reads all of them; a process that ends during a refresh leaves no word of it; and a
/// record that was removed behind the process's back is taken for lost, and written again. One that can keep the runtime state apart
/// from the credential should also override [`save_state`](Store::save_state): it is called often, and a cooldown should never
/// rewrite a token.
///
/// A store that several processes share overrides the rest too: [`lock`](Store::lock), so that one of them refreshes a token at
/// a time and learns how the last refresh ended; [`save_if`](Store::save_if), so that no write undoes what another process has
/// just written; [`changes`](Store::changes), so that each sees what the others, and operators, changed; and
/// [`missing`](Store::missing), so that a removed record stays so while a lost one is written again. With
/// [`load_entries`](Store::load_entries) and [`save_entries`](Store::save_entries) they share what is no record.
///
/// Methods block and are called with no lock held. Those that write a record are called one at a time for one id within a
/// process.
///
/// ```
/// use std::collections::BTreeMap;
/// use std::sync::Mutex;
///
/// use credpool::{Auth, Error, Listing, Manager, Store, codec};
///
/// /// Records as text, for one process.
/// #[derive(Default)]
/// struct Texts(Mutex<BTreeMap<String, (String, String)>>);
/// impl Store for Texts {
///     fn list(&self) -> Result<Listing, Error> {
///         let mut listing = Listing::of(Vec::new());
///         for (id, (credential, state)) in &*self.0.lock().unwrap() {
///             listing.add(id, credential, Some(state));
///         }
///         Ok(listing)
///     }
///     fn save(&self, auth: &Auth) -> Result<String, Error> {
///         let texts = codec::encode(auth)?;
///         let parts = (texts.credential().to_owned(), texts.state().to_owned());
///         self.0.lock().unwrap().insert(auth.id.clone(), parts);
///         Ok(auth.id.clone())
///     }
///     fn delete(&self, id: &str) -> Result<(), Error> {
///         self.0.lock().unwrap().remove(id);
///         Ok(())
///     }
/// }
///
/// let manager = Manager::builder().store(Texts::default()).build()?;
/// manager.register(Auth::api_key("openai", "sk-1"))?;
/// # Ok::<(), Error>(())
/// ```
#[doc(alias = "persistence")]
pub trait Store: Send + Sync {
    /// All records, what could not be read, and, of a store with [`changes`](Store::changes), from where these begin.
    ///
    /// # Errors
    /// When the backend as a whole cannot be read. One bad record is no error: it is skipped, with its reason.
    fn list(&self) -> Result<Listing, Error>;

    /// Writes a record, replacing the one with the same id, and says where it is now (a path, a key). When it returns, the
    /// record is durable.
    ///
    /// # Errors
    /// When it is not; the former record is then untouched.
    fn save(&self, auth: &Auth) -> Result<String, Error>;

    /// Removes the record. An unknown id is no error.
    ///
    /// # Errors
    /// When the backend could not.
    fn delete(&self, id: &str) -> Result<(), Error>;

    /// Writes the runtime state of a record that [`save`](Store::save) has written: status, errors, quota, cooldowns.
    ///
    /// It need not be durable: a state may be lost when the machine fails. What was written must be whole, and
    /// seen by the other processes.
    ///
    /// Each process writes the whole of what it knows. What another one had written before is put together with it when that one
    /// next sees the change, and written again where something was missing: for each model, what failed or came back last counts.
    /// The stores of this crate keep beside the record's JSON form what was over when; where a store keeps that form alone, the
    /// state that was written last is believed.
    ///
    /// The default saves the whole record.
    ///
    /// # Errors
    /// When it was not written; the writer tries again later.
    ///
    /// ```
    /// use credpool::{Auth, MemoryStore, Status, Store};
    ///
    /// let store = MemoryStore::new();
    /// let mut auth = Auth::api_key("openai", "sk-1").with_id("a");
    /// store.save(&auth)?;
    /// auth.status = Status::Error;
    /// store.save_state(&auth)?;
    /// assert_eq!(store.load("a")?.unwrap().status, Status::Error);
    /// # Ok::<(), credpool::Error>(())
    /// ```
    #[doc(alias = "write-behind")]
    fn save_state(&self, auth: &Auth) -> Result<(), Error> {
        self.save(auth).map(drop)
    }

    /// One record, as the store has it at this moment. `None` when it has none with this id.
    ///
    /// The default looks for it in [`list`](Store::list).
    ///
    /// # Errors
    /// When it could not be read.
    fn load(&self, id: &str) -> Result<Option<Auth>, Error> {
        let listing = self.list()?;
        Ok(listing.records.into_iter().find(|auth| auth.id == id))
    }

    /// As [`save`](Store::save), but only where the store's record has the [revision](Revision) `expected`, or, with `None`, where
    /// it has none; otherwise nothing is written and [`Saved::Conflict`] gives back what is there. Where the store has the very
    /// credential that is to be written, an earlier attempt has succeeded: that is no conflict.
    ///
    /// The runtime state is written with it, whatever the store's state is. A record that cannot be parsed has no revision: it is an
    /// error, or, where the store says so, is kept elsewhere and replaced.
    ///
    /// The default looks and then writes: right for one process alone. What another one writes in between is lost.
    ///
    /// # Errors
    /// When it is not written for another reason; the former record is then untouched.
    #[doc(alias = "optimistic locking")]
    #[doc(alias = "compare-and-swap")]
    fn save_if(&self, auth: &Auth, expected: Option<&Revision>) -> Result<Saved, Error> {
        let stored = self.load(&auth.id)?;
        if Revision::allows(expected, stored.as_ref(), auth) {
            self.save(auth).map(Saved::At)
        } else {
            Ok(Saved::Conflict(stored.map(Box::new)))
        }
    }

    /// What it means that the store has no record of this id: that it was removed, or that the store has lost it, as a server does
    /// that fails over to a replica, or a database that is restored from an older copy.
    ///
    /// The default is [`Missing::Lost`]: a store that does not remember removals cannot tell, and a credential that is lost costs
    /// more than one that comes back. What this process removed itself does not come back either way.
    ///
    /// # Errors
    /// When the store cannot be read at the moment, or is not what it was: neither is then known.
    fn missing(&self, id: &str) -> Result<Missing, Error> {
        let _ = id;
        Ok(Missing::Lost)
    }

    /// The right to refresh the tokens of a record, across all processes that share the store; dropping it gives it back, and so
    /// does the end of the process, however it comes. `None` when another one still has it after `wait`.
    ///
    /// The default excludes no other process, and remembers no [`Intent`].
    ///
    /// # Errors
    /// When the store cannot tell.
    fn lock(&self, id: &str, wait: Duration) -> Result<Option<Box<dyn RecordLock>>, Error> {
        let _ = (id, wait);
        Ok(Some(Box::new(Unlocked)))
    }

    /// What was written or removed, by any process, since a former call gave `since`; with `None`, only the place to begin from.
    /// Answers immediately. `None`, the default: the store cannot tell.
    ///
    /// It may name records that have not changed, and those that this process wrote itself.
    ///
    /// # Errors
    /// When the store cannot be read at the moment.
    fn changes(&self, since: Option<&Cursor>) -> Result<Option<Changes>, Error> {
        let _ = since;
        Ok(None)
    }

    /// Whether nothing has changed since a call of [`changes`](Self::changes) gave that cursor, as far as the store is told without asking
    /// for it: by notices of a server, a moment after a change. Hot reload asks this first, and then looks for changes only where it is false. It
    /// is to be false about once a minute all the same, because notices may be lost. Begins to listen where the store does not yet.
    ///
    /// The default is `false`: the store is told nothing.
    fn is_quiet(&self, since: &Cursor) -> bool {
        let _ = since;
        false
    }

    /// The entries under these keys, of those that there are.
    ///
    /// The default finds none.
    ///
    /// # Errors
    /// When they could not be read.
    fn load_entries(&self, keys: &[String]) -> Result<Vec<StoreEntry>, Error> {
        let _ = keys;
        Ok(Vec::new())
    }

    /// Writes entries: what processes tell each other beside the records, such as the owners of resources. One without a value removes
    /// what is under its key; of several with one key, the last counts. Up to some millions of bytes in all, written up to twice a second.
    ///
    /// About `most` are kept, never fewer: those that expire first make room. They need not be durable: entries may be lost when the machine
    /// fails. What was written must be seen by the other processes.
    ///
    /// The default keeps none: each process then knows what it has seen itself, until it ends.
    ///
    /// # Errors
    /// When they were not written; the writer tries again later.
    fn save_entries(&self, entries: &[StoreEntry], most: usize) -> Result<(), Error> {
        let _ = (entries, most);
        Ok(())
    }
}

impl<S: Store + ?Sized> Store for Arc<S> {
    fn list(&self) -> Result<Listing, Error> {
        (**self).list()
    }

    fn save(&self, auth: &Auth) -> Result<String, Error> {
        (**self).save(auth)
    }

    fn delete(&self, id: &str) -> Result<(), Error> {
        (**self).delete(id)
    }

    fn save_state(&self, auth: &Auth) -> Result<(), Error> {
        (**self).save_state(auth)
    }

    fn load(&self, id: &str) -> Result<Option<Auth>, Error> {
        (**self).load(id)
    }

    fn save_if(&self, auth: &Auth, expected: Option<&Revision>) -> Result<Saved, Error> {
        (**self).save_if(auth, expected)
    }

    fn missing(&self, id: &str) -> Result<Missing, Error> {
        (**self).missing(id)
    }

    fn lock(&self, id: &str, wait: Duration) -> Result<Option<Box<dyn RecordLock>>, Error> {
        (**self).lock(id, wait)
    }

    fn changes(&self, since: Option<&Cursor>) -> Result<Option<Changes>, Error> {
        (**self).changes(since)
    }

    fn is_quiet(&self, since: &Cursor) -> bool {
        (**self).is_quiet(since)
    }

    fn load_entries(&self, keys: &[String]) -> Result<Vec<StoreEntry>, Error> {
        (**self).load_entries(keys)
    }

    fn save_entries(&self, entries: &[StoreEntry], most: usize) -> Result<(), Error> {
        (**self).save_entries(entries, most)
    }
}

/// What a store holds.
///
/// ```
/// use credpool::{Auth, Cursor, Listing, codec};
///
/// let texts = codec::encode(&Auth::api_key("openai", "sk-1").with_id("a"))?;
/// let mut listing = Listing::of(Vec::new()).with_cursor(Cursor::new("42"));
/// listing.add("a", texts.credential(), Some(texts.state()));
/// listing.add("b", "no JSON", None);
/// assert_eq!((listing.records.len(), listing.skipped.len()), (1, 1));
/// # Ok::<(), credpool::Error>(())
/// ```
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct Listing {
    /// The records.
    pub records: Vec<Auth>,
    /// What is there but could not be read.
    pub skipped: Vec<Skipped>,
    /// From where [`Store::changes`] tells what changed since; `None` of a store that cannot tell.
    pub cursor: Option<Cursor>,
}

/// Something in a store that is not a readable record. It is left as it is.
///
/// ```
/// use credpool::Skipped;
///
/// let skipped = Skipped::new("b.credential", "is cut short");
/// assert_eq!(skipped.location, "b.credential");
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Skipped {
    /// Where: a path, a key.
    pub location: String,
    /// Why, without quoting what was read.
    pub reason: String,
}

impl Listing {
    /// Records, and nothing skipped.
    pub fn of(records: Vec<Auth>) -> Self {
        Self {
            records,
            ..Self::default()
        }
    }

    /// Adds a record as the store has its texts: to `records`, or to `skipped` where it cannot be parsed. See [`codec`](crate::codec) for
    /// an example.
    pub fn add(&mut self, id: &str, credential: &str, state: Option<&str>) {
        codec::add_row(&mut self.records, &mut self.skipped, id, credential, state);
    }

    /// Says from where [`Store::changes`] tells what changed since.
    pub fn with_cursor(mut self, cursor: Cursor) -> Self {
        self.cursor = Some(cursor);
        self
    }
}

impl Skipped {
    /// Something skipped.
    pub fn new(location: impl Into<String>, reason: impl Into<String>) -> Self {
        Self {
            location: location.into(),
            reason: reason.into(),
        }
    }
}

impl fmt::Display for Skipped {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.location, self.reason)
    }
}

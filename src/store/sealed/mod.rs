//! [`Sealed`]: a store that encrypts what is secret in the records of another one.

mod envelope;
mod keys;
mod parts;

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use parking_lot::Mutex;

use self::envelope::Closed;
use self::keys::KeySet;
pub use self::keys::SealingKey;
use super::codec::{self, MOST_RACES, overtaken, shown};
use super::{
    Changes, Cursor, Listing, Missing, RecordLock, Revision, Saved, Skipped, Store, StoreEntry,
};
use crate::auth::Auth;
use crate::error::Error;
use crate::panic::guard;

/// A store that encrypts what is secret in the records of another one: encryption at rest.
///
/// # What is sealed
///
/// Keys, tokens, headers, addresses, the proxy, and everything else in the attributes and the metadata that is not known to be public, by
/// AES-256-GCM under a fresh random nonce. The record's id is part of it: in another record it does not open. Readable for operators and
/// other processes stay id, provider, label, `disabled`, the times, when the tokens end, account (`email`, `project_id`), limits, priority and
/// weight, and the state: errors, cooldowns, quota. So do [intents](crate::Intent) and [entries](Store::save_entries), which hold no secret.
///
/// # Keys
///
/// They come from a function: of a file ([`SealingKey::from_file`]), a variable ([`SealingKey::from_variable`]), or whatever else a program
/// has, such as the system's keyring. The first key seals, all of them open. So a key is replaced while programs run:
///
/// 1. add the new key as the second one for every process, and have them [read their keys](Self::reload_keys), or restart them;
/// 2. make it the first one, and read the keys again: records are sealed with it whenever they are next written;
/// 3. [`reseal`](Self::reseal) the others, and take the former key away.
///
/// A process that meets a record of a key that it does not know reads its keys again by itself, so that the first step may be left out where
/// all processes read them from one place. While there is such a record, hot reload does so at each look.
///
/// # Records that do not open
///
/// A record of another key, or one that was changed without it, is skipped with a reason, as one that cannot be parsed is. No save replaces
/// it; only [`delete`](Store::delete) removes it.
///
/// A record that is not sealed is read as it is, and sealed when it is next written; [`reseal`](Self::reseal) seals all. So an existing store
/// is taken over, and an operator may write a key into a record by hand, beside what is sealed or in place of it. Who can write to the store
/// can do the same, and lead a credential to another address: where that is to be excluded, [`require_sealed`](Self::require_sealed).
///
/// # Limits
///
/// Every process that shares the store needs the wrapper. What it wraps keeps its guarantees, and unchanged records stay unwritten. Before a
/// write of a record, or of its state, the record is read. The secrets of one record may have 768 KiB. A token file of another program is
/// read, and sealed at the first change: then that program cannot read it any more. A [`TokenStorage`](crate::TokenStorage) is not used. A
/// store whose [`save_if`](Store::save_if) is the default is for one process, as it is without the wrapper, and `reseal` is for the time
/// before its manager is built.
///
/// ```
/// use credpool::{Auth, FileStore, Manager, Sealed, SealingKey};
///
/// # let home = tempfile::tempdir()?;
/// # let home = home.path();
/// # std::fs::write(home.join("key"), SealingKey::generate()?.to_base64().expose())?;
/// let key = home.join("key");
/// let store = Sealed::new(FileStore::open(home.join("credentials"))?, move || SealingKey::from_file(&key))?;
/// let manager = Manager::builder().store(store).build()?;
/// manager.register(Auth::api_key("openai", "sk-canary").with_id("team-a"))?;
///
/// let text = std::fs::read_to_string(home.join("credentials/team-a.credential"))?;
/// assert!(text.contains("openai") && !text.contains("sk-canary"));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[doc(alias = "encryption")]
#[doc(alias = "encryption at rest")]
#[doc(alias = "keyring")]
pub struct Sealed<S> {
    store: S,
    source: Source,
    keys: Mutex<Keys>,
    /// Counts reads of the source, so that an older answer replaces no newer one.
    reads: AtomicU64,
    /// The records that wait for a key, by their ids, and the ids of these keys.
    locked_out: Mutex<BTreeMap<String, String>>,
    refuses_plain: bool,
}

type Source = Box<dyn Fn() -> Result<Vec<SealingKey>, Error> + Send + Sync>;

struct Keys {
    set: Arc<KeySet>,
    /// Which read of the source gave them.
    read: u64,
}

impl<S: Store> Sealed<S> {
    /// Seals the records of `store` with the keys that `source` gives: the first one seals, all of them open. The source is called with no
    /// lock held; it may block, and its panic is an error.
    ///
    /// # Errors
    /// What the source says; [`ErrorCode::Config`](crate::ErrorCode::Config) where it gives no key.
    ///
    /// ```
    /// use credpool::{MemoryStore, Sealed, SealingKey};
    ///
    /// let key = SealingKey::generate()?;
    /// let store = Sealed::new(MemoryStore::new(), move || Ok(vec![key.clone()]))?;
    /// # drop(store);
    /// # Ok::<(), credpool::Error>(())
    /// ```
    pub fn new(
        store: S,
        source: impl Fn() -> Result<Vec<SealingKey>, Error> + Send + Sync + 'static,
    ) -> Result<Self, Error> {
        let source: Source = Box::new(source);
        let set = Arc::new(read(&source)?);
        Ok(Self {
            store,
            source,
            keys: Mutex::new(Keys { set, read: 0 }),
            reads: AtomicU64::new(0),
            locked_out: Mutex::default(),
            refuses_plain: false,
        })
    }

    /// Skips records that are not sealed, or that have secrets or addresses beside what is sealed, where they are read otherwise: for a store
    /// to which others can write, once everything in it is sealed. The default reads them.
    ///
    /// ```
    /// use std::sync::Arc;
    ///
    /// use credpool::{Auth, MemoryStore, Sealed, SealingKey, Store};
    ///
    /// let memory = Arc::new(MemoryStore::new());
    /// memory.save(&Auth::api_key("openai", "sk-1").with_id("a"))?;
    /// let key = SealingKey::generate()?;
    /// let store = Sealed::new(memory, move || Ok(vec![key.clone()]))?.require_sealed();
    /// assert_eq!(store.list()?.skipped.len(), 1);
    /// # Ok::<(), credpool::Error>(())
    /// ```
    pub fn require_sealed(mut self) -> Self {
        self.refuses_plain = true;
        self
    }

    /// Reads the keys from their source again. From now on the first of them seals; records are sealed anew when they are next written.
    ///
    /// # Errors
    /// As [`new`](Self::new): the former keys stay.
    #[doc(alias = "rotate")]
    pub fn reload_keys(&self) -> Result<(), Error> {
        let number = self.reads.fetch_add(1, Ordering::Relaxed) + 1;
        let set = Arc::new(read(&self.source)?);
        let mut keys = self.keys.lock();
        if keys.read < number {
            *keys = Keys { set, read: number };
        }
        Ok(())
    }

    /// Seals every record with the first key that is not: those of former keys, and plain ones. Each is swapped for what was read of it, so
    /// that no concurrent write is lost; a state that another process saves in that moment is saved once more by that process. Gives back what could not be opened, and stays as it is; where that is nothing, former keys
    /// are no longer needed.
    ///
    /// # Errors
    /// When the store cannot be read or written.
    ///
    /// ```
    /// use std::sync::{Arc, Mutex};
    ///
    /// use credpool::{Auth, MemoryStore, Sealed, SealingKey, Store};
    ///
    /// let (old, new) = (SealingKey::generate()?, SealingKey::generate()?);
    /// let keys = Arc::new(Mutex::new(vec![old.clone()]));
    /// let source = keys.clone();
    /// let store = Sealed::new(MemoryStore::new(), move || Ok(source.lock().unwrap().clone()))?;
    /// store.save(&Auth::api_key("openai", "sk-1").with_id("a"))?;
    ///
    /// *keys.lock().unwrap() = vec![new.clone(), old];
    /// store.reload_keys()?;
    /// assert!(store.reseal()?.is_empty());
    ///
    /// *keys.lock().unwrap() = vec![new];
    /// store.reload_keys()?;
    /// assert_eq!(store.list()?.records.len(), 1);
    /// # Ok::<(), credpool::Error>(())
    /// ```
    #[doc(alias = "re-encrypt")]
    pub fn reseal(&self) -> Result<Vec<Skipped>, Error> {
        let listing = self.store.list()?;
        let mut skipped = listing.skipped;
        let keys = self.keys_for(&listing.records);
        for raw in listing.records {
            if parts::is_sealed_with(&raw, keys.first()) {
                continue;
            }
            // As it is by now, with its state.
            if let Some(raw) = self.store.load(&raw.id)? {
                skipped.extend(self.reseal_record(raw)?);
            }
        }
        Ok(skipped)
    }

    /// What keeps the record from being opened.
    fn reseal_record(&self, mut raw: Auth) -> Result<Option<Skipped>, Error> {
        let id = raw.id.clone();
        for _ in 0..MOST_RACES {
            let keys = self.keys_for(std::slice::from_ref(&raw));
            if parts::is_sealed_with(&raw, keys.first()) {
                return Ok(None);
            }
            let auth = match self.open(raw.clone(), &keys) {
                Ok(auth) => auth,
                Err(skipped) => return Ok(Some(skipped)),
            };
            let sealed = parts::seal(&auth, None, &keys)?;
            match self.store.save_if(&sealed, Some(&Revision::of(&raw)))? {
                Saved::At(_) | Saved::Conflict(None) => return Ok(None),
                Saved::Conflict(Some(now)) => raw = *now,
            }
        }
        Err(overtaken(&id))
    }

    fn keys(&self) -> Arc<KeySet> {
        Arc::clone(&self.keys.lock().set)
    }

    /// The keys, read again where one of these records needs another one.
    fn keys_for(&self, raws: &[Auth]) -> Arc<KeySet> {
        let keys = self.keys();
        let is_known = |raw: &Auth| parts::key_id(raw).is_none_or(|id| keys.get(id).is_some());
        if raws.iter().all(is_known) {
            return keys;
        }
        if let Err(error) = self.reload_keys() {
            log::warn!("the keys of the sealed store could not be read again: {error}");
        }
        self.keys()
    }

    /// Opens a record, or says why that is skipped.
    fn open(&self, raw: Auth, keys: &KeySet) -> Result<Auth, Skipped> {
        let skipped = |reason: String| Skipped::new(shown(&raw.id), reason);
        if self.refuses_plain && (!raw.is_sealed() || parts::shows_secrets(&raw)) {
            return Err(skipped(NOT_SEALED.to_owned()));
        }
        let id = raw.id.clone();
        let opened = parts::open(raw, keys);
        let mut locked_out = self.locked_out.lock();
        match &opened {
            Err(Closed::UnknownKey(key)) => {
                locked_out.insert(id.clone(), key.clone());
            }
            _ => {
                locked_out.remove(&id);
            }
        }
        opened.map_err(|closed| Skipped::new(shown(&id), closed.to_string()))
    }

    fn open_all(&self, raws: Vec<Auth>, skipped: &mut Vec<Skipped>) -> Vec<Auth> {
        let keys = self.keys_for(&raws);
        let mut records = Vec::with_capacity(raws.len());
        for raw in raws {
            match self.open(raw, &keys) {
                Ok(auth) => records.push(auth),
                Err(why) => skipped.push(why),
            }
        }
        records
    }

    fn open_one(&self, raw: Auth) -> Result<Auth, Error> {
        let keys = self.keys_for(std::slice::from_ref(&raw));
        let id = raw.id.clone();
        self.open(raw, &keys).map_err(|skipped| {
            let Skipped { location, reason } = skipped;
            Error::store(format!("credential {location} {reason}")).with_auth_id(&id)
        })
    }

    /// Adds the records that have waited for a key which is there by now: they have not changed.
    fn add_unlocked(&self, raws: &mut Vec<Auth>) -> Result<(), Error> {
        if self.locked_out.lock().is_empty() {
            return Ok(());
        }
        if let Err(error) = self.reload_keys() {
            log::debug!("the keys of the sealed store could not be read again: {error}");
        }
        let keys = self.keys();
        let waiting = self.locked_out.lock().clone();
        let unlocked = waiting
            .into_iter()
            .filter(|(id, key)| keys.get(key).is_some() && raws.iter().all(|raw| raw.id != *id));
        for (id, _) in unlocked.collect::<Vec<_>>() {
            match self.store.load(&id)? {
                Some(raw) => raws.push(raw),
                None => drop(self.locked_out.lock().remove(&id)),
            }
        }
        Ok(())
    }

    /// Swaps a record for the one that is there, where that may be. A record that does not open is never replaced.
    fn put(
        &self,
        auth: &Auth,
        may_replace: impl Fn(Option<&Auth>) -> bool,
    ) -> Result<Saved, Error> {
        codec::check(auth)?;
        // What cannot be parsed is the wrapped store's to judge, as without the wrapper.
        let loaded = self.store.load(&auth.id);
        let mut is_damaged = loaded.is_err();
        let mut stored = loaded.ok().flatten();
        for _ in 0..MOST_RACES {
            let opened = stored.clone().map(|raw| self.open_one(raw)).transpose()?;
            if !is_damaged && !may_replace(opened.as_ref()) {
                return Ok(Saved::Conflict(opened.map(Box::new)));
            }
            let keys = self.keys();
            let sealed = parts::seal(auth, stored.as_ref(), &keys)?;
            let expected = stored.as_ref().map(Revision::of);
            match self.store.save_if(&sealed, expected.as_ref())? {
                Saved::At(place) => {
                    self.keep_up(auth, sealed, keys);
                    return Ok(Saved::At(place));
                }
                Saved::Conflict(now) => {
                    stored = now.map(|now| *now);
                    is_damaged = false;
                }
            }
        }
        Err(overtaken(&auth.id))
    }

    /// Seals a record anew that was sealed while another key became the first: who has sealed all others since takes the former one away.
    fn keep_up(&self, auth: &Auth, mut sealed: Auth, mut keys: Arc<KeySet>) {
        loop {
            let now = self.keys();
            if now.first().id() == keys.first().id() {
                return;
            }
            let again = parts::seal(auth, None, &now).and_then(|again| {
                let saved = self.store.save_if(&again, Some(&Revision::of(&sealed)))?;
                Ok((again, saved))
            });
            match again {
                Ok((again, Saved::At(_))) => (sealed, keys) = (again, now),
                // A later write, by the keys that there are then.
                Ok((_, Saved::Conflict(_))) => return,
                Err(error) => {
                    let id = &auth.id;
                    log::warn!(
                        "credential {id} is sealed with a former key, which is still needed: {error}"
                    );
                    return;
                }
            }
        }
    }
}

fn read(source: &Source) -> Result<KeySet, Error> {
    KeySet::new(guard(|| "the source of sealing keys".to_owned(), source).flatten()?)
}

impl<S: Store> Store for Sealed<S> {
    fn list(&self) -> Result<Listing, Error> {
        let mut listing = self.store.list()?;
        let raws = std::mem::take(&mut listing.records);
        listing.records = self.open_all(raws, &mut listing.skipped);
        Ok(listing)
    }

    fn save(&self, auth: &Auth) -> Result<String, Error> {
        match self.put(auth, |_| true)? {
            Saved::At(place) => Ok(place),
            Saved::Conflict(_) => Err(overtaken(&auth.id)),
        }
    }

    fn delete(&self, id: &str) -> Result<(), Error> {
        self.store.delete(id)
    }

    fn save_state(&self, auth: &Auth) -> Result<(), Error> {
        codec::check(auth)?;
        // The credential stays what is there: a store that writes both together has it sealed.
        let Some(mut raw) = self.store.load(&auth.id)? else {
            return Ok(());
        };
        codec::add_state(&mut raw, codec::state(auth)).map_err(|why| codec::refused(auth, &why))?;
        self.store.save_state(&raw)
    }

    fn load(&self, id: &str) -> Result<Option<Auth>, Error> {
        let raw = self.store.load(id)?;
        raw.map(|raw| self.open_one(raw)).transpose()
    }

    fn save_if(&self, auth: &Auth, expected: Option<&Revision>) -> Result<Saved, Error> {
        self.put(auth, |stored| Revision::allows(expected, stored, auth))
    }

    fn missing(&self, id: &str) -> Result<Missing, Error> {
        self.store.missing(id)
    }

    fn lock(&self, id: &str, wait: Duration) -> Result<Option<Box<dyn RecordLock>>, Error> {
        self.store.lock(id, wait)
    }

    fn changes(&self, since: Option<&Cursor>) -> Result<Option<Changes>, Error> {
        let Some(mut changes) = self.store.changes(since)? else {
            return Ok(None);
        };
        let mut raws = std::mem::take(&mut changes.written);
        if since.is_some() {
            self.add_unlocked(&mut raws)?;
        }
        changes.written = self.open_all(raws, &mut changes.skipped);
        Ok(Some(changes))
    }

    fn is_quiet(&self, since: &Cursor) -> bool {
        // A record may wait for a key that has come.
        self.locked_out.lock().is_empty() && self.store.is_quiet(since)
    }

    fn load_entries(&self, keys: &[String]) -> Result<Vec<StoreEntry>, Error> {
        self.store.load_entries(keys)
    }

    fn save_entries(&self, entries: &[StoreEntry], most: usize) -> Result<(), Error> {
        self.store.save_entries(entries, most)
    }
}

impl<S: fmt::Debug> fmt::Debug for Sealed<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sealed")
            .field("store", &self.store)
            .field("keys", &self.keys.lock().set.all().collect::<Vec<_>>())
            .finish_non_exhaustive()
    }
}

const NOT_SEALED: &str = "is not sealed, or has secrets beside its sealed part, and the store requires records to be sealed: remove these, or seal them by `reseal` \
     of a store that does not";

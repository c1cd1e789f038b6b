//! [`MemoryStore`]: a shared store in memory.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use parking_lot::Mutex;

use super::codec;
use super::support::poll::poll;
use super::{
    Changes, Cursor, Intent, Listing, Missing, RecordLock, Revision, Saved, Store, StoreEntry,
};
use crate::auth::Auth;
use crate::error::Error;
use crate::expiring::ExpiringMap;
use crate::runtime::{PerProcess, lock_of_parent};

/// A store in memory: for tests, and for programs that keep their credentials elsewhere.
///
/// It keeps every promise of a shared store among the threads, and the managers, of one process that share it in an `Arc`.
/// Nothing survives the process.
///
/// ```
/// use credpool::{Auth, MemoryStore, Store};
///
/// let store = MemoryStore::new();
/// store.save(&Auth::api_key("openai", "sk-123").with_id("a"))?;
/// assert_eq!(store.list()?.records.len(), 1);
/// # Ok::<(), credpool::Error>(())
/// ```
#[derive(Debug, Default)]
pub struct MemoryStore {
    memory: PerProcess<Memory>,
}

#[derive(Debug, Default)]
struct Memory {
    records: Mutex<Records>,
    refreshes: Arc<Mutex<Refreshes>>,
    entries: Mutex<ExpiringMap<String, String>>,
}

#[derive(Clone, Debug, Default)]
struct Records {
    kept: BTreeMap<String, Auth>,
    /// In which version an id was last written or removed.
    changed: BTreeMap<String, u64>,
    version: u64,
    store: Number,
}

/// Tells the cursors of one store of this process from those of another.
#[derive(Clone, Debug)]
struct Number(u64);

impl Default for Number {
    fn default() -> Self {
        static NEXT: AtomicU64 = AtomicU64::new(1);
        Self(NEXT.fetch_add(1, Ordering::Relaxed))
    }
}

#[derive(Debug, Default)]
struct Refreshes {
    locked: HashSet<String>,
    intents: HashMap<String, Intent>,
}

impl MemoryStore {
    /// An empty store.
    pub fn new() -> Self {
        Self::default()
    }

    fn memory(&self) -> Result<&Memory, Error> {
        self.memory.get(Memory::of_child)
    }
}

impl Memory {
    /// What its parent had. Refreshes that the parent has begun are not the child's.
    fn of_child(&self) -> Result<Self, Error> {
        let changing = "a store in memory was being changed";
        let refreshes = Refreshes {
            locked: HashSet::new(),
            intents: lock_of_parent(&self.refreshes, changing)?.intents.clone(),
        };
        Ok(Self {
            records: Mutex::new(lock_of_parent(&self.records, changing)?.clone()),
            refreshes: Arc::new(Mutex::new(refreshes)),
            entries: Mutex::new(lock_of_parent(&self.entries, changing)?.clone()),
        })
    }
}

impl Store for MemoryStore {
    fn list(&self) -> Result<Listing, Error> {
        let records = self.memory()?.records.lock();
        let listing = Listing::of(records.kept.values().cloned().collect());
        Ok(listing.with_cursor(records.cursor()))
    }

    fn save(&self, auth: &Auth) -> Result<String, Error> {
        self.memory()?.records.lock().save(auth);
        Ok(auth.id.clone())
    }

    fn delete(&self, id: &str) -> Result<(), Error> {
        let mut records = self.memory()?.records.lock();
        if records.kept.remove(id).is_some() {
            records.note(id);
        }
        drop(records);
        self.memory()?.refreshes.lock().intents.remove(id);
        Ok(())
    }

    fn save_state(&self, auth: &Auth) -> Result<(), Error> {
        let mut records = self.memory()?.records.lock();
        if let Some(kept) = records.kept.get_mut(&auth.id) {
            codec::add_state(kept, codec::state(auth))
                .map_err(|why| Error::store(why).with_auth_id(&auth.id))?;
            records.note(&auth.id);
        }
        Ok(())
    }

    fn load(&self, id: &str) -> Result<Option<Auth>, Error> {
        Ok(self.memory()?.records.lock().kept.get(id).cloned())
    }

    fn save_if(&self, auth: &Auth, expected: Option<&Revision>) -> Result<Saved, Error> {
        let mut records = self.memory()?.records.lock();
        let kept = records.kept.get(&auth.id);
        if !Revision::allows(expected, kept, auth) {
            return Ok(Saved::Conflict(kept.cloned().map(Box::new)));
        }
        records.save(auth);
        Ok(Saved::At(auth.id.clone()))
    }

    fn missing(&self, id: &str) -> Result<Missing, Error> {
        let records = self.memory()?.records.lock();
        let was_here = records.changed.contains_key(id) && !records.kept.contains_key(id);
        Ok(Missing::of(was_here))
    }

    fn lock(&self, id: &str, wait: Duration) -> Result<Option<Box<dyn RecordLock>>, Error> {
        let shared = &self.memory()?.refreshes;
        poll(wait, || {
            let mut refreshes = shared.lock();
            Ok(refreshes.locked.insert(id.to_owned()).then(|| {
                Box::new(MemoryLock {
                    refreshes: Arc::clone(shared),
                    id: id.to_owned(),
                }) as Box<dyn RecordLock>
            }))
        })
    }

    fn changes(&self, since: Option<&Cursor>) -> Result<Option<Changes>, Error> {
        let records = self.memory()?.records.lock();
        let mut changes = Changes::none(records.cursor());
        if let Some(since) = since {
            let since = records.version_of(since);
            changes.complete = since.is_none();
            for (id, _) in records.changed.iter().filter(|(_, at)| Some(**at) > since) {
                match records.kept.get(id) {
                    Some(auth) => changes.written.push(auth.clone()),
                    None => changes.removed.push(id.clone()),
                }
            }
        }
        Ok(Some(changes))
    }

    fn load_entries(&self, keys: &[String]) -> Result<Vec<StoreEntry>, Error> {
        let entries = self.memory()?.entries.lock();
        let found = keys.iter().filter_map(|key| {
            let (value, ends) = entries.get(key)?;
            Some(StoreEntry::new(key, value, ends))
        });
        Ok(found.collect())
    }

    fn save_entries(&self, entries: &[StoreEntry], most: usize) -> Result<(), Error> {
        let mut kept = self.memory()?.entries.lock();
        for StoreEntry {
            key,
            value,
            expires_at,
        } in entries
        {
            match value {
                Some(value) => kept.insert(key.clone(), value.clone(), *expires_at),
                None => kept.remove(key),
            }
        }
        kept.truncate(most);
        Ok(())
    }
}

impl Records {
    fn save(&mut self, auth: &Auth) {
        let mut kept = auth.clone();
        kept.runtime = None;
        self.kept.insert(auth.id.clone(), kept);
        self.note(&auth.id);
    }

    fn cursor(&self) -> Cursor {
        Cursor::new(format!("{}.{}", self.store.0, self.version))
    }

    /// None: it is not a cursor of this store.
    fn version_of(&self, cursor: &Cursor) -> Option<u64> {
        let (store, version) = cursor.as_str().split_once('.')?;
        let version = version.parse().ok()?;
        (store.parse() == Ok(self.store.0) && version <= self.version).then_some(version)
    }

    fn note(&mut self, id: &str) {
        self.version += 1;
        self.changed.insert(id.to_owned(), self.version);
    }
}

/// The right to refresh one record.
struct MemoryLock {
    refreshes: Arc<Mutex<Refreshes>>,
    id: String,
}

impl RecordLock for MemoryLock {
    fn intent(&self) -> Result<Option<Intent>, Error> {
        Ok(self.refreshes.lock().intents.get(&self.id).cloned())
    }

    fn set_intent(&mut self, intent: Option<&Intent>) -> Result<(), Error> {
        let intents = &mut self.refreshes.lock().intents;
        match intent {
            Some(intent) => intents.insert(self.id.clone(), intent.clone()),
            None => intents.remove(&self.id),
        };
        Ok(())
    }
}

impl Drop for MemoryLock {
    fn drop(&mut self) {
        self.refreshes.lock().locked.remove(&self.id);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::runtime::process::testing::forked;

    #[test]
    fn a_child_has_its_parents_records_and_none_of_its_locks() {
        let store = MemoryStore::new();
        store.save(&Auth::api_key("p", "k").with_id("a")).unwrap();
        let cursor = store.list().unwrap().cursor;
        let _held = store.lock("a", Duration::ZERO).unwrap().unwrap();
        assert!(store.lock("a", Duration::ZERO).unwrap().is_none());
        forked(|| {
            assert!(store.lock("a", Duration::ZERO).unwrap().is_some());
            assert_eq!(store.list().unwrap().records.len(), 1);
            let changes = store.changes(cursor.as_ref()).unwrap().unwrap();
            assert!(changes.written.is_empty() && !changes.complete);
            store.delete("a").unwrap();
        });
        assert!(store.load("a").unwrap().is_some(), "the parent's own");
    }

    #[test]
    fn a_child_of_a_parent_that_was_at_work_is_told() {
        let store = MemoryStore::new();
        let memory = store.memory().unwrap();
        let _at_work = memory.records.lock();
        let error = forked(|| store.list()).unwrap_err();
        assert_eq!(*error.code(), crate::ErrorCode::Forked);
    }
}

//! The store handle: all calls of the store go through it, durable writes (`commit`) and notes for write-behind.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use crossbeam_channel::{Receiver, Sender};
use parking_lot::{Mutex, RwLock};

use super::entries::EntryNotes;
use super::item::Item;
use super::monitor::{Call, Kind, Monitor};
use super::record_locks::{RecordLocks, Turn};
use crate::auth::Auth;
use crate::clock::Clock;
use crate::error::{Error, ErrorCode};
use crate::panic::guard;
use crate::persistence::StoreHealth;
use crate::store::{
    Changes, Cursor, Listing, Missing, RecordLock, Revision, Saved, Store, StoreEntry,
};

/// What the parts of a manager use to reach its store: writes that must be durable now, and notes for the writer of what
/// may wait.
pub(crate) struct StoreHandle {
    store: RwLock<Option<Arc<dyn Store>>>,
    turns: RecordLocks,
    news: Mutex<News>,
    entries: Mutex<EntryNotes>,
    monitor: Monitor,
    /// What the writer had to leave behind.
    left_unsaved: AtomicUsize,
    wake: Sender<()>,
    woken: Receiver<()>,
}

/// What the store does not have as it is.
#[derive(Default)]
struct News {
    /// Those that the writer does not know of.
    noted: Vec<Item>,
    /// How many the writer knows of.
    pending: usize,
}

impl StoreHandle {
    pub(crate) fn new(store: Option<Arc<dyn Store>>, clock: Arc<dyn Clock>) -> Self {
        let (wake, woken) = crossbeam_channel::bounded(1);
        Self {
            store: RwLock::new(store),
            turns: RecordLocks::default(),
            news: Mutex::default(),
            entries: Mutex::default(),
            monitor: Monitor::new(clock),
            left_unsaved: AtomicUsize::new(0),
            wake,
            woken,
        }
    }

    pub(crate) fn store(&self) -> Option<Arc<dyn Store>> {
        self.store.read().clone()
    }

    pub(crate) fn set_store(&self, store: Option<Arc<dyn Store>>) {
        let former = std::mem::replace(&mut *self.store.write(), store);
        drop(former);
        self.monitor.forget();
    }

    /// The right to write the record: hold it from reading what is to be written until it is.
    pub(crate) fn turn<'a>(&'a self, id: &'a str) -> Result<Turn<'a>, Error> {
        self.turns.take(id)
    }

    /// As [`turn`](Self::turn); `None` where the record has been taken for long.
    pub(crate) fn try_turn<'a>(&'a self, id: &'a str) -> Option<Turn<'a>> {
        self.turns.try_take(id)
    }

    pub(crate) fn list(&self) -> Result<Listing, Error> {
        let listing = self.with_store(Call::of_all(), Listing::default(), |store| store.list());
        listing.map(|mut listing| {
            listing.records.iter_mut().for_each(was_stored);
            listing
        })
    }

    /// A store that is notified of changes, and has heard of none since, is not asked.
    pub(crate) fn changes(&self, since: Option<&Cursor>) -> Result<Option<Changes>, Error> {
        let look = |store: &dyn Store| match since {
            Some(since) if store.is_quiet(since) => Ok(Some(Changes {
                is_notified: true,
                ..Changes::none(since.clone())
            })),
            _ => store.changes(since),
        };
        let changes = self.with_store(Call::of_all(), None, look);
        changes.map(|mut changes| {
            let written = changes.iter_mut().flat_map(|changes| &mut changes.written);
            written.for_each(was_stored);
            changes
        })
    }

    /// Adds a record to the store, wherever it was before. Where the store has one of this id, nothing is written, and that is
    /// given back. Nothing to do for a record that lives in memory alone.
    pub(crate) fn create(&self, auth: &Auth) -> Result<Option<Box<Auth>>, Error> {
        if auth.is_runtime_only() {
            return Ok(None);
        }
        for _ in 0..MOST_RACES {
            match self.save_if(auth, None)? {
                Saved::At(_) => return Ok(None),
                Saved::Conflict(Some(stored)) => return Ok(Some(stored)),
                Saved::Conflict(None) => {}
            }
        }
        Err(raced(&auth.id))
    }

    /// Changes a record durably: what the store has by now is merged into `current`, `change` is made to that, and it is swapped for
    /// what was read; all of it again where another writer was faster. The caller has the record's turn.
    pub(crate) fn commit(
        &self,
        current: &Auth,
        change: &mut dyn FnMut(&mut Auth) -> Result<(), Error>,
    ) -> Result<Committed, Error> {
        let id = current.id.as_str();
        let is_stored = self.has_store() && !current.is_runtime_only();
        if !is_stored {
            let mut record = current.clone();
            change(&mut record)?;
            return Ok(Committed::Saved(Box::new(record)));
        }
        // A record that cannot be parsed is replaced, where the store can; else the swap says so.
        let loaded = self.load(id);
        let is_damaged = loaded.is_err();
        let mut stored = loaded.ok().flatten().map(Box::new);
        for _ in 0..MOST_RACES {
            let expected = stored.as_deref().map(Revision::of);
            let mut record = current.clone();
            match stored {
                Some(stored) => {
                    record.merge_stored(*stored);
                }
                None if is_damaged => {}
                None if self.missing(id)? == Missing::Removed => return Ok(Committed::Removed),
                None => {}
            }
            change(&mut record)?;
            match self.save_if(&record, expected.as_ref())? {
                Saved::At(_) => return Ok(Committed::Saved(Box::new(record))),
                Saved::Conflict(now) => stored = now,
            }
        }
        Err(raced(id))
    }

    fn save_if(&self, auth: &Auth, expected: Option<&Revision>) -> Result<Saved, Error> {
        let call = Call::of(Kind::Write, &auth.id);
        let saved = self.with_store(call, Saved::At(String::new()), |store| {
            store.save_if(auth, expected)
        });
        saved.map(|mut saved| {
            if let Saved::Conflict(Some(stored)) = &mut saved {
                was_stored(stored);
            }
            saved
        })
    }

    /// What it means that the store has no such record.
    pub(crate) fn missing(&self, id: &str) -> Result<Missing, Error> {
        let call = Call::of(Kind::Load, id);
        self.with_store(call, Missing::Lost, |store| store.missing(id))
    }

    /// A record as the store has it now.
    pub(crate) fn load(&self, id: &str) -> Result<Option<Auth>, Error> {
        let call = Call::of(Kind::Load, id);
        let loaded = self.with_store(call, None, |store| store.load(id));
        loaded.map(|mut loaded| {
            loaded.iter_mut().for_each(was_stored);
            loaded
        })
    }

    /// The right to refresh a record across processes; `None` when another one still has it after `wait`. Without a store there
    /// is nothing to hold.
    pub(crate) fn lock(
        &self,
        id: &str,
        wait: Duration,
    ) -> Result<Option<Box<dyn RecordLock>>, Error> {
        let nothing: Box<dyn RecordLock> = Box::new(crate::store::Unlocked);
        let call = Call::of(Kind::Lock, id).waiting(wait);
        self.with_store(call, Some(nothing), |store| store.lock(id, wait))
    }

    /// Whether there is a store that others may write, too.
    pub(crate) fn has_store(&self) -> bool {
        self.store.read().is_some()
    }

    pub(crate) fn save_state(&self, auth: &Auth) -> Result<(), Error> {
        if auth.is_runtime_only() {
            return Ok(());
        }
        let call = Call::of(Kind::Write, &auth.id);
        self.with_store(call, (), |store| store.save_state(auth))
    }

    pub(crate) fn delete(&self, id: &str) -> Result<(), Error> {
        let call = Call::of(Kind::Write, id);
        self.with_store(call, (), |store| store.delete(id))
    }

    /// Tells the writer that a record has news. The registry sees to it that a record is noted once until it is written.
    pub(crate) fn note(&self, id: Arc<str>) {
        self.note_item(Item::Record(id));
    }

    fn note_item(&self, item: Item) {
        self.news.lock().noted.push(item);
        let _ = self.wake.try_send(());
    }

    /// Tells the writer of an entry, of which the store keeps so many. Without a store there is nothing to tell.
    pub(crate) fn note_entry(&self, entry: StoreEntry, most: usize) {
        if !self.has_store() {
            return;
        }
        let is_first = self.entries.lock().note(entry, most);
        if is_first {
            self.note_item(Item::Entries);
        }
    }

    /// The entries under these keys, in the store and on their way to it.
    pub(crate) fn load_entries(&self, keys: &[String]) -> Result<Vec<StoreEntry>, Error> {
        let load = |store: &dyn Store| store.load_entries(keys);
        let mut found = self.with_store(Call::of_all(), Vec::new(), load)?;
        let notes = self.entries.lock();
        for noted in keys.iter().filter_map(|key| notes.get(key)) {
            found.retain(|entry| entry.key != noted.key);
            if noted.value.is_some() {
                found.push(noted);
            }
        }
        Ok(found)
    }

    /// Writes the entries that were noted.
    pub(crate) fn save_entries(&self) -> Result<(), Error> {
        let (entries, most) = self.entries.lock().begin_save();
        let save = |store: &dyn Store| store.save_entries(&entries, most);
        let saved = if entries.is_empty() {
            Ok(())
        } else {
            self.with_store(Call::of_entries(), (), save)
        };
        self.entries.lock().end_save(saved.is_ok());
        saved
    }

    /// How the store is doing.
    pub(crate) fn health(&self) -> StoreHealth {
        let mut health = self.monitor.health();
        let news = self.news.lock();
        health.unsaved = news.pending + news.noted.len();
        health
    }

    /// For how long the store has worked, since it last hung or failed as a whole. `None`: always.
    pub(crate) fn since_trouble(&self) -> Option<Duration> {
        self.monitor.since_trouble()
    }

    /// Notes how the writer's save of a record went.
    pub(crate) fn note_saved(&self, id: &str, saved: &Result<(), Error>) {
        self.monitor.saved(id, saved);
    }

    /// How many records the writer could not save before it ended.
    pub(crate) fn left_unsaved(&self) -> usize {
        self.left_unsaved.load(Ordering::Relaxed)
    }

    pub(crate) fn leave_unsaved(&self, records: usize) {
        self.left_unsaved.store(records, Ordering::Relaxed);
    }

    /// What was noted since the last time: from here on the writer knows of it.
    pub(crate) fn take_noted(&self) -> Vec<Item> {
        let mut news = self.news.lock();
        news.pending += news.noted.len();
        std::mem::take(&mut news.noted)
    }

    /// How many records wait for the writer, as it counts them itself.
    pub(crate) fn set_pending(&self, records: usize) {
        self.news.lock().pending = records;
    }

    /// Gets a message when there is something noted.
    pub(crate) fn woken(&self) -> Receiver<()> {
        self.woken.clone()
    }

    /// The one place where the store is called: panics are contained, and every call counts for the store's health.
    fn with_store<T>(
        &self,
        call: Call<'_>,
        without: T,
        work: impl FnOnce(&dyn Store) -> Result<T, Error>,
    ) -> Result<T, Error> {
        let store = self.store.read().clone();
        let Some(store) = store else {
            return Ok(without);
        };
        self.monitor.watch(call, || {
            guard(|| "the store".to_owned(), || work(&*store))
                .flatten()
                .map_err(|error| match error.code() {
                    ErrorCode::Unspecified => error
                        .context("the store failed")
                        .with_code(ErrorCode::Store),
                    _ => error,
                })
                .map_err(|error| match call.id {
                    Some(id) => error.about(id),
                    None => error,
                })
        })
    }
}

/// What became of a change.
#[derive(Debug)]
pub(crate) enum Committed {
    /// It is durable: the record as the store has it now.
    Saved(Box<Auth>),
    /// The record was removed from the store: nothing was written.
    Removed,
}

/// What comes from a store is not runtime-only, although the JSON form of a record leaves out metadata that are empty.
fn was_stored(auth: &mut Auth) {
    auth.metadata.get_or_insert_default();
}

fn raced(id: &str) -> Error {
    let what = format!("credential {id}: too many concurrent writes by other processes");
    Error::new(ErrorCode::Conflict, what).with_auth_id(id)
}

/// How often another process may write a record between a look and a write.
const MOST_RACES: usize = 16;

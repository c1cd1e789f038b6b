use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use crossbeam_channel::{Receiver, Sender};
use parking_lot::{Mutex, RwLock};

use super::turns::{Turn, Turns};
use super::{Changes, Cursor, Listing, RecordLock, Revision, Saved, Store, StoreHealth};
use crate::auth::Auth;
use crate::error::{Error, ErrorCode};
use crate::runtime::guard;

/// What the parts of a manager use to reach its store: writes that must be durable now, and notes for the writer of what
/// may wait.
pub(crate) struct Keeper {
    store: RwLock<Option<Arc<dyn Store>>>,
    turns: Turns,
    noted: Mutex<Vec<Arc<str>>>,
    /// As the writer sees it.
    health: Mutex<StoreHealth>,
    /// What the writer had to leave behind.
    left_unsaved: AtomicUsize,
    wake: Sender<()>,
    woken: Receiver<()>,
}

impl Keeper {
    pub(crate) fn new(store: Option<Arc<dyn Store>>) -> Self {
        let (wake, woken) = crossbeam_channel::bounded(1);
        Self {
            store: RwLock::new(store),
            turns: Turns::default(),
            noted: Mutex::default(),
            health: Mutex::default(),
            left_unsaved: AtomicUsize::new(0),
            wake,
            woken,
        }
    }

    pub(crate) fn set_store(&self, store: Option<Arc<dyn Store>>) {
        let former = std::mem::replace(&mut *self.store.write(), store);
        drop(former);
    }

    /// The right to write the record: hold it from reading what is to be written until it is.
    pub(crate) fn turn<'a>(&'a self, id: &'a str) -> Result<Turn<'a>, Error> {
        self.turns.take(id)
    }

    pub(crate) fn list(&self) -> Result<Listing, Error> {
        self.with_store(Listing::default(), |store| store.list())
    }

    pub(crate) fn changes(&self, since: Option<&Cursor>) -> Result<Option<Changes>, Error> {
        self.with_store(None, |store| store.changes(since))
    }

    /// Makes a record durable; nothing to do for one that lives in memory alone.
    pub(crate) fn save(&self, auth: &Auth) -> Result<(), Error> {
        if auth.is_runtime_only() {
            return Ok(());
        }
        self.with_store((), |store| store.save(auth).map(drop))
            .map_err(|error| error.about(&auth.id))
    }

    /// As [`save`](Self::save), for a change that was made to the generation `from`. Where the store has a newer one, nothing is
    /// written, and that is given back. An older one is overwritten: the store has lost a write.
    pub(crate) fn save_newer(&self, auth: &Auth, from: u64) -> Result<Option<Box<Auth>>, Error> {
        if auth.is_runtime_only() {
            return Ok(None);
        }
        // That there is none: if there is one, the store gives it.
        let mut expected = None;
        for _ in 0..MOST_RACES {
            let saved = self
                .with_store(Saved::At(String::new()), |store| {
                    store.save_if(auth, expected.as_ref())
                })
                .map_err(|error| error.about(&auth.id))?;
            match saved {
                Saved::At(_) => return Ok(None),
                Saved::Conflict(Some(stored)) if stored.generation() > from => {
                    return Ok(Some(stored));
                }
                Saved::Conflict(stored) => expected = stored.as_deref().map(Revision::of),
            }
        }
        let what = format!("{} is being written by somebody else all the time", auth.id);
        Err(Error::new(ErrorCode::Conflict, what).with_auth_id(&auth.id))
    }

    /// A record as the store has it now.
    pub(crate) fn load(&self, id: &str) -> Result<Option<Auth>, Error> {
        self.with_store(None, |store| store.load(id))
            .map_err(|error| error.about(id))
    }

    /// The right to refresh a record across processes; `None` when another one still has it after `wait`. Without a store there
    /// is nothing to hold.
    pub(crate) fn lock(
        &self,
        id: &str,
        wait: Duration,
    ) -> Result<Option<Box<dyn RecordLock>>, Error> {
        let nothing: Box<dyn RecordLock> = Box::new(super::Unlocked);
        self.with_store(Some(nothing), |store| store.lock(id, wait))
            .map_err(|error| error.about(id))
    }

    /// Whether there is a store that others may write, too.
    pub(crate) fn has_store(&self) -> bool {
        self.store.read().is_some()
    }

    pub(crate) fn save_state(&self, auth: &Auth) -> Result<(), Error> {
        if auth.is_runtime_only() {
            return Ok(());
        }
        self.with_store((), |store| store.save_state(auth))
            .map_err(|error| error.about(&auth.id))
    }

    pub(crate) fn delete(&self, id: &str) -> Result<(), Error> {
        self.with_store((), |store| store.delete(id))
            .map_err(|error| error.about(id))
    }

    /// Tells the writer that a record has news. The registry sees to it that a record is noted once until it is written.
    pub(crate) fn note(&self, id: Arc<str>) {
        self.noted.lock().push(id);
        let _ = self.wake.try_send(());
    }

    /// How the store stands.
    pub(crate) fn health(&self) -> StoreHealth {
        let noted = self.noted.lock().len();
        let mut health = self.health.lock().clone();
        health.unsaved += noted;
        health
    }

    pub(super) fn note_health(&self, note: impl FnOnce(&mut StoreHealth)) {
        note(&mut self.health.lock());
    }

    /// How many records the writer could not save before it ended.
    pub(crate) fn left_unsaved(&self) -> usize {
        self.left_unsaved.load(Ordering::Relaxed)
    }

    pub(super) fn leave_unsaved(&self, records: usize) {
        self.left_unsaved.store(records, Ordering::Relaxed);
    }

    /// What was noted since the last time.
    pub(super) fn take_noted(&self) -> Vec<Arc<str>> {
        std::mem::take(&mut *self.noted.lock())
    }

    /// Gets a message when there is something noted.
    pub(super) fn woken(&self) -> Receiver<()> {
        self.woken.clone()
    }

    fn with_store<T>(
        &self,
        without: T,
        work: impl FnOnce(&dyn Store) -> Result<T, Error>,
    ) -> Result<T, Error> {
        let store = self.store.read().clone();
        let Some(store) = store else {
            return Ok(without);
        };
        guard(|| "the store".to_owned(), || work(&*store))
            .flatten()
            .map_err(|error| match error.code() {
                ErrorCode::Unspecified => error
                    .context("the store failed")
                    .with_code(ErrorCode::Store),
                _ => error,
            })
    }
}

/// How often somebody else may write a record between a look and a write.
const MOST_RACES: usize = 16;

impl fmt::Debug for Keeper {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Keeper")
            .field("noted", &self.noted.lock().len())
            .finish_non_exhaustive()
    }
}

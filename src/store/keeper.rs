use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use crossbeam_channel::{Receiver, Sender};
use parking_lot::{Mutex, RwLock};

use super::turns::{Turn, Turns};
use super::{Listing, Store};
use crate::auth::Auth;
use crate::error::{Error, ErrorCode};
use crate::runtime::guard;

/// What the parts of a manager use to reach its store: writes that must be durable now, and notes for the writer of what
/// may wait.
pub(crate) struct Keeper {
    store: RwLock<Option<Arc<dyn Store>>>,
    turns: Turns,
    noted: Mutex<Vec<Arc<str>>>,
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

    /// Makes a record durable; nothing to do for one that lives in memory alone.
    pub(crate) fn save(&self, auth: &Auth) -> Result<(), Error> {
        if auth.is_runtime_only() {
            return Ok(());
        }
        self.with_store((), |store| store.save(auth).map(drop))
            .map_err(|error| error.about(&auth.id))
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

impl fmt::Debug for Keeper {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Keeper")
            .field("noted", &self.noted.lock().len())
            .finish_non_exhaustive()
    }
}

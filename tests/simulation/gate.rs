//! What is below a wrapper of a process's store: the process is stopped, and others write, between two calls of one operation.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use credpool::{
    Auth, Changes, Cursor, Error, Listing, Missing, RecordLock, Revision, Saved, Store, StoreEntry,
};

use crate::handle::{Kind, Switches, away};
use crate::timeline::{Pid, Timeline};

/// Stands below a wrapper of a process's store: what stops the process stops it between two calls of one operation, too.
pub struct Gate {
    store: Arc<dyn Store>,
    stops: Stops,
}

/// What stops a process, and its time.
#[derive(Clone)]
pub struct Stops {
    pub switches: Arc<Switches>,
    pub timeline: Arc<Timeline>,
    pub pid: Pid,
}

impl Stops {
    pub fn before(&self, store: Arc<dyn Store>) -> Arc<dyn Store> {
        let stops = self.clone();
        Arc::new(Gate { store, stops })
    }

    /// Lets a write take its time. False: the process is dead.
    fn wait(&self, kind: Kind) -> bool {
        kind == Kind::Read
            || self.switches.are_of_this_thread()
            || self.timeline.sleep(self.pid, WRITE_TAKES)
    }
}

impl Gate {
    /// A piece of work, within one of the process's calls.
    fn work<T>(
        &self,
        kind: Kind,
        id: Option<&str>,
        work: impl FnOnce(&dyn Store) -> Result<T, Error>,
    ) -> Result<T, Error> {
        let Stops { switches, .. } = &self.stops;
        let busy = &switches.trouble.busy;
        busy.fetch_sub(1, Ordering::SeqCst);
        let is_alive = self.stops.wait(kind);
        let passes = switches.pass(kind, id);
        busy.fetch_add(1, Ordering::SeqCst);
        if !passes? || !is_alive {
            return Err(away("the process is dead"));
        }
        work(&*self.store)
    }
}

impl Store for Gate {
    fn list(&self) -> Result<Listing, Error> {
        self.work(Kind::Read, None, |store| store.list())
    }

    fn save(&self, auth: &Auth) -> Result<String, Error> {
        self.work(Kind::Write, Some(&auth.id), |store| store.save(auth))
    }

    fn delete(&self, id: &str) -> Result<(), Error> {
        self.work(Kind::Write, Some(id), |store| store.delete(id))
    }

    fn save_state(&self, auth: &Auth) -> Result<(), Error> {
        self.work(Kind::Write, Some(&auth.id), |store| store.save_state(auth))
    }

    fn load(&self, id: &str) -> Result<Option<Auth>, Error> {
        self.work(Kind::Read, None, |store| store.load(id))
    }

    fn save_if(&self, auth: &Auth, expected: Option<&Revision>) -> Result<Saved, Error> {
        self.work(Kind::Write, Some(&auth.id), |store| {
            store.save_if(auth, expected)
        })
    }

    fn missing(&self, id: &str) -> Result<Missing, Error> {
        self.work(Kind::Read, Some(id), |store| store.missing(id))
    }

    fn lock(&self, id: &str, wait: Duration) -> Result<Option<Box<dyn RecordLock>>, Error> {
        self.work(Kind::Read, None, |store| store.lock(id, wait))
    }

    fn changes(&self, since: Option<&Cursor>) -> Result<Option<Changes>, Error> {
        self.work(Kind::Read, None, |store| store.changes(since))
    }

    fn load_entries(&self, keys: &[String]) -> Result<Vec<StoreEntry>, Error> {
        self.work(Kind::Read, None, |store| store.load_entries(keys))
    }

    fn save_entries(&self, entries: &[StoreEntry], most: usize) -> Result<(), Error> {
        self.work(Kind::Write, None, |store| store.save_entries(entries, most))
    }
}

/// How long a write is under way: then others may have written before it.
const WRITE_TAKES: Duration = Duration::from_millis(20);

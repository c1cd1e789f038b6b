//! A store around another one that counts, fails and hangs as it is told.
#![allow(
    dead_code,
    unreachable_pub,
    reason = "each test file uses its own part"
)]

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use credpool::{
    Auth, Changes, Cursor, Error, ErrorCode, Listing, RecordLock, Revision, Saved, Store,
};
use crossbeam_channel::{Receiver, Sender};
use parking_lot::Mutex;

#[derive(Clone)]
pub struct Watched {
    store: Arc<dyn Store>,
    inner: Arc<Inner>,
}

#[derive(Default)]
struct Inner {
    writes: AtomicUsize,
    refused: AtomicUsize,
    looks: AtomicUsize,
    hanging: AtomicUsize,
    fails_for: Mutex<Option<String>>,
    /// The calls that fail, by name; all with `*`.
    away: Mutex<Option<&'static str>>,
    hangs_for: Mutex<Option<(String, Receiver<()>)>>,
}

impl Watched {
    pub fn new(store: Arc<dyn Store>) -> Self {
        Self {
            store,
            inner: Arc::default(),
        }
    }

    /// How many writes have begun.
    pub fn writes(&self) -> usize {
        self.inner.writes.load(Ordering::SeqCst)
    }

    /// How many writes were refused for their record.
    pub fn refused(&self) -> usize {
        self.inner.refused.load(Ordering::SeqCst)
    }

    /// How often it was asked what has changed.
    pub fn looks(&self) -> usize {
        self.inner.looks.load(Ordering::SeqCst)
    }

    /// How many calls hang.
    pub fn hanging(&self) -> usize {
        self.inner.hanging.load(Ordering::SeqCst)
    }

    /// From now on no write of this record succeeds.
    pub fn fail_for(&self, id: Option<&str>) {
        *self.inner.fails_for.lock() = id.map(str::to_owned);
    }

    /// From now on a kind of call fails, or all with `*`.
    pub fn is_away(&self, call: Option<&'static str>) {
        *self.inner.away.lock() = call;
    }

    /// From now on no write of this record, or no `changes`, returns until the gate is dropped.
    pub fn hang_for(&self, id: &str) -> Sender<()> {
        let (open, gate) = crossbeam_channel::bounded(0);
        *self.inner.hangs_for.lock() = Some((id.to_owned(), gate));
        open
    }

    fn call(&self, call: &str) -> Result<(), Error> {
        match *self.inner.away.lock() {
            Some(away) if away == "*" || away == call => {
                Err(Error::new(ErrorCode::Store, "the volume is away"))
            }
            _ => Ok(()),
        }
    }

    fn write(&self, id: &str) -> Result<(), Error> {
        self.inner.writes.fetch_add(1, Ordering::SeqCst);
        self.hang(id);
        if self.inner.fails_for.lock().as_deref() == Some(id) {
            self.inner.refused.fetch_add(1, Ordering::SeqCst);
            return Err(Error::new(ErrorCode::Store, "its file is a directory"));
        }
        self.call("write")
    }

    fn hang(&self, id: &str) {
        let hangs = self.inner.hangs_for.lock().clone();
        if let Some((_, gate)) = hangs.filter(|(hangs, _)| hangs == id) {
            self.inner.hanging.fetch_add(1, Ordering::SeqCst);
            let _ = gate.recv();
            self.inner.hanging.fetch_sub(1, Ordering::SeqCst);
        }
    }
}

impl Store for Watched {
    fn list(&self) -> Result<Listing, Error> {
        self.call("list")?;
        self.store.list()
    }

    fn save(&self, auth: &Auth) -> Result<String, Error> {
        self.write(&auth.id)?;
        self.store.save(auth)
    }

    fn delete(&self, id: &str) -> Result<(), Error> {
        self.write(id)?;
        self.store.delete(id)
    }

    fn save_state(&self, auth: &Auth) -> Result<(), Error> {
        self.write(&auth.id)?;
        self.store.save_state(auth)
    }

    fn load(&self, id: &str) -> Result<Option<Auth>, Error> {
        self.call("load")?;
        self.store.load(id)
    }

    fn save_if(&self, auth: &Auth, expected: Option<&Revision>) -> Result<Saved, Error> {
        self.write(&auth.id)?;
        self.store.save_if(auth, expected)
    }

    fn lock(&self, id: &str, wait: Duration) -> Result<Option<Box<dyn RecordLock>>, Error> {
        self.call("lock")?;
        self.store.lock(id, wait)
    }

    fn changes(&self, since: Option<&Cursor>) -> Result<Option<Changes>, Error> {
        self.inner.looks.fetch_add(1, Ordering::SeqCst);
        self.hang("changes");
        self.call("changes")?;
        self.store.changes(since)
    }
}

//! A process's handle on the shared store: waits by virtual time, fails and hangs when the world says so, and is dead when its
//! process is.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::thread::{self, ThreadId};
use std::time::Duration;

use credpool::{
    Auth, Changes, Cursor, Error, ErrorCode, Intent, Listing, Missing, RecordLock, Revision, Saved,
    Store, StoreEntry,
};
use parking_lot::{Condvar, Mutex};

use crate::elsewhere;
use crate::timeline::{Pid, Timeline};
use crate::truth::Shared;

/// What is wrong with the store, for all processes.
#[derive(Default)]
pub struct Trouble {
    state: Mutex<State>,
    changed: Condvar,
    /// A record whose writes fail.
    poisoned: Mutex<Option<String>>,
    /// Calls that are under way in real time.
    pub busy: AtomicUsize,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct State {
    pub fails: bool,
    /// Only what writes fails.
    pub full: bool,
    /// Only what writes hangs.
    pub hangs: bool,
}

impl Trouble {
    pub fn is_present(&self) -> bool {
        self.state() != State::default()
    }

    pub fn end(&self) {
        self.set(|state| *state = State::default());
    }

    pub fn poison(&self, id: Option<String>) {
        *self.poisoned.lock() = id;
    }

    pub fn poisoned(&self) -> Option<String> {
        self.poisoned.lock().clone()
    }

    pub fn state(&self) -> State {
        *self.state.lock()
    }

    pub fn set(&self, change: impl FnOnce(&mut State)) {
        change(&mut self.state.lock());
        self.changed.notify_all();
    }
}

/// What keeps a process's calls from the store.
pub struct Switches {
    pub trouble: Arc<Trouble>,
    /// The thread that drives the world: time goes on when it says so.
    driver: ThreadId,
    dead: AtomicBool,
    frozen: AtomicBool,
}

/// What the process's calls have in common with its locks.
#[derive(Clone)]
pub struct Line(Arc<Inner>);

struct Inner {
    store: Arc<dyn Store>,
    pid: Pid,
    timeline: Arc<Timeline>,
    truth: Shared,
    switches: Arc<Switches>,
    locks: Mutex<BTreeMap<u64, Box<dyn RecordLock>>>,
    next_lock: AtomicU64,
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    Read,
    Write,
}

impl Switches {
    pub fn new(trouble: &Arc<Trouble>) -> Arc<Self> {
        Arc::new(Self {
            trouble: Arc::clone(trouble),
            driver: thread::current().id(),
            dead: AtomicBool::new(false),
            frozen: AtomicBool::new(false),
        })
    }

    pub fn are_of_this_thread(&self) -> bool {
        self.driver == thread::current().id()
    }

    fn is_dead(&self) -> bool {
        self.dead.load(Ordering::SeqCst)
    }

    fn set(&self, switch: &AtomicBool, on: bool) {
        switch.store(on, Ordering::SeqCst);
        // Under the lock, or a thread that looks at the moment would sleep on.
        drop(self.trouble.state.lock());
        self.trouble.changed.notify_all();
    }

    fn stands_still(&self, state: State, kind: Kind) -> bool {
        let hangs = state.hangs && kind == Kind::Write;
        (hangs || self.frozen.load(Ordering::SeqCst)) && !self.is_dead()
    }

    /// Waits until a call may go on. False: the process is dead.
    pub fn pass(&self, kind: Kind, id: Option<&str>) -> Result<bool, Error> {
        let mut state = self.trouble.state.lock();
        while self.stands_still(*state, kind) {
            self.trouble.changed.wait(&mut state);
        }
        if self.is_dead() {
            return Ok(false);
        }
        if state.fails {
            return Err(away("the store is away"));
        }
        if state.full && kind == Kind::Write {
            return Err(away("no space is left on the device"));
        }
        let poisoned = self.trouble.poisoned();
        if kind == Kind::Write && id.is_some() && id == poisoned.as_deref() {
            return Err(away("the record's place is taken"));
        }
        Ok(true)
    }
}

impl Line {
    pub fn new(
        store: Arc<dyn Store>,
        pid: Pid,
        timeline: &Arc<Timeline>,
        truth: &Shared,
        switches: Arc<Switches>,
    ) -> Self {
        Self(Arc::new(Inner {
            store,
            pid,
            timeline: Arc::clone(timeline),
            truth: Arc::clone(truth),
            switches,
            locks: Mutex::default(),
            next_lock: AtomicU64::new(0),
        }))
    }

    /// The process dies: nothing of it reaches the store any more, and its locks go.
    pub fn cut(&self) {
        let switches = &self.0.switches;
        switches.set(&switches.dead, true);
        let locks = std::mem::take(&mut *self.0.locks.lock());
        drop(locks);
    }

    pub fn is_dead(&self) -> bool {
        self.0.switches.is_dead()
    }

    pub fn set_frozen(&self, frozen: bool) {
        let switches = &self.0.switches;
        switches.set(&switches.frozen, frozen);
    }

    /// Does a piece of work with the store. `None`: the process is dead.
    fn work<T>(
        &self,
        kind: Kind,
        id: Option<&str>,
        work: impl FnOnce(&dyn Store) -> Result<T, Error>,
    ) -> Result<Option<T>, Error> {
        if !self.0.switches.pass(kind, id)? {
            return Ok(None);
        }
        let busy = &self.0.switches.trouble.busy;
        busy.fetch_add(1, Ordering::SeqCst);
        let done = work(&*self.0.store);
        busy.fetch_sub(1, Ordering::SeqCst);
        done.map(Some)
    }

    fn note_known<'a>(&self, records: impl IntoIterator<Item = &'a Auth>) {
        let mut truth = self.0.truth.lock();
        for auth in records {
            truth.note_known(self.0.pid, auth);
        }
    }

    fn note_stored(&self, auth: &Auth, what: &str) {
        let mut truth = self.0.truth.lock();
        truth.writes += 1;
        truth.note_stored(self.0.pid, auth);
        let token = crate::truth::sent_token(auth).unwrap_or_default();
        truth.tell(self.0.pid, format!("{what} {} {token}", auth.id));
    }
}

impl Store for Line {
    fn list(&self) -> Result<Listing, Error> {
        let listing = self.work(Kind::Read, None, |store| store.list())?;
        let listing = listing.unwrap_or_default();
        self.note_known(&listing.records);
        Ok(listing)
    }

    fn save(&self, auth: &Auth) -> Result<String, Error> {
        let saved = self.work(Kind::Write, Some(&auth.id), |store| store.save(auth))?;
        if saved.is_some() {
            self.note_stored(auth, "saves");
        }
        Ok(saved.unwrap_or_default())
    }

    fn delete(&self, id: &str) -> Result<(), Error> {
        self.work(Kind::Write, Some(id), |store| store.delete(id))
            .map(drop)
    }

    fn save_state(&self, auth: &Auth) -> Result<(), Error> {
        let saved = self.work(Kind::Write, Some(&auth.id), |store| store.save_state(auth))?;
        if saved.is_some() {
            let mut truth = self.0.truth.lock();
            // Whether another program's file has other tokens by now is a refresh, too.
            truth.writes += usize::from(auth.id != elsewhere::ID);
            truth.tell(self.0.pid, format!("saves the state of {}", auth.id));
        }
        Ok(())
    }

    fn load(&self, id: &str) -> Result<Option<Auth>, Error> {
        let loaded = self
            .work(Kind::Read, None, |store| store.load(id))?
            .flatten();
        self.note_known(&loaded);
        Ok(loaded)
    }

    fn save_if(&self, auth: &Auth, expected: Option<&Revision>) -> Result<Saved, Error> {
        let saved = self.work(Kind::Write, Some(&auth.id), |store| {
            store.save_if(auth, expected)
        })?;
        match &saved {
            Some(Saved::At(_)) => self.note_stored(auth, "swaps"),
            Some(Saved::Conflict(Some(stored))) => self.note_known([&**stored]),
            Some(Saved::Conflict(None)) | None => {}
        }
        Ok(saved.unwrap_or(Saved::At(String::new())))
    }

    fn missing(&self, id: &str) -> Result<Missing, Error> {
        let missing = self.work(Kind::Read, Some(id), |store| store.missing(id))?;
        missing.ok_or_else(|| away("the process is dead"))
    }

    fn lock(&self, id: &str, wait: Duration) -> Result<Option<Box<dyn RecordLock>>, Error> {
        let end = self.0.timeline.now() + wait;
        let mut pause = Duration::from_millis(50);
        loop {
            let lock = self.work(Kind::Read, None, |store| store.lock(id, Duration::ZERO))?;
            let Some(lock) = lock else {
                return Err(away("the process is dead"));
            };
            if let Some(lock) = lock {
                let key = self.0.next_lock.fetch_add(1, Ordering::SeqCst);
                self.0.locks.lock().insert(key, lock);
                return Ok(Some(Box::new(HeldLock {
                    line: self.clone(),
                    key,
                })));
            }
            let left = end.saturating_sub(self.0.timeline.now());
            if left.is_zero() || !self.0.timeline.sleep(self.0.pid, pause.min(left)) {
                return Ok(None);
            }
            pause = (pause * 2).min(Duration::from_secs(1));
        }
    }

    fn changes(&self, since: Option<&Cursor>) -> Result<Option<Changes>, Error> {
        let changes = self
            .work(Kind::Read, None, |store| store.changes(since))?
            .flatten();
        if let Some(changes) = &changes {
            self.note_known(&changes.written);
        }
        Ok(changes)
    }

    fn is_quiet(&self, since: &Cursor) -> bool {
        let is_quiet = self.work(Kind::Read, None, |store| Ok(store.is_quiet(since)));
        is_quiet.ok().flatten().unwrap_or(false)
    }

    fn load_entries(&self, keys: &[String]) -> Result<Vec<StoreEntry>, Error> {
        let entries = self.work(Kind::Read, None, |store| store.load_entries(keys))?;
        Ok(entries.unwrap_or_default())
    }

    fn save_entries(&self, entries: &[StoreEntry], most: usize) -> Result<(), Error> {
        self.work(Kind::Write, None, |store| store.save_entries(entries, most))
            .map(drop)
    }
}

/// A lock that the death of its process takes away.
struct HeldLock {
    line: Line,
    key: u64,
}

impl HeldLock {
    fn with<T>(
        &self,
        kind: Kind,
        work: impl FnOnce(&mut Box<dyn RecordLock>) -> Result<T, Error>,
    ) -> Result<T, Error> {
        let lock = self.line.0.locks.lock().remove(&self.key);
        let Some(mut lock) = lock else {
            return Err(away("the process is dead"));
        };
        let done = self.line.work(kind, None, |_| work(&mut lock));
        if !self.line.is_dead() {
            self.line.0.locks.lock().insert(self.key, lock);
        }
        done?.ok_or_else(|| away("the process is dead"))
    }
}

impl RecordLock for HeldLock {
    fn intent(&self) -> Result<Option<Intent>, Error> {
        self.with(Kind::Read, |lock| lock.intent())
    }

    fn set_intent(&mut self, intent: Option<&Intent>) -> Result<(), Error> {
        self.with(Kind::Write, |lock| lock.set_intent(intent))
    }

    fn holder_is_dead(&self) -> bool {
        let known = self.with(Kind::Read, |lock| Ok(lock.holder_is_dead()));
        known.unwrap_or(false)
    }
}

impl Drop for HeldLock {
    fn drop(&mut self) {
        let lock = self.line.0.locks.lock().remove(&self.key);
        drop(lock);
    }
}

pub fn away(what: &str) -> Error {
    Error::new(ErrorCode::Store, what)
}

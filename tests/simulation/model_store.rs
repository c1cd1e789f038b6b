//! A store of the world's own, on virtual time: records as text, locks that lapse while their holder lives, writes that get lost.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use credpool::{
    Auth, Changes, Cursor, Error, ErrorCode, Intent, Listing, Missing, RecordLock, Revision, Saved,
    Store, StoreEntry,
};
use parking_lot::Mutex;
use serde_json::{Map, Value};

use crate::timeline::Pid;
use crate::truth::{Shared, Truth};

#[derive(Clone)]
pub struct ModelStore(Arc<Inner>);

struct Inner {
    state: Mutex<State>,
    truth: Shared,
}

#[derive(Clone, Default)]
struct State {
    kept: Kept,
    /// What was there before the last write.
    before: Kept,
    snapshot: Kept,
    /// Another one after each loss.
    epoch: u64,
    leases: BTreeMap<String, Lease>,
    next_lease: u64,
}

#[derive(Clone, Default)]
struct Kept {
    texts: BTreeMap<String, String>,
    /// In which version a record was written or removed.
    versions: BTreeMap<String, u64>,
    version: u64,
    intents: BTreeMap<String, Intent>,
    entries: BTreeMap<String, StoreEntry>,
}

#[derive(Clone)]
struct Lease {
    number: u64,
    pid: Pid,
}

/// A process's handle.
pub struct ModelHandle {
    store: ModelStore,
    pid: Pid,
}

impl ModelStore {
    pub fn new(truth: &Shared) -> Self {
        Self(Arc::new(Inner {
            state: Mutex::default(),
            truth: Arc::clone(truth),
        }))
    }

    pub fn handle(&self, pid: Pid) -> ModelHandle {
        ModelHandle {
            store: self.clone(),
            pid,
        }
    }

    pub fn text(&self, id: &str) -> Option<Value> {
        let state = self.0.state.lock();
        serde_json::from_str(state.kept.texts.get(id)?).ok()
    }

    pub fn put(&self, id: &str, value: &Value) {
        self.0.state.lock().write(id, Some(value.to_string()));
    }

    pub fn remove(&self, id: &str) {
        self.0.state.lock().write(id, None);
    }

    pub fn remembers_removal(&self, id: &str) -> bool {
        let kept = &self.0.state.lock().kept;
        kept.versions.contains_key(id) && !kept.texts.contains_key(id)
    }

    pub fn lose_last_write(&self) {
        let mut state = self.0.state.lock();
        state.kept = state.before.clone();
        state.begin_anew();
    }

    pub fn lose_all(&self) {
        let mut state = self.0.state.lock();
        state.kept = Kept::default();
        state.begin_anew();
    }

    pub fn take_snapshot(&self) {
        let mut state = self.0.state.lock();
        state.snapshot = state.kept.clone();
    }

    /// A replica takes over that lacks what was written since the snapshot.
    pub fn fail_over(&self) {
        let mut state = self.0.state.lock();
        state.kept = state.snapshot.clone();
        state.begin_anew();
    }

    /// The server restarts: every lock is free.
    pub fn forget_locks(&self) {
        self.0.state.lock().leases.clear();
    }
}

impl State {
    fn begin_anew(&mut self) {
        self.epoch += 1;
        self.leases.clear();
        self.before = self.kept.clone();
    }

    fn write(&mut self, id: &str, text: Option<String>) {
        self.before = self.kept.clone();
        let kept = &mut self.kept;
        kept.version += 1;
        kept.versions.insert(id.to_owned(), kept.version);
        match text {
            Some(text) => drop(kept.texts.insert(id.to_owned(), text)),
            None => {
                kept.texts.remove(id);
                kept.intents.remove(id);
            }
        }
    }

    fn cursor(&self) -> Cursor {
        Cursor::new(format!("{}.{}", self.epoch, self.kept.version))
    }

    /// The version that a cursor stands for; for one of another epoch, everything is new.
    fn version(&self, cursor: &Cursor) -> u64 {
        let parts = cursor.as_str().split_once('.');
        parts
            .filter(|(epoch, _)| epoch.parse() == Ok(self.epoch))
            .and_then(|(_, version)| version.parse().ok())
            .unwrap_or(0)
    }

    fn read(&self, id: &str) -> Result<Option<Auth>, Error> {
        let Some(text) = self.kept.texts.get(id) else {
            return Ok(None);
        };
        let mut auth: Auth = serde_json::from_str(text).map_err(|_| unreadable(id))?;
        // The JSON form has no empty metadata, and a record without any is never stored.
        auth.metadata.get_or_insert_default();
        Ok(Some(auth))
    }
}

impl Store for ModelHandle {
    fn list(&self) -> Result<Listing, Error> {
        let state = self.state();
        let ids = state.kept.texts.keys();
        let records = ids.filter_map(|id| state.read(id).ok().flatten());
        Ok(Listing::of(records.collect()).with_cursor(state.cursor()))
    }

    fn save(&self, auth: &Auth) -> Result<String, Error> {
        let text = serde_json::to_string(auth).map_err(|_| unreadable(&auth.id))?;
        self.state().write(&auth.id, Some(text));
        Ok(auth.id.clone())
    }

    fn delete(&self, id: &str) -> Result<(), Error> {
        self.state().write(id, None);
        Ok(())
    }

    fn save_state(&self, auth: &Auth) -> Result<(), Error> {
        let mut state = self.state();
        let Some(text) = state.kept.texts.get(&auth.id) else {
            return Ok(());
        };
        let credential: Map<String, Value> =
            serde_json::from_str(text).map_err(|_| unreadable(&auth.id))?;
        let new = serde_json::to_value(auth).map_err(|_| unreadable(&auth.id))?;
        let merged = merge(credential, &new);
        state.write(&auth.id, Some(merged.to_string()));
        Ok(())
    }

    fn load(&self, id: &str) -> Result<Option<Auth>, Error> {
        self.state().read(id)
    }

    fn save_if(&self, auth: &Auth, expected: Option<&Revision>) -> Result<Saved, Error> {
        let mut state = self.state();
        let stored = state.read(&auth.id)?;
        if stored.as_ref().map(Revision::of).as_ref() != expected {
            return Ok(Saved::Conflict(stored.map(Box::new)));
        }
        let text = serde_json::to_string(auth).map_err(|_| unreadable(&auth.id))?;
        state.write(&auth.id, Some(text));
        Ok(Saved::At(auth.id.clone()))
    }

    fn missing(&self, id: &str) -> Result<Missing, Error> {
        Ok(if self.store.remembers_removal(id) {
            Missing::Removed
        } else {
            Missing::Lost
        })
    }

    fn lock(&self, id: &str, _: Duration) -> Result<Option<Box<dyn RecordLock>>, Error> {
        let truth = self.store.0.truth.lock();
        let mut state = self.state();
        let lease = state.leases.get(id);
        if lease.is_some_and(|lease| holds(&truth, lease)) {
            return Ok(None);
        }
        let number = state.next_lease;
        state.next_lease += 1;
        let lease = Lease {
            number,
            pid: self.pid,
        };
        state.leases.insert(id.to_owned(), lease);
        Ok(Some(Box::new(ModelLock {
            store: self.store.clone(),
            id: id.to_owned(),
            number,
            pid: self.pid,
        })))
    }

    fn changes(&self, since: Option<&Cursor>) -> Result<Option<Changes>, Error> {
        let state = self.state();
        let mut changes = Changes::none(state.cursor());
        changes.is_notified = self.is_notified();
        if let Some(since) = since {
            let since = state.version(since);
            changes.complete = since == 0;
            let changed = state.kept.versions.iter();
            for (id, _) in changed.filter(|(_, version)| **version > since) {
                match state.read(id)? {
                    Some(auth) => changes.written.push(auth),
                    None => changes.removed.push(id.clone()),
                }
            }
        }
        Ok(Some(changes))
    }

    fn is_quiet(&self, since: &Cursor) -> bool {
        self.is_notified() && self.state().cursor() == *since
    }

    fn load_entries(&self, keys: &[String]) -> Result<Vec<StoreEntry>, Error> {
        let entries = &self.state().kept.entries;
        let found = keys.iter().filter_map(|key| entries.get(key).cloned());
        Ok(found.collect())
    }

    fn save_entries(&self, entries: &[StoreEntry], _: usize) -> Result<(), Error> {
        let mut state = self.state();
        state.before = state.kept.clone();
        for entry in entries {
            let key = entry.key.clone();
            match entry.value {
                Some(_) => drop(state.kept.entries.insert(key, entry.clone())),
                None => drop(state.kept.entries.remove(&key)),
            }
        }
        Ok(())
    }
}

impl ModelHandle {
    /// Every other process listens.
    fn is_notified(&self) -> bool {
        self.pid.is_multiple_of(2)
    }

    fn state(&self) -> parking_lot::MutexGuard<'_, State> {
        self.store.0.state.lock()
    }
}

/// A lease is renewed as long as its process runs.
fn holds(truth: &Truth, lease: &Lease) -> bool {
    let life = truth.lives.get(&lease.pid).cloned().unwrap_or_default();
    let silent_since = life.died.or(life.frozen_since);
    silent_since.is_none_or(|since| truth.now() < since + LEASE)
}

const LEASE: Duration = Duration::from_secs(3);

struct ModelLock {
    store: ModelStore,
    id: String,
    number: u64,
    pid: Pid,
}

impl ModelLock {
    fn is_ours(&self, state: &State) -> bool {
        let lease = state.leases.get(&self.id);
        lease.is_some_and(|lease| lease.number == self.number)
    }
}

impl RecordLock for ModelLock {
    fn intent(&self) -> Result<Option<Intent>, Error> {
        Ok(self
            .store
            .0
            .state
            .lock()
            .kept
            .intents
            .get(&self.id)
            .cloned())
    }

    fn set_intent(&mut self, intent: Option<&Intent>) -> Result<(), Error> {
        let mut state = self.store.0.state.lock();
        if !self.is_ours(&state) {
            let what = format!("the lock on credential {} has lapsed", self.id);
            return Err(Error::new(ErrorCode::Store, what));
        }
        match intent {
            Some(intent) => drop(state.kept.intents.insert(self.id.clone(), intent.clone())),
            None => drop(state.kept.intents.remove(&self.id)),
        }
        Ok(())
    }

    fn holder_is_dead(&self) -> bool {
        false
    }
}

impl Drop for ModelLock {
    fn drop(&mut self) {
        // A dead process gives nothing back.
        let alive = self.store.0.truth.lock().is_alive(self.pid);
        let mut state = self.store.0.state.lock();
        if alive && self.is_ours(&state) {
            state.leases.remove(&self.id);
        }
    }
}

/// A credential part, with the runtime state of another text.
pub fn merge(credential: Map<String, Value>, state: &Value) -> Value {
    let mut merged: Map<String, Value> = credential
        .into_iter()
        .filter(|(name, _)| !STATE.contains(&name.as_str()))
        .collect();
    for name in STATE {
        if let Some(value) = state.get(name) {
            merged.insert(name.to_owned(), value.clone());
        }
    }
    merged.into()
}

const STATE: [&str; 10] = [
    "status",
    "status_message",
    "unavailable",
    "quota",
    "last_error",
    "updated_at",
    "next_retry_after",
    "outage_cause",
    "cooldown_cause",
    "model_states",
];

fn unreadable(id: &str) -> Error {
    Error::new(ErrorCode::Store, format!("credential {id} does not read"))
}

#[test]
fn a_lease_lapses_when_its_holder_stands_still_and_writes_get_lost() {
    use crate::endpoint::{Endpoint, Mood};
    use crate::timeline::Timeline;
    use crate::truth::Life;

    let timeline = Timeline::new();
    let endpoint = Endpoint::new(None, LEASE, Mood::Answer(LEASE));
    let truth: Shared = Arc::new(Mutex::new(Truth::new(&timeline, endpoint)));
    for pid in [1, 2] {
        truth.lock().lives.insert(pid, Life::default());
    }
    let store = ModelStore::new(&truth);
    let [one, two] = [1, 2].map(|pid| store.handle(pid));
    let lock = |handle: &ModelHandle| handle.lock("a", Duration::ZERO).unwrap();
    let mut held = lock(&one).unwrap();
    assert!(lock(&two).is_none());
    truth.lock().lives.get_mut(&1).unwrap().frozen_since = Some(Duration::ZERO);
    assert!(lock(&two).is_none());
    timeline.fire_next(LEASE);
    let taken = lock(&two).unwrap();
    held.set_intent(None).unwrap_err();
    drop(held);
    assert!(lock(&one).is_none(), "the lapsed lease gives nothing back");
    drop(taken);
    assert!(lock(&one).is_some());

    let auth = Auth::api_key("p", "old").with_id("a");
    one.save(&auth).unwrap();
    one.save(&auth.clone().with_label("new")).unwrap();
    store.lose_last_write();
    assert_eq!(two.load("a").unwrap().unwrap().label, "");
    store.lose_all();
    assert!(two.load("a").unwrap().is_none());
}

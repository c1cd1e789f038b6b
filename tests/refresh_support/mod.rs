//! A store that several managers share, as several processes would: with a lock for each record, intents that outlive their
//! holder, and compare-and-swap. It fails when it is told to.
#![allow(
    dead_code,
    unreachable_pub,
    reason = "each test file uses its own part"
)]

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use credpool::provider::refresh_tokens;
use credpool::testing::TokenServer;
use credpool::{
    Attempt, Auth, Builder, Error, ErrorCode, Hook, Intent, Listing, Manager, ManualClock, Options,
    ProviderExecutor, RecordLock, RefreshEvent, Request, Response, Revision, Saved, Store,
};
use parking_lot::{Condvar, Mutex};

use crate::support::{eventually, manual};

#[derive(Clone, Default)]
pub struct Shared(Arc<Inner>);

#[derive(Default)]
struct Inner {
    state: Mutex<State>,
    freed: Condvar,
}

#[derive(Default)]
struct State {
    /// As text: what is not stored does not come back.
    records: BTreeMap<String, String>,
    locked: HashSet<String>,
    intents: HashMap<String, Intent>,
    fails: HashSet<Fails>,
    patience: Option<Duration>,
    /// How often a lock was taken, and not to be had.
    locks: usize,
    refused: usize,
    /// How often a record was swapped, or was to be.
    swaps: usize,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Fails {
    Load,
    Save,
    Intent,
}

impl Shared {
    pub fn fail(&self, what: Fails, fails: bool) {
        let fail = &mut self.0.state.lock().fails;
        if fails {
            fail.insert(what);
        } else {
            fail.remove(&what);
        }
    }

    /// Nobody waits for a lock longer than this.
    pub fn set_patience(&self, patience: Duration) {
        self.0.state.lock().patience = Some(patience);
    }

    pub fn record(&self, id: &str) -> Auth {
        serde_json::from_str(&self.0.state.lock().records[id]).unwrap()
    }

    pub fn token(&self, id: &str) -> String {
        let auth = self.record(id);
        auth.metadata
            .unwrap()
            .text("access_token")
            .unwrap()
            .to_owned()
    }

    /// Changes a record as a person with an editor does.
    pub fn edit(&self, id: &str, change: impl FnOnce(&mut serde_json::Value)) {
        let mut state = self.0.state.lock();
        let text = state.records.get_mut(id).unwrap();
        let mut json = serde_json::from_str(text).unwrap();
        change(&mut json);
        *text = json.to_string();
    }

    pub fn intent(&self, id: &str) -> Option<Intent> {
        self.0.state.lock().intents.get(id).cloned()
    }

    pub fn set_intent(&self, id: &str, intent: Intent) {
        self.0.state.lock().intents.insert(id.to_owned(), intent);
    }

    pub fn locks_taken(&self) -> usize {
        self.0.state.lock().locks
    }

    pub fn swaps(&self) -> usize {
        self.0.state.lock().swaps
    }

    pub fn locks_refused(&self) -> usize {
        self.0.state.lock().refused
    }

    pub fn is_locked(&self, id: &str) -> bool {
        self.0.state.lock().locked.contains(id)
    }

    fn check(state: &State, what: Fails) -> Result<(), Error> {
        if state.fails.contains(&what) {
            return Err(Error::new(
                ErrorCode::Store,
                format!("{what:?} is told to fail"),
            ));
        }
        Ok(())
    }
}

impl Store for Shared {
    fn list(&self) -> Result<Listing, Error> {
        let state = self.0.state.lock();
        Self::check(&state, Fails::Load)?;
        let read = |text: &String| serde_json::from_str(text).unwrap();
        Ok(Listing::of(state.records.values().map(read).collect()))
    }

    fn save(&self, auth: &Auth) -> Result<String, Error> {
        let mut state = self.0.state.lock();
        Self::check(&state, Fails::Save)?;
        let text = serde_json::to_string(auth).unwrap();
        state.records.insert(auth.id.clone(), text);
        Ok(auth.id.clone())
    }

    fn delete(&self, id: &str) -> Result<(), Error> {
        self.0.state.lock().records.remove(id);
        Ok(())
    }

    /// The state alone: tokens are as they were.
    fn save_state(&self, auth: &Auth) -> Result<(), Error> {
        let mut state = self.0.state.lock();
        Self::check(&state, Fails::Save)?;
        let new = serde_json::to_value(auth).unwrap();
        if let Some(text) = state.records.get_mut(&auth.id) {
            let mut json: serde_json::Value = serde_json::from_str(text).unwrap();
            for name in ["status", "status_message", "last_error"] {
                json[name] = new[name].clone();
            }
            *text = json.to_string();
        }
        Ok(())
    }

    fn load(&self, id: &str) -> Result<Option<Auth>, Error> {
        let state = self.0.state.lock();
        Self::check(&state, Fails::Load)?;
        let text = state.records.get(id);
        Ok(text.map(|text| serde_json::from_str(text).unwrap()))
    }

    fn save_if(&self, auth: &Auth, expected: Option<&Revision>) -> Result<Saved, Error> {
        let mut state = self.0.state.lock();
        state.swaps += 1;
        Self::check(&state, Fails::Save)?;
        let stored = state.records.get(&auth.id);
        let stored: Option<Auth> = stored.map(|text| serde_json::from_str(text).unwrap());
        if stored.as_ref().map(Revision::of).as_ref() != expected {
            return Ok(Saved::Conflict(stored.map(Box::new)));
        }
        let text = serde_json::to_string(auth).unwrap();
        state.records.insert(auth.id.clone(), text);
        Ok(Saved::At(auth.id.clone()))
    }

    fn lock(&self, id: &str, wait: Duration) -> Result<Option<Box<dyn RecordLock>>, Error> {
        let mut state = self.0.state.lock();
        let wait = state.patience.unwrap_or(wait);
        let locked = |state: &mut State| state.locked.contains(id);
        if self
            .0
            .freed
            .wait_while_for(&mut state, locked, wait)
            .timed_out()
        {
            state.refused += 1;
            return Ok(None);
        }
        state.locks += 1;
        state.locked.insert(id.to_owned());
        let (store, id) = (self.clone(), id.to_owned());
        Ok(Some(Box::new(Lock { store, id })))
    }
}

struct Lock {
    store: Shared,
    id: String,
}

impl RecordLock for Lock {
    fn intent(&self) -> Result<Option<Intent>, Error> {
        Ok(self.store.intent(&self.id))
    }

    fn set_intent(&mut self, intent: Option<&Intent>) -> Result<(), Error> {
        let mut state = self.store.0.state.lock();
        Shared::check(&state, Fails::Intent)?;
        match intent {
            Some(intent) => state.intents.insert(self.id.clone(), intent.clone()),
            None => state.intents.remove(&self.id),
        };
        Ok(())
    }
}

impl Drop for Lock {
    fn drop(&mut self) {
        self.store.0.state.lock().locked.remove(&self.id);
        self.store.0.freed.notify_all();
    }
}

/// Refreshes as the executors of the crate do, and serves every call with the access token that it came with.
pub struct Client;

impl ProviderExecutor for Client {
    fn identifier(&self) -> &'static str {
        "p"
    }

    fn execute(
        &self,
        _: &Attempt,
        auth: &Auth,
        _: &Request,
        _: &Options,
    ) -> Result<Response, Error> {
        let token = auth.metadata.as_ref().unwrap().text("access_token");
        Ok(Response::new(token.unwrap_or_default().to_owned()))
    }

    fn refresh(&self, attempt: &Attempt, auth: &Auth) -> Result<Auth, Error> {
        refresh_tokens(attempt, auth)
    }
}

/// What hooks heard of refreshes.
#[derive(Clone, Default)]
pub struct Events(Arc<Mutex<Vec<String>>>);

impl Events {
    pub fn heard(&self) -> Vec<String> {
        self.0.lock().clone()
    }
}

impl Hook for Events {
    fn on_refresh_event(&self, event: &RefreshEvent<'_>) {
        let id = event.auth_id();
        let text = match event {
            RefreshEvent::UnpersistedRotation { .. } => format!("unpersisted_rotation {id}"),
            RefreshEvent::Persisted { .. } => format!("persisted {id}"),
            RefreshEvent::InDoubt { .. } => format!("in_doubt {id}"),
            RefreshEvent::NeedsLogin {
                answer_lost: true, ..
            } => format!("lost {id}"),
            RefreshEvent::NeedsLogin { .. } => format!("needs_login {id}"),
            _ => format!("{event}"),
        };
        self.0.lock().push(text);
    }
}

/// A process: a manager over the shared store.
pub fn process(clock: &ManualClock, store: &Shared, events: &Events) -> Manager {
    process_with(clock, store, events, |builder| builder)
}

pub fn process_with(
    clock: &ManualClock,
    store: &Shared,
    events: &Events,
    settings: impl FnOnce(Builder) -> Builder,
) -> Manager {
    let builder = Manager::builder()
        .clock(clock.clone())
        .store(store.clone())
        .hook(events.clone())
        .seed(7);
    let manager = settings(builder).build().unwrap();
    manager.register_executor(Client);
    manager
}

pub fn token(manager: &Manager, id: &str) -> String {
    let auth = manager.get_by_id(id).unwrap();
    let metadata = auth.metadata.as_ref().unwrap();
    metadata.text("access_token").unwrap().to_owned()
}

/// Calls with the credentials of `p`; the access token with which it was made.
pub fn call(manager: &Manager) -> Result<String, Error> {
    let request = Request::new("m", "{}");
    let response = manager.execute(["p"], &request, &Options::new())?;
    Ok(String::from_utf8(response.payload.to_vec()).unwrap())
}

/// Processes over one store and one token server, on one clock.
pub struct Fleet {
    pub clock: ManualClock,
    pub server: TokenServer,
    pub store: Shared,
    pub events: Events,
}

impl Fleet {
    pub fn new() -> Self {
        let clock = manual();
        Self {
            server: TokenServer::start_with_clock(clock.clone()),
            clock,
            store: Shared::default(),
            events: Events::default(),
        }
    }

    /// A process that has loaded what is there.
    pub fn process(&self) -> Manager {
        let manager = process(&self.clock, &self.store, &self.events);
        manager.load().unwrap();
        manager
    }

    pub fn process_with(&self, settings: impl FnOnce(Builder) -> Builder) -> Manager {
        let manager = process_with(&self.clock, &self.store, &self.events, settings);
        manager.load().unwrap();
        manager
    }

    /// Moves the clock, a second at a time, until something has come about.
    pub fn until(&self, what: &str, mut holds: impl FnMut() -> bool) {
        eventually(what, || {
            if holds() {
                return true;
            }
            self.clock.advance(Duration::from_secs(1));
            false
        });
    }

    /// Does something while the clock moves: a hundred times as fast as the machine's, which may be slow.
    pub fn while_time_passes<T: Send>(&self, work: impl FnOnce() -> T + Send) -> T {
        std::thread::scope(|scope| {
            let running = scope.spawn(work);
            eventually("the end of it", || {
                if !running.is_finished() {
                    self.clock.advance(Duration::from_millis(100));
                }
                running.is_finished()
            });
            running.join().unwrap()
        })
    }

    /// Runs a refresh while the clock moves.
    pub fn refresh(&self, manager: &Manager, id: &str) -> Result<Arc<Auth>, Error> {
        let running = {
            let (manager, id) = (manager.clone(), id.to_owned());
            std::thread::spawn(move || manager.refresh_now(&id))
        };
        self.until("the end of the refresh", || running.is_finished());
        running.join().unwrap()
    }
}

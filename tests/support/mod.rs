//! What the tests of the manager share: an executor without a network, a hook that remembers, a pool in one line.
#![allow(
    dead_code,
    unreachable_pub,
    reason = "each test file uses its own part"
)]

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use credpool::{
    Attempt, Auth, Builder, ChunkSource, Error, ErrorCode, FailurePolicy, Hook, Manager,
    ManualClock, Options, Outcome, OutcomeKind, ProviderExecutor, Request, Response, Rule,
    StreamChunk, Timestamp,
};
use parking_lot::Mutex;

pub const START: Timestamp = time::macros::utc_datetime!(2025-01-01 10:00);

/// Long enough for any thread to come around, on any machine.
pub const SOON: Duration = Duration::from_secs(30);

pub fn manual() -> ManualClock {
    ManualClock::at(START)
}

/// An executor that does what it is told for each credential; without word, it serves.
#[derive(Clone)]
pub struct Fake {
    provider: String,
    inner: Arc<Inner>,
}

#[derive(Default)]
struct Inner {
    acts: Mutex<HashMap<String, Act>>,
    calls: Mutex<Vec<String>>,
    refreshes: Mutex<HashMap<String, u32>>,
    renew: Mutex<Option<Renew>>,
}

pub type OnAttempt = Arc<dyn Fn(&Attempt) -> Result<Response, Error> + Send + Sync>;
pub type MakeStream = Arc<dyn Fn(&Attempt) -> Result<ChunkSource, Error> + Send + Sync>;
pub type Renew = Arc<dyn Fn(&Auth) -> Result<Auth, Error> + Send + Sync>;

#[derive(Clone)]
pub enum Act {
    Serve,
    Fail(Error),
    Panic,
    Do(Arc<dyn Fn() -> Result<Response, Error> + Send + Sync>),
    Attempt(OnAttempt),
    Stream(MakeStream),
    Refresh(Renew),
}

impl Fake {
    pub fn new(provider: &str) -> Self {
        Self {
            provider: provider.to_owned(),
            inner: Arc::default(),
        }
    }

    pub fn on(&self, id: &str, act: Act) {
        self.inner.acts.lock().insert(id.to_owned(), act);
    }

    pub fn on_attempt(&self, id: &str, act: OnAttempt) {
        self.on(id, Act::Attempt(act));
    }

    /// The ids that were called, in order.
    pub fn calls(&self) -> Vec<String> {
        self.inner.calls.lock().clone()
    }

    /// What a refresh does for every credential that is not told otherwise.
    pub fn renews(&self, renew: impl Fn(&Auth) -> Result<Auth, Error> + Send + Sync + 'static) {
        *self.inner.renew.lock() = Some(Arc::new(renew));
    }

    pub fn refreshes(&self, id: &str) -> u32 {
        self.inner.refreshes.lock().get(id).copied().unwrap_or(0)
    }

    fn act(&self, auth: &Auth) -> Act {
        self.inner.calls.lock().push(auth.id.clone());
        let acts = self.inner.acts.lock();
        acts.get(&auth.id).cloned().unwrap_or(Act::Serve)
    }

    fn answer(&self, attempt: &Attempt, auth: &Auth) -> Result<Response, Error> {
        match self.act(auth) {
            Act::Serve | Act::Stream(_) | Act::Refresh(_) => {
                Ok(Response::new("ok").with_reply_text("fine"))
            }
            Act::Fail(error) => Err(error),
            Act::Panic => panic!("the executor is told to panic"),
            Act::Do(act) => act(),
            Act::Attempt(act) => act(attempt),
        }
    }
}

impl ProviderExecutor for Fake {
    fn identifier(&self) -> &str {
        &self.provider
    }

    fn execute(
        &self,
        attempt: &Attempt,
        auth: &Auth,
        _: &Request,
        _: &Options,
    ) -> Result<Response, Error> {
        self.answer(attempt, auth)
    }

    fn execute_stream(
        &self,
        attempt: &Attempt,
        auth: &Auth,
        _: &Request,
        _: &Options,
    ) -> Result<ChunkSource, Error> {
        match self.act(auth) {
            Act::Stream(make) => make(attempt),
            Act::Fail(error) => Err(error),
            Act::Panic => panic!("the executor is told to panic"),
            _ => Ok(chunks(["one", "two"])),
        }
    }

    fn count_tokens(
        &self,
        attempt: &Attempt,
        auth: &Auth,
        _: &Request,
        _: &Options,
    ) -> Result<Response, Error> {
        self.answer(attempt, auth)
    }

    fn refresh(&self, _: &Attempt, auth: &Auth) -> Result<Auth, Error> {
        *self
            .inner
            .refreshes
            .lock()
            .entry(auth.id.clone())
            .or_default() += 1;
        let act = self.inner.acts.lock().get(&auth.id).cloned();
        match act {
            Some(Act::Refresh(renew)) => renew(auth),
            Some(Act::Panic) => panic!("the executor is told to panic"),
            _ => {
                let renew = self.inner.renew.lock().clone();
                renew.map_or_else(
                    || Err(Error::new(ErrorCode::RefreshFailed, "no token today")),
                    |renew| renew(auth),
                )
            }
        }
    }
}

/// A stream of these texts that ends well.
pub fn chunks<const N: usize>(texts: [&'static str; N]) -> ChunkSource {
    Box::new(
        texts
            .into_iter()
            .map(|text| Ok(StreamChunk::new(text).with_text(text))),
    )
}

/// A hook that remembers.
#[derive(Clone, Default)]
pub struct Recorder {
    inner: Arc<Mutex<Seen>>,
}

#[derive(Default)]
struct Seen {
    results: Vec<(String, OutcomeKind)>,
    events: Vec<String>,
}

impl Recorder {
    pub fn results(&self) -> usize {
        self.inner.lock().results.len()
    }

    pub fn kinds(&self) -> Vec<OutcomeKind> {
        let seen = self.inner.lock();
        seen.results.iter().map(|(_, kind)| kind.clone()).collect()
    }

    /// `registered a0`, `updated a0`, `removed a0`, in order.
    pub fn events(&self) -> Vec<String> {
        self.inner.lock().events.clone()
    }

    fn event(&self, what: &str, auth: &Auth) {
        self.inner.lock().events.push(format!("{what} {}", auth.id));
    }
}

impl Hook for Recorder {
    fn on_auth_registered(&self, auth: &Auth) {
        self.event("registered", auth);
    }

    fn on_auth_updated(&self, auth: &Auth) {
        self.event("updated", auth);
    }

    fn on_auth_removed(&self, auth: &Auth) {
        self.event("removed", auth);
    }

    fn on_result(&self, outcome: &Outcome<'_>) {
        let mut seen = self.inner.lock();
        let result = (outcome.auth_id.to_owned(), outcome.kind.clone());
        seen.results.push(result);
    }
}

impl fmt::Debug for Recorder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Recorder")
    }
}

/// Round numbers without chance: 30 minutes for 401 to 403 and 429, one for faults of the provider, on to the next always.
pub fn steady() -> FailurePolicy {
    let half_an_hour = Duration::from_secs(30 * 60);
    FailurePolicy::empty()
        .with_rule(Rule::any_of([401, 402, 403]).cooldown(half_an_hour))
        .with_rule(Rule::status(429).cooldown(half_an_hour).quota())
        .with_rule(Rule::statuses(500..=599).cooldown(Duration::from_secs(60)))
}

/// A manager on a manual clock with one provider `p` and credentials `a0`, `a1`…
pub fn pool_of(credentials: usize) -> (Manager, Fake, ManualClock) {
    pool_with(credentials, |builder| builder)
}

pub fn pool_with(
    credentials: usize,
    settings: impl FnOnce(Builder) -> Builder,
) -> (Manager, Fake, ManualClock) {
    let clock = manual();
    let builder = settings(Manager::builder().clock(clock.clone()).policy(steady()));
    let manager = builder.build().unwrap();
    let fake = Fake::new("p");
    manager.register_executor(fake.clone());
    for n in 0..credentials {
        let auth = Auth::api_key("p", "k").with_id(format!("a{n}"));
        manager.register(auth).unwrap();
    }
    (manager, fake, clock)
}

/// Waits until something that another thread does has come about.
pub fn eventually(what: &str, mut holds: impl FnMut() -> bool) {
    let (_keep, never) = crossbeam_channel::bounded::<()>(0);
    let mut left = SOON;
    let step = Duration::from_millis(1);
    while !holds() {
        assert!(!left.is_zero(), "{what} did not come about");
        let _ = never.recv_timeout(step);
        left = left.saturating_sub(step);
    }
}

//! The provider of the pool: keys with token buckets, accounts that share one, faults, outages and long calls; and a note of every
//! request that came.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use credpool::{
    Attempt, Auth, ChunkSource, Error, ErrorCode, Format, LimitWindow, Manager, Options,
    ProviderExecutor, RateLimits, RawAnswer, RawRequest, Request, Response, StreamChunk, Timestamp,
};
use crossbeam_channel::select;
use parking_lot::Mutex;

use super::callers::Settled;
use super::models::{List, check_first, check_model};
use crate::random::Random;
use crate::timeline::{Pid, Timeline};
use crate::truth::Breach;

pub const PROVIDER: &str = "p";
pub const MODELS: [&str; 2] = ["m", "n"];

pub type Shared = Arc<Mutex<Truth>>;

/// What a key is worth.
#[derive(Clone, Debug)]
pub struct Key {
    /// Requests a second, and how many at once.
    pub bucket: Option<Bucket>,
    /// Says how long to wait.
    pub hints: Hints,
    /// Of a thousand requests, so many fail with a 500.
    pub faults: usize,
    /// Always this status, where it is none of those faults.
    pub always: Option<u16>,
    /// A setting is wrong: nothing can be sent.
    pub unusable: bool,
    pub latency: Duration,
    /// What the pool has to know of it.
    pub rpm: Option<usize>,
    pub tpm: Option<usize>,
    /// The models that it serves; `None`: all.
    pub models: Option<List>,
    pub max_concurrent: Option<usize>,
    pub disabled: bool,
    /// Its record waits for a login, and holds nothing that could be sent.
    pub pending: bool,
}

#[derive(Clone, Debug)]
pub struct Bucket {
    pub rate: f64,
    pub burst: f64,
    pub filled: f64,
    pub at: Duration,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Hints {
    RetryAfter,
    Headers,
    None,
}

/// A request that was sent.
#[derive(Clone, Debug)]
pub struct Sent {
    pub at: Duration,
    pub call: u64,
    pub model: String,
    pub failed: bool,
    /// The status with which it was refused, until an operator changes what that was for.
    pub refused: Option<u16>,
    /// The key fails always.
    pub is_hopeless: bool,
    /// What the pool reckons it with.
    pub tokens: usize,
    /// How long the key was to be left alone, and from when on the pool knows.
    pub told: Option<(Duration, Duration)>,
}

pub struct Truth {
    timeline: Arc<Timeline>,
    random: Random,
    pub keys: BTreeMap<String, Key>,
    /// Nobody is served before then.
    pub outage_until: Duration,
    pub sent: BTreeMap<String, Vec<Sent>>,
    pub in_flight: BTreeMap<String, usize>,
    /// When an unusable key was first tried since it is so.
    pub tried_unusable: BTreeMap<String, Duration>,
    /// When an operator last changed a key, and when a request to it last came to its end. What the pool knew a moment before may
    /// have been right at that time.
    pub changed: BTreeMap<String, Duration>,
    pub ended: BTreeMap<String, Duration>,
    /// When the program last told of a fault of the key that no server has seen.
    pub marked: BTreeMap<String, Duration>,
    /// When the machine was last suspended, and its wall clock set.
    pub slept: Duration,
    pub clock_set: Duration,
    /// What all get that call about no model: they ask for a path that is not there.
    pub without_model: u16,
    /// Nobody is asked while it is out, though nobody else could be.
    pub no_floor: bool,
    /// Attempts, and what hooks heard of them.
    pub attempts: usize,
    pub heard: usize,
    /// What each call asks for.
    pub asked: BTreeMap<u64, &'static str>,
    pub uses_file: BTreeSet<u64>,
    /// Since when who is ready, and how the selector behaves: as the world knows it.
    pub settled: Settled,
    pub mischief: Arc<AtomicUsize>,
    /// The pool itself, as long as its world goes on.
    pub manager: Option<Manager>,
    /// What was made, by which key.
    pub files: BTreeMap<String, String>,
    pub made: usize,
    pub breaches: Vec<Breach>,
    pub history: Vec<String>,
}

impl Truth {
    pub fn new(timeline: &Arc<Timeline>, seed: u64) -> Shared {
        Arc::new(Mutex::new(Self {
            timeline: Arc::clone(timeline),
            random: Random::seeded(seed ^ 0x55),
            keys: BTreeMap::new(),
            outage_until: Duration::ZERO,
            sent: BTreeMap::new(),
            in_flight: BTreeMap::new(),
            tried_unusable: BTreeMap::new(),
            changed: BTreeMap::new(),
            ended: BTreeMap::new(),
            marked: BTreeMap::new(),
            slept: Duration::ZERO,
            clock_set: Duration::ZERO,
            without_model: 404,
            no_floor: false,
            attempts: 0,
            heard: 0,
            asked: BTreeMap::new(),
            uses_file: BTreeSet::new(),
            settled: Settled::default(),
            mischief: Arc::default(),
            manager: None,
            files: BTreeMap::new(),
            made: 0,
            breaches: Vec::new(),
            history: Vec::new(),
        }))
    }

    pub fn now(&self) -> Duration {
        self.timeline.now()
    }

    /// An operator is changing a key: what calls do with it at this moment may be right by what it was before.
    pub fn is_changing(&self, id: &str) -> bool {
        self.changed.get(id) == Some(&self.now())
    }

    /// Nothing has happened to a key at this moment.
    pub fn is_at_rest(&self, id: &str) -> bool {
        let now = self.now();
        let last_sent = self.sent.get(id).and_then(|sent| sent.last());
        !self.is_changing(id)
            && self.ended.get(id) != Some(&now)
            && last_sent.is_none_or(|sent| sent.at != now)
    }

    pub fn mischief(&self) -> usize {
        self.mischief.load(Ordering::SeqCst)
    }

    pub fn note(&mut self, what: impl AsRef<str>) {
        let now = self.now();
        if self.history.len() < 4_000 {
            self.history.push(format!("{now:>12?} {}", what.as_ref()));
        }
    }

    pub fn breach(&mut self, promise: &'static str, what: String) {
        self.note(format!("BREACH {promise}: {what}"));
        self.breaches.push(Breach { promise, what });
    }
}

impl Bucket {
    pub fn new(rate: f64, burst: f64) -> Self {
        Self {
            rate,
            burst,
            filled: burst,
            at: Duration::ZERO,
        }
    }

    /// Takes one, or says when there is one.
    fn take(&mut self, now: Duration) -> Result<f64, Duration> {
        let passed = now.saturating_sub(self.at).as_secs_f64();
        self.filled = (self.filled + passed * self.rate).min(self.burst);
        self.at = now;
        if self.filled >= 1.0 - 1e-9 {
            self.filled -= 1.0;
            Ok(self.filled)
        } else {
            Err(Duration::from_secs_f64((1.0 - self.filled) / self.rate))
        }
    }
}

/// The executor of the pool's process.
pub struct Upstream {
    pub pid: Pid,
    pub timeline: Arc<Timeline>,
    pub truth: Shared,
}

/// What a request meets.
enum Fate {
    Served {
        latency: Duration,
        limits: Option<RateLimits>,
    },
    Refused(Error),
}

impl Upstream {
    /// A request comes.
    fn arrive(&self, attempt: &Attempt, auth: &Auth, request: &Request) -> Fate {
        let mut truth = self.truth.lock();
        let now = truth.now();
        truth.attempts += 1;
        let id = auth.id.clone();
        let Some(key) = truth.keys.get(&id).cloned() else {
            return Fate::Refused(Error::upstream(401, "no such key"));
        };
        if key.unusable {
            let first = *truth.tried_unusable.entry(id.clone()).or_insert(now);
            if now > first {
                let what = format!("{id} was tried at {first:?}, and again");
                truth.breach(
                    "a_credential_with_a_wrong_setting_is_asked_once_until_it_changes",
                    what,
                );
            }
            let error = Error::new(ErrorCode::Config, "its setting is wrong").with_auth_id(&id);
            return Fate::Refused(error);
        }
        let call = call_of(request);
        if key.pending {
            if !truth.is_changing(&id) {
                let what = format!("call {call} asks {id}, which waits for its login");
                truth.breach("no_request_is_sent_for_a_pending_credential", what);
            }
            let error = Error::new(ErrorCode::Config, "it has no key").with_auth_id(&id);
            return Fate::Refused(error);
        }
        if let Some(manager) = truth.manager.clone() {
            check_first(&mut truth, &manager, &key, &request.model, call);
        }
        check_model(&mut truth, &id, &key, &request.model, call);
        super::promises::check_request(&mut truth, &id, &key, &request.model, call);
        let text = String::from_utf8_lossy(&request.payload);
        super::files::check_file(&mut truth, &id, call, &text);
        truth.sent.entry(id.clone()).or_default().push(Sent {
            at: now,
            call,
            model: request.model.clone(),
            failed: false,
            refused: None,
            is_hopeless: key.always.is_some(),
            tokens: request.payload.len() / 4,
            told: None,
        });
        let fate = if request.model.is_empty() {
            Fate::Refused(Error::upstream(truth.without_model, "no such path"))
        } else {
            Self::fate(&mut truth, &id, key, attempt.clock().now())
        };
        if let Some(sent) = truth.sent.get_mut(&id).and_then(|all| all.last_mut())
            && let Fate::Refused(error) = &fate
        {
            sent.failed = true;
            sent.refused = error.http_status();
        }
        let what = match &fate {
            Fate::Served { .. } => "served".to_owned(),
            Fate::Refused(error) => format!("{error}"),
        };
        truth.note(format!(
            "call {call} asks {id} for {:?}: {what}",
            request.model
        ));
        fate
    }

    fn fate(truth: &mut Truth, id: &str, mut key: Key, wall: Timestamp) -> Fate {
        let now = truth.now();
        let latency = key.latency;
        if now < truth.outage_until {
            return Fate::Refused(Error::upstream(503, "the provider is down"));
        }
        if truth.random.below(1000) < key.faults {
            return Fate::Refused(Error::upstream(500, "an internal error"));
        }
        if let Some(status) = key.always {
            return Fate::Refused(Error::upstream(status, "this key fails"));
        }
        let Some(bucket) = &mut key.bucket else {
            return Fate::Served {
                latency,
                limits: None,
            };
        };
        let taken = bucket.take(now);
        let hints = key.hints;
        truth.keys.insert(id.to_owned(), key);
        match taken {
            Ok(left) => {
                let limits = (hints == Hints::Headers).then(|| {
                    let rate = truth.keys[id]
                        .bucket
                        .as_ref()
                        .map_or(1.0, |bucket| bucket.rate);
                    let next = Duration::from_secs_f64((1.0 - left).max(0.0) / rate);
                    let window = LimitWindow::new("requests")
                        .with_remaining(u64::from(left >= 1.0))
                        .with_resets_at(wall + next);
                    RateLimits::new().with_window(window)
                });
                Fate::Served { latency, limits }
            }
            Err(wait) => {
                let error = Error::upstream(429, "rate limit reached");
                if hints == Hints::None {
                    return Fate::Refused(error);
                }
                let wait = Duration::from_secs(wait.as_secs() + 1);
                if let Some(sent) = truth.sent.get_mut(id).and_then(|all| all.last_mut()) {
                    sent.told = Some((now, wait));
                }
                Fate::Refused(error.with_retry_after(wait))
            }
        }
    }

    pub fn answer(
        &self,
        attempt: &Attempt,
        auth: &Auth,
        request: &Request,
    ) -> Result<Response, Error> {
        let (latency, limits) = match self.arrive(attempt, auth, request) {
            Fate::Served { latency, limits } => (latency, limits),
            Fate::Refused(error) => return Err(error),
        };
        *self
            .truth
            .lock()
            .in_flight
            .entry(auth.id.clone())
            .or_default() += 1;
        let result = self.wait(attempt, latency);
        self.leave(&auth.id);
        result?;
        let mut response = Response::new("ok");
        response.rate_limits = limits.map(Arc::new);
        Ok(response)
    }

    /// A request comes to its end.
    fn leave(&self, id: &str) {
        let mut truth = self.truth.lock();
        let now = truth.now();
        truth.ended.insert(id.to_owned(), now);
        if let Some(count) = truth.in_flight.get_mut(id) {
            *count -= 1;
        }
    }

    /// As a connection does that can be closed.
    fn wait(&self, attempt: &Attempt, latency: Duration) -> Result<(), Error> {
        let clock = attempt.clock();
        let late = attempt
            .deadline()
            .map_or_else(crossbeam_channel::never, |deadline| {
                clock.after(deadline.saturating_duration_since(clock.monotonic()))
            });
        let done = self.timeline.timer(self.pid, latency);
        select! {
            recv(done) -> _ => Ok(()),
            recv(attempt.cancel_token().cancelled()) -> _ => Err(Error::new(ErrorCode::Cancelled, "cancelled")),
            recv(late) -> _ => Err(Error::new(ErrorCode::DeadlineExceeded, "too late")),
        }
    }
}

/// The number of the call that a request belongs to.
pub fn call_of(request: &Request) -> u64 {
    let text = std::str::from_utf8(&request.payload).unwrap_or_default();
    let text = text.trim_start_matches(['{', '"', ' ']);
    let digits = text.split(|sign: char| !sign.is_ascii_digit()).next();
    digits.unwrap_or_default().parse().unwrap_or(0)
}

impl ProviderExecutor for Upstream {
    fn identifier(&self) -> &'static str {
        PROVIDER
    }

    fn execute(
        &self,
        attempt: &Attempt,
        auth: &Auth,
        request: &Request,
        _: &Options,
    ) -> Result<Response, Error> {
        self.answer(attempt, auth, request)
    }

    fn execute_stream(
        &self,
        attempt: &Attempt,
        auth: &Auth,
        request: &Request,
        _: &Options,
    ) -> Result<ChunkSource, Error> {
        let answer = self.answer(attempt, auth, request)?;
        let chunks = (0..3).map(move |number| {
            let mut chunk = StreamChunk::new(number.to_string()).with_text("x");
            chunk.rate_limits.clone_from(&answer.rate_limits);
            Ok(chunk)
        });
        Ok(Box::new(chunks))
    }

    fn execute_raw(
        &self,
        attempt: &Attempt,
        auth: &Auth,
        request: &RawRequest,
        _: &Options,
    ) -> Result<RawAnswer, Error> {
        self.raw(attempt, auth, request)
    }

    fn refresh(&self, _: &Attempt, _: &Auth) -> Result<Auth, Error> {
        Err(Error::new(ErrorCode::Unsupported, "a key is not refreshed"))
    }

    fn speaks(&self, _: &Format) -> bool {
        true
    }
}

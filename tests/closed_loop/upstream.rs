//! The provider as a model: keys with limits, and what it says of them.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use credpool::{Clock, RateLimits, Usage};
use http::HeaderMap;
use parking_lot::Mutex;

use super::limit::{Limit, Limited};
use super::random::draw;
use super::timeline::Timeline;

/// What the provider says of its limits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Says {
    /// Nothing but 429.
    Nothing,
    /// `retry-after` with a 429, in whole seconds.
    RetryAfter,
    /// That, and with each answer what is left and when it is whole again.
    Headers,
}

/// What one key of the provider is like.
#[derive(Clone)]
pub struct Key {
    pub id: String,
    /// Keys of one account share it.
    pub limit: Option<Arc<Mutex<Limited>>>,
    pub fault: Fault,
}

/// What goes wrong with a key, its limits aside.
#[derive(Clone, Copy, Debug, Default)]
pub enum Fault {
    #[default]
    None,
    /// This part of the requests is answered with 500.
    At(f64),
    /// All of them.
    Always,
    /// Nothing can be sent with it: its own configuration is wrong.
    Unusable,
    /// Its first request is answered with 429 and `retry-after: 1`.
    FirstLimited,
    /// Its quota is used up until then, while the answer speaks of five hours.
    QuotaUntil(Duration),
}

/// What every key has in common.
#[derive(Clone, Debug)]
pub struct Manner {
    pub says: Says,
    /// How long a call takes that is served, give or take a fifth.
    pub takes: Duration,
    /// From when until when every answer is a 503.
    pub outage: Option<(Duration, Duration)>,
}

/// The provider.
pub struct Upstream {
    timeline: Timeline,
    keys: HashMap<String, State>,
    manner: Manner,
    number: AtomicU64,
    /// When each request came.
    requests: Mutex<Vec<Duration>>,
}

struct State {
    key: Key,
    asked: AtomicU64,
    /// When the key was last told to come back, and how long it was told to wait.
    told: Mutex<(Duration, Duration)>,
}

/// An answer, after the time that it takes.
pub struct Answer {
    pub status: u16,
    pub headers: HeaderMap,
    pub body: &'static str,
    pub usage: Usage,
    /// How long it took to serve.
    pub took: Duration,
}

/// How long a refusal takes.
const REFUSAL: Duration = Duration::from_millis(20);

const LIMITED: &str =
    r#"{"error":{"message":"Rate limit reached","type":"requests","code":"rate_limit_exceeded"}}"#;
const USED_UP: &str =
    r#"{"error":{"message":"The usage limit has been reached","type":"usage_limit_reached"}}"#;
const FAILED: &str = r#"{"error":{"message":"The server had an error","type":"server_error"}}"#;
const OVERLOADED: &str =
    r#"{"error":{"message":"The server is unavailable","type":"server_error"}}"#;

impl Upstream {
    pub fn new(timeline: &Timeline, keys: &[Key], manner: Manner) -> Self {
        let state = |key: &Key| State {
            key: key.clone(),
            asked: AtomicU64::default(),
            told: Mutex::default(),
        };
        Self {
            timeline: timeline.clone(),
            keys: keys
                .iter()
                .map(|key| (key.id.clone(), state(key)))
                .collect(),
            manner,
            number: AtomicU64::default(),
            requests: Mutex::default(),
        }
    }

    /// When each request came.
    pub fn requests(&self) -> Vec<Duration> {
        self.requests.lock().clone()
    }

    /// None where nothing could be sent.
    pub fn ask(&self, key: &str, tokens: u64) -> Option<Answer> {
        let state = &self.keys[key];
        if let Fault::Unusable = state.key.fault {
            return None;
        }
        let now = self.timeline.passed();
        self.requests.lock().push(now);
        let number = self.number.fetch_add(1, Ordering::SeqCst);
        let asked = state.asked.fetch_add(1, Ordering::SeqCst);
        if let Some(refusal) = self.refused(state, now, number, asked, tokens) {
            self.timeline.sleep(REFUSAL);
            return Some(refusal);
        }
        let spread = 0.8 + 0.4 * draw("length", number);
        let took = self.manner.takes.mul_f64(spread);
        self.timeline.sleep(took);
        let limit = state.key.limit.as_deref();
        if let Some(limit) = limit {
            limit.lock().ended();
        }
        let mut usage = Usage::default();
        usage.input = tokens;
        Some(Answer {
            status: 200,
            headers: self.headers(limit),
            body: "{}",
            usage,
            took,
        })
    }

    fn refused(
        &self,
        state: &State,
        now: Duration,
        number: u64,
        asked: u64,
        tokens: u64,
    ) -> Option<Answer> {
        let refusal = |status, body, wait: Option<Duration>| {
            let mut headers = HeaderMap::new();
            if let Some(wait) = wait {
                let seconds = wait.as_millis().div_ceil(1000).max(1);
                headers.insert("retry-after", seconds.to_string().parse().unwrap());
                let told = Duration::from_secs(u64::try_from(seconds).unwrap());
                // It is told when the refusal arrives.
                *state.told.lock() = (now + REFUSAL + told, told);
            }
            Some(Answer {
                status,
                headers,
                body,
                usage: Usage::default(),
                took: Duration::ZERO,
            })
        };
        let outage = self.manner.outage;
        if outage.is_some_and(|(from, until)| (from..until).contains(&now)) {
            return refusal(503, OVERLOADED, None);
        }
        let second = Duration::from_secs(1);
        match state.key.fault {
            Fault::Always => return refusal(500, FAILED, None),
            Fault::At(part) if draw("fault", number) < part => {
                return refusal(500, FAILED, None);
            }
            Fault::FirstLimited if asked == 0 => return refusal(429, LIMITED, Some(second)),
            Fault::QuotaUntil(back) if now < back => {
                return refusal(429, USED_UP, Some(5 * 3600 * second));
            }
            _ => {}
        }
        let limit = state.key.limit.as_deref()?;
        let wait = limit.lock().take(now, tokens).err()?;
        match self.manner.says {
            Says::Nothing => refusal(429, LIMITED, None),
            Says::RetryAfter => refusal(429, LIMITED, Some(wait)),
            Says::Headers => refusal(429, LIMITED, Some(wait)).map(|mut answer| {
                answer.headers.extend(self.headers(Some(limit)));
                answer
            }),
        }
    }

    fn headers(&self, limit: Option<&Mutex<Limited>>) -> HeaderMap {
        match limit {
            Some(limit) if self.manner.says == Says::Headers => {
                limit.lock().headers(self.timeline.passed())
            }
            _ => HeaderMap::new(),
        }
    }

    /// Whether a key would serve that nobody was told to leave alone, with a tenth of what it was told as its jitter.
    pub fn is_any_ready(&self, tokens: u64) -> bool {
        let now = self.timeline.passed();
        self.keys.values().any(|state| {
            let (until, told) = *state.told.lock();
            let limit = state.key.limit.as_deref();
            now > until + told / 10 && limit.is_none_or(|limit| limit.lock().has(now, tokens))
        })
    }

    /// How many calls a second the limits allow.
    pub fn allowed(&self, tokens: f64) -> f64 {
        let mut seen: Vec<*const Mutex<Limited>> = Vec::new();
        let mut allowed = 0.0;
        for state in self.keys.values() {
            let Some(limit) = &state.key.limit else {
                return f64::INFINITY;
            };
            if !seen.contains(&Arc::as_ptr(limit)) {
                seen.push(Arc::as_ptr(limit));
                allowed += limit.lock().rate(self.manner.takes, tokens);
            }
        }
        allowed
    }
}

impl Answer {
    /// As the shipped executors read it.
    pub fn limits(&self, clock: &dyn Clock) -> RateLimits {
        if self.status == 200 {
            RateLimits::from_headers(&self.headers, clock.now())
        } else {
            RateLimits::from_error(
                self.status,
                &self.headers,
                self.body.as_bytes(),
                clock.now(),
            )
        }
    }
}

impl Key {
    /// `many` keys with limits of their own.
    pub fn limited(many: usize, limit: Limit) -> Vec<Self> {
        let shift = |index: usize| draw("phase", index as u64);
        Self::many(many, |index| {
            (Some(Limited::new(limit, shift(index))), Fault::None)
        })
    }

    /// `many` keys of one account.
    pub fn of_one_account(many: usize, limit: Limit) -> Vec<Self> {
        let mut keys = Self::limited(many, limit);
        let first = keys[0].limit.clone();
        for key in &mut keys {
            key.limit.clone_from(&first);
        }
        keys
    }

    /// Keys without limits, each with its fault.
    pub fn faulty(faults: impl IntoIterator<Item = Fault>) -> Vec<Self> {
        let faults: Vec<_> = faults.into_iter().collect();
        Self::many(faults.len(), |index| (None, faults[index]))
    }

    fn many(many: usize, of: impl Fn(usize) -> (Option<Limited>, Fault)) -> Vec<Self> {
        let key = |index| {
            let (limit, fault) = of(index);
            Self {
                id: format!("key-{index:02}"),
                limit: limit.map(|limit| Arc::new(Mutex::new(limit))),
                fault,
            }
        };
        (0..many).map(key).collect()
    }
}

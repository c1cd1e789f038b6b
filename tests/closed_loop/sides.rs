//! Who calls the provider: the pool, or a vendor's SDK with a key of its own.

use std::cell::Cell;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use credpool::{
    Attempt, Auth, Error, ErrorCode, FailurePolicy, Manager, Options, ProviderExecutor, Request,
    Response,
};

use super::random::draw;
use super::timeline::Timeline;
use super::upstream::{Answer, Key, Upstream};

pub const PROVIDER: &str = "openai";

/// How a caller gets its answer.
pub trait Side: Sync {
    /// Whether the call was served.
    fn call(&self, caller: usize, tokens: u64) -> bool;
}

thread_local! {
    /// Of the call under way on this thread: how many attempts it has made, and how long the one that was served took.
    static MADE: Cell<(u32, Duration)> = const { Cell::new((0, Duration::ZERO)) };
}

/// Runs a call; returns what it made of its attempts, too.
pub fn counted<T>(call: impl FnOnce() -> T) -> (T, u32, Duration) {
    MADE.set((0, Duration::ZERO));
    let result = call();
    let (attempts, took) = MADE.get();
    (result, attempts, took)
}

fn note_attempt(answer: Option<&Answer>) {
    let (attempts, _) = MADE.get();
    MADE.set((
        attempts + 1,
        answer.map_or(Duration::ZERO, |answer| answer.took),
    ));
}

/// The production code with its default configuration.
pub struct Pool {
    manager: Manager,
    /// How long a call may wait, where it is not the default.
    max_wait: Option<Duration>,
}

impl Pool {
    /// `group`: the keys say that they share a limit.
    pub fn new(
        timeline: &Timeline,
        upstream: &Arc<Upstream>,
        keys: &[Key],
        group: bool,
        max_wait: Option<Duration>,
    ) -> Self {
        let manager = Manager::builder()
            .clock(timeline.clone())
            .policy(FailurePolicy::default())
            .seed(1)
            .build()
            .unwrap();
        manager.register_executor(Executor(Arc::clone(upstream)));
        for key in keys {
            let mut auth = Auth::api_key(PROVIDER, format!("sk-{}", key.id)).with_id(&key.id);
            if group {
                auth = auth.with_attribute("limit_group", "account");
            }
            manager.register(auth).unwrap();
        }
        Self { manager, max_wait }
    }
}

impl Side for Pool {
    fn call(&self, _: usize, tokens: u64) -> bool {
        // The library reckons with a token for four bytes.
        let payload = "x".repeat(usize::try_from(4 * tokens).unwrap());
        let request = Request::new("gpt-5", payload);
        let mut options = Options::new();
        options.max_wait = self.max_wait;
        self.manager.execute([PROVIDER], &request, &options).is_ok()
    }
}

struct Executor(Arc<Upstream>);

impl ProviderExecutor for Executor {
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
        let tokens = request.payload.len() as u64 / 4;
        let answer = self.0.ask(&auth.id, tokens);
        note_attempt(answer.as_ref());
        let Some(answer) = answer else {
            return Err(Error::new(ErrorCode::Config, "the key is no header value"));
        };
        let limits = answer.limits(attempt.clock());
        if answer.status == 200 {
            let response = Response::new(answer.body).with_usage(answer.usage);
            Ok(response.with_rate_limits(limits))
        } else {
            Err(Error::upstream(answer.status, answer.body).with_rate_limits(limits))
        }
    }
}

/// The rule of the vendors' SDKs, without a pool: each caller keeps to one key, tries twice more, and waits as `retry-after` says
/// up to a minute, else from 0.5 s doubling to 8 s, less up to a quarter.
pub struct Sdk {
    timeline: Timeline,
    upstream: Arc<Upstream>,
    keys: Vec<String>,
    waits: AtomicU64,
}

impl Sdk {
    pub fn new(timeline: &Timeline, upstream: &Arc<Upstream>, keys: &[Key]) -> Self {
        Self {
            timeline: timeline.clone(),
            upstream: Arc::clone(upstream),
            keys: keys.iter().map(|key| key.id.clone()).collect(),
            waits: AtomicU64::default(),
        }
    }
}

impl Side for Sdk {
    fn call(&self, caller: usize, tokens: u64) -> bool {
        let key = &self.keys[caller % self.keys.len()];
        for retry in 0..=2 {
            let answer = self.upstream.ask(key, tokens);
            note_attempt(answer.as_ref());
            let Some(answer) = answer else {
                return false;
            };
            match answer.status {
                200 => return true,
                408 | 409 | 429 | 500.. if retry < 2 => {}
                _ => return false,
            }
            let told = answer.limits(&self.timeline).retry_after;
            let told = told.filter(|told| *told <= Duration::from_secs(60));
            self.timeline.sleep(told.unwrap_or_else(|| {
                let number = self.waits.fetch_add(1, Ordering::SeqCst);
                let whole = Duration::from_millis((500 << retry).min(8000));
                whole.mul_f64(1.0 - 0.25 * draw("back-off", number))
            }));
        }
        false
    }
}

//! What a manager counts is what the upstream has seen: exactly, under many threads, whatever kind of call it was.
#![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

mod support;

use std::collections::BTreeMap;
use std::io::Read;
use std::sync::Arc;
use std::time::Duration;

use credpool::{
    Attempt, Auth, Availability, ChunkSource, Counts, Error, FailureKind, FailurePolicy,
    LimitWindow, Manager, OAuthTokens, Operation, Options, Outcome, ProviderExecutor, RateLimits,
    RawAnswer, RawRequest, ReadAnswer, Request, Response, ResponseHead, StreamChunk, StreamEvent,
    TokenState, Usage,
};
use parking_lot::Mutex;
use support::{Act, SOON, manual, pool_of, pool_with, steady};

const THREADS: usize = 64;
const CALLS: usize = 60;
const MODELS: [&str; 3] = ["small", "large", "broken"];

/// What an upstream has seen, for each credential and model.
#[derive(Clone, Debug, Default, PartialEq)]
struct Seen {
    requests: u64,
    succeeded: u64,
    failed: BTreeMap<FailureKind, u64>,
    abandoned: u64,
    tokens: Usage,
    counted: u64,
}

type Truth = Arc<Mutex<BTreeMap<(String, String), Seen>>>;

/// Does what the payload says, and knows how that ends.
#[derive(Clone)]
struct Upstream {
    provider: String,
    truth: Truth,
    policy: FailurePolicy,
}

impl Upstream {
    fn new(provider: &str) -> Self {
        Self {
            provider: provider.to_owned(),
            truth: Truth::default(),
            policy: policy(),
        }
    }

    fn note(&self, auth: &Auth, request: &Request, what: impl FnOnce(&mut Seen)) {
        let mut truth = self.truth.lock();
        let key = (auth.id.clone(), request.model.clone());
        what(truth.entry(key).or_default());
    }

    fn fails(&self, auth: &Auth, request: &Request, status: u16) -> Error {
        let error = Error::upstream(status, "no");
        let fault = self.policy.classify(&error).fault;
        self.note(auth, request, |seen| {
            seen.requests += 1;
            *seen.failed.entry(fault).or_default() += 1;
        });
        error
    }

    fn serves(&self, auth: &Auth, request: &Request, usage: Option<Usage>) {
        self.note(auth, request, |seen| {
            seen.requests += 1;
            seen.succeeded += 1;
            seen.tokens += usage.unwrap_or_default();
        });
    }

    /// Requests for the model `broken` fail in turn, by the credential's number.
    fn fault_of(auth: &Auth, request: &Request) -> Option<u16> {
        let statuses = [429, 500, 401, 503];
        let number: usize = auth.id[1..].parse().unwrap();
        (request.model == "broken" && number < 6).then(|| statuses[number % statuses.len()])
    }
}

/// What is counted does not depend on what failures lead to: nobody is out for long.
fn policy() -> FailurePolicy {
    let brief = credpool::Cooldown::Fixed(Duration::from_millis(1));
    [
        FailureKind::RateLimited,
        FailureKind::Transient,
        FailureKind::Overloaded,
        FailureKind::Unauthorized,
    ]
    .into_iter()
    .fold(FailurePolicy::default(), |policy, kind| {
        policy.with_cooldown(kind, brief)
    })
    .with_max_wait(Duration::from_millis(50))
}

const USAGE: Usage = Usage::new(100, 20)
    .with_cached(60)
    .with_cache_written(5)
    .with_reasoning(7);

struct Body(std::io::Cursor<&'static [u8]>, bool);

impl Read for Body {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        let count = self.0.read(buffer)?;
        self.1 |= count == 0;
        Ok(count)
    }
}

impl ReadAnswer for Body {
    fn usage(&self) -> Option<Usage> {
        self.1.then_some(USAGE)
    }
}

impl ProviderExecutor for Upstream {
    fn identifier(&self) -> &str {
        &self.provider
    }

    fn execute(
        &self,
        _: &Attempt,
        auth: &Auth,
        request: &Request,
        options: &Options,
    ) -> Result<Response, Error> {
        if &*request.payload == b"cancel" {
            options.cancel.as_ref().unwrap().cancel();
            self.note(auth, request, |seen| {
                seen.requests += 1;
                seen.abandoned += 1;
            });
            return Err(Error::new(credpool::ErrorCode::Cancelled, "as it was told"));
        }
        if let Some(status) = Self::fault_of(auth, request) {
            return Err(self.fails(auth, request, status));
        }
        self.serves(auth, request, Some(USAGE));
        Ok(Response::new("ok").with_usage(USAGE))
    }

    fn execute_stream(
        &self,
        _: &Attempt,
        auth: &Auth,
        request: &Request,
        _: &Options,
    ) -> Result<ChunkSource, Error> {
        if let Some(status) = Self::fault_of(auth, request) {
            return Err(self.fails(auth, request, status));
        }
        let chunk = || Ok(StreamChunk::new("x").with_text("x"));
        match &*request.payload {
            b"endless" => {
                self.note(auth, request, |seen| {
                    seen.requests += 1;
                    seen.abandoned += 1;
                });
                Ok(Box::new(std::iter::repeat_with(chunk)))
            }
            b"cut" => {
                let error = self.fails(auth, request, 500);
                Ok(Box::new([chunk(), chunk(), Err(error)].into_iter()))
            }
            _ => {
                self.serves(auth, request, Some(USAGE));
                let last = Ok(StreamChunk::new("end").with_usage(USAGE));
                Ok(Box::new([chunk(), chunk(), last].into_iter()))
            }
        }
    }

    fn count_tokens(
        &self,
        _: &Attempt,
        auth: &Auth,
        request: &Request,
        _: &Options,
    ) -> Result<Response, Error> {
        if let Some(status) = Self::fault_of(auth, request) {
            return Err(self.fails(auth, request, status));
        }
        self.serves(auth, request, None);
        Ok(Response::new("12").with_usage(Usage::new(12, 0)))
    }

    fn execute_raw(
        &self,
        _: &Attempt,
        auth: &Auth,
        request: &RawRequest,
        _: &Options,
    ) -> Result<RawAnswer, Error> {
        let model = request.model.clone();
        let request = Request::new(model, "");
        if let Some(status) = Self::fault_of(auth, &request) {
            return Err(self.fails(auth, &request, status));
        }
        self.serves(auth, &request, Some(USAGE));
        let body = Body(std::io::Cursor::new(b"raw"), false);
        Ok(RawAnswer::new(
            ResponseHead::new(http::StatusCode::OK),
            body,
        ))
    }
}

fn manager(upstream: &Upstream, credentials: usize) -> Manager {
    let manager = Manager::builder()
        .policy(policy())
        .max_streams(THREADS)
        .price(|_, model, usage| (model != "large").then_some(count(usage.input)))
        .build()
        .unwrap();
    manager.register_executor(upstream.clone());
    for n in 0..credentials {
        let auth = Auth::api_key(&upstream.provider, "k").with_id(format!("c{n}"));
        manager.register(auth.runtime_only()).unwrap();
    }
    manager
}

fn count(number: u64) -> f64 {
    f64::from(u32::try_from(number).unwrap())
}

/// Calls of all kinds. How many.
fn work(manager: &Manager, provider: &str, seed: usize) -> u64 {
    let options = || Options::new().with_timeout(SOON);
    for n in 0..CALLS {
        let dice = n * 7 + seed * 13;
        let model = MODELS[dice % 5 % 3];
        let request = |payload: &'static str| Request::new(model, payload);
        match dice % 8 {
            0 | 1 => drop(manager.execute([provider], &request("{}"), &options())),
            2 => drop(manager.execute_count([provider], &request("{}"), &options())),
            3 => {
                let options = options().with_cancel(credpool::CancelToken::new());
                drop(manager.execute([provider], &request("cancel"), &options));
            }
            4 => {
                let raw = http::Request::post("/x").body("").unwrap();
                let raw = RawRequest::from(raw).with_model(model);
                if let Ok(answer) = manager.execute_raw([provider], raw, &options()) {
                    answer.into_body().into_bytes(100).unwrap();
                }
            }
            kind => {
                let payload = ["endless", "cut", "{}"][kind - 5];
                let Ok(mut stream) =
                    manager.execute_stream([provider], &request(payload), &options())
                else {
                    continue;
                };
                if payload == "endless" {
                    assert!(matches!(stream.recv(), StreamEvent::Chunk(_)));
                } else {
                    let _ = stream.by_ref().count();
                }
            }
        }
    }
    CALLS as u64
}

#[test]
fn sums_are_what_the_upstream_has_counted() {
    let upstreams = [Upstream::new("one"), Upstream::new("two")];
    let managers = [manager(&upstreams[0], 8), manager(&upstreams[1], 8)];
    let calls: [u64; 2] = std::thread::scope(|scope| {
        let both: Vec<Vec<_>> = upstreams
            .iter()
            .zip(&managers)
            .map(|(upstream, manager)| {
                let spawn = |seed| scope.spawn(move || work(manager, &upstream.provider, seed));
                (0..THREADS / 2).map(spawn).collect()
            })
            .collect();
        let sums = both.into_iter().map(|threads| {
            let each = threads.into_iter().map(|thread| thread.join().unwrap());
            each.sum()
        });
        sums.collect::<Vec<u64>>().try_into().unwrap()
    });
    for ((upstream, manager), calls) in upstreams.iter().zip(&managers).zip(calls) {
        support::eventually("the end of the streams", || {
            manager.stats().total().in_flight == 0
        });
        let stats = manager.stats();
        assert_eq!(stats.calls.calls, calls);
        let mut counted = BTreeMap::new();
        for credential in &stats.credentials {
            assert_eq!(credential.other_models, Counts::default());
            for model in &credential.models {
                let counts = &model.counts;
                assert_eq!(counts.duration.count(), counts.requests);
                assert_eq!(
                    counts.requests,
                    counts.succeeded + counts.abandoned + counts.failures()
                );
                let seen = Seen {
                    requests: counts.requests,
                    succeeded: counts.succeeded,
                    failed: counts.failed.clone(),
                    abandoned: counts.abandoned,
                    tokens: counts.tokens,
                    counted: 0,
                };
                let key = (credential.auth_id.to_string(), model.model.to_string());
                counted.insert(key, seen);
                let used = counts.tokens.input;
                let (cost, unpriced) = match &*model.model {
                    "large" => (0.0, used / 100),
                    _ => (count(used), 0),
                };
                assert!((counts.cost - cost).abs() < 1e-6 && counts.unpriced == unpriced);
            }
        }
        assert_eq!(counted, *upstream.truth.lock());
        let total = stats.total();
        assert!(total.succeeded > 0 && total.abandoned > 0 && total.failed.len() >= 3);
        assert_eq!(
            total.requests,
            total.calls + stats.calls.failovers + stats.calls.retries
        );
        assert_eq!(total.calls + stats.calls.refused, calls);
    }
}

#[test]
fn an_attempt_is_in_flight_until_its_answer_was_read() {
    let (manager, fake, _) = pool_of(1);
    let (gate, held) = crossbeam_channel::bounded::<()>(0);
    let act = move || {
        // Until the gate is dropped.
        let _ = held.recv_timeout(SOON);
        Ok(Response::new("ok"))
    };
    fake.on("a0", Act::Do(Arc::new(act)));
    let request = Request::new("m", "{}");
    let handle = manager
        .submit(["p"], request.clone(), Options::new())
        .unwrap();
    support::eventually("the attempt", || manager.stats().total().in_flight == 1);
    assert_eq!(manager.stats().total().requests, 0);
    drop(gate);
    handle.wait().unwrap();
    let total = manager.stats().total();
    assert_eq!((total.in_flight, total.requests), (0, 1));
    // A reader that has the last chunk sees the stream counted.
    let stream = manager
        .execute_stream(["p"], &request, &Options::new())
        .unwrap();
    assert_eq!(stream.flatten().count(), 2);
    let total = manager.stats().total();
    assert_eq!((total.in_flight, total.requests, total.calls), (0, 2, 2));
}

#[test]
fn what_removed_credentials_have_counted_stays_in_the_sum() {
    let (manager, fake, _) = pool_of(2);
    let (gate, held) = crossbeam_channel::bounded::<()>(0);
    let act = move || {
        // Until the gate is dropped.
        let _ = held.recv_timeout(SOON);
        Ok(Response::new("ok"))
    };
    let pinned = |id: &str| Options::new().with_pinned(id);
    let request = Request::new("m", "{}");
    manager.execute(["p"], &request, &pinned("a0")).unwrap();
    fake.on("a0", Act::Do(Arc::new(act)));
    let handle = manager
        .submit(["p"], request.clone(), pinned("a0"))
        .unwrap();
    support::eventually("the attempt", || manager.stats().total().in_flight == 1);
    // Another record under the same id goes on counting.
    let again = Auth::api_key("p", "other").with_id("a0");
    manager.register(again.clone()).unwrap();
    let stats = manager.stats();
    assert_eq!(stats.credentials[0].total().requests, 1);
    assert_eq!(stats.credentials[0].total().in_flight, 1);
    manager.remove("a0").unwrap();
    let stats = manager.stats();
    assert_eq!(stats.credentials.len(), 1);
    assert_eq!((stats.removed.requests, stats.removed.in_flight), (1, 1));
    drop(gate);
    handle.wait().unwrap();
    let removed = manager.stats().removed;
    assert_eq!((removed.requests, removed.in_flight), (2, 0));
    for n in 0..500 {
        let id = format!("passing-{n}");
        manager
            .register(Auth::api_key("p", "k").with_id(&*id))
            .unwrap();
        manager.execute(["p"], &request, &pinned(&id)).unwrap();
        manager.remove(&id).unwrap();
    }
    // One that is back begins anew.
    manager.register(again).unwrap();
    let stats = manager.stats();
    assert_eq!((stats.credentials.len(), stats.removed.requests), (2, 502));
    assert_eq!(stats.credentials[0].total(), Counts::default());
}

#[test]
fn invented_models_are_counted_together() {
    let (manager, fake, _) = pool_of(1);
    fake.on("a0", Act::Fail(Error::upstream(400, "no such model")));
    for n in 0..1_000 {
        let request = Request::new(format!("invented-{n}"), "{}");
        manager
            .execute(["p"], &request, &Options::new())
            .unwrap_err();
    }
    let credential = &manager.stats().credentials[0];
    assert_eq!(credential.models.len(), 4);
    assert_eq!(credential.other_models.requests, 996);
    fake.on("a0", Act::Serve);
    for n in 0..1_000 {
        let request = Request::new(format!("real-{}", n % 300), "{}");
        manager.execute(["p"], &request, &Options::new()).unwrap();
    }
    let credential = &manager.stats().credentials[0];
    assert_eq!(credential.models.len(), 64);
    assert_eq!(credential.total().requests, 2_000);
}

#[test]
fn the_state_of_a_credential_is_told_beside_its_counts() {
    let policy = FailurePolicy::default().without_waiting();
    let (manager, fake, clock) = pool_with(2, |builder| builder.policy(policy));
    let limits = RateLimits::new().with_window(LimitWindow::new("requests").with_remaining(7));
    let answer = move |_: &Attempt| Ok(Response::new("ok").with_rate_limits(limits.clone()));
    fake.on_attempt("a0", Arc::new(answer));
    let fail = Error::upstream(429, "slow down").with_retry_after(Duration::from_secs(120));
    fake.on("a1", Act::Fail(fail));
    let request = Request::new("m", "{}");
    for id in ["a0", "a1"] {
        let _ = manager.execute(["p"], &request, &Options::new().with_pinned(id));
    }
    let stats = manager.stats();
    let [well, cooling] = &stats.credentials[..] else {
        panic!("there are two credentials");
    };
    let model = &well.models[0];
    assert_eq!(model.cooldown.availability, Availability::Ready);
    assert_eq!(model.limits[0].remaining, Some(7));
    assert_eq!(model.limits_at, Some(support::START));
    let model = &cooling.models[0];
    assert_eq!(model.cooldown.availability, Availability::Cooling);
    assert_eq!(model.cooldown.fault, Some(FailureKind::RateLimited));
    let end = manager.explain("p", "m")[1].until;
    assert!(end.is_some() && model.cooldown.until == end);
    assert_eq!(well.cooldown.availability, Availability::Ready);
    assert_eq!(cooling.refresh.state, TokenState::None);
    let json = serde_json::to_value(&stats).unwrap();
    let model = &json["credentials"][1]["models"][0];
    assert_eq!(model["availability"], "cooling");
    assert_eq!(model["failed"]["rate_limited"], 1);
    assert_eq!(model["duration"]["count"], 1);
    assert_eq!(json["at"], "2025-01-01T10:00:00Z");
    clock.advance(Duration::from_secs(7200));
    let cooling = &manager.stats().credentials[1].models[0].cooldown;
    assert_ne!(cooling.availability, Availability::Cooling);
}

#[test]
fn a_model_behind_an_alias_is_told_as_its_calls_find_it() {
    let (manager, fake, _) = pool_of(0);
    let auth = Auth::api_key("p", "k").with_id("a0");
    manager
        .register(auth.with_model_alias("fast", "vendor-fast-1"))
        .unwrap();
    let ask = || manager.execute(["p"], &Request::new("fast", "{}"), &Options::new());
    ask().unwrap();
    let stats = manager.stats();
    let model = &stats.credentials[0].models[0];
    assert_eq!(&*model.model, "vendor-fast-1");
    assert_eq!(model.cooldown.availability, Availability::Ready);
    fake.on("a0", Act::Fail(Error::upstream(429, "slow down")));
    ask().unwrap_err();
    let stats = manager.stats();
    let model = &stats.credentials[0].models[0];
    assert_eq!(model.cooldown.availability, Availability::Cooling);
}

#[test]
fn learnt_rates_and_budgets_are_told() {
    let clock = manual();
    let (manager, fake, _) = pool_with(1, |builder| {
        builder
            .clock(clock.clone())
            .policy(FailurePolicy::default())
    });
    let budget = &manager.stats().retry_budgets[0];
    assert_eq!((budget.left, budget.capacity), (500, 500));
    fake.on("a0", Act::Fail(Error::upstream(429, "slow down")));
    let request = Request::new("m", "{}");
    let options = Options::new().without_waiting();
    manager.execute(["p"], &request, &options).unwrap_err();
    let stats = manager.stats();
    let rate = stats.credentials[0].models[0].learnt_rate;
    assert!(rate.is_some_and(|rate| rate > 0.0), "{rate:?}");
    assert_eq!(stats.calls.calls, 1);
    manager.execute(["p"], &request, &options).unwrap_err();
    let calls = manager.stats().calls;
    let requests = manager.stats().total().requests;
    assert_eq!((calls.calls, calls.refused), (2, 2 - requests));
}

#[test]
fn waits_failovers_and_retries_are_counted() {
    let (manager, fake, _) = pool_with(2, |builder| builder.policy(steady()));
    fake.on("a0", Act::Fail(Error::upstream(500, "oops")));
    let request = Request::new("m", "{}");
    for _ in 0..2 {
        manager.execute(["p"], &request, &Options::new()).unwrap();
    }
    let calls = manager.stats().calls;
    assert_eq!((calls.calls, calls.failovers, calls.retries), (2, 1, 0));
    assert_eq!((calls.refused, calls.waits), (0, 0));

    let options = Options::new();
    let failing = manager.execute(["nobody"], &request, &options);
    failing.unwrap_err();
    assert_eq!(manager.stats().calls.refused, 1);
}

#[test]
fn refreshes_and_the_state_of_tokens_are_told() {
    let (manager, fake, _) = pool_of(0);
    let tokens = || OAuthTokens::new("old").with_refresh_token("r");
    manager
        .register(Auth::oauth("p", tokens()).with_id("a0"))
        .unwrap();
    fake.renews(|auth| Ok(auth.clone().with_metadata("access_token", "new")));
    manager.refresh_now("a0").unwrap();
    let refresh = manager.stats().credentials[0].refresh.clone();
    assert_eq!(
        (refresh.state, refresh.succeeded, refresh.failed),
        (TokenState::Good, 1, 0)
    );
    fake.renews(|_| Err(Error::upstream(400, r#"{"error":"invalid_grant"}"#)));
    manager
        .register(Auth::oauth("p", tokens().with_refresh_token("s")).with_id("a1"))
        .unwrap();
    manager.refresh_now("a1").unwrap_err();
    let stats = manager.stats();
    assert_eq!(stats.credentials[1].refresh.failed, 1);
}

#[test]
fn results_that_a_program_tells_are_counted_without_a_call() {
    let (manager, _, _) = pool_of(1);
    let mut outcome = Outcome::success("a0", "p", "m");
    outcome.usage = Some(USAGE);
    manager.mark_result(&outcome);
    manager.mark_result(&Outcome::failure("a0", "p", "m", Error::upstream(500, "")));
    manager.mark_result(&Outcome::success("unknown", "p", "m"));
    manager.mark_result(&Outcome::success("", "p", "m"));
    let stats = manager.stats();
    let counts = stats.credentials[0].total();
    assert_eq!((counts.requests, counts.calls, counts.in_flight), (2, 0, 0));
    assert_eq!((counts.tokens, counts.duration.count()), (USAGE, 0));
    assert_eq!((stats.removed.requests, stats.calls.calls), (1, 0));
}

#[test]
fn a_price_function_that_panics_costs_nothing() {
    std::panic::set_hook(Box::new(|_| {}));
    let (manager, fake, _) = pool_with(1, |builder| builder.price(|_, _, _| panic!("no price")));
    let answer = |_: &Attempt| Ok(Response::new("ok").with_usage(USAGE));
    fake.on_attempt("a0", Arc::new(answer));
    manager
        .execute(["p"], &Request::new("m", "{}"), &Options::new())
        .unwrap();
    let total = manager.stats().total();
    assert_eq!((total.unpriced, total.succeeded), (1, 1));
    assert!(total.cost.abs() < f64::EPSILON);
}

#[test]
fn hooks_are_told_the_operation_and_the_kind_of_the_failure() {
    type Told = Vec<(Operation, Option<FailureKind>)>;
    #[derive(Clone, Default)]
    struct Kinds(Arc<Mutex<Told>>);
    impl credpool::Hook for Kinds {
        fn on_result(&self, outcome: &Outcome<'_>) {
            self.0.lock().push((outcome.operation, outcome.fault));
        }
    }
    let kinds = Kinds::default();
    let (manager, fake, _) = pool_with(1, |builder| {
        builder
            .hook(kinds.clone())
            .policy(FailurePolicy::default().without_waiting())
    });
    let request = Request::new("m", "{}");
    manager.execute(["p"], &request, &Options::new()).unwrap();
    manager
        .execute_count(["p"], &request, &Options::new())
        .unwrap();
    let stream = manager.execute_stream(["p"], &request, &Options::new());
    assert_eq!(stream.unwrap().count(), 2);
    fake.on("a0", Act::Fail(Error::upstream(429, "slow down")));
    manager
        .execute(["p"], &request, &Options::new())
        .unwrap_err();
    manager.mark_result(&Outcome::failure("a0", "p", "m", Error::upstream(401, "")));
    assert_eq!(
        *kinds.0.lock(),
        [
            (Operation::Execute, None),
            (Operation::Count, None),
            (Operation::Stream, None),
            (Operation::Execute, Some(FailureKind::RateLimited)),
            (Operation::Execute, Some(FailureKind::Unauthorized)),
        ]
    );
}

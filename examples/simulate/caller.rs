//! One caller, one upstream, one policy: the simulation itself.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use credpool::testing::ScriptedExecutor;
use credpool::{Auth, Availability, Error, FailurePolicy, Manager, Options, Request, Response};

use crate::clock::JumpingClock;
use crate::log;
use crate::script::Script;

pub(crate) struct Run<'a> {
    pub(crate) script: &'a Script,
    pub(crate) policy: FailurePolicy,
    pub(crate) seed: u64,
    pub(crate) time: Duration,
    pub(crate) log: Option<&'a Path>,
}

/// What came of a run.
#[derive(Clone, Debug, Default)]
pub(crate) struct Summary {
    pub(crate) calls: u64,
    pub(crate) served: u64,
    pub(crate) attempts: u64,
    /// Attempts that failed.
    pub(crate) wasted: u64,
    /// What the calls took beyond the upstream's own time.
    pub(crate) waits: Vec<Duration>,
    /// The longest time without an answer to a right request.
    pub(crate) longest_gap: Duration,
    /// The longest time that a credential was not asked although it would have served.
    pub(crate) longest_parked: Duration,
    pub(crate) timeline: Timeline,
}

/// What each credential was, from when on.
pub(crate) type Timeline = BTreeMap<String, Vec<(Duration, String)>>;

/// The upstream's own time for an answer, and for a refusal.
const ANSWER: Duration = Duration::from_millis(400);
const REFUSAL: Duration = Duration::from_millis(50);
/// The caller's pause between two calls.
const PAUSE: Duration = Duration::from_secs(1);

const MODEL: &str = "m";

/// What the upstream remembers.
#[derive(Default)]
struct Upstream {
    /// When it served each credential in the last minute.
    served: HashMap<String, VecDeque<Duration>>,
    attempts: u64,
    wasted: u64,
    busy: Duration,
}

impl Upstream {
    fn recent(&mut self, who: &str, at: Duration) -> (usize, Duration) {
        let served = self.served.entry(who.to_owned()).or_default();
        let minute = Duration::from_secs(60);
        while served.front().is_some_and(|first| *first + minute <= at) {
            served.pop_front();
        }
        let oldest = served.front().copied().unwrap_or(at);
        (served.len(), (oldest + minute).saturating_sub(at))
    }
}

impl Run<'_> {
    pub(crate) fn make(&self) -> Result<Summary, Error> {
        let clock = JumpingClock::new();
        let mut builder = Manager::builder()
            .clock(clock.clone())
            .policy(self.policy.clone())
            .seed(self.seed);
        if let Some(path) = self.log {
            let log = log::to(path, clock.clone());
            builder = builder.hook(log.map_err(|error| Error::message_only(error.to_string()))?);
        }
        let manager = builder.build()?;
        let upstream = Arc::new(Mutex::new(Upstream::default()));
        manager.register_executor(self.executor(&clock, &upstream));
        for id in &self.script.credentials {
            // In memory alone: nothing wakes the writer.
            manager.register(Auth::api_key("p", "k").with_id(id).runtime_only())?;
        }
        let mut summary = Summary::default();
        let mut parked: HashMap<String, Duration> = HashMap::new();
        let mut last_served = Duration::ZERO;
        while clock.passed() < self.time {
            summary.calls += 1;
            let began = clock.passed();
            let busy_before = upstream.lock().expect("nobody panics with it").busy;
            let request = Request::new(MODEL, summary.calls.to_string());
            let answer = manager.execute(["p"], &request, &Options::new());
            let ended = clock.passed();
            let busy = upstream.lock().expect("nobody panics with it").busy;
            let took = ended.saturating_sub(began);
            summary
                .waits
                .push(took.saturating_sub(busy.saturating_sub(busy_before)));
            let right = self
                .script
                .wrong_every
                .is_none_or(|every| !summary.calls.is_multiple_of(every));
            if answer.is_ok() {
                summary.served += 1;
                last_served = ended;
            } else if right {
                summary.longest_gap = summary.longest_gap.max(ended.saturating_sub(last_served));
            }
            self.look(&manager, &upstream, ended, &mut parked, &mut summary);
            clock.advance(PAUSE);
        }
        let upstream = upstream.lock().expect("nobody panics with it");
        (summary.attempts, summary.wasted) = (upstream.attempts, upstream.wasted);
        Ok(summary)
    }

    fn executor(&self, clock: &JumpingClock, upstream: &Arc<Mutex<Upstream>>) -> ScriptedExecutor {
        let (script, clock, upstream) = (self.script.clone(), clock.clone(), Arc::clone(upstream));
        let executor = ScriptedExecutor::new("p");
        executor.on_execute(move |call| {
            let mut upstream = upstream.lock().expect("nobody panics with it");
            let at = clock.passed();
            let number = std::str::from_utf8(&call.payload)
                .ok()
                .and_then(|text| text.parse().ok());
            let recent = upstream.recent(&call.auth_id, at);
            upstream.attempts += 1;
            let answer = script.answer(&call.auth_id, at, number.unwrap_or(1), recent);
            let took = if answer.is_ok() { ANSWER } else { REFUSAL };
            upstream.busy += took;
            clock.advance(took);
            match answer {
                Ok(()) => upstream
                    .served
                    .entry(call.auth_id.clone())
                    .or_default()
                    .push_back(at),
                Err(_) => upstream.wasted += 1,
            }
            answer.map(|()| Response::new("{}"))
        });
        executor
    }

    /// Notes how each credential stands, and for how long it has been kept out for nothing.
    fn look(
        &self,
        manager: &Manager,
        upstream: &Arc<Mutex<Upstream>>,
        now: Duration,
        parked: &mut HashMap<String, Duration>,
        summary: &mut Summary,
    ) {
        for standing in manager.explain("p", MODEL) {
            let id = standing.auth_id.to_string();
            let state = match (standing.availability, standing.fault) {
                (Availability::Cooling, Some(fault)) => fault.to_string(),
                (Availability::Cooling, None) => "cooling".to_owned(),
                (Availability::Probe | Availability::Probing, _) => "probe".to_owned(),
                _ => "ready".to_owned(),
            };
            let recent = upstream
                .lock()
                .expect("nobody panics with it")
                .recent(&id, now)
                .0;
            let is_parked = standing.availability == Availability::Cooling
                && self.script.is_healthy(&id, now, recent);
            if is_parked {
                let since = *parked.entry(id.clone()).or_insert(now);
                summary.longest_parked = summary.longest_parked.max(now.saturating_sub(since));
            } else {
                parked.remove(&id);
            }
            let line = summary.timeline.entry(id).or_default();
            if line.last().is_none_or(|(_, last)| *last != state) {
                line.push((now, state));
            }
        }
    }
}

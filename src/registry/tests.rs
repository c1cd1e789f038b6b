use std::collections::BTreeMap;
use std::time::Duration;

use proptest::prelude::*;
use proptest::test_runner::FileFailurePersistence;

use super::pick::MOST_LANES;
use super::*;
use crate::auth::Status;
use crate::clock::later;
use crate::error::Error;
use crate::health::transition::apply;
use crate::health::{Readiness, Transition, readiness};
use crate::policy::FailurePolicy;

const START: Timestamp = time::macros::utc_datetime!(2025-01-01 00:00);

#[derive(Clone, Debug)]
enum Step {
    Register(u8),
    Remove(u8),
    Disable(u8, bool),
    Result(u8, u8, Option<u16>),
    Pass(u16),
    Pick(u8, Vec<u8>, Option<u8>),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let id = 0..8_u8;
    let model = 0..3_u8;
    let status = prop_oneof![
        Just(None),
        prop::sample::select(vec![Some(401), Some(429), Some(500), Some(404)])
    ];
    prop::collection::vec(
        prop_oneof![
            2 => id.clone().prop_map(Step::Register),
            1 => id.clone().prop_map(Step::Remove),
            1 => (id.clone(), any::<bool>()).prop_map(|(id, on)| Step::Disable(id, on)),
            4 => (id.clone(), model.clone(), status).prop_map(|(id, m, s)| Step::Result(id, m, s)),
            2 => (0..2000_u16).prop_map(Step::Pass),
            6 => (model, prop::collection::vec(id.clone(), 0..3), prop::option::weighted(0.1, id))
                .prop_map(|(m, tried, pinned)| Step::Pick(m, tried, pinned)),
        ],
        1..120,
    )
}

fn target(id: &str) -> Target<'_> {
    Target { id, lease: None }
}

impl Registry {
    fn member_of(&self, id: &str) -> Option<Arc<SharedState>> {
        self.state.lock().by_id.get(id).cloned()
    }
}

/// Three of eight are of a higher one.
fn priority(id: &str) -> i64 {
    i64::from(["id-1", "id-4", "id-6"].contains(&id)) * 7 - 2
}

fn name(id: u8) -> String {
    format!("id-{id}")
}

fn model_name(model: u8) -> &'static str {
    ["", "m", "n"][usize::from(model)]
}

/// The plain model: a map that every pick scans.
#[derive(Default)]
struct Plain {
    records: BTreeMap<String, Auth>,
    last: BTreeMap<(String, i64), String>,
}

impl Plain {
    fn ready(&self, query: Query<'_>, tried: &[String]) -> Vec<String> {
        let ready: Vec<_> = self
            .records
            .values()
            .filter(|auth| !auth.disabled && query.pinned.is_none_or(|pinned| pinned == auth.id))
            .filter(|auth| !tried.contains(&auth.id))
            .filter(|auth| match readiness(auth, query.model) {
                Readiness::Ready => true,
                readiness => readiness.end().is_some_and(|at| at <= query.now.wall),
            })
            .collect();
        let highest = ready.iter().map(|auth| priority(&auth.id)).max();
        ready
            .into_iter()
            .filter(|auth| Some(priority(&auth.id)) == highest)
            .map(|auth| auth.id.clone())
            .collect()
    }

    /// The rotation of a tier goes with its last member.
    fn forget_rotations(&mut self) {
        let records = &self.records;
        self.last.retain(|(_, tier), _| {
            records
                .values()
                .any(|auth| !auth.disabled && priority(&auth.id) == *tier)
        });
    }

    fn rotate(&mut self, query: Query<'_>, tried: &[String]) -> Option<String> {
        let ready = self.ready(query, tried);
        let tier = priority(ready.first()?);
        let key = (query.model.to_owned(), tier);
        let last = match query.pinned {
            Some(_) => String::new(),
            None => self.last.get(&key).cloned().unwrap_or_default(),
        };
        let next = ready
            .iter()
            .find(|id| **id > last)
            .or_else(|| ready.first())
            .cloned()?;
        if query.pinned.is_none() {
            self.last.insert(key, next.clone());
        }
        Some(next)
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_failure_persistence(FileFailurePersistence::WithSource("regressions")))]

    #[test]
    fn lanes_say_what_a_scan_says(steps in steps()) {
        let registry = Registry::new(Arc::new(Random::seeded(7)), UseLimits::default());
        let mut plain = Plain::default();
        let mut now = START;
        let policy = FailurePolicy::default();
        for step in steps {
            match step {
                Step::Register(id) => {
                    let id = name(id);
                    if !registry.contains(&id) {
                        let auth = Auth::api_key("p", "k")
                            .with_id(&*id)
                            .with_attribute("priority", priority(&id).to_string());
                        registry.insert(auth.clone());
                        plain.records.insert(id, auth);
                    }
                }
                Step::Remove(id) => {
                    let id = name(id);
                    prop_assert_eq!(registry.remove(&id).is_some(), plain.records.remove(&id).is_some());
                    plain.forget_rotations();
                }
                Step::Disable(id, disabled) => {
                    let change = |auth: &mut Auth| {
                        auth.disabled = disabled;
                        auth.status = if disabled { Status::Disabled } else { Status::Active };
                    };
                    registry.modify(&name(id), change);
                    plain.records.get_mut(&name(id)).map(change);
                    plain.forget_rotations();
                }
                Step::Result(id, model, status) => {
                    let error = status.map(|status| Error::upstream(status, "no"));
                    let verdict = error.as_ref().map(|error| policy.classify(error));
                    let effect = match &verdict {
                        None => Transition::Success { knows: u32::MAX },
                        Some(verdict) => Transition::Failure { error: error.as_ref(), verdict, jitter: 0.0, probes: policy.probes() },
                    };
                    registry.apply(target(&name(id)), model_name(model), &effect, now.into());
                    if let Some(auth) = plain.records.get_mut(&name(id)) {
                        apply(auth, model_name(model), &effect, now);
                    }
                }
                Step::Pass(seconds) => now = later(now, Duration::from_secs(seconds.into())),
                Step::Pick(model, tried, pinned) => {
                    let ids: Vec<String> = tried.into_iter().map(name).collect();
                    let mut tried = Attempted::default();
                    for member in ids.iter().filter_map(|id| registry.member_of(id)) {
                        tried.note(&member);
                    }
                    let pinned = pinned.map(name);
                    let query = Query {
                        provider: "p",
                        model: model_name(model),
                        tried: Some(&tried),
                        pinned: pinned.as_deref(),
                        now: now.into(),
                    };
                    let ready = plain.ready(query, &ids);
                    prop_assert_eq!(registry.ready_count(query), ready.len());
                    let mut walked = Vec::new();
                    let mut at: Option<String> = None;
                    while let Some(next) = registry.next_ready(query, at.as_deref()) {
                        walked.push(next.auth.id.clone());
                        at = Some(next.auth.id.clone());
                    }
                    prop_assert_eq!(&walked, &ready);
                    match registry.supply(query) {
                        Supply::Ready => prop_assert!(!ready.is_empty()),
                        Supply::Blocked { .. } | Supply::Nobody => prop_assert!(ready.is_empty()),
                    }
                    let picked = registry.choose(query, Preference::Rotate).map(|picked| picked.member.id.to_string());
                    prop_assert_eq!(picked, plain.rotate(query, &ids));
                }
            }
        }
    }
}

/// What may happen to a credential.
#[derive(Clone, Debug)]
enum Event {
    Fails(u8, u16, Option<u64>, f64),
    Serves(u8),
    Pass(u64),
}

fn events() -> impl Strategy<Value = Vec<Event>> {
    let status = prop::sample::select(vec![0, 400, 401, 402, 403, 404, 408, 429, 500, 503, 529]);
    let hint = prop::option::of(prop_oneof![0..120_u64, 0..10_000_000_u64, any::<u64>()]);
    let fails = (0..3_u8, status, hint, 0.0..0.1_f64);
    prop::collection::vec(
        prop_oneof![
            6 => fails.prop_map(|(model, status, hint, jitter)| Event::Fails(model, status, hint, jitter)),
            1 => (0..3_u8).prop_map(Event::Serves),
            3 => prop_oneof![0..10_u64, 0..5000_u64, 0..700_000_u64].prop_map(Event::Pass),
        ],
        1..80,
    )
}

/// Until when nothing but a probe gets through.
fn end(auth: &Auth, model: &str) -> Option<Timestamp> {
    let own = auth.model_states.get(model);
    let visible = own.and_then(|state| state.next_retry_after.filter(|_| state.unavailable));
    let visible = visible.or(auth.next_retry_after.filter(|_| model.is_empty()));
    visible.max(auth.outage.and_then(|outage| outage.until))
}

proptest! {
    #![proptest_config(ProptestConfig::with_failure_persistence(FileFailurePersistence::WithSource("regressions")))]

    #[test]
    fn a_failure_never_shortens_a_block_and_none_exceeds_its_clamp(events in events()) {
        let policy = FailurePolicy::default();
        let clamp = Duration::from_secs(7 * 24 * 3600 + 30);
        let mut auth = Auth::api_key("p", "k").with_id("a");
        let mut now = START;
        for event in events {
            let before: Vec<_> = (0..3).map(|model| end(&auth, model_name(model))).collect();
            match event {
                Event::Pass(seconds) => now = later(now, Duration::from_secs(seconds)),
                Event::Serves(model) => {
                    apply(&mut auth, model_name(model), &Transition::Success { knows: u32::MAX }, now);
                    prop_assert!(end(&auth, model_name(model)).is_none_or(|end| end <= now));
                    prop_assert!(auth.outage.is_none());
                }
                Event::Fails(model, status, hint, jitter) => {
                    let error = match status {
                        0 => Error::message_only("odd"),
                        status => Error::upstream(status, "no"),
                    };
                    let error = match hint {
                        Some(hint) => error.with_retry_after(Duration::from_secs(hint)),
                        None => error,
                    };
                    let verdict = policy.classify(&error);
                    let effect = Transition::Failure {
                        error: Some(&error),
                        verdict: &verdict,
                        jitter,
                        probes: policy.probes(),
                    };
                    apply(&mut auth, model_name(model), &effect, now);
                    // What a record shows of itself follows from its models; each of them has its own block.
                    for model in 1..3 {
                        let (before, after) = (before[usize::from(model)], end(&auth, model_name(model)));
                        prop_assert!(after >= before.filter(|end| *end > now), "{before:?} {after:?}");
                    }
                }
            }
            for model in 0..3 {
                let name = model_name(model);
                prop_assert!(end(&auth, name).is_none_or(|end| end <= later(now, clamp)));
                if let Readiness::Until(at, _) = readiness(&auth, name) {
                    prop_assert!(at <= later(now, clamp));
                }
            }
        }
    }
}

/// Verdicts of one kind each, with a cooldown of their own.
fn any_verdict() -> impl Strategy<Value = (u16, Option<u64>)> {
    let status = prop::sample::select(vec![401, 402, 403, 404, 429, 500, 503, 529]);
    (status, prop::option::weighted(0.3, 0..4000_u64))
}

proptest! {
    #![proptest_config(ProptestConfig::with_failure_persistence(FileFailurePersistence::WithSource("regressions")))]

    #[test]
    fn of_two_cooldowns_the_later_end_counts(
        failures in prop::collection::vec((any_verdict(), 0..2_u8, 0..90_u64), 1..40),
    ) {
        let policy = FailurePolicy::default();
        let mut auth = Auth::api_key("p", "k").with_id("a");
        let mut now = START;
        for ((status, hint), model, wait) in failures {
            now = later(now, Duration::from_secs(wait));
            let model = model_name(model + 1);
            let error = Error::upstream(status, "no");
            let error = match hint {
                Some(hint) => error.with_retry_after(Duration::from_secs(hint)),
                None => error,
            };
            let verdict = policy.classify(&error);
            let effect = Transition::Failure {
                error: Some(&error),
                verdict: &verdict,
                jitter: 0.0,
                probes: policy.probes(),
            };
            let before = end(&auth, model).filter(|end| *end > now);
            apply(&mut auth, model, &effect, now);
            let after = end(&auth, model);
            prop_assert!(after >= before, "never shorter: {before:?} {after:?}");
            let hint = error.retry_after().filter(|_| verdict.cooldown.obeys_hints());
            let own = verdict.cooldown.length(0, hint).map(|length| later(now, length));
            prop_assert!(after >= own, "its own is not swallowed: {own:?} {after:?}");
            let within = later(now, Duration::from_nanos(1));
            if own.is_some_and(|own| own > within) && !verdict.fault.is_quota() {
                prop_assert_ne!(readiness(&auth, model).at(within), Readiness::Ready);
            }
        }
    }
}

#[test]
fn invented_models_leave_a_bounded_number_of_lanes() {
    let registry = Registry::new(Arc::new(Random::seeded(7)), UseLimits::default());
    registry.insert(Auth::api_key("p", "k").with_id("a"));
    for n in 0..2 * MOST_LANES {
        let model = n.to_string();
        let query = Query {
            provider: "p",
            model: &model,
            tried: None,
            pinned: None,
            now: START.into(),
        };
        assert!(registry.choose(query, Preference::Rotate).is_some());
    }
    let state = registry.state.lock();
    assert_eq!(state.lanes, MOST_LANES);
    assert_eq!(state.pools["p"].lanes.len(), MOST_LANES);
}

#[test]
fn the_earliest_return_is_told() {
    let registry = Registry::new(Arc::new(Random::seeded(7)), UseLimits::default());
    let minute = Duration::from_secs(60);
    let policy = FailurePolicy::empty().with_rule(crate::Rule::status(500).cooldown(minute));
    let verdict = policy.classify(&Error::upstream(500, ""));
    for (id, after) in [("a", 10), ("b", 5)] {
        registry.insert(Auth::api_key("p", "k").with_id(id));
        let at = later(START, Duration::from_secs(after));
        let effect = Transition::Failure {
            error: None,
            verdict: &verdict,
            jitter: 0.0,
            probes: None,
        };
        registry.apply(target(id), "m", &effect, at.into());
    }
    let query = Query {
        provider: "p",
        model: "m",
        tried: None,
        pinned: None,
        now: later(START, Duration::from_secs(11)).into(),
    };
    assert_eq!(
        registry.supply(query),
        Supply::Blocked {
            candidates: 2,
            earliest: Some(later(START, Duration::from_secs(65))),
            full: false,
            paced: false,
            refreshing: false,
        }
    );
    let pinned = Query {
        pinned: Some("a"),
        ..query
    };
    assert_eq!(
        registry.supply(pinned),
        Supply::Blocked {
            candidates: 1,
            earliest: Some(later(START, Duration::from_secs(70))),
            full: false,
            paced: false,
            refreshing: false,
        }
    );
    let unknown = Query {
        pinned: Some("z"),
        ..query
    };
    assert_eq!(registry.supply(unknown), Supply::Nobody);
}

#[test]
fn the_writer_is_told_once_of_a_record_and_never_of_one_that_is_not_stored() {
    let registry = Registry::new(Arc::new(Random::seeded(7)), UseLimits::default());
    let key = |id: &str| Auth::api_key("p", "k").with_id(id);
    registry.insert(key("stored"));
    registry.insert(key("alone").runtime_only());
    for what in [Dirty::State, Dirty::Record] {
        assert!(!registry.mark_unsaved("alone", what));
        assert!(!registry.mark_unsaved("unknown", what));
    }
    assert!(registry.take_unsaved("alone").is_none());
    assert!(registry.mark_unsaved("stored", Dirty::State));
    assert!(!registry.mark_unsaved("stored", Dirty::Record));
    assert!(!registry.mark_unsaved("stored", Dirty::State));
    let (auth, what) = registry.take_unsaved("stored").unwrap();
    assert_eq!((&*auth.id, what), ("stored", Dirty::Record));
    assert!(registry.take_unsaved("stored").is_none());
    assert!(registry.mark_unsaved("stored", Dirty::State), "again");
}

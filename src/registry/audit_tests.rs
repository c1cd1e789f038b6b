//! Whatever is done to a registry, in whatever order: its lanes say what its records do.

use std::sync::Arc;
use std::time::Duration;

use proptest::prelude::*;
use proptest::test_runner::FileFailurePersistence;

use super::*;
use crate::auth::Status;
use crate::clock::{Clock, ManualClock, earlier, later};
use crate::error::Error;
use crate::health::Transition;
use crate::policy::{FailurePolicy, Rule};

const START: Timestamp = time::macros::utc_datetime!(2025-01-01 00:00);
const PATIENCE: Duration = Duration::from_secs(10);
const MODELS: [&str; 3] = ["", "m", "n"];
const IDS: [&str; 3] = ["a", "b", "c"];
/// What attribute `models` says.
const LISTS: [&str; 6] = ["", "", "m", "n=m", "m, n=vendors-own", "!n"];

#[derive(Clone, Copy, Debug)]
enum Step {
    /// With a key, limits or none, and a list of models.
    Register(usize, u8, bool, &'static str),
    Remove(usize),
    Disable(usize, bool),
    Pending(usize),
    Result(usize, usize, Option<(u16, Option<u64>)>),
    Probe(usize, usize),
    Insist(usize, usize),
    Floor(usize),
    EndPermit(usize),
    Lease(usize, usize),
    HurriedLease(usize),
    EndLease(usize),
    /// A lease ends that was refused for a rate.
    RefusedLease(usize, Option<u64>),
    AwaitToken(usize, Option<u64>),
    Reset(usize, Option<usize>),
    CoolDown(usize, Option<usize>, u64),
    Pass(u64),
    SetBack(u64),
    SetForward(u64),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let id = || 0..IDS.len();
    let model = || 0..MODELS.len();
    let some_model = || prop::option::of(0..MODELS.len());
    let status = prop::sample::select(vec![400, 401, 402, 403, 404, 418, 429, 500, 503]);
    let failure = (status, prop::option::weighted(0.3, 0..4000_u64));
    let time = || prop_oneof![0..15_u64, 0..2000_u64, 0..40_000_u64];
    prop::collection::vec(
        prop_oneof![
            2 => (id(), 0..2_u8, any::<bool>(), prop::sample::select(&LISTS[..]))
                .prop_map(|(id, key, limited, models)| Step::Register(id, key, limited, models)),
            1 => id().prop_map(Step::Remove),
            1 => (id(), any::<bool>()).prop_map(|(id, off)| Step::Disable(id, off)),
            1 => id().prop_map(Step::Pending),
            8 => (id(), model(), prop::option::weighted(0.7, failure))
                .prop_map(|(id, model, failure)| Step::Result(id, model, failure)),
            5 => (id(), model()).prop_map(|(id, model)| Step::Probe(id, model)),
            2 => (id(), model()).prop_map(|(id, model)| Step::Insist(id, model)),
            2 => model().prop_map(Step::Floor),
            4 => any::<usize>().prop_map(Step::EndPermit),
            3 => (id(), model()).prop_map(|(id, model)| Step::Lease(id, model)),
            1 => model().prop_map(Step::HurriedLease),
            3 => any::<usize>().prop_map(Step::EndLease),
            3 => (any::<usize>(), prop::option::of(0..3_u64)).prop_map(|(at, told)| Step::RefusedLease(at, told)),
            1 => (id(), prop::option::of(0..100_u64)).prop_map(|(id, end)| Step::AwaitToken(id, end)),
            1 => (id(), some_model()).prop_map(|(id, model)| Step::Reset(id, model)),
            1 => (id(), some_model(), time()).prop_map(|(id, model, time)| Step::CoolDown(id, model, time)),
            6 => time().prop_map(Step::Pass),
            1 => time().prop_map(Step::SetBack),
            1 => time().prop_map(Step::SetForward),
        ],
        1..150,
    )
}

struct Pool {
    registry: Arc<Registry>,
    clock: ManualClock,
    policy: FailurePolicy,
    permits: Vec<ProbeGuard>,
    leases: Vec<(Lease, &'static str)>,
}

fn auth(id: &str, key: &str, limited: bool) -> Auth {
    let auth = Auth::api_key("p", key).with_id(id);
    if limited {
        auth.with_attribute("max_concurrent", "1")
            .with_attribute("rpm", "3")
    } else {
        auth
    }
}

impl Pool {
    fn new() -> Self {
        let registry = Registry::new(Arc::new(Random::seeded(7)), UseLimits::default());
        let pool = Self {
            registry: Arc::new(registry.with_pending(true)),
            clock: ManualClock::at(START),
            policy: FailurePolicy::default()
                .with_first(Rule::status(418).fault(crate::FailureKind::Misconfigured)),
            permits: Vec::new(),
            leases: Vec::new(),
        };
        for id in IDS {
            pool.registry.insert(auth(id, "k", false));
        }
        pool
    }

    fn moment(&self) -> Moment {
        Moment::of(&self.clock)
    }

    fn query<'q>(&self, model: &'q str) -> Query<'q> {
        Query {
            provider: "p",
            model,
            tried: None,
            pinned: None,
            now: self.moment(),
        }
    }

    fn result(&self, id: &str, model: &str, error: Option<&Error>) {
        let verdict = error.map(|error| self.policy.classify(error));
        let effect = match &verdict {
            None => Transition::Success { knows: u32::MAX },
            Some(verdict) => Transition::Failure {
                error,
                verdict,
                jitter: 0.0,
                probes: self.policy.probes(),
            },
        };
        let target = Target { id, lease: None };
        self.registry.apply(target, model, &effect, self.moment());
    }

    fn fail(&self, id: &str, model: &str, status: u16) {
        self.result(id, model, Some(&Error::upstream(status, "no")));
    }

    fn probe(&self, id: &str, model: &str) -> Option<ProbeGuard> {
        let picked = self.registry.member(self.query(model), id)?;
        self.registry.probe(self.query(model), &picked, PATIENCE)
    }

    fn is_ready(&self, id: &str, model: &str) -> bool {
        self.registry.ready(self.query(model), id).is_some()
    }

    fn set_wall(&self, by: i64) {
        let time = Duration::from_secs(by.unsigned_abs());
        let now = self.clock.now();
        self.clock.set_wall(if by < 0 {
            earlier(now, time)
        } else {
            later(now, time)
        });
    }

    fn pass(&self, seconds: u64) {
        self.clock.advance(Duration::from_secs(seconds));
    }

    fn lease(&mut self, picked: Picked, model: &'static str) {
        let lease = self.registry.lease(self.query(model), picked, 1);
        self.leases.extend(lease.map(|(lease, _)| (lease, model)));
    }

    fn take(&mut self, step: Step) {
        let registry = Arc::clone(&self.registry);
        match step {
            Step::Register(id, key, limited, models) => {
                let new = auth(IDS[id], &format!("k{key}"), limited);
                let new = new.with_attribute("models", models);
                if registry.contains(IDS[id]) {
                    registry.modify(IDS[id], |auth| auth.attributes = new.attributes.clone());
                    registry.forget_refusals(IDS[id], self.moment());
                } else {
                    registry.insert(new);
                }
            }
            Step::Remove(id) => drop(registry.remove(IDS[id])),
            Step::Disable(id, disabled) => {
                registry.modify(IDS[id], |auth| auth.switch(disabled));
            }
            Step::Pending(id) => {
                registry.modify(IDS[id], |auth| {
                    auth.attributes.remove("api_key");
                    auth.status = Status::Pending;
                });
            }
            Step::Result(id, model, failure) => {
                let error = failure.map(|(status, hint)| {
                    let error = Error::upstream(status, "no");
                    match hint {
                        Some(hint) => error.with_retry_after(Duration::from_secs(hint)),
                        None => error,
                    }
                });
                self.result(IDS[id], MODELS[model], error.as_ref());
            }
            Step::Probe(id, model) => {
                let was_ready = self.is_ready(IDS[id], MODELS[model]);
                let permit = self.probe(IDS[id], MODELS[model]);
                assert_eq!(permit.is_some(), was_ready && registry.contains(IDS[id]));
                self.permits.extend(permit);
            }
            Step::Insist(id, model) => {
                let insisted = registry.insist(self.query(MODELS[model]), IDS[id], PATIENCE);
                self.permits.extend(insisted.map(|(_, permit)| permit));
            }
            Step::Floor(model) => {
                let floor = registry.floor(self.query(MODELS[model]), PATIENCE);
                self.permits.extend(floor.map(|(_, permit)| permit));
            }
            Step::EndPermit(at) => {
                if !self.permits.is_empty() {
                    drop(self.permits.swap_remove(at % self.permits.len()));
                }
            }
            Step::Lease(id, model) => {
                let query = self.query(MODELS[model]);
                if let Some(picked) = registry.ready(query, IDS[id]) {
                    self.lease(picked, MODELS[model]);
                }
            }
            Step::HurriedLease(model) => {
                let query = self.query(MODELS[model]);
                if let Some(picked) = registry.soonest_paced(query) {
                    self.lease(picked, MODELS[model]);
                }
            }
            Step::RefusedLease(at, told) => {
                if !self.leases.is_empty() {
                    let (lease, model) = self.leases.swap_remove(at % self.leases.len());
                    let target = Target {
                        id: lease.id(),
                        lease: Some(&lease),
                    };
                    let told = told.map(Duration::from_secs);
                    registry.pace_down(target, model, told, self.moment());
                }
            }
            Step::EndLease(at) => {
                if !self.leases.is_empty() {
                    drop(self.leases.swap_remove(at % self.leases.len()));
                }
            }
            Step::AwaitToken(id, end) => {
                let now = self.clock.now();
                let until = end.map(|end| later(now, Duration::from_secs(end)));
                registry.await_token(IDS[id], 0, until);
            }
            Step::Reset(id, model) => {
                registry.reset(IDS[id], model.map(|model| MODELS[model]), self.moment());
            }
            Step::CoolDown(id, model, time) => {
                let model = model
                    .map(|model| MODELS[model])
                    .filter(|model| !model.is_empty());
                registry.cool_down(IDS[id], model, Duration::from_secs(time), self.moment());
            }
            Step::Pass(seconds) => self.pass(seconds),
            Step::SetBack(seconds) => self.set_wall(-i64::try_from(seconds).unwrap()),
            Step::SetForward(seconds) => self.set_wall(i64::try_from(seconds).unwrap()),
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_failure_persistence(FileFailurePersistence::WithSource("regressions")))]

    #[test]
    fn lanes_say_what_the_records_say_after_every_step(steps in steps()) {
        let mut pool = Pool::new();
        for model in MODELS {
            assert_eq!(pool.registry.supply(pool.query(model)), Supply::Ready);
        }
        for step in steps {
            pool.take(step);
            assert_eq!(pool.registry.audit(pool.moment()), Vec::<String>::new());
        }
        pool.leases.clear();
        pool.permits.clear();
        assert_eq!(pool.registry.audit(pool.moment()), Vec::<String>::new());
        prop_assert_eq!(pool.registry.probes(), 0, "with no call in flight there is no probe");
    }
}

/// Out as a whole, and its cooldown just over.
fn returned_as_a_whole() -> Pool {
    let pool = Pool::new();
    for id in ["b", "c"] {
        pool.registry.remove(id);
    }
    for model in MODELS {
        assert!(pool.is_ready("a", model));
    }
    pool.fail("a", "m", 401);
    pool.pass(1800);
    pool
}

#[test]
fn a_probe_of_the_whole_is_seen_by_every_model() {
    let pool = returned_as_a_whole();
    let permit = pool.probe("a", "m").unwrap();
    for model in MODELS {
        assert!(!pool.is_ready("a", model), "{model}");
    }
    drop(permit);
    for model in MODELS {
        assert!(pool.is_ready("a", model), "{model}");
    }
}

#[test]
fn a_permit_that_comes_back_wakes_who_waits() {
    let pool = returned_as_a_whole();
    let permit = pool.probe("a", "m").unwrap();
    let waiting = pool.registry.wait(std::iter::once(pool.query("m")));
    assert!(waiting.woken().try_recv().is_err());
    drop(permit);
    assert!(waiting.woken().try_recv().is_ok());
}

#[test]
fn a_late_probe_leaves_its_successors_permit_alone() {
    let pool = returned_as_a_whole();
    let late = pool.probe("a", "m").unwrap();
    pool.fail("a", "m", 401);
    pool.pass(1800);
    let successor = pool.probe("a", "m").unwrap();
    drop(late);
    assert!(!pool.is_ready("a", "m"));
    drop(successor);
    assert!(pool.is_ready("a", "m"));
}

#[test]
fn a_late_probe_leaves_a_permit_alone_that_ends_with_its_own() {
    let pool = Pool::new();
    for id in ["b", "c"] {
        pool.registry.remove(id);
    }
    pool.fail("a", "m", 500);
    pool.fail("a", "m", 500);
    pool.fail("a", "m", 503);
    let floor = || pool.registry.floor(pool.query("m"), Duration::ZERO);
    let (_, late) = floor().unwrap();
    assert!(floor().is_none());
    pool.fail("a", "m", 503);
    let successor = floor().unwrap();
    drop(late);
    assert!(floor().is_none(), "the successor is under way");
    drop(successor);
    assert!(floor().is_some());
}

#[test]
fn whoever_is_asked_on_the_floor_is_left_alone_until_it_returns_and_for_the_patience() {
    for (patience, left_alone) in [(PATIENCE, 10), (Duration::ZERO, 1)] {
        let pool = Pool::new();
        for id in ["b", "c"] {
            pool.registry.remove(id);
        }
        pool.fail("a", "m", 500);
        pool.fail("a", "m", 500);
        let _permit = pool.registry.floor(pool.query("m"), patience).unwrap();
        pool.clock
            .advance(Duration::from_millis(left_alone * 1000 - 1));
        assert!(!pool.is_ready("a", "m"));
        pool.clock.advance(Duration::from_millis(1));
        assert!(pool.is_ready("a", "m"));
    }
}

#[test]
fn whoever_insists_gets_it_as_far_as_permits_go_and_it_is_enabled() {
    let pool = returned_as_a_whole();
    let insist = || pool.registry.insist(pool.query("m"), "a", PATIENCE);
    let first = insist().unwrap();
    assert!(insist().is_none());
    pool.pass(9);
    assert!(insist().is_none());
    pool.pass(1);
    assert!(insist().is_some(), "its patience is over");
    drop(first);
    pool.registry.modify("a", |auth| auth.switch(true));
    assert!(insist().is_none());
    assert!(pool.probe("a", "m").is_none());
}

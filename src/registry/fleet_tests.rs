//! Several registries over one stored state, each of which writes the whole of what it knows.

use std::time::Duration;

use proptest::prelude::*;
use proptest::test_runner::FileFailurePersistence;

use super::apply::readiness;
use super::*;
use crate::clock::later;
use crate::error::Error;
use crate::policy::{FailurePolicy, Rule, Scope};
use crate::store::{MemoryStore, Store};

const START: Timestamp = time::macros::utc_datetime!(2025-01-01 00:00);
const MODELS: [&str; 2] = ["m", "n"];
const PROCESSES: usize = 3;

#[derive(Clone, Debug)]
enum Step {
    /// For one model, or for all.
    Fail(usize, usize, bool),
    /// Of a call that began so many steps before.
    Succeed(usize, usize, usize),
    Write(usize),
    Look(usize),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let process = 0..PROCESSES;
    let model = 0..MODELS.len();
    let everywhere = prop::bool::weighted(0.3);
    prop::collection::vec(
        prop_oneof![
            3 => (process.clone(), model.clone(), everywhere).prop_map(|(p, m, e)| Step::Fail(p, m, e)),
            4 => (process.clone(), model, 0..4_usize).prop_map(|(p, m, began)| Step::Succeed(p, m, began)),
            3 => process.clone().prop_map(Step::Write),
            3 => process.prop_map(Step::Look),
        ],
        1..60,
    )
}

struct Fleet {
    store: MemoryStore,
    processes: Vec<Registry>,
    /// How many setbacks each had met, after each step.
    met: Vec<[u32; PROCESSES]>,
    policy: FailurePolicy,
    now: Timestamp,
}

impl Fleet {
    fn start() -> Self {
        let auth = Auth::api_key("p", "k").with_id("a");
        let store = MemoryStore::new();
        store.save(&auth).unwrap();
        let start = || {
            let registry = Registry::new(Arc::new(Random::seeded(7)), UseLimits::default());
            registry.insert(auth.clone());
            registry
        };
        let day = Duration::from_secs(24 * 3600);
        Self {
            processes: (0..PROCESSES).map(|_| start()).collect(),
            store,
            met: Vec::new(),
            policy: FailurePolicy::empty()
                .with_rule(Rule::status(429).cooldown(day))
                .with_rule(Rule::status(402).cooldown(day).scope(Scope::Credential)),
            now: START,
        }
    }

    fn apply(&self, process: usize, model: usize, effect: &Effect<'_>) {
        let target = Target {
            id: "a",
            lease: None,
        };
        self.processes[process].apply(target, MODELS[model], effect, self.now);
    }

    fn record(&self, process: usize) -> Arc<Auth> {
        self.processes[process].get("a").unwrap()
    }

    /// Whether it is out: for each model, and as a whole.
    fn is_out(&self, process: usize) -> [bool; 3] {
        let auth = self.record(process);
        let [m, n] = MODELS.map(|model| {
            let state = auth.model_states.get(model);
            state.is_some_and(|state| state.unavailable)
        });
        [m, n, auth.outage.is_some()]
    }

    /// How many setbacks a process had met so many steps ago.
    fn met(&self, process: usize, ago: usize) -> u32 {
        let step = self.met.len().checked_sub(ago + 1);
        step.map_or(0, |step| self.met[step][process])
    }

    fn take(&mut self, step: &Step) {
        self.now = later(self.now, Duration::from_millis(10));
        match *step {
            Step::Fail(process, model, everywhere) => {
                let error = Error::upstream(if everywhere { 402 } else { 429 }, "no");
                let verdict = self.policy.classify(&error);
                let effect = Effect::Failure {
                    error: Some(&error),
                    verdict: &verdict,
                    jitter: 0.0,
                    probes: self.policy.probes(),
                };
                self.apply(process, model, &effect);
            }
            Step::Succeed(process, model, began) => {
                let knows = self.met(process, began);
                self.apply(process, model, &Effect::Success { knows });
            }
            Step::Write(process) => {
                if let Some((auth, _)) = self.processes[process].take_unsaved("a") {
                    self.store.save_state(&auth).unwrap();
                }
            }
            Step::Look(process) => {
                let stored = self.store.load("a").unwrap().unwrap();
                self.processes[process].adopt_state("a", &stored, self.now);
            }
        }
        let met = std::array::from_fn(|process| self.record(process).setbacks);
        self.met.push(met);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_failure_persistence(FileFailurePersistence::WithSource("regressions")))]

    /// Whoever writes over what another one has written, and in whatever order: in the end all know the last change of each model
    /// and of the whole.
    #[test]
    fn nothing_that_one_has_met_is_lost(steps in steps()) {
        let mut fleet = Fleet::start();
        let mut out = [false; 3];
        let mut told = [0; PROCESSES];
        for (number, step) in steps.iter().enumerate() {
            let before: Vec<_> = (0..PROCESSES).map(|process| fleet.is_out(process)).collect();
            fleet.take(step);
            match *step {
                Step::Fail(_, model, everywhere) => {
                    out[model] = true;
                    out[2] |= everywhere;
                }
                Step::Succeed(process, _, began) => {
                    let knew = number >= told[process] + began;
                    prop_assert!(knew || fleet.is_out(process) == before[process]);
                    for ((out, before), after) in out.iter_mut().zip(before[process]).zip(fleet.is_out(process)) {
                        *out &= !before || after;
                    }
                }
                Step::Look(process) if fleet.is_out(process) != before[process] => told[process] = number + 1,
                Step::Write(_) | Step::Look(_) => {}
            }
        }
        for _ in 0..2 * PROCESSES {
            for process in 0..PROCESSES {
                fleet.take(&Step::Look(process));
                fleet.take(&Step::Write(process));
            }
        }
        for process in 0..PROCESSES {
            prop_assert_eq!(fleet.is_out(process), out, "{}", process);
            let auth = fleet.record(process);
            for (model, out_for_model) in MODELS.into_iter().zip(out) {
                let is_ready = readiness(&auth, model) == Readiness::Ready;
                prop_assert_eq!(is_ready, !out_for_model && !out[2], "{} {}", process, model);
            }
            prop_assert!(fleet.processes[process].take_unsaved("a").is_none(), "it writes for ever");
        }
    }
}

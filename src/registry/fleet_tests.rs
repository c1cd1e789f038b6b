//! Several registries over one stored state, each of which writes the whole of what it knows, by a clock of its own.

use std::collections::BTreeSet;
use std::time::Duration;

use proptest::prelude::*;
use proptest::test_runner::FileFailurePersistence;

use super::*;
use crate::auth::{BreakerState, Version};
use crate::clock::{ManualClock, later, until};
use crate::error::Error;
use crate::health::{Readiness, Transition, model_states::KEPT_MODELS, readiness};
use crate::policy::{FailurePolicy, Rule, Scope, refuses_token};
use crate::store::{MemoryStore, Store};

const START: Timestamp = time::macros::utc_datetime!(2025-01-01 00:00);
const DAY: Duration = Duration::from_secs(24 * 3600);
const MODELS: [&str; 2] = ["m", "n"];
const PROCESSES: usize = 3;
/// Each model, and the credential as a whole.
const PARTS: usize = MODELS.len() + 1;
const WHOLE: usize = MODELS.len();

#[derive(Clone, Debug)]
enum Step {
    /// For one model, or for all.
    Fail(usize, usize, bool),
    /// The token is refused, for one model.
    Refuse(usize, usize),
    /// Of a call that began so many steps before.
    Succeed(usize, usize, usize),
    /// Of one model, or of all.
    Reset(usize, Option<usize>),
    Renew(usize),
    Write(usize),
    Look(usize),
    /// The clock of one process differs by so many seconds from now on.
    SetClock(usize, i64),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let process = 0..PROCESSES;
    let model = 0..MODELS.len();
    let everywhere = prop::bool::weighted(0.3);
    let reset = prop::option::weighted(0.5, model.clone());
    let clock = prop::sample::select(vec![-300, -2, 0, 2, 300]);
    prop::collection::vec(
        prop_oneof![
            3 => (process.clone(), model.clone(), everywhere).prop_map(|(p, m, e)| Step::Fail(p, m, e)),
            1 => (process.clone(), model.clone()).prop_map(|(p, m)| Step::Refuse(p, m)),
            4 => (process.clone(), model, 0..4_usize).prop_map(|(p, m, began)| Step::Succeed(p, m, began)),
            1 => (process.clone(), reset).prop_map(|(p, m)| Step::Reset(p, m)),
            1 => process.clone().prop_map(Step::Renew),
            3 => process.clone().prop_map(Step::Write),
            4 => process.clone().prop_map(Step::Look),
            1 => (process, clock).prop_map(|(p, by)| Step::SetClock(p, by)),
        ],
        1..60,
    )
}

/// Something that happened to a part in one process.
struct Event {
    part: usize,
    /// Whether the part is unavailable from then on.
    out: bool,
    /// The events that the process knew of.
    knew: BTreeSet<usize>,
}

struct Fleet {
    store: MemoryStore,
    processes: Vec<Registry>,
    /// How many setbacks each had met, after each step.
    met: Vec<[u32; PROCESSES]>,
    policy: FailurePolicy,
    now: Timestamp,
    clocks: [ManualClock; PROCESSES],
    events: Vec<Event>,
    /// The events that each process, and the store, knows of.
    known: [BTreeSet<usize>; PROCESSES],
    stored: BTreeSet<usize>,
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
        Self {
            processes: (0..PROCESSES).map(|_| start()).collect(),
            store,
            met: Vec::new(),
            policy: FailurePolicy::empty()
                .with_rule(Rule::status(429).cooldown(DAY))
                .with_rule(Rule::status(401).cooldown(DAY))
                .with_rule(Rule::status(402).cooldown(DAY).scope(Scope::Credential)),
            now: START,
            clocks: std::array::from_fn(|_| ManualClock::at(START)),
            events: Vec::new(),
            known: std::array::from_fn(|_| BTreeSet::new()),
            stored: BTreeSet::new(),
        }
    }

    fn now(&self, process: usize) -> Moment {
        Moment::of(&self.clocks[process])
    }

    fn apply(&self, process: usize, model: &str, effect: &Transition<'_>) {
        let target = Target {
            id: "a",
            lease: None,
        };
        self.processes[process].apply(target, model, effect, self.now(process));
    }

    fn fail(&self, process: usize, model: &str, status: u16) {
        let error = Error::upstream(status, "no");
        let verdict = self.policy.classify(&error);
        let effect = Transition::Failure {
            error: Some(&error),
            verdict: &verdict,
            jitter: 0.0,
            probes: self.policy.probes(),
        };
        self.apply(process, model, &effect);
    }

    fn record(&self, process: usize) -> Arc<Auth> {
        self.processes[process].get("a").unwrap()
    }

    fn load(&self) -> Auth {
        self.store.load("a").unwrap().unwrap()
    }

    fn write(&self, process: usize) -> bool {
        let unsaved = self.processes[process].take_unsaved("a");
        if let Some((auth, _)) = &unsaved {
            self.store.save_state(auth).unwrap();
        }
        unsaved.is_some()
    }

    fn look(&self, process: usize) {
        let stored = self.load();
        let registry = &self.processes[process];
        registry.adopt_state("a", &stored, self.now(process));
        registry.modify("a", |auth| {
            auth.generation = auth.generation.max(stored.generation);
        });
    }

    fn renew(&self, process: usize) {
        let generation = self.load().generation + 1;
        let now = self.now(process);
        self.processes[process].renew("a", now.wall, |auth| auth.generation = generation);
        let mut credential = self.load();
        credential.generation = generation;
        self.store.save(&credential).unwrap();
    }

    /// How many setbacks a process had met so many steps ago.
    fn met(&self, process: usize, ago: usize) -> u32 {
        let step = self.met.len().checked_sub(ago + 1);
        step.map_or(0, |step| self.met[step][process])
    }

    fn note(&mut self, process: usize, part: usize, out: bool) {
        let knew = self.known[process].clone();
        self.known[process].insert(self.events.len());
        self.events.push(Event { part, out, knew });
    }

    /// Takes a step, and notes what happened in it.
    fn take(&mut self, step: &Step) {
        let moment = Duration::from_millis(10);
        self.now = later(self.now, moment);
        for clock in &self.clocks {
            clock.advance(moment);
        }
        let before: Vec<_> = (0..PROCESSES).map(|process| self.record(process)).collect();
        match *step {
            Step::Fail(process, model, everywhere) => {
                self.fail(process, MODELS[model], if everywhere { 402 } else { 429 });
                self.note(process, model, true);
                if everywhere {
                    self.note(process, WHOLE, true);
                }
            }
            Step::Refuse(process, model) => {
                self.fail(process, MODELS[model], 401);
                self.note(process, model, true);
            }
            Step::Succeed(process, model, began) => {
                let knows = self.met(process, began);
                self.apply(process, MODELS[model], &Transition::Success { knows });
                self.note_ends(process, &before[process]);
            }
            Step::Reset(process, model) => {
                let model = model.map(|model| MODELS[model]);
                self.processes[process].reset("a", model, self.now(process));
                self.note_ends(process, &before[process]);
            }
            Step::Renew(process) => {
                self.renew(process);
                self.note_ends(process, &before[process]);
            }
            Step::Write(process) => {
                if self.write(process) {
                    self.stored.clone_from(&self.known[process]);
                }
            }
            Step::Look(process) => {
                let stored = versions(&self.load());
                self.look(process);
                self.known[process].extend(&self.stored);
                let (then, after) = (versions(&before[process]), self.record(process));
                for part in 0..PARTS {
                    // What older tokens met has ended here.
                    let version = versions(&after)[part];
                    if version != then[part] && version != stored[part] {
                        self.note(process, part, is_out(&after)[part]);
                    }
                }
            }
            Step::SetClock(process, by) => {
                let wall = self.now + time::Duration::seconds(by);
                self.clocks[process].set_wall(wall);
            }
        }
        let met = std::array::from_fn(|process| self.record(process).setbacks);
        self.met.push(met);
    }

    fn note_ends(&mut self, process: usize, before: &Auth) {
        let after = self.record(process);
        for part in 0..PARTS {
            if is_out(before)[part] && !is_out(&after)[part] {
                self.note(process, part, false);
            }
        }
    }

    /// What must be true of a part in the end, where of its events the last ones, which no other one of it knew, agree.
    fn settled(&self, part: usize) -> Option<bool> {
        let of_part = || {
            self.events
                .iter()
                .enumerate()
                .filter(|(_, event)| event.part == part)
        };
        let known: BTreeSet<_> = of_part().flat_map(|(_, event)| &event.knew).collect();
        let mut last = of_part()
            .filter(|(number, _)| !known.contains(number))
            .map(|(_, event)| event.out);
        let first = last.next().unwrap_or(false);
        last.all(|out| out == first).then_some(first)
    }

    /// Lets all processes read and write until they are idle.
    fn settle(&mut self) {
        for _ in 0..2 * PROCESSES {
            for process in 0..PROCESSES {
                self.take(&Step::Look(process));
                self.take(&Step::Write(process));
            }
        }
    }
}

/// Whether the credential is unavailable: for each model, and as a whole.
fn is_out(auth: &Auth) -> [bool; PARTS] {
    let [m, n] = MODELS.map(|model| {
        let state = auth.model_states.get(model);
        state.is_some_and(|state| state.unavailable)
    });
    [m, n, auth.outage.is_some()]
}

fn versions(auth: &Auth) -> [Version; PARTS] {
    let [m, n] = MODELS.map(|model| {
        let state = auth.model_states.get(model);
        state.map_or_else(Version::default, |state| state.version)
    });
    [m, n, auth.versions.outage]
}

fn ends(auth: &Auth) -> impl Iterator<Item = Timestamp> {
    let of = |cause: Option<BreakerState>| cause.and_then(|cause| cause.until);
    let models = auth.model_states.values();
    let models = models.flat_map(move |state| [state.next_retry_after, of(state.cause)]);
    let own = [auth.next_retry_after, of(auth.cause), of(auth.outage)];
    own.into_iter().chain(models).flatten()
}

proptest! {
    #![proptest_config(ProptestConfig::with_failure_persistence(FileFailurePersistence::WithSource("regressions")))]

    /// Whichever process writes over what another has written, in whatever order and whatever the clocks say: in the end all know the
    /// last change of each model and of the whole, no process writes any more, and no cooldown is longer than it was told to be.
    #[test]
    fn nothing_that_one_has_met_is_lost(steps in steps()) {
        let mut fleet = Fleet::start();
        for step in &steps {
            fleet.take(step);
        }
        fleet.settle();
        let out = is_out(&fleet.record(0));
        for (part, out) in out.into_iter().enumerate() {
            prop_assert!(fleet.settled(part).is_none_or(|settled| settled == out), "{}", part);
        }
        let generation = fleet.load().generation;
        for process in 0..PROCESSES {
            fleet.look(process);
            let auth = fleet.record(process);
            prop_assert_eq!(is_out(&auth), out, "{}", process);
            prop_assert_eq!(versions(&auth), versions(&fleet.record(0)), "{}", process);
            for (model, out_for_model) in MODELS.into_iter().zip(out) {
                let is_ready = readiness(&auth, model) == Readiness::Ready;
                prop_assert_eq!(is_ready, !out_for_model && !out[WHOLE], "{} {}", process, model);
            }
            for state in auth.model_states.values() {
                let refused = state.last_error.as_ref().is_some_and(refuses_token);
                prop_assert!(!refused || !state.version.is_older_than(generation));
            }
            let now = fleet.now(process).wall;
            let remaining = ends(&auth).map(|end| until(now, end)).max();
            prop_assert!(remaining <= Some(DAY), "{} {:?}", process, remaining);
            prop_assert!(fleet.processes[process].take_unsaved("a").is_none(), "it writes for ever");
        }
    }
}

#[test]
fn models_that_the_other_record_has_no_room_for_are_no_news() {
    let mut fleet = Fleet::start();
    for process in 0..PROCESSES {
        for model in 0..KEPT_MODELS + 176 {
            fleet.fail(process, &format!("{process}-{model}"), 429);
        }
    }
    fleet.settle();
    for process in 0..PROCESSES {
        fleet.look(process);
        assert!(!fleet.write(process), "{process} writes for ever");
        assert_eq!(fleet.record(process).model_states.len(), KEPT_MODELS);
    }
}

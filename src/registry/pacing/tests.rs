//! Paces, groups and limits as picks and leases see them.

use super::super::{Picked, Preference, Query, Supply, UseLimits};
use super::*;
use crate::auth::Auth;
use crate::clock::{Clock, ManualClock, later};
use crate::error::Error;
use crate::failure_kind::FailureKind;
use crate::health::{Readiness, Transition};
use crate::policy::{FailurePolicy, Rule};
use crate::random::Random;

const START: Timestamp = time::macros::utc_datetime!(2025-01-01 00:00);
const SECOND: Duration = Duration::from_secs(1);

struct Pool {
    registry: Arc<Registry>,
    clock: ManualClock,
}

impl Pool {
    fn of(attributes: &[&[(&str, &str)]]) -> Self {
        let registry = Registry::new(Arc::new(Random::seeded(7)), UseLimits::default());
        for (n, attributes) in attributes.iter().enumerate() {
            let mut auth = Auth::api_key("p", "k").with_id(format!("a{n}"));
            for (name, value) in *attributes {
                auth = auth.with_attribute(*name, *value);
            }
            registry.insert(auth);
        }
        Self {
            registry: Arc::new(registry),
            clock: ManualClock::at(START),
        }
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

    fn pinned<'q>(&self, model: &'q str, id: &'q str) -> Query<'q> {
        Query {
            pinned: Some(id),
            ..self.query(model)
        }
    }

    fn lease(&self, query: Query<'_>) -> Option<Lease> {
        let picked = self.registry.choose(query, Preference::Rotate)?;
        Some(self.registry.lease(query, picked, 0)?.0)
    }

    fn refuse(&self, id: &str, lease: Option<&Lease>, told: Option<Duration>) {
        let target = Target { id, lease };
        self.registry.pace_down(target, "m", told, self.moment());
    }

    fn is_ready(&self, id: &str, model: &str) -> bool {
        self.registry.supply(self.pinned(model, id)) == Supply::Ready
    }

    fn has_limiter(&self, id: &str) -> bool {
        let state = self.registry.state.lock();
        state
            .record(id)
            .is_some_and(|record| record.limiter.is_some())
    }

    /// Every lane says what the records say.
    fn is_consistent(&self) {
        for model in ["m", "n"] {
            let query = self.query(model);
            let candidates = self.registry.candidates(query);
            let ready = candidates
                .iter()
                .filter(|(_, readiness)| *readiness == Readiness::Ready);
            assert_eq!(self.registry.ready_count(query), ready.count(), "{model}");
        }
    }
}

#[test]
fn who_was_refused_comes_after_those_that_were_not_and_only_for_that_model() {
    let pool = Pool::of(&[&[], &[]]);
    pool.refuse("a0", None, Some(SECOND));
    assert!(!pool.is_ready("a0", "m") && pool.is_ready("a0", "n"));
    for _ in 0..4 {
        let lease = pool.lease(pool.query("m")).unwrap();
        assert_eq!(&**lease.id(), "a1");
    }
    pool.is_consistent();
    pool.clock.advance(SECOND);
    assert!(pool.is_ready("a0", "m"));
    pool.is_consistent();
}

#[test]
fn a_call_that_cannot_wait_gets_the_one_that_is_due_soonest() {
    let pool = Pool::of(&[&[], &[], &[("max_concurrent", "1")]]);
    assert!(pool.registry.soonest_paced(pool.query("m")).is_none());
    for (id, seconds) in [("a0", 20), ("a1", 10), ("a2", 5)] {
        pool.refuse(id, None, Some(seconds * SECOND));
    }
    let query = pool.query("m");
    let in_ten = later(START, 5 * SECOND);
    assert!(matches!(
        pool.registry.supply(query),
        Supply::Blocked { paced: true, full: false, earliest: Some(at), .. } if at == in_ten
    ));
    let hurry = |id: &str| {
        let picked: Picked = pool.registry.soonest_paced(query).unwrap();
        assert_eq!(&*picked.member.id, id);
        pool.registry.lease(query, picked, 0).unwrap().0
    };
    let one = hurry("a2");
    // Hard limits hold for it, too.
    let two = hurry("a1");
    pool.is_consistent();
    drop((one, two));
    assert!(matches!(
        pool.registry.supply(query),
        Supply::Blocked { full: false, .. }
    ));
    hurry("a2");
}

#[test]
fn starts_are_spaced_and_what_was_not_sent_is_none() {
    let pool = Pool::of(&[&[]]);
    pool.refuse("a0", None, Some(SECOND));
    pool.clock.advance(SECOND);
    for _ in 0..3 {
        let mut lease = pool.lease(pool.query("m")).unwrap();
        assert!(!pool.is_ready("a0", "m"));
        lease.unsent();
        drop(lease);
        assert!(pool.is_ready("a0", "m"), "the start was given back");
        pool.is_consistent();
    }
    let lease = pool.lease(pool.query("m")).unwrap();
    drop(lease);
    assert!(!pool.is_ready("a0", "m"));
}

#[test]
fn a_credential_that_is_told_to_be_used_up_is_held_until_the_reset() {
    let pool = Pool::of(&[&[], &[]]);
    let reset = later(START, 30 * SECOND);
    pool.registry.hold("a0", "m", reset, pool.moment());
    assert!(!pool.is_ready("a0", "m") && pool.is_ready("a0", "n"));
    // A step of the wall clock changes nothing.
    pool.clock.set_wall(later(START, 20 * SECOND));
    assert!(!pool.is_ready("a0", "m"));
    pool.clock.advance(30 * SECOND);
    assert!(pool.is_ready("a0", "m"));
    pool.is_consistent();
}

#[test]
fn what_a_member_of_a_group_is_refused_holds_for_all() {
    let group = [("limit_group", "team")];
    let pool = Pool::of(&[&group, &group, &[], &[("limit_group", "other")]]);
    pool.refuse("a0", None, Some(SECOND));
    let ready = |pool: &Pool| ["a0", "a1", "a2", "a3"].map(|id| pool.is_ready(id, "m"));
    assert_eq!(ready(&pool), [false, false, true, true]);
    pool.clock.advance(SECOND);
    assert_eq!(ready(&pool), [true; 4]);
    let lease = pool.lease(pool.pinned("m", "a1")).unwrap();
    assert_eq!(
        ready(&pool),
        [false, false, true, true],
        "one start for all"
    );
    pool.is_consistent();
    // Who joins shares it, who leaves does not.
    let join = |id: &str, name: Option<&str>| {
        pool.registry.modify(id, |auth| match name {
            Some(name) => {
                auth.attributes.insert("limit_group", name);
            }
            None => {
                auth.attributes.remove("limit_group");
            }
        })
    };
    join("a2", Some("team"));
    join("a1", None);
    assert_eq!(ready(&pool), [false, true, false, true]);
    pool.is_consistent();
    pool.registry.remove("a0");
    assert!(!pool.is_ready("a2", "m"));
    drop(lease);
}

#[test]
fn a_quota_of_one_member_is_one_of_all_and_so_is_its_end() {
    let group = [("limit_group", "team")];
    let pool = Pool::of(&[&group, &group, &[]]);
    let policy = FailurePolicy::empty().with_rule(Rule::status(429).cooldown(600 * SECOND).quota());
    let error = Error::upstream(429, "quota");
    let mut verdict = policy.classify(&error);
    verdict.fault = FailureKind::Quota;
    let effect = Transition::Failure {
        error: Some(&error),
        verdict: &verdict,
        jitter: 0.0,
        probes: None,
    };
    let target = Target {
        id: "a0",
        lease: None,
    };
    pool.registry.apply(target, "m", &effect, pool.moment());
    pool.registry
        .apply_to_group("a0", "m", &effect, pool.moment());
    let ready = |pool: &Pool| ["a0", "a1", "a2"].map(|id| pool.is_ready(id, "m"));
    assert_eq!(ready(&pool), [false, false, true]);
    let success = Transition::Success { knows: u32::MAX };
    pool.registry.apply(target, "m", &success, pool.moment());
    pool.registry
        .apply_to_group("a0", "m", &success, pool.moment());
    assert_eq!(ready(&pool), [true; 3]);
}

#[test]
fn a_pace_that_is_forgotten_leaves_nothing_behind() {
    let pool = Pool::of(&[&[], &[("rpm", "1000")]]);
    assert!(!pool.registry.state.lock().slots[0].troubled);
    for id in ["a0", "a1"] {
        pool.refuse(id, None, Some(SECOND));
        assert!(pool.has_limiter(id));
    }
    pool.clock.advance(70 * SECOND);
    for id in ["a0", "a1"] {
        pool.lease(pool.pinned("m", id)).unwrap();
    }
    assert!(!pool.has_limiter("a0") && pool.has_limiter("a1"));
    assert!(!pool.registry.state.lock().slots[0].troubled);
    pool.is_consistent();
}

#[test]
fn a_minute_of_a_limit_is_one_of_the_monotonic_clock() {
    let pool = Pool::of(&[&[("rpm", "5")]]);
    let (mut granted, hour) = (Vec::new(), 3600 * SECOND);
    let begun = pool.clock.monotonic();
    for n in 0..600_u32 {
        if let Some(lease) = pool.lease(pool.query("m")) {
            drop(lease);
            granted.push(pool.clock.monotonic() - begun);
        }
        match n % 40 {
            10 => pool.clock.set_wall(later(pool.clock.now(), hour)),
            30 => pool
                .clock
                .set_wall(crate::clock::earlier(pool.clock.now(), 2 * hour)),
            _ => {}
        }
        pool.clock.advance(SECOND);
    }
    for window in granted.windows(6) {
        assert!(window[5] >= window[0] + 60 * SECOND, "{window:?}");
    }
    assert!(granted.len() >= 45, "{}", granted.len());
}

#[test]
fn a_cooldown_that_ends_while_a_limit_is_reached_makes_nobody_ready() {
    let pool = Pool::of(&[&[("max_concurrent", "1")]]);
    let lease = pool.lease(pool.query("m")).unwrap();
    let policy = FailurePolicy::empty().with_rule(Rule::status(500).cooldown(SECOND));
    let verdict = policy.classify(&Error::upstream(500, ""));
    let effect = Transition::Failure {
        error: None,
        verdict: &verdict,
        jitter: 0.0,
        probes: None,
    };
    let target = Target {
        id: "a0",
        lease: None,
    };
    pool.registry.apply(target, "m", &effect, pool.moment());
    pool.clock.advance(2 * SECOND);
    pool.is_consistent();
    assert!(matches!(
        pool.registry.supply(pool.query("m")),
        Supply::Blocked { full: true, .. }
    ));
    drop(lease);
    assert!(pool.is_ready("a0", "m"));
    pool.is_consistent();
}

#[test]
fn states_of_invented_models_are_bounded_for_the_whole_pool() {
    let none: &[(&str, &str)] = &[];
    let pool = Pool::of(&[none; 300]);
    let policy = FailurePolicy::empty().with_rule(Rule::status(500).cooldown(600 * SECOND));
    let error = Error::upstream(500, "e".repeat(100_000));
    let verdict = policy.classify(&error);
    let effect = Transition::Failure {
        error: Some(&error),
        verdict: &verdict,
        jitter: 0.0,
        probes: None,
    };
    for n in 0..30_000 {
        let id = format!("a{}", n % 300);
        let target = Target {
            id: &id,
            lease: None,
        };
        let model = format!("m{n}");
        pool.registry.apply(target, &model, &effect, pool.moment());
    }
    pool.is_consistent();
    let state = pool.registry.state.lock();
    let states = || {
        state
            .slots
            .iter()
            .flat_map(|record| record.auth.model_states.values())
    };
    assert!(
        states().count() <= super::super::seat::MOST_STATES,
        "{}",
        states().count()
    );
    let longest = states().map(|state| state.status_message.len()).max();
    assert!(longest <= Some(1024), "{longest:?}");
}

impl Pool {
    /// A refused use of `a0`, for "m"; whoever held it lets go of it.
    fn refused_lease(&self) {
        let lease = self.lease(self.pinned("m", "a0")).unwrap();
        self.refuse("a0", Some(&lease), None);
    }

    /// As [`of`](Self::of); the second concurrent use of `a0` was refused as often as it takes for a cap. With the lease in flight.
    fn capped(attributes: &[&[(&str, &str)]]) -> (Self, Lease) {
        let pool = Self::of(attributes);
        let first = pool.lease(pool.pinned("m", "a0")).unwrap();
        for _ in 0..2 {
            pool.refused_lease();
            pool.clock.advance(SECOND);
        }
        assert_eq!(pool.registry.audit(pool.moment()), Vec::<String>::new());
        (pool, first)
    }
}

#[test]
fn who_is_refused_for_what_is_in_flight_is_capped_until_that_has_ended() {
    let (pool, first) = Pool::capped(&[&[]]);
    // The trial that is due.
    pool.refused_lease();
    pool.clock.advance(SECOND);
    let query = pool.query("m");
    let in_one = later(pool.clock.now(), SECOND);
    assert!(matches!(
        pool.registry.supply(query),
        Supply::Blocked { full: true, earliest: Some(at), .. } if at == in_one
    ));
    let standings = pool.registry.shortage(query, 1).standings;
    assert_eq!(standings[0].availability, crate::Availability::Busy);
    assert!(
        pool.is_ready("a0", "n"),
        "what is known of one model says nothing of others"
    );
    // It was not counted when it began, and yet its end is noticed.
    let waiting = pool.registry.wait(std::iter::once(query));
    drop(first);
    assert!(waiting.woken().try_recv().is_ok());
    drop(waiting);
    assert!(pool.is_ready("a0", "m"));
    let next = pool.lease(query).unwrap();
    assert!(!pool.is_ready("a0", "m"));
    drop(next);
    // What is left is its pace.
    pool.clock.advance(Duration::from_millis(63));
    assert!(pool.is_ready("a0", "m"));
    assert_eq!(pool.registry.audit(pool.moment()), Vec::<String>::new());
}

#[test]
fn a_call_that_cannot_wait_goes_beyond_a_cap() {
    let (pool, _first) = Pool::capped(&[&[]]);
    pool.refused_lease();
    pool.clock.advance(SECOND);
    let query = pool.query("m");
    assert!(pool.lease(query).is_none());
    let picked = pool.registry.soonest_paced(query).unwrap();
    let (lease, _) = pool.registry.lease(query, picked, 0).unwrap();
    // It says what is known.
    let trial = pool.registry.out_until(query, "a0");
    pool.refuse("a0", Some(&lease), None);
    assert_eq!(pool.registry.out_until(query, "a0"), trial);
    assert_eq!(pool.registry.audit(pool.moment()), Vec::<String>::new());
}

#[test]
fn a_refusal_for_what_is_in_flight_says_nothing_of_a_rate() {
    let (pool, _first) = Pool::capped(&[&[]]);
    // The pace is forgotten meanwhile, the cap is not.
    pool.clock.advance(70 * SECOND);
    pool.refused_lease();
    let state = pool.registry.state.lock();
    let limiter = state.record("a0").unwrap().limiter.as_ref().unwrap();
    assert!(limiter.paces().is_none());
    let readiness = limiter.readiness("m", pool.clock.now());
    assert!(matches!(readiness, Readiness::Capped(_)), "{readiness:?}");
}

#[test]
fn who_shares_a_limit_with_others_gets_no_cap() {
    let group: &[(&str, &str)] = &[("limit_group", "g")];
    let (pool, _first) = Pool::capped(&[group, group]);
    pool.refused_lease();
    assert!(!pool.is_ready("a1", "m"), "their pace is one");
    let query = pool.pinned("m", "a0");
    assert!(matches!(
        pool.registry.supply(query),
        Supply::Blocked {
            full: false,
            paced: true,
            ..
        }
    ));
    // Nor does who joins it keep one.
    let (pool, _first) = Pool::capped(&[&[]]);
    pool.refused_lease();
    assert!(!pool.is_ready("a0", "m"));
    let join = |auth: &mut Auth| {
        auth.attributes.insert("limit_group", "g");
    };
    pool.registry.modify("a0", join);
    assert!(pool.is_ready("a0", "m"));
    assert_eq!(pool.registry.audit(pool.moment()), Vec::<String>::new());
}

#[test]
fn a_cap_goes_when_it_was_not_reached_for_a_minute() {
    let (pool, first) = Pool::capped(&[&[]]);
    drop(first);
    pool.clock.advance(120 * SECOND);
    drop(pool.lease(pool.query("m")));
    assert!(!pool.has_limiter("a0"));
}

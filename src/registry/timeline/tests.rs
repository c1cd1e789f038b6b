use std::sync::Arc;

use super::*;
use crate::clock::ManualClock;
use crate::error::Error;
use crate::health::Transition;
use crate::policy::{FailurePolicy, Probes, Rule, Scope};
use crate::random::Random;
use crate::registry::{Preference, Query, Registry, Supply, Target, UseLimits};

const START: Timestamp = time::macros::utc_datetime!(2025-01-01 00:00);
const DAY: Duration = Duration::from_secs(24 * 3600);
const TOLD: Duration = Duration::from_secs(60);

struct Pool {
    registry: Arc<Registry>,
    clock: ManualClock,
}

impl Pool {
    fn with(limits: UseLimits) -> Self {
        let registry = Arc::new(Registry::new(Arc::new(Random::seeded(7)), limits));
        registry.insert(Auth::api_key("p", "k").with_id("a"));
        Self {
            registry,
            clock: ManualClock::at(START),
        }
    }

    fn start() -> Self {
        Self::with(UseLimits::default())
    }

    fn moment(&self) -> Moment {
        Moment::of(&self.clock)
    }

    fn query(&self) -> Query<'static> {
        Query {
            provider: "p",
            model: "m",
            tried: None,
            pinned: None,
            now: self.moment(),
        }
    }

    fn fail(&self, scope: Scope, moment: Moment) {
        let rule = Rule::status(429).cooldown(TOLD).scope(scope);
        let policy = FailurePolicy::empty().with_rule(rule);
        let error = Error::upstream(429, "no");
        let effect = Transition::Failure {
            error: Some(&error),
            verdict: &policy.classify(&error),
            jitter: 0.0,
            probes: None,
        };
        let target = Target {
            id: "a",
            lease: None,
        };
        self.registry.apply(target, "m", &effect, moment);
    }

    fn cooling(scope: Scope) -> Self {
        let pool = Self::start();
        pool.fail(scope, pool.moment());
        pool
    }

    fn is_ready(&self) -> bool {
        self.registry.supply(self.query()) == Supply::Ready
    }

    fn step_back(&self, by: Duration) {
        self.clock.set_wall(earlier(self.clock.now(), by));
    }

    fn step_forward(&self, by: Duration) {
        self.clock.set_wall(later(self.clock.now(), by));
    }

    /// The credential is unavailable until `left` is over, and no longer.
    fn is_out_for(&self, left: Duration) {
        let nearly = left.checked_sub(Duration::from_nanos(1)).unwrap();
        assert!(!self.is_ready());
        self.clock.advance(nearly);
        assert!(!self.is_ready(), "before the end");
        self.clock.advance(Duration::from_nanos(1));
        assert!(self.is_ready(), "at the end");
        self.clock.advance(TOLD);
        assert!(self.is_ready(), "after the end");
    }
}

#[test]
fn a_call_that_waits_is_woken_when_the_machine_was_suspended() {
    let pool = Pool::cooling(Scope::Credential);
    let waiting = pool.registry.wait(std::iter::once(pool.query()));
    let is_woken = || waiting.woken().try_recv().is_ok();
    for (by, wakes) in [(LEAST_JUMP / 2, false), (TOLD, true)] {
        pool.step_forward(by);
        // Anybody sees it.
        pool.registry.explain("p", "n", pool.moment());
        assert_eq!(is_woken(), wakes, "{by:?}");
    }
    assert!(pool.is_ready());
}

#[test]
fn a_cooldown_ends_as_told_where_the_clock_stands_as_it_is() {
    Pool::cooling(Scope::Model).is_out_for(TOLD);
}

#[test]
fn a_clock_that_is_set_back_lengthens_nothing() {
    for scope in [Scope::Model, Scope::Credential] {
        for by in [Duration::from_secs(1), TOLD, DAY, 365 * DAY] {
            for after in [Duration::ZERO, Duration::from_secs(20)] {
                let pool = Pool::cooling(scope);
                pool.clock.advance(after);
                pool.step_back(by);
                pool.is_out_for(TOLD.saturating_sub(after));
            }
        }
    }
}

#[test]
fn steps_back_add_up() {
    let pool = Pool::cooling(Scope::Model);
    for _ in 0..3 {
        pool.step_back(DAY);
        assert!(!pool.is_ready());
    }
    pool.is_out_for(TOLD);
}

#[test]
fn a_step_that_nobody_sees_before_the_end_lengthens_nothing() {
    let pool = Pool::cooling(Scope::Model);
    pool.step_back(DAY);
    pool.clock.advance(TOLD);
    assert!(pool.is_ready());
}

#[test]
fn a_clock_that_is_set_forward_ends_what_ends_by_it_and_no_more() {
    let pool = Pool::cooling(Scope::Model);
    pool.step_forward(Duration::from_secs(20));
    pool.is_out_for(Duration::from_secs(40));
    let pool = Pool::cooling(Scope::Model);
    pool.step_forward(TOLD);
    assert!(pool.is_ready());
}

/// In a suspend the monotonic clock stands still.
#[test]
fn a_cooldown_ends_while_the_machine_is_suspended() {
    let pool = Pool::cooling(Scope::Credential);
    pool.clock.advance(Duration::from_secs(10));
    pool.step_forward(Duration::from_secs(49));
    assert!(!pool.is_ready());
    pool.step_forward(Duration::from_secs(1));
    assert!(pool.is_ready());
}

#[test]
fn a_clock_that_was_wrong_in_the_future_and_is_set_right_is_forgotten() {
    let pool = Pool::start();
    pool.step_forward(365 * DAY);
    pool.fail(Scope::Model, pool.moment());
    pool.step_back(365 * DAY);
    pool.is_out_for(TOLD);
    // What begins now is measured, and shown, by the clock as it is.
    pool.fail(Scope::Model, pool.moment());
    let end = later(pool.clock.now(), TOLD);
    let auth = pool.registry.get("a").unwrap();
    assert_eq!(auth.model_states["m"].next_retry_after, Some(end));
    pool.is_out_for(TOLD);
}

#[test]
fn a_moment_from_before_a_step_is_of_the_present_clock() {
    let pool = Pool::start();
    assert!(pool.is_ready());
    let before = pool.moment();
    pool.clock.advance(Duration::from_secs(1));
    pool.step_back(DAY);
    // A cooldown of before has been moved already.
    pool.fail(Scope::Model, pool.moment());
    let query = Query {
        now: before,
        ..pool.query()
    };
    assert_ne!(pool.registry.supply(query), Supply::Ready);
    pool.registry.reset("a", None, pool.moment());
    pool.fail(Scope::Model, before);
    pool.is_out_for(TOLD.saturating_sub(Duration::from_secs(1)));
}

#[test]
fn a_permit_is_given_back_after_a_step() {
    let pool = Pool::cooling(Scope::Model);
    let patience = Duration::from_secs(600);
    let (_, permit) = pool.registry.insist(pool.query(), "a", patience).unwrap();
    pool.step_back(DAY);
    pool.clock.advance(TOLD);
    assert!(!pool.is_ready(), "somebody tries it");
    drop(permit);
    assert!(pool.is_ready());
}

#[test]
fn a_probe_comes_when_it_was_to_come() {
    let pool = Pool::start();
    let probes = Probes::default();
    let rule = Rule::status(429).cooldown(DAY).quota();
    let policy = FailurePolicy::empty().with_rule(rule);
    let error = Error::upstream(429, "insufficient_quota");
    let mut verdict = policy.classify(&error);
    verdict.fault = crate::failure_kind::FailureKind::Quota;
    let effect = Transition::Failure {
        error: Some(&error),
        verdict: &verdict,
        jitter: 0.0,
        probes: Some(&probes),
    };
    let target = Target {
        id: "a",
        lease: None,
    };
    pool.registry.apply(target, "m", &effect, pool.moment());
    pool.step_back(DAY);
    pool.is_out_for(probes.interval(DAY));
}

#[test]
fn a_limit_is_no_stricter_after_a_step_back() {
    let pool = Pool::with(UseLimits {
        rpm: Some(1),
        ..UseLimits::default()
    });
    let lease = || {
        let picked = pool.registry.choose(pool.query(), Preference::Rotate)?;
        pool.registry.lease(pool.query(), picked, 0)
    };
    assert!(lease().is_some());
    assert!(lease().is_none());
    pool.step_back(DAY);
    pool.clock.advance(Duration::from_secs(59));
    assert!(lease().is_none(), "a minute is a minute");
    pool.clock.advance(Duration::from_secs(2));
    assert!(lease().is_some());
    assert!(lease().is_none());
}

/// A thread may be kept waiting between its readings of the two clocks.
#[test]
fn readings_that_are_far_apart_move_nothing() {
    let (mut timeline, start) = (Timeline::default(), ManualClock::at(START).monotonic());
    let at = |millis| Duration::from_millis(millis);
    let mut see = |before, wall, after| {
        let monotonic = Some((start + at(before), start + at(after)));
        let wall = later(START, at(wall));
        let now = timeline.see(Moment { wall, monotonic });
        assert_eq!(now.at, wall);
        now.set_back
    };
    assert_eq!(see(0, 0, 0), Duration::ZERO);
    for round in 1..50 {
        let early = 1000 * round;
        assert_eq!(see(early, early, early + 90), Duration::ZERO);
        assert_eq!(see(early + 100, early + 190, early + 190), Duration::ZERO);
        assert_eq!(see(early + 200, early + 200, early + 200), Duration::ZERO);
    }
    assert_eq!(see(60_000, 50_000, 60_000), at(10_000));
}

#[test]
fn what_happens_without_a_reading_happens_at_the_last_one() {
    let pool = Pool::start();
    let latest = || pool.registry.state.lock().timeline.latest();
    assert!(pool.is_ready());
    assert_eq!(latest(), START);
    pool.clock.advance(TOLD);
    let now = pool.moment();
    assert!(pool.is_ready());
    let timeless = Query {
        now: Moment::TIMELESS,
        ..pool.query()
    };
    assert_eq!(pool.registry.supply(timeless), Supply::Ready);
    assert_eq!(latest(), now.wall);
    pool.step_back(DAY);
    assert!(pool.is_ready());
    assert_eq!(latest(), earlier(now.wall, DAY));
}

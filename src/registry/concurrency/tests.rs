use proptest::prelude::*;
use proptest::test_runner::FileFailurePersistence;

use super::*;
use crate::clock::{earlier, until};

const START: Timestamp = time::macros::utc_datetime!(2025-01-01 00:00);
const SECOND: Duration = Duration::from_secs(1);
const TICK: Duration = Duration::from_millis(10);
const REFUSAL: Duration = Duration::from_millis(20);

/// One model of one credential.
#[derive(Default)]
struct One {
    concurrency: Concurrency,
}

impl One {
    fn start(&mut self, now: Timestamp) -> Admission {
        self.concurrency.start(&"m".into(), now)
    }

    fn end(&mut self, admission: Admission, now: Timestamp) -> bool {
        self.concurrency.end("m", admission, false, now)
    }

    fn refuse(&mut self, admission: Admission, now: Timestamp) -> bool {
        let refused = Refused {
            beside: admission.beside,
            admission: Some(admission),
            uncounted: 0,
        };
        let is_explained = self.concurrency.refuse("m".into(), refused, None, now);
        self.end(admission, now);
        is_explained
    }

    /// How long a call that can wait waits for the next trial.
    fn held_up(&self, now: Timestamp) -> Duration {
        let trial = self.concurrency.trial_at("m");
        trial.map_or(Duration::ZERO, |at| until(now, at))
    }

    /// A firm cap, with as many in flight as it allows, and the time until its next trial.
    fn with_firm_cap(most: u32) -> (Self, Vec<Admission>) {
        let mut one = Self::default();
        let in_flight: Vec<_> = (0..most).map(|_| one.start(START)).collect();
        for is_firm in [false, true] {
            assert!(one.held_up(START).is_zero(), "not confirmed yet");
            let refused = one.start(START);
            assert_eq!(one.refuse(refused, START), is_firm);
        }
        (one, in_flight)
    }
}

#[test]
fn a_cap_holds_up_once_a_trial_was_refused_and_until_one_has_ended() {
    let (mut one, in_flight) = One::with_firm_cap(2);
    assert_eq!(one.held_up(START), SECOND);
    assert!(one.end(in_flight[0], START), "there is room again");
    assert!(one.held_up(START).is_zero());
    one.start(START);
    assert!(!one.held_up(START).is_zero());
}

#[test]
fn one_start_beyond_a_cap_is_tried_ever_later_while_it_is_refused() {
    let (mut one, _in_flight) = One::with_firm_cap(3);
    let mut now = START;
    for seconds in [1, 2, 4, 8, 16, 32, 60, 60] {
        assert_eq!(one.held_up(now), seconds * SECOND);
        now = later(now, seconds * SECOND);
        assert!(one.held_up(now).is_zero());
        let trial = one.start(now);
        assert!(!one.held_up(now).is_zero(), "one at a time");
        assert!(one.refuse(trial, now), "it says nothing of a rate");
    }
}

#[test]
fn what_keeps_a_credential_out_for_long_is_tried_more_seldom() {
    let mut one = One::default();
    let mut now = START;
    one.start(now);
    for _ in 0..20 {
        let refused = Refused {
            beside: 1,
            admission: Some(one.start(now)),
            uncounted: 0,
        };
        let told = Some(30 * SECOND);
        one.concurrency.refuse("m".into(), refused, told, now);
        one.end(refused.admission.unwrap(), now);
        now = later(now, one.held_up(now));
    }
    let refused = one.start(now);
    one.refuse(refused, now);
    assert!(one.held_up(now) >= 60 * SECOND);
    assert!(until(START, now) > 10 * 600 * SECOND);
}

#[test]
fn a_cap_rises_by_ever_more_where_trials_are_served() {
    let (mut one, _in_flight) = One::with_firm_cap(1);
    let mut now = START;
    let mut in_flight = 1;
    for raised in [1, 2, 4, 8] {
        now = later(now, one.held_up(now));
        for _ in 0..raised {
            assert!(one.held_up(now).is_zero());
            one.start(now);
        }
        in_flight += raised;
        assert!(!one.held_up(now).is_zero());
    }
    // The first that is refused ends that.
    now = later(now, one.held_up(now));
    let refused = one.start(now);
    assert_eq!(refused.beside, in_flight);
    assert!(one.refuse(refused, now));
    now = later(now, one.held_up(now));
    one.start(now);
    assert!(!one.held_up(now).is_zero());
}

#[test]
fn a_refusal_with_nobody_beside_it_shows_a_rate_for_a_minute() {
    let (mut one, in_flight) = One::with_firm_cap(1);
    one.end(in_flight[0], START);
    let alone = one.start(START);
    assert!(!one.refuse(alone, START));
    let beside_it = |one: &mut One, now| {
        let first = one.start(now);
        for _ in 0..2 {
            let second = one.start(now);
            one.refuse(second, now);
        }
        let held_up = one.held_up(now);
        one.end(first, now);
        held_up
    };
    let end = later(START, QUIET);
    assert!(beside_it(&mut one, earlier(end, TICK)).is_zero());
    assert!(!beside_it(&mut one, end).is_zero());
}

#[test]
fn a_refusal_below_the_cap_leaves_it_to_be_confirmed_anew() {
    let (mut one, in_flight) = One::with_firm_cap(3);
    one.end(in_flight[0], START);
    let below = one.start(START);
    assert!(!one.refuse(below, START), "the rate may be the reason");
    assert!(one.held_up(START).is_zero());
    let trial = one.start(START);
    assert!(one.refuse(trial, START));
    assert!(!one.held_up(START).is_zero());
}

#[test]
fn a_limit_of_rate_is_not_mistaken_where_the_trial_was_served() {
    let mut one = One::default();
    one.start(START);
    for _ in 0..10 {
        let refused = one.start(START);
        one.refuse(refused, START);
        // The trial, and what comes after it.
        one.start(START);
        assert!(one.held_up(START).is_zero());
    }
}

#[test]
fn a_trial_that_sent_nothing_is_none() {
    let (mut one, _in_flight) = One::with_firm_cap(2);
    let now = later(START, one.held_up(START));
    let trial = one.start(now);
    assert!(!one.held_up(now).is_zero());
    assert!(one.concurrency.end("m", trial, true, now));
    assert!(one.held_up(now).is_zero());
    let trial = one.start(now);
    assert!(!one.held_up(now).is_zero());
    assert!(one.refuse(trial, now));
}

#[test]
fn what_was_not_counted_is_beside_those_that_are_until_it_has_ended() {
    let mut one = One::default();
    let refused = Refused {
        beside: 2,
        admission: None,
        uncounted: 2,
    };
    assert!(!one.concurrency.refuse("m".into(), refused, None, START));
    let trial = one.start(START);
    assert_eq!(trial.beside, 2);
    assert!(one.refuse(trial, START));
    assert!(!one.held_up(START).is_zero());
    assert!(one.concurrency.recount(1) && one.held_up(START).is_zero());
    assert!(!one.concurrency.recount(1) && one.concurrency.recount(0));
    one.start(START);
    assert!(one.held_up(START).is_zero());
}

#[test]
fn a_cap_is_forgotten_a_minute_after_it_was_reached_last() {
    let (mut one, in_flight) = One::with_firm_cap(2);
    let mut now = later(START, 600 * SECOND);
    one.concurrency.forget_idle(now);
    assert!(one.concurrency.is_learnt(), "it is reached");
    for admission in in_flight {
        one.end(admission, now);
    }
    now = earlier(later(now, QUIET), SECOND);
    one.concurrency.forget_idle(now);
    assert!(one.concurrency.is_learnt());
    one.concurrency.forget_idle(later(now, SWEEP));
    assert!(!one.concurrency.is_learnt() && one.concurrency.models.is_empty());
}

/// What allows something, beside a loop of callers that always have one more.
trait Upstream {
    fn admits(&mut self, now: Duration, in_flight: usize) -> bool;
}

struct AtOnce(u32);

impl Upstream for AtOnce {
    fn admits(&mut self, _: Duration, in_flight: usize) -> bool {
        in_flight < self.0 as usize
    }
}

/// Fills at one a second.
struct Bucket {
    level: f64,
    burst: f64,
    at: Duration,
}

impl Upstream for Bucket {
    fn admits(&mut self, now: Duration, _: usize) -> bool {
        self.level = (self.level + now.saturating_sub(self.at).as_secs_f64()).min(self.burst);
        self.at = now;
        let admits = self.level >= 1.0;
        self.level -= f64::from(u8::from(admits));
        admits
    }
}

/// Of three minutes, the last two.
#[derive(Debug, Default)]
struct Figures {
    served: u32,
    refused: u32,
    /// In which calls were held up.
    held_up: Duration,
}

/// Each refusal makes the credential unavailable for a second; calls take `takes`, give or take a fifth, and one comes each `gap`, give
/// or take two fifths.
fn run(upstream: &mut dyn Upstream, takes: Duration, gap: Duration) -> Figures {
    let mut one = One::default();
    let mut figures = Figures::default();
    let mut served: Vec<(Duration, Admission)> = Vec::new();
    let mut refused: Vec<(Duration, Admission)> = Vec::new();
    let (mut out_until, mut next, mut number) = (Duration::ZERO, Duration::ZERO, 0);
    let mut passed = Duration::ZERO;
    while passed < 180 * SECOND {
        let now = later(START, passed);
        let counts = passed >= 60 * SECOND;
        for (_, admission) in served.extract_if(.., |(end, _)| *end <= passed) {
            one.end(admission, now);
        }
        for (_, admission) in refused.extract_if(.., |(end, _)| *end <= passed) {
            one.refuse(admission, now);
            out_until = passed + SECOND;
        }
        while out_until <= passed && next <= passed {
            if !one.held_up(now).is_zero() {
                figures.held_up += if counts { TICK } else { Duration::ZERO };
                break;
            }
            let admission = one.start(now);
            let varied = gap.mul_f64(0.6 + 0.2 * f64::from(number * 7 % 5));
            next = next.max(passed.saturating_sub(TICK)) + varied;
            number += 1;
            if upstream.admits(passed, served.len()) {
                let spread = 0.8 + 0.1 * f64::from(number % 5);
                served.push((passed + takes.mul_f64(spread), admission));
                figures.served += u32::from(counts);
            } else {
                refused.push((passed + REFUSAL, admission));
                figures.refused += u32::from(counts);
            }
        }
        passed += TICK;
    }
    figures
}

#[test]
fn an_upstream_that_serves_so_many_at_once_is_used_whole_and_seldom_refuses() {
    for most in [1, 2, 5, 20_u32] {
        for takes in [SECOND / 10, SECOND, 10 * SECOND] {
            let figures = run(&mut AtOnce(most), takes, TICK / 4);
            let allowed = f64::from(most) * 120.0 / takes.as_secs_f64();
            let told = format!("{most} at once, {takes:?}: {figures:?} of {allowed}");
            assert!(f64::from(figures.served) > 0.92 * allowed, "{told}");
            assert!(figures.refused <= 6, "{told}");
        }
    }
}

#[test]
fn an_upstream_that_serves_at_a_rate_is_hardly_ever_held_up() {
    for burst in [1.0, 3.0, 20.0] {
        for takes in [SECOND / 10, SECOND, 10 * SECOND] {
            for gap in [900, 960] {
                let mut bucket = Bucket {
                    level: burst,
                    burst,
                    at: Duration::ZERO,
                };
                let figures = run(&mut bucket, takes, Duration::from_millis(gap));
                let told = format!("burst {burst}, {takes:?}, {gap} ms: {figures:?}");
                assert!(figures.held_up <= 5 * SECOND, "{told}");
            }
        }
    }
}

#[derive(Clone, Copy, Debug)]
enum Step {
    Start,
    End(usize, bool),
    Refuse(usize, u64),
    Forget,
    Pass(u64),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let time = || prop_oneof![0..20_u64, 0..3000_u64, 0..90_000_u64];
    let step = prop_oneof![
        6 => Just(Step::Start),
        3 => (any::<usize>(), prop::bool::weighted(0.2)).prop_map(|(at, unsent)| Step::End(at, unsent)),
        4 => (any::<usize>(), time()).prop_map(|(at, told)| Step::Refuse(at, told)),
        1 => Just(Step::Forget),
        4 => time().prop_map(Step::Pass),
    ];
    prop::collection::vec(step, 1..200)
}

proptest! {
    #![proptest_config(ProptestConfig::with_failure_persistence(FileFailurePersistence::WithSource("regressions")))]

    #[test]
    fn what_is_in_flight_is_counted_exactly_and_nothing_is_held_up_beside_nobody_or_for_long(steps in steps()) {
        let mut one = One::default();
        let mut in_flight: Vec<Admission> = Vec::new();
        let mut now = START;
        for step in steps {
            match step {
                Step::Start => {
                    let admission = one.start(now);
                    prop_assert_eq!(admission.beside as usize, in_flight.len());
                    in_flight.push(admission);
                }
                Step::End(at, unsent) if !in_flight.is_empty() => {
                    let admission = in_flight.swap_remove(at % in_flight.len());
                    one.concurrency.end("m", admission, unsent, now);
                }
                Step::Refuse(at, told) if !in_flight.is_empty() => {
                    let admission = in_flight.swap_remove(at % in_flight.len());
                    let refused = Refused { beside: admission.beside, admission: Some(admission), uncounted: 0 };
                    let told = Some(Duration::from_millis(told));
                    one.concurrency.refuse("m".into(), refused, told, now);
                    one.end(admission, now);
                }
                Step::End(..) | Step::Refuse(..) => {}
                Step::Forget => one.concurrency.forget_idle(now),
                Step::Pass(time) => now = later(now, Duration::from_millis(time)),
            }
            let counted = one.concurrency.models.get("m").map_or(0, |load| load.in_flight);
            prop_assert_eq!(counted as usize, in_flight.len());
            prop_assert!(!in_flight.is_empty() || one.held_up(now).is_zero());
            prop_assert!(one.held_up(now) <= WORTH * LONGEST);
        }
        for admission in in_flight {
            one.end(admission, now);
        }
        one.concurrency.forget_idle(later(now, 2 * QUIET));
        prop_assert!(one.concurrency.models.is_empty());
    }
}

//! The pace against upstreams of several kinds: how much of what they allow is used, and how many starts are refused.

#![allow(
    clippy::cast_precision_loss,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "figures of a simulation are small"
)]

use std::collections::BinaryHeap;

use proptest::prelude::*;

use super::*;
use crate::clock::until;
use crate::random::Random;

const BEGIN: Timestamp = time::macros::utc_datetime!(2025-01-01 00:00);

/// What an upstream allows.
#[derive(Clone, Copy, Debug)]
enum Limit {
    Bucket {
        rate: f64,
        burst: f64,
    },
    Window {
        most: u32,
        seconds: f64,
    },
    AtOnce {
        most: usize,
    },
    /// A bucket of tokens, of which a request takes 500 to 1,500.
    Tokens {
        rate: f64,
        burst: f64,
    },
}

struct Upstream {
    limit: Limit,
    left: f64,
    last: f64,
    /// When those that are under way end.
    under_way: Vec<f64>,
    random: Random,
}

impl Upstream {
    fn new(limit: Limit, seed: u64) -> Self {
        let left = match limit {
            Limit::Bucket { burst, .. } | Limit::Tokens { burst, .. } => burst,
            Limit::Window { most, .. } => f64::from(most),
            Limit::AtOnce { .. } => 0.0,
        };
        Self {
            limit,
            left,
            last: 0.0,
            under_way: Vec::new(),
            random: Random::seeded(seed),
        }
    }

    /// Starts in a second, at most.
    fn rate(&self) -> f64 {
        match self.limit {
            Limit::Bucket { rate, .. } => rate,
            Limit::Tokens { rate, .. } => rate / 1000.0,
            Limit::Window { most, seconds } => f64::from(most) / seconds,
            Limit::AtOnce { most } => most as f64 / LATENCY,
        }
    }

    /// When to come again, where it refuses.
    fn ask(&mut self, now: f64) -> Result<(), f64> {
        match self.limit {
            Limit::Bucket { rate, burst } => self.take(now, rate, burst, 1.0),
            Limit::Tokens { rate, burst } => {
                let size = 500.0 + 1000.0 * self.random.fraction();
                self.take(now, rate, burst, size)
            }
            Limit::Window { most, seconds } => {
                let window = (now / seconds).floor();
                if window > self.last {
                    (self.last, self.left) = (window, f64::from(most));
                }
                if self.left >= 1.0 {
                    self.left -= 1.0;
                    return Ok(());
                }
                Err((window + 1.0) * seconds - now)
            }
            Limit::AtOnce { most } => {
                self.under_way.retain(|end| *end > now);
                if self.under_way.len() < most {
                    self.under_way.push(now + LATENCY);
                    return Ok(());
                }
                let first = self.under_way.iter().copied().fold(f64::MAX, f64::min);
                Err(first - now)
            }
        }
    }

    fn take(&mut self, now: f64, rate: f64, burst: f64, size: f64) -> Result<(), f64> {
        self.left = (self.left + (now - self.last) * rate).min(burst);
        self.last = now;
        if self.left + 1e-9 >= size {
            self.left -= size;
            return Ok(());
        }
        Err((size - self.left) / rate)
    }
}

/// What it has come to after the warm-up.
#[derive(Debug)]
struct Figures {
    /// Of what is allowed.
    share: f64,
    /// For each one that was served.
    refusals: f64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Told {
    Exactly,
    InWholeSeconds,
    Nothing,
}

/// What becomes of a start.
type End = (Option<Start>, Option<Result<(), f64>>);

/// How long a request takes, and a refusal.
const LATENCY: f64 = 0.1;
const REFUSAL: f64 = 0.02;

fn at(seconds: f64) -> Timestamp {
    later(BEGIN, Duration::from_secs_f64(seconds))
}

/// As many calls as may go wait for one credential.
fn run(limit: Limit, told: Told, seed: u64, warm_up: f64, end: f64) -> Figures {
    let mut upstream = Upstream::new(limit, seed);
    let random = Random::seeded(seed + 1);
    let mut paces = Paces::default();
    // Before the first refusal, so many threads.
    let threads = 16;
    let mut under_way = 0;
    let mut events: BinaryHeap<std::cmp::Reverse<(u64, usize)>> = BinaryHeap::new();
    let mut ends: Vec<End> = Vec::new();
    let micros = |seconds: f64| (seconds * 1e6).round() as u64;
    let (mut now, mut served, mut refused) = (0.0, 0_u32, 0_u32);
    while now < end {
        paces.forget_idle(at(now));
        let due = paces
            .due("m")
            .map_or(now, |due| until(BEGIN, due).as_secs_f64());
        if under_way < threads && due <= now {
            let start = paces.start("m", at(now));
            let answer = upstream.ask(now);
            let takes = if answer.is_ok() { LATENCY } else { REFUSAL };
            ends.push((start, Some(answer)));
            events.push(std::cmp::Reverse((micros(now + takes), ends.len() - 1)));
            under_way += 1;
            continue;
        }
        // A call that waits is woken a little late.
        let woken = if under_way < threads {
            due + 0.002 * random.fraction()
        } else {
            f64::MAX
        };
        let next = events
            .peek()
            .map_or(f64::MAX, |event| event.0.0 as f64 / 1e6);
        if woken < next {
            now = woken.max(now);
            continue;
        }
        now = next.max(now);
        let Some(std::cmp::Reverse((_, which))) = events.pop() else {
            break;
        };
        under_way -= 1;
        let (start, answer) = (ends[which].0, ends[which].1.take());
        match answer {
            Some(Err(wait)) => {
                let told = match told {
                    Told::Exactly => Some(wait),
                    Told::InWholeSeconds => Some(wait.ceil()),
                    Told::Nothing => None,
                };
                let told = told.map(Duration::from_secs_f64);
                paces.refuse("m".into(), start, told, at(now));
                refused += u32::from(now > warm_up);
            }
            _ => served += u32::from(now > warm_up),
        }
    }
    let allowed = upstream.rate() * (end - warm_up);
    Figures {
        share: f64::from(served) / allowed,
        refusals: f64::from(refused) / f64::from(served.max(1)),
    }
}

/// The mean and the worst of several runs.
fn figures(limit: Limit, told: Told) -> [Figures; 2] {
    let runs: Vec<_> = (0..RUNS)
        .map(|seed| run(limit, told, seed, 60.0, 180.0))
        .collect();
    let mean = |of: fn(&Figures) -> f64| runs.iter().map(of).sum::<f64>() / RUNS as f64;
    let mean = Figures {
        share: mean(|run| run.share),
        refusals: mean(|run| run.refusals),
    };
    let worst = Figures {
        share: runs.iter().map(|run| run.share).fold(f64::MAX, f64::min),
        refusals: runs.iter().map(|run| run.refusals).fold(0.0, f64::max),
    };
    [mean, worst]
}

/// `cargo test --lib figures_of_the_pace -- --ignored --nocapture`: what to look at when a constant is changed.
#[test]
#[ignore = "prints figures"]
fn figures_of_the_pace() {
    for told in [Told::Exactly, Told::InWholeSeconds, Told::Nothing] {
        for (rate, burst) in [
            (1.0, 3.0),
            (1.0, 1.0),
            (0.1, 3.0),
            (0.5, 30.0),
            (10.0, 10.0),
            (10.0, 1.0),
            (50.0, 100.0),
        ] {
            let limit = Limit::Bucket { rate, burst };
            println!("{told:?} {limit:?}: {:.3?}", figures(limit, told));
        }
        for (most, seconds) in [(20, 2.0), (3, 3.0), (60, 60.0)] {
            let limit = Limit::Window { most, seconds };
            println!("{told:?} {limit:?}: {:.3?}", figures(limit, told));
        }
        for most in [1, 4] {
            let limit = Limit::AtOnce { most };
            println!("{told:?} {limit:?}: {:.3?}", figures(limit, told));
        }
        for (rate, burst) in [(1000.0, 60_000.0), (1000.0, 3_000.0), (10_000.0, 20_000.0)] {
            let limit = Limit::Tokens { rate, burst };
            println!("{told:?} {limit:?}: {:.3?}", figures(limit, told));
        }
    }
}

#[track_caller]
fn holds(limit: Limit, told: Told, least_share: f64, most_refusals: f64) {
    let [mean, worst] = figures(limit, told);
    let holds = mean.share >= least_share && worst.refusals <= most_refusals;
    assert!(holds, "{limit:?} {told:?}: {mean:?}, at worst {worst:?}");
}

#[test]
fn a_bucket_is_used_up_and_hardly_ever_refuses() {
    for told in [Told::Exactly, Told::InWholeSeconds, Told::Nothing] {
        holds(
            Limit::Bucket {
                rate: 1.0,
                burst: 3.0,
            },
            told,
            0.98,
            0.12,
        );
        holds(
            Limit::Bucket {
                rate: 10.0,
                burst: 10.0,
            },
            told,
            0.97,
            0.12,
        );
        holds(
            Limit::Bucket {
                rate: 50.0,
                burst: 100.0,
            },
            told,
            0.97,
            0.12,
        );
        holds(
            Limit::Tokens {
                rate: 1000.0,
                burst: 3000.0,
            },
            told,
            0.95,
            0.3,
        );
    }
}

#[test]
fn an_upstream_that_saves_nothing_up_is_used_nearly_as_far() {
    for told in [Told::Exactly, Told::Nothing] {
        holds(
            Limit::Bucket {
                rate: 1.0,
                burst: 1.0,
            },
            told,
            0.9,
            0.12,
        );
        holds(
            Limit::Bucket {
                rate: 10.0,
                burst: 1.0,
            },
            told,
            0.9,
            0.12,
        );
        holds(Limit::AtOnce { most: 1 }, told, 0.9, 0.12);
        holds(Limit::AtOnce { most: 4 }, told, 0.9, 0.12);
    }
}

#[test]
fn windows_are_used_up() {
    for told in [Told::Exactly, Told::InWholeSeconds, Told::Nothing] {
        holds(
            Limit::Window {
                most: 20,
                seconds: 2.0,
            },
            told,
            0.95,
            0.12,
        );
        holds(
            Limit::Window {
                most: 3,
                seconds: 3.0,
            },
            told,
            0.95,
            0.12,
        );
    }
    holds(
        Limit::Window {
            most: 60,
            seconds: 60.0,
        },
        Told::Exactly,
        0.95,
        0.12,
    );
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn whatever_the_bucket_it_is_used_up_and_refuses_less_than_one_in_three(
        rate in 0.5..40.0_f64, burst in 2.0..60.0_f64, told in any::<bool>(), seed in any::<u64>(),
    ) {
        let told = if told { Told::Exactly } else { Told::Nothing };
        let figures = run(Limit::Bucket { rate, burst }, told, seed >> 1, 60.0, 180.0);
        prop_assert!(figures.share >= 0.93 && figures.refusals <= 0.3, "{figures:?}");
    }
}

fn seconds_of(at: Timestamp) -> f64 {
    (at - BEGIN).as_seconds_f64()
}

#[test]
fn a_start_that_was_taken_back_was_never_there() {
    let mut paces = Paces::default();
    paces.refuse("m".into(), None, None, at(0.0));
    let due = paces.due("m");
    let start = paces.start("m", at(1.0)).unwrap();
    assert!(paces.due("m") > due);
    paces.take_back("m", start);
    assert_eq!(paces.due("m"), due);
    assert_eq!(paces.start("other", at(1.0)), None);
}

#[test]
fn refusals_of_one_moment_count_once() {
    let mut paces = Paces::default();
    paces.refuse("m".into(), None, None, at(0.0));
    for n in 0..4 {
        paces.start("m", at(1.0 + f64::from(n)));
    }
    let before = paces.start("m", at(5.0));
    paces.refuse("m".into(), before, None, at(5.1));
    let once = paces.models["m"];
    for _ in 0..3 {
        paces.refuse("m".into(), None, None, at(5.1));
    }
    assert_eq!(paces.models["m"], once);
}

#[test]
fn what_is_held_is_held_until_then_and_two_minutes_at_most() {
    let mut paces = Paces::default();
    paces.hold("m".into(), at(30.0), at(0.0));
    paces.hold("n".into(), at(3000.0), at(0.0));
    assert_eq!(paces.due("m").map(seconds_of), Some(30.0));
    assert_eq!(paces.due("n").map(seconds_of), Some(120.0));
    paces.forget_idle(at(30.0));
    assert_eq!(paces.due("m"), None);
    paces.forget_idle(at(120.0));
    assert!(paces.is_empty());
}

#[test]
fn a_pace_that_holds_nobody_up_is_forgotten_after_a_minute() {
    let mut paces = Paces::default();
    paces.refuse("m".into(), None, None, at(0.0));
    for second in 1..=70 {
        paces.forget_idle(at(f64::from(second)));
        assert!(!paces.is_empty() || second >= 60, "{second}");
    }
    assert!(paces.is_empty());
}

#[test]
fn a_refusal_keeps_a_pace_for_another_minute() {
    let mut paces = Paces::default();
    paces.refuse("m".into(), None, None, at(0.0));
    // Late: it was not held up.
    let start = paces.start("m", at(50.0));
    paces.refuse("m".into(), start, None, at(50.1));
    for (second, is_kept) in [(70.0, true), (110.0, true), (110.1, false)] {
        let mut paces = Paces {
            models: paces.models.clone(),
            next_sweep: None,
        };
        paces.forget_idle(at(second));
        assert_eq!(!paces.is_empty(), is_kept, "{second}");
    }
}

#[test]
fn invented_models_leave_a_bounded_number_of_paces() {
    let mut paces = Paces::default();
    for n in 0..2_000 {
        paces.refuse(
            n.to_string().as_str().into(),
            None,
            None,
            at(f64::from(n) / 100.0),
        );
        assert!(paces.models.len() <= MOST_MODELS);
    }
    assert!(paces.due("1999").is_some());
}

const RUNS: u64 = 10;

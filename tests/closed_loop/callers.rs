//! The callers: how they call, and what they note of each call.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

use parking_lot::Mutex;

use super::random::draw;
use super::sides::{Side, counted};
use super::timeline::Timeline;
use super::upstream::Upstream;

/// How calls come.
#[derive(Clone, Copy, Debug)]
pub enum Load {
    /// Each of so many threads calls again as soon as it has its answer.
    Closed { threads: usize },
    /// So many calls a second, at times drawn at random; so many threads can be under way at once.
    Open { rate: f64, threads: usize },
    /// Each of so many threads makes so many calls; the first of them begins a tenth of a second before the others.
    Counted { threads: usize, calls: usize },
}

/// What a caller saw of one call.
#[derive(Clone, Copy, Debug)]
pub struct Call {
    pub began: Duration,
    pub ended: Duration,
    pub served: bool,
    pub attempts: u32,
    /// How long the answer took that served.
    pub took: Duration,
    /// It failed in a moment at which a key would have served that nobody was told to leave alone.
    pub failed_beside_ready: bool,
}

/// Runs the load until `end`, in virtual time.
pub fn run(
    timeline: &Timeline,
    load: Load,
    side: &dyn Side,
    upstream: &Upstream,
    tokens: (u64, u64),
    end: Duration,
) -> Vec<Call> {
    let arrivals = match load {
        Load::Open { rate, .. } => arrivals(rate, end),
        Load::Closed { .. } | Load::Counted { .. } => Vec::new(),
    };
    let (next, running) = (AtomicUsize::new(0), AtomicUsize::new(load.threads()));
    let calls = Mutex::new(Vec::new());
    thread::scope(|scope| {
        for caller in 0..load.threads() {
            let (arrivals, next, running, calls) = (&arrivals, &next, &running, &calls);
            scope.spawn(move || {
                let _ended = Ended(running);
                timeline.enter();
                let mut own = Vec::new();
                let mut made = 0;
                while let Some(at) = load.next_call(caller, made, arrivals, next) {
                    timeline.sleep_until(at);
                    if timeline.passed() >= end {
                        break;
                    }
                    let drawn = draw("tokens", (caller << 32 | made) as u64);
                    let tokens = tokens.0 + (drawn * (tokens.1 - tokens.0) as f64) as u64;
                    own.push(one_call(timeline, side, upstream, caller, tokens));
                    made += 1;
                }
                calls.lock().append(&mut own);
            });
        }
        timeline.drive(load.threads(), || running.load(Ordering::SeqCst) == 0);
    });
    let mut calls = calls.into_inner();
    calls.sort_by_key(|call| call.ended);
    calls
}

/// Counts a thread out, also where it panics.
struct Ended<'a>(&'a AtomicUsize);

impl Drop for Ended<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::SeqCst);
    }
}

fn one_call(
    timeline: &Timeline,
    side: &dyn Side,
    upstream: &Upstream,
    caller: usize,
    tokens: u64,
) -> Call {
    let began = timeline.passed();
    let (served, attempts, took) = counted(|| side.call(caller, tokens));
    Call {
        began,
        ended: timeline.passed(),
        served,
        attempts,
        took,
        failed_beside_ready: !served && upstream.is_any_ready(tokens),
    }
}

impl Load {
    pub fn threads(self) -> usize {
        match self {
            Self::Closed { threads }
            | Self::Open { threads, .. }
            | Self::Counted { threads, .. } => threads,
        }
    }

    /// How many calls a second there would be if none had to wait.
    pub fn demand(self, takes: Duration) -> f64 {
        match self {
            Self::Open { rate, .. } => rate,
            Self::Closed { threads } | Self::Counted { threads, .. } => {
                threads as f64 / takes.as_secs_f64()
            }
        }
    }

    /// When a caller that has made so many calls makes its next one.
    fn next_call(
        self,
        caller: usize,
        made: usize,
        arrivals: &[Duration],
        next: &AtomicUsize,
    ) -> Option<Duration> {
        let tenth = Duration::from_millis(100);
        match self {
            Self::Closed { .. } if made == 0 => Some(tenth.mul_f64(draw("start", caller as u64))),
            Self::Closed { .. } => Some(Duration::ZERO),
            Self::Open { .. } => arrivals.get(next.fetch_add(1, Ordering::SeqCst)).copied(),
            Self::Counted { calls, .. } if made == calls => None,
            Self::Counted { .. } => Some(if caller == 0 { Duration::ZERO } else { tenth }),
        }
    }
}

/// Times with exponential gaps.
fn arrivals(rate: f64, end: Duration) -> Vec<Duration> {
    let gaps = (0..).map(|number| -(1.0 - draw("gap", number)).ln() / rate);
    let mut at = 0.0;
    gaps.map(|gap| {
        at += gap;
        Duration::from_secs_f64(at)
    })
    .take_while(|at| *at < end)
    .collect()
}

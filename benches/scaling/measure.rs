//! How a figure is taken: medians of several rounds, and the machine's own units in between.

use std::alloc::System;
use std::fmt::Write as _;
use std::hint::black_box;
use std::time::Instant;

use parking_lot::Mutex;
use stats_alloc::{INSTRUMENTED_SYSTEM, Region, StatsAlloc};

#[global_allocator]
pub(crate) static ALLOCATOR: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

/// How much is done for a figure.
pub(crate) struct Effort {
    pub(crate) rounds: usize,
    pub(crate) per_round: u32,
}

/// One figure, with the units of the same rounds.
pub(crate) struct Figure {
    pub(crate) nanos: f64,
    pub(crate) mutex: f64,
    pub(crate) channel: f64,
    /// The median of what each round gave.
    pub(crate) in_mutex: f64,
    /// Allocations and reallocations for each time.
    pub(crate) allocs: f64,
}

impl Effort {
    /// What `work` costs.
    pub(crate) fn measure(&self, mut work: impl FnMut()) -> Figure {
        // What is made once is made now.
        timed(self.per_round / 4, &mut work);
        let region = Region::new(ALLOCATOR);
        timed(COUNTED, &mut work);
        let change = region.change();
        let allocs = change.allocations + change.reallocations;
        let rounds: Vec<[f64; 4]> = (0..self.rounds)
            .map(|_| {
                let (mutex, channel) = units();
                let nanos = timed(self.per_round, &mut work);
                [nanos, mutex, channel, nanos / mutex]
            })
            .collect();
        let column = |n: usize| median(rounds.iter().map(|round| round[n]).collect());
        Figure {
            nanos: column(0),
            mutex: column(1),
            channel: column(2),
            in_mutex: column(3),
            allocs: f64::from(u32::try_from(allocs).unwrap()) / f64::from(COUNTED),
        }
    }

    /// The median of what `once` says, and the units beside it.
    pub(crate) fn collect(&self, rounds: usize, mut once: impl FnMut() -> f64) -> Figure {
        let figures: Vec<f64> = (0..rounds).map(|_| once()).collect();
        let units: Vec<(f64, f64)> = (0..self.rounds).map(|_| units()).collect();
        let nanos = median(figures);
        let mutex = median(units.iter().map(|(mutex, _)| *mutex).collect());
        Figure {
            nanos,
            mutex,
            channel: median(units.iter().map(|(_, channel)| *channel).collect()),
            in_mutex: nanos / mutex,
            allocs: f64::NAN,
        }
    }
}

/// An uncontended lock and unlock of a mutex, and a message through a channel on one thread.
fn units() -> (f64, f64) {
    let mutex = Mutex::new(0_u64);
    let lock = timed(10_000, || *black_box(&mutex).lock() += 1);
    let (sender, receiver) = crossbeam_channel::bounded(1);
    let hop = timed(10_000, || {
        sender.send(black_box(1_u64)).unwrap();
        black_box(receiver.recv().unwrap());
    });
    (lock, hop)
}

/// Nanoseconds for each time.
pub(crate) fn timed(times: u32, mut work: impl FnMut()) -> f64 {
    let start = Instant::now();
    for _ in 0..times {
        work();
    }
    start.elapsed().as_secs_f64() * 1e9 / f64::from(times)
}

pub(crate) fn median(mut figures: Vec<f64>) -> f64 {
    figures.sort_unstable_by(f64::total_cmp);
    figures[figures.len() / 2]
}

/// One line of JSON.
pub(crate) struct Line(String);

impl Line {
    pub(crate) fn of(bench: &str) -> Self {
        Self(format!(r#"{{"bench":"{bench}""#))
    }

    pub(crate) fn text(mut self, name: &str, value: &str) -> Self {
        let _ = write!(self.0, r#","{name}":"{value}""#);
        self
    }

    pub(crate) fn number(mut self, name: &str, value: f64) -> Self {
        let _ = write!(self.0, r#","{name}":{value:.1}"#);
        self
    }

    pub(crate) fn count(mut self, name: &str, value: usize) -> Self {
        let _ = write!(self.0, r#","{name}":{value}"#);
        self
    }

    pub(crate) fn figure(self, figure: &Figure) -> Self {
        let line = self
            .number("ns", figure.nanos)
            .number("mutex_ns", figure.mutex)
            .number("channel_ns", figure.channel)
            .number("in_mutex", figure.in_mutex);
        if figure.allocs.is_nan() {
            line
        } else {
            line.number("allocs", figure.allocs)
        }
    }

    pub(crate) fn print(self) {
        println!("{}}}", self.0);
    }
}

const COUNTED: u32 = 1_000;

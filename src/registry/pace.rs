//! Learnt rate limits (client-side rate limiting): the rate that an upstream allows a credential for a model. Pure.
//!
//! A refusal tells that the upstream's bucket, or window, is empty at that moment. So between two refusals exactly as many starts were
//! granted as it allows in that time: their number over the time is the rate. Until the first such measure the starts after a refusal
//! come ever faster (a slow start). From there on the measured rate grows with every start, by a part that is the smaller, the more starts
//! the measure rests on, until the next refusal measures it anew. Where no refusal comes for long, it grows ever faster.
//!
//! Times are of the even clock that [`Timeline::ahead`](super::timeline::Timeline::ahead) speaks of.

use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;

use super::FastMap;
use crate::clock::{Timestamp, later};

/// The paces of a credential, or of all that share a limit, by model.
#[derive(Debug, Default)]
pub(super) struct Paces {
    models: FastMap<Arc<str>, Pace>,
    /// When it is looked next for those that may be forgotten.
    next_sweep: Option<Timestamp>,
}

/// Shared by the credentials of a group, under the registry's lock.
pub(super) type SharedPaces = Arc<Mutex<Paces>>;

/// A start that was granted under a pace.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Start {
    at: Timestamp,
    /// The pace as it was before.
    before: Pace,
}

/// How fast a credential may be used for a model.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Pace {
    /// When the next start is due.
    due: Timestamp,
    /// When it last held a start up: without that it is forgotten.
    binding: Timestamp,
    /// `None`: it was never refused, but had to wait.
    learnt: Option<Learnt>,
}

#[derive(Clone, Copy, Debug, PartialEq)]
struct Learnt {
    /// When it was last refused, of starts that knew of the refusal before.
    refused: Timestamp,
    /// The starts since.
    starts: u32,
    /// How much of the time since then was idle, in seconds.
    idle: f64,
    /// How often the first start after a refusal was refused, too, since one was not.
    misses: u32,
    rate: Rate,
}

/// Starts for seconds.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Rate {
    /// Not measured yet: the seconds between two starts, as they have shrunk at a time.
    Guessed(f64, Timestamp),
    Measured(Measure),
}

#[derive(Clone, Copy, Debug, PartialEq)]
struct Measure {
    /// The starts of the last cycles and their seconds, the latest counting most.
    starts: f64,
    seconds: f64,
    /// By how much the next cycle begins above that. Where the upstream saves nothing up for a later burst, the rate just before a refusal
    /// is the one that it allows; where it does, the mean is.
    lift: f64,
    /// How many starts the wait after a refusal costs.
    cost: f64,
}

impl Paces {
    pub(super) fn is_empty(&self) -> bool {
        self.models.is_empty()
    }

    /// When the next start for a model is due, if it has a pace.
    pub(super) fn due(&self, model: &str) -> Option<Timestamp> {
        Some(self.models.get(model)?.due)
    }

    /// How many starts a second a model is found to be allowed, where a refusal has taught that.
    pub(super) fn rate(&self, model: &str) -> Option<f64> {
        let learnt = self.models.get(model)?.learnt?;
        Some(1.0 / learnt.gap().max(SHORTEST))
    }

    /// Counts a start for a model, if it has a pace.
    pub(super) fn start(&mut self, model: &str, now: Timestamp) -> Option<Start> {
        let pace = self.models.get_mut(model)?;
        let before = *pace;
        pace.start(now);
        Some(Start { at: now, before })
    }

    /// Nothing was sent: as if there had been no start.
    pub(super) fn take_back(&mut self, model: &str, start: Start) {
        if let Some(pace) = self.models.get_mut(model) {
            pace.take_back(start);
        }
    }

    /// A start was refused for its rate, with a retry hint.
    pub(super) fn refuse(
        &mut self,
        model: Arc<str>,
        start: Option<Start>,
        told: Option<Duration>,
        now: Timestamp,
    ) {
        self.make_room(&model, now);
        let pace = self.models.entry(model).or_insert_with(|| Pace::at(now));
        pace.refuse(start, told, now);
    }

    /// An answer said that nothing is left until then.
    pub(super) fn hold(&mut self, model: Arc<str>, end: Timestamp, now: Timestamp) {
        self.make_room(&model, now);
        let pace = self.models.entry(model).or_insert_with(|| Pace::at(now));
        pace.due = pace.due.max(end.min(later(now, LONGEST)));
        pace.binding = pace.binding.max(now);
    }

    /// Forgets the paces that have delayed no start for a while.
    pub(super) fn forget_idle(&mut self, now: Timestamp) {
        if self.next_sweep.is_none_or(|at| at <= now) {
            self.models.retain(|_, pace| !pace.is_over(now));
            self.next_sweep = Some(later(now, SWEEP));
        }
    }

    /// Callers may invent model names: where there are too many, the pace that has delayed no start for the longest time is forgotten.
    fn make_room(&mut self, model: &str, now: Timestamp) {
        if self.models.len() < MOST_MODELS || self.models.contains_key(model) {
            return;
        }
        self.models.retain(|_, pace| !pace.is_over(now));
        if self.models.len() >= MOST_MODELS {
            let oldest = self.models.iter().min_by_key(|(_, pace)| pace.binding);
            if let Some(oldest) = oldest.map(|(model, _)| Arc::clone(model)) {
                self.models.remove(&oldest);
            }
        }
    }
}

impl Pace {
    fn at(now: Timestamp) -> Self {
        Self {
            due: now,
            binding: now,
            learnt: None,
        }
    }

    fn start(&mut self, now: Timestamp) {
        let Some(learnt) = &mut self.learnt else {
            return;
        };
        learnt.start(now);
        let gap = learnt.gap();
        let late = (now - self.due).as_seconds_f64();
        if late <= gap {
            self.binding = now;
        } else {
            learnt.idle += late - gap;
        }
        // What was late does not slow down those that follow.
        let next = later(now, seconds(gap - late.clamp(0.0, LATENESS * gap)));
        self.due = self.due.max(next);
    }

    fn take_back(&mut self, start: Start) {
        let Some(learnt) = &mut self.learnt else {
            return;
        };
        if learnt.refused > start.at {
            return;
        }
        learnt.starts = learnt.starts.saturating_sub(1);
        let is_last = start.before.learnt.is_some_and(|before| {
            before.refused == learnt.refused && before.starts == learnt.starts
        });
        if is_last {
            *self = start.before;
        }
    }

    fn refuse(&mut self, start: Option<Start>, told: Option<Duration>, now: Timestamp) {
        let wait = told.unwrap_or_default().min(LONGEST);
        match &mut self.learnt {
            None => {
                let first = told.map_or(FIRST, |told| told.as_secs_f64().clamp(SHORTEST, FIRST));
                self.learnt = Some(Learnt {
                    refused: now,
                    starts: 0,
                    idle: 0.0,
                    misses: 0,
                    rate: Rate::Guessed(first, now),
                });
            }
            Some(learnt) if start.is_none_or(|start| start.at < learnt.refused) => {
                // It began before the last refusal was known, and says the same.
                if start.is_some() {
                    learnt.was_counted_too_often();
                }
            }
            Some(learnt) => learnt.refuse(wait, now),
        }
        let gap = self
            .learnt
            .map_or(0.0, |learnt| learnt.gap_after_refusal(told.is_some()));
        self.due = self.due.max(later(now, wait.max(seconds(gap))));
        self.binding = now;
    }

    /// Whether the pace has delayed no start for a while.
    fn is_over(&self, now: Timestamp) -> bool {
        let last = match self.learnt {
            Some(_) => later(self.binding, QUIET),
            None => self.due,
        };
        self.due.max(last) <= now
    }
}

impl Learnt {
    fn start(&mut self, now: Timestamp) {
        self.starts = self.starts.saturating_add(1);
        if let Rate::Guessed(gap, at) = &mut self.rate
            && now >= later(*at, ROUND_TRIP)
        {
            *gap /= 2.0;
            *at = now;
        }
    }

    /// The seconds between two starts.
    fn gap(&self) -> f64 {
        match self.rate {
            Rate::Guessed(gap, _) => gap,
            Rate::Measured(measure) => measure.gap(self.starts),
        }
    }

    /// The seconds until the first start after a refusal, at least: more, where the last such start was refused, too.
    fn gap_after_refusal(&self, told: bool) -> f64 {
        let gap = if told { self.gap() * TRUST } else { self.gap() };
        let doublings = f64::from(self.misses.min(MOST_MISSES));
        (gap * doublings.exp2()).min(self.gap().max(LONGEST_GAP))
    }

    fn refuse(&mut self, wait: Duration, now: Timestamp) {
        let granted = self.starts.saturating_sub(1);
        if granted == 0 {
            // The upstream is as empty as it was: this cycle goes on.
            self.misses = self.misses.saturating_add(1);
            self.starts = 0;
            return;
        }
        let highest = 1.0 / self.gap();
        let passed = (now - self.refused).as_seconds_f64() - self.idle;
        let (before, during) = match self.rate {
            Rate::Guessed(..) => (0.0, 0.0),
            Rate::Measured(Measure {
                starts, seconds, ..
            }) => (starts / 2.0, seconds / 2.0),
        };
        let starts = (before + f64::from(granted)).clamp(0.5, MOST_STARTS);
        let seconds = (during + passed).max(SHORTEST);
        let mean = starts / seconds;
        self.rate = Rate::Measured(Measure {
            starts,
            seconds,
            lift: (LIFT * (highest / mean - 1.0))
                .clamp(0.0, (starts * LIFT_PER_START).min(MOST_LIFT)),
            cost: (mean * wait.as_secs_f64().min(1.0)).clamp(1.0, MOST_COST),
        });
        self.refused = now;
        self.starts = 0;
        self.idle = 0.0;
        self.misses = 0;
    }

    /// A start of the cycle that was measured last was refused, too.
    fn was_counted_too_often(&mut self) {
        if let Rate::Measured(measure) = &mut self.rate {
            measure.starts = (measure.starts - 1.0).max(0.5);
        }
    }
}

impl Measure {
    /// The seconds between two starts, after so many.
    fn gap(self, since: u32) -> f64 {
        let Self {
            starts,
            seconds,
            lift,
            cost,
        } = self;
        let since = f64::from(since);
        let least = LEAST_GROWTH / (cost * cost);
        let part = (GROWTH / (starts * starts)).clamp(least, MOST_GROWTH);
        // Twice as many as it takes until the next refusal where the rate is as measured.
        let soon = 2.0 * (2.0 / part).sqrt();
        let doublings = ((since - soon).max(0.0) / soon).min(32.0);
        let grown = (1.0 + lift) * (1.0 + part * since) * doublings.exp2();
        seconds / starts / grown
    }
}

fn seconds(seconds: f64) -> Duration {
    Duration::try_from_secs_f64(seconds).unwrap_or_default()
}

/// Seconds between the first starts after the first refusal, where no smaller hint is given.
const FIRST: f64 = 1.0;

/// No rate is higher than so many seconds for a start.
const SHORTEST: f64 = 1e-6;

/// A slow start doubles its rate once in that time: what it has led to is known by then.
const ROUND_TRIP: Duration = Duration::from_millis(100);

/// Part of a gap by which a start may be late without those that follow being late, too.
const LATENESS: f64 = 0.5;

/// By what part the rate grows with a start, divided by the square of the starts that it was measured with.
const GROWTH: f64 = 1.5;
/// Divided by the square of what a refusal costs.
const LEAST_GROWTH: f64 = 1.0 / 512.0;
const MOST_GROWTH: f64 = 1.0 / 4.0;

/// How far the next cycle begins from the mean rate of the last ones to the highest of the last one.
const LIFT: f64 = 0.5;
/// The fewer starts a mean rests on, the less it is left.
const LIFT_PER_START: f64 = 1.0 / 64.0;
const MOST_LIFT: f64 = 0.5;

const MOST_STARTS: f64 = 1e6;
const MOST_COST: f64 = 100.0;
const MOST_MISSES: u32 = 16;

/// The part of a gap that is kept where the upstream tells that less will do.
const TRUST: f64 = 1.0 / 8.0;

/// Seconds until a start after refusals in a row, where the upstream tells no time and the rate is no lower.
const LONGEST_GAP: f64 = 2.0;

/// No pace holds longer than that because of a hint: what lasts longer is a cooldown.
const LONGEST: Duration = Duration::from_secs(120);

/// A pace that has delayed no start for so long is forgotten.
const QUIET: Duration = Duration::from_secs(60);
const SWEEP: Duration = Duration::from_secs(10);

/// Models whose pace is kept, for each credential or group.
const MOST_MODELS: usize = 256;

#[cfg(test)]
mod tests;

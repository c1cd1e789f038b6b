//! [`Tally`]: counts what becomes of a credential's attempts, model by model, without a lock that others share.
//!
//! A credential has a line for each model. The first few models get theirs immediately, each other one when it has served: callers may
//! invent names. What has no line is counted in the line of the others. A line is never taken away, so that an attempt finds the one that it began
//! in by a number.

use std::array;
use std::hash::BuildHasher;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use parking_lot::Mutex;

use super::histogram::{BUCKETS, bucket, nanos};
use super::{Counts, Histogram, Price};
use crate::clock::Timestamp;
use crate::limits::RateLimits;
use crate::observe::{Outcome, OutcomeKind};

/// What is counted of a credential, as long as it is registered under its id.
#[derive(Debug, Default)]
pub(crate) struct Tally {
    /// Of the first models, in the order in which they came. Their names are here, too: a search looks at no line but its own.
    few: [OnceLock<(Arc<str>, Box<Line>)>; FEW],
    /// Of further models, each at its hash or behind it.
    many: OnceLock<Box<[OnceLock<Box<Line>>; SLOTS]>>,
    others: OnceLock<Box<Line>>,
    admission: Mutex<Admission>,
    refreshed: AtomicU64,
    refresh_failed: AtomicU64,
}

/// The line that an attempt is counted in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct LineNumber(u8);

/// How an attempt ended.
#[derive(Debug)]
pub(crate) struct Ended<'a> {
    pub(crate) outcome: &'a Outcome<'a>,
    /// What the upstream said of its limits.
    pub(crate) limits: Option<&'a Arc<RateLimits>>,
    pub(crate) price: Price,
    pub(crate) at: Timestamp,
}

/// What a credential's line shows.
#[derive(Debug)]
pub(crate) struct LineReport {
    /// `None`: all that have no line.
    pub(crate) model: Option<Arc<str>>,
    pub(crate) counts: Counts,
    pub(crate) limits: Option<Seen>,
}

/// What an answer said of its limits, and when.
pub(crate) type Seen = (Arc<RateLimits>, Timestamp);

/// Held while a line is made or the credential goes.
#[derive(Debug, Default)]
struct Admission {
    many: usize,
    /// The credential was removed: its lines count there from then on.
    heir: Option<Arc<Line>>,
}

/// What is counted of one model. What every attempt touches comes first, on one cache line.
#[derive(Debug, Default)]
#[repr(C, align(64))]
pub(crate) struct Line {
    begun: AtomicU64,
    model: Arc<str>,
    ended: Mutex<Ends>,
}

#[derive(Debug, Default)]
#[repr(C)]
struct Ends {
    heir: Option<Box<Heir>>,
    plain: PlainSuccesses,
    /// All others, and the tokens of all.
    counts: Counts,
    limits: Option<Seen>,
}

/// Where to count from now on.
#[derive(Debug)]
struct Heir {
    line: Arc<Line>,
    /// How many of those that have begun are known there.
    known: u64,
}

/// Attempts that were served, and whose first byte came with their last.
#[derive(Clone, Copy, Debug, Default)]
#[repr(C)]
struct PlainSuccesses {
    first_attempts: u64,
    nanos: u64,
    buckets: [u64; BUCKETS],
}

impl Tally {
    /// An attempt for a model begins.
    #[inline]
    pub(crate) fn begin(&self, model: &str) -> LineNumber {
        let number = self.line_of(model);
        self.line(number).begun.fetch_add(1, Ordering::Relaxed);
        number
    }

    /// It has ended.
    #[inline]
    pub(crate) fn end(&self, number: LineNumber, ended: &Ended<'_>) {
        self.line(number).end(ended);
        if number == OTHERS && ended.outcome.is_success() {
            self.admit(ended.outcome.model);
        }
    }

    /// A refresh has ended: with new tokens, or without.
    pub(crate) fn refreshed(&self, with_tokens: bool) {
        let counter = if with_tokens {
            &self.refreshed
        } else {
            &self.refresh_failed
        };
        counter.fetch_add(1, Ordering::Relaxed);
    }

    /// Refreshes that ended with new tokens, and without.
    pub(crate) fn refreshes(&self) -> (u64, u64) {
        let [succeeded, failed] =
            [&self.refreshed, &self.refresh_failed].map(|counter| counter.load(Ordering::Relaxed));
        (succeeded, failed)
    }

    /// What the lines show, in the order of models; that of the others last.
    pub(crate) fn report(&self) -> Vec<LineReport> {
        let mut reports: Vec<_> = self
            .lines()
            .map(|line| line.report(Some(Arc::clone(&line.model))))
            .collect();
        reports.sort_unstable_by(|one, other| one.model.cmp(&other.model));
        reports.extend(self.others.get().map(|line| line.report(None)));
        reports
    }

    /// The credential was removed: what was counted of it, and what is still under way, goes to `heir`.
    pub(crate) fn bequeath(&self, heir: &Arc<Line>) {
        let mut admission = self.admission.lock();
        admission.heir = Some(Arc::clone(heir));
        for line in self.lines().chain(self.others.get()) {
            line.bequeath(heir);
        }
    }

    /// The lines of models.
    fn lines(&self) -> impl Iterator<Item = &Box<Line>> {
        let few = self.few.iter().filter_map(OnceLock::get);
        let many = self.many.get().into_iter().flat_map(|slots| slots.iter());
        few.map(|(_, line)| line)
            .chain(many.filter_map(OnceLock::get))
    }

    #[inline]
    fn line_of(&self, model: &str) -> LineNumber {
        for (number, place) in (0..).zip(&self.few) {
            let (name, _) = place.get().unwrap_or_else(|| {
                let admission = self.admission.lock();
                place.get_or_init(|| {
                    let line = Line::of(model, &admission);
                    (Arc::clone(&line.model), line)
                })
            });
            if **name == *model {
                return LineNumber(number);
            }
        }
        self.many
            .get()
            .and_then(|slots| find(slots, model).ok())
            .unwrap_or(OTHERS)
    }

    /// A model without a line has served.
    fn admit(&self, model: &str) {
        let mut admission = self.admission.lock();
        if admission.many == MANY {
            return;
        }
        let slots = self
            .many
            .get_or_init(|| Box::new(array::from_fn(|_| OnceLock::new())));
        if let Err(place) = find(slots, model) {
            place.get_or_init(|| Line::of(model, &admission));
            admission.many += 1;
        }
    }

    #[inline]
    fn line(&self, number: LineNumber) -> &Line {
        let place = usize::from(number.0);
        let own = match place.checked_sub(FEW) {
            None => self.few[place].get().map(|(_, line)| line),
            Some(slot) => self.many.get().and_then(|slots| slots.get(slot)?.get()),
        };
        own.unwrap_or_else(|| {
            self.others.get_or_init(|| {
                let admission = self.admission.lock();
                Line::of("", &admission)
            })
        })
    }
}

/// The number of a model's line, or the place where it would be.
fn find<'s>(
    slots: &'s [OnceLock<Box<Line>>; SLOTS],
    model: &str,
) -> Result<LineNumber, &'s OnceLock<Box<Line>>> {
    static HASHES: OnceLock<foldhash::fast::RandomState> = OnceLock::new();
    let hash = HASHES.get_or_init(Default::default).hash_one(model);
    let first = usize::try_from(hash % SLOTS as u64).unwrap_or_default();
    let mut place = first;
    // There are more places than lines: one of them is empty.
    loop {
        match slots[place].get() {
            None => return Err(&slots[place]),
            Some(line) if *line.model == *model => {
                return Ok(LineNumber(u8::try_from(FEW + place).unwrap_or(OTHERS.0)));
            }
            Some(_) => place = (place + 1) % SLOTS,
        }
    }
}

/// A model's name, shared with lines of other credentials where that is easily found: a name that all of them compare stays in the cache.
fn shared(model: &str) -> Arc<str> {
    static LATEST: Mutex<[Option<Arc<str>>; 16]> = Mutex::new([const { None }; 16]);
    let mut latest = LATEST.lock();
    let place = &mut latest[model.len() % 16];
    match place {
        Some(known) if **known == *model => Arc::clone(known),
        _ => Arc::clone(place.insert(model.into())),
    }
}

impl Line {
    fn of(model: &str, admission: &Admission) -> Box<Self> {
        let heir = admission.heir.as_ref();
        Box::new(Self {
            begun: AtomicU64::new(0),
            model: shared(model),
            ended: Mutex::new(Ends {
                heir: heir.map(|heir| Box::new(Heir::of(heir, 0))),
                ..Ends::default()
            }),
        })
    }

    /// Counts an attempt that began elsewhere.
    pub(crate) fn note(&self, ended: &Ended<'_>) {
        self.begun.fetch_add(1, Ordering::Relaxed);
        self.end(ended);
    }

    #[inline]
    fn end(&self, ended: &Ended<'_>) {
        let mut ends = self.ended.lock();
        let Some(heir) = &mut ends.heir else {
            ends.add(ended);
            if let Some(limits) = ended.limits {
                ends.limits = Some((Arc::clone(limits), ended.at));
            }
            return;
        };
        let begun = self.begun.load(Ordering::Relaxed);
        let news = begun.saturating_sub(heir.known);
        heir.known = begun;
        heir.line.begun.fetch_add(news, Ordering::Relaxed);
        heir.line.ended.lock().add(ended);
    }

    fn bequeath(&self, heir: &Arc<Self>) {
        let mut ends = self.ended.lock();
        if ends.heir.is_some() {
            return;
        }
        let begun = self.begun.load(Ordering::Relaxed);
        heir.begun.fetch_add(begun, Ordering::Relaxed);
        let counts = ends.sum();
        *ends = Ends {
            heir: Some(Box::new(Heir::of(heir, begun))),
            ..Ends::default()
        };
        heir.ended.lock().counts += counts;
    }

    /// What it has counted. `model` is the one it is of.
    pub(crate) fn report(&self, model: Option<Arc<str>>) -> LineReport {
        let ends = self.ended.lock();
        let mut counts = ends.sum();
        let limits = ends.limits.clone();
        drop(ends);
        // Read last: no more have ended than had begun by then.
        let begun = self.begun.load(Ordering::Relaxed);
        counts.in_flight = begun.saturating_sub(counts.requests);
        LineReport {
            model,
            counts,
            limits,
        }
    }
}

impl Heir {
    fn of(line: &Arc<Line>, known: u64) -> Self {
        Self {
            line: Arc::clone(line),
            known,
        }
    }
}

impl Ends {
    #[inline]
    fn add(&mut self, ended: &Ended<'_>) {
        if !self.plain.add(ended.outcome) {
            self.counts.add(ended);
        }
        if let Some(usage) = ended.outcome.usage {
            self.counts.tokens += usage;
        }
        match ended.price {
            Price::None => {}
            Price::Unknown => self.counts.unpriced += 1,
            Price::Of(cost) => self.counts.cost += cost,
        }
    }

    fn sum(&self) -> Counts {
        let mut sum = self.counts.clone();
        self.plain.put_into(&mut sum);
        sum
    }
}

impl PlainSuccesses {
    /// Whether it is one.
    #[inline]
    fn add(&mut self, outcome: &Outcome<'_>) -> bool {
        let is_plain = outcome.first_byte == Some(outcome.elapsed) && outcome.attempt > 0;
        if !is_plain || !outcome.is_success() {
            return false;
        }
        self.first_attempts += u64::from(outcome.attempt == 1);
        let nanos = nanos(outcome.elapsed);
        self.nanos = self.nanos.saturating_add(nanos);
        self.buckets[bucket(nanos)] += 1;
        true
    }

    fn put_into(&self, counts: &mut Counts) {
        let times = Histogram {
            buckets: self.buckets,
            sum: Duration::from_nanos(self.nanos),
        };
        let count = times.count();
        counts.requests += count;
        counts.succeeded += count;
        counts.calls += self.first_attempts;
        counts.first_byte.add(&times);
        counts.duration.add(&times);
    }
}

impl Counts {
    fn add(&mut self, ended: &Ended<'_>) {
        let outcome = ended.outcome;
        self.requests += 1;
        self.calls += u64::from(outcome.attempt == 1);
        match &outcome.kind {
            OutcomeKind::Success => self.succeeded += 1,
            OutcomeKind::Abandoned => self.abandoned += 1,
            OutcomeKind::Failure(_) => {
                *self
                    .failed
                    .entry(outcome.fault.unwrap_or_default())
                    .or_default() += 1;
            }
        }
        if let Some(took) = outcome.first_byte {
            self.first_byte.record(took);
        }
        // A program that reports an attempt of its own need not know how long it took.
        if outcome.attempt > 0 || !outcome.elapsed.is_zero() {
            self.duration.record(outcome.elapsed);
        }
    }
}

/// The models of a credential that get a line immediately.
const FEW: usize = 4;

/// The models beside those that get one when they have served.
const MANY: usize = 60;
const SLOTS: usize = 128;

/// The number of the line of all that have none.
const OTHERS: LineNumber = LineNumber(u8::MAX);

#[cfg(test)]
mod tests;

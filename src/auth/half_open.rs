//! The half-open state of a circuit breaker: how many requests may probe a credential after a cooldown.

use std::time::Duration;

use smallvec::SmallVec;

use super::{Auth, BreakerState};
use crate::clock::{Timestamp, earlier};
use crate::failure_kind::FailureKind;

/// The half-open state of one model, or of a credential as a whole: after a cooldown one probe at a time, then twice as many
/// with each success, until so many have succeeded that no more permits are needed. In memory only.
///
/// A probe that is under way until the end of its patience, and has not failed, counts as a success.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct HalfOpen {
    successes: u32,
    probes: SmallVec<[Probe; 1]>,
    /// What the cooldown was for.
    fault: FailureKind,
}

#[derive(Clone, Copy, Debug, PartialEq)]
struct Probe {
    number: u64,
    /// The end of its patience.
    until: Timestamp,
}

impl HalfOpen {
    /// Whether a request needs a permit, after this cooldown or after a success that has ended it.
    pub(crate) fn needs_permit(&self, cause: Option<BreakerState>) -> bool {
        let half_open = cause.map_or(self.successes > 0, |cause| cause.needs_permit());
        half_open && self.successes < ENOUGH
    }

    /// When the next probe may begin, if as many as may be are under way.
    pub(crate) fn full_until(&self) -> Option<Timestamp> {
        let full = self.successes < ENOUGH && self.probes.len() >= 1 << self.successes;
        let first = self.probes.iter().map(|probe| probe.until).min();
        first.filter(|_| full)
    }

    /// Whether no further probe may begin at `now`.
    pub(crate) fn is_full(&self, now: Timestamp) -> bool {
        self.full_until().is_some_and(|until| until > now)
    }

    /// How many probes are under way.
    #[cfg(test)]
    pub(crate) fn probes(&self) -> usize {
        self.probes.len()
    }

    /// What the cooldown was for that a success has ended.
    pub(crate) fn fault(&self) -> FailureKind {
        self.fault
    }

    /// A probe begins.
    pub(crate) fn begin(&mut self, number: u64, until: Timestamp, now: Timestamp) {
        let before = self.probes.len();
        self.probes.retain(|probe| probe.until > now);
        for _ in self.probes.len()..before {
            self.count();
        }
        if self.successes < ENOUGH {
            self.probes.push(Probe { number, until });
        }
    }

    /// A probe has ended, with any result. Whether it was one of these.
    pub(crate) fn end(&mut self, number: u64) -> bool {
        let before = self.probes.len();
        self.probes.retain(|probe| probe.number != number);
        self.probes.len() < before
    }

    /// A request has succeeded, and ends the cooldown of `cause`.
    pub(crate) fn succeed(&mut self, cause: Option<BreakerState>) {
        if !self.needs_permit(cause) {
            *self = Self::default();
            return;
        }
        self.fault = cause.map_or(self.fault, |cause| cause.fault);
        self.count();
        if self.successes >= ENOUGH {
            *self = Self::default();
        }
    }

    fn count(&mut self) {
        self.successes = self.successes.saturating_add(1);
    }

    /// The wall clock was set back.
    pub(crate) fn set_back(&mut self, by: Duration) {
        for probe in &mut self.probes {
            probe.until = earlier(probe.until, by);
        }
    }
}

impl Auth {
    /// Whether the credential is cooling down, or half-open, for every model.
    pub(crate) fn is_out_as_a_whole(&self) -> bool {
        self.outage.is_some() || self.outage_half_open != HalfOpen::default()
    }

    /// Whether the credential, or a model of it, is half-open after a success, or has probes under way.
    pub(crate) fn is_returning(&self) -> bool {
        let models = self.model_states.values().map(|state| &state.half_open);
        let mut all = models.chain([&self.half_open, &self.outage_half_open]);
        all.any(|half_open| *half_open != HalfOpen::default())
    }
}

/// After how many successes in a row no request needs a permit.
const ENOUGH: u32 = 3;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::later;
    use crate::failure_kind::CooldownSource;

    const START: Timestamp = time::macros::utc_datetime!(2025-01-01 00:00);

    fn at(seconds: u64) -> Timestamp {
        later(START, Duration::from_secs(seconds))
    }

    fn cause() -> BreakerState {
        BreakerState {
            fault: FailureKind::Transient,
            origin: CooldownSource::Guess,
            failures: 1,
            since: START,
            until: Some(START),
            told_until: None,
            probe_at: None,
            half_open: true,
            refused: None,
            setback: 1,
        }
    }

    /// How many more probes may begin.
    fn room(half_open: &HalfOpen, now: Timestamp) -> usize {
        let mut half_open = half_open.clone();
        (0..9)
            .take_while(|_| {
                let free = !half_open.is_full(now);
                half_open.begin(u64::MAX, at(1000), now);
                free
            })
            .count()
    }

    #[test]
    fn one_then_twice_as_many_with_each_success_then_all() {
        let mut half_open = HalfOpen::default();
        let mut cause = Some(cause());
        for allowed in [1, 2, 4] {
            assert_eq!(room(&half_open, START), allowed);
            half_open.begin(1, at(10), START);
            assert_eq!(room(&half_open, START), allowed - 1);
            assert!(half_open.needs_permit(cause));
            half_open.succeed(cause.take());
            half_open.end(1);
        }
        assert_eq!(half_open, HalfOpen::default());
        assert!(!half_open.needs_permit(None));
    }

    #[test]
    fn a_probe_under_way_for_its_patience_counts_as_a_success() {
        let mut half_open = HalfOpen::default();
        half_open.begin(1, at(10), START);
        assert_eq!(half_open.full_until(), Some(at(10)));
        assert_eq!(room(&half_open, at(10)), 2);
        half_open.begin(2, at(20), at(10));
        half_open.begin(3, at(20), at(10));
        assert!(!half_open.end(1), "its place is another's");
        assert!(half_open.is_full(at(10)));
        // Two more have lasted.
        assert_eq!(room(&half_open, at(20)), 9);
        half_open.begin(4, at(30), at(20));
        assert!(!half_open.needs_permit(Some(cause())) && half_open.probes.is_empty());
    }

    #[test]
    fn where_no_permit_is_needed_a_success_ends_it() {
        let mut half_open = HalfOpen::default();
        half_open.begin(1, at(10), START);
        half_open.succeed(Some(BreakerState {
            half_open: false,
            ..cause()
        }));
        assert_eq!(half_open, HalfOpen::default());
    }
}

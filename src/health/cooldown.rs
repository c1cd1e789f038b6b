//! Cooldown arithmetic: the curve (`policy::cooldown`), consecutive failures and the hint of a 429 become an excluded period. Pure.

use std::time::Duration;

use crate::auth::{Auth, BreakerState, HalfOpen, Identity};
use crate::clock::{Timestamp, later, until};
use crate::error::Error;
use crate::failure_kind::{CooldownSource, FailureKind};
use crate::limits::HintSource;
use crate::policy::{Cooldown, Probes, Verdict};

/// A failure to be reckoned with.
#[derive(Clone, Copy, Debug)]
pub(crate) struct FailureInput<'a> {
    fault: FailureKind,
    curve: Cooldown,
    /// The retry hint and its source, where the curve obeys hints.
    told: Option<(Duration, CooldownSource)>,
    /// Lengthens the block: a part of it, half a minute at most.
    jitter: f64,
    probes: Option<&'a Probes>,
    now: Timestamp,
    setback: u32,
    identity: Option<Identity>,
}

impl<'a> FailureInput<'a> {
    pub(crate) fn new(
        error: Option<&Error>,
        verdict: &Verdict,
        jitter: f64,
        probes: Option<&'a Probes>,
        now: Timestamp,
        auth: &Auth,
    ) -> Self {
        let hint = error.filter(|_| verdict.cooldown.obeys_hints());
        let told = hint.and_then(|error| Some((error.retry_after()?, origin(error))));
        Self {
            fault: verdict.fault,
            curve: verdict.cooldown,
            told,
            jitter,
            probes,
            now,
            setback: auth.setbacks,
            identity: verdict.fault.is_refusal().then(|| auth.identity()),
        }
    }

    /// Until when one more failure blocks, by itself. `shown` is the block that the record shows where it has no cause.
    ///
    /// Failures within one block count once in a row. The later end of the two counts, and what led to it.
    pub(crate) fn add_to(
        self,
        cause: &mut Option<BreakerState>,
        half_open: &mut HalfOpen,
        shown: Option<Timestamp>,
    ) -> Option<Timestamp> {
        let end = cause.map_or(shown, |cause| cause.until);
        let open = end.filter(|end| *end > self.now);
        let former = cause.unwrap_or(self.first());
        let failures = match open {
            Some(_) => former.failures.max(1),
            None if matches!(self.curve, Cooldown::Off) => former.failures,
            None => former.failures.saturating_add(1),
        };
        let hint = self.told.map(|(hint, _)| hint);
        let length = self.curve.length(failures.saturating_sub(1), hint);
        let block = length.map(|length| later(self.now, self.lengthened(length)));
        let decides = open.is_none() || block > open;
        let mut cause_now = BreakerState {
            failures,
            setback: self.setback,
            ..if decides { self.first() } else { former }
        };
        cause_now.until = open.max(block);
        cause_now.told_until = former.told_until.max(block.filter(|_| self.told.is_some()));
        cause_now.probe_at = cause_now.until.and_then(|end| {
            let probes = self.probes.filter(|_| cause_now.fault.is_quota())?;
            let length = until(cause_now.since, end);
            Some(later(self.now, probes.interval(length)))
        });
        *cause = Some(cause_now);
        if block.is_some() {
            *half_open = HalfOpen::default();
        }
        block
    }

    fn first(self) -> BreakerState {
        // The end of a limit with a retry hint is known: no probe is needed.
        let rate_is_told = self.fault == FailureKind::RateLimited && self.told.is_some();
        BreakerState {
            fault: self.fault,
            origin: self
                .told
                .map_or(CooldownSource::Guess, |(_, origin)| origin),
            failures: 0,
            since: self.now,
            until: None,
            told_until: None,
            probe_at: None,
            half_open: self.probes.is_some() && !rate_is_told,
            refused: self.identity,
            setback: self.setback,
        }
    }

    fn lengthened(self, length: Duration) -> Duration {
        let more = Duration::try_from_secs_f64(length.as_secs_f64() * self.jitter);
        let longer = length.saturating_add(more.unwrap_or_default().min(MOST_JITTER));
        let longest = self.curve.longest(self.told.is_some());
        longest.map_or(longer, |longest| longer.min(longest))
    }
}

fn origin(error: &Error) -> CooldownSource {
    let source = error
        .rate_limits()
        .and_then(|limits| limits.retry_after_source);
    match source {
        Some(HintSource::Body) => CooldownSource::Body,
        _ => CooldownSource::Header,
    }
}

const MOST_JITTER: Duration = Duration::from_secs(30);

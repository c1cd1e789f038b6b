//! How failures in a row become a block. Pure.

use std::time::Duration;

use crate::Timestamp;
use crate::auth::Cause;
use crate::clock::{later, until};
use crate::error::Error;
use crate::fault::{Fault, Origin};
use crate::limits::HintSource;
use crate::policy::{Cooldown, Probes, Verdict};

/// A failure to be reckoned with.
#[derive(Clone, Copy, Debug)]
pub(super) struct Failing<'a> {
    fault: Fault,
    curve: Cooldown,
    /// The server's word, where the curve obeys it.
    told: Option<(Duration, Origin)>,
    /// Lengthens the block: a part of it, half a minute at most.
    jitter: f64,
    probes: Option<&'a Probes>,
    now: Timestamp,
    setback: u32,
}

impl<'a> Failing<'a> {
    pub(super) fn new(
        error: Option<&Error>,
        verdict: &Verdict,
        jitter: f64,
        probes: Option<&'a Probes>,
        now: Timestamp,
        setback: u32,
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
            setback,
        }
    }

    /// Until when one more failure blocks, by itself. `visible` is the block that the record shows.
    ///
    /// Failures within one window of a growing curve count once; a milder one within it shortens and explains nothing.
    pub(super) fn add_to(
        self,
        cause: &mut Option<Cause>,
        visible: Option<Timestamp>,
    ) -> Option<Timestamp> {
        let former = cause.unwrap_or(self.first());
        let open = former.until.max(visible).filter(|open| *open > self.now);
        let failures = former.failures.max(u32::from(open.is_some()));
        let hint = self.told.map(|(hint, _)| hint);
        let before = failures.saturating_sub(u32::from(open.is_some()));
        let block = self.curve.length(before, hint).map(|length| {
            let counts_once = hint.is_none() && !matches!(self.curve, Cooldown::Fixed(_));
            let by_itself = later(self.now, self.lengthened(length));
            open.filter(|_| counts_once).unwrap_or(by_itself)
        });
        let failures = match (open, block) {
            (None, Some(_)) => failures.saturating_add(1),
            _ => failures,
        };
        let decides = open.is_none() || block > open;
        let mut cause_now = Cause {
            failures,
            permit: None,
            setback: self.setback,
            ..if decides { self.first() } else { former }
        };
        cause_now.until = open.max(block);
        cause_now.probe_at = cause_now.until.and_then(|end| {
            let probes = self.probes.filter(|_| cause_now.fault.is_quota())?;
            let length = until(cause_now.since, end);
            Some(later(self.now, probes.interval(length)))
        });
        *cause = Some(cause_now);
        block
    }

    fn first(self) -> Cause {
        Cause {
            fault: self.fault,
            origin: self.told.map_or(Origin::Guess, |(_, origin)| origin),
            failures: 0,
            since: self.now,
            until: None,
            probe_at: None,
            half_open: self.probes.is_some(),
            permit: None,
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

fn origin(error: &Error) -> Origin {
    let source = error
        .rate_limits()
        .and_then(|limits| limits.retry_after_source);
    match source {
        Some(HintSource::Body) => Origin::Body,
        _ => Origin::Header,
    }
}

const MOST_JITTER: Duration = Duration::from_secs(30);
